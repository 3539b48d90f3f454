// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask mutants`: breaks the engine on purpose, one rule at a time, and asks its tests.
//!
//! A mutant is a piece of source and what takes its place (`list`). The engine is copied to a
//! folder of its own, so that the project's files are never touched, and built there once; each
//! mutant then costs one crate. A mutant is caught when a test fails or does not come back.
//!
//! Tests that know a rule by its name take a second, and go first. The general checks (oracle, model,
//! coherence, histories) are asked if those notice nothing. Where a mutant is a fault that was found by
//! others, the general checks alone are asked: a check has to see the next one of its kind.

mod list;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use buffersync_testbed::checkout::{root, target};
use buffersync_testbed::command::{self, copy_folder, made};
use buffersync_testbed::Failure;

use list::{Mutant, MUTANTS};

/// A run that takes this long does not come back. Unbroken, it takes a fifth of that.
const PATIENCE: Duration = Duration::from_secs(150);

/// Some tests, and how they are built.
struct Suite {
    /// Its target folder.
    name: &'static str,
    args: &'static [&'static str],
    /// Quick tests need not be quick code.
    optimised: bool,
}

const NAMED: Suite = Suite {
    name: "named",
    args: &[
        "--lib",
        "--test",
        "rules",
        "--test",
        "growth",
        "--test",
        "jobs",
        "--test",
        "marks",
        "--test",
        "parts",
        "--test",
        "contention",
        "--test",
        "age",
        "--test",
        "ww_mutex",
        "--test",
        "allocation",
    ],
    optimised: false,
};

const GENERAL: Suite = Suite {
    name: "general",
    args: &["--test", "oracle", "--test", "coherence", "--test", "model", "--test", "histories"],
    optimised: true,
};

/// Runs those whose name contains one of `words`, or all; 0 if every one was caught.
pub fn run(words: &[String]) -> Result<i32, Failure> {
    let copy = target().join("mutants");
    prepare(&copy)?;
    for suite in [&NAMED, &GENERAL] {
        match test(&copy, suite)? {
            Verdict::Survived(time) => {
                println!("unbroken, {} tests: ok, {:.1} s", suite.name, time.as_secs_f32());
            }
            verdict => {
                return Err(Failure(format!("the engine's tests fail unbroken: {verdict:?}")))
            }
        }
    }
    let chosen = |mutant: &&Mutant| {
        words.is_empty() || words.iter().any(|word| mutant.breaks.contains(word.as_str()))
    };
    let (mut caught, mut survivors) = (0, Vec::new());
    for mutant in MUTANTS.iter().filter(chosen) {
        let verdict = try_one(&copy, mutant)?;
        println!("{:<72} {}", mutant.breaks, verdict.text());
        match verdict {
            Verdict::Survived(_) => survivors.push(mutant.breaks),
            Verdict::Failed(_) | Verdict::Hung => caught += 1,
        }
    }
    println!("mutants: {caught} caught, {} survived", survivors.len());
    Ok(i32::from(!survivors.is_empty() || caught == 0))
}

#[derive(Debug)]
enum Verdict {
    Survived(Duration),
    /// Says where.
    Failed(String),
    Hung,
}

impl Verdict {
    fn text(&self) -> String {
        match self {
            Self::Survived(_) => "SURVIVED".into(),
            Self::Failed(test) => format!("caught by {test}"),
            Self::Hung => "caught: does not come back".into(),
        }
    }
}

/// The engine alone in a workspace, with what its tests read.
fn prepare(copy: &Path) -> Result<(), Failure> {
    for folder in ["aidl/access", "service/engine/src", "service/engine/tests"] {
        copy_folder(&root().join(folder), &copy.join(folder))?;
    }
    for file in ["docs/engine.md", "service/engine/Cargo.toml", "Cargo.lock"] {
        command::copy(&root().join(file), &copy.join(file))?;
    }
    let manifest = made(fs::read_to_string(root().join("Cargo.toml")), "Cargo.toml")?;
    let (before, rest) = manifest.split_once("members = [").unwrap_or((&manifest, "]"));
    let (_, after) = rest.split_once(']').unwrap_or(("", rest));
    // Dependencies on packages that are not there are not used, so not looked for.
    let members = ["aidl/access", "service/engine"];
    let manifest = format!("{before}members = {members:?}{after}");
    made(fs::write(copy.join("Cargo.toml"), manifest), "mutants/Cargo.toml")
}

/// The file that a mutant is about, and what is in it: the mutant's piece once.
fn source_of(root: &Path, mutant: &Mutant) -> Result<(PathBuf, String), Failure> {
    let file = root.join("service/engine/src").join(mutant.file);
    let source = fs::read_to_string(&file)
        .map_err(|error| Failure(format!("{}: {error}", file.display())))?;
    if source.matches(mutant.from).count() != 1 {
        let what = mutant.breaks;
        return Err(Failure(format!("{what}: the source is not there once: {}", mutant.from)));
    }
    Ok((file, source))
}

fn try_one(copy: &Path, mutant: &Mutant) -> Result<Verdict, Failure> {
    let (file, source) = source_of(copy, mutant)?;
    let failure = |error: std::io::Error| Failure(format!("{}: {error}", file.display()));
    fs::write(&file, source.replacen(mutant.from, mutant.to, 1)).map_err(failure)?;
    let verdict = ask(copy, mutant);
    fs::write(&file, source).map_err(failure)?;
    verdict
}

fn ask(copy: &Path, mutant: &Mutant) -> Result<Verdict, Failure> {
    if !mutant.general {
        let verdict = test(copy, &NAMED)?;
        if !matches!(verdict, Verdict::Survived(_)) {
            return Ok(verdict);
        }
    }
    test(copy, &GENERAL)
}

fn test(copy: &Path, suite: &Suite) -> Result<Verdict, Failure> {
    let begin = Instant::now();
    let log = copy.join("log");
    // A mutant that does not compile would be no mutant.
    let built = cargo(copy, suite, &["--no-run"], &log)?;
    if !wait(built)?.is_some_and(|status| status.success()) {
        let log = fs::read_to_string(&log).unwrap_or_default();
        return Err(Failure(format!("a mutant does not compile:\n{log}")));
    }
    Ok(match wait(cargo(copy, suite, &[], &log)?)? {
        None => Verdict::Hung,
        Some(status) if status.success() => Verdict::Survived(begin.elapsed()),
        Some(status) => Verdict::Failed(first_failure(&log).unwrap_or(status.to_string())),
    })
}

fn cargo(copy: &Path, suite: &Suite, more: &[&str], log: &PathBuf) -> Result<Child, Failure> {
    use std::os::unix::process::CommandExt;
    let failure = |error: std::io::Error| Failure(format!("cargo: {error}"));
    let output = fs::File::create(log).map_err(failure)?;
    let errors = output.try_clone().map_err(failure)?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(copy).args(["test", "--quiet", "--package", "buffersync-engine"]);
    cargo.args(suite.args).args(more);
    cargo.env("CARGO_TARGET_DIR", copy.join("target").join(suite.name)).env("RUST_BACKTRACE", "0");
    cargo.env("CARGO_PROFILE_TEST_DEBUG", "0").env("CARGO_PROFILE_DEV_DEBUG", "0");
    if !suite.optimised {
        cargo.env("CARGO_PROFILE_TEST_OPT_LEVEL", "0").env("CARGO_PROFILE_DEV_OPT_LEVEL", "0");
    }
    // Enough to find a fault; its size does not matter.
    cargo.env("PROPTEST_MAX_SHRINK_ITERS", "0");
    // Its own process group, so that a test that does not come back goes with cargo.
    cargo.process_group(0).stdin(Stdio::null()).stdout(output).stderr(errors);
    cargo.spawn().map_err(failure)
}

/// The exit status; `None` if the process had to be killed.
fn wait(mut child: Child) -> Result<Option<ExitStatus>, Failure> {
    let begin = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(Some(status)),
            Ok(None) if begin.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(None) => {
                let group = format!("-{}", child.id());
                let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
                let _ = child.wait();
                return Ok(None);
            }
            Err(error) => return Err(Failure(format!("cargo: {error}"))),
        }
    }
}

/// The test that libtest names first.
fn first_failure(log: &Path) -> Option<String> {
    let log = fs::read_to_string(log).ok()?;
    let names = log.lines().skip_while(|line| *line != "failures:").filter_map(|line| {
        let name = line.strip_prefix("---- ")?.strip_suffix(" stdout ----")?;
        Some(name.to_string())
    });
    names.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mutant_changes_one_place_of_the_engine() {
        for mutant in MUTANTS {
            if let Err(Failure(why)) = source_of(root(), mutant) {
                panic!("{why}");
            }
            assert_ne!(mutant.from, mutant.to, "{}", mutant.breaks);
        }
    }
}

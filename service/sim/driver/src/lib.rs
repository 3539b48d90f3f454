// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask simulate`: the whole service over a simulated kernel (`service/sim`), in seconds or for ever.
//!
//! With `--mistakes` it breaks the service on purpose, one piece of source at a time (`mistakes`), and asks how many
//! seeds the simulation needs to find it. The service is copied to a folder of its own first.

mod mistakes;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use buffersync_testbed::checkout::{root, target};
use buffersync_testbed::command::{self, call, copy_folder, made};
use buffersync_testbed::{programs, Failure};

use mistakes::{Mistake, MISTAKES};

/// The program of `service/sim`.
const PROGRAM: &str = "buffersync-simulation";
/// How long the tests run it.
const SECONDS: &str = "60";
/// A mistake has to be found within so many seeds.
const SEEDS: &str = "100000";

const HELP: &str = "\
cargo xtask simulate [--seconds N] [--seed S] [OPTIONS of buffersync-simulation]
cargo xtask simulate --mistakes [WORD...]   breaks the service on purpose, and counts the seeds until it is noticed
";

/// Runs it; returns its exit status.
pub fn run(words: &[String]) -> Result<i32, Failure> {
    match words {
        [first, words @ ..] if first == "--mistakes" => try_all(words),
        [first, ..] if first == "--help" || first == "-h" => {
            print!("{HELP}");
            Ok(0)
        }
        _ => {
            let program = build(root(), "simulation", "3")?;
            let status = made(Command::new(program).args(words).status(), PROGRAM)?;
            Ok(status.code().unwrap_or(1))
        }
    }
}

/// The run of the tests. Returns its last line.
pub fn briefly() -> Result<String, String> {
    let program = build(root(), "simulation", "3").map_err(|failure| failure.0)?;
    judge(&said(&program, &["--seconds", SECONDS])?)
}

/// The line of figures. It is an error if there is none, or if it tells of violations or of nothing done.
fn judge(said: &str) -> Result<String, String> {
    let line = said.lines().last().unwrap_or_default();
    let number = |key: &str| {
        let value = line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        value.and_then(|value| value.parse::<u64>().ok())
    };
    let done = ["seeds", "calls", "faults"].iter().all(|key| number(key).is_some_and(|n| n > 0));
    if line.starts_with("simulate: ") && done && number("violations") == Some(0) {
        Ok(line.to_string())
    } else {
        Err(format!("the simulation has found something, or nothing was done:\n{said}"))
    }
}

/// The figures that the program prints.
fn said(program: &Path, args: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    let output =
        command.args(args).stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Builds the simulation of the sources in a folder, in a folder of its own in `target`. What runs for seconds only need
/// not be optimised.
fn build(sources: &Path, folder: &str, optimised: &str) -> Result<PathBuf, Failure> {
    let folder = target().join(folder);
    let mut cargo = programs::cargo(&["build", "--quiet", "--locked", "--release"]);
    cargo.current_dir(sources.join("service/sim")).env("CARGO_TARGET_DIR", &folder);
    cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", optimised);
    if sources != root() {
        // A mistake may leave something unused.
        cargo.env("RUSTFLAGS", "-Awarnings");
    }
    call(&mut cargo)?;
    Ok(folder.join("release").join(PROGRAM))
}

/// Tries those whose name contains one of `words`, or all; 0 if each was found.
fn try_all(words: &[String]) -> Result<i32, Failure> {
    let copy = target().join("simulation-mistakes/sources");
    prepare(&copy)?;
    let chosen = |mistake: &&Mistake| {
        words.is_empty() || words.iter().any(|word| mistake.breaks.contains(word.as_str()))
    };
    let (mut found, mut missed) = (0, 0);
    for mistake in MISTAKES.iter().filter(chosen) {
        let verdict = try_one(&copy, mistake)?;
        match &verdict {
            Some((seeds, why)) => println!("{:<64} {seeds:>6} seeds: {why}", mistake.breaks),
            None => println!("{:<64} NOT FOUND in {SEEDS} seeds", mistake.breaks),
        }
        if verdict.is_some() {
            found += 1;
        } else {
            missed += 1;
        }
    }
    println!("mistakes: {found} found, {missed} not found");
    Ok(i32::from(missed > 0 || found == 0))
}

/// The service and what it is made of, in a workspace without the rest.
fn prepare(copy: &Path) -> Result<(), Failure> {
    for folder in ["aidl", "service/src", "service/engine/src", "service/sim"] {
        copy_folder(&root().join(folder), &copy.join(folder))?;
    }
    let engine = "service/engine/Cargo.toml";
    command::copy(&root().join(engine), &copy.join(engine))?;
    let manifest = made(fs::read_to_string(root().join("Cargo.toml")), "Cargo.toml")?;
    let (before, rest) = manifest.split_once("members = [").unwrap_or((&manifest, "]"));
    let (_, after) = rest.split_once(']').unwrap_or(("", rest));
    let members = ["aidl", "aidl/access", "aidl/binder", "service/engine"];
    let manifest = format!("{before}members = {members:?}{after}");
    made(fs::write(copy.join("Cargo.toml"), manifest), "mistakes/Cargo.toml")
}

/// The file that a mistake is in, and its text, which has the mistake's piece once.
fn source_of(root: &Path, mistake: &Mistake) -> Result<(PathBuf, String), Failure> {
    let file = root.join("service/src").join(mistake.file);
    let source = made(fs::read_to_string(&file), mistake.file)?;
    if source.matches(mistake.from).count() != 1 {
        let what = mistake.breaks;
        return Err(Failure(format!("{what}: the source is not there once: {}", mistake.from)));
    }
    Ok((file, source))
}

/// The number of seeds until it is found, and what was found.
fn try_one(copy: &Path, mistake: &Mistake) -> Result<Option<(u64, String)>, Failure> {
    let (file, source) = source_of(copy, mistake)?;
    made(fs::write(&file, source.replacen(mistake.from, mistake.to, 1)), mistake.file)?;
    let said = build(copy, "simulation-mistakes", "1")
        .and_then(|program| said(&program, &["--seeds", SEEDS]).map_err(Failure));
    made(fs::write(&file, source), mistake.file)?;
    Ok(first_violation(&said?))
}

fn first_violation(said: &str) -> Option<(u64, String)> {
    let line = said.lines().find_map(|line| line.strip_prefix("violation with seed "))?;
    let (seed, why) = line.split_once(": ")?;
    Some((seed.parse().ok()?, why.chars().take(90).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mistake_changes_one_place_of_the_service() {
        for mistake in MISTAKES {
            if let Err(Failure(why)) = source_of(root(), mistake) {
                panic!("{why}");
            }
            assert_ne!(mistake.from, mistake.to, "{}", mistake.breaks);
        }
        assert!(MISTAKES.len() >= 15);
    }

    #[test]
    fn figures_are_read_from_the_last_line() {
        let line = "simulate: seeds=3 calls=9 faults=1 violations=0";
        assert_eq!(judge(&format!("x\n{line}\n")).unwrap(), line);
        assert!(judge("simulate: seeds=3 calls=9 faults=1 violations=1\n").is_err());
        assert!(judge("simulate: seeds=0 calls=0 faults=0 violations=0\n").is_err());
        assert!(judge("").is_err());
        let violation = "violation with seed 7: left over: [\"queue\"]\n  replay: ...";
        assert_eq!(first_violation(violation), Some((7, "left over: [\"queue\"]".into())));
        assert_eq!(first_violation(line), None);
    }
}

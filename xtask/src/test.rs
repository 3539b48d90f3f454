// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask test [STEP...]`: everything that has to hold, or some of it. Prints the time of each step,
//! and ends in one line of counts.
//!
//! A step is one of [`STEPS`], or a test program that runs in the testbed, by its name. A step builds what
//! it needs and nothing else. All test programs of the testbed share one boot.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use buffersync_checks::sepolicy;
use buffersync_conformance::{prepare, script, Report, SUITE};
use buffersync_fuzz_driver as fuzz;
use buffersync_testbed::checkout::{cache, out, root, target};
use buffersync_testbed::programs::{self, Program};
use buffersync_testbed::{lanes, provision, selftest, Failure, Run, Testbed};

use crate::{clients, Options};

/// The steps that are no test programs of the testbed, in their order.
const STEPS: [(&str, &str); 10] = [
    ("fmt", "cargo fmt --check"),
    ("clippy", "cargo clippy, warnings are errors"),
    ("doc", "cargo doc, warnings are errors"),
    ("unit", "unit tests and examples in documentation, on the host"),
    ("checks", "Android.bp, AIDL, VINTF, C ABI, product makefile, SELinux policy"),
    ("fuzz-engine", "the lock table's fuzzer, briefly"),
    ("testbed", "guests that fail in all ways: the testbed has to notice"),
    ("fuzz", "the fuzzer of the service's objects: 100 000 inputs"),
    ("fuzz-wrong", "the fuzzer on services that are wrong on purpose"),
    ("vts", "conformance suite, and the services that are wrong on purpose"),
];

/// The position of the first of [`STEPS`] that needs the testbed; all after it do, too.
const FIRST_IN_TESTBED: usize = 6;

/// The folder of the crate whose tests are the step `checks`.
const CHECKS: &str = "checks";

/// In the testbed's output, before the name of a test program and the seconds that it took.
const TIME: &str = "== seconds of ";

/// Passed and failed tests. A step that is no test counts once when it fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    passed: u64,
    failed: u64,
    /// `test result` lines seen.
    reports: u64,
}

/// A run of some steps.
#[derive(Default)]
struct Steps {
    /// Empty: all.
    wanted: BTreeSet<String>,
    counts: Counts,
    times: Vec<(String, Duration)>,
}

/// Runs the steps; 0 if nothing failed.
pub fn run(options: &Options) -> Result<i32, Failure> {
    let guests: Vec<String> = programs::names("test")?
        .into_iter()
        .filter(|name| programs::is_for_guest(name) && name != SUITE)
        .collect();
    if options.list {
        STEPS.iter().for_each(|(name, what)| println!("{name:<28} {what}"));
        guests.iter().for_each(|name| println!("{name:<28} in the testbed"));
        return Ok(0);
    }
    let known = |word: &String| STEPS.iter().any(|(name, _)| name == word) || guests.contains(word);
    if let Some(word) = options.words.iter().find(|word| !known(word)) {
        let why = format!("there is no step {word}; `cargo xtask test --list` names them");
        return Err(Failure(why));
    }
    let wanted = options.words.iter().cloned().collect();
    let mut steps = Steps { wanted, ..Steps::default() };
    steps.on_the_host();
    if STEPS[FIRST_IN_TESTBED..].iter().any(|(name, _)| steps.wants(name))
        || guests.iter().any(|name| steps.wants(name))
    {
        match Testbed::prepare(options.place, &cache()) {
            Ok(testbed) => steps.in_the_testbed(options, &testbed, &guests),
            Err(failure) => steps.counts.fail(&failure.0),
        }
    }
    println!("\n{:<28} seconds", "step");
    for (name, time) in &steps.times {
        println!("{name:<28} {:7.1}", time.as_secs_f64());
    }
    let Counts { passed, failed, .. } = steps.counts;
    println!("{passed} passed, {failed} failed");
    Ok(i32::from(failed > 0 || options.words.is_empty() && passed == 0))
}

impl Steps {
    fn wants(&self, step: &str) -> bool {
        self.wanted.is_empty() || self.wanted.contains(step)
    }

    /// Runs a step if it is wanted.
    fn step(&mut self, name: &str, step: impl FnOnce(&mut Counts) -> Result<(), String>) {
        if self.wants(name) {
            self.timed(name, step);
        }
    }

    fn timed(&mut self, name: &str, step: impl FnOnce(&mut Counts) -> Result<(), String>) {
        println!("== {name}");
        let begin = Instant::now();
        if let Err(why) = step(&mut self.counts) {
            self.counts.fail(&format!("{name}: {why}"));
        }
        self.times.push((name.to_string(), begin.elapsed()));
    }

    fn on_the_host(&mut self) {
        self.step("fmt", |_| succeed(programs::cargo(&["fmt", "--all", "--check"])));
        self.step("clippy", |_| {
            let clippy = ["clippy", "--quiet", "--workspace", "--all-targets"];
            let mut cargo = programs::cargo_static(&clippy);
            cargo.args(["--", "-D", "warnings"]);
            succeed(cargo)
        });
        self.step("doc", |_| {
            let mut cargo = programs::cargo_static(&["doc", "--quiet", "--workspace", "--no-deps"]);
            cargo.env("RUSTDOCFLAGS", "-D warnings -C target-feature=+crt-static");
            succeed(cargo)
        });
        if self.wants("unit") || self.wants("checks") {
            let mut made = Vec::new();
            self.timed("unit: build", |_| {
                made = programs::tests(&[]).map_err(|failure| failure.0)?;
                Ok(())
            });
            let (checks, units): (Vec<Program>, Vec<Program>) = made
                .into_iter()
                .filter(|program| program.test && !program.is_for_guest())
                .partition(|program| program.package == CHECKS);
            self.step("unit", |counts| {
                if units.is_empty() {
                    return Err("cargo made no test program".into());
                }
                units.iter().for_each(|program| counts.unit_tests(program));
                counts.host(programs::cargo_static(&["test", "--quiet", "--workspace", "--doc"]));
                Ok(())
            });
            self.step("checks", |counts| {
                if checks.is_empty() {
                    return Err("cargo made no test program".into());
                }
                checks.iter().for_each(|program| counts.unit_tests(program));
                Ok(())
            });
        }
        self.step("fuzz-engine", |_| {
            println!("   {}", fuzz::briefly()?);
            Ok(())
        });
    }

    fn in_the_testbed(&mut self, options: &Options, testbed: &Testbed, guests: &[String]) {
        if let Testbed::Guest(machine) = testbed {
            self.step("testbed", |_| selftest::run(machine));
        }
        self.step("fuzz", |_| {
            println!("   {}", fuzz::service_briefly(testbed)?);
            Ok(())
        });
        self.step("fuzz-wrong", |_| {
            println!("   {}", fuzz::wrong(testbed)?);
            Ok(())
        });
        let native = matches!(testbed, Testbed::Native);
        for name in guests.iter().map(String::as_str).chain(["testbed"]) {
            let needs_guest = name == "testbed" || !programs::is_harmless(name);
            if native && needs_guest && self.wanted.contains(name) {
                self.counts.fail(&format!("{name} does not run with --native"));
            }
        }
        let mut wanted: Vec<&str> = guests.iter().map(String::as_str).collect();
        wanted.retain(|name| self.wants(name) && (programs::is_harmless(name) || !native));
        if self.wants("vts") {
            wanted.push(SUITE);
        }
        if wanted.is_empty() {
            return;
        }
        let mut report = None;
        let before = self.counts.failed;
        self.timed("testbed: build", |_| {
            report = stage(&wanted).map_err(|failure| failure.0)?;
            Ok(())
        });
        if self.counts.failed == before {
            self.boot(options, testbed, &wanted, report);
        }
    }

    /// One boot for all: the first program that fails does not keep the others from running.
    fn boot(
        &mut self,
        options: &Options,
        testbed: &Testbed,
        wanted: &[&str],
        mut report: Option<Report>,
    ) {
        let command = guest_command(wanted);
        let limit = options.limit.unwrap_or(Duration::from_secs(1500));
        let (stage, out) = (cache().join("stage"), out());
        let run = Run { command: &command, stage: &stage, out: &out, limit };
        let before = self.counts.reports;
        let status = testbed.run(&run, &mut |line| {
            println!("{line}");
            self.counts.read(line);
            if let Some(report) = &mut report {
                report.read(line);
            }
            let time = line.strip_prefix(TIME).and_then(|time| time.split_once(": "));
            if let Some((name, Ok(seconds))) = time.map(|(name, time)| (name, time.parse())) {
                self.times.push((name.to_string(), Duration::from_secs(seconds)));
            }
        });
        let counts = &mut self.counts;
        match report.map(|report| (report.finish(&target().join("vts")), report)) {
            None => {}
            Some((Ok(summary), report)) if report.is_good() => println!("{summary}"),
            Some((Ok(summary), report)) => counts.fail(&format!("{summary}\n{}", report.table())),
            Some((Err(failure), _)) => counts.fail(&failure.0),
        }
        match status {
            Ok(0) if counts.reports - before == wanted.len() as u64 => {}
            Ok(0) => counts.fail("a test program printed no result"),
            Ok(status) if counts.failed == 0 => counts.fail(&format!("exit status {status}")),
            Ok(_) => {}
            Err(failure) => counts.fail(&failure.0),
        }
    }
}

/// Fills the stage with what these test programs need; the conformance suite's report, if it is among them.
fn stage(wanted: &[&str]) -> Result<Option<Report>, Failure> {
    let made = programs::tests(&[wanted, &[SUITE]].concat())?;
    let stage = programs::stage(&[programs::bins(&[])?, made.clone()].concat())?;
    if wanted.iter().any(|name| ["guest_examples", "guest_syscalls"].contains(name)) {
        clients::stage(&stage)?;
    }
    if wanted.contains(&"guest_syscalls") {
        provision::need(&[("strace", "strace")])?;
    }
    if wanted.contains(&"guest_selinux") {
        sepolicy::compile(&stage.join("sepolicy"))?;
    }
    wanted.contains(&SUITE).then(|| prepare(&made)).transpose()
}

/// Runs the test programs. Most of them run in lanes, at the same time: the one that takes as long as all others is
/// in a lane of its own. `guest_selinux` changes the policy of the whole kernel, and the conformance suite counts the
/// cache operations of the whole kernel.
fn guest_command(wanted: &[&str]) -> String {
    const LONG: [&str; 1] = ["guest_syscalls"];
    let alone = |name: &&&str| ["guest_selinux", SUITE].contains(*name);
    let (alone, others): (Vec<&str>, Vec<&str>) = wanted.iter().partition(alone);
    let (long, others): (Vec<&str>, Vec<&str>) =
        others.iter().partition(|name| LONG.contains(name));
    let mut script = String::from("status=0\nrm -f $BUFFERSYNC_OUT/guest_*.log\n");
    script.push_str(&lanes::script(&[long, others].map(|lane| {
        let lines: Vec<String> = lane.into_iter().map(test_program).collect();
        format!("status=0\n{}exit $status", lines.concat())
    })));
    let logs = wanted.iter().filter(|name| **name != SUITE).map(|name| log_of(name));
    for name in alone.iter().filter(|name| **name != SUITE) {
        script.push_str(&test_program(name));
    }
    script.push_str(&format!("cat {}\n", logs.collect::<Vec<_>>().join(" ")));
    if alone.contains(&SUITE) {
        script.push_str(&timed(SUITE, &script::suite()));
        script.push_str(&timed("wrong services", &script::faults()));
    }
    script + "exit $status\n"
}

fn log_of(name: &str) -> String {
    format!("$BUFFERSYNC_OUT/{name}.log")
}

/// Runs a test program. Its output goes to a file: libtest writes a line in pieces, and other lanes write, too.
fn test_program(name: &str) -> String {
    let log = log_of(name);
    let run = format!("$BUFFERSYNC_STAGE/bin/{name} --test-threads=1 >{log} 2>&1 || status=1\n");
    timed(name, &run)
}

/// Says when a part begins, and when it has ended how many seconds it took.
fn timed(name: &str, script: &str) -> String {
    format!("echo '-- {name}'; begin=$(date +%s)\n{script}echo \"{TIME}{name}: $(($(date +%s) - begin))\"\n")
}

fn succeed(mut command: Command) -> Result<(), String> {
    let status = command.status().map_err(|error| error.to_string())?;
    status.success().then_some(()).ok_or_else(|| status.to_string())
}

impl Counts {
    fn fail(&mut self, why: &str) {
        println!("FAILED: {why}");
        self.failed += 1;
    }

    fn unit_tests(&mut self, program: &Program) {
        println!("   {} ({})", program.package, program.name);
        let mut command = Command::new(&program.path);
        command.args(["--quiet", "--show-output"]).current_dir(root().join(&program.package));
        self.host(command);
    }

    /// Runs a test program here. One that fails without saying how many failed counts once.
    fn host(&mut self, mut command: Command) {
        let before = *self;
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => return self.fail(&error.to_string()),
        };
        if let Some(output) = child.stdout.take() {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                println!("{line}");
                self.read(&line);
            }
        }
        match child.wait() {
            Ok(status) if !status.success() && self.failed == before.failed => {
                self.fail(&status.to_string());
            }
            Ok(_) if self.reports == before.reports => self.fail("no result was printed"),
            Ok(_) => {}
            Err(error) => self.fail(&error.to_string()),
        }
    }

    /// Adds the counts of libtest's closing line.
    fn read(&mut self, line: &str) {
        let Some((_, rest)) = line.split_once("test result: ") else { return };
        let number = |word: &str| {
            let (before, _) = rest.split_once(&format!(" {word}"))?;
            before.rsplit(' ').next()?.parse::<u64>().ok()
        };
        if let (Some(passed), Some(failed)) = (number("passed"), number("failed")) {
            self.passed += passed;
            self.failed += failed;
            self.reports += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_libtests_last_line() {
        let mut counts = Counts::default();
        counts.read("test a ... ok");
        counts.read("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out");
        counts.read("test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured");
        assert_eq!(counts, Counts { passed: 14, failed: 3, reports: 2 });
    }

    #[test]
    fn a_program_that_prints_no_result_fails() {
        let mut counts = Counts::default();
        counts.host(Command::new("true"));
        assert_eq!(counts.failed, 1);
        counts.host(Command::new("false"));
        assert_eq!(counts.failed, 2);
    }
}

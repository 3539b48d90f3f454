// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask test [STEP...]`: everything that has to hold, or some of it. Prints the time of each step,
//! and ends in one line of counts.
//!
//! A step is one of [`STEPS`], or a test program that runs in the testbed, by its name. A step builds what
//! it needs and nothing else. All that runs in the testbed shares one boot, several jobs at a time.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use buffersync_checks::sepolicy;
use buffersync_conformance::{prepare, script, stage_wrong, Report, SUITE};
use buffersync_fuzz_driver as fuzz;
use buffersync_simulation_driver as simulation;
use buffersync_testbed::checkout::{cache, out, root, target};
use buffersync_testbed::lanes::{self, Done, Job};
use buffersync_testbed::programs::{self, Program};
use buffersync_testbed::{provision, selftest, Failure, Testbed};

use crate::{clients, coherence, soak, Options};

/// The steps that are no test programs of the testbed, in their order.
const STEPS: [(&str, &str); 13] = [
    ("fmt", "cargo fmt --check"),
    ("clippy", "cargo clippy, warnings are errors"),
    ("doc", "cargo doc, warnings are errors"),
    ("unit", "unit tests and examples in documentation, on the host"),
    ("checks", "Android.bp, AIDL, VINTF, C ABI, product makefile, SELinux policy"),
    ("fuzz-engine", "the lock table's fuzzer, briefly"),
    ("simulate", "the whole service over a simulated kernel: 60 seconds of seeds"),
    ("testbed", "guests that fail in all ways: the testbed has to notice"),
    ("fuzz", "the fuzzer of the service's objects: 100 000 inputs"),
    ("fuzz-wrong", "the fuzzer on services that are wrong on purpose"),
    ("vts", "conformance suite, and the services that are wrong on purpose"),
    (soak::STEP, "everything at once, for two minutes"),
    (coherence::STEP, "CPU and DMA on memory that is not coherent; services that lose data"),
];

/// The position of the first of [`STEPS`] that needs the testbed; all after it do, too.
const FIRST_IN_TESTBED: usize = 7;

/// The folder of the crate whose tests are the step `checks`.
const CHECKS: &str = "checks";

/// The jobs in the testbed that take longest. They begin first.
const LONG: [&str; 10] = [
    "fuzz-1",
    "fuzz-2",
    SUITE,
    soak::STEP,
    "guest_hostile_loads",
    "guest_hostile_clients",
    "guest_surroundings",
    "wrong-none",
    "guest_syscalls",
    "guest_examples",
];

/// Passed and failed tests. A step that is no test counts once when it fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    passed: u64,
    failed: u64,
    /// `test result` lines seen.
    reports: u64,
    /// What failed, for the last line of the output.
    failures: Vec<String>,
    /// The names that libtest has listed after `failures:`.
    listed: Vec<String>,
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
            // Module `devices` of the suite needs a camera and a display.
            Ok(testbed) if steps.wants("vts") => {
                steps.in_the_testbed(options, &testbed.with_devices(), &guests)
            }
            Ok(testbed) => steps.in_the_testbed(options, &testbed, &guests),
            Err(failure) => steps.counts.fail(&failure.0),
        }
    }
    println!("\n{:<28} seconds", "step");
    for (name, time) in &steps.times {
        println!("{name:<28} {:7.1}", time.as_secs_f64());
    }
    let Counts { passed, failed, failures, .. } = steps.counts;
    // All in one line: of a long output, people and CI keep the last.
    let named =
        if failures.is_empty() { String::new() } else { format!(": {}", failures.join("; ")) };
    println!("{passed} passed, {failed} failed{named}");
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
        self.step("simulate", |_| {
            println!("   {}", simulation::briefly()?);
            Ok(())
        });
    }

    fn in_the_testbed(&mut self, options: &Options, testbed: &Testbed, guests: &[String]) {
        let native = matches!(testbed, Testbed::Native);
        for name in guests.iter().map(String::as_str).chain(["testbed", coherence::STEP]) {
            let needs_guest =
                ["testbed", coherence::STEP].contains(&name) || !programs::is_harmless(name);
            if native && needs_guest && self.wanted.contains(name) {
                self.counts.fail(&format!("{name} does not run with --native"));
            }
        }
        let mut jobs = Vec::new();
        for (step, its_jobs) in [
            ("fuzz", fuzz::runs as fn() -> Vec<Job>),
            ("fuzz-wrong", fuzz::wrong),
            ("vts", script::jobs),
            (soak::STEP, || vec![soak::job()]),
        ] {
            jobs.extend(if self.wants(step) { its_jobs() } else { Vec::new() });
        }
        let here = |name: &String| self.wants(name) && (programs::is_harmless(name) || !native);
        jobs.extend(guests.iter().filter(|name| here(name)).map(|name| test_program(name)));
        jobs.sort_by_key(|job| {
            LONG.iter().position(|name| job.name == *name).unwrap_or(LONG.len())
        });
        let mut report = None;
        let before = self.counts.failed;
        let coherence = !native && self.wants(coherence::STEP);
        if coherence || !jobs.is_empty() {
            self.timed("testbed: build", |_| {
                report = stage(&jobs).map_err(|failure| failure.0)?;
                if coherence {
                    stage_wrong().map_err(|failure| failure.0)?;
                }
                Ok(())
            });
        }
        let built = self.counts.failed == before;
        // Those of the self-test mostly wait, and one has a processor of its own, so they run beside the jobs.
        std::thread::scope(|scope| {
            let mut beside = Vec::new();
            if let (Testbed::Guest(machine), true) = (testbed, self.wants("testbed")) {
                let selftest = || selftest::run(machine).map(|()| String::new());
                beside.push(("testbed", scope.spawn(move || timed(selftest))));
            }
            if built && coherence {
                beside.push((coherence::STEP, scope.spawn(|| timed(coherence::step))));
            }
            if built && !jobs.is_empty() {
                let begin = Instant::now();
                self.boot(options, testbed, &jobs, report);
                self.times.push(("testbed: all jobs".into(), begin.elapsed()));
            }
            for (name, step) in beside {
                let panicked = |_| (Err("it panicked".to_string()), Duration::ZERO);
                let (result, time) = step.join().unwrap_or_else(panicked);
                match result {
                    Ok(said) => said.lines().for_each(|line| println!("   {line}")),
                    Err(why) => self.counts.fail(&format!("{name}: {why}")),
                }
                self.times.push((name.into(), time));
            }
        });
    }

    /// One boot for all jobs: the first that fails does not keep the others from running.
    fn boot(
        &mut self,
        options: &Options,
        testbed: &Testbed,
        jobs: &[Job],
        mut report: Option<Report>,
    ) {
        let limit = options.limit.unwrap_or(Duration::from_secs(1500));
        let (stage, out) = (cache().join("stage"), out());
        let mut wrong = Duration::ZERO;
        let ran = lanes::run(testbed, &stage, &out, limit, jobs, &mut |done| {
            let name = &done.job.name;
            if name.contains(script::WRONG) {
                wrong += done.time;
            } else {
                self.times.push((name.clone(), done.time));
            }
            println!("== {name}");
            if fuzz::is_own(done.job) {
                match fuzz::judge(done) {
                    Ok(said) => println!("   {said}"),
                    Err(why) => self.counts.fail(&format!("{name}: {why}")),
                }
                return;
            }
            self.counts.job(done);
            if let Some(report) = &mut report {
                done.lines.iter().for_each(|line| report.read(line));
            }
        });
        if wrong > Duration::ZERO {
            self.times.push(("wrong services, in sum".into(), wrong));
        }
        let counts = &mut self.counts;
        match report.map(|report| (report.finish(&target().join("vts")), report)) {
            None => {}
            Some((Ok(summary), report)) if report.is_good() => println!("{summary}"),
            Some((Ok(summary), report)) => counts.fail(&format!("{summary}\n{}", report.table())),
            Some((Err(failure), _)) => counts.fail(&failure.0),
        }
        if let Err(failure) = ran {
            counts.fail(&failure.0);
        }
    }
}

fn timed<T>(step: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    (step(), begin.elapsed())
}

/// Fills the stage with what these jobs need; the conformance suite's report, if it is among them.
fn stage(jobs: &[Job]) -> Result<Option<Report>, Failure> {
    let wants = |names: &[&str]| jobs.iter().any(|job| names.contains(&&*job.name));
    let tests: Vec<&str> =
        jobs.iter().map(|job| &*job.name).filter(|n| programs::is_for_guest(n)).collect();
    let made = programs::tests(&[&tests, &[SUITE][..]].concat())?;
    let stage = programs::stage(&[programs::bins(&[])?, made.clone()].concat())?;
    if wants(&["guest_examples"]) {
        clients::stage(&stage)?;
    } else if wants(&["guest_syscalls", SUITE]) {
        clients::install(&stage, false)?;
    }
    if wants(&["guest_syscalls"]) {
        provision::need(&[("strace", "strace")])?;
    }
    if wants(&["guest_selinux"]) {
        sepolicy::compile(&stage.join("sepolicy"))?;
    }
    fuzz::stage(jobs, &stage)?;
    wants(&[SUITE]).then(|| prepare(&made)).transpose()
}

/// A test program of the testbed. `guest_selinux` changes the policy of the whole kernel.
fn test_program(name: &str) -> Job {
    let script = format!("exec $BUFFERSYNC_STAGE/bin/{name} --test-threads=1");
    Job { name: name.into(), script, alone: name == "guest_selinux" }
}

fn succeed(mut command: Command) -> Result<(), String> {
    let status = command.status().map_err(|error| error.to_string())?;
    status.success().then_some(()).ok_or_else(|| status.to_string())
}

impl Counts {
    fn fail(&mut self, why: &str) {
        // The tests of this file fail on purpose; a reader who looks for "FAILED" should not find them.
        if !cfg!(test) {
            println!("FAILED: {why}");
        }
        self.failed += 1;
        self.failures.push(why.lines().next().unwrap_or_default().to_string());
    }

    fn unit_tests(&mut self, program: &Program) {
        println!("   {} ({})", program.package, program.name);
        let mut command = Command::new(&program.path);
        command.args(["--quiet", "--show-output"]).current_dir(root().join(&program.package));
        self.host(command);
    }

    /// Runs a test program here. One that fails without saying how many failed counts once.
    fn host(&mut self, mut command: Command) {
        let (reports, failed) = (self.reports, self.failed);
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
            Ok(status) if !status.success() && self.failed == failed => {
                self.fail(&status.to_string());
            }
            Ok(_) if self.reports == reports => self.fail("no result was printed"),
            Ok(_) => {}
            Err(error) => self.fail(&error.to_string()),
        }
    }

    /// Prints what a job of the testbed said, and counts its tests.
    fn job(&mut self, done: &Done<'_>) {
        let (reports, failed) = (self.reports, self.failed);
        for line in &done.lines {
            println!("{line}");
            self.read(line);
        }
        let name = &done.job.name;
        if done.status != 0 && self.failed == failed {
            self.fail(&format!("{name}: exit status {}", done.status));
        } else if programs::is_for_guest(name) && self.reports != reports + 1 {
            self.fail(&format!("{name}: {} results were printed, not one", self.reports - reports));
        }
    }

    /// Adds the counts of libtest's closing line, and the names that are listed before it.
    fn read(&mut self, line: &str) {
        match line.strip_prefix("    ") {
            _ if line == "failures:" => self.listed.clear(),
            Some(name) if name.contains("::") || !name.contains(' ') => {
                self.listed.push(name.into())
            }
            _ => {}
        }
        let Some((_, rest)) = line.split_once("test result: ") else { return };
        let number = |word: &str| {
            let (before, _) = rest.split_once(&format!(" {word}"))?;
            before.rsplit(' ').next()?.parse::<u64>().ok()
        };
        if let (Some(passed), Some(failed)) = (number("passed"), number("failed")) {
            self.passed += passed;
            self.failed += failed;
            self.reports += 1;
            let listed = std::mem::take(&mut self.listed);
            self.failures.extend(listed.into_iter().filter(|_| failed > 0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_names_are_read_from_libtests_last_lines() {
        let mut counts = Counts::default();
        let all = "test a ... ok\n\nsuccesses:\n    a\n\n\
                   test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out\n\
                   successes:\n    a\nfailures:\n---- b stdout ----\nfailures:\n    b\n    m::c\n\n\
                   test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured";
        all.lines().for_each(|line| counts.read(line));
        assert_eq!((counts.passed, counts.failed, counts.reports), (14, 3, 2));
        assert_eq!(counts.failures, ["b", "m::c"]);
    }

    #[test]
    fn a_program_that_prints_no_result_fails() {
        let mut counts = Counts::default();
        counts.host(Command::new("true"));
        assert_eq!(counts.failures, ["no result was printed"]);
        counts.host(Command::new("false"));
        assert_eq!((counts.failed, counts.failures.len()), (2, 2));
    }
}

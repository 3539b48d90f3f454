// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask test`: everything that has to hold, step by step, ending in one line of counts.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use buffersync_testbed::{provision, Failure, Run, Testbed};

use crate::build::{self, Program};
use crate::{
    abi, aidl, cache, clients, device, fuzz, out_folder, product, selftest, sepolicy, soong,
    target, vts, Options,
};

/// Passed and failed tests. A step that is no test counts once when it fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    passed: u64,
    failed: u64,
    /// `test result` lines seen.
    reports: u64,
}

/// Runs all steps; 0 if nothing failed and something passed.
pub fn run(options: &Options) -> Result<i32, Failure> {
    let mut counts = Counts::default();
    let fmt = ["fmt", "--all", "--check"];
    counts.step("formatting", || check(build::cargo(&fmt)));
    let clippy = ["clippy", "--quiet", "--workspace", "--all-targets"];
    counts.step("clippy", || {
        let mut cargo = build::cargo_static(&clippy);
        cargo.args(["--", "-D", "warnings"]);
        check(cargo)
    });
    counts.step("documentation", || {
        let mut cargo = build::cargo_static(&["doc", "--quiet", "--workspace", "--no-deps"]);
        cargo.env("RUSTDOCFLAGS", "-D warnings -C target-feature=+crt-static");
        check(cargo)
    });
    counts.step("AIDL: snapshots and backends", || aidl::check().map_err(|failure| failure.0));
    counts.step("Android.bp: format, files, dependencies", soong::check);
    counts.step(
        "Android.bp: the modules for Android's targets, against libbinder_rs's signatures",
        || {
            println!("   {}", soong::compile()?);
            Ok(())
        },
    );
    counts.step("fuzzer of the lock table", || {
        println!("   {}", fuzz::briefly()?);
        Ok(())
    });
    counts.step("product makefile", || product::check(&soong::modules()?));
    counts.step("VINTF, init, systemd and SELinux contexts", || {
        device::Files::of_project().map_err(|failure| failure.0)?.check()?;
        device::check_exposure()
    });
    counts.step("SELinux policy", || {
        sepolicy::compile(&cache().join("stage/sepolicy")).map_err(|failure| failure.0)
    });
    heading("building");
    match build::programs(true) {
        Ok(programs) => counts.tests(options, &programs),
        Err(failure) => counts.fail(&failure.0),
    }
    println!("{} passed, {} failed", counts.passed, counts.failed);
    Ok(i32::from(counts.failed > 0 || counts.passed == 0))
}

fn heading(name: &str) {
    println!("== {name}");
}

fn check(mut command: Command) -> Result<(), String> {
    let status = command.status().map_err(|error| error.to_string())?;
    status.success().then_some(()).ok_or_else(|| status.to_string())
}

impl Counts {
    fn step(&mut self, name: &str, step: impl FnOnce() -> Result<(), String>) {
        heading(name);
        let begin = Instant::now();
        match step() {
            Ok(()) => println!("   ok, {:.1} s", begin.elapsed().as_secs_f64()),
            Err(why) => self.fail(&format!("{name}: {why}")),
        }
    }

    fn fail(&mut self, why: &str) {
        println!("FAILED: {why}");
        self.failed += 1;
    }

    fn tests(&mut self, options: &Options, programs: &[Program]) {
        for program in programs.iter().filter(|p| p.test && !p.is_for_guest()) {
            heading(&format!("unit tests of {} ({})", program.package, program.name));
            let mut command = Command::new(&program.path);
            command
                .args(["--quiet", "--show-output"])
                .current_dir(crate::root().join(&program.package));
            self.host(command);
        }
        heading("documentation tests");
        self.host(build::cargo_static(&["test", "--quiet", "--workspace", "--doc"]));

        let prepared = build::stage_programs(programs)
            .and_then(|stage| Ok((stage, Testbed::prepare(options.place, &cache())?)));
        let (stage, testbed) = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => return self.fail(&failure.0),
        };
        self.step("installing the service, C and Java clients", || {
            clients::stage(&stage).map_err(|failure| failure.0)
        });
        self.step("strace", || {
            provision::need(&[("strace", "strace")]).map_err(|failure| failure.0)
        });
        self.step("installed unit", || device::check_installed(&stage.join("prefix")));
        let lib = stage.join("prefix/lib");
        self.step("C ABI: header, Rust source and symbols", || {
            abi::run(&lib.join("libbuffersync.so"), &lib.join("libbuffersync_jni.so"))
        });
        heading("conformance suite: requirements and wrong services");
        let mut report = match vts::prepare(programs) {
            Ok(report) => report,
            Err(failure) => return self.fail(&failure.0),
        };
        if let Testbed::Guest(machine) = &testbed {
            self.step("the testbed's own failures", || selftest::run(machine));
        }
        self.step("fuzzer of the service's objects", || {
            println!("   {}", fuzz::service_briefly(&testbed)?);
            Ok(())
        });
        self.step("fuzzer: the wrong services", || {
            println!("   {}", fuzz::wrong(&testbed)?);
            Ok(())
        });
        heading("integration tests in the testbed");
        let native = matches!(testbed, Testbed::Native);
        let wanted = |program: &&Program| {
            program.test && program.is_for_guest() && (program.is_harmless() || !native)
        };
        let wanted: Vec<&Program> = programs.iter().filter(wanted).collect();
        let command = guest_command(&wanted);
        let limit = options.limit.unwrap_or(Duration::from_secs(1500));
        let out = out_folder();
        let run = Run { command: &command, stage: &stage, out: &out, limit };
        let before = self.reports;
        let status = testbed.run(&run, &mut |line| {
            println!("{line}");
            self.read(line);
            report.read(line);
        });
        match report.finish(&target().join("vts")) {
            Ok(summary) if report.is_good() => println!("{summary}"),
            Ok(summary) => self.fail(&format!("{summary}\n{}", report.table())),
            Err(failure) => self.fail(&failure.0),
        }
        let expected = wanted.len() as u64;
        match status {
            Ok(0) if self.reports - before == expected => {}
            Ok(0) => self.fail("a test program printed no result"),
            Ok(status) if self.failed == 0 => self.fail(&format!("exit status {status}")),
            Ok(_) => {}
            Err(failure) => self.fail(&failure.0),
        }
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

/// One boot for all: the first program that fails does not keep the others from running.
fn guest_command(programs: &[&Program]) -> String {
    let mut script = String::from("status=0\n");
    for program in programs {
        // The conformance suite finds a service that runs; the others bring up what they need.
        if program.name == vts::SUITE {
            script.push_str(&vts::suite_command());
        } else {
            let name = &program.name;
            script
                .push_str(&format!("$BUFFERSYNC_STAGE/bin/{name} --test-threads=1 || status=1\n"));
        }
    }
    script.push_str(&vts::faults_command());
    script.push_str("exit $status\n");
    script
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

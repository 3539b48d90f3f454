// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask fuzz`: libFuzzer on the lock table, and on the service's objects.
//!
//! | what | program | where it runs |
//! |---|---|---|
//! | `engine` | `service/engine/fuzz`: histories of locks | on this machine |
//! | `service` | `service/fuzz`: transactions with descriptors and binders; without options what the tests run | in the testbed: it needs real dma-bufs and a binder driver |
//! | `record` | a service that keeps the transactions of the conformance suite | in the testbed; the seeds are made anew of them |
//! | `wrong` | `service` on services that are wrong on purpose: each has to be noticed | in the testbed |
//!
//! Soong builds the same sources as `buffersync_engine_fuzz` and `vendor.buffersync-service_fuzzer`. The
//! compiler's coverage instrumentation needs no nightly; a sanitizer would.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use buffersync_conformance::{sources, Fault, A_DROPPED_FENCE_IS_KEPT, SUITE};
use buffersync_testbed::checkout::{cache, root, target};
use buffersync_testbed::command::{call, copy, copy_folder};
use buffersync_testbed::lanes::{self, Done, Job};
use buffersync_testbed::programs::{self, TARGET};
use buffersync_testbed::{Failure, Run, Testbed, Where};

/// Instrumentation, by which libFuzzer sees the branches that an input takes.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares \
                     -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks";

/// The engine's fuzzer in the tests: it takes seconds, and has the same inputs each time.
pub const BRIEFLY: [&str; 4] = ["-runs=10000", "-seed=1", "-max_len=2048", "-len_control=0"];

/// The service's fuzzer.
const PROGRAM: &str = "buffersync_service_fuzzer";
/// The service that records.
const RECORDER: &str = "buffersync-recorder";
/// Options of every run of the service's fuzzer. An input of 1024 bytes is about a hundred calls. The service
/// takes 40 MB; 60 s are for a machine that does other things, too. SIGUSR1 is the service's own.
const ALWAYS: [&str; 5] =
    ["-max_len=1024", "-rss_limit_mb=512", "-timeout=60", "-handle_usr1=0", "-print_funcs=0"];
/// In the tests: two runs at once, each of so many inputs of so many bytes, which is a dozen calls. Short inputs
/// make the run a minute long; the seeds, which are longer, are cut. The service's threads do not do the same
/// each time.
const RUNS: u32 = 50_000;
const SHORT: &str = "-max_len=128";
const SEEDS: [u32; 2] = [1, 2];
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The faults of the wrong services; `noticed_by` has a word of the fuzzer's complaint.
const FAULTS: [Fault; 5] = [
    Fault {
        name: "a_refused_add_keeps_descriptors",
        file: "src/state.rs",
        from: "self.sessions.quotas.check_buffers(uid, kept, newcomers.into_iter())?;",
        to: "if let Err(error) = self.sessions.quotas.check_buffers(uid, kept, newcomers.into_iter()) {
            let copies = found.iter().map(|found| found.fd.try_clone_to_owned());
            if FAULT { copies.for_each(std::mem::forget); }
            return Err(error);
        }",
        noticed_by: &["left over"],
    },
    Fault { noticed_by: &["left over"], ..A_DROPPED_FENCE_IS_KEPT },
    Fault {
        name: "a_negative_time_out_panics",
        file: "src/binder/group.rs",
        from: "Err(_) => Err(Error::IllegalArgument(format!(\"timeoutNs is {timeout_ns}, {TRY} at least\"))),",
        to: "Err(why) if FAULT => panic!(\"{why}\"),
        Err(_) => Err(Error::IllegalArgument(format!(\"timeoutNs is {timeout_ns}, {TRY} at least\"))),",
        noticed_by: &["out of range integral type conversion"],
    },
    Fault {
        name: "a_worker_panics_at_a_pending_fence",
        file: "src/jobs.rs",
        from: "(Job::Wait(job), Some(pending)) => return Outcome::Pending(job, pending),",
        to: "(Job::Wait(_), Some(_)) if FAULT => panic!(\"a fence is pending\"),
        (Job::Wait(job), Some(pending)) => return Outcome::Pending(job, pending),",
        noticed_by: &["a fence is pending"],
    },
    Fault {
        name: "a_guessed_token_unlocks",
        file: "src/calls.rs",
        from: "            state.sessions.lock(id, token)?;
            state.engine.unlock(",
        to: "            let holds = |other: &GroupId| state.engine.held(*other, token).is_some();
            let stranger = state.sessions.iter().map(|(other, _)| other).find(holds);
            let id = stranger.filter(|_| FAULT).unwrap_or(id);
            state.sessions.lock(id, token)?;
            state.engine.unlock(",
        noticed_by: &["victim"],
    },
];

/// The jobs of the step `fuzz`, and of `fuzz-wrong`.
const RUN: &str = "fuzz-";
const WRONG: &str = "fuzz-wrong-";

/// `cargo xtask fuzz`; returns the fuzzer's exit status.
pub fn run(place: Where, limit: Option<Duration>, words: &[String]) -> Result<i32, Failure> {
    let (what, words) = match words.split_first() {
        Some((first, rest)) if !first.starts_with('-') => (first.as_str(), rest),
        _ => ("engine", words),
    };
    match (what, words) {
        ("engine", words) => engine(words),
        ("service", []) => in_the_tests(place, limit, runs()),
        ("wrong", []) => in_the_tests(place, limit, wrong()),
        ("service", words) => service(place, limit, words),
        ("record", []) => record(place, limit),
        _ => Err(Failure(
            "fuzz takes engine or service, and libFuzzer's options; record; wrong".into(),
        )),
    }
}

/// The fuzzer keeps inputs that reach something new in target/fuzz/corpus.
fn engine(words: &[String]) -> Result<i32, Failure> {
    let mut fuzzer = Command::new(build_engine()?);
    let corpus = target().join("fuzz/corpus");
    let failed = |error| Failure(format!("the fuzzer: {error}"));
    fs::create_dir_all(&corpus).map_err(failed)?;
    let status = fuzzer.current_dir(target().join("fuzz")).args(words).arg(corpus).status();
    Ok(status.map_err(failed)?.code().unwrap_or(1))
}

/// A run of the engine's for the tests; says what it did.
pub fn briefly() -> Result<String, String> {
    let program = build_engine().map_err(|failure| failure.0)?;
    let mut fuzzer = Command::new(program);
    let output = fuzzer.current_dir(target().join("fuzz")).args(BRIEFLY).output();
    let output = output.map_err(|error| format!("the fuzzer: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    verdict(output.status.success(), &said)
}

/// What the fuzzer did, if it found nothing and saw branches.
fn verdict(success: bool, said: &str) -> Result<String, String> {
    let last = |what: &str| said.lines().rev().find(|line| line.contains(what));
    match (success, last("Done "), last(" cov: ")) {
        // A fuzzer that sees no branches would not be looking.
        (true, Some(done), Some(covered)) => Ok(format!("{done}: {covered}")),
        _ => Err(format!("the fuzzer found something:\n{said}")),
    }
}

/// When it ends, the fuzzer leaves inputs that reach something new in target/fuzz/out/corpus, and inputs that
/// fail beside it. With a file of that folder among the words, it runs that input.
fn service(place: Where, limit: Option<Duration>, words: &[String]) -> Result<i32, Failure> {
    let stage = target().join("fuzz/stage");
    stage_in(&stage.join("fuzz"), root())?;
    let testbed = Testbed::prepare(place, &cache())?;
    let one_input = words.iter().any(|word| !word.starts_with('-'));
    let corpus = if one_input { "" } else { "/tmp/corpus $BUFFERSYNC_STAGE/fuzz/seeds" };
    // The shared folder is slow, so the guest works on a copy: three times as many inputs a second.
    let command = format!(
        "mkdir -p $BUFFERSYNC_OUT/corpus && cd $BUFFERSYNC_OUT && cp -r corpus /tmp/ || exit 1\n\
         $BUFFERSYNC_STAGE/fuzz/{PROGRAM} {} {} {corpus}\n\
         status=$?; cp -r /tmp/corpus .; exit $status",
        ALWAYS.join(" "),
        words.join(" ")
    );
    let limit = limit.unwrap_or(DAY);
    let run = Run { command: &command, stage: &stage, out: &out(), limit };
    testbed.run(&run, &mut |line| println!("{line}"))
}

/// Runs of the service's fuzzer for the tests, one for each processor of the guest.
pub fn runs() -> Vec<Job> {
    let run = |seed| {
        let options = format!("{SHORT} -runs={RUNS} -seed={seed}");
        job(format!("{RUN}{seed}"), "fuzz", &options)
    };
    SEEDS.map(run).into()
}

/// The fuzzer on services that are wrong on purpose.
pub fn wrong() -> Vec<Job> {
    let run = |fault: &Fault| {
        let options = format!("-runs={RUNS} -seed=1");
        let mut job = job(format!("{WRONG}{}", fault.name), "fuzz-wrong", &options);
        job.script.insert_str(0, &format!("export BUFFERSYNC_FAULT={}\n", fault.name));
        job
    };
    FAULTS.iter().map(run).collect()
}

fn job(name: String, folder: &str, options: &str) -> Job {
    let place = format!("$BUFFERSYNC_STAGE/{folder}");
    let script = format!(
        "mkdir /tmp/{name} && cd $BUFFERSYNC_OUT || exit 1\n\
         exec {place}/{PROGRAM} {} {options} /tmp/{name} {place}/seeds",
        ALWAYS.join(" ")
    );
    Job { name, script, alone: false }
}

/// True for a job that [`runs`] or [`wrong`] made.
pub fn is_own(job: &Job) -> bool {
    job.name.starts_with(RUN)
}

/// Gives the summary of a finished job. It is an error if a run found something, or if a wrong service
/// was not noticed.
pub fn judge(done: &Done<'_>) -> Result<String, String> {
    let said = done.lines.join("\n");
    let Some(name) = done.job.name.strip_prefix(WRONG) else {
        return verdict(done.status == 0, &said);
    };
    let complaint = done.lines.iter().skip_while(|line| !line.contains("panicked at")).nth(1);
    let complaint = complaint.map_or("", String::as_str);
    let fault = FAULTS.iter().find(|fault| fault.name == name);
    // 77 is libFuzzer's own, for an input that fails.
    if done.status == 77 && fault.is_some_and(|fault| complaint.contains(fault.noticed_by[0])) {
        Ok(format!("wrong service {name}: {complaint}"))
    } else {
        let status = done.status;
        Err(format!("wrong service {name} is not noticed: status {status}\n{said}"))
    }
}

fn in_the_tests(place: Where, limit: Option<Duration>, jobs: Vec<Job>) -> Result<i32, Failure> {
    let folder = target().join("fuzz/stage");
    stage(&jobs, &folder)?;
    let testbed = Testbed::prepare(place, &cache())?;
    let limit = limit.unwrap_or(Duration::from_secs(900));
    let mut status = 0;
    lanes::run(&testbed, &folder, &out(), limit, &jobs, &mut |done| match judge(done) {
        Ok(said) => println!("{said}"),
        Err(why) => {
            println!("{why}");
            status = 1;
        }
    })?;
    Ok(status)
}

/// Has the conformance suite's transactions recorded, and puts those that are worth it where the seeds
/// are: each seed reaches something that no other does.
fn record(place: Where, limit: Option<Duration>) -> Result<i32, Failure> {
    let mut made = programs::bins(&[])?;
    made.extend(programs::tests(&[SUITE])?);
    let stage = programs::stage(&made)?;
    stage_in(&stage.join("fuzz"), root())?;
    let folder = target().join("fuzz/recorder");
    let mut cargo = programs::cargo(&["build", "--quiet", "--locked", "--target", TARGET]);
    cargo.current_dir(root().join("service/fuzz")).args(["--bin", RECORDER]);
    call(cargo.env("CARGO_TARGET_DIR", &folder))?;
    let program = folder.join(TARGET).join("debug").join(RECORDER);
    copy(&program, &stage.join("bin").join(RECORDER))?;

    let testbed = Testbed::prepare(place, &cache())?;
    let bin = "$BUFFERSYNC_STAGE/bin";
    let command = format!(
        "rm -rf $BUFFERSYNC_OUT/recorded $BUFFERSYNC_OUT/seeds; \
         mkdir $BUFFERSYNC_OUT/recorded $BUFFERSYNC_OUT/seeds; chmod 777 $BUFFERSYNC_OUT/recorded\n\
         export BUFFERSYNC_RECORDING=$BUFFERSYNC_OUT/recorded\n\
         {bin}/buffersync-stack --service {bin}/{RECORDER} -- {bin}/{} --color never || echo 'not all tests passed'\n\
         echo recorded: $(ls $BUFFERSYNC_RECORDING | wc -l)\n\
         $BUFFERSYNC_STAGE/fuzz/{PROGRAM} {} -merge=1 $BUFFERSYNC_OUT/seeds $BUFFERSYNC_RECORDING 2>/tmp/log || \
         {{ cat /tmp/log; exit 1; }}\n",
        SUITE,
        ALWAYS.join(" ")
    );
    let limit = limit.unwrap_or(Duration::from_secs(900));
    let run = Run { command: &command, stage: &stage, out: &out(), limit };
    let status = testbed.run(&run, &mut |line| println!("{line}"))?;
    if status != 0 {
        return Ok(status);
    }
    let seeds = seeds();
    let count = copy_folder(&out().join("seeds"), &seeds)?;
    println!("{count} seeds are in {}", seeds.display());
    Ok(0)
}

fn out() -> PathBuf {
    target().join("fuzz/out")
}

fn seeds() -> PathBuf {
    root().join("service/fuzz/seeds")
}

/// Puts on the stage what jobs of [`runs`] or [`wrong`] need.
pub fn stage(jobs: &[Job], stage: &Path) -> Result<(), Failure> {
    let (wrong, runs): (Vec<&Job>, Vec<&Job>) =
        jobs.iter().filter(|job| is_own(job)).partition(|job| job.name.starts_with(WRONG));
    if !runs.is_empty() {
        stage_in(&stage.join("fuzz"), root())?;
    }
    if !wrong.is_empty() {
        let tree = target().join("fuzz/wrong");
        sources(&tree, &FAULTS)?;
        stage_in(&stage.join("fuzz-wrong"), &tree)?;
    }
    Ok(())
}

/// Puts into a folder the fuzzer of these sources, and the seeds.
fn stage_in(folder: &Path, sources: &Path) -> Result<(), Failure> {
    let program = build_fuzzer(&sources.join("service/fuzz"), PROGRAM)?;
    copy(&program, &folder.join(PROGRAM))?;
    copy_folder(&seeds(), &folder.join("seeds")).map(|_| ())
}

fn build_engine() -> Result<PathBuf, Failure> {
    build_fuzzer(&root().join("service/engine/fuzz"), "buffersync_engine_fuzz")
}

fn build_fuzzer(folder: &Path, program: &str) -> Result<PathBuf, Failure> {
    let target = target().join("fuzz");
    let mut cargo =
        programs::cargo(&["build", "--quiet", "--locked", "--release", "--target", TARGET]);
    cargo.current_dir(folder).args(["--bin", program]);
    call(cargo.env("RUSTFLAGS", FLAGS).env("CARGO_TARGET_DIR", &target))?;
    Ok(target.join(TARGET).join("release").join(program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_about_one_place_and_has_a_complaint() {
        for fault in &FAULTS {
            let text = fs::read_to_string(root().join("service").join(fault.file)).unwrap();
            assert_eq!(text.matches(fault.from).count(), 1, "{}: {}", fault.name, fault.from);
            assert!(fault.to.contains("FAULT") && fault.noticed_by.len() == 1, "{}", fault.name);
        }
    }

    #[test]
    fn a_fuzzer_that_ran_saw_branches() {
        let log = "#9 DONE   cov: 5 ft: 6\nDone 9 runs in 1 second(s)\n";
        assert_eq!(
            verdict(true, log).unwrap(),
            "Done 9 runs in 1 second(s): #9 DONE   cov: 5 ft: 6"
        );
        assert!(verdict(false, log).is_err());
        assert!(verdict(true, "Done 9 runs in 1 second(s)\n").is_err());
    }
}

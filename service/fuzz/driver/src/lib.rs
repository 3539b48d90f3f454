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

use buffersync_conformance::{sources, Fault, SUITE};
use buffersync_testbed::checkout::{cache, root, target};
use buffersync_testbed::command::{call, copy, copy_folder};
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
        from: "self.sessions.quotas.charge(uid, Kind::Buffers, newcomers)?;",
        to: "if let Err(error) = self.sessions.quotas.charge(uid, Kind::Buffers, newcomers) {
            if FAULT { std::mem::forget(own); }
            return Err(error);
        }",
        noticed_by: &["left over"],
    },
    Fault {
        name: "a_dropped_fence_is_kept",
        file: "src/arbiter.rs",
        from: "state.garbage.push(fence);",
        to: "if FAULT { std::mem::forget(Arc::clone(&fence)); }
                        state.garbage.push(fence);",
        noticed_by: &["left over"],
    },
    Fault {
        name: "a_negative_time_out_panics",
        file: "src/binder/group.rs",
        from: "Err(_) => Err(Error::IllegalArgument(\"negative time-out\")),",
        to: "Err(why) if FAULT => panic!(\"{why}\"),
        Err(_) => Err(Error::IllegalArgument(\"negative time-out\")),",
        noticed_by: &["out of range integral type conversion"],
    },
    Fault {
        name: "a_worker_panics_at_a_pending_fence",
        file: "src/jobs.rs",
        from: "(Job::Wait(job), Some(nth)) => return Outcome::Pending(job, nth),",
        to: "(Job::Wait(_), Some(_)) if FAULT => panic!(\"a fence is pending\"),
        (Job::Wait(job), Some(nth)) => return Outcome::Pending(job, nth),",
        noticed_by: &["a fence is pending"],
    },
    Fault {
        name: "a_guessed_token_unlocks",
        file: "src/calls.rs",
        from: "        let given = release::check(given)?;
        let files = self.take(id, token, given)?;
        self.with(|state, now| {",
        to: "        let given = release::check(given)?;
        let files = self.take(id, token, given)?;
        self.with(|state, now| {
            let holds = |other: &GroupId| state.engine.held(*other, token).is_some();
            let stranger = state.sessions.iter().map(|(other, _)| other).find(holds);
            let id = stranger.filter(|_| FAULT).unwrap_or(id);",
        noticed_by: &["victim"],
    },
];

/// `cargo xtask fuzz`; returns the fuzzer's exit status.
pub fn run(place: Where, limit: Option<Duration>, words: &[String]) -> Result<i32, Failure> {
    let (what, words) = match words.split_first() {
        Some((first, rest)) if !first.starts_with('-') => (first.as_str(), rest),
        _ => ("engine", words),
    };
    match (what, words) {
        ("engine", words) => engine(words),
        ("service" | "wrong", []) => {
            let testbed = Testbed::prepare(place, &cache())?;
            let step = if what == "wrong" { wrong } else { service_briefly };
            println!("{}", step(&testbed).map_err(Failure)?);
            Ok(0)
        }
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
    let stage = stage_service()?;
    let testbed = Testbed::prepare(place, &cache())?;
    let one_input = words.iter().any(|word| !word.starts_with('-'));
    let corpus = if one_input { "" } else { "/tmp/corpus $BUFFERSYNC_STAGE/seeds" };
    // The shared folder is slow, so the guest works on a copy: three times as many inputs a second.
    let command = format!(
        "mkdir -p $BUFFERSYNC_OUT/corpus && cd $BUFFERSYNC_OUT && cp -r corpus /tmp/ || exit 1\n\
         $BUFFERSYNC_STAGE/{PROGRAM} {} {} {corpus}\n\
         status=$?; cp -r /tmp/corpus .; exit $status",
        ALWAYS.join(" "),
        words.join(" ")
    );
    let limit = limit.unwrap_or(DAY);
    let run = Run { command: &command, stage: &stage, out: &out(), limit };
    testbed.run(&run, &mut |line| println!("{line}"))
}

/// Runs of the service's for the tests, one on each processor of the guest; says what they did.
pub fn service_briefly(testbed: &Testbed) -> Result<String, String> {
    let stage = stage_service().map_err(|failure| failure.0)?;
    let mut script = String::from("mkdir -p $BUFFERSYNC_OUT/failed && cd $BUFFERSYNC_OUT/failed\n");
    for seed in SEEDS {
        script.push_str(&format!(
            "(mkdir /tmp/{seed}; $BUFFERSYNC_STAGE/{PROGRAM} {} {SHORT} -runs={RUNS} -seed={seed} \
             /tmp/{seed} $BUFFERSYNC_STAGE/seeds >/tmp/{seed}.log 2>&1; \
             echo $? >/tmp/{seed}.status) &\n",
            ALWAYS.join(" ")
        ));
    }
    script.push_str("wait\n");
    for seed in SEEDS {
        script.push_str(&format!(
            "[ $(cat /tmp/{seed}.status) = 0 ] && grep -e DONE -e ^Done /tmp/{seed}.log || \
             tail -n 60 /tmp/{seed}.log\necho status $(cat /tmp/{seed}.status)\n"
        ));
    }
    let (_, said) = run_quietly(testbed, &stage, &script)?;
    let mut done = Vec::new();
    let mut rest = said.as_str();
    for seed in SEEDS {
        let (log, after) = rest.split_once("\nstatus ").unwrap_or((rest, ""));
        let (status, after) = after.split_once('\n').unwrap_or((after, ""));
        let judged = verdict(status == "0", log);
        done.push(judged.map_err(|why| format!("seed {seed}, status {status}: {why}"))?);
        rest = after;
    }
    Ok(done.join("\n   "))
}

/// Has the conformance suite's transactions recorded, and puts those that are worth it where the seeds
/// are: each seed reaches something that no other does.
fn record(place: Where, limit: Option<Duration>) -> Result<i32, Failure> {
    let mut made = programs::bins(&[])?;
    made.extend(programs::tests(&[SUITE])?);
    let stage = programs::stage(&made)?;
    let fuzzer = stage_service()?;
    copy(&fuzzer.join(PROGRAM), &stage.join("bin").join(PROGRAM))?;
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
         {bin}/{PROGRAM} {} -merge=1 $BUFFERSYNC_OUT/seeds $BUFFERSYNC_RECORDING 2>/tmp/log || \
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

/// Fails if the fuzzer does not notice a service that is wrong on purpose. Returns what it said to each.
pub fn wrong(testbed: &Testbed) -> Result<String, String> {
    let tree = target().join("fuzz/wrong");
    sources(&tree, &FAULTS).map_err(|failure| failure.0)?;
    let program = build_fuzzer(&tree.join("service/fuzz"), PROGRAM).map_err(|failure| failure.0)?;
    let stage = target().join("fuzz/stage-wrong");
    let staged = copy(&program, &stage.join(PROGRAM));
    staged.map_err(|failure| failure.0)?;
    copy_folder(&seeds(), &stage.join("seeds")).map_err(|failure| failure.0)?;
    let mut script = String::from("cd /tmp\n");
    for fault in &FAULTS {
        script.push_str(&format!(
            "mkdir {0}; BUFFERSYNC_FAULT={0} $BUFFERSYNC_STAGE/{PROGRAM} {1} -runs={RUNS} -seed=1 \
             {0} $BUFFERSYNC_STAGE/seeds >log 2>&1\n\
             echo \"wrong service {0}: status $? after $(grep -c . log) lines: $(grep -m1 -A1 'panicked at' log | tail -n 1)\"\n",
            fault.name,
            ALWAYS.join(" "),
        ));
    }
    let (_, said) = run_quietly(testbed, &stage, &script)?;
    for fault in &FAULTS {
        let verdict = format!("wrong service {}: status ", fault.name);
        let line = said.lines().find_map(|line| line.strip_prefix(&verdict));
        // 77 is libFuzzer's own, for an input that fails.
        if !line.is_some_and(|line| line.starts_with("77 ") && line.contains(fault.noticed_by[0])) {
            return Err(format!("{} is not noticed: {line:?}\n{said}", fault.name));
        }
    }
    Ok(said.lines().collect::<Vec<_>>().join("\n   "))
}

/// Runs a script; its status, and what it printed.
fn run_quietly(testbed: &Testbed, stage: &Path, script: &str) -> Result<(i32, String), String> {
    let mut said = String::new();
    let run = Run { command: script, stage, out: &out(), limit: Duration::from_secs(900) };
    let status = testbed.run(&run, &mut |line| {
        said.push_str(line);
        said.push('\n');
    });
    status.map(|status| (status, said)).map_err(|failure| failure.0)
}

fn out() -> PathBuf {
    target().join("fuzz/out")
}

fn seeds() -> PathBuf {
    root().join("service/fuzz/seeds")
}

/// The folder that the testbed sees: the program and the seeds.
fn stage_service() -> Result<PathBuf, Failure> {
    let program = build_fuzzer(&root().join("service/fuzz"), PROGRAM)?;
    let stage = target().join("fuzz/stage");
    copy(&program, &stage.join(PROGRAM))?;
    copy_folder(&seeds(), &stage.join("seeds"))?;
    Ok(stage)
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

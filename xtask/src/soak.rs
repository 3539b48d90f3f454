// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask soak`: everything at once against the service as users get it, for as long as one likes. With
//! `--wrong [WORD]...`, against services that are wrong on purpose, each of which has to be noticed.
//!
//! A soak's faults come by chance, so the wrong services do wrong now and then only, as a race would.

use std::fs;
use std::time::Duration;

use buffersync_conformance::{sources, Fault, A_DROPPED_FENCE_IS_KEPT};
use buffersync_testbed::checkout::{cache, out, target};
use buffersync_testbed::command::{call, copy};
use buffersync_testbed::lanes::Job;
use buffersync_testbed::{programs, Failure, Run, Testbed};

use crate::Options;

/// The name of the step of `cargo xtask test`, and its length.
pub const STEP: &str = "soak";
const STEP_SECONDS: u64 = 120;
const MINUTES: u64 = 30;
/// How long a wrong service may do wrong before it is noticed.
const WRONG_SECONDS: u64 = 60;
/// The time that the program needs before its first worker, and at the end.
const AROUND: Duration = Duration::from_secs(300);

/// The wrong services; `noticed_by` has a word of the complaint.
const WRONG: [Fault; 5] = [
    Fault {
        name: "sometimes_two_hold",
        file: "engine/src/holders.rs",
        from: "!self.exclusive && (",
        to: "(FAULT && {
            static ASKED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
            ASKED.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 100 == 0
        }) || !self.exclusive && (",
        noticed_by: &["TwoHolders"],
    },
    Fault { noticed_by: &["LEAKED: groups 0"], ..A_DROPPED_FENCE_IS_KEPT },
    Fault {
        name: "a_death_is_lost_sometimes",
        file: "src/binder/group.rs",
        from: "        self.arbiter.close_group(self.id, Close::Died);",
        to: "        static DIED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
        if FAULT && DIED.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 3 == 0 {
            return;
        }
        self.arbiter.close_group(self.id, Close::Died);",
        noticed_by: &["LEAKED: groups"],
    },
    Fault {
        name: "the_next_holder_is_not_told_sometimes",
        file: "engine/src/evictions.rs",
        from: "self.count > self.settled",
        to: "self.count > self.settled && !(FAULT && self.count % 5 == 0)",
        noticed_by: &["NotToldOfEviction"],
    },
    Fault {
        name: "a_reader_repairs_torn_content",
        file: "engine/src/evictions.rs",
        from: "if access.is_exclusive() {",
        to: "if access.is_exclusive() || FAULT {",
        noticed_by: &["torn content", "NotToldOfTearing"],
    },
];

/// The step's job.
pub fn job() -> Job {
    let script = format!("exec $BUFFERSYNC_STAGE/bin/buffersync-soak run --seconds {STEP_SECONDS}");
    Job { name: STEP.into(), script, alone: false }
}

/// Runs it; 0 if nothing was violated and nothing leaked.
pub fn run(options: &Options) -> Result<i32, Failure> {
    let stage = programs::stage(&programs::release(&["service", "testbed-soak"])?)?;
    if options.wrong {
        return wrong(options, &stage);
    }
    let time = Duration::from_secs(60 * options.minutes.unwrap_or(MINUTES));
    let command = format!(
        "exec $BUFFERSYNC_STAGE/bin/buffersync-soak run --seconds {} --seed {}",
        time.as_secs(),
        options.seed.unwrap_or(1)
    );
    // A guest's clock is not this one's.
    let limit = options.limit.unwrap_or(time.mul_f64(1.5) + AROUND);
    let testbed = Testbed::prepare(options.place, &cache())?;
    let run = Run { command: &command, stage: &stage, out: &out(), limit };
    testbed.run(&run, &mut |line| println!("{line}"))
}

/// Runs it on the wrong services, and once on their program without a fault.
fn wrong(options: &Options, stage: &std::path::Path) -> Result<i32, Failure> {
    let folder = target().join("soak-wrong");
    sources(&folder, &WRONG)?;
    let mut cargo =
        programs::cargo_static(&["build", "--quiet", "--release", "--package", programs::SERVICE]);
    cargo.current_dir(&folder).env("CARGO_TARGET_DIR", folder.join("target"));
    call(&mut cargo)?;
    let built = folder.join("target").join(programs::TARGET).join("release/buffersync-service");
    copy(&built, &stage.join("wrong/service"))?;
    let testbed = Testbed::prepare(options.place, &cache())?;
    let out = out();
    let mut unnoticed = Vec::new();
    let names = WRONG.iter().map(|fault| (fault.name, fault.noticed_by));
    let all = names.chain([("none", &[] as &[&str])]);
    let wanted = |name: &str| {
        options.words.is_empty() || options.words.iter().any(|word| name.contains(word))
    };
    let mut runs = 0;
    for (name, words) in all.filter(|(name, _)| wanted(name)) {
        runs += 1;
        println!("== {name}");
        let command = format!(
            "BUFFERSYNC_FAULT={name} exec $BUFFERSYNC_STAGE/bin/buffersync-soak run --seconds {WRONG_SECONDS} \
             --seed {} --service $BUFFERSYNC_STAGE/wrong/service",
            options.seed.unwrap_or(1)
        );
        let limit = options.limit.unwrap_or(Duration::from_secs(WRONG_SECONDS) + AROUND);
        let run = Run { command: &command, stage, out: &out, limit };
        let mut lines = Vec::new();
        let status = testbed.run(&run, &mut |line| lines.push(line.to_string()))?;
        let log = out.join(format!("soak-{name}.log"));
        let _ = fs::write(&log, lines.join("\n") + "\n");
        let said = |word: &&str| lines.iter().any(|line| line.contains(*word));
        let noticed = status != 0 && words.iter().any(said);
        let complaint = lines.iter().find(|line| words.iter().any(|word| line.contains(word)));
        complaint.into_iter().chain(lines.last()).for_each(|line| println!("   {line}"));
        if noticed == words.is_empty() || words.is_empty() && status != 0 {
            unnoticed.push(name);
        }
    }
    match unnoticed[..] {
        [] => println!("soak: {runs} runs on wrong services, and all as it should be"),
        _ => println!("soak: not as it should be: {}", unnoticed.join(", ")),
    }
    Ok(i32::from(!unnoticed.is_empty()))
}

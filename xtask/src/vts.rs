// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask vts`: the conformance suite against the service, and against services that are wrong;
//! a table of requirements and results.
//!
//! | module | what it is |
//! |---|---|
//! | [`requirements`] | the list of what is asked, held against its sources |
//! | [`faults`] | what is wrong with the wrong services |
//! | [`wrong`] | builds them, all in one program |
//! | [`report`] | results by requirement: table, JSON, JUnit |

mod faults;
mod report;
mod requirements;
mod wrong;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use buffersync_testbed::{Failure, Run, Testbed};

use crate::build::{self, Program};
use crate::{cache, out_folder, target, Options};
pub use faults::Fault;
use faults::FAULTS;
pub use report::Report;
pub use wrong::sources;

/// The suite's program.
pub const SUITE: &str = "VtsHalBufferSyncTargetTest";
/// How long everything at once goes on in an ordinary run.
const STRESS_SECONDS: u32 = 5;

/// Runs the suite; 0 if every requirement holds and every wrong service is noticed.
pub fn run(options: &Options) -> Result<i32, Failure> {
    let programs = build::programs(true)?;
    let stage = build::stage_programs(&programs)?;
    let mut report = prepare(&programs)?;
    let testbed = Testbed::prepare(options.place, &cache())?;
    let limit = options.limit.unwrap_or(Duration::from_secs(1200));
    let out = out_folder();
    let command = format!("{}{}", suite_command(), faults_command());
    let run = Run { command: &command, stage: &stage, out: &out, limit };
    testbed.run(&run, &mut |line| {
        println!("{line}");
        report.read(line);
    })?;
    print!("{}", report.table());
    let summary = report.finish(&target().join("vts"))?;
    println!("{summary}");
    Ok(i32::from(!report.is_good()))
}

/// Checks the list of requirements, and puts the wrong services on the stage.
pub fn prepare(programs: &[Program]) -> Result<Report, Failure> {
    let suite = programs.iter().find(|program| program.name == SUITE);
    let suite = suite.ok_or_else(|| Failure(format!("cargo made no {SUITE}")))?;
    let tests = names(&suite.path)?;
    for fault in FAULTS {
        if let Some(gone) = fault.noticed_by.iter().find(|test| !tests.contains(**test)) {
            return Err(Failure(format!("{}: there is no test {gone}", fault.name)));
        }
    }
    let requirements = requirements::checked(&tests).map_err(Failure)?;
    wrong::stage(&cache().join("stage/wrong"))?;
    Ok(Report::new(requirements, FAULTS.iter().map(|fault| fault.name)))
}

/// The suite's own list of its tests, without instances.
fn names(suite: &std::path::Path) -> Result<BTreeSet<String>, Failure> {
    let output = Command::new(suite).arg("--list").output();
    let output = output.map_err(|error| Failure(format!("{SUITE}: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter_map(|line| line.strip_suffix(": test"));
    let names = lines.filter_map(|line| Some(line.split_once('/')?.1.to_string()));
    Ok(names.collect())
}

/// Runs the suite against the service. A shell line; `$status` is 1 afterwards if something failed.
pub fn suite_command() -> String {
    format!(
        "$BUFFERSYNC_STAGE/bin/buffersync-stack -- env \
         BUFFERSYNC_VTS_STRESS_SECONDS={STRESS_SECONDS} $BUFFERSYNC_STAGE/bin/{SUITE} \
         --color never || status=1\n"
    )
}

/// Runs, against each wrong service, the tests that should notice. What they print goes to files: only
/// the verdict is for the reader.
pub fn faults_command() -> String {
    let mut script = String::from(
        "export BUFFERSYNC_VTS_PATIENCE_SECONDS=4\n\
         try_wrong() {\n\
         fault=$1; shift; noticed=\n\
         for test in \"$@\"; do\n\
         log=$BUFFERSYNC_OUT/wrong-$fault.log\n\
         BUFFERSYNC_FAULT=$fault timeout 60 $BUFFERSYNC_STAGE/bin/buffersync-stack \\\n\
         --service $BUFFERSYNC_STAGE/wrong/vendor.buffersync-service -- \\\n",
    );
    script.push_str(&format!(
        "$BUFFERSYNC_STAGE/bin/{SUITE} --color never --exact default/$test >$log 2>&1\n\
         grep -q '^test result: FAILED. 0 passed; 1 failed' $log && noticed=\"$noticed $test\"\n\
         done\n\
         if [ \"$noticed\" ]; then echo \"wrong service $fault: noticed by$noticed\"\n\
         else echo \"wrong service $fault: NOT NOTICED\"; tail -20 $log; status=1; fi\n}}\n"
    ));
    for fault in FAULTS {
        script.push_str(&format!("try_wrong {} {}\n", fault.name, fault.noticed_by.join(" ")));
    }
    // The same program without a fault: what notices a fault must not fail without.
    let tests: BTreeSet<&str> = FAULTS.iter().flat_map(|fault| fault.noticed_by).copied().collect();
    script.push_str(
        "unset BUFFERSYNC_VTS_PATIENCE_SECONDS\nlog=$BUFFERSYNC_OUT/wrong-none.log\n\
         $BUFFERSYNC_STAGE/bin/buffersync-stack --service \
         $BUFFERSYNC_STAGE/wrong/vendor.buffersync-service -- sh -c '\n",
    );
    for test in tests {
        script.push_str(&format!(
            "$BUFFERSYNC_STAGE/bin/{SUITE} --color never --exact default/{test} || exit 1\n"
        ));
    }
    script.push_str(
        "' >$log 2>&1 && echo 'wrong service none: nothing is wrong' || \
         { echo 'wrong service none: FAILS WITHOUT A FAULT'; tail -20 $log; status=1; }\n",
    );
    script
}

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
use faults::{DISGUISE, FAULTS};
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
    let command = format!("status=0\n{}{}exit $status\n", suite_command(), faults_command());
    let run = Run { command: &command, stage: &stage, out: &out, limit };
    let status = testbed.run(&run, &mut |line| {
        println!("{line}");
        report.read(line);
    })?;
    print!("{}", report.table());
    let summary = report.finish(&target().join("vts"))?;
    println!("{summary}");
    Ok(i32::from(status != 0 || !report.is_good()))
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
    let named = LOOK_AT_THE_PROCESS.iter().chain([&OUTPACED]);
    if let Some(gone) = named.copied().find(|test| !tests.contains(*test)) {
        return Err(Failure(format!("there is no test {gone}")));
    }
    let requirements = requirements::checked(&tests).map_err(Failure)?;
    wrong::stage(&cache().join("stage/wrong"))?;
    Ok(Report::new(requirements, FAULTS.iter().map(|fault| fault.name)))
}

/// Tests of the suite that need to know which process the service is.
const LOOK_AT_THE_PROCESS: [&str; 3] = [
    "eviction::a_marked_buffer_keeps_its_id_and_its_generation_when_nobody_has_it",
    "quotas::a_thousand_pending_fences_cost_no_thread",
    "quotas::descriptors_do_not_leak",
];

/// A test that holds something for more than 100 ms.
const OUTPACED: &str = "locking::queued_locks_are_granted_in_ticket_order";

/// The suite's own list of its tests, without instances.
fn names(suite: &std::path::Path) -> Result<BTreeSet<String>, Failure> {
    let output = Command::new(suite).arg("--list").output();
    let output = output.map_err(|error| Failure(format!("{SUITE}: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter_map(|line| line.strip_suffix(": test"));
    let names = lines.filter_map(|line| Some(line.split_once('/')?.1.to_string()));
    Ok(names.collect())
}

/// Runs the suite against the service, beside a busy loop for each of the guest's CPUs: no verdict may depend
/// on speed. Shell lines; `$status` is 1 afterwards if something failed.
pub fn suite_command() -> String {
    format!(
        "loops=; for cpu in $(seq $(nproc)); do\n\
         while :; do :; done & loops=\"$loops $!\"\ndone\n\
         $BUFFERSYNC_STAGE/bin/buffersync-stack -- env \
         BUFFERSYNC_VTS_STRESS_SECONDS={STRESS_SECONDS} $BUFFERSYNC_STAGE/bin/{SUITE} \
         --color never || status=1\n\
         kill $loops\n"
    )
}

/// Runs, against each wrong service, the tests that should notice. What they print goes to files: only
/// the verdict is for the reader.
pub fn faults_command() -> String {
    let mut script = format!(
        "service=$BUFFERSYNC_STAGE/wrong/{}\n\
         export BUFFERSYNC_VTS_PATIENCE_SECONDS=4\n\
         try_wrong() {{\n\
         fault=$1; shift; noticed=\n\
         for test in \"$@\"; do\n\
         log=$BUFFERSYNC_OUT/wrong-$fault.log\n\
         BUFFERSYNC_FAULT=$fault timeout 300 $BUFFERSYNC_STAGE/bin/buffersync-stack \\\n\
         --service $service -- \\\n",
        wrong::PROGRAM
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
    // A hold limit that no machine is fast enough for: the suite must not blame the service.
    script.push_str(&format!(
        "log=$BUFFERSYNC_OUT/too-slow.log\n\
         $BUFFERSYNC_STAGE/bin/buffersync-stack --service-arg --default-hold-ms --service-arg 100 -- \\\n\
         $BUFFERSYNC_STAGE/bin/{SUITE} --color never --exact default/{OUTPACED} >$log 2>&1\n\
         grep -q 'the machine is too slow' $log || \
         {{ echo 'a verdict on a service that was faster than the test'; tail -20 $log; status=1; }}\n"
    ));
    // The same program without a fault: what notices a fault must not fail without. Nor must a test that looks
    // at the service's process, whatever that and its threads are named.
    let noticing = FAULTS.iter().flat_map(|fault| fault.noticed_by).copied();
    let tests: BTreeSet<&str> = noticing.chain(LOOK_AT_THE_PROCESS).collect();
    script.push_str(&format!(
        "unset BUFFERSYNC_VTS_PATIENCE_SECONDS\nlog=$BUFFERSYNC_OUT/wrong-none.log\n\
         BUFFERSYNC_FAULT={} $BUFFERSYNC_STAGE/bin/buffersync-stack --service $service -- sh -c '\n\
         for second in $(seq 60); do\n\
         grep -qs ^binder:185_2 /proc/[0-9]*/task/*/comm && break; sleep 1\ndone\n\
         grep -qs ^binder:185_2 /proc/[0-9]*/task/*/comm || exit 1\n\
         grep -s ^vendor.buffersy /proc/[0-9]*/task/*/comm && exit 1\n",
        DISGUISE.name
    ));
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

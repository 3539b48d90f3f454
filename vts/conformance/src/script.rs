// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The suite's jobs in the testbed: it runs against the service, and against the wrong services. The lines that
//! [`crate::Report`] reads say what was found.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use buffersync_testbed::lanes::Job;

use crate::faults::{Fault, DISGUISE, FAULTS};
use crate::{wrong, LOOK_AT_THE_PROCESS, OUTPACED, SUITE};

/// Seconds that the stress test takes in an ordinary run.
const STRESS_SECONDS: u32 = 5;
/// A wrong service often keeps a test waiting. So many seconds are enough for a right one.
const PATIENCE_SECONDS: u32 = 4;
/// A test that says that the machine is too slow has noticed nothing, and is asked again so many times.
const TRIES: u32 = 3;
/// Before the name of a wrong service, in the names of jobs.
pub const WRONG: &str = "wrong-";

/// The suite against the service and the wrong services, the longest first. Jobs run beside each other, so the
/// processors are busy all the time: no verdict may depend on speed.
pub fn jobs() -> Vec<Job> {
    let job = |name: String, script: String| Job { name, script, alone: false };
    let mut jobs = vec![
        job(SUITE.into(), suite()),
        job(format!("{WRONG}none"), without_a_fault()),
        job(format!("{WRONG}outpaced"), outpaced()),
    ];
    let faults = FAULTS.iter().map(|fault| job(format!("{WRONG}{}", fault.name), attempt(fault)));
    jobs.extend(faults);
    jobs
}

/// The suite against the service as it is installed: under its unit's filter of system calls, which kills it for
/// any other call.
fn suite() -> String {
    format!(
        "cat >$BUFFERSYNC_OUT/confined <<END\n\
         #!/bin/sh\n\
         exec $BUFFERSYNC_STAGE/bin/buffersync-confined \
         $BUFFERSYNC_STAGE/prefix/lib/systemd/system/vendor.buffersync.service \
         $BUFFERSYNC_STAGE/prefix/bin/vendor.buffersync-service \"\\$@\"\n\
         END\n\
         chmod 755 $BUFFERSYNC_OUT/confined\n\
         exec $BUFFERSYNC_STAGE/bin/buffersync-stack --service $BUFFERSYNC_OUT/confined -- env \
         BUFFERSYNC_VTS_STRESS_SECONDS={STRESS_SECONDS} $BUFFERSYNC_STAGE/bin/{SUITE} --color never\n"
    )
}

/// What the following scripts have in common.
fn wrong_service() -> String {
    format!(
        "stack=$BUFFERSYNC_STAGE/bin/buffersync-stack\n\
         suite=\"$BUFFERSYNC_STAGE/bin/{SUITE} --color never --exact\"\n\
         service=$BUFFERSYNC_STAGE/wrong/{}\n\
         log=$BUFFERSYNC_OUT/log-of-the-suite\n",
        wrong::PROGRAM
    )
}

/// The tests that have to notice a wrong service.
fn attempt(fault: &Fault) -> String {
    let Fault { name, noticed_by, .. } = fault;
    format!(
        "{}export BUFFERSYNC_FAULT={name} BUFFERSYNC_VTS_PATIENCE_SECONDS={PATIENCE_SECONDS}\n\
         noticed=\n\
         for test in {}; do\n\
         for try in $(seq {TRIES}); do\n\
         timeout 300 $stack --service $service -- $suite default/$test >$log 2>&1\n\
         grep -q 'the machine is too slow' $log || break\n\
         done\n\
         grep -q '^test result: FAILED. 0 passed; 1 failed' $log && \
         ! grep -q 'the machine is too slow' $log && noticed=\"$noticed $test\"\n\
         done\n\
         if [ \"$noticed\" ]; then echo \"wrong service {name}: noticed by$noticed\"\n\
         else echo \"wrong service {name}: NOT NOTICED\"; tail -20 $log; exit 1; fi\n",
        wrong_service(),
        noticed_by.join(" ")
    )
}

/// A hold limit that no machine is fast enough for: the suite must not blame the service.
fn outpaced() -> String {
    format!(
        "{}$stack --service-arg --default-hold-ms --service-arg 100 -- $suite default/{OUTPACED} >$log 2>&1\n\
         grep -q 'the machine is too slow' $log && exit\n\
         echo 'a verdict on a service that was faster than the test'; tail -20 $log; exit 1\n",
        wrong_service()
    )
}

/// The wrong services' program without a fault, and with other names. What notices a fault must not fail
/// here. Nor must a test that looks at the service's process, whatever that and its threads are named.
fn without_a_fault() -> String {
    let noticing = FAULTS.iter().flat_map(|fault| fault.noticed_by).copied();
    let tests: BTreeSet<&str> = noticing.chain(LOOK_AT_THE_PROCESS).collect();
    let mut script = format!(
        "{}export suite BUFFERSYNC_FAULT={}\n\
         $stack --service $service -- sh -c '\n\
         for second in $(seq 60); do\n\
         grep -qs ^binder:185_2 /proc/[0-9]*/task/*/comm && break; sleep 1\ndone\n\
         grep -qs ^binder:185_2 /proc/[0-9]*/task/*/comm || exit 1\n\
         grep -s ^vendor.buffersy /proc/[0-9]*/task/*/comm && exit 1\n",
        wrong_service(),
        DISGUISE.name
    );
    for test in tests {
        let _ = writeln!(script, "$suite default/{test} || exit 1");
    }
    script.push_str(
        "' >$log 2>&1 && echo 'wrong service none: nothing is wrong' && exit\n\
         echo 'wrong service none: FAILS WITHOUT A FAULT'; tail -20 $log; exit 1\n",
    );
    script
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Shell lines for the testbed: the suite against the service, and against the wrong services.
//!
//! `$status` is 1 afterwards if something failed; the lines that [`crate::Report`] reads say what.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use buffersync_testbed::lanes::{self, LANES};

use crate::faults::{Fault, DISGUISE, FAULTS};
use crate::{wrong, LOOK_AT_THE_PROCESS, OUTPACED, SUITE};

/// Seconds that the stress test takes in an ordinary run.
const STRESS_SECONDS: u32 = 5;
/// A wrong service often keeps a test waiting. So many seconds are enough for a right one.
const PATIENCE_SECONDS: u32 = 4;

/// The suite against the service, beside a busy loop for each of the guest's CPUs: no verdict may depend on
/// speed.
pub fn suite() -> String {
    format!(
        "loops=; for cpu in $(seq $(nproc)); do\n\
         while :; do :; done & loops=\"$loops $!\"\ndone\n\
         $BUFFERSYNC_STAGE/bin/buffersync-stack -- env \
         BUFFERSYNC_VTS_STRESS_SECONDS={STRESS_SECONDS} $BUFFERSYNC_STAGE/bin/{SUITE} \
         --color never || status=1\n\
         kill $loops\n"
    )
}

/// For each wrong service the tests that have to notice. What they print goes to files.
///
/// The wrong services are tried in lanes. Tests that read the kernel's trace run while no other lane does: the
/// trace has the ioctls of all processes.
pub fn faults() -> String {
    let traced = FAULTS.iter().filter(|fault| is_traced(fault));
    let mut alone = [const { String::new() }; LANES];
    alone[0] =
        tries(0, traced) + &without_a_fault("with a trace", reads_the_trace) + "exit $status\n";
    lanes::script(&alone) + &lanes::script(&std::array::from_fn(of_lane))
}

fn reads_the_trace(test: &str) -> bool {
    test.starts_with("coherence")
}

fn is_traced(fault: &Fault) -> bool {
    fault.noticed_by.iter().any(|test| reads_the_trace(test))
}

fn of_lane(lane: usize) -> String {
    let others = FAULTS.iter().filter(|fault| !is_traced(fault));
    let mut script = tries(lane, others.skip(lane).step_by(LANES));
    if lane == 0 {
        script.push_str(&outpaced());
    }
    if lane == LANES - 1 {
        script.push_str(&without_a_fault("none", |test| !reads_the_trace(test)));
    }
    script + "exit $status\n"
}

/// Tries the wrong services one after the other. A test that says that the machine is too slow has noticed
/// nothing.
fn tries<'a>(lane: usize, faults: impl Iterator<Item = &'a Fault>) -> String {
    let mut script = format!(
        "status=0\n\
         logs=$BUFFERSYNC_OUT\n\
         export BUFFERSYNC_OUT=/tmp/out-{lane} BUFFERSYNC_VTS_PATIENCE_SECONDS={PATIENCE_SECONDS}\n\
         stack=$BUFFERSYNC_STAGE/bin/buffersync-stack\n\
         suite=\"$BUFFERSYNC_STAGE/bin/{SUITE} --color never --exact\"\n\
         service=$BUFFERSYNC_STAGE/wrong/{}\n\
         try_wrong() {{\n\
         fault=$1; shift; noticed=; log=$logs/wrong-$fault.log\n\
         for test in \"$@\"; do\n\
         BUFFERSYNC_FAULT=$fault timeout 300 $stack --service $service -- $suite default/$test >$log 2>&1\n\
         grep -q '^test result: FAILED. 0 passed; 1 failed' $log && \
         ! grep -q 'the machine is too slow' $log && noticed=\"$noticed $test\"\n\
         done\n\
         if [ \"$noticed\" ]; then echo \"wrong service $fault: noticed by$noticed\"\n\
         else echo \"wrong service $fault: NOT NOTICED\"; tail -20 $log; status=1; fi\n}}\n",
        wrong::PROGRAM
    );
    for fault in faults {
        let _ = writeln!(script, "try_wrong {} {}", fault.name, fault.noticed_by.join(" "));
    }
    script
}

/// A hold limit that no machine is fast enough for: the suite must not blame the service.
fn outpaced() -> String {
    format!(
        "log=$logs/too-slow.log\n\
         $stack --service-arg --default-hold-ms --service-arg 100 -- $suite default/{OUTPACED} >$log 2>&1\n\
         grep -q 'the machine is too slow' $log || \
         {{ echo 'a verdict on a service that was faster than the test'; tail -20 $log; status=1; }}\n"
    )
}

/// The wrong services' program without a fault, and with other names. What notices a fault must not fail
/// here. Nor must a test that looks at the service's process, whatever that and its threads are named.
fn without_a_fault(name: &str, asked: impl Fn(&str) -> bool) -> String {
    let noticing = FAULTS.iter().flat_map(|fault| fault.noticed_by).copied();
    let tests: BTreeSet<&str> =
        noticing.chain(LOOK_AT_THE_PROCESS).filter(|test| asked(test)).collect();
    let mut script = format!(
        "unset BUFFERSYNC_VTS_PATIENCE_SECONDS\nlog=$logs/wrong-none.log\n\
         BUFFERSYNC_FAULT={} suite=$suite $stack --service $service -- sh -c '\n\
         for second in $(seq 60); do\n\
         grep -qs ^binder:185_2 /proc/[0-9]*/task/*/comm && break; sleep 1\ndone\n\
         grep -qs ^binder:185_2 /proc/[0-9]*/task/*/comm || exit 1\n\
         grep -s ^vendor.buffersy /proc/[0-9]*/task/*/comm && exit 1\n",
        DISGUISE.name
    );
    for test in tests {
        let _ = writeln!(script, "$suite default/{test} || exit 1");
    }
    let _ = writeln!(
        script,
        "' >$log 2>&1 && echo 'wrong service {name}: nothing is wrong' || \
         {{ echo 'wrong service {name}: FAILS WITHOUT A FAULT'; tail -20 $log; status=1; }}"
    );
    script
}

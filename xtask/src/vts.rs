// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask vts`: the conformance suite in the testbed; a table of requirements and results.

use std::time::Duration;

use buffersync_conformance::{prepare, script, SUITE};
use buffersync_testbed::checkout::{cache, out, target};
use buffersync_testbed::{programs, Failure, Run, Testbed};

use crate::Options;

/// Runs the suite; 0 if every requirement holds and every wrong service is noticed.
pub fn run(options: &Options) -> Result<i32, Failure> {
    let suite = programs::tests(&[SUITE])?;
    let mut report = prepare(&suite)?;
    let stage = programs::stage(&[programs::bins(&[])?, suite].concat())?;
    let testbed = Testbed::prepare(options.place, &cache())?;
    let limit = options.limit.unwrap_or(Duration::from_secs(1200));
    let out = out();
    let command = format!("status=0\n{}{}exit $status\n", script::suite(), script::faults());
    let run = Run { command: &command, stage: &stage, out: &out, limit };
    let status = testbed.run(&run, &mut |line| {
        println!("{line}");
        report.read(line);
    })?;
    print!("{}", report.table());
    println!("{}", report.finish(&target().join("vts"))?);
    Ok(i32::from(status != 0 || !report.is_good()))
}

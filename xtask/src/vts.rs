// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask vts`: the conformance suite in the testbed; a table of requirements and results.

use std::time::Duration;

use buffersync_conformance::{prepare, script, SUITE};
use buffersync_testbed::checkout::{cache, out, target};
use buffersync_testbed::{lanes, programs, Failure, Testbed};

use crate::{clients, Options};

/// Runs the suite; 0 if every requirement holds and every wrong service is noticed.
pub fn run(options: &Options) -> Result<i32, Failure> {
    let suite = programs::tests(&[SUITE])?;
    let mut report = prepare(&suite)?;
    let stage = programs::stage(&[programs::bins(&[])?, suite].concat())?;
    clients::install(&stage, false)?;
    let testbed = Testbed::prepare(options.place, &cache())?.with_devices();
    let limit = options.limit.unwrap_or(Duration::from_secs(1200));
    let mut good = true;
    lanes::run(&testbed, &stage, &out(), limit, &script::jobs(), &mut |done| {
        good &= done.status == 0;
        for line in &done.lines {
            println!("{line}");
            report.read(line);
        }
    })?;
    print!("{}", report.table());
    println!("{}", report.finish(&target().join("vts"))?);
    Ok(i32::from(!good || !report.is_good()))
}

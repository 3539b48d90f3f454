// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask demo`: the pipeline in the testbed, and its timeline in target/demo.

use std::time::Duration;

use buffersync_testbed::checkout::{cache, out, target};
use buffersync_testbed::command::copy;
use buffersync_testbed::{programs, Failure, Run, Testbed};

use crate::Options;

const COMMAND: &str = "$BUFFERSYNC_STAGE/bin/buffersync-stack -- \
     $BUFFERSYNC_STAGE/bin/buffersync-demo run --out $BUFFERSYNC_OUT/demo";

/// Runs it. The demo's last line is the last that is printed to standard output.
pub fn run(options: &Options) -> Result<i32, Failure> {
    let stage = programs::stage(&programs::bins(&[])?)?;
    let testbed = Testbed::prepare(options.place, &cache())?;
    let out = out();
    let limit = options.limit.unwrap_or(Duration::from_secs(400));
    let run = Run { command: COMMAND, stage: &stage, out: &out, limit };
    let status = testbed.run(&run, &mut |line| println!("{line}"))?;
    let drawn = out.join("demo/timeline.svg");
    if drawn.exists() {
        let picture = target().join("demo/timeline.svg");
        copy(&drawn, &picture)?;
        eprintln!("xtask: timeline in {}", picture.display());
    }
    Ok(status)
}

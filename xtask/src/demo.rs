// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask demo`: the pipeline in the testbed, and its timeline in target/demo.

use std::fs;
use std::time::Duration;

use buffersync_testbed::{Failure, Run, Testbed};

use crate::{build, cache, out_folder, target, Options};

const COMMAND: &str = "$BUFFERSYNC_STAGE/bin/buffersync-stack -- \
     $BUFFERSYNC_STAGE/bin/buffersync-demo run --out $BUFFERSYNC_OUT/demo";

/// Runs it. The demo's last line is the last that is printed to standard output.
pub fn run(options: &Options) -> Result<i32, Failure> {
    let stage = build::stage_programs(&build::programs(false)?)?;
    let testbed = Testbed::prepare(options.place, &cache())?;
    let out = out_folder();
    let limit = options.limit.unwrap_or(Duration::from_secs(400));
    let run = Run { command: COMMAND, stage: &stage, out: &out, limit };
    let status = testbed.run(&run, &mut |line| println!("{line}"))?;
    let drawn = out.join("demo/timeline.svg");
    if drawn.exists() {
        let folder = target().join("demo");
        let io = |error| Failure(format!("{}: {error}", folder.display()));
        fs::create_dir_all(&folder).map_err(io)?;
        fs::copy(&drawn, folder.join("timeline.svg")).map_err(io)?;
        eprintln!("xtask: timeline in {}", folder.join("timeline.svg").display());
    }
    Ok(status)
}

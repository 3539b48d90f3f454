// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask demo`: the pipeline in the testbed. Its pictures are in target/demo afterwards.

use std::fs;
use std::time::Duration;

use buffersync_testbed::checkout::{cache, out, target};
use buffersync_testbed::command::copy_folder;
use buffersync_testbed::{programs, Failure, Run, Testbed, Where};

use crate::Options;

/// Runs it. The demo's last line is the last that is printed to standard output.
pub fn run(options: &Options) -> Result<i32, Failure> {
    let stage = programs::stage(&programs::bins(&[
        "buffersync-demo",
        "buffersync-stack",
        programs::SERVICE,
    ])?)?;
    let testbed = Testbed::prepare(options.place, &cache())?.with_devices();
    let out = out();
    let made_here = out.join("demo");
    let _ = fs::remove_dir_all(&made_here);
    let limit = options.limit.unwrap_or(Duration::from_secs(400));
    // Only QEMU can take a picture of its screen.
    let screenshot = if options.place == Where::Native { "" } else { "--screenshot" };
    let command = format!("{} $BUFFERSYNC_OUT/demo {screenshot}", programs::DEMO);
    let run = Run { command: &command, stage: &stage, out: &out, limit };
    let status = testbed.run(&run, &mut |line| println!("{line}"))?;
    if made_here.exists() {
        let pictures = target().join("demo");
        let count = copy_folder(&made_here, &pictures)?;
        eprintln!("xtask: {count} files in {}", pictures.display());
    }
    Ok(status)
}

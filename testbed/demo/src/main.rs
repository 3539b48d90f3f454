// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `buffersync-demo`: a video pipeline on real drivers. Each part is a process with its own user.
//!
//! ```text
//!           in0..5         out0..2
//! camera -----+---> codec ---------> writer       stuck: takes out0 and never lets go
//! (vivid)     |    (JPEG)           (files)
//!             +---> display (cirrus)
//! ```
//!
//! The buffers are dma-bufs of the system heap. Processes pass them over Unix sockets, like HALs, with
//! messages that tell which buffer has which frame and which buffers are free again.
//!
//! Like in many HAL pipelines, a consumer gives a buffer back as soon as it has asked for its
//! lock. It relies on a fence or a lock to keep the producer from writing before the work is done. Here that is
//! buffersync: the consumer is in the queue before it gives the buffer back, so the producer's lock
//! comes after it. The control run is the same code without the lock calls. Nothing else differs, so
//! the locks are what prevents the torn frames of that run.
//!
//! Nobody in the pipeline draws anything. That a frame is whole is seen in vivid's picture
//! ([`buffersync_testbed_guest::picture`]), by the encoder while it encodes.

mod channel;
mod jpeg;
mod orchestrator;
mod roles;
mod screen;
mod span;
mod story;
mod svg;
mod timeline;

use std::path::PathBuf;
use std::process::ExitCode;

type Failure = Box<dyn std::error::Error>;

const USAGE: &str = "usage: buffersync-demo run [--out FOLDER] [--frames N] [--screenshot]";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.first().map(String::as_str) {
        Some("run") => run(&args[1..]),
        Some(role) if orchestrator::is_role(role) => roles::run(role, &args[1..]),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("error {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<(), Failure> {
    let mut demo = orchestrator::Demo { out: PathBuf::from("."), frames: 60, screenshot: false };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--out" => demo.out = PathBuf::from(args.next().ok_or(USAGE)?),
            "--frames" => demo.frames = args.next().ok_or(USAGE)?.parse()?,
            "--screenshot" => demo.screenshot = true,
            _ => return Err(USAGE.into()),
        }
    }
    if demo.frames < orchestrator::FEWEST_FRAMES {
        let (frames, fewest) = (demo.frames, orchestrator::FEWEST_FRAMES);
        return Err(format!("--frames {frames} is too few: name {fewest} or more").into());
    }
    demo.run()
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `buffersync-demo`: a video pipeline. Each part is a process with its own user.
//!
//! ```text
//! camera --in0..3--> codec --out0..3--> preview        stuck: takes out0 and never lets go
//! ```
//!
//! The buffers are dma-bufs of the system heap. Processes pass them over Unix sockets, like HALs, with
//! messages that tell which buffer has which frame and which buffers are free again.
//!
//! Like in many HAL pipelines, a consumer gives a buffer back as soon as it has *begun* with it. It
//! relies on a fence or a lock to keep the producer from writing before the work is done. Here that is
//! buffersync: the consumer is in the queue before it gives the buffer back, so the producer's lock
//! comes after it. The control run is the same code without the lock calls. Nothing else differs, so
//! the locks are what prevents the torn frames of that run.
//!
//! Camera and codec have devices that finish later ([`device`]). They unlock with a fence as soon as
//! they have handed in the work. So the codec is granted a frame that the sensor still writes, and
//! hands in its own work. The preview reads with the CPU, so it is granted the frame when it is
//! finished.

mod channel;
mod device;
mod frame;
mod orchestrator;
mod roles;
mod span;
mod story;
mod svg;
mod timeline;

use std::path::PathBuf;
use std::process::ExitCode;

type Failure = Box<dyn std::error::Error>;

const USAGE: &str = "usage: buffersync-demo run [--out FOLDER] [--frames N]";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.first().map(String::as_str) {
        Some("run") => run(&args[1..]),
        Some(role) if orchestrator::ROLES.contains(&role) => roles::run(role, &args[1..]),
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
    let (mut out, mut frames) = (PathBuf::from("."), 300);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let value = args.next().ok_or(USAGE)?;
        match arg.as_str() {
            "--out" => out = PathBuf::from(value),
            "--frames" => frames = value.parse()?,
            _ => return Err(USAGE.into()),
        }
    }
    orchestrator::run(&out, frames)
}

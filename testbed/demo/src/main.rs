// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `buffersync-demo`: one video pipeline, in processes and under users of their own.
//!
//! ```text
//! camera --in0..3--> codec --out0..3--> preview        stuck: takes out0 and never lets go
//! ```
//!
//! The buffers are dma-bufs of the system heap and pass over Unix sockets, as between HALs; so do
//! messages that say which buffer has which frame, and which buffers are free again. As many HAL
//! pipelines do, a consumer gives a buffer back as soon as it has *begun* with it: it relies on
//! something else, a fence or a lock, to keep the producer from writing before the work is done.
//! Here that is buffersync: the consumer has its place in the queue before it gives the buffer
//! back, and the producer's lock comes behind it. The control run is the same code without the
//! lock calls. Nothing else differs: what is torn there is what the locks prevent.
//!
//! Camera and codec are devices that finish later ([`device`]): they unlock with a fence as soon as
//! the work is handed in. So the codec is granted a frame that the camera is still filling, and
//! hands its own work in; the preview, which reads with the CPU, is granted it when it is there.

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

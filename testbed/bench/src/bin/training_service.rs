// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The service as it is trained: the same, but that it ends in order when it is told to (SIGTERM), since
//! a program writes the profile of what it did when it ends (`-C profile-generate`).
//!
//! The product has nothing for it: its `main` is the last call here.

use std::process::ExitCode;

use nix::sys::signal::{SigSet, Signal};

/// Ends the program by `exit`, which writes the profile, once SIGTERM comes. To be called before there
/// are other threads, so that none of them takes the signal.
fn end_in_order() -> std::io::Result<()> {
    let mut terms = SigSet::empty();
    terms.add(Signal::SIGTERM);
    terms.thread_block()?;
    std::thread::Builder::new().name("end".into()).spawn(move || {
        let status = if terms.wait().is_ok() { 0 } else { 1 };
        std::process::exit(status);
    })?;
    Ok(())
}

fn main() -> ExitCode {
    if let Err(error) = end_in_order() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    buffersync_service::run()
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The service as it is trained: the same, but that it ends in order when it is told to (SIGTERM), since
//! a program writes the profile of what it did when it ends (`-C profile-generate`).
//!
//! Of the product nothing is different for it: the product's `main` is these few calls too.

use std::process::ExitCode;

use buffersync_service::platform;
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
    platform::start_logging();
    if let Err(error) = end_in_order() {
        log::error!("{error}");
        return ExitCode::FAILURE;
    }
    match platform::settings() {
        Ok(Some(config)) => {
            if let Err(error) = buffersync_service::serve(config) {
                log::error!("{error}");
            }
            ExitCode::FAILURE
        }
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::from(2)
        }
    }
}

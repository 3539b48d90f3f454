// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A service manager that comes late or restarts, a service that restarts or is started twice, a log that nobody
//! reads. `hostile/mod.rs` has the tests.

mod hostile;

use std::process::ExitCode;

fn main() -> ExitCode {
    hostile::run(env!("CARGO_CRATE_NAME"))
}

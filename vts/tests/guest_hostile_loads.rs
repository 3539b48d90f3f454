// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Clients that take all they can get, and call as often as they can: another uid is served among them.
//! `hostile/mod.rs` has the tests.

mod hostile;

use std::process::ExitCode;

fn main() -> ExitCode {
    hostile::run(env!("CARGO_CRATE_NAME"))
}

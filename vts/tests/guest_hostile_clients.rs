// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Hostile clients, on a real kernel: whatever one does, a victim of another uid is served meanwhile.
//! `hostile/mod.rs` has the tests.

mod hostile;

use std::process::ExitCode;

fn main() -> ExitCode {
    hostile::run(env!("CARGO_CRATE_NAME"))
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Hostile clients and surroundings, on a real kernel: whatever they do, a victim of another uid is served meanwhile.
//!
//! `hostile/mod.rs` lists the tests. Each has a service of its own.

mod hostile;

use std::process::ExitCode;

fn main() -> ExitCode {
    hostile::alone::run(hostile::TESTS, hostile::VERBS)
}

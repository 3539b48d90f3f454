// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The simulated clocks. Only the driver advances them.

use crate::world;

/// The time of day when the machine was booted.
const BOOTED_NS: u64 = 1_700_000_000_000_000_000;
/// How long the machine has slept since then.
const SLEPT_NS: u64 = 3_000_000_000;

pub fn now_ns() -> u64 {
    world::with(|world| world.now)
}

pub fn since_boot_ns() -> u64 {
    now_ns() + SLEPT_NS
}

pub fn time_of_day_ns() -> u64 {
    now_ns() + BOOTED_NS
}

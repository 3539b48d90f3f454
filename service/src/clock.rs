// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The engine's clock: CLOCK_MONOTONIC.

use buffersync_engine::Time;
use buffersync_kernel::clock;

/// A number greater than all that were counted from an earlier one, also by an earlier process: microseconds of this
/// boot. Nobody counts as fast.
pub fn fresh_number() -> u64 {
    clock::since_boot_ns() / 1_000
}

pub fn now() -> Time {
    Time(clock::now_ns())
}

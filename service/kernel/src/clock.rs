// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The clocks of the kernel.

use std::time::Duration;

use nix::time::{clock_gettime, ClockId};

/// The time in nanoseconds of CLOCK_MONOTONIC: the clock of deadlines, as the AIDL promises.
pub fn now_ns() -> u64 {
    read(ClockId::CLOCK_MONOTONIC)
}

/// The time in nanoseconds since the boot, with the time that the machine has slept. It never goes back, also not
/// for another process.
pub fn since_boot_ns() -> u64 {
    read(ClockId::CLOCK_BOOTTIME)
}

/// The time of day in nanoseconds: the clock of files' timestamps.
pub fn time_of_day_ns() -> u64 {
    read(ClockId::CLOCK_REALTIME)
}

fn read(clock: ClockId) -> u64 {
    match clock_gettime(clock) {
        Ok(now) => u64::try_from(Duration::from(now).as_nanos()).unwrap_or(u64::MAX),
        // The call fails only for an unknown clock or a bad pointer.
        Err(errno) => unreachable!("{clock}: {errno}"),
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The clock of deadlines: CLOCK_MONOTONIC, as the AIDL promises.

use std::time::Duration;

use buffersync_engine::Time;
use nix::time::{clock_gettime, ClockId};

/// The time in nanoseconds of CLOCK_MONOTONIC.
pub fn now() -> Time {
    match clock_gettime(ClockId::CLOCK_MONOTONIC) {
        Ok(now) => Time(u64::try_from(Duration::from(now).as_nanos()).unwrap_or(u64::MAX)),
        // The call fails only for an unknown clock or a bad pointer.
        Err(errno) => unreachable!("CLOCK_MONOTONIC: {errno}"),
    }
}

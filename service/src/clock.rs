// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The clock that deadlines are counted in: CLOCK_MONOTONIC, as the AIDL promises to clients.

use std::time::Duration;

use buffersync_engine::Time;
use nix::time::{clock_gettime, ClockId};

/// Now, in nanoseconds of CLOCK_MONOTONIC.
pub fn now() -> Time {
    match clock_gettime(ClockId::CLOCK_MONOTONIC) {
        Ok(now) => Time(u64::try_from(Duration::from(now).as_nanos()).unwrap_or(u64::MAX)),
        // The kernel knows this clock and the pointer is valid: there is nothing else to fail.
        Err(errno) => unreachable!("CLOCK_MONOTONIC: {errno}"),
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The engine's clock: CLOCK_MONOTONIC.

use buffersync_engine::Time;
use buffersync_kernel::clock;

pub fn now() -> Time {
    Time(clock::now_ns())
}

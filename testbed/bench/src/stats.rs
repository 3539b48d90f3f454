// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Samples and their statistics.

use serde_json::{json, Value};

/// The times of one operation, in nanoseconds.
#[derive(Default)]
pub struct Samples(Vec<u64>);

impl Samples {
    pub fn push(&mut self, nanos: u64) {
        self.0.push(nanos);
    }

    /// Median, 99th percentile, maximum, and the number of samples.
    pub fn summary(mut self) -> Value {
        self.0.sort_unstable();
        let at = |per_mille: usize| {
            let last = self.0.len().saturating_sub(1);
            self.0.get(last * per_mille / 1000).copied().unwrap_or(0)
        };
        json!({ "median": at(500), "p99": at(990), "max": at(1000), "samples": self.0.len() })
    }
}

/// CLOCK_MONOTONIC, which all processes share, in nanoseconds.
pub fn now() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    let time = time.map(std::time::Duration::from).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

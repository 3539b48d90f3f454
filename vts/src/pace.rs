// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The time limits on which a test relies.
//!
//! The service ends a grant at its deadline and a fence at its limit, also on a slow machine. A test that
//! is not finished by then is undecided, and runs again. So everything that ends by itself has a [`Limit`]
//! while a test relies on it. If such a limit has passed, a failure is not a verdict.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::hal::now_ns;

/// The limits of the running test, by number.
static LIMITS: Mutex<BTreeMap<u64, i64>> = Mutex::new(BTreeMap::new());

/// A time before which a test must finish. It counts until it is dropped.
#[derive(Debug)]
pub struct Limit {
    number: u64,
    at_ns: i64,
}

impl Limit {
    /// A time of CLOCK_MONOTONIC, in nanoseconds, such as a grant's deadline.
    pub fn at(at_ns: i64) -> Self {
        let mut limits = limits();
        let number = limits.last_key_value().map_or(0, |(last, _)| last + 1);
        limits.insert(number, at_ns);
        Self { number, at_ns }
    }

    /// A time from now.
    pub fn after(time: Duration) -> Self {
        Self::at(now_ns().saturating_add(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// Panics if the limit has passed, because then the limit alone may have caused `what`.
    pub fn assert_ahead(&self, what: &str) {
        assert!(now_ns() < self.at_ns, "not before the time limit: {what}");
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        limits().remove(&self.number);
    }
}

/// Tells if a limit of the running test has passed.
pub fn has_run_out() -> bool {
    let now = now_ns();
    limits().values().any(|limit| now >= *limit)
}

fn limits() -> MutexGuard<'static, BTreeMap<u64, i64>> {
    LIMITS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, because the limits belong to the process.
    #[test]
    fn a_limit_counts_from_its_moment_until_it_is_dropped() {
        let ahead = Limit::after(Duration::from_secs(3600));
        ahead.assert_ahead("nothing");
        assert!(!has_run_out());
        let passed = Limit::at(now_ns());
        assert!(has_run_out());
        assert!(std::panic::catch_unwind(|| passed.assert_ahead("nothing")).is_err());
        drop(passed);
        assert!(!has_run_out());
    }
}

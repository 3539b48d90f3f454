// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What must be as it was before an input, once its client is gone.
//!
//! After each input that is the number of open descriptors, and the numbers of groups, buffers, fences,
//! jobs and waits. After every [`crate::THOROUGH`]th it is which descriptors are open, and the tables
//! of the service's dump, which show what the victims hold and wait for: to look at all of it each time
//! would take longer than the input.
//!
//! The service's threads may still be at work then, so what is different is looked at again, for a while.

use std::fmt::Debug;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use buffersync_service::arbiter::Arbiter;
use buffersync_service::dump;

/// How long the service's threads may take. An input's fences have all signalled.
const PATIENCE: Duration = Duration::from_secs(10);
/// So often it is looked at without sleeping in between.
const SPINS: u32 = 50;
const PAUSE: Duration = Duration::from_micros(200);
/// Of each process, its descriptors; its size is their number (Linux 6.2).
const OWN_DESCRIPTORS: &str = "/proc/self/fd";

/// See the module.
pub struct Oracle {
    arbiter: Arc<Arbiter>,
    numbers: (u64, String),
    state: (Vec<u32>, String),
}

impl Oracle {
    /// What is now is how it has to stay.
    pub fn new(arbiter: Arc<Arbiter>) -> Self {
        let mut oracle =
            Self { arbiter, numbers: (0, String::new()), state: (Vec::new(), String::new()) };
        oracle.learn();
        // An older kernel says 0.
        assert_eq!(oracle.numbers.0, oracle.state.0.len() as u64 - 1, "{OWN_DESCRIPTORS}");
        oracle
    }

    /// As [`Oracle::new`], when the victims have done something.
    pub fn learn(&mut self) {
        self.numbers = self.numbers();
        self.state = self.state();
    }

    /// Panics if the number of something stays different.
    pub fn check(&self) {
        wait_for(&self.numbers, || self.numbers());
    }

    /// Panics if anything stays different.
    pub fn check_thoroughly(&self) {
        wait_for(&self.state, || self.state());
    }

    fn numbers(&self) -> (u64, String) {
        const COUNTERS: [&str; 5] = ["buffers=", "groups=", "fences=", "sync_jobs=", "waits="];
        let descriptors = fs::metadata(OWN_DESCRIPTORS).expect("/proc is mounted").size();
        let counters = dump::render(&self.arbiter, &["counters".to_string()]);
        let of_now = |counter: &&str| COUNTERS.iter().any(|now| counter.starts_with(now));
        (descriptors, counters.split_whitespace().filter(of_now).collect())
    }

    fn state(&self) -> (Vec<u32>, String) {
        let entries = fs::read_dir(OWN_DESCRIPTORS).expect("/proc is mounted");
        let names = entries.flatten().map(|entry| entry.file_name());
        let mut open: Vec<u32> = names.filter_map(|name| name.to_str()?.parse().ok()).collect();
        open.sort_unstable();
        let dump = dump::render(&self.arbiter, &[]);
        // What comes then only grows.
        let tables = dump.split_once("\nevictions").map_or(&*dump, |(tables, _)| tables);
        (open, without_times(tables))
    }
}

fn wait_for<T: PartialEq + Debug>(expected: &T, look: impl Fn() -> T) {
    let begin = Instant::now();
    for nth in 0_u64.. {
        let found = look();
        if found == *expected {
            return;
        }
        assert!(
            begin.elapsed() < PATIENCE,
            "something is left over, or changed.\nbefore: {expected:#?}\nnow: {found:#?}\nopen: {:#?}",
            open()
        );
        if nth < SPINS.into() {
            std::thread::yield_now();
        } else {
            std::thread::sleep(PAUSE);
        }
    }
}

/// What is open, for a message.
fn open() -> Vec<String> {
    let entries = fs::read_dir(OWN_DESCRIPTORS).into_iter().flatten().flatten();
    entries
        .map(|entry| format!("{}: {:?}", entry.path().display(), fs::read_link(entry.path()).ok()))
        .collect()
}

/// The dump's tables without how much is left of deadlines.
fn without_times(tables: &str) -> String {
    let mut parts: Vec<&str> = tables.split(" ms left").collect();
    let last = parts.pop().unwrap_or_default();
    let digits = |c: char| c.is_ascii_digit();
    parts.into_iter().map(|part| part.trim_end_matches(digits)).chain([last]).collect()
}

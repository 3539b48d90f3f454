// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Checks that an input has left nothing behind once its client is gone.
//!
//! After each input: the numbers of open descriptors, groups, buffers, fences, jobs and waits. After every
//! [`crate::THOROUGH`]th input: the open descriptors themselves, and the tables of the service's dump,
//! which show what the victims hold and wait for. All of it each time would take longer than the input.
//!
//! The service's threads may still be at work, so a check is repeated for a while.

use std::fmt::Debug;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use buffersync_service::arbiter::Arbiter;
use buffersync_service::dump;

/// How long the service's threads may take; all fences of the input have signalled.
const PATIENCE: Duration = Duration::from_secs(10);
/// Checks without a sleep: the threads are usually done by then.
const SPINS: u32 = 50;
/// The sleep between later checks.
const PAUSE: Duration = Duration::from_micros(200);
/// The folder of the process's descriptors; its size is their number (Linux 6.2).
const OWN_DESCRIPTORS: &str = "/proc/self/fd";

/// The state that inputs must leave behind.
pub struct Oracle {
    arbiter: Arc<Arbiter>,
    numbers: (u64, String),
    state: (Vec<u32>, String),
}

impl Oracle {
    /// Takes the present state as the right one.
    pub fn new(arbiter: Arc<Arbiter>) -> Self {
        let mut oracle =
            Self { arbiter, numbers: (0, String::new()), state: (Vec::new(), String::new()) };
        oracle.learn();
        // The size is 0 on older kernels.
        assert_eq!(oracle.numbers.0, oracle.state.0.len() as u64 - 1, "{OWN_DESCRIPTORS}");
        oracle
    }

    /// Takes the present state as the right one, after the victims' turns.
    pub fn learn(&mut self) {
        self.numbers = self.numbers();
        self.state = self.state();
    }

    /// Panics if a number stays different.
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
        let counters = dump::render(&self.arbiter, &["counters".to_string()], None);
        let of_now = |counter: &&str| COUNTERS.iter().any(|now| counter.starts_with(now));
        (descriptors, counters.split_whitespace().filter(of_now).collect())
    }

    fn state(&self) -> (Vec<u32>, String) {
        let entries = fs::read_dir(OWN_DESCRIPTORS).expect("/proc is mounted");
        let names = entries.flatten().map(|entry| entry.file_name());
        let mut open: Vec<u32> = names.filter_map(|name| name.to_str()?.parse().ok()).collect();
        open.sort_unstable();
        let dump = dump::render(&self.arbiter, &[], None);
        // The rest of the dump changes all the time.
        let tables = dump.split_once("\nevictions").map_or(&*dump, |(tables, _)| tables);
        (open, without_unread(&without_times(tables)))
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

/// The open descriptors, for a message.
fn open() -> Vec<String> {
    let entries = fs::read_dir(OWN_DESCRIPTORS).into_iter().flatten().flatten();
    entries
        .map(|entry| format!("{}: {:?}", entry.path().display(), fs::read_link(entry.path()).ok()))
        .collect()
}

/// The dump's tables without the last column of the uids: the service knows only sometimes how much is unread.
fn without_unread(tables: &str) -> String {
    let (others, uids) = tables.split_once("\nuids:").unwrap_or((tables, ""));
    let rows = uids.lines().filter_map(|row| Some(row.rsplit_once(' ')?.0.trim_end()));
    std::iter::once(others).chain(rows).collect::<Vec<_>>().join("\n")
}

/// The dump's tables without the time left until deadlines.
fn without_times(tables: &str) -> String {
    let mut parts: Vec<&str> = tables.split(" ms left").collect();
    let last = parts.pop().unwrap_or_default();
    let digits = |c: char| c.is_ascii_digit();
    parts.into_iter().map(|part| part.trim_end_matches(digits)).chain([last]).collect()
}

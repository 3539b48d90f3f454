// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A log that no client can fill.
//!
//! Clients cause log lines: the binder library writes one for each malformed transaction, the service one
//! for each eviction. So each place in the source may write [`BURST`] lines within [`PERIOD`]. More lines
//! are counted, and the place's next line tells how many were left out. The limit is for each place, so
//! that noise from one place does not hide another, and the table is no longer than the program has
//! places. One client's evictions can still hide another's; dumps show the last evictions.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::{Level, LevelFilter, Log, Metadata, Record};

/// Lines of one place within one [`PERIOD`]: enough to see what happens.
const BURST: u32 = 20;
/// With [`BURST`] it allows two lines a second in the long run.
const PERIOD: Duration = Duration::from_secs(10);

/// File and line. All lines without them are one place.
type Place = (&'static str, u32);

/// Passes lines within the limit on to the platform's log.
pub struct Limited<L> {
    log: L,
    places: Mutex<HashMap<Place, Count>>,
}

struct Count {
    since: Instant,
    written: u32,
    left_out: u64,
}

impl<L: Log + 'static> Limited<L> {
    /// Makes it the log of the process, unless the process has one already.
    pub fn install(log: L, level: LevelFilter) {
        let limited = Self { log, places: Mutex::default() };
        if log::set_boxed_logger(Box::new(limited)).is_ok() {
            log::set_max_level(level);
        }
    }
}

impl<L> Limited<L> {
    /// The number of lines that were left out before this one; `None` if this one is left out.
    fn admit(&self, place: Place, now: Instant) -> Option<u64> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let first = Count { since: now, written: 0, left_out: 0 };
        let count = places.entry(place).or_insert(first);
        if now.saturating_duration_since(count.since) >= PERIOD {
            (count.since, count.written) = (now, 0);
        }
        if count.written == BURST {
            count.left_out += 1;
            return None;
        }
        count.written += 1;
        Some(std::mem::take(&mut count.left_out))
    }
}

impl<L: Log> Log for Limited<L> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.log.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.log.enabled(record.metadata()) {
            return;
        }
        let (file, line) = (record.file_static().unwrap_or_default(), record.line());
        let Some(left_out) = self.admit((file, line.unwrap_or_default()), Instant::now()) else {
            return;
        };
        if left_out > 0 {
            let target = record.target();
            let mut told = Record::builder();
            let told = told.level(Level::Warn).target(target);
            self.log.log(
                &told.args(format_args!("{left_out} lines like the next were left out")).build(),
            );
        }
        self.log.log(record);
    }

    fn flush(&self) {
        self.log.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps the lines.
    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>);

    impl Log for Kept {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.level() <= Level::Info
        }

        fn log(&self, record: &Record<'_>) {
            self.0.lock().unwrap().push(record.args().to_string());
        }

        fn flush(&self) {}
    }

    fn limited() -> Limited<Kept> {
        Limited { log: Kept::default(), places: Mutex::default() }
    }

    #[test]
    fn a_place_writes_a_burst_and_the_rest_is_counted() {
        let log = limited();
        let start = Instant::now();
        for _ in 0..BURST {
            assert_eq!(log.admit(("a.rs", 1), start), Some(0));
        }
        assert_eq!(log.admit(("a.rs", 1), start), None);
        assert_eq!(log.admit(("a.rs", 2), start), Some(0), "another place has its own limit");
        assert_eq!(log.admit(("a.rs", 1), start + PERIOD), Some(1));
        assert_eq!(log.admit(("a.rs", 1), start + PERIOD), Some(0));
    }

    #[test]
    fn the_number_left_out_comes_before_the_next_line() {
        let log = limited();
        let write = |level, line| {
            let mut record = Record::builder();
            let record = record.level(level).file_static(Some("a.rs")).line(Some(line));
            log.log(&record.args(format_args!("line {line}")).build());
        };
        for _ in 0..BURST + 3 {
            write(Level::Warn, 1);
        }
        write(Level::Info, 2);
        // Below the level, so it is not counted.
        write(Level::Debug, 3);
        for count in log.places.lock().unwrap().values_mut() {
            count.since -= PERIOD;
        }
        write(Level::Warn, 1);
        let kept = log.log.0.lock().unwrap();
        let expected = ["line 2", "3 lines like the next were left out", "line 1"];
        assert_eq!(kept[BURST as usize..], expected);
        assert_eq!(log.places.lock().unwrap().len(), 2);
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A log that no client can fill, and that nobody waits for.
//!
//! Clients cause log lines: the binder library writes one for each malformed transaction, the service one
//! for each eviction. So each place in the source may write [`BURST`] lines within [`PERIOD`], for each uid that the
//! line is about ([`of_uid`]). More lines are counted, and the place's next line tells how many were left out. Noise
//! from one place, or of one uid, does not hide another.
//!
//! The log itself may be a pipe or a journal that nobody reads, and then a write waits for ever. So a line goes into a
//! ring of [`LINES`], and a thread of its own writes it. A line that finds the ring full is dropped and counted; the
//! thread says how many when it goes on.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::{Level, LevelFilter, Log, Metadata, Record};

/// Lines of one place and uid within one [`PERIOD`]: enough to see what happens.
const BURST: u32 = 20;
/// With [`BURST`] it allows two lines a second in the long run.
const PERIOD: Duration = Duration::from_secs(10);
/// Lines that wait to be written: a burst of some places.
const LINES: usize = 256;
/// Bytes of a line: no line of the service is longer, and a library's may be cut.
const LINE_BYTES: usize = 512;
/// Places and uids that are counted apart. Uids beyond count together, so that the table stays small.
const COUNTED: usize = 1024;
/// How long a process that ends waits for its last lines.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// File, line and uid. All lines without a place are one place.
type Place = (&'static str, u32, Option<u32>);

thread_local! {
    /// The uid that the lines of this thread are about.
    static UID: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Writes lines that are about a uid.
pub fn of_uid(uid: u32, write: impl FnOnce()) {
    UID.set(Some(uid));
    write();
    UID.set(None);
}

/// Writes the reason why the process, or its service, ends. Waits until it is written, but not for long.
pub fn last_words(why: impl std::fmt::Display) {
    log::error!("{why}");
    log::logger().flush();
}

/// Takes the lines of the process, and hands those within the limit to the platform's log.
pub struct Limited<L> {
    log: Arc<L>,
    places: Mutex<HashMap<Place, Count>>,
    ring: Arc<Ring>,
}

struct Count {
    since: Instant,
    written: u32,
    left_out: u64,
}

/// The lines that wait to be written.
#[derive(Default)]
struct Ring {
    waiting: Mutex<Waiting>,
    /// A line has come.
    come: Condvar,
    /// All lines are written.
    done: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Line>,
    /// Lines that found no room since the thread has said so.
    dropped: u64,
    /// The thread writes.
    writing: bool,
}

struct Line {
    level: Level,
    target: String,
    text: String,
}

impl<L: Log + 'static> Limited<L> {
    /// Makes it the log of the process, unless the process has one already, and starts the thread.
    pub fn install(log: L, level: LevelFilter) {
        let limited = Self::new(log);
        let (log, ring) = (Arc::clone(&limited.log), Arc::clone(&limited.ring));
        if log::set_boxed_logger(Box::new(limited)).is_ok() {
            log::set_max_level(level);
            let run = move || loop {
                ring.turn(&*log);
            };
            // Without the thread nothing is logged; the service works all the same.
            let _ = thread::Builder::new().name("log".into()).spawn(run);
        }
    }
}

impl<L> Limited<L> {
    fn new(log: L) -> Self {
        Self { log: Arc::new(log), places: Mutex::default(), ring: Arc::default() }
    }

    /// The number of lines that were left out before this one; `None` if this one is left out.
    fn admit(&self, mut place: Place, now: Instant) -> Option<u64> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= COUNTED && !places.contains_key(&place) {
            places.retain(|_, count| now.saturating_duration_since(count.since) < PERIOD);
            if places.len() >= COUNTED {
                place.2 = None;
            }
        }
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

impl Ring {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, level: Level, target: &str, mut text: String) {
        if text.len() > LINE_BYTES {
            let cut = (0..=LINE_BYTES).rev().find(|at| text.is_char_boundary(*at));
            text.truncate(cut.unwrap_or(0));
            text.push_str("...");
        }
        let mut waiting = self.lock();
        if waiting.lines.len() >= LINES {
            waiting.dropped += 1;
            return;
        }
        waiting.lines.push_back(Line { level, target: target.to_string(), text });
        self.come.notify_one();
    }

    /// Waits for lines, and writes them.
    fn turn(&self, log: &impl Log) {
        let mut waiting = self.lock();
        while waiting.lines.is_empty() && waiting.dropped == 0 {
            waiting = self.come.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.writing = true;
        let lines = std::mem::take(&mut waiting.lines);
        let dropped = std::mem::take(&mut waiting.dropped);
        drop(waiting);
        for Line { level, target, text } in &lines {
            write(log, *level, target, format_args!("{text}"));
        }
        if dropped > 0 {
            let told = format_args!("{dropped} lines were dropped, because the log was not read");
            write(log, Level::Warn, module_path!(), told);
        }
        self.lock().writing = false;
        self.done.notify_all();
    }

    /// Waits until all lines are written, but not for long.
    fn flush(&self) {
        let waiting = self.lock();
        let busy = |waiting: &mut Waiting| waiting.writing || !waiting.lines.is_empty();
        drop(self.done.wait_timeout_while(waiting, LAST_WORDS, busy));
    }
}

fn write(log: &impl Log, level: Level, target: &str, text: std::fmt::Arguments<'_>) {
    log.log(&Record::builder().level(level).target(target).args(text).build());
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
        // A thread that ends has lost the cell.
        let uid = UID.try_with(Cell::get).ok().flatten();
        let place = (file, line.unwrap_or_default(), uid);
        let Some(left_out) = self.admit(place, Instant::now()) else {
            return;
        };
        if left_out > 0 {
            let told = format!("{left_out} lines like the next were left out");
            self.ring.push(Level::Warn, record.target(), told);
        }
        self.ring.push(record.level(), record.target(), record.args().to_string());
    }

    /// For a process that ends: its last lines say why.
    fn flush(&self) {
        self.ring.flush();
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
        Limited::new(Kept::default())
    }

    fn place(line: u32, uid: u32) -> Place {
        ("a.rs", line, Some(uid))
    }

    #[test]
    fn a_place_writes_a_burst_for_each_uid_and_the_rest_is_counted() {
        let log = limited();
        let start = Instant::now();
        for _ in 0..BURST {
            assert_eq!(log.admit(place(1, 7), start), Some(0));
        }
        assert_eq!(log.admit(place(1, 7), start), None);
        assert_eq!(log.admit(place(2, 7), start), Some(0), "another place has its own limit");
        assert_eq!(log.admit(place(1, 8), start), Some(0), "and so has another uid");
        assert_eq!(log.admit(place(1, 7), start + PERIOD), Some(1));
        assert_eq!(log.admit(place(1, 7), start + PERIOD), Some(0));
    }

    #[test]
    fn many_uids_do_not_make_the_table_grow_without_end() {
        let log = limited();
        let start = Instant::now();
        for uid in 0..2 * COUNTED as u32 {
            log.admit(place(1, uid), start);
        }
        assert!(log.places.lock().unwrap().len() <= COUNTED + 1);
        assert_eq!(log.admit(place(1, u32::MAX), start), None, "those beyond have one limit");
        assert_eq!(log.admit(place(1, u32::MAX), start + PERIOD), Some(0));
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
        log.ring.turn(&*log.log);
        let kept = log.log.0.lock().unwrap();
        let expected = ["line 2", "3 lines like the next were left out", "line 1"];
        assert_eq!(kept[BURST as usize..], expected);
        assert_eq!(log.places.lock().unwrap().len(), 2);
    }

    #[test]
    fn a_log_that_is_not_read_drops_lines_and_says_so() {
        let log = limited();
        for line in 0..LINES + 5 {
            log.ring.push(Level::Info, "t", format!("{line}"));
        }
        log.ring.turn(&*log.log);
        let kept = log.log.0.lock().unwrap();
        assert_eq!(kept.len(), LINES + 1);
        assert!(kept[LINES].starts_with("5 lines were dropped"), "{}", kept[LINES]);
    }

    #[test]
    fn a_long_line_is_cut() {
        let log = limited();
        log.ring.push(Level::Info, "t", "ä".repeat(LINE_BYTES));
        log.ring.turn(&*log.log);
        let kept = log.log.0.lock().unwrap();
        assert!(kept[0].ends_with("ä...") && kept[0].len() <= LINE_BYTES + 3);
    }
}

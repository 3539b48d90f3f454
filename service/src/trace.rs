// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Slices for Perfetto and systrace: waiting locks, holding locks, cache operations, evictions.
//!
//! | slice | track | begin, end |
//! |---|---|---|
//! | `lock`, `grow`, `unlock`, ... | a binder thread | the call |
//! | `wait NAME` | its own | the lock is queued; it is granted, or ends |
//! | `hold NAME` | its own | the grant; its end |
//! | `START READ 7` | a sync worker | `DMA_BUF_IOCTL_SYNC` on buffer 7 |
//! | `evicted NAME` | an instant | a grant is taken away |
//!
//! NAME is the group's name and number; the cookie of a wait and of a hold is the lock's number. The table of
//! groups, the binder objects and the sync workers make slices. While nobody records, a slice costs one check
//! (Android: atrace's tags; Linux: the setting `trace`), which comes before its name is made. While somebody
//! records, it costs a write to the kernel's ring buffer, which never blocks, so slices may be made under the
//! arbiter's mutex.

use std::fmt::Display;

/// The platform's trace: [`crate::platform::Tracer`].
pub trait Trace {
    /// Whether anybody records; called for each slice.
    fn is_on(&self) -> bool;
    /// A slice of this thread begins.
    fn begin(&self, name: &str);
    /// The last slice that this thread has begun ends.
    fn end(&self);
    /// A slice on a track of its own begins. Name and cookie together are unique while it lasts.
    fn begin_async(&self, name: &str, cookie: i32);
    /// The slice of this name and cookie ends.
    fn end_async(&self, name: &str, cookie: i32);
    /// Something without a duration.
    fn instant(&self, name: &str);
}

/// The slices that the service makes.
#[derive(Debug)]
pub struct Slices<T>(T);

/// A slice of the thread that made it, until it is dropped.
pub struct Slice<'a, T: Trace>(Option<&'a T>);

/// A lock's name in a trace.
#[derive(Clone, Copy)]
pub struct LockName<'a> {
    /// The group's name, which its client chose.
    pub group: &'a str,
    /// The group's number in dumps and logs.
    pub serial: u64,
    /// The lock's number.
    pub lock: u64,
}

impl<T: Trace> Slices<T> {
    pub const fn new(trace: T) -> Self {
        Self(trace)
    }

    /// Begins a slice of this thread.
    pub fn slice(&self, name: impl Display) -> Slice<'_, T> {
        if !self.0.is_on() {
            return Slice(None);
        }
        self.0.begin(&name.to_string());
        Slice(Some(&self.0))
    }

    /// A lock is queued.
    pub fn waits(&self, of: LockName<'_>) {
        if self.0.is_on() {
            self.0.begin_async(&name("wait", of), cookie(of));
        }
    }

    /// The wait ends, granted or not.
    pub fn wait_ended(&self, of: LockName<'_>) {
        if self.0.is_on() {
            self.0.end_async(&name("wait", of), cookie(of));
        }
    }

    /// A lock is granted.
    pub fn holds(&self, of: LockName<'_>) {
        if self.0.is_on() {
            self.0.begin_async(&name("hold", of), cookie(of));
        }
    }

    /// The grant ends, unlocked or taken away.
    pub fn hold_ended(&self, of: LockName<'_>) {
        if self.0.is_on() {
            self.0.end_async(&name("hold", of), cookie(of));
        }
    }

    /// The grant is taken away.
    pub fn evicted(&self, of: LockName<'_>) {
        if self.0.is_on() {
            self.0.instant(&name("evicted", of));
        }
    }
}

impl<T: Trace> Drop for Slice<'_, T> {
    fn drop(&mut self) {
        if let Some(trace) = self.0 {
            trace.end();
        }
    }
}

/// `|` separates the fields of ATrace's lines, so a group's name must not have it.
fn name(what: &str, of: LockName<'_>) -> String {
    format!("{what} {} {}", of.group.replace('|', "/"), of.serial)
}

/// A lock has one wait and one hold at a time, and the slices have its group's number in the name. Numbers that
/// differ only above 32 bits mix up their slices, and nothing else.
fn cookie(of: LockName<'_>) -> i32 {
    of.lock as i32
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    struct Recorder {
        on: bool,
        lines: RefCell<Vec<String>>,
    }

    impl Recorder {
        fn write(&self, line: String) {
            assert!(self.on, "{line} is made though nobody traces");
            self.lines.borrow_mut().push(line);
        }
    }

    impl Trace for &Recorder {
        fn is_on(&self) -> bool {
            self.on
        }

        fn begin(&self, name: &str) {
            self.write(format!("B {name}"));
        }

        fn end(&self) {
            self.write("E".into());
        }

        fn begin_async(&self, name: &str, cookie: i32) {
            self.write(format!("S {name} {cookie}"));
        }

        fn end_async(&self, name: &str, cookie: i32) {
            self.write(format!("F {name} {cookie}"));
        }

        fn instant(&self, name: &str) {
            self.write(format!("I {name}"));
        }
    }

    /// A name that panics when it is made.
    struct Never;

    impl Display for Never {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("a name is made though nobody traces")
        }
    }

    const OF: LockName<'_> = LockName { group: "camera|0", serial: 7, lock: 9 };

    #[test]
    fn slices_nest_and_names_do_not_break_the_format() {
        let recorder = Recorder { on: true, lines: RefCell::default() };
        let slices = Slices::new(&recorder);
        {
            let _outer = slices.slice("lock");
            slices.waits(OF);
        }
        slices.wait_ended(OF);
        slices.holds(OF);
        slices.evicted(OF);
        slices.hold_ended(OF);
        let expected = [
            "B lock",
            "S wait camera/0 7 9",
            "E",
            "F wait camera/0 7 9",
            "S hold camera/0 7 9",
            "I evicted camera/0 7",
            "F hold camera/0 7 9",
        ];
        assert_eq!(*recorder.lines.borrow(), expected);
    }

    #[test]
    fn nothing_is_made_while_nobody_traces() {
        let recorder = Recorder { on: false, lines: RefCell::default() };
        let slices = Slices::new(&recorder);
        drop(slices.slice(Never));
        slices.waits(OF);
        slices.holds(OF);
        slices.evicted(OF);
        slices.wait_ended(OF);
        slices.hold_ended(OF);
        assert!(recorder.lines.borrow().is_empty());
    }
}

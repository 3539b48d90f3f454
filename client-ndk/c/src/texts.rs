// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What a thread remembers of its last failed calls, for C to read.
//!
//! A text has a place of its own in a ring, which is freed when the thread ends. So a pointer to a text is always
//! readable until then, and the text stays the same until [`PLACES`] later calls of the thread have failed. That is
//! enough for several texts in one printf.

use std::cell::{Cell, OnceCell, UnsafeCell};
use std::ffi::{c_char, CStr};

use buffersync_client_core::InTheWay;

/// The number of texts that a thread keeps: the header promises it.
const PLACES: usize = 8;
/// Room for a text. The longest of the service has about 300 bytes; a longer one is cut.
const TEXT_BYTES: usize = 512;
/// Room for the name of a group, which has at most 64 bytes.
const NAME_BYTES: usize = 72;

/// A string for C, at an address that stays.
struct Text<const N: usize>(UnsafeCell<[u8; N]>);

impl<const N: usize> Text<N> {
    fn empty() -> Self {
        Self(UnsafeCell::new([0; N]))
    }

    /// Replaces the string. A NUL inside would end it, so it becomes a space.
    fn set(&self, text: &str) {
        let mut bytes = [0; N];
        let mut length = text.len().min(N.saturating_sub(1));
        while !text.is_char_boundary(length) {
            length = length.saturating_sub(1);
        }
        for (to, from) in bytes.iter_mut().zip(text.bytes().take(length)) {
            *to = if from == 0 { b' ' } else { from };
        }
        // SAFETY: only this thread has the cell, and no reference to its content outlives a call.
        unsafe { self.0.get().write(bytes) }
    }

    fn as_ptr(&self) -> *const c_char {
        self.0.get().cast()
    }
}

/// One failed call.
struct Place {
    message: Text<TEXT_BYTES>,
    owner: Text<NAME_BYTES>,
    lock: Cell<Option<Lock>>,
}

/// A lock that was in the way of the call.
#[derive(Clone, Copy)]
pub struct Lock {
    pub group: i64,
    pub lock: i64,
    /// Null if it is not known.
    pub owner: *const c_char,
}

#[derive(Default)]
struct Places {
    /// Made by the first failure: most threads never have one.
    ring: OnceCell<Box<[Place; PLACES]>>,
    last: Cell<usize>,
}

impl Places {
    fn remember(&self, message: &str, in_the_way: Option<&InTheWay>) {
        let empty =
            || Place { message: Text::empty(), owner: Text::empty(), lock: Cell::new(None) };
        let ring = self.ring.get_or_init(|| Box::new(std::array::from_fn(|_| empty())));
        let next = self.last.get().wrapping_add(1) % PLACES;
        let Some(place) = ring.get(next) else { return };
        place.message.set(message);
        place.lock.set(in_the_way.map(|by| {
            place.owner.set(by.owner.as_deref().unwrap_or_default());
            let owner = by.owner.as_ref().map_or(std::ptr::null(), |_| place.owner.as_ptr());
            Lock { group: by.group, lock: by.lock.0, owner }
        }));
        self.last.set(next);
    }

    fn last(&self) -> Option<&Place> {
        self.ring.get()?.get(self.last.get())
    }
}

thread_local! {
    static PLACES_OF_THREAD: Places = Places::default();
}

/// Keeps what a failed call of this thread says.
pub fn remember(message: &str, in_the_way: Option<&InTheWay>) {
    if !buffersync_client_core::is_thread_ending() {
        // An error is ignored: while the thread ends, nobody can ask for the message.
        let _ = PLACES_OF_THREAD.try_with(|places| places.remember(message, in_the_way));
    }
}

/// The message of the thread's last failed call; empty before the first.
pub fn last_message() -> *const c_char {
    const NONE: &CStr = c"";
    let last = PLACES_OF_THREAD.try_with(|places| places.last().map(|last| last.message.as_ptr()));
    last.ok().flatten().unwrap_or(NONE.as_ptr())
}

/// The lock that was in the way of the thread's last failed call, if the error names one.
pub fn last_lock() -> Option<Lock> {
    PLACES_OF_THREAD.try_with(|places| places.last()?.lock.get()).ok().flatten()
}

#[cfg(test)]
mod tests {
    use buffersync_client_core::LockId;

    use super::*;

    fn read(text: *const c_char) -> String {
        // SAFETY: a text of this thread, which runs.
        unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_string()
    }

    #[test]
    fn a_text_stays_until_eight_more_calls_have_failed() {
        assert_eq!(read(last_message()), "");
        assert!(last_lock().is_none());
        remember("first", None);
        let first = last_message();
        for nth in 1..PLACES {
            remember(&nth.to_string(), None);
            assert_eq!((read(first), read(last_message())), ("first".into(), nth.to_string()));
        }
        remember("ninth", None);
        assert_eq!(read(first), "ninth", "its place is used again, and can be read");
    }

    #[test]
    fn a_long_text_is_cut_between_characters_and_nul_ends_nothing() {
        remember(&"\u{e9}".repeat(TEXT_BYTES), None);
        let text = read(last_message());
        assert_eq!(text, "\u{e9}".repeat((TEXT_BYTES - 1) / 2));
        remember("a\0b", None);
        assert_eq!(read(last_message()), "a b");
    }

    #[test]
    fn the_lock_in_the_way_is_that_of_the_last_failure() {
        let by = |owner: Option<&str>| InTheWay {
            group: 7,
            lock: LockId(3),
            owner: owner.map(str::to_string),
        };
        remember("timed out", Some(&by(Some("camera"))));
        let known = last_lock().unwrap();
        assert_eq!((known.group, known.lock, read(known.owner)), (7, 3, "camera".into()));
        remember("timed out", Some(&by(None)));
        assert!(last_lock().unwrap().owner.is_null());
        assert_eq!(read(known.owner), "camera", "it has a place of its own");
        remember("another error", None);
        assert!(last_lock().is_none());
    }

    #[test]
    fn each_thread_has_its_own_texts() {
        remember("here", None);
        let elsewhere = std::thread::spawn(|| read(last_message()));
        assert_eq!(elsewhere.join().unwrap(), "");
        assert_eq!(read(last_message()), "here");
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Checks and converts the arguments of C, before a call does anything.

use std::collections::BTreeSet;
use std::ffi::{c_char, c_int, CStr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use buffersync_client::{Access, BufferId, Error};
use nix::fcntl::{fcntl, FcntlArg};

use crate::status::{Failure, Result};
use crate::types::{ABufferSyncFence, ABufferSyncWant};

/// An out-parameter.
pub struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Refuses null.
    ///
    /// # Safety
    /// A pointer that is not null points to a `T` that may be written until the call returns.
    pub unsafe fn new(pointer: *mut T) -> Result<Self> {
        if pointer.is_null() || !pointer.is_aligned() {
            return Err(Failure::Argument("an out-parameter is null or not aligned"));
        }
        Ok(Self(pointer))
    }

    /// `None` for null.
    ///
    /// # Safety
    /// That of [`Out::new`].
    pub unsafe fn optional(pointer: *mut T) -> Result<Option<Self>> {
        if pointer.is_null() {
            return Ok(None);
        }
        // SAFETY: the caller's promise is the same.
        unsafe { Self::new(pointer) }.map(Some)
    }

    pub fn set(&self, value: T) {
        // SAFETY: `new` was promised that it may be written, and has checked its alignment.
        unsafe { self.0.write(value) }
    }

    /// Writes an element of an array.
    ///
    /// # Safety
    /// The array has more than `nth` elements.
    pub unsafe fn set_nth(&self, nth: usize, value: T) {
        // SAFETY: the caller vouches for the length.
        unsafe { self.0.add(nth).write(value) }
    }
}

/// `None` for null.
///
/// # Safety
/// A pointer that is not null points to a string that does not change until the call returns.
pub unsafe fn string<'a>(pointer: *const c_char) -> Result<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller vouches for the string.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map(Some).map_err(|_| Failure::Argument("a string is not UTF-8"))
}

/// An array of `count` values.
///
/// # Safety
/// A pointer that is not null points to this number of values, which do not change until the call
/// returns.
pub unsafe fn array<'a, T>(pointer: *const T, count: usize) -> Result<&'a [T]> {
    if pointer.is_null() || !pointer.is_aligned() {
        return Err(Failure::Argument("an array is null or not aligned"));
    }
    if count.checked_mul(std::mem::size_of::<T>()).is_none_or(|size| size > isize::MAX as usize) {
        return Err(Failure::Argument("an array is longer than memory"));
    }
    // SAFETY: the caller vouches for the values; the rest is checked above.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}

/// Like [`array`], but null stands for no values.
///
/// # Safety
/// That of [`array`].
pub unsafe fn optional_array<'a, T>(pointer: *const T, count: usize) -> Result<&'a [T]> {
    if pointer.is_null() && count == 0 {
        return Ok(&[]);
    }
    // SAFETY: the caller's promise is the same.
    unsafe { array(pointer, count) }
}

/// What a lock asks for.
pub fn wants(given: &[ABufferSyncWant]) -> Result<Vec<(BufferId, Access)>> {
    let want = |want: &ABufferSyncWant| {
        let access = crate::types::access(want.access).ok_or(Failure::Argument("access"))?;
        Ok((BufferId(want.buffer), access))
    };
    given.iter().map(want).collect()
}

/// A descriptor that the caller keeps.
pub fn borrowed<'a>(fd: c_int) -> Result<BorrowedFd<'a>> {
    if fd < 0 {
        return Err(Error::BadFd.into());
    }
    // SAFETY: it is not -1. If the caller closes it meanwhile, the kernel refuses it.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// A descriptor that the caller gives away; `None` for -1.
pub fn taken(fd: c_int) -> Result<Option<OwnedFd>> {
    if fd == -1 {
        return Ok(None);
    }
    // A descriptor that is not open must not be owned: the close would hit a later one of that number.
    fcntl(borrowed(fd)?.as_raw_fd(), FcntlArg::F_GETFD).map_err(|_| Error::BadFd)?;
    // SAFETY: it is open, and the header says that the function takes it.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// The release fences of single buffers, and the fence for the rest. Takes all descriptors, also if
/// some are wrong.
#[allow(clippy::type_complexity)]
pub fn fences(given: &[ABufferSyncFence]) -> Result<(Vec<(BufferId, OwnedFd)>, Option<OwnedFd>)> {
    let mut seen = BTreeSet::new();
    let (mut each, mut rest, mut wrong) = (Vec::new(), None, None);
    for ABufferSyncFence { buffer, fd } in given {
        if !seen.insert(*fd) {
            wrong = Some(Failure::Argument("a descriptor is given twice"));
            continue;
        }
        match taken(*fd) {
            Ok(Some(fence)) if *buffer != 0 => each.push((BufferId(*buffer), fence)),
            Ok(Some(fence)) if rest.is_none() => rest = Some(fence),
            Ok(Some(_)) => wrong = Some(Failure::Argument("two fences for the rest")),
            Ok(None) => wrong = Some(Error::BadFd.into()),
            Err(failure) => wrong = Some(failure),
        }
    }
    wrong.map_or(Ok((each, rest)), Err)
}

/// A time-out from C; `None` if it is negative.
pub fn timeout(nanos: i64) -> Option<Duration> {
    u64::try_from(nanos).ok().map(Duration::from_nanos)
}

/// A duration for C.
pub fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd;

    fn is_open(fd: c_int) -> bool {
        fcntl(fd, FcntlArg::F_GETFD).is_ok()
    }

    fn open() -> c_int {
        std::fs::File::open("/dev/null").unwrap().into_raw_fd()
    }

    /// One test, because a parallel one could open descriptors of the same numbers.
    #[test]
    fn taken_descriptors_are_closed_once_in_any_case() {
        let (a, b) = (open(), open());
        let fence = |buffer, fd| ABufferSyncFence { buffer, fd };
        let (each, rest) = fences(&[fence(1, a), fence(0, b)]).unwrap();
        assert_eq!((each.len(), each[0].1.as_raw_fd()), (1, a));
        assert_eq!(rest.as_ref().unwrap().as_raw_fd(), b);
        drop((each, rest));
        assert!(!is_open(a) && !is_open(b));

        for bad in [-1, -2, 1_000_000] {
            let a = open();
            assert!(fences(&[fence(1, bad), fence(2, a)]).is_err());
            assert!(!is_open(a), "after {bad}");
        }
        let a = open();
        assert!(matches!(fences(&[fence(1, a), fence(2, a)]), Err(Failure::Argument(_))));
        assert!(!is_open(a));
        let (a, b) = (open(), open());
        assert!(matches!(fences(&[fence(0, a), fence(0, b)]), Err(Failure::Argument(_))));
        assert!(!is_open(a) && !is_open(b));
    }

    #[test]
    fn null_is_refused_for_required_pointers() {
        // SAFETY: null is what is tested.
        unsafe {
            assert!(Out::<i64>::new(std::ptr::null_mut()).is_err());
            assert!(Out::<i64>::optional(std::ptr::null_mut()).unwrap().is_none());
            assert!(array::<i64>(std::ptr::null(), 1).is_err());
            assert!(string(std::ptr::null()).unwrap().is_none());
        }
        assert!(borrowed(-1).is_err() && taken(-1).unwrap().is_none() && taken(-2).is_err());
    }
}

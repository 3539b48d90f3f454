// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Checks and converts the arguments of C, before a call does anything. Each refusal names the argument.

use std::collections::BTreeSet;
use std::ffi::{c_char, c_int, CStr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use buffersync_client_core::{Access, BufferId, Error, Fences};
use nix::fcntl::{fcntl, FcntlArg};

use crate::status::{Failure, Result};
use crate::types::{
    self, ABufferSyncAccess, ABufferSyncBufferId, ABufferSyncFence, ABufferSyncWant,
};

/// An out-parameter.
pub struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Refuses null.
    ///
    /// # Safety
    /// A pointer that is not null points to a `T` that may be written until the call returns.
    pub unsafe fn new(name: &str, pointer: *mut T) -> Result<Self> {
        check(name, pointer)?;
        Ok(Self(pointer))
    }

    /// `None` for null.
    ///
    /// # Safety
    /// That of [`Out::new`].
    pub unsafe fn optional(name: &str, pointer: *mut T) -> Result<Option<Self>> {
        if pointer.is_null() {
            return Ok(None);
        }
        // SAFETY: the caller's promise is the same.
        unsafe { Self::new(name, pointer) }.map(Some)
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

fn wrong<T>(what: String) -> Result<T> {
    Err(Failure::Argument(what))
}

/// Refuses a pointer that can't be one.
fn check<T>(name: &str, pointer: *const T) -> Result<()> {
    if pointer.is_null() {
        return wrong(format!("{name} is null"));
    }
    if !pointer.is_aligned() {
        return wrong(format!("{name} is not aligned for its type"));
    }
    Ok(())
}

/// `None` for null.
///
/// # Safety
/// A pointer that is not null points to a string that does not change until the call returns.
pub unsafe fn string<'a>(name: &str, pointer: *const c_char) -> Result<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller vouches for the string.
    let text = unsafe { CStr::from_ptr(pointer) };
    let text = text.to_str();
    text.map(Some).map_err(|_| Failure::Argument(format!("{name} is not UTF-8")))
}

/// An array of `count` values.
///
/// # Safety
/// A pointer that is not null points to this number of values, which do not change until the call
/// returns.
pub unsafe fn array<'a, T>(name: &str, pointer: *const T, count: usize) -> Result<&'a [T]> {
    check(name, pointer)?;
    if count.checked_mul(size_of::<T>()).is_none_or(|size| size > isize::MAX as usize) {
        return wrong(format!("the array {name} has {count} elements: memory has no room for it"));
    }
    // SAFETY: the caller vouches for the values; the rest is checked above.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}

/// Like [`array`], but null stands for all. A list that is empty by chance must not mean all, so it is refused.
///
/// # Safety
/// That of [`array`].
pub unsafe fn some_or_all<'a, T>(name: &str, pointer: *const T, count: usize) -> Result<&'a [T]> {
    match (pointer.is_null(), count) {
        (true, 0) => Ok(&[]),
        (true, _) => {
            wrong(format!("{name} is null, and its number is {count}: for all, pass null and 0"))
        }
        (false, 0) => {
            wrong(format!("{name} is not null, and its number is 0: for all, pass null and 0"))
        }
        // SAFETY: the caller's promise is the same.
        _ => unsafe { array(name, pointer, count) },
    }
}

pub fn access(name: &str, value: ABufferSyncAccess) -> Result<Access> {
    types::access(value).ok_or_else(|| {
        Failure::Argument(format!(
            "{name} is {value:#x}: it must be ABUFFERSYNC_ACCESS_READ (0x1), _WRITE (0x2), _DMA_READ (0x5) or \
             _DMA_WRITE (0x6)"
        ))
    })
}

/// What a lock asks for.
///
/// # Safety
/// That of [`array`].
pub unsafe fn wants(
    given: *const ABufferSyncWant,
    count: usize,
) -> Result<Vec<(BufferId, Access)>> {
    // SAFETY: the caller's promise is the same.
    let given = unsafe { some_or_all("wants", given, count)? };
    let want = |(nth, want): (usize, &ABufferSyncWant)| {
        let access = access(&format!("wants[{nth}].access"), want.access)?;
        if want.reserved != 0 {
            let reserved = want.reserved;
            return wrong(format!("wants[{nth}].reserved is {reserved}: it must be 0"));
        }
        Ok((BufferId(want.buffer), access))
    };
    given.iter().enumerate().map(want).collect()
}

/// # Safety
/// That of [`array`].
pub unsafe fn buffers(given: *const ABufferSyncBufferId, count: usize) -> Result<Vec<BufferId>> {
    // SAFETY: the caller's promise is the same.
    let given = unsafe { some_or_all("buffers", given, count)? };
    Ok(given.iter().map(|buffer| BufferId(*buffer)).collect())
}

/// A descriptor that the caller keeps.
pub fn borrowed<'a>(name: &str, fd: c_int) -> Result<BorrowedFd<'a>> {
    let not_open = || Failure::Fd(name.to_string(), fd);
    if fd < 0 {
        return Err(not_open());
    }
    fcntl(fd, FcntlArg::F_GETFD).map_err(|_| not_open())?;
    // SAFETY: it is not -1. If the caller closes it meanwhile, the kernel refuses it.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// The descriptors of a native handle. -1 is a place that is not used, as in an array of planes: it is skipped.
pub fn handle<'a>(fds: &[c_int]) -> Result<Vec<BorrowedFd<'a>>> {
    if fds.is_empty() {
        return wrong("numFds is 0: a handle has at least one descriptor".to_string());
    }
    let used = fds.iter().enumerate().filter(|(_, fd)| **fd != -1);
    let used = used.map(|(nth, fd)| borrowed(&format!("fds[{nth}]"), *fd));
    let used = used.collect::<Result<Vec<_>>>()?;
    if used.is_empty() {
        return wrong(
            "all elements of fds are -1: a handle has at least one descriptor".to_string(),
        );
    }
    Ok(used)
}

/// A descriptor that the caller gives away; `None` for -1.
pub fn taken(name: &str, fd: c_int) -> Result<Option<OwnedFd>> {
    if fd == -1 {
        return Ok(None);
    }
    // A descriptor that is not open must not be owned: the close would hit a later one of that number.
    let fd = borrowed(name, fd)?.as_raw_fd();
    // SAFETY: it is open, and the header says that the function takes it.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// The release fences of an unlock. Takes all descriptors, also if something else is wrong.
///
/// # Safety
/// That of [`array`].
pub unsafe fn fences(given: *const ABufferSyncFence, count: usize) -> Result<Fences> {
    if given.is_null() && count == 0 {
        return Ok(Fences::NONE);
    }
    // SAFETY: the caller's promise is the same.
    let given = unsafe { array("fences", given, count)? };
    let mut seen = BTreeSet::new();
    let (mut fences, mut failure) = (Fences::NONE, None);
    let mut refuse = |what: String| failure = Some(Failure::Argument(what));
    let mut not_open = None;
    for (nth, ABufferSyncFence { buffer, fd, reserved }) in given.iter().enumerate() {
        if *reserved != 0 {
            refuse(format!("fences[{nth}].reserved is {reserved}: it must be 0"));
        }
        if *fd != -1 && !seen.insert(*fd) {
            refuse(format!("fences[{nth}].fd is {fd}, which is given twice: dup(2) it"));
            continue;
        }
        match taken(&format!("fences[{nth}].fd"), *fd) {
            Ok(None) => {}
            Ok(Some(fence)) if *buffer != 0 => fences.each.push((BufferId(*buffer), fence)),
            Ok(Some(fence)) if fences.rest.is_none() => fences.rest = Some(fence),
            Ok(Some(_)) => refuse(format!("fences[{nth}] is a second fence with buffer 0")),
            Err(error) => not_open = Some(error),
        }
    }
    failure.or(not_open).map_or(Ok(fences), Err)
}

/// A time-out from C; `None` if it is negative.
pub fn timeout(nanos: i64) -> Option<Duration> {
    u64::try_from(nanos).ok().map(Duration::from_nanos)
}

/// A duration for C.
pub fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Names the descriptor, if it was closed during the call.
pub fn named(name: &'static str, fd: c_int) -> impl Fn(Error) -> Failure {
    move |error| match error {
        Error::BadFd => Failure::Fd(name.to_string(), fd),
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd;
    use std::ptr::null;

    fn is_open(fd: c_int) -> bool {
        fcntl(fd, FcntlArg::F_GETFD).is_ok()
    }

    fn open() -> c_int {
        std::fs::File::open("/dev/null").unwrap().into_raw_fd()
    }

    fn taken_fences(given: &[ABufferSyncFence]) -> Result<Fences> {
        // SAFETY: a slice is such an array.
        unsafe { fences(given.as_ptr(), given.len()) }
    }

    /// One test, because a parallel one could open descriptors of the same numbers.
    #[test]
    fn taken_descriptors_are_closed_once_in_any_case() {
        let (a, b) = (open(), open());
        let fence = |buffer, fd| ABufferSyncFence { buffer, fd, reserved: 0 };
        let all = taken_fences(&[fence(1, a), fence(0, b), fence(2, -1)]).unwrap();
        assert_eq!((all.each.len(), all.each[0].1.as_raw_fd()), (1, a));
        assert_eq!(all.rest.as_ref().unwrap().as_raw_fd(), b);
        drop(all);
        assert!(!is_open(a) && !is_open(b));

        for bad in [-2, 1_000_000] {
            let a = open();
            let failure = taken_fences(&[fence(1, bad), fence(2, a)]).unwrap_err();
            assert!(
                matches!(failure, Failure::Fd(name, fd) if name == "fences[0].fd" && fd == bad)
            );
            assert!(!is_open(a), "after {bad}");
        }
        let refused = |given: &[ABufferSyncFence], why: &str| match taken_fences(given) {
            Err(Failure::Argument(what)) => assert!(what.contains(why), "{what}"),
            other => panic!("{other:?}"),
        };
        let a = open();
        refused(&[fence(1, a), fence(2, a)], "given twice");
        assert!(!is_open(a));
        let (a, b) = (open(), open());
        refused(&[fence(0, a), fence(0, b)], "fences[1] is a second fence");
        assert!(!is_open(a) && !is_open(b));
        let a = open();
        refused(&[ABufferSyncFence { reserved: 7, ..fence(0, a) }], "reserved is 7");
        assert!(!is_open(a));
    }

    #[test]
    fn null_is_refused_for_required_pointers() {
        // SAFETY: null is what is tested.
        unsafe {
            assert!(Out::<i64>::new("x", std::ptr::null_mut()).is_err());
            assert!(Out::<i64>::optional("x", std::ptr::null_mut()).unwrap().is_none());
            assert!(array::<i64>("x", null(), 1).is_err());
            assert!(string("x", null()).unwrap().is_none());
            assert!(fences(null(), 1).is_err() && fences(null(), 0).is_ok());
        }
        assert!(borrowed("x", -1).is_err());
        assert!(taken("x", -1).unwrap().is_none() && taken("x", -2).is_err());
    }

    #[test]
    fn an_empty_list_is_not_all() {
        let one = [1_i64];
        // SAFETY: null, or an array of one value.
        unsafe {
            assert_eq!(some_or_all::<i64>("x", null(), 0).unwrap(), &[] as &[i64]);
            assert!(some_or_all::<i64>("x", null(), 1).is_err());
            assert!(some_or_all("x", one.as_ptr(), 0).is_err());
            assert_eq!(some_or_all("x", one.as_ptr(), 1).unwrap(), &one);
        }
    }

    #[test]
    fn an_unused_place_of_a_handle_is_skipped() {
        assert_eq!(handle(&[0, -1, 1, -1]).unwrap().len(), 2);
        assert!(matches!(handle(&[]), Err(Failure::Argument(_))));
        assert!(matches!(handle(&[-1, -1]), Err(Failure::Argument(_))));
        assert!(matches!(handle(&[0, -2]), Err(Failure::Fd(name, -2)) if name == "fds[1]"));
    }

    #[test]
    fn a_want_is_checked_field_by_field() {
        let wrong = |access, reserved| {
            let want = ABufferSyncWant { buffer: 1, access, reserved };
            // SAFETY: an array of one value.
            match unsafe { wants(&want, 1) } {
                Err(Failure::Argument(what)) => what,
                other => panic!("{other:?}"),
            }
        };
        assert!(wrong(3, 0).starts_with("wants[0].access is 0x3: it must be"));
        assert_eq!(wrong(1, 9), "wants[0].reserved is 9: it must be 0");
    }
}

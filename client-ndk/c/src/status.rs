// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The end of every call: a status for the caller, and a message that the thread keeps.

use std::cell::RefCell;
use std::ffi::{c_char, CStr, CString};

use buffersync_client::Error;

use crate::types::*;

#[derive(Debug)]
pub enum Failure {
    /// Names a bad argument.
    Argument(&'static str),
    /// The handle was closed, or was never opened.
    Handle,
    /// There is no event now.
    NoEvent,
    Client(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Client(error)
    }
}

pub type Result<T> = std::result::Result<T, Failure>;

thread_local! {
    static LAST_MESSAGE: RefCell<CString> = RefCell::default();
}

/// Runs the body of a call, and keeps the message of a failure. Refuses a forked child first, before
/// any mutex is taken.
pub fn call(what: impl FnOnce() -> Result<()>) -> ABufferSyncStatus {
    let done = if buffersync_client::is_forked() { Err(Error::Forked.into()) } else { what() };
    match done {
        Ok(()) => ABUFFERSYNC_OK,
        Err(failure) => {
            remember(&failure);
            failure.status()
        }
    }
}

fn remember(failure: &Failure) {
    if buffersync_client::is_thread_ending() {
        return;
    }
    let message = CString::new(failure.message().replace('\0', " ")).unwrap_or_default();
    // An error is ignored: while the thread ends, nobody can ask for the message.
    let _ = LAST_MESSAGE.try_with(|last| last.replace(message));
}

/// The message of the thread's last failed call. Valid until its next call.
pub fn last_message() -> *const c_char {
    LAST_MESSAGE.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

impl Failure {
    fn message(&self) -> String {
        match self {
            Self::Argument(what) => format!("invalid argument: {what}"),
            Self::Client(error) => error.to_string(),
            _ => text(self.status()).to_string_lossy().into_owned(),
        }
    }

    fn status(&self) -> ABufferSyncStatus {
        match self {
            Self::Argument(_) => ABUFFERSYNC_ERROR_INVALID_ARGUMENT,
            Self::Handle => ABUFFERSYNC_ERROR_INVALID_HANDLE,
            Self::NoEvent => ABUFFERSYNC_ERROR_WOULD_BLOCK,
            Self::Client(error) => error.code(),
        }
    }
}

/// Describes a status.
pub fn text(status: ABufferSyncStatus) -> &'static CStr {
    match status {
        ABUFFERSYNC_OK => c"ok",
        ABUFFERSYNC_ERROR_INVALID_ARGUMENT => c"invalid argument",
        ABUFFERSYNC_ERROR_INVALID_HANDLE => c"the handle was closed, or was never opened",
        ABUFFERSYNC_ERROR_BAD_FD => c"bad file descriptor",
        ABUFFERSYNC_ERROR_NOT_DMABUF => c"none of the descriptors is a dma-buf or a memfd",
        ABUFFERSYNC_ERROR_BAD_FENCE => c"a release fence is not a sync_file",
        ABUFFERSYNC_ERROR_UNKNOWN_BUFFER => c"the group has no buffer of that id",
        ABUFFERSYNC_ERROR_ACCESS_CONFLICT => c"the buffer is in the group for the CPU and for DMA",
        ABUFFERSYNC_ERROR_QUOTA => c"a quota of this uid or a limit of the group is reached",
        ABUFFERSYNC_ERROR_NO_RESOURCES => c"short of descriptors or memory",
        ABUFFERSYNC_ERROR_EMPTY_GROUP => c"the group has no buffers",
        ABUFFERSYNC_ERROR_BUSY => c"the lock waits, or a lock of the group has the buffer",
        ABUFFERSYNC_ERROR_ALREADY_LOCKED => {
            c"a lock of this group has the buffers or waits for them"
        }
        ABUFFERSYNC_ERROR_NOT_LOCKED => c"the group holds nothing",
        ABUFFERSYNC_ERROR_WOULD_BLOCK => c"somebody holds a buffer or waits for it; or no event",
        ABUFFERSYNC_ERROR_NOT_QUEUED => c"no lock is waiting",
        ABUFFERSYNC_ERROR_TIMED_OUT => c"the lock was not granted in time",
        ABUFFERSYNC_ERROR_CANCELLED => c"the lock was cancelled",
        ABUFFERSYNC_ERROR_DEADLOCK => c"another lock comes first: unlock, and lock again",
        ABUFFERSYNC_ERROR_EVICTED => c"the grant was taken away at its deadline",
        ABUFFERSYNC_ERROR_LOCK_FAILED => {
            c"an implicit fence did not signal in time, or cache maintenance of a buffer failed"
        }
        ABUFFERSYNC_ERROR_EVENTS_UNREAD => c"too many unread events",
        ABUFFERSYNC_ERROR_UNSUPPORTED => c"the service, its kernel or this platform can't do that",
        ABUFFERSYNC_ERROR_NO_BINDER => c"the binder driver can't be opened",
        ABUFFERSYNC_ERROR_NO_SERVICE => {
            c"the service is not registered, or this process may not find it"
        }

        ABUFFERSYNC_ERROR_SERVICE_DIED => c"the service died",
        ABUFFERSYNC_ERROR_FORKED => c"this process is a forked child of the process that connected",
        ABUFFERSYNC_ERROR_INTERNAL => c"binder failed, or the service broke its rules",
        ABUFFERSYNC_ERROR_BAD_LOCK => c"the number names no lock of this group",
        ABUFFERSYNC_ERROR_ENDED => c"the lock has ended",
        _ => c"unknown status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_own_text() {
        let texts: Vec<_> = (ABUFFERSYNC_ERROR_ENDED..=0).map(text).collect();
        for (nth, one) in texts.iter().enumerate() {
            assert!(!texts[..nth].contains(one) && *one != text(1), "{one:?}");
        }
    }

    #[test]
    fn the_client_and_the_header_have_the_same_codes() {
        let nothing = String::new;
        let (buffer, errno) = (buffersync_client::BufferId(1), nix::errno::Errno::EIO);
        let failed = |by_fence| Error::LockFailed { buffer, errno, by_fence };
        let no_service = Error::NoService { instance: nothing(), reason: nothing() };
        for (error, status) in [
            (Error::IllegalArgument(nothing()), ABUFFERSYNC_ERROR_INVALID_ARGUMENT),
            (Error::Closed, ABUFFERSYNC_ERROR_INVALID_HANDLE),
            (Error::BadFd, ABUFFERSYNC_ERROR_BAD_FD),
            (Error::NotDmaBuf, ABUFFERSYNC_ERROR_NOT_DMABUF),
            (Error::BadFence, ABUFFERSYNC_ERROR_BAD_FENCE),
            (Error::UnknownBuffer, ABUFFERSYNC_ERROR_UNKNOWN_BUFFER),
            (Error::AccessConflict, ABUFFERSYNC_ERROR_ACCESS_CONFLICT),
            (Error::Quota, ABUFFERSYNC_ERROR_QUOTA),
            (Error::NoResources, ABUFFERSYNC_ERROR_NO_RESOURCES),
            (Error::EmptyGroup, ABUFFERSYNC_ERROR_EMPTY_GROUP),
            (Error::Busy, ABUFFERSYNC_ERROR_BUSY),
            (Error::AlreadyLocked, ABUFFERSYNC_ERROR_ALREADY_LOCKED),
            (Error::NotLocked, ABUFFERSYNC_ERROR_NOT_LOCKED),
            (Error::BadLock, ABUFFERSYNC_ERROR_BAD_LOCK),
            (Error::Ended, ABUFFERSYNC_ERROR_ENDED),
            (Error::ReplyLost(nothing()), ABUFFERSYNC_ERROR_NO_RESOURCES),
            (Error::WouldBlock, ABUFFERSYNC_ERROR_WOULD_BLOCK),
            (Error::NotQueued, ABUFFERSYNC_ERROR_NOT_QUEUED),
            (Error::TimedOut, ABUFFERSYNC_ERROR_TIMED_OUT),
            (Error::Cancelled, ABUFFERSYNC_ERROR_CANCELLED),
            (Error::Deadlock, ABUFFERSYNC_ERROR_DEADLOCK),
            (Error::Evicted, ABUFFERSYNC_ERROR_EVICTED),
            (failed(true), ABUFFERSYNC_ERROR_LOCK_FAILED),
            (failed(false), ABUFFERSYNC_ERROR_LOCK_FAILED),
            (Error::EventsUnread, ABUFFERSYNC_ERROR_EVENTS_UNREAD),
            (Error::Unsupported, ABUFFERSYNC_ERROR_UNSUPPORTED),
            (Error::NoBinder(nothing()), ABUFFERSYNC_ERROR_NO_BINDER),
            (no_service, ABUFFERSYNC_ERROR_NO_SERVICE),
            (Error::ServiceDied, ABUFFERSYNC_ERROR_SERVICE_DIED),
            (Error::Forked, ABUFFERSYNC_ERROR_FORKED),
            (Error::Protocol("x"), ABUFFERSYNC_ERROR_INTERNAL),
            (Error::System("x", errno), ABUFFERSYNC_ERROR_INTERNAL),
            (Error::System("x", nix::errno::Errno::EMFILE), ABUFFERSYNC_ERROR_NO_RESOURCES),
        ] {
            assert_eq!(error.code(), status, "{error:?}");
        }
    }

    #[test]
    fn each_thread_has_its_own_message() {
        assert_eq!(
            call(|| Err(Failure::Argument("x is null"))),
            ABUFFERSYNC_ERROR_INVALID_ARGUMENT
        );
        // SAFETY: a NUL-terminated string that stays until this thread's next call.
        let message = unsafe { CStr::from_ptr(last_message()) };
        assert_eq!(message, c"invalid argument: x is null");
        let elsewhere = std::thread::spawn(|| {
            // SAFETY: as above.
            unsafe { CStr::from_ptr(last_message()) }.is_empty()
        });
        assert!(elsewhere.join().unwrap());
    }
}

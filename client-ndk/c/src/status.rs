// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The end of every call: a status for the caller, and what the thread remembers of an error.

use std::ffi::{c_int, CStr};

use buffersync_client_core::Error;

use crate::texts;
use crate::types::*;

#[derive(Debug)]
pub enum Failure {
    /// Names the argument, its value, and what is allowed.
    Argument(String),
    /// The handle of this kind was closed, or was never opened.
    Handle(&'static str, usize),
    /// A descriptor that is not open: the name of the argument, and its value.
    Fd(String, c_int),
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

/// Runs the body of a call, and keeps the message of a failure. Refuses a forked child first, before
/// any mutex is taken.
pub fn call(what: impl FnOnce() -> Result<()>) -> ABufferSyncStatus {
    let forked = buffersync_client_core::is_forked();
    let done = if forked { Err(Error::Forked.into()) } else { what() };
    match done {
        Ok(()) => ABUFFERSYNC_OK,
        Err(failure) => {
            texts::remember(&failure.message(), failure.in_the_way());
            failure.status()
        }
    }
}

impl Failure {
    fn message(&self) -> String {
        match self {
            Self::Argument(what) => format!("illegal argument: {what}"),
            Self::Handle(kind, handle) => {
                format!("{handle:#x} is no open {kind}: it was closed, or was never opened")
            }
            Self::Fd(name, -1) => format!("{name} is -1, and must be an open descriptor"),
            Self::Fd(name, fd) => format!("{name} is {fd}, which is not an open descriptor"),
            Self::NoEvent => "the group has no event now: poll its event descriptor".to_string(),
            Self::Client(error) => error.to_string(),
        }
    }

    fn in_the_way(&self) -> Option<&buffersync_client_core::InTheWay> {
        match self {
            Self::Client(error) => error.in_the_way(),
            _ => None,
        }
    }

    fn status(&self) -> ABufferSyncStatus {
        match self {
            Self::Argument(_) => ABUFFERSYNC_ERROR_INVALID_ARGUMENT,
            Self::Handle(..) => ABUFFERSYNC_ERROR_INVALID_HANDLE,
            Self::Fd(..) => ABUFFERSYNC_ERROR_BAD_FD,
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
        ABUFFERSYNC_ERROR_INVALID_HANDLE => c"the handle was closed or was never opened",
        ABUFFERSYNC_ERROR_BAD_FD => c"bad file descriptor",
        ABUFFERSYNC_ERROR_NOT_DMABUF => c"none of the descriptors is a dma-buf or a memfd",
        ABUFFERSYNC_ERROR_BAD_FENCE => c"a release fence is not a sync_file",
        ABUFFERSYNC_ERROR_UNKNOWN_BUFFER => c"the group, or the grant, has no buffer of that id",
        ABUFFERSYNC_ERROR_ACCESS_CONFLICT => {
            c"a buffer would be used by the CPU and by DMA at once"
        }
        ABUFFERSYNC_ERROR_QUOTA => c"a quota of this uid or a limit of the group is reached",
        ABUFFERSYNC_ERROR_NO_RESOURCES => c"short of descriptors or memory",
        ABUFFERSYNC_ERROR_EMPTY_GROUP => c"the group has no buffers",
        ABUFFERSYNC_ERROR_BUSY => c"the lock waits, or a lock of the group has the buffer",
        ABUFFERSYNC_ERROR_ALREADY_LOCKED => {
            c"a lock of this group has the buffers or waits for them"
        }
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
        // -13 is no status.
        let statuses = (ABUFFERSYNC_ERROR_ENDED..=0).filter(|status| *status != -13);
        let texts: Vec<_> = statuses.map(text).collect();
        for (nth, one) in texts.iter().enumerate() {
            assert!(!texts[..nth].contains(one) && *one != text(1), "{one:?}");
        }
    }

    #[test]
    fn the_client_and_the_header_have_the_same_codes() {
        let nothing = String::new;
        let (buffer, errno) = (buffersync_client_core::BufferId(1), nix::errno::Errno::EIO);
        let failed = |by_fence| Error::LockFailed { buffer, errno, by_fence };
        let no_service = Error::NoService { instance: nothing(), reason: nothing() };
        for (error, status) in [
            (Error::IllegalArgument(nothing()), ABUFFERSYNC_ERROR_INVALID_ARGUMENT),
            (Error::Closed, ABUFFERSYNC_ERROR_INVALID_HANDLE),
            (Error::BadFd, ABUFFERSYNC_ERROR_BAD_FD),
            (Error::NotDmaBuf(nothing()), ABUFFERSYNC_ERROR_NOT_DMABUF),
            (Error::BadFence(nothing()), ABUFFERSYNC_ERROR_BAD_FENCE),
            (Error::UnknownBuffer(nothing()), ABUFFERSYNC_ERROR_UNKNOWN_BUFFER),
            (Error::AccessConflict(nothing()), ABUFFERSYNC_ERROR_ACCESS_CONFLICT),
            (Error::Quota(nothing()), ABUFFERSYNC_ERROR_QUOTA),
            (Error::NoResources(nothing()), ABUFFERSYNC_ERROR_NO_RESOURCES),
            (Error::EmptyGroup, ABUFFERSYNC_ERROR_EMPTY_GROUP),
            (Error::Busy(nothing()), ABUFFERSYNC_ERROR_BUSY),
            (Error::AlreadyLocked(nothing()), ABUFFERSYNC_ERROR_ALREADY_LOCKED),
            (Error::BadLock(nothing()), ABUFFERSYNC_ERROR_BAD_LOCK),
            (Error::Ended, ABUFFERSYNC_ERROR_ENDED),
            (Error::ReplyLost(nothing()), ABUFFERSYNC_ERROR_NO_RESOURCES),
            (Error::WouldBlock(nothing()), ABUFFERSYNC_ERROR_WOULD_BLOCK),
            (Error::NotQueued, ABUFFERSYNC_ERROR_NOT_QUEUED),
            (Error::TimedOut { by: None, silent: false }, ABUFFERSYNC_ERROR_TIMED_OUT),
            (Error::Cancelled, ABUFFERSYNC_ERROR_CANCELLED),
            (Error::Deadlock, ABUFFERSYNC_ERROR_DEADLOCK),
            (Error::Evicted { by: None }, ABUFFERSYNC_ERROR_EVICTED),
            (failed(true), ABUFFERSYNC_ERROR_LOCK_FAILED),
            (failed(false), ABUFFERSYNC_ERROR_LOCK_FAILED),
            (Error::EventsUnread, ABUFFERSYNC_ERROR_EVENTS_UNREAD),
            (Error::Unsupported(nothing()), ABUFFERSYNC_ERROR_UNSUPPORTED),
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
    fn a_message_says_what_is_wrong_and_what_is_allowed() {
        let said = |failure: Failure| (failure.status(), failure.message());
        assert_eq!(
            said(Failure::Fd("dmaBufFd".into(), -1)),
            (ABUFFERSYNC_ERROR_BAD_FD, "dmaBufFd is -1, and must be an open descriptor".into())
        );
        let (status, message) = said(Failure::Handle("ABufferSyncGroup", 0x15));
        assert_eq!(status, ABUFFERSYNC_ERROR_INVALID_HANDLE);
        assert!(message.starts_with("0x15 is no open ABufferSyncGroup"), "{message}");
        let failure = || Err(Failure::Argument("x is null".to_string()));
        assert_eq!(call(failure), ABUFFERSYNC_ERROR_INVALID_ARGUMENT);
        // SAFETY: a text of this thread.
        let message = unsafe { CStr::from_ptr(texts::last_message()) };
        assert_eq!(message, c"illegal argument: x is null");
    }
}

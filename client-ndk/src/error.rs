// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The error type of the crate, and the conversion of binder statuses to it.

use binder::Status;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync as codes;
use buffersync_aidl::{runtime, Failure};
use nix::errno::Errno;

use crate::types::BufferId;

/// Result of this crate's calls.
pub type Result<T> = std::result::Result<T, Error>;

/// The reason of a failed call. The first block has the `IBufferSync.ERROR_*` constants; the AIDL says
/// which call returns which. A failed call has changed nothing unless its comment says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `ERROR_NOT_DMABUF`.
    #[error("none of the descriptors is a dma-buf or a memfd")]
    NotDmaBuf,
    /// `ERROR_QUOTA`.
    #[error("a quota of this uid or a limit of the group is reached")]
    Quota,
    /// `ERROR_UNKNOWN_BUFFER`.
    #[error("the group has no buffer of that id")]
    UnknownBuffer,
    /// `ERROR_BUSY`.
    #[error("the lock waits, or a lock of the group has the buffer")]
    Busy,
    /// `ERROR_EMPTY_GROUP`.
    #[error("the group has no buffers")]
    EmptyGroup,
    /// `ERROR_ALREADY_LOCKED`.
    #[error("a lock of this group already has the buffers or waits for them")]
    AlreadyLocked,
    /// `ERROR_WOULD_BLOCK`.
    #[error("somebody holds one of the buffers or waits for it")]
    WouldBlock,
    /// `ERROR_NOT_QUEUED`.
    #[error("no lock is waiting")]
    NotQueued,
    /// `ERROR_BAD_LOCK`.
    #[error("the number names no lock of this group")]
    BadLock,
    /// `ERROR_ENDED`: it was unlocked or cancelled, or it ended without a grant.
    #[error("the lock has ended")]
    Ended,
    /// `ERROR_EVICTED`.
    #[error("evicted: the grant was taken away at its deadline, work done after it may be lost")]
    Evicted,
    /// `ERROR_CLOSED`.
    #[error("the group is closed")]
    Closed,
    /// `ERROR_BAD_FENCE`.
    #[error("a release fence is not a sync_file")]
    BadFence,
    /// `ERROR_EVENTS_UNREAD`.
    #[error("too many unread events: read them first")]
    EventsUnread,
    /// `ERROR_ACCESS_CONFLICT`.
    #[error(
        "the buffer is in the group for the CPU and was added for DMA, or the other way round"
    )]
    AccessConflict,
    /// `ERROR_NO_RESOURCES`.
    #[error("the service is short of descriptors or memory")]
    NoResources,
    /// `ERROR_DEADLOCK`, or a WOUNDED event: an older lock waits for a buffer that this grant has, and
    /// waiting for more could deadlock (the kernel's `-EDEADLK`). Or the life of its ticket is over,
    /// and another lock already waits for a buffer that it wants. Unlock and lock again: the new lock
    /// has the old ticket while that lives. Until then the grant can't grow.
    #[error("another lock comes first: unlock, and lock again")]
    Deadlock,
    /// `ERROR_UNSUPPORTED`: see [`crate::Capabilities`].
    #[error("the service or its kernel can't do that")]
    Unsupported,
    /// An `ERROR_*` of a later version of the interface.
    #[error("service error {0}, unknown to this client")]
    UnknownCode(i32),

    /// `EX_ILLEGAL_ARGUMENT`, with the service's message.
    #[error("illegal argument: {0}")]
    IllegalArgument(String),
    /// The lock was not granted in time. If it would grow a grant, that goes on as it was.
    #[error("the lock was not granted in time")]
    TimedOut,
    /// The lock ended without a grant: an implicit fence of a buffer did not signal in time, or its
    /// cache maintenance failed. If it would grow a grant, that goes on as it was.
    #[error("{}", lock_failed(*buffer, *errno, *by_fence))]
    LockFailed {
        /// The buffer.
        buffer: BufferId,
        /// `ETIMEDOUT` for an implicit fence, otherwise the error of the cache maintenance.
        errno: Errno,
        /// True for an implicit fence, false for cache maintenance.
        by_fence: bool,
    },
    /// The service is gone, and every lock with it. Or another owner of the group's binder closed the
    /// group. Connect again and open new groups.
    #[error("the buffersync service died")]
    ServiceDied,
    /// A descriptor is not open.
    #[error("bad file descriptor")]
    BadFd,
    /// The lock has no grant: it was not granted, or was unlocked before.
    #[error("the group holds nothing")]
    NotLocked,
    /// Another thread took the lock back ([`crate::SharedGroup::cancel`]).
    #[error("the lock was cancelled")]
    Cancelled,
    /// This group already has a mapping of the buffer.
    #[error("the buffer is already mapped")]
    AlreadyMapped,
    /// This process is a forked child of the process that connected. It can't use the connection.
    #[error("this process is a forked child of the process that connected: exec first")]
    Forked,

    /// The binder driver can't be opened.
    #[error("no binder driver: {0}")]
    NoBinder(String),
    /// The service manager does not know the instance, or does not let this uid find it.
    #[error("no service {instance}: {reason}")]
    NoService {
        /// The name that was looked up.
        instance: String,
        /// The service manager's answer.
        reason: String,
    },
    /// The answer of the service could not be delivered, mostly because this process has no free
    /// descriptor for the acquire fence. The call says what has become of its lock.
    #[error("the reply could not be delivered ({0}): close descriptors and try again")]
    ReplyLost(String),
    /// A binder call failed below the interface.
    #[error("binder: {0}")]
    Binder(String),
    /// A system call of the client failed.
    #[error("{0}: {1}")]
    System(&'static str, Errno),
    /// The service broke the interface's rules.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
}

impl Error {
    /// The error as a number, as C and Java get it. 0 would be success.
    pub fn code(&self) -> i32 {
        match self {
            Self::NotDmaBuf => -4,
            Self::Quota => -8,
            Self::UnknownBuffer => -6,
            Self::Busy | Self::AlreadyMapped => -11,
            Self::EmptyGroup => -10,
            Self::AlreadyLocked => -12,
            Self::WouldBlock => -14,
            Self::NotQueued => -15,
            Self::NotLocked => -13,
            Self::Evicted => -19,
            Self::Closed => -2,
            Self::BadFence => -5,
            Self::EventsUnread => -21,
            Self::AccessConflict => -7,
            Self::NoResources | Self::ReplyLost(_) => -9,
            Self::Deadlock => -18,
            Self::Unsupported => -22,
            Self::IllegalArgument(_) => -1,
            Self::TimedOut => -16,
            Self::LockFailed { .. } => -20,
            Self::ServiceDied => -25,
            Self::BadFd => -3,
            Self::Cancelled => -17,
            Self::Forked => -26,
            Self::BadLock => -28,
            Self::Ended => -29,
            Self::NoBinder(_) => -23,
            Self::NoService { .. } => -24,
            Self::System(_, errno) if is_shortage(*errno) => -9,
            _ => -27,
        }
    }

    /// The error of a system call that std made.
    pub(crate) fn io(what: &'static str, error: &std::io::Error) -> Self {
        Self::System(what, Errno::from_raw(error.raw_os_error().unwrap_or(0)))
    }

    pub(crate) fn from_code(code: i32) -> Self {
        match code {
            codes::ERROR_NOT_DMABUF => Self::NotDmaBuf,
            codes::ERROR_QUOTA => Self::Quota,
            codes::ERROR_UNKNOWN_BUFFER => Self::UnknownBuffer,
            codes::ERROR_BUSY => Self::Busy,
            codes::ERROR_EMPTY_GROUP => Self::EmptyGroup,
            codes::ERROR_ALREADY_LOCKED => Self::AlreadyLocked,
            codes::ERROR_WOULD_BLOCK => Self::WouldBlock,
            codes::ERROR_NOT_QUEUED => Self::NotQueued,
            codes::ERROR_BAD_LOCK => Self::BadLock,
            codes::ERROR_EVICTED => Self::Evicted,
            codes::ERROR_CLOSED => Self::Closed,
            codes::ERROR_BAD_FENCE => Self::BadFence,
            codes::ERROR_EVENTS_UNREAD => Self::EventsUnread,
            codes::ERROR_ACCESS_CONFLICT => Self::AccessConflict,
            codes::ERROR_NO_RESOURCES => Self::NoResources,
            codes::ERROR_DEADLOCK => Self::Deadlock,
            codes::ERROR_UNSUPPORTED => Self::Unsupported,
            codes::ERROR_ENDED => Self::Ended,
            other => Self::UnknownCode(other),
        }
    }
}

/// Says what the lock waited for when it failed.
fn lock_failed(buffer: BufferId, errno: Errno, by_fence: bool) -> String {
    if by_fence {
        let name = format!("{errno:?}");
        format!("buffer {buffer}: an implicit fence of a driver did not signal in time ({name})")
    } else {
        format!("cache maintenance of buffer {buffer} failed: {errno}")
    }
}

fn is_shortage(errno: Errno) -> bool {
    matches!(errno, Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::ServiceSpecific(code) => Self::from_code(code),
            Failure::IllegalArgument(message) => Self::IllegalArgument(message),
            Failure::DeadObject => Self::ServiceDied,
            Failure::BadFd => Self::BadFd,
            Failure::NameNotFound => Self::Binder("no such name".into()),
            Failure::Other(reason) => Self::Binder(reason),
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        runtime::failure(&status).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_interface_has_its_own_error() {
        let errors: Vec<Error> = (1..=18).map(Error::from_code).collect();
        for (at, error) in errors.iter().enumerate() {
            assert!(!matches!(error, Error::UnknownCode(_)), "code {}", at + 1);
            assert!(!errors[..at].contains(error), "code {} is not alone", at + 1);
        }
        assert_eq!(errors[codes::ERROR_EVICTED as usize - 1], Error::Evicted);
        assert_eq!(Error::from_code(19), Error::UnknownCode(19));
    }

    #[test]
    fn statuses_keep_what_they_say() {
        let evicted = runtime::service_specific(codes::ERROR_EVICTED, "late");
        assert_eq!(Error::from(evicted), Error::Evicted);
        let Error::IllegalArgument(why) = runtime::illegal_argument("name is empty").into() else {
            panic!("an illegal argument stays one");
        };
        assert!(why.contains("name is empty"), "{why}");
    }

    #[test]
    fn a_lock_that_failed_says_what_it_waited_for() {
        let failed = |errno, by_fence| Error::LockFailed { buffer: BufferId(3), errno, by_fence };
        assert_eq!(
            failed(Errno::ETIMEDOUT, true).to_string(),
            "buffer 3: an implicit fence of a driver did not signal in time (ETIMEDOUT)"
        );
        let cache = failed(Errno::EIO, false).to_string();
        assert!(cache.starts_with("cache maintenance of buffer 3 failed: EIO"), "{cache}");
    }

    #[test]
    fn transport_failures_are_told_apart() {
        assert_eq!(Error::from(Failure::DeadObject), Error::ServiceDied);
        assert_eq!(Error::from(Failure::BadFd), Error::BadFd);
        let failed = Error::from(Failure::Other("failed transaction".into()));
        assert!(matches!(failed, Error::Binder(_)), "{failed:?}");
    }
}

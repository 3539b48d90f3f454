// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The reasons for which a call is refused, and their translation into a binder status.

use std::os::fd::OwnedFd;

use binder::Status;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync as aidl;
use buffersync_aidl::runtime;

/// The reason why a call was refused. The call has changed nothing, except with [`Error::Deadlock`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An argument is outside what the AIDL allows.
    #[error("{0}")]
    IllegalArgument(String),
    #[error("no descriptor of the handle is a dma-buf or a memfd")]
    NotDmaBuf,
    /// A limit is reached: its subject, and the number.
    #[error("quota: {0}: {1} at most")]
    Quota(&'static str, usize),
    #[error("the group, or the grant, has no such buffer")]
    UnknownBuffer,
    #[error("the lock waits, or a lock of the group has the buffer")]
    Busy,
    #[error("the group has no buffers")]
    EmptyGroup,
    #[error("another lock of the group has a buffer, or the grant has everything already")]
    AlreadyLocked,
    #[error("another group holds a buffer or waits for it, or its release fence is pending")]
    WouldBlock,
    #[error("the lock does not wait")]
    NotQueued,
    /// A new lock's number is not greater than all before; or no lock of the group has had the number.
    #[error("the group's last lock is {0}: the number of a new lock must be greater, and no other can be")]
    BadLock(u64),
    #[error("the grant was taken away: its deadline has passed, or its release fence failed")]
    Evicted,
    #[error("the lock has ended")]
    Ended,
    #[error("the group is closed")]
    Closed,
    #[error("a release fence is not a sync_file")]
    BadFence,
    /// The client has not read enough of its event channel.
    #[error("too many unread records in the event channel")]
    EventsUnread,
    #[error("the buffer is in the group with CPU access and DMA access at once")]
    AccessConflict,
    #[error("an older lock waits for what this one holds: unlock, and lock again")]
    Deadlock,
    #[error("this kernel has no {0}")]
    Unsupported(&'static str),
    #[error("out of {0}")]
    NoResources(&'static str),
}

impl Error {
    /// The `IBufferSync.ERROR_*` constant, `None` for an illegal argument.
    fn code(&self) -> Option<i32> {
        Some(match self {
            Self::IllegalArgument(_) => return None,
            Self::NotDmaBuf => aidl::ERROR_NOT_DMABUF,
            Self::Quota(..) => aidl::ERROR_QUOTA,
            Self::UnknownBuffer => aidl::ERROR_UNKNOWN_BUFFER,
            Self::Busy => aidl::ERROR_BUSY,
            Self::EmptyGroup => aidl::ERROR_EMPTY_GROUP,
            Self::AlreadyLocked => aidl::ERROR_ALREADY_LOCKED,
            Self::WouldBlock => aidl::ERROR_WOULD_BLOCK,
            Self::NotQueued => aidl::ERROR_NOT_QUEUED,
            Self::BadLock(_) => aidl::ERROR_BAD_LOCK,
            Self::Evicted => aidl::ERROR_EVICTED,
            Self::Ended => aidl::ERROR_ENDED,
            Self::Closed => aidl::ERROR_CLOSED,
            Self::BadFence => aidl::ERROR_BAD_FENCE,
            Self::EventsUnread => aidl::ERROR_EVENTS_UNREAD,
            Self::AccessConflict => aidl::ERROR_ACCESS_CONFLICT,
            Self::Deadlock => aidl::ERROR_DEADLOCK,
            Self::Unsupported(_) => aidl::ERROR_UNSUPPORTED,
            Self::NoResources(_) => aidl::ERROR_NO_RESOURCES,
        })
    }
}

/// Refuses a call whose reply could not carry this descriptor: the binding duplicates it, and if that fails the whole
/// reply is lost.
pub(crate) fn can_be_sent(fd: Option<&OwnedFd>) -> Result<(), Error> {
    let copied = fd.map(OwnedFd::try_clone).transpose();
    copied.map(drop).map_err(|_| Error::NoResources("descriptors"))
}

impl From<buffersync_engine::Error> for Error {
    fn from(error: buffersync_engine::Error) -> Self {
        use buffersync_engine::Error as Engine;
        match error {
            Engine::UnknownGroup => Self::Closed,
            Engine::UnknownBuffer => Self::UnknownBuffer,
            Engine::Busy => Self::Busy,
            Engine::EmptyGroup => Self::EmptyGroup,
            Engine::AlreadyLocked => Self::AlreadyLocked,
            Engine::WouldBlock => Self::WouldBlock,
            Engine::NotQueued => Self::NotQueued,
            // `Sessions` refuses such a number before the engine is asked.
            Engine::BadToken => Self::BadLock(0),
            Engine::Ended => Self::Ended,
            Engine::AccessConflict => Self::AccessConflict,
            Engine::Deadlock => Self::Deadlock,
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error.code() {
            Some(code) => runtime::service_specific(code, &message),
            None => runtime::illegal_argument(&message),
        }
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Every way in which a call can be refused, and the one place where that becomes a binder status.

use binder::Status;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync as aidl;
use buffersync_aidl::runtime;

/// Why a call was refused. It has then changed nothing, but for [`Error::Deadlock`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An argument is outside what the AIDL allows.
    #[error("{0}")]
    IllegalArgument(&'static str),
    /// No descriptor of the handle is a dma-buf.
    #[error("no descriptor of the handle is a dma-buf")]
    NotDmaBuf,
    /// A bound of the capabilities is reached.
    #[error("quota: {0}")]
    Quota(&'static str),
    /// The group has no such buffer.
    #[error("the group has no such buffer")]
    UnknownBuffer,
    /// The group waits, or holds the buffer.
    #[error("the group waits for a lock, or holds the buffer")]
    Busy,
    /// The group has no buffers.
    #[error("the group has no buffers")]
    EmptyGroup,
    /// The group waits or holds already.
    #[error("the group waits for its lock already, or holds it")]
    AlreadyLocked,
    /// Somebody else has or wants a buffer.
    #[error("a buffer is held, or waited for, by another group")]
    WouldBlock,
    /// There is no waiting lock.
    #[error("no lock of the group is waiting")]
    NotQueued,
    /// The token names no grant of the group.
    #[error("the token names no grant of this group")]
    BadToken,
    /// The grant was taken away.
    #[error("the grant was taken away at its deadline")]
    Evicted,
    /// The group is closed.
    #[error("the group is closed")]
    Closed,
    /// A release fence is no sync_file.
    #[error("a release fence is not a sync_file")]
    BadFence,
    /// The event pipe is too full.
    #[error("too many unread records in the event pipe")]
    EventsUnread,
    /// CPU and DMA access of one buffer in one group.
    #[error("the buffer is in the group with CPU access and DMA access at once")]
    AccessConflict,
    /// Growing the grant could deadlock.
    #[error("an older group waits for what this one holds: unlock, and lock again")]
    Deadlock,
    /// The kernel has no means for it.
    #[error("this kernel has no {0}")]
    Unsupported(&'static str),
    /// The system is short of something.
    #[error("out of {0}")]
    NoResources(&'static str),
}

impl Error {
    /// The `IBufferSync.ERROR_*` constant, `None` for an illegal argument.
    fn code(&self) -> Option<i32> {
        Some(match self {
            Self::IllegalArgument(_) => return None,
            Self::NotDmaBuf => aidl::ERROR_NOT_DMABUF,
            Self::Quota(_) => aidl::ERROR_QUOTA,
            Self::UnknownBuffer => aidl::ERROR_UNKNOWN_BUFFER,
            Self::Busy => aidl::ERROR_BUSY,
            Self::EmptyGroup => aidl::ERROR_EMPTY_GROUP,
            Self::AlreadyLocked => aidl::ERROR_ALREADY_LOCKED,
            Self::WouldBlock => aidl::ERROR_WOULD_BLOCK,
            Self::NotQueued => aidl::ERROR_NOT_QUEUED,
            Self::BadToken => aidl::ERROR_BAD_TOKEN,
            Self::Evicted => aidl::ERROR_EVICTED,
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

impl From<buffersync_engine::Error> for Error {
    fn from(error: buffersync_engine::Error) -> Self {
        use buffersync_engine::Error as Engine;
        match error {
            Engine::UnknownGroup => Self::Closed,
            Engine::UnknownBuffer => Self::UnknownBuffer,
            Engine::Busy => Self::Busy,
            Engine::EmptyGroup => Self::EmptyGroup,
            Engine::AlreadyLocked | Engine::AlreadyQueued => Self::AlreadyLocked,
            Engine::WouldBlock => Self::WouldBlock,
            Engine::NotQueued => Self::NotQueued,
            Engine::BadToken => Self::BadToken,
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

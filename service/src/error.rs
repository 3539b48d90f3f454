// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The reasons for which a call is refused, and their translation into a binder status.

use binder::Status;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync as aidl;
use buffersync_aidl::runtime;
use buffersync_kernel::fd::{AsFd, Fd};

/// The reason why a call was refused. The call has changed nothing, except with [`Error::Deadlock`]. The text goes to
/// the client: it says the value, the limit, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An argument is outside what the AIDL allows.
    #[error("{0}")]
    IllegalArgument(String),
    /// The number of descriptors.
    #[error("none of the {0} descriptors is a dma-buf or a memfd: add those of the buffer itself")]
    NotDmaBuf(usize),
    /// A limit is reached: its subject with what to do, and the number.
    #[error("quota: {1} {0}")]
    Quota(&'static str, usize),
    /// The id of the buffer.
    #[error("the group, or the lock, has no buffer {0}: name ids that add() returned and the lock holds")]
    UnknownBuffer(i64),
    /// The lock that waits, or that has the buffer.
    #[error(
        "lock {0} of the group is in the way: wait for its grant, cancel it or unlock it first"
    )]
    Busy(u64),
    #[error("the group has no buffers: add one first")]
    EmptyGroup,
    /// The group's lock that has a buffer, and the buffer; `None` if the lock itself has all that it asks for.
    #[error("{}", already_locked(*.0))]
    AlreadyLocked(Option<(u64, u64)>),
    /// The buffer, and the group and the lock that are in the way; `None` if something else is.
    #[error("{}: try again later, or give a time-out to wait", in_the_way(*.0))]
    WouldBlock(Option<Obstacle>),
    #[error("the lock does not wait: if it has waited, its record is in the event channel")]
    NotQueued,
    /// A new lock's number is not greater than all before; or no lock of the group has had the number.
    #[error("the group's last lock is {0}: the number of a new lock must be greater, and no other can be")]
    BadLock(u64),
    #[error("the grant was taken away: its deadline has passed, or its release fence failed")]
    Evicted,
    #[error("the lock has ended")]
    Ended,
    #[error("the group is closed: open another")]
    Closed,
    /// The position of the fence in the call, from 0.
    #[error("release fence {0} of the call is not a sync_file: give a driver's completion fence")]
    BadFence(usize),
    /// The client has not read enough of its event channel.
    #[error("too many unread records in the event channel, or in all channels of the uid together: read them until they are empty")]
    EventsUnread,
    /// The id of the buffer, if it has one yet.
    #[error(
        "buffer {0} would be for the CPU and for DMA at once: use one group, or one lock, for each"
    )]
    AccessConflict(u64),
    #[error("an older lock waits for what this one holds: unlock, and lock everything again")]
    Deadlock,
    #[error("this kernel has no {0}: see Capabilities.features")]
    Unsupported(&'static str),
    #[error("the service is out of {0}: try again later")]
    NoResources(&'static str),
}

/// A lock that is in the way of another one: its buffer, its group's number and its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obstacle {
    pub buffer: u64,
    pub group: u64,
    pub lock: u64,
}

// The text is made when the status is, without the arbiter's mutex.
fn already_locked(conflict: Option<(u64, u64)>) -> String {
    match conflict {
        Some((lock, buffer)) => format!(
            "lock {lock} of the group has buffer {buffer}, or waits for it: unlock it first, or share"
        ),
        None => "the lock has all of this already".to_string(),
    }
}

fn in_the_way(obstacle: Option<Obstacle>) -> String {
    match obstacle {
        Some(Obstacle { buffer, group, lock }) => {
            format!("lock {lock} of group {group} has buffer {buffer}, or waits for it")
        }
        None => "a release fence or cache maintenance of a buffer is pending".to_string(),
    }
}

impl Error {
    /// The `IBufferSync.ERROR_*` constant, `None` for an illegal argument.
    fn code(&self) -> Option<i32> {
        Some(match self {
            Self::IllegalArgument(_) => return None,
            Self::NotDmaBuf(_) => aidl::ERROR_NOT_DMABUF,
            Self::Quota(..) => aidl::ERROR_QUOTA,
            Self::UnknownBuffer(_) => aidl::ERROR_UNKNOWN_BUFFER,
            Self::Busy(_) => aidl::ERROR_BUSY,
            Self::EmptyGroup => aidl::ERROR_EMPTY_GROUP,
            Self::AlreadyLocked(_) => aidl::ERROR_ALREADY_LOCKED,
            Self::WouldBlock(_) => aidl::ERROR_WOULD_BLOCK,
            Self::NotQueued => aidl::ERROR_NOT_QUEUED,
            Self::BadLock(_) => aidl::ERROR_BAD_LOCK,
            Self::Evicted => aidl::ERROR_EVICTED,
            Self::Ended => aidl::ERROR_ENDED,
            Self::Closed => aidl::ERROR_CLOSED,
            Self::BadFence(_) => aidl::ERROR_BAD_FENCE,
            Self::EventsUnread => aidl::ERROR_EVENTS_UNREAD,
            Self::AccessConflict(_) => aidl::ERROR_ACCESS_CONFLICT,
            Self::Deadlock => aidl::ERROR_DEADLOCK,
            Self::Unsupported(_) => aidl::ERROR_UNSUPPORTED,
            Self::NoResources(_) => aidl::ERROR_NO_RESOURCES,
        })
    }
}

/// Refuses a call whose reply could not carry this descriptor: the binding duplicates it, and if that fails the whole
/// reply is lost.
pub(crate) fn can_be_sent(fd: Option<&Fd>) -> Result<(), Error> {
    let copied = fd.map(|fd| fd.as_fd().try_clone_to_owned()).transpose();
    copied.map(drop).map_err(|_| Error::NoResources("descriptors"))
}

/// Without the values, which the engine does not say: see `State::refused`.
impl From<buffersync_engine::Error> for Error {
    fn from(error: buffersync_engine::Error) -> Self {
        use buffersync_engine::Error as Engine;
        match error {
            Engine::UnknownGroup => Self::Closed,
            Engine::UnknownBuffer => Self::UnknownBuffer(0),
            Engine::Busy => Self::Busy(0),
            Engine::EmptyGroup => Self::EmptyGroup,
            Engine::AlreadyLocked => Self::AlreadyLocked(None),
            Engine::WouldBlock => Self::WouldBlock(None),
            Engine::NotQueued => Self::NotQueued,
            // `Sessions` refuses such a number before the engine is asked.
            Engine::BadToken => Self::BadLock(0),
            Engine::Ended => Self::Ended,
            Engine::AccessConflict => Self::AccessConflict(0),
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

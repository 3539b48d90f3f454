// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The error type of the crate, and the conversion of binder statuses to it.

use binder::Status;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync as codes;
use buffersync_aidl::{runtime, Failure};
use nix::errno::Errno;

use crate::types::{BufferId, InTheWay};

/// Result of this crate's calls.
pub type Result<T> = std::result::Result<T, Error>;

/// The reason of a failed call. The first block has the `IBufferSync.ERROR_*` constants; the AIDL says
/// which call returns which. A failed call has changed nothing unless its comment says otherwise. The text of each
/// error says the value, the limit, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `ERROR_NOT_DMABUF`.
    #[error("{0}")]
    NotDmaBuf(String),
    /// `ERROR_QUOTA`: a quota of this uid or a limit of the group is reached.
    #[error("{0}")]
    Quota(String),
    /// `ERROR_UNKNOWN_BUFFER`: the group, or the grant, has no such buffer.
    #[error("{0}")]
    UnknownBuffer(String),
    /// `ERROR_BUSY`: the lock waits, or a lock of the group has the buffer.
    #[error("{0}")]
    Busy(String),
    /// `ERROR_EMPTY_GROUP`.
    #[error("the group has no buffers: add one first")]
    EmptyGroup,
    /// `ERROR_ALREADY_LOCKED`: another lock of this group has a buffer with a conflicting access or waits for it; or
    /// the grant has all that it asks for.
    #[error("{0}")]
    AlreadyLocked(String),
    /// `ERROR_WOULD_BLOCK`: somebody holds one of the buffers or waits for it.
    #[error("{0}")]
    WouldBlock(String),
    /// `ERROR_NOT_QUEUED`.
    #[error("the lock does not wait (any more): read its event")]
    NotQueued,
    /// `ERROR_BAD_LOCK`: the number names no lock of this group.
    #[error("{0}")]
    BadLock(String),
    /// `ERROR_ENDED`: it was unlocked or cancelled, or it ended without a grant.
    #[error(
        "the lock has ended: it was unlocked or cancelled before, or it ended without a grant"
    )]
    Ended,
    /// `ERROR_EVICTED`.
    #[error("{}", evicted(by.as_ref()))]
    Evicted {
        /// A lock that was waiting for a buffer of the grant, if it is known.
        by: Option<InTheWay>,
    },
    /// `ERROR_CLOSED`.
    #[error("the group is closed: open another")]
    Closed,
    /// `ERROR_BAD_FENCE`.
    #[error("{0}")]
    BadFence(String),
    /// `ERROR_EVENTS_UNREAD`.
    #[error(
        "the group, or all groups of this uid, have too many unread events: read them until there are none, then call again"
    )]
    EventsUnread,
    /// `ERROR_ACCESS_CONFLICT`: a buffer would be in the group, or in one lock, for the CPU and for DMA at once.
    #[error("{0}")]
    AccessConflict(String),
    /// `ERROR_NO_RESOURCES`: the service is short of descriptors or memory.
    #[error("{0}")]
    NoResources(String),
    /// `ERROR_DEADLOCK`, or a WOUNDED event: an older lock waits for a buffer that this grant has, and
    /// waiting for more could deadlock (the kernel's `-EDEADLK`). Or the life of its ticket is over,
    /// and another lock already waits for a buffer that it wants. Unlock and lock again: the new lock
    /// has the old ticket while that lives. Until then the grant can't grow.
    #[error("an older lock wants what this one holds: unlock it, and lock all buffers again")]
    Deadlock,
    /// `ERROR_UNSUPPORTED`: see [`crate::Capabilities`].
    #[error("{0}")]
    Unsupported(String),
    /// An `ERROR_*` of a later version of the interface.
    #[error("{1} (error {0} of the service, unknown to this client)")]
    UnknownCode(i32, String),

    /// `EX_ILLEGAL_ARGUMENT`, with the service's message.
    #[error("illegal argument: {0}")]
    IllegalArgument(String),
    /// The lock was not granted in time. If it would grow a grant, that goes on as it was.
    #[error("{}", timed_out(by.as_ref(), *silent))]
    TimedOut {
        /// A lock that it waited for, if it waited for one.
        by: Option<InTheWay>,
        /// The service did not say so: it does not answer. The lock is ended when it does again.
        silent: bool,
    },
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
    /// group. Open new groups: the connection finds the service when it is back.
    #[error(
        "the service died, and every lock with it: open the group again when the service is back"
    )]
    ServiceDied,
    /// A descriptor is not open.
    #[error("a descriptor is not open")]
    BadFd,
    /// Another thread took the lock back ([`crate::Group::cancel`]).
    #[error("another thread has cancelled the lock")]
    Cancelled,
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
            Self::NotDmaBuf(_) => -4,
            Self::Quota(_) => -8,
            Self::UnknownBuffer(_) => -6,
            Self::Busy(_) => -11,
            Self::EmptyGroup => -10,
            Self::AlreadyLocked(_) => -12,
            Self::WouldBlock(_) => -14,
            Self::NotQueued => -15,
            Self::Evicted { .. } => -19,
            Self::Closed => -2,
            Self::BadFence(_) => -5,
            Self::EventsUnread => -21,
            Self::AccessConflict(_) => -7,
            Self::NoResources(_) | Self::ReplyLost(_) => -9,
            Self::Deadlock => -18,
            Self::Unsupported(_) => -22,
            Self::IllegalArgument(_) => -1,
            Self::TimedOut { .. } => -16,
            Self::LockFailed { .. } => -20,
            Self::ServiceDied => -25,
            Self::BadFd => -3,
            Self::Cancelled => -17,
            Self::Forked => -26,
            Self::BadLock(_) => -28,
            Self::Ended => -29,
            Self::NoBinder(_) => -23,
            Self::NoService { .. } => -24,
            Self::System(_, errno) if is_shortage(*errno) => -9,
            _ => -27,
        }
    }

    /// The error of a system call that the standard library made.
    pub fn io(what: &'static str, error: &std::io::Error) -> Self {
        Self::System(what, Errno::from_raw(error.raw_os_error().unwrap_or(0)))
    }

    /// A lock that was in the way of this one, or that waited for it when it was evicted.
    pub fn in_the_way(&self) -> Option<&InTheWay> {
        match self {
            Self::TimedOut { by, .. } | Self::Evicted { by } => by.as_ref(),
            _ => None,
        }
    }

    pub(crate) fn from_code(code: i32, why: String) -> Self {
        match code {
            codes::ERROR_NOT_DMABUF => Self::NotDmaBuf(why),
            codes::ERROR_QUOTA => Self::Quota(why),
            codes::ERROR_UNKNOWN_BUFFER => Self::UnknownBuffer(why),
            codes::ERROR_BUSY => Self::Busy(why),
            codes::ERROR_EMPTY_GROUP => Self::EmptyGroup,
            codes::ERROR_ALREADY_LOCKED => Self::AlreadyLocked(why),
            codes::ERROR_WOULD_BLOCK => Self::WouldBlock(why),
            codes::ERROR_NOT_QUEUED => Self::NotQueued,
            codes::ERROR_BAD_LOCK => Self::BadLock(why),
            codes::ERROR_EVICTED => Self::Evicted { by: None },
            codes::ERROR_CLOSED => Self::Closed,
            codes::ERROR_BAD_FENCE => Self::BadFence(why),
            codes::ERROR_EVENTS_UNREAD => Self::EventsUnread,
            codes::ERROR_ACCESS_CONFLICT => Self::AccessConflict(why),
            codes::ERROR_NO_RESOURCES => Self::NoResources(why),
            codes::ERROR_DEADLOCK => Self::Deadlock,
            codes::ERROR_UNSUPPORTED => Self::Unsupported(why),
            codes::ERROR_ENDED => Self::Ended,
            other => Self::UnknownCode(other, why),
        }
    }
}

fn evicted(by: Option<&InTheWay>) -> String {
    let what = "the grant was taken away at its deadline, and what was done since may be lost";
    match by {
        Some(by) => format!("{what}: {by} was waiting for it"),
        None => what.to_string(),
    }
}

fn timed_out(by: Option<&InTheWay>, silent: bool) -> String {
    let what = "the lock was not granted in time";
    match by {
        _ if silent => {
            format!("{what}: the service does not answer; the lock is ended when it does again")
        }
        Some(by) => format!("{what}: {by} is in the way"),
        None => format!("{what}: an implicit fence or cache maintenance of a buffer is not done"),
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
            Failure::ServiceSpecific(code, message) => Self::from_code(code, message),
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
    use crate::types::LockId;

    #[test]
    fn every_code_of_the_interface_has_its_own_error() {
        let of = |code| Error::from_code(code, "why".to_string());
        let errors: Vec<Error> = (1..=18).map(of).collect();
        for (at, error) in errors.iter().enumerate() {
            assert!(!matches!(error, Error::UnknownCode(..)), "code {}", at + 1);
            assert!(!errors[..at].contains(error), "code {} is not alone", at + 1);
        }
        assert_eq!(errors[codes::ERROR_EVICTED as usize - 1], Error::Evicted { by: None });
        assert_eq!(of(19), Error::UnknownCode(19, "why".to_string()));
    }

    #[test]
    fn statuses_keep_what_they_say() {
        let quota = Error::from(runtime::service_specific(codes::ERROR_QUOTA, "256 at most"));
        assert_eq!(quota, Error::Quota("256 at most".into()));
        assert_eq!(quota.to_string(), "256 at most");
        let Error::IllegalArgument(why) = runtime::illegal_argument("name is empty").into() else {
            panic!("an illegal argument stays one");
        };
        assert!(why.contains("name is empty"), "{why}");
    }

    #[test]
    fn a_time_out_and_an_eviction_say_which_lock_was_in_the_way() {
        let of = |owner: Option<&str>| InTheWay {
            group: 7,
            lock: LockId(3),
            owner: owner.map(str::to_string),
        };
        let by = Some(of(Some("camera")));
        let text = Error::TimedOut { by, silent: false }.to_string();
        assert!(text.ends_with(r#"lock 3 of group 7 ("camera") is in the way"#), "{text}");
        let text = Error::Evicted { by: Some(of(None)) }.to_string();
        assert!(text.ends_with("lock 3 of group 7 was waiting for it"), "{text}");
        let text = Error::TimedOut { by: None, silent: true }.to_string();
        assert!(text.contains("does not answer"), "{text}");
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

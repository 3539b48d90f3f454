// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The interface's values as Rust types, and their conversion. No I/O and no calls.

use std::fmt;
use std::time::{Duration, Instant};

pub use buffersync_access::Access;
use buffersync_aidl::aidl::vendor::buffersync as aidl;
use buffersync_aidl::aidl::vendor::buffersync::ISyncGroup::TRY;
use buffersync_aidl::event;
use buffersync_aidl::reply::Granted;

pub(crate) fn to_aidl(access: Access) -> aidl::Access::Access {
    match access {
        Access::Read => aidl::Access::Access::READ,
        Access::Write => aidl::Access::Access::WRITE,
        Access::DmaRead => aidl::Access::Access::DMA_READ,
        Access::DmaWrite => aidl::Access::Access::DMA_WRITE,
    }
}

/// The service's id of a dma-buf. The same buffer has the same id in every group and process, for as
/// long as any group has it or the service remembers it (`ISyncGroup.add`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub i64);

impl fmt::Display for BufferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a lock, and of the grant that it becomes. The group counts its locks from 1, so a
/// number is greater than all numbers of the group before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LockId(pub i64);

impl fmt::Display for LockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Another lock: after a time-out one that was in the way, after an eviction one that was waiting.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InTheWay {
    /// The service's number of its group, as in dumps.
    pub group: i64,
    /// The number of the lock in that group.
    pub lock: LockId,
    /// The name of the group, if it is open and this client may know it: it has the same uid, or this client is root
    /// or the system (`ISyncGroup.getGroupName`). `None` in an event, which has no room for it.
    pub owner: Option<String>,
}

impl InTheWay {
    /// The values of a record; 0 is no lock.
    pub(crate) fn of(group: i64, lock: i64) -> Option<Self> {
        (group != 0).then_some(Self { group, lock: LockId(lock), owner: None })
    }
}

impl fmt::Display for InTheWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, lock, owner } = self;
        match owner {
            Some(owner) => write!(f, "lock {lock} of group {group} ({owner:?})"),
            None => write!(f, "lock {lock} of group {group}"),
        }
    }
}

/// One buffer of a grant (`LockReply.grant`, `EventType.BUFFER`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantedBuffer {
    /// The id that [`crate::Group::add`] returned.
    pub id: BufferId,
    /// The number of exclusive grants of the buffer so far, this one included. Two reads that see the
    /// same generation, neither of them `evicted`, saw the same content.
    pub generation: i64,
    /// A former holder was evicted or died, and may still work on the buffer: the content may change
    /// during the grant. The mark is cleared when a later grant, a reader's too, has ended in order
    /// and all its release fences have signalled.
    pub evicted: bool,
    /// The content may be half written: a writer was evicted or died, and nobody has written the
    /// buffer since. The mark is cleared when a later exclusive grant has ended in order and all its
    /// release fences have signalled. A reader should not use the content; a writer should overwrite
    /// all of it.
    pub torn: bool,
    /// Other devices may still work on the buffer: wait for the acquire fence ([`crate::Group::acquire_fence`]) before
    /// your device begins. Never set for CPU accesses.
    pub fenced: bool,
}

impl From<event::Buffer> for GrantedBuffer {
    fn from(buffer: event::Buffer) -> Self {
        let event::Buffer { id, generation, flags } = buffer;
        Self {
            id: BufferId(id),
            generation,
            evicted: flags & event::FLAG_EVICTED != 0,
            torn: flags & event::FLAG_TORN != 0,
            fenced: flags & event::FLAG_FENCED != 0,
        }
    }
}

/// A grant and its buffers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantInfo {
    /// The lock.
    pub lock: LockId,
    /// At this time the grant is taken away: a reading of `CLOCK_MONOTONIC`. `None` while it has no deadline:
    /// with [`HoldFrom::Conflict`] until somebody waits.
    pub deadline: Option<Duration>,
    /// Every buffer of the lock, in the order in which it named them, or in which they were added to the group if it
    /// named none. A growth adds at the end.
    pub buffers: Vec<GrantedBuffer>,
}

impl GrantInfo {
    /// Puts the numbers of the service into `buffers`, whose memory is used again.
    pub(crate) fn new(lock: LockId, granted: Granted<'_>, mut buffers: Vec<GrantedBuffer>) -> Self {
        buffers.clear();
        buffers.extend(granted.buffers().map(GrantedBuffer::from));
        Self { lock, deadline: deadline(granted.deadline_ns), buffers }
    }
}

/// A lock of a group, as the service knows it ([`crate::Group::locks`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockStatus {
    /// The lock.
    pub lock: LockId,
    /// It waits: for its grant or, if it has one, for more.
    pub waiting: bool,
    /// Its grant, if it has one.
    pub grant: Option<GrantInfo>,
}

/// A deadline of the service, in nanoseconds of `CLOCK_MONOTONIC`; 0 for none.
pub(crate) fn deadline(nanos: i64) -> Option<Duration> {
    u64::try_from(nanos).ok().filter(|nanos| *nanos > 0).map(Duration::from_nanos)
}

/// The moment from which the hold limit of a group's grants counts (`HoldFrom.aidl`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HoldFrom {
    /// From the grant, as in the RFC.
    #[default]
    Grant,
    /// From the first lock that has to wait for the grant. Until then the grant has no deadline, so a paused display can
    /// keep what nobody else wants.
    Conflict,
}

/// The features and the limits of the service (`Capabilities.aidl`). Constant while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// A lock can be ended with [`crate::Fences`], and grants come with acquire fences.
    pub release_fence: bool,
    /// [`crate::Options::implicit_fences`] works.
    pub implicit_fences: bool,
    /// The hold limit of a group that asks for none.
    pub default_hold: Duration,
    /// The longest hold limit that a group can have.
    pub max_hold: Duration,
    /// The number of groups that one uid may have open at once.
    pub max_groups_per_uid: usize,
    /// The number of buffers that one group may contain.
    pub max_buffers_per_group: usize,
    /// The number of locks that one group may have at once, waiting or granted.
    pub max_locks_per_group: usize,
    /// The number of (group, buffer) memberships that one uid may have at once.
    pub max_buffers_per_uid: usize,
    /// The number of locks that one uid may have waiting at once.
    pub max_queued_per_uid: usize,
    /// The number of release fences that one uid may have pending at once.
    pub max_fences_per_uid: usize,
    /// The number of release fences that one group may have pending at once.
    pub max_fences_per_group: usize,
    /// The number of descriptors that one handle may carry.
    pub max_fds_per_handle: usize,
}

impl From<aidl::Capabilities::Capabilities> for Capabilities {
    fn from(caps: aidl::Capabilities::Capabilities) -> Self {
        let count = |value: i32| usize::try_from(value).unwrap_or(0);
        Self {
            release_fence: caps.features & aidl::Capabilities::FEATURE_RELEASE_FENCE != 0,
            implicit_fences: caps.features & aidl::Capabilities::FEATURE_IMPLICIT_FENCES != 0,
            default_hold: millis(caps.defaultHoldMs),
            max_hold: millis(caps.maxHoldMs),
            max_groups_per_uid: count(caps.maxGroupsPerUid),
            max_buffers_per_group: count(caps.maxBuffersPerGroup),
            max_locks_per_group: count(caps.maxLocksPerGroup),
            max_buffers_per_uid: count(caps.maxBuffersPerUid),
            max_queued_per_uid: count(caps.maxQueuedPerUid),
            max_fences_per_uid: count(caps.maxFencesPerUid),
            max_fences_per_group: count(caps.maxFencesPerGroup),
            max_fds_per_handle: count(caps.maxFdsPerHandle),
        }
    }
}

/// How long a lock may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timeout {
    /// Not at all.
    Try,
    After(Duration),
    Never,
}

/// The service ends a wait itself, and its record takes less than this. If it does not come, the service does not
/// answer, and the client ends the wait.
const SILENCE: Duration = Duration::from_secs(1);

impl Timeout {
    pub fn of(timeout: Option<Duration>) -> Self {
        timeout.map_or(Self::Never, Self::After)
    }

    /// For AIDL: in nanoseconds, 0 for none. One that is too long for an i64 becomes 292 years.
    pub fn ns(self) -> i64 {
        match self {
            Self::Try => TRY,
            Self::After(limit) => i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX).max(1),
            Self::Never => 0,
        }
    }

    /// When the client ends the wait. A lock that waits for no other client has no end here: its cache maintenance
    /// takes as long as it takes.
    pub fn until(self) -> Option<Instant> {
        match self {
            Self::After(limit) => Instant::now().checked_add(limit.saturating_add(SILENCE)),
            Self::Try | Self::Never => None,
        }
    }
}

pub(crate) fn millis(value: i32) -> Duration {
    Duration::from_millis(u64::try_from(value).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_have_the_bits_of_the_rfc() {
        let bits = Access::ALL.map(|access| to_aidl(access).0);
        assert_eq!(bits, [0x1, 0x2, 0x5, 0x6]);
    }

    #[test]
    fn each_flag_of_a_buffer_has_its_own_field() {
        let marks = |flags| {
            let buffer = GrantedBuffer::from(event::Buffer { id: 3, generation: 7, flags });
            assert_eq!((buffer.id, buffer.generation), (BufferId(3), 7));
            (buffer.evicted, buffer.torn, buffer.fenced)
        };
        assert_eq!(marks(0), (false, false, false));
        assert_eq!(marks(event::FLAG_EVICTED), (true, false, false));
        assert_eq!(marks(event::FLAG_TORN), (false, true, false));
        assert_eq!(marks(event::FLAG_FENCED), (false, false, true));
        assert_eq!(marks(i32::MAX & !event::FLAG_TORN), (true, false, true));
    }

    #[test]
    fn unknown_feature_bits_are_ignored() {
        let caps = |features| {
            Capabilities::from(aidl::Capabilities::Capabilities { features, ..Default::default() })
        };
        assert!(caps(0x1).release_fence);
        assert!(caps(0x1 | 0x40).release_fence);
        assert!(!caps(0x40).release_fence && !caps(0x41).implicit_fences);
        assert!(caps(0x2).implicit_fences);
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The engine's vocabulary: names for buffers, groups and grants, access, refusals.

use std::fmt;
use std::time::Duration;

use crate::arena::Ix;
use crate::group::Group;

/// A moment, in nanoseconds of one monotonic clock that the caller chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// The moment `span` later; the end of time if that is too far away.
    pub fn after(self, span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// Names a dma-buf. Chosen by the caller. Another dma-buf may have it after [`Effect::Forget`] only,
/// and until then the same dma-buf must have it.
///
/// [`Effect::Forget`]: crate::Effect::Forget
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BufferId(pub u64);

/// Names a group. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId {
    serial: u64,
    /// Where the group is, or was: nothing has to be searched for it.
    at: Ix<Group>,
}

impl GroupId {
    pub(crate) fn new(serial: u64, at: Ix<Group>) -> Self {
        Self { serial, at }
    }

    pub(crate) fn at(self) -> Ix<Group> {
        self.at
    }

    /// Where the group is in the engine's table, for tables beside it: small, no two open groups have the
    /// same, and that of a closed one is used again.
    pub fn position(self) -> usize {
        self.at.position()
    }

    /// Groups are numbered from 1.
    pub fn serial(self) -> u64 {
        self.serial
    }
}

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GroupId").field(&self.serial).finish()
    }
}

/// Names one lock, from its request to the end of its grant. Never reused, counts from 1. A lock
/// that adds buffers to a grant has the grant's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// The stamp by which locks are ordered: smaller is older (kernel: `ww_acquire_ctx.stamp`). A group
/// has it until it is granted and released, or until its life is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Names a release fence. Chosen by the caller; must not be reused before [`Engine::fence_done`] or
/// [`Effect::DropFence`].
///
/// [`Engine::fence_done`]: crate::Engine::fence_done
/// [`Effect::DropFence`]: crate::Effect::DropFence
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FenceId(pub u64);

/// Names a batch of cache operations. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// What a group does with a buffer: the four access types of the dmabuf-sync RFC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// The CPU reads. Shared.
    Read,
    /// The CPU reads or writes. Exclusive.
    Write,
    /// A device reads. Shared.
    DmaRead,
    /// A device reads or writes. Exclusive.
    DmaWrite,
}

impl Access {
    /// All four, for tables and tests.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::DmaRead, Self::DmaWrite];

    /// Whether it excludes every other access.
    pub fn is_exclusive(self) -> bool {
        matches!(self, Self::Write | Self::DmaWrite)
    }

    /// Whether the two can't be held by two groups at once.
    pub fn conflicts(self, other: Self) -> bool {
        self.is_exclusive() || other.is_exclusive()
    }

    /// Whether a device accesses, not the CPU.
    pub fn is_dma(self) -> bool {
        matches!(self, Self::DmaRead | Self::DmaWrite)
    }

    /// The least access that allows both. `None` for CPU and device: the cache of one buffer is
    /// made ready for the one or for the other, and no access of the four means both.
    pub fn stronger(self, other: Self) -> Option<Self> {
        match (self.is_dma() == other.is_dma(), self.is_exclusive()) {
            (false, _) => None,
            (true, true) => Some(self),
            (true, false) => Some(other),
        }
    }
}

/// A buffer is its holder's until this has signalled, though the grant is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReleaseFence {
    /// The same one may be given for several buffers.
    pub fence: FenceId,
    /// For this buffer; `None`: for every buffer of the grant that is given none of its own.
    pub buffer: Option<BufferId>,
}

/// What the caller has found out about the implicit fences that a lock's CPU accesses have to wait
/// for. It counts for the one call that it is given to, and only if that call grants the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Implicit {
    /// Nobody has looked, or a fence is pending.
    Unknown,
    /// The caller has just looked at all of them, and none is pending.
    Idle,
}

/// How long grants last, and how much is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// For a group that asks for nothing.
    pub default_hold: Duration,
    /// What no group can exceed. It is also how long a ticket lives, and how long a lock waits for
    /// an implicit fence.
    pub max_hold: Duration,
    /// Buffers that no group has any more and that are remembered, for their marks or an END that is
    /// owed. When there are more, the oldest is forgotten.
    pub remembered: usize,
}

impl Default for Limits {
    /// Five seconds, as in the RFC; and room for the frames of many pipelines.
    fn default() -> Self {
        let hold = Duration::from_secs(5);
        Self { default_hold: hold, max_hold: hold, remembered: 1_024 }
    }
}

/// How a group ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Close {
    /// Its client said so: what it holds is released in order.
    Closed,
    /// Its client is gone: what it holds was not finished, which the next holder is told.
    Died,
}

/// A cache operation that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    /// How many operations of the job succeeded before it.
    pub succeeded: usize,
    /// The caller's own reason, an errno say; the engine hands it through.
    pub reason: i32,
}

/// Why a call was refused. It has then changed nothing, but for [`Error::Deadlock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Error {
    /// No such group, or it is closed.
    UnknownGroup,
    /// The group has no such buffer.
    UnknownBuffer,
    /// The group waits for a lock, or it holds this buffer.
    Busy,
    /// The group has no buffers.
    EmptyGroup,
    /// The group holds all of its buffers (kernel: `-EALREADY`).
    AlreadyLocked,
    /// The group waits for its lock already.
    AlreadyQueued,
    /// A buffer is held, or waited for, by somebody else, or operations or fences are pending on it.
    WouldBlock,
    /// No lock of the group is waiting.
    NotQueued,
    /// The token names no grant that the group holds.
    BadToken,
    /// An older group wants what this one holds, and waiting for more could deadlock (kernel:
    /// `-EDEADLK`). Or the ticket's life is over, and the lock would pass a waiter. The group is to
    /// unlock what it holds and to lock again, with its old ticket while that lives. Until then it gets
    /// no more.
    Deadlock,
    /// CPU and device access of one buffer in one group.
    AccessConflict,
}

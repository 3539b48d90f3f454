// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The engine's vocabulary: names of buffers, groups and locks, phases, limits, errors.

use std::fmt;
use std::time::Duration;

use crate::index::GroupIx;
use crate::Access;

/// A moment: nanoseconds of a monotonic clock. The caller chooses the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// It never comes: the deadline of a grant that has none yet.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment `span` later, at most the last one that a `Time` can be.
    pub fn after(self, span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// Names a dma-buf. The caller chooses it. Until [`Effect::Forget`], this dma-buf must keep the name and no
/// other dma-buf may have it.
///
/// [`Effect::Forget`]: crate::Effect::Forget
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BufferId(pub u64);

/// Names a group. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId {
    serial: u64,
    /// The place of the group in the table, so that nobody has to search for it.
    at: GroupIx,
}

impl GroupId {
    pub(crate) fn new(serial: u64, at: GroupIx) -> Self {
        Self { serial, at }
    }

    pub(crate) fn at(self) -> GroupIx {
        self.at
    }

    /// The place of the group in the engine's table, for tables of the caller. It is small. No two open
    /// groups have the same place. The place of a closed group is used again.
    pub fn position(self) -> usize {
        self.at.position()
    }

    /// The number of the group, from 1.
    pub fn serial(self) -> u64 {
        self.serial
    }
}

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GroupId").field(&self.serial).finish()
    }
}

/// Names a lock of its group, from its request to the end of its grant. The client chooses it, greater than
/// any before in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// What a lock asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants<'a> {
    /// None: all buffers of the group, with the accesses of [`Engine::add`].
    ///
    /// [`Engine::add`]: crate::Engine::add
    pub buffers: &'a [BufferId],
    /// One for each of the buffers, in their order, or none: those of [`Engine::add`].
    ///
    /// [`Engine::add`]: crate::Engine::add
    pub accesses: &'a [Access],
}

impl Wants<'_> {
    /// All buffers of the group.
    pub const ALL: Self = Self { buffers: &[], accesses: &[] };
}

/// How long a lock may wait for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all. It may still be pending, for cache operations or for one look at implicit fences.
    Never,
    /// As long as it takes.
    UntilGranted,
    /// This long at most.
    AtMost(Duration),
}

/// The age of a lock: smaller is older (kernel: `ww_acquire_ctx.stamp`). A lock has its ticket until it
/// has been granted and released; its group may keep it until the ticket's life is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Numbers the moments at which waiters came to queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrival(pub u64);

/// Names a release fence. The caller chooses it. Within one call it may be given several times; another call may have
/// it only after [`Engine::fence_done`] or [`Effect::DropFence`].
///
/// [`Engine::fence_done`]: crate::Engine::fence_done
/// [`Effect::DropFence`]: crate::Effect::DropFence
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FenceId(pub u64);

/// Names a batch of cache operations. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// How far a lock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It waits for others, and holds nothing.
    Queued,
    /// It has its buffers. Operations or fences that they need are pending.
    Preparing,
    /// It holds its buffers.
    Held {
        /// When the grant ends; [`Time::NEVER`] if it has no deadline yet.
        deadline: Time,
    },
    /// It holds buffers, and waits for more.
    Growing {
        /// When the grant ends, as above.
        deadline: Time,
    },
}

/// A fence that a grant ends with: until it has signalled, the old holder still uses the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReleaseFence {
    /// One fence may be given for several buffers.
    pub fence: FenceId,
    /// The buffer. `None` means every buffer of the grant that has no fence of its own.
    pub buffer: Option<BufferId>,
}

/// What the caller knows about the implicit fences that the CPU accesses of a lock wait for. It counts for
/// one call, and only if that call grants the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Implicit {
    /// The caller has not looked, or a fence is pending.
    Unknown,
    /// The caller has just looked at all of them, and no fence is pending.
    Idle,
}

/// The moment from which the time of a grant counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HoldFrom {
    /// From the grant, as in the RFC.
    #[default]
    Grant,
    /// From the first lock that has to wait for the grant, or from the grant if one waits already; and from the moment
    /// at which the holder itself waits for more. What nobody waits for can be held for ever.
    Conflict,
}

/// How long grants last, and how many buffers the engine remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// The hold limit of a group that asks for none.
    pub default_hold: Duration,
    /// The longest hold limit. A ticket lives as long, and a lock waits for an implicit fence as long.
    pub max_hold: Duration,
    /// How many buffers without a group the engine remembers, for their marks or an END that is owed. If
    /// there are more, it forgets the oldest.
    pub remembered: usize,
}

impl Default for Limits {
    /// Five seconds, as in the RFC. 1024 buffers are the frames of many pipelines.
    fn default() -> Self {
        let hold = Duration::from_secs(5);
        Self { default_hold: hold, max_hold: hold, remembered: 1_024 }
    }
}

/// How a group ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Close {
    /// The client closes it: its grants end in order.
    Closed,
    /// The client is dead: its grants count as evicted, and the next holders are told.
    Died,
}

/// A cache operation that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    /// How many operations of the job succeeded before this one.
    pub succeeded: usize,
    /// The caller's reason, for example an errno. The engine passes it on.
    pub reason: i32,
}

/// Why a call was refused. A refused call has changed nothing, except for [`Error::Deadlock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Error {
    /// There is no such group, or it is closed.
    UnknownGroup,
    /// The group has no such buffer.
    UnknownBuffer,
    /// The lock waits, or a lock of the group has the buffer.
    Busy,
    /// The group has no buffers.
    EmptyGroup,
    /// The grant has all that it asks for, or another lock of the group has a buffer or waits for it, with
    /// a conflicting access (kernel: `-EALREADY`).
    AlreadyLocked,
    /// Another group holds a buffer or waits for it, or operations or fences are pending on it.
    WouldBlock,
    /// The lock does not wait.
    NotQueued,
    /// The group has had no lock with this token; or, for a new lock, the token is not greater than all before.
    BadToken,
    /// The lock with this token is over, or the token was passed over.
    Ended,
    /// An older lock wants what this one holds, and waiting for more could deadlock (kernel:
    /// `-EDEADLK`). Or the ticket's life is over, and the growth would pass a waiter. The lock gets nothing
    /// more. When it is unlocked, the group's next lock has its ticket while that lives.
    Deadlock,
    /// One lock cannot use one buffer by the CPU and by a device.
    AccessConflict,
}

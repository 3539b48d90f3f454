// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Effects: what the engine asks its caller to do or to tell.
//!
//! The caller uses one [`Effects`] for all calls, so that a decision allocates nothing. An effect with
//! several buffers or operations carries a [`Span`] of them. It is valid until [`Effects::pop`] returns
//! `None`.

use std::collections::VecDeque;

use crate::{Access, BufferId, FenceId, FenceWait, GroupId, JobId, SyncOp, Time, Token};

/// One thing to do, or to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Issue these operations ([`Effects::ops`]) in order, up to the first that fails; then call
    /// [`Engine::job_done`]. If one of `waits` is pending before that, or a fence comes before a START,
    /// issue no more and call [`Engine::job_blocked`]: another lock may have the buffers meanwhile. Call
    /// one of the two in any case, because the buffers wait for it.
    ///
    /// [`Engine::job_done`]: crate::Engine::job_done
    /// [`Engine::job_blocked`]: crate::Engine::job_blocked
    Sync {
        /// The name for the report.
        job: JobId,
        /// The group whose lock needs them. `None` for the END of a buffer that nobody has any more.
        group: Option<GroupId>,
        /// The implicit fences that must have signalled ([`Effects::waits`]), if the caller expects any.
        waits: Span,
        /// At least one operation.
        ops: Span,
    },
    /// Wait until one poll(2) finds all these implicit fences signalled ([`Effects::waits`]), then call
    /// [`Engine::job_done`]. If they have not signalled at `until`, the job has failed: `succeeded` is the
    /// number of the first wait whose buffer was not ready. Look once even if `until` has passed. Locks
    /// that may share the buffers do not wait for this job.
    ///
    /// [`Engine::job_done`]: crate::Engine::job_done
    Wait {
        /// The name for the report.
        job: JobId,
        /// The group whose lock waits.
        group: GroupId,
        /// At least one wait.
        waits: Span,
        /// The time limit.
        until: Time,
    },
    /// Stop a wait for implicit fences: its lock was given up.
    DropWait {
        /// The job of the wait. [`Engine::job_done`] ignores it from here on.
        ///
        /// [`Engine::job_done`]: crate::Engine::job_done
        job: JobId,
    },
    /// A pending lock is granted: tell the group.
    Granted {
        /// The new holder.
        group: GroupId,
        /// Its grant.
        grant: Grant,
    },
    /// A pending lock failed: tell the group. If it was a growth, its grant goes on as it was.
    LockFailed {
        /// The group of the lock.
        group: GroupId,
        /// The lock.
        token: Token,
        /// The buffer on which it failed.
        buffer: BufferId,
        /// The caller's reason, for example an errno. The engine passes it on.
        reason: i32,
        /// An operation, or a wait for a fence.
        cause: FailureCause,
    },
    /// A pending lock has timed out: tell the group. If it was a growth, its grant goes on as it was.
    TimedOut {
        /// The group of the lock.
        group: GroupId,
        /// The lock.
        token: Token,
        /// A lock in the way: it holds what this one lacks, waits for it with an older ticket, or has given a release
        /// fence that is pending. `None` if there is none.
        by: Option<(GroupId, Token)>,
    },
    /// An older lock wants what this one holds while it waits for more: tell the group. The wait is over,
    /// and the grant goes on as it was. It gets nothing more; its client unlocks it and locks again.
    /// (The kernel's `-EDEADLK`, but too late to be the answer of a call.)
    Wounded {
        /// The group of the wounded lock.
        group: GroupId,
        /// The grant to unlock.
        token: Token,
    },
    /// Somebody waits for a buffer of a grant: tell the group, once in a grant.
    Contended {
        /// The group of the grant.
        group: GroupId,
        /// The grant.
        token: Token,
        /// When the grant ends. With [`crate::HoldFrom::Conflict`] it had no deadline before.
        deadline: Time,
    },
    /// A grant was taken away, or the release fence that it ended with failed: tell the group.
    Evicted {
        /// The old holder.
        group: GroupId,
        /// Its grant.
        token: Token,
        /// The reason.
        cause: EvictionCause,
        /// A lock that was waiting for one of its buffers, at a deadline.
        by: Option<(GroupId, Token)>,
    },
    /// Stop waiting for a release fence: its time is up, or no buffer needs it.
    DropFence {
        /// The fence.
        fence: FenceId,
    },
    /// No group has this buffer any more: let it go, but keep its name until [`Effect::Forget`]. The engine
    /// remembers what to tell the next group.
    Remember {
        /// The buffer.
        buffer: BufferId,
    },
    /// No group has this buffer any more, and the engine keeps nothing of it: its name is free.
    Forget {
        /// The buffer.
        buffer: BufferId,
    },
}

/// The buffers that a lock got, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Names the grant.
    pub token: Token,
    /// When the grant ends; [`Time::NEVER`] if it has no deadline yet.
    pub deadline: Time,
    /// Everything that the lock holds ([`Effects::buffers`]), in the order in which it was asked for.
    pub buffers: Span,
}

/// A buffer of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantedBuffer {
    /// The buffer.
    pub buffer: BufferId,
    /// The access that was granted.
    pub access: Access,
    /// The number of exclusive grants of the buffer, this one included.
    pub generation: u64,
    /// Somebody who was evicted may still be at work on it: no grant that began since has ended in
    /// order.
    pub evicted: bool,
    /// Its content may be half written: a writer was evicted, and no exclusive grant that began since
    /// has ended in order.
    pub torn: bool,
    /// Devices may still be at work on it: the holder waits for [`Engine::acquire_fences`] first.
    ///
    /// [`Engine::acquire_fences`]: crate::Engine::acquire_fences
    pub fenced: bool,
}

/// Why a lock failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureCause {
    /// A cache operation failed.
    Operation,
    /// An implicit fence did not signal in time.
    ImplicitFence,
}

/// Why a grant was taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvictionCause {
    /// It was held until its deadline.
    Deadline,
    /// Its release fence failed, or did not signal in time.
    Fence,
}

/// A run of buffers, operations or waits in an [`Effects`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(crate) const EMPTY: Self = Self { start: 0, end: 0 };
}

/// Effects in the order in which the caller carries them out.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    queue: VecDeque<Effect>,
    buffers: Vec<GrantedBuffer>,
    ops: Vec<SyncOp>,
    waits: Vec<FenceWait>,
}

impl Effects {
    /// No effects.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next effect. `None` makes the spans of all earlier ones void.
    pub fn pop(&mut self) -> Option<Effect> {
        let next = self.queue.pop_front();
        if next.is_none() {
            self.reuse();
        }
        next
    }

    /// All effects that were not taken yet.
    pub fn iter(&self) -> impl Iterator<Item = &Effect> {
        self.queue.iter()
    }

    /// Whether there is no effect left.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The buffers of a grant.
    pub fn buffers(&self, span: Span) -> &[GrantedBuffer] {
        part(&self.buffers, span)
    }

    /// The operations of a job.
    pub fn ops(&self, span: Span) -> &[SyncOp] {
        part(&self.ops, span)
    }

    /// The implicit fences that a job waits for.
    pub fn waits(&self, span: Span) -> &[FenceWait] {
        part(&self.waits, span)
    }

    /// Drops the lists if all effects were carried out. A call does this before it adds effects.
    pub(crate) fn reuse(&mut self) {
        if self.queue.is_empty() {
            self.buffers.clear();
            self.ops.clear();
            self.waits.clear();
        }
    }

    pub(crate) fn push(&mut self, effect: Effect) {
        self.queue.push_back(effect);
    }

    #[inline]
    pub(crate) fn collect_buffers(&mut self, all: impl Iterator<Item = GrantedBuffer>) -> Span {
        collect(&mut self.buffers, all)
    }

    pub(crate) fn collect_ops(&mut self, all: impl Iterator<Item = SyncOp>) -> Span {
        collect(&mut self.ops, all)
    }

    pub(crate) fn collect_waits(&mut self, all: impl Iterator<Item = FenceWait>) -> Span {
        collect(&mut self.waits, all)
    }
}

fn part<T>(all: &[T], span: Span) -> &[T] {
    all.get(span.start as usize..span.end as usize).unwrap_or(&[])
}

#[inline]
fn collect<T>(all: &mut Vec<T>, more: impl Iterator<Item = T>) -> Span {
    let start = all.len() as u32;
    all.extend(more);
    Span { start, end: all.len() as u32 }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What the engine asks its caller to do.
//!
//! One [`Effects`] is used again and again, so that deciding something allocates nothing: an effect
//! that concerns several buffers carries a [`Span`] of them, to be read before the effects are
//! exhausted.

use std::collections::VecDeque;

use crate::{Access, BufferId, FenceId, GroupId, JobId, SyncOp, Time, Token};

/// One thing to do, or to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Issue these cache operations ([`Effects::ops`]), in order, up to the first that fails; then
    /// call [`Engine::job_done`]. If one of `waits` is pending before that, or a fence comes before a
    /// START, issue no more and call [`Engine::job_blocked`]: the buffers are other locks' meanwhile.
    /// One of the two must be called, whatever happens: the buffers wait for it.
    ///
    /// [`Engine::job_done`]: crate::Engine::job_done
    /// [`Engine::job_blocked`]: crate::Engine::job_blocked
    Sync {
        /// To be given back.
        job: JobId,
        /// For whose lock; `None` for the END of a buffer that nobody has any more.
        group: Option<GroupId>,
        /// The implicit fences that must have signalled, if the caller expects any.
        waits: Span,
        /// At least one.
        ops: Span,
    },
    /// Wait until one poll(2) finds the implicit fences of all of `ops` signalled, then call
    /// [`Engine::job_done`]. If they are not at `until`, it has failed, with the buffer that was not
    /// ready as the next operation. Even if `until` has passed, look once. Locks that may share the
    /// buffers do not wait for it.
    ///
    /// [`Engine::job_done`]: crate::Engine::job_done
    Wait {
        /// To be given back.
        job: JobId,
        /// For whose lock.
        group: GroupId,
        /// At least one, each a [`SyncKind::Wait`].
        ///
        /// [`SyncKind::Wait`]: crate::SyncKind::Wait
        ops: Span,
        /// When it is too late.
        until: Time,
    },
    /// A wait for implicit fences is not needed any more.
    DropWait {
        /// The job of the wait. [`Engine::job_done`] ignores it from here on.
        ///
        /// [`Engine::job_done`]: crate::Engine::job_done
        job: JobId,
    },
    /// A lock that was pending is granted: tell the group.
    Granted {
        /// Whose.
        group: GroupId,
        /// What.
        grant: Grant,
    },
    /// A lock that was pending failed: tell the group. It holds what it held before the lock.
    LockFailed {
        /// Whose.
        group: GroupId,
        /// Which.
        token: Token,
        /// On which buffer.
        buffer: BufferId,
        /// The caller's own reason, an errno say; the engine hands it through.
        reason: i32,
        /// An operation, or a wait for a fence.
        cause: FailureCause,
    },
    /// A lock that was pending has waited as long as it wanted to: tell the group. It holds what it
    /// held before the lock.
    TimedOut {
        /// Whose.
        group: GroupId,
        /// Which.
        token: Token,
    },
    /// An older group wants what this one holds while it waits for more: tell the group. Its wait
    /// is over; it still holds what it held, and is to unlock that and lock again (the kernel's
    /// `-EDEADLK`, which came too late to be the answer of a call).
    Wounded {
        /// Whose.
        group: GroupId,
        /// The grant to be given back.
        token: Token,
    },
    /// A grant was taken away, or the release fence that it was given back with failed: tell the
    /// group.
    Evicted {
        /// Whose.
        group: GroupId,
        /// Which.
        token: Token,
        /// Why.
        cause: EvictionCause,
    },
    /// A release fence need not be waited for any more: its time is up, or it was given for nothing.
    DropFence {
        /// Which.
        fence: FenceId,
    },
    /// No group has this buffer any more: let it go, but keep its name. The engine remembers what the
    /// next group is to be told, until [`Effect::Forget`].
    Remember {
        /// The buffer to be let go.
        buffer: BufferId,
    },
    /// No group has this buffer any more, and nothing is kept of it: its name is free.
    Forget {
        /// Which.
        buffer: BufferId,
    },
}

/// What a group got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Names it.
    pub token: Token,
    /// When it will be taken away.
    pub deadline: Time,
    /// Everything it holds ([`Effects::buffers`]), in the order of addition.
    pub buffers: Span,
}

/// A buffer of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantedBuffer {
    /// Which.
    pub buffer: BufferId,
    /// For what.
    pub access: Access,
    /// Exclusive grants that the buffer has seen, this one included.
    pub generation: u64,
    /// Somebody who was evicted may still be at work on it: no grant that began since has ended in
    /// order.
    pub evicted: bool,
    /// Its content may be half written: a writer was evicted, and no exclusive grant that began since
    /// has ended in order.
    pub torn: bool,
    /// Devices may still be at work on it: the holder has to wait for [`Engine::acquire_fences`].
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
    /// Its deadline passed while it was held.
    Deadline,
    /// Its release fence failed, or had not signalled at the deadline.
    Fence,
}

/// A run of buffers or operations in an [`Effects`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(crate) const EMPTY: Self = Self { start: 0, end: 0 };
}

/// Effects in their order, which is the order to carry them out in.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    queue: VecDeque<Effect>,
    buffers: Vec<GrantedBuffer>,
    ops: Vec<SyncOp>,
}

impl Effects {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next one. When there is none, the spans of those before are void.
    pub fn pop(&mut self) -> Option<Effect> {
        let next = self.queue.pop_front();
        if next.is_none() {
            self.reuse();
        }
        next
    }

    /// The next ones, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Effect> {
        self.queue.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The buffers of a grant.
    pub fn buffers(&self, span: Span) -> &[GrantedBuffer] {
        self.buffers.get(span.start as usize..span.end as usize).unwrap_or(&[])
    }

    /// The operations of a job.
    pub fn ops(&self, span: Span) -> &[SyncOp] {
        self.ops.get(span.start as usize..span.end as usize).unwrap_or(&[])
    }

    /// Makes room for a call: what was told of before and has been carried out is void.
    pub(crate) fn reuse(&mut self) {
        if self.queue.is_empty() {
            self.buffers.clear();
            self.ops.clear();
        }
    }

    pub(crate) fn push(&mut self, effect: Effect) {
        self.queue.push_back(effect);
    }

    #[inline]
    pub(crate) fn collect_buffers(&mut self, all: impl Iterator<Item = GrantedBuffer>) -> Span {
        let start = self.buffers.len() as u32;
        self.buffers.extend(all);
        Span { start, end: self.buffers.len() as u32 }
    }

    pub(crate) fn collect_ops(&mut self, all: impl Iterator<Item = SyncOp>) -> Span {
        let start = self.ops.len() as u32;
        self.ops.extend(all);
        Span { start, end: self.ops.len() as u32 }
    }
}

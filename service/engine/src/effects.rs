// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What the engine asks its caller to do.

use std::collections::VecDeque;

use crate::{Access, BufferId, GroupId, JobId, SyncOp, Time, Token};

/// One thing to do, or to tell. They are to be carried out in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Issue these cache operations, in order, up to the first that fails; then call
    /// [`Engine::job_done`]. It must be called, whatever happens: the buffers wait for it.
    ///
    /// [`Engine::job_done`]: crate::Engine::job_done
    Sync {
        /// To be given back.
        job: JobId,
        /// For whose lock; `None` for the END of a buffer that nobody has any more.
        group: Option<GroupId>,
        /// At least one.
        ops: Vec<SyncOp>,
    },
    /// A lock that was pending is granted: tell the group.
    Granted {
        /// Whose.
        group: GroupId,
        /// Which.
        token: Token,
        /// When it will be taken away.
        deadline: Time,
        /// What it holds.
        buffers: Vec<GrantedBuffer>,
    },
    /// A lock that was pending failed with a cache operation: tell the group. It is idle again.
    LockFailed {
        /// Whose.
        group: GroupId,
        /// Which.
        token: Token,
        /// The buffer, and what the caller said about it.
        failure: Failure,
    },
    /// A grant was taken away: tell the group. It is idle again.
    Evicted {
        /// Whose.
        group: GroupId,
        /// Which.
        token: Token,
        /// Why.
        cause: EvictionCause,
    },
    /// A release fence need not be waited for any more: its grant has ended.
    DropFence {
        /// Which.
        token: Token,
    },
    /// No group has this buffer any more: let it go.
    Forget {
        /// Which.
        buffer: BufferId,
    },
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
    /// An earlier holder did not let go in order, and no grant since has ended in order.
    pub evicted: bool,
}

/// Why a grant was taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvictionCause {
    /// Its deadline passed while it was held.
    Deadline,
    /// Its release fence failed, or had not signalled at the deadline.
    Fence,
}

/// A cache operation that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// On which buffer.
    pub buffer: BufferId,
    /// The caller's own reason, an errno say; the engine hands it through.
    pub reason: i32,
}

/// Effects in their order.
pub type Effects = VecDeque<Effect>;

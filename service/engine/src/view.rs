// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The lock table as others may see it: for dumps, and for checks of its invariants.

use crate::coherence::Coherence;
use crate::{Access, BufferId, Engine, GroupId, Phase, Token};

/// What has happened since the engine began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counters {
    /// Locks granted.
    pub grants: u64,
    /// Locks that had to wait for others.
    pub queued: u64,
    /// Grants that their holder ended.
    pub unlocks: u64,
    /// Waiting locks taken back.
    pub cancels: u64,
    /// Grants taken away at a deadline, or because of a release fence.
    pub evictions: u64,
    /// Groups whose client went without closing them.
    pub deaths: u64,
    /// Locks that ended with a failed cache operation.
    pub lock_failures: u64,
    /// START operations that succeeded.
    pub sync_start: u64,
    /// END operations that succeeded.
    pub sync_end: u64,
    /// Operations that failed.
    pub sync_failed: u64,
    /// What a START and an END around every access of every grant would have come to.
    pub bracketing_ops: u64,
}

/// One buffer.
#[derive(Clone, Debug)]
pub struct BufferView {
    /// Which.
    pub id: BufferId,
    /// Groups that have it.
    pub members: usize,
    /// Who holds it.
    pub holders: Vec<LockView>,
    /// Who waits for it, oldest first.
    pub waiters: Vec<LockView>,
    /// The cache's state.
    pub coherence: Coherence,
    /// Exclusive grants so far.
    pub generation: u64,
    /// See [`crate::GrantedBuffer::evicted`].
    pub tainted: bool,
    /// Cache operations are in flight.
    pub syncing: bool,
}

/// A lock's part in a buffer.
#[derive(Clone, Copy, Debug)]
pub struct LockView {
    /// Which.
    pub token: Token,
    /// Whose; `None` if its group is closed or has given it up.
    pub group: Option<GroupId>,
    /// For what.
    pub access: Access,
    /// How far it is.
    pub phase: Phase,
}

impl Engine {
    /// All buffers, by id.
    pub fn buffers(&self) -> impl Iterator<Item = BufferView> + '_ {
        self.slots.iter().map(|(id, slot)| {
            let view = |(token, access): (Token, Access)| {
                let lock = self.locks.get(&token)?;
                Some(LockView { token, group: lock.group, access, phase: lock.phase })
            };
            BufferView {
                id: *id,
                members: slot.members,
                holders: slot.holders.iter().filter_map(|(t, a)| view((*t, *a))).collect(),
                waiters: slot.waiters().filter_map(|(t, a, _)| view((t, a))).collect(),
                coherence: slot.coherence,
                generation: slot.generation,
                tainted: slot.tainted(),
                syncing: slot.job.is_some(),
            }
        })
    }
}

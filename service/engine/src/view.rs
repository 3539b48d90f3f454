// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Views of the lock table, for dumps and tests.

use std::collections::BTreeMap;

use crate::coherence::Coherence;
use crate::fence::{Fence, Gate};
use crate::index::{LockIx, SlotIx};
use crate::lock::Lock;
use crate::slot::Slot;
use crate::{Access, BufferId, Engine, FenceId, GroupId, Phase, Ticket, Time, Token, Wants};

/// Numbers of events since the engine began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counters {
    /// Locks granted, those that grew a grant included.
    pub grants: u64,
    /// Locks that had to wait for others.
    pub queued: u64,
    /// Grants that their holder ended.
    pub unlocks: u64,
    /// Pending locks that were cancelled.
    pub cancels: u64,
    /// Pending locks that timed out.
    pub time_outs: u64,
    /// Growing locks that were wounded while they waited.
    pub wounds: u64,
    /// Growths that were refused: waiting could have deadlocked.
    pub deadlocks: u64,
    /// Grants taken away at a deadline, or because of a release fence.
    pub evictions: u64,
    /// Groups whose client died.
    pub deaths: u64,
    /// Locks that ended with a failed cache operation.
    pub lock_failures: u64,
    /// START operations that succeeded.
    pub sync_start: u64,
    /// END operations that succeeded.
    pub sync_end: u64,
    /// Operations that failed.
    pub sync_failed: u64,
    /// The calls that START and END around every access, by the CPU or a device, would have been. How many of them
    /// would have done something depends on the exporter.
    pub bracketing_ops: u64,
}

/// One buffer.
#[derive(Clone, Debug)]
pub struct BufferView {
    /// Its name.
    pub id: BufferId,
    /// Groups that have it.
    pub members: usize,
    /// The locks that hold it.
    pub holders: Vec<LockView>,
    /// The locks that wait for it, the oldest first.
    pub waiters: Vec<LockView>,
    /// The release fences of past holders that are pending.
    pub fences: Vec<FenceView>,
    /// The cache's state.
    pub coherence: Coherence,
    /// The number of exclusive grants.
    pub generation: u64,
    /// See [`crate::GrantedBuffer::evicted`].
    pub evicted: bool,
    /// See [`crate::GrantedBuffer::torn`].
    pub torn: bool,
    /// Cache operations are in flight.
    pub syncing: bool,
}

/// A lock's part in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockView {
    /// The group of the lock.
    pub group: GroupId,
    /// The lock.
    pub token: Token,
    /// Its age.
    pub ticket: Ticket,
    /// The access that it holds or wants.
    pub access: Access,
    /// How far it is.
    pub phase: Phase,
}

/// A release fence's part in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceView {
    /// Its name.
    pub id: FenceId,
    /// The group that gave it. It may be closed.
    pub group: GroupId,
    /// The grant that ended with it.
    pub token: Token,
    /// The access that the giver had.
    pub access: Access,
    /// When it counts as failed.
    pub deadline: Time,
}

impl Engine {
    /// A lock of the group, not `but`, that conflicts with what a lock asks for, and on which buffer. For messages.
    pub fn conflict(
        &self,
        id: GroupId,
        wants: Wants<'_>,
        but: Option<Token>,
    ) -> Option<(BufferId, Token)> {
        let asked = self.asked(id, wants);
        let locks = self.groups[self.find(id).ok()?].locks.iter().map(|at| &self.locks[*at]);
        let entries = locks.flat_map(|lock| lock.entries.iter().map(move |entry| (lock, entry)));
        let mut others = entries.filter(|(lock, _)| Some(lock.token) != but);
        others.find_map(|(lock, entry)| {
            let conflicts = asked.get(&entry.slot)?.conflicts(entry.want);
            conflicts.then_some((self.slots[entry.slot].id, lock.token))
        })
    }

    /// A lock of another group that has what a lock asks for or waits for it, and on which buffer. For messages.
    pub fn obstacle(&self, id: GroupId, wants: Wants<'_>) -> Option<(BufferId, GroupId, Token)> {
        self.asked(id, wants).into_iter().find_map(|(at, access)| {
            let (slot, exclusive) = (&self.slots[at], access.is_exclusive());
            let conflicts = exclusive || slot.holders.is_exclusive();
            let holders = slot.roster.iter(&self.links).filter(|_| conflicts);
            let waiter = slot.queue.barrier(Ticket(u64::MAX), exclusive);
            let mut locks = holders.chain(waiter).map(|at| &self.locks[at]);
            let lock = locks.find(|lock| lock.group != id)?;
            Some((slot.id, lock.group, lock.token))
        })
    }

    /// What a lock asks for.
    fn asked(&self, id: GroupId, wants: Wants<'_>) -> BTreeMap<SlotIx, Access> {
        let Ok(group) = self.find(id) else { return BTreeMap::new() };
        let members = self.groups[group].members.iter();
        let members: BTreeMap<SlotIx, Access> = members.map(|one| (one.slot, one.access)).collect();
        if wants.buffers.is_empty() {
            return members;
        }
        let mut asked = BTreeMap::new();
        for (nth, buffer) in wants.buffers.iter().enumerate() {
            let Some(slot) = self.slot_ids.get(buffer) else { continue };
            let Some(own) = members.get(slot) else { continue };
            let access = wants.accesses.get(nth).unwrap_or(own);
            let before = asked.get(slot).unwrap_or(access);
            asked.insert(*slot, before.stronger(*access).unwrap_or(*access));
        }
        asked
    }

    /// All buffers that a group has or a fence holds, by id.
    pub fn buffers(&self) -> Vec<BufferView> {
        self.buffers_of(|_| true, usize::MAX).0
    }

    /// The first buffers that are wanted, by id, `most` at most; and the number of all that are wanted.
    pub fn buffers_of(
        &self,
        wanted: impl Fn(BufferId) -> bool,
        most: usize,
    ) -> (Vec<BufferView>, usize) {
        let mut slots: Vec<(BufferId, SlotIx)> =
            self.slots.iter().map(|(at, slot)| (slot.id, at)).collect();
        slots.retain(|(id, _)| wanted(*id));
        slots.sort_unstable();
        let count = slots.len();
        slots.truncate(most);
        let mut views: BTreeMap<SlotIx, BufferView> =
            slots.into_iter().map(|(_, at)| (at, self.view(at, &self.slots[at]))).collect();
        for (at, lock) in self.locks.iter() {
            for entry in &lock.entries {
                if let (Some(access), Some(view)) = (entry.hold, views.get_mut(&entry.slot)) {
                    view.holders.extend(self.lock_view(at, access));
                }
            }
        }
        let mut all: Vec<BufferView> = views.into_values().collect();
        all.iter_mut().for_each(|view| view.holders.sort_by_key(|holder| holder.ticket));
        all.sort_by_key(|buffer| buffer.id);
        (all, count)
    }

    /// How many buffers without a group the engine remembers.
    pub fn remembered(&self) -> usize {
        self.remembered.len()
    }

    /// The view of a buffer, without its holders.
    fn view(&self, at: SlotIx, slot: &Slot) -> BufferView {
        let waiting = slot.queue.iter().filter_map(|(waiter, _)| {
            let mut entries = self.locks[waiter.lock].entries.iter();
            let entry = entries.find(|entry| entry.slot == at)?;
            self.lock_view(waiter.lock, entry.want)
        });
        let gates = slot.traffic.iter().flat_map(|traffic| traffic.fences.iter());
        let fences = gates.map(|Gate { fence: at, nth }| {
            let Fence { id, group, token, ref parts } = self.fences[*at];
            let deadline = self.fence_timers.get(*at).unwrap_or_default();
            FenceView { id, group, token, access: parts[*nth as usize].access, deadline }
        });
        BufferView {
            id: slot.id,
            members: slot.members as usize,
            holders: Vec::new(),
            waiters: waiting.collect(),
            fences: fences.collect(),
            coherence: slot.coherence,
            generation: slot.generation,
            evicted: slot.evictions.at_work(),
            torn: slot.evictions.is_torn(),
            syncing: slot.job.is_some(),
        }
    }

    fn lock_view(&self, at: LockIx, access: Access) -> Option<LockView> {
        let lock = &self.locks[at];
        let Lock { group, token, ticket, .. } = *lock;
        Some(LockView { group, token, ticket, access, phase: lock.phase()? })
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Release: unlock, eviction, death, release fences, locks that are given up, buffers that nobody has.
//!
//! Every request that ends without success goes through [`Engine::withdraw`], and every grant that ends
//! goes through [`Engine::end_lock`]. These two take the request or the grant out of the lock, and with it
//! the lock's part out of every count. So each part leaves a count exactly once. What they leave of the
//! lock is freed at the end of the call ([`Engine::free`]), because others may still have its index.

use crate::effects::Span;
use crate::fence::{Ending, Fence, Gate, Part};
use crate::group::Kept;
use crate::index::{FenceIx, LockIx, Place, SlotIx};
use crate::lock::{Lock, Stage};
use crate::remembered::History;
use crate::{Access, BufferId, Effect, Effects, Engine, Error, EvictionCause, ReleaseFence, Time};

/// Lists of entries that are kept for the next locks: a client has a few locks at once. A crowd that has gone
/// leaves no memory behind.
const SPARE: usize = 64;

/// How a grant ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End<'a> {
    /// Its holder has unlocked.
    InOrder,
    /// It was taken away, or its holder has died.
    Evicted,
    /// Its holder has unlocked with fences, each for one buffer or for all buffers without one. They are
    /// sorted by buffer, those for the rest first.
    Fenced(&'a [(Option<BufferId>, FenceIx)]),
}

impl Engine {
    /// Ends a lock: the grant, if there is one, and the request, if there is one.
    pub(crate) fn end_lock(&mut self, now: Time, at: LockIx, how: End<'_>, fx: &mut Effects) {
        self.withdraw(now, at, fx);
        if self.locks[at].grant.take().is_some() {
            self.end_entries(at, None, how);
        }
        self.work.over.push(at);
    }

    /// Lets the buffers of a grant go: all of them, or those of a `part`, which is sorted.
    #[inline(always)]
    fn end_entries(&mut self, at: LockIx, part: Option<&[BufferId]>, how: End<'_>) {
        let Self { locks, slots, fences, endings, work, links, .. } = self;
        for entry in &mut locks[at].entries {
            let slot = &mut slots[entry.slot];
            if part.is_some_and(|part| part.binary_search(&slot.id).is_err()) {
                continue;
            }
            let Some(access) = entry.granted.take() else { continue };
            slot.holders.hold(&mut entry.hold, None);
            if let Some(place) = entry.listed.take() {
                slot.roster.remove(links, place);
            }
            let fences_given = match how {
                End::InOrder => &[],
                End::Evicted => {
                    slot.evictions.add(access);
                    work.touch(entry.slot, slot);
                    continue;
                }
                End::Fenced(given) => fences_of(slot.id, given),
            };
            if fences_given.is_empty() {
                slot.ended_in_order(access, entry.seen);
            } else {
                let ending = Ending { seen: entry.seen, pending: 0, failed: false };
                let ending = endings.insert(ending);
                for (_, fence) in fences_given {
                    let parts = &mut fences[*fence].parts;
                    // A fence that is given twice for one buffer is one fence.
                    if parts.last().is_some_and(|part| part.slot == entry.slot) {
                        continue;
                    }
                    let gate = Gate { fence: *fence, nth: parts.len() as u32 };
                    let gates = &mut slot.traffic.get_or_insert_default().fences;
                    let at = gates.push(gate, access);
                    parts.push(Part { slot: entry.slot, at, ending, access });
                    endings[ending].pending += 1;
                }
            }
            work.touch(entry.slot, slot);
        }
    }

    /// Takes a pending lock out of the queues, or gives back the buffers that it has taken. The grant
    /// stays as it was before the request.
    pub(crate) fn withdraw(&mut self, now: Time, at: LockIx, fx: &mut Effects) {
        let Some(request) = self.locks[at].request.take() else { return };
        let queued = matches!(request.stage, Stage::Queued { .. });
        match request.stage {
            Stage::Queued { .. } => self.leave_queues(at),
            Stage::Gated(_) => {}
            Stage::Waiting(job) => {
                self.end_wait(now, at, false);
                if let Some(job) = self.jobs.remove(job) {
                    self.job_ids.remove(&job.id);
                    fx.push(Effect::DropWait { job: job.id });
                }
            }
            Stage::Syncing(job) => self.jobs[job].lock = None,
        }
        if !queued {
            self.give_back(at);
        }
        if self.locks[at].grant.is_some() {
            self.forget_growth(at);
        }
    }

    fn leave_queues(&mut self, at: LockIx) {
        let Self { locks, slots, work, growing, .. } = self;
        let lock = &locks[at];
        for entry in &lock.entries {
            let slot = &mut slots[entry.slot];
            if entry.hold.is_some() {
                growing.remove(&(entry.slot, lock.ticket, at));
            }
            if entry.lacks() {
                slot.queue.remove(lock.ticket);
                work.touch(entry.slot, slot);
            }
        }
    }

    fn give_back(&mut self, at: LockIx) {
        for nth in 0..self.locks[at].entries.len() {
            self.leave_gate(Place::new(at, nth));
            let Self { locks, slots, work, links, .. } = self;
            let entry = &mut locks[at].entries[nth];
            if entry.taken().is_some() {
                let slot = &mut slots[entry.slot];
                slot.holders.hold(&mut entry.hold, entry.granted);
                if let Some(place) = entry.listed.take_if(|_| entry.granted.is_none()) {
                    slot.roster.remove(links, place);
                }
                work.touch(entry.slot, slot);
            }
        }
    }

    /// A request ends without success. A lock that holds nothing is over, and leaves its ticket to its group.
    pub(crate) fn give_up(&mut self, now: Time, at: LockIx, fx: &mut Effects) {
        self.withdraw(now, at, fx);
        if self.locks[at].grant.is_none() {
            self.keep_ticket(now, at);
            self.work.over.push(at);
        }
    }

    /// Keeps the ticket for the next lock of the group, for the rest of the ticket's life.
    pub(crate) fn keep_ticket(&mut self, now: Time, at: LockIx) {
        let lock = &self.locks[at];
        let kept = (now < lock.life).then(|| Kept::of(lock, self.last.arrival));
        self.groups[lock.group.at()].kept = kept;
    }

    /// Makes a lock what its grant is: a growth has failed or was refused.
    pub(crate) fn forget_growth(&mut self, at: LockIx) {
        let Self { groups, locks, .. } = self;
        let lock = &mut locks[at];
        let members = &mut groups[lock.group.at()].members;
        lock.entries.retain_mut(|entry| {
            let mut want = Some(entry.want);
            members[entry.member as usize].wanted.hold(&mut want, entry.granted);
            entry.want = entry.granted.unwrap_or(entry.want);
            entry.granted.is_some()
        });
    }

    /// Takes a lock that is over, or was refused, out of its group.
    pub(crate) fn free(&mut self, at: LockIx) {
        let Some(Lock { group, token, mut entries, .. }) = self.locks.remove(at) else { return };
        let group = &mut self.groups[group.at()];
        for entry in entries.drain(..) {
            group.members[entry.member as usize].wanted.hold(&mut Some(entry.want), None);
        }
        if token <= group.last {
            group.locks.retain(|lock| *lock != at);
        }
        if self.spare.len() < SPARE {
            self.spare.push(entries);
        }
    }

    /// Ends a part of a grant, which is sorted, or all of it, in order. The time of fences counts from now. Refuses
    /// a fence for a buffer that is not let go.
    pub(crate) fn end_in_order(
        &mut self,
        now: Time,
        at: LockIx,
        part: Option<&[BufferId]>,
        given: &[ReleaseFence],
        fx: &mut Effects,
    ) -> Result<(), Error> {
        if given.is_empty() {
            self.end_some(now, at, part, End::InOrder, fx);
            return Ok(());
        }
        let mut named: Vec<BufferId> = given.iter().filter_map(|given| given.buffer).collect();
        named.sort_unstable();
        match part {
            None => {
                self.check_held(at, &named)?;
            }
            Some(part) if named.iter().all(|buffer| part.binary_search(buffer).is_ok()) => {}
            Some(_) => return Err(Error::UnknownBuffer),
        }
        let Lock { group, token, hold, .. } = self.locks[at];
        let deadline = now.after(hold);
        let mut named: Vec<(Option<BufferId>, FenceIx)> = given
            .iter()
            .map(|ReleaseFence { fence: id, buffer }| {
                let Self { fences, fence_ids, fence_timers, .. } = self;
                let fence = *fence_ids.entry(*id).or_insert_with(|| {
                    let fence = Fence { id: *id, group, token, parts: Vec::new() };
                    let fence = fences.insert(fence);
                    fence_timers.set(fence, Some(deadline));
                    fence
                });
                (*buffer, fence)
            })
            .collect();
        named.sort_by_key(|(buffer, _)| *buffer);
        self.end_some(now, at, part, End::Fenced(&named), fx);
        for (_, fence) in named {
            // Every buffer has a fence of its own, so nobody needs this one.
            if self.fences.get(fence).is_some_and(|fence| fence.parts.is_empty()) {
                fx.push(Effect::DropFence { fence: self.fences[fence].id });
                self.end_fence(fence, true, fx);
            }
        }
        Ok(())
    }

    fn end_some(
        &mut self,
        now: Time,
        at: LockIx,
        part: Option<&[BufferId]>,
        how: End<'_>,
        fx: &mut Effects,
    ) {
        match part {
            None => self.end_lock(now, at, how, fx),
            Some(part) => {
                self.end_entries(at, Some(part), how);
                self.forget_growth(at);
            }
        }
    }

    /// Exclusive accesses of a grant, to buffers of a sorted list, become shared. The holder has finished to write,
    /// as at the end of a grant, and goes on to read.
    pub(crate) fn downgrade_entries(&mut self, at: LockIx, part: &[BufferId]) {
        let Self { groups, locks, slots, work, .. } = self;
        let lock = &mut locks[at];
        for entry in &mut lock.entries {
            let slot = &mut slots[entry.slot];
            let access = entry.granted.filter(|access| access.is_exclusive());
            let Some(access) = access.filter(|_| part.binary_search(&slot.id).is_ok()) else {
                continue;
            };
            // `seen` stays: the grant began before.
            slot.ended_in_order(access, entry.seen);
            let wanted = &mut groups[lock.group.at()].members[entry.member as usize].wanted;
            wanted.hold(&mut Some(entry.want), Some(access.shared()));
            entry.want = access.shared();
            entry.granted = Some(entry.want);
            slot.holders.hold(&mut entry.hold, entry.granted);
            work.touch(entry.slot, slot);
        }
    }

    /// Answers true if `named`, a sorted list, has every buffer of the grant. A buffer that the grant
    /// lacks is `UnknownBuffer`.
    pub(crate) fn check_held(&self, at: LockIx, named: &[BufferId]) -> Result<bool, Error> {
        let held = self.locks[at].entries.iter().filter(|entry| entry.granted.is_some());
        let (mut all, mut found) = (0, 0);
        for entry in held {
            all += 1;
            found += usize::from(named.binary_search(&self.slots[entry.slot].id).is_ok());
        }
        let twice = named.windows(2).filter(|pair| pair[0] == pair[1]).count();
        if found < named.len() - twice {
            return Err(Error::UnknownBuffer);
        }
        Ok(found == all)
    }

    /// A fence has signalled (`ok`), or has failed or come too late.
    pub(crate) fn end_fence(&mut self, at: FenceIx, ok: bool, fx: &mut Effects) {
        let Some(fence) = self.fences.remove(at) else { return };
        self.fence_ids.remove(&fence.id);
        self.fence_timers.set(at, None);
        if !ok {
            let Fence { group, token, .. } = fence;
            let cause = EvictionCause::Fence;
            fx.push(Effect::Evicted { group, token, cause, by: None });
            self.counters.evictions += 1;
        }
        for Part { slot: part, at, ending, access } in fence.parts {
            let Self { slots, fences, endings, .. } = self;
            let slot = &mut slots[part];
            if let Some(traffic) = &mut slot.traffic {
                if let Some(moved) = traffic.fences.remove(at, access) {
                    fences[moved.fence].parts[moved.nth as usize].at = at;
                }
            }
            let Ending { seen, pending, failed } = &mut endings[ending];
            *pending -= 1;
            *failed |= !ok;
            let (seen, last, in_order) = (*seen, *pending == 0, !*failed);
            if !ok {
                slot.evictions.add(access);
            } else if last && in_order {
                slot.ended_in_order(access, seen);
            }
            if last {
                endings.remove(ending);
            }
            self.open_gates(part);
            self.work.abandon(part, &self.slots[part]);
        }
    }

    /// A group lets a buffer go on which it has no lock.
    pub(crate) fn leave(&mut self, at: SlotIx) {
        let slot = &mut self.slots[at];
        slot.members -= 1;
        self.work.abandon(at, slot);
    }

    /// For buffers that nobody has any more: issues the END that is owed, cleans the cache, and lets them go.
    pub(crate) fn retire_abandoned(&mut self, fx: &mut Effects) {
        while let Some(at) = self.work.next_abandoned() {
            let slot = &self.slots[at];
            let plan = slot.coherence.plan_retirement(slot.evictions.cpu_at_work());
            if plan[0].is_some() {
                let job = self.join_job(None, None, at, plan);
                self.submit(job, Span::EMPTY, fx);
            } else {
                self.forget(at, false, fx);
            }
        }
    }

    /// Lets a buffer go that nobody has. `failed`: its last operations failed or were blocked. The engine
    /// does not try them again. Then an END is owed, and if the CPU had written, the content that others
    /// see is not whole, as after an eviction.
    pub(crate) fn forget(&mut self, at: SlotIx, failed: bool, fx: &mut Effects) {
        let Some(mut slot) = self.slots.remove(at) else { return };
        self.slot_ids.remove(&slot.id);
        self.last.generation = self.last.generation.max(slot.generation);
        if failed && (slot.coherence.cpu_dirty() || slot.evictions.cpu_at_work()) {
            slot.evictions.add(Access::Write);
        }
        // A device may use it unseen before it comes back.
        slot.coherence.may_have_written(Access::DmaWrite);
        let owed = slot.coherence.open().is_some() || slot.coherence.cpu_dirty();
        if !(owed || slot.evictions.is_marked()) || self.limits.remembered == 0 {
            fx.push(Effect::Forget { buffer: slot.id });
            return;
        }
        fx.push(Effect::Remember { buffer: slot.id });
        self.remembered.insert(slot.id, History::of(&slot));
        if self.remembered.len() > self.limits.remembered {
            if let Some(buffer) = self.remembered.remove_oldest() {
                fx.push(Effect::Forget { buffer });
            }
        }
    }
}

/// The fences of one buffer among those of its grant: its own, or those for the rest.
fn fences_of(
    buffer: BufferId,
    given: &[(Option<BufferId>, FenceIx)],
) -> &[(Option<BufferId>, FenceIx)] {
    let of = |whose: Option<BufferId>| {
        let begin = given.partition_point(|(other, _)| *other < whose);
        let end = given.partition_point(|(other, _)| *other <= whose);
        &given[begin..end]
    };
    match of(Some(buffer)) {
        [] => of(None),
        own => own,
    }
}

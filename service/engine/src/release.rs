// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! How buffers are let go: unlock, eviction, death, release fences, locks that are given up.
//!
//! Every way goes through [`Engine::withdraw`] (the pending lock) and [`Engine::end_grant`] (the
//! grant), each of which takes the group's part out of every count that it is in, once, since it
//! takes the request or the grant itself with it.

use crate::arena::Ix;
use crate::fence::{Ending, Fence, Gate, Part};
use crate::group::{Group, Place, Stage};
use crate::slot::Slot;
use crate::{BufferId, Effect, Effects, Engine, Error, EvictionCause, ReleaseFence, Time};

/// How a grant ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End<'a> {
    /// Its holder let go.
    InOrder,
    /// It was taken away, or its holder died.
    Evicted,
    /// Its holder let go, but for fences: each for one buffer, or for those without. By buffer, those
    /// for the rest first.
    Fenced(&'a [(Option<BufferId>, Ix<Fence>)]),
}

impl Engine {
    /// Ends a grant, if there is one, and the pending lock, if there is one.
    pub(crate) fn end_grant(&mut self, now: Time, at: Ix<Group>, how: End<'_>, fx: &mut Effects) {
        self.withdraw(now, at, fx);
        let Self { groups, slots, fences, endings, work, .. } = self;
        let group = &mut groups[at];
        if group.grant.take().is_none() {
            return;
        }
        for entry in &mut group.entries {
            let Some(access) = entry.granted.take() else { continue };
            let slot = &mut slots[entry.slot];
            slot.hold(entry, None);
            let fences_given = match how {
                End::InOrder => &[],
                End::Evicted => {
                    slot.evicted(access);
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
                    // Given twice for one buffer, it is one.
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

    /// Takes a pending lock back: out of the queues, or from the buffers that it has taken. What is
    /// granted stays.
    pub(crate) fn withdraw(&mut self, now: Time, at: Ix<Group>, fx: &mut Effects) {
        let Some(request) = self.groups[at].request.take() else { return };
        match request.stage {
            Stage::Queued { .. } => return self.leave_queues(at),
            Stage::Gated(_) => {}
            Stage::Waiting(job) => {
                self.end_wait(now, at, false);
                if let Some(job) = self.jobs.remove(job) {
                    self.job_ids.remove(&job.id);
                    fx.push(Effect::DropWait { job: job.id });
                }
            }
            Stage::Syncing(job) => self.jobs[job].group = None,
        }
        self.give_back(at);
    }

    fn leave_queues(&mut self, at: Ix<Group>) {
        let Self { groups, slots, work, growing, .. } = self;
        let group = &groups[at];
        for entry in &group.entries {
            let slot = &mut slots[entry.slot];
            if entry.hold.is_some() {
                growing.remove(&(entry.slot, group.ticket, at));
            }
            if entry.lacks() {
                slot.queue.remove(group.ticket);
                work.touch(entry.slot, slot);
            }
        }
    }

    fn give_back(&mut self, at: Ix<Group>) {
        for nth in 0..self.groups[at].entries.len() {
            self.leave_gate(Place::new(at, nth));
            let Self { groups, slots, work, .. } = self;
            let entry = &mut groups[at].entries[nth];
            if entry.taken().is_some() {
                let slot = &mut slots[entry.slot];
                slot.hold(entry, entry.granted);
                work.touch(entry.slot, slot);
            }
        }
    }

    /// A pending lock ends without a grant, and not because its group does. A group that holds
    /// nothing may come back with its ticket.
    pub(crate) fn give_up(&mut self, now: Time, at: Ix<Group>, fx: &mut Effects) {
        self.withdraw(now, at, fx);
        if self.groups[at].grant.is_none() {
            self.keep_ticket(now, at);
        }
    }

    /// Lets a group lock again with its ticket, for the rest of the ticket's life.
    pub(crate) fn keep_ticket(&mut self, now: Time, at: Ix<Group>) {
        let group = &mut self.groups[at];
        group.kept = (now < group.life).then_some(group.ticket);
        group.left = self.last.arrival;
    }

    /// Ends a grant but for fences, whose time counts from now. Refuses if there is one for a buffer
    /// that is not held.
    pub(crate) fn end_grant_fenced(
        &mut self,
        now: Time,
        at: Ix<Group>,
        given: &[ReleaseFence],
        fx: &mut Effects,
    ) -> Result<(), Error> {
        self.check_held(at, given)?;
        let Group { id: group, token, hold, .. } = self.groups[at];
        let deadline = now.after(hold);
        let mut named: Vec<(Option<BufferId>, Ix<Fence>)> = given
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
        self.end_grant(now, at, End::Fenced(&named), fx);
        for (_, fence) in named {
            // Every buffer had another: nobody waits for this one.
            if self.fences.get(fence).is_some_and(|fence| fence.parts.is_empty()) {
                fx.push(Effect::DropFence { fence: self.fences[fence].id });
                self.end_fence(fence, true, fx);
            }
        }
        Ok(())
    }

    /// Whether every buffer that is named is of the grant.
    fn check_held(&self, at: Ix<Group>, given: &[ReleaseFence]) -> Result<(), Error> {
        let mut named: Vec<BufferId> = given.iter().filter_map(|given| given.buffer).collect();
        named.sort_unstable();
        named.dedup();
        let held = self.groups[at].entries.iter().filter(|entry| {
            entry.granted.is_some() && named.binary_search(&self.slots[entry.slot].id).is_ok()
        });
        (held.count() == named.len()).then_some(()).ok_or(Error::UnknownBuffer)
    }

    /// A fence has signalled, or failed, or come too late.
    pub(crate) fn end_fence(&mut self, at: Ix<Fence>, ok: bool, fx: &mut Effects) {
        let Some(fence) = self.fences.remove(at) else { return };
        self.fence_ids.remove(&fence.id);
        self.fence_timers.set(at, None);
        if !ok {
            let Fence { group, token, .. } = fence;
            fx.push(Effect::Evicted { group, token, cause: EvictionCause::Fence });
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
                slot.evicted(access);
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

    /// A group lets a buffer go that it does not hold.
    pub(crate) fn leave(&mut self, at: Ix<Slot>) {
        let slot = &mut self.slots[at];
        slot.members -= 1;
        self.work.abandon(at, slot);
    }

    /// Sees to it that [`Engine::tick`] looks at a group when it is due. A timer that is early stays:
    /// a group that locks and unlocks all the time moves none, and what is due later is found out
    /// when it fires.
    #[inline]
    pub(crate) fn arm(&mut self, at: Ix<Group>) {
        let Some(due) = self.groups[at].due() else { return };
        if self.group_timers.get(at).is_none_or(|armed| due < armed) {
            self.group_timers.set(at, Some(due));
        }
    }
}

/// Of the fences that a grant is ended with, those of one buffer: its own, or the others'.
fn fences_of(
    buffer: BufferId,
    given: &[(Option<BufferId>, Ix<Fence>)],
) -> &[(Option<BufferId>, Ix<Fence>)] {
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

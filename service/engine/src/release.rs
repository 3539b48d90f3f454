// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! How buffers are let go: unlock, eviction, death, release fences, locks that are given up.
//!
//! Every way goes through [`Engine::withdraw`] (the pending lock) and [`Engine::end_grant`] (the
//! grant), each of which takes the group's part out of every count that it is in, once, since it
//! takes the request or the grant itself with it.

use crate::arena::Ix;
use crate::group::{Group, Place, Stage};
use crate::slot::{Gate, Slot};
use crate::{
    Access, BufferId, Effect, Effects, Engine, EvictionCause, FenceId, GroupId, ReleaseFence, Time,
    Token,
};

/// How a grant ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End<'a> {
    /// Its holder let go.
    InOrder,
    /// It was taken away, or its holder died.
    Evicted,
    /// Its holder let go, but for fences: each for one buffer, or for those without.
    Fenced(&'a [(Option<BufferId>, Ix<Fence>)]),
}

/// A release fence: what it was given for may still be at work until it has signalled.
#[derive(Clone, Debug)]
pub(crate) struct Fence {
    pub id: FenceId,
    /// Who gave it, to be named.
    pub group: GroupId,
    pub token: Token,
    pub parts: Vec<FencePart>,
}

/// A buffer behind a fence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FencePart {
    pub slot: Ix<Slot>,
    pub access: Access,
    /// Evictions that the buffer had seen when the grant began.
    pub seen: u64,
}

impl Engine {
    /// Ends a grant, if there is one, and the pending lock, if there is one.
    pub(crate) fn end_grant(&mut self, at: Ix<Group>, how: End<'_>) {
        self.withdraw(at);
        let Self { groups, slots, fences, work, .. } = self;
        let group = &mut groups[at];
        if group.grant.take().is_none() {
            return;
        }
        for (nth, entry) in group.entries.iter_mut().enumerate() {
            let Some(access) = entry.granted.take() else { continue };
            let slot = &mut slots[entry.slot];
            slot.hold(entry, Place::new(at, nth), None);
            match how {
                End::InOrder => slot.settle(entry.seen),
                End::Evicted => slot.evicted(access),
                End::Fenced(given) => {
                    let part = FencePart { slot: entry.slot, access, seen: entry.seen };
                    let mut fenced = false;
                    for fence in fences_of(slot.id, given) {
                        slot.fences.push(Gate { fence, access });
                        fences[fence].parts.push(part);
                        fenced = true;
                    }
                    if !fenced {
                        slot.settle(entry.seen);
                    }
                }
            }
            work.touch(entry.slot, slot);
        }
    }

    /// Takes a pending lock back: out of the queues, or from the buffers that it has taken. What is
    /// granted stays.
    pub(crate) fn withdraw(&mut self, at: Ix<Group>) {
        let Some(request) = self.groups[at].request.take() else { return };
        self.groups[at].idle = false;
        match request.stage {
            Stage::Queued { .. } => self.leave_queues(at),
            Stage::Preparing { job, .. } => {
                if let Some(job) = job {
                    self.jobs[job].group = None;
                }
                self.give_back(at);
            }
        }
    }

    fn leave_queues(&mut self, at: Ix<Group>) {
        let Self { groups, slots, work, .. } = self;
        let group = &groups[at];
        for entry in &group.entries {
            let slot = &mut slots[entry.slot];
            if entry.hold.is_some() {
                slot.growing -= 1;
            }
            if entry.lacks() {
                slot.queue.remove(group.ticket);
                work.touch(entry.slot, slot);
            }
        }
    }

    fn give_back(&mut self, at: Ix<Group>) {
        let Self { groups, slots, work, .. } = self;
        for (nth, entry) in groups[at].entries.iter_mut().enumerate() {
            entry.gated = false;
            if entry.taken().is_some() {
                let slot = &mut slots[entry.slot];
                slot.hold(entry, Place::new(at, nth), entry.granted);
                work.touch(entry.slot, slot);
            }
        }
    }

    /// A pending lock ends without a grant, and not because its group does. A group that holds
    /// nothing may come back with its ticket.
    pub(crate) fn give_up(&mut self, now: Time, at: Ix<Group>) {
        self.withdraw(at);
        if self.groups[at].grant.is_none() {
            self.keep_ticket(now, at);
        }
    }

    /// Lets a group lock again with its ticket, for as long as a grant can last: time enough to
    /// come back, and no way to store up age.
    pub(crate) fn keep_ticket(&mut self, now: Time, at: Ix<Group>) {
        let until = now.after(self.limits.max_hold);
        let group = &mut self.groups[at];
        group.kept = Some((group.ticket, until));
    }

    /// Ends a grant but for fences, whose time counts from now.
    pub(crate) fn end_grant_fenced(
        &mut self,
        now: Time,
        at: Ix<Group>,
        given: &[ReleaseFence],
        fx: &mut Effects,
    ) {
        let Group { id: group, token, hold, .. } = self.groups[at];
        let deadline = now.after(hold);
        let named: Vec<(Option<BufferId>, Ix<Fence>)> = given
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
        self.end_grant(at, End::Fenced(&named));
        for (_, fence) in named {
            // Every buffer had another: nobody waits for this one.
            if self.fences.get(fence).is_some_and(|fence| fence.parts.is_empty()) {
                fx.push(Effect::DropFence { fence: self.fences[fence].id });
                self.end_fence(fence, true, fx);
            }
        }
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
        for FencePart { slot: part, access, seen } in fence.parts {
            let slot = &mut self.slots[part];
            slot.fences.retain(|gate| gate.fence != at);
            if ok {
                slot.settle(seen);
            } else {
                slot.evicted(access);
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
) -> impl Iterator<Item = Ix<Fence>> + '_ {
    let own = given.iter().any(|(whose, _)| *whose == Some(buffer)).then_some(buffer);
    given.iter().filter(move |(whose, _)| *whose == own).map(|(_, fence)| *fence)
}

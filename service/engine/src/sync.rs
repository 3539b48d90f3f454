// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What makes buffers ready for the group that has taken them: gates, operations, the grant.
//!
//! Operations in flight on a buffer gate everybody (what they leave behind decides what is needed
//! next), and so do release fences, as [`Slot::gates`] says. They are the buffer's, not the lock's:
//! a lock that is given up meanwhile leaves them, and whoever takes the buffer next waits.

use crate::arena::Ix;
use crate::coherence::{Coherence, Plan, SyncOp};
use crate::effects::Grant;
use crate::group::{Group, Held, Place, Stage};
use crate::slot::{JobPart, Slot};
use crate::{
    Access, BufferId, Effect, Effects, Engine, Failure, GrantedBuffer, JobId, SyncKind, Time,
};

/// Cache operations in flight. Its buffers are linked from [`JobPart`] to [`JobPart`].
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub id: JobId,
    /// Whose lock it is for, unless that was given up or the buffer retires.
    pub group: Option<Ix<Group>>,
    first: Ix<Slot>,
    last: Ix<Slot>,
}

impl Engine {
    /// Whether what a group lacks waits for operations or fences.
    pub(crate) fn is_gated(&self, at: Ix<Group>) -> bool {
        let mut entries = self.groups[at].entries.iter();
        entries.any(|entry| entry.lacks() && self.slots[entry.slot].gates(entry.want))
    }

    /// Goes on with a group that has taken its buffers: waits where they are gated, begins the
    /// operations that they need, or grants them.
    pub(crate) fn prepare(&mut self, now: Time, at: Ix<Group>, fx: &mut Effects) -> Option<Grant> {
        let gated = self.wait_at_gates(at);
        let job = if gated == 0 { self.start_operations(at, fx) } else { None };
        if gated == 0 && job.is_none() {
            return Some(self.grant(now, at, fx));
        }
        if let Some(request) = &mut self.groups[at].request {
            request.stage = Stage::Preparing { gated, job };
        }
        None
    }

    fn wait_at_gates(&mut self, at: Ix<Group>) -> u32 {
        let Self { groups, slots, .. } = self;
        let mut gated = 0;
        for entry in &mut groups[at].entries {
            entry.gated = entry.taken().is_some_and(|access| slots[entry.slot].gates(access));
            gated += u32::from(entry.gated);
        }
        gated
    }

    /// Begins what the new buffers of a group need; `None` if that is nothing.
    fn start_operations(&mut self, at: Ix<Group>, fx: &mut Effects) -> Option<Ix<Job>> {
        let mut job = None;
        let idle = std::mem::take(&mut self.groups[at].idle) || !self.implicit;
        for nth in 0..self.groups[at].entries.len() {
            let entry = &self.groups[at].entries[nth];
            let slot = entry.slot;
            let plan = entry.taken().map(|access| self.plan(slot, access, idle));
            if let Some(plan @ [Some(_), _]) = plan {
                job = Some(self.join_job(job, Some(at), slot, plan));
            }
        }
        self.submit(job?, fx);
        job
    }

    fn plan(&self, slot: Ix<Slot>, access: Access, idle: bool) -> Plan {
        match self.slots[slot].coherence.plan(access) {
            [None, _] if !idle && !access.is_dma() => Coherence::wait_for(access),
            plan => plan,
        }
    }

    /// Puts a buffer into a job, or into a new one.
    fn join_job(
        &mut self,
        job: Option<Ix<Job>>,
        group: Option<Ix<Group>>,
        slot: Ix<Slot>,
        plan: Plan,
    ) -> Ix<Job> {
        let job = match job {
            Some(at) => {
                let last = std::mem::replace(&mut self.jobs[at].last, slot);
                if let Some(part) = &mut self.slots[last].job {
                    part.next = Some(slot);
                }
                at
            }
            None => {
                self.last.job += 1;
                let id = JobId(self.last.job);
                let at = self.jobs.insert(Job { id, group, first: slot, last: slot });
                self.job_ids.insert(id, at);
                at
            }
        };
        self.slots[slot].job = Some(JobPart { job, plan, next: None });
        job
    }

    fn submit(&self, at: Ix<Job>, fx: &mut Effects) {
        let job = &self.jobs[at];
        let ops = fx.collect_ops(self.parts(job.first).flat_map(|slot| {
            let Slot { id, job, .. } = &self.slots[slot];
            let plan = job.iter().flat_map(|part| part.plan.into_iter().flatten());
            plan.map(|(kind, flags)| SyncOp { buffer: *id, kind, flags })
        }));
        let group = job.group.map(|group| self.groups[group].id);
        fx.push(Effect::Sync { job: job.id, group, ops });
    }

    /// The buffers of a job.
    fn parts(&self, first: Ix<Slot>) -> impl Iterator<Item = Ix<Slot>> + '_ {
        std::iter::successors(Some(first), |at| self.slots[*at].job.and_then(|part| part.next))
    }

    /// How many buffers a job has, if they are all its own.
    pub(crate) fn parts_of(&self, at: Ix<Job>) -> usize {
        let parts = self.parts(self.jobs[at].first);
        parts.filter(|slot| self.slots[*slot].job.is_some_and(|part| part.job == at)).count()
    }

    /// What is taken is the client's from here on; what is not yet, is now. Inlined, since it is the common end of a call.
    #[inline(always)]
    pub(crate) fn grant(&mut self, now: Time, at: Ix<Group>, fx: &mut Effects) -> Grant {
        let Self { groups, slots, counters, .. } = self;
        let group = &mut groups[at];
        group.request = None;
        group.idle = false;
        let (token, deadline) = (group.token, now.after(group.hold));
        let Held { deadline, .. } = *group.grant.get_or_insert(Held { deadline, wounded: false });
        let mut bracketing = 0;
        let entries = group.entries.iter_mut().enumerate();
        let buffers = fx.collect_buffers(entries.map(|(nth, entry)| {
            let (slot, access) = (&mut slots[entry.slot], entry.want);
            // In a register: reading it back with its neighbour would stall on the store.
            let mut generation = slot.generation;
            if entry.granted != Some(access) {
                slot.hold(entry, Place::new(at, nth), Some(access));
                generation += u64::from(access.is_exclusive());
                slot.generation = generation;
                slot.coherence.granted(access);
                entry.granted = Some(access);
                entry.seen = slot.evictions.count;
                bracketing += 2;
            }
            GrantedBuffer {
                buffer: slot.id,
                access,
                generation,
                evicted: slot.is_tainted(),
                fenced: slot.fences_for(access).next().is_some(),
            }
        }));
        counters.bracketing_ops += bracketing;
        counters.grants += 1;
        self.arm(at);
        Grant { token, deadline, buffers }
    }

    /// Books what a job has done, and lets those go on who waited for it.
    pub(crate) fn end_job(
        &mut self,
        now: Time,
        at: Ix<Job>,
        result: Result<(), Failure>,
        fx: &mut Effects,
    ) {
        let Some(Job { group, first, .. }) = self.jobs.remove(at) else { return };
        let failed_on = self.book(first, result);
        if let Some(group) = group {
            self.operations_done(group);
            if let Err(failure) = result {
                // A failure after the last operation is still one; it is of no buffer.
                let buffer = failed_on.unwrap_or(self.slots[first].id);
                self.fail(now, group, buffer, failure.reason, fx);
            }
        }
        let mut next = Some(first);
        while let Some(slot) = next {
            next = self.slots[slot].job.take().and_then(|part| part.next);
            self.open_gates(slot);
            self.work.abandon(slot, &self.slots[slot]);
        }
    }

    fn operations_done(&mut self, at: Ix<Group>) {
        let group = &mut self.groups[at];
        if let Some(request) = &mut group.request {
            request.stage = Stage::Preparing { gated: 0, job: None };
            // Its operations have waited; and what they were for is not to be waited for again.
            group.idle = true;
            self.work.ready(group.ticket, at);
        }
    }

    /// What the operations of a job have made true, and on which buffer one failed. Those after it
    /// were not issued.
    fn book(&mut self, first: Ix<Slot>, result: Result<(), Failure>) -> Option<BufferId> {
        let succeeded = result.err().map_or(usize::MAX, |failure| failure.succeeded);
        let mut nth = 0;
        let mut next = Some(first);
        while let Some(at) = next {
            let slot = &mut self.slots[at];
            let part = slot.job?;
            for (kind, flags) in part.plan.into_iter().flatten() {
                if nth == succeeded {
                    self.counters.sync_failed += 1;
                    slot.coherence.failed();
                    if slot.members == 0 {
                        slot.coherence.give_up();
                    }
                    return Some(slot.id);
                }
                slot.coherence.issued(kind, flags);
                match kind {
                    SyncKind::Start => self.counters.sync_start += 1,
                    SyncKind::End => self.counters.sync_end += 1,
                    SyncKind::Wait => {}
                }
                nth += 1;
            }
            next = part.next;
        }
        None
    }

    /// An operation of a pending lock failed: the lock has.
    fn fail(&mut self, now: Time, at: Ix<Group>, buffer: BufferId, reason: i32, fx: &mut Effects) {
        let group = &self.groups[at];
        if group.request.is_some() {
            fx.push(Effect::LockFailed { group: group.id, token: group.token, buffer, reason });
            self.counters.lock_failures += 1;
            self.give_up(now, at);
        }
    }

    /// Something that gated a buffer is over: those who waited for it may go on.
    pub(crate) fn open_gates(&mut self, at: Ix<Slot>) {
        let Self { groups, slots, work, .. } = self;
        let slot = &slots[at];
        for place in slot.holders.iter() {
            let group = &mut groups[place.group];
            let entry = &mut group.entries[place.nth as usize];
            if !entry.gated || entry.hold.is_some_and(|access| slot.gates(access)) {
                continue;
            }
            entry.gated = false;
            if let Some(Stage::Preparing { gated, .. }) =
                group.request.as_mut().map(|request| &mut request.stage)
            {
                *gated -= 1;
                if *gated == 0 {
                    work.ready(group.ticket, place.group);
                }
            }
        }
    }

    /// Forgets the buffers that nobody has any more, when their START is ended and the cache clean.
    pub(crate) fn retire_abandoned(&mut self, fx: &mut Effects) {
        while let Some(at) = self.work.next_abandoned() {
            let slot = &mut self.slots[at];
            // Who was evicted counts as gone now; what it may have written is owed too.
            slot.settle(slot.evictions.count);
            let plan = slot.coherence.plan_retirement();
            if plan[0].is_some() {
                let job = self.join_job(None, None, at, plan);
                self.submit(job, fx);
            } else {
                fx.push(Effect::Forget { buffer: slot.id });
                self.slot_ids.remove(&slot.id);
                self.slots.remove(at);
            }
        }
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What makes buffers ready for the group that has taken them: gates, implicit fences, operations,
//! the grant.
//!
//! ```text
//!            gates open            nothing pending         operations done
//!   Gated --------------> (look) ------------------> ... ------------------> granted
//!     ^                     |  ^                      |
//!     |   a fence pending   v  | signalled            | a fence came before a START
//!     |                   Waiting <-------------------+
//!     +---------------------+  somebody else's operations came meanwhile
//! ```
//!
//! Operations in flight on a buffer gate everybody (what they leave behind decides what is needed
//! next), and so do release fences, as [`Slot::gates`] says. They are the buffer's, not the lock's:
//! a lock that is given up meanwhile leaves them, and whoever takes the buffer next waits.
//!
//! A wait for an implicit fence is the lock's own. START would wait inside the kernel (dma-buf.c), so
//! the caller looks before it issues one ([`Effect::Sync`]), and the lock waits with nothing in flight:
//! others that may share the buffer go past it. Where the time of a row of waits is running, a lock
//! waits as well, and issues nothing before. That time counts from when the first of a row of locks began
//! to wait at a buffer ([`Row`]). So all locks behind one fence that does not signal fail
//! at the same time; those that hold the buffer one after the other, in the same moment.
//!
//! [`Row`]: crate::slot::Row

use crate::arena::Ix;
use crate::coherence::{Coherence, Plan, SyncOp};
use crate::effects::{FailureCause, Grant, Span};
use crate::group::{Entry, Group, Held, Place, Stage};
use crate::remembered::History;
use crate::slot::{JobPart, Slot};
use crate::{
    Access, BufferId, Effect, Effects, Engine, Failure, GrantedBuffer, Implicit, JobId, SyncFlags,
    SyncKind, Time,
};

/// Something that the caller does, and reports.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub id: JobId,
    /// Whose lock it is for, unless that was given up, or no group has the buffer.
    pub group: Option<Ix<Group>>,
    pub work: Work,
}

/// What the caller does for a job.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// Cache operations. The buffers are linked from [`JobPart`] to [`JobPart`].
    Sync {
        first: Ix<Slot>,
        last: Ix<Slot>,
        /// The job cleans a buffer that no group has. Decided when the job is made, because groups may
        /// come or go while it is in flight.
        retires: bool,
    },
    /// A wait for implicit fences, of the entries of the group that say so.
    Wait,
}

/// How a job ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Done,
    Failed(Failure),
    /// So many operations succeeded; before the next, a fence was pending.
    Blocked(usize),
}

impl Engine {
    /// Whether what a group lacks waits for operations or fences.
    pub(crate) fn is_gated(&self, at: Ix<Group>) -> bool {
        let mut entries = self.groups[at].entries.iter();
        entries.any(|entry| entry.lacks() && self.slots[entry.slot].gates(entry.want))
    }

    /// Goes on with a group that has taken its buffers: waits where they are gated, looks for implicit
    /// fences, begins the operations that they need, or grants them.
    pub(crate) fn prepare(
        &mut self,
        now: Time,
        at: Ix<Group>,
        implicit: Implicit,
        fx: &mut Effects,
    ) -> Option<Grant> {
        let gated = self.wait_at_gates(at);
        let unknown = implicit == Implicit::Unknown;
        let stage = if gated > 0 {
            Stage::Gated(gated)
        } else if unknown && self.is_in_a_row(at) {
            Stage::Waiting(self.begin_wait(now, at, fx))
        } else if let Some(job) = self.start_operations(at, fx) {
            Stage::Syncing(job)
        } else if unknown && self.fences_to_find(at).next().is_some() {
            Stage::Waiting(self.begin_wait(now, at, fx))
        } else {
            return Some(self.grant(now, at, fx));
        };
        self.set_stage(at, stage);
        None
    }

    fn set_stage(&mut self, at: Ix<Group>, stage: Stage) {
        if let Some(request) = &mut self.groups[at].request {
            request.stage = stage;
        }
    }

    fn wait_at_gates(&mut self, at: Ix<Group>) -> u32 {
        let Self { groups, slots, .. } = self;
        let mut gated = 0;
        for (nth, entry) in groups[at].entries.iter_mut().enumerate() {
            let Some(access) = entry.taken() else { continue };
            let slot = &mut slots[entry.slot];
            if slot.gates(access) {
                let traffic = slot.traffic.get_or_insert_default();
                let list = &mut traffic.gated[access as usize];
                list.push(Place::new(at, nth));
                entry.gated = list.len() as u32;
                gated += 1;
            }
        }
        gated
    }

    /// Takes an entry out of the list of those who wait at a gate.
    pub(crate) fn leave_gate(&mut self, place: Place) {
        let Self { groups, slots, .. } = self;
        let entry = &mut groups[place.group].entries[place.nth as usize];
        let at = std::mem::take(&mut entry.gated);
        let (Some(access), true) = (entry.hold, at > 0) else { return };
        let Some(traffic) = &mut slots[entry.slot].traffic else { return };
        let list = &mut traffic.gated[access as usize];
        list.swap_remove(at as usize - 1);
        if let Some(moved) = list.get(at as usize - 1) {
            groups[moved.group].entries[moved.nth as usize].gated = at;
        }
    }

    /// Something that gated a buffer is over: those who waited for it may go on. Whoever is let through
    /// leaves the list, and the others are not looked at.
    pub(crate) fn open_gates(&mut self, at: Ix<Slot>) {
        for access in Access::ALL {
            while let Some(place) = self.first_gated(at, access) {
                if self.slots[at].gates(access) {
                    break;
                }
                self.leave_gate(place);
                let group = &mut self.groups[place.group];
                let Some(request) = &mut group.request else { continue };
                if let Stage::Gated(gated) = &mut request.stage {
                    *gated -= 1;
                    if *gated == 0 {
                        self.work.ready(group.ticket, place.group);
                    }
                }
            }
        }
    }

    fn first_gated(&self, at: Ix<Slot>, access: Access) -> Option<Place> {
        self.slots[at].traffic.as_ref()?.gated[access as usize].last().copied()
    }

    /// The buffers whose implicit fences a new access of a group waits for.
    fn fences_to_find(&self, at: Ix<Group>) -> impl Iterator<Item = &Slot> {
        let entries = self.groups[at].entries.iter();
        let found = entries.filter(|entry| self.fences_before(entry).is_some());
        found.map(|entry| &self.slots[entry.slot])
    }

    /// Whether a new access of a group joins a row of waits.
    fn is_in_a_row(&self, at: Ix<Group>) -> bool {
        let Some(asked) = self.groups[at].request.as_ref().map(|request| request.asked) else {
            return false;
        };
        let limit = self.limits.max_hold;
        self.fences_to_find(at).any(|slot| slot.row_of(asked, limit).is_some())
    }

    /// What has to be awaited before an entry is granted: the implicit fences that concern the CPU's
    /// access, and all of them where a START for RW has to be issued, whoever it is for.
    fn fences_before(&self, entry: &Entry) -> Option<SyncFlags> {
        let access = entry.taken().filter(|_| self.implicit)?;
        let plan = self.slots[entry.slot].plan(access);
        if plan.contains(&Some((SyncKind::Start, SyncFlags::ReadWrite))) {
            return Some(SyncFlags::ReadWrite);
        }
        (!access.is_dma()).then(|| Coherence::fences_before(access))
    }

    /// The implicit fences that a lock has to find signalled, for the caller.
    fn collect_waits(&self, at: Ix<Group>, fx: &mut Effects) -> Span {
        fx.collect_ops(self.groups[at].entries.iter().filter_map(|entry| {
            let flags = self.fences_before(entry)?;
            Some(SyncOp { buffer: self.slots[entry.slot].id, kind: SyncKind::Wait, flags })
        }))
    }

    /// Has the caller wait for implicit fences on behalf of a lock.
    fn begin_wait(&mut self, now: Time, at: Ix<Group>, fx: &mut Effects) -> Ix<Job> {
        let ops = self.collect_waits(at, fx);
        let limit = self.limits.max_hold;
        let asked = self.groups[at].request.as_ref().map_or(now, |request| request.asked);
        let mut until = now.after(limit);
        for nth in 0..self.groups[at].entries.len() {
            let entry = &self.groups[at].entries[nth];
            let Some(flags) = self.fences_before(entry) else { continue };
            let slot = &mut self.slots[entry.slot];
            let joined = slot.row_of(asked, limit);
            until = until.min(joined.unwrap_or(now).after(limit));
            let row = &mut slot.traffic.get_or_insert_default().rows[flags as usize];
            if row.waits == 0 && row.joined(asked, limit).is_none() {
                row.since = None;
            }
            row.since.get_or_insert(joined.unwrap_or(now));
            row.waits += 1;
            self.groups[at].entries[nth].waits = Some(flags);
        }
        let group = &mut self.groups[at];
        if let Some(request) = &mut group.request {
            until = until.min(*request.patience.get_or_insert(now.after(limit)));
        }
        let group = group.id;
        let (id, wait) = self.new_job(Some(at), Work::Wait);
        fx.push(Effect::Wait { job: id, group, ops, until });
        wait
    }

    /// A wait is over, or is taken back.
    pub(crate) fn end_wait(&mut self, now: Time, at: Ix<Group>, signalled: bool) {
        let Self { groups, slots, .. } = self;
        for entry in &mut groups[at].entries {
            let Some(flags) = entry.waits.take() else { continue };
            let Some(traffic) = &mut slots[entry.slot].traffic else { continue };
            let row = &mut traffic.rows[flags as usize];
            row.waits -= 1;
            row.ended = now;
            if signalled {
                // All of them are signalled, or those of writers.
                let seen = if flags == SyncFlags::ReadWrite { 2 } else { 1 };
                traffic.rows[..seen].iter_mut().for_each(|row| row.since = None);
            }
        }
    }

    /// Begins what the new buffers of a group need; `None` if that is nothing.
    fn start_operations(&mut self, at: Ix<Group>, fx: &mut Effects) -> Option<Ix<Job>> {
        let mut job = None;
        for nth in 0..self.groups[at].entries.len() {
            let entry = &self.groups[at].entries[nth];
            let slot = entry.slot;
            let plan = entry.taken().map(|access| self.slots[slot].plan(access));
            if let Some(plan @ [Some(_), _]) = plan {
                job = Some(self.join_job(job, Some(at), slot, plan));
            }
        }
        let waits = self.collect_waits(at, fx);
        self.submit(job?, waits, fx);
        job
    }

    fn new_job(&mut self, group: Option<Ix<Group>>, work: Work) -> (JobId, Ix<Job>) {
        self.last.job += 1;
        let id = JobId(self.last.job);
        let at = self.jobs.insert(Job { id, group, work });
        self.job_ids.insert(id, at);
        (id, at)
    }

    /// Puts a buffer into a job, or into a new one. Without a group, the buffer retires.
    fn join_job(
        &mut self,
        job: Option<Ix<Job>>,
        group: Option<Ix<Group>>,
        slot: Ix<Slot>,
        plan: Plan,
    ) -> Ix<Job> {
        let new = Work::Sync { first: slot, last: slot, retires: group.is_none() };
        let job = job.unwrap_or_else(|| self.new_job(group, new).1);
        if let Work::Sync { last, .. } = &mut self.jobs[job].work {
            let last = std::mem::replace(last, slot);
            if let Some(part) = self.slots[last].job.as_mut().filter(|_| last != slot) {
                part.next = Some(slot);
            }
        }
        self.slots[slot].job = Some(JobPart { job, plan, next: None, gone: [false; 2] });
        job
    }

    fn submit(&self, at: Ix<Job>, waits: Span, fx: &mut Effects) {
        let job = &self.jobs[at];
        let ops = fx.collect_ops(self.parts(at).flat_map(|slot| {
            let Slot { id, job, .. } = &self.slots[slot];
            let plan = job.iter().flat_map(|part| part.plan.into_iter().flatten());
            plan.map(|(kind, flags)| SyncOp { buffer: *id, kind, flags })
        }));
        let group = job.group.map(|group| self.groups[group].id);
        fx.push(Effect::Sync { job: job.id, group, waits, ops });
    }

    /// The buffers of a job. None for a wait.
    pub(crate) fn parts(&self, at: Ix<Job>) -> impl Iterator<Item = Ix<Slot>> + '_ {
        let first = match self.jobs[at].work {
            Work::Sync { first, .. } => Some(first),
            Work::Wait => None,
        };
        std::iter::successors(first, |at| self.slots[*at].job.and_then(|part| part.next))
    }

    /// What is taken becomes the client's. Inlined, since it is the common end of a call.
    #[inline(always)]
    pub(crate) fn grant(&mut self, now: Time, at: Ix<Group>, fx: &mut Effects) -> Grant {
        let Self { groups, slots, counters, .. } = self;
        let group = &mut groups[at];
        group.request = None;
        let (token, deadline) = (group.token, now.after(group.hold));
        let Held { deadline, .. } = *group.grant.get_or_insert(Held { deadline, wounded: false });
        let mut bracketing = 0;
        let buffers = fx.collect_buffers(group.entries.iter_mut().map(|entry| {
            let (slot, access) = (&mut slots[entry.slot], entry.want);
            // In a register: reading it back with its neighbour would stall on the store.
            let mut generation = slot.generation;
            if entry.granted != Some(access) {
                slot.hold(entry, Some(access));
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
                evicted: slot.evictions.at_work(),
                torn: slot.evictions.is_torn(),
                fenced: slot.is_fenced_for(access),
            }
        }));
        counters.bracketing_ops += bracketing;
        counters.grants += 1;
        self.arm(at);
        Grant { token, deadline, buffers }
    }

    /// Books what a job has done, and lets those go on who waited for it.
    pub(crate) fn end_job(&mut self, now: Time, at: Ix<Job>, end: End, fx: &mut Effects) {
        let failed_on = match self.jobs[at].work {
            Work::Sync { .. } => self.end_operations(at, end, fx),
            Work::Wait => self.end_waiting(now, at, end),
        };
        let Some(Job { group: Some(group), work, .. }) = self.jobs.remove(at) else { return };
        match (end, failed_on) {
            (End::Failed(Failure { reason, .. }), Some(buffer)) => {
                let cause = match work {
                    Work::Sync { .. } => FailureCause::Operation,
                    Work::Wait => FailureCause::ImplicitFence,
                };
                self.fail(now, group, (buffer, reason, cause), fx);
            }
            (End::Blocked(_), _) => {
                let wait = self.begin_wait(now, group, fx);
                self.set_stage(group, Stage::Waiting(wait));
            }
            // Its fences have just been found signalled. (A failure is always of a buffer.)
            (End::Done | End::Failed(_), _) => self.go_on_with(now, group, fx),
        }
    }

    /// Goes on with a group whose fences have just been found signalled.
    fn go_on_with(&mut self, now: Time, at: Ix<Group>, fx: &mut Effects) {
        if let Some(grant) = self.prepare(now, at, Implicit::Idle, fx) {
            fx.push(Effect::Granted { group: self.groups[at].id, grant });
        }
    }

    /// What the fences of a lock's wait were found to be; the buffer of the one that did not signal.
    fn end_waiting(&mut self, now: Time, at: Ix<Job>, end: End) -> Option<BufferId> {
        let group = self.jobs[at].group?;
        let waited = match end {
            End::Failed(Failure { succeeded, .. }) => {
                let waits = |entry: &&Entry| entry.waits.is_some();
                let entries = || self.groups[group].entries.iter().filter(waits);
                let entry = entries().nth(succeeded).or_else(|| entries().next());
                entry.map(|entry| self.slots[entry.slot].id)
            }
            _ => None,
        };
        self.end_wait(now, group, waited.is_none());
        waited
    }

    /// What the operations of a job have made true; the buffer on which one failed. Those after it
    /// were not issued.
    fn end_operations(&mut self, at: Ix<Job>, end: End, fx: &mut Effects) -> Option<BufferId> {
        let Work::Sync { first, retires, .. } = self.jobs[at].work else { return None };
        let (succeeded, failed) = match end {
            End::Done => (usize::MAX, false),
            End::Failed(Failure { succeeded, .. }) => (succeeded, true),
            End::Blocked(succeeded) => (succeeded, false),
        };
        // A failure after the last operation is still one, of the first buffer.
        let mut failed_on = failed.then_some(self.slots[first].id);
        let (mut nth, mut over) = (0, false);
        let mut next = Some(first);
        while let Some(at) = next {
            let slot = &mut self.slots[at];
            let Some(part) = slot.job.take() else { break };
            for (kind, flags) in part.plan.into_iter().flatten() {
                if nth == succeeded && failed && !over {
                    self.counters.sync_failed += 1;
                    slot.coherence.failed();
                    failed_on = Some(slot.id);
                }
                over |= nth == succeeded;
                if !over {
                    slot.coherence.issued(kind, flags);
                    match kind {
                        SyncKind::Start => self.counters.sync_start += 1,
                        SyncKind::End => self.counters.sync_end += 1,
                        SyncKind::Wait => {}
                    }
                }
                nth += 1;
            }
            slot.may_have_written(part.gone);
            next = part.next;
            self.open_gates(at);
            if retires && self.slots[at].is_abandoned() {
                self.forget(at, over, fx);
            } else {
                self.work.abandon(at, &self.slots[at]);
            }
        }
        failed_on
    }

    /// An operation of a pending lock failed, or a fence that it waited for did not signal: the lock
    /// has failed.
    fn fail(
        &mut self,
        now: Time,
        at: Ix<Group>,
        (buffer, reason, cause): (BufferId, i32, FailureCause),
        fx: &mut Effects,
    ) {
        let Group { id: group, token, .. } = self.groups[at];
        fx.push(Effect::LockFailed { group, token, buffer, reason, cause });
        self.counters.lock_failures += 1;
        // Its job is over, and is not to be taken back.
        self.set_stage(at, Stage::Gated(0));
        self.give_up(now, at, fx);
    }

    /// Forgets the buffers that nobody has any more, when their START is ended and the cache clean.
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

    /// Lets a buffer go that nobody has. `failed`: its last operations failed or were blocked. They are
    /// not tried again: then an END is owed, and if the CPU had written, the content that others see is
    /// not whole, as after an eviction.
    fn forget(&mut self, at: Ix<Slot>, failed: bool, fx: &mut Effects) {
        let Some(mut slot) = self.slots.remove(at) else { return };
        self.slot_ids.remove(&slot.id);
        if failed && (slot.coherence.cpu_dirty() || slot.evictions.cpu_at_work()) {
            slot.evicted(Access::Write);
        }
        // Whoever uses it before it comes back does so unseen.
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

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Prepare: what makes buffers ready for the lock that has taken them. Gates, implicit fences,
//! operations, the grant.
//!
//! ```text
//!            gates open            nothing pending         operations done
//!   Gated --------------> (look) ------------------> ... ------------------> granted
//!     ^                     |  ^                      |
//!     |   a fence pending   v  | signalled            | a fence came before a START
//!     |                   Waiting <-------------------+
//!     +---------------------+  operations of others came meanwhile
//! ```
//!
//! Operations in flight on a buffer gate everybody, because their result decides what comes next. Release
//! fences gate as [`Slot::gates`] says. Both belong to the buffer, not to the lock: a lock that is given
//! up leaves them, and the next lock that takes the buffer waits for them.
//!
//! A wait for an implicit fence belongs to the lock. START would wait inside the kernel (dma-buf.c). So
//! the caller looks before it issues one ([`Effect::Sync`]), and the lock waits with nothing in flight.
//! Other locks that may share the buffer go past it. The time limit belongs to a [`Row`] of waits at a
//! buffer: it counts from the moment when the first lock of the row began to wait. A lock that joins a row
//! waits before it issues anything. So all locks behind one fence that does not signal fail at the same
//! time; locks that would hold the buffer one after the other fail in the same moment.
//!
//! [`Row`]: crate::slot::Row

use crate::coherence::{FenceWait, Plan, SyncOp};
use crate::effects::{Grant, Span};
use crate::index::{JobIx, LockIx, Place, SlotIx};
use crate::job::{Job, JobPart, Task};
use crate::lock::{Entry, Held, Stage};
use crate::slot::Slot;
use crate::{
    Access, Effect, Effects, Engine, GrantedBuffer, HoldFrom, Implicit, JobId, SyncFlags, SyncKind,
    Time,
};

impl Engine {
    /// Whether operations or release fences are pending on what a lock lacks.
    pub(crate) fn is_gated(&self, at: LockIx) -> bool {
        let mut entries = self.locks[at].entries.iter();
        entries.any(|entry| entry.lacks() && self.slots[entry.slot].gates(entry.want))
    }

    /// Goes on with a lock that has taken its buffers: waits at gates, waits for implicit fences, begins
    /// operations, or grants.
    pub(crate) fn prepare(
        &mut self,
        now: Time,
        at: LockIx,
        implicit: Implicit,
        fx: &mut Effects,
    ) -> Option<Grant> {
        let gated = self.wait_at_gates(at);
        let unknown = implicit == Implicit::Unknown;
        let stage = if gated > 0 {
            self.start_time_of_growth(now, at, fx);
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

    /// Goes on with a pending lock, and tells the group if that grants it.
    pub(crate) fn prepare_and_tell(
        &mut self,
        now: Time,
        at: LockIx,
        implicit: Implicit,
        fx: &mut Effects,
    ) {
        if let Some(grant) = self.prepare(now, at, implicit, fx) {
            fx.push(Effect::Granted { group: self.locks[at].group, grant });
            self.look_for_waiters(now, at, fx);
        }
    }

    pub(crate) fn set_stage(&mut self, at: LockIx, stage: Stage) {
        if let Some(request) = &mut self.locks[at].request {
            request.stage = stage;
        }
    }

    fn wait_at_gates(&mut self, at: LockIx) -> u32 {
        let Self { locks, slots, .. } = self;
        let mut gated = 0;
        for (nth, entry) in locks[at].entries.iter_mut().enumerate() {
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

    /// Takes an entry out of its slot's list of gated entries.
    pub(crate) fn leave_gate(&mut self, place: Place) {
        let Self { locks, slots, .. } = self;
        let entry = &mut locks[place.lock].entries[place.nth as usize];
        let at = std::mem::take(&mut entry.gated);
        let (Some(access), true) = (entry.hold, at > 0) else { return };
        let Some(traffic) = &mut slots[entry.slot].traffic else { return };
        let list = &mut traffic.gated[access as usize];
        list.swap_remove(at as usize - 1);
        if let Some(moved) = list.get(at as usize - 1) {
            locks[moved.lock].entries[moved.nth as usize].gated = at;
        }
    }

    /// Operations or a fence on a buffer are over: the entries that waited for them may go on. Each entry
    /// that goes on leaves the list, and the search stops at the first that does not.
    pub(crate) fn open_gates(&mut self, at: SlotIx) {
        for access in Access::ALL {
            while let Some(place) = self.first_gated(at, access) {
                if self.slots[at].gates(access) {
                    break;
                }
                self.leave_gate(place);
                let lock = &mut self.locks[place.lock];
                let Some(request) = &mut lock.request else { continue };
                if let Stage::Gated(gated) = &mut request.stage {
                    *gated -= 1;
                    if *gated == 0 {
                        self.work.ready(lock.ticket, place.lock);
                    }
                }
            }
        }
    }

    fn first_gated(&self, at: SlotIx, access: Access) -> Option<Place> {
        self.slots[at].traffic.as_ref()?.gated[access as usize].last().copied()
    }

    /// The buffers where a lock waits for implicit fences before a new access.
    fn fences_to_find(&self, at: LockIx) -> impl Iterator<Item = &Slot> {
        let entries = self.locks[at].entries.iter();
        let found = entries.filter(|entry| self.fences_before(entry).is_some());
        found.map(|entry| &self.slots[entry.slot])
    }

    /// Whether a new access of a lock joins a row of waits.
    fn is_in_a_row(&self, at: LockIx) -> bool {
        let Some(asked) = self.locks[at].request.as_ref().map(|request| request.asked) else {
            return false;
        };
        let limit = self.limits.max_hold;
        self.fences_to_find(at).any(|slot| slot.row_of(asked, limit).is_some())
    }

    /// The implicit fences that an entry waits for before its grant: those of the CPU's access, or all of
    /// them if the plan has a START for RW, which may also be for a device.
    fn fences_before(&self, entry: &Entry) -> Option<SyncFlags> {
        let access = entry.taken().filter(|_| self.implicit)?;
        let slot = &self.slots[entry.slot];
        if slot.coherence.is_plain() {
            return None;
        }
        let plan = slot.plan(access);
        if plan.contains(&Some((SyncKind::Start, SyncFlags::ReadWrite))) {
            return Some(SyncFlags::ReadWrite);
        }
        (!access.is_dma()).then(|| SyncFlags::of(access))
    }

    /// Tells the caller which implicit fences a lock waits for.
    fn collect_waits(&self, at: LockIx, fx: &mut Effects) -> Span {
        fx.collect_waits(self.locks[at].entries.iter().filter_map(|entry| {
            let flags = self.fences_before(entry)?;
            Some(FenceWait { buffer: self.slots[entry.slot].id, flags })
        }))
    }

    /// Lets the caller wait for the implicit fences of a lock.
    pub(crate) fn begin_wait(&mut self, now: Time, at: LockIx, fx: &mut Effects) -> JobIx {
        self.start_time_of_growth(now, at, fx);
        let waits = self.collect_waits(at, fx);
        let limit = self.limits.max_hold;
        let asked = self.locks[at].request.as_ref().map_or(now, |request| request.asked);
        let mut until = now.after(limit);
        for nth in 0..self.locks[at].entries.len() {
            let entry = &self.locks[at].entries[nth];
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
            self.locks[at].entries[nth].waits = Some(flags);
        }
        let lock = &mut self.locks[at];
        if let Some(request) = &mut lock.request {
            until = until.min(*request.patience.get_or_insert(now.after(limit)));
        }
        let group = lock.group;
        let (id, wait) = self.new_job(Some(at), Task::Wait);
        fx.push(Effect::Wait { job: id, group, waits, until });
        wait
    }

    /// A wait for implicit fences is over or was given up.
    pub(crate) fn end_wait(&mut self, now: Time, at: LockIx, signalled: bool) {
        let Self { locks, slots, .. } = self;
        for entry in &mut locks[at].entries {
            let Some(flags) = entry.waits.take() else { continue };
            let Some(traffic) = &mut slots[entry.slot].traffic else { continue };
            let row = &mut traffic.rows[flags as usize];
            row.waits -= 1;
            row.ended = now;
            if signalled {
                // All fences have signalled, or those of writers.
                let seen = if flags == SyncFlags::ReadWrite { 2 } else { 1 };
                traffic.rows[..seen].iter_mut().for_each(|row| row.since = None);
            }
        }
    }

    /// Begins the operations for the new buffers of a lock. `None` if they need none.
    fn start_operations(&mut self, at: LockIx, fx: &mut Effects) -> Option<JobIx> {
        let mut job = None;
        for nth in 0..self.locks[at].entries.len() {
            let entry = &self.locks[at].entries[nth];
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

    fn new_job(&mut self, lock: Option<LockIx>, task: Task) -> (JobId, JobIx) {
        self.last.job += 1;
        let id = JobId(self.last.job);
        let at = self.jobs.insert(Job { id, lock, task });
        self.job_ids.insert(id, at);
        (id, at)
    }

    /// Adds a buffer to a job, or to a new one. Without a lock, the buffer retires.
    pub(crate) fn join_job(
        &mut self,
        job: Option<JobIx>,
        lock: Option<LockIx>,
        slot: SlotIx,
        plan: Plan,
    ) -> JobIx {
        let new = Task::Sync { first: slot, last: slot, retires: lock.is_none() };
        let job = job.unwrap_or_else(|| self.new_job(lock, new).1);
        if let Task::Sync { last, .. } = &mut self.jobs[job].task {
            let last = std::mem::replace(last, slot);
            if let Some(part) = self.slots[last].job.as_mut().filter(|_| last != slot) {
                part.next = Some(slot);
            }
        }
        self.slots[slot].job = Some(JobPart { plan, next: None, gone: [false; 2] });
        job
    }

    pub(crate) fn submit(&self, at: JobIx, waits: Span, fx: &mut Effects) {
        let job = &self.jobs[at];
        let ops = fx.collect_ops(self.parts(at).flat_map(|slot| {
            let Slot { id, job, .. } = &self.slots[slot];
            let plan = job.iter().flat_map(|part| part.plan.into_iter().flatten());
            plan.map(|(kind, flags)| SyncOp { buffer: *id, kind, flags })
        }));
        let group = job.lock.map(|lock| self.locks[lock].group);
        fx.push(Effect::Sync { job: job.id, group, waits, ops });
    }

    /// The buffers of a job. A wait has none.
    pub(crate) fn parts(&self, at: JobIx) -> impl Iterator<Item = SlotIx> + '_ {
        let first = match self.jobs[at].task {
            Task::Sync { first, .. } => Some(first),
            Task::Wait => None,
        };
        std::iter::successors(first, |at| self.slots[*at].job.and_then(|part| part.next))
    }

    /// Grants the buffers that a lock has taken. Inlined, since most calls end here.
    #[inline(always)]
    pub(crate) fn grant(&mut self, now: Time, at: LockIx, fx: &mut Effects) -> Grant {
        let Self { locks, slots, counters, links, .. } = self;
        let lock = &mut locks[at];
        lock.request = None;
        let token = lock.token;
        let deadline = match lock.hold_from {
            HoldFrom::Grant => now.after(lock.hold),
            HoldFrom::Conflict => Time::NEVER,
        };
        let held = Held { deadline, contended: false, wounded: false };
        let Held { deadline, contended, .. } = *lock.grant.get_or_insert(held);
        let mut bracketing = 0;
        let buffers = fx.collect_buffers(lock.entries.iter_mut().map(|entry| {
            let (slot, access) = (&mut slots[entry.slot], entry.want);
            // A copy: to read the field back just after the store, together with the field beside it, is slow
            // (the processor has to wait until the store is done).
            let mut generation = slot.generation;
            if entry.granted != Some(access) {
                slot.holders.hold(&mut entry.hold, Some(access));
                generation += u64::from(access.is_exclusive());
                slot.generation = generation;
                slot.coherence.granted(access);
                // It wants more now than when its ticket was born.
                entry.late |= entry.granted.is_some();
                let untold = !contended;
                if entry.listed.is_none_or(|place| untold && !place.untold) {
                    if let Some(place) = entry.listed {
                        slot.roster.remove(links, place);
                    }
                    entry.listed = Some(slot.roster.add(links, at, untold));
                }
                entry.granted = Some(access);
                entry.seen = slot.evictions.count;
                bracketing += if slot.coherence.is_plain() { 0 } else { 2 };
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
}

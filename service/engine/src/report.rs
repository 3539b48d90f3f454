// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Report: the caller says how a job ended, and the lock that waited for it goes on or fails.

use crate::effects::FailureCause;
use crate::index::{JobIx, LockIx};
use crate::job::{End, Job, Task};
use crate::lock::{Entry, Lock, Stage};
use crate::{BufferId, Effect, Effects, Engine, Failure, Implicit, JobId, SyncKind, Time};

impl Engine {
    /// A job is done, or one of its operations failed. Unknown jobs are ignored.
    pub fn job_done(
        &mut self,
        now: Time,
        job: JobId,
        result: Result<(), Failure>,
        fx: &mut Effects,
    ) {
        self.job_ended(now, job, result.map_or_else(End::Failed, |()| End::Done), fx);
    }

    /// A job has issued `succeeded` operations and cannot go on, because an implicit fence is pending. Its
    /// lock waits for the fence with nothing in flight, and tries again. Unknown jobs are ignored.
    pub fn job_blocked(&mut self, now: Time, job: JobId, succeeded: usize, fx: &mut Effects) {
        self.job_ended(now, job, End::Blocked(succeeded), fx);
    }

    fn job_ended(&mut self, now: Time, job: JobId, end: End, fx: &mut Effects) {
        if let Some(at) = self.job_ids.remove(&job) {
            self.end_job(now, at, end, fx);
            self.settle(now, fx);
        }
    }

    /// Notes what a job has done, and lets the locks go on that waited for it.
    fn end_job(&mut self, now: Time, at: JobIx, end: End, fx: &mut Effects) {
        let failed_on = match self.jobs[at].task {
            Task::Sync { .. } => self.end_operations(at, end, fx),
            Task::Wait => self.end_waiting(now, at, end),
        };
        let Some(Job { lock: Some(lock), task, .. }) = self.jobs.remove(at) else { return };
        match (end, failed_on) {
            (End::Failed(Failure { reason, .. }), Some(buffer)) => {
                let cause = match task {
                    Task::Sync { .. } => FailureCause::Operation,
                    Task::Wait => FailureCause::ImplicitFence,
                };
                self.fail(now, lock, (buffer, reason, cause), fx);
            }
            (End::Blocked(_), _) => {
                let wait = self.begin_wait(now, lock, fx);
                self.set_stage(lock, Stage::Waiting(wait));
            }
            // The caller has just found its fences signalled. (A failure always has a buffer.)
            (End::Done | End::Failed(_), _) => {
                self.prepare_and_tell(now, lock, Implicit::Idle, fx);
            }
        }
    }

    /// Ends the wait of a lock. Returns the buffer whose fence did not signal in time.
    fn end_waiting(&mut self, now: Time, at: JobIx, end: End) -> Option<BufferId> {
        let lock = self.jobs[at].lock?;
        let waited = match end {
            End::Failed(Failure { succeeded, .. }) => {
                let waits = |entry: &&Entry| entry.waits.is_some();
                let entries = || self.locks[lock].entries.iter().filter(waits);
                let entry = entries().nth(succeeded).or_else(|| entries().next());
                entry.map(|entry| self.slots[entry.slot].id)
            }
            _ => None,
        };
        self.end_wait(now, lock, waited.is_none());
        waited
    }

    /// Notes what the operations of a job have changed. Returns the buffer on which one failed. The
    /// operations after it were not issued.
    fn end_operations(&mut self, at: JobIx, end: End, fx: &mut Effects) -> Option<BufferId> {
        let Task::Sync { first, retires, .. } = self.jobs[at].task else { return None };
        let (succeeded, failed) = match end {
            End::Done => (usize::MAX, false),
            End::Failed(Failure { succeeded, .. }) => (succeeded, true),
            End::Blocked(succeeded) => (succeeded, false),
        };
        // A failure after the last operation counts for the first buffer.
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

    /// A pending lock fails: one of its operations failed, or a fence did not signal in time.
    fn fail(
        &mut self,
        now: Time,
        at: LockIx,
        (buffer, reason, cause): (BufferId, i32, FailureCause),
        fx: &mut Effects,
    ) {
        let Lock { group, token, .. } = self.locks[at];
        fx.push(Effect::LockFailed { group, token, buffer, reason, cause });
        self.counters.lock_failures += 1;
        // Its job is over, so there is nothing to take back.
        self.set_stage(at, Stage::Gated(0));
        self.give_up(now, at, fx);
    }
}

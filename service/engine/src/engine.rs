// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The calls. What they decide is decided in [`crate::acquire`] (who gets a buffer), [`crate::prepare`]
//! (what makes it ready) and [`crate::release`] (how it is let go).
//!
//! ```text
//!             lock             clear everywhere        gates open, operations done
//!    idle -----------> Queued -----------------> Preparing -----------------> Held
//!     ^  ^               |                          |                         |  ^
//!     |  +---------------+--------------------------+                         |  | granted,
//!     |    cancel, time-out, close    + operation failed                      |  | cancel, time-out,
//!     |                                                               add,    |  | wound, failed
//!     |                                                               lock    v  |
//!     +------------------ unlock, deadline, close, death --------------- Held + Growing
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use crate::arena::{Arena, IdMap, Ix};
use crate::effects::Grant;
use crate::fence::{Ending, Fence};
use crate::group::{Entry, Group, Held, Request, Stage};
use crate::prepare::{self, Job};
use crate::queue::Arrival;
use crate::release::End;
use crate::remembered::Remembered;
use crate::slot::Slot;
use crate::timers::Timers;
use crate::work::Work;
use crate::{
    Access, BufferId, Close, Counters, Effect, Effects, Error, EvictionCause, Failure, FenceId,
    GroupId, Implicit, JobId, Limits, ReleaseFence, Ticket, Time, Token,
};

/// The lock table. See the crate.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) limits: Limits,
    /// The CPU waits for implicit fences.
    pub(crate) implicit: bool,
    pub(crate) groups: Arena<Group>,
    pub(crate) slots: Arena<Slot>,
    pub(crate) jobs: Arena<Job>,
    pub(crate) fences: Arena<Fence>,
    pub(crate) endings: Arena<Ending>,
    /// What is known of buffers that no group has.
    pub(crate) remembered: Remembered,
    /// Groups that wait while they hold, at each buffer that they hold, by age: those that an older
    /// waiter wounds.
    pub(crate) growing: BTreeSet<(Ix<Slot>, Ticket, Ix<Group>)>,
    pub(crate) slot_ids: IdMap<BufferId, Slot>,
    pub(crate) job_ids: IdMap<JobId, Job>,
    pub(crate) fence_ids: IdMap<FenceId, Fence>,
    /// When a grant ends or a lock has waited long enough, whichever is first; or earlier.
    pub(crate) group_timers: Timers<Group>,
    /// When a release fence has failed.
    pub(crate) fence_timers: Timers<Fence>,
    pub(crate) counters: Counters,
    pub(crate) last: Last,
    pub(crate) work: Work,
}

/// The newest name of each kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Last {
    pub group: u64,
    pub token: u64,
    pub ticket: u64,
    pub arrival: Arrival,
    pub job: u64,
}

/// How far a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It neither waits nor holds.
    Idle,
    /// It waits for others, and holds nothing.
    Queued,
    /// It has its buffers; operations or fences that they need are pending.
    Preparing,
    /// It holds its buffers until the deadline.
    Held {
        /// When they are taken away.
        deadline: Time,
    },
    /// It holds buffers until the deadline, and waits for more.
    Growing {
        /// When they are taken away.
        deadline: Time,
    },
}

/// The answer to a lock that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockOutcome {
    /// An effect will tell how it ended: granted, failed, timed out, wounded or evicted.
    Pending(Token),
    /// Granted at once; no effect follows. Its buffers are to be read from the effects before the
    /// next call.
    Granted(Grant),
}

impl Engine {
    /// An empty lock table.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            implicit: false,
            groups: Arena::new(),
            slots: Arena::new(),
            jobs: Arena::new(),
            fences: Arena::new(),
            endings: Arena::new(),
            remembered: Remembered::default(),
            growing: BTreeSet::new(),
            slot_ids: IdMap::default(),
            job_ids: IdMap::default(),
            fence_ids: IdMap::default(),
            group_timers: Timers::new(),
            fence_timers: Timers::new(),
            counters: Counters::default(),
            last: Last::default(),
            work: Work::default(),
        }
    }

    /// From now on a grant to the CPU waits for the implicit fences of its buffers (kernel:
    /// dma-buf.rst, "Implicit Fence Poll Support"), with [`Effect::Wait`].
    pub fn expect_implicit_fences(&mut self) {
        self.implicit = true;
    }

    /// Opens a group. Its grants last `hold`, or the default, but never longer than the maximum:
    /// the second value is what was decided.
    pub fn open_group(&mut self, hold: Option<Duration>) -> (GroupId, Duration) {
        self.last.group += 1;
        let serial = self.last.group;
        let hold = hold.unwrap_or(self.limits.default_hold).min(self.limits.max_hold);
        let at = self.groups.insert_with(|at| Group::new(GroupId::new(serial, at), hold));
        (self.groups[at].id, hold)
    }

    /// Ends a group: its pending lock is taken back, its grant ends as `how` says, its buffers are
    /// let go. A release fence that it gave is still waited for. Unknown groups are ignored.
    pub fn close_group(&mut self, now: Time, id: GroupId, how: Close, fx: &mut Effects) {
        let Ok(at) = self.find(id) else { return };
        match how {
            Close::Died => {
                self.counters.deaths += 1;
                self.end_grant(now, at, End::Evicted, fx);
            }
            Close::Closed => self.end_grant(now, at, End::InOrder, fx),
        }
        self.group_timers.set(at, None);
        if let Some(group) = self.groups.remove(at) {
            for entry in group.entries {
                self.leave(entry.slot);
            }
        }
        self.settle(now, fx);
    }

    /// Whether the group neither waits nor holds. False for unknown groups.
    pub fn is_idle(&self, id: GroupId) -> bool {
        self.phase(id) == Some(Phase::Idle)
    }

    /// How far a group is; `None` for unknown groups.
    pub fn phase(&self, id: GroupId) -> Option<Phase> {
        self.find(id).ok().map(|at| self.groups[at].phase())
    }

    /// Adds a buffer to a group that waits for no lock, and returns the access that the group now
    /// wants: the stronger one, if it had the buffer already. A group that holds gets it, or the
    /// stronger access, with its next [`Engine::lock`].
    pub fn add(&mut self, id: GroupId, buffer: BufferId, access: Access) -> Result<Access, Error> {
        let at = self.changeable(id)?;
        if let Some(nth) = self.entry_of(at, buffer) {
            let entry = &mut self.groups[at].entries[nth];
            let before = entry.want;
            entry.want = before.stronger(access).ok_or(Error::AccessConflict)?;
            let want = entry.want;
            if want != before {
                self.groups[at].comes_late(nth);
            }
            return Ok(want);
        }
        let Self { slots, slot_ids, remembered, .. } = self;
        let slot = *slot_ids.entry(buffer).or_insert_with(|| {
            let history = remembered.remove(buffer);
            slots.insert(history.map_or_else(|| Slot::new(buffer), |known| known.restored(buffer)))
        });
        slots[slot].members += 1;
        // Most groups never grow again: no room is kept for what does not come.
        let group = &mut self.groups[at];
        group.entries.reserve_exact(1);
        group.entries.push(Entry::new(slot, access));
        group.comes_late(group.entries.len() - 1);
        Ok(access)
    }

    /// Takes a buffer that is not held out of a group that waits for no lock.
    pub fn remove(&mut self, id: GroupId, buffer: BufferId, fx: &mut Effects) -> Result<(), Error> {
        let at = self.changeable(id)?;
        let nth = self.entry_of(at, buffer).ok_or(Error::UnknownBuffer)?;
        let entries = &mut self.groups[at].entries;
        if entries[nth].hold.is_some() {
            return Err(Error::Busy);
        }
        let entry = entries.remove(nth);
        self.leave(entry.slot);
        self.retire_abandoned(fx);
        Ok(())
    }

    /// Locks all buffers of a group, waiting for others where it must, for `timeout` at most. A
    /// group that holds gets what it has added since; its deadline stays what it is.
    ///
    /// [`Error::Deadlock`] is the one refusal that changes something: see there.
    pub fn lock(
        &mut self,
        now: Time,
        id: GroupId,
        timeout: Option<Duration>,
        implicit: Implicit,
        fx: &mut Effects,
    ) -> Result<LockOutcome, Error> {
        fx.reuse();
        let at = self.lockable(id)?;
        if let Some(grant) = self.grant_at_once(now, at, implicit, fx) {
            return Ok(LockOutcome::Granted(grant));
        }
        let expires = timeout.map(|timeout| now.after(timeout));
        let request = Request { expires, stage: Stage::Gated(0), asked: now, patience: None };
        let ticket = self.ticket_of(now, at);
        if self.is_free(now, at, ticket) {
            return Ok(self.take_at_once(now, at, ticket, request, implicit, fx));
        }
        self.refuse_deadlock(now, at)?;
        let token = self.enqueue(now, at, ticket, request);
        self.wound_younger(now, at, fx);
        self.settle(now, fx);
        Ok(LockOutcome::Pending(token))
    }

    /// Locks all buffers of a group if that needs no waiting for others. It may still be pending,
    /// for cache operations, or for one look at implicit fences.
    pub fn try_lock(
        &mut self,
        now: Time,
        id: GroupId,
        implicit: Implicit,
        fx: &mut Effects,
    ) -> Result<LockOutcome, Error> {
        fx.reuse();
        let at = self.lockable(id)?;
        let ticket = self.ticket_of(now, at);
        if !self.is_free(now, at, ticket) || self.is_gated(at) {
            return Err(Error::WouldBlock);
        }
        let request =
            Request { expires: None, stage: Stage::Gated(0), asked: now, patience: Some(now) };
        Ok(self.take_at_once(now, at, ticket, request, implicit, fx))
    }

    /// Takes a lock back that is not granted yet. What the group holds it keeps; if it holds
    /// nothing, it keeps the ticket for a while.
    pub fn cancel(&mut self, now: Time, id: GroupId, fx: &mut Effects) -> Result<(), Error> {
        let at = self.find(id)?;
        if self.groups[at].request.is_none() {
            return Err(Error::NotQueued);
        }
        self.counters.cancels += 1;
        self.give_up(now, at, fx);
        self.settle(now, fx);
        Ok(())
    }

    /// Ends a grant, and with it a lock that was to grow it. Buffers for which there are `fences`
    /// are the group's until [`Engine::fence_done`] for each of them, or for as long as a grant of
    /// the group lasts; but the next device gets them at once, with those fences.
    ///
    /// [`Error::UnknownBuffer`] for a fence of a buffer that is not held.
    pub fn unlock(
        &mut self,
        now: Time,
        id: GroupId,
        token: Token,
        fences: &[ReleaseFence],
        fx: &mut Effects,
    ) -> Result<(), Error> {
        self.unlock_with_failed(now, id, token, fences, &[], fx)
    }

    /// As [`Engine::unlock`], when some of the fences have `failed` already: those end before anybody is
    /// granted what they were for, so that the next grants say so.
    pub fn unlock_with_failed(
        &mut self,
        now: Time,
        id: GroupId,
        token: Token,
        fences: &[ReleaseFence],
        failed: &[FenceId],
        fx: &mut Effects,
    ) -> Result<(), Error> {
        let at = self.find(id)?;
        let held = self.groups[at].grant.filter(|_| self.groups[at].token == token);
        let Held { wounded, .. } = held.ok_or(Error::BadToken)?;
        if fences.is_empty() {
            self.end_grant(now, at, End::InOrder, fx);
        } else {
            self.end_grant_fenced(now, at, fences, fx)?;
        }
        for fence in failed {
            if let Some(fence) = self.fence_ids.get(fence).copied() {
                self.end_fence(fence, false, fx);
            }
        }
        self.counters.unlocks += 1;
        if wounded {
            self.keep_ticket(now, at);
        }
        self.settle(now, fx);
        Ok(())
    }

    /// What a group has, and for what, in the order of addition. Nothing for unknown groups.
    pub fn members(&self, id: GroupId) -> impl Iterator<Item = (BufferId, Access)> + '_ {
        let entries = self.find(id).ok().map(|at| &self.groups[at].entries);
        let entries = entries.into_iter().flatten();
        entries.map(|entry| (self.slots[entry.slot].id, entry.want))
    }

    /// What a grant has, in the order of addition; `None` if the group does not hold it.
    pub fn held(
        &self,
        id: GroupId,
        token: Token,
    ) -> Option<impl Iterator<Item = (BufferId, Access)> + '_> {
        let group = &self.groups[self.find(id).ok()?];
        let entries = (group.grant.is_some() && group.token == token).then_some(&group.entries)?;
        Some(entries.iter().filter_map(|e| Some((self.slots[e.slot].id, e.granted?))))
    }

    /// What a holder has to wait for before its devices begin, buffer by buffer: the fences of
    /// earlier holders that are pending. Empty for a token that is not the group's grant.
    pub fn acquire_fences(
        &self,
        id: GroupId,
        token: Token,
    ) -> impl Iterator<Item = (BufferId, FenceId)> + '_ {
        let group = self.find(id).ok().map(|at| &self.groups[at]);
        let holds = group.filter(|group| group.grant.is_some() && group.token == token);
        holds.into_iter().flat_map(|group| &group.entries).flat_map(|entry| {
            let slot = &self.slots[entry.slot];
            let gates = entry.granted.map(|access| slot.fences_for(access));
            gates.into_iter().flatten().map(|gate| (slot.id, self.fences[gate.fence].id))
        })
    }

    /// A release fence has signalled (`ok`), or failed. Ignored if its time was up first.
    pub fn fence_done(&mut self, now: Time, fence: FenceId, ok: bool, fx: &mut Effects) {
        if let Some(at) = self.fence_ids.get(&fence).copied() {
            self.end_fence(at, ok, fx);
            self.settle(now, fx);
        }
    }

    /// A job is done, all of it or up to an operation that failed. Unknown jobs are ignored.
    pub fn job_done(
        &mut self,
        now: Time,
        job: JobId,
        result: Result<(), Failure>,
        fx: &mut Effects,
    ) {
        self.job_ended(
            now,
            job,
            result.map_or_else(prepare::End::Failed, |()| prepare::End::Done),
            fx,
        );
    }

    /// A job has issued `succeeded` operations, and cannot go on: an implicit fence is pending. Its
    /// lock waits for that with nothing in flight, and tries again. Unknown jobs are ignored.
    pub fn job_blocked(&mut self, now: Time, job: JobId, succeeded: usize, fx: &mut Effects) {
        self.job_ended(now, job, prepare::End::Blocked(succeeded), fx);
    }

    fn job_ended(&mut self, now: Time, job: JobId, end: prepare::End, fx: &mut Effects) {
        if let Some(at) = self.job_ids.remove(&job) {
            self.end_job(now, at, end, fx);
            self.settle(now, fx);
        }
    }

    /// Takes away every grant whose deadline has come, and ends every wait that is long enough.
    ///
    /// What is due in one instant happens in this order, whoever was opened first: all deadlines, of
    /// grants and of release fences; the locks that this lets go on; then the time-outs of those that
    /// still wait. So a lock that gets its buffers in the moment of its time-out is granted.
    pub fn tick(&mut self, now: Time, fx: &mut Effects) {
        while let Some(time) = self.next_deadline().filter(|time| *time <= now) {
            self.deadlines_at(now, time, fx);
            self.settle(now, fx);
            self.time_outs_at(now, time, fx);
            self.settle(now, fx);
        }
    }

    /// When to call [`Engine::tick`]. Never late; it may be early, and then finds nothing to do, once
    /// in the time that a grant lasts for each group that has locked meanwhile.
    pub fn next_deadline(&self) -> Option<Time> {
        let group = self.group_timers.first().map(|(time, _)| time);
        let fence = self.fence_timers.first().map(|(time, _)| time);
        group.into_iter().chain(fence).min()
    }

    /// Whether nothing is kept of any group, of any buffer that a group has, or of any lock.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
            && self.slots.is_empty()
            && self.jobs.is_empty()
            && self.fences.is_empty()
            && self.endings.is_empty()
            && self.growing.is_empty()
            && self.group_timers.is_empty()
            && self.fence_timers.is_empty()
    }

    /// What has happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Lets the deadline of a grant come now, for checkers that have no clock.
    #[doc(hidden)]
    pub fn expire(&mut self, now: Time, id: GroupId, fx: &mut Effects) {
        let at = self.find(id).ok();
        if let Some(at) = at.filter(|at| self.groups[*at].grant.is_some()) {
            self.evict(now, at, fx);
            self.settle(now, fx);
        }
    }

    /// Lets the time-out of a pending lock come now, for checkers that have no clock.
    #[doc(hidden)]
    pub fn time_out(&mut self, now: Time, id: GroupId, fx: &mut Effects) {
        let at = self.find(id).ok();
        if let Some(at) = at.filter(|at| self.groups[*at].request.is_some()) {
            self.waited_enough(now, at, fx);
            self.settle(now, fx);
        }
    }

    /// Whether a group has a ticket, or keeps one, that is to live on, for checkers that have no clock.
    #[doc(hidden)]
    pub fn has_living_ticket(&self, id: GroupId) -> bool {
        self.find(id).is_ok_and(|at| {
            let group = &self.groups[at];
            let has = group.request.is_some() || group.grant.is_some() || group.kept.is_some();
            has && group.life > Time(0)
        })
    }

    /// Ends the ticket's life of a group now, for checkers that have no clock.
    #[doc(hidden)]
    pub fn outlive(&mut self, id: GroupId) {
        if let Ok(at) = self.find(id) {
            self.groups[at].life = Time(0);
        }
    }

    /// Ends all grants and fences whose deadline is at this instant. Groups whose timer was early, or
    /// whose lock has waited long enough, are left in `work.due`.
    fn deadlines_at(&mut self, now: Time, time: Time, fx: &mut Effects) {
        while let Some((_, at)) = self.fence_timers.first().filter(|(other, _)| *other == time) {
            fx.push(Effect::DropFence { fence: self.fences[at].id });
            self.end_fence(at, false, fx);
        }
        while let Some((_, at)) = self.group_timers.first().filter(|(other, _)| *other == time) {
            // Where nothing is due at this instant, the timer was early.
            self.group_timers.set(at, None);
            if self.groups[at].grant.is_some_and(|held| held.deadline == time) {
                self.evict(now, at, fx);
            }
            self.work.due.push(at);
        }
    }

    /// Ends all locks that have waited until this instant, none of them for the sake of another.
    fn time_outs_at(&mut self, now: Time, time: Time, fx: &mut Effects) {
        while let Some(at) = self.work.due.pop() {
            let request = self.groups[at].request.as_ref();
            if request.is_some_and(|request| request.expires == Some(time)) {
                self.waited_enough(now, at, fx);
            }
            self.arm(at);
        }
    }

    fn find(&self, id: GroupId) -> Result<Ix<Group>, Error> {
        let found = self.groups.get(id.at()).filter(|group| group.id == id);
        found.map(|_| id.at()).ok_or(Error::UnknownGroup)
    }

    fn changeable(&self, id: GroupId) -> Result<Ix<Group>, Error> {
        let at = self.find(id)?;
        if self.groups[at].request.is_some() {
            return Err(Error::Busy);
        }
        Ok(at)
    }

    fn lockable(&self, id: GroupId) -> Result<Ix<Group>, Error> {
        let at = self.find(id)?;
        self.groups[at].why_not_lockable().map_or(Ok(at), Err)
    }

    /// Which of a group's entries is the one of a buffer.
    fn entry_of(&self, group: Ix<Group>, buffer: BufferId) -> Option<usize> {
        let slot = *self.slot_ids.get(&buffer)?;
        self.groups[group].entries.iter().position(|entry| entry.slot == slot)
    }

    /// Ends the grant of a group at its deadline.
    fn evict(&mut self, now: Time, at: Ix<Group>, fx: &mut Effects) {
        let group = &self.groups[at];
        if group.grant.is_some() {
            let cause = EvictionCause::Deadline;
            fx.push(Effect::Evicted { group: group.id, token: group.token, cause });
            self.counters.evictions += 1;
            self.end_grant(now, at, End::Evicted, fx);
        }
    }

    /// Ends the wait of a pending lock at its time-out.
    fn waited_enough(&mut self, now: Time, at: Ix<Group>, fx: &mut Effects) {
        let group = &self.groups[at];
        if group.request.is_some() {
            fx.push(Effect::TimedOut { group: group.id, token: group.token });
            self.counters.time_outs += 1;
            self.give_up(now, at, fx);
        }
    }
}

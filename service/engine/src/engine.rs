// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The lock table and its calls.
//!
//! The calls find the group and say what happens. The transitions decide: [`crate::acquire`] (who gets a
//! buffer), [`crate::prepare`] (what makes it ready) and [`crate::release`] (how it is let go). The calls
//! about jobs are in [`crate::report`], those about time in [`crate::tick`].
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

use crate::arena::Arena;
use crate::effects::Grant;
use crate::fence::{Ending, Fence};
use crate::group::{Entry, Group, Held, Request, Stage};
use crate::index::{FenceIx, GroupIx, IdMap, JobIx, SlotIx, ENDING, FENCE, GROUP, JOB, SLOT};
use crate::job::Job;
use crate::release::End;
use crate::remembered::Remembered;
use crate::slot::Slot;
use crate::timers::Timers;
use crate::untold;
use crate::work::Work;
use crate::{
    Access, Arrival, BufferId, Close, Counters, Effects, Error, FenceId, GroupId, HoldFrom,
    Implicit, JobId, Limits, Phase, ReleaseFence, Ticket, Time, Token,
};

/// The lock table; the crate's documentation has its rules.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) limits: Limits,
    /// Grants to the CPU wait for implicit fences.
    pub(crate) implicit: bool,
    pub(crate) groups: Arena<Group, GROUP>,
    pub(crate) slots: Arena<Slot, SLOT>,
    pub(crate) jobs: Arena<Job, JOB>,
    pub(crate) fences: Arena<Fence, FENCE>,
    pub(crate) endings: Arena<Ending, ENDING>,
    pub(crate) untold: untold::Lists,
    /// Buffers that no group has.
    pub(crate) remembered: Remembered,
    /// The groups that wait while they hold: at each buffer that they hold, by age. An older waiter finds
    /// here the groups that it wounds.
    pub(crate) growing: BTreeSet<(SlotIx, Ticket, GroupIx)>,
    pub(crate) slot_ids: IdMap<BufferId, SlotIx>,
    pub(crate) job_ids: IdMap<JobId, JobIx>,
    pub(crate) fence_ids: IdMap<FenceId, FenceIx>,
    /// For each group its deadline or its time-out, the earlier one. A timer may be early; see
    /// [`Engine::arm`].
    pub(crate) group_timers: Timers<GROUP>,
    /// For each release fence the moment when it counts as failed.
    pub(crate) fence_timers: Timers<FENCE>,
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

/// The answer to a lock that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockOutcome {
    /// An effect will say how it ended: granted, failed, timed out, wounded or evicted.
    Pending(Token),
    /// Granted at once; no effect follows. Read its buffers from the effects before the next call.
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
            untold: Arena::new(),
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

    /// From now on a grant to the CPU waits for the implicit fences of its buffers, with
    /// [`crate::Effect::Wait`] (kernel: dma-buf.rst, "Implicit Fence Poll Support").
    pub fn expect_implicit_fences(&mut self) {
        self.implicit = true;
    }

    /// Opens a group. Its grants last `hold`, or the default, but never longer than the maximum. Returns
    /// how long they last.
    pub fn open_group(&mut self, hold: Option<Duration>) -> (GroupId, Duration) {
        self.open_group_from(hold, HoldFrom::Grant)
    }

    /// [`Engine::open_group`], with the moment from which the hold limit counts.
    pub fn open_group_from(
        &mut self,
        hold: Option<Duration>,
        from: HoldFrom,
    ) -> (GroupId, Duration) {
        self.last.group += 1;
        let serial = self.last.group;
        let hold = hold.unwrap_or(self.limits.default_hold).min(self.limits.max_hold);
        let at = self.groups.insert_with(|at| Group::new(GroupId::new(serial, at), hold, from));
        (self.groups[at].id, hold)
    }

    /// Ends a group: its pending lock is cancelled, its grant ends as `how` says, and it lets its buffers
    /// go. The engine still waits for release fences that it gave. Unknown groups are ignored.
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

    /// How far the lock of a group is. `None` for unknown groups.
    pub fn phase(&self, id: GroupId) -> Option<Phase> {
        self.find(id).ok().map(|at| self.groups[at].phase())
    }

    /// Adds a buffer to a group that waits for no lock. Returns the access that the group now wants: the
    /// stronger one, if it had the buffer already. A group that holds gets it with its next
    /// [`Engine::lock`].
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
        // Exactly one more: most groups never grow again.
        let group = &mut self.groups[at];
        group.entries.reserve_exact(1);
        group.entries.push(Entry::new(slot, access));
        group.comes_late(group.entries.len() - 1);
        Ok(access)
    }

    /// Removes a buffer from a group. The group waits for no lock and does not hold the buffer.
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

    /// Locks all buffers of a group. It waits for others if it must, at most `timeout`. A group that holds
    /// gets what it has added since, and keeps its deadline.
    ///
    /// [`Error::Deadlock`] is the only refusal that changes something: it leaves the group wounded.
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
        let token = self.enqueue(now, at, ticket, request, fx);
        self.wound_younger(now, at, fx);
        self.settle(now, fx);
        Ok(LockOutcome::Pending(token))
    }

    /// Locks all buffers of a group if it need not wait for others. The lock may still be pending, for
    /// cache operations or for one look at implicit fences.
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

    /// Cancels a pending lock. The group keeps what it holds. If it holds nothing, it keeps its ticket
    /// while that lives.
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

    /// Ends a grant, and a pending lock that would grow it. A buffer with `fences` stays the group's until
    /// [`Engine::fence_done`] for each of them, at most as long as a grant of the group lasts. But the next
    /// device gets it at once, with those fences.
    ///
    /// [`Error::UnknownBuffer`] for a fence of a buffer that the group does not hold.
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

    /// [`Engine::unlock`] when some of the fences have `failed` already. These end before the next grants
    /// of their buffers, so that the grants say it.
    pub fn unlock_with_failed(
        &mut self,
        now: Time,
        id: GroupId,
        token: Token,
        fences: &[ReleaseFence],
        failed: &[FenceId],
        fx: &mut Effects,
    ) -> Result<(), Error> {
        let (at, Held { wounded, .. }) = self.holding(id, token)?;
        self.end_in_order(now, at, None, fences, fx)?;
        self.end_failed(failed, fx);
        self.counters.unlocks += 1;
        if wounded {
            self.keep_ticket(now, at);
        }
        self.settle(now, fx);
        Ok(())
    }

    /// [`Engine::unlock_with_failed`] for a part of a grant. The rest goes on, with its token and its deadline. A part
    /// that is all of the grant ends it. Sorts `buffers`.
    ///
    /// [`Error::UnknownBuffer`] if there is none, if the grant does not have one, or for a fence of a buffer that is
    /// not let go. [`Error::Busy`] if the group waits for more.
    #[allow(clippy::too_many_arguments)]
    pub fn unlock_part(
        &mut self,
        now: Time,
        id: GroupId,
        token: Token,
        buffers: &mut [BufferId],
        fences: &[ReleaseFence],
        failed: &[FenceId],
        fx: &mut Effects,
    ) -> Result<(), Error> {
        let (at, is_all) = self.part(id, token, buffers)?;
        if is_all {
            return self.unlock_with_failed(now, id, token, fences, failed, fx);
        }
        self.end_in_order(now, at, Some(buffers), fences, fx)?;
        self.end_failed(failed, fx);
        self.settle(now, fx);
        Ok(())
    }

    /// Exclusive accesses of a grant become shared, without a moment in which somebody else can write: WRITE becomes
    /// READ, DMA_WRITE becomes DMA_READ. What the grant has shared already stays as it is. The group's next
    /// [`Engine::lock`] asks for the old access again. Sorts `buffers`.
    ///
    /// [`Error::UnknownBuffer`] if there is none, or if the grant does not have one. [`Error::Busy`] if the group waits
    /// for more.
    pub fn downgrade(
        &mut self,
        now: Time,
        id: GroupId,
        token: Token,
        buffers: &mut [BufferId],
        fx: &mut Effects,
    ) -> Result<(), Error> {
        let (at, _) = self.part(id, token, buffers)?;
        self.downgrade_entries(at, buffers);
        self.settle(now, fx);
        Ok(())
    }

    /// Checks and sorts a part of a grant. Returns the group, and whether the part is all of the grant.
    fn part(
        &self,
        id: GroupId,
        token: Token,
        buffers: &mut [BufferId],
    ) -> Result<(GroupIx, bool), Error> {
        let (at, _) = self.holding(id, token)?;
        if self.groups[at].request.is_some() {
            return Err(Error::Busy);
        }
        if buffers.is_empty() {
            return Err(Error::UnknownBuffer);
        }
        buffers.sort_unstable();
        Ok((at, self.check_held(at, buffers)?))
    }

    fn holding(&self, id: GroupId, token: Token) -> Result<(GroupIx, Held), Error> {
        let at = self.find(id)?;
        let held = self.groups[at].grant.filter(|_| self.groups[at].token == token);
        Ok((at, held.ok_or(Error::BadToken)?))
    }

    fn end_failed(&mut self, failed: &[FenceId], fx: &mut Effects) {
        for fence in failed {
            if let Some(fence) = self.fence_ids.get(fence).copied() {
                self.end_fence(fence, false, fx);
            }
        }
    }

    /// The buffers of a group and its accesses, in the order of addition. Empty for unknown groups.
    pub fn members(&self, id: GroupId) -> impl Iterator<Item = (BufferId, Access)> + '_ {
        let entries = self.find(id).ok().map(|at| &self.groups[at].entries);
        let entries = entries.into_iter().flatten();
        entries.map(|entry| (self.slots[entry.slot].id, entry.want))
    }

    /// The buffers of a grant, in the order of addition. `None` if the token is not the group's grant.
    pub fn held(
        &self,
        id: GroupId,
        token: Token,
    ) -> Option<impl Iterator<Item = (BufferId, Access)> + '_> {
        let group = &self.groups[self.find(id).ok()?];
        let entries = (group.grant.is_some() && group.token == token).then_some(&group.entries)?;
        Some(entries.iter().filter_map(|e| Some((self.slots[e.slot].id, e.granted?))))
    }

    /// The pending fences of earlier holders, for each buffer of a grant. The holder's devices wait for
    /// them before they begin. Empty for a token that is not the group's grant.
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

    /// A release fence has signalled (`ok`) or failed. Ignored if its time was up before.
    pub fn fence_done(&mut self, now: Time, fence: FenceId, ok: bool, fx: &mut Effects) {
        if let Some(at) = self.fence_ids.get(&fence).copied() {
            self.end_fence(at, ok, fx);
            self.settle(now, fx);
        }
    }

    /// Whether there is no group, no lock and no buffer, except remembered ones.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
            && self.slots.is_empty()
            && self.jobs.is_empty()
            && self.fences.is_empty()
            && self.endings.is_empty()
            && self.growing.is_empty()
            && self.untold.is_empty()
            && self.group_timers.is_empty()
            && self.fence_timers.is_empty()
    }

    /// Numbers of events so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn find(&self, id: GroupId) -> Result<GroupIx, Error> {
        let found = self.groups.get(id.at()).filter(|group| group.id == id);
        found.map(|_| id.at()).ok_or(Error::UnknownGroup)
    }

    fn changeable(&self, id: GroupId) -> Result<GroupIx, Error> {
        let at = self.find(id)?;
        if self.groups[at].request.is_some() {
            return Err(Error::Busy);
        }
        Ok(at)
    }

    fn lockable(&self, id: GroupId) -> Result<GroupIx, Error> {
        let at = self.find(id)?;
        self.groups[at].why_not_lockable().map_or(Ok(at), Err)
    }

    /// The number of the entry of a buffer in a group.
    fn entry_of(&self, group: GroupIx, buffer: BufferId) -> Option<usize> {
        let slot = *self.slot_ids.get(&buffer)?;
        self.groups[group].entries.iter().position(|entry| entry.slot == slot)
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The lock table and its calls.
//!
//! The calls find the group and the lock, and say what happens. The transitions decide: [`crate::acquire`] (who gets a
//! buffer), [`crate::prepare`] (what makes it ready) and [`crate::release`] (how it is let go). The calls
//! about jobs are in [`crate::report`], those about time in [`crate::tick`].
//!
//! ```text
//!             lock             clear everywhere        gates open, operations done
//!    ---------------> Queued -----------------> Preparing -----------------> Held
//!                        |                          |                         |  ^
//!     <------------------+--------------------------+                         |  | granted,
//!    over: cancel, unlock, time-out, close, operation failed                  |  | cancel, time-out,
//!     ^                                                                       |  | wound, failed
//!     |                                                                 grow  v  |
//!     +------------------ unlock, deadline, close, death --------------- Held + Growing
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use crate::arena::Arena;
use crate::effects::Grant;
use crate::fence::{Ending, Fence};
use crate::group::{Group, Member};
use crate::holders::Holders;
use crate::index::{
    FenceIx, GroupIx, IdMap, JobIx, LockIx, SlotIx, ENDING, FENCE, GROUP, JOB, LOCK, SLOT,
};
use crate::job::Job;
use crate::lock::{Entry, Held, Lock, Request, Stage};
use crate::release::End;
use crate::remembered::Remembered;
use crate::roster::Links;
use crate::slot::Slot;
use crate::timers::Timers;
use crate::work::Work;
use crate::{
    Access, Arrival, BufferId, Close, Counters, Effects, Error, FenceId, GrantedBuffer, GroupId,
    HoldFrom, Implicit, JobId, Limits, Phase, ReleaseFence, Ticket, Time, Token, Wait, Wants,
};

/// The lock table; the crate's documentation has its rules.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) limits: Limits,
    /// Grants to the CPU wait for implicit fences.
    pub(crate) implicit: bool,
    pub(crate) groups: Arena<Group, GROUP>,
    pub(crate) locks: Arena<Lock, LOCK>,
    /// The memory of locks that are over, for the next ones.
    pub(crate) spare: Vec<Vec<Entry>>,
    pub(crate) slots: Arena<Slot, SLOT>,
    pub(crate) jobs: Arena<Job, JOB>,
    pub(crate) fences: Arena<Fence, FENCE>,
    pub(crate) endings: Arena<Ending, ENDING>,
    pub(crate) links: Links,
    /// Buffers that no group has.
    pub(crate) remembered: Remembered,
    /// The locks that wait while they hold: at each buffer that they hold, by age. An older waiter finds
    /// here the locks that it wounds.
    pub(crate) growing: BTreeSet<(SlotIx, Ticket, LockIx)>,
    pub(crate) slot_ids: IdMap<BufferId, SlotIx>,
    pub(crate) job_ids: IdMap<JobId, JobIx>,
    pub(crate) fence_ids: IdMap<FenceId, FenceIx>,
    /// For each lock its deadline or its time-out, the earlier one. A timer may be early; see
    /// [`Engine::arm`].
    pub(crate) lock_timers: Timers<LOCK>,
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
    pub ticket: u64,
    pub arrival: Arrival,
    pub job: u64,
    /// The greatest generation of a buffer that was let go.
    pub generation: u64,
}

/// The answer to a lock that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockOutcome {
    /// An effect will say how it ended: granted, failed, timed out, wounded or evicted.
    Pending(Token),
    /// Granted at once; no effect follows. Read its buffers from the effects before the next call.
    Granted(Grant),
}

/// A lock that was checked and is not made yet: [`Engine::check_lock`].
#[derive(Debug)]
pub struct Checked {
    id: GroupId,
    token: Token,
    entries: Vec<Entry>,
}

impl Engine {
    /// An empty lock table.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            implicit: false,
            groups: Arena::new(),
            locks: Arena::new(),
            spare: Vec::new(),
            slots: Arena::new(),
            jobs: Arena::new(),
            fences: Arena::new(),
            endings: Arena::new(),
            links: Arena::new(),
            remembered: Remembered::default(),
            growing: BTreeSet::new(),
            slot_ids: IdMap::default(),
            job_ids: IdMap::default(),
            fence_ids: IdMap::default(),
            lock_timers: Timers::new(),
            fence_timers: Timers::new(),
            counters: Counters::default(),
            last: Last::default(),
            work: Work::default(),
        }
    }

    /// Serials of groups count from `first`, so that those of an earlier lock table don't come again.
    pub fn name_groups_from(&mut self, first: u64) {
        self.last.group = first;
    }

    /// Generations of a buffer that was added just now count from `first` or a later number, so that those that it had
    /// in an earlier lock table, or before it was removed, don't come again.
    pub fn count_generations_from(&mut self, buffer: BufferId, first: u64) {
        if let Some(at) = self.slot_ids.get(&buffer) {
            self.slots[*at].generation = first.max(self.last.generation);
        }
    }

    /// A buffer that was added just now may have a past that this lock table does not know: somebody may still be at
    /// work on it. It is marked as after the eviction of writers.
    pub fn distrust(&mut self, buffer: BufferId) {
        if let Some(at) = self.slot_ids.get(&buffer) {
            let slot = &mut self.slots[*at];
            slot.evictions.add(Access::Write);
            if !slot.coherence.is_plain() {
                slot.evictions.add(Access::DmaWrite);
            }
        }
    }

    /// Takes a grant away now, as at its deadline. Nothing happens if there is none.
    pub fn expire(&mut self, now: Time, id: GroupId, token: Token, fx: &mut Effects) {
        let Ok(at) = self.living(id, token) else { return };
        self.evict(now, at, fx);
        self.settle(now, fx);
    }

    /// True if a lock waits for a buffer of a grant.
    pub fn is_waited_for(&self, id: GroupId, token: Token) -> bool {
        self.living(id, token).is_ok_and(|at| self.waiter_of(at).is_some())
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

    /// Ends a group: its requests are cancelled, its grants end as `how` says, and it lets its buffers go.
    /// The engine still waits for release fences that it gave. Unknown groups are ignored.
    pub fn close_group(&mut self, now: Time, id: GroupId, how: Close, fx: &mut Effects) {
        let Ok(group) = self.find(id) else { return };
        let end = match how {
            Close::Died => {
                self.counters.deaths += 1;
                End::Evicted
            }
            Close::Closed => End::InOrder,
        };
        for nth in 0..self.groups[group].locks.len() {
            let lock = self.groups[group].locks[nth];
            self.lock_timers.set(lock, None);
            self.end_lock(now, lock, end, fx);
        }
        while let Some(lock) = self.work.over.pop() {
            self.free(lock);
        }
        for member in self.groups.remove(group).into_iter().flat_map(|group| group.members) {
            self.leave(member.slot);
        }
        self.settle(now, fx);
    }

    /// Whether the group has no lock. False for unknown groups.
    pub fn is_idle(&self, id: GroupId) -> bool {
        self.find(id).is_ok_and(|group| self.groups[group].locks.is_empty())
    }

    /// The locks of a group that are not over, in the order of their tokens. None for unknown groups.
    pub fn locks(&self, id: GroupId) -> impl Iterator<Item = Token> + '_ {
        let locks = self.find(id).ok().map(|group| &self.groups[group].locks);
        locks.into_iter().flatten().map(|at| self.locks[*at].token)
    }

    /// How far a lock is. `None` if the group has no such lock.
    pub fn phase(&self, id: GroupId, token: Token) -> Option<Phase> {
        self.living(id, token).ok().and_then(|at| self.locks[at].phase())
    }

    /// Adds a buffer to a group, with the access of locks that name none. Returns this access: the stronger
    /// one, if the group had the buffer already. Its locks stay as they are.
    pub fn add(&mut self, id: GroupId, buffer: BufferId, access: Access) -> Result<Access, Error> {
        self.add_slot(id, buffer, access, Slot::new)
    }

    /// [`Engine::add`] for memory that only CPUs use: it needs no cache operations and has no implicit
    /// fences.
    pub fn add_plain(
        &mut self,
        id: GroupId,
        buffer: BufferId,
        access: Access,
    ) -> Result<Access, Error> {
        self.add_slot(id, buffer, access, Slot::plain)
    }

    fn add_slot(
        &mut self,
        id: GroupId,
        buffer: BufferId,
        access: Access,
        new: fn(BufferId) -> Slot,
    ) -> Result<Access, Error> {
        let at = self.find(id)?;
        if let Some(nth) = self.member_of(at, buffer) {
            let member = &mut self.groups[at].members[nth];
            member.access = member.access.stronger(access).ok_or(Error::AccessConflict)?;
            return Ok(member.access);
        }
        let Self { slots, slot_ids, remembered, .. } = self;
        let slot = *slot_ids.entry(buffer).or_insert_with(|| {
            let history = remembered.remove(buffer);
            slots.insert(history.map_or_else(|| new(buffer), |known| known.restored(buffer)))
        });
        slots[slot].members += 1;
        // Exactly one more: most groups never grow again.
        let group = &mut self.groups[at];
        group.members.reserve_exact(1);
        group.members.push(Member { buffer, slot, access, wanted: Holders::default() });
        Ok(access)
    }

    /// Removes a buffer from a group, which has no lock on it.
    pub fn remove(&mut self, id: GroupId, buffer: BufferId, fx: &mut Effects) -> Result<(), Error> {
        let at = self.find(id)?;
        let nth = self.member_of(at, buffer).ok_or(Error::UnknownBuffer)?;
        let group = &mut self.groups[at];
        if group.members[nth].wanted != Holders::default() {
            return Err(Error::Busy);
        }
        let Member { slot, .. } = group.members.remove(nth);
        if let Some(kept) = &mut group.kept {
            // Another buffer may get its place.
            kept.stood.retain(|(stood, _)| *stood != slot);
        }
        for lock in &group.locks {
            for entry in &mut self.locks[*lock].entries {
                entry.member -= u32::from(entry.member as usize > nth);
            }
        }
        self.leave(slot);
        self.retire_abandoned(fx);
        Ok(())
    }

    /// Locks buffers of a group. It waits for others if it may and must.
    ///
    /// A refused call uses up no token. [`Error::BadToken`] if the token is not greater than every token
    /// that the group has used. [`Error::AlreadyLocked`] for a conflict with another lock of the group.
    #[allow(clippy::too_many_arguments)]
    pub fn lock(
        &mut self,
        now: Time,
        id: GroupId,
        token: Token,
        wants: Wants<'_>,
        wait: Wait,
        implicit: Implicit,
        fx: &mut Effects,
    ) -> Result<LockOutcome, Error> {
        let checked = self.check_lock(id, token, wants, None)?;
        self.lock_checked(now, checked, wait, implicit, fx)
    }

    /// Adds to a grant: more buffers, or a stronger access. The token and the deadline stay.
    ///
    /// [`Error::AlreadyLocked`] if it lacks nothing, or for a conflict with another lock of the group.
    /// [`Error::Busy`] if the lock waits. [`Error::Deadlock`] is the only refusal that changes something: it
    /// leaves the lock wounded.
    #[allow(clippy::too_many_arguments)]
    pub fn grow(
        &mut self,
        now: Time,
        id: GroupId,
        token: Token,
        wants: Wants<'_>,
        wait: Wait,
        implicit: Implicit,
        fx: &mut Effects,
    ) -> Result<LockOutcome, Error> {
        fx.reuse();
        let at = self.living(id, token)?;
        match self.locks[at] {
            Lock { request: Some(_), .. } => return Err(Error::Busy),
            Lock { grant: Some(Held { wounded: true, .. }), .. } => return Err(Error::Deadlock),
            _ => {}
        }
        let mut entries = std::mem::take(&mut self.locks[at].entries);
        let before = entries.len();
        let wanted = self.want(id.at(), wants, true, &mut entries);
        let lacks = entries.iter().any(Entry::lacks);
        let conflicts = entries.iter().any(|entry| entry.lacks() && !self.suits(id.at(), entry));
        let refused = match wanted {
            Err(error) => Some(error),
            Ok(()) if !lacks || conflicts => Some(Error::AlreadyLocked),
            Ok(()) => None,
        };
        if let Some(error) = refused {
            entries.truncate(before);
            entries.iter_mut().for_each(|entry| entry.want = entry.granted.unwrap_or(entry.want));
            self.locks[at].entries = entries;
            return Err(error);
        }
        for entry in &mut entries {
            let wanted = &mut self.groups[id.at()].members[entry.member as usize].wanted;
            wanted.hold(&mut entry.granted.as_ref().copied(), Some(entry.want));
        }
        self.locks[at].entries = entries;
        let outcome = self.acquire(now, at, wait, implicit, fx);
        if outcome.is_err() {
            self.forget_growth(at);
        }
        outcome
    }

    /// The checks of [`Engine::lock`], as if the lock `ending` had ended: for a call that ends one lock and begins
    /// another, both or neither. All but [`Error::WouldBlock`].
    pub fn check_lock(
        &mut self,
        id: GroupId,
        token: Token,
        wants: Wants<'_>,
        ending: Option<Token>,
    ) -> Result<Checked, Error> {
        let at = self.find(id)?;
        if token <= self.groups[at].last {
            return Err(Error::BadToken);
        }
        let mut entries = self.spare.pop().unwrap_or_default();
        let checked = self.want(at, wants, false, &mut entries).and_then(|()| {
            let ending = ending.and_then(|token| self.living(id, token).ok());
            let ending = ending.map_or(&[][..], |lock| &self.locks[lock].entries);
            let suit = entries.iter().all(|entry| self.suits_after(at, entry, ending));
            suit.then_some(()).ok_or(Error::AlreadyLocked)
        });
        match checked {
            Ok(()) => Ok(Checked { id, token, entries }),
            Err(error) => {
                entries.clear();
                self.spare.push(entries);
                Err(error)
            }
        }
    }

    /// [`Engine::lock`] for a lock that was checked. Since then its group may have ended locks, and nothing else may
    /// have changed in it.
    pub fn lock_checked(
        &mut self,
        now: Time,
        checked: Checked,
        wait: Wait,
        implicit: Implicit,
        fx: &mut Effects,
    ) -> Result<LockOutcome, Error> {
        fx.reuse();
        let at = self.new_lock(checked)?;
        let outcome = self.acquire(now, at, wait, implicit, fx);
        if outcome.is_err() {
            self.free(at);
        }
        outcome
    }

    /// Makes a lock that is not in its group's list yet.
    fn new_lock(&mut self, checked: Checked) -> Result<LockIx, Error> {
        let Checked { id, token, mut entries } = checked;
        let at = self.find(id)?;
        debug_assert!(entries.iter().all(|entry| self.suits(at, entry)), "checked, and unchanged");
        let Group { hold, hold_from, members, kept, .. } = &mut self.groups[at];
        for entry in &mut entries {
            members[entry.member as usize].wanted.hold(&mut None, Some(entry.want));
            entry.late = kept.as_ref().is_some_and(|kept| kept.is_late(entry));
        }
        let (hold, hold_from) = (*hold, *hold_from);
        let (ticket, life, request, grant) = (Ticket(0), Time(0), None, None);
        let lock =
            Lock { group: id, token, hold, hold_from, entries, ticket, life, request, grant };
        Ok(self.locks.insert(lock))
    }

    /// Puts what a call asks for into a list of entries, each buffer once.
    fn want(
        &self,
        at: GroupIx,
        wants: Wants<'_>,
        late: bool,
        entries: &mut Vec<Entry>,
    ) -> Result<(), Error> {
        let members = &self.groups[at].members;
        let Wants { buffers, accesses } = wants;
        if buffers.is_empty() {
            if members.is_empty() {
                return Err(Error::EmptyGroup);
            }
            let all = members.iter().enumerate();
            let all = all.map(|(nth, member)| Entry::new(member.slot, nth, member.access, late));
            if entries.is_empty() {
                entries.extend(all);
                return Ok(());
            }
            return all.into_iter().try_for_each(|entry| want_one(entries, entry));
        }
        if !accesses.is_empty() && accesses.len() != buffers.len() {
            return Err(Error::UnknownBuffer);
        }
        buffers.iter().enumerate().try_for_each(|(nth, buffer)| {
            let member = self.member_of(at, *buffer).ok_or(Error::UnknownBuffer)?;
            let Member { slot, access, .. } = members[member];
            let access = accesses.get(nth).copied().unwrap_or(access);
            want_one(entries, Entry::new(slot, member, access, late))
        })
    }

    /// Whether an entry does not conflict with other locks of its group.
    fn suits(&self, at: GroupIx, entry: &Entry) -> bool {
        self.suits_after(at, entry, &[])
    }

    /// [`Engine::suits`] as if the lock with the entries `ending` had ended.
    #[inline]
    fn suits_after(&self, at: GroupIx, entry: &Entry, ending: &[Entry]) -> bool {
        let Some(member) = self.groups[at].members.get(entry.member as usize) else { return false };
        let mut wanted = member.wanted;
        if let Some(ends) = ending.iter().find(|ends| ends.slot == entry.slot) {
            wanted.hold(&mut Some(ends.want), None);
        }
        member.slot == entry.slot
            && wanted.admits(entry.want.is_exclusive(), entry.granted.is_some())
    }

    /// Gets what a lock lacks: at once, or later. A refusal leaves the lock as it is.
    #[inline]
    fn acquire(
        &mut self,
        now: Time,
        at: LockIx,
        wait: Wait,
        implicit: Implicit,
        fx: &mut Effects,
    ) -> Result<LockOutcome, Error> {
        if let Some(grant) = self.grant_at_once(now, at, implicit, fx) {
            return Ok(LockOutcome::Granted(grant));
        }
        let (expires, patience) = match wait {
            Wait::Never => (None, Some(now)),
            Wait::UntilGranted => (None, None),
            Wait::AtMost(limit) => (Some(now.after(limit)), None),
        };
        let request = Request { expires, stage: Stage::Gated(0), asked: now, patience };
        let ticket = self.ticket_of(now, at);
        let free = self.is_free(now, at, ticket);
        if wait == Wait::Never && (!free || self.is_gated(at)) {
            return Err(Error::WouldBlock);
        }
        if free {
            return Ok(self.take_at_once(now, at, ticket, request, implicit, fx));
        }
        self.refuse_deadlock(now, at)?;
        let token = self.enqueue(now, at, ticket, request, fx);
        self.wound_younger(now, at, fx);
        self.settle(now, fx);
        Ok(LockOutcome::Pending(token))
    }

    /// Takes back what waits. A lock that holds nothing is over, and leaves its ticket to its group; a
    /// growth ends, and the grant stays as it was.
    pub fn cancel(
        &mut self,
        now: Time,
        id: GroupId,
        token: Token,
        fx: &mut Effects,
    ) -> Result<(), Error> {
        let at = self.living(id, token)?;
        if self.locks[at].request.is_none() {
            return Err(Error::NotQueued);
        }
        self.counters.cancels += 1;
        self.give_up(now, at, fx);
        self.settle(now, fx);
        Ok(())
    }

    /// Ends a lock: a grant, with what would grow it, or a lock that waits, which is [`Engine::cancel`] and takes
    /// no fences ([`Error::Busy`]). A buffer with `fences` stays the holder's until
    /// [`Engine::fence_done`] for each of them, at most as long as a grant of the group lasts. But the next
    /// device gets it at once, with those fences.
    ///
    /// [`Error::UnknownBuffer`] for a fence of a buffer that the grant does not have.
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
        let at = self.living(id, token)?;
        let Some(Held { wounded, .. }) = self.locks[at].grant else {
            let bare = fences.is_empty();
            return if bare { self.cancel(now, id, token, fx) } else { Err(Error::Busy) };
        };
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
    /// not let go. [`Error::Busy`] if the lock waits.
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
    /// READ, DMA_WRITE becomes DMA_READ. What the grant has shared already stays as it is. Sorts `buffers`.
    ///
    /// [`Error::UnknownBuffer`] if there is none, or if the grant does not have one. [`Error::Busy`] if the lock waits.
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

    /// Checks and sorts a part of a grant. Returns the lock, and whether the part is all of the grant.
    fn part(
        &self,
        id: GroupId,
        token: Token,
        buffers: &mut [BufferId],
    ) -> Result<(LockIx, bool), Error> {
        let at = self.living(id, token)?;
        if self.locks[at].request.is_some() {
            return Err(Error::Busy);
        }
        if buffers.is_empty() {
            return Err(Error::UnknownBuffer);
        }
        buffers.sort_unstable();
        Ok((at, self.check_held(at, buffers)?))
    }

    fn end_failed(&mut self, failed: &[FenceId], fx: &mut Effects) {
        for fence in failed {
            if let Some(fence) = self.fence_ids.get(fence).copied() {
                self.end_fence(fence, false, fx);
            }
        }
    }

    /// The buffers of a group and the accesses of locks that name none, in the order of addition. Empty for
    /// unknown groups.
    pub fn members(&self, id: GroupId) -> impl Iterator<Item = (BufferId, Access)> + '_ {
        let members = self.find(id).ok().map(|at| &self.groups[at].members);
        let members = members.into_iter().flatten();
        members.map(|member| (member.buffer, member.access))
    }

    /// How many buffers a group has. None for unknown groups.
    pub fn member_count(&self, id: GroupId) -> usize {
        self.find(id).map_or(0, |at| self.groups[at].members.len())
    }

    /// A lock that is granted.
    fn granted_lock(&self, id: GroupId, token: Token) -> Option<&Lock> {
        let at = self.living(id, token).ok()?;
        Some(&self.locks[at]).filter(|lock| lock.grant.is_some())
    }

    /// The buffers of a grant. `None` if the token is no grant of the group.
    pub fn held(
        &self,
        id: GroupId,
        token: Token,
    ) -> Option<impl Iterator<Item = (BufferId, Access)> + '_> {
        let entries = &self.granted_lock(id, token)?.entries;
        Some(entries.iter().filter_map(|e| Some((self.slots[e.slot].id, e.granted?))))
    }

    /// The buffers of a grant with the marks that a grant would have now. Empty for a token that is no grant
    /// of the group.
    pub fn granted(&self, id: GroupId, token: Token) -> impl Iterator<Item = GrantedBuffer> + '_ {
        let entries = self.granted_lock(id, token).map(|lock| &lock.entries);
        entries
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(self.slots[entry.slot].granted(entry.granted?)))
    }

    /// The pending fences of earlier holders, for each buffer of a grant. The holder's devices wait for
    /// them before they begin. Empty for a token that is no grant of the group.
    pub fn acquire_fences(
        &self,
        id: GroupId,
        token: Token,
    ) -> impl Iterator<Item = (BufferId, FenceId)> + '_ {
        let entries = self.granted_lock(id, token).map(|lock| &lock.entries);
        entries.into_iter().flatten().flat_map(|entry| {
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
            && self.locks.is_empty()
            && self.slots.is_empty()
            && self.jobs.is_empty()
            && self.fences.is_empty()
            && self.endings.is_empty()
            && self.growing.is_empty()
            && self.links.is_empty()
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

    /// The lock with this token.
    pub(crate) fn living(&self, id: GroupId, token: Token) -> Result<LockIx, Error> {
        let Group { locks, last, .. } = &self.groups[self.find(id)?];
        let found = locks.binary_search_by_key(&token, |at| self.locks[*at].token);
        match found.ok().and_then(|nth| locks.get(nth)) {
            Some(at) => Ok(*at),
            None if token == Token(0) || token > *last => Err(Error::BadToken),
            None => Err(Error::Ended),
        }
    }

    /// The position of a buffer in a group.
    fn member_of(&self, group: GroupIx, buffer: BufferId) -> Option<usize> {
        self.groups[group].position_of(buffer)
    }
}

/// Adds an entry, or its access to the entry of the same buffer.
fn want_one(entries: &mut Vec<Entry>, new: Entry) -> Result<(), Error> {
    match entries.iter_mut().find(|entry| entry.slot == new.slot) {
        Some(entry) => {
            entry.want = entry.want.stronger(new.want).ok_or(Error::AccessConflict)?;
        }
        None => entries.push(new),
    }
    Ok(())
}

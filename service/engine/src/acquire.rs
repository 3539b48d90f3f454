// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Acquire: tickets, queues, wounds, and the step in which a lock takes everything that it lacks.
//!
//! A lock that waits holds nothing of what it asks for. It stands in the queue of each buffer that it
//! lacks, and takes all of them in the step in which it is clear in all queues. In ww_mutex this is the
//! state of a context that has backed off.
//!
//! Only a lock with a grant can hold while it waits for more. So only such locks can be wounded: an
//! older waiter wounds those that hold what it wants, and a lock does not begin to wait while an older
//! waiter wants what it holds. Therefore each waiter waits for somebody older or for somebody who does
//! not wait. There is no cycle.
//!
//! # Fairness
//!
//! No waiter starves. Only a lock with an older ticket passes it, and there are finitely many of them:
//! new tickets are younger, a kept ticket lapses, a grant that ends loses its ticket. The oldest waiter
//! waits for holders only, and each holder has a deadline. Let *M* be the longest hold, and *Q* the number of
//! older tickets, of locks and of those that groups keep, when a lock begins to wait. It takes its buffers
//! after at most (2 + *Q*) *M* of others' holds: one *M* for the holders, one for grants that grow, one for
//! each of the *Q*. The proof is in docs/engine.md, "How long a lock waits".

use crate::effects::Grant;
use crate::index::{LockIx, SlotIx};
use crate::lock::{Entry, Held, Lock, Request, Stage};
use crate::queue::Waiter;
use crate::{
    Arrival, Effect, Effects, Engine, Error, GroupId, Implicit, LockOutcome, Ticket, Time, Token,
};

impl Engine {
    /// The ticket of a lock: its own, if it has a grant; the one that its group has kept; or a new one,
    /// which is the youngest.
    ///
    /// A kept ticket lives from its birth as long as the longest grant, and passes nobody who came while
    /// it was kept. So age helps only locks that stay in line: many groups with tickets kept from
    /// elsewhere pass nobody.
    pub(crate) fn ticket_of(&self, now: Time, at: LockIx) -> Ticket {
        let lock = &self.locks[at];
        if lock.grant.is_some() {
            return lock.ticket;
        }
        match &self.groups[lock.group.at()].kept {
            Some(kept) if now < kept.life && !self.passes(at, kept.ticket, kept.left) => {
                kept.ticket
            }
            _ => Ticket(self.last.ticket + 1),
        }
    }

    /// Whether a lock with this ticket would pass a conflicting waiter that came to a buffer after `left`,
    /// while the ticket was kept, or before the lock came there itself.
    fn passes(&self, at: LockIx, ticket: Ticket, left: Arrival) -> bool {
        self.locks[at].entries.iter().any(|entry| {
            let (queue, exclusive) = (&self.slots[entry.slot].queue, entry.want.is_exclusive());
            // The last arrival counts also if that waiter has left again. Then the lock loses its age,
            // although everybody whom it would pass stood there before.
            entry.lacks()
                && queue.youngest(exclusive).is_some_and(|youngest| youngest > ticket)
                && (entry.late || entry.is_upgrade() || queue.has_come_since(left, exclusive))
        })
    }

    /// Whether a growing lock would pass a waiter after its ticket's life. It comes late to all that it
    /// lacks, so it does not matter since when others have come.
    fn is_too_old(&self, now: Time, at: LockIx) -> bool {
        let lock = &self.locks[at];
        lock.grant.is_some() && now >= lock.life && self.passes(at, lock.ticket, self.last.arrival)
    }

    /// The common case in few steps: no waiter or conflicting holder at the buffers that the lock lacks,
    /// no gate, no operation.
    #[inline(always)]
    pub(crate) fn grant_at_once(
        &mut self,
        now: Time,
        at: LockIx,
        implicit: Implicit,
        fx: &mut Effects,
    ) -> Option<Grant> {
        let Self { locks, slots, .. } = self;
        let idle = implicit == Implicit::Idle || !self.implicit;
        let plain = locks[at].entries.iter().all(|entry| {
            !entry.lacks()
                || (idle || entry.want.is_dma())
                    && slots[entry.slot].is_plain_for(entry.want, entry.is_upgrade())
        });
        if !plain {
            return None;
        }
        let ticket = self.ticket_of(now, at);
        self.name(now, at, ticket);
        Some(self.grant(now, at, fx))
    }

    /// Whether no holder and no older waiter conflicts with what the lock lacks.
    pub(crate) fn is_free(&self, now: Time, at: LockIx, ticket: Ticket) -> bool {
        let free = self.locks[at].entries.iter().all(|entry| {
            if !entry.lacks() {
                return true;
            }
            let (slot, exclusive) = (&self.slots[entry.slot], entry.want.is_exclusive());
            slot.holders.admits(exclusive, entry.is_upgrade())
                && !slot.queue.bars(ticket, exclusive)
        });
        free && !self.is_too_old(now, at)
    }

    /// Refuses a growth, if an older waiter wants what the lock holds, or if it would pass a waiter after
    /// its ticket's life.
    pub(crate) fn refuse_deadlock(&mut self, now: Time, at: LockIx) -> Result<(), Error> {
        let lock = &self.locks[at];
        let wanted = lock.entries.iter().any(|entry| {
            let queue = &self.slots[entry.slot].queue;
            entry.hold.is_some_and(|access| queue.bars(lock.ticket, access.is_exclusive()))
        });
        let refused = wanted || self.is_too_old(now, at);
        match &mut self.locks[at].grant {
            Some(held) if refused => {
                held.wounded = true;
                self.counters.deadlocks += 1;
                Err(Error::Deadlock)
            }
            _ => Ok(()),
        }
    }

    /// A lock that is free takes its buffers. It may be granted at once.
    pub(crate) fn take_at_once(
        &mut self,
        now: Time,
        at: LockIx,
        ticket: Ticket,
        request: Request,
        implicit: Implicit,
        fx: &mut Effects,
    ) -> LockOutcome {
        let token = self.accept(now, at, ticket, request);
        self.take(at);
        let granted = self.prepare(now, at, implicit, fx);
        match granted {
            Some(_) => self.look_for_waiters(now, at, fx),
            None => self.arm(at),
        }
        self.settle(now, fx);
        granted.map_or(LockOutcome::Pending(token), LockOutcome::Granted)
    }

    /// A lock that is not free joins the queues of the buffers that it lacks.
    pub(crate) fn enqueue(
        &mut self,
        now: Time,
        at: LockIx,
        ticket: Ticket,
        request: Request,
        fx: &mut Effects,
    ) -> Token {
        self.counters.queued += 1;
        self.last.arrival.0 += 1;
        let stage = Stage::Queued { blocked: 0 };
        let token = self.accept(now, at, ticket, Request { stage, ..request });
        self.arm(at);
        let mut blocked = 0;
        for nth in 0..self.locks[at].entries.len() {
            let entry = &self.locks[at].entries[nth];
            let slot = entry.slot;
            if entry.hold.is_some() {
                self.growing.insert((slot, ticket, at));
            }
            if entry.lacks() {
                let exclusive = entry.want.is_exclusive();
                let waiter = Waiter { ticket, lock: at, exclusive, upgrade: entry.is_upgrade() };
                blocked += 1;
                let demoted = self.slots[slot].queue.insert(waiter, self.last.arrival);
                demoted.for_each(|nth| self.block(slot, nth));
                self.work.touch(slot, &self.slots[slot]);
                self.tell_holders(now, at, slot, exclusive, fx);
            }
        }
        if let Some(request) = &mut self.locks[at].request {
            request.stage = Stage::Queued { blocked };
        }
        self.start_time_of_growth(now, at, fx);
        token
    }

    /// A holder waits for more, for other holders or for fences, so others may wait behind it: from here on its grant
    /// has a deadline. Otherwise holders whose time counts from a conflict could besiege a waiter one after the other,
    /// each with a whole hold.
    pub(crate) fn start_time_of_growth(&mut self, now: Time, at: LockIx, fx: &mut Effects) {
        if self.locks[at].grant.is_some_and(|held| held.deadline == Time::NEVER) {
            self.contend(now, at, fx);
        }
    }

    /// Tells the holders of a buffer that this lock conflicts with them, if nobody has told them before.
    fn tell_holders(
        &mut self,
        now: Time,
        waiter: LockIx,
        slot: SlotIx,
        exclusive: bool,
        fx: &mut Effects,
    ) {
        if !exclusive && !self.slots[slot].holders.is_exclusive() {
            return;
        }
        let mut untold = self.slots[slot].roster.untold;
        while let Some(lock) = untold.pop(&self.links) {
            // Its own hold is no conflict for an upgrade.
            if lock != waiter {
                self.contend(now, lock, fx);
            }
        }
    }

    /// Tells the group of a lock that was just granted if somebody waits for what it holds.
    pub(crate) fn look_for_waiters(&mut self, now: Time, at: LockIx, fx: &mut Effects) {
        let conflicts = |entry: &Entry| {
            let queue = &self.slots[entry.slot].queue;
            entry.granted.is_some_and(|access| queue.youngest(access.is_exclusive()).is_some())
        };
        let untold = self.locks[at].grant.is_some_and(|held| !held.contended);
        if untold && self.locks[at].entries.iter().any(conflicts) {
            self.contend(now, at, fx);
        }
    }

    /// Tells a holder that somebody waits. With [`crate::HoldFrom::Conflict`] its hold limit counts from now.
    fn contend(&mut self, now: Time, at: LockIx, fx: &mut Effects) {
        let Self { locks, slots, links, .. } = self;
        let lock = &mut locks[at];
        for entry in &mut lock.entries {
            if let Some(place) = entry.listed.filter(|place| place.untold) {
                let roster = &mut slots[entry.slot].roster;
                roster.remove(links, place);
                entry.listed = Some(roster.add(links, at, false));
            }
        }
        let Some(held) = &mut lock.grant else { return };
        held.contended = true;
        if held.deadline == Time::NEVER {
            held.deadline = now.after(lock.hold);
        }
        let Held { deadline, .. } = *held;
        fx.push(Effect::Contended { group: lock.group, token: lock.token, deadline });
        self.arm(at);
    }

    /// Ends the waits of younger locks that hold what this waiter wants. A buffer has one exclusive holder
    /// or only shared ones, so either all its holders conflict with the waiter or none does.
    pub(crate) fn wound_younger(&mut self, now: Time, at: LockIx, fx: &mut Effects) {
        for nth in 0..self.locks[at].entries.len() {
            let lock = &self.locks[at];
            let Entry { slot, want, .. } = lock.entries[nth];
            let conflicts = self.slots[slot].holders.is_exclusive() || want.is_exclusive();
            if !lock.entries[nth].lacks() || !conflicts {
                continue;
            }
            let younger = (slot, Ticket(lock.ticket.0 + 1), LockIx::FIRST);
            while let Some((_, _, victim)) =
                self.growing.range(younger..).next().filter(|(of, _, _)| *of == slot).copied()
            {
                self.wound(now, victim, fx);
            }
        }
    }

    /// A lock that a pending one waits for: a holder of what it lacks, an older waiter, or the giver of a release
    /// fence. `None` if it waits for implicit fences or operations only.
    pub(crate) fn in_the_way(&self, at: LockIx) -> Option<(GroupId, Token)> {
        let lock = &self.locks[at];
        let name = |lock: LockIx| (self.locks[lock].group, self.locks[lock].token);
        let mut lacking = lock.entries.iter().filter(|entry| entry.granted != Some(entry.want));
        lacking.find_map(|entry| {
            let (slot, exclusive) = (&self.slots[entry.slot], entry.want.is_exclusive());
            if lock.is_queued() {
                let conflict = !slot.holders.admits(exclusive, entry.is_upgrade());
                let mut holders = slot.roster.iter(&self.links).filter(|_| conflict);
                let holder = holders.find(|holder| *holder != at);
                let other = holder.or_else(|| slot.queue.barrier(lock.ticket, exclusive));
                return other.map(name);
            }
            if !lock.is_gated() {
                return None;
            }
            let fence = &self.fences[slot.fences_for(entry.want).next()?.fence];
            Some((fence.group, fence.token))
        })
    }

    /// One of the locks that wait for a buffer of a grant.
    pub(crate) fn waiter_of(&self, at: LockIx) -> Option<(GroupId, Token)> {
        self.locks[at].entries.iter().find_map(|entry| {
            let waiter = self.slots[entry.slot].queue.waiting(entry.granted?.is_exclusive(), at)?;
            Some((self.locks[waiter].group, self.locks[waiter].token))
        })
    }

    /// Makes a lock pending.
    fn accept(&mut self, now: Time, at: LockIx, ticket: Ticket, request: Request) -> Token {
        self.locks[at].request = Some(request);
        self.name(now, at, ticket)
    }

    /// Gives a lock its ticket. A new lock joins its group, whose kept ticket is used or lost.
    #[inline]
    fn name(&mut self, now: Time, at: LockIx, ticket: Ticket) -> Token {
        let Self { groups, locks, last, limits, .. } = self;
        let lock = &mut locks[at];
        if lock.grant.is_some() {
            return lock.token;
        }
        let group = &mut groups[lock.group.at()];
        let kept = group.kept.take();
        if ticket.0 > last.ticket {
            last.ticket = ticket.0;
            lock.life = now.after(limits.max_hold);
            if kept.is_some() {
                lock.entries.iter_mut().for_each(|entry| entry.late = false);
            }
        } else if let Some(kept) = kept {
            lock.life = kept.life;
        }
        lock.ticket = ticket;
        group.last = lock.token;
        group.locks.push(at);
        lock.token
    }

    /// Makes a lock the holder of everything that it lacks.
    pub(crate) fn take(&mut self, at: LockIx) {
        let Self { locks, slots, work, growing, links, .. } = self;
        let lock = &mut locks[at];
        let (queued, vulnerable) = (lock.is_queued(), lock.is_vulnerable());
        for entry in &mut lock.entries {
            let slot = &mut slots[entry.slot];
            if vulnerable && entry.hold.is_some() {
                growing.remove(&(entry.slot, lock.ticket, at));
            }
            if !entry.lacks() {
                continue;
            }
            if queued {
                slot.queue.remove(lock.ticket);
            }
            slot.holders.hold(&mut entry.hold, Some(entry.want));
            entry.listed.get_or_insert_with(|| slot.roster.add(links, at, false));
            work.touch(entry.slot, slot);
        }
        if let Some(request) = &mut lock.request {
            request.stage = Stage::Gated(0);
        }
    }

    /// Ends a call: lets every lock go on that can.
    #[inline]
    pub(crate) fn settle(&mut self, now: Time, fx: &mut Effects) {
        if !self.work.is_empty() {
            self.go_on(now, fx);
        }
    }

    fn go_on(&mut self, now: Time, fx: &mut Effects) {
        loop {
            while let Some(slot) = self.work.next_touched() {
                self.review(slot);
            }
            let Some(lock) = self.work.next_ready() else { break };
            self.advance(now, lock, fx);
        }
        while let Some(lock) = self.work.over.pop() {
            self.free(lock);
        }
        self.retire_abandoned(fx);
    }

    /// Finds out which waiters of a buffer have become clear or ceased to be.
    fn review(&mut self, at: SlotIx) {
        let slot = &mut self.slots[at];
        let (clear, barred) =
            slot.queue.review(|waiter| slot.holders.admits(waiter.exclusive, waiter.upgrade));
        clear.for_each(|nth| self.unblock(at, nth));
        barred.for_each(|nth| self.block(at, nth));
    }

    fn block(&mut self, slot: SlotIx, nth: usize) {
        let Some(at) = self.slots[slot].queue.lock_at(nth) else { return };
        if let Some(Request { stage: Stage::Queued { blocked }, .. }) = &mut self.locks[at].request
        {
            *blocked += 1;
        }
    }

    fn unblock(&mut self, slot: SlotIx, nth: usize) {
        let Some(at) = self.slots[slot].queue.lock_at(nth) else { return };
        let lock = &mut self.locks[at];
        if let Some(Request { stage: Stage::Queued { blocked }, .. }) = &mut lock.request {
            *blocked -= 1;
            if *blocked == 0 {
                self.work.ready(lock.ticket, at);
            }
        }
    }

    /// Lets a lock go on that has nothing to wait for. An older lock may have blocked it again meanwhile.
    fn advance(&mut self, now: Time, at: LockIx, fx: &mut Effects) {
        match self.locks[at].request.as_ref().map(|request| request.stage) {
            Some(Stage::Queued { blocked: 0 }) => self.take(at),
            Some(Stage::Gated(0)) => {}
            _ => return,
        }
        self.prepare_and_tell(now, at, Implicit::Unknown, fx);
    }

    fn wound(&mut self, now: Time, at: LockIx, fx: &mut Effects) {
        self.withdraw(now, at, fx);
        let Lock { group, token, ref mut grant, .. } = self.locks[at];
        if let Some(held) = grant {
            held.wounded = true;
            fx.push(Effect::Wounded { group, token });
            self.counters.wounds += 1;
        }
    }
}

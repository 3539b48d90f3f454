// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Who gets a buffer: tickets, queues, wounds, and the step in which a group takes all it lacks.
//!
//! Nobody holds a part of what a lock asks for while it waits for the rest: a lock stands in the
//! queue of each buffer that it lacks, and takes them together when it is clear in all queues. That
//! is the state in which wound-wait leaves a group that has backed off, so it never has to.
//!
//! Only a group that holds a grant and waits for more holds while it waits. So a wound, as in the
//! kernel, concerns only those: an older waiter wounds them where it wants what they hold, and they
//! do not begin to wait where an older waiter does already. What remains is that everybody who
//! waits does so for somebody older or for somebody who does not wait: no cycle.

use crate::arena::Ix;
use crate::effects::Grant;
use crate::group::{Entry, Group, Request, Stage};
use crate::queue::Waiter;
use crate::slot::Slot;
use crate::{Effect, Effects, Engine, Error, Implicit, LockOutcome, Ticket, Time, Token};

impl Engine {
    /// The ticket of a group's next lock: that of its grant, the one that it has kept, or a new one,
    /// which is the youngest.
    ///
    /// A kept ticket lives for as long as the longest grant, from its birth, and passes nobody who came
    /// while its group was away. So age is of use to those who stay in line, and a hundred groups that
    /// have been somewhere once pass nobody.
    pub(crate) fn ticket_of(&self, now: Time, at: Ix<Group>) -> Ticket {
        let group = &self.groups[at];
        if group.grant.is_some() {
            return group.ticket;
        }
        match group.kept {
            Some(ticket) if now < group.life && !self.passes(at, ticket) => ticket,
            _ => Ticket(self.last.ticket + 1),
        }
    }

    /// Whether with this ticket a group would pass a waiter, in conflict with it, who came to a buffer
    /// while the group was away, or before it came there itself.
    fn passes(&self, at: Ix<Group>, ticket: Ticket) -> bool {
        let group = &self.groups[at];
        group.entries.iter().any(|entry| {
            let (queue, exclusive) = (&self.slots[entry.slot].queue, entry.want.is_exclusive());
            // Whoever has come meanwhile may have left again; then an age is lost for nothing.
            entry.lacks()
                && queue.youngest(exclusive).is_some_and(|youngest| youngest > ticket)
                && (entry.late || queue.has_come_since(group.left, exclusive))
        })
    }

    /// Whether a group that grows would pass somebody after its ticket's life.
    fn is_too_old(&self, now: Time, at: Ix<Group>) -> bool {
        let group = &self.groups[at];
        group.grant.is_some() && now >= group.life && self.passes(at, group.ticket)
    }

    /// The common case, in as few steps as there are: nobody waits for what the group lacks or holds
    /// it in conflict, nothing gates it and no operation is needed.
    #[inline(always)]
    pub(crate) fn grant_at_once(
        &mut self,
        now: Time,
        at: Ix<Group>,
        implicit: Implicit,
        fx: &mut Effects,
    ) -> Option<Grant> {
        let Self { groups, slots, .. } = self;
        let group = &groups[at];
        let idle = implicit == Implicit::Idle || !self.implicit;
        let plain = group.entries.iter().all(|entry| {
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

    /// Whether nobody holds or, being older, waits for what the group lacks, in conflict with it.
    pub(crate) fn is_free(&self, now: Time, at: Ix<Group>, ticket: Ticket) -> bool {
        let free = self.groups[at].entries.iter().all(|entry| {
            if !entry.lacks() {
                return true;
            }
            let (slot, exclusive) = (&self.slots[entry.slot], entry.want.is_exclusive());
            slot.holders.admits(exclusive, entry.is_upgrade())
                && !slot.queue.bars(ticket, exclusive)
        });
        free && !self.is_too_old(now, at)
    }

    /// A group that holds does not begin to wait if an older waiter wants what it holds, nor passes
    /// anybody when its ticket's life is over.
    pub(crate) fn refuse_deadlock(&mut self, now: Time, at: Ix<Group>) -> Result<(), Error> {
        let group = &self.groups[at];
        let wanted = group.entries.iter().any(|entry| {
            let queue = &self.slots[entry.slot].queue;
            entry.hold.is_some_and(|access| queue.bars(group.ticket, access.is_exclusive()))
        });
        let refused = wanted || self.is_too_old(now, at);
        match &mut self.groups[at].grant {
            Some(held) if refused => {
                held.wounded = true;
                self.counters.deadlocks += 1;
                Err(Error::Deadlock)
            }
            _ => Ok(()),
        }
    }

    /// A lock that is free takes its buffers; it may be granted with that.
    pub(crate) fn take_at_once(
        &mut self,
        now: Time,
        at: Ix<Group>,
        ticket: Ticket,
        request: Request,
        implicit: Implicit,
        fx: &mut Effects,
    ) -> LockOutcome {
        let token = self.accept(now, at, ticket, request);
        self.take(at);
        let granted = self.prepare(now, at, implicit, fx);
        if granted.is_none() {
            self.arm(at);
        }
        self.settle(now, fx);
        granted.map_or(LockOutcome::Pending(token), LockOutcome::Granted)
    }

    /// A lock that is not free goes into the queues of the buffers that it lacks.
    pub(crate) fn enqueue(
        &mut self,
        now: Time,
        at: Ix<Group>,
        ticket: Ticket,
        request: Request,
    ) -> Token {
        self.counters.queued += 1;
        self.last.arrival.0 += 1;
        let stage = Stage::Queued { blocked: 0 };
        let token = self.accept(now, at, ticket, Request { stage, ..request });
        self.arm(at);
        let mut blocked = 0;
        for nth in 0..self.groups[at].entries.len() {
            let entry = &self.groups[at].entries[nth];
            let slot = entry.slot;
            if entry.hold.is_some() {
                self.growing.insert((slot, ticket, at));
            }
            if entry.lacks() {
                let exclusive = entry.want.is_exclusive();
                let waiter = Waiter { ticket, group: at, exclusive, upgrade: entry.is_upgrade() };
                blocked += 1;
                let demoted = self.slots[slot].queue.insert(waiter, self.last.arrival);
                demoted.for_each(|nth| self.block(slot, nth));
                self.work.touch(slot, &self.slots[slot]);
            }
        }
        if let Some(request) = &mut self.groups[at].request {
            request.stage = Stage::Queued { blocked };
        }
        token
    }

    /// Wounds the younger groups that wait while they hold what this waiter wants: their wait ends.
    /// Either all holders of a buffer conflict with the waiter or none does: a buffer has one exclusive
    /// holder, or only shared ones.
    pub(crate) fn wound_younger(&mut self, now: Time, at: Ix<Group>, fx: &mut Effects) {
        for nth in 0..self.groups[at].entries.len() {
            let group = &self.groups[at];
            let Entry { slot, want, .. } = group.entries[nth];
            let conflicts = self.slots[slot].holders.is_exclusive() || want.is_exclusive();
            if !group.entries[nth].lacks() || !conflicts {
                continue;
            }
            let younger = (slot, Ticket(group.ticket.0 + 1), Ix::FIRST);
            while let Some((_, _, victim)) =
                self.growing.range(younger..).next().filter(|(of, _, _)| *of == slot).copied()
            {
                self.wound(now, victim, fx);
            }
        }
    }

    /// Makes a lock pending.
    fn accept(&mut self, now: Time, at: Ix<Group>, ticket: Ticket, request: Request) -> Token {
        self.groups[at].request = Some(request);
        self.name(now, at, ticket)
    }

    /// Lets a lock have its token and ticket.
    #[inline]
    fn name(&mut self, now: Time, at: Ix<Group>, ticket: Ticket) -> Token {
        let Self { groups, last, limits, .. } = self;
        let group = &mut groups[at];
        if ticket.0 > last.ticket {
            last.ticket = ticket.0;
            group.life = now.after(limits.max_hold);
            if std::mem::take(&mut group.late) {
                group.entries.iter_mut().for_each(|entry| entry.late = false);
            }
        }
        if group.grant.is_none() {
            last.token += 1;
            group.token = Token(last.token);
        }
        group.ticket = ticket;
        group.kept = None;
        group.token
    }

    /// Makes a group the holder of all that it lacks.
    pub(crate) fn take(&mut self, at: Ix<Group>) {
        let Self { groups, slots, work, growing, .. } = self;
        let group = &mut groups[at];
        let (queued, vulnerable) = (group.is_queued(), group.is_vulnerable());
        for entry in &mut group.entries {
            let slot = &mut slots[entry.slot];
            if vulnerable && entry.hold.is_some() {
                growing.remove(&(entry.slot, group.ticket, at));
            }
            if !entry.lacks() {
                continue;
            }
            if queued {
                slot.queue.remove(group.ticket);
            }
            slot.hold(entry, Some(entry.want));
            work.touch(entry.slot, slot);
        }
        if let Some(request) = &mut group.request {
            request.stage = Stage::Gated(0);
        }
    }

    /// Goes on until nobody is left who could.
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
            let Some(group) = self.work.next_ready() else { break };
            self.advance(now, group, fx);
        }
        self.retire_abandoned(fx);
    }

    /// Looks who is clear on a buffer now, and who is not any more.
    fn review(&mut self, at: Ix<Slot>) {
        let slot = &mut self.slots[at];
        let (clear, barred) = slot.queue.review(&slot.holders);
        clear.for_each(|nth| self.unblock(at, nth));
        barred.for_each(|nth| self.block(at, nth));
    }

    fn block(&mut self, slot: Ix<Slot>, nth: usize) {
        let Some(group) = self.slots[slot].queue.group_at(nth) else { return };
        if let Some(Request { stage: Stage::Queued { blocked }, .. }) =
            &mut self.groups[group].request
        {
            *blocked += 1;
        }
    }

    fn unblock(&mut self, slot: Ix<Slot>, nth: usize) {
        let Some(at) = self.slots[slot].queue.group_at(nth) else { return };
        let group = &mut self.groups[at];
        if let Some(Request { stage: Stage::Queued { blocked }, .. }) = &mut group.request {
            *blocked -= 1;
            if *blocked == 0 {
                self.work.ready(group.ticket, at);
            }
        }
    }

    /// Brings a group on if it waits for nothing (it may have been ready and have been barred again
    /// by an older one).
    fn advance(&mut self, now: Time, at: Ix<Group>, fx: &mut Effects) {
        match self.groups[at].request.as_ref().map(|request| request.stage) {
            Some(Stage::Queued { blocked: 0 }) => self.take(at),
            Some(Stage::Gated(0)) => {}
            _ => return,
        }
        if let Some(grant) = self.prepare(now, at, Implicit::Unknown, fx) {
            fx.push(Effect::Granted { group: self.groups[at].id, grant });
        }
    }

    fn wound(&mut self, now: Time, at: Ix<Group>, fx: &mut Effects) {
        self.withdraw(now, at, fx);
        let group = &mut self.groups[at];
        if let Some(held) = &mut group.grant {
            held.wounded = true;
            fx.push(Effect::Wounded { group: group.id, token: group.token });
            self.counters.wounds += 1;
        }
    }
}

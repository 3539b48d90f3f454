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
use crate::group::{Group, Place, Request, Stage};
use crate::queue::Waiter;
use crate::slot::Slot;
use crate::{Access, Effect, Effects, Engine, Error, LockOutcome, Ticket, Time, Token};

impl Engine {
    /// The ticket of a group's next lock: that of its grant, the one that it has kept, or a new one,
    /// which is the youngest.
    pub(crate) fn ticket_of(&self, now: Time, at: Ix<Group>) -> Ticket {
        let group = &self.groups[at];
        if group.grant.is_some() {
            return group.ticket;
        }
        match group.kept {
            Some((ticket, until)) if now < until => ticket,
            _ => Ticket(self.last.ticket + 1),
        }
    }

    /// The common case, in as few steps as there are: nobody waits for what the group lacks or holds
    /// it in conflict, nothing gates it and no operation is needed.
    #[inline(always)]
    pub(crate) fn grant_at_once(
        &mut self,
        now: Time,
        at: Ix<Group>,
        fx: &mut Effects,
    ) -> Option<Grant> {
        let Self { groups, slots, .. } = self;
        let group = &groups[at];
        let idle = group.idle || !self.implicit;
        let plain = group.entries.iter().all(|entry| {
            !entry.lacks()
                || (idle || entry.want.is_dma())
                    && slots[entry.slot].is_plain_for(entry.want, entry.is_upgrade())
        });
        if !plain {
            return None;
        }
        let ticket = self.ticket_of(now, at);
        self.name(at, ticket);
        Some(self.grant(now, at, fx))
    }

    /// Whether nobody holds or, being older, waits for what the group lacks, in conflict with it.
    pub(crate) fn is_free(&self, at: Ix<Group>, ticket: Ticket) -> bool {
        self.groups[at].entries.iter().all(|entry| {
            if !entry.lacks() {
                return true;
            }
            let (slot, exclusive) = (&self.slots[entry.slot], entry.want.is_exclusive());
            slot.holders.admits(exclusive, entry.is_upgrade())
                && (slot.queue.is_empty() || !slot.queue.bars(ticket, exclusive))
        })
    }

    /// A group that holds does not begin to wait if an older waiter wants what it holds.
    pub(crate) fn refuse_deadlock(&mut self, at: Ix<Group>) -> Result<(), Error> {
        let group = &self.groups[at];
        let wanted = group.entries.iter().any(|entry| {
            let queue = &self.slots[entry.slot].queue;
            entry.hold.is_some_and(|access| queue.bars(group.ticket, access.is_exclusive()))
        });
        match &mut self.groups[at].grant {
            Some(held) if wanted => {
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
        expires: Option<Time>,
        fx: &mut Effects,
    ) -> LockOutcome {
        let stage = Stage::Preparing { gated: 0, job: None };
        let token = self.accept(at, ticket, expires, stage);
        self.take(at);
        let granted = self.prepare(now, at, fx);
        if granted.is_none() {
            self.arm(at);
        }
        self.settle(now, fx);
        granted.map_or(LockOutcome::Pending(token), LockOutcome::Granted)
    }

    /// A lock that is not free goes into the queues of the buffers that it lacks.
    pub(crate) fn enqueue(
        &mut self,
        at: Ix<Group>,
        ticket: Ticket,
        expires: Option<Time>,
    ) -> Token {
        self.counters.queued += 1;
        let token = self.accept(at, ticket, expires, Stage::Queued { blocked: 0 });
        self.arm(at);
        let mut blocked = 0;
        for nth in 0..self.groups[at].entries.len() {
            let entry = &self.groups[at].entries[nth];
            let slot = entry.slot;
            if entry.hold.is_some() {
                self.slots[slot].growing += 1;
            }
            if entry.lacks() {
                let exclusive = entry.want.is_exclusive();
                let waiter = Waiter { ticket, group: at, exclusive, upgrade: entry.is_upgrade() };
                blocked += 1;
                let demoted = self.slots[slot].queue.insert(waiter);
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
    pub(crate) fn wound_younger(&mut self, at: Ix<Group>, fx: &mut Effects) {
        for nth in 0..self.groups[at].entries.len() {
            let entry = &self.groups[at].entries[nth];
            let (slot, want, lacks) = (entry.slot, entry.want, entry.lacks());
            // Each wound takes one from `growing`, and changes no list of holders.
            while lacks && self.slots[slot].growing > 0 {
                let Some(victim) = self.victim(at, slot, want) else { break };
                self.wound(victim, fx);
            }
        }
    }

    /// Makes a lock pending.
    fn accept(
        &mut self,
        at: Ix<Group>,
        ticket: Ticket,
        expires: Option<Time>,
        stage: Stage,
    ) -> Token {
        self.groups[at].request = Some(Request { expires, stage });
        self.name(at, ticket)
    }

    /// Lets a lock have its token and ticket.
    #[inline]
    fn name(&mut self, at: Ix<Group>, ticket: Ticket) -> Token {
        self.last.ticket = self.last.ticket.max(ticket.0);
        let group = &mut self.groups[at];
        if group.grant.is_none() {
            self.last.token += 1;
            group.token = Token(self.last.token);
        }
        group.ticket = ticket;
        group.kept = None;
        group.token
    }

    /// Makes a group the holder of all that it lacks.
    pub(crate) fn take(&mut self, at: Ix<Group>) {
        let Self { groups, slots, work, .. } = self;
        let group = &mut groups[at];
        let (queued, vulnerable) = (group.is_queued(), group.is_vulnerable());
        for (nth, entry) in group.entries.iter_mut().enumerate() {
            let slot = &mut slots[entry.slot];
            if vulnerable && entry.hold.is_some() {
                slot.growing -= 1;
            }
            if !entry.lacks() {
                continue;
            }
            if queued {
                slot.queue.remove(group.ticket);
            }
            slot.hold(entry, Place::new(at, nth), Some(entry.want));
            work.touch(entry.slot, slot);
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
            Some(Stage::Queued { blocked: 0 }) => {
                self.take(at);
                if let Some(request) = &mut self.groups[at].request {
                    request.stage = Stage::Preparing { gated: 0, job: None };
                }
            }
            Some(Stage::Preparing { gated: 0, job: None }) => {}
            _ => return,
        }
        if let Some(grant) = self.prepare(now, at, fx) {
            fx.push(Effect::Granted { group: self.groups[at].id, grant });
        }
    }

    /// A younger group that waits while it holds this buffer in conflict with `want`.
    fn victim(&self, older: Ix<Group>, slot: Ix<Slot>, want: Access) -> Option<Ix<Group>> {
        let ticket = self.groups[older].ticket;
        let holders = &self.slots[slot].holders;
        let conflicts = holders.is_exclusive() || want.is_exclusive();
        let mut holders = holders.iter().map(|place| place.group);
        holders.find(|at| {
            let group = &self.groups[*at];
            conflicts && group.is_vulnerable() && group.ticket > ticket
        })
    }

    fn wound(&mut self, at: Ix<Group>, fx: &mut Effects) {
        self.withdraw(at);
        let group = &mut self.groups[at];
        if let Some(held) = &mut group.grant {
            held.wounded = true;
            fx.push(Effect::Wounded { group: group.id, token: group.token });
            self.counters.wounds += 1;
        }
    }
}

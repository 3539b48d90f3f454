// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The locks that wait for one buffer, in the order of tickets.
//!
//! A waiter is *clear* when no holder of the buffer and no older waiter conflicts with it. A lock that
//! is clear in all its queues takes all its buffers in one step. The clear waiters are always the head
//! of the queue: one exclusive waiter of a free buffer, or a run of shared waiters of a buffer without
//! an exclusive holder. So the queue keeps only their number. After a change it says which waiters have
//! become clear and which have ceased to be; each lock counts its own.
//!
//! A new ticket joins at the end and the next lock leaves from the head, both in O(1). A kept ticket
//! that comes back, and a lock in the middle that is cancelled or times out, cost a binary search and a
//! move of the 16 bytes of each waiter on the shorter side. The tickets of exclusive waiters are in a
//! second list, so a reader finds the oldest and the youngest of them in O(1).

use std::collections::VecDeque;
use std::ops::Range;

use crate::index::LockIx;
use crate::{Arrival, Ticket};

/// A lock's place in the queue of one buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub ticket: Ticket,
    pub lock: LockIx,
    pub exclusive: bool,
    /// It holds the buffer shared and wants it exclusively. Its own hold does not block it.
    pub upgrade: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    /// The oldest first.
    waiters: VecDeque<Waiter>,
    /// So many at the head are clear.
    clear: usize,
    /// The tickets of the exclusive waiters, the oldest first.
    exclusive: VecDeque<Ticket>,
    /// The last arrival here of any waiter, and of an exclusive one. They may have left since.
    last: [Arrival; 2],
}

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// All waiters, and whether each is clear.
    pub fn iter(&self) -> impl Iterator<Item = (&Waiter, bool)> {
        self.waiters.iter().enumerate().map(|(at, waiter)| (waiter, at < self.clear))
    }

    /// Whether a waiter older than `ticket` conflicts with such an access.
    pub fn bars(&self, ticket: Ticket, exclusive: bool) -> bool {
        let oldest = if exclusive {
            self.waiters.front().map(|waiter| waiter.ticket)
        } else {
            self.exclusive.front().copied()
        };
        oldest.is_some_and(|oldest| oldest < ticket)
    }

    /// A waiter that bars such an access with this ticket, as in [`Queue::bars`].
    pub fn barrier(&self, ticket: Ticket, exclusive: bool) -> Option<LockIx> {
        let oldest = if exclusive { self.waiters.front() } else { self.writers().next() };
        oldest.filter(|oldest| oldest.ticket < ticket).map(|oldest| oldest.lock)
    }

    /// A waiter, not this one, that conflicts with such a hold.
    pub fn waiting(&self, exclusive: bool, but: LockIx) -> Option<LockIx> {
        // A lock stands here once. So if it is the first, another is second.
        let found = if exclusive {
            self.waiters.iter().take(2).find(|waiter| waiter.lock != but)
        } else {
            self.writers().take(2).find(|writer| writer.lock != but)
        };
        found.map(|waiter| waiter.lock)
    }

    /// The exclusive waiters, the oldest first.
    fn writers(&self) -> impl Iterator<Item = &Waiter> {
        self.exclusive.iter().filter_map(|ticket| self.waiters.get(self.place(*ticket)))
    }

    /// The youngest waiter that conflicts with such an access.
    pub fn youngest(&self, exclusive: bool) -> Option<Ticket> {
        if exclusive {
            return self.waiters.back().map(|waiter| waiter.ticket);
        }
        self.exclusive.back().copied()
    }

    /// Whether a waiter that conflicts with such an access may have come after this arrival.
    pub fn has_come_since(&self, arrival: Arrival, exclusive: bool) -> bool {
        let [anybody, writer] = self.last;
        arrival < if exclusive { anybody } else { writer }
    }

    /// Adds a waiter at its place. It is not clear yet. The waiters in the returned range are not clear
    /// any more; it is empty unless the waiter is older than a clear one.
    pub fn insert(&mut self, waiter: Waiter, arrival: Arrival) -> Range<usize> {
        self.last[0] = arrival;
        let at = self.place(waiter.ticket);
        let unclear = at..self.clear.max(at);
        self.clear = self.clear.min(at);
        self.waiters.insert(at, waiter);
        if waiter.exclusive {
            self.last[1] = arrival;
            let at = place_in(&self.exclusive, waiter.ticket, |ticket| *ticket);
            self.exclusive.insert(at, waiter.ticket);
        }
        unclear.start + 1..unclear.end + 1
    }

    /// Removes the waiter with this ticket.
    pub fn remove(&mut self, ticket: Ticket) {
        let at = self.place(ticket);
        if self.waiters.get(at).is_none_or(|waiter| waiter.ticket != ticket) {
            return;
        }
        self.clear -= usize::from(at < self.clear);
        if self.waiters.remove(at).is_some_and(|waiter| waiter.exclusive) {
            let at = place_in(&self.exclusive, ticket, |ticket| *ticket);
            self.exclusive.remove(at);
        }
    }

    /// Counts the clear waiters after a change of holders or waiters. `admits` says whether the holders
    /// let a waiter in. Those in the first range have become clear, those in the second have ceased to
    /// be.
    pub fn review(&mut self, admits: impl Fn(&Waiter) -> bool) -> (Range<usize>, Range<usize>) {
        let before = self.clear;
        self.clear = match self.waiters.front() {
            Some(head) if !admits(head) => 0,
            Some(head) if head.exclusive => 1,
            Some(_) => {
                // Behind a shared head all clear waiters are shared, so the run goes on behind them.
                let rest = self.waiters.iter().skip(before);
                before + rest.take_while(|waiter| !waiter.exclusive).count()
            }
            None => 0,
        };
        (before..self.clear.max(before), self.clear..before.max(self.clear))
    }

    pub fn lock_at(&self, at: usize) -> Option<LockIx> {
        self.waiters.get(at).map(|waiter| waiter.lock)
    }

    fn place(&self, ticket: Ticket) -> usize {
        place_in(&self.waiters, ticket, |waiter| waiter.ticket)
    }
}

/// The place of this ticket in a list by age, or the place where it would go. Mostly it is one of the
/// ends.
fn place_in<T>(list: &VecDeque<T>, ticket: Ticket, ticket_of: impl Fn(&T) -> Ticket) -> usize {
    match (list.front(), list.back()) {
        (Some(oldest), _) if ticket_of(oldest) >= ticket => 0,
        (_, Some(youngest)) if ticket_of(youngest) >= ticket => {
            list.partition_point(|one| ticket_of(one) < ticket)
        }
        _ => list.len(),
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Who waits for one buffer, in the order of tickets.
//!
//! A waiter is *clear* when nobody who holds the buffer and no older waiter conflicts with it; a
//! lock whose waiters are all clear takes all its buffers in one step. The clear ones are always
//! the head of the queue: one exclusive waiter of a free buffer, or a run of shared ones of a
//! buffer without exclusive holder. So the queue keeps how many they are. When something changes it
//! says which waiters became clear or ceased to be; the locks count.
//!
//! Waiting at the end of the queue (a new ticket) and leaving from its head cost O(1). Elsewhere (a
//! kept ticket comes back, a lock is cancelled or times out in the middle) it is a binary search, and
//! a move of the 16 bytes of each waiter on the shorter side. The tickets of exclusive waiters stand
//! in a list of their own, so that a reader finds the oldest and the youngest of them in O(1).
//!
//! Knows nothing of groups but their index, and of the holders whom they admit.

use std::collections::VecDeque;
use std::ops::Range;

use crate::arena::Ix;
use crate::group::Group;
use crate::holders::Holders;
use crate::Ticket;

/// A lock's place in the queue of one buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub ticket: Ticket,
    pub group: Ix<Group>,
    pub exclusive: bool,
    /// It holds the buffer shared and wants it exclusively: its own hold is not in its way.
    pub upgrade: bool,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    /// The oldest first.
    waiters: VecDeque<Waiter>,
    /// As many at the head are clear.
    clear: usize,
    /// The tickets of the exclusive ones among them, the oldest first.
    exclusive: VecDeque<Ticket>,
    /// The last arrival here, of anybody and of an exclusive waiter, who may have left since.
    last: [Arrival; 2],
}

/// Numbers the moments at which waiters came to queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrival(pub u64);

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

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

    /// Lets a waiter in at its place. It is not clear yet; those in the range, which is empty unless
    /// an older waiter came late, are not clear any more.
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

    /// Lets the waiter with this ticket out.
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

    /// Looks who is clear now that holders or waiters have changed: those in the first range are so
    /// newly, those in the second are not any more.
    pub fn review(&mut self, holders: &Holders) -> (Range<usize>, Range<usize>) {
        let before = self.clear;
        self.clear = match self.waiters.front() {
            Some(head) if !holders.admits(head.exclusive, head.upgrade) => 0,
            Some(head) if head.exclusive => 1,
            Some(_) => {
                // Behind a shared head the clear ones are all shared, so the run goes on from them.
                let rest = self.waiters.iter().skip(before);
                before + rest.take_while(|waiter| !waiter.exclusive).count()
            }
            None => 0,
        };
        (before..self.clear.max(before), self.clear..before.max(self.clear))
    }

    pub fn group_at(&self, at: usize) -> Option<Ix<Group>> {
        self.waiters.get(at).map(|waiter| waiter.group)
    }

    fn place(&self, ticket: Ticket) -> usize {
        place_in(&self.waiters, ticket, |waiter| waiter.ticket)
    }
}

/// Where this ticket stands in a list by age, or would. Mostly it is at one of the ends.
fn place_in<T>(list: &VecDeque<T>, ticket: Ticket, ticket_of: impl Fn(&T) -> Ticket) -> usize {
    match (list.front(), list.back()) {
        (Some(oldest), _) if ticket_of(oldest) >= ticket => 0,
        (_, Some(youngest)) if ticket_of(youngest) >= ticket => {
            list.partition_point(|one| ticket_of(one) < ticket)
        }
        _ => list.len(),
    }
}

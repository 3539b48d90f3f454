// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A group: a client's buffers and its locks.

use std::time::Duration;

use crate::holders::Holders;
use crate::index::{LockIx, SlotIx};
use crate::lock::{Entry, Lock};
use crate::{Access, Arrival, BufferId, GroupId, HoldFrom, Ticket, Time, Token};

#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub id: GroupId,
    /// How long a grant lasts.
    pub hold: Duration,
    pub hold_from: HoldFrom,
    /// In the order of addition.
    pub members: Vec<Member>,
    /// The locks that are not over, in the order of their tokens.
    pub locks: Vec<LockIx>,
    /// The greatest token that a lock was accepted with.
    pub last: Token,
    /// The next lock uses this ticket, while it lives.
    pub kept: Option<Kept>,
}

/// A buffer of a group.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub buffer: BufferId,
    pub slot: SlotIx,
    /// The access of locks that name none.
    pub access: Access,
    /// What the group's own locks have and want here. A lock that conflicts with it is refused, because
    /// it would wait for its own client.
    pub wanted: Holders,
}

/// The ticket of a lock that ended without a grant, or of a grant that was wounded.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub ticket: Ticket,
    /// The end of its life.
    pub life: Time,
    /// The last arrival at any queue when the lock ended. Later arrivals came while the ticket was kept.
    pub left: Arrival,
    /// Where the lock stood in line from the ticket's birth, and whether for an exclusive access.
    pub stood: Vec<(SlotIx, bool)>,
}

impl Group {
    pub fn new(id: GroupId, hold: Duration, hold_from: HoldFrom) -> Self {
        let (members, locks) = (Vec::new(), Vec::new());
        Self { id, hold, hold_from, members, locks, last: Token(0), kept: None }
    }

    pub fn position_of(&self, buffer: BufferId) -> Option<usize> {
        self.members.iter().position(|member| member.buffer == buffer)
    }
}

impl Kept {
    pub fn of(lock: &Lock, left: Arrival) -> Self {
        let stood = lock.entries.iter().filter(|entry| !entry.late);
        let stood = stood.map(|entry| (entry.slot, entry.want.is_exclusive())).collect();
        Self { ticket: lock.ticket, life: lock.life, left, stood }
    }

    /// Whether a lock with this ticket comes late to what the entry wants.
    pub fn is_late(&self, entry: &Entry) -> bool {
        let stood = |(slot, exclusive): &(SlotIx, bool)| {
            *slot == entry.slot && (*exclusive || !entry.want.is_exclusive())
        };
        !self.stood.iter().any(stood)
    }
}

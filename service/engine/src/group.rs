// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A group and its entries: what it wants of which buffer, and how far its lock is.
//!
//! ```text
//!   grant   request
//!   -----   -------
//!    no       no     idle: buffers come and go
//!    no      yes     acquiring; holds nothing while it waits for others
//!   yes       no     holding
//!   yes      yes     growing: acquires more while it holds; an older waiter can wound it
//! ```

use std::time::Duration;

use crate::index::{JobIx, SlotIx, UntoldIx};
use crate::{Access, Arrival, Error, GroupId, HoldFrom, Phase, SyncFlags, Ticket, Time, Token};

#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub id: GroupId,
    /// How long a grant lasts.
    pub hold: Duration,
    pub hold_from: HoldFrom,
    /// In the order of addition. They come and go only while there is no request.
    pub entries: Vec<Entry>,
    /// The ticket and the token of the request and the grant, while there is one of the two.
    pub ticket: Ticket,
    pub token: Token,
    /// The end of the last ticket's life. It is set at the ticket's birth and never again.
    pub life: Time,
    /// The ticket of a lock that ended without a grant, or of a grant that was wounded. The next lock
    /// uses it, while it lives.
    pub kept: Option<Ticket>,
    /// The last arrival at any queue when the group kept its ticket. Later arrivals came while the group
    /// was away.
    pub left: Arrival,
    /// Some entry is [`Entry::late`].
    pub late: bool,
    pub request: Option<Request>,
    pub grant: Option<Held>,
}

/// A lock that is not granted yet.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// When the lock times out.
    pub expires: Option<Time>,
    pub stage: Stage,
    /// When the client asked.
    pub asked: Time,
    /// When the lock gives up waiting for implicit fences, whoever else waits for them. It is set when
    /// the first wait begins. A `try_lock` never waits.
    pub patience: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The lock is in the queues of the buffers that the group lacks.
    Queued {
        /// How many of these queues block it: it is not clear there.
        blocked: u32,
    },
    /// It has taken the buffers. So many of them wait for operations of others or for release fences.
    Gated(u32),
    /// It has taken the buffers and waits for implicit fences. It blocks nobody who may share them.
    Waiting(JobIx),
    /// It has taken the buffers, and its own operations are in flight.
    Syncing(JobIx),
}

/// A grant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    /// [`Time::NEVER`]: nobody has waited yet, and the time counts from then.
    pub deadline: Time,
    /// The group was told that somebody waits.
    pub contended: bool,
    /// The group gets nothing more until it has unlocked.
    pub wounded: bool,
}

/// A buffer in a group.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub slot: SlotIx,
    /// The access that the client has asked for. It is never weaker than the access that is held.
    pub want: Access,
    /// The access that the slot counts the group as a holder for: granted, or taken and not granted
    /// yet.
    pub hold: Option<Access>,
    /// The access that the client was granted.
    pub granted: Option<Access>,
    /// The entry waits for these implicit fences of the buffer.
    pub waits: Option<SyncFlags>,
    /// Its place in the slot's list of holders that were not told that somebody waits.
    pub untold: Option<UntoldIx>,
    /// Its place in the slot's list of gated entries, counted from 1. 0: it is not in the list.
    pub gated: u32,
    /// The evictions of the buffer before the grant began.
    pub seen: u64,
    /// The group has come to this buffer, or wants it exclusively, since its ticket was born: others may
    /// have stood there first.
    pub late: bool,
}

impl Group {
    pub fn new(id: GroupId, hold: Duration, hold_from: HoldFrom) -> Self {
        Self {
            id,
            hold,
            hold_from,
            entries: Vec::new(),
            ticket: Ticket(0),
            token: Token(0),
            life: Time(0),
            kept: None,
            left: Arrival::default(),
            late: false,
            request: None,
            grant: None,
        }
    }

    /// The earlier of its deadline and its time-out.
    pub fn due(&self) -> Option<Time> {
        let deadline = self.grant.map(|grant| grant.deadline);
        let deadline = deadline.filter(|deadline| *deadline != Time::NEVER);
        let expires = self.request.as_ref().and_then(|request| request.expires);
        match (deadline, expires) {
            (Some(deadline), Some(expires)) => Some(deadline.min(expires)),
            (one, other) => one.or(other),
        }
    }

    /// Why a lock is refused, whatever other groups do.
    pub fn why_not_lockable(&self) -> Option<Error> {
        if self.request.is_some() {
            return Some(Error::AlreadyQueued);
        }
        match self.grant {
            Some(Held { wounded: true, .. }) => Some(Error::Deadlock),
            Some(_) => {
                let lacks = self.entries.iter().any(Entry::lacks);
                (!lacks).then_some(Error::AlreadyLocked)
            }
            None => self.entries.is_empty().then_some(Error::EmptyGroup),
        }
    }

    pub fn is_queued(&self) -> bool {
        matches!(self.request, Some(Request { stage: Stage::Queued { .. }, .. }))
    }

    /// Whether it holds and waits for others. Only such a group can be wounded.
    pub fn is_vulnerable(&self) -> bool {
        self.grant.is_some() && self.is_queued()
    }

    /// Notes that an entry was added, or wants more, after the birth of the ticket that the group has or
    /// keeps.
    pub fn comes_late(&mut self, nth: usize) {
        if self.grant.is_some() || self.kept.is_some() {
            self.entries[nth].late = true;
            self.late = true;
        }
    }

    pub fn phase(&self) -> Phase {
        match (&self.grant, &self.request) {
            (None, None) => Phase::Idle,
            (None, Some(Request { stage: Stage::Queued { .. }, .. })) => Phase::Queued,
            (None, Some(_)) => Phase::Preparing,
            (Some(held), None) => Phase::Held { deadline: held.deadline },
            (Some(held), Some(_)) => Phase::Growing { deadline: held.deadline },
        }
    }
}

impl Entry {
    pub fn new(slot: SlotIx, want: Access) -> Self {
        let (hold, granted) = (None, None);
        Self {
            slot,
            want,
            hold,
            granted,
            waits: None,
            untold: None,
            gated: 0,
            seen: 0,
            late: false,
        }
    }

    /// The access that it has taken and that the client was not granted yet.
    pub fn taken(&self) -> Option<Access> {
        self.hold.filter(|_| self.hold != self.granted)
    }

    /// Whether a lock needs to get something here.
    pub fn lacks(&self) -> bool {
        self.hold != Some(self.want)
    }

    /// Whether it holds the buffer shared and wants it exclusively.
    pub fn is_upgrade(&self) -> bool {
        self.hold.is_some() && self.lacks()
    }
}

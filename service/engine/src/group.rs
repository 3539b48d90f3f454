// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A group and its entries: what it wants of which buffer, and how far it has come.
//!
//! ```text
//!   grant   request
//!   -----   -------
//!    no       no     idle: buffers come and go
//!    no      yes     acquiring, holds nothing while it waits for others
//!   yes       no     holding
//!   yes      yes     growing: acquiring more while it holds; can be wounded while it waits
//! ```

use std::time::Duration;

use crate::arena::Ix;
use crate::prepare::Job;
use crate::queue::Arrival;
use crate::slot::Slot;
use crate::{Access, Error, GroupId, Phase, SyncFlags, Ticket, Time, Token};

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub id: GroupId,
    /// How long a grant lasts.
    pub hold: Duration,
    /// In the order of addition. Those held come first: what is added to a grant is added behind, and
    /// only a lock that gets all of it makes it held.
    pub entries: Vec<Entry>,
    /// Of the request and the grant, while there is either.
    pub ticket: Ticket,
    pub token: Token,
    /// When the life of the last ticket is over. Set at its birth, and never again.
    pub life: Time,
    /// The ticket of a lock that ended without a grant, or of a grant that was wounded. The next lock
    /// has it, while it lives.
    pub kept: Option<Ticket>,
    /// The last arrival at any queue when the group kept its ticket. Who has come later came while it
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
    /// When the client has waited long enough.
    pub expires: Option<Time>,
    pub stage: Stage,
    /// When the client asked.
    pub asked: Time,
    /// When it has waited long enough for implicit fences, whoever else waits for them. Known when it
    /// begins to wait for one; a `try_lock` never waits.
    pub patience: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// In the queues of the buffers that it lacks.
    Queued {
        /// In how many of them it is not clear.
        blocked: u32,
    },
    /// It has taken them. So many of them wait for others' operations or for fences.
    Gated(u32),
    /// It has taken them, and waits for implicit fences. It keeps nobody else.
    Waiting(Ix<Job>),
    /// It has taken them, and its own operations are in flight.
    Syncing(Ix<Job>),
}

/// A grant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub deadline: Time,
    /// It is to be given back before the group gets more.
    pub wounded: bool,
}

/// A buffer in a group.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub slot: Ix<Slot>,
    /// What the client asked for. Never weaker than what is held.
    pub want: Access,
    /// What the group holds in the slot's books, granted or about to be.
    pub hold: Option<Access>,
    /// What of it the client knows.
    pub granted: Option<Access>,
    /// It is one of the slot's waits for these implicit fences.
    pub waits: Option<SyncFlags>,
    /// Its place in the slot's list of those who wait at its gates, counted from 1; 0: in none.
    pub gated: u32,
    /// Evictions that the buffer had seen when the grant began.
    pub seen: u64,
    /// The group has come to this buffer, or wants it exclusively, since its ticket was born: others may
    /// have stood there first.
    pub late: bool,
}

/// Where an entry that is held can be found. Stable while it is: see [`Group::entries`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub group: Ix<Group>,
    pub nth: u32,
}

impl Group {
    pub fn new(id: GroupId, hold: Duration) -> Self {
        Self {
            id,
            hold,
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

    /// When something is to be done about it.
    pub fn due(&self) -> Option<Time> {
        let deadline = self.grant.map(|grant| grant.deadline);
        let expires = self.request.as_ref().and_then(|request| request.expires);
        match (deadline, expires) {
            (Some(deadline), Some(expires)) => Some(deadline.min(expires)),
            (one, other) => one.or(other),
        }
    }

    /// Why a lock is refused, whatever others do.
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

    /// Whether it waits for others while it holds: only then a wound makes sense.
    pub fn is_vulnerable(&self) -> bool {
        self.grant.is_some() && self.is_queued()
    }

    /// Has an entry come later to its buffer than the ticket that the group has, or has kept: it has
    /// been added, or wants more.
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

impl Place {
    pub fn new(group: Ix<Group>, nth: usize) -> Self {
        Self { group, nth: nth as u32 }
    }
}

impl Entry {
    pub fn new(slot: Ix<Slot>, want: Access) -> Self {
        let (hold, granted) = (None, None);
        Self { slot, want, hold, granted, waits: None, gated: 0, seen: 0, late: false }
    }

    /// What it holds and the client does not know of yet.
    pub fn taken(&self) -> Option<Access> {
        self.hold.filter(|_| self.hold != self.granted)
    }

    /// Whether a lock has to get something here.
    pub fn lacks(&self) -> bool {
        self.hold != Some(self.want)
    }

    /// Whether it holds the buffer shared and wants it exclusively.
    pub fn is_upgrade(&self) -> bool {
        self.hold.is_some() && self.lacks()
    }
}

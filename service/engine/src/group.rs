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
use crate::slot::Slot;
use crate::sync::Job;
use crate::{Access, Error, GroupId, Phase, Ticket, Time, Token};

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
    /// The ticket of a lock that was given up before it was granted and released, until when it may
    /// be used again.
    pub kept: Option<(Ticket, Time)>,
    pub request: Option<Request>,
    pub grant: Option<Held>,
    /// No implicit fence is pending that its CPU accesses would have to wait for, as far as has just
    /// been found out.
    pub idle: bool,
}

/// A lock that is not granted yet.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// When the client has waited long enough.
    pub expires: Option<Time>,
    pub stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// In the queues of the buffers that it lacks.
    Queued {
        /// In how many of them it is not clear.
        blocked: u32,
    },
    /// It has taken them; they are being made ready.
    Preparing {
        /// How many of them wait for others' operations or for fences.
        gated: u32,
        /// Its own operations.
        job: Option<Ix<Job>>,
    },
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
    /// Waits for the slot's operations or fences.
    pub gated: bool,
    /// Evictions that the buffer had seen when the grant began.
    pub seen: u64,
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
            kept: None,
            request: None,
            grant: None,
            idle: false,
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
        Self { slot, want, hold: None, granted: None, gated: false, seen: 0 }
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

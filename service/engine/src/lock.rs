// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A lock and its entries: what it wants of which buffer, and how far it is.
//!
//! ```text
//!   grant   request
//!   -----   -------
//!    no       no     over; the call that ended it frees it
//!    no      yes     acquiring; holds nothing while it waits for others
//!   yes       no     holding
//!   yes      yes     growing: acquires more while it holds; an older waiter can wound it
//! ```

use std::time::Duration;

use crate::index::{JobIx, SlotIx};
use crate::roster;
use crate::{Access, GroupId, HoldFrom, Phase, SyncFlags, Ticket, Time, Token};

/// The kernel's `ww_acquire_ctx`, together with its grant.
#[derive(Clone, Debug)]
pub(crate) struct Lock {
    pub group: GroupId,
    pub token: Token,
    /// How long its grant lasts.
    pub hold: Duration,
    pub hold_from: HoldFrom,
    /// They come and go only while there is no request.
    pub entries: Vec<Entry>,
    pub ticket: Ticket,
    /// The end of the ticket's life. It is set at the ticket's birth and never again.
    pub life: Time,
    pub request: Option<Request>,
    pub grant: Option<Held>,
}

/// A wait for a grant, or for more of it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// When the lock times out.
    pub expires: Option<Time>,
    pub stage: Stage,
    /// When the client asked.
    pub asked: Time,
    /// When the lock gives up waiting for implicit fences, whoever else waits for them. It is set when
    /// the first wait begins. A lock that may not wait ([`crate::Wait::Never`]) has it from the start.
    pub patience: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The lock is in the queues of the buffers that it lacks.
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
    /// The lock gets nothing more until it has ended.
    pub wounded: bool,
}

/// A buffer in a lock.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub slot: SlotIx,
    /// The position of the buffer in its group.
    pub member: u32,
    /// The access that the client has asked for. It is never weaker than the access that is held.
    pub want: Access,
    /// The access that the slot counts the lock as a holder for: granted, or taken and not granted
    /// yet.
    pub hold: Option<Access>,
    /// The access that the client was granted.
    pub granted: Option<Access>,
    /// The entry waits for these implicit fences of the buffer.
    pub waits: Option<SyncFlags>,
    /// Its place among the holders of the slot, while the slot counts it as one.
    pub listed: Option<roster::Place>,
    /// Its place in the slot's list of gated entries, counted from 1. 0: it is not in the list.
    pub gated: u32,
    /// The evictions of the buffer before the grant began.
    pub seen: u64,
    /// The lock has come to this buffer, or wants it exclusively, since its ticket was born: others may
    /// have stood there first.
    pub late: bool,
}

impl Lock {
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

    #[cfg(feature = "check")]
    pub fn is_over(&self) -> bool {
        self.grant.is_none() && self.request.is_none()
    }

    pub fn is_queued(&self) -> bool {
        matches!(self.request, Some(Request { stage: Stage::Queued { .. }, .. }))
    }

    pub fn is_gated(&self) -> bool {
        matches!(self.request, Some(Request { stage: Stage::Gated(_), .. }))
    }

    /// Whether it holds and waits for others. Only such a lock can be wounded.
    pub fn is_vulnerable(&self) -> bool {
        self.grant.is_some() && self.is_queued()
    }

    /// `None` if it is over.
    pub fn phase(&self) -> Option<Phase> {
        Some(match (&self.grant, &self.request) {
            (None, None) => return None,
            (None, Some(Request { stage: Stage::Queued { .. }, .. })) => Phase::Queued,
            (None, Some(_)) => Phase::Preparing,
            (Some(held), None) => Phase::Held { deadline: held.deadline },
            (Some(held), Some(_)) => Phase::Growing { deadline: held.deadline },
        })
    }
}

impl Entry {
    pub fn new(slot: SlotIx, member: usize, want: Access, late: bool) -> Self {
        Self {
            slot,
            member: member as u32,
            want,
            hold: None,
            granted: None,
            waits: None,
            listed: None,
            gated: 0,
            seen: 0,
            late,
        }
    }

    /// The access that it has taken and that the client was not granted yet.
    pub fn taken(&self) -> Option<Access> {
        self.hold.filter(|_| self.hold != self.granted)
    }

    /// Whether the lock needs to get something here.
    pub fn lacks(&self) -> bool {
        self.hold != Some(self.want)
    }

    /// Whether it holds the buffer shared and wants it exclusively.
    pub fn is_upgrade(&self) -> bool {
        self.hold.is_some() && self.lacks()
    }
}

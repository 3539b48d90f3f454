// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! One buffer: who holds it, who waits for it, and what is true of it.
//!
//! The waiters stand in the order of their stamps. A waiter is *clear* when nobody who holds the
//! buffer and nobody ahead of it conflicts with it; a group whose entries are all clear takes all
//! its buffers in one step. Clear waiters are the head of the queue: either one exclusive waiter of
//! a free buffer, or a run of shared ones of a buffer without exclusive holder. The queue only
//! grows at its end, so a clear waiter stays clear until it leaves.
//!
//! Knows nothing of groups.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::coherence::Coherence;
use crate::{Access, JobId, Token};

/// See the module. Tokens are handed out in the order of locking, so they are the stamps too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    /// Groups that have the buffer.
    pub members: usize,
    /// Locks that hold it.
    pub holders: BTreeMap<Token, Access>,
    waiters: BTreeMap<Token, Access>,
    /// Exclusive ones among the waiters.
    exclusive_waiters: usize,
    /// Every waiter up to this stamp is clear, none after it is.
    clear_to: Option<Token>,
    /// Cache operations in flight. Nobody is granted the buffer meanwhile.
    pub job: Option<JobId>,
    /// Locks that hold the buffer and wait for the end of `job`.
    pub after_job: BTreeSet<Token>,
    pub coherence: Coherence,
    /// Exclusive grants so far.
    pub generation: u64,
    /// Evictions so far.
    pub evictions: u64,
    /// As many of them had happened when the last grant that ended in order began.
    pub settled: u64,
}

impl Slot {
    /// Whether an earlier holder was evicted, and no grant since has ended in order.
    pub fn tainted(&self) -> bool {
        self.evictions > self.settled
    }

    fn held_exclusively(&self) -> bool {
        // An exclusive holder is the only one.
        self.holders.values().next().is_some_and(|access| access.is_exclusive())
    }

    /// Whether `access` conflicts with nobody who holds or waits.
    pub fn admits(&self, access: Access) -> bool {
        if access.is_exclusive() {
            self.holders.is_empty() && self.waiters.is_empty()
        } else {
            !self.held_exclusively() && self.exclusive_waiters == 0
        }
    }

    /// Puts a waiter at the end of the queue: its stamp is the youngest.
    pub fn enqueue(&mut self, token: Token, access: Access) {
        self.exclusive_waiters += usize::from(access.is_exclusive());
        self.waiters.insert(token, access);
    }

    /// Takes a waiter out, granted or not.
    pub fn dequeue(&mut self, token: Token) {
        if let Some(access) = self.waiters.remove(&token) {
            self.exclusive_waiters -= usize::from(access.is_exclusive());
        }
    }

    /// The next waiter to become clear, if one can; it then counts as clear.
    pub fn clear_next(&mut self) -> Option<Token> {
        let from = self.clear_to.map_or(Bound::Unbounded, Bound::Excluded);
        let (&token, access) = self.waiters.range((from, Bound::Unbounded)).next()?;
        let first = self.waiters.keys().next() == Some(&token);
        let clear = if access.is_exclusive() {
            first && self.holders.is_empty()
        } else {
            !self.held_exclusively() && (first || !self.exclusive_head())
        };
        clear.then(|| {
            self.clear_to = Some(token);
            token
        })
    }

    /// Whether the head of the queue is exclusive. Only a head can be exclusive and clear.
    fn exclusive_head(&self) -> bool {
        self.waiters.values().next().is_some_and(|access| access.is_exclusive())
    }

    /// The queue, oldest first, each with whether it is clear.
    pub fn waiters(&self) -> impl Iterator<Item = (Token, Access, bool)> + '_ {
        self.waiters.iter().map(|(token, access)| (*token, *access, self.clear_to >= Some(*token)))
    }

    /// Nobody has it, holds it or works on it.
    pub fn is_abandoned(&self) -> bool {
        self.members == 0 && self.holders.is_empty() && self.job.is_none()
    }
}

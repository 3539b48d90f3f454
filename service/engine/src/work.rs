// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What a call still has to look at before it is over. Empty between calls; kept so that a call
//! allocates nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::arena::Ix;
use crate::group::Group;
use crate::slot::Slot;
use crate::Ticket;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Work {
    /// Buffers whose waiters may be clear now, or not any more.
    touched: Vec<Ix<Slot>>,
    /// Groups that may wait for nothing any more, the oldest first.
    ready: BinaryHeap<Reverse<(Ticket, Ix<Group>)>>,
    /// Buffers that nobody may have any more.
    abandoned: Vec<Ix<Slot>>,
    /// Groups whose deadline or time-out is being looked at.
    pub due: Vec<Ix<Group>>,
}

impl Work {
    pub fn touch(&mut self, at: Ix<Slot>, slot: &Slot) {
        if !slot.queue.is_empty() {
            self.touched.push(at);
        }
    }

    pub fn next_touched(&mut self) -> Option<Ix<Slot>> {
        self.touched.pop()
    }

    pub fn ready(&mut self, ticket: Ticket, group: Ix<Group>) {
        self.ready.push(Reverse((ticket, group)));
    }

    pub fn next_ready(&mut self) -> Option<Ix<Group>> {
        self.ready.pop().map(|Reverse((_, group))| group)
    }

    pub fn abandon(&mut self, at: Ix<Slot>, slot: &Slot) {
        if slot.is_abandoned() {
            self.abandoned.push(at);
        }
    }

    pub fn next_abandoned(&mut self) -> Option<Ix<Slot>> {
        self.abandoned.pop()
    }

    pub fn is_empty(&self) -> bool {
        self.touched.is_empty()
            && self.ready.is_empty()
            && self.abandoned.is_empty()
            && self.due.is_empty()
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The open work of a call. It is empty between calls; the engine keeps it so that a call allocates
//! nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::index::{LockIx, SlotIx};
use crate::slot::Slot;
use crate::Ticket;

#[derive(Clone, Debug, Default)]
pub(crate) struct Work {
    /// Buffers whose waiters may have become clear, or ceased to be.
    touched: Vec<SlotIx>,
    /// Locks that may have nothing left to wait for, the oldest first.
    ready: BinaryHeap<Reverse<(Ticket, LockIx)>>,
    /// Buffers that nobody may have any more.
    abandoned: Vec<SlotIx>,
    /// Locks whose deadline or time-out has come.
    pub due: Vec<LockIx>,
    /// Locks that are over.
    pub over: Vec<LockIx>,
}

impl Work {
    pub fn touch(&mut self, at: SlotIx, slot: &Slot) {
        if !slot.queue.is_empty() {
            self.touched.push(at);
        }
    }

    pub fn next_touched(&mut self) -> Option<SlotIx> {
        self.touched.pop()
    }

    pub fn ready(&mut self, ticket: Ticket, lock: LockIx) {
        self.ready.push(Reverse((ticket, lock)));
    }

    pub fn next_ready(&mut self) -> Option<LockIx> {
        self.ready.pop().map(|Reverse((_, lock))| lock)
    }

    pub fn abandon(&mut self, at: SlotIx, slot: &Slot) {
        if slot.is_abandoned() {
            self.abandoned.push(at);
        }
    }

    pub fn next_abandoned(&mut self) -> Option<SlotIx> {
        self.abandoned.pop()
    }

    pub fn is_empty(&self) -> bool {
        self.touched.is_empty()
            && self.ready.is_empty()
            && self.abandoned.is_empty()
            && self.due.is_empty()
            && self.over.is_empty()
    }
}

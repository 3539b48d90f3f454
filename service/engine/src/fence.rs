// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Release fences, and the lists of a buffer's pending ones.
//!
//! A fence may be given for many buffers, and a buffer may have many fences. Each pair is a [`Part`]
//! of the fence and a [`Gate`] of the buffer; they name each other's place, so that a fence that ends
//! leaves each list in O(1).
//!
//! A grant that is given back with several fences for one buffer has ended in order when the last of
//! them has signalled, and not before: [`Ending`] counts them.

use crate::arena::Ix;
use crate::slot::Slot;
use crate::{Access, FenceId, GroupId, Token};

/// A release fence: what it was given for may still be at work until it has signalled.
#[derive(Clone, Debug)]
pub(crate) struct Fence {
    pub id: FenceId,
    /// Who gave it, to be named.
    pub group: GroupId,
    pub token: Token,
    pub parts: Vec<Part>,
}

/// A buffer behind a fence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub slot: Ix<Slot>,
    /// The place of its gate in the buffer's list.
    pub at: u32,
    pub ending: Ix<Ending>,
    /// The access that the giver of the fence had.
    pub access: Access,
}

/// A buffer of a grant that was given back with fences.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    /// Evictions that the buffer had seen when the grant began.
    pub seen: u64,
    /// Fences of this buffer and this grant that are pending.
    pub pending: u32,
    /// One of them has failed: the grant does not end in order.
    pub failed: bool,
}

/// A fence's part in a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate {
    pub fence: Ix<Fence>,
    /// The part of the fence that is this gate.
    pub nth: u32,
}

/// The pending fences of a buffer. Those of writers concern everybody, those of readers the next
/// writer, so they are two lists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gates {
    of_writers: Vec<Gate>,
    of_readers: Vec<Gate>,
    /// How many of each list the CPU has given.
    cpu_writers: u32,
    cpu_readers: u32,
}

impl Gates {
    pub fn is_empty(&self) -> bool {
        self.of_writers.is_empty() && self.of_readers.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Gate> {
        self.of_writers.iter().chain(&self.of_readers)
    }

    /// Those that such an access has to wait for, before its grant or with it.
    pub fn concerning(&self, access: Access) -> impl Iterator<Item = &Gate> {
        let readers = if access.is_exclusive() { &self.of_readers[..] } else { &[] };
        self.of_writers.iter().chain(readers)
    }

    /// Whether there is one that such an access has to wait for.
    pub fn concern(&self, access: Access) -> bool {
        !self.of_writers.is_empty() || access.is_exclusive() && !self.of_readers.is_empty()
    }

    /// Whether the CPU has given one that such an access has to wait for.
    pub fn concern_by_cpu(&self, access: Access) -> bool {
        self.cpu_writers > 0 || access.is_exclusive() && self.cpu_readers > 0
    }

    /// Lets a gate in; its place in the list.
    pub fn push(&mut self, gate: Gate, giver: Access) -> u32 {
        *self.cpu_givers(giver) += u32::from(!giver.is_dma());
        let list = self.list(giver);
        list.push(gate);
        list.len() as u32 - 1
    }

    /// Lets the gate at this place out. The one that takes its place comes back.
    pub fn remove(&mut self, at: u32, giver: Access) -> Option<Gate> {
        *self.cpu_givers(giver) -= u32::from(!giver.is_dma());
        let list = self.list(giver);
        list.swap_remove(at as usize);
        list.get(at as usize).copied()
    }

    fn list(&mut self, giver: Access) -> &mut Vec<Gate> {
        if giver.is_exclusive() {
            &mut self.of_writers
        } else {
            &mut self.of_readers
        }
    }

    fn cpu_givers(&mut self, giver: Access) -> &mut u32 {
        if giver.is_exclusive() {
            &mut self.cpu_writers
        } else {
            &mut self.cpu_readers
        }
    }

    /// How many fences of each list the CPU gave, for checkers: of writers, of readers.
    pub fn by_cpu(&self) -> [u32; 2] {
        [self.cpu_writers, self.cpu_readers]
    }
}

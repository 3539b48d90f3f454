// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Release fences, and the lists of a buffer's pending ones.
//!
//! A fence may be given for many buffers, and a buffer may have many fences. Each pair is a [`Part`] of
//! the fence and a [`Gate`] of the buffer. Each of the two knows the other's place, so a fence that ends
//! leaves each list in O(1).
//!
//! If a grant ends with several fences for one buffer, it has ended in order when the last of them has
//! signalled. [`Ending`] counts them.

use crate::index::{EndingIx, FenceIx, SlotIx};
use crate::{Access, FenceId, GroupId, Token};

/// A release fence: until it has signalled, its giver may still be at work on the buffers.
#[derive(Clone, Debug)]
pub(crate) struct Fence {
    pub id: FenceId,
    /// The giver, for messages.
    pub group: GroupId,
    pub token: Token,
    pub parts: Vec<Part>,
}

/// A buffer behind a fence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub slot: SlotIx,
    /// The place of its gate in the buffer's list.
    pub at: u32,
    pub ending: EndingIx,
    /// The access that the giver had.
    pub access: Access,
}

/// A buffer of a grant that ended with fences.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    /// The evictions of the buffer before the grant began.
    pub seen: u64,
    /// The pending fences of this buffer and this grant.
    pub pending: u32,
    /// One of them has failed: the grant does not end in order.
    pub failed: bool,
}

/// A fence in the list of a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate {
    pub fence: FenceIx,
    /// The place of its part in the fence's list.
    pub nth: u32,
}

/// The pending fences of a buffer. Fences of writers concern everybody, fences of readers concern the
/// next writer: so there are two lists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gates {
    of_writers: Vec<Gate>,
    of_readers: Vec<Gate>,
    /// How many fences of each list the CPU has given.
    cpu_writers: u32,
    cpu_readers: u32,
}

impl Gates {
    pub fn is_empty(&self) -> bool {
        self.of_writers.is_empty() && self.of_readers.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Gate> {
        self.of_writers.iter().chain(&self.of_readers)
    }

    /// The fences that such an access waits for, before its grant or with it.
    pub fn concerning(&self, access: Access) -> impl Iterator<Item = &Gate> {
        let readers = if access.is_exclusive() { &self.of_readers[..] } else { &[] };
        self.of_writers.iter().chain(readers)
    }

    /// Whether there is a fence that such an access waits for.
    pub fn concern(&self, access: Access) -> bool {
        !self.of_writers.is_empty() || access.is_exclusive() && !self.of_readers.is_empty()
    }

    /// Whether the CPU has given a fence that such an access waits for.
    pub fn concern_by_cpu(&self, access: Access) -> bool {
        self.cpu_writers > 0 || access.is_exclusive() && self.cpu_readers > 0
    }

    /// The numbers of fences that CPU writers and CPU readers have given.
    #[cfg(feature = "check")]
    pub fn by_cpu(&self) -> [u32; 2] {
        [self.cpu_writers, self.cpu_readers]
    }

    /// Adds a gate and returns its place in the list.
    pub fn push(&mut self, gate: Gate, giver: Access) -> u32 {
        *self.cpu_givers(giver) += u32::from(!giver.is_dma());
        let list = self.list(giver);
        list.push(gate);
        list.len() as u32 - 1
    }

    /// Removes the gate at this place and returns the gate that has moved there, if one has.
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
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The names by which the parts of the lock table link to each other.
//!
//! A lock, a buffer's slot, a job and a fence name each other, but none of their files needs the
//! others: an index says of which kind its value is, and not what the value is made of.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::num::NonZeroU32;

// The kinds of values that have an index.
pub(crate) const GROUP: u8 = 0;
pub(crate) const SLOT: u8 = 1;
pub(crate) const JOB: u8 = 2;
pub(crate) const FENCE: u8 = 3;
pub(crate) const ENDING: u8 = 4;
pub(crate) const HOLDER: u8 = 5;
pub(crate) const LOCK: u8 = 6;

pub(crate) type GroupIx = Ix<GROUP>;
pub(crate) type LockIx = Ix<LOCK>;
pub(crate) type SlotIx = Ix<SLOT>;
pub(crate) type JobIx = Ix<JOB>;
pub(crate) type FenceIx = Ix<FENCE>;
pub(crate) type EndingIx = Ix<ENDING>;
pub(crate) type HolderIx = Ix<HOLDER>;

/// The place of a value in its [`Arena`]. It counts from 1, so that an `Option` of it needs no more
/// room.
///
/// [`Arena`]: crate::arena::Arena
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ix<const KIND: u8>(NonZeroU32);

impl<const KIND: u8> Ix<KIND> {
    /// The least index: the begin of a range.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// Panics beyond 2^32 - 1 values.
    pub fn new(position: usize) -> Self {
        let number = u32::try_from(position + 1).ok().and_then(NonZeroU32::new);
        Self(number.expect("fewer than 2^32 values"))
    }

    /// The same place in a table beside the arena.
    pub fn position(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// The place of an entry whose lock waits. It is stable meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub lock: LockIx,
    pub nth: u32,
}

impl Place {
    pub fn new(lock: LockIx, nth: usize) -> Self {
        Self { lock, nth: nth as u32 }
    }
}

/// A table by public id. Nobody iterates over it, so nothing depends on its order.
pub(crate) type IdMap<I, V> = HashMap<I, V, BuildIdHasher>;

/// For callers that keep tables of their own by the engine's ids.
pub type BuildIdHasher = BuildHasherDefault<IdHasher>;

/// Fibonacci hashing, which spreads numbers that count up. The engine or its caller chooses the ids,
/// never a client, so the hash needs no defence against chosen ones.
#[derive(Clone, Debug, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.write_u64(u64::from(id));
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The names by which the parts of the lock table link to each other.
//!
//! A group, a buffer's slot, a job and a fence name each other, but none of their files needs the
//! others: an index says of which kind its value is, and not what the value is made of.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::marker::PhantomData;
use std::num::NonZeroU32;

/// The kinds of values that have an index.
pub(crate) mod kind {
    #[derive(Clone, Copy, Debug)]
    pub enum Group {}
    #[derive(Clone, Copy, Debug)]
    pub enum Slot {}
    #[derive(Clone, Copy, Debug)]
    pub enum Job {}
    #[derive(Clone, Copy, Debug)]
    pub enum Fence {}
    #[derive(Clone, Copy, Debug)]
    pub enum Ending {}
}

pub(crate) type GroupIx = Ix<kind::Group>;
pub(crate) type SlotIx = Ix<kind::Slot>;
pub(crate) type JobIx = Ix<kind::Job>;
pub(crate) type FenceIx = Ix<kind::Fence>;
pub(crate) type EndingIx = Ix<kind::Ending>;

/// The place of a value in its [`Arena`]. It counts from 1, so that an `Option` of it needs no more
/// room.
///
/// [`Arena`]: crate::arena::Arena
pub(crate) struct Ix<K>(NonZeroU32, PhantomData<fn() -> K>);

impl<K> Ix<K> {
    /// The least index: the begin of a range.
    pub const FIRST: Self = Self(NonZeroU32::MIN, PhantomData);

    /// Panics beyond 2^32 - 1 values.
    pub fn new(position: usize) -> Self {
        let number = u32::try_from(position + 1).ok().and_then(NonZeroU32::new);
        Self(number.expect("fewer than 2^32 values"), PhantomData)
    }

    /// The same place in a table beside the arena.
    pub fn position(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// The place of an entry that its group holds. It is stable meanwhile: held entries come first in
/// their group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub group: GroupIx,
    pub nth: u32,
}

impl Place {
    pub fn new(group: GroupIx, nth: usize) -> Self {
        Self { group, nth: nth as u32 }
    }
}

// By hand: a derived `Clone` would ask `K` to be `Clone`, and an index does not contain a `K`.
impl<K> Clone for Ix<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Ix<K> {}

impl<K> PartialEq for Ix<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<K> Eq for Ix<K> {}

impl<K> PartialOrd for Ix<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> Ord for Ix<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl<K> Hash for Ix<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<K> fmt::Debug for Ix<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
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

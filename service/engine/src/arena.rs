// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Storage whose cells are reused: what the table links to, it links to by index.
//!
//! An index of a removed value must not be used again, but for [`Arena::get`]; whoever keeps one is
//! responsible. Access to an empty cell panics, since the table would be wrong.

use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::ops::{Index, IndexMut};

/// Where a `T` is in its [`Arena`]. Counts from 1, so that no index at all takes no room.
pub(crate) struct Ix<T>(NonZeroU32, PhantomData<fn() -> T>);

impl<T> Ix<T> {
    /// Panics beyond 2^32 - 1 values.
    fn new(position: usize) -> Self {
        let number = u32::try_from(position + 1).ok().and_then(NonZeroU32::new);
        Self(number.expect("fewer than 2^32 values"), PhantomData)
    }

    /// The least of all, where a range of them begins.
    pub const FIRST: Self = Self(NonZeroU32::MIN, PhantomData);

    /// For tables that run beside an arena.
    pub fn position(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// Values in cells that are reused.
#[derive(Clone, Debug)]
pub(crate) struct Arena<T> {
    cells: Vec<Option<T>>,
    free: Vec<Ix<T>>,
}

/// As many cells are kept for the next ones when all are empty.
const KEPT: usize = 64;

impl<T> Arena<T> {
    pub const fn new() -> Self {
        Self { cells: Vec::new(), free: Vec::new() }
    }

    pub fn insert(&mut self, value: T) -> Ix<T> {
        self.insert_with(|_| value)
    }

    /// For values that know where they are.
    pub fn insert_with(&mut self, make: impl FnOnce(Ix<T>) -> T) -> Ix<T> {
        let at = self.free.pop().unwrap_or_else(|| {
            self.cells.push(None);
            Ix::new(self.cells.len() - 1)
        });
        self.cells[at.position()] = Some(make(at));
        at
    }

    /// What is there now, which may be another value than was there once.
    pub fn get(&self, at: Ix<T>) -> Option<&T> {
        self.cells.get(at.position())?.as_ref()
    }

    pub fn remove(&mut self, at: Ix<T>) -> Option<T> {
        let value = self.cells.get_mut(at.position())?.take();
        if value.is_some() {
            self.free.push(at);
        }
        if self.is_empty() && self.cells.capacity() > KEPT {
            // A crowd that has gone leaves nothing behind.
            *self = Self::new();
        }
        value
    }

    pub fn iter(&self) -> impl Iterator<Item = (Ix<T>, &T)> {
        let cells = self.cells.iter().enumerate();
        cells.filter_map(|(index, cell)| Some((Ix::new(index), cell.as_ref()?)))
    }

    pub fn is_empty(&self) -> bool {
        self.free.len() == self.cells.len()
    }
}

impl<T> Index<Ix<T>> for Arena<T> {
    type Output = T;

    fn index(&self, at: Ix<T>) -> &T {
        self.cells[at.position()].as_ref().expect("a value that was not removed")
    }
}

impl<T> IndexMut<Ix<T>> for Arena<T> {
    fn index_mut(&mut self, at: Ix<T>) -> &mut T {
        self.cells[at.position()].as_mut().expect("a value that was not removed")
    }
}

// By hand, since an index is `Copy` whatever it leads to.
impl<T> Clone for Ix<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Ix<T> {}

impl<T> PartialEq for Ix<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for Ix<T> {}

impl<T> PartialOrd for Ix<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Ix<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl<T> Hash for Ix<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<T> fmt::Debug for Ix<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// From public ids, which count up, to cells. Only looked up, never walked, so that nothing depends
/// on its order.
pub(crate) type IdMap<K, T> = std::collections::HashMap<K, Ix<T>, BuildIdHasher>;

/// For tables of one's own beside the engine's, by the names that it goes by.
pub type BuildIdHasher = BuildHasherDefault<IdHasher>;

/// Ids are chosen by this crate or by its caller, not by clients, so no defence against chosen ones
/// is needed; Fibonacci hashing spreads numbers that count up.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_reused() {
        let mut arena = Arena::new();
        let a = arena.insert('a');
        let b = arena.insert('b');
        assert_eq!(arena.remove(a), Some('a'));
        assert_eq!(arena.remove(a), None);
        let c = arena.insert('c');
        assert_eq!((c, arena[b], arena[c]), (a, 'b', 'c'));
        assert_eq!(arena.iter().count(), 2);
        arena.remove(b);
        arena.remove(c);
        assert!(arena.is_empty());
    }

    #[test]
    fn a_crowd_leaves_nothing() {
        let mut arena = Arena::new();
        let crowd: Vec<Ix<usize>> = (0..=KEPT).map(|value| arena.insert(value)).collect();
        for one in crowd {
            arena.remove(one);
        }
        assert!(arena.is_empty());
        assert_eq!(arena.cells.capacity(), 0);
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Values in cells that are reused. The lock table links to them by index.
//!
//! Nobody may use the index of a removed value, except with [`Arena::get`]; whoever keeps an index takes
//! care of that. Indexing an empty cell panics, because the table is wrong then.

use std::ops::{Index, IndexMut};

use crate::index::Ix;

/// Values of kind `K`.
#[derive(Clone, Debug)]
pub(crate) struct Arena<K, V> {
    cells: Vec<Option<V>>,
    free: Vec<Ix<K>>,
}

/// Cells that an empty arena may keep: enough for the groups and buffers of some pipelines. A crowd
/// that has gone leaves no memory behind.
const KEPT: usize = 64;

impl<K, V> Arena<K, V> {
    pub const fn new() -> Self {
        Self { cells: Vec::new(), free: Vec::new() }
    }

    pub fn insert(&mut self, value: V) -> Ix<K> {
        self.insert_with(|_| value)
    }

    /// For values that know their own index.
    pub fn insert_with(&mut self, make: impl FnOnce(Ix<K>) -> V) -> Ix<K> {
        let at = self.free.pop().unwrap_or_else(|| {
            self.cells.push(None);
            Ix::new(self.cells.len() - 1)
        });
        self.cells[at.position()] = Some(make(at));
        at
    }

    /// The value there now. It may be another one than when the index was made.
    pub fn get(&self, at: Ix<K>) -> Option<&V> {
        self.cells.get(at.position())?.as_ref()
    }

    pub fn remove(&mut self, at: Ix<K>) -> Option<V> {
        let value = self.cells.get_mut(at.position())?.take();
        if value.is_some() {
            self.free.push(at);
        }
        if self.is_empty() && self.cells.capacity() > KEPT {
            *self = Self::new();
        }
        value
    }

    pub fn iter(&self) -> impl Iterator<Item = (Ix<K>, &V)> {
        let cells = self.cells.iter().enumerate();
        cells.filter_map(|(index, cell)| Some((Ix::new(index), cell.as_ref()?)))
    }

    pub fn is_empty(&self) -> bool {
        self.free.len() == self.cells.len()
    }
}

impl<K, V> Index<Ix<K>> for Arena<K, V> {
    type Output = V;

    fn index(&self, at: Ix<K>) -> &V {
        self.cells[at.position()].as_ref().expect("a value that was not removed")
    }
}

impl<K, V> IndexMut<Ix<K>> for Arena<K, V> {
    fn index_mut(&mut self, at: Ix<K>) -> &mut V {
        self.cells[at.position()].as_mut().expect("a value that was not removed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::kind;

    #[test]
    fn cells_are_reused() {
        let mut arena = Arena::<kind::Job, char>::new();
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
        let mut arena = Arena::<kind::Job, usize>::new();
        let crowd: Vec<_> = (0..=KEPT).map(|value| arena.insert(value)).collect();
        for one in crowd {
            arena.remove(one);
        }
        assert!(arena.is_empty());
        assert_eq!(arena.cells.capacity(), 0);
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Values in cells that are reused. The lock table links to them by index.
//!
//! Nobody may use the index of a removed value, except with [`Arena::get`]; whoever keeps an index takes
//! care of that. Indexing an empty cell panics, because the table is wrong then.

use std::ops::{Index, IndexMut};

use crate::index::Ix;

#[derive(Clone, Debug)]
pub(crate) struct Arena<V, const KIND: u8> {
    cells: Vec<Option<V>>,
    free: Vec<Ix<KIND>>,
}

/// Cells that an empty arena may keep: enough for the groups and buffers of some pipelines. A crowd
/// that has gone leaves no memory behind.
const KEPT: usize = 64;

impl<V, const KIND: u8> Arena<V, KIND> {
    pub const fn new() -> Self {
        Self { cells: Vec::new(), free: Vec::new() }
    }

    pub fn insert(&mut self, value: V) -> Ix<KIND> {
        self.insert_with(|_| value)
    }

    /// For values that know their own index.
    pub fn insert_with(&mut self, make: impl FnOnce(Ix<KIND>) -> V) -> Ix<KIND> {
        let at = self.free.pop().unwrap_or_else(|| {
            self.cells.push(None);
            Ix::new(self.cells.len() - 1)
        });
        self.cells[at.position()] = Some(make(at));
        at
    }

    /// The value there now. It may be another one than when the index was made.
    pub fn get(&self, at: Ix<KIND>) -> Option<&V> {
        self.cells.get(at.position())?.as_ref()
    }

    pub fn remove(&mut self, at: Ix<KIND>) -> Option<V> {
        let value = self.cells.get_mut(at.position())?.take();
        if value.is_some() {
            self.free.push(at);
        }
        if self.is_empty() && self.cells.capacity() > KEPT {
            *self = Self::new();
        }
        value
    }

    pub fn iter(&self) -> impl Iterator<Item = (Ix<KIND>, &V)> {
        let cells = self.cells.iter().enumerate();
        cells.filter_map(|(index, cell)| Some((Ix::new(index), cell.as_ref()?)))
    }

    pub fn is_empty(&self) -> bool {
        self.free.len() == self.cells.len()
    }
}

impl<V, const KIND: u8> Index<Ix<KIND>> for Arena<V, KIND> {
    type Output = V;

    fn index(&self, at: Ix<KIND>) -> &V {
        self.cells[at.position()].as_ref().expect("a value that was not removed")
    }
}

impl<V, const KIND: u8> IndexMut<Ix<KIND>> for Arena<V, KIND> {
    fn index_mut(&mut self, at: Ix<KIND>) -> &mut V {
        self.cells[at.position()].as_mut().expect("a value that was not removed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::JOB;

    #[test]
    fn cells_are_reused() {
        let mut arena = Arena::<char, JOB>::new();
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
        let mut arena = Arena::<usize, JOB>::new();
        let crowd: Vec<_> = (0..=KEPT).map(|value| arena.insert(value)).collect();
        for one in crowd {
            arena.remove(one);
        }
        assert!(arena.is_empty());
        assert_eq!(arena.cells.capacity(), 0);
    }
}

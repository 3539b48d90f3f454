// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Tables by names that the service gives.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

use buffersync_engine::{BuildIdHasher, GroupId};

/// Clients cannot choose these names, so the hash needs no defence against chosen ones.
pub type ById<K, V> = HashMap<K, V, BuildIdHasher>;

/// Gives the memory of a crowd back that has left.
pub fn shrink<K: Eq + Hash, V, S: BuildHasher>(map: &mut HashMap<K, V, S>) {
    // Half empty is usual for a table that grows and shrinks a little.
    if map.len() < map.capacity() / 4 {
        map.shrink_to(2 * map.len().max(KEPT));
    }
}

/// Entries for which a table keeps its memory.
const KEPT: usize = 64;

/// A `T` for each of some groups. An id contains the position of its group in the engine's table
/// ([`GroupId::position`]), so a look-up is one index here as well.
#[derive(Debug)]
pub struct ByGroup<T> {
    cells: Vec<Option<(GroupId, T)>>,
    count: usize,
}

impl<T> ByGroup<T> {
    pub const fn new() -> Self {
        Self { cells: Vec::new(), count: 0 }
    }

    #[inline]
    pub fn get(&self, id: GroupId) -> Option<&T> {
        let (owner, value) = self.cells.get(id.position())?.as_ref()?;
        (*owner == id).then_some(value)
    }

    #[inline]
    pub fn get_mut(&mut self, id: GroupId) -> Option<&mut T> {
        let (owner, value) = self.cells.get_mut(id.position())?.as_mut()?;
        (*owner == id).then_some(value)
    }

    /// Adds a group. The engine gives a position to a new group only after the old one was removed here.
    pub fn insert(&mut self, id: GroupId, value: T) {
        if self.cells.len() <= id.position() {
            self.cells.resize_with(id.position() + 1, || None);
        }
        if self.cells[id.position()].replace((id, value)).is_none() {
            self.count += 1;
        }
    }

    pub fn remove(&mut self, id: GroupId) -> Option<T> {
        let cell = self.cells.get_mut(id.position())?;
        let (_, value) = cell.take_if(|(owner, _)| *owner == id)?;
        self.count -= 1;
        if self.count == 0 {
            // A crowd that has left takes its memory with it.
            self.cells = Vec::new();
        }
        Some(value)
    }

    pub fn len(&self) -> usize {
        self.count
    }

    /// All groups, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (GroupId, &T)> {
        self.cells.iter().flatten().map(|(id, value)| (*id, value))
    }
}

impl<T> Default for ByGroup<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use buffersync_engine::{Close, Effects, Engine, Limits, Time};

    use super::*;

    #[test]
    fn the_id_of_a_closed_group_finds_nothing_in_its_reused_position() {
        let mut engine = Engine::new(Limits::default());
        let mut table = ByGroup::new();
        let (first, _) = engine.open_group(None);
        let (second, _) = engine.open_group(None);
        table.insert(first, 1);
        table.insert(second, 2);
        engine.close_group(Time(0), first, Close::Closed, &mut Effects::new());
        assert_eq!(table.remove(first), Some(1));
        let (third, _) = engine.open_group(None);
        assert_eq!(third.position(), first.position(), "the position is reused");
        table.insert(third, 3);
        assert_eq!(table.get(first), None);
        assert_eq!(table.get_mut(first), None);
        assert_eq!(table.remove(first), None);
        assert_eq!((table.get(second), table.get(third)), (Some(&2), Some(&3)));
        assert_eq!(table.iter().count(), table.len());
        assert!(table.remove(second).and(table.remove(third)).is_some() && table.len() == 0);
    }
}

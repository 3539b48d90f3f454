// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What is kept of each group beside the engine's view: a table beside the engine's.
//!
//! An id says where its group is in the engine's table ([`GroupId::position`]), so nothing is searched
//! for here either. Knows ids, not what is kept.

use buffersync_engine::GroupId;

/// A `T` for each of some groups.
#[derive(Debug)]
pub struct ByGroup<T> {
    cells: Vec<Option<(GroupId, T)>>,
    count: usize,
}

impl<T> ByGroup<T> {
    /// Nothing of any group.
    pub const fn new() -> Self {
        Self { cells: Vec::new(), count: 0 }
    }

    /// What is kept of a group that is open.
    #[inline]
    pub fn get(&self, id: GroupId) -> Option<&T> {
        let (owner, value) = self.cells.get(id.position())?.as_ref()?;
        (*owner == id).then_some(value)
    }

    /// The same, to be changed.
    #[inline]
    pub fn get_mut(&mut self, id: GroupId) -> Option<&mut T> {
        let (owner, value) = self.cells.get_mut(id.position())?.as_mut()?;
        (*owner == id).then_some(value)
    }

    /// Keeps something of a group. The engine has given its place to no other that is still kept here.
    pub fn insert(&mut self, id: GroupId, value: T) {
        if self.cells.len() <= id.position() {
            self.cells.resize_with(id.position() + 1, || None);
        }
        if self.cells[id.position()].replace((id, value)).is_none() {
            self.count += 1;
        }
    }

    /// Takes what was kept.
    pub fn remove(&mut self, id: GroupId) -> Option<T> {
        let cell = self.cells.get_mut(id.position())?;
        let (_, value) = cell.take_if(|(owner, _)| *owner == id)?;
        self.count -= 1;
        if self.count == 0 {
            // A crowd that has gone leaves nothing behind.
            self.cells = Vec::new();
        }
        Some(value)
    }

    /// How many groups something is kept of.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All of it, in no order that means anything.
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
    fn a_closed_groups_place_is_anothers_and_its_id_finds_nothing() {
        let mut engine = Engine::new(Limits::default());
        let mut table = ByGroup::new();
        let (first, _) = engine.open_group(None);
        let (second, _) = engine.open_group(None);
        table.insert(first, 1);
        table.insert(second, 2);
        engine.close_group(Time(0), first, Close::Closed, &mut Effects::new());
        assert_eq!(table.remove(first), Some(1));
        let (third, _) = engine.open_group(None);
        assert_eq!(third.position(), first.position(), "or this shows nothing");
        table.insert(third, 3);
        assert_eq!(table.get(first), None);
        assert_eq!(table.get_mut(first), None);
        assert_eq!(table.remove(first), None);
        assert_eq!((table.get(second), table.get(third)), (Some(&2), Some(&3)));
        assert_eq!(table.iter().count(), table.len());
        assert!(table.remove(second).and(table.remove(third)).is_some() && table.is_empty());
    }
}

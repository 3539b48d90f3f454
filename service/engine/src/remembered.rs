// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What is kept of buffers that no group has any more: marks, generation, and an END that is owed.
//!
//! A camera dies in the middle of a frame, and its group was the buffer's only one; the codec adds the
//! buffer afterwards and has to be told. So a buffer that is marked, or whose CPU writes could not be
//! cleaned, is remembered by its name. Clients can make any number of them, so there is a bound
//! ([`crate::Limits::remembered`]); the oldest is forgotten first.

use std::collections::{BTreeMap, HashMap};

use crate::arena::BuildIdHasher;
use crate::coherence::Coherence;
use crate::evictions::Evictions;
use crate::slot::Slot;
use crate::BufferId;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remembered {
    by_id: HashMap<BufferId, (u64, History), BuildIdHasher>,
    /// In the order in which they were let go.
    by_age: BTreeMap<u64, BufferId>,
    last: u64,
}

/// What is true of a buffer that nobody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct History {
    pub coherence: Coherence,
    pub generation: u64,
    pub evictions: Evictions,
}

impl Remembered {
    pub fn len(&self) -> usize {
        self.by_age.len()
    }

    pub fn insert(&mut self, id: BufferId, history: History) {
        self.last += 1;
        self.by_age.insert(self.last, id);
        if let Some((at, _)) = self.by_id.insert(id, (self.last, history)) {
            self.by_age.remove(&at);
        }
    }

    pub fn remove(&mut self, id: BufferId) -> Option<History> {
        let (at, history) = self.by_id.remove(&id)?;
        self.by_age.remove(&at);
        Some(history)
    }

    pub fn remove_oldest(&mut self) -> Option<BufferId> {
        let (_, id) = self.by_age.pop_first()?;
        self.by_id.remove(&id);
        Some(id)
    }

    /// In the order in which they were let go.
    pub fn iter(&self) -> impl Iterator<Item = (BufferId, &History)> {
        self.by_age.values().filter_map(|id| Some((*id, &self.by_id.get(id)?.1)))
    }
}

impl History {
    /// What is known of a buffer when its last group lets it go.
    pub fn of(slot: &Slot) -> Self {
        let Slot { coherence, generation, evictions, .. } = *slot;
        Self { coherence, generation, evictions }
    }

    /// The buffer as it comes back.
    pub fn restored(self, id: BufferId) -> Slot {
        let Self { coherence, generation, evictions } = self;
        Slot { coherence, generation, evictions, ..Slot::new(id) }
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What the engine remembers about buffers that no group has: marks, generation, and an END that is owed.
//!
//! A camera dies in the middle of a frame, and its group was the only one with the buffer. The codec adds
//! the buffer afterwards and must be told. So the engine remembers a buffer that is marked, or whose CPU
//! writes could not be cleaned, by its name. Clients can make any number of such buffers, so there is a
//! bound ([`crate::Limits::remembered`]). The engine forgets the oldest first.

use std::collections::BTreeMap;

use crate::coherence::Coherence;
use crate::evictions::Evictions;
use crate::index::IdMap;
use crate::slot::Slot;
use crate::BufferId;

#[derive(Clone, Debug, Default)]
pub(crate) struct Remembered {
    by_id: IdMap<BufferId, (u64, History)>,
    /// In the order in which their last groups let them go.
    by_age: BTreeMap<u64, BufferId>,
    last: u64,
}

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

    #[cfg(feature = "check")]
    pub fn get(&self, id: BufferId) -> Option<&History> {
        self.by_id.get(&id).map(|(_, history)| history)
    }
}

impl History {
    pub fn of(slot: &Slot) -> Self {
        let Slot { coherence, generation, evictions, .. } = *slot;
        Self { coherence, generation, evictions }
    }

    pub fn restored(self, id: BufferId) -> Slot {
        let Self { coherence, generation, evictions } = self;
        Slot { coherence, generation, evictions, ..Slot::new(id) }
    }
}

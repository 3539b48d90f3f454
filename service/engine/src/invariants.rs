// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What is true between any two calls. Tests ask after every step; nothing else does.

use crate::slot::Slot;
use crate::{BufferId, Engine, Phase};

impl Engine {
    /// Says which invariant is broken, if one is.
    #[doc(hidden)]
    pub fn check_invariants(&self) -> Result<(), String> {
        for (id, slot) in &self.slots {
            self.check_slot(*id, slot).map_err(|broken| format!("{id:?}: {broken}"))?;
        }
        self.check_locks()?;
        self.check_deadlines()
    }

    fn check_slot(&self, id: BufferId, slot: &Slot) -> Result<(), String> {
        let exclusive = slot.holders.values().filter(|access| access.is_exclusive()).count();
        ensure(exclusive == 0 || slot.holders.len() == 1, "conflicting holders")?;
        let members = self.groups.values().filter(|group| group.members.contains_key(&id)).count();
        ensure(members == slot.members, "miscounted members")?;
        ensure(!slot.is_abandoned(), "kept though nobody has it")?;
        ensure(slot.clone().clear_next().is_none(), "a waiter at the head was not woken")?;
        let mut ahead_shared = true;
        for (position, (token, access, clear)) in slot.waiters().enumerate() {
            let queued =
                matches!(self.locks.get(&token).map(|lock| lock.phase), Some(Phase::Queued { .. }));
            ensure(queued, "a waiter is not queued")?;
            // Rule 2, from the definition: nobody ahead conflicts, and no holder does.
            let free = if access.is_exclusive() {
                position == 0 && slot.holders.is_empty()
            } else {
                ahead_shared && exclusive == 0
            };
            ensure(clear == free, "clear is not what it means")?;
            ahead_shared &= !access.is_exclusive();
        }
        ensure(slot.settled <= slot.evictions, "settled an eviction that was not")?;
        let job = slot.job.map(|job| self.jobs.get(&job));
        ensure(job.is_none_or(|job| job.is_some()), "waits for a job that is not")?;
        ensure(slot.job.is_some() || slot.after_job.is_empty(), "waits for no job")
    }

    fn check_locks(&self) -> Result<(), String> {
        for (token, lock) in &self.locks {
            let clear = |buffer: &BufferId| {
                self.slots.get(buffer).is_some_and(|slot| {
                    slot.waiters().any(|(waiter, _, clear)| waiter == *token && clear)
                })
            };
            if let Phase::Queued { blocked } = lock.phase {
                let group = lock.group.and_then(|id| self.groups.get(&id));
                let group = group.ok_or_else(|| format!("{token:?} is queued for nobody"))?;
                let waits = lock.buffers.iter().filter(|hold| !clear(&hold.buffer)).count()
                    + usize::from(group.releasing.is_some());
                ensure(blocked == waits, "miscounted what a lock waits for")?;
                ensure(blocked > 0, "a lock waits for nothing")?;
                continue;
            }
            for hold in &lock.buffers {
                let held = self.slots.get(&hold.buffer).and_then(|slot| slot.holders.get(token));
                ensure(held == Some(&hold.access), "a lock does not hold what it holds")?;
            }
        }
        let holders: usize = self.slots.values().map(|slot| slot.holders.len()).sum();
        let holds = self.locks.values().filter(|lock| !matches!(lock.phase, Phase::Queued { .. }));
        ensure(holders == holds.map(|lock| lock.buffers.len()).sum(), "a holder is no lock")
    }

    fn check_deadlines(&self) -> Result<(), String> {
        let timed = self
            .locks
            .iter()
            .filter_map(|(token, lock)| lock.phase.deadline().map(|deadline| (deadline, *token)));
        let timed: std::collections::BTreeSet<_> = timed.collect();
        ensure(timed == self.deadlines, "a grant has no deadline, or a deadline no grant")
    }
}

fn ensure(holds: bool, otherwise: &str) -> Result<(), String> {
    holds.then_some(()).ok_or_else(|| otherwise.to_string())
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What is true between any two calls. Tests ask after every step; nothing else does.
//!
//! Groups and entries say what is wanted and held; all else (queues, counts, lists, timers) follows
//! from them, and is compared with what follows, computed from the rules and not from the code.

use std::collections::BTreeMap;

use crate::arena::Ix;
use crate::group::{Entry, Group, Place, Stage};
use crate::slot::Slot;
use crate::{Access, Engine, GroupId};

type Checked = Result<(), String>;

impl Engine {
    /// Says which invariant is broken, if one is.
    #[doc(hidden)]
    pub fn check_invariants(&self) -> Checked {
        for (at, slot) in self.slots.iter() {
            self.check_slot(at, slot).map_err(|broken| format!("{:?}: {broken}", slot.id))?;
        }
        for (at, group) in self.groups.iter() {
            self.check_group(at, group).map_err(|broken| format!("{:?}: {broken}", group.id))?;
        }
        self.check_age()?;
        self.check_jobs()?;
        self.check_fences()?;
        ensure(self.work.is_empty(), "work was left")
    }

    fn all_entries(&self) -> impl Iterator<Item = (Place, &Entry)> {
        self.groups.iter().flat_map(|(at, group)| {
            let entries = group.entries.iter().enumerate();
            entries.map(move |(nth, entry)| (Place::new(at, nth), entry))
        })
    }

    fn entries_on(&self, at: Ix<Slot>) -> impl Iterator<Item = (Place, &Entry)> {
        self.all_entries().filter(move |(_, entry)| entry.slot == at)
    }

    fn check_slot(&self, at: Ix<Slot>, slot: &Slot) -> Checked {
        let held: BTreeMap<Place, Access> =
            self.entries_on(at).filter_map(|(place, entry)| Some((place, entry.hold?))).collect();
        let exclusive = held.values().any(|access| access.is_exclusive());
        ensure(!exclusive || held.len() == 1, "conflicting holders")?;
        ensure(slot.holders.is_exclusive() == exclusive, "exclusive or not, the list errs")?;
        ensure(slot.holders.iter().eq(held.keys().copied()), "the list of holders is wrong")?;
        ensure(slot.members as usize == self.entries_on(at).count(), "miscounted members")?;
        let growing = held.keys().filter(|place| self.groups[place.group].is_vulnerable()).count();
        ensure(slot.growing as usize == growing, "miscounted growing holders")?;
        ensure(!slot.is_abandoned(), "kept though nobody has it")?;
        ensure(slot.evictions.settled <= slot.evictions.count, "settled what was no eviction")?;
        self.check_queue(at, slot)
    }

    fn check_queue(&self, at: Ix<Slot>, slot: &Slot) -> Checked {
        let mut expected: Vec<(Place, &Entry)> = self
            .entries_on(at)
            .filter(|(place, entry)| entry.lacks() && self.groups[place.group].is_queued())
            .collect();
        expected.sort_by_key(|(place, _)| self.groups[place.group].ticket);
        ensure(slot.queue.iter().count() == expected.len(), "a waiter too many or too few")?;
        for ((place, entry), (waiter, clear)) in expected.iter().zip(slot.queue.iter()) {
            ensure(waiter.group == place.group, "the queue is not in the order of tickets")?;
            ensure(waiter.exclusive == entry.want.is_exclusive(), "waits for something else")?;
            ensure(waiter.upgrade == entry.is_upgrade(), "an upgrade is not known as one")?;
            let free = self.blockers(*place, entry).next().is_none();
            ensure(clear == free, "clear is not what it means")?;
        }
        Ok(())
    }

    /// Rule 2, from its definition: who a waiting entry waits for.
    fn blockers<'a>(
        &'a self,
        place: Place,
        waiting: &'a Entry,
    ) -> impl Iterator<Item = Ix<Group>> + 'a {
        let ticket = self.groups[place.group].ticket;
        self.entries_on(waiting.slot).filter_map(move |(other, entry)| {
            let group = &self.groups[other.group];
            let held = entry.hold.is_some_and(|access| access.conflicts(waiting.want));
            let older = group.is_queued()
                && entry.lacks()
                && group.ticket < ticket
                && entry.want.conflicts(waiting.want);
            (other.group != place.group && (held || older)).then_some(other.group)
        })
    }

    fn check_group(&self, at: Ix<Group>, group: &Group) -> Checked {
        let entries = || group.entries.iter();
        ensure(entries().is_sorted_by_key(|e| e.hold.is_none()), "held behind what is not")?;
        let granted = entries().filter(|entry| entry.granted.is_some()).count();
        ensure(group.grant.is_some() == (granted > 0), "a grant of nothing, or none of something")?;
        let gated = entries().filter(|entry| entry.gated).count();
        match group.request.as_ref().map(|request| request.stage) {
            None | Some(Stage::Queued { .. }) => {
                ensure(entries().all(|e| e.taken().is_none()), "has taken what is not granted")?;
                ensure(gated == 0, "waits at a gate for nothing")?;
            }
            Some(Stage::Preparing { .. }) => {
                ensure(entries().all(|entry| !entry.lacks()), "prepares what it has not taken")?;
            }
        }
        match group.request.as_ref().map(|request| request.stage) {
            None => {}
            Some(Stage::Queued { blocked }) => {
                let lacks = entries().enumerate().filter(|(_, entry)| entry.lacks());
                let waits = lacks
                    .filter(|(nth, e)| self.blockers(Place::new(at, *nth), e).next().is_some())
                    .count();
                ensure(blocked as usize == waits, "miscounted what a lock waits for")?;
                ensure(blocked > 0, "a lock waits for nothing")?;
            }
            Some(Stage::Preparing { gated: counted, job }) => {
                ensure(counted as usize == gated, "miscounted gates")?;
                ensure((counted > 0) != job.is_some(), "a lock waits for nothing, or twice")?;
                ensure(job.is_none_or(|job| self.jobs[job].group == Some(at)), "another's job")?;
                let open = |e: &Entry| e.hold.is_some_and(|a| !self.slots[e.slot].gates(a));
                ensure(!entries().any(|e| e.gated && open(e)), "waits at an open gate")?;
            }
        }
        let armed = self.group_timers.get(at);
        ensure(group.due().is_none_or(|due| armed.is_some_and(|at| at <= due)), "a timer is late")
    }

    /// Who waits does so for somebody older or for somebody who does not: no cycle.
    fn check_age(&self) -> Checked {
        for (place, entry) in self.all_entries() {
            let group = &self.groups[place.group];
            if !group.is_queued() || !entry.lacks() {
                continue;
            }
            for blocker in self.blockers(place, entry).map(|at| &self.groups[at]) {
                let fine = !blocker.is_queued() || blocker.ticket < group.ticket;
                ensure(fine, "an older group waits for a younger one that waits")?;
            }
        }
        Ok(())
    }

    fn check_jobs(&self) -> Checked {
        for (at, job) in self.jobs.iter() {
            ensure(self.job_ids.get(&job.id) == Some(&at), "a job without its id")?;
            ensure(self.parts_of(at) > 0, "a job of nothing")?;
        }
        let parts: usize = self.jobs.iter().map(|(at, _)| self.parts_of(at)).sum();
        let syncing = self.slots.iter().filter(|(_, slot)| slot.job.is_some()).count();
        ensure(parts == syncing, "a buffer waits for no job")
    }

    fn check_fences(&self) -> Checked {
        let mut parts = 0;
        for (at, fence) in self.fences.iter() {
            ensure(self.fence_ids.get(&fence.id) == Some(&at), "a fence without its id")?;
            ensure(self.fence_timers.get(at).is_some(), "a fence without its deadline")?;
            ensure(!fence.parts.is_empty(), "a fence of nothing")?;
            for part in &fence.parts {
                let gates = self.slots[part.slot].fences.iter().any(|gate| gate.fence == at);
                ensure(gates, "a fence does not gate its buffer")?;
                parts += 1;
            }
        }
        let gates: usize = self.slots.iter().map(|(_, slot)| slot.fences.len()).sum();
        ensure(gates == parts, "a gate without its fence")
    }

    /// The groups by age, the oldest first, for checkers.
    #[doc(hidden)]
    pub fn waiting_by_age(&self) -> Vec<GroupId> {
        let mut waiting: Vec<&Group> =
            self.groups.iter().map(|(_, g)| g).filter(|g| g.is_queued()).collect();
        waiting.sort_by_key(|group| group.ticket);
        waiting.iter().map(|group| group.id).collect()
    }
}

fn ensure(holds: bool, otherwise: &str) -> Checked {
    holds.then_some(()).ok_or_else(|| otherwise.to_string())
}

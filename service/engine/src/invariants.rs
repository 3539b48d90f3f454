// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What is true between any two calls. Tests ask after every step; nothing else does.
//!
//! Groups and entries say what is wanted and held; all else (queues, counts, lists, timers) follows
//! from them, and is compared with what follows, computed from the rules and not from the code.

use std::collections::BTreeSet;

use crate::arena::Ix;
use crate::group::{Entry, Group, Stage};
use crate::slot::{holders, Slot};
use crate::{Engine, GroupId};

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
        let listed = self.groups.iter().map(|(_, group)| group.entries.len()).sum::<usize>();
        ensure(self.entries.iter().count() == listed, "an entry of no group")?;
        ensure(self.work.is_empty(), "work was left")
    }

    fn entries_on(&self, at: Ix<Slot>) -> impl Iterator<Item = (Ix<Entry>, &Entry)> {
        self.entries.iter().filter(move |(_, entry)| entry.slot == at)
    }

    fn check_slot(&self, at: Ix<Slot>, slot: &Slot) -> Checked {
        let count = |which: &dyn Fn(&Entry) -> bool| {
            self.entries_on(at).filter(|(_, entry)| which(entry)).count()
        };
        let exclusive = count(&|e| e.hold.is_some_and(|access| access.is_exclusive()));
        let held = count(&|e| e.hold.is_some());
        ensure(exclusive == 0 || held == 1, "conflicting holders")?;
        ensure(slot.holding.exclusive == (exclusive == 1), "miscounted exclusive holders")?;
        ensure(slot.holding.shared as usize == held - exclusive, "miscounted shared holders")?;
        let list: BTreeSet<_> = holders(slot, &self.entries).map(|(at, _)| at).collect();
        let expected = self.entries_on(at).filter(|(_, e)| e.hold.is_some()).map(|(at, _)| at);
        ensure(list == expected.collect(), "the list of holders is wrong")?;
        ensure(slot.members as usize == count(&|_| true), "miscounted members")?;
        let growing = count(&|e| e.hold.is_some() && self.groups[e.group].is_vulnerable());
        ensure(slot.growing as usize == growing, "miscounted growing holders")?;
        ensure(!slot.is_abandoned(), "kept though nobody has it")?;
        ensure(slot.evictions.settled <= slot.evictions.count, "settled what was no eviction")?;
        self.check_queue(at, slot)
    }

    fn check_queue(&self, at: Ix<Slot>, slot: &Slot) -> Checked {
        let mut expected: Vec<&Entry> = self
            .entries_on(at)
            .map(|(_, entry)| entry)
            .filter(|entry| entry.lacks() && self.groups[entry.group].is_queued())
            .collect();
        expected.sort_by_key(|entry| self.groups[entry.group].ticket);
        ensure(slot.queue.iter().count() == expected.len(), "a waiter too many or too few")?;
        for (entry, (waiter, clear)) in expected.iter().zip(slot.queue.iter()) {
            ensure(waiter.group == entry.group, "the queue is not in the order of tickets")?;
            ensure(waiter.exclusive == entry.want.is_exclusive(), "waits for something else")?;
            ensure(waiter.upgrade == entry.is_upgrade(), "an upgrade is not known as one")?;
            let free = self.blockers(entry).next().is_none();
            ensure(clear == free, "clear is not what it means")?;
        }
        Ok(())
    }

    /// Rule 2, from its definition: who a waiting entry waits for.
    fn blockers<'a>(&'a self, waiting: &'a Entry) -> impl Iterator<Item = Ix<Group>> + 'a {
        let ticket = self.groups[waiting.group].ticket;
        self.entries_on(waiting.slot).map(|(_, entry)| entry).filter_map(move |entry| {
            let group = &self.groups[entry.group];
            let held = entry.hold.is_some_and(|access| access.conflicts(waiting.want));
            let older = group.is_queued()
                && entry.lacks()
                && group.ticket < ticket
                && entry.want.conflicts(waiting.want);
            (entry.group != waiting.group && (held || older)).then_some(entry.group)
        })
    }

    fn check_group(&self, at: Ix<Group>, group: &Group) -> Checked {
        let entries = || group.entries.iter().map(|entry| &self.entries[*entry]);
        ensure(entries().all(|entry| entry.group == at), "an entry of another group")?;
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
                let lacks = entries().filter(|entry| entry.lacks());
                let waits = lacks.filter(|entry| self.blockers(entry).next().is_some()).count();
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
        ensure(self.group_timers.get(at) == group.due(), "a timer is wrong")
    }

    /// Who waits does so for somebody older or for somebody who does not: no cycle.
    fn check_age(&self) -> Checked {
        for (_, entry) in self.entries.iter() {
            let group = &self.groups[entry.group];
            if !group.is_queued() || !entry.lacks() {
                continue;
            }
            for blocker in self.blockers(entry).map(|at| &self.groups[at]) {
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
            for part in &fence.parts {
                let gates = self.slots[part.slot].fences.iter().any(|(other, _)| *other == at);
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

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The invariants of the table between two calls. Tests check them after every step.
//!
//! Locks and their entries say what is wanted and held. Everything else follows from that: queues, counts,
//! lists, timers. Each of these is compared with what the rules say, and the rules are written here a
//! second time.

use std::collections::{BTreeMap, BTreeSet};

use crate::group::Group;
use crate::holders::Holders;
use crate::index::{LockIx, Place, SlotIx};
use crate::job::Task;
use crate::lock::{Entry, Lock, Stage};
use crate::slot::Slot;
use crate::{Access, Engine, GroupId, HoldFrom, SyncFlags, Ticket, Time, Token};

type Checked = Result<(), String>;

impl Engine {
    /// An error names the broken invariant.
    pub fn check_invariants(&self) -> Checked {
        for (at, slot) in self.slots.iter() {
            self.check_slot(at, slot).map_err(|broken| format!("{:?}: {broken}", slot.id))?;
        }
        for (_, group) in self.groups.iter() {
            self.check_group(group).map_err(|broken| format!("{:?}: {broken}", group.id))?;
        }
        for (at, lock) in self.locks.iter() {
            let name = || format!("{:?} {:?}", lock.group, lock.token);
            self.check_one_lock(at, lock).map_err(|broken| format!("{}: {broken}", name()))?;
        }
        self.check_age()?;
        self.check_jobs()?;
        self.check_fences()?;
        ensure(self.work.is_empty(), "work was left")
    }

    fn all_entries(&self) -> impl Iterator<Item = (Place, &Entry)> {
        self.locks.iter().flat_map(|(at, lock)| {
            let entries = lock.entries.iter().enumerate();
            entries.map(move |(nth, entry)| (Place::new(at, nth), entry))
        })
    }

    fn entries_on(&self, at: SlotIx) -> impl Iterator<Item = (Place, &Entry)> {
        self.all_entries().filter(move |(_, entry)| entry.slot == at)
    }

    fn check_slot(&self, at: SlotIx, slot: &Slot) -> Checked {
        let held: BTreeMap<Place, Access> =
            self.entries_on(at).filter_map(|(place, entry)| Some((place, entry.hold?))).collect();
        let exclusive = held.values().any(|access| access.is_exclusive());
        ensure(!exclusive || held.len() == 1, "conflicting holders")?;
        let mut counted = Holders::default();
        held.values().for_each(|access| counted.hold(&mut None, Some(*access)));
        ensure(slot.holders == counted, "miscounted holders")?;
        let members = self.groups.iter().flat_map(|(_, group)| &group.members);
        let members = members.filter(|member| member.slot == at).count();
        ensure(slot.members as usize == members, "miscounted members")?;
        let plain = slot.coherence.is_plain();
        ensure(!plain || slot.job.is_none(), "an operation on memory that has no caches")?;
        ensure(!slot.is_abandoned(), "kept, but nobody has it")?;
        self.check_roster(at, slot)?;
        self.check_marks(slot)?;
        self.check_traffic(at, slot)?;
        self.check_queue(at, slot)
    }

    /// The roster has exactly the holders. No lock waits for one that was not told.
    fn check_roster(&self, at: SlotIx, slot: &Slot) -> Checked {
        let mut listed = BTreeSet::new();
        for (list, untold) in [(slot.roster.untold, true), (slot.roster.others, false)] {
            for (lock, link) in list.iter(&self.links) {
                ensure(listed.insert((untold, link, lock)), "a list has a circle")?;
            }
        }
        let contended = |lock: &Lock| lock.grant.is_some_and(|held| held.contended);
        let mut expected = BTreeSet::new();
        for (place, entry) in self.entries_on(at).filter(|(_, entry)| entry.hold.is_some()) {
            let at = entry.listed.ok_or("a holder is not in the roster")?;
            expected.insert((at.untold, at.link(), place.lock));
            let lock = &self.locks[place.lock];
            let untold = entry.granted.is_some() && !contended(lock);
            ensure(at.untold == untold, "a holder is in the wrong list")?;
            let waited = slot.queue.iter().any(|(waiter, _)| {
                let conflicts = waiter.exclusive || entry.granted.is_some_and(Access::is_exclusive);
                conflicts && waiter.lock != place.lock
            });
            ensure(!waited || !untold, "a holder does not know that somebody waits")?;
        }
        ensure(listed == expected, "the roster has locks that hold nothing")
    }

    /// Evictions and coherence.
    fn check_marks(&self, slot: &Slot) -> Checked {
        let e = slot.evictions;
        ensure(e.settled <= e.count, "more evictions settled than there were")?;
        ensure(e.repaired <= e.settled, "repaired before it was settled")?;
        let dirty = slot.coherence.cpu_dirty() || e.cpu_at_work();
        let plain = slot.coherence.open() == Some(SyncFlags::Read);
        ensure(!(dirty && plain), "END will not clean the CPU's writes")
    }

    /// The entries that wait at the gates of a buffer or for its implicit fences.
    fn check_traffic(&self, at: SlotIx, slot: &Slot) -> Checked {
        let gated = |access: Access| -> BTreeSet<Place> {
            let entries = self.entries_on(at).filter(|(_, entry)| entry.gated > 0);
            entries.filter(|(_, e)| e.hold == Some(access)).map(|(place, _)| place).collect()
        };
        let waits = self.entries_on(at).filter(|(_, entry)| entry.waits.is_some()).count();
        let Some(traffic) = &slot.traffic else {
            let none = Access::ALL.into_iter().all(|access| gated(access).is_empty());
            return ensure(none && waits == 0, "an entry waits at a gate that is not there");
        };
        for access in Access::ALL {
            let list = &traffic.gated[access as usize];
            ensure(list.len() == gated(access).len(), "miscounted entries at a gate")?;
            ensure(
                list.iter().all(|p| gated(access).contains(p)),
                "a gate lists an entry that does not wait there",
            )?;
            let placed = list.iter().enumerate().all(|(nth, place)| {
                self.locks[place.lock].entries[place.nth as usize].gated as usize == nth + 1
            });
            ensure(placed, "an entry has the wrong place at a gate")?;
        }
        let counted: u32 = traffic.rows.iter().map(|row| row.waits).sum();
        ensure(counted as usize == waits, "miscounted waits for implicit fences")?;
        let parts = || traffic.fences.iter().map(|g| self.fences[g.fence].parts[g.nth as usize]);
        let count = |access| parts().filter(|part| part.access == access).count();
        let by_cpu = [Access::Write, Access::Read].map(|access| count(access) as u32);
        ensure(traffic.fences.by_cpu() == by_cpu, "miscounted CPU fences")
    }

    fn check_queue(&self, at: SlotIx, slot: &Slot) -> Checked {
        let mut expected: Vec<(Place, &Entry)> = self
            .entries_on(at)
            .filter(|(place, entry)| entry.lacks() && self.locks[place.lock].is_queued())
            .collect();
        expected.sort_by_key(|(place, _)| self.locks[place.lock].ticket);
        ensure(
            slot.queue.iter().count() == expected.len(),
            "the queue has too many or too few waiters",
        )?;
        for ((place, entry), (waiter, clear)) in expected.iter().zip(slot.queue.iter()) {
            ensure(waiter.lock == place.lock, "the queue is not in the order of tickets")?;
            ensure(waiter.exclusive == entry.want.is_exclusive(), "waits for another access")?;
            ensure(waiter.upgrade == entry.is_upgrade(), "the queue does not know an upgrade")?;
            let free = self.blockers(*place, entry).next().is_none();
            ensure(clear == free, "wrongly clear, or wrongly not clear")?;
        }
        Ok(())
    }

    /// Rule 2, from its definition: the locks that a waiting entry waits for.
    fn blockers<'a>(
        &'a self,
        place: Place,
        waiting: &'a Entry,
    ) -> impl Iterator<Item = LockIx> + 'a {
        let ticket = self.locks[place.lock].ticket;
        self.entries_on(waiting.slot).filter_map(move |(other, entry)| {
            let lock = &self.locks[other.lock];
            let held = entry.hold.is_some_and(|access| access.conflicts(waiting.want));
            let older = lock.is_queued()
                && entry.lacks()
                && lock.ticket < ticket
                && entry.want.conflicts(waiting.want);
            (other.lock != place.lock && (held || older)).then_some(other.lock)
        })
    }

    /// The group's lists, and what its locks want together.
    fn check_group(&self, group: &Group) -> Checked {
        let locks: Vec<(LockIx, &Lock)> =
            self.locks.iter().filter(|(_, lock)| lock.group == group.id).collect();
        let mut listed: Vec<LockIx> = locks.iter().map(|(at, _)| *at).collect();
        listed.sort_by_key(|at| self.locks[*at].token);
        ensure(group.locks == listed, "the group has other locks than its list")?;
        let tokens: BTreeSet<_> = locks.iter().map(|(_, lock)| lock.token).collect();
        ensure(tokens.len() == locks.len(), "two locks with one token")?;
        ensure(tokens.last().is_none_or(|last| *last <= group.last), "a token from the future")?;
        for (nth, member) in group.members.iter().enumerate() {
            ensure(self.slots[member.slot].id == member.buffer, "a member has another slot")?;
            let mut wanted = Holders::default();
            for entry in locks.iter().flat_map(|(_, lock)| &lock.entries) {
                let same = entry.slot == member.slot;
                ensure(same == (entry.member as usize == nth), "an entry has a wrong position")?;
                if same {
                    let suits = wanted.admits(entry.want.is_exclusive(), false);
                    ensure(suits, "locks of one group are in each other's way")?;
                    wanted.hold(&mut None, Some(entry.want));
                }
            }
            ensure(wanted == member.wanted, "miscounted what a group wants")?;
        }
        let kept = group.kept.iter().flat_map(|kept| &kept.stood);
        let all = kept.map(|(slot, _)| group.position_of(self.slots[*slot].id));
        ensure({ all }.all(|position| position.is_some()), "stood where the group has no buffer")
    }

    fn check_one_lock(&self, at: LockIx, lock: &Lock) -> Checked {
        ensure(!lock.is_over(), "a lock that is over")?;
        let entries = || lock.entries.iter();
        let granted = entries().filter(|entry| entry.granted.is_some()).count();
        ensure(
            lock.grant.is_some() == (granted > 0),
            "a grant without buffers, or granted buffers without a grant",
        )?;
        if let Some(held) = &lock.grant {
            let counts = lock.hold_from == HoldFrom::Grant || held.contended;
            ensure(counts == (held.deadline != Time::NEVER), "a wrong deadline")?;
        }
        let gated = entries().filter(|entry| entry.gated > 0).count();
        let waits = entries().filter(|entry| entry.waits.is_some()).count();
        match lock.request.as_ref().map(|request| request.stage) {
            None => {
                let has_all = entries().all(|e| e.granted.is_some() && !e.lacks());
                ensure(has_all, "wants something without a request")?;
            }
            Some(Stage::Queued { .. }) => {
                ensure(
                    entries().all(|e| e.taken().is_none()),
                    "has taken a buffer but is not preparing",
                )?;
            }
            Some(_) => {
                ensure(
                    entries().all(|entry| !entry.lacks()),
                    "prepares without having taken a buffer",
                )?;
            }
        }
        let (mut at_gates, mut in_wait) = (0, false);
        match lock.request.as_ref().map(|request| request.stage) {
            None => {}
            Some(Stage::Queued { blocked }) => {
                let lacks = entries().enumerate().filter(|(_, entry)| entry.lacks());
                let counted = lacks
                    .filter(|(nth, e)| self.blockers(Place::new(at, *nth), e).next().is_some())
                    .count();
                ensure(blocked as usize == counted, "miscounted what a lock waits for")?;
                ensure(blocked > 0, "a lock waits for nothing")?;
            }
            Some(Stage::Gated(counted)) => {
                at_gates = counted as usize;
                ensure(counted > 0, "a lock waits for nothing")?;
                let open = |e: &Entry| e.hold.is_some_and(|a| !self.slots[e.slot].gates(a));
                ensure(!entries().any(|e| e.gated > 0 && open(e)), "waits at an open gate")?;
            }
            Some(Stage::Syncing(job)) => {
                ensure(self.jobs[job].lock == Some(at), "the job belongs to another lock")?;
                ensure(self.parts(job).next().is_some(), "a job without buffers")?;
            }
            Some(Stage::Waiting(job)) => {
                in_wait = true;
                ensure(self.jobs[job].lock == Some(at), "the job belongs to another lock")?;
                ensure(matches!(self.jobs[job].task, Task::Wait), "operations, not a wait")?;
            }
        }
        ensure(at_gates == gated, "miscounted gates")?;
        ensure(in_wait == (waits > 0), "the stage and the entries disagree about implicit fences")?;
        let armed = self.lock_timers.get(at);
        ensure(lock.due().is_none_or(|due| armed.is_some_and(|at| at <= due)), "a timer is late")
    }

    /// Each waiter waits for somebody older or for somebody who does not wait: no cycle.
    fn check_age(&self) -> Checked {
        for (place, entry) in self.all_entries() {
            let lock = &self.locks[place.lock];
            if !lock.is_queued() || !entry.lacks() {
                continue;
            }
            for blocker in self.blockers(place, entry).map(|at| &self.locks[at]) {
                let fine = !blocker.is_queued() || blocker.ticket < lock.ticket;
                ensure(fine, "an older lock waits for a younger one that waits")?;
            }
        }
        Ok(())
    }

    fn check_jobs(&self) -> Checked {
        let mut parts = BTreeSet::new();
        for (at, job) in self.jobs.iter() {
            ensure(self.job_ids.get(&job.id) == Some(&at), "a job without its id")?;
            ensure(self.parts(at).all(|slot| parts.insert(slot)), "a buffer in two jobs")?;
            let count = self.parts(at).count();
            match job.task {
                Task::Wait => ensure(job.lock.is_some(), "a wait without a lock")?,
                Task::Sync { retires, .. } => {
                    ensure(count > 0, "a job without buffers")?;
                    ensure(!retires || count == 1 && job.lock.is_none(), "retires for a lock")?;
                }
            }
        }
        let syncing = self.slots.iter().filter(|(_, slot)| slot.job.is_some());
        let syncing: BTreeSet<SlotIx> = syncing.map(|(at, _)| at).collect();
        ensure(parts == syncing, "a buffer waits for a job that is not there")?;
        let growing: BTreeSet<(SlotIx, Ticket, LockIx)> = self
            .all_entries()
            .filter(|(place, e)| e.hold.is_some() && self.locks[place.lock].is_vulnerable())
            .map(|(place, e)| (e.slot, self.locks[place.lock].ticket, place.lock))
            .collect();
        ensure(self.growing == growing, "miscounted growing holders")
    }

    fn check_fences(&self) -> Checked {
        let (mut parts, mut pending) = (0, BTreeMap::new());
        for (at, fence) in self.fences.iter() {
            ensure(self.fence_ids.get(&fence.id) == Some(&at), "a fence without its id")?;
            ensure(self.fence_timers.get(at).is_some(), "a fence without its deadline")?;
            ensure(!fence.parts.is_empty(), "a fence without buffers")?;
            for (nth, part) in fence.parts.iter().enumerate() {
                let traffic = self.slots[part.slot].traffic.as_ref();
                let mut gates = traffic.into_iter().flat_map(|traffic| traffic.fences.iter());
                let gated = gates.any(|gate| gate.fence == at && gate.nth as usize == nth);
                ensure(gated, "a fence does not gate its buffer")?;
                *pending.entry(part.ending).or_insert(0) += 1;
                parts += 1;
            }
        }
        let gates = self.slots.iter().filter_map(|(_, slot)| slot.traffic.as_ref());
        let gates: usize = gates.map(|traffic| traffic.fences.iter().count()).sum();
        ensure(gates == parts, "a gate without its fence")?;
        let counted = self.endings.iter().map(|(at, ending)| (at, ending.pending)).collect();
        ensure(pending == counted, "miscounted fences of a grant")
    }

    /// The locks that are queued, the oldest first.
    pub fn waiting_by_age(&self) -> Vec<(GroupId, Token)> {
        let mut waiting: Vec<&Lock> =
            self.locks.iter().map(|(_, lock)| lock).filter(|lock| lock.is_queued()).collect();
        waiting.sort_by_key(|lock| lock.ticket);
        waiting.iter().map(|lock| (lock.group, lock.token)).collect()
    }
}

fn ensure(holds: bool, otherwise: &str) -> Checked {
    holds.then_some(()).ok_or_else(|| otherwise.to_string())
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A name of a state, for model checkers. Two states have the same name exactly if they behave alike.
//!
//! Ids, tickets and eviction counts grow for ever and only their order matters, so the name has their
//! ranks. Groups, locks of a group and buffers are interchangeable, so the name is the least encoding under
//! all renamings of buffers, with the groups sorted in each. It leaves out counters, generations and clocks, which decide
//! nothing, and everything that follows from the rest ([`super::invariants`]).

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::coherence::Coherence;
use crate::evictions::Evictions;
use crate::fence::{Ending, Part};
use crate::group::{Group, Kept, Member};
use crate::index::SlotIx;
use crate::job::{Job, Task};
use crate::lock::{Entry, Held, Lock, Request, Stage};
use crate::slot::Slot;
use crate::{Access, BufferId, Engine, FenceId, JobId, Ticket, Time};

impl Engine {
    /// `orders` are the renamings of all buffers of the world. Without `history`, the name leaves out
    /// evictions and coherence too. That is right if no lock ever needs an operation.
    pub fn canonical(&self, orders: &[Vec<BufferId>], history: bool) -> u128 {
        let tickets = self.tickets();
        let names = orders.iter().map(|order| {
            let mut groups: Vec<Vec<u8>> =
                self.groups.iter().map(|(_, g)| self.encode_group(g, order, &tickets)).collect();
            groups.sort_unstable();
            let mut bytes = groups.concat();
            if history {
                self.encode_history(order, &tickets, &mut bytes);
            }
            bytes
        });
        names.min().map_or(0, |least| {
            let half = |seed: u64| {
                let mut hasher = DefaultHasher::new();
                (seed, &least).hash(&mut hasher);
                u128::from(hasher.finish())
            };
            half(1) << 64 | half(2)
        })
    }

    /// The tickets that locks have or groups keep, the oldest first.
    fn tickets(&self) -> Vec<Ticket> {
        let kept = self.groups.iter().filter_map(|(_, group)| group.kept.as_ref());
        let kept = kept.filter(|kept| kept.life > Time(0)).map(|kept| kept.ticket);
        let mut tickets: Vec<Ticket> =
            self.locks.iter().map(|(_, lock)| lock.ticket).chain(kept).collect();
        tickets.sort_unstable();
        tickets
    }

    fn encode_group(&self, group: &Group, order: &[BufferId], tickets: &[Ticket]) -> Vec<u8> {
        // The last token only says which tokens are new.
        let Group { id: _, hold: _, hold_from, members, locks, last: _, kept } = group;
        let rank = |ticket| tickets.binary_search(&ticket).map_or(0, |rank| rank as u8 + 1);
        let mut bytes = vec![*hold_from as u8, locks.len() as u8];
        // A ticket whose life is over is like none.
        let kept = kept.as_ref().filter(|kept| kept.life > Time(0));
        bytes.push(kept.map_or(0, |kept| rank(kept.ticket)));
        for buffer in order {
            let slot = self.slot_ids.get(buffer).copied();
            let Some(member) = members.iter().find(|member| Some(member.slot) == slot) else {
                bytes.push(0);
                continue;
            };
            // What the locks want follows from the locks.
            let Member { buffer: _, slot, access, wanted: _ } = member;
            bytes.push(code(Some(*access)));
            if let Some(Kept { left, stood, .. }) = kept {
                let stood = stood.iter().find(|(stood, _)| stood == slot);
                // Whether somebody has come meanwhile who conflicts with what the next lock may want in time.
                let queue = &self.slots[*slot].queue;
                let come = |exclusive| u8::from(queue.has_come_since(*left, exclusive));
                bytes.push(match stood {
                    None => 0,
                    Some((_, false)) => 1 + come(false),
                    Some((_, true)) => 3 + come(false) + come(true),
                });
            }
        }
        let locks = locks.iter().map(|at| &self.locks[*at]);
        let mut locks: Vec<Vec<u8>> =
            locks.map(|lock| self.encode_lock(lock, rank(lock.ticket), order)).collect();
        locks.sort_unstable();
        bytes.extend(locks.concat());
        bytes
    }

    fn encode_lock(&self, lock: &Lock, rank: u8, order: &[BufferId]) -> Vec<u8> {
        // The group's hold limit and the token decide nothing; the rank stands for the ticket.
        let Lock { group: _, token: _, hold: _, hold_from: _, ticket: _, .. } = lock;
        let Lock { life, request, grant, entries, .. } = lock;
        let mut bytes = vec![rank, u8::from(*life == Time(0))];
        bytes.push(match request {
            None => 0,
            Some(Request { expires: _, asked: _, patience: _, stage }) => match stage {
                Stage::Queued { blocked: _ } => 1,
                Stage::Gated(_) => 2,
                Stage::Syncing(_) => 3,
                Stage::Waiting(_) => 4,
            },
        });
        bytes.push(match grant {
            None => 0,
            Some(Held { deadline: _, contended, wounded }) => {
                1 + u8::from(*wounded) + 2 * u8::from(*contended)
            }
        });
        for buffer in order {
            let slot = self.slot_ids.get(buffer).copied();
            match entries.iter().find(|entry| Some(entry.slot) == slot) {
                None => bytes.push(0),
                Some(entry) => {
                    self.encode_entry(entry, &mut bytes);
                    bytes.push(u8::from(entry.late));
                }
            }
        }
        bytes
    }

    fn encode_entry(&self, entry: &Entry, bytes: &mut Vec<u8>) {
        let Entry { slot, member: _, want, hold, granted, waits, .. } = entry;
        let Entry { listed: _, gated, seen, late: _, .. } = entry;
        let [want, hold, granted] = [Some(*want), *hold, *granted].map(code);
        bytes.extend([1 + want, hold << 4 | granted, u8::from(*gated > 0) | flags(*waits) << 1]);
        bytes.push(if granted == 0 { 0 } else { self.eviction_rank(*slot, *seen) });
    }

    /// The rank of a number among the numbers of evictions that matter to a buffer.
    fn eviction_rank(&self, at: SlotIx, number: u64) -> u8 {
        if number <= self.slots[at].evictions.repaired {
            return 0;
        }
        let mut all = self.eviction_numbers(at);
        all.sort_unstable();
        all.dedup();
        1 + all.binary_search(&number).unwrap_or(0) as u8
    }

    fn eviction_numbers(&self, at: SlotIx) -> Vec<u64> {
        let slot = &self.slots[at];
        let all = self.locks.iter().flat_map(|(_, lock)| &lock.entries);
        let held = all.filter(|entry| entry.slot == at && entry.granted.is_some());
        let endings =
            self.parts_on(slot).into_iter().map(|(_, part)| self.endings[part.ending].seen);
        let Evictions { count, settled, repaired, cpu, dma } = slot.evictions;
        held.map(|entry| entry.seen)
            .chain(endings)
            .chain([count, settled, cpu, dma])
            .filter(|number| *number > repaired)
            .collect()
    }

    /// The fences of a buffer, in the order of their ids.
    fn parts_on(&self, slot: &Slot) -> Vec<(FenceId, Part)> {
        let gates = slot.traffic.iter().flat_map(|traffic| traffic.fences.iter());
        let parts = gates.map(|gate| {
            let fence = &self.fences[gate.fence];
            (fence.id, fence.parts[gate.nth as usize])
        });
        let mut parts: Vec<(FenceId, Part)> = parts.collect();
        parts.sort_by_key(|(id, _)| *id);
        parts
    }

    fn job_of(&self, slot: SlotIx) -> Option<&Job> {
        let mut jobs = self.jobs.iter();
        jobs.find(|(at, _)| self.parts(*at).any(|part| part == slot)).map(|(_, job)| job)
    }

    fn encode_history(&self, order: &[BufferId], tickets: &[Ticket], bytes: &mut Vec<u8>) {
        let mut jobs: Vec<JobId> = self.jobs.iter().map(|(_, job)| job.id).collect();
        let mut fences: Vec<FenceId> = self.fences.iter().map(|(_, fence)| fence.id).collect();
        jobs.sort_unstable();
        fences.sort_unstable();
        for buffer in order {
            let Some(at) = self.slot_ids.get(buffer).copied() else {
                let remembered = self.remembered.get(*buffer);
                bytes.push(remembered.map_or(0, |_| 2));
                if let Some(history) = remembered {
                    encode_coherence(&history.coherence, bytes);
                    let e = history.evictions;
                    bytes.extend([e.at_work(), e.cpu_at_work(), e.dma_at_work()].map(u8::from));
                    bytes.push(u8::from(e.is_torn()));
                    // Whether the last eviction was that of a writer.
                    bytes.push(u8::from(e.cpu.max(e.dma) == e.count));
                }
                continue;
            };
            let slot = &self.slots[at];
            bytes.push(1);
            encode_coherence(&slot.coherence, bytes);
            let Evictions { count, settled, repaired: _, cpu, dma } = slot.evictions;
            bytes.extend([count, settled, cpu, dma].map(|number| self.eviction_rank(at, number)));
            match slot.job {
                None => bytes.push(0),
                Some(part) => {
                    let job = self.job_of(at);
                    let rank = job.and_then(|job| jobs.binary_search(&job.id).ok());
                    bytes.push(1 + rank.unwrap_or(0) as u8);
                    let owner = job.and_then(|job| job.lock).map(|lock| self.locks[lock].ticket);
                    let owner = owner.and_then(|owner| tickets.binary_search(&owner).ok());
                    bytes.push(owner.map_or(0, |rank| rank as u8 + 1));
                    let task = job.map(|job| job.task);
                    bytes.push(u8::from(matches!(task, Some(Task::Sync { retires: true, .. }))));
                    for (kind, f) in part.plan.into_iter().flatten() {
                        bytes.extend([kind as u8, flags(Some(f))]);
                    }
                    bytes.extend(part.gone.map(u8::from));
                }
            }
            let rows = slot.traffic.as_ref().map(|traffic| traffic.rows).unwrap_or_default();
            bytes.extend(rows.map(|row| u8::from(row.since.is_some())));
            let parts = self.parts_on(slot);
            for (id, part) in &parts {
                let rank = fences.binary_search(id).unwrap_or(0);
                let Ending { seen, pending: _, failed } = self.endings[part.ending];
                let first = parts.iter().position(|(_, other)| other.ending == part.ending);
                bytes.extend([0xf0, rank as u8, code(Some(part.access)), u8::from(failed)]);
                bytes.extend([first.unwrap_or(0) as u8, self.eviction_rank(at, seen)]);
            }
            bytes.push(0xff);
        }
    }
}

fn encode_coherence(c: &Coherence, bytes: &mut Vec<u8>) {
    bytes.extend([u8::from(c.device_dirty()), u8::from(c.cpu_dirty()), flags(c.open())]);
}

fn code(access: Option<Access>) -> u8 {
    match access {
        None => 0,
        Some(Access::Read) => 1,
        Some(Access::Write) => 2,
        Some(Access::DmaRead) => 3,
        Some(Access::DmaWrite) => 4,
    }
}

fn flags(open: Option<crate::SyncFlags>) -> u8 {
    match open {
        None => 0,
        Some(crate::SyncFlags::Read) => 1,
        Some(crate::SyncFlags::ReadWrite) => 2,
    }
}

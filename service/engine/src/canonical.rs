// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A name for a state that two states share exactly if they behave alike, for model checkers.
//!
//! Ids, tickets and eviction counts grow for ever; only their order matters, so they are ranked.
//! Groups and buffers are interchangeable, so the least of the encodings under every renaming of
//! buffers is taken, with the groups sorted in each. Counters, generations and clocks decide nothing
//! and are left out; what follows from the rest ([`crate::invariants`] says what) as well.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::arena::Ix;
use crate::group::{Entry, Group, Held, Request, Stage};
use crate::slot::Slot;
use crate::{Access, BufferId, Engine, FenceId, JobId, Ticket};

impl Engine {
    /// See the module. `orders` are the renamings of all buffers of the world. Without `history`,
    /// evictions and coherence are left out too, which is right where no operation is ever needed.
    #[doc(hidden)]
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

    /// Those that still count, the oldest first.
    fn tickets(&self) -> Vec<Ticket> {
        let mut tickets: Vec<Ticket> =
            self.groups.iter().filter_map(|(_, group)| ticket(group)).collect();
        tickets.sort_unstable();
        tickets
    }

    fn encode_group(&self, group: &Group, order: &[BufferId], tickets: &[Ticket]) -> Vec<u8> {
        let Group { id: _, hold: _, entries, ticket: _, token: _, kept, request, grant, idle } =
            group;
        let rank = ticket(group).and_then(|ticket| tickets.binary_search(&ticket).ok());
        let mut bytes = vec![
            rank.map_or(0, |rank| rank as u8 + 1),
            u8::from(kept.is_some()) | u8::from(*idle) << 1,
        ];
        bytes.push(match request {
            None => 0,
            Some(Request { expires: _, stage: Stage::Queued { blocked: _ } }) => 1,
            Some(Request { expires: _, stage: Stage::Preparing { gated: _, job: None } }) => 2,
            Some(Request { expires: _, stage: Stage::Preparing { gated: _, job: Some(_) } }) => 3,
        });
        bytes.push(match grant {
            None => 0,
            Some(Held { deadline: _, wounded }) => 1 + u8::from(*wounded),
        });
        for buffer in order {
            let slot = self.slot_ids.get(buffer).copied();
            match entries.iter().find(|entry| Some(entry.slot) == slot) {
                None => bytes.push(0),
                Some(entry) => self.encode_entry(entry, &mut bytes),
            }
        }
        bytes
    }

    fn encode_entry(&self, entry: &Entry, bytes: &mut Vec<u8>) {
        let Entry { slot, want, hold, granted, gated, seen } = entry;
        let [want, hold, granted] = [Some(*want), *hold, *granted].map(code);
        let settles = *seen > self.slots[*slot].evictions.settled;
        bytes.extend([1 + want, hold << 4 | granted, u8::from(*gated) << 1]);
        bytes.push(if granted == 0 { 0 } else { self.seen_rank(*slot, *seen, settles) });
    }

    /// Among the counts of evictions that matter to a buffer, which one a grant has seen.
    fn seen_rank(&self, at: Ix<Slot>, seen: u64, settles: bool) -> u8 {
        if !settles {
            return 0;
        }
        let mut all = self.counts_seen(at);
        all.sort_unstable();
        all.dedup();
        1 + all.binary_search(&seen).unwrap_or(0) as u8
    }

    fn counts_seen(&self, at: Ix<Slot>) -> Vec<u64> {
        let slot = &self.slots[at];
        let all = self.groups.iter().flat_map(|(_, group)| &group.entries);
        let held = all.filter(|entry| entry.slot == at && entry.granted.is_some());
        let fences = slot.fences.iter().flat_map(|gate| &self.fences[gate.fence].parts);
        held.map(|entry| entry.seen)
            .chain(fences.filter(|part| part.slot == at).map(|part| part.seen))
            .chain([slot.evictions.count, slot.evictions.cpu, slot.evictions.dma])
            .filter(|seen| *seen > slot.evictions.settled)
            .collect()
    }

    fn encode_history(&self, order: &[BufferId], tickets: &[Ticket], bytes: &mut Vec<u8>) {
        let mut jobs: Vec<JobId> = self.jobs.iter().map(|(_, job)| job.id).collect();
        let mut fences: Vec<FenceId> = self.fences.iter().map(|(_, fence)| fence.id).collect();
        jobs.sort_unstable();
        fences.sort_unstable();
        for buffer in order {
            let Some(at) = self.slot_ids.get(buffer) else {
                bytes.push(0);
                continue;
            };
            let slot = &self.slots[*at];
            let (c, e) = (slot.coherence, slot.evictions);
            let tainted = e.count > e.settled;
            bytes.extend([1, u8::from(c.device_dirty()), u8::from(c.cpu_dirty())]);
            bytes.extend([flags(c.open()), u8::from(tainted)]);
            bytes.extend([e.count, e.cpu, e.dma].map(|n| self.seen_rank(*at, n, n > e.settled)));
            match slot.job {
                None => bytes.push(0),
                Some(part) => {
                    let job = &self.jobs[part.job];
                    bytes.push(1 + jobs.binary_search(&job.id).unwrap_or(0) as u8);
                    let owner = job.group.map(|group| self.groups[group].ticket);
                    let owner = owner.and_then(|owner| tickets.binary_search(&owner).ok());
                    bytes.push(owner.map_or(0, |rank| rank as u8 + 1));
                    for (kind, f) in part.plan.into_iter().flatten() {
                        bytes.extend([kind as u8, flags(Some(f))]);
                    }
                }
            }
            for gate in &slot.fences {
                let fence = &self.fences[gate.fence];
                let rank = fences.binary_search(&fence.id).unwrap_or(0);
                bytes.extend([0xf0, rank as u8]);
                for part in fence.parts.iter().filter(|part| part.slot == *at) {
                    bytes.push(code(Some(part.access)));
                    bytes.push(self.seen_rank(*at, part.seen, part.seen > e.settled));
                }
            }
            bytes.push(0xff);
        }
    }
}

/// The ticket that a group has or may use again.
fn ticket(group: &Group) -> Option<Ticket> {
    if group.request.is_some() || group.grant.is_some() {
        return Some(group.ticket);
    }
    group.kept.map(|(ticket, _)| ticket)
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

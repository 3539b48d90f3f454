// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! One buffer: who holds it, who waits for it, and the state of its cache.
//!
//! It puts the parts together that know nothing of each other. It knows locks by index only.

use std::time::Duration;

use crate::coherence::{Coherence, Plan};
use crate::evictions::Evictions;
use crate::fence::{Gate, Gates};
use crate::holders::Holders;
use crate::index::Place;
use crate::job::JobPart;
use crate::queue::Queue;
use crate::roster::Roster;
use crate::{Access, BufferId, GrantedBuffer, Time};

#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub id: BufferId,
    /// How many groups have the buffer.
    pub members: u32,
    pub holders: Holders,
    /// Which locks these are.
    pub roster: Roster,
    pub queue: Queue,
    /// Cache operations in flight. Nobody is granted the buffer meanwhile.
    pub job: Option<JobPart>,
    /// Fences and waits. Most buffers never have any, so it is allocated at first use and kept.
    pub traffic: Option<Box<Traffic>>,
    pub coherence: Coherence,
    /// How many exclusive grants there were.
    pub generation: u64,
    pub evictions: Evictions,
}

/// The fences of a buffer, and the entries that wait for them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    /// Release fences of past holders.
    pub fences: Gates,
    /// Entries that wait for operations or release fences, by the access that they have taken (the index
    /// in [`Access::ALL`]). Only the access decides whether the gate is open.
    pub gated: [Vec<Place>; Access::ALL.len()],
    /// Locks that wait for implicit fences in the dma-buf: for those of writers, and for all.
    pub rows: [Row; 2],
}

/// Locks that wait for the implicit fences of a buffer, at once or one after the other, with one time
/// limit for all.
///
/// A row goes on while a lock waits, and with the locks that had asked by then and come to their turn
/// later. A lock that asks after the row's time limit does not join it: the fence that stopped the
/// first lock is not the one that stops this lock, and nobody can shorten a lock's time by waiting
/// before it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Row {
    pub waits: u32,
    /// When the first lock began to wait. `None` if the fences were seen signalled since.
    pub since: Option<Time>,
    /// When the last lock that was in the row stopped waiting.
    pub ended: Time,
}

impl Row {
    /// When the row began that a lock joins. The lock asked at `asked`; `limit` is the row's time limit.
    pub fn joined(&self, asked: Time, limit: Duration) -> Option<Time> {
        let since = self.since.filter(|_| self.waits > 0 || asked <= self.ended)?;
        (asked <= since.after(limit)).then_some(since)
    }
}

impl Slot {
    pub fn new(id: BufferId) -> Self {
        Self {
            id,
            members: 0,
            holders: Holders::default(),
            roster: Roster::default(),
            queue: Queue::default(),
            job: None,
            traffic: None,
            coherence: Coherence::default(),
            generation: 0,
            evictions: Evictions::default(),
        }
    }

    /// Memory that only CPUs use.
    pub fn plain(id: BufferId) -> Self {
        Self { coherence: Coherence::of_plain_memory(), ..Self::new(id) }
    }

    /// What a grant for `access` says of the buffer now.
    pub fn granted(&self, access: Access) -> GrantedBuffer {
        GrantedBuffer {
            buffer: self.id,
            access,
            generation: self.generation,
            evicted: self.evictions.at_work(),
            torn: self.evictions.is_torn(),
            fenced: self.is_fenced_for(access),
        }
    }

    /// The pending release fences that such an access waits for, before its grant or with it.
    pub fn fences_for(&self, access: Access) -> impl Iterator<Item = &Gate> {
        self.traffic.iter().flat_map(move |traffic| traffic.fences.concerning(access))
    }

    /// Whether there is a pending release fence that such an access waits for.
    #[inline]
    pub fn is_fenced_for(&self, access: Access) -> bool {
        self.traffic.as_ref().is_some_and(|traffic| traffic.fences.concern(access))
    }

    /// When the row of waits for implicit fences began that a lock joins.
    pub fn row_of(&self, asked: Time, limit: Duration) -> Option<Time> {
        let rows = &self.traffic.as_ref()?.rows;
        rows.iter().filter_map(|row| row.joined(asked, limit)).min()
    }

    pub fn has_fences(&self) -> bool {
        self.traffic.as_ref().is_some_and(|traffic| !traffic.fences.is_empty())
    }

    /// Whether such an access cannot be granted before pending operations or fences are over.
    ///
    /// A device waits for another device's fence itself, so it is granted with the fence. The CPU does
    /// nothing before a fence has signalled: it does not read or write, and START has to find what the
    /// device has written. While an evicted holder may be at work, nobody passes a fence: what that
    /// holder leaves in the cache has to be cleaned between one device and the next.
    pub fn gates(&self, access: Access) -> bool {
        if self.job.is_some() {
            return true;
        }
        let Some(Traffic { fences, .. }) = self.traffic.as_deref() else { return false };
        let passes = access.is_dma() && !fences.concern_by_cpu(access);
        let orderly = !self.evictions.at_work() && !self.coherence.plan_has_start(access);
        fences.concern(access) && !(passes && orderly)
    }

    /// The operations before a grant for `access`.
    pub fn plan(&self, access: Access) -> Plan {
        self.coherence.plan(access, self.evictions.cpu_at_work())
    }

    /// Whether such an access can be granted now: no holder or waiter is in the way, and there is nothing
    /// to wait for or to do.
    #[inline]
    pub fn is_plain_for(&self, access: Access, upgrade: bool) -> bool {
        self.holders.admits(access.is_exclusive(), upgrade)
            && self.queue.is_empty()
            && self.job.is_none()
            && !self.has_fences()
            && self.coherence.is_ready_for(access)
    }

    /// Whether nobody has the buffer or works on it.
    pub fn is_abandoned(&self) -> bool {
        self.members == 0 && self.job.is_none() && !self.has_fences()
    }

    /// A grant for `access` that began after `seen` evictions has ended in order.
    #[inline(always)]
    pub fn ended_in_order(&mut self, access: Access, seen: u64) {
        if self.evictions.ends_with(access, seen) {
            self.settle(access, seen);
        }
    }

    /// Evictions up to number `seen` count as gone. Everybody evicted until now may have written until
    /// now, so the dirty bits are set again, and once more when operations that are in flight end.
    #[cold]
    fn settle(&mut self, access: Access, seen: u64) {
        let before = self.evictions;
        self.evictions.ended_in_order(access, seen);
        if self.evictions.settled == before.settled {
            return;
        }
        let gone = [before.cpu_at_work(), before.dma_at_work()];
        self.may_have_written(gone);
        if let Some(part) = &mut self.job {
            part.gone = [part.gone[0] || gone[0], part.gone[1] || gone[1]];
        }
    }

    /// The CPU, or a device, may have written until now.
    pub fn may_have_written(&mut self, [cpu, device]: [bool; 2]) {
        if cpu {
            self.coherence.may_have_written(Access::Write);
        }
        if device {
            self.coherence.may_have_written(Access::DmaWrite);
        }
    }
}

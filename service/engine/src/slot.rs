// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! One buffer: how it is held, who waits for it, and what is true of it.
//!
//! Knows groups only by the places of their entries.

use std::time::Duration;

use crate::arena::Ix;
use crate::coherence::{Coherence, Plan};
use crate::evictions::Evictions;
use crate::fence::{Gate, Gates};
use crate::group::{Entry, Place};
use crate::holders::Holders;
use crate::prepare::Job;
use crate::queue::Queue;
use crate::{Access, BufferId, Time};

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub id: BufferId,
    /// Groups that have the buffer.
    pub members: u32,
    pub holders: Holders,
    pub queue: Queue,
    /// Cache operations in flight. Nobody is granted the buffer meanwhile.
    pub job: Option<JobPart>,
    /// Fences and waits. Most buffers never have any, so it is allocated at first use, and kept.
    pub traffic: Option<Box<Traffic>>,
    pub coherence: Coherence,
    /// Exclusive grants so far.
    pub generation: u64,
    pub evictions: Evictions,
}

/// What keeps those who have taken a buffer from being granted it, and who they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    /// Release fences of past holders.
    pub fences: Gates,
    /// Entries that wait for operations or fences to end, by what they want ([`Access::ALL`]): whether
    /// a gate is open depends on that alone.
    pub gated: [Vec<Place>; 4],
    /// Locks that wait for implicit fences in the dma-buf: those of writers, and all of them.
    pub rows: [Row; 2],
}

/// Locks that wait one after the other, or at once, for the implicit fences of a buffer, with one time
/// limit for all.
///
/// A row goes on while somebody waits, and with those who had asked by then and come to their turn
/// later. It is not joined by who asks when its time is over: such a lock has nothing to do with the
/// fence that the first one met, and nobody can make its time short by waiting before it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Row {
    pub waits: u32,
    /// When the first of them began to wait; `None` if the fences have been seen signalled since.
    pub since: Option<Time>,
    /// When the last of them stopped.
    pub ended: Time,
}

impl Row {
    /// When the row began, for a lock that asked at this moment and may wait as long as `limit`.
    pub fn joined(&self, asked: Time, limit: Duration) -> Option<Time> {
        let since = self.since.filter(|_| self.waits > 0 || asked <= self.ended)?;
        (asked <= since.after(limit)).then_some(since)
    }
}

/// A buffer's part in a job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JobPart {
    pub job: Ix<Job>,
    pub plan: Plan,
    /// The next buffer of the same job.
    pub next: Option<Ix<Slot>>,
    /// An evicted CPU writer, or device, that came to count as gone while the operations are in flight.
    /// It may have written after them.
    pub gone: [bool; 2],
}

impl Slot {
    pub fn new(id: BufferId) -> Self {
        Self {
            id,
            members: 0,
            holders: Holders::default(),
            queue: Queue::default(),
            job: None,
            traffic: None,
            coherence: Coherence::default(),
            generation: 0,
            evictions: Evictions::default(),
        }
    }

    /// The pending release fences that such an access has to wait for, before its grant or with it:
    /// those of a writer concern everybody, those of a reader the next writer.
    pub fn fences_for(&self, access: Access) -> impl Iterator<Item = &Gate> {
        self.traffic.iter().flat_map(move |traffic| traffic.fences.concerning(access))
    }

    /// Whether a release fence is pending that such an access has to wait for.
    #[inline]
    pub fn is_fenced_for(&self, access: Access) -> bool {
        self.traffic.as_ref().is_some_and(|traffic| traffic.fences.concern(access))
    }

    /// When the row of waits for implicit fences began that a lock joins which asked at this moment.
    pub fn row_of(&self, asked: Time, limit: Duration) -> Option<Time> {
        let rows = &self.traffic.as_ref()?.rows;
        rows.iter().filter_map(|row| row.joined(asked, limit)).min()
    }

    pub fn has_fences(&self) -> bool {
        self.traffic.as_ref().is_some_and(|traffic| !traffic.fences.is_empty())
    }

    /// Whether operations or fences are pending that have to be over before such an access can be
    /// granted.
    ///
    /// A device waits for another's fence itself, so it is granted with the fence. What the CPU does
    /// does not begin before a fence has signalled: reads, writes, and START, which must find what
    /// the device has written. And nobody passes while somebody who was evicted may be at work: what
    /// it leaves in the cache has to be cleaned away between one device and the next.
    pub fn gates(&self, access: Access) -> bool {
        if self.job.is_some() {
            return true;
        }
        let Some(Traffic { fences, .. }) = self.traffic.as_deref() else { return false };
        let passes = access.is_dma() && !fences.concern_by_cpu(access);
        let orderly = !self.evictions.at_work() && !self.coherence.plan_has_start(access);
        fences.concern(access) && !(passes && orderly)
    }

    /// What has to be issued before `access` can be granted.
    pub fn plan(&self, access: Access) -> Plan {
        self.coherence.plan(access, self.evictions.cpu_at_work())
    }

    /// Whether such an access can be had as things are: nobody waits or is in the way, and nothing
    /// has to be waited for or done.
    #[inline]
    pub fn is_plain_for(&self, access: Access, upgrade: bool) -> bool {
        self.holders.admits(access.is_exclusive(), upgrade)
            && self.queue.is_empty()
            && self.job.is_none()
            && !self.has_fences()
            && self.coherence.is_ready_for(access)
    }

    /// Nobody has it or works on it.
    pub fn is_abandoned(&self) -> bool {
        self.members == 0 && self.job.is_none() && !self.has_fences()
    }

    /// Lets an entry hold it for `access`; `None` takes it away.
    #[inline]
    pub fn hold(&mut self, entry: &mut Entry, access: Option<Access>) {
        let before = std::mem::replace(&mut entry.hold, access);
        let [before, after] = [before, access].map(|held| held.map(Access::is_exclusive));
        self.holders.change(before, after);
    }

    /// A holder that had `access` was evicted. Its grant has set the dirty bit already; the bit is set
    /// again when the holder counts as gone.
    pub fn evicted(&mut self, access: Access) {
        self.evictions.add(access);
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

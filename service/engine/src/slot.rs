// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! One buffer: who holds it, who waits for it, and what is true of it.
//!
//! Knows of groups only where they have their entries, and of those what it is told.

use crate::arena::Ix;
use crate::coherence::{Coherence, Plan};
use crate::group::{Entry, Place};
use crate::holders::Holders;
use crate::queue::Queue;
use crate::release::Fence;
use crate::sync::Job;
use crate::{Access, BufferId};

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub id: BufferId,
    /// Groups that have the buffer.
    pub members: u32,
    pub holders: Holders,
    /// Holders that wait for more, and so may be wounded.
    pub growing: u32,
    pub queue: Queue,
    /// Cache operations in flight. Nobody is granted the buffer meanwhile.
    pub job: Option<JobPart>,
    /// Release fences of past holders.
    pub fences: Vec<Gate>,
    pub coherence: Coherence,
    /// Exclusive grants so far.
    pub generation: u64,
    pub evictions: Evictions,
}

/// A buffer's part in a job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JobPart {
    pub job: Ix<Job>,
    pub plan: Plan,
    /// The next buffer of the same job.
    pub next: Option<Ix<Slot>>,
}

/// A release fence's part in a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate {
    pub fence: Ix<Fence>,
    /// What its giver had.
    pub access: Access,
}

/// Holders that did not let go in order and may still be at work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Evictions {
    pub count: u64,
    /// As many of them had happened when the last grant that ended in order began.
    pub settled: u64,
    /// The last of a CPU writer: the how manieth it was, or 0.
    pub cpu: u64,
    /// The last of a writing device.
    pub dma: u64,
}

impl Slot {
    pub fn new(id: BufferId) -> Self {
        Self {
            id,
            members: 0,
            holders: Holders::default(),
            growing: 0,
            queue: Queue::default(),
            job: None,
            fences: Vec::new(),
            coherence: Coherence::default(),
            generation: 0,
            evictions: Evictions::default(),
        }
    }

    /// Whether an earlier holder was evicted, and no grant since has ended in order.
    pub fn is_tainted(&self) -> bool {
        self.evictions.count > self.evictions.settled
    }

    /// Whether operations or fences are pending that have to be over before such an access can be
    /// granted.
    ///
    /// A device waits for another's fence itself, so it is granted with the fence. What the CPU does
    /// does not begin before a fence has signalled: reads, writes, and START, which must find what
    /// the device has written. And nobody passes while somebody who was evicted may be at work: what
    /// it leaves in the cache has to be cleaned away between one device and the next.
    pub fn gates(&self, access: Access) -> bool {
        if self.fences.is_empty() {
            return self.job.is_some();
        }
        let passes = |gate: &Gate| gate.access.is_dma() && access.is_dma();
        let orderly = !self.is_tainted() && !self.coherence.plan_has_start(access);
        self.job.is_some() || self.fences_for(access).any(|gate| !orderly || !passes(gate))
    }

    /// The fences that such an access has to wait for, before its grant or with it: those of a
    /// writer concern everybody, those of a reader the next writer.
    pub fn fences_for(&self, access: Access) -> impl Iterator<Item = &Gate> {
        self.fences.iter().filter(move |gate| gate.access.conflicts(access))
    }

    /// Whether such an access can be had as things are: nobody waits or is in the way, and nothing
    /// has to be waited for or done.
    pub fn is_plain_for(&self, access: Access, upgrade: bool) -> bool {
        self.holders.admits(access.is_exclusive(), upgrade)
            && self.queue.is_empty()
            && self.job.is_none()
            && self.fences.is_empty()
            && self.coherence.is_ready_for(access)
    }

    /// Nobody has it or works on it.
    pub fn is_abandoned(&self) -> bool {
        self.members == 0 && self.job.is_none() && self.fences.is_empty()
    }

    /// Lets an entry hold it for `access`; `None` takes it away.
    #[inline]
    pub fn hold(&mut self, entry: &mut Entry, place: Place, access: Option<Access>) {
        let before = std::mem::replace(&mut entry.hold, access);
        let [before, after] = [before, access].map(|held| held.map(Access::is_exclusive));
        self.holders.change(place, before, after);
    }

    /// A holder that had `access` was evicted. That it may have written is known since its grant, and
    /// that it may go on comes into the books when it counts as gone.
    pub fn evicted(&mut self, access: Access) {
        self.evictions.count += 1;
        match access {
            Access::Read | Access::DmaRead => {}
            Access::Write => self.evictions.cpu = self.evictions.count,
            Access::DmaWrite => self.evictions.dma = self.evictions.count,
        }
    }

    /// A grant that began after `seen` evictions has ended in order: those evicted before it count
    /// as gone now. They, and those evicted since, may have written all the while: what they wrote is
    /// history.
    #[inline(always)]
    pub fn settle(&mut self, seen: u64) {
        if seen > self.evictions.settled {
            self.settle_evicted(seen);
        }
    }

    #[cold]
    fn settle_evicted(&mut self, seen: u64) {
        let Evictions { settled, cpu, dma, .. } = self.evictions;
        if cpu > settled {
            self.coherence.may_have_written(Access::Write);
        }
        if dma > settled {
            self.coherence.may_have_written(Access::DmaWrite);
        }
        self.evictions.settled = seen;
    }
}

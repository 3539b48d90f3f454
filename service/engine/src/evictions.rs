// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Holders of one buffer that did not let go in order, and the two facts that follow from them.
//!
//! *Somebody evicted may still be at work* (`at_work`): begins with each eviction, and ends when a
//! grant that began afterwards has ended in order. That is one whole grant of time for the evicted
//! one to notice; nothing better can be known of another process.
//!
//! *The content is torn* (`is_torn`): begins when a writer is evicted, and ends when an exclusive grant
//! that began afterwards has ended in order: whoever writes makes the content whole. A reader repairs
//! nothing.
//!
//! Evictions are numbered, and a grant notes the number of the last one when it begins. So both facts
//! are comparisons of numbers, and ends of grants may come in any order.

use crate::Access;

/// See the module. Each field but `count` is the number of an eviction, or 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Evictions {
    /// How many there were: the number of the last one.
    pub count: u64,
    /// Those up to here count as gone.
    pub settled: u64,
    /// What those up to here left has been written over.
    pub repaired: u64,
    /// The last of a CPU writer.
    pub cpu: u64,
    /// The last of a writing device.
    pub dma: u64,
}

impl Evictions {
    /// Whether somebody evicted may still be at work.
    pub fn at_work(&self) -> bool {
        self.count > self.settled
    }

    /// Whether an evicted CPU writer may still be at work.
    pub fn cpu_at_work(&self) -> bool {
        self.cpu > self.settled
    }

    /// Whether an evicted device that writes may still be at work.
    pub fn dma_at_work(&self) -> bool {
        self.dma > self.settled
    }

    /// Whether the content may be half written.
    pub fn is_torn(&self) -> bool {
        self.cpu.max(self.dma) > self.repaired
    }

    /// Whether there is anything that the next holder has to be told.
    pub fn is_marked(&self) -> bool {
        self.at_work() || self.is_torn()
    }

    /// A holder that had `access` did not let go in order.
    pub fn add(&mut self, access: Access) {
        self.count += 1;
        match access {
            Access::Read | Access::DmaRead => {}
            Access::Write => self.cpu = self.count,
            Access::DmaWrite => self.dma = self.count,
        }
    }

    /// Whether the end in order of such a grant, which began after eviction number `seen`, changes
    /// anything.
    #[inline(always)]
    pub fn ends_with(&self, access: Access, seen: u64) -> bool {
        seen > self.settled || access.is_exclusive() && seen > self.repaired
    }

    /// Such a grant has ended in order.
    pub fn ended_in_order(&mut self, access: Access, seen: u64) {
        self.settled = self.settled.max(seen);
        if access.is_exclusive() {
            self.repaired = self.repaired.max(seen);
        }
    }
}

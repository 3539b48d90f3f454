// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The evictions of one buffer, and the two facts that follow from them.
//!
//! *Somebody evicted may still be at work* (`at_work`): this begins with each eviction. It ends when a
//! grant that began afterwards has ended in order. That gives the evicted holder one whole grant of time
//! to notice; nobody can know more about another process.
//!
//! *The content is torn* (`is_torn`): this begins with the eviction of a writer. It ends when an
//! exclusive grant that began afterwards has ended in order, because a writer makes the content whole. A
//! reader repairs nothing.
//!
//! Evictions are numbered, and a grant notes the number of the last one when it begins. So both facts
//! are comparisons of numbers, and grants may end in any order.

use crate::Access;

/// Each field but `count` is the number of an eviction, or 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Evictions {
    /// The number of evictions, and so the number of the last one.
    pub count: u64,
    /// The evicted holders up to this number count as gone.
    pub settled: u64,
    /// Content that the evicted writers up to this number left has been written over.
    pub repaired: u64,
    /// The last eviction of a CPU writer.
    pub cpu: u64,
    /// The last eviction of a device that writes.
    pub dma: u64,
}

impl Evictions {
    pub fn at_work(&self) -> bool {
        self.count > self.settled
    }

    pub fn cpu_at_work(&self) -> bool {
        self.cpu > self.settled
    }

    pub fn dma_at_work(&self) -> bool {
        self.dma > self.settled
    }

    pub fn is_torn(&self) -> bool {
        self.cpu.max(self.dma) > self.repaired
    }

    /// Whether the next holder is told something.
    pub fn is_marked(&self) -> bool {
        self.at_work() || self.is_torn()
    }

    /// A holder that had `access` was evicted. Its grant has set the dirty bit of the cache already; the
    /// bit is set again when the holder counts as gone.
    pub fn add(&mut self, access: Access) {
        self.count += 1;
        match access {
            Access::Read | Access::DmaRead => {}
            Access::Write => self.cpu = self.count,
            Access::DmaWrite => self.dma = self.count,
        }
    }

    /// Whether it changes anything that a grant for `access`, which began after eviction number `seen`,
    /// ends in order.
    #[inline(always)]
    pub fn ends_with(&self, access: Access, seen: u64) -> bool {
        seen > self.settled || access.is_exclusive() && seen > self.repaired
    }

    pub fn ended_in_order(&mut self, access: Access, seen: u64) {
        self.settled = self.settled.max(seen);
        if access.is_exclusive() {
            self.repaired = self.repaired.max(seen);
        }
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The marks of one buffer by their definitions (EventRecord.aidl): the evictions that still count.

use buffersync_engine::Access;

#[derive(Clone, Copy, Debug)]
struct Eviction {
    number: u64,
    access: Access,
    /// A grant that began afterwards has ended in order.
    gone: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Marks {
    count: u64,
    evictions: Vec<Eviction>,
    /// The last cleaning may have failed, which nobody was told. The next grant says whether it has.
    pub unsure: bool,
    /// A holder has died at a record that was not sent, and nobody knows which grants of the same moment were decided
    /// before. So nobody knows either which of them clears the marks.
    pub doubtful: bool,
}

impl Marks {
    /// Returns the number of the eviction.
    pub fn evict(&mut self, access: Access) -> u64 {
        self.count += 1;
        self.evictions.push(Eviction { number: self.count, access, gone: false });
        self.count
    }

    /// The number that a grant notes when it begins now.
    pub fn seen(&self) -> u64 {
        self.count
    }

    /// A grant that noted this number has ended in order. A writer has repaired the content, a reader has not.
    pub fn ended(&mut self, access: Access, seen: u64) {
        for one in self.evictions.iter_mut().filter(|one| one.number <= seen) {
            one.gone = true;
        }
        self.evictions
            .retain(|one| one.number > seen || one.access.is_exclusive() && !access.is_exclusive());
    }

    pub fn evicted(&self) -> bool {
        self.evictions.iter().any(|one| !one.gone)
    }

    pub fn torn(&self) -> bool {
        self.evictions.iter().any(|one| one.access.is_exclusive())
    }

    /// True if the evicted holder with this number may still be at work.
    pub fn is_at_work(&self, number: u64) -> bool {
        self.evictions.iter().any(|one| one.number == number && !one.gone)
    }

    /// Takes marks as a grant says them.
    fn adopt(&mut self, (evicted, torn): (bool, bool)) {
        self.evictions.retain(|one| torn || !one.access.is_exclusive());
        self.evictions.iter_mut().filter(|_| !evicted).for_each(|one| one.gone = true);
        if torn && !self.torn() || evicted && !self.evicted() {
            self.evict(if torn { Access::Write } else { Access::Read });
            self.evictions.iter_mut().filter(|_| !evicted).for_each(|one| one.gone = true);
        }
        self.doubtful = evicted || torn;
    }

    /// Compares with what a grant says: whether it is marked as evicted, and as torn.
    pub fn check(&mut self, told: (bool, bool)) -> Result<(), String> {
        if self.doubtful {
            self.adopt(told);
        }
        let known = (self.evicted(), self.torn());
        if told != known && self.unsure && told == (true, true) {
            self.evict(Access::Write);
        } else if told != known {
            return Err(format!("marked (evicted, torn) as {told:?}, and it is {known:?}"));
        }
        self.unsure = false;
        Ok(())
    }
}

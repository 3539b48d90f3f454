// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The marks that a grant of one buffer must have, by their definitions: a list of the evictions that
//! still count.

use buffersync_engine::{Access, GrantedBuffer};

/// An eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Eviction {
    number: u64,
    pub access: Access,
    /// A grant that began afterwards has ended in order.
    pub gone: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Book {
    count: u64,
    evictions: Vec<Eviction>,
}

impl Book {
    pub fn evict(&mut self, access: Access) {
        self.count += 1;
        self.evictions.push(Eviction { number: self.count, access, gone: false });
    }

    /// The number that a grant notes when it begins now.
    pub fn seen(&self) -> u64 {
        self.count
    }

    /// A grant that noted this number has ended in order. A writer has repaired the content, a reader has
    /// not. Returns the writers that may have written until now, if evicted holders begin to count as gone.
    pub fn ended(&mut self, access: Access, seen: u64) -> Vec<Access> {
        let mut writers = Vec::new();
        if self.evictions.iter().any(|one| one.number <= seen && !one.gone) {
            writers.extend(self.writers_at_work());
        }
        for one in self.evictions.iter_mut().filter(|one| one.number <= seen) {
            one.gone = true;
        }
        let over = |one: &Eviction| {
            one.number <= seen && (access.is_exclusive() || !one.access.is_exclusive())
        };
        self.evictions.retain(|one| !over(one));
        writers
    }

    /// Whether an evicted holder may still be at work.
    pub fn evicted(&self) -> bool {
        self.evictions.iter().any(|one| !one.gone)
    }

    /// Whether the content may be half written.
    pub fn torn(&self) -> bool {
        self.evictions.iter().any(|one| one.access.is_exclusive())
    }

    /// The evicted writers that may still be at work.
    pub fn writers_at_work(&self) -> impl Iterator<Item = Access> + '_ {
        let at_work = self.evictions.iter().filter(|one| !one.gone && one.access.is_exclusive());
        at_work.map(|one| one.access)
    }

    /// Whether the evicted holder with this number may still be at work.
    pub fn is_at_work(&self, number: u64) -> bool {
        self.evictions.iter().any(|one| one.number == number && !one.gone)
    }

    /// Checks the marks of a grant.
    pub fn check(&self, told: &GrantedBuffer) -> Result<(), &'static str> {
        if told.evicted != self.evicted() {
            return Err("the mark of the evicted is wrong");
        }
        if told.torn != self.torn() {
            return Err("the mark of torn content is wrong");
        }
        Ok(())
    }

    /// Two books with the same name have the same future, if the noted numbers have the same
    /// [`Book::rank`].
    pub fn name(&self) -> Vec<(Access, bool)> {
        self.evictions.iter().map(|one| (one.access, one.gone)).collect()
    }

    /// How many of the evictions that still count came before this number was noted.
    pub fn rank(&self, seen: u64) -> usize {
        self.evictions.iter().filter(|one| one.number <= seen).count()
    }
}

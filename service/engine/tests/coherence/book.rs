// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What the holders of one buffer are to be told, kept from the definitions: a list of the evictions
//! that still mean something.

use buffersync_engine::{Access, GrantedBuffer};

/// Somebody did not let go in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Eviction {
    number: u64,
    pub access: Access,
    /// A grant that began afterwards has ended in order.
    pub gone: bool,
}

/// See the module.
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

    /// What a grant that begins now notes.
    pub fn seen(&self) -> u64 {
        self.count
    }

    /// A grant that noted this has ended in order. The writer's content is whole, and a reader
    /// repairs nothing. The writers who may have written until now, if this changes anything for them.
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

    /// Somebody evicted may still be at work.
    pub fn evicted(&self) -> bool {
        self.evictions.iter().any(|one| !one.gone)
    }

    /// The content may be half written.
    pub fn torn(&self) -> bool {
        self.evictions.iter().any(|one| one.access.is_exclusive())
    }

    /// The evicted writers who may still be at work.
    pub fn writers_at_work(&self) -> impl Iterator<Item = Access> + '_ {
        let at_work = self.evictions.iter().filter(|one| !one.gone && one.access.is_exclusive());
        at_work.map(|one| one.access)
    }

    /// Whether the one who was evicted as number so and so may still be at work.
    pub fn is_at_work(&self, number: u64) -> bool {
        self.evictions.iter().any(|one| one.number == number && !one.gone)
    }

    /// Whether a holder is told exactly that.
    pub fn check(&self, told: &GrantedBuffer) -> Result<(), &'static str> {
        if told.evicted != self.evicted() {
            return Err("whether somebody evicted may be at work is told wrong");
        }
        if told.torn != self.torn() {
            return Err("whether the content may be half written is told wrong");
        }
        Ok(())
    }

    /// Two books with the same name have the same future, if what was noted ([`Book::rank`]) has.
    pub fn name(&self) -> Vec<(Access, bool)> {
        self.evictions.iter().map(|one| (one.access, one.gone)).collect()
    }

    /// How many of the evictions that still mean something came before this note.
    pub fn rank(&self, seen: u64) -> usize {
        self.evictions.iter().filter(|one| one.number <= seen).count()
    }
}

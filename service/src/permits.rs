// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! How many pool threads may be inside the drivers of dma-bufs at once.
//!
//! poll(2) and `DMA_BUF_IOCTL_IMPORT_SYNC_FILE` wait for no fence, but they take the dma-buf's
//! reservation lock, and how long its driver holds that is the driver's business (and that of a
//! client who keeps it busy). So a pool thread goes there with a permit only: whatever a uid's
//! buffers do, it is one thread that is late, and half of the pool is never. Who gets no permit
//! leaves a poll to the sync workers.

use std::collections::HashSet;
use std::sync::Mutex;

use buffersync_engine::BuildIdHasher;

use crate::poison;

/// See the module.
#[derive(Debug)]
pub struct Permits {
    inside: Mutex<HashSet<u32, BuildIdHasher>>,
    limit: usize,
}

/// To be kept while inside.
#[derive(Debug)]
pub struct Permit<'a> {
    permits: &'a Permits,
    uid: u32,
}

impl Permits {
    /// For so many threads at once, one for each uid.
    pub fn new(limit: usize) -> Self {
        Self { inside: Mutex::default(), limit }
    }

    /// `None` if the uid has a thread inside, or too many others have.
    pub fn enter(&self, uid: u32) -> Option<Permit<'_>> {
        let mut inside = poison::lock(&self.inside);
        let entered = inside.len() < self.limit && inside.insert(uid);
        // Made only if it was: a permit that is dropped takes the uid out.
        entered.then(|| Permit { permits: self, uid })
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        poison::lock(&self.permits.inside).remove(&self.uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_has_one_and_all_together_have_the_limit() {
        let permits = Permits::new(2);
        let first = permits.enter(1);
        assert!(first.is_some() && permits.enter(1).is_none());
        let second = permits.enter(2);
        assert!(second.is_some() && permits.enter(3).is_none());
        drop(first);
        assert!(permits.enter(3).is_some());
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! How many pool threads may be inside the drivers of dma-bufs at once.
//!
//! poll(2) and `DMA_BUF_IOCTL_IMPORT_SYNC_FILE` wait for no fence, but they take the dma-buf's
//! reservation lock, and how long its driver holds that is the driver's business (and that of a
//! client who keeps it busy). So a pool thread goes there with a permit only: whatever a uid's
//! buffers do, it is one thread that is late, and half of the pool is never. Who gets no permit
//! leaves a poll to the sync workers.

use std::sync::Mutex;

use crate::poison;

/// See the module.
#[derive(Debug)]
pub struct Permits {
    /// Their uids, each once. They are few, so looking at all is the least that a lock can do.
    inside: Mutex<Vec<u32>>,
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
        Self { inside: Mutex::new(Vec::with_capacity(limit)), limit }
    }

    /// `None` if the uid has a thread inside, or too many others have.
    pub fn enter(&self, uid: u32) -> Option<Permit<'_>> {
        let mut inside = poison::lock(&self.inside);
        if inside.len() >= self.limit || inside.contains(&uid) {
            return None;
        }
        inside.push(uid);
        Some(Permit { permits: self, uid })
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut inside = poison::lock(&self.permits.inside);
        if let Some(nth) = inside.iter().position(|uid| *uid == self.uid) {
            inside.swap_remove(nth);
        }
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

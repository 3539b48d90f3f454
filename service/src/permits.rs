// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A limit for pool threads that a client can keep waiting.
//!
//! Two calls can't do without: `DMA_BUF_IOCTL_IMPORT_SYNC_FILE` takes the dma-buf's reservation lock, which its
//! driver may hold for any time, and which a client can keep busy; a dump is written to its caller's descriptor. So
//! a pool thread needs a permit for them. One uid keeps one thread at most with each, and all uids together leave some
//! of the pool alone ([`crate::arbiter`]).

use std::sync::Mutex;

use crate::poison;

/// The permits of all uids.
#[derive(Debug)]
pub struct Permits {
    /// The uids that have a permit. They are so few that a search costs less than a hash.
    inside: Mutex<Vec<u32>>,
    limit: usize,
}

/// Permission to wait, until it is dropped.
#[derive(Debug)]
pub struct Permit<'a> {
    permits: &'a Permits,
    uid: u32,
}

impl Permits {
    /// Permits for `limit` threads at once, one for each uid.
    pub fn new(limit: usize) -> Self {
        Self { inside: Mutex::new(Vec::with_capacity(limit)), limit }
    }

    /// True if nobody has one.
    #[cfg(simulated)]
    pub fn is_empty(&self) -> bool {
        poison::lock(&self.inside).is_empty()
    }

    /// `None` if the uid has a permit already, or too many others have one.
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

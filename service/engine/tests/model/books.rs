// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The state of one buffer by the definitions: the two marks, and START and END as the exporter sees them.
//!
//! Moments are counted, so that an eviction is before or after the begin of a grant. Only the engine's
//! effects come from the engine.

use buffersync_engine::{Access, SyncFlags, SyncKind};

#[derive(Clone, Default)]
pub struct Book {
    moment: u32,
    /// Evicted holders that may still be at work, with the moments of their evictions.
    at_work: Vec<(u32, Access)>,
    /// The last eviction of a writer whose content has not been written over.
    torn: Option<u32>,
    /// The START without its END.
    open: Option<SyncFlags>,
    /// The CPU has written since the last END.
    dirty: bool,
    /// Nobody had the buffer, and its last operations were not done.
    pub not_cleaned: bool,
}

impl Book {
    /// Whether an evicted holder may be at work, and whether the content is torn.
    pub fn marks(&self) -> (bool, bool) {
        (!self.at_work.is_empty(), self.torn.is_some())
    }

    /// A grant begins. Returns the moment.
    pub fn granted(&mut self, access: Access) -> u32 {
        self.not_cleaned = false;
        match access {
            Access::Write => {
                assert_eq!(self.open, Some(SyncFlags::ReadWrite), "the CPU writes without START");
                self.dirty = true;
            }
            Access::Read => {}
            Access::DmaRead | Access::DmaWrite => assert!(!self.dirty, "a device before END"),
        }
        self.moment
    }

    pub fn evicted(&mut self, access: Access) {
        self.moment += 1;
        self.at_work.push((self.moment, access));
        if access.is_exclusive() {
            self.torn = Some(self.moment);
        }
    }

    pub fn ended_in_order(&mut self, access: Access, since: u32) {
        let gone = |(moment, _): &(u32, Access)| *moment <= since;
        // Every holder that was evicted until now may have written until now.
        let wrote = self.at_work.iter().any(|(_, access)| *access == Access::Write);
        self.dirty |= wrote && self.at_work.iter().any(gone);
        self.at_work.retain(|one| !gone(one));
        if access.is_exclusive() && self.torn.is_some_and(|moment| moment <= since) {
            self.torn = None;
        }
    }

    pub fn issued(&mut self, kind: SyncKind, flags: SyncFlags) {
        match kind {
            SyncKind::Start => {
                assert_eq!(self.open.replace(flags), None, "START after START");
            }
            SyncKind::End => {
                assert_eq!(self.open.take(), Some(flags), "END is not that of its START");
                assert!(!self.dirty || flags == SyncFlags::ReadWrite, "an END that cleans nothing");
                self.dirty = false;
            }
        }
    }

    /// Nobody has the buffer any more, and the engine keeps its marks.
    pub fn remembered(&mut self) {
        if std::mem::take(&mut self.not_cleaned) {
            let writers = self.at_work.iter().any(|(_, access)| *access == Access::Write);
            if self.dirty || writers {
                self.evicted(Access::Write);
            }
        } else {
            self.at_rest();
        }
        assert!(self.marks() != (false, false) || self.open.is_some(), "remembered for nothing");
    }

    /// Nobody has the buffer any more, and the engine keeps nothing.
    pub fn forgotten(&mut self) {
        self.at_rest();
        assert_eq!(self.marks(), (false, false), "marks are forgotten");
    }

    fn at_rest(&self) {
        assert_eq!(self.open, None, "let go while START is open");
        assert!(!self.dirty, "let go while the CPU's writes are not cleaned");
    }
}

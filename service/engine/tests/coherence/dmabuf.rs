// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! One dma-buf as its exporter sees it: a line of it, the START that is open, and its implicit fences.
//! It outlives what the engine knows of it.

use buffersync_engine::{SyncFlags, SyncKind};

use crate::book::Book;
use crate::line::{Lines, Sync};

pub type Checked<T> = Result<T, &'static str>;

/// An implicit fence in the dma-buf's reservation object.
#[derive(Clone, Copy, Debug)]
pub struct ImplicitFence {
    /// In the order of their coming, over all buffers.
    pub serial: u64,
    pub write: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct DmaBuf {
    pub lines: Lines,
    open: Option<SyncFlags>,
    pub implicit: Vec<ImplicitFence>,
}

impl DmaBuf {
    /// Nobody knows what happened to it before.
    pub fn new() -> Self {
        Self { lines: Lines::unknown(), open: None, implicit: Vec::new() }
    }

    /// The START that is not ended.
    pub fn open(&self) -> Option<SyncFlags> {
        self.open
    }

    /// Carries an operation out. One that fails may have had its effect on the cache, or not; it opens
    /// and ends nothing.
    pub fn issue(&mut self, kind: SyncKind, flags: SyncFlags, fails: bool) -> Checked<()> {
        let sync = match (kind, self.open) {
            (SyncKind::Start, None) => Sync::Invalidate,
            (SyncKind::End, Some(open)) if open != flags => {
                return Err("END has other flags than its START");
            }
            (SyncKind::End, Some(SyncFlags::ReadWrite)) => Sync::Clean,
            // What older arm64 kernels make of it.
            (SyncKind::End, Some(SyncFlags::Read)) => Sync::Nothing,
            (SyncKind::Start | SyncKind::End, _) => {
                return Err("START and END do not alternate");
            }
        };
        self.lines = self.lines.sync(sync, fails);
        if !fails {
            self.open = (kind == SyncKind::Start).then_some(flags);
        }
        Ok(())
    }

    /// The implicit fences that an access, or a START, with these flags has to wait for.
    pub fn pending(&self, flags: SyncFlags) -> impl Iterator<Item = &ImplicitFence> {
        self.implicit.iter().filter(move |fence| fence.write || flags == SyncFlags::ReadWrite)
    }

    /// Nothing is kept of the buffer. So nothing may be owed.
    pub fn forgotten(&self, book: &Book) -> Checked<()> {
        if self.open.is_some() {
            return Err("forgotten with a START that was never ended");
        }
        if self.lines.may_be_unwritten() {
            return Err("forgotten with what the CPU wrote still in the cache");
        }
        if book.evicted() || book.torn() {
            return Err("forgotten with what the next holder has to be told");
        }
        Ok(())
    }

    /// The buffer's name is kept. So there has to be something to remember.
    pub fn remembered(&self, book: &Book, unclean: bool) -> Checked<()> {
        let reason = self.open.is_some() || unclean || book.evicted() || book.torn();
        reason.then_some(()).ok_or("remembered for nothing")
    }
}

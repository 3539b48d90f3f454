// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! One dma-buf as its exporter sees it: one cache line, the open START, and its implicit fences. It lives
//! longer than the engine knows it.

use buffersync_engine::{SyncFlags, SyncKind};

use crate::book::Book;
use crate::line::{Lines, Sync};

pub type Checked<T> = Result<T, &'static str>;

/// An implicit fence in the dma-buf's reservation object.
#[derive(Clone, Copy, Debug)]
pub struct ImplicitFence {
    /// In the order of arrival, over all buffers.
    pub serial: u64,
    pub write: bool,
}

#[derive(Clone, Debug)]
pub struct DmaBuf {
    pub lines: Lines,
    open: Option<SyncFlags>,
    pub implicit: Vec<ImplicitFence>,
}

impl DmaBuf {
    /// A dma-buf of unknown history.
    pub fn new() -> Self {
        Self { lines: Lines::unknown(), open: None, implicit: Vec::new() }
    }

    /// The START without its END.
    pub fn open(&self) -> Option<SyncFlags> {
        self.open
    }

    /// Carries out an operation. A failed one may have had its effect on the cache or not. It opens and
    /// ends nothing.
    pub fn issue(&mut self, kind: SyncKind, flags: SyncFlags, fails: bool) -> Checked<()> {
        let sync = match (kind, self.open) {
            (SyncKind::Start, None) => Sync::Invalidate,
            (SyncKind::End, Some(open)) if open != flags => {
                return Err("END has other flags than its START");
            }
            (SyncKind::End, Some(SyncFlags::ReadWrite)) => Sync::Clean,
            // Older arm64 kernels do nothing here.
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

    /// The pending implicit fences that an access or a START with these flags waits for.
    pub fn pending(&self, flags: SyncFlags) -> impl Iterator<Item = &ImplicitFence> {
        self.implicit.iter().filter(move |fence| fence.write || flags == SyncFlags::ReadWrite)
    }

    /// The engine keeps nothing of the buffer. Then it must owe nothing.
    pub fn forgotten(&self, book: &Book) -> Checked<()> {
        if self.open.is_some() {
            return Err("forgotten with an open START");
        }
        if self.lines.may_be_unwritten() {
            return Err("forgotten with the CPU's writes in the cache");
        }
        if book.evicted() || book.torn() {
            return Err("forgotten with marks");
        }
        Ok(())
    }

    /// The engine keeps the buffer's name. Then it must have something to remember.
    pub fn remembered(&self, book: &Book, unclean: bool) -> Checked<()> {
        let reason = self.open.is_some() || unclean || book.evicted() || book.torn();
        reason.then_some(()).ok_or("remembered for nothing")
    }
}

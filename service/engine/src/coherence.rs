// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Which cache operation a grant needs, from what is true of the buffer.
//!
//! The RFC looked at the previous and the current access. No rule over pairs is right: after
//! `CPU write, CPU read, DMA read` the pair `CPU read, DMA read` does not show the dirty lines of
//! the write. So three facts are kept, each until an operation makes it untrue:
//!
//! * `device_dirty`: a device may have written since the CPU's view was last made valid. True at
//!   first, since nobody knows what happened before.
//! * `cpu_dirty`: the CPU may have written since the last END.
//! * `open`: a START was issued without its END, with these flags.
//!
//! | granted access | issued before the grant | then |
//! |---|---|---|
//! | CPU READ | if `device_dirty`: START\|READ | open for READ, not `device_dirty` |
//! | CPU WRITE | if `device_dirty`, or not open for RW: START\|RW | open for RW, not `device_dirty`, `cpu_dirty` |
//! | DMA READ | if `cpu_dirty`: END | not open, not `cpu_dirty` |
//! | DMA WRITE | if open: END | not open, not `cpu_dirty`, `device_dirty` |
//!
//! # START and END are pairs
//!
//! They alternate, and END carries the flags of its START (uapi `linux/dma-buf.h`: "when calling
//! DMA_BUF_IOCTL_SYNC with END, the same read/write flags" as with START). Exporters rely on it: i915
//! marks the CPU's write domain when access begins, and only then. So where a START is needed and
//! one is open, the plan is END with the old flags, then START: for a CPU WRITE over an open
//! START\|READ, and for the CPU after a device that was evicted while a START was open.
//!
//! A CPU write gets START\|RW, never START\|WRITE alone: on arm64 that invalidates nothing, and a
//! partial write would put stale bytes back.
//!
//! # An evicted CPU writer
//!
//! It may go on writing after its grant, so its lines have to be cleaned away, and END\|READ cleans
//! nothing on older arm64 kernels. Therefore each START is for RW while it may be at work (the
//! argument `cpu_at_work`), and while its lines may be in the cache of a buffer that is not open.
//! So `cpu_dirty` and START\|READ never meet. If a device comes to a buffer that is `cpu_dirty` and
//! not open, the plan is START\|RW, END\|RW: START drops what was in the cache, or END writes it
//! back. Either will do, since nobody can say what the buffer holds; but from then on cache and
//! memory have to agree.
//!
//! A CPU reader and a device reader may hold at once. If the CPU had written before, the device's
//! grant issues END under the CPU reader: the lines it cleans stay valid, for nobody writes.
//!
//! Knows one buffer; nothing of who holds it.

use crate::{Access, BufferId};

/// START or END of `DMA_BUF_IOCTL_SYNC`, or the wait for implicit fences before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SyncKind {
    /// `DMA_BUF_SYNC_START`: make the CPU's view valid.
    Start,
    /// `DMA_BUF_SYNC_END`: make the CPU's writes visible to devices.
    End,
    /// No operation: the implicit fences in the dma-buf's reservation object have to have signalled,
    /// those of writers for [`SyncFlags::Read`] (poll(2): POLLIN), all of them for
    /// [`SyncFlags::ReadWrite`] (POLLOUT). Kernel: dma-buf.rst, "Implicit Fence Poll Support".
    Wait,
}

/// Direction flags of `DMA_BUF_IOCTL_SYNC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SyncFlags {
    /// `DMA_BUF_SYNC_READ`.
    Read = 0,
    /// `DMA_BUF_SYNC_RW`.
    ReadWrite = 1,
}

/// One cache operation on one buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SyncOp {
    /// Which buffer.
    pub buffer: BufferId,
    /// START, END, or what to wait for.
    pub kind: SyncKind,
    /// In which direction.
    pub flags: SyncFlags,
}

/// What is true of one buffer. See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Coherence {
    device_dirty: bool,
    cpu_dirty: bool,
    open: Option<SyncFlags>,
}

/// Up to two operations, in their order.
pub type Plan = [Option<(SyncKind, SyncFlags)>; 2];

const NOTHING: Plan = [None, None];
const CLEANED: Plan =
    [Some((SyncKind::Start, SyncFlags::ReadWrite)), Some((SyncKind::End, SyncFlags::ReadWrite))];

impl Default for Coherence {
    /// A buffer of unknown history.
    fn default() -> Self {
        Self { device_dirty: true, cpu_dirty: false, open: None }
    }
}

impl Coherence {
    /// Whether a device may have written since the CPU's view was made valid.
    pub fn device_dirty(&self) -> bool {
        self.device_dirty
    }

    /// Whether the CPU may have written since the last END.
    pub fn cpu_dirty(&self) -> bool {
        self.cpu_dirty
    }

    /// The flags of the START that is open, if one is; its END will have the same.
    pub fn open(&self) -> Option<SyncFlags> {
        self.open
    }

    /// What has to be issued before `access` can be granted. `cpu_at_work`: an evicted CPU writer
    /// may still be at work.
    pub fn plan(&self, access: Access, cpu_at_work: bool) -> Plan {
        use SyncKind::{End, Start};
        let reopened = |flags| match self.open {
            Some(old) => [Some((End, old)), Some((Start, flags))],
            None => [Some((Start, flags)), None],
        };
        let for_reader = match self.open {
            None if self.cpu_dirty => SyncFlags::ReadWrite,
            _ if cpu_at_work => SyncFlags::ReadWrite,
            _ => SyncFlags::Read,
        };
        match (access, self.open) {
            (Access::Read, _) if self.device_dirty => reopened(for_reader),
            (Access::Read, None) if self.cpu_dirty => reopened(for_reader),
            (Access::Read, _) => NOTHING,
            (Access::Write, Some(SyncFlags::ReadWrite)) if !self.device_dirty => NOTHING,
            (Access::Write, _) => reopened(SyncFlags::ReadWrite),
            (Access::DmaRead, Some(flags)) if self.cpu_dirty => [Some((End, flags)), None],
            (Access::DmaWrite, Some(flags)) => [Some((End, flags)), None],
            (Access::DmaRead | Access::DmaWrite, None) if self.cpu_dirty => CLEANED,
            (Access::DmaRead | Access::DmaWrite, _) => NOTHING,
        }
    }

    /// Which implicit fences such an access has to wait for.
    pub(crate) fn fences_before(access: Access) -> SyncFlags {
        if access.is_exclusive() {
            SyncFlags::ReadWrite
        } else {
            SyncFlags::Read
        }
    }

    /// Whether the plan for `access` has a START.
    pub fn plan_has_start(&self, access: Access) -> bool {
        self.plan(access, false).into_iter().flatten().any(|(kind, _)| kind == SyncKind::Start)
    }

    /// Whether the plan for `access` is empty.
    pub fn is_ready_for(&self, access: Access) -> bool {
        match access {
            Access::Read => !self.device_dirty && (self.open.is_some() || !self.cpu_dirty),
            Access::Write => !self.device_dirty && self.open == Some(SyncFlags::ReadWrite),
            Access::DmaRead => !self.cpu_dirty,
            Access::DmaWrite => !self.cpu_dirty && self.open.is_none(),
        }
    }

    /// What has to be issued before nothing is kept of the buffer. `cpu_at_work`: what an evicted
    /// CPU writer may have written meanwhile is to be cleaned as well.
    pub fn plan_retirement(&self, cpu_at_work: bool) -> Plan {
        match self.open {
            Some(flags) => [Some((SyncKind::End, flags)), None],
            None if self.cpu_dirty || cpu_at_work => CLEANED,
            None => NOTHING,
        }
    }

    /// An operation succeeded.
    pub fn issued(&mut self, kind: SyncKind, flags: SyncFlags) {
        match kind {
            SyncKind::Start => {
                self.open = Some(flags);
                self.device_dirty = false;
            }
            SyncKind::End => {
                self.open = None;
                self.cpu_dirty = false;
            }
            SyncKind::Wait => {}
        }
    }

    /// An operation failed, and so may have been done or not: the CPU's view is not to be trusted.
    /// After a START that failed there is none to be ended; an END that failed is still owed.
    pub fn failed(&mut self) {
        self.device_dirty = true;
    }

    /// `access` is granted, its plan carried out.
    pub fn granted(&mut self, access: Access) {
        self.may_have_written(access);
    }

    /// A holder may have written, or may still be writing though its grant was taken away.
    pub fn may_have_written(&mut self, access: Access) {
        match access {
            Access::Read | Access::DmaRead => {}
            Access::Write => self.cpu_dirty = true,
            Access::DmaWrite => self.device_dirty = true,
        }
    }
}

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
//! | CPU READ | if `device_dirty`: START\|READ | open, not `device_dirty` |
//! | CPU WRITE | if `device_dirty` or not open: START\|RW | open, not `device_dirty`, `cpu_dirty` |
//! | DMA READ | if `cpu_dirty`: END | not open, not `cpu_dirty` |
//! | DMA WRITE | if open: END | not open, not `cpu_dirty`, `device_dirty` |
//!
//! END carries the flags of its START, and RW whenever the CPU may have written: an END\|READ after a
//! write loses data on older arm64 kernels. A CPU write never gets START\|WRITE alone, which
//! invalidates nothing there, so that a partial write would put stale bytes back.
//!
//! START and END alternate (uapi `dma-buf.h`; some exporters insist), so two cases that only follow
//! an eviction or a failed operation take two operations: `device_dirty` while open is END, START;
//! `cpu_dirty` while not open is START\|RW, END\|RW. The latter, and a START\|READ for a CPU reader,
//! drop or write back what an evicted CPU writer left in the cache: either will do, since nobody can
//! say what the buffer holds; but from then on cache and memory have to agree.
//!
//! A CPU reader and a device reader may hold at once. If the CPU had written before, the device's
//! grant issues END under the CPU reader: the lines it cleans stay valid, for nobody writes.
//!
//! Knows one buffer; nothing of who holds it.

use crate::{Access, BufferId};

/// START or END of `DMA_BUF_IOCTL_SYNC`, or the wait that START would do inside the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SyncKind {
    /// `DMA_BUF_SYNC_START`: make the CPU's view valid.
    Start,
    /// `DMA_BUF_SYNC_END`: make the CPU's writes visible to devices.
    End,
    /// Nothing but waiting until the implicit fences in the dma-buf's reservation object have
    /// signalled: those of writers for [`SyncFlags::Read`] (poll(2): POLLIN), all of them for
    /// [`SyncFlags::ReadWrite`] (POLLOUT).
    Wait,
}

/// Direction flags of `DMA_BUF_IOCTL_SYNC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SyncFlags {
    /// `DMA_BUF_SYNC_READ`.
    Read,
    /// `DMA_BUF_SYNC_RW`.
    ReadWrite,
}

/// One cache operation on one buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SyncOp {
    /// Which buffer.
    pub buffer: BufferId,
    /// START or END.
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

    /// The flags that the pending END will carry, if a START is open.
    pub fn open(&self) -> Option<SyncFlags> {
        self.open
    }

    /// What has to be issued before `access` can be granted.
    pub fn plan(&self, access: Access) -> Plan {
        use SyncKind::{End, Start};
        let reopened = |flags| match self.open {
            Some(old) => [Some((End, old)), Some((Start, flags))],
            None => [Some((Start, flags)), None],
        };
        match (access, self.open) {
            (Access::Read, _) if self.device_dirty => reopened(SyncFlags::Read),
            (Access::Read, None) if self.cpu_dirty => reopened(SyncFlags::Read),
            (Access::Read, _) => NOTHING,
            (Access::Write, Some(_)) if !self.device_dirty => NOTHING,
            (Access::Write, _) => reopened(SyncFlags::ReadWrite),
            (Access::DmaRead, Some(flags)) if self.cpu_dirty => [Some((End, flags)), None],
            (Access::DmaWrite, Some(flags)) => [Some((End, flags)), None],
            (Access::DmaRead | Access::DmaWrite, None) if self.cpu_dirty => CLEANED,
            (Access::DmaRead | Access::DmaWrite, _) => NOTHING,
        }
    }

    /// What the CPU has to wait for when its plan is empty.
    pub(crate) fn wait_for(access: Access) -> Plan {
        let flags = if access.is_exclusive() { SyncFlags::ReadWrite } else { SyncFlags::Read };
        [Some((SyncKind::Wait, flags)), None]
    }

    /// Whether the plan for `access` has a START.
    pub fn plan_has_start(&self, access: Access) -> bool {
        self.plan(access).into_iter().flatten().any(|(kind, _)| kind == SyncKind::Start)
    }

    /// Whether the plan for `access` is empty.
    pub fn is_ready_for(&self, access: Access) -> bool {
        let open = self.open.is_some();
        match access {
            Access::Read => !self.device_dirty && (open || !self.cpu_dirty),
            Access::Write => !self.device_dirty && open,
            Access::DmaRead => !self.cpu_dirty,
            Access::DmaWrite => !self.cpu_dirty && !open,
        }
    }

    /// What has to be issued before the last group lets the buffer go.
    pub fn plan_retirement(&self) -> Plan {
        match self.open {
            Some(flags) => [Some((SyncKind::End, flags)), None],
            None if self.cpu_dirty => CLEANED,
            None => NOTHING,
        }
    }

    /// An operation succeeded.
    pub fn issued(&mut self, kind: SyncKind, flags: SyncFlags) {
        match kind {
            SyncKind::Start => {
                self.open = Some(if self.cpu_dirty { SyncFlags::ReadWrite } else { flags });
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

    /// The last operation of a buffer that nobody has any more failed: it is not tried again.
    pub(crate) fn give_up(&mut self) {
        self.open = None;
        self.cpu_dirty = false;
    }

    /// `access` is granted, its plan carried out.
    pub fn granted(&mut self, access: Access) {
        self.may_have_written(access);
    }

    /// A holder may have written, or may still be writing though its grant was taken away.
    pub fn may_have_written(&mut self, access: Access) {
        match access {
            Access::Read | Access::DmaRead => {}
            Access::Write => {
                self.cpu_dirty = true;
                self.open = self.open.map(|_| SyncFlags::ReadWrite);
            }
            Access::DmaWrite => self.device_dirty = true,
        }
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The cache operations before a grant. This file knows one buffer, and nothing of its holders.
//!
//! The RFC compared the previous access with the current one. No such rule is right: after
//! `CPU write, CPU read, DMA read` the pair `CPU read, DMA read` does not show the dirty lines of the
//! write. So the engine keeps three facts. Each stays true until an operation makes it untrue:
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
//! DMA_BUF_IOCTL_SYNC with END, the same read/write flags" as with START). Exporters rely on this: i915
//! marks the CPU's write domain when access begins, and only then. So if the buffer is open and needs a
//! START, the plan is END with the old flags, then START. This happens for a CPU WRITE over an open
//! START\|READ, and for the CPU after a device that was evicted while a START was open.
//!
//! A CPU write gets START\|RW, never START\|WRITE alone: on arm64 that invalidates nothing, and a
//! partial write would put stale bytes back.
//!
//! # An evicted CPU writer
//!
//! It may go on writing after its grant, so its lines must be cleaned, and END\|READ cleans nothing on
//! older arm64 kernels. Therefore each START is for RW while such a writer may be at work (the argument
//! `cpu_at_work`), and while its lines may be in the cache of a buffer that is not open. So `cpu_dirty`
//! and START\|READ never meet. If a device comes to a buffer that is `cpu_dirty` and not open, the plan
//! is START\|RW, END\|RW. Either START drops the lines in the cache, or END writes them back. Both are
//! right, since nobody knows what the buffer holds; but from then on cache and memory must agree.
//!
//! A CPU reader and a device reader may hold at once. If the CPU had written before, the device's
//! grant issues END under the CPU reader. The cleaned lines stay valid, because nobody writes.
//!
//! # References
//!
//! * uapi `linux/dma-buf.h`: `DMA_BUF_IOCTL_SYNC`
//! * `Documentation/driver-api/dma-buf.rst`, "CPU Access to DMA Buffer Objects" and "Implicit Fence Poll
//!   Support"

use crate::{Access, BufferId};

/// The two operations of `DMA_BUF_IOCTL_SYNC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SyncKind {
    /// `DMA_BUF_SYNC_START`: make the CPU's view valid.
    Start,
    /// `DMA_BUF_SYNC_END`: make the CPU's writes visible to devices.
    End,
}

/// Direction flags of `DMA_BUF_IOCTL_SYNC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SyncFlags {
    /// `DMA_BUF_SYNC_READ`.
    Read = 0,
    /// `DMA_BUF_SYNC_RW`.
    ReadWrite = 1,
}

impl SyncFlags {
    /// The direction of an access. A CPU access waits for the implicit fences of this direction.
    pub fn of(access: Access) -> Self {
        if access.is_exclusive() {
            Self::ReadWrite
        } else {
            Self::Read
        }
    }
}

/// One cache operation on one buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SyncOp {
    /// The buffer.
    pub buffer: BufferId,
    /// START or END.
    pub kind: SyncKind,
    /// Its direction.
    pub flags: SyncFlags,
}

/// One wait for the implicit fences of one buffer: those in the dma-buf's reservation object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FenceWait {
    /// The buffer.
    pub buffer: BufferId,
    /// [`SyncFlags::Read`]: the fences of writers (poll(2): POLLIN). [`SyncFlags::ReadWrite`]: all
    /// (POLLOUT).
    pub flags: SyncFlags,
}

/// The state of one buffer's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Coherence {
    device_dirty: bool,
    cpu_dirty: bool,
    open: Option<SyncFlags>,
    /// Only CPUs use the memory: there is nothing to do, ever.
    plain: bool,
}

/// Up to two operations, in order.
pub type Plan = [Option<(SyncKind, SyncFlags)>; 2];

const NOTHING: Plan = [None, None];
const CLEANED: Plan =
    [Some((SyncKind::Start, SyncFlags::ReadWrite)), Some((SyncKind::End, SyncFlags::ReadWrite))];

impl Default for Coherence {
    /// A buffer of unknown history.
    fn default() -> Self {
        Self { device_dirty: true, cpu_dirty: false, open: None, plain: false }
    }
}

impl Coherence {
    /// Memory that only CPUs use, whose caches are coherent.
    pub(crate) fn of_plain_memory() -> Self {
        Self { device_dirty: false, cpu_dirty: false, open: None, plain: true }
    }

    /// Whether only CPUs use the memory.
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// A device may have written since the CPU's view was last made valid.
    pub fn device_dirty(&self) -> bool {
        self.device_dirty
    }

    /// The CPU may have written since the last END.
    pub fn cpu_dirty(&self) -> bool {
        self.cpu_dirty
    }

    /// The flags of the open START, if there is one. Its END will have the same.
    pub fn open(&self) -> Option<SyncFlags> {
        self.open
    }

    /// The operations before a grant for `access`. `cpu_at_work`: an evicted CPU writer may still be at
    /// work.
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
        if self.plain {
            return NOTHING;
        }
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

    /// Whether the plan for `access` has a START. An evicted writer that may be at work changes only the
    /// flags of a START, so it is not asked about.
    pub fn plan_has_start(&self, access: Access) -> bool {
        self.plan(access, false).into_iter().flatten().any(|(kind, _)| kind == SyncKind::Start)
    }

    /// Whether the plan for `access` is empty.
    pub fn is_ready_for(&self, access: Access) -> bool {
        match access {
            _ if self.plain => true,
            Access::Read => !self.device_dirty && (self.open.is_some() || !self.cpu_dirty),
            Access::Write => !self.device_dirty && self.open == Some(SyncFlags::ReadWrite),
            Access::DmaRead => !self.cpu_dirty,
            Access::DmaWrite => !self.cpu_dirty && self.open.is_none(),
        }
    }

    /// The operations before the engine lets a buffer go that nobody has. `cpu_at_work`: an evicted CPU
    /// writer may have written meanwhile, and that is cleaned too.
    pub fn plan_retirement(&self, cpu_at_work: bool) -> Plan {
        match self.open {
            _ if self.plain => NOTHING,
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
        }
    }

    /// An operation failed. It may have been done or not, so the CPU's view is not trusted. A START that
    /// failed has no END; an END that failed is still owed.
    pub fn failed(&mut self) {
        self.device_dirty = true;
    }

    /// `access` is granted, after its plan was carried out.
    pub fn granted(&mut self, access: Access) {
        self.may_have_written(access);
    }

    /// A holder with this access may have written, or may still write after its eviction.
    pub fn may_have_written(&mut self, access: Access) {
        match access {
            _ if self.plain => {}
            Access::Read | Access::DmaRead => {}
            Access::Write => self.cpu_dirty = true,
            Access::DmaWrite => self.device_dirty = true,
        }
    }
}

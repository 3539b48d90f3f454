// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Fences that a test signals when it likes.

use std::os::fd::OwnedFd;
use std::time::Duration;

use buffersync_testbed_guest::vgem::{Buffer, Fence, Vgem};

use crate::hal::is_readable;
use crate::pace::Limit;

/// When the driver signals a fence by itself.
pub const EXPIRES: Duration = Duration::from_secs(10);

/// A sync_file with one fence, of the vgem driver.
pub struct Pending {
    vgem: Vgem,
    buffer: Buffer,
    fence: Fence,
    _limit: Limit,
    /// To be given away.
    pub sync_file: OwnedFd,
}

impl Pending {
    /// A fence of a buffer that nobody else has. Left alone it signals after [`EXPIRES`].
    #[allow(clippy::new_without_default, reason = "it is made by a driver")]
    pub fn new() -> Self {
        let vgem = Vgem::open().expect("vgem");
        let buffer = vgem.allocate(4096).expect("vgem buffer");
        let limit = Limit::after(EXPIRES);
        let fence = vgem.attach(&buffer, true).expect("attach");
        let sync_file = buffer.dmabuf.sync_file().expect("sync_file");
        Self { vgem, buffer, fence, _limit: limit, sync_file }
    }

    /// Another sync_file with the same fence.
    pub fn another(&self) -> OwnedFd {
        self.buffer.dmabuf.sync_file().expect("sync_file")
    }

    /// Signals it. Panics if it has signalled already, by itself or before.
    pub fn signal(&self) {
        self.vgem.signal(self.fence).expect("signal");
    }
}

/// Whether a sync_file has signalled.
pub fn has_signalled(sync_file: &OwnedFd) -> bool {
    is_readable(sync_file, Duration::ZERO)
}

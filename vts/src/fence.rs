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

/// A sync_file with one fence of the vgem driver, or several.
pub struct Pending {
    vgem: Vgem,
    buffer: Buffer,
    fences: Vec<Fence>,
    _limit: Limit,
    /// To be given away.
    pub sync_file: OwnedFd,
}

impl Pending {
    /// A fence of a buffer that nobody else has. Left alone it signals after [`EXPIRES`].
    #[allow(clippy::new_without_default, reason = "it is made by a driver")]
    pub fn new() -> Self {
        Self::of(1)
    }

    /// So many fences in one sync_file.
    pub fn of(count: usize) -> Self {
        let vgem = Vgem::open().expect("vgem");
        let buffer = vgem.allocate(4096).expect("vgem buffer");
        let limit = Limit::after(EXPIRES);
        // Readers' add up on a buffer, a writer's would take their place.
        let attach = |_| vgem.attach(&buffer, false).expect("attach");
        let fences = (0..count).map(attach).collect();
        let sync_file = buffer.dmabuf.sync_file().expect("sync_file");
        Self { vgem, buffer, fences, _limit: limit, sync_file }
    }

    /// Another sync_file with the same fence.
    pub fn another(&self) -> OwnedFd {
        self.buffer.dmabuf.sync_file().expect("sync_file")
    }

    /// Signals them. Panics if one has signalled already, by itself or before.
    pub fn signal(&self) {
        for fence in &self.fences {
            self.vgem.signal(*fence).expect("signal");
        }
    }
}

/// Whether a sync_file has signalled.
pub fn has_signalled(sync_file: &OwnedFd) -> bool {
    is_readable(sync_file, Duration::ZERO)
}

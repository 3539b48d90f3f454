// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Fences that a test can signal.

use std::os::fd::OwnedFd;
use std::time::Duration;

use buffersync_testbed_guest::vgem::{Buffer, Fence, Vgem};

use crate::hal::is_readable;
use crate::pace::Limit;

/// After this time the vgem driver signals a fence by itself.
pub const EXPIRES: Duration = Duration::from_secs(10);

/// A sync_file with one or several fences of the vgem driver.
pub struct Pending {
    vgem: Vgem,
    buffer: Buffer,
    fences: Vec<Fence>,
    _limit: Limit,
    /// A descriptor to give away.
    pub sync_file: OwnedFd,
}

impl Pending {
    /// A fence of a private buffer. It signals by itself after [`EXPIRES`].
    #[allow(clippy::new_without_default, reason = "it is made by a driver")]
    pub fn new() -> Self {
        Self::of(1)
    }

    /// Several fences in one sync_file.
    pub fn of(count: usize) -> Self {
        let vgem = Vgem::open().expect("vgem");
        let buffer = vgem.allocate(4096).expect("vgem buffer");
        let limit = Limit::after(EXPIRES);
        // Fences of readers add up on a buffer; the fence of a writer would replace them.
        let attach = |_| vgem.attach(&buffer, false).expect("attach");
        let fences = (0..count).map(attach).collect();
        let sync_file = buffer.dmabuf.sync_file().expect("sync_file");
        Self { vgem, buffer, fences, _limit: limit, sync_file }
    }

    /// Duplicates the sync_file.
    pub fn another(&self) -> OwnedFd {
        self.buffer.dmabuf.sync_file().expect("sync_file")
    }

    /// Signals all fences. Panics if one has signalled already.
    pub fn signal(&self) {
        for fence in &self.fences {
            self.vgem.signal(*fence).expect("signal");
        }
    }
}

/// Tells if a sync_file has signalled.
pub fn has_signalled(sync_file: &OwnedFd) -> bool {
    is_readable(sync_file, Duration::ZERO)
}

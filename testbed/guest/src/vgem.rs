// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Dma-bufs with real fences, from the virtual GEM driver (drm/drm_mode.h, drm/vgem_drm.h).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::dmabuf::DmaBuf;
use crate::drm;

/// `struct drm_mode_create_dumb`.
#[repr(C)]
#[derive(Default)]
pub struct CreateDumb {
    height: u32,
    width: u32,
    bpp: u32,
    flags: u32,
    handle: u32,
    pitch: u32,
    size: u64,
}

/// `struct drm_vgem_fence_attach`.
#[repr(C)]
pub struct FenceAttach {
    handle: u32,
    flags: u32,
    out_fence: u32,
    pad: u32,
}

/// `struct drm_vgem_fence_signal`.
#[repr(C)]
pub struct FenceSignal {
    fence: u32,
    flags: u32,
}

/// `struct drm_gem_close`.
#[repr(C)]
pub struct GemClose {
    handle: u32,
    pad: u32,
}

nix::ioctl_readwrite!(
    /// `DRM_IOCTL_MODE_CREATE_DUMB`.
    drm_create_dumb, b'd', 0xb2, CreateDumb
);
nix::ioctl_write_ptr!(
    /// `DRM_IOCTL_GEM_CLOSE`.
    drm_gem_close, b'd', 0x09, GemClose
);
nix::ioctl_readwrite!(
    /// `DRM_IOCTL_VGEM_FENCE_ATTACH`.
    vgem_fence_attach, b'd', 0x41, FenceAttach
);
nix::ioctl_write_ptr!(
    /// `DRM_IOCTL_VGEM_FENCE_SIGNAL`.
    vgem_fence_signal, b'd', 0x42, FenceSignal
);

/// `VGEM_FENCE_WRITE`: a writer's fence; otherwise a reader's.
const FENCE_WRITE: u32 = 1;

/// The vgem device.
#[derive(Debug)]
pub struct Vgem(File);

/// A buffer of the device: exported, or imported.
#[derive(Debug)]
pub struct Buffer {
    /// The dma-buf.
    pub dmabuf: DmaBuf,
    handle: u32,
}

/// A fence on a buffer. The driver itself signals it after 10 seconds.
#[derive(Clone, Copy, Debug)]
pub struct Fence(u32);

impl Vgem {
    /// Opens the first one in /dev/dri.
    pub fn open() -> io::Result<Self> {
        Ok(Self(drm::open(&drm::find("vgem")?)?))
    }

    /// Duplicates the descriptor of the device.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Allocates and exports at least `size` bytes.
    pub fn allocate(&self, size: usize) -> io::Result<Buffer> {
        let height = size.div_ceil(4096);
        let height = u32::try_from(height).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut dumb = CreateDumb { height, width: 1024, bpp: 32, ..CreateDumb::default() };
        // SAFETY: the descriptor is a DRM device's, and the ioctl reads and writes this struct.
        unsafe { drm_create_dumb(self.0.as_raw_fd(), &mut dumb) }?;
        let fd = drm::export(&self.0, dumb.handle)?;
        let size = usize::try_from(dumb.size).map_err(|_| io::ErrorKind::InvalidData)?;
        Ok(Buffer { dmabuf: DmaBuf::new(fd, size), handle: dumb.handle })
    }

    /// Imports a dma-buf of another exporter, of `size` bytes. The driver maps it for that, under its reservation
    /// lock.
    pub fn import(&self, dmabuf: BorrowedFd<'_>, size: usize) -> io::Result<Buffer> {
        let handle = drm::import(&self.0, dmabuf)?;
        let dmabuf = DmaBuf::new(dmabuf.try_clone_to_owned()?, size);
        Ok(Buffer { dmabuf, handle })
    }

    /// Ends what [`Vgem::import`] or [`Vgem::allocate`] began: the device has the buffer no more.
    pub fn close(&self, buffer: Buffer) -> io::Result<()> {
        let close = GemClose { handle: buffer.handle, pad: 0 };
        // SAFETY: the descriptor is a DRM device's, and the ioctl reads this struct.
        unsafe { drm_gem_close(self.0.as_raw_fd(), &close) }?;
        Ok(())
    }

    /// Puts a fence on a buffer: a writer's, or a reader's.
    pub fn attach(&self, buffer: &Buffer, write: bool) -> io::Result<Fence> {
        let flags = if write { FENCE_WRITE } else { 0 };
        let mut attach = FenceAttach { handle: buffer.handle, flags, out_fence: 0, pad: 0 };
        // SAFETY: the descriptor is vgem's, and the ioctl reads and writes this struct.
        unsafe { vgem_fence_attach(self.0.as_raw_fd(), &mut attach) }?;
        Ok(Fence(attach.out_fence))
    }

    /// Signals a fence.
    pub fn signal(&self, fence: Fence) -> io::Result<()> {
        let signal = FenceSignal { fence: fence.0, flags: 0 };
        // SAFETY: the descriptor is vgem's, and the ioctl reads this struct.
        unsafe { vgem_fence_signal(self.0.as_raw_fd(), &signal) }?;
        Ok(())
    }
}

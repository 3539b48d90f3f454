// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Dma-bufs with real fences, from the virtual GEM driver (drm/drm.h, drm/drm_mode.h,
//! drm/vgem_drm.h).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use crate::dmabuf::DmaBuf;

/// `struct drm_version`.
#[repr(C)]
pub struct Version {
    major: i32,
    minor: i32,
    patch: i32,
    name_len: usize,
    name: *mut u8,
    date_len: usize,
    date: *mut u8,
    desc_len: usize,
    desc: *mut u8,
}

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

/// `struct drm_prime_handle`.
#[repr(C)]
pub struct PrimeHandle {
    handle: u32,
    flags: u32,
    fd: i32,
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
    /// `DRM_IOCTL_VERSION`.
    drm_version, b'd', 0x00, Version
);
nix::ioctl_readwrite!(
    /// `DRM_IOCTL_MODE_CREATE_DUMB`.
    drm_create_dumb, b'd', 0xb2, CreateDumb
);
nix::ioctl_readwrite!(
    /// `DRM_IOCTL_PRIME_HANDLE_TO_FD`.
    drm_prime_handle_to_fd, b'd', 0x2d, PrimeHandle
);
nix::ioctl_readwrite!(
    /// `DRM_IOCTL_PRIME_FD_TO_HANDLE`.
    drm_prime_fd_to_handle, b'd', 0x2e, PrimeHandle
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
        for number in 0..16 {
            let node = format!("/dev/dri/card{number}");
            if !Path::new(&node).exists() {
                continue;
            }
            let card = OpenOptions::new().read(true).write(true).open(node)?;
            if driver_name(&card)? == "vgem" {
                return Ok(Self(card));
            }
        }
        Err(io::Error::new(io::ErrorKind::NotFound, "no vgem device in /dev/dri"))
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
        let flags = nix::fcntl::OFlag::O_RDWR | nix::fcntl::OFlag::O_CLOEXEC;
        let mut prime =
            PrimeHandle { handle: dumb.handle, flags: flags.bits().unsigned_abs(), fd: -1 };
        // SAFETY: as above.
        unsafe { drm_prime_handle_to_fd(self.0.as_raw_fd(), &mut prime) }?;
        // SAFETY: the ioctl has made this descriptor, and nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(prime.fd) };
        let size = usize::try_from(dumb.size).map_err(|_| io::ErrorKind::InvalidData)?;
        Ok(Buffer { dmabuf: DmaBuf::new(fd, size), handle: dumb.handle })
    }

    /// Imports a dma-buf of another exporter, of `size` bytes. The driver maps it for that, under its reservation
    /// lock.
    pub fn import(&self, dmabuf: BorrowedFd<'_>, size: usize) -> io::Result<Buffer> {
        let mut prime = PrimeHandle { handle: 0, flags: 0, fd: dmabuf.as_raw_fd() };
        // SAFETY: the descriptor is a DRM device's, and the ioctl reads and writes this struct.
        unsafe { drm_prime_fd_to_handle(self.0.as_raw_fd(), &mut prime) }?;
        let dmabuf = DmaBuf::new(dmabuf.try_clone_to_owned()?, size);
        Ok(Buffer { dmabuf, handle: prime.handle })
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

fn driver_name(card: &File) -> io::Result<String> {
    let mut name = [0; 32];
    let mut version = Version {
        major: 0,
        minor: 0,
        patch: 0,
        name_len: name.len(),
        name: name.as_mut_ptr(),
        date_len: 0,
        date: std::ptr::null_mut(),
        desc_len: 0,
        desc: std::ptr::null_mut(),
    };
    // SAFETY: the ioctl writes at most `name_len` bytes to `name`, and nothing where a length is 0.
    unsafe { drm_version(card.as_raw_fd(), &mut version) }?;
    let length = version.name_len.min(name.len());
    Ok(String::from_utf8_lossy(&name[..length]).into_owned())
}

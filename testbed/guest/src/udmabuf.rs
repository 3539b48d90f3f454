// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Dma-bufs from a memfd's pages (`/dev/udmabuf`, linux/udmabuf.h).

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::fcntl::{fcntl, FcntlArg, SealFlag};
use nix::sys::memfd::{memfd_create, MemFdCreateFlag};

use crate::dmabuf::DmaBuf;

/// `struct udmabuf_create`.
#[repr(C)]
pub struct Create {
    memfd: u32,
    flags: u32,
    offset: u64,
    size: u64,
}

nix::ioctl_write_ptr!(
    /// `UDMABUF_CREATE`.
    udmabuf_create, b'u', 0x42, Create
);

/// `UDMABUF_FLAGS_CLOEXEC`.
const CLOEXEC: u32 = 1;

/// Makes a dma-buf of `size` bytes, a multiple of the page size.
pub fn allocate(size: usize) -> io::Result<DmaBuf> {
    let memory = memfd_create(
        c"udmabuf",
        MemFdCreateFlag::MFD_ALLOW_SEALING | MemFdCreateFlag::MFD_CLOEXEC,
    )?;
    let length =
        libc::off_t::try_from(size).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    nix::unistd::ftruncate(&memory, length)?;
    // Without this seal the driver refuses the memory: it could vanish under the dma-buf.
    fcntl(memory.as_raw_fd(), FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK))?;
    let driver = OpenOptions::new().read(true).write(true).open("/dev/udmabuf")?;
    let create = Create {
        memfd: memory.as_raw_fd().unsigned_abs(),
        flags: CLOEXEC,
        offset: 0,
        size: size as u64,
    };
    // SAFETY: the descriptor is udmabuf's, and the ioctl reads a struct udmabuf_create.
    let fd = unsafe { udmabuf_create(driver.as_raw_fd(), &create) }?;
    // SAFETY: the ioctl has made this descriptor for us.
    Ok(DmaBuf::new(unsafe { OwnedFd::from_raw_fd(fd) }, size))
}

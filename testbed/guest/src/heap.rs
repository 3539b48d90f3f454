// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Dma-bufs from DMA-BUF heaps (`/dev/dma_heap`, linux/dma-heap.h).

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::dmabuf::DmaBuf;

/// `struct dma_heap_allocation_data`.
#[repr(C)]
pub struct Allocation {
    length: u64,
    fd: u32,
    fd_flags: u32,
    heap_flags: u64,
}

nix::ioctl_readwrite!(
    /// `DMA_HEAP_IOCTL_ALLOC`.
    dma_heap_alloc, b'H', 0, Allocation
);

/// Allocates `size` bytes from the system heap.
pub fn allocate(size: usize) -> io::Result<DmaBuf> {
    let heap = OpenOptions::new().read(true).open("/dev/dma_heap/system")?;
    let flags = nix::fcntl::OFlag::O_RDWR | nix::fcntl::OFlag::O_CLOEXEC;
    let mut data = Allocation {
        length: size as u64,
        fd: 0,
        fd_flags: flags.bits().unsigned_abs(),
        heap_flags: 0,
    };
    // SAFETY: the descriptor is a heap's, and the ioctl reads and writes a struct
    // dma_heap_allocation_data.
    unsafe { dma_heap_alloc(heap.as_raw_fd(), &mut data) }?;
    let fd = i32::try_from(data.fd).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    // SAFETY: the ioctl has made this descriptor for us.
    Ok(DmaBuf::new(unsafe { OwnedFd::from_raw_fd(fd) }, size))
}

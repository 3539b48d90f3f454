// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A dma-buf in the memory of this process, and volatile copies from and to it.

use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;

use nix::sys::mman::{mmap, munmap, MapFlags, ProtFlags};
use nix::unistd::{lseek, Whence};

use crate::error::{Error, Result};

/// A whole dma-buf, mapped shared; unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<c_void>,
    size: NonZeroUsize,
}

// SAFETY: the address range belongs to the process, not to a thread. The owner's borrows decide who
// uses the bytes.
unsafe impl Send for Mapping {}
// SAFETY: as above; a shared reference gives out the address only.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps a dma-buf, readable and, on request, writable.
    ///
    /// # Errors
    /// [`Error::System`]; [`Error::NotDmaBuf`] for a file without a size.
    pub fn new(fd: impl AsFd, writable: bool) -> Result<Self> {
        let fd = fd.as_fd();
        let size = size_of_dmabuf(fd)?;
        let write = if writable { ProtFlags::PROT_WRITE } else { ProtFlags::empty() };
        let flags = ProtFlags::PROT_READ | write;
        // SAFETY: a new mapping at an address that the kernel chooses touches no other memory.
        let start = unsafe { mmap(None, size, flags, MapFlags::MAP_SHARED, fd, 0) };
        let start = start.map_err(|errno| Error::System("mmap of a dma-buf", errno))?;
        Ok(Self { start, size })
    }

    /// The first byte.
    pub fn start(&self) -> *mut u8 {
        self.start.as_ptr().cast()
    }

    /// The size in bytes.
    pub fn len(&self) -> usize {
        self.size.get()
    }

    /// Always false: a dma-buf has at least one byte.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Leaves the memory mapped. [`Mapping::from_raw`] takes it back.
    pub fn into_raw(self) -> (NonNull<u8>, NonZeroUsize) {
        let kept = ManuallyDrop::new(self);
        (kept.start.cast(), kept.size)
    }

    /// Takes back a mapping.
    ///
    /// # Safety
    /// The arguments come from [`Mapping::into_raw`], and are used here only once.
    pub unsafe fn from_raw(start: NonNull<u8>, size: NonZeroUsize) -> Self {
        Self { start: start.cast(), size }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and slices of it borrow its owner.
        let _ = unsafe { munmap(self.start, self.size.get()) };
    }
}

/// dma-buf.rst: "The only thing that can be done with seeking is to find the size".
fn size_of_dmabuf(fd: impl AsFd) -> Result<NonZeroUsize> {
    let seek = |whence| {
        lseek(fd.as_fd().as_raw_fd(), 0, whence)
            .map_err(|errno| Error::System("lseek on a dma-buf", errno))
    };
    let size = seek(Whence::SeekEnd)?;
    seek(Whence::SeekSet)?;
    usize::try_from(size).ok().and_then(NonZeroUsize::new).ok_or_else(|| {
        Error::NotDmaBuf("the descriptor is a file without a size: it is no dma-buf".to_string())
    })
}

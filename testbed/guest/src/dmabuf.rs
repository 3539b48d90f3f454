// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A dma-buf as a client sees it: a descriptor, a size, a mapping.

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use buffersync_kernel::dmabuf::{self, Usage};
use nix::errno::Errno;
use nix::sys::mman::{mmap, munmap, MapFlags, ProtFlags};

/// A dma-buf.
#[derive(Debug)]
pub struct DmaBuf {
    fd: OwnedFd,
    size: usize,
}

impl DmaBuf {
    /// A dma-buf of `size` bytes behind `fd`.
    pub fn new(fd: OwnedFd, size: usize) -> Self {
        Self { fd, size }
    }

    /// Size in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Maps it for reading and writing.
    pub fn map(&self) -> Result<Mapping, Errno> {
        Mapping::new(self.fd.as_fd(), self.size)
    }

    /// Whether the fences that a reader (or a writer) waits for have signalled.
    pub fn is_ready(&self, write: bool) -> bool {
        let looked = [(self.fd.as_fd(), Usage::new(write).poll_events())];
        dmabuf::first_pending(looked.into_iter()) == Ok(None)
    }

    /// All fences that are on the buffer now, as a sync_file.
    pub fn sync_file(&self) -> Result<OwnedFd, Errno> {
        dmabuf::export_sync_file(self.fd.as_fd(), Usage::Write)
    }
}

impl AsFd for DmaBuf {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A mapped dma-buf.
///
/// Other processes write into it at any time, so there is never a reference to its bytes: reads and writes
/// are volatile, word by word.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<c_void>,
    size: usize,
}

// SAFETY: other processes use the memory at any time, so another thread changes nothing: all accesses
// are volatile.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `size` bytes of `fd`.
    pub fn new(fd: BorrowedFd<'_>, size: usize) -> Result<Self, Errno> {
        let length = NonZeroUsize::new(size).ok_or(Errno::EINVAL)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses touches no other memory.
        let start = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, fd, 0) }?;
        Ok(Self { start, size })
    }

    /// Number of 64-bit words.
    pub fn words(&self) -> usize {
        self.size / 8
    }

    /// Reads a word. Panics beyond the end.
    pub fn read(&self, word: usize) -> u64 {
        // SAFETY: `at` has checked that the word lies within the mapping, which is page-aligned.
        unsafe { self.at(word).read_volatile() }
    }

    /// Writes a word. Panics beyond the end.
    pub fn write(&mut self, word: usize, value: u64) {
        // SAFETY: as in `read`.
        unsafe { self.at(word).write_volatile(value) }
    }

    /// Reads a byte. Panics beyond the end.
    pub fn read_byte(&self, at: usize) -> u8 {
        // SAFETY: `byte` has checked that it lies within the mapping.
        unsafe { self.byte(at).read_volatile() }
    }

    /// Writes a byte. Panics beyond the end.
    pub fn write_byte(&mut self, at: usize, value: u8) {
        // SAFETY: as in `read_byte`.
        unsafe { self.byte(at).write_volatile(value) }
    }

    fn byte(&self, at: usize) -> *mut u8 {
        assert!(at < self.size, "byte {at} is beyond the mapping's end");
        self.start.as_ptr().cast::<u8>().wrapping_add(at)
    }

    fn at(&self, word: usize) -> *mut u64 {
        assert!(word < self.words(), "word {word} is beyond the mapping's end");
        self.start.as_ptr().cast::<u64>().wrapping_add(word)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this struct's, and nothing refers to it any more.
        let _ = unsafe { munmap(self.start, self.size) };
    }
}

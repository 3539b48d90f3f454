// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A dma-buf in the memory of this process, and volatile copies from and to it.

use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;

use nix::fcntl::{fcntl, FcntlArg};
use nix::sys::mman::{mmap, munmap, MapFlags, ProtFlags};
use nix::sys::stat::fstat;
use nix::sys::statfs::{fstatfs, FsType};
use nix::unistd::{lseek, Whence};

use crate::error::{Error, Result};
use crate::group::Group;
use crate::types::{Access, BufferId};

/// `DMA_BUF_MAGIC` of linux/magic.h: the file system that fstatfs(2) reports for a dma-buf.
const DMA_BUF_MAGIC: FsType = FsType(0x444d_4142);

impl Group {
    /// Adds the buffers of a native handle like [`Group::add_handle`], and maps each. Writable for an access that
    /// writes. If one can't be mapped, none is added.
    ///
    /// # Errors
    /// Those of [`Group::add_handle`] and [`Mapping::new`].
    pub fn map_handle(
        &self,
        fds: &[BorrowedFd<'_>],
        access: Access,
    ) -> Result<Vec<(BufferId, Mapping)>> {
        let writable = matches!(access, Access::Write | Access::DmaWrite);
        let buffers = buffers_of(fds)?;
        let mappings = buffers.into_iter().map(|fd| Mapping::new(fd, writable));
        let mappings = mappings.collect::<Result<Vec<Mapping>>>()?;
        let ids = self.add_handle(fds, &[], access)?;
        if ids.len() != mappings.len() {
            return Err(Error::Protocol("the service found other buffers in the handle"));
        }
        Ok(ids.into_iter().zip(mappings).collect())
    }
}

/// The descriptors that [`Group::add_handle`] takes for buffers, the first of each buffer: the dma-bufs, and without
/// one the memfds, which have seals.
fn buffers_of<'a>(fds: &[BorrowedFd<'a>]) -> Result<Vec<BorrowedFd<'a>>> {
    let is_dmabuf =
        |fd: &BorrowedFd<'_>| fstatfs(fd).is_ok_and(|stat| stat.filesystem_type() == DMA_BUF_MAGIC);
    let is_memfd = |fd: &BorrowedFd<'_>| fcntl(fd.as_raw_fd(), FcntlArg::F_GET_SEALS).is_ok();
    let mut found: Vec<BorrowedFd<'a>> = fds.iter().copied().filter(is_dmabuf).collect();
    if found.is_empty() {
        found = fds.iter().copied().filter(is_memfd).collect();
    }
    let (mut known, mut buffers) = (Vec::new(), Vec::new());
    for fd in found {
        let stat = fstat(fd.as_raw_fd()).map_err(|errno| Error::System("fstat", errno))?;
        if !known.contains(&(stat.st_dev, stat.st_ino)) {
            known.push((stat.st_dev, stat.st_ino));
            buffers.push(fd);
        }
    }
    Ok(buffers)
}

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

    /// Copies bytes out of the memory. The copy is volatile, so it is defined also while others write.
    ///
    /// # Errors
    /// [`Error::IllegalArgument`] for bytes beyond the end.
    pub fn read_at(&self, offset: usize, into: &mut [u8]) -> Result<()> {
        let from = self.part(offset, into.len())?;
        // SAFETY: `part` has checked that the mapping has these bytes, and `into` is the caller's.
        unsafe { volatile::copy(from, into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    /// Copies bytes into the memory, volatile as in [`Mapping::read_at`].
    ///
    /// # Safety
    /// The mapping is writable.
    ///
    /// # Errors
    /// [`Error::IllegalArgument`] for bytes beyond the end.
    pub unsafe fn write_at(&self, offset: usize, from: &[u8]) -> Result<()> {
        let to = self.part(offset, from.len())?;
        // SAFETY: `part` has checked that the mapping has these bytes, and the caller that it is writable.
        unsafe { volatile::copy(from.as_ptr(), to, from.len()) };
        Ok(())
    }

    /// The address of a part.
    fn part(&self, offset: usize, length: usize) -> Result<*mut u8> {
        match offset.checked_add(length) {
            // SAFETY: the offset is not beyond the end of the mapping.
            Some(end) if end <= self.len() => Ok(unsafe { self.start().add(offset) }),
            _ => {
                let size = self.len();
                let why = format!("{length} bytes from {offset} on, of a buffer of {size} bytes");
                Err(Error::IllegalArgument(why))
            }
        }
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

/// Copies in words, each with one volatile access.
mod volatile {
    const WORD: usize = size_of::<usize>();

    /// # Safety
    /// `from` can be read and `to` can be written for `length` bytes. They do not overlap.
    pub unsafe fn copy(from: *const u8, to: *mut u8, length: usize) {
        // Bytes up to the first word that is aligned on both sides; all of them, if there is none.
        let (head, other) = (from.align_offset(WORD), to.align_offset(WORD));
        let head = if head == other { head.min(length) } else { length };
        let words = length.saturating_sub(head) / WORD;
        let tail = words.saturating_mul(WORD).saturating_add(head);
        // SAFETY: the ranges are parts of those that the caller vouches for, and the words are aligned.
        unsafe {
            for at in (0..head).chain(tail..length) {
                to.add(at).write_volatile(from.add(at).read_volatile());
            }
            let (from, to) = (from.add(head).cast::<usize>(), to.add(head).cast::<usize>());
            for at in 0..words {
                to.add(at).write_volatile(from.add(at).read_volatile());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use nix::sys::memfd::{memfd_create, MemFdCreateFlag};
    use nix::unistd::ftruncate;

    use super::*;

    #[test]
    fn copies_are_whole_at_any_offset_and_length() {
        let file = memfd_create(c"mapping", MemFdCreateFlag::empty()).unwrap();
        ftruncate(file.as_fd(), 4096).unwrap();
        let memory = Mapping::new(&file, true).unwrap();
        let all: Vec<u8> = (0..4096).map(|at| (at % 251) as u8).collect();
        // SAFETY: it is writable.
        unsafe { memory.write_at(0, &all) }.unwrap();
        for offset in 0..20 {
            for length in (0..40).chain([4096 - offset]) {
                let mut room = vec![0u8; length + 9];
                memory.read_at(offset, &mut room[3..3 + length]).unwrap();
                assert_eq!(room[3..3 + length], all[offset..offset + length]);
                assert!(room[..3].iter().chain(&room[3 + length..]).all(|byte| *byte == 0));
                let ones = vec![1u8; length];
                // SAFETY: as above.
                unsafe { memory.write_at(offset, &ones) }.unwrap();
                let mut now = vec![0; 4096];
                memory.read_at(0, &mut now).unwrap();
                assert!(now[offset..offset + length].iter().all(|byte| *byte == 1));
                assert_eq!(now[..offset], all[..offset]);
                assert_eq!(now[offset + length..], all[offset + length..]);
                // SAFETY: as above.
                unsafe { memory.write_at(0, &all) }.unwrap();
            }
        }
        for (offset, length) in [(4096, 1), (0, 4097), (usize::MAX, 2)] {
            let mut room = vec![0; length];
            let beyond = memory.read_at(offset, &mut room);
            assert!(matches!(beyond, Err(Error::IllegalArgument(_))), "{offset} {length}");
        }
    }

    #[test]
    fn a_buffer_of_a_handle_counts_once_and_other_descriptors_do_not() {
        let memfd = || memfd_create(c"frame", MemFdCreateFlag::MFD_CLOEXEC).unwrap();
        let (one, two, null) = (memfd(), memfd(), File::open("/dev/null").unwrap());
        let again = one.try_clone().unwrap();
        let handle = [null.as_fd(), one.as_fd(), again.as_fd(), two.as_fd()];
        let found: Vec<i32> =
            buffers_of(&handle).unwrap().iter().map(|fd| fd.as_raw_fd()).collect();
        assert_eq!(found, [one.as_raw_fd(), two.as_raw_fd()]);
        assert!(buffers_of(&[null.as_fd()]).unwrap().is_empty());
    }
}

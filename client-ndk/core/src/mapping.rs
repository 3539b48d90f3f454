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

#[cfg(test)]
mod tests {
    use std::fs::File;

    use nix::sys::memfd::{memfd_create, MemFdCreateFlag};

    use super::*;

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

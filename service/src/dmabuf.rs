// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What the service does to a dma-buf: tell whether a descriptor is one, know it again, ask whether
//! its fences have signalled, and issue `DMA_BUF_IOCTL_SYNC`.
//!
//! Knows the kernel's uapi (`linux/dma-buf.h`, `linux/magic.h`) and nothing of groups or locks.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use buffersync_engine::{SyncFlags, SyncKind};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::stat::fstat;
use nix::sys::statfs::{fstatfs, FsType};

/// `DMA_BUF_MAGIC` of `linux/magic.h`: "DMAB", what fstatfs reports for every dma-buf.
const DMA_BUF_MAGIC: FsType = FsType(0x444d_4142);

// `struct dma_buf_sync { __u64 flags; }` of linux/dma-buf.h.
const DMA_BUF_SYNC_READ: u64 = 1;
const DMA_BUF_SYNC_WRITE: u64 = 2;
const DMA_BUF_SYNC_START: u64 = 0;
const DMA_BUF_SYNC_END: u64 = 4;

/// The argument of `DMA_BUF_IOCTL_SYNC`.
#[repr(C)]
pub struct DmaBufSync {
    flags: u64,
}

nix::ioctl_write_ptr!(
    /// `DMA_BUF_IOCTL_SYNC` of linux/dma-buf.h.
    dma_buf_ioctl_sync, b'b', 0, DmaBufSync
);

/// Which dma-buf a descriptor refers to, whichever process or descriptor it is seen through: each
/// dma-buf has an inode of its own. Valid for as long as a descriptor of the dma-buf is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    dev: u64,
    ino: u64,
}

impl Identity {
    /// The inode number, as `/proc/PID/fdinfo` and debugfs `dma_buf/bufinfo` show it.
    pub fn inode(&self) -> u64 {
        self.ino
    }
}

/// Tells whether `fd` is a dma-buf, without any ioctl: an unknown driver's ioctl could mean
/// anything. `None` if it is something else.
pub fn identify(fd: BorrowedFd<'_>) -> Result<Option<Identity>, Errno> {
    // A network or FUSE descriptor may refuse fstatfs (ENOSYS and others): it is no dma-buf.
    match fstatfs(fd) {
        Ok(stat) if stat.filesystem_type() == DMA_BUF_MAGIC => {}
        _ => return Ok(None),
    }
    let stat = fstat(fd)?;
    Ok(Some(Identity { dev: stat.st_dev, ino: stat.st_ino }))
}

/// Size of the dma-buf in bytes, if it says.
pub fn size(fd: BorrowedFd<'_>) -> Option<u64> {
    // A dma-buf supports SEEK_END and SEEK_SET to 0 for just this purpose (kernel dma-buf.rst);
    // the offset is shared with other users of the description, who have no other use for it.
    let mut file = File::from(fd.try_clone_to_owned().ok()?);
    std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).ok()
}

/// What has to have signalled before a START may be issued without blocking: a read waits for the
/// writers' fences, anything else for all of them (kernel dma-buf.rst, "Implicit Fence Poll
/// Support": POLLIN, POLLOUT).
pub fn readiness(flags: SyncFlags) -> PollFlags {
    match flags {
        SyncFlags::Read => PollFlags::POLLIN,
        SyncFlags::ReadWrite => PollFlags::POLLOUT,
    }
}

/// Whether the implicit fences named by `wanted` have signalled. Never blocks.
pub fn is_ready(fd: BorrowedFd<'_>, wanted: PollFlags) -> Result<bool, Errno> {
    let mut fds = [PollFd::new(fd, wanted)];
    match nix::poll::poll(&mut fds, PollTimeout::ZERO) {
        Ok(0) | Err(Errno::EINTR) => Ok(false),
        Ok(_) => Ok(fds[0].revents().is_some_and(|r| r.intersects(wanted))),
        Err(errno) => Err(errno),
    }
}

/// Issues `DMA_BUF_IOCTL_SYNC`. May block while an implicit fence is pending, and returns `EINTR`
/// when a signal interrupts that. `fd` must have been [`identify`]ed.
pub fn sync(fd: &OwnedFd, kind: SyncKind, flags: SyncFlags) -> Result<(), Errno> {
    let phase = match kind {
        SyncKind::Start => DMA_BUF_SYNC_START,
        SyncKind::End => DMA_BUF_SYNC_END,
    };
    let access = match flags {
        SyncFlags::Read => DMA_BUF_SYNC_READ,
        SyncFlags::ReadWrite => DMA_BUF_SYNC_READ | DMA_BUF_SYNC_WRITE,
    };
    let argument = DmaBufSync { flags: phase | access };
    // SAFETY: the descriptor is open for the length of the call and is a dma-buf, so the request
    // means DMA_BUF_IOCTL_SYNC, which reads a `struct dma_buf_sync` from the pointer.
    unsafe { dma_buf_ioctl_sync(fd.as_fd().as_raw_fd(), &argument) }.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_dma_buf_is_not_taken_for_one() {
        let null = File::open("/dev/null").unwrap();
        assert_eq!(identify(null.as_fd()), Ok(None));
        let (read, _write) = nix::unistd::pipe().unwrap();
        assert_eq!(identify(read.as_fd()), Ok(None));
    }

    #[test]
    fn request_number_is_that_of_the_uapi() {
        // _IOW('b', 0, struct dma_buf_sync): direction 1, size 8, type 0x62, number 0.
        assert_eq!(nix::request_code_write!(b'b', 0, size_of::<DmaBufSync>()), 0x4008_6200);
    }
}

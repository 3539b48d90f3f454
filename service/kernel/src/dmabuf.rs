// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What the service does to a dma-buf: tell whether a descriptor is one, know it again, ask whether
//! its implicit fences have signalled, take them out and put some in, and issue
//! `DMA_BUF_IOCTL_SYNC`.
//!
//! Knows the kernel's uapi (`linux/dma-buf.h`, `linux/magic.h`) and nothing of groups or locks.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;

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

/// `struct dma_buf_export_sync_file` and `struct dma_buf_import_sync_file` of linux/dma-buf.h.
#[repr(C)]
pub struct DmaBufSyncFile {
    flags: u32,
    fd: i32,
}

nix::ioctl_readwrite!(
    /// `DMA_BUF_IOCTL_EXPORT_SYNC_FILE` of linux/dma-buf.h.
    dma_buf_ioctl_export_sync_file, b'b', 2, DmaBufSyncFile
);
nix::ioctl_write_ptr!(
    /// `DMA_BUF_IOCTL_IMPORT_SYNC_FILE` of linux/dma-buf.h.
    dma_buf_ioctl_import_sync_file, b'b', 3, DmaBufSyncFile
);

/// The first Linux with both ioctls; some vendors' kernels have them in older ones.
const SYNC_FILE_IOCTLS: (u32, u32) = (6, 0);

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
    let stat = fstat(fd.as_raw_fd())?;
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

/// Whether what is wanted of each has signalled. Never blocks on a fence; the reservation lock of
/// each dma-buf is taken for a moment.
pub fn are_ready(all: &[(Arc<OwnedFd>, PollFlags)]) -> bool {
    all.chunks(POLLED_AT_ONCE).all(|some| {
        // On the stack: this is part of every lock of a CPU access.
        let [(first, flags), ..] = some else { return true };
        let mut fds = [PollFd::new(first.as_fd(), *flags); POLLED_AT_ONCE];
        for (slot, (fd, wanted)) in fds.iter_mut().zip(some) {
            *slot = PollFd::new(fd.as_fd(), *wanted);
        }
        let fds = &mut fds[..some.len()];
        let polled = nix::poll::poll(fds, PollTimeout::ZERO);
        let mut each = fds.iter().zip(some);
        polled.is_ok()
            && each.all(|(fd, (_, wanted))| {
                fd.revents().is_some_and(|found| found.intersects(*wanted))
            })
    })
}

/// Which of these is the first that has not signalled what is wanted of it; `None` if all have, as
/// seen at once. Never blocks on a fence.
pub fn first_pending<'a>(
    all: impl Iterator<Item = (&'a Arc<OwnedFd>, PollFlags)>,
) -> Result<Option<usize>, Errno> {
    let (mut fds, wanted): (Vec<PollFd<'a>>, Vec<PollFlags>) =
        all.map(|(fd, wanted)| (PollFd::new(fd.as_fd(), wanted), wanted)).unzip();
    if fds.is_empty() {
        return Ok(None);
    }
    match nix::poll::poll(&mut fds, PollTimeout::ZERO) {
        Ok(_) => {}
        Err(Errno::EINTR) => return Ok(Some(0)),
        Err(errno) => return Err(errno),
    }
    let ready = |(fd, wanted): (&PollFd<'_>, &PollFlags)| {
        fd.revents().is_some_and(|found| found.intersects(*wanted))
    };
    Ok(fds.iter().zip(&wanted).position(|each| !ready(each)))
}

/// Descriptors that one poll(2) looks at.
const POLLED_AT_ONCE: usize = 16;

/// Whether the kernel has `DMA_BUF_IOCTL_EXPORT_SYNC_FILE` and `DMA_BUF_IOCTL_IMPORT_SYNC_FILE`, by
/// its version.
pub fn has_sync_file_ioctls() -> bool {
    let Ok(name) = nix::sys::utsname::uname() else { return false };
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= SYNC_FILE_IOCTLS,
        _ => false,
    }
}

/// The implicit fences of a dma-buf as a sync_file: those that a reader has to wait for, or a writer.
/// Signalled if there are none. Never blocks. `fd` must have been [`identify`]ed.
pub fn export_sync_file(fd: BorrowedFd<'_>, write: bool) -> Result<OwnedFd, Errno> {
    let flags = if write { DMA_BUF_SYNC_READ | DMA_BUF_SYNC_WRITE } else { DMA_BUF_SYNC_READ };
    let mut data = DmaBufSyncFile { flags: flags as u32, fd: -1 };
    // SAFETY: the descriptor is open for the length of the call and is a dma-buf, so the request
    // means DMA_BUF_IOCTL_EXPORT_SYNC_FILE, which reads and writes this struct.
    unsafe { dma_buf_ioctl_export_sync_file(fd.as_raw_fd(), &mut data) }?;
    // SAFETY: the ioctl has made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(data.fd) })
}

/// Adds the fence of a sync_file to the implicit ones of a dma-buf, as a reader's or as a writer's.
/// Waits for the reservation lock, for no fence. `fd` must have been [`identify`]ed.
pub fn import_sync_file(
    fd: BorrowedFd<'_>,
    write: bool,
    fence: BorrowedFd<'_>,
) -> Result<(), Errno> {
    let flags = if write { DMA_BUF_SYNC_READ | DMA_BUF_SYNC_WRITE } else { DMA_BUF_SYNC_READ };
    let data = DmaBufSyncFile { flags: flags as u32, fd: fence.as_raw_fd() };
    // SAFETY: the descriptor is open for the length of the call and is a dma-buf, so the request
    // means DMA_BUF_IOCTL_IMPORT_SYNC_FILE, which reads this struct.
    unsafe { dma_buf_ioctl_import_sync_file(fd.as_raw_fd(), &data) }.map(|_| ())
}

/// Issues `DMA_BUF_IOCTL_SYNC`. May block while an implicit fence is pending, and returns `EINTR`
/// when a signal interrupts that. `fd` must have been [`identify`]ed.
pub fn sync(fd: &OwnedFd, kind: SyncKind, flags: SyncFlags) -> Result<(), Errno> {
    let phase = match kind {
        SyncKind::Start => DMA_BUF_SYNC_START,
        SyncKind::End => DMA_BUF_SYNC_END,
        // Not an operation of the dma-buf.
        SyncKind::Wait => return Ok(()),
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
        let size = size_of::<DmaBufSyncFile>();
        assert_eq!(nix::request_code_readwrite!(b'b', 2, size), 0xc008_6202);
        assert_eq!(nix::request_code_write!(b'b', 3, size), 0x4008_6203);
    }
}

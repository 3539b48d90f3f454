// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The alternatives to the service: record locks on the dma-bufs, hand-written ioctls, and poll(2) for
//! implicit fences.

use std::os::fd::{AsFd, AsRawFd, RawFd};

use buffersync_testbed_guest::dmabuf::DmaBuf;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};

/// `struct dma_buf_sync` of linux/dma-buf.h.
#[repr(C)]
struct Sync {
    flags: u64,
}

nix::ioctl_write_ptr!(
    /// `DMA_BUF_IOCTL_SYNC`.
    dma_buf_sync, b'b', 0, Sync
);

const RW: u64 = 3;
const END: u64 = 4;

fn record_lock(fd: RawFd, kind: libc::c_int) {
    let lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: F_SETLKW reads a struct flock.
    let done = unsafe { libc::fcntl(fd, libc::F_SETLKW, &lock) };
    assert_eq!(done, 0, "F_SETLKW: {}", Errno::last());
}

/// POSIX record locks, in the order of the slice.
pub fn lock(buffers: &[DmaBuf]) {
    buffers.iter().for_each(|buffer| record_lock(buffer.as_fd().as_raw_fd(), libc::F_WRLCK));
}

/// Unlocks all of them.
pub fn unlock(buffers: &[DmaBuf]) {
    buffers.iter().for_each(|buffer| record_lock(buffer.as_fd().as_raw_fd(), libc::F_UNLCK));
}

/// Issues START before an access of the CPU, or END after it.
pub fn bracket(buffers: &[DmaBuf], end: bool) {
    let sync = Sync { flags: if end { RW | END } else { RW } };
    for buffer in buffers {
        // SAFETY: the descriptor is a dma-buf, and the ioctl reads a struct dma_buf_sync.
        let done = unsafe { dma_buf_sync(buffer.as_fd().as_raw_fd(), &sync) };
        assert!(done.is_ok(), "DMA_BUF_IOCTL_SYNC: {done:?}");
    }
}

/// Polls if the CPU may write: for implicit fences of readers and writers (kernel dma-buf.rst).
pub fn poll(buffers: &[DmaBuf]) {
    let fds = buffers.iter().map(|buffer| PollFd::new(buffer.as_fd(), PollFlags::POLLOUT));
    let ready = nix::poll::poll(&mut fds.collect::<Vec<_>>(), PollTimeout::ZERO);
    assert_eq!(ready, Ok(buffers.len() as i32), "nobody puts fences there");
}

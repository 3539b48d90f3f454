// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! sync_files (linux/sync_file.h). Functions with an ioctl require a descriptor for which
//! [`is_sync_file`] is true.

use std::os::fd::{AsRawFd, FromRawFd};

use nix::errno::Errno;

use crate::fd::{Fd, FdRef};
use crate::link;
use crate::uapi::{sync_ioc_file_info, sync_ioc_merge, SyncFenceInfo, SyncFileInfo, SyncMergeData};

/// The state of a fence, or of all fences of a sync_file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// At least one has not signalled.
    Pending,
    /// All have signalled, without an error.
    Signalled,
    /// One signalled an error, or the descriptor no longer answers.
    Failed,
}

impl Status {
    /// 1 means signalled, 0 active; an error is below 0.
    fn new(status: i32) -> Self {
        match status {
            0 => Self::Pending,
            1.. => Self::Signalled,
            _ => Self::Failed,
        }
    }
}

/// One fence of a sync_file.
#[derive(Clone, Copy, Debug)]
pub struct Fence {
    /// Its own state.
    pub status: Status,
    /// When it signalled, in nanoseconds of CLOCK_MONOTONIC.
    pub timestamp_ns: u64,
}

/// Whether `fd` is a sync_file, found out without an ioctl: the kernel gives the anonymous inode of
/// every sync_file this name.
///
/// # References
///  - Kernel: `sync_file_alloc` in drivers/dma-buf/sync_file.c
pub fn is_sync_file(fd: FdRef<'_>) -> bool {
    link(fd).is_some_and(|link| link == "anon_inode:sync_file")
}

/// The common state of all fences. Never blocks.
///
/// # References
///  - [Kernel: `struct sync_file_info`](https://docs.kernel.org/driver-api/dma-buf.html#c.sync_file_info)
pub fn status(fd: FdRef<'_>) -> Status {
    match file_info(fd, &mut []) {
        Ok(info) => Status::new(info.status),
        // Nothing is known: the caller waits or asks again.
        Err(Errno::EINTR) => Status::Pending,
        Err(_) => Status::Failed,
    }
}

/// The fences that a sync_file is made of; `EINVAL` if there are more than `most`. Never blocks.
///
/// # References
///  - [Kernel: `struct sync_fence_info`](https://docs.kernel.org/driver-api/dma-buf.html#c.sync_fence_info)
pub fn fences(fd: FdRef<'_>, most: usize) -> Result<Vec<Fence>, Errno> {
    let none = SyncFenceInfo {
        obj_name: [0; 32],
        driver_name: [0; 32],
        status: 0,
        flags: 0,
        timestamp_ns: 0,
    };
    let mut fences = vec![none; most];
    let info = file_info(fd, &mut fences)?;
    let fences = fences.iter().take(info.num_fences as usize);
    let fence = |info: &SyncFenceInfo| Fence {
        status: Status::new(info.status),
        timestamp_ns: info.timestamp_ns,
    };
    Ok(fences.map(fence).collect())
}

/// Without room for fences the kernel reports only their number and the common status.
fn file_info(fd: FdRef<'_>, fences: &mut [SyncFenceInfo]) -> Result<SyncFileInfo, Errno> {
    let mut info = SyncFileInfo {
        name: [0; 32],
        status: 0,
        flags: 0,
        num_fences: fences.len() as u32,
        pad: 0,
        sync_fence_info: fences.as_mut_ptr() as u64,
    };
    // SAFETY: the descriptor is open during the call and is a sync_file, so the request means
    // SYNC_IOC_FILE_INFO, which reads and writes this struct and writes at most `num_fences` structs
    // behind its pointer; the slice has that many.
    unsafe { sync_ioc_file_info(fd.as_raw_fd(), &mut info) }?;
    Ok(info)
}

/// A new sync_file that signals when both have. It has the error of a fence that fails from now on;
/// the kernel leaves out fences that have signalled already, and their errors. Never blocks.
///
/// # References
///  - [Kernel: `struct sync_merge_data`](https://docs.kernel.org/driver-api/dma-buf.html#c.sync_merge_data)
///  - Kernel: `__dma_fence_unwrap_merge` in drivers/dma-buf/dma-fence-unwrap.c
pub fn merge(one: FdRef<'_>, other: FdRef<'_>) -> Result<Fd, Errno> {
    let mut name = [0; 32];
    name[..10].copy_from_slice(b"buffersync");
    let mut data = SyncMergeData { name, fd2: other.as_raw_fd(), fence: -1, flags: 0, pad: 0 };
    // SAFETY: the descriptor is open during the call and is a sync_file, so the request means
    // SYNC_IOC_MERGE, which reads and writes this struct.
    unsafe { sync_ioc_merge(one.as_raw_fd(), &mut data) }?;
    // SAFETY: the ioctl has made this descriptor, and nothing else owns it.
    Ok(unsafe { Fd::from_raw_fd(data.fence) })
}

#[cfg(test)]
mod tests {
    use nix::sys::epoll::{Epoll, EpollCreateFlags};

    use super::*;
    use crate::fd::AsFd;

    #[test]
    fn other_descriptors_are_no_sync_files() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(!is_sync_file(null.as_fd()));
        // Another kind of anonymous inode.
        let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
        assert!(!is_sync_file(epoll.0.as_fd()));
    }

    #[test]
    fn a_fence_with_an_error_has_failed() {
        let statuses = [-110, -1, 0, 1].map(Status::new);
        let expected = [Status::Failed, Status::Failed, Status::Pending, Status::Signalled];
        assert_eq!(statuses, expected);
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! sync_files: is a descriptor one, has it signalled, did it signal an error; and one made of two.
//!
//! Knows the kernel's uapi (`linux/sync_file.h`) and nothing of groups or locks.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use buffersync_aidl::aidl::vendor::buffersync::ReleaseFence::MAX_FENCES;
use nix::errno::Errno;

/// How far the fences of a sync_file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// At least one has not signalled.
    Pending,
    /// All have signalled, without error.
    Signalled,
    /// One signalled an error, or the descriptor no longer answers.
    Failed,
}

impl Status {
    /// What `sync_file_info.status` says: 1 signalled, 0 active, below 0 an error.
    fn of(status: i32) -> Self {
        match status {
            0 => Self::Pending,
            1.. => Self::Signalled,
            _ => Self::Failed,
        }
    }
}

/// `struct sync_file_info` of linux/sync_file.h.
#[repr(C)]
pub struct SyncFileInfo {
    name: [u8; 32],
    status: i32,
    flags: u32,
    num_fences: u32,
    pad: u32,
    sync_fence_info: u64,
}

/// `struct sync_merge_data` of linux/sync_file.h.
#[repr(C)]
pub struct SyncMergeData {
    name: [u8; 32],
    fd2: i32,
    fence: i32,
    flags: u32,
    pad: u32,
}

nix::ioctl_readwrite!(
    /// `SYNC_IOC_MERGE` of linux/sync_file.h.
    sync_ioc_merge, b'>', 3, SyncMergeData
);

nix::ioctl_readwrite!(
    /// `SYNC_IOC_FILE_INFO` of linux/sync_file.h.
    sync_ioc_file_info, b'>', 4, SyncFileInfo
);

/// Tells whether `fd` is a sync_file, without any ioctl: an unknown driver's ioctl could mean
/// anything. The kernel names the anonymous inode of every sync_file (`sync_file_alloc`).
pub fn is_sync_file(fd: BorrowedFd<'_>) -> bool {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    std::fs::read_link(link).is_ok_and(|target| target.as_os_str() == "anon_inode:sync_file")
}

/// The fences' state. `fd` must be a sync_file. Never blocks.
pub fn status(fd: BorrowedFd<'_>) -> Status {
    match file_info(fd, &mut []) {
        Ok(info) => Status::of(info.status),
        Err(Errno::EINTR) => Status::Pending,
        Err(_) => Status::Failed,
    }
}

/// What the kernel says of a sync_file, and of each of its fences if there is room for all of them: EINVAL if
/// there is not. Without any room it reports only their number and the common status.
fn file_info(fd: BorrowedFd<'_>, fences: &mut [SyncFenceInfo]) -> Result<SyncFileInfo, Errno> {
    let mut info = SyncFileInfo {
        name: [0; 32],
        status: 0,
        flags: 0,
        num_fences: fences.len() as u32,
        pad: 0,
        sync_fence_info: fences.as_mut_ptr() as u64,
    };
    // SAFETY: the descriptor is open for the length of the call and is a sync_file, so the request
    // means SYNC_IOC_FILE_INFO, which reads and writes a `struct sync_file_info` and writes at most
    // `num_fences` structs behind its pointer; the slice has so many.
    unsafe { sync_ioc_file_info(fd.as_raw_fd(), &mut info) }?;
    Ok(info)
}

/// `struct sync_fence_info` of linux/sync_file.h.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SyncFenceInfo {
    obj_name: [u8; 32],
    driver_name: [u8; 32],
    status: i32,
    flags: u32,
    timestamp_ns: u64,
}

const NO_FENCE: SyncFenceInfo =
    SyncFenceInfo { obj_name: [0; 32], driver_name: [0; 32], status: 0, flags: 0, timestamp_ns: 0 };

/// Whether one of the fences that a sync_file is made of has signalled an error already; `None` if there are more
/// than [`MAX_FENCES`]. `fd` must be a sync_file. Never blocks.
pub fn have_failed(fd: BorrowedFd<'_>) -> Option<bool> {
    let mut fences = [NO_FENCE; MAX_FENCES as usize];
    match file_info(fd, &mut fences) {
        Ok(info) => Some(any_failed(fences.iter().take(info.num_fences as usize))),
        // EINVAL: it has more.
        Err(_) => None,
    }
}

fn any_failed<'a>(mut fences: impl Iterator<Item = &'a SyncFenceInfo>) -> bool {
    fences.any(|fence| Status::of(fence.status) == Status::Failed)
}

/// A sync_file that signals when both have, with the error of one that fails from now on; what has signalled
/// already is left out. Both must be sync_files. Never blocks.
pub fn merge(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let mut name = [0; 32];
    name[..10].copy_from_slice(b"buffersync");
    let mut data = SyncMergeData { name, fd2: other.as_raw_fd(), fence: -1, flags: 0, pad: 0 };
    // SAFETY: the descriptor is open for the length of the call and is a sync_file, so the request
    // means SYNC_IOC_MERGE, which reads and writes a `struct sync_merge_data`.
    unsafe { sync_ioc_merge(one.as_raw_fd(), &mut data) }?;
    // SAFETY: the ioctl has made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(data.fence) })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_is_no_sync_file_is_not_taken_for_one() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(!is_sync_file(null.as_fd()));
        // An anonymous inode of another kind.
        let epoll =
            nix::sys::epoll::Epoll::new(nix::sys::epoll::EpollCreateFlags::empty()).unwrap();
        assert!(!is_sync_file(epoll.0.as_fd()));
    }

    #[test]
    fn a_fence_with_an_error_has_not_signalled_in_order() {
        let statuses = [-110, -1, 0, 1].map(Status::of);
        let expected = [Status::Failed, Status::Failed, Status::Pending, Status::Signalled];
        assert_eq!(statuses, expected);
        // One of several, while another is pending.
        let of = |status| SyncFenceInfo { status, ..NO_FENCE };
        assert!(any_failed([0, -110, 1].map(of).iter()));
        assert!(!any_failed([0, 1].map(of).iter()));
    }

    #[test]
    fn layout_is_that_of_the_uapi() {
        assert_eq!((size_of::<SyncFileInfo>(), size_of::<SyncMergeData>()), (56, 48));
        assert_eq!(size_of::<SyncFenceInfo>(), 80);
        assert_eq!(std::mem::offset_of!(SyncFileInfo, sync_fence_info), 48);
    }
}

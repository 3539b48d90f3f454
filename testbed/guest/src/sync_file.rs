// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What a sync_file knows of its fences (linux/sync_file.h).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// `struct sync_fence_info`.
#[repr(C)]
#[derive(Clone, Copy)]
struct FenceInfo {
    obj_name: [u8; 32],
    driver_name: [u8; 32],
    status: i32,
    flags: u32,
    timestamp_ns: u64,
}

/// `struct sync_file_info`.
#[repr(C)]
pub struct FileInfo {
    name: [u8; 32],
    status: i32,
    flags: u32,
    num_fences: u32,
    pad: u32,
    sync_fence_info: u64,
}

nix::ioctl_readwrite!(
    /// `SYNC_IOC_FILE_INFO`.
    sync_ioc_file_info, b'>', 4, FileInfo
);

/// Fences of one sync_file that are looked at.
const FENCES: usize = 64;

/// When the last of the fences of a sync_file signalled: nanoseconds of CLOCK_MONOTONIC.
pub fn signalled_at(fence: impl AsFd) -> io::Result<u64> {
    let empty =
        FenceInfo { obj_name: [0; 32], driver_name: [0; 32], status: 0, flags: 0, timestamp_ns: 0 };
    let mut fences = [empty; FENCES];
    let mut info = FileInfo {
        name: [0; 32],
        status: 0,
        flags: 0,
        num_fences: FENCES as u32,
        pad: 0,
        sync_fence_info: fences.as_mut_ptr() as u64,
    };
    // SAFETY: the ioctl reads and writes this struct, and writes at most `num_fences` structs
    // behind its pointer, which the array outlives.
    unsafe { sync_ioc_file_info(fence.as_fd().as_raw_fd(), &mut info) }?;
    let fences = fences.iter().take(info.num_fences as usize);
    Ok(fences.map(|fence| fence.timestamp_ns).max().unwrap_or(0))
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The kernel's interface for dma-bufs, memfds and sync_files. The service and the testbed use it; it knows
//! neither of them.
//!
//! | module | contents |
//! |---|---|
//! | [`dmabuf`] | recognise a dma-buf, poll and bracket it, export and import its implicit fences |
//! | [`memfd`] | recognise a memfd |
//! | [`sync_file`] | recognise a sync_file, read the state of its fences, merge two |
//! | [`quirks`] | differences between exporters and kernel versions, and how the service copes |
//! | `uapi` | structs and ioctl numbers of linux/dma-buf.h and linux/sync_file.h |

pub mod dmabuf;
pub mod memfd;
pub mod quirks;
pub mod sync_file;
mod uapi;

use std::ffi::OsString;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The kernel's name for the file behind a descriptor. The kernel makes it itself, and asks no file
/// system.
///
/// # References
///  - [proc_pid_fd(5)](https://man7.org/linux/man-pages/man5/proc_pid_fd.5.html)
fn link(fd: BorrowedFd<'_>) -> Option<OsString> {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    std::fs::read_link(link).ok().map(|target| target.into_os_string())
}

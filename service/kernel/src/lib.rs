// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The kernel's interface: dma-bufs, memfds, sync_files, and the rest of what the lock table's surroundings ask the
//! system for. The service and the testbed use it; it knows neither of them.
//!
//! | module | contents |
//! |---|---|
//! | [`dmabuf`] | recognise a dma-buf, poll and bracket it, export and import its implicit fences |
//! | [`memfd`] | recognise a memfd |
//! | [`identity`] | the answer for a descriptor that was recognised |
//! | [`sync_file`] | recognise a sync_file, read the state of its fences, merge two |
//! | [`quirks`] | differences between exporters and kernel versions, and how the service copes |
//! | [`channel`] | messages to a client that no client can block |
//! | [`poller`] | wait for sync_files and for a time |
//! | [`interrupt`] | interrupt a system call that takes too long |
//! | [`clock`], [`fd`] | the time; what a descriptor is |
//! | `uapi` | structs and ioctl numbers of linux/dma-buf.h and linux/sync_file.h |

pub mod channel;
pub mod clock;
pub mod dmabuf;
pub mod fd;
pub mod identity;
pub mod interrupt;
pub mod memfd;
pub mod poller;
pub mod quirks;
pub mod sync_file;
mod uapi;

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;

use nix::errno::Errno;

use crate::fd::FdRef;

/// The kernel's name for the file behind a descriptor. The kernel makes it itself, and asks no file
/// system.
///
/// # References
///  - [proc_pid_fd(5)](https://man7.org/linux/man-pages/man5/proc_pid_fd.5.html)
fn link(fd: FdRef<'_>) -> Option<OsString> {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    std::fs::read_link(link).ok().map(|target| target.into_os_string())
}

/// The start of the text of `/proc/self/fdinfo` for a descriptor: a dma-buf's lines are shorter. `None` if it is no
/// text. Only a lack of descriptors or memory is an error.
fn fdinfo(fd: FdRef<'_>) -> Result<Option<String>, Errno> {
    let mut text = [0; 512];
    let opened = File::open(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()));
    let read = opened.and_then(|mut file| file.read(&mut text));
    let length = read.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
    Ok(text.get(..length).and_then(|text| std::str::from_utf8(text).ok()).map(str::to_string))
}

/// A timestamp of stat(2) in nanoseconds.
fn nanoseconds(seconds: impl Into<i64>, nanoseconds: impl Into<i64>) -> Option<u64> {
    let seconds = u64::try_from(seconds.into()).ok()?.checked_mul(1_000_000_000)?;
    seconds.checked_add(u64::try_from(nanoseconds.into()).ok()?)
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Finds a mistake before a buffer is added: the CPU is to write it, and its descriptor is open for reading only.
//!
//! Such a descriptor can't be mapped for writing, so the program would fail later, in mmap(2). The service can't see
//! the mistake as one: it never maps a buffer. Only [`crate::Access::Write`] is checked. The right of a device to
//! write does not come from the descriptor.
//!
//! A native handle has descriptors that are no buffers, such as the metadata of gralloc. They may be open for reading.
//! So the check needs to know which descriptors are the buffers, by the rule of the service: the dma-bufs; without any,
//! the memfds. The names of /proc/self/fd tell. They are read only if a descriptor is open for reading only, so the
//! usual call costs one fcntl(2) for each descriptor. Without /proc nothing is refused.
//!
//! # References
//! `O_ACCMODE` in fcntl(2); the names of dma-bufs are made in drivers/dma-buf/dma-buf.c, those of memfds in
//! memfd_create(2).

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::fcntl::{fcntl, readlink, FcntlArg, OFlag};

use crate::error::{Error, Result};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    DmaBuf,
    Memfd,
    Other,
}

/// Refuses a buffer whose descriptor is open for reading only.
pub(crate) fn check(fds: &[BorrowedFd<'_>]) -> Result<()> {
    if !fds.iter().any(is_read_only) {
        return Ok(());
    }
    let kinds: Vec<Kind> = fds.iter().map(kind).collect();
    let buffers = if kinds.contains(&Kind::DmaBuf) { Kind::DmaBuf } else { Kind::Memfd };
    let wrong = fds.iter().zip(&kinds).find(|(fd, kind)| **kind == buffers && is_read_only(fd));
    let Some((fd, _)) = wrong else { return Ok(()) };
    let fd = fd.as_raw_fd();
    Err(Error::IllegalArgument(format!(
        "the access is WRITE, and descriptor {fd} is open for reading only: allocate, export or open the buffer with \
         O_RDWR, or declare READ"
    )))
}

/// False for a descriptor that is not open: that is another error.
fn is_read_only(fd: &BorrowedFd<'_>) -> bool {
    let flags = fcntl(fd.as_raw_fd(), FcntlArg::F_GETFL).map(OFlag::from_bits_retain);
    flags.is_ok_and(|flags| flags & OFlag::O_ACCMODE == OFlag::O_RDONLY)
}

fn kind(fd: &BorrowedFd<'_>) -> Kind {
    let name = readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()).as_str()).unwrap_or_default();
    match name.to_string_lossy() {
        name if name.starts_with("/dmabuf:") => Kind::DmaBuf,
        name if name.starts_with("/memfd:") => Kind::Memfd,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::os::fd::{AsFd, OwnedFd};

    use nix::sys::memfd::{memfd_create, MemFdCreateFlag};

    use super::*;

    fn memfd() -> OwnedFd {
        memfd_create(c"frame", MemFdCreateFlag::MFD_CLOEXEC).unwrap()
    }

    fn again(fd: &OwnedFd, write: bool) -> File {
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        OpenOptions::new().read(true).write(write).open(path).unwrap()
    }

    #[test]
    fn a_memfd_must_be_open_for_writing() {
        let frame = memfd();
        assert_eq!(check(&[frame.as_fd(), again(&frame, true).as_fd()]), Ok(()));
        let read = again(&frame, false);
        let error = check(&[frame.as_fd(), read.as_fd()]).unwrap_err();
        let name = format!("descriptor {} is open for reading only", read.as_raw_fd());
        assert!(matches!(&error, Error::IllegalArgument(why) if why.contains(&name)), "{error:?}");
    }

    /// The guest's tests have dma-bufs, with and without metadata beside them.
    #[test]
    fn what_is_no_buffer_may_be_open_for_reading() {
        let null = File::open("/dev/null").unwrap();
        assert_eq!(check(&[null.as_fd(), memfd().as_fd()]), Ok(()));
        assert_eq!(check(&[]), Ok(()));
    }
}

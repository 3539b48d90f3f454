// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! memfds: memory that processes share by a descriptor.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::UNIX_EPOCH;

use nix::errno::Errno;
use nix::fcntl::{fcntl, FcntlArg};
use nix::sys::stat::fstat;
use nix::sys::statfs::{fstatfs, TMPFS_MAGIC};

use crate::fd::FdRef;
use crate::identity::{Found, Identity};
use crate::link;

/// Recognises a memfd. `None` if the descriptor is something else.
///
/// Huge pages don't count: the inode numbers of their files come again. A file of a tmpfs that its owner mounted can
/// have such a name, too. It is memory like a memfd, and has a device number of its own.
///
/// Never blocks: no other file system has seals, so a descriptor of another one gets neither readlink(2)
/// nor fstat(2), which could ask the file system's server. A file in a tmpfs has seals too, and a path.
///
/// # References
///  - [F_GET_SEALS(2const)](https://man7.org/linux/man-pages/man2/F_GET_SEALS.2const.html)
///  - [memfd_create(2)](https://man7.org/linux/man-pages/man2/memfd_create.2.html), "the name in
///    /proc/self/fd"
pub fn identify(fd: FdRef<'_>) -> Result<Option<Found>, Errno> {
    if fcntl(fd.as_raw_fd(), FcntlArg::F_GET_SEALS).is_err() {
        return Ok(None);
    }
    if !link(fd).is_some_and(|link| link.as_encoded_bytes().starts_with(b"/memfd:")) {
        return Ok(None);
    }
    if fstatfs(fd)?.filesystem_type() != TMPFS_MAGIC {
        return Ok(None);
    }
    let stat = fstat(fd.as_raw_fd())?;
    let file = File::from(fd.try_clone_to_owned().map_err(|_| Errno::EMFILE)?);
    // statx(2); the timestamps of fstat(2) change with each write.
    let created = file.metadata().and_then(|found| found.created()).ok();
    let since = created.and_then(|created| created.duration_since(UNIX_EPOCH).ok());
    Ok(Some(Found {
        identity: Identity::new(&stat),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        created_ns: since.and_then(|since| u64::try_from(since.as_nanos()).ok()),
    }))
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, OwnedFd};

    use nix::fcntl::{open, OFlag};
    use nix::sys::memfd::{memfd_create, MemFdCreateFlag};
    use nix::sys::stat::Mode;

    use super::*;

    fn memfd() -> OwnedFd {
        memfd_create(c"test", MemFdCreateFlag::MFD_CLOEXEC).unwrap()
    }

    #[test]
    fn a_memfd_is_the_same_through_each_descriptor_and_no_other_is() {
        let (one, other) = (memfd(), memfd());
        let identity = |fd: &dyn AsFd| identify(fd.as_fd()).unwrap().map(|found| found.identity);
        let known = identity(&one);
        assert!(known.is_some());
        assert_eq!(identity(&one.try_clone().unwrap()), known);
        // Another open file of the same memory.
        let path = format!("/proc/self/fd/{}", one.as_raw_fd());
        assert_eq!(identity(&File::open(path).unwrap()), known);
        assert_ne!(identity(&other), known);
    }

    #[test]
    fn other_descriptors_are_not_identified() {
        let null = File::open("/dev/null").unwrap();
        assert_eq!(identify(null.as_fd()), Ok(None));
        let (read, _write) = nix::unistd::pipe().unwrap();
        assert_eq!(identify(read.as_fd()), Ok(None));
        // A file without a name in a tmpfs has seals. Not every machine has a tmpfs there.
        let (flags, mode) = (OFlag::O_TMPFILE | OFlag::O_RDWR, Mode::S_IRUSR);
        if let Ok(file) = open("/dev/shm", flags, mode) {
            // SAFETY: open(2) has made this descriptor, and nothing else owns it.
            let file = unsafe { <File as std::os::fd::FromRawFd>::from_raw_fd(file) };
            assert_eq!(identify(file.as_fd()), Ok(None));
        }
    }

    #[test]
    fn the_size_is_the_files_and_it_was_made_just_now() {
        let memory = memfd();
        nix::unistd::ftruncate(&memory, 4096).unwrap();
        let found = identify(memory.as_fd()).unwrap().unwrap();
        assert_eq!(found.size, 4096);
        // The kernel's clock for timestamps is up to a tick late.
        let now = crate::clock::time_of_day_ns();
        assert!(found.created_ns.is_none_or(|at| at <= now && now - at < 60_000_000_000));
    }
}

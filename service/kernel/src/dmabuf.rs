// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! dma-bufs (linux/dma-buf.h). Functions with an ioctl require a descriptor that [`identify`] has
//! recognised.

use std::os::fd::{AsRawFd, FromRawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::stat::fstat;

use crate::fd::{Fd, FdRef};
use crate::identity::{Found, Identity};
use crate::uapi::{
    dma_buf_ioctl_export_sync_file, dma_buf_ioctl_import_sync_file, dma_buf_ioctl_sync, DmaBufSync,
    DmaBufSyncFile, DMA_BUF_SYNC_END, DMA_BUF_SYNC_READ, DMA_BUF_SYNC_RW, DMA_BUF_SYNC_START,
};
use crate::{fdinfo, link};

/// Descriptors that one poll(2) looks at without allocating: more than groups usually have, in 512
/// bytes of the stack.
const ON_STACK: usize = 64;

/// The kind of an access, as in the uapi's flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// `DMA_BUF_SYNC_READ`. A reader waits for the fences of writers.
    Read,
    /// `DMA_BUF_SYNC_RW`. A writer waits for all fences.
    Write,
}

impl Usage {
    /// The usage of an access that writes, or only reads.
    pub fn new(writes: bool) -> Self {
        if writes {
            Self::Write
        } else {
            Self::Read
        }
    }

    fn flags(self) -> u32 {
        match self {
            Self::Read => DMA_BUF_SYNC_READ,
            Self::Write => DMA_BUF_SYNC_RW,
        }
    }

    /// The event that poll(2) reports when the fences that this usage waits for have signalled.
    ///
    /// # References
    ///  - [Kernel: "Implicit Fence Poll Support"](https://docs.kernel.org/driver-api/dma-buf.html#implicit-fence-poll-support)
    pub fn poll_events(self) -> PollFlags {
        match self {
            Self::Read => PollFlags::POLLIN,
            Self::Write => PollFlags::POLLOUT,
        }
    }
}

/// Recognises a dma-buf. `None` if the descriptor is something else.
///
/// No file system is asked: fstatfs(2) and fstat(2) on a FUSE file last as long as its server likes. The kernel gives
/// each dma-buf a name that begins with `/dmabuf:` (Linux 5.3); a file may have such a path, too. So a descriptor of
/// that name is looked up in `/proc/self/fdinfo`, where only dma-bufs have a line `exp_name:`. Nothing else is: the
/// text of an epoll, for example, takes a lock that a client can hold. fstat(2) comes last, and asks the kernel's own
/// file system.
///
/// # References
///  - [proc_pid_fdinfo(5)](https://man7.org/linux/man-pages/man5/proc_pid_fdinfo.5.html)
///  - Kernel: `dma_buf_show_fdinfo` in drivers/dma-buf/dma-buf.c
pub fn identify(fd: FdRef<'_>) -> Result<Option<Found>, Errno> {
    if !link(fd).is_some_and(|link| link.as_encoded_bytes().starts_with(b"/dmabuf:")) {
        return Ok(None);
    }
    let Some(size) = fdinfo(fd)?.and_then(|info| size_of_dma_buf(&info)) else {
        return Ok(None);
    };
    let stat = fstat(fd.as_raw_fd())?;
    let created_ns = crate::nanoseconds(stat.st_ctime, stat.st_ctime_nsec);
    Ok(Some(Found { identity: Identity::new(&stat), size, created_ns }))
}

/// The size that fdinfo tells of a dma-buf; `None` for any other file.
fn size_of_dma_buf(info: &str) -> Option<u64> {
    let value = |key: &str| info.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    value("exp_name:")?;
    value("size:")?.parse().ok()
}

/// The position of the first dma-buf whose fences are pending. `None` if one poll(2) finds the events
/// ([`Usage::poll_events`]) of all. Takes each reservation lock for a moment and waits for no fence.
///
/// # References
///  - [poll(2)](https://man7.org/linux/man-pages/man2/poll.2.html)
///  - [Kernel: "Implicit Fence Poll Support"](https://docs.kernel.org/driver-api/dma-buf.html#implicit-fence-poll-support)
pub fn first_pending<'a>(
    all: impl ExactSizeIterator<Item = (FdRef<'a>, PollFlags)>,
) -> Result<Option<usize>, Errno> {
    let count = all.len();
    let mut all = all.map(|(fd, events)| PollFd::new(fd, events)).peekable();
    let Some(first) = all.peek() else { return Ok(None) };
    let mut on_stack = [*first; ON_STACK];
    let mut on_heap;
    let fds = if let Some(fds) = on_stack.get_mut(..count) {
        fds.iter_mut().zip(all).for_each(|(slot, fd)| *slot = fd);
        fds
    } else {
        on_heap = all.collect::<Vec<_>>();
        &mut on_heap
    };
    match nix::poll::poll(fds, PollTimeout::ZERO) {
        Ok(_) => {}
        // Nothing is known, so the first counts as pending: the caller looks again.
        Err(Errno::EINTR) => return Ok(Some(0)),
        Err(errno) => return Err(errno),
    }
    Ok(fds.iter().position(|fd| !fd.revents().is_some_and(|found| found.intersects(fd.events()))))
}

/// The implicit fences that an access waits for, as a sync_file; a signalled one if there are none.
/// Never blocks: the kernel reads the reservation object without its lock.
///
/// # References
///  - [Kernel: `dma_buf_export_sync_file`](https://docs.kernel.org/driver-api/dma-buf.html#c.dma_buf_export_sync_file)
///  - Kernel: `dma_resv_get_singleton` in drivers/dma-buf/dma-resv.c
pub fn export_sync_file(fd: FdRef<'_>, usage: Usage) -> Result<Fd, Errno> {
    let mut data = DmaBufSyncFile { flags: usage.flags(), fd: -1 };
    // SAFETY: the descriptor is open during the call and is a dma-buf, so the request means
    // DMA_BUF_IOCTL_EXPORT_SYNC_FILE, which reads and writes this struct.
    unsafe { dma_buf_ioctl_export_sync_file(fd.as_raw_fd(), &mut data) }?;
    // SAFETY: the ioctl has made this descriptor, and nothing else owns it.
    Ok(unsafe { Fd::from_raw_fd(data.fd) })
}

/// Adds the fence of a sync_file to the implicit fences of a dma-buf, as a reader's or a writer's.
/// Waits for the reservation lock but for no fence.
///
/// # References
///  - [Kernel: `dma_buf_import_sync_file`](https://docs.kernel.org/driver-api/dma-buf.html#c.dma_buf_import_sync_file)
pub fn import_sync_file(fd: FdRef<'_>, usage: Usage, fence: FdRef<'_>) -> Result<(), Errno> {
    let data = DmaBufSyncFile { flags: usage.flags(), fd: fence.as_raw_fd() };
    // SAFETY: the descriptor is open during the call and is a dma-buf, so the request means
    // DMA_BUF_IOCTL_IMPORT_SYNC_FILE, which reads this struct.
    unsafe { dma_buf_ioctl_import_sync_file(fd.as_raw_fd(), &data) }.map(|_| ())
}

/// Begins a CPU access: invalidates the cache where needed. Blocks while an implicit fence is pending;
/// a signal ends that with `EINTR`.
///
/// # References
///  - [Kernel: `dma_buf_sync`](https://docs.kernel.org/driver-api/dma-buf.html#c.dma_buf_sync)
pub fn start(fd: FdRef<'_>, usage: Usage) -> Result<(), Errno> {
    sync(fd, DMA_BUF_SYNC_START | usage.flags())
}

/// Ends a CPU access: cleans the cache where needed. `usage` is the one of its [`start`].
///
/// # References
///  - [Kernel: `dma_buf_sync`](https://docs.kernel.org/driver-api/dma-buf.html#c.dma_buf_sync)
pub fn end(fd: FdRef<'_>, usage: Usage) -> Result<(), Errno> {
    sync(fd, DMA_BUF_SYNC_END | usage.flags())
}

fn sync(fd: FdRef<'_>, flags: u32) -> Result<(), Errno> {
    let argument = DmaBufSync { flags: flags.into() };
    // SAFETY: the descriptor is open during the call and is a dma-buf, so the request means
    // DMA_BUF_IOCTL_SYNC, which reads this struct.
    unsafe { dma_buf_ioctl_sync(fd.as_raw_fd(), &argument) }.map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::fd::AsFd;

    #[test]
    fn other_descriptors_are_not_identified() {
        let null = File::open("/dev/null").unwrap();
        assert_eq!(identify(null.as_fd()), Ok(None));
        let (read, _write) = nix::unistd::pipe().unwrap();
        assert_eq!(identify(read.as_fd()), Ok(None));
    }

    #[test]
    fn only_a_dma_bufs_lines_give_a_size() {
        let dma_buf = "pos:\t0\nflags:\t02000002\nmnt_id:\t9\nino:\t7\nsize:\t8192\ncount:\t2\nexp_name:\tsystem\n";
        assert_eq!(size_of_dma_buf(dma_buf), Some(8192));
        assert_eq!(size_of_dma_buf("pos:\t0\nino:\t7\nsize:\t8192\n"), None);
        assert_eq!(size_of_dma_buf("exp_name:\tx\n"), None);
    }

    /// A pipe polls as a dma-buf does. Both ways to keep the descriptors are used.
    #[test]
    fn the_first_that_is_pending_is_found() {
        let (read, write) = nix::unistd::pipe().unwrap();
        let ready = (write.as_fd(), PollFlags::POLLOUT);
        let pending = (read.as_fd(), PollFlags::POLLIN);
        for count in [0, 1, ON_STACK - 1, ON_STACK, ON_STACK + 1] {
            let mut all = vec![ready; count];
            assert_eq!(first_pending(all.iter().copied()), Ok(None));
            all.extend([pending, ready]);
            assert_eq!(first_pending(all.into_iter()), Ok(Some(count)));
        }
    }
}

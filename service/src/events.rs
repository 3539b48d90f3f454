// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The service's end of a group's event pipe.
//!
//! The pipe is the one thing that a client can leave full, so its bound is kept here: a lock is
//! only accepted while there is certainly room for every record that it can lead to. Nothing here
//! ever blocks on a client. Knows the record layout, nothing of the engine.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use buffersync_aidl::event::{Record, MAX_BUFFERS_PER_GROUP, RECORD_BYTES};
use nix::errno::Errno;
use nix::fcntl::{fcntl, FcntlArg, OFlag};

/// What a pipe holds. Four pages: see [`EventPipe::has_room`].
const PIPE_BYTES: i32 = 4 * 4096;
/// A pipe write of up to this many bytes is atomic (pipe(7), `PIPE_BUF`).
const ATOMIC_BYTES: usize = 4096;

/// Release fences of one group that may be pending. Each can become a record, when its time is up.
pub const MAX_FENCES_PER_GROUP: usize = 120;

// A whole page takes the largest grant, another one the records that can come at any time: the
// fences, a wound and an eviction.
const _: () = assert!((MAX_FENCES_PER_GROUP + 2) * RECORD_BYTES <= ATOMIC_BYTES);
const _: () = assert!((1 + MAX_BUFFERS_PER_GROUP) * RECORD_BYTES <= ATOMIC_BYTES);

nix::ioctl_read_bad!(
    /// `FIONREAD`: bytes that wait in the pipe; works on either end (pipe(7)).
    fionread, 0x541b, i32
);

/// Write end of a group's pipe, non-blocking.
#[derive(Debug)]
pub struct EventPipe {
    fd: OwnedFd,
    /// No more than this is unread: what was when the kernel was last asked, and all that was written
    /// since. The client only makes it less, so the kernel need not be asked while this is little.
    unread: usize,
}

/// A record could not be delivered: the client's end is closed, or full against all bounds.
#[derive(Debug, thiserror::Error)]
#[error("event pipe lost: {0}")]
pub struct Lost(Errno);

impl EventPipe {
    /// A pipe of 16 KiB, and the end that the client reads.
    pub fn new() -> Result<(Self, OwnedFd), Errno> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        fcntl(write.as_raw_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        // Past the user's soft limit of pipe pages the kernel makes smaller pipes and refuses to
        // grow them (EPERM); one that is too small must not be handed out.
        fcntl(write.as_raw_fd(), FcntlArg::F_SETPIPE_SZ(PIPE_BYTES))?;
        Ok((Self { fd: write, unread: 0 }, read))
    }

    /// Whether there is room for the records of one more lock: a grant of one page at most, the
    /// eviction that may end it, a wound, and the fences that may fail meanwhile.
    ///
    /// The kernel fills a page only while a whole write still fits its rest, so unread bytes can be
    /// spread thinly; but of two neighbouring pages the contents exceed one page, hence one page's
    /// worth of bytes stands in two pages at most, and two of the four are free.
    pub fn has_room(&mut self) -> bool {
        if self.unread <= ATOMIC_BYTES {
            return true;
        }
        let mut unread = 0;
        // SAFETY: FIONREAD on a pipe stores one int through the pointer.
        let asked = unsafe { fionread(self.fd.as_fd().as_raw_fd(), &mut unread) };
        if let (Ok(_), Ok(bytes)) = (asked, usize::try_from(unread)) {
            self.unread = bytes;
        }
        self.unread <= ATOMIC_BYTES
    }

    /// Writes a record, and those that belong to it, so that a reader sees all of them or none.
    pub fn send(
        &mut self,
        head: Record,
        more: impl ExactSizeIterator<Item = Record>,
    ) -> Result<(), Lost> {
        let mut bytes = [0; ATOMIC_BYTES];
        let length = (1 + more.len()) * RECORD_BYTES;
        let Some(out) = bytes.get_mut(..length) else { return Err(Lost(Errno::EMSGSIZE)) };
        let records = std::iter::once(head).chain(more);
        for (chunk, record) in out.chunks_exact_mut(RECORD_BYTES).zip(records) {
            chunk.copy_from_slice(&record.to_bytes());
        }
        match nix::unistd::write(&self.fd, out) {
            Ok(written) if written == length => {
                self.unread += length;
                Ok(())
            }
            // Can't be: up to PIPE_BUF is all or nothing.
            Ok(_) => Err(Lost(Errno::EIO)),
            // A non-blocking pipe write is not interrupted.
            Err(errno) => Err(Lost(errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: Record = Record { kind: 1, flags: 0, token: 0, value0: 0, value1: 0 };

    fn batch(records: usize) -> impl ExactSizeIterator<Item = Record> {
        vec![RECORD; records].into_iter()
    }

    #[test]
    fn room_for_a_lock_means_that_its_records_fit() {
        // Whatever the sizes of the grants, as long as has_room() said yes before each.
        for size in 1..=MAX_BUFFERS_PER_GROUP {
            let (mut pipe, _read) = EventPipe::new().unwrap();
            let mut locks = 0;
            while pipe.has_room() {
                pipe.send(RECORD, batch(size)).unwrap();
                pipe.send(RECORD, batch(0)).unwrap();
                locks += 1;
            }
            assert!(locks >= 1);
        }
    }

    #[test]
    fn an_unread_pipe_fills_and_a_read_one_has_room_again() {
        let (mut pipe, read) = EventPipe::new().unwrap();
        while pipe.has_room() {
            pipe.send(RECORD, batch(63)).unwrap();
        }
        let mut sink = [0; 8192];
        nix::unistd::read(read.as_raw_fd(), &mut sink).unwrap();
        assert!(pipe.has_room());
    }

    #[test]
    fn a_closed_reader_is_reported() {
        let (mut pipe, read) = EventPipe::new().unwrap();
        drop(read);
        assert!(pipe.send(RECORD, batch(0)).is_err());
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The service's end of a group's event pipe. Knows the layout of records, not the engine.
//!
//! A client that does not read leaves its pipe full. So the service accepts a lock only while there is
//! room for every record that the lock can lead to ([`EventPipe::has_room`]). No call here blocks.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use buffersync_aidl::event::{Record, MAX_BUFFERS_PER_GROUP, RECORD_BYTES};
use nix::errno::Errno;
use nix::fcntl::{fcntl, FcntlArg, OFlag};

/// Size of a pipe: four pages, which [`EventPipe::has_room`] explains.
const PIPE_BYTES: i32 = 4 * 4096;
/// A pipe write of up to this many bytes is atomic (pipe(7), `PIPE_BUF`).
const ATOMIC_BYTES: usize = 4096;

/// Release fences of one group that may be pending. Each can become a record when its time is up, and
/// all of them, with a wound and an eviction, fit one page.
pub const MAX_FENCES_PER_GROUP: usize = 120;

// One page takes the largest grant, another one the records that can come at any time: fences, a wound
// and an eviction.
const _: () = assert!((MAX_FENCES_PER_GROUP + 2) * RECORD_BYTES <= ATOMIC_BYTES);
const _: () = assert!((1 + MAX_BUFFERS_PER_GROUP) * RECORD_BYTES <= ATOMIC_BYTES);

nix::ioctl_read_bad!(
    /// `FIONREAD`: unread bytes in the pipe; works on both ends (pipe(7)).
    fionread, 0x541b, i32
);

/// Write end of a group's pipe, non-blocking.
#[derive(Debug)]
pub struct EventPipe {
    fd: OwnedFd,
    /// An upper bound of the unread bytes: their number when the kernel was last asked, plus everything
    /// written since. The client can only make it less, so the kernel is asked only when it is large.
    unread: usize,
}

/// A record could not be delivered: the client's end is closed, or the pipe is full in spite of
/// [`EventPipe::has_room`].
#[derive(Debug, thiserror::Error)]
#[error("event pipe lost: {0}")]
pub struct Lost(Errno);

impl EventPipe {
    /// Makes a pipe of 16 KiB. Returns the client's end as well.
    pub fn new() -> Result<(Self, OwnedFd), Errno> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        fcntl(write.as_raw_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        // Beyond the user's soft limit of pipe pages the kernel makes smaller pipes and refuses to grow
        // them (EPERM). A pipe that is too small is not handed out.
        fcntl(write.as_raw_fd(), FcntlArg::F_SETPIPE_SZ(PIPE_BYTES))?;
        Ok((Self { fd: write, unread: 0 }, read))
    }

    /// Whether there is room for the records of one more lock: a grant of one page at most, the
    /// eviction that may end it, a wound, and the fences that may fail meanwhile.
    ///
    /// The kernel appends a write to a page only if all of it fits there, so pages may be partly empty.
    /// But two neighbouring pages together contain more than one page of bytes. So one page of unread
    /// bytes occupies two pages at most, and two of the four are free.
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

    /// Writes a record and those that belong to it. A reader sees all of them or none.
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
            // Impossible: a write of up to PIPE_BUF bytes is atomic.
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
        // For grants of any size, if has_room() is asked before each.
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

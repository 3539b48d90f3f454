// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The client's end of a group's event pipe: turns bytes into records, and records into [`Event`]s.
//!
//! Only [`EventPipe::wait`] blocks, until a deadline. This module knows the record layout. It knows
//! nothing of binder or of the group's state: the group decides what a record of an old token means.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use buffersync_aidl::event::{self, Record, RECORD_BYTES};
use nix::errno::Errno;
use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::poll::{ppoll, PollFd, PollFlags};
use nix::sys::time::TimeSpec;

use crate::error::{Error, Result};
use crate::types::{monotonic, BufferId, GrantInfo, Token};

/// An event of a group (`EventType.aidl`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A queued lock is granted.
    Granted(GrantInfo),
    /// A queued lock ended without a grant. The group still holds the buffers that it held before.
    LockFailed {
        /// The lock.
        token: Token,
        /// The buffer whose implicit fence did not signal, or whose cache maintenance failed.
        buffer: BufferId,
        /// `ETIMEDOUT` for an implicit fence, otherwise the error of the cache maintenance.
        errno: Errno,
        /// True for an implicit fence, false for cache maintenance.
        by_fence: bool,
    },
    /// The growth of a grant ended, because an older group waits for a buffer that this group holds:
    /// unlock, and lock again. See [`Error::Deadlock`].
    Wounded {
        /// The grant.
        token: Token,
    },
    /// A queued lock was not granted before its time-out. The group still holds the buffers that it
    /// held before.
    TimedOut {
        /// The lock.
        token: Token,
    },
    /// A grant was taken away at its deadline: the next holder has the buffers.
    Evicted {
        /// The grant.
        token: Token,
        /// The group had unlocked, but a release fence failed or did not signal in time.
        by_fence: bool,
    },
}

/// The largest read from the pipe: the largest atomic write to it (pipe(7), `PIPE_BUF`).
const READ_BYTES: usize = 4096;

/// The non-blocking read end of the pipe, with the bytes that were read and not yet parsed.
#[derive(Debug)]
pub(crate) struct EventPipe {
    fd: OwnedFd,
    bytes: Vec<u8>,
    /// A GRANTED record that still lacks BUFFER records, and the number that it must have.
    partial: Option<(GrantInfo, usize)>,
}

impl EventPipe {
    /// Takes the descriptor that `openGroup` returned and makes it non-blocking.
    pub fn new(fd: OwnedFd) -> Result<Self> {
        fcntl(fd.as_raw_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
            .map_err(|errno| Error::System("fcntl on the event pipe", errno))?;
        Ok(Self { fd, bytes: Vec::new(), partial: None })
    }

    /// Returns the next event; `None` if there is none now; [`Error::ServiceDied`] when the other end
    /// is closed and all its events were returned.
    pub fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.parse()? {
                return Ok(Some(event));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Blocks until there are bytes to read or the other end is closed. Returns false if `until` comes
    /// first.
    pub fn wait(&self, until: Option<Instant>) -> Result<bool> {
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let mut polled = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
            match ppoll(&mut polled, left.map(TimeSpec::from_duration), None) {
                Ok(0) if left.is_some_and(|left| left.is_zero()) => return Ok(false),
                // The timer was early, or a signal handler ran (EINTR): wait for the rest of the time.
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(errno) => return Err(Error::System("poll on the event pipe", errno)),
            }
        }
    }

    /// Reads what is in the pipe. Returns false if it is empty now.
    fn fill(&mut self) -> Result<bool> {
        let mut chunk = [0; READ_BYTES];
        loop {
            match nix::unistd::read(self.fd.as_raw_fd(), &mut chunk) {
                Ok(0) => return Err(Error::ServiceDied),
                Ok(length) => {
                    self.bytes.extend(chunk.iter().take(length));
                    return Ok(true);
                }
                Err(Errno::EAGAIN) => return Ok(false),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::System("read of the event pipe", errno)),
            }
        }
    }

    /// Returns the next complete event from the bytes that were read.
    fn parse(&mut self) -> Result<Option<Event>> {
        while let Some(bytes) = self.bytes.first_chunk::<RECORD_BYTES>() {
            let record = Record::from_bytes(bytes);
            self.bytes.drain(..RECORD_BYTES);
            if let Some(event) = self.take(record)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn take(&mut self, record: Record) -> Result<Option<Event>> {
        let token = Token(record.token);
        match record.kind {
            event::GRANTED => {
                let buffers = usize::try_from(record.value1)
                    .ok()
                    .filter(|count| *count <= event::MAX_BUFFERS_PER_GROUP)
                    .ok_or(Error::Protocol("a grant with an impossible number of buffers"))?;
                let deadline = monotonic(record.value0);
                self.partial = Some((GrantInfo { token, deadline, buffers: Vec::new() }, buffers));
                Ok(self.complete())
            }
            event::BUFFER => match &mut self.partial {
                Some((grant, _)) if grant.token == token => {
                    let Record { value0: id, value1: generation, flags, .. } = record;
                    let buffer = event::Buffer { id, generation, flags };
                    grant.buffers.push(buffer.into());
                    Ok(self.complete())
                }
                _ => Err(Error::Protocol("a BUFFER record without its GRANTED record")),
            },
            event::LOCK_FAILED => Ok(Some(Event::LockFailed {
                token,
                buffer: BufferId(record.value0),
                errno: Errno::from_raw(i32::try_from(record.value1).unwrap_or(0)),
                by_fence: record.flags & event::FLAG_FENCE != 0,
            })),
            event::EVICTED => {
                Ok(Some(Event::Evicted { token, by_fence: record.flags & event::FLAG_FENCE != 0 }))
            }
            event::WOUNDED => Ok(Some(Event::Wounded { token })),
            event::TIMED_OUT => Ok(Some(Event::TimedOut { token })),
            // EventRecord.aidl: clients skip records of types that they do not know.
            _ => Ok(None),
        }
    }

    /// Returns the grant if it has all its BUFFER records.
    fn complete(&mut self) -> Option<Event> {
        self.partial
            .take_if(|(grant, buffers)| grant.buffers.len() == *buffers)
            .map(|(grant, _)| Event::Granted(grant))
    }
}

impl AsFd for EventPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::GrantedBuffer;
    use std::time::Duration;

    /// A pipe whose writer stands for the service.
    fn pipe() -> (EventPipe, OwnedFd) {
        let (read, write) = nix::unistd::pipe().unwrap();
        (EventPipe::new(read).unwrap(), write)
    }

    fn send(write: &OwnedFd, bytes: &[u8]) {
        assert_eq!(nix::unistd::write(write, bytes).unwrap(), bytes.len());
    }

    fn grant(token: i64, buffers: &[(i64, i64, i32)]) -> Vec<u8> {
        let granted = Record {
            kind: event::GRANTED,
            flags: 0,
            token,
            value0: 5_000_000_123,
            value1: buffers.len() as i64,
        };
        let rest = buffers.iter().map(|(id, generation, flags)| Record {
            kind: event::BUFFER,
            flags: *flags,
            token,
            value0: *id,
            value1: *generation,
        });
        std::iter::once(granted).chain(rest).flat_map(|record| record.to_bytes()).collect()
    }

    fn evicted(token: i64, flags: i32) -> Vec<u8> {
        Record { kind: event::EVICTED, flags, token, ..Record::default() }.to_bytes().to_vec()
    }

    #[test]
    fn an_empty_pipe_has_no_event() {
        let (mut pipe, _write) = pipe();
        assert_eq!(pipe.next(), Ok(None));
    }

    #[test]
    fn a_grant_comes_with_its_buffers() {
        let (mut pipe, write) = pipe();
        send(&write, &grant(7, &[(3, 10, event::FLAG_TORN), (4, 1, event::FLAG_EVICTED)]));
        let Ok(Some(Event::Granted(grant))) = pipe.next() else { panic!("no grant") };
        assert_eq!(grant.token, Token(7));
        assert_eq!(grant.deadline, Duration::new(5, 123));
        assert_eq!(
            grant.buffers,
            [
                GrantedBuffer {
                    id: BufferId(3),
                    generation: 10,
                    evicted: false,
                    torn: true,
                    fenced: false
                },
                GrantedBuffer {
                    id: BufferId(4),
                    generation: 1,
                    evicted: true,
                    torn: false,
                    fenced: false
                },
            ]
        );
        assert_eq!(pipe.next(), Ok(None));
    }

    #[test]
    fn a_grant_in_pieces_of_every_size_is_one_event() {
        let bytes = grant(1, &[(3, 10, 0), (4, 1, event::FLAG_EVICTED), (5, 2, 0)]);
        for size in 1..bytes.len() {
            let (mut pipe, write) = pipe();
            let mut events = Vec::new();
            for piece in bytes.chunks(size) {
                send(&write, piece);
                events.extend(pipe.next().unwrap());
            }
            let [Event::Granted(grant)] = &events[..] else { panic!("{size}: {events:?}") };
            assert_eq!(grant.buffers.len(), 3);
        }
    }

    #[test]
    fn records_of_unknown_types_are_skipped_wherever_they_stand() {
        let (mut pipe, write) = pipe();
        let unknown = Record { kind: 99, token: 8, ..Record::default() }.to_bytes();
        let bytes = grant(8, &[(3, 1, 0)]);
        send(&write, &unknown);
        send(&write, &bytes[..RECORD_BYTES]);
        send(&write, &unknown);
        send(&write, &bytes[RECORD_BYTES..]);
        assert!(matches!(pipe.next(), Ok(Some(Event::Granted(_)))));
        assert_eq!(pipe.next(), Ok(None));
    }

    #[test]
    fn events_keep_their_order_and_their_flags() {
        let (mut pipe, write) = pipe();
        let failed = |flags, errno| {
            let (kind, value1) = (event::LOCK_FAILED, errno as i64);
            Record { kind, flags, token: 2, value0: 6, value1 }.to_bytes()
        };
        send(&write, &evicted(1, 0));
        send(&write, &failed(event::FLAG_FENCE, Errno::ETIMEDOUT));
        send(&write, &failed(0, Errno::EIO));
        send(&write, &evicted(3, event::FLAG_FENCE));
        let events: Vec<Event> = std::iter::from_fn(|| pipe.next().unwrap()).collect();
        let failed = |errno, by_fence| {
            let (token, buffer) = (Token(2), BufferId(6));
            Event::LockFailed { token, buffer, errno, by_fence }
        };
        assert_eq!(
            events,
            [
                Event::Evicted { token: Token(1), by_fence: false },
                failed(Errno::ETIMEDOUT, true),
                failed(Errno::EIO, false),
                Event::Evicted { token: Token(3), by_fence: true },
            ]
        );
    }

    #[test]
    fn a_closed_pipe_is_a_dead_service_after_its_last_event() {
        let (mut pipe, write) = pipe();
        send(&write, &evicted(1, 0));
        drop(write);
        assert!(matches!(pipe.next(), Ok(Some(Event::Evicted { .. }))));
        assert_eq!(pipe.next(), Err(Error::ServiceDied));
        assert_eq!(pipe.next(), Err(Error::ServiceDied));
    }

    #[test]
    fn a_wait_ends_when_the_other_end_closes() {
        let (pipe, write) = pipe();
        let closer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(write);
        });
        assert_eq!(pipe.wait(None), Ok(true));
        closer.join().unwrap();
    }

    #[test]
    fn a_wait_ends_at_its_deadline_and_not_before() {
        let (pipe, _write) = pipe();
        let start = Instant::now();
        assert_eq!(pipe.wait(Some(start + Duration::from_millis(30))), Ok(false));
        assert!(start.elapsed() >= Duration::from_millis(30));
    }

    #[test]
    fn impossible_records_are_refused() {
        for (value1, kind) in [(-1, event::GRANTED), (1 << 40, event::GRANTED), (0, event::BUFFER)]
        {
            let (mut pipe, write) = pipe();
            send(&write, &Record { kind, token: 1, value1, ..Record::default() }.to_bytes());
            assert!(matches!(pipe.next(), Err(Error::Protocol(_))), "{kind} {value1}");
        }
    }
}

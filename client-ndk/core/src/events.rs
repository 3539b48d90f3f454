// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The client's end of a group's event channel: turns messages into records, and records into [`Event`]s.
//!
//! Nothing here blocks. This module knows the record layout. It knows nothing of binder or of the group's state: the
//! group decides what a record of an old lock means.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use buffersync_aidl::event::{self, Record, MESSAGE_BYTES, RECORD_BYTES};
use nix::errno::Errno;
use nix::fcntl::{fcntl, FcntlArg, OFlag};

use crate::error::{Error, Result};
use crate::types::{deadline, BufferId, GrantInfo, InTheWay, LockId};

/// An event of a group (`EventType.aidl`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A queued lock is granted.
    Granted(GrantInfo),
    /// A queued lock ended without a grant. If it would grow a grant, that goes on as it was.
    LockFailed {
        /// The lock.
        lock: LockId,
        /// The buffer whose implicit fence did not signal, or whose cache maintenance failed.
        buffer: BufferId,
        /// `ETIMEDOUT` for an implicit fence, otherwise the error of the cache maintenance.
        errno: Errno,
        /// True for an implicit fence, false for cache maintenance.
        by_fence: bool,
    },
    /// The growth of a grant ended, because an older lock waits for a buffer that it has:
    /// unlock, and lock again. See [`Error::Deadlock`].
    Wounded {
        /// The lock.
        lock: LockId,
    },
    /// A queued lock was not granted before its time-out. If it would grow a grant, that goes on as it
    /// was.
    TimedOut {
        /// The lock.
        lock: LockId,
        /// A lock in the way: it has a buffer, waits for it with an older ticket, or has ended with a release fence that
        /// is pending. `None`: it waited for implicit fences or cache maintenance.
        by: Option<InTheWay>,
    },
    /// A grant was taken away at its deadline: the next holder has the buffers.
    Evicted {
        /// The lock.
        lock: LockId,
        /// A release fence failed or did not signal in time. The lock had ended; or it had let a part go, and goes
        /// on with the rest.
        by_fence: bool,
        /// A lock that was waiting for it, if one was.
        by: Option<InTheWay>,
    },
    /// Somebody has to wait for a buffer of the grant. It does not end the grant, but a holder that is done early
    /// lets the others go on early.
    Contended {
        /// The lock.
        lock: LockId,
        /// At this time the grant is taken away: a reading of `CLOCK_MONOTONIC`.
        deadline: Option<Duration>,
    },
}

impl Event {
    /// The lock that the event is about.
    pub fn lock(&self) -> LockId {
        match self {
            Self::Granted(grant) => grant.lock,
            Self::LockFailed { lock, .. }
            | Self::Wounded { lock }
            | Self::TimedOut { lock, .. }
            | Self::Evicted { lock, .. }
            | Self::Contended { lock, .. } => *lock,
        }
    }
}

/// The non-blocking end of the channel, with the events that were read and not yet returned.
#[derive(Debug)]
pub(crate) struct EventChannel {
    /// Threads wait on it without the group's mutex.
    fd: Arc<OwnedFd>,
    read: VecDeque<Event>,
}

impl EventChannel {
    /// Takes the descriptor that `openGroup` returned and makes it non-blocking.
    pub fn new(fd: OwnedFd) -> Result<Self> {
        fcntl(fd.as_raw_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
            .map_err(|errno| Error::System("fcntl on the event channel", errno))?;
        Ok(Self { fd: Arc::new(fd), read: VecDeque::new() })
    }

    /// Returns the next event; `None` if there is none now; [`Error::ServiceDied`] when the other end
    /// is closed and all its events were returned.
    pub fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.read.pop_front() {
                return Ok(Some(event));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    pub fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }

    /// Reads a message. Returns false if there is none now.
    fn fill(&mut self) -> Result<bool> {
        let mut message = [0; MESSAGE_BYTES];
        loop {
            match nix::unistd::read(self.fd.as_raw_fd(), &mut message) {
                Ok(0) => return Err(Error::ServiceDied),
                Ok(length) => {
                    self.parse(message.get(..length).unwrap_or_default())?;
                    return Ok(true);
                }
                Err(Errno::EAGAIN) => return Ok(false),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::System("read of the event channel", errno)),
            }
        }
    }

    /// Adds a message's events.
    fn parse(&mut self, message: &[u8]) -> Result<()> {
        // A GRANTED record that still lacks BUFFER records, and the number that it must have.
        let mut partial: Option<(GrantInfo, usize)> = None;
        let mut records = message.chunks_exact(RECORD_BYTES);
        for record in records.by_ref().filter_map(<[u8]>::first_chunk).map(Record::from_bytes) {
            let lock = LockId(record.token);
            if record.kind == event::BUFFER {
                let grant = partial.as_mut().filter(|(grant, _)| grant.lock == lock);
                let (grant, _) =
                    grant.ok_or(Error::Protocol("a BUFFER record without its GRANTED record"))?;
                let Record { value0: id, value1: generation, flags, .. } = record;
                grant.buffers.push(event::Buffer { id, generation, flags }.into());
            } else if record.kind == event::GRANTED {
                let buffers = usize::try_from(record.value1)
                    .ok()
                    .filter(|count| *count <= event::MAX_BUFFERS_PER_GROUP)
                    .ok_or(Error::Protocol("a grant with an impossible number of buffers"))?;
                let deadline = deadline(record.value0);
                partial = Some((GrantInfo { lock, deadline, buffers: Vec::new() }, buffers));
            } else {
                self.read.extend(other(&record));
            }
            let whole = partial.take_if(|(grant, buffers)| grant.buffers.len() == *buffers);
            self.read.extend(whole.map(|(grant, _)| Event::Granted(grant)));
        }
        match (partial, records.remainder()) {
            (None, []) => Ok(()),
            _ => Err(Error::Protocol("an event that is not whole")),
        }
    }
}

/// The event of a record other than GRANTED and BUFFER. `None` for unknown types (EventRecord.aidl).
fn other(record: &Record) -> Option<Event> {
    let (lock, by_fence) = (LockId(record.token), record.flags & event::FLAG_FENCE != 0);
    let by = InTheWay::of(record.value0, record.value1);
    match record.kind {
        event::LOCK_FAILED => Some(Event::LockFailed {
            lock,
            buffer: BufferId(record.value0),
            errno: Errno::from_raw(i32::try_from(record.value1).unwrap_or(0)),
            by_fence,
        }),
        event::EVICTED => Some(Event::Evicted { lock, by_fence, by }),
        event::WOUNDED => Some(Event::Wounded { lock }),
        event::TIMED_OUT => Some(Event::TimedOut { lock, by }),
        event::CONTENDED => Some(Event::Contended { lock, deadline: deadline(record.value0) }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::GrantedBuffer;
    use nix::sys::socket::{socketpair, AddressFamily, SockFlag, SockType};

    /// A channel whose other end stands for the service.
    fn channel() -> (EventChannel, OwnedFd) {
        let kind = SockType::SeqPacket;
        let ends = socketpair(AddressFamily::Unix, kind, None, SockFlag::empty()).unwrap();
        (EventChannel::new(ends.0).unwrap(), ends.1)
    }

    fn send(service: &OwnedFd, bytes: &[u8]) {
        assert_eq!(nix::unistd::write(service, bytes).unwrap(), bytes.len());
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
    fn an_empty_channel_has_no_event() {
        let (mut channel, _service) = channel();
        assert_eq!(channel.next(), Ok(None));
    }

    #[test]
    fn a_grant_comes_with_its_buffers() {
        let (mut channel, service) = channel();
        send(&service, &grant(7, &[(3, 10, event::FLAG_TORN), (4, 1, event::FLAG_EVICTED)]));
        let Ok(Some(Event::Granted(grant))) = channel.next() else { panic!("no grant") };
        assert_eq!(grant.lock, LockId(7));
        assert_eq!(grant.deadline, Some(Duration::new(5, 123)));
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
        assert_eq!(channel.next(), Ok(None));
    }

    #[test]
    fn a_message_that_is_cut_is_refused() {
        let bytes = grant(1, &[(3, 10, 0), (4, 1, event::FLAG_EVICTED), (5, 2, 0)]);
        for length in 1..bytes.len() {
            let (mut channel, service) = channel();
            send(&service, &bytes[..length]);
            assert!(matches!(channel.next(), Err(Error::Protocol(_))), "{length} bytes");
        }
    }

    #[test]
    fn records_of_unknown_types_are_skipped_wherever_they_stand() {
        let (mut channel, service) = channel();
        let unknown = Record { kind: 99, token: 8, ..Record::default() }.to_bytes();
        let bytes = grant(8, &[(3, 1, 0)]);
        send(&service, &unknown);
        send(&service, &[&bytes[..RECORD_BYTES], &unknown, &bytes[RECORD_BYTES..]].concat());
        assert!(matches!(channel.next(), Ok(Some(Event::Granted(_)))));
        assert_eq!(channel.next(), Ok(None));
    }

    #[test]
    fn events_keep_their_order_and_their_flags() {
        let (mut channel, service) = channel();
        let failed = |flags, errno| {
            let (kind, value1) = (event::LOCK_FAILED, errno as i64);
            Record { kind, flags, token: 2, value0: 6, value1 }.to_bytes()
        };
        send(&service, &evicted(1, 0));
        send(&service, &failed(event::FLAG_FENCE, Errno::ETIMEDOUT));
        send(&service, &failed(0, Errno::EIO));
        send(&service, &evicted(3, event::FLAG_FENCE));
        let (kind, value0) = (event::CONTENDED, 2_000_000_001);
        send(&service, &Record { kind, token: 4, value0, ..Record::default() }.to_bytes());
        let events: Vec<Event> = std::iter::from_fn(|| channel.next().unwrap()).collect();
        let failed = |errno, by_fence| {
            let (lock, buffer) = (LockId(2), BufferId(6));
            Event::LockFailed { lock, buffer, errno, by_fence }
        };
        assert_eq!(
            events,
            [
                Event::Evicted { lock: LockId(1), by_fence: false, by: None },
                failed(Errno::ETIMEDOUT, true),
                failed(Errno::EIO, false),
                Event::Evicted { lock: LockId(3), by_fence: true, by: None },
                Event::Contended { lock: LockId(4), deadline: Some(Duration::new(2, 1)) },
            ]
        );
    }

    #[test]
    fn a_closed_channel_is_a_dead_service_after_its_last_event() {
        let (mut channel, service) = channel();
        send(&service, &evicted(1, 0));
        drop(service);
        assert!(matches!(channel.next(), Ok(Some(Event::Evicted { .. }))));
        assert_eq!(channel.next(), Err(Error::ServiceDied));
        assert_eq!(channel.next(), Err(Error::ServiceDied));
    }

    #[test]
    fn impossible_records_are_refused() {
        for (value1, kind) in [(-1, event::GRANTED), (1 << 40, event::GRANTED), (0, event::BUFFER)]
        {
            let (mut channel, service) = channel();
            send(&service, &Record { kind, token: 1, value1, ..Record::default() }.to_bytes());
            assert!(matches!(channel.next(), Err(Error::Protocol(_))), "{kind} {value1}");
        }
    }
}

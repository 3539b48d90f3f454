// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The service's end of a group's event channel. Knows the layout of records, not the engine.
//!
//! The channel is a SOCK_SEQPACKET pair (unix(7)). A message is a record and those that belong to it, and is
//! delivered whole. The service sends while it has the arbiter's mutex, so nothing that a client does to its end
//! may keep a send waiting, or make it fail while the client reads:
//!
//! * send(2) with MSG_DONTWAIT waits for nobody. It takes no lock that a client can hold for long.
//! * The messages that nobody has read count against the sender's buffer (SO_SNDBUF), which only the sender can
//!   resize. The receiver's SO_RCVBUF does not matter.
//! * A client can't send: the service's end is shut down for reading, so nothing can pile up there.
//!
//! A pipe can't do this: a client can keep the pipe's lock by splice(2) and change its size by F_SETPIPE_SZ.
//!
//! A client that does not read leaves its messages. So the service accepts a lock or a fence only while there is
//! room for every record that all locks and fences of the group can still lead to ([`EventChannel::has_room`]).
//! When a record is sent, its room goes from those that may come to those that are unread, so the sum grows only
//! in calls that ask first.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use buffersync_aidl::event::{Record, MESSAGE_BYTES, RECORD_BYTES};
use nix::errno::Errno;
use nix::sys::socket::{
    getsockopt, send, setsockopt, shutdown, socketpair, sockopt, AddressFamily, MsgFlags, Shutdown,
    SockFlag, SockType,
};

/// Release fences of one group that may be pending. Each can become a record when its time is up.
pub const MAX_FENCES_PER_GROUP: usize = 120;

/// The most that a message of so many bytes takes of the sender's buffer. The kernel counts the memory that it
/// allocates (`skb->truesize`): a header, and the data with a trailer in a power of two of bytes.
const fn cost(bytes: usize) -> usize {
    1280 + 2 * bytes
}

const RECORD: usize = cost(RECORD_BYTES);

const fn grant(buffers: usize) -> usize {
    cost((1 + buffers) * RECORD_BYTES)
}

/// The most locks that one group can have, whatever the setting says: more than a pipeline has frames.
pub const MAX_LOCKS_PER_GROUP: usize = 32;
/// The most buffers that the locks of one group have in sum: 32 in each of 32 locks.
pub const MAX_BUFFERS_OF_LOCKS: usize = 1024;

/// The room for all records that may still come, when a group has the most locks, buffers and fences.
const MOST: usize = MAX_LOCKS_PER_GROUP * Ahead::new(0).cost()
    + (grant(MAX_BUFFERS_OF_LOCKS) - grant(0))
    + MAX_FENCES_PER_GROUP * RECORD;
/// Room for unread records beside these. A client that is a little late must still get locks.
const UNREAD: usize = 48 * 1024;
/// SO_SNDBUF. The kernel doubles the number that it is given (socket(7)). Usually net.core.wmem_max allows
/// 208 KiB.
const SEND_BUFFER: usize = 200 * 1024;
/// The room for unread records and for those that may still come.
const ROOM: usize = 2 * SEND_BUFFER;
const _: () = assert!(MOST + UNREAD <= ROOM);

/// The records that a lock may still lead to, besides those of its release fences.
///
/// EVICTED may end any lock. A wait ends with GRANTED, or with one record that is not longer: LOCK_FAILED,
/// TIMED_OUT or WOUNDED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// The lock waits for a grant of so many buffers.
    pub waits_for: Option<usize>,
    /// The holder was not told yet that somebody waits: CONTENDED may come.
    pub contended: bool,
}

impl Ahead {
    /// The records of a lock that begins, with so many buffers.
    pub const fn new(buffers: usize) -> Self {
        Self { waits_for: Some(buffers), contended: true }
    }

    /// The most that these records take.
    pub const fn cost(self) -> usize {
        let wait = match self.waits_for {
            Some(buffers) => grant(buffers),
            None => 0,
        };
        wait + if self.contended { RECORD } else { 0 } + RECORD
    }
}

nix::ioctl_read_bad!(
    /// `SIOCOUTQ`: what the messages that nobody has read take of the sender's buffer (unix(7)).
    siocoutq, nix::libc::TIOCOUTQ, i32
);

/// The service's end of a channel.
#[derive(Debug)]
pub struct EventChannel {
    fd: OwnedFd,
    /// An upper bound of the unread messages' cost: what the kernel said when it was last asked, plus the cost of
    /// everything sent since. The client can only make it less, so the kernel is asked only when it is large.
    unread: usize,
}

/// A record could not be delivered: the client's end is closed, or there was no room in spite of
/// [`EventChannel::has_room`].
#[derive(Debug, thiserror::Error)]
#[error("event channel lost: {0}")]
pub struct Lost(Errno);

impl EventChannel {
    /// Makes a channel. Returns the client's end as well.
    pub fn new() -> Result<(Self, OwnedFd), Errno> {
        let (kind, flags) = (SockType::SeqPacket, SockFlag::SOCK_CLOEXEC);
        let (own, clients) = socketpair(AddressFamily::Unix, kind, None, flags)?;
        shutdown(own.as_raw_fd(), Shutdown::Read)?;
        setsockopt(&own, sockopt::SndBuf, &SEND_BUFFER)?;
        // net.core.wmem_max may be less. A channel that is too small is not handed out.
        if getsockopt(&own, sockopt::SndBuf)? < ROOM {
            return Err(Errno::ENOBUFS);
        }
        Ok((Self { fd: own, unread: 0 }, clients))
    }

    /// Whether there is room for records of locks that cost so much ([`Ahead::cost`]), and for one record of
    /// each of so many fences, besides all that nobody has read.
    pub fn has_room(&mut self, locks: usize, fences: usize) -> bool {
        let more = locks + fences * RECORD;
        if self.unread + more <= ROOM {
            return true;
        }
        let mut unread = 0;
        // SAFETY: SIOCOUTQ on a socket stores one int through the pointer.
        let asked = unsafe { siocoutq(self.fd.as_fd().as_raw_fd(), &mut unread) };
        if let (Ok(_), Ok(bytes)) = (asked, usize::try_from(unread)) {
            self.unread = bytes;
        }
        self.unread + more <= ROOM
    }

    /// Sends a record and those that belong to it, as one message.
    pub fn send(
        &mut self,
        head: Record,
        more: impl ExactSizeIterator<Item = Record>,
    ) -> Result<(), Lost> {
        let mut bytes = [0; MESSAGE_BYTES];
        let length = (1 + more.len()) * RECORD_BYTES;
        let Some(out) = bytes.get_mut(..length) else { return Err(Lost(Errno::EMSGSIZE)) };
        let records = std::iter::once(head).chain(more);
        for (chunk, record) in out.chunks_exact_mut(RECORD_BYTES).zip(records) {
            chunk.copy_from_slice(&record.to_bytes());
        }
        // A message is sent whole or not at all, and a send that does not wait is not interrupted.
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        send(self.fd.as_raw_fd(), out, flags).map_err(Lost)?;
        self.unread += cost(length);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use buffersync_aidl::event::MAX_BUFFERS_PER_GROUP;

    use super::*;

    const ONE: Record = Record { kind: 1, flags: 0, token: 0, value0: 0, value1: 0 };

    fn batch(records: usize) -> impl ExactSizeIterator<Item = Record> {
        vec![ONE; records].into_iter()
    }

    fn unread(channel: &EventChannel) -> usize {
        let mut unread = 0;
        // SAFETY: as above.
        unsafe { siocoutq(channel.fd.as_raw_fd(), &mut unread) }.unwrap();
        unread as usize
    }

    #[test]
    fn the_kernel_counts_no_more_for_a_message_than_we_do() {
        for size in 0..=MAX_BUFFERS_PER_GROUP {
            let (mut channel, _clients) = EventChannel::new().unwrap();
            channel.send(ONE, batch(size)).unwrap();
            assert!(unread(&channel) <= cost((1 + size) * RECORD_BYTES), "{size} buffers");
        }
    }

    /// Whether a group with these locks and all its fences can have one more lock.
    fn has_room(channel: &mut EventChannel, locks: &[Ahead], new: Ahead) -> bool {
        let locks: usize = locks.iter().map(|lock| lock.cost()).sum();
        channel.has_room(locks + new.cost(), MAX_FENCES_PER_GROUP)
    }

    /// Sends all that a lock may lead to.
    fn send_all(channel: &mut EventChannel, lock: Ahead) {
        if let Some(buffers) = lock.waits_for {
            channel.send(ONE, batch(buffers)).unwrap();
        }
        channel.send(ONE, batch(0)).unwrap();
        if lock.contended {
            channel.send(ONE, batch(0)).unwrap();
        }
    }

    #[test]
    fn room_for_locks_means_that_the_records_of_all_of_them_fit() {
        // For grants of any size, if has_room() is asked before each.
        for size in [1, 2, 7, 32, MAX_BUFFERS_PER_GROUP] {
            let (mut channel, _clients) = EventChannel::new().unwrap();
            // As many as a group can have at once, and nobody reads.
            let living = MAX_LOCKS_PER_GROUP.min(MAX_BUFFERS_OF_LOCKS / size);
            let mut locks = Vec::new();
            while has_room(&mut channel, &locks, Ahead::new(size)) {
                if locks.len() == living - 1 {
                    send_all(&mut channel, locks.remove(0));
                }
                locks.push(Ahead::new(size));
            }
            assert!(locks.len() == living - 1, "{} locks of {size} buffers", locks.len());
            locks.into_iter().for_each(|lock| send_all(&mut channel, lock));
            for _ in 0..MAX_FENCES_PER_GROUP {
                channel.send(ONE, batch(0)).unwrap();
            }
        }
    }

    #[test]
    fn a_record_that_is_sent_takes_the_room_that_was_kept_for_it() {
        let (mut channel, _clients) = EventChannel::new().unwrap();
        let mut lock = Ahead::new(MAX_BUFFERS_PER_GROUP);
        let mut sum = lock.cost() + channel.unread;
        let mut less = |channel: &EventChannel, lock: Ahead| {
            let before = std::mem::replace(&mut sum, lock.cost() + channel.unread);
            assert!(sum <= before, "{sum} after {before}");
        };
        channel.send(ONE, batch(MAX_BUFFERS_PER_GROUP)).unwrap();
        lock.waits_for = None;
        less(&channel, lock);
        channel.send(ONE, batch(0)).unwrap();
        lock.contended = false;
        less(&channel, lock);
        assert_eq!(lock.cost(), RECORD, "EVICTED");
    }

    #[test]
    fn every_lock_that_a_group_can_have_fits_and_leaves_room_for_unread_records() {
        let (mut channel, _clients) = EventChannel::new().unwrap();
        let size = MAX_BUFFERS_OF_LOCKS / MAX_LOCKS_PER_GROUP;
        let locks = [Ahead::new(size); MAX_LOCKS_PER_GROUP - 1];
        while channel.unread + RECORD <= UNREAD {
            channel.send(ONE, batch(0)).unwrap();
        }
        assert!(has_room(&mut channel, &locks, Ahead::new(size)));
    }

    #[test]
    fn an_unread_channel_fills_and_a_read_one_has_room_again() {
        let (mut channel, clients) = EventChannel::new().unwrap();
        while has_room(&mut channel, &[], Ahead::new(63)) {
            channel.send(ONE, batch(63)).unwrap();
        }
        let mut bytes = [0; MESSAGE_BYTES];
        assert_eq!(nix::unistd::read(clients.as_raw_fd(), &mut bytes), Ok(64 * RECORD_BYTES));
        assert!(has_room(&mut channel, &[], Ahead::new(63)));
    }

    #[test]
    fn a_closed_reader_is_reported() {
        let (mut channel, clients) = EventChannel::new().unwrap();
        drop(clients);
        assert!(channel.send(ONE, batch(0)).is_err());
    }

    #[test]
    fn what_a_client_does_to_its_end_changes_nothing_for_the_service() {
        let (mut channel, clients) = EventChannel::new().unwrap();
        setsockopt(&clients, sockopt::RcvBuf, &1).unwrap();
        setsockopt(&clients, sockopt::SndBuf, &1).unwrap();
        assert!(getsockopt(&channel.fd, sockopt::SndBuf).unwrap() >= ROOM);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        assert_eq!(send(clients.as_raw_fd(), &[0; 32], flags), Err(Errno::EPIPE));
        while has_room(&mut channel, &[], Ahead::new(MAX_BUFFERS_PER_GROUP)) {
            channel.send(ONE, batch(MAX_BUFFERS_PER_GROUP)).unwrap();
        }
    }
}

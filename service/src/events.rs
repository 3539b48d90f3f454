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
//! A client that does not read leaves its messages. So the service accepts a lock only while there is room for
//! every record that the lock can lead to ([`EventChannel::has_room`]).

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

/// With more unread messages than this a group gets no new lock.
const UNREAD: usize = 64 * 1024;
/// What may follow until the next lock is accepted: one largest grant; one CONTENDED, one WOUNDED and one EVICTED record;
/// one record for each fence.
const MORE: usize = cost(MESSAGE_BYTES) + (MAX_FENCES_PER_GROUP + 3) * cost(RECORD_BYTES);
/// SO_SNDBUF. The kernel doubles the number that it is given (socket(7)).
const SEND_BUFFER: usize = 128 * 1024;
const _: () = assert!(UNREAD + MORE <= 2 * SEND_BUFFER);

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
        if getsockopt(&own, sockopt::SndBuf)? < UNREAD + MORE {
            return Err(Errno::ENOBUFS);
        }
        Ok((Self { fd: own, unread: 0 }, clients))
    }

    /// Whether there is room for the records of one more lock: a grant, that somebody waits for it, a wound, the
    /// eviction that may end it, and the fences that may fail meanwhile.
    pub fn has_room(&mut self) -> bool {
        if self.unread <= UNREAD {
            return true;
        }
        let mut unread = 0;
        // SAFETY: SIOCOUTQ on a socket stores one int through the pointer.
        let asked = unsafe { siocoutq(self.fd.as_fd().as_raw_fd(), &mut unread) };
        if let (Ok(_), Ok(bytes)) = (asked, usize::try_from(unread)) {
            self.unread = bytes;
        }
        self.unread <= UNREAD
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

    const RECORD: Record = Record { kind: 1, flags: 0, token: 0, value0: 0, value1: 0 };

    fn batch(records: usize) -> impl ExactSizeIterator<Item = Record> {
        vec![RECORD; records].into_iter()
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
            channel.send(RECORD, batch(size)).unwrap();
            assert!(unread(&channel) <= cost((1 + size) * RECORD_BYTES), "{size} buffers");
        }
    }

    #[test]
    fn room_for_a_lock_means_that_its_records_fit() {
        // For grants of any size, if has_room() is asked before each.
        for size in [1, 2, 7, 40, MAX_BUFFERS_PER_GROUP] {
            let (mut channel, _clients) = EventChannel::new().unwrap();
            let mut locks = 0;
            while channel.has_room() {
                channel.send(RECORD, batch(size)).unwrap();
                channel.send(RECORD, batch(0)).unwrap();
                locks += 1;
            }
            assert!(locks >= 3, "{locks} grants of {size} buffers");
            for _ in 0..MAX_FENCES_PER_GROUP + 3 {
                channel.send(RECORD, batch(0)).unwrap();
            }
        }
    }

    #[test]
    fn an_unread_channel_fills_and_a_read_one_has_room_again() {
        let (mut channel, clients) = EventChannel::new().unwrap();
        while channel.has_room() {
            channel.send(RECORD, batch(63)).unwrap();
        }
        let mut bytes = [0; MESSAGE_BYTES];
        assert_eq!(nix::unistd::read(clients.as_raw_fd(), &mut bytes), Ok(64 * RECORD_BYTES));
        assert!(channel.has_room());
    }

    #[test]
    fn a_closed_reader_is_reported() {
        let (mut channel, clients) = EventChannel::new().unwrap();
        drop(clients);
        assert!(channel.send(RECORD, batch(0)).is_err());
    }

    #[test]
    fn what_a_client_does_to_its_end_changes_nothing_for_the_service() {
        let (mut channel, clients) = EventChannel::new().unwrap();
        setsockopt(&clients, sockopt::RcvBuf, &1).unwrap();
        setsockopt(&clients, sockopt::SndBuf, &1).unwrap();
        assert!(getsockopt(&channel.fd, sockopt::SndBuf).unwrap() >= UNREAD + MORE);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        assert_eq!(send(clients.as_raw_fd(), &[0; 32], flags), Err(Errno::EPIPE));
        while channel.has_room() {
            channel.send(RECORD, batch(MAX_BUFFERS_PER_GROUP)).unwrap();
        }
    }
}

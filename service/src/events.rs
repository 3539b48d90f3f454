// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The service's end of a group's event channel. Knows the layout of records, not the engine.
//!
//! A message of the channel is a record and those that belong to it. The service sends while it has the arbiter's
//! mutex; [`buffersync_kernel::channel`] says why no client can keep a send waiting.
//!
//! A client that does not read leaves its messages. So the service accepts a lock or a fence only while there is
//! room for every record that all locks and fences of the group can still lead to ([`EventChannel::has_room`]).
//! When a record is sent, its room goes from those that may come to those that are unread, so the sum grows only
//! in calls that ask first.

use std::sync::Arc;

use buffersync_aidl::event::{Record, MESSAGE_BYTES, RECORD_BYTES};
use buffersync_kernel::channel;
use buffersync_kernel::fd::{AsFd, Fd};
use nix::errno::Errno;

use crate::closer::{Closer, Descriptor};

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
/// An estimate beyond this is not trusted: the kernel is asked. A client that reads soon seldom has more.
const MUCH: usize = 16 * 1024;
/// The room for unread records and for those that may still come. Usually net.core.wmem_max allows 416 KiB.
const ROOM: usize = 400 * 1024;
const _: () = assert!(MOST + UNREAD <= ROOM && MUCH <= UNREAD);

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

/// The kernel's count for a message, by its number of records. It depends on nothing else, so it is measured once.
#[derive(Debug)]
pub struct Costs(Vec<usize>);

impl Costs {
    /// Sends one message of each length, and asks.
    pub fn measure() -> Result<Self, Errno> {
        let bytes = [0; MESSAGE_BYTES];
        // There is no message without a record.
        let mut costs = vec![0];
        for length in (RECORD_BYTES..=MESSAGE_BYTES).step_by(RECORD_BYTES) {
            let (sender, _receiver) = channel::pair(ROOM)?;
            channel::send_now(sender.as_fd(), &bytes[..length])?;
            costs.push(channel::unread(sender.as_fd())?);
        }
        Ok(Self(costs))
    }

    fn of(&self, records: usize) -> usize {
        self.0.get(records).copied().unwrap_or(0)
    }
}

/// The service's end of a channel.
#[derive(Debug)]
pub struct EventChannel {
    fd: Descriptor,
    costs: Arc<Costs>,
    /// An upper bound of the unread messages' cost: what the kernel said when it was last asked, plus the cost of
    /// everything sent since. The client can only make it less, so the kernel is asked only when it is large.
    unread: usize,
    /// The kernel's count for all messages that were ever sent.
    sent: usize,
}

/// A record could not be delivered: the client's end is closed, or there was no room in spite of
/// [`EventChannel::has_room`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event channel lost: {0}")]
pub struct Lost(Errno);

impl EventChannel {
    /// Makes a channel. Returns the client's end as well.
    pub fn new(closer: &Arc<Closer>, costs: &Arc<Costs>) -> Result<(Self, Fd), Errno> {
        let (own, clients) = channel::pair(ROOM)?;
        let (fd, costs) = (Descriptor::new(own, closer), Arc::clone(costs));
        Ok((Self { fd, costs, unread: 0, sent: 0 }, clients))
    }

    /// True if there is room for records of locks that cost so much ([`Ahead::cost`]), and for one record of
    /// each of so many fences, besides all that nobody has read.
    pub fn has_room(&mut self, locks: usize, fences: usize) -> bool {
        if self.unread > MUCH {
            self.ask();
        }
        self.unread + locks + fences * RECORD <= ROOM
    }

    /// Asks the kernel how much is unread.
    pub fn ask(&mut self) {
        if let Ok(unread) = channel::unread(self.fd.as_fd()) {
            self.unread = unread;
        }
    }

    /// The bytes that unread messages take at most.
    pub fn unread(&self) -> usize {
        self.unread
    }

    /// Sends a record and those that belong to it, as one message.
    pub fn send(
        &mut self,
        head: Record,
        more: impl ExactSizeIterator<Item = Record>,
    ) -> Result<(), Lost> {
        let mut bytes = [0; MESSAGE_BYTES];
        let count = 1 + more.len();
        let length = count * RECORD_BYTES;
        let Some(out) = bytes.get_mut(..length) else { return Err(Lost(Errno::EMSGSIZE)) };
        let records = std::iter::once(head).chain(more);
        for (chunk, record) in out.chunks_exact_mut(RECORD_BYTES).zip(records) {
            chunk.copy_from_slice(&record.to_bytes());
        }
        channel::send_now(self.fd.as_fd(), out).map_err(Lost)?;
        self.unread += cost(length);
        self.sent += self.costs.of(count);
        Ok(())
    }

    /// The position behind the last message, for [`EventChannel::is_unread`].
    pub fn position(&self) -> usize {
        self.sent
    }

    /// True if the message before a position is unread: then the kernel counts more than all messages after it take.
    pub fn is_unread(&self, position: usize) -> bool {
        channel::unread(self.fd.as_fd()).is_ok_and(|unread| unread > self.sent - position)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use buffersync_aidl::event::MAX_BUFFERS_PER_GROUP;

    use super::*;

    const ONE: Record = Record { kind: 1, flags: 0, token: 0, value0: 0, value1: 0 };

    fn batch(records: usize) -> impl ExactSizeIterator<Item = Record> {
        vec![ONE; records].into_iter()
    }

    fn channel() -> Result<(EventChannel, Fd), Errno> {
        EventChannel::new(&Arc::default(), &Arc::new(Costs::measure()?))
    }

    fn unread(channel: &EventChannel) -> usize {
        channel::unread(channel.fd.as_fd()).unwrap()
    }

    #[test]
    fn the_kernel_counts_no_more_for_a_message_than_we_do() {
        for size in 0..=MAX_BUFFERS_PER_GROUP {
            let (mut channel, _clients) = channel().unwrap();
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
            let (mut channel, _clients) = channel().unwrap();
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
        let (mut channel, _clients) = channel().unwrap();
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
        let (mut channel, _clients) = channel().unwrap();
        let size = MAX_BUFFERS_OF_LOCKS / MAX_LOCKS_PER_GROUP;
        let locks = [Ahead::new(size); MAX_LOCKS_PER_GROUP - 1];
        while channel.unread + RECORD <= UNREAD {
            channel.send(ONE, batch(0)).unwrap();
        }
        assert!(has_room(&mut channel, &locks, Ahead::new(size)));
    }

    #[test]
    fn an_unread_channel_fills_and_a_read_one_has_room_again() {
        let (mut channel, clients) = channel().unwrap();
        while has_room(&mut channel, &[], Ahead::new(63)) {
            channel.send(ONE, batch(63)).unwrap();
        }
        let mut bytes = [0; MESSAGE_BYTES];
        assert_eq!(nix::unistd::read(clients.as_raw_fd(), &mut bytes), Ok(64 * RECORD_BYTES));
        assert!(has_room(&mut channel, &[], Ahead::new(63)));
    }

    #[test]
    fn a_closed_reader_is_reported() {
        let (mut channel, clients) = channel().unwrap();
        drop(clients);
        assert!(channel.send(ONE, batch(0)).is_err());
    }

    #[test]
    fn a_message_is_unread_until_it_is_read_whatever_follows() {
        let (mut channel, clients) = channel().unwrap();
        let mut bytes = [0; MESSAGE_BYTES];
        channel.send(ONE, batch(0)).unwrap();
        channel.send(ONE, batch(4)).unwrap();
        let position = channel.position();
        assert!(channel.is_unread(position));
        nix::unistd::read(clients.as_raw_fd(), &mut bytes).unwrap();
        assert!(channel.is_unread(position));
        nix::unistd::read(clients.as_raw_fd(), &mut bytes).unwrap();
        assert!(!channel.is_unread(position));
        channel.send(ONE, batch(0)).unwrap();
        assert!(!channel.is_unread(position));
        // However many follow.
        channel.send(ONE, batch(4)).unwrap();
        let position = channel.position();
        (0..40).for_each(|size| channel.send(ONE, batch(size)).unwrap());
        nix::unistd::read(clients.as_raw_fd(), &mut bytes).unwrap();
        assert!(channel.is_unread(position));
        nix::unistd::read(clients.as_raw_fd(), &mut bytes).unwrap();
        assert!(!channel.is_unread(position));
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! SOCK_SEQPACKET pairs, with the sender's buffer as the kernel counts it.

use nix::errno::Errno;

use crate::fd::{Fd, FdRef};
use crate::site::Site;
use crate::world::{self, Event, FileId, Kind, Queue};

/// The bytes that a message takes of the sender's buffer: a header, and the data with a trailer in a power of two of bytes.
pub fn cost(bytes: usize) -> usize {
    512 + (bytes + 320).next_power_of_two()
}

/// The sender's end, then the receiver's.
pub fn pair(room: usize) -> Result<(Fd, Fd), Errno> {
    world::enter(Site::SocketPair)?;
    let (sender, receiver) = world::with(|world| {
        let process = world.service;
        let queue = Queue { room, ..Queue::default() };
        let clients = world.file(Kind::Receiver(queue));
        let sender = world.create(process, Kind::Sender(clients))?;
        Ok::<_, Errno>((sender, world.open(process, clients)))
    })?;
    let receiver = receiver?;
    world::enter(Site::SndBuf)?;
    Ok((sender, receiver))
}

pub fn send_now(sender: FdRef<'_>, message: &[u8]) -> Result<(), Errno> {
    let fault = world::enter(Site::Send);
    world::with(|world| {
        let Kind::Sender(end) = *world.kind_of(sender.number()) else {
            return Err(Errno::ENOTSOCK);
        };
        let open = world.files[end].descriptors > 0;
        let Kind::Receiver(queue) = &mut world.files[end].kind else { return Err(Errno::EPIPE) };
        let result = match fault {
            Err(errno) => Err(errno),
            Ok(()) if !open => Err(Errno::EPIPE),
            Ok(()) if queue.taken >= queue.room => Err(Errno::EAGAIN),
            Ok(()) => Ok(()),
        };
        if result == Err(Errno::EAGAIN) {
            world
                .violations
                .push("an event channel is full, though there was room for all records".into());
        } else if result.is_ok() {
            queue.taken += cost(message.len());
            queue.messages.push(message.into());
        }
        world.events.push(match result {
            Ok(()) => Event::Sent(end, message.into()),
            Err(_) => Event::Lost(end, message.into()),
        });
        result
    })
}

/// The bytes of messages that are in a client's end.
pub fn taken(receiver: FileId) -> usize {
    world::with(|world| match &world.files[receiver].kind {
        Kind::Receiver(queue) => queue.taken,
        _ => 0,
    })
}

pub fn unread(sender: FdRef<'_>) -> Result<usize, Errno> {
    world::with(|world| {
        let Kind::Sender(end) = *world.kind_of(sender.number()) else {
            return Err(Errno::ENOTSOCK);
        };
        match &world.files[end].kind {
            Kind::Receiver(queue) => Ok(queue.taken),
            _ => Err(Errno::ENOTSOCK),
        }
    })
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What two neighbours in the pipeline say to each other over their socket.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use buffersync_testbed_guest::dmabuf::DmaBuf;
use buffersync_testbed_guest::fdpass;

use crate::frame;

/// One end of a connection.
#[derive(Debug)]
pub struct Channel(UnixStream);

/// Buffer `index` has frame `sequence`, or is free again after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Among the buffers that were passed.
    pub index: usize,
    /// Of the frame.
    pub sequence: u64,
}

impl Channel {
    /// Takes over the descriptor that the parent left for this process.
    pub fn inherited(number: RawFd) -> io::Result<Self> {
        // SAFETY: the parent has opened it for this process, and nothing else uses the number.
        let fd = unsafe { OwnedFd::from_raw_fd(number) };
        // Fails for a number that is no descriptor.
        nix::fcntl::fcntl(fd.as_raw_fd(), nix::fcntl::FcntlArg::F_GETFD)?;
        Ok(Self(UnixStream::from(fd)))
    }

    /// Passes buffers.
    pub fn pass(&self, buffers: &[DmaBuf]) -> io::Result<()> {
        let fds: Vec<_> = buffers.iter().map(AsFd::as_fd).collect();
        fdpass::send(&self.0, &fds)
    }

    /// Receives buffers.
    pub fn receive(&self) -> io::Result<Vec<DmaBuf>> {
        let fds = fdpass::receive(&self.0)?;
        Ok(fds.into_iter().map(|fd| DmaBuf::new(fd, frame::BYTES)).collect())
    }

    /// Says that a slot has a frame, or is free.
    pub fn send(&mut self, slot: Slot) -> io::Result<()> {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(slot.index as u64).to_ne_bytes());
        bytes[8..].copy_from_slice(&slot.sequence.to_ne_bytes());
        self.0.write_all(&bytes)
    }

    /// Waits for the neighbour's next message.
    pub fn next(&mut self) -> io::Result<Slot> {
        let mut bytes = [[0; 8]; 2];
        self.0.read_exact(bytes.as_flattened_mut())?;
        let [index, sequence] = bytes.map(u64::from_ne_bytes);
        let index = usize::try_from(index).map_err(|_| io::ErrorKind::InvalidData)?;
        Ok(Slot { index, sequence })
    }
}

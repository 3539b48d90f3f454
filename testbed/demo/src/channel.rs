// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The messages between two neighbours of the pipeline, over a Unix socket.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use buffersync_testbed_guest::dmabuf::DmaBuf;
use buffersync_testbed_guest::fdpass;

use crate::frame;

/// One end of the connection.
#[derive(Debug)]
pub struct Channel(UnixStream);

/// Says that a buffer has a frame, or is free again after that frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The index among the buffers that were passed.
    pub index: usize,
    /// The number of the frame.
    pub sequence: u64,
}

impl Channel {
    /// Takes over a descriptor that this process has inherited.
    pub fn inherited(number: RawFd) -> io::Result<Self> {
        // SAFETY: the parent opened it for this process, and nothing else uses the number.
        let fd = unsafe { OwnedFd::from_raw_fd(number) };
        // Fails if the number is not a descriptor.
        nix::fcntl::fcntl(fd.as_raw_fd(), nix::fcntl::FcntlArg::F_GETFD)?;
        Ok(Self(UnixStream::from(fd)))
    }

    pub fn pass(&self, buffers: &[DmaBuf]) -> io::Result<()> {
        let fds: Vec<_> = buffers.iter().map(AsFd::as_fd).collect();
        fdpass::send(&self.0, &fds)
    }

    pub fn receive(&self) -> io::Result<Vec<DmaBuf>> {
        let fds = fdpass::receive(&self.0)?;
        Ok(fds.into_iter().map(|fd| DmaBuf::new(fd, frame::BYTES)).collect())
    }

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

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The messages between two neighbours of the pipeline, over a Unix socket.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use buffersync_testbed_guest::dmabuf::DmaBuf;
use buffersync_testbed_guest::fdpass;

/// One end of the connection.
#[derive(Debug)]
pub struct Channel(UnixStream);

/// Says that a buffer has a frame, or is free again after that frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The index among the buffers that were passed.
    pub index: usize,
    /// The number of the frame.
    pub frame: u64,
    /// The content, as its producer saw it under its lock: of a picture the number of the capture, of a stream its
    /// hash.
    pub content: u64,
    /// The bytes of a stream.
    pub bytes: usize,
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

    /// Receives buffers of this size.
    pub fn receive(&self, bytes: usize) -> io::Result<Vec<DmaBuf>> {
        let fds = fdpass::receive(&self.0)?;
        Ok(fds.into_iter().map(|fd| DmaBuf::new(fd, bytes)).collect())
    }

    pub fn send(&mut self, slot: Slot) -> io::Result<()> {
        let words = [slot.index as u64, slot.frame, slot.content, slot.bytes as u64];
        self.0.write_all(words.map(u64::to_ne_bytes).as_flattened())
    }

    /// Gives a buffer back. Its producer may have ended after the last frame.
    pub fn give_back(&mut self, slot: Slot) -> io::Result<()> {
        use io::ErrorKind::{BrokenPipe, ConnectionReset};
        match self.send(slot) {
            Err(error) if matches!(error.kind(), BrokenPipe | ConnectionReset) => Ok(()),
            other => other,
        }
    }

    /// Waits for the neighbour's next message.
    pub fn next(&mut self) -> io::Result<Slot> {
        let mut bytes = [[0; 8]; 4];
        self.0.read_exact(bytes.as_flattened_mut())?;
        let [index, frame, content, bytes] = bytes.map(u64::from_ne_bytes);
        let size = |word| usize::try_from(word).map_err(|_| io::ErrorKind::InvalidData);
        Ok(Slot { index: size(index)?, frame, content, bytes: size(bytes)? })
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

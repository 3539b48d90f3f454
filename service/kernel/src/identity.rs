// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The answer of [`crate::dmabuf::identify`] and of [`crate::memfd::identify`].

use nix::sys::stat::FileStat;

/// Identifies a dma-buf or a memfd, whichever process or descriptor it is seen through: each has an inode of its own.
/// Unique while a descriptor of it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    dev: u64,
    ino: u64,
}

impl Identity {
    pub(crate) fn new(stat: &FileStat) -> Self {
        Self { dev: stat.st_dev, ino: stat.st_ino }
    }

    /// The inode number, as stat(2), `/proc/PID/fdinfo` and debugfs `dma_buf/bufinfo` show it.
    pub fn inode(&self) -> u64 {
        self.ino
    }
}

/// A dma-buf or memfd that was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub identity: Identity,
    /// In bytes. The client of a memfd may change it.
    pub size: u64,
    /// The moment when it was made, in nanoseconds of the time of day. For a dma-buf the kernel takes the clock of its
    /// last tick, and the owner may have changed the attributes since. For a memfd it is `None` before Linux 5.18.
    pub created_ns: Option<u64>,
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Identities of simulated dma-bufs and memfds.

use crate::world::FileId;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity(pub(crate) FileId);

impl Identity {
    pub fn inode(&self) -> u64 {
        self.0 as u64
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub identity: Identity,
    pub size: u64,
    pub created_ns: Option<u64>,
}

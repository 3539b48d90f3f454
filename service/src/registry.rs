// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The dma-bufs that groups have: dma-buf, [`BufferId`], descriptor. Knows neither groups nor locks.
//!
//! The service keeps one descriptor of each dma-buf, whatever the number of groups that have it. Closing
//! it may free the dma-buf's memory, so methods hand it out instead of closing it, and the arbiter
//! closes it without its mutex.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use buffersync_engine::{Access, BufferId};
use buffersync_kernel::dmabuf::{self, Identity};
use buffersync_kernel::quirks;

use crate::error::Error;
use crate::tables::ById;

#[derive(Default)]
pub(crate) struct Registry {
    buffers: ById<BufferId, Buffer>,
    /// The ids of `buffers` and of `remembered`.
    by_identity: HashMap<Identity, BufferId>,
    /// Buffers that no group has, and whose marks the engine remembers. Their descriptors are closed, so
    /// the kernel can use an inode number again ([`quirks`]).
    remembered: ById<BufferId, Identity>,
    last: u64,
}

/// A dma-buf that some group has.
pub(crate) struct Buffer {
    pub fd: Arc<OwnedFd>,
    pub identity: Identity,
    /// In bytes; 0 if the exporter does not tell.
    pub size: u64,
}

/// A dma-buf that a device may access.
pub(crate) struct DeviceBuffer {
    pub buffer: BufferId,
    pub fd: Arc<OwnedFd>,
    pub access: Access,
}

/// The dma-bufs among the descriptors of a handle, each once.
pub(crate) fn identify<'a>(
    fds: &[BorrowedFd<'a>],
) -> Result<Vec<(Identity, BorrowedFd<'a>)>, Error> {
    let mut found: Vec<(Identity, BorrowedFd<'a>)> = Vec::new();
    for fd in fds {
        if let Some(identity) = dmabuf::identify(*fd).map_err(|_| Error::NotDmaBuf)? {
            if found.iter().all(|(known, _)| *known != identity) {
                found.push((identity, *fd));
            }
        }
    }
    if found.is_empty() {
        return Err(Error::NotDmaBuf);
    }
    Ok(found)
}

impl Registry {
    /// The id of a dma-buf that some group has, or that is remembered.
    pub fn id_of(&self, identity: &Identity) -> Option<BufferId> {
        self.by_identity.get(identity).copied()
    }

    /// A buffer that some group has.
    pub fn get(&self, id: BufferId) -> Option<&Buffer> {
        self.buffers.get(&id)
    }

    pub fn fd(&self, id: BufferId) -> Option<Arc<OwnedFd>> {
        self.get(id).map(|buffer| Arc::clone(&buffer.fd))
    }

    pub fn len(&self) -> usize {
        self.buffers.len()
    }

    /// The dma-bufs among these that devices access.
    pub fn devices(&self, held: impl Iterator<Item = (BufferId, Access)>) -> Vec<DeviceBuffer> {
        held.filter(|(_, access)| access.is_dma())
            .filter_map(|(buffer, access)| {
                Some(DeviceBuffer { buffer, fd: self.fd(buffer)?, access })
            })
            .collect()
    }

    /// A buffer with the service's own descriptor, to be registered; `None` if the service has one.
    pub fn open(&self, identity: Identity, fd: BorrowedFd<'_>) -> Result<Option<Buffer>, Error> {
        // A remembered buffer has an id and no descriptor.
        if self.id_of(&identity).is_some_and(|id| self.buffers.contains_key(&id)) {
            return Ok(None);
        }
        let fd = fd.try_clone_to_owned().map_err(|_| Error::NoResources("descriptors"))?;
        let size = quirks::size(fd.as_fd()).unwrap_or(0);
        Ok(Some(Buffer { fd: Arc::new(fd), identity, size }))
    }

    /// Keeps a buffer. It gets its old id if it is remembered.
    pub fn register(&mut self, buffer: Buffer) -> BufferId {
        let known = self.id_of(&buffer.identity);
        let id = known.unwrap_or_else(|| {
            self.last += 1;
            BufferId(self.last)
        });
        self.remembered.remove(&id);
        self.by_identity.insert(buffer.identity, id);
        self.buffers.insert(id, buffer);
        id
    }

    /// No group has the buffer any more, but the engine remembers its marks. Returns the descriptor.
    #[must_use]
    pub fn remember(&mut self, id: BufferId) -> Option<Arc<OwnedFd>> {
        let buffer = self.buffers.remove(&id)?;
        self.remembered.insert(id, buffer.identity);
        Some(buffer.fd)
    }

    /// Neither a group nor the engine has anything of the buffer any more. Returns the descriptor.
    #[must_use]
    pub fn forget(&mut self, id: BufferId) -> Option<Arc<OwnedFd>> {
        if let Some(identity) = self.remembered.remove(&id) {
            self.by_identity.remove(&identity);
        }
        let buffer = self.buffers.remove(&id)?;
        self.by_identity.remove(&buffer.identity);
        Some(buffer.fd)
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The buffers that groups have, dma-bufs or memfds: identity, [`BufferId`], descriptor. Knows neither groups
//! nor locks.
//!
//! The service keeps one descriptor of each buffer, whatever the number of groups that have it. Closing
//! it may free the buffer's memory, so methods hand it out instead of closing it, and the arbiter
//! closes it without its mutex.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use buffersync_engine::{Access, BufferId};
use buffersync_kernel::{dmabuf, memfd, quirks};
use nix::errno::Errno;

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

/// Identifies a buffer, whichever process or descriptor it is seen through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Identity {
    DmaBuf(dmabuf::Identity),
    Memfd(memfd::Identity),
}

impl Identity {
    pub fn inode(&self) -> u64 {
        match self {
            Self::DmaBuf(identity) => identity.inode(),
            Self::Memfd(identity) => identity.inode(),
        }
    }

    /// Only CPUs use it: it has no cache operations and no implicit fences.
    pub fn is_plain(&self) -> bool {
        matches!(self, Self::Memfd(_))
    }
}

/// A buffer that some group has.
pub(crate) struct Buffer {
    pub fd: Arc<OwnedFd>,
    pub identity: Identity,
    /// In bytes, when the first group got it; 0 if the exporter does not tell.
    pub size: u64,
}

/// A dma-buf that a device may access.
pub(crate) struct DeviceBuffer {
    pub buffer: BufferId,
    pub fd: Arc<OwnedFd>,
    pub access: Access,
}

/// The buffers of a handle, each once: its dma-bufs or, if it has none, its memfds. (A gralloc handle has a
/// memfd with metadata, and a udmabuf may come with the memfd that it is made of.)
pub(crate) fn identify<'a>(
    fds: &[BorrowedFd<'a>],
) -> Result<Vec<(Identity, BorrowedFd<'a>)>, Error> {
    let dma_buf = |fd| Ok(dmabuf::identify(fd)?.map(Identity::DmaBuf));
    let memory = |fd| Ok(memfd::identify(fd)?.map(Identity::Memfd));
    let mut found = each_once(fds, dma_buf)?;
    if found.is_empty() {
        found = each_once(fds, memory)?;
    }
    if found.is_empty() {
        return Err(Error::NotDmaBuf(fds.len()));
    }
    Ok(found)
}

fn each_once<'a>(
    fds: &[BorrowedFd<'a>],
    identify: impl Fn(BorrowedFd<'a>) -> Result<Option<Identity>, Errno>,
) -> Result<Vec<(Identity, BorrowedFd<'a>)>, Error> {
    let mut found: Vec<(Identity, BorrowedFd<'a>)> = Vec::new();
    for fd in fds {
        if let Some(identity) = identify(*fd).map_err(|_| Error::NotDmaBuf(fds.len()))? {
            if found.iter().all(|(known, _)| *known != identity) {
                found.push((identity, *fd));
            }
        }
    }
    Ok(found)
}

impl Registry {
    /// The id of a buffer that some group has, or that is remembered.
    pub fn id_of(&self, identity: &Identity) -> Option<BufferId> {
        self.by_identity.get(identity).copied()
    }

    /// A buffer that some group has.
    pub fn get(&self, id: BufferId) -> Option<&Buffer> {
        self.buffers.get(&id)
    }

    /// The descriptor of a dma-buf; `None` for a memfd, which has no ioctls and no fences.
    pub fn dma_buf(&self, id: BufferId) -> Option<&Arc<OwnedFd>> {
        let buffer = self.get(id).filter(|buffer| !buffer.identity.is_plain());
        buffer.map(|buffer| &buffer.fd)
    }

    pub fn len(&self) -> usize {
        self.buffers.len()
    }

    /// The dma-bufs among these that devices access.
    pub fn devices(&self, held: impl Iterator<Item = (BufferId, Access)>) -> Vec<DeviceBuffer> {
        held.filter(|(_, access)| access.is_dma())
            .filter_map(|(buffer, access)| {
                let fd = Arc::clone(self.dma_buf(buffer)?);
                Some(DeviceBuffer { buffer, fd, access })
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
        let size = match identity {
            Identity::DmaBuf(_) => quirks::size(fd.as_fd()),
            Identity::Memfd(_) => memfd::size(fd.as_fd()),
        };
        let size = size.unwrap_or(0);
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

#[cfg(test)]
mod tests {
    use nix::sys::memfd::{memfd_create, MemFdCreateFlag};

    use super::*;

    fn memory() -> OwnedFd {
        memfd_create(c"test", MemFdCreateFlag::MFD_CLOEXEC).unwrap()
    }

    #[test]
    fn the_memfds_of_a_handle_without_a_dma_buf_are_its_buffers() {
        let (one, other) = (memory(), memory());
        let again = one.try_clone().unwrap();
        let (pipe, _write) = nix::unistd::pipe().unwrap();
        let fds = [pipe.as_fd(), one.as_fd(), other.as_fd(), again.as_fd()];
        let found = identify(&fds).unwrap();
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|(identity, _)| identity.is_plain()));
        assert!(matches!(identify(&fds[..1]), Err(Error::NotDmaBuf(1))));
    }

    #[test]
    fn a_memfd_keeps_its_id_and_is_no_dma_buf() {
        let (memory, mut registry) = (memory(), Registry::default());
        let (identity, fd) = identify(&[memory.as_fd()]).unwrap()[0];
        let buffer = registry.open(identity, fd).unwrap().unwrap();
        let id = registry.register(buffer);
        assert!(registry.open(identity, fd).unwrap().is_none());
        assert!(registry.get(id).is_some() && registry.dma_buf(id).is_none());
        assert!(registry.devices([(id, Access::DmaWrite)].into_iter()).is_empty());
        assert!(registry.remember(id).is_some() && registry.id_of(&identity) == Some(id));
        assert!(registry.forget(id).is_none() && registry.id_of(&identity).is_none());
    }
}

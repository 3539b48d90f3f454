// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The buffers that groups have, dma-bufs or memfds: identity, [`BufferId`], descriptor. Knows neither groups
//! nor locks.
//!
//! The service keeps one descriptor of each buffer, whatever the number of groups that have it. With it the
//! service keeps the buffer's memory, which counts ([`crate::quota`]).

use std::collections::HashMap;
use std::sync::Arc;

use buffersync_engine::{Access, BufferId};
use buffersync_kernel::fd::FdRef;
use buffersync_kernel::{dmabuf, identity, memfd};
use nix::errno::Errno;

use crate::closer::{Closer, Descriptor};
use crate::error::Error;
use crate::tables::{self, ById};

pub(crate) struct Registry {
    buffers: ById<BufferId, Buffer>,
    /// The ids of `buffers` and of `remembered`.
    by_identity: HashMap<Identity, BufferId>,
    /// Buffers that no group has, and whose marks the engine remembers. Their descriptors are closed, so
    /// the kernel can use an inode number again ([`quirks`]).
    remembered: ById<BufferId, Identity>,
    last: u64,
    /// The sum of the buffers' sizes.
    bytes: u64,
}

/// Identifies a buffer, whichever process or descriptor it is seen through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Identity {
    DmaBuf(identity::Identity),
    Memfd(identity::Identity),
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
    pub fd: Arc<Descriptor>,
    pub identity: Identity,
    /// In bytes, when the first group got it.
    pub size: u64,
    /// The uid that let it go last, or added it first: cache operations that are due when no group has it any more are
    /// done for that uid.
    pub uid: u32,
}

/// A dma-buf that a device may access.
pub(crate) struct DeviceBuffer {
    pub buffer: BufferId,
    pub fd: Arc<Descriptor>,
    pub access: Access,
}

/// A descriptor that was recognised.
pub(crate) struct Found<'a> {
    pub identity: Identity,
    pub fd: FdRef<'a>,
    /// In bytes.
    pub size: u64,
    /// When the buffer was made, in nanoseconds of the time of day.
    pub created_ns: Option<u64>,
}

/// The buffers of a handle, each once: its dma-bufs or, if it has none, its memfds. (A gralloc handle has a
/// memfd with metadata, and a udmabuf may come with the memfd that it is made of.)
pub(crate) fn identify<'a>(fds: &[FdRef<'a>]) -> Result<Vec<Found<'a>>, Error> {
    let mut found = each_once(fds, dmabuf::identify, Identity::DmaBuf)?;
    if found.is_empty() {
        found = each_once(fds, memfd::identify, Identity::Memfd)?;
    }
    if found.is_empty() {
        return Err(Error::NotDmaBuf(fds.len()));
    }
    Ok(found)
}

fn each_once<'a>(
    fds: &[FdRef<'a>],
    identify: fn(FdRef<'_>) -> Result<Option<identity::Found>, Errno>,
    kind: fn(identity::Identity) -> Identity,
) -> Result<Vec<Found<'a>>, Error> {
    let mut all: Vec<Found<'a>> = Vec::new();
    for fd in fds {
        // Any error is a lack of something: of descriptors, for example.
        let found = identify(*fd).map_err(|_| Error::NoResources("descriptors"))?;
        let Some(identity::Found { identity, size, created_ns }) = found else { continue };
        let identity = kind(identity);
        if all.iter().all(|known| known.identity != identity) {
            all.push(Found { identity, fd: *fd, size, created_ns });
        }
    }
    Ok(all)
}

impl Registry {
    /// An empty table. Ids count from `names_from`, so that those of an earlier process don't come again.
    pub fn new(names_from: u64) -> Self {
        Self {
            buffers: ById::default(),
            by_identity: HashMap::new(),
            remembered: ById::default(),
            last: names_from,
            bytes: 0,
        }
    }

    /// The id of a buffer that some group has, or that is remembered.
    pub fn id_of(&self, identity: &Identity) -> Option<BufferId> {
        self.by_identity.get(identity).copied()
    }

    /// A buffer that some group has.
    pub fn get(&self, id: BufferId) -> Option<&Buffer> {
        self.buffers.get(&id)
    }

    /// The descriptor of a dma-buf; `None` for a memfd, which has no ioctls and no fences.
    pub fn dma_buf(&self, id: BufferId) -> Option<&Arc<Descriptor>> {
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
    pub fn open(
        &self,
        found: &Found<'_>,
        uid: u32,
        closer: &Arc<Closer>,
    ) -> Result<Option<Buffer>, Error> {
        // A remembered buffer has an id and no descriptor.
        if self.kept(&found.identity).is_some() {
            return Ok(None);
        }
        let fd = found.fd.try_clone_to_owned().map_err(|_| Error::NoResources("descriptors"))?;
        let fd = Arc::new(Descriptor::new(fd, closer));
        Ok(Some(Buffer { fd, identity: found.identity, size: found.size, uid }))
    }

    /// The id of a buffer that some group has.
    pub fn kept(&self, identity: &Identity) -> Option<BufferId> {
        self.id_of(identity).filter(|id| self.buffers.contains_key(id))
    }

    /// A group of a uid is about to let a buffer go.
    pub fn let_go_by(&mut self, id: BufferId, uid: u32) {
        if let Some(buffer) = self.buffers.get_mut(&id) {
            buffer.uid = uid;
        }
    }

    /// The memory of all buffers in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Keeps a buffer. It gets its old id if it is remembered.
    pub fn register(&mut self, buffer: Buffer) -> BufferId {
        let known = self.id_of(&buffer.identity);
        let id = known.unwrap_or_else(|| {
            self.last += 1;
            BufferId(self.last)
        });
        self.remembered.remove(&id);
        self.bytes = self.bytes.saturating_add(buffer.size);
        self.by_identity.insert(buffer.identity, id);
        self.buffers.insert(id, buffer);
        id
    }

    /// No group has the buffer any more, but the engine remembers its marks.
    pub fn remember(&mut self, id: BufferId) {
        if let Some(identity) = self.close(id) {
            self.remembered.insert(id, identity);
        }
    }

    /// Neither a group nor the engine has anything of the buffer any more. Returns its identity if a group had it until
    /// now: it has no mark then.
    pub fn forget(&mut self, id: BufferId) -> Option<Identity> {
        let remembered = self.remembered.remove(&id);
        let closed = self.close(id);
        if let Some(identity) = closed.or(remembered) {
            self.by_identity.remove(&identity);
        }
        tables::shrink(&mut self.remembered);
        tables::shrink(&mut self.by_identity);
        closed
    }

    fn close(&mut self, id: BufferId) -> Option<Identity> {
        let buffer = self.buffers.remove(&id)?;
        self.bytes = self.bytes.saturating_sub(buffer.size);
        tables::shrink(&mut self.buffers);
        Some(buffer.identity)
    }
}

#[cfg(test)]
mod tests {
    use buffersync_kernel::fd::{AsFd, Fd};
    use nix::sys::memfd::{memfd_create, MemFdCreateFlag};

    use super::*;

    fn memory() -> Fd {
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
        assert!(found.iter().all(|found| found.identity.is_plain()));
        assert!(matches!(identify(&fds[..1]), Err(Error::NotDmaBuf(1))));
    }

    #[test]
    fn a_memfd_keeps_its_id_and_is_no_dma_buf() {
        let (memory, mut registry, closer) = (memory(), Registry::new(41), Arc::default());
        let fds = [memory.as_fd()];
        let found = &identify(&fds).unwrap()[0];
        let buffer = registry.open(found, 1, &closer).unwrap().unwrap();
        let id = registry.register(buffer);
        assert_eq!((id, registry.bytes()), (BufferId(42), found.size));
        assert!(registry.open(found, 2, &closer).unwrap().is_none());
        registry.let_go_by(id, 2);
        assert!(registry.get(id).is_some_and(|buffer| buffer.uid == 2));
        assert!(registry.dma_buf(id).is_none());
        assert!(registry.devices([(id, Access::DmaWrite)].into_iter()).is_empty());
        registry.remember(id);
        assert!(registry.id_of(&found.identity) == Some(id) && registry.get(id).is_none());
        assert_eq!(registry.forget(id), None);
        assert!(registry.id_of(&found.identity).is_none() && registry.bytes() == 0);
    }
}

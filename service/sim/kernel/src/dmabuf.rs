// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Simulated dma-bufs.

use nix::errno::Errno;

use crate::fd::{Fd, FdRef};
use crate::identity::{Found, Identity};
use crate::site::Site;
use crate::world::{self, DmaBuf, Event, FileId, Kind, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    Read,
    Write,
}

impl Usage {
    pub fn new(writes: bool) -> Self {
        if writes {
            Self::Write
        } else {
            Self::Read
        }
    }

    /// The argument of [`first_pending`].
    pub fn poll_events(self) -> Self {
        self
    }

    fn writes(self) -> bool {
        self == Self::Write
    }
}

pub fn identify(fd: FdRef<'_>) -> Result<Option<Found>, Errno> {
    world::enter(Site::OpenFdinfo)?;
    world::with(|world| {
        // The text of fdinfo takes a descriptor for a moment.
        let process = world.service;
        let table = &world.tables[process];
        if table.open >= table.limit {
            return Err(Errno::EMFILE);
        }
        let file = world.file_of(fd.number());
        Ok(world.dma_buf(file).map(|dma_buf| {
            let DmaBuf { size, created_ns, .. } = *dma_buf;
            Found { identity: Identity(file), size, created_ns: Some(created_ns) }
        }))
    })
}

pub fn first_pending<'a>(
    all: impl ExactSizeIterator<Item = (FdRef<'a>, Usage)>,
) -> Result<Option<usize>, Errno> {
    let all: Vec<_> = all.collect();
    if all.is_empty() {
        return Ok(None);
    }
    match world::enter(Site::Poll) {
        Ok(()) => {}
        Err(Errno::EINTR) => return Ok(Some(0)),
        Err(errno) => return Err(errno),
    }
    world::with(|world| {
        Ok(all.iter().position(|(fd, usage)| {
            let file = world.file_of(fd.number());
            !world.reserved(file, usage.writes()).is_empty()
        }))
    })
}

pub fn export_sync_file(fd: FdRef<'_>, usage: Usage) -> Result<Fd, Errno> {
    world::enter(Site::Export)?;
    world::with(|world| {
        let file = world.file_of(fd.number());
        let fences = world.reserved(file, usage.writes());
        let process = world.service;
        world.create(process, Kind::SyncFile(fences))
    })
}

pub fn import_sync_file(fd: FdRef<'_>, usage: Usage, fence: FdRef<'_>) -> Result<(), Errno> {
    world::enter(Site::Import)?;
    world::with(|world| {
        let Kind::SyncFile(fences) = world.kind_of(fence.number()) else {
            return Err(Errno::EINVAL);
        };
        let fences: Vec<_> =
            fences.iter().copied().filter(|fence| world.is_pending(*fence)).collect();
        let file = world.file_of(fd.number());
        fences.into_iter().for_each(|fence| world.reserve(file, fence, usage.writes()));
        Ok(())
    })
}

pub fn start(fd: FdRef<'_>, usage: Usage) -> Result<(), Errno> {
    let fault = world::enter(Site::Start);
    world::with(|world| {
        let file = world.file_of(fd.number());
        world.late_fence(file);
        match fault {
            Err(errno @ (Errno::EINTR | Errno::EAGAIN)) => return Err(errno),
            Ok(()) => wait_for_fences(world, file, usage)?,
            Err(_) => {}
        }
        world.interrupted = 0;
        world.events.push(Event::Synced(file, Site::Start, fault.is_ok()));
        let forgets = world.forgets;
        let line = world.dma_buf(file).map(|dma_buf| dma_buf.line).unwrap_or_default();
        if line.open.is_some() && !(forgets && line.owed) {
            world.violations.push("START without END before".into());
        }
        sync(world, file, fault.is_err(), |world| {
            let World { random, files, .. } = world;
            let Kind::DmaBuf(dma_buf) = &mut files[file].kind else { return };
            dma_buf.line.start(random);
        });
        if let Some(dma_buf) = world.dma_buf(file).filter(|_| fault.is_ok()) {
            (dma_buf.line.open, dma_buf.line.owed) = (Some(usage), false);
        }
        fault
    })
}

/// Blocks while a fence is pending, until a signal comes.
fn wait_for_fences(world: &mut World, file: FileId, usage: Usage) -> Result<(), Errno> {
    if world.reserved(file, usage.writes()).is_empty() {
        return Ok(());
    }
    if !world.guarded {
        world.violations.push("START blocks, and nobody interrupts it".into());
    }
    world.interrupted += 1;
    assert!(world.interrupted < 1000, "START is issued again and again while a fence is pending");
    world.events.push(Event::Synced(file, Site::Start, false));
    Err(Errno::EINTR)
}

/// The effect on the cache. A call that fails may have had it.
fn sync(world: &mut World, file: FileId, fails: bool, effect: impl FnOnce(&mut World)) {
    world.line(file);
    if !fails || world.random.one_in(2) {
        effect(world);
    }
    world.line(file);
}

pub fn end(fd: FdRef<'_>, usage: Usage) -> Result<(), Errno> {
    let fault = world::enter(Site::End);
    world::with(|world| {
        let file = world.file_of(fd.number());
        if let Err(errno @ (Errno::EINTR | Errno::EAGAIN)) = fault {
            return Err(errno);
        }
        world.events.push(Event::Synced(file, Site::End, fault.is_ok()));
        let open = world.dma_buf(file).and_then(|dma_buf| dma_buf.line.open);
        if open != Some(usage) {
            world.violations.push(format!("END {usage:?} after START {open:?}"));
        }
        sync(world, file, fault.is_err(), |world| {
            if let Some(dma_buf) = world.dma_buf(file) {
                dma_buf.line.end(usage);
            }
        });
        if let Some(dma_buf) = world.dma_buf(file) {
            dma_buf.line.owed = fault.is_err();
            dma_buf.line.open.take_if(|_| fault.is_ok());
        }
        fault
    })
}

impl World {
    /// A driver puts a fence into the dma-buf just before START, after the look.
    fn late_fence(&mut self, file: FileId) {
        if self.late_fences > 0 && self.random.one_in(self.late_fences) {
            let at = self.now + self.random.number() % 20_000_000;
            let fence = self.fence(Some(at), true);
            let of_writer = self.random.one_in(2);
            self.reserve(file, fence, of_writer);
        }
    }
}

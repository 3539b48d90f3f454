// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Simulated sync_files.

use nix::errno::Errno;

use crate::fd::{Fd, FdRef};
use crate::site::Site;
use crate::world::{self, Event, Kind};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Pending,
    Signalled,
    Failed,
}

#[derive(Clone, Copy, Debug)]
pub struct Fence {
    pub status: Status,
    pub timestamp_ns: u64,
}

pub fn is_sync_file(fd: FdRef<'_>) -> bool {
    // As in the real one: a link that cannot be read is no sync_file's.
    world::enter(Site::Readlink).is_ok()
        && world::with(|world| matches!(world.kind_of(fd.number()), Kind::SyncFile(_)))
}

pub fn status(fd: FdRef<'_>) -> Status {
    let _ = world::enter(Site::FileInfo);
    world::with(|world| {
        let file = world.file_of(fd.number());
        let status = world.status_of(file);
        world.events.push(Event::Status(file, status));
        status
    })
}

pub fn fences(fd: FdRef<'_>, most: usize) -> Result<Vec<Fence>, Errno> {
    world::enter(Site::FenceInfo)?;
    world::with(|world| {
        let file = world.file_of(fd.number());
        let Kind::SyncFile(fences) = &world.files[file].kind else { return Err(Errno::ENOTTY) };
        if fences.len() > most {
            return Err(Errno::EINVAL);
        }
        let fence = |fence: &usize| Fence {
            status: world.status(*fence),
            timestamp_ns: world.fences[*fence].at.unwrap_or(0),
        };
        let found: Vec<Fence> = fences.iter().map(fence).collect();
        let failed = found.iter().any(|fence| fence.status == Status::Failed);
        world.events.push(Event::Failed(file, failed));
        Ok(found)
    })
}

pub fn merge(one: FdRef<'_>, other: FdRef<'_>) -> Result<Fd, Errno> {
    world::enter(Site::Merge)?;
    world::with(|world| {
        let files = [one, other].map(|fd| world.file_of(fd.number()));
        let mut fences = Vec::new();
        for file in files {
            let Kind::SyncFile(of_file) = &world.files[file].kind else {
                return Err(Errno::EINVAL);
            };
            fences.extend(of_file.iter().copied().filter(|fence| world.is_pending(*fence)));
        }
        fences.sort_unstable();
        fences.dedup();
        let process = world.service;
        let merged = world.create(process, Kind::SyncFile(fences))?;
        let file = world.file_of(crate::fd::AsFd::as_fd(&merged).number());
        world.events.push(Event::Merged(files[0], file));
        Ok(merged)
    })
}

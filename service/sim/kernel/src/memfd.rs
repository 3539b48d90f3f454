// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Simulated memfds.

use nix::errno::Errno;

use crate::fd::FdRef;
use crate::identity::{Found, Identity};
use crate::site::Site;
use crate::world::{self, Kind};

pub fn identify(fd: FdRef<'_>) -> Result<Option<Found>, Errno> {
    let (file, found) = world::with(|world| {
        let file = world.file_of(fd.number());
        match world.files[file].kind {
            Kind::Memfd { size, created_ns } => (file, Some((size, created_ns))),
            _ => (file, None),
        }
    });
    let Some((size, created_ns)) = found else { return Ok(None) };
    // As in the real one: a link that cannot be read is no memfd's.
    if world::enter(Site::Readlink).is_err() {
        return Ok(None);
    }
    drop(fd.try_clone_to_owned().map_err(|_| Errno::EMFILE)?);
    world::with(|world| world.recognised.push(file));
    Ok(Some(Found { identity: Identity(file), size, created_ns: Some(created_ns) }))
}

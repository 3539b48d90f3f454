// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Acquire fences: the fences that a grant waits for, merged into one sync_file for its client. That
//! happens on the client's pool thread, without the arbiter's mutex.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use buffersync_engine::{BufferId, GroupId, Token};
use buffersync_kernel::dmabuf::{self, Usage};
use buffersync_kernel::sync_file::{self, Status};
use nix::errno::Errno;

use super::release::Keeper;
use super::Fence;
use crate::error::{self, Error};
use crate::registry::DeviceBuffer;
use crate::tables::ById;

/// The release fences that grants wait for, buffer by buffer. A group has few grants, and only those with
/// fences are here.
#[derive(Default)]
pub(crate) struct Acquires(ById<GroupId, Vec<(Token, Fences)>>);

type Fences = Vec<(BufferId, Arc<Fence>)>;

impl Acquires {
    /// Adds fences. Those of a grant that has grown are there already, and stay.
    pub fn add(
        &mut self,
        (group, token): Keeper,
        more: impl Iterator<Item = (BufferId, Arc<Fence>)>,
    ) {
        let grants = self.0.entry(group).or_default();
        let nth = grants.iter().position(|(of, _)| *of == token).unwrap_or_else(|| {
            grants.push((token, Fences::new()));
            grants.len() - 1
        });
        let Some((_, fences)) = grants.get_mut(nth) else { return };
        let key = |(buffer, fence): &(BufferId, Arc<Fence>)| (*buffer, Arc::as_ptr(fence));
        let before: HashSet<(BufferId, *const Fence)> = fences.iter().map(key).collect();
        fences.extend(more.filter(|one| !before.contains(&key(one))));
    }

    /// The fences of one buffer, or of all; one that is for many buffers comes once.
    pub fn of(&self, (group, token): Keeper, buffer: Option<BufferId>) -> Vec<Arc<Fence>> {
        let grants = self.0.get(&group).into_iter().flatten();
        let fences = grants.filter(|(of, _)| *of == token).flat_map(|(_, fences)| fences);
        let chosen = fences.filter(|(of, _)| buffer.is_none_or(|buffer| buffer == *of));
        let once: HashMap<*const Fence, &Arc<Fence>> =
            chosen.map(|(_, fence)| (Arc::as_ptr(fence), fence)).collect();
        once.into_values().cloned().collect()
    }

    /// A fence has signalled: the grant does not wait for it any more. Returns what it kept, to be dropped without the
    /// mutex.
    pub fn remove_fence(&mut self, grant: Keeper, fence: &Arc<Fence>) -> Fences {
        self.remove_some(grant, |(_, kept)| Arc::ptr_eq(kept, fence))
    }

    /// A part of the grant is over. Returns its fences, to be dropped without the mutex.
    pub fn remove_part(&mut self, grant: Keeper, part: &[BufferId]) -> Fences {
        self.remove_some(grant, |(buffer, _)| part.contains(buffer))
    }

    fn remove_some(
        &mut self,
        (group, token): Keeper,
        ended: impl Fn(&(BufferId, Arc<Fence>)) -> bool,
    ) -> Fences {
        let mut grants = self.0.get_mut(&group).into_iter().flatten();
        let Some((_, fences)) = grants.find(|(of, _)| *of == token) else { return Vec::new() };
        let (ended, kept) = std::mem::take(fences).into_iter().partition(|one| ended(one));
        *fences = kept;
        ended
    }

    /// The grant is over. Returns the fences, to be dropped without the mutex.
    pub fn remove(&mut self, (group, token): Keeper) -> Fences {
        let Some(grants) = self.0.get_mut(&group) else { return Vec::new() };
        let Some(nth) = grants.iter().position(|(of, _)| *of == token) else { return Vec::new() };
        let (_, fences) = grants.swap_remove(nth);
        if grants.is_empty() {
            self.0.remove(&group);
        }
        fences
    }
}

/// One sync_file of release fences and of the implicit fences of these dma-bufs; `None` if all have
/// signalled.
pub(crate) fn merge(
    explicit: &[Arc<Fence>],
    implicit: &[DeviceBuffer],
) -> Result<Option<OwnedFd>, Error> {
    let no_resources = |_: Errno| Error::NoResources("descriptors");
    let mut merged = None;
    for fence in explicit {
        merge_into(&mut merged, fence.as_fd()).map_err(no_resources)?;
    }
    for DeviceBuffer { fd, access, .. } in implicit {
        let exported = dmabuf::export_sync_file(fd.as_fd(), Usage::new(access.is_exclusive()));
        merge_into(&mut merged, exported.map_err(no_resources)?.as_fd()).map_err(no_resources)?;
    }
    error::can_be_sent(merged.as_ref())?;
    Ok(merged)
}

/// Nobody has to wait for a fence that has signalled without an error. One that has failed stays: the
/// client must see its error.
fn merge_into(merged: &mut Option<OwnedFd>, fence: BorrowedFd<'_>) -> Result<(), Errno> {
    if sync_file::status(fence) == Status::Signalled {
        return Ok(());
    }
    *merged = Some(match merged {
        Some(other) => sync_file::merge(other.as_fd(), fence)?,
        None => fence
            .try_clone_to_owned()
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(nix::libc::EMFILE)))?,
    });
    Ok(())
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Acquire fences: the fences that a grant waits for, merged into one sync_file for its client. That
//! happens on the client's pool thread, without the arbiter's mutex.

use std::collections::BTreeMap;
use std::sync::Arc;

use buffersync_engine::{BufferId, FenceId, GroupId, Token};
use buffersync_kernel::dmabuf::{self, Usage};
use buffersync_kernel::fd::{AsFd, Fd, FdRef};
use buffersync_kernel::sync_file::{self, Status};
use nix::errno::Errno;

use super::release::Keeper;
use super::Fence;
use crate::error::{self, Error};
use crate::registry::DeviceBuffer;
use crate::tables::ById;

/// The release fences that grants wait for. A group has few grants, and only those with fences are here.
///
/// A fence may be for many buffers, and many grants may wait for it. So each grant finds it by its name: when it
/// signals, that costs each grant the same, however many other fences and buffers it has.
#[derive(Default)]
pub(crate) struct Acquires(ById<GroupId, Vec<(Token, Fences)>>);

type Fences = BTreeMap<FenceId, Kept>;

/// A fence of a grant, and the buffers that it is for.
struct Kept {
    fence: Arc<Fence>,
    /// Sorted.
    buffers: Vec<BufferId>,
}

impl Acquires {
    /// True if nothing is left.
    #[cfg(simulated)]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A grant waits for a fence on a buffer. Nothing happens if that is known.
    pub fn add(
        &mut self,
        (group, token): Keeper,
        buffer: BufferId,
        id: FenceId,
        fence: &Arc<Fence>,
    ) {
        let grants = self.0.entry(group).or_default();
        let nth = grants.iter().position(|(of, _)| *of == token).unwrap_or_else(|| {
            grants.push((token, Fences::new()));
            grants.len() - 1
        });
        let Some((_, fences)) = grants.get_mut(nth) else { return };
        let kept = fences.entry(id);
        let kept = kept.or_insert_with(|| Kept { fence: Arc::clone(fence), buffers: Vec::new() });
        if let Err(at) = kept.buffers.binary_search(&buffer) {
            kept.buffers.insert(at, buffer);
        }
    }

    /// The fences of one buffer, or of all.
    pub fn of(&self, (group, token): Keeper, buffer: Option<BufferId>) -> Vec<Arc<Fence>> {
        let grants = self.0.get(&group).into_iter().flatten();
        let fences = grants.filter(|(of, _)| *of == token).flat_map(|(_, fences)| fences.values());
        let chosen = fences
            .filter(|kept| buffer.is_none_or(|buffer| kept.buffers.binary_search(&buffer).is_ok()));
        chosen.map(|kept| Arc::clone(&kept.fence)).collect()
    }

    /// A fence has signalled: the grant does not wait for it any more. Returns what it kept.
    pub fn remove_fence(&mut self, grant: Keeper, id: FenceId) -> Option<Arc<Fence>> {
        Some(self.fences(grant)?.remove(&id)?.fence)
    }

    /// A part of the grant is over. Returns the fences that the rest does not wait for.
    pub fn remove_part(&mut self, grant: Keeper, part: &[BufferId]) -> Vec<(FenceId, Arc<Fence>)> {
        let Some(fences) = self.fences(grant) else { return Vec::new() };
        let mut ended = Vec::new();
        fences.retain(|id, kept| {
            kept.buffers.retain(|buffer| !part.contains(buffer));
            if kept.buffers.is_empty() {
                ended.push((*id, Arc::clone(&kept.fence)));
            }
            !kept.buffers.is_empty()
        });
        ended
    }

    fn fences(&mut self, (group, token): Keeper) -> Option<&mut Fences> {
        let mut grants = self.0.get_mut(&group)?.iter_mut();
        grants.find(|(of, _)| *of == token).map(|(_, fences)| fences)
    }

    /// The grant is over. Returns the fences.
    pub fn remove(&mut self, (group, token): Keeper) -> Vec<(FenceId, Arc<Fence>)> {
        let Some(grants) = self.0.get_mut(&group) else { return Vec::new() };
        let Some(nth) = grants.iter().position(|(of, _)| *of == token) else { return Vec::new() };
        let (_, fences) = grants.swap_remove(nth);
        if grants.is_empty() {
            self.0.remove(&group);
        }
        fences.into_iter().map(|(id, kept)| (id, kept.fence)).collect()
    }
}

/// One sync_file of release fences and of the implicit fences of these dma-bufs; `None` if all have
/// signalled.
pub(crate) fn merge(
    explicit: &[Arc<Fence>],
    implicit: &[DeviceBuffer],
) -> Result<Option<Fd>, Error> {
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
fn merge_into(merged: &mut Option<Fd>, fence: FdRef<'_>) -> Result<(), Errno> {
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

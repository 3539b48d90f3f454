// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Release fences: sync_files that clients give with an unlock. The reactor watches each until it
//! signals.
//!
//! [`take`] runs on the client's pool thread without the arbiter's mutex. [`Releases`] is the table
//! behind the mutex. A fence outlives its group: the next holder waits for it all the same.

use std::collections::HashSet;
use std::sync::Arc;

use buffersync_aidl::aidl::vendor::buffersync::ReleaseFence::MAX_FENCES;
use buffersync_engine::{BufferId, FenceId, GroupId, ReleaseFence, Time, Token};
use buffersync_kernel::dmabuf::{self, Usage};
use buffersync_kernel::fd::{AsFd, FdRef};
use buffersync_kernel::sync_file::{self, Status};
use nix::errno::Errno;

use super::{Fence, Waiting};
use crate::closer::{Closer, Descriptor};
use crate::error::Error;
use crate::events::MAX_FENCES_PER_GROUP;
use crate::quota::Quotas;
use crate::reactor::{Reactor, WaitId};
use crate::registry::DeviceBuffer;
use crate::tables::{self, ById};

/// A release fence as the client gives it.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// `None` means each buffer of the grant that is given none of its own.
    pub buffer: Option<BufferId>,
    /// Any descriptor; [`check`] looks at it.
    pub fd: FdRef<'a>,
}

/// The fences that count: all of them, but a single one that has signalled is as good as none. Refuses a
/// descriptor that is no sync_file.
pub(crate) fn check<'a>(given: &'a [Given<'a>]) -> Result<&'a [Given<'a>], Error> {
    if let Some(nth) = given.iter().position(|given| !sync_file::is_sync_file(given.fd)) {
        return Err(Error::BadFence(nth));
    }
    match given {
        // With a buffer it goes on to the engine, which checks that the buffer is the grant's.
        [one] if one.buffer.is_none() && sync_file::status(one.fd) == Status::Signalled => Ok(&[]),
        _ => Ok(given),
    }
}

/// Makes the service's own sync_files of the given ones.
pub(crate) fn take(given: &[Given<'_>], closer: &Arc<Closer>) -> Result<Vec<SyncFile>, Error> {
    given.iter().map(|given| SyncFile::new(given.fd, closer)).collect()
}

/// Puts fences into the dma-bufs that they are for, so that drivers wait for them. The ioctl takes each
/// dma-buf's reservation lock, so the caller needs a permit ([`crate::permits`]).
pub(crate) fn import(given: &[Given<'_>], devices: &[DeviceBuffer]) -> Result<(), Error> {
    for DeviceBuffer { buffer, fd, access } in devices {
        let own = given.iter().any(|given| given.buffer == Some(*buffer)).then_some(*buffer);
        for given in given.iter().filter(|given| given.buffer == own) {
            dmabuf::import_sync_file(fd.as_fd(), Usage::new(access.is_exclusive()), given.fd)
                .map_err(|_| Error::NoResources("fence slots of a dma-buf"))?;
        }
    }
    Ok(())
}

/// A given fence as a file of the service's own.
///
/// SELinux asks the receiver of a descriptor for `fd use` of the domain that *opened* the file, and a
/// duplicate is the same file. If the service handed on the giver's file, the next holder would need a
/// rule about a domain that it may not know; without the rule the kernel drops the whole reply of a
/// lock that was granted.
#[derive(Debug)]
pub(crate) struct SyncFile {
    /// A new file with those fences of the given one that have not signalled.
    file: Descriptor,
    /// One of the fences had failed by then, and with it the work, whatever becomes of the others.
    failed: bool,
}

impl SyncFile {
    fn new(given: FdRef<'_>, closer: &Arc<Closer>) -> Result<Self, Error> {
        // First only to refuse a file with too many fences: the kernel's work for a merge grows with them.
        have_failed(given)?;
        let file = sync_file::merge(given, given).map_err(|errno| match errno {
            Errno::ENOMEM => Error::NoResources("memory for a fence"),
            _ => Error::NoResources("descriptors"),
        })?;
        let file = Descriptor::new(file, closer);
        // After the merge: a fence that fails from now on is in the new file.
        let failed = have_failed(given)?;
        Ok(Self { file, failed })
    }
}

/// The number of records that the fences of these files may lead to, and how many of these are certain.
pub(crate) fn records(files: &[SyncFile]) -> (usize, usize) {
    let failed = files.iter().filter(|file| file.failed).count();
    (files.len() + failed, failed)
}

/// Whether one of the fences in a file has failed; an error if the file has too many.
fn have_failed(given: FdRef<'_>) -> Result<bool, Error> {
    let fences = sync_file::fences(given, MAX_FENCES as usize).map_err(|_| {
        Error::Quota("fences in one sync_file at most: merge fewer", MAX_FENCES as usize)
    })?;
    Ok(fences.iter().any(|fence| fence.status == Status::Failed))
}

/// The release fences that the reactor waits for.
#[derive(Default)]
pub(crate) struct Releases {
    by_id: ById<FenceId, Release>,
    /// How many each group has given. Bounded: each may become a record in the group's channel.
    by_group: ById<GroupId, usize>,
    last: u64,
}

struct Release {
    group: GroupId,
    wait: WaitId,
    fence: Arc<Fence>,
    /// The grants that wait for it, and have not ended.
    keepers: HashSet<Keeper>,
}

/// A grant that waits for a release fence.
pub(crate) type Keeper = (GroupId, Token);

/// The giver of an unlock's fences, and the end of their watches.
pub(crate) struct Giver {
    pub group: GroupId,
    pub uid: u32,
    pub until: Time,
}

/// The fences of one unlock as the engine takes them.
#[derive(Default)]
pub(crate) struct Named {
    pub fences: Vec<ReleaseFence>,
    /// Those among them that have failed already.
    pub failed: Vec<FenceId>,
}

impl Releases {
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// True if nothing is left.
    #[cfg(simulated)]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty() && self.by_group.is_empty()
    }

    pub fn get(&self, id: FenceId) -> Option<&Arc<Fence>> {
        self.by_id.get(&id).map(|release| &release.fence)
    }

    /// Notes that a grant waits for a fence.
    pub fn keep(&mut self, id: FenceId, keeper: Keeper) {
        if let Some(release) = self.by_id.get_mut(&id) {
            release.keepers.insert(keeper);
        }
    }

    /// The grant waits for the fence no more.
    pub fn let_go(&mut self, id: FenceId, keeper: Keeper) {
        if let Some(release) = self.by_id.get_mut(&id) {
            release.keepers.remove(&keeper);
        }
    }

    /// How many a group has pending, with this many more. Refuses more than it may have.
    pub fn check_room(&self, group: GroupId, more: usize) -> Result<usize, Error> {
        let pending = self.by_group.get(&group).copied().unwrap_or(0) + more;
        if pending > MAX_FENCES_PER_GROUP {
            return Err(Error::Quota(
                "pending release fences of a group at most: unlock without one, or later",
                MAX_FENCES_PER_GROUP,
            ));
        }
        Ok(pending)
    }

    /// Has the reactor watch fences: all or, on an error, none. The caller has checked that the group may have
    /// so many ([`records`], [`Releases::check_room`]).
    ///
    /// A file with a failed fence becomes a fence that has ended, and a second one if others in the file
    /// are pending: the next holder is told of the failure, and still waits for the rest.
    pub fn watch_all(
        &mut self,
        reactor: &Reactor<Waiting>,
        quotas: &mut Quotas,
        giver: &Giver,
        given: &[Given<'_>],
        files: Vec<SyncFile>,
    ) -> Result<Named, Error> {
        let mut result = Ok(());
        let mut named = Named::default();
        for (given, SyncFile { file, failed }) in given.iter().zip(files) {
            let pending = !failed || sync_file::status(file.as_fd()) == Status::Pending;
            if failed && result.is_ok() {
                named.failed.push(self.name(&mut named.fences, given.buffer));
            }
            if pending && result.is_ok() {
                let id = self.name(&mut named.fences, given.buffer);
                result = self.watch(reactor, quotas, giver, id, file);
            }
        }
        if let Err(error) = result {
            self.drop_all(reactor, &named);
            return Err(error);
        }
        Ok(named)
    }

    fn name(&mut self, fences: &mut Vec<ReleaseFence>, buffer: Option<BufferId>) -> FenceId {
        self.last += 1;
        let fence = FenceId(self.last);
        fences.push(ReleaseFence { fence, buffer });
        fence
    }

    fn watch(
        &mut self,
        reactor: &Reactor<Waiting>,
        quotas: &mut Quotas,
        giver: &Giver,
        id: FenceId,
        file: Descriptor,
    ) -> Result<(), Error> {
        let charge = quotas.charge_fence(giver.uid)?;
        let fence = Arc::new(Fence { file, _charge: charge });
        let waiting = Waiting::Release { id, fence: Arc::clone(&fence) };
        let watched = Some(Arc::clone(&fence) as _);
        let Ok(wait) = reactor.watch(watched, giver.until, waiting) else {
            return Err(Error::NoResources("descriptors to be watched"));
        };
        self.by_id.insert(id, Release { group: giver.group, wait, fence, keepers: HashSet::new() });
        *self.by_group.entry(giver.group).or_default() += 1;
        Ok(())
    }

    /// The unlock was refused: its fences are not watched any more.
    pub fn drop_all(&mut self, reactor: &Reactor<Waiting>, named: &Named) {
        named.fences.iter().for_each(|named| self.drop_one(reactor, named.fence));
    }

    /// The engine needs a fence no more.
    pub fn drop_one(&mut self, reactor: &Reactor<Waiting>, id: FenceId) {
        if let Some(release) = self.remove(id) {
            // None: the handler has the wait already, and will not find the fence here.
            drop(reactor.forget(release.wait));
        }
    }

    /// The reactor has handed out the wait for a fence. Returns the grants that wait for it.
    pub fn woke(&mut self, id: FenceId) -> Option<HashSet<Keeper>> {
        self.remove(id).map(|release| release.keepers)
    }

    fn remove(&mut self, id: FenceId) -> Option<Release> {
        let release = self.by_id.remove(&id)?;
        if let Some(count) = self.by_group.get_mut(&release.group) {
            *count -= 1;
            if *count == 0 {
                self.by_group.remove(&release.group);
            }
        }
        tables::shrink(&mut self.by_id);
        Some(release)
    }
}

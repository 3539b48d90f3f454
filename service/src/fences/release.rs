// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Fences as descriptors: release fences on their way in, acquire fences on their way out.
//!
//! The engine knows fences by number and decides who waits for which; here are the sync_files that
//! the numbers stand for. A release fence is watched by the reactor until it signals, and kept by
//! the grants that have to wait for it, so that its error can still be seen when its time is up.
//! Whoever keeps it last drops it, and with it the giver's charge. What goes out is a file of the
//! service's own, whoever made the fence (`SyncFile`). A fence that has failed when it is given ends there
//! and then, so that the next grant says so.
//!
//! Fences are made and merged by the caller's own thread, outside of the arbiter's mutex. No call
//! here waits for a fence.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use buffersync_aidl::aidl::vendor::buffersync::ReleaseFence::MAX_FENCES;
use buffersync_engine::{Access, BufferId, FenceId, GroupId, ReleaseFence, Time, Token};
use buffersync_kernel::dmabuf::{self, Usage};
use buffersync_kernel::sync_file::{self, Status};
use nix::errno::Errno;
use nix::poll::PollFlags;

use crate::arbiter::{Arbiter, Group, Locked, State, Wait, Waiting};
use crate::error::Error;
use crate::events::MAX_FENCES_PER_GROUP;
use crate::quota::Charge;
use crate::reactor::WaitId;

/// A release fence that was given with an unlock.
#[derive(Debug)]
pub struct Fence {
    own: OwnedFd,
    _charge: Charge,
}

/// A fence's sync_file.
///
/// SELinux asks whoever receives a descriptor for `fd use` of the domain that *opened* the file, and a dup
/// is the same file: if the giver's file were handed on, its next holder would need a rule about a
/// domain of which it may know nothing, and without the rule the kernel drops the whole reply, after
/// the lock was granted. So the service makes a file of its own.
#[derive(Debug)]
struct SyncFile {
    /// A new file with the same fences, but for those that have signalled already: those the kernel leaves
    /// out, and their errors with them (kernel: sync_file.c, dma_fence_unwrap_merge).
    own: OwnedFd,
    /// One of the fences had failed by then, so the work has, whatever becomes of the others.
    failed: bool,
}

impl AsFd for Fence {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.own.as_fd()
    }
}

impl SyncFile {
    fn of(given: BorrowedFd<'_>) -> Result<Self, Error> {
        have_failed(given)?;
        let own = sync_file::merge(given, given).map_err(|errno| match errno {
            Errno::ENOMEM => Error::NoResources("memory for a fence"),
            _ => Error::NoResources("descriptors"),
        })?;
        // In this order: a fence that fails from now on is in the new file.
        let failed = have_failed(given)?;
        Ok(Self { own, failed })
    }
}

/// Whether one of the fences in a file has failed. Refuses a file with too many: the kernel's work for
/// a merge grows with them.
fn have_failed(given: BorrowedFd<'_>) -> Result<bool, Error> {
    let fences = sync_file::fences(given, MAX_FENCES as usize)
        .map_err(|_| Error::Quota("a release fence is made of more than 64 fences"))?;
    Ok(fences.iter().any(|fence| fence.status == Status::Failed))
}

/// A release fence as the client hands it in: for one buffer, or for those without.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// `None`: the buffers that are given none of their own.
    pub buffer: Option<BufferId>,
    /// Anything; it is looked at here.
    pub fd: BorrowedFd<'a>,
}

/// A fence that the reactor watches. It outlives its group.
pub(crate) struct Release {
    group: GroupId,
    wait: WaitId,
    fence: Arc<Fence>,
}

/// What a grant has to wait for, buffer by buffer.
pub(crate) type Acquire = Vec<(BufferId, Arc<Fence>)>;

impl Arbiter {
    /// Ends a grant; buffers with fences are passed on as [`buffersync_engine::Engine::unlock`] says.
    pub fn unlock(&self, id: GroupId, token: Token, given: &[Given<'_>]) -> Result<(), Error> {
        let given = check(given)?;
        let own = self.take(id, token, given)?;
        self.with(|state, now| {
            state.refuse_evicted(id, token)?;
            self.end(state, id, token, given, own, now)
        })
    }

    /// As [`Arbiter::unlock`], and locks the group with this key in the same breath. On an error
    /// neither has happened.
    pub fn unlock_and_lock(
        &self,
        id: GroupId,
        token: Token,
        given: &[Given<'_>],
        key: i64,
        wait: Wait,
    ) -> Result<(GroupId, Locked), Error> {
        let given = check(given)?;
        let mut state = self.state();
        let next = state.by_key(key)?;
        let mut own = Vec::new();
        if !given.is_empty() {
            // Looked at twice: here, before a fence is put anywhere, and when it counts.
            state.check_lockable(next, id)?;
            drop(state);
            own = self.take(id, token, given)?;
            state = self.state();
        }
        // The last thing before: the fences above may be in the dma-bufs now.
        let (state, looked) = self.look_for_implicit_fences(state, next);
        self.with_state(state, |state, now| {
            state.refuse_evicted(id, token)?;
            state.check_lockable(next, id)?;
            self.end(state, id, token, given, own, now)?;
            // What the unlock led to, the next grants of its buffers, comes first.
            self.carry_out(state, now);
            Ok((next, state.lock(next, wait, looked, now)?))
        })
    }

    /// The service's own sync_files of what was given, made outside of the mutex. By then the fences are
    /// in the dma-bufs, if the group wants that.
    ///
    /// What would be refused anyway is refused first: no fence is touched for it.
    fn take(&self, id: GroupId, token: Token, given: &[Given<'_>]) -> Result<Vec<SyncFile>, Error> {
        if given.is_empty() {
            return Ok(Vec::new());
        }
        {
            let state = self.state();
            state.refuse_evicted(id, token)?;
            state.engine.held(id, token).map(|_| ()).ok_or(Error::BadToken)?;
            state.group(id)?.has_room(given.len())?;
        }
        let own: Result<Vec<_>, Error> = given.iter().map(|given| SyncFile::of(given.fd)).collect();
        let own = own?;
        self.import(id, token, given)?;
        Ok(own)
    }

    /// Ends a grant that was not taken away.
    fn end(
        &self,
        state: &mut State,
        id: GroupId,
        token: Token,
        given: &[Given<'_>],
        own: Vec<SyncFile>,
        now: Time,
    ) -> Result<(), Error> {
        let (named, failed) = self.watch_all(state, id, given, own, now)?;
        let State { engine, effects, .. } = state;
        let ended = engine.unlock_with_failed(now, id, token, &named, &failed, effects);
        if let Err(error) = ended {
            self.unwatch(state, &named);
            return Err(error.into());
        }
        state.ended(id);
        Ok(())
    }

    /// The fences that a grant has to wait for, merged; of one buffer, or of all.
    pub fn acquire_fence(
        &self,
        id: GroupId,
        token: Token,
        buffer: Option<BufferId>,
    ) -> Result<Option<OwnedFd>, Error> {
        let (explicit, implicit) = {
            let state = self.state();
            let group = state.group(id)?;
            state.refuse_evicted(id, token)?;
            let held = state.engine.held(id, token).ok_or(Error::BadToken)?;
            let chosen: Vec<(BufferId, Access)> =
                held.filter(|(held, _)| buffer.is_none_or(|buffer| buffer == *held)).collect();
            if chosen.is_empty() {
                return Err(Error::UnknownBuffer);
            }
            // One fence for many buffers is merged once.
            let explicit = group.acquire.iter();
            let explicit = explicit.filter(|(of, _)| buffer.is_none_or(|buffer| buffer == *of));
            let explicit: HashMap<*const Fence, Arc<Fence>> =
                explicit.map(|(_, fence)| (Arc::as_ptr(fence), Arc::clone(fence))).collect();
            let implicit = if group.implicit { state.devices(&chosen) } else { Vec::new() };
            (explicit, implicit)
        };
        let no_resources = |_: Errno| Error::NoResources("descriptors");
        let mut merged = None;
        for fence in explicit.values() {
            merge_into(&mut merged, fence.own.as_fd()).map_err(no_resources)?;
        }
        for (fd, access) in implicit {
            let exported = dmabuf::export_sync_file(fd.as_fd(), Usage::new(access.is_exclusive()));
            let exported = exported.map_err(no_resources)?;
            merge_into(&mut merged, exported.as_fd()).map_err(no_resources)?;
        }
        Ok(merged)
    }

    /// Puts the fences of a group of implicit fences into its dma-bufs, for those who look there.
    /// If the unlock is then refused, somebody waits for a fence that there is: no harm.
    fn import(&self, id: GroupId, token: Token, given: &[Given<'_>]) -> Result<(), Error> {
        if given.is_empty() {
            return Ok(());
        }
        let (uid, devices) = {
            let state = self.state();
            let group = state.group(id)?;
            let held = state.engine.held(id, token).filter(|_| group.implicit);
            (group.uid, held.map(|held| state.devices_by_id(held)).unwrap_or_default())
        };
        if devices.is_empty() {
            return Ok(());
        }
        // The ioctl takes the dma-buf's reservation lock, which its driver may hold for a while.
        let _permit = self.permits.enter(uid).ok_or(Error::NoResources("threads for drivers"))?;
        for (buffer, fd, access) in devices {
            let own = given.iter().any(|given| given.buffer == Some(buffer)).then_some(buffer);
            for given in given.iter().filter(|given| given.buffer == own) {
                dmabuf::import_sync_file(fd.as_fd(), Usage::new(access.is_exclusive()), given.fd)
                    .map_err(|_| Error::NoResources("fence slots of a dma-buf"))?;
            }
        }
        Ok(())
    }

    /// Has the reactor watch fences, all of them or, on an error, none. One that has failed is a fence that ends
    /// now, and, if others in its file are pending, a second one that ends with them: the next holder is told of
    /// the failure and still waits. Which have failed comes back as well.
    fn watch_all(
        &self,
        state: &mut State,
        id: GroupId,
        given: &[Given<'_>],
        own: Vec<SyncFile>,
        now: Time,
    ) -> Result<(Vec<ReleaseFence>, Vec<FenceId>), Error> {
        let count = own.iter().map(|file| 1 + usize::from(file.failed)).sum();
        let mut result = state.group(id).and_then(|group| group.has_room(count));
        let (mut named, mut failed) = (Vec::with_capacity(given.len()), Vec::new());
        for (given, SyncFile { own, failed: had_failed }) in given.iter().zip(own) {
            if result.is_err() {
                // Closed when the mutex is released.
                state.garbage.push(Arc::new(own));
                continue;
            }
            let mut name = |state: &mut State| {
                state.last_fence += 1;
                let fence = FenceId(state.last_fence);
                named.push(ReleaseFence { fence, buffer: given.buffer });
                fence
            };
            if had_failed {
                failed.push(name(state));
            }
            if had_failed && sync_file::status(own.as_fd()) != Status::Pending {
                state.garbage.push(Arc::new(own));
            } else {
                let fence = name(state);
                result = self.watch(state, id, fence, own, now);
            }
        }
        if let Err(error) = result {
            self.unwatch(state, &named);
            return Err(error);
        }
        Ok((named, failed))
    }

    fn watch(
        &self,
        state: &mut State,
        id: GroupId,
        fence: FenceId,
        own: OwnedFd,
        now: Time,
    ) -> Result<(), Error> {
        let uid = state.group(id)?.uid;
        let charge = match state.quotas.charge_fence(uid) {
            Ok(charge) => charge,
            Err(error) => {
                state.garbage.push(Arc::new(own));
                return Err(error);
            }
        };
        let kept = Arc::new(Fence { own, _charge: charge });
        // The engine has the deadline and ends the wait; the reactor's own is beyond it.
        let beyond = now.after(2 * Duration::from_millis(self.config().max_hold_ms.into()));
        let waiting = Waiting::Release { id: fence, fence: Arc::clone(&kept) };
        let watched = Arc::clone(&kept) as _;
        let wait = match self.reactor.watch(watched, PollFlags::POLLIN, beyond, waiting) {
            Ok(wait) => wait,
            Err(_) => {
                state.garbage.push(kept);
                return Err(Error::NoResources("descriptors to be watched"));
            }
        };
        state.releases.insert(fence, Release { group: id, wait, fence: kept });
        if let Some(group) = state.groups.get_mut(id) {
            group.fences += 1;
        }
        Ok(())
    }

    fn unwatch(&self, state: &mut State, named: &[ReleaseFence]) {
        for ReleaseFence { fence, .. } in named {
            self.drop_fence(state, *fence);
        }
    }

    /// Waits for a fence no more.
    pub(crate) fn drop_fence(&self, state: &mut State, fence: FenceId) {
        if let Some(release) = state.released(fence) {
            // None: it has just been woken, and will be told that there is nothing to do.
            drop(self.reactor.forget(release.wait));
            state.garbage.push(release.fence);
        }
    }

    /// A fence has signalled, or the reactor waits no longer.
    pub(crate) fn fence_woke(&self, id: FenceId, fence: &Fence) {
        let ok = sync_file::status(fence.as_fd()) == Status::Signalled;
        self.with(|state, now| {
            if let Some(release) = state.released(id) {
                state.garbage.push(release.fence);
            }
            state.engine.fence_done(now, id, ok, &mut state.effects);
        });
    }
}

impl Group {
    /// Whether so many release fences more may be pending: each may become a record in the pipe.
    fn has_room(&self, more: usize) -> Result<(), Error> {
        if self.fences + more > MAX_FENCES_PER_GROUP {
            return Err(Error::Quota("too many pending release fences of this group"));
        }
        Ok(())
    }
}

impl State {
    /// A release fence is no longer waited for.
    fn released(&mut self, fence: FenceId) -> Option<Release> {
        let release = self.releases.remove(&fence)?;
        if let Some(group) = self.groups.get_mut(release.group) {
            group.fences -= 1;
        }
        Some(release)
    }

    /// Keeps what a new grant has to wait for. What a grant that has grown waits for already stays.
    pub(crate) fn acquired(&mut self, id: GroupId, token: Token) {
        let Self { engine, groups, releases, .. } = self;
        let Some(group) = groups.get_mut(id) else { return };
        let known = |(of, kept): &(BufferId, Arc<Fence>)| (*of, Arc::as_ptr(kept));
        let before: HashSet<(BufferId, *const Fence)> = group.acquire.iter().map(known).collect();
        for (buffer, fence) in engine.acquire_fences(id, token) {
            let Some(release) = releases.get(&fence) else { continue };
            let acquired = (buffer, Arc::clone(&release.fence));
            if !before.contains(&known(&acquired)) {
                group.acquire.push(acquired);
            }
        }
    }

    fn refuse_evicted(&self, id: GroupId, token: Token) -> Result<(), Error> {
        if self.group(id)?.evicted.contains(token) {
            return Err(Error::Evicted);
        }
        Ok(())
    }

    /// The grant is over, and so is a lock that was to grow it.
    pub(crate) fn ended(&mut self, id: GroupId) {
        self.no_longer_waiting(id);
        let Some(group) = self.groups.get_mut(id) else { return };
        group.holds_no_longer(id, &self.slices);
        self.garbage.extend(group.acquire.drain(..).map(|(_, fence)| fence as _));
    }

    /// The dma-bufs that a grant has for devices.
    fn devices(&self, held: &[(BufferId, Access)]) -> Vec<(Arc<OwnedFd>, Access)> {
        let devices = self.devices_by_id(held.iter().copied());
        devices.into_iter().map(|(_, fd, access)| (fd, access)).collect()
    }

    fn devices_by_id(
        &self,
        held: impl Iterator<Item = (BufferId, Access)>,
    ) -> Vec<(BufferId, Arc<OwnedFd>, Access)> {
        held.filter(|(_, access)| access.is_dma())
            .filter_map(|(id, access)| Some((id, self.fd_of(id)?, access)))
            .collect()
    }
}

/// Looks at what was given. A single fence that has signalled is as good as none.
fn check<'a>(given: &'a [Given<'a>]) -> Result<&'a [Given<'a>], Error> {
    if given.iter().any(|given| !sync_file::is_sync_file(given.fd)) {
        return Err(Error::BadFence);
    }
    match given {
        // Which buffer it is for has to be checked all the same.
        [one] if one.buffer.is_none() && sync_file::status(one.fd) == Status::Signalled => Ok(&[]),
        _ => Ok(given),
    }
}

/// Merges a fence of the service's own into what there is. What has signalled in order need not be waited
/// for; what failed is to be seen.
fn merge_into(merged: &mut Option<OwnedFd>, fence: BorrowedFd<'_>) -> Result<(), Errno> {
    if sync_file::status(fence) == Status::Signalled {
        return Ok(());
    }
    *merged = Some(match merged {
        Some(other) => sync_file::merge(other.as_fd(), fence)?,
        None => duplicate(fence)?,
    });
    Ok(())
}

fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let duplicate = fd.try_clone_to_owned();
    duplicate.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(nix::libc::EMFILE)))
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The guard of a group that holds its buffers.
//!
//! A [`Grant`] borrows its group. So this file has every call that a group allows while it holds.
//! `ISyncGroup.aidl` has the rules of growth and fences.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use binder::ParcelFileDescriptor;
use buffersync_aidl::aidl::vendor::buffersync::ReleaseFence::ReleaseFence;
use nix::time::{clock_gettime, ClockId};

use crate::error::{Error, Result};
use crate::group::{duplicate, Acquire, Group, State};
use crate::types::{timeout_ns, Access, BufferId, GrantInfo, GrantedBuffer, Token};

/// The group holds all its buffers, and they are coherent. Unlocks when dropped.
///
/// The service takes the grant away at its deadline. Long work should check [`Grant::time_left`], or
/// poll [`Grant::event_fd`] and call [`Grant::is_evicted`]. After `std::mem::forget` the group holds
/// until the deadline; [`Group::grant`] returns the guard again.
pub struct Grant<'a> {
    group: &'a mut Group,
    ended: bool,
}

impl<'a> Grant<'a> {
    /// The guard of a group that holds.
    pub(crate) fn of(group: &'a mut Group) -> Result<Self> {
        match group.state {
            State::Holding { .. } => Ok(Self { group, ended: false }),
            _ => Err(Error::Protocol("the grant is gone")),
        }
    }
}

impl Grant<'_> {
    /// The time at which the grant is taken away: a reading of `CLOCK_MONOTONIC`.
    pub fn deadline(&self) -> Duration {
        self.info().map_or(Duration::ZERO, |grant| grant.deadline)
    }

    /// The time that is left until the deadline; zero when it has passed.
    pub fn time_left(&self) -> Duration {
        // CLOCK_MONOTONIC with a valid pointer can't fail (clock_gettime(2)).
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::MAX, Duration::from);
        self.deadline().saturating_sub(now)
    }

    /// The id of the grant.
    pub fn token(&self) -> Token {
        self.info().map_or(Token(0), |grant| grant.token)
    }

    /// The buffers, in the order in which they were added. See [`GrantedBuffer::evicted`] and
    /// [`GrantedBuffer::torn`] for their marks.
    pub fn buffers(&self) -> &[GrantedBuffer] {
        self.info().map_or(&[], |grant| &grant.buffers)
    }

    /// One buffer of the grant.
    pub fn buffer(&self, id: BufferId) -> Option<&GrantedBuffer> {
        self.buffers().iter().find(|buffer| buffer.id == id)
    }

    /// Returns the release fences of earlier holders, as one sync_file. Devices must wait for it before
    /// they begin: give it to the driver, or to [`crate::fence::wait`]. `None` if no fence is pending.
    /// If it signals an error, the content of the buffers is wrong.
    ///
    /// # Errors
    /// [`Error::Evicted`], [`Error::NoResources`], [`Error::ServiceDied`].
    pub fn acquire_fence(&self) -> Result<Option<OwnedFd>> {
        match &self.group.state {
            State::Holding { acquire: Acquire::Known(None), .. } => Ok(None),
            State::Holding { acquire: Acquire::Known(Some(fence)), .. } => {
                Ok(Some(duplicate(fence.as_fd())?.into()))
            }
            // No buffer is marked, so no fence is pending.
            State::Holding { grant, .. } if grant.buffers.iter().all(|b| !b.fenced) => Ok(None),
            _ => self.ask_for_fence(BufferId(0)),
        }
    }

    /// Like [`Grant::acquire_fence`], for one buffer.
    ///
    /// # Errors
    /// [`Error::UnknownBuffer`], and those of [`Grant::acquire_fence`].
    pub fn acquire_fence_of(&self, buffer: BufferId) -> Result<Option<OwnedFd>> {
        match self.buffer(buffer) {
            None => Err(Error::UnknownBuffer),
            Some(granted) if !granted.fenced => Ok(None),
            Some(_) => self.ask_for_fence(buffer),
        }
    }

    fn ask_for_fence(&self, buffer: BufferId) -> Result<Option<OwnedFd>> {
        let fence = self.group.remote()?.getAcquireFence(self.token().0, buffer.0)?;
        Ok(fence.map(Into::into))
    }

    /// The group's event channel. It is readable when the grant is taken away, and may be readable when it is not:
    /// [`Grant::is_evicted`] tells.
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.group.event_fd()
    }

    /// Tells if the grant was taken away. Reads the event channel without blocking.
    ///
    /// # Errors
    /// [`Error::ServiceDied`].
    pub fn is_evicted(&mut self) -> Result<bool> {
        while !self.known_evicted() && self.group.read_event()?.is_some() {}
        Ok(self.known_evicted())
    }

    /// Adds a dma-buf, or a stronger access to one that the group holds; [`Grant::grow`] gets it.
    ///
    /// # Errors
    /// Those of [`Group::add`].
    pub fn add(&mut self, fd: impl AsFd, access: Access) -> Result<BufferId> {
        self.group.add(fd, access)
    }

    /// Removes one buffer that was added and is not held.
    ///
    /// # Errors
    /// [`Error::UnknownBuffer`]; [`Error::Busy`] if it is held.
    pub fn remove(&mut self, buffer: BufferId) -> Result<()> {
        self.group.remove(buffer)
    }

    /// Gets the buffers that were added since the grant. Waits up to `timeout` (`None`: no time-out).
    /// The deadline stays the same, and the group keeps what it holds even if this call fails.
    ///
    /// # Errors
    /// [`Error::Deadlock`]: unlock, and lock the group again; the new lock includes the added buffers
    /// and has the old ticket while that lives. [`Error::Evicted`]: the deadline came first.
    /// [`Error::AlreadyLocked`] if nothing was added. [`Error::TimedOut`], [`Error::LockFailed`],
    /// [`Error::Quota`], [`Error::EventsUnread`], [`Error::ServiceDied`].
    pub fn grow(&mut self, timeout: impl Into<Option<Duration>>) -> Result<()> {
        if !self.group.request(Some(timeout_ns(timeout.into())))? {
            self.group.await_grant(None)?;
        }
        Ok(())
    }

    /// Like [`Grant::grow`], if nobody else holds one of the buffers or waits for one.
    ///
    /// # Errors
    /// [`Error::WouldBlock`], and those of [`Grant::grow`] except [`Error::TimedOut`].
    pub fn try_grow(&mut self) -> Result<()> {
        if !self.group.request(None)? {
            self.group.await_grant(None)?;
        }
        Ok(())
    }

    /// Ends the grant; the work on the buffers is finished.
    ///
    /// # Errors
    /// [`Error::Evicted`] if it was taken away before: data that was read may be torn, and data that
    /// was written may be lost. [`Error::ServiceDied`].
    pub fn unlock(mut self) -> Result<()> {
        self.release(Vec::new(), None)
    }

    /// Ends the grant. The work on the buffers ends when `fence`, a sync_file, has signalled. A device
    /// that is next is granted the buffers at once, with the fence; the CPU when the fence has
    /// signalled. A fence that fails, or has not signalled when the group's hold limit has passed from
    /// now, counts as an eviction ([`crate::Event::Evicted`]).
    ///
    /// If the service can't take the fence (a quota, descriptors), or if it is not clear that it has, this call
    /// waits for the fence, until the deadline, and then unlocks.
    ///
    /// # Errors
    /// [`Error::BadFence`] if it is not a sync_file: then the grant has ended without it, as if
    /// dropped. [`Error::Evicted`], [`Error::ServiceDied`].
    pub fn unlock_with_fence(self, fence: OwnedFd) -> Result<()> {
        self.unlock_with_fences(Vec::new(), Some(fence))
    }

    /// Like [`Grant::unlock_with_fence`], with fences for single buffers and one for the rest. The work
    /// on a buffer without a fence is finished.
    ///
    /// # Errors
    /// [`Error::UnknownBuffer`] for a buffer that the grant does not have: then the grant has ended
    /// without fences, as if dropped. Those of [`Grant::unlock_with_fence`].
    pub fn unlock_with_fences(
        mut self,
        each: Vec<(BufferId, OwnedFd)>,
        rest: Option<OwnedFd>,
    ) -> Result<()> {
        self.release(each, rest)
    }

    /// Ends the grant like [`Grant::unlock`], and locks `next` like [`Group::lock`], in one call of the
    /// service, for a pipeline that has a group per frame. If the request fails, or `next` holds or
    /// waits ([`Error::AlreadyLocked`]), nothing is locked, and the grant has ended, as if dropped.
    ///
    /// ```no_run
    /// # use buffersync_client::{Error, Group};
    /// # fn work(_: &mut Group) {}
    /// # fn f(mut frames: [Group; 2]) -> Result<(), Error> {
    /// let [first, second] = &mut frames;
    /// let grant = first.lock(None)?;
    /// let grant = grant.unlock_and_lock(second, None)?; // one round trip
    /// grant.unlock_and_lock(first, None)?.unlock()
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Grant::unlock`] and of [`Group::lock`].
    pub fn unlock_and_lock<'next>(
        self,
        next: &'next mut Group,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<Grant<'next>> {
        self.unlock_with_fences_and_lock(Vec::new(), None, next, timeout)
    }

    /// Like [`Grant::unlock_and_lock`], with fences like [`Grant::unlock_with_fences`]. This call does
    /// not wait for fences that the service can't take: [`Error::Quota`], [`Error::NoResources`].
    ///
    /// # Errors
    /// Those of [`Grant::unlock_with_fences`] and of [`Group::lock`].
    pub fn unlock_with_fences_and_lock<'next>(
        mut self,
        each: Vec<(BufferId, OwnedFd)>,
        rest: Option<OwnedFd>,
        next: &'next mut Group,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<Grant<'next>> {
        if !self.exchange(each, rest, next, timeout_ns(timeout.into()))? {
            next.await_grant(None)?;
        }
        Grant::of(next)
    }

    /// The request of [`Grant::unlock_with_fences_and_lock`]. Returns true if `next` is granted at once.
    /// After an error that does not end the grant, it goes on until it is dropped.
    pub(crate) fn exchange(
        &mut self,
        each: Vec<(BufferId, OwnedFd)>,
        rest: Option<OwnedFd>,
        next: &mut Group,
        timeout_ns: i64,
    ) -> Result<bool> {
        let (fences, token) = (given(each, rest), self.token().0);
        let group = self.group.remote()?;
        let reply = next.with_room(|next| match fences.is_empty() {
            true => Ok(group.unlockAndLock(token, next.key, timeout_ns)?),
            false => Ok(group.unlockWithFencesAndLock(token, &fences, next.key, timeout_ns)?),
        });
        if reply.is_err() || !fences.is_empty() {
            self.group.may_hear_later();
        }
        self.ended =
            matches!(reply, Ok(_) | Err(Error::Evicted | Error::BadToken | Error::ServiceDied));
        next.accept(reply?)
    }

    /// Tells if the service has ended the grant.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Like [`Grant::unlock_with_fences`], but after [`Error::BadFence`] and [`Error::UnknownBuffer`]
    /// the grant goes on until it is dropped.
    pub(crate) fn release(
        &mut self,
        each: Vec<(BufferId, OwnedFd)>,
        rest: Option<OwnedFd>,
    ) -> Result<()> {
        let fences = given(each, rest);
        let unclear = match self.end(&fences) {
            Err(Error::Quota | Error::NoResources) if !fences.is_empty() => false,
            // The kernel could not deliver the request or the reply, mostly for want of a descriptor.
            Err(Error::Binder(_)) => true,
            result => return result,
        };
        for fence in fences.iter().filter_map(|given| given.fence.as_ref()) {
            // An error is ignored: at the deadline the grant is over in any case.
            let _ = crate::fence::wait(fence.as_ref(), self.time_left());
        }
        match self.end(&[]) {
            // The first request was done, and only its reply was lost.
            Err(Error::BadToken) if unclear => Ok(()),
            result => result,
        }
    }

    /// Ends the grant. If the service refuses the fences, or if it is not clear what it has done, the grant goes on;
    /// every other answer ends it.
    fn end(&mut self, fences: &[ReleaseFence]) -> Result<()> {
        let (group, token) = (self.group.remote()?, self.token().0);
        let result = match fences.is_empty() {
            true => group.unlock(token),
            false => group.unlockWithFences(token, fences),
        };
        let result = result.map_err(Error::from);
        self.ended = !matches!(
            result,
            Err(Error::BadFence
                | Error::UnknownBuffer
                | Error::Quota
                | Error::NoResources
                | Error::Binder(_))
        );
        if result.is_err() || !fences.is_empty() {
            self.group.may_hear_later();
        }
        result
    }

    /// Tells if the group holds the buffer with at least this access, and has this mapping.
    pub(crate) fn holds_mapped(&self, id: BufferId, access: Access, mapping: &Arc<()>) -> bool {
        self.group.members.holds_mapped(id, access, mapping)
    }

    pub(crate) fn group_mut(&mut self) -> &mut Group {
        self.group
    }

    fn info(&self) -> Option<&GrantInfo> {
        match &self.group.state {
            State::Holding { grant, .. } => Some(grant),
            // Can't happen: the guard borrows the group while it holds.
            _ => None,
        }
    }

    fn known_evicted(&self) -> bool {
        matches!(self.group.state, State::Holding { evicted: true, .. })
    }
}

/// Converts release fences to AIDL.
fn given(each: Vec<(BufferId, OwnedFd)>, rest: Option<OwnedFd>) -> Vec<ReleaseFence> {
    each.into_iter()
        .chain(rest.map(|fence| (BufferId(0), fence)))
        .map(|(buffer, fence)| ReleaseFence {
            bufferId: buffer.0,
            fence: Some(ParcelFileDescriptor::new(fence)),
        })
        .collect()
}

impl Drop for Grant<'_> {
    fn drop(&mut self) {
        if !self.ended {
            // An error is ignored: after an eviction or a death the grant is gone in any case.
            let _ = self.end(&[]);
        }
        self.group.released();
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The guard of a group's main lock.
//!
//! A [`Grant`] borrows its group. So this file has every call that is possible during a grant.
//! `ISyncGroup.aidl` has the rules of growth and fences.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::group::{given, Group, TRY};
use crate::types::{timeout_ns, Access, BufferId, GrantInfo, GrantedBuffer, LockId};

/// The main lock is granted: it holds the group's buffers, and they are coherent. Unlocks when dropped.
///
/// The service takes the grant away at its deadline. Long work should check [`Grant::time_left`], or
/// poll [`Grant::event_fd`] and call [`Grant::is_evicted`]. After `std::mem::forget` the grant lasts
/// until the deadline; [`Group::grant`] returns the guard again.
pub struct Grant<'a> {
    group: &'a mut Group,
    /// The main lock. Without its record the grant has ended.
    id: LockId,
}

impl<'a> Grant<'a> {
    /// The guard of a main lock that is granted.
    pub(crate) fn of(group: &'a mut Group) -> Result<Self> {
        match group.locks.main() {
            Some(lock) if lock.grant.is_some() => {
                let id = lock.id;
                Ok(Self { group, id })
            }
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
        self.group.time_left(self.id)
    }

    /// The number of the lock.
    pub fn id(&self) -> LockId {
        self.id
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
        self.group.acquire_fence(self.id)
    }

    /// Like [`Grant::acquire_fence`], for one buffer.
    ///
    /// # Errors
    /// [`Error::UnknownBuffer`], and those of [`Grant::acquire_fence`].
    pub fn acquire_fence_of(&self, buffer: BufferId) -> Result<Option<OwnedFd>> {
        self.group.acquire_fence_of(self.id, buffer)
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
        while !self.known_evicted() && self.group.absorb()? {}
        Ok(self.known_evicted())
    }

    /// Adds a dma-buf, or a stronger access to one that the grant has; [`Grant::grow`] gets it.
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
    /// The deadline stays the same, and the grant keeps what it has even if this call fails.
    ///
    /// # Errors
    /// [`Error::Deadlock`]: unlock, and lock the group again; the new lock includes the added buffers
    /// and has the old ticket while that lives. [`Error::Evicted`]: the deadline came first.
    /// [`Error::AlreadyLocked`] if nothing was added. [`Error::TimedOut`], [`Error::LockFailed`],
    /// [`Error::Quota`], [`Error::EventsUnread`], [`Error::ServiceDied`]. After [`Error::ReplyLost`] the
    /// grant has what [`Grant::buffers`] says.
    pub fn grow(&mut self, timeout: impl Into<Option<Duration>>) -> Result<()> {
        if !self.group.request_growth(self.id, &[], timeout_ns(timeout.into()))? {
            self.group.await_grant(self.id, None)?;
        }
        Ok(())
    }

    /// Like [`Grant::grow`], if nobody else holds one of the buffers or waits for one.
    ///
    /// # Errors
    /// [`Error::WouldBlock`], and those of [`Grant::grow`] except [`Error::TimedOut`].
    pub fn try_grow(&mut self) -> Result<()> {
        if !self.group.request_growth(self.id, &[], TRY)? {
            self.group.await_grant(self.id, None)?;
        }
        Ok(())
    }

    /// Ends the grant; the work on the buffers is finished.
    ///
    /// # Errors
    /// [`Error::Evicted`] if it was taken away before: data that was read may be torn, and data that
    /// was written may be lost. [`Error::ServiceDied`]. [`Error::ReplyLost`]: it is over for this group,
    /// and the next request ends it if the service still has it.
    pub fn unlock(self) -> Result<()> {
        self.unlock_with_fences(Vec::new(), None)
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
        self,
        each: Vec<(BufferId, OwnedFd)>,
        rest: Option<OwnedFd>,
    ) -> Result<()> {
        self.group.release(self.id, &given(each, rest))
    }

    /// Ends the grant like [`Grant::unlock`], and locks the group again like [`Group::lock`], in one call
    /// of the service. Others that wait for the buffers come first. If the request fails, nothing is
    /// locked, and the grant has ended, as if dropped. (If its reply was lost, both have ended:
    /// [`Error::ReplyLost`].)
    ///
    /// ```no_run
    /// # use buffersync_client::{Error, Group};
    /// # fn work(_: &mut Group) {}
    /// # fn f(mut frame: Group) -> Result<(), Error> {
    /// let grant = frame.lock(None)?;
    /// let grant = grant.unlock_and_lock(None)?; // one round trip
    /// grant.unlock()
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Grant::unlock`] and of [`Group::lock`].
    pub fn unlock_and_lock(self, timeout: impl Into<Option<Duration>>) -> Result<Self> {
        self.unlock_with_fences_and_lock(Vec::new(), None, timeout)
    }

    /// Like [`Grant::unlock_and_lock`], with fences like [`Grant::unlock_with_fences`]. If the service refuses
    /// the call, nothing is locked, and the grant ends with its fences as by [`Grant::unlock_with_fences`].
    ///
    /// # Errors
    /// Those of [`Grant::unlock_with_fences`] and of [`Group::lock`].
    pub fn unlock_with_fences_and_lock(
        mut self,
        each: Vec<(BufferId, OwnedFd)>,
        rest: Option<OwnedFd>,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<Self> {
        self.group.keep_up()?;
        let (fences, timeout_ns) = (given(each, rest), timeout_ns(timeout.into()));
        let (id, granted) = match self.group.request_exchange(self.id, &fences, &[], timeout_ns) {
            Ok(asked) => asked,
            Err(error) => {
                // The guard's own unlock would hand the buffers on without the fences.
                if !fences.is_empty() && self.group.locks.find(self.id).is_some() {
                    let _ = self.group.release(self.id, &fences);
                }
                return Err(error);
            }
        };
        self.id = id;
        if !granted {
            self.group.await_grant(id, None)?;
        }
        Ok(self)
    }

    /// Tells if the grant has the buffer with at least this access, and the group has this mapping.
    pub(crate) fn holds_mapped(&self, id: BufferId, access: Access, mapping: &Arc<()>) -> bool {
        self.group.members.holds_mapped(id, access, mapping)
    }

    pub(crate) fn group_mut(&mut self) -> &mut Group {
        self.group
    }

    fn info(&self) -> Option<&GrantInfo> {
        // `None` can't happen: the guard borrows the group during the grant.
        self.group.locks.find(self.id)?.grant.as_ref()
    }

    fn known_evicted(&self) -> bool {
        self.group.locks.find(self.id).is_some_and(|lock| lock.evicted)
    }
}

impl Drop for Grant<'_> {
    fn drop(&mut self) {
        if self.group.locks.find(self.id).is_some() {
            // An error is ignored: after an eviction or a death the grant is gone in any case.
            let _ = self.group.release(self.id, &[]);
            self.group.give_up(self.id);
        }
    }
}

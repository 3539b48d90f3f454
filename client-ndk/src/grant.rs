// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The guard of a lock that is granted. `ISyncGroup.aidl` has the rules of growth and fences.

use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::time::Duration;

use buffersync_client_core::{
    Access, BufferId, Error, Fences, GrantInfo, GrantedBuffer, LockId, Result,
};

use crate::group::{named, Group};

/// A lock is granted: it holds its buffers, and they are coherent. Unlocks when dropped.
///
/// The service takes the grant away at its deadline. Long work should check [`Grant::time_left`], or
/// poll the group's descriptor and call [`Grant::is_evicted`]. After `std::mem::forget` the grant lasts
/// until the deadline.
#[must_use = "a grant that is dropped is unlocked"]
#[derive(Debug)]
pub struct Grant {
    group: Group,
    id: LockId,
    /// As it was when it was granted, less what was let go since. Copied from the core when somebody asks.
    info: OnceLock<GrantInfo>,
    /// The core has no record of it any more.
    ended: bool,
}

impl Grant {
    pub(crate) fn new(group: &Group, id: LockId) -> Self {
        Self { group: group.clone(), id, info: OnceLock::new(), ended: false }
    }

    fn info(&self) -> Option<&GrantInfo> {
        if self.info.get().is_none() {
            let info = self.group.core().known_grant(self.id).ok()?;
            return Some(self.info.get_or_init(|| info));
        }
        self.info.get()
    }

    /// The number of the lock.
    pub fn id(&self) -> LockId {
        self.id
    }

    /// The group of the lock.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// The buffers, in the order in which the lock named them, or in which they were added. See
    /// [`GrantedBuffer::evicted`] and [`GrantedBuffer::torn`] for their marks.
    pub fn buffers(&self) -> &[GrantedBuffer] {
        self.info().map_or(&[], |info| &info.buffers)
    }

    /// One buffer of the grant.
    pub fn buffer(&self, id: BufferId) -> Option<&GrantedBuffer> {
        self.buffers().iter().find(|buffer| buffer.id == id)
    }

    /// The time at which the grant is taken away: a reading of `CLOCK_MONOTONIC`. `None` while it has no deadline
    /// ([`crate::HoldFrom::Conflict`]).
    pub fn deadline(&self) -> Option<Duration> {
        // A CONTENDED event may have given it one.
        self.group.core().deadline(self.id())
    }

    /// The time that is left until the deadline; zero when it has passed; `None` while it has no deadline.
    pub fn time_left(&self) -> Option<Duration> {
        self.group.core().time_left(self.id())
    }

    /// Tells if the grant was taken away. Reads the group's events without blocking.
    ///
    /// # Errors
    /// [`Error::ServiceDied`].
    pub fn is_evicted(&self) -> Result<bool> {
        match self.group.core().granted(self.id()) {
            Ok(_) => Ok(false),
            Err(Error::Evicted { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Returns the release fences of earlier holders, as one sync_file. Devices must wait for it before
    /// they begin: give it to the driver, or to [`crate::fence::wait`]. `None` if no fence is pending.
    /// If it signals an error, the content of the buffers is wrong.
    ///
    /// # Errors
    /// [`Error::Evicted`], [`Error::NoResources`], [`Error::ServiceDied`].
    pub fn acquire_fence(&self) -> Result<Option<OwnedFd>> {
        self.group.core().acquire_fence(self.id(), None)
    }

    /// Like [`Grant::acquire_fence`], for one buffer.
    ///
    /// # Errors
    /// [`Error::UnknownBuffer`], and those of [`Grant::acquire_fence`].
    pub fn acquire_fence_of(&self, buffer: BufferId) -> Result<Option<OwnedFd>> {
        self.group.core().acquire_fence(self.id(), Some(buffer))
    }

    /// Adds what the group has and this grant lacks: buffers that were added since, or stronger accesses. Waits up to
    /// `timeout` (`None`: no time-out). The deadline stays the same, and the grant keeps what it has even if this call
    /// fails.
    ///
    /// # Errors
    /// [`Error::Deadlock`]: unlock, and lock everything again; the new lock has the old ticket while that lives.
    /// [`Error::Evicted`]: the deadline came first. [`Error::AlreadyLocked`] if it lacks nothing, or if another lock of
    /// the group has a buffer. [`Error::TimedOut`], [`Error::LockFailed`], [`Error::Quota`], [`Error::EventsUnread`],
    /// [`Error::ServiceDied`]. After [`Error::ReplyLost`] the grant has what [`Grant::buffers`] says.
    pub fn grow(&mut self, timeout: impl Into<Option<Duration>>) -> Result<()> {
        let grown = self.group.core().grow(self.id(), &[], timeout);
        self.after_growth(grown)
    }

    /// Like [`Grant::grow`], for these buffers, each with an access.
    ///
    /// # Errors
    /// [`Error::UnknownBuffer`], [`Error::AccessConflict`], [`Error::IllegalArgument`] if none is named, and those of
    /// [`Grant::grow`].
    pub fn grow_some(
        &mut self,
        wants: &[(BufferId, Access)],
        timeout: impl Into<Option<Duration>>,
    ) -> Result<()> {
        let grown = self.group.core().grow(self.id(), named(wants)?, timeout);
        self.after_growth(grown)
    }

    /// Like [`Grant::grow`], if nobody else holds one of the buffers or waits for one.
    ///
    /// # Errors
    /// [`Error::WouldBlock`], and those of [`Grant::grow`] except [`Error::TimedOut`].
    pub fn try_grow(&mut self) -> Result<()> {
        let grown = self.group.core().try_grow(self.id(), &[]);
        self.after_growth(grown)
    }

    /// Forgets what the grant had before.
    pub(crate) fn after_growth(&mut self, grown: Result<()>) -> Result<()> {
        self.info.take();
        grown
    }

    /// Makes exclusive accesses of the grant shared, when the writes are finished; none named: all of them. Readers
    /// that wait are then granted. [`Grant::grow_some`] can make an access exclusive again.
    ///
    /// # Errors
    /// [`Error::Evicted`], [`Error::UnknownBuffer`]. After [`Error::ReplyLost`] call again.
    pub fn downgrade(&mut self, buffers: &[BufferId]) -> Result<()> {
        self.group.core().downgrade(self.id(), buffers)
    }

    /// Ends the grant; the work on the buffers is finished.
    ///
    /// # Errors
    /// [`Error::Evicted`] if it was taken away before: data that was read may be torn, and data that
    /// was written may be lost. [`Error::ServiceDied`]. [`Error::ReplyLost`]: it is over for this group,
    /// and the next request ends it if the service still has it.
    pub fn unlock(self) -> Result<()> {
        self.unlock_with(Fences::NONE)
    }

    /// Ends the grant. The work on its buffers ends when their fences have signalled: one fence for all of them, or
    /// fences of single buffers ([`Fences`]).
    ///
    /// If the service can't take the fences (a quota, descriptors), or if it is not clear that it has, this call
    /// waits for them, until the deadline, and then unlocks.
    ///
    /// # Errors
    /// [`Error::BadFence`] if one is not a sync_file, [`Error::UnknownBuffer`] for a buffer that the grant does not
    /// have: then the grant has ended without fences, as if dropped. Those of [`Grant::unlock`].
    pub fn unlock_with(mut self, fences: impl Into<Fences>) -> Result<()> {
        let unlocked = self.group.core().unlock(self.id(), fences);
        // After an error the lock may be there: dropping the guard ends it.
        self.ended = unlocked.is_ok();
        unlocked
    }

    /// Ends a part of the grant, with fences as in [`Grant::unlock_with`] or with [`Fences::NONE`]. The grant goes on
    /// for the rest, with the same deadline; without a rest it has ended.
    ///
    /// # Errors
    /// [`Error::UnknownBuffer`], [`Error::BadFence`]: the grant goes on as it was. [`Error::Evicted`],
    /// [`Error::ServiceDied`]. After [`Error::ReplyLost`] it is not clear if the buffers were let go: call again, and
    /// [`Error::UnknownBuffer`] means that they were.
    pub fn unlock_buffers(
        &mut self,
        buffers: &[BufferId],
        fences: impl Into<Fences>,
    ) -> Result<()> {
        self.group.core().unlock_buffers(self.id(), buffers, fences)?;
        self.info.take();
        Ok(())
    }

    /// Ends the grant like [`Grant::unlock`], and locks all buffers of the group like [`Group::lock`], in one call
    /// of the service. Others that wait for the buffers come first. If the request fails, nothing is
    /// locked, and the grant has ended, as if dropped.
    ///
    /// ```no_run
    /// # use buffersync_client::{Error, Group};
    /// # fn f(frame: Group) -> Result<(), Error> {
    /// let grant = frame.lock(None)?;
    /// let grant = grant.unlock_and_lock(None)?; // one round trip
    /// grant.unlock()
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Grant::unlock`] and of [`Group::lock`].
    pub fn unlock_and_lock(self, timeout: impl Into<Option<Duration>>) -> Result<Self> {
        self.exchange(Fences::NONE, &[], timeout.into())
    }

    /// Like [`Grant::unlock_and_lock`], with fences like [`Grant::unlock_with`]. If the service refuses
    /// the call, nothing is locked, and the grant ends with its fences as by [`Grant::unlock_with`].
    ///
    /// # Errors
    /// Those of [`Grant::unlock_with`] and of [`Group::lock`].
    pub fn unlock_with_and_lock(
        self,
        fences: impl Into<Fences>,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<Self> {
        self.exchange(fences.into(), &[], timeout.into())
    }

    /// Like [`Grant::unlock_with_and_lock`], but locks these buffers, each with an access.
    ///
    /// # Errors
    /// Those of [`Grant::unlock_with`] and of [`Group::lock_some`].
    pub fn unlock_with_and_lock_some(
        self,
        fences: impl Into<Fences>,
        wants: &[(BufferId, Access)],
        timeout: impl Into<Option<Duration>>,
    ) -> Result<Self> {
        match named(wants) {
            Ok(wants) => self.exchange(fences.into(), wants, timeout.into()),
            Err(error) => {
                // Dropping the guard would hand the buffers on without the fences.
                let _ = self.unlock_with(fences);
                Err(error)
            }
        }
    }

    fn exchange(
        mut self,
        fences: Fences,
        wants: &[(BufferId, Access)],
        timeout: Option<Duration>,
    ) -> Result<Self> {
        let next = self.group.core().unlock_and_lock_guarded(self.id(), fences, wants, timeout)?;
        self.ended = true;
        Ok(self.group.granted(next))
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if !self.ended {
            self.group.core().drop_lock(self.id());
        }
    }
}

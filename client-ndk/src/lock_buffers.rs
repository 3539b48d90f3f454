// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The calls of locks by number: a group can have many at once, each of some of its buffers.
//!
//! Such a lock has no guard. It lasts until it is unlocked by its number, or until its deadline.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use buffersync_aidl::reply;

use crate::error::{Error, Result};
use crate::group::{duplicate, given, lost, Group, Started, MALFORMED, TRY};
use crate::locks::Acquire;
use crate::types::{timeout_ns, Access, BufferId, GrantInfo, LockId, LockStatus};

impl Group {
    /// Locks some buffers of the group, each with an access; none named: all buffers with the access of
    /// [`Group::add`]. Waits for other holders up to `timeout` (`None`: no time-out). The group can have
    /// other locks meanwhile, of other buffers or with shared accesses.
    ///
    /// ```no_run
    /// # use buffersync_client::{Access, BufferId, Error, Group};
    /// # fn f(group: &mut Group, frame: BufferId, other: BufferId) -> Result<(), Error> {
    /// let first = group.lock_buffers(&[(frame, Access::Write)], None)?;
    /// let second = group.lock_buffers(&[(other, Access::Read)], None)?;
    /// group.unlock_buffers(first, &[], Vec::new(), None)?;
    /// group.unlock_buffers(second, &[], Vec::new(), None)
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::AlreadyLocked`] if another lock of this group has one of the buffers with a conflicting
    /// access, or waits for it. [`Error::UnknownBuffer`], [`Error::AccessConflict`], [`Error::TimedOut`],
    /// [`Error::LockFailed`], [`Error::EmptyGroup`], [`Error::Quota`], [`Error::EventsUnread`],
    /// [`Error::ServiceDied`]. After [`Error::ReplyLost`] nothing is locked.
    pub fn lock_buffers(
        &mut self,
        wants: &[(BufferId, Access)],
        timeout: impl Into<Option<Duration>>,
    ) -> Result<LockId> {
        self.keep_up()?;
        let (id, granted) = self.request_lock(wants, timeout_ns(timeout.into()))?;
        self.await_new(id, granted)
    }

    /// Like [`Group::lock_buffers`], if nobody else holds one of the buffers or waits for one. May still
    /// wait for cache maintenance.
    ///
    /// # Errors
    /// [`Error::WouldBlock`], and those of [`Group::lock_buffers`] except [`Error::TimedOut`].
    pub fn try_lock_buffers(&mut self, wants: &[(BufferId, Access)]) -> Result<LockId> {
        self.keep_up()?;
        let (id, granted) = self.request_lock(wants, TRY)?;
        self.await_new(id, granted)
    }

    /// Asks for the lock and returns at once, like [`Group::start_lock`]. Events name the lock by the
    /// number that this call returns.
    ///
    /// # Errors
    /// Those of [`Group::lock_buffers`].
    pub fn start_lock_buffers(
        &mut self,
        wants: &[(BufferId, Access)],
        timeout: impl Into<Option<Duration>>,
    ) -> Result<(LockId, Started)> {
        let (id, granted) = self.request_lock(wants, timeout_ns(timeout.into()))?;
        Ok((id, Started::of(granted)))
    }

    /// Returns the grant of a lock. `None` if the lock waits for it, has ended, or was taken away, as far
    /// as its events were read.
    pub fn granted(&self, lock: LockId) -> Option<&GrantInfo> {
        let lock = self.locks.find(lock).filter(|lock| !lock.evicted)?;
        lock.grant.as_ref()
    }

    /// Adds buffers, or stronger accesses, to a grant. Its deadline stays the same, and it keeps what it
    /// has even if this call fails.
    ///
    /// # Errors
    /// [`Error::Deadlock`]: unlock the lock, and lock everything; the new lock has the old ticket while
    /// that lives. [`Error::AlreadyLocked`] if the lock has all of this, or as in
    /// [`Group::lock_buffers`]. [`Error::Busy`] if it waits. [`Error::Evicted`], [`Error::Ended`], and
    /// the other errors of [`Group::lock_buffers`]. After [`Error::ReplyLost`] the grant has what
    /// [`Group::granted`] says.
    pub fn grow_buffers(
        &mut self,
        lock: LockId,
        wants: &[(BufferId, Access)],
        timeout: impl Into<Option<Duration>>,
    ) -> Result<()> {
        if !self.request_growth(lock, wants, timeout_ns(timeout.into()))? {
            self.await_grant(lock, None)?;
        }
        Ok(())
    }

    /// Takes back what waits: a lock ends, or a growth ends and its grant goes on as it was. No event follows.
    ///
    /// # Errors
    /// [`Error::NotQueued`] if the lock does not wait. If it was granted or has ended meanwhile,
    /// [`Group::read_event`] reports it.
    pub fn cancel_lock(&mut self, lock: LockId) -> Result<()> {
        let waits = |group: &Self| group.locks.find(lock).is_some_and(|lock| lock.waiting);
        if !waits(self) {
            return Err(Error::NotQueued);
        }
        let call = || -> Result<()> { Ok(self.remote()?.cancel(lock.0)?) };
        let result = match call() {
            Err(Error::Binder(_)) => match call() {
                // Without a record of its end, the lock was cancelled by the first request.
                Err(Error::NotQueued | Error::Ended | Error::Evicted) => {
                    while waits(self) && self.absorb()? {}
                    waits(self).then_some(()).ok_or(Error::NotQueued)
                }
                result => result,
            },
            Err(Error::Ended | Error::Evicted) => Err(Error::NotQueued),
            result => result,
        };
        result.map_err(lost)?;
        match self.locks.find_mut(lock) {
            Some(granted) if granted.grant.is_some() => granted.waiting = false,
            _ => self.forget(lock),
        }
        Ok(())
    }

    /// Ends a part of a grant, or a lock. The work on the buffers is finished, or ends when their fences
    /// have signalled: `each` has fences for single buffers, `rest` is for the others. After a part the
    /// grant goes on for the rest. The call may wait for fences, as [`crate::Grant::unlock_with_fence`] does.
    ///
    /// `buffers` empty: ends the lock, whatever it is: a grant, a growth with its grant, or a lock that
    /// waits.
    ///
    /// # Errors
    /// [`Error::Evicted`] if the grant was taken away before; without named buffers the lock has ended
    /// now. [`Error::Ended`]. [`Error::BadFence`], [`Error::UnknownBuffer`], [`Error::Busy`] if a part of
    /// a lock that waits is named, [`Error::EventsUnread`]: the lock goes on as it was. After
    /// [`Error::ReplyLost`] the lock has ended. But if buffers were named, it is not clear if they were let
    /// go: call again, and [`Error::UnknownBuffer`] means that they were.
    pub fn unlock_buffers(
        &mut self,
        lock: LockId,
        buffers: &[BufferId],
        each: Vec<(BufferId, OwnedFd)>,
        rest: Option<OwnedFd>,
    ) -> Result<()> {
        let fences = given(each, rest);
        if !buffers.is_empty() {
            return self.release_part(lock, buffers, &fences);
        }
        self.locks.find(lock).ok_or(Error::Ended)?;
        self.release(lock, &fences)
    }

    /// Makes exclusive accesses of a grant shared, when the writes are finished; none named: all of them.
    /// Readers that wait are then granted. [`Group::grow_buffers`] can make an access exclusive again.
    ///
    /// # Errors
    /// [`Error::Evicted`], [`Error::Ended`], [`Error::UnknownBuffer`]; [`Error::Busy`] if the lock waits.
    /// After [`Error::ReplyLost`] call again.
    pub fn downgrade(&mut self, lock: LockId, buffers: &[BufferId]) -> Result<()> {
        self.share(lock, buffers)
    }

    /// Ends a grant, with fences like [`Group::unlock_buffers`], and locks buffers like
    /// [`Group::lock_buffers`], in one call of the service. Both happen, or neither. This call does not
    /// wait for fences that the service can't take.
    ///
    /// # Errors
    /// Those of both calls. [`Error::Evicted`]: the old grant had been taken away, and nothing is locked.
    /// [`Error::TimedOut`], [`Error::LockFailed`]: the old grant has ended. After [`Error::ReplyLost`]
    /// both have ended. After any other error the old grant goes on.
    pub fn unlock_and_lock_buffers(
        &mut self,
        done: LockId,
        each: Vec<(BufferId, OwnedFd)>,
        rest: Option<OwnedFd>,
        wants: &[(BufferId, Access)],
        timeout: impl Into<Option<Duration>>,
    ) -> Result<LockId> {
        self.keep_up()?;
        let (fences, timeout_ns) = (given(each, rest), timeout_ns(timeout.into()));
        let (id, granted) = self.request_exchange(done, &fences, wants, timeout_ns)?;
        self.await_new(id, granted)
    }

    /// Asks the service for the group's locks, the oldest number first. What is not here has ended or
    /// never was.
    ///
    /// # Errors
    /// [`Error::ServiceDied`].
    pub fn locks(&self) -> Result<Vec<LockStatus>> {
        let status = |state: &buffersync_aidl::aidl::vendor::buffersync::LockState::LockState| {
            let lock = LockId(state.lock);
            let granted = reply::Granted::of(&state.grant).map_err(|_| MALFORMED)?;
            let grant = granted.map(|granted| GrantInfo::new(lock, granted, Vec::new()));
            Ok(LockStatus { lock, waiting: state.waiting, grant })
        };
        let states = self.remote()?.getLocks().map_err(|status| lost(status.into()))?;
        states.iter().map(status).collect()
    }

    /// Returns the release fences of earlier holders, as [`crate::Grant::acquire_fence`] does for the
    /// main lock.
    ///
    /// # Errors
    /// [`Error::NotLocked`] if the lock has no grant. [`Error::Evicted`], [`Error::NoResources`],
    /// [`Error::ServiceDied`].
    pub fn acquire_fence(&self, lock: LockId) -> Result<Option<OwnedFd>> {
        let held = self.locks.find(lock).ok_or(Error::NotLocked)?;
        let grant = held.grant.as_ref().ok_or(Error::NotLocked)?;
        match &held.acquire {
            Acquire::Known(None) => Ok(None),
            Acquire::Known(Some(fence)) => Ok(Some(duplicate(fence.as_fd())?.into())),
            // No buffer is marked, so no fence is pending.
            Acquire::Ask if grant.buffers.iter().all(|buffer| !buffer.fenced) => Ok(None),
            Acquire::Ask => self.ask_for_fence(lock, BufferId(0)),
        }
    }

    /// Like [`Group::acquire_fence`], for one buffer.
    ///
    /// # Errors
    /// [`Error::UnknownBuffer`], and those of [`Group::acquire_fence`].
    pub fn acquire_fence_of(&self, lock: LockId, buffer: BufferId) -> Result<Option<OwnedFd>> {
        let grant = self.locks.find(lock).and_then(|lock| lock.grant.as_ref());
        let buffers = &grant.ok_or(Error::NotLocked)?.buffers;
        match buffers.iter().find(|granted| granted.id == buffer) {
            None => Err(Error::UnknownBuffer),
            Some(granted) if !granted.fenced => Ok(None),
            Some(_) => self.ask_for_fence(lock, buffer),
        }
    }

    fn ask_for_fence(&self, lock: LockId, buffer: BufferId) -> Result<Option<OwnedFd>> {
        let fence = self.remote()?.getAcquireFence(lock.0, buffer.0);
        Ok(fence.map_err(|status| lost(status.into()))?.map(Into::into))
    }

    fn await_new(&mut self, id: LockId, granted: bool) -> Result<LockId> {
        if !granted {
            if let Err(error) = self.await_grant(id, None) {
                self.abandon(id);
                return Err(error);
            }
        }
        Ok(id)
    }
}

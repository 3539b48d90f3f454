// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A group: its buffers, and the calls that lock them.

use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use buffersync_client_core as core;
use buffersync_client_core::{
    AHardwareBuffer, Access, BufferId, Error, Event, LockId, LockStatus, Result,
};

use crate::grant::Grant;
use crate::pending::Pending;

/// A client's dma-bufs and their locks: a handle that is `Send`, `Sync` and cheap to clone.
///
/// [`Group::lock`] takes all buffers, [`Group::lock_some`] some. A group can have many locks at once, of other buffers
/// or with shared accesses. A lock never waits for another lock of its own group: if they conflict, the answer is
/// [`Error::AlreadyLocked`].
///
/// The group ends when its last handle and its last [`Grant`] are dropped, and with it the service's references to the
/// buffers.
#[derive(Clone, Debug)]
pub struct Group(Arc<core::Group>);

impl Group {
    pub(crate) fn of(group: core::Group) -> Self {
        Self(Arc::new(group))
    }

    pub(crate) fn core(&self) -> &core::Group {
        &self.0
    }

    /// The hold limit of the group: its grants are taken away after this time.
    pub fn hold_limit(&self) -> Duration {
        self.0.hold_limit()
    }

    /// The number of evictions of this group's grants that were reported so far.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn evictions(&self) -> Result<u64> {
        self.0.evictions()
    }

    /// Adds one dma-buf, or a memfd (see [`Group::add_handle`]). You may close the descriptor afterwards: the service
    /// has one of its own, and keeps the memory until the buffer is removed or the group ends. The locks that the
    /// group has stay as they are; the next ones can have the buffer.
    ///
    /// `access` is for locks that name none. If the group has the buffer already, the stronger access counts.
    ///
    /// # Errors
    /// [`Error::BadFd`] for a descriptor that is not open, and those of `ISyncGroup.add`:
    /// [`Error::NotDmaBuf`], [`Error::Quota`], [`Error::AccessConflict`], [`Error::NoResources`]. After
    /// [`Error::ReplyLost`] the group may have the buffer: add it again to learn its id.
    pub fn add(&self, fd: impl AsFd, access: Access) -> Result<BufferId> {
        self.0.add(fd, access)
    }

    /// Adds the dma-bufs of a native handle. Other descriptors in it are skipped. In a handle without a
    /// dma-buf, the memfds are the buffers: they are locked in the same way, and need no cache
    /// maintenance. The ids are in the order of the first descriptor of each buffer.
    ///
    /// # Errors
    /// Those of [`Group::add`], and [`Error::IllegalArgument`] for no descriptors or too many.
    pub fn add_handle(
        &self,
        fds: &[BorrowedFd<'_>],
        ints: &[i32],
        access: Access,
    ) -> Result<Vec<BufferId>> {
        self.0.add_handle(fds, ints, access)
    }

    /// Adds the dma-bufs of an `AHardwareBuffer`. The buffer may be released after the call.
    ///
    /// # Safety
    /// `buffer` is an `AHardwareBuffer` to which the caller has a reference.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where libnativewindow does not have the function, as on Linux. Those of
    /// [`Group::add_handle`].
    pub unsafe fn add_hardware_buffer(
        &self,
        buffer: NonNull<AHardwareBuffer>,
        access: Access,
    ) -> Result<Vec<BufferId>> {
        // SAFETY: the caller's promise is the same.
        unsafe { self.0.add_hardware_buffer(buffer, access) }
    }

    /// Removes one buffer. No lock of the group may have it or wait for it.
    ///
    /// # Errors
    /// [`Error::UnknownBuffer`], [`Error::Busy`]. After [`Error::ReplyLost`] the buffer may be gone:
    /// remove it again.
    pub fn remove(&self, buffer: BufferId) -> Result<()> {
        self.0.remove(buffer)
    }

    /// Removes all buffers.
    ///
    /// # Errors
    /// [`Error::Busy`]. After [`Error::ReplyLost`] they may be gone.
    pub fn remove_all(&self) -> Result<()> {
        self.0.remove_all()
    }

    /// Locks every buffer of the group, each with the access of [`Group::add`]. Waits for other holders up to
    /// `timeout` (`None`: no time-out; the deadlines of other holders bound the wait). Blocks this thread only.
    ///
    /// The service ends the wait, so a time-out and a grant can't cross. A lock that timed out leaves
    /// its age to the group's next lock, for a limited time (see tickets in `ISyncGroup.aidl`).
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::LockFailed`], [`Error::ServiceDied`], and those of `ISyncGroup.lock`:
    /// [`Error::EmptyGroup`], [`Error::AlreadyLocked`], [`Error::Quota`], [`Error::EventsUnread`]. After
    /// [`Error::ReplyLost`] nothing is locked.
    pub fn lock(&self, timeout: impl Into<Option<Duration>>) -> Result<Grant> {
        Ok(self.granted(self.0.lock(&[], timeout)?))
    }

    /// Locks every buffer of the group if nobody else holds one or waits for one. May still wait for
    /// cache maintenance.
    ///
    /// # Errors
    /// [`Error::WouldBlock`], and those of [`Group::lock`] except [`Error::TimedOut`].
    /// [`Error::LockFailed`] also if an implicit fence is pending: this call does not wait for it.
    pub fn try_lock(&self) -> Result<Grant> {
        Ok(self.granted(self.0.try_lock(&[])?))
    }

    /// Locks some buffers of the group, each with an access, which need not be that of [`Group::add`]. All or nothing;
    /// otherwise like [`Group::lock`].
    ///
    /// ```no_run
    /// # use buffersync_client::{Access, BufferId, Error, Group};
    /// # fn f(group: &Group, frame: BufferId, reference: BufferId) -> Result<(), Error> {
    /// let frame = group.lock_some(&[(frame, Access::Write)], None)?;
    /// let reference = group.lock_some(&[(reference, Access::Read)], None)?; // beside it
    /// frame.unlock()?;
    /// reference.unlock()
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownBuffer`], [`Error::AccessConflict`] if a buffer is named for the CPU and for a device,
    /// [`Error::IllegalArgument`] if none is named, and those of [`Group::lock`].
    pub fn lock_some(
        &self,
        wants: &[(BufferId, Access)],
        timeout: impl Into<Option<Duration>>,
    ) -> Result<Grant> {
        Ok(self.granted(self.0.lock(named(wants)?, timeout)?))
    }

    /// Like [`Group::lock_some`], if nobody else holds one of the buffers or waits for one, as in
    /// [`Group::try_lock`].
    ///
    /// # Errors
    /// [`Error::WouldBlock`], and those of [`Group::lock_some`] except [`Error::TimedOut`].
    pub fn try_lock_some(&self, wants: &[(BufferId, Access)]) -> Result<Grant> {
        Ok(self.granted(self.0.try_lock(named(wants)?)?))
    }

    /// Asks for a lock of all buffers and returns at once. The lock has its place in the queue from now on. For a
    /// program with its own poll loop:
    ///
    /// ```no_run
    /// # use buffersync_client::{Error, Group};
    /// # fn my_poll(_: impl std::os::fd::AsFd) {}
    /// # fn f(group: &Group) -> Result<(), Error> {
    /// let mut lock = group.start_lock(None)?;
    /// while !lock.is_granted()? {
    ///     my_poll(group); // for POLLIN, beside other descriptors
    /// }
    /// let grant = lock.wait()?; // at once
    /// # grant.unlock()
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Group::lock`] except [`Error::TimedOut`].
    pub fn start_lock(&self, timeout: impl Into<Option<Duration>>) -> Result<Pending> {
        Ok(Pending::new(self, self.0.start_lock(&[], timeout)?.0))
    }

    /// Like [`Group::start_lock`], for some buffers, as in [`Group::lock_some`].
    ///
    /// # Errors
    /// Those of [`Group::lock_some`] except [`Error::TimedOut`].
    pub fn start_lock_some(
        &self,
        wants: &[(BufferId, Access)],
        timeout: impl Into<Option<Duration>>,
    ) -> Result<Pending> {
        Ok(Pending::new(self, self.0.start_lock(named(wants)?, timeout)?.0))
    }

    /// Returns the next event; `None` if there is none now, or while a thread waits for a lock: that thread reads them.
    /// Never blocks.
    ///
    /// Other calls read events too, even if they do not wait, and keep those of other locks for this call: so call it
    /// until it returns `None`, before you poll the group's descriptor.
    ///
    /// # Errors
    /// [`Error::ServiceDied`].
    pub fn read_event(&self) -> Result<Option<Event>> {
        self.0.read_event()
    }

    /// Asks the service for the group's locks, the oldest number first. What is not here has ended or
    /// never was.
    ///
    /// # Errors
    /// [`Error::ServiceDied`].
    pub fn locks(&self) -> Result<Vec<LockStatus>> {
        self.0.locks()
    }

    /// The name of the group that has this number at the service, if it is open and this client may know it: the groups
    /// of its own uid, and for root and the system all. See [`crate::InTheWay`].
    ///
    /// # Errors
    /// [`Error::ServiceDied`].
    pub fn name_of(&self, group: i64) -> Result<Option<String>> {
        self.0.name_of(group)
    }

    /// Closes the group now, for all its handles and grants. Unlock first: a grant that is still held ends as an
    /// eviction, because nobody said that the work was finished. That is also how to end a write that failed half-way:
    /// it marks the buffer as torn. Later calls return [`Error::Closed`].
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Forked`].
    pub fn close(&self) -> Result<()> {
        self.0.close()
    }

    /// The guard of a lock that was just granted.
    pub(crate) fn granted(&self, lock: LockId) -> Grant {
        Grant::new(self, lock)
    }
}

/// The group's event channel. Poll it for POLLIN; POLLHUP means that the service is gone.
impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// An empty list would mean all buffers.
pub(crate) fn named(wants: &[(BufferId, Access)]) -> Result<&[(BufferId, Access)]> {
    if wants.is_empty() {
        let why = "no buffer is named: Group::lock takes all buffers of the group";
        return Err(Error::IllegalArgument(why.to_string()));
    }
    Ok(wants)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_can_share_a_group_and_keep_its_grants() {
        fn check<T: Send + Sync + 'static>() {}
        check::<Group>();
        check::<Grant>();
        check::<Pending>();
    }
}

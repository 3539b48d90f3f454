// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The calls of a group's main lock, which has all buffers, and gives the [`Grant`].
//!
//! The group's own file knows no guard: this one and [`crate::grant`] stand above it.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::grant::Grant;
use crate::group::{grace, Group, Started, TRY};
use crate::types::{timeout_ns, LockId};

impl Group {
    /// Locks every buffer of the group. Waits for other holders up to `timeout` (`None`: no time-out;
    /// the deadlines of other holders bound the wait).
    ///
    /// The service ends the wait, so a time-out and a grant can't cross. A lock that timed out leaves
    /// its age to the group's next lock, for a limited time (see tickets in `ISyncGroup.aidl`).
    ///
    /// If the grant of an earlier call is still there (its guard was forgotten), this grows it, like
    /// [`Grant::grow`].
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::LockFailed`], [`Error::ServiceDied`], and those of `ISyncGroup.lock`:
    /// [`Error::EmptyGroup`], [`Error::AlreadyLocked`] (also if a lock by number has one of the buffers),
    /// [`Error::Quota`], [`Error::EventsUnread`]. After [`Error::ReplyLost`] nothing is locked.
    pub fn lock(&mut self, timeout: impl Into<Option<Duration>>) -> Result<Grant<'_>> {
        self.keep_up()?;
        let (id, granted) = self.request(timeout_ns(timeout.into()))?;
        if !granted {
            self.await_grant(id, None)?;
        }
        Grant::of(self)
    }

    /// Locks every buffer of the group if nobody else holds one or waits for one. May still wait for
    /// cache maintenance.
    ///
    /// # Errors
    /// [`Error::WouldBlock`], and those of [`Group::lock`] except [`Error::TimedOut`].
    /// [`Error::LockFailed`] also if an implicit fence is pending: this call does not wait for it.
    pub fn try_lock(&mut self) -> Result<Grant<'_>> {
        self.keep_up()?;
        let (id, granted) = self.request(TRY)?;
        if !granted {
            self.await_grant(id, None)?;
        }
        Grant::of(self)
    }

    /// Asks for the lock and returns at once. The lock has its place in the queue from now on. For a
    /// program with its own poll loop:
    ///
    /// ```no_run
    /// # use buffersync_client::{Error, Event, Group, Started};
    /// # fn my_poll(_: std::os::fd::BorrowedFd<'_>) {}
    /// # fn f(group: &mut Group) -> Result<(), Error> {
    /// if let Started::Queued = group.start_lock()? {
    ///     loop {
    ///         my_poll(group.event_fd()); // for POLLIN, beside other descriptors
    ///         match group.read_event()? {
    ///             Some(Event::Granted(_)) => break,
    ///             Some(Event::LockFailed { buffer, errno, by_fence, .. }) => {
    ///                 return Err(Error::LockFailed { buffer, errno, by_fence })
    ///             }
    ///             _ => {} // nothing yet, or news of an earlier grant
    ///         }
    ///     }
    /// }
    /// let grant = group.grant().expect("granted at once, or as just read");
    /// grant.unlock()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Group::lock`] except [`Error::TimedOut`].
    pub fn start_lock(&mut self) -> Result<Started> {
        Ok(Started::of(self.request(0)?.1))
    }

    /// Sends the main lock, or the growth of its grant. Returns true if it is granted at once.
    pub(crate) fn request(&mut self, timeout_ns: i64) -> Result<(LockId, bool)> {
        // A growth that is unclear counts as one that waits.
        self.settle()?;
        match self.locks.main() {
            Some(lock) if lock.waiting => Err(Error::AlreadyLocked),
            Some(lock) => {
                let id = lock.id;
                Ok((id, self.request_growth(id, &[], timeout_ns)?))
            }
            None => {
                let (id, granted) = self.request_lock(&[], timeout_ns)?;
                self.make_main(id, granted);
                Ok((id, granted))
            }
        }
    }

    /// Cancels the main lock, or the growth of its grant.
    ///
    /// # Errors
    /// [`Error::NotQueued`] if it does not wait. It may have been granted meanwhile: then
    /// [`Group::read_event`] reports it.
    pub fn cancel(&mut self) -> Result<()> {
        let main = self.locks.main().ok_or(Error::NotQueued)?.id;
        self.cancel_lock(main)
    }

    /// Waits for a lock that [`Group::start_lock`] queued, like [`Group::lock`].
    ///
    /// # Errors
    /// [`Error::NotQueued`] if no lock is waiting, and those of [`Group::lock`].
    pub fn finish_lock(&mut self, timeout: impl Into<Option<Duration>>) -> Result<Grant<'_>> {
        let until = timeout.into().and_then(|timeout| Instant::now().checked_add(timeout));
        let main = self.locks.main().ok_or(Error::NotQueued)?.id;
        if self.await_grant(main, until)? || self.take_back(main)? {
            Grant::of(self)
        } else {
            Err(Error::TimedOut)
        }
    }

    /// Returns the guard of a grant that [`Group::read_event`] reported, or whose guard was forgotten.
    /// `None` if the main lock has no grant.
    pub fn grant(&mut self) -> Option<Grant<'_>> {
        Grant::of(self).ok()
    }

    /// Cancels a lock after a time-out. Returns true if it was granted before that.
    fn take_back(&mut self, id: LockId) -> Result<bool> {
        match self.cancel_lock(id) {
            Ok(()) => Ok(false),
            Err(Error::NotQueued) if self.await_grant(id, grace())? => Ok(true),
            Err(Error::NotQueued) => {
                Err(Error::Protocol("a lock has ended without a record in the event channel"))
            }
            Err(error) => Err(error),
        }
    }

    /// Gives up a pending lock that nobody waits for any more. A grant that it would grow goes on.
    pub(crate) fn abandon(&mut self, id: LockId) {
        let Some(lock) = self.locks.find(id).filter(|lock| lock.waiting) else { return };
        let grew = lock.grant.is_some();
        if self.cancel_lock(id).is_ok() {
            return;
        }
        // It was granted meanwhile, and its record is there. If the service is gone, so is the lock.
        if self.await_grant(id, grace()) == Ok(true) && !grew {
            let _ = self.release(id, &[]);
        }
    }
}

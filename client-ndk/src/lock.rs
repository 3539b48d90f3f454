// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The calls that lock a group and give its [`Grant`].
//!
//! The group's own file knows no guard: this one and [`crate::grant`] stand above it.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::grant::Grant;
use crate::group::{grace, Group, State};
use crate::types::timeout_ns;

impl Group {
    /// Locks every buffer of the group. Waits for other holders up to `timeout` (`None`: no time-out;
    /// the deadlines of other holders bound the wait).
    ///
    /// The service ends the wait, so a time-out and a grant can't cross. A lock that timed out leaves
    /// its age to the group's next lock, for a limited time (see tickets in `ISyncGroup.aidl`).
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::LockFailed`],
    /// [`Error::ServiceDied`], and those of `ISyncGroup.lock`: [`Error::EmptyGroup`],
    /// [`Error::AlreadyLocked`], [`Error::Quota`], [`Error::EventsUnread`].
    pub fn lock(&mut self, timeout: impl Into<Option<Duration>>) -> Result<Grant<'_>> {
        if !self.request(Some(timeout_ns(timeout.into())))? {
            self.await_grant(None)?;
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
        if !self.request(None)? {
            self.await_grant(None)?;
        }
        Grant::of(self)
    }

    /// Waits for a lock that [`Group::start_lock`] queued, like [`Group::lock`].
    ///
    /// # Errors
    /// [`Error::NotQueued`] if no lock is waiting, and those of [`Group::lock`].
    pub fn finish_lock(&mut self, timeout: impl Into<Option<Duration>>) -> Result<Grant<'_>> {
        let until = timeout.into().and_then(|timeout| Instant::now().checked_add(timeout));
        if matches!(self.state, State::Idle) {
            return Err(Error::NotQueued);
        }
        if self.await_grant(until)? || self.take_back()? {
            Grant::of(self)
        } else {
            Err(Error::TimedOut)
        }
    }

    /// Returns the guard of a grant that [`Group::read_event`] reported, or whose guard was forgotten.
    /// `None` if the group does not hold.
    pub fn grant(&mut self) -> Option<Grant<'_>> {
        Grant::of(self).ok()
    }

    /// Cancels the lock after a time-out. Returns true if it was granted before that.
    fn take_back(&mut self) -> Result<bool> {
        match self.cancel() {
            Ok(()) => Ok(false),
            Err(Error::NotQueued) if self.await_grant(grace())? => Ok(true),
            Err(Error::NotQueued) => {
                Err(Error::Protocol("a lock has ended without a record in the event channel"))
            }
            Err(error) => Err(error),
        }
    }

    /// Gives up a pending lock that nobody waits for any more. A grant that it would grow goes on.
    pub(crate) fn abandon(&mut self) {
        if !self.is_pending() || self.cancel().is_ok() {
            return;
        }
        let grew = matches!(self.state, State::Holding { .. });
        // It was granted meanwhile, and its record is there. If the service is gone, so is the lock.
        let granted = self.await_grant(grace());
        if granted == Ok(true) && !grew {
            drop(self.grant());
        }
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The ends of locks: whole or in part, with fences or without, and what to do if the service can't take
//! the fences.

use std::time::{Duration, Instant};

use buffersync_aidl::aidl::vendor::buffersync::ReleaseFence::ReleaseFence;
use nix::time::{clock_gettime, ClockId};

use crate::error::{Error, Result};
use crate::session::{lost, not_in_grant, waits, Session};
use crate::types::{BufferId, LockId};

/// What has become of an unlock.
pub(crate) enum Release {
    Done(Result<()>),
    /// The fences have to be waited for, and then the lock is ended without them.
    After {
        /// It may be done already.
        unclear: bool,
    },
}

/// Waits for fences. An error is ignored: see [`Session::patience`].
pub(crate) fn await_fences(fences: &[ReleaseFence], patience: Duration) {
    let until = Instant::now().checked_add(patience);
    for fence in fences.iter().filter_map(|given| given.fence.as_ref()) {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let _ = crate::fence::wait(fence.as_ref(), left);
    }
}

impl Session {
    /// Ends a lock. If the service can't take the fences, or if it is not clear that it has, waits for them
    /// until the deadline. After an error the lock has ended if it has no record any more.
    pub(crate) fn release(&mut self, id: LockId, fences: &[ReleaseFence]) -> Result<()> {
        match self.try_release(id, fences) {
            Release::Done(result) => result,
            Release::After { unclear } => {
                await_fences(fences, self.patience(id));
                self.end_waited(id, unclear)
            }
        }
    }

    /// [`Session::release`] for a caller that waits for the fences itself, without the group's mutex.
    pub(crate) fn try_release(&mut self, id: LockId, fences: &[ReleaseFence]) -> Release {
        let mut result = self.end(id, fences);
        if result == Err(Error::EventsUnread) {
            // Records that nobody has read fill the channel.
            result = self.absorb_all().and_then(|()| self.end(id, fences));
        }
        match result {
            Err(Error::EventsUnread | Error::Quota(_) | Error::NoResources(_))
                if !fences.is_empty() =>
            {
                Release::After { unclear: false }
            }
            // The kernel could not deliver the request or the reply, mostly for want of a descriptor.
            Err(Error::Binder(_)) => Release::After { unclear: true },
            result => Release::Done(result),
        }
    }

    /// Ends a lock after its fences.
    pub(crate) fn end_waited(&mut self, id: LockId, unclear: bool) -> Result<()> {
        match self.end_bare(id) {
            // The first request was done, and only its reply was lost.
            Err(Error::Ended) if unclear => Ok(()),
            result => result,
        }
    }

    /// Waits for the fences, until the deadline, and ends the lock without them. If the answer is lost,
    /// the number is unclear.
    pub(crate) fn end_after(&mut self, id: LockId, fences: &[ReleaseFence]) -> Result<()> {
        await_fences(fences, self.patience(id));
        self.end_bare(id)
    }

    fn end_bare(&mut self, id: LockId) -> Result<()> {
        match self.end(id, &[]) {
            Err(error @ Error::Binder(_)) => {
                self.give_up(id);
                Err(lost(error))
            }
            result => result,
        }
    }

    /// How long to wait for the fences of a grant: until its deadline; for the hold limit, if it has none. After that
    /// the grant, or the fence, is over in any case.
    pub(crate) fn patience(&self, id: LockId) -> Duration {
        self.time_left(id).unwrap_or(self.hold_limit())
    }

    /// Deletes the record of a lock that could not be ended, if it is still there. The next request ends
    /// the lock.
    pub(crate) fn give_up(&mut self, id: LockId) {
        if self.locks.find(id).is_some() {
            self.forget(id);
            self.unclear.push(id);
        }
    }

    /// Ends a lock, and deletes its record if the service does not have it any more.
    fn end(&mut self, id: LockId, fences: &[ReleaseFence]) -> Result<()> {
        let group = self.remote()?;
        let result = match fences.is_empty() {
            true => group.unlock(id.0),
            false => group.unlockBuffers(id.0, &[], fences),
        };
        let result = result.map_err(Error::from);
        if result.is_err() || !fences.is_empty() {
            self.may_hear_later();
        }
        match result {
            Ok(()) => {
                self.forget(id);
                Ok(())
            }
            Err(
                error @ (Error::Evicted { .. }
                | Error::Ended
                | Error::BadLock(_)
                | Error::Closed
                | Error::ServiceDied),
            ) => {
                let error = self.of_ended(id, error);
                self.forget(id);
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Ends a part of a grant. If the service can't take the fences, or if it is not clear that it has, waits for
    /// them until the deadline.
    pub(crate) fn release_part(
        &mut self,
        id: LockId,
        buffers: &[BufferId],
        fences: &[ReleaseFence],
    ) -> Result<()> {
        self.has_all(id, buffers)?;
        let ids: Vec<i64> = buffers.iter().map(|buffer| buffer.0).collect();
        let end = |group: &Self, fences: &[ReleaseFence]| -> Result<()> {
            Ok(group.remote()?.unlockBuffers(id.0, &ids, fences)?)
        };
        let mut result = end(self, fences);
        if result == Err(Error::EventsUnread) {
            // Records that nobody has read fill the channel.
            self.absorb_all()?;
            result = end(self, fences);
        }
        let result = match result {
            Err(Error::EventsUnread | Error::Quota(_) | Error::NoResources(_))
                if !fences.is_empty() =>
            {
                await_fences(fences, self.patience(id));
                end(self, &[])
            }
            // The kernel could not deliver the request or the reply.
            Err(Error::Binder(_)) => {
                await_fences(fences, self.patience(id));
                match end(self, &[]) {
                    // The grant had all of them. If it lacks one now, the first request was done.
                    Err(Error::UnknownBuffer(_) | Error::Ended) => Ok(()),
                    result => result,
                }
            }
            result => result,
        };
        if result.is_err() || !fences.is_empty() {
            self.may_hear_later();
        }
        match result {
            Ok(()) => {
                if self.locks.let_go(id, buffers) {
                    self.forget(id);
                }
                Ok(())
            }
            Err(error @ Error::Binder(_)) => {
                // Nobody may use them until it is clear.
                self.locks.disown(id, buffers);
                Err(lost(error))
            }
            Err(error) => Err(self.noted(id, error)),
        }
    }

    /// Makes accesses of a grant shared; none named: all of them.
    pub(crate) fn share(&mut self, id: LockId, buffers: &[BufferId]) -> Result<()> {
        self.has_all(id, buffers)?;
        let ids: Vec<i64> = buffers.iter().map(|buffer| buffer.0).collect();
        let call = || -> Result<()> { Ok(self.remote()?.downgrade(id.0, &ids)?) };
        // To share what is shared changes nothing, so the call can be repeated.
        let result = match call() {
            Err(Error::Binder(_)) => call(),
            result => result,
        };
        if matches!(result, Ok(()) | Err(Error::Binder(_))) {
            self.locks.share(id, buffers);
        }
        result.map_err(|error| self.noted(id, lost(error)))
    }

    /// Refuses a lock without a record, and buffers that its grant does not have.
    fn has_all(&self, id: LockId, buffers: &[BufferId]) -> Result<()> {
        let lock = self.locks.find(id).ok_or(Error::Ended)?;
        let grant = lock.grant.as_ref().ok_or_else(|| waits(id))?;
        let has = |id: &&BufferId| grant.buffers.iter().any(|buffer| buffer.id == **id);
        match buffers.iter().find(|buffer| !has(buffer)) {
            Some(other) => Err(not_in_grant(*other, grant)),
            None => Ok(()),
        }
    }

    /// The time that is left until the deadline of a grant; zero when it has passed, or without a grant; `None` while
    /// there is no deadline.
    pub(crate) fn time_left(&self, id: LockId) -> Option<Duration> {
        let Some(grant) = self.locks.find(id).and_then(|lock| lock.grant.as_ref()) else {
            return Some(Duration::ZERO);
        };
        // CLOCK_MONOTONIC with a valid pointer can't fail (clock_gettime(2)).
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::MAX, Duration::from);
        grant.deadline.map(|deadline| deadline.saturating_sub(now))
    }
}

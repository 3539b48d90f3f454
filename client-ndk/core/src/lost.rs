// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What to do when a reply is lost.
//!
//! The kernel can fail to deliver a reply, mostly because this process has no free descriptor for the
//! acquire fence in it. The service has done the call then. For the client it looks the same as a request
//! that never arrived. So the client never takes such a failure for "done" or for "nothing happened". It
//! uses calls that need no descriptor to find out, or to make it so:
//!
//! | lost reply of | the client |
//! |---|---|
//! | a new lock | ends the lock by its number. `BAD_LOCK` and `ENDED` mean that there is no such lock |
//! | a growth | asks for the group's locks: the growth is granted, it waits, or there was none |
//! | unlock and lock | ends the new lock, and the old one if the call was not done: both have ended |
//! | an unlock | unlocks again (see [`crate::unlock`]). `ENDED` means that it was done |
//! | cancel, downgrade, a part of an unlock | repeats the call |
//! | add, remove | nothing: to call again does no harm |
//!
//! If that fails too, the number is unclear. The next request of the group begins with it.

use buffersync_aidl::aidl::vendor::buffersync::ReleaseFence::ReleaseFence;
use buffersync_aidl::reply;

use crate::error::{Error, Result};
use crate::locks::{Acquire, Granted};
use crate::session::{lost, Session, MALFORMED};
use crate::types::{GrantInfo, GrantedBuffer, LockId};

/// What has become of a growth.
enum Growth {
    /// It waits.
    Waits,
    /// It is granted.
    Granted(Granted),
    /// An event has told it: see [`crate::locks::Locks::answer`].
    Told,
    /// There is none. The grant is as it was.
    None,
}

impl Session {
    /// Makes clear what is unclear, before a request.
    ///
    /// # Errors
    /// [`Error::ReplyLost`] if that fails again.
    pub(crate) fn settle(&mut self) -> Result<()> {
        while let Some(id) = self.unclear.last().copied() {
            match self.locks.find(id) {
                None => self.end_number(id).map(drop),
                Some(_) => self.give_up_growth(id),
            }
            .map_err(lost)?;
            self.unclear.retain(|unclear| *unclear != id);
        }
        Ok(())
    }

    /// Ends a lock whose reply was lost.
    pub(crate) fn end_lost(&mut self, id: LockId) {
        if self.end_number(id).is_err() {
            self.unclear.push(id);
        }
    }

    /// Ends both locks of an exchange whose reply was lost. If the exchange was not done, waits for the
    /// fences until the deadline: the service does not have them.
    pub(crate) fn end_lost_exchange(&mut self, done: LockId, fences: &[ReleaseFence], new: LockId) {
        let happened = self.end_number(new);
        if happened.is_err() {
            self.unclear.push(new);
        }
        if happened == Ok(true) {
            self.forget(done);
        } else if self.end_after(done, fences).is_err() {
            self.give_up(done);
        }
    }

    /// Ends the wait for a lock, or for a growth, when the service does not answer.
    ///
    /// Nobody can name a lock that was given up, so a thread calls the service, which blocks until the service goes on,
    /// and ends the lock there. Without a thread the next request does it. A growth has the number of its grant, which
    /// may grow again: a late cancel could hit the next growth, and a late event could answer it. So the next request
    /// asks what has become of this one, before it does anything else.
    pub(crate) fn give_up_silent(&mut self, id: LockId) {
        let is_growth = self.locks.find(id).is_some_and(|lock| lock.grant.is_some());
        self.forget_wait(id);
        let ended = !is_growth
            && self.own_remote().is_ok_and(|group| {
                // An error is ignored: it has ended before, or the service is gone.
                let end = move || drop(group.unlock(id.0));
                std::thread::Builder::new().spawn(end).is_ok()
            });
        if !ended {
            self.unclear.push(id);
        }
    }

    /// Ends a lock of which the client has only the number. Returns false if the service never had such a lock.
    fn end_number(&mut self, id: LockId) -> Result<bool> {
        self.may_hear_later();
        match self.remote()?.unlock(id.0).map_err(Error::from) {
            Ok(()) | Err(Error::Ended | Error::Evicted { .. }) => Ok(true),
            // With the service or the group every lock has ended.
            Err(Error::Closed | Error::ServiceDied) => Ok(true),
            Err(Error::BadLock(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Finds out what has become of a growth whose reply was lost with `error`. Returns true if it is
    /// granted, false if it waits, and the error if there is none.
    pub(crate) fn ask_after_growth(&mut self, id: LockId, error: Error) -> Result<bool> {
        match self.find_growth(id) {
            Ok(Growth::Waits) => Ok(self.grown(id, None)),
            Ok(Growth::Granted(granted)) => Ok(self.grown(id, Some(granted))),
            Ok(Growth::Told) => self.locks.answer(id).map(|()| true),
            Ok(Growth::None) => Err(lost(error)),
            Err(_) => {
                self.unclear.push(id);
                Err(lost(error))
            }
        }
    }

    /// Ends a growth that is unclear. If it was granted, the grant keeps it.
    fn give_up_growth(&mut self, id: LockId) -> Result<()> {
        match self.find_growth(id)? {
            Growth::Waits => match self.cancel(id) {
                // It was granted meanwhile, and its record is there.
                Err(Error::NotQueued) => self.absorb_all()?,
                cancelled => return cancelled,
            },
            Growth::Granted(granted) => {
                self.grown(id, Some(granted));
            }
            Growth::Told | Growth::None => {}
        }
        Ok(())
    }

    fn find_growth(&mut self, id: LockId) -> Result<Growth> {
        // It may wait, so that an event can answer it.
        if let Some(lock) = self.locks.find_mut(id) {
            lock.waiting = true;
        }
        let states = self.remote()?.getLocks()?;
        // The service writes a record before it answers. So if the growth waited and has ended, its record
        // is here now.
        self.may_hear_later();
        self.absorb_all()?;
        let state = states.iter().find(|state| state.lock == id.0);
        let Some(lock) = self.locks.find_mut(id).filter(|lock| lock.waiting) else {
            return Ok(Growth::Told);
        };
        let Some(state) = state else {
            // A lock with a grant ends by itself only if the grant is taken away.
            self.locks.take_away(id);
            return Ok(Growth::Told);
        };
        if state.waiting {
            return Ok(Growth::Waits);
        }
        let granted = reply::Granted::of(&state.grant).ok().flatten().ok_or(MALFORMED)?;
        let now = GrantInfo::new(id, granted, Vec::new());
        lock.waiting = false;
        match lock.grant.as_ref().is_some_and(|before| has_grown(before, &now)) {
            // The reply would have had the fence.
            true => Ok(Growth::Granted((now, Acquire::Ask))),
            false => Ok(Growth::None),
        }
    }
}

/// Tells if a grant has more buffers or a stronger access than before. An exclusive access makes a new
/// generation, and nobody else can make one while this lock has the buffer.
fn has_grown(before: &GrantInfo, now: &GrantInfo) -> bool {
    let same = |one: &GrantedBuffer, other: &GrantedBuffer| {
        (one.id, one.generation) == (other.id, other.generation)
    };
    now.buffers.iter().any(|buffer| !before.buffers.iter().any(|had| same(had, buffer)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::types::BufferId;

    fn grant(buffers: &[(i64, i64)]) -> GrantInfo {
        let buffer = |(id, generation): &(i64, i64)| GrantedBuffer {
            id: BufferId(*id),
            generation: *generation,
            evicted: false,
            torn: *id == 2,
            fenced: false,
        };
        let buffers = buffers.iter().map(buffer).collect();
        GrantInfo { lock: LockId(1), deadline: Some(Duration::from_secs(1)), buffers }
    }

    #[test]
    fn a_growth_is_seen_by_its_buffers_and_generations() {
        let before = grant(&[(1, 5), (2, 9)]);
        assert!(!has_grown(&before, &before));
        assert!(!has_grown(&before, &grant(&[(2, 9), (1, 5)])));
        assert!(!has_grown(&before, &grant(&[(1, 5)])), "a part was let go");
        assert!(has_grown(&before, &grant(&[(1, 5), (2, 9), (3, 1)])), "another buffer");
        assert!(has_grown(&before, &grant(&[(1, 5), (2, 10)])), "a stronger access");
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The calls of clients, as the binder objects make them. AIDL methods that differ in their arguments
//! only (lock and tryLock, an unlock with and without fences) share one. A call locks the state once, and
//! once more for each step that asks the kernel without the mutex.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

pub use buffersync_engine::HoldFrom;
use buffersync_engine::{Access, BufferId, Close, GroupId, Time, Token};

use crate::arbiter::Arbiter;
use crate::error::{self, Error};
use crate::events::EventChannel;
use crate::fences::acquire;
use crate::fences::release::{self, Given, Giver, SyncFile};
use crate::jobs::{self, Look};
use crate::quota::Kind;
use crate::registry;
use crate::sessions;
use crate::state::State;
pub use crate::state::{Locked, Wait};

/// A new group.
pub struct Opened {
    /// The engine's name for it.
    pub id: GroupId,
    /// How long its grants last.
    pub hold: Duration,
    /// The clients' name for it.
    pub key: i64,
    /// The client's end of its event channel.
    pub events: OwnedFd,
}

impl Arbiter {
    /// Opens a group for `uid`.
    pub fn open_group(
        &self,
        uid: u32,
        name: &str,
        (hold, from): (Option<Duration>, HoldFrom),
        implicit: bool,
    ) -> Result<Opened, Error> {
        if implicit && !self.has_implicit_fences() {
            return Err(Error::Unsupported("sync_file ioctls of dma-bufs"));
        }
        let (channel, events) =
            EventChannel::new().map_err(|_| Error::NoResources("event channels"))?;
        error::can_be_sent(Some(&events))?;
        let (key, mut state) = loop {
            let key = sessions::random_key()?;
            let state = self.state();
            if state.sessions.is_free(key) {
                break (key, state);
            }
        };
        state.sessions.quotas.charge(uid, Kind::Groups, 1)?;
        let (id, hold) = state.engine.open_group_from(hold, from);
        state.sessions.open(id, key, uid, name, channel, implicit);
        Ok(Opened { id, hold, key, events })
    }

    /// Ends a group in order, as its client asked.
    pub fn close(&self, id: GroupId) -> Result<(), Error> {
        self.with(|state, now| {
            state.sessions.group(id)?;
            state.close(id, Close::Closed, now);
            Ok(())
        })
    }

    /// Ends a group in any state. Nothing happens if it is closed already.
    pub fn close_group(&self, id: GroupId, how: Close) {
        self.with(|state, now| state.close(id, how, now));
    }

    /// Adds the dma-bufs among `fds` to a group: all of them or, on an error, none.
    pub fn add(
        &self,
        id: GroupId,
        fds: &[BorrowedFd<'_>],
        access: Access,
    ) -> Result<Vec<BufferId>, Error> {
        let found = registry::identify(fds)?;
        self.with(|state, _| state.add(id, &found, access, self.config().max_buffers_per_group))
    }

    /// Takes a buffer out of a group.
    pub fn remove(&self, id: GroupId, buffer: BufferId) -> Result<(), Error> {
        self.with(|state, _| {
            state.sessions.group(id)?;
            if state.engine.members(id).all(|(member, _)| member != buffer) {
                return Err(Error::UnknownBuffer);
            }
            state.remove(id, buffer)
        })
    }

    /// Takes all buffers out of a group.
    pub fn remove_all(&self, id: GroupId) -> Result<(), Error> {
        self.with(|state, _| {
            state.sessions.group(id)?;
            if !state.engine.is_idle(id) {
                return Err(Error::Busy);
            }
            let members: Vec<BufferId> = state.engine.members(id).map(|(id, _)| id).collect();
            members.into_iter().try_for_each(|buffer| state.remove(id, buffer))
        })
    }

    /// Locks a group, or grows its grant.
    pub fn lock(&self, id: GroupId, wait: Wait) -> Result<Locked, Error> {
        let (state, looked) = self.look_for_implicit_fences(self.state(), id);
        self.with_state(state, |state, now| state.lock(id, wait, looked.as_ref(), now))
    }

    /// Looks for implicit fences in the way of a group's CPU accesses, without the mutex. Returns the
    /// looks if there is no fence. That is valid for the lock that follows under the returned guard,
    /// and only if it is granted at once; otherwise the sync workers look. A group with device accesses
    /// only has nothing to look for, and keeps the mutex. The looks may have the last descriptors of
    /// dma-bufs, so they are dropped without the mutex.
    fn look_for_implicit_fences<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        id: GroupId,
    ) -> (MutexGuard<'a, State>, Option<Arc<Vec<Look>>>) {
        let Some((uid, looks)) = state.looks_of_cpu(id) else { return (state, None) };
        drop(state);
        let ready = self.permits.enter(uid).is_some_and(|_permit| {
            // Any error: the workers look, and report it.
            jobs::first_pending(&looks) == Ok(None)
        });
        let looked = ready.then_some(looks);
        (self.state(), looked)
    }

    /// Takes back a lock that waits.
    pub fn cancel(&self, id: GroupId) -> Result<(), Error> {
        self.with(|state, now| {
            state.sessions.group(id)?;
            state.engine.cancel(now, id, &mut state.effects)?;
            state.sessions.end_wait(id);
            Ok(())
        })
    }

    /// Ends a grant; buffers with fences pass on as [`buffersync_engine::Engine::unlock`] says.
    pub fn unlock(&self, id: GroupId, token: Token, given: &[Given<'_>]) -> Result<(), Error> {
        self.unlock_some(id, token, None, given)
    }

    /// Ends a part of a grant.
    pub fn unlock_part(
        &self,
        id: GroupId,
        token: Token,
        mut part: Vec<BufferId>,
        given: &[Given<'_>],
    ) -> Result<(), Error> {
        self.unlock_some(id, token, Some(&mut part), given)
    }

    fn unlock_some(
        &self,
        id: GroupId,
        token: Token,
        part: Option<&mut [BufferId]>,
        given: &[Given<'_>],
    ) -> Result<(), Error> {
        let given = release::check(given)?;
        let files = self.take(id, token, part.as_deref(), given)?;
        self.with(|state, now| {
            state.refuse_evicted(id, token)?;
            self.end_grant(state, (id, token), part, given, files, now)
        })
    }

    /// Lets others share what a grant has exclusively.
    pub fn downgrade(
        &self,
        id: GroupId,
        token: Token,
        mut part: Vec<BufferId>,
    ) -> Result<(), Error> {
        self.with(|state, now| {
            state.refuse_evicted(id, token)?;
            state.engine.downgrade(now, id, token, &mut part, &mut state.effects)?;
            Ok(())
        })
    }

    /// Ends a grant and locks the group with this key, in one step. On an error neither has happened.
    pub fn unlock_and_lock(
        &self,
        id: GroupId,
        token: Token,
        given: &[Given<'_>],
        key: i64,
        wait: Wait,
    ) -> Result<(GroupId, Locked), Error> {
        let given = release::check(given)?;
        let mut state = self.state();
        let next = state.sessions.by_key(key)?;
        let mut files = Vec::new();
        if !given.is_empty() {
            // Checked twice: here, before a fence goes into a dma-buf, and below, when it counts.
            state.check_lockable(next, id)?;
            drop(state);
            files = self.take(id, token, None, given)?;
            state = self.state();
        }
        // The last step before: by now the dma-bufs may have the fences that were given.
        let (state, looked) = self.look_for_implicit_fences(state, next);
        self.with_state(state, |state, now| {
            state.refuse_evicted(id, token)?;
            state.check_lockable(next, id)?;
            self.end_grant(state, (id, token), None, given, files, now)?;
            // The grants that follow from the unlock come before the new lock.
            self.carry_out(state, now);
            Ok((next, state.lock(next, wait, looked.as_ref(), now)?))
        })
    }

    /// Makes the service's own sync_files of the given ones, and puts the fences into the dma-bufs if the
    /// group takes part in implicit synchronisation. Refuses first what the unlock would refuse. If the
    /// unlock is refused all the same, drivers wait for a fence that will signal, which does no harm.
    fn take(
        &self,
        id: GroupId,
        token: Token,
        part: Option<&[BufferId]>,
        given: &[Given<'_>],
    ) -> Result<Vec<SyncFile>, Error> {
        if given.is_empty() {
            return Ok(Vec::new());
        }
        self.state().giving(id, token, part, given)?;
        let files = release::take(given)?;
        // Again: the grant may have ended while the files were made, which takes time.
        let (uid, devices) = self.state().giving(id, token, part, given)?;
        if !devices.is_empty() {
            let no_thread = Error::NoResources("threads for drivers");
            let _permit = self.permits.enter(uid).ok_or(no_thread)?;
            release::import(given, &devices)?;
        }
        Ok(files)
    }

    /// Ends a grant that was not taken away, or a part of it.
    fn end_grant(
        &self,
        state: &mut State,
        (id, token): (GroupId, Token),
        mut part: Option<&mut [BufferId]>,
        given: &[Given<'_>],
        files: Vec<SyncFile>,
        now: Time,
    ) -> Result<(), Error> {
        let uid = state.sessions.group(id)?.uid;
        // The engine ends the wait at its deadline. The reactor's own deadline must not come first, so it
        // is twice as far away.
        let until = now.after(2 * Duration::from_millis(self.config().max_hold_ms.into()));
        let giver = Giver { group: id, uid, until };
        let State { engine, effects, sessions, releases, garbage, .. } = state;
        let quotas = &mut sessions.quotas;
        let named = releases.watch_all(&self.reactor, quotas, &giver, given, files, garbage)?;
        let (fences, failed) = (&named.fences, &named.failed);
        let ended = match &mut part {
            None => engine.unlock_with_failed(now, id, token, fences, failed, effects),
            Some(part) => engine.unlock_part(now, id, token, part, fences, failed, effects),
        };
        if let Err(error) = ended {
            releases.drop_all(&self.reactor, &named, garbage);
            return Err(error.into());
        }
        match part {
            Some(part) if !state.engine.is_idle(id) => {
                state.end_part(id, part);
            }
            _ => state.end_hold(id),
        }
        Ok(())
    }

    /// The fences that a grant waits for, merged; of one buffer, or of all.
    pub fn acquire_fence(
        &self,
        id: GroupId,
        token: Token,
        buffer: Option<BufferId>,
    ) -> Result<Option<OwnedFd>, Error> {
        let (explicit, implicit) = self.state().acquiring(id, token, buffer)?;
        acquire::merge(&explicit, &implicit)
    }
}

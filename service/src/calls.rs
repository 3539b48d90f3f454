// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The calls of clients, as the binder objects make them. A call locks the state once, and once more for
//! each step that asks the kernel without the mutex.

use std::sync::MutexGuard;
use std::time::Duration;

use buffersync_engine::{Access, BufferId, Close, GroupId, Time, Token};
pub use buffersync_engine::{HoldFrom, Wait, Wants};
use buffersync_kernel::fd::{Fd, FdRef};

use crate::arbiter::Arbiter;
use crate::error::{self, Error};
use crate::events::EventChannel;
use crate::fences::acquire;
use crate::fences::release::{self, Given, Giver, SyncFile};
use crate::jobs::{self, Sight};
use crate::quota::Kind;
use crate::registry;
pub use crate::state::{Living, Locked, Request};
use crate::state::{Looked, State};

/// A new group.
pub struct Opened {
    /// The engine's name for it.
    pub id: GroupId,
    /// How long its grants last.
    pub hold: Duration,
    /// The client's end of its event channel.
    pub events: Fd,
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
        self.check_closer()?;
        let (channel, events) = EventChannel::new(&self.closer, &self.costs)
            .map_err(|_| Error::NoResources("event channels"))?;
        error::can_be_sent(Some(&events))?;
        let mut state = self.state();
        state.sessions.quotas.charge(uid, Kind::Groups, 1)?;
        let (id, hold) = state.engine.open_group_from(hold, from);
        state.sessions.open(id, uid, name, channel, implicit);
        Ok(Opened { id, hold, events })
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

    /// Adds the buffers among `fds` to a group: all of them or, on an error, none.
    pub fn add(
        &self,
        id: GroupId,
        fds: &[FdRef<'_>],
        access: Access,
    ) -> Result<Vec<BufferId>, Error> {
        self.check_closer()?;
        let found = registry::identify(fds)?;
        let limits = (self.config().max_buffers_per_group, &self.closer);
        self.with(|state, now| state.add(id, &found, access, limits, now))
    }

    /// Takes buffers out of a group: all of these or, on an error, none. An empty list means all that the group has.
    pub fn remove(&self, id: GroupId, buffers: Vec<BufferId>) -> Result<(), Error> {
        self.with(|state, _| state.remove(id, buffers))
    }

    /// Locks buffers of a group.
    pub fn lock(&self, id: GroupId, request: Request<'_>) -> Result<Locked, Error> {
        let (state, looked) = self.look_for_implicit_fences(self.state(), id, request.wants);
        self.with_state(state, |state, now| state.lock(id, request, looked.as_ref(), now))
    }

    /// Adds to a grant: more buffers, or a stronger access.
    pub fn grow(&self, id: GroupId, request: Request<'_>) -> Result<Locked, Error> {
        let (state, looked) = self.look_for_implicit_fences(self.state(), id, request.wants);
        self.with_state(state, |state, now| state.grow(id, request, looked.as_ref(), now))
    }

    /// Looks for implicit fences in the way of a lock's CPU accesses, without the mutex. Returns the
    /// looks if there is no fence. That is valid for the lock that follows under the returned guard,
    /// and only if it is granted at once; otherwise the sync workers look. A lock for devices
    /// only has nothing to look for, and keeps the mutex.
    fn look_for_implicit_fences<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        id: GroupId,
        wants: Wants<'_>,
    ) -> (MutexGuard<'a, State>, Option<Looked>) {
        // A look by poll(2) would wait for reservation locks.
        if self.sight == Sight::Poll {
            return (state, None);
        }
        let Some(looks) = state.looks_of_cpu(id, wants) else { return (state, None) };
        drop(state);
        // After any error the workers look, and report it.
        let ready = matches!(jobs::first_pending(&looks, self.sight), Ok(None));
        let looked = ready.then_some(looks);
        (self.state(), looked)
    }

    /// Takes back what waits: a lock, or a growth.
    pub fn cancel(&self, id: GroupId, token: Token) -> Result<(), Error> {
        self.with(|state, now| {
            state.sessions.lock(id, token)?;
            state.engine.cancel(now, id, token, &mut state.effects)?;
            state.sessions.give_up(id, token);
            Ok(())
        })
    }

    /// Ends a lock, whatever it is.
    pub fn unlock(&self, id: GroupId, token: Token) -> Result<(), Error> {
        self.with(|state, now| {
            state.sessions.lock(id, token)?;
            state.engine.unlock(now, id, token, &[], &mut state.effects)?;
            state.end_lock(id, token);
            Ok(())
        })
    }

    /// Ends a part of a grant, or all of it if the part names no buffer. Buffers with fences pass on as
    /// [`buffersync_engine::Engine::unlock`] says.
    pub fn unlock_buffers(
        &self,
        id: GroupId,
        token: Token,
        mut part: Vec<BufferId>,
        given: &[Given<'_>],
    ) -> Result<(), Error> {
        let part = (!part.is_empty()).then_some(&mut part[..]);
        let given = release::check(given)?;
        let files = self.take(id, token, part.as_deref(), given)?;
        self.with(|state, now| self.end_grant(state, (id, token), part, given, files, now))
    }

    /// Lets others share what a grant has exclusively, or a part of it.
    pub fn downgrade(
        &self,
        id: GroupId,
        token: Token,
        mut part: Vec<BufferId>,
    ) -> Result<(), Error> {
        self.with(|state, now| {
            state.sessions.lock(id, token)?;
            if part.is_empty() {
                let held = state.engine.held(id, token).ok_or(Error::Busy(token.0))?;
                part.extend(held.map(|(buffer, _)| buffer));
            }
            state.engine.downgrade(now, id, token, &mut part, &mut state.effects)?;
            Ok(())
        })
    }

    /// Ends a grant and locks, in one step. On an error neither has happened.
    pub fn unlock_and_lock(
        &self,
        id: GroupId,
        done: Token,
        given: &[Given<'_>],
        request: Request<'_>,
    ) -> Result<Locked, Error> {
        let given = release::check(given)?;
        let mut state = self.state();
        let mut files = Vec::new();
        if !given.is_empty() {
            // Checked twice: here, before a fence goes into a dma-buf, and below, when it counts.
            state.check_exchange(id, (done, 0), request)?;
            drop(state);
            files = self.take(id, done, None, given)?;
            state = self.state();
        }
        // The last step before: by now the dma-bufs may have the fences that were given.
        let (state, looked) = self.look_for_implicit_fences(state, id, request.wants);
        self.with_state(state, |state, now| {
            let (_, failed) = release::records(&files);
            let checked = state.check_exchange(id, (done, failed), request)?;
            self.end_grant(state, (id, done), None, given, files, now)?;
            // The grants that follow from the unlock come before the new lock.
            self.carry_out(state, now);
            // Nothing is checked again that could refuse it now.
            state.lock_checked(id, checked, request, looked.as_ref(), now)
        })
    }

    /// The name of the group with this number, if the group `asks` may know it.
    pub fn name_of(&self, asks: GroupId, serial: u64) -> Result<Option<String>, Error> {
        Ok(self.state().sessions.name_for(asks, serial)?.map(str::to_string))
    }

    /// The living locks of a group, the oldest number first.
    pub fn locks(&self, id: GroupId) -> Result<Vec<Living>, Error> {
        self.state().locks(id)
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
        self.check_closer()?;
        self.state().giving(id, token, part, given)?;
        let files = release::take(given, &self.closer)?;
        // Again: the grant may have ended while the files were made, which takes time.
        let (uid, devices) = self.state().giving(id, token, part, given)?;
        if !devices.is_empty() {
            let no_thread = Error::NoResources("threads for drivers");
            let _permit = self.permits.enter(uid).ok_or(no_thread)?;
            release::import(given, &devices)?;
        }
        Ok(files)
    }

    /// Ends a grant, or a part of it.
    fn end_grant(
        &self,
        state: &mut State,
        (id, token): (GroupId, Token),
        mut part: Option<&mut [BufferId]>,
        given: &[Given<'_>],
        files: Vec<SyncFile>,
        now: Time,
    ) -> Result<(), Error> {
        state.check_granted(id, token, part.as_deref())?;
        if given.is_empty() {
            return state.end_without_fences(id, token, part, now);
        }
        let (count, _) = release::records(&files);
        state.check_fences(id, token, part.as_deref(), count)?;
        let uid = state.sessions.group(id)?.uid;
        // The engine ends the wait at its deadline. The reactor's own deadline must not come first, so it
        // is twice as far away.
        let until = now.after(2 * Duration::from_millis(self.config().max_hold_ms.into()));
        let giver = Giver { group: id, uid, until };
        let State { engine, effects, sessions, releases, .. } = state;
        let quotas = &mut sessions.quotas;
        let named = releases.watch_all(&self.reactor, quotas, &giver, given, files)?;
        let (fences, failed) = (&named.fences, &named.failed);
        let ended = match &mut part {
            None => engine.unlock_with_failed(now, id, token, fences, failed, effects),
            Some(part) => engine.unlock_part(now, id, token, part, fences, failed, effects),
        };
        if let Err(error) = ended {
            releases.drop_all(&self.reactor, &named);
            return Err(error.into());
        }
        state.ended(id, token, part.as_deref());
        Ok(())
    }

    /// The fences that a grant waits for, merged; of one buffer, or of all.
    pub fn acquire_fence(
        &self,
        id: GroupId,
        token: Token,
        buffer: Option<BufferId>,
    ) -> Result<Option<Fd>, Error> {
        let (explicit, implicit) = self.state().acquiring(id, token, buffer)?;
        acquire::merge(&explicit, &implicit)
    }
}

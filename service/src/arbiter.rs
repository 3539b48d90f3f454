// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The arbiter: the calls of clients, the mutex that they take, and what carries out the engine's
//! effects.
//!
//! ```text
//! binder threads ---- calls ------> Arbiter { Mutex<State { Engine, tables }> }
//! reactor thread ---- fences, time --^ |  ^---- jobs done ---- sync workers
//!                                      +--> event pipes, sync queue, reactor
//! ```
//!
//! # The mutex
//!
//! Each entry locks the state, calls the engine once, and carries out the effects before it unlocks
//! ([`Arbiter::with`]), so records reach a pipe in the order of what happened.
//!
//! *Nothing blocks under the mutex.* Pipe writes are non-blocking; cache operations go to the sync
//! workers, and waits for fences to the reactor. Calls that take a dma-buf's reservation lock (poll(2),
//! epoll_ctl(2), imports of fences) are made before or after.
//!
//! *Descriptors are closed after it.* The last close of a dma-buf frees its memory, so descriptors leave
//! the tables by [`State::garbage`].
//!
//! *Lock order:* the state, then the mutex of the sync queue or of the reactor. Those two are leaves:
//! neither calls anything while it is locked.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use buffersync_engine::{
    Access, BufferId, Close, Effect, Effects, Engine, Failure, GroupId, Limits, Time, Token,
};
use buffersync_kernel::quirks;
use buffersync_kernel::sync_file::{self, Status};
use nix::errno::Errno;

use crate::clock;
use crate::config::Config;
use crate::error::Error;
use crate::events::EventPipe;
use crate::fences::implicit::{are_ready, Order, Polled, Waits};
use crate::fences::release::{self, Given, Giver, Releases, SyncFile};
use crate::fences::{acquire, Waiting};
use crate::jobs::{self, Job, Outcome, SyncJob, SyncQueue, WaitJob};
use crate::outbox;
use crate::permits::Permits;
use crate::platform::Tracer;
use crate::poison;
use crate::quota::Kind;
use crate::reactor::{Reactor, Wake};
use crate::registry::{self, Registry};
use crate::sessions::{self, Sessions};
use crate::state::State;
pub use crate::state::{Locked, Wait};
use crate::trace::Slices;

/// All clients' calls go to it.
pub struct Arbiter {
    config: Config,
    state: Mutex<State>,
    queue: SyncQueue,
    reactor: Reactor<Waiting>,
    permits: Permits,
    has_implicit_fences: bool,
    pub(crate) slices: Arc<Slices<Tracer>>,
}

/// A new group.
pub struct Opened {
    /// The engine's name for it.
    pub id: GroupId,
    /// How long its grants last.
    pub hold: Duration,
    /// The clients' name for it.
    pub key: i64,
    /// The client's end of its pipe.
    pub events: OwnedFd,
}

impl Arbiter {
    /// Makes an empty arbiter. [`crate::start`] starts its threads.
    pub fn new(config: Config) -> Result<Self, Errno> {
        let hold = |ms: u32| Duration::from_millis(ms.into());
        let mut engine = Engine::new(Limits {
            default_hold: hold(config.default_hold_ms),
            max_hold: hold(config.max_hold_ms),
            remembered: config.max_remembered as usize,
        });
        engine.expect_implicit_fences();
        let slices = Arc::new(Slices::new(Tracer::new(&config)));
        let state = State {
            engine,
            effects: Effects::default(),
            registry: Registry::default(),
            sessions: Sessions::new(&config, Arc::clone(&slices)),
            releases: Releases::default(),
            waits: Waits::default(),
            garbage: Vec::new(),
        };
        let has_implicit_fences = match config.implicit_fences {
            0 => false,
            1 => quirks::has_sync_file_ioctls(),
            _ => true,
        };
        Ok(Self {
            queue: SyncQueue::new(config.sync_workers),
            reactor: Reactor::new()?,
            // Half of the pool, which has two threads more than `threads` says: drivers that hold on to
            // reservation locks leave the other half to all other calls.
            permits: Permits::new((config.threads as usize + 2) / 2),
            has_implicit_fences,
            slices,
            state: Mutex::new(state),
            config,
        })
    }

    /// The settings, for capabilities and dumps.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether groups can take part in implicit synchronisation.
    pub fn has_implicit_fences(&self) -> bool {
        self.has_implicit_fences
    }

    /// Opens a group for `uid`.
    pub fn open_group(
        &self,
        uid: u32,
        name: &str,
        hold: Option<Duration>,
        implicit: bool,
    ) -> Result<Opened, Error> {
        if implicit && !self.has_implicit_fences {
            return Err(Error::Unsupported("sync_file ioctls of dma-bufs"));
        }
        let (pipe, events) = EventPipe::new().map_err(|_| Error::NoResources("pipes"))?;
        let (key, mut state) = loop {
            let key = sessions::random_key()?;
            let state = self.state();
            if state.sessions.is_free(key) {
                break (key, state);
            }
        };
        state.sessions.quotas.charge(uid, Kind::Groups, 1)?;
        let (id, hold) = state.engine.open_group(hold);
        state.sessions.open(id, key, uid, name, pipe, implicit);
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
        self.with(|state, _| state.add(id, &found, access, self.config.max_buffers_per_group))
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

    /// Locks a group, or grows what it holds.
    pub fn lock(&self, id: GroupId, wait: Wait) -> Result<Locked, Error> {
        let (state, looked) = self.look_for_implicit_fences(self.state(), id);
        self.with_state(state, |state, now| state.lock(id, wait, looked, now))
    }

    /// Looks for implicit fences in the way of a group's CPU accesses, without the mutex. Returns the
    /// dma-bufs if there is no fence. That is valid for the lock that follows under the returned guard,
    /// and only if it is granted at once; otherwise the sync workers look. A group with device accesses
    /// only has nothing to look for, and keeps the mutex.
    fn look_for_implicit_fences<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        id: GroupId,
    ) -> (MutexGuard<'a, State>, Option<Arc<Polled>>) {
        let Some((uid, polled)) = state.polled(id) else { return (state, None) };
        drop(state);
        let ready = self.permits.enter(uid).is_some_and(|_permit| are_ready(&polled));
        (self.state(), ready.then_some(polled))
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

    /// Ends a grant; buffers with fences pass on as [`Engine::unlock`] says.
    pub fn unlock(&self, id: GroupId, token: Token, given: &[Given<'_>]) -> Result<(), Error> {
        let given = release::check(given)?;
        let files = self.take(id, token, given)?;
        self.with(|state, now| {
            state.sessions.refuse_evicted(id, token)?;
            self.end_grant(state, (id, token), given, files, now)
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
            files = self.take(id, token, given)?;
            state = self.state();
        }
        // The last step before: by now the dma-bufs may have the fences that were given.
        let (state, looked) = self.look_for_implicit_fences(state, next);
        self.with_state(state, |state, now| {
            state.sessions.refuse_evicted(id, token)?;
            state.check_lockable(next, id)?;
            self.end_grant(state, (id, token), given, files, now)?;
            // The grants that follow from the unlock come before the new lock.
            self.carry_out(state, now);
            Ok((next, state.lock(next, wait, looked, now)?))
        })
    }

    /// Makes the service's own sync_files of what was given, and puts the fences into the dma-bufs if the
    /// group takes part in implicit synchronisation. A call that would be refused anyway is refused
    /// before. If the unlock is refused afterwards, drivers wait for a fence that signals: no harm.
    fn take(&self, id: GroupId, token: Token, given: &[Given<'_>]) -> Result<Vec<SyncFile>, Error> {
        if given.is_empty() {
            return Ok(Vec::new());
        }
        let (uid, devices) = self.state().giving(id, token, given.len())?;
        let files = release::take(given)?;
        if !devices.is_empty() {
            let no_thread = Error::NoResources("threads for drivers");
            let _permit = self.permits.enter(uid).ok_or(no_thread)?;
            release::import(given, &devices)?;
        }
        Ok(files)
    }

    /// Ends a grant that was not taken away.
    fn end_grant(
        &self,
        state: &mut State,
        (id, token): (GroupId, Token),
        given: &[Given<'_>],
        files: Vec<SyncFile>,
        now: Time,
    ) -> Result<(), Error> {
        let uid = state.sessions.group(id)?.uid;
        // The engine ends the wait at its deadline. The reactor's own deadline must not come first, so it
        // is twice as far away.
        let until = now.after(2 * Duration::from_millis(self.config.max_hold_ms.into()));
        let giver = Giver { group: id, uid, until };
        let State { engine, effects, sessions, releases, garbage, .. } = state;
        let quotas = &mut sessions.quotas;
        let named = releases.watch_all(&self.reactor, quotas, &giver, given, files, garbage)?;
        let (fences, failed) = (&named.fences, &named.failed);
        let ended = engine.unlock_with_failed(now, id, token, fences, failed, effects);
        if let Err(error) = ended {
            releases.drop_all(&self.reactor, &named, garbage);
            return Err(error.into());
        }
        state.end_hold(id);
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

    /// Runs the reactor thread.
    pub fn run_reactor(&self) -> Errno {
        self.reactor.run(clock::now, |wake| self.woken(wake))
    }

    /// Runs a sync worker.
    pub fn run_worker(&self) -> Errno {
        jobs::work(&self.queue, &self.slices, |outcome| self.reported(outcome))
    }

    fn woken(&self, wake: Wake<Waiting>) {
        match wake {
            Wake::Timer => self.with(|state, now| state.engine.tick(now, &mut state.effects)),
            Wake::Ready(Waiting::Release { id, fence })
            | Wake::TimedOut(Waiting::Release { id, fence }) => {
                let ok = sync_file::status(fence.as_fd()) == Status::Signalled;
                self.with(|state, now| {
                    if let Some(fence) = state.releases.woke(id) {
                        state.garbage.push(fence);
                    }
                    state.engine.fence_done(now, id, ok, &mut state.effects);
                });
            }
            Wake::Ready(Waiting::Implicit { buffer, number })
            | Wake::TimedOut(Waiting::Implicit { buffer, number }) => self.with(|state, now| {
                let (State { waits, garbage, .. }, watch) = (&mut *state, (buffer, number));
                let failed = waits.woke(&self.queue, &self.reactor, watch, now, garbage);
                state.waits_failed(failed, now);
            }),
        }
    }

    fn reported(&self, outcome: Outcome) {
        match outcome {
            Outcome::Done(job) => self.with(|state, now| state.job_done(job, Ok(()), now)),
            Outcome::Failed(job, succeeded, errno) => self.with(|state, now| {
                let failure = Failure { succeeded, reason: errno as i32 };
                state.job_done(job, Err(failure), now);
            }),
            Outcome::Blocked(job, succeeded) => self.with(|state, now| {
                state.engine.job_blocked(now, job, succeeded, &mut state.effects);
            }),
            Outcome::Pending(job, nth) => {
                let order = self.with(|state, now| {
                    let State { waits, garbage, .. } = state;
                    waits.pending(&self.reactor, job, nth, now, garbage).unwrap_or_else(|failed| {
                        state.waits_failed([failed], now);
                        None
                    })
                });
                if let Some(order) = order {
                    self.keep_watching(order);
                }
            }
        }
    }

    /// Has the reactor watch a buffer, until that is what the table wants.
    fn keep_watching(&self, mut order: Order) {
        loop {
            let made = order.make(&self.reactor);
            let next = self.with(|state, now| {
                let State { waits, garbage, .. } = state;
                let made = waits.made(&self.queue, &self.reactor, &order, made, garbage);
                made.unwrap_or_else(|failed| {
                    state.waits_failed(failed, now);
                    None
                })
            });
            match next {
                Some(next) => order = next,
                None => return,
            }
        }
    }

    /// Looks at the state, for dumps.
    pub(crate) fn inspect<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.state())
    }

    /// The jobs that wait for a worker, and the reactor's waits.
    pub(crate) fn backlog(&self) -> (usize, usize) {
        (self.queue.len(), self.reactor.len())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        poison::lock(&self.state)
    }

    /// One entry: runs `call` on the state and carries out what the engine decided.
    fn with<R>(&self, call: impl FnOnce(&mut State, Time) -> R) -> R {
        self.with_state(self.state(), call)
    }

    /// [`Arbiter::with`] for a caller that has locked the state already.
    fn with_state<R>(
        &self,
        mut state: MutexGuard<'_, State>,
        call: impl FnOnce(&mut State, Time) -> R,
    ) -> R {
        let now = clock::now();
        let result = call(&mut state, now);
        self.carry_out(&mut state, now);
        if let Some(deadline) = state.engine.next_deadline() {
            self.reactor.wake_at(deadline);
        }
        let garbage = std::mem::take(&mut state.garbage);
        drop(state);
        drop(garbage);
        result
    }

    /// Carries out effects until there are none: a pipe that is lost closes its group, which has effects.
    fn carry_out(&self, state: &mut State, now: Time) {
        while let Some(effect) = state.effects.pop() {
            match effect {
                Effect::Sync { job: id, group, waits, ops } => {
                    let (looks, operations) = (state.looks(waits), state.operations(ops));
                    let uid = state.sessions.uid(group);
                    self.queue.push(Job::Sync(SyncJob { id, uid, looks, operations }));
                }
                Effect::Wait { job: id, group, ops, until } => {
                    let (looks, uid) = (state.looks(ops), state.sessions.uid(Some(group)));
                    state.waits.begin(&self.queue, WaitJob { id, uid, looks, until });
                }
                Effect::DropWait { job } => {
                    let State { waits, garbage, .. } = state;
                    waits.end(&self.queue, &self.reactor, job, garbage);
                }
                Effect::Granted { group, grant } => {
                    state.sessions.end_wait(group);
                    state.announce(group, grant, now);
                }
                Effect::LockFailed { group, token, buffer, reason, cause } => {
                    state.sessions.end_wait(group);
                    state.lock_failed(group, token, (buffer, reason, cause), now);
                }
                Effect::TimedOut { group, token } => {
                    state.sessions.end_wait(group);
                    state.tell(group, outbox::timed_out(token), now);
                }
                Effect::Wounded { group, token } => {
                    state.sessions.end_wait(group);
                    state.tell(group, outbox::wounded(token), now);
                }
                Effect::Evicted { group, token, cause } => {
                    state.evicted(group, token, cause, now);
                }
                Effect::DropFence { fence } => {
                    let State { releases, garbage, .. } = state;
                    releases.drop_one(&self.reactor, fence, garbage);
                }
                Effect::Remember { buffer } => {
                    state.garbage.extend(state.registry.remember(buffer).map(|fd| fd as _));
                }
                Effect::Forget { buffer } => {
                    state.garbage.extend(state.registry.forget(buffer).map(|fd| fd as _));
                }
            }
        }
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The arbiter: the mutex that every call takes, and the code that carries out the engine's effects. The
//! clients' calls are in [`crate::calls`].
//!
//! ```text
//! binder threads ---- calls ------> Arbiter { Mutex<State { Engine, tables }> }
//! reactor thread ---- fences, time --^ |  ^---- jobs done ---- sync workers
//!                                      +--> event channels, sync queue, reactor
//! ```
//!
//! # The mutex
//!
//! Each entry locks the state, calls the engine, and carries out the effects before it unlocks
//! (`Arbiter::with`), so records reach a channel in the order of events. An exchange (`unlock_and_lock`)
//! calls the engine twice, and carries out the effects after each call.
//!
//! *Nothing blocks under the mutex.* Sends to event channels do not wait; cache operations go to the sync
//! workers, waits for fences to the reactor, descriptors to the closer, lines for the log to `State::notes`. The
//! table of system calls in docs/design.md says what each can wait for.
//!
//! *Lock order:* the state, then the mutex of the sync queue, of the reactor or of the closer. Those are leaves:
//! none calls anything while it is locked.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use buffersync_engine::{Effect, Effects, Engine, Failure, Limits, Time};
use buffersync_kernel::fd::AsFd;
use buffersync_kernel::quirks;
use buffersync_kernel::sync_file::{self, Status};
use nix::errno::Errno;

use crate::clock;
use crate::closer::Closer;
use crate::config::Config;
use crate::error::Error;
use crate::events::Costs;
use crate::fences::acquire::Acquires;
use crate::fences::implicit::Waits;
use crate::fences::release::Releases;
use crate::fences::Waiting;
use crate::jobs::{self, Job, Outcome, Sight, SyncJob, SyncQueue, WaitJob};
use crate::notes::Note;
use crate::oneways::Oneways;
use crate::outbox;
use crate::permits::Permits;
use crate::platform::Tracer;
use crate::poison;
use crate::quota::Resources;
use crate::reactor::{Reactor, Wake};
use crate::registry::Registry;
use crate::sessions::Sessions;
use crate::state::{State, Youth};
use crate::tables::ByGroup;
use crate::trace::Slices;

#[cfg(simulated)]
pub mod simulated;

/// The engine behind its mutex, with the queue and the reactor that work for it.
pub struct Arbiter {
    config: Config,
    state: Mutex<State>,
    queue: SyncQueue,
    pub(crate) reactor: Reactor<Waiting>,
    pub(crate) closer: Arc<Closer>,
    pub(crate) costs: Arc<Costs>,
    /// For pool threads that put fences into dma-bufs.
    pub(crate) permits: Permits,
    /// For a dump that goes to a client.
    pub(crate) dump_permits: Permits,
    /// For a dump that goes to root, the system or the shell: others can't use these permits up.
    pub(crate) trusted_permits: Permits,
    pub(crate) oneways: Oneways,
    pub(crate) sight: Sight,
    has_implicit_fences: bool,
    pub(crate) slices: Arc<Slices<Tracer>>,
}

impl Arbiter {
    /// Makes an empty arbiter. [`crate::start`] starts its threads.
    pub fn new(config: Config, resources: Resources) -> Result<Self, Errno> {
        let hold = |ms: u32| Duration::from_millis(ms.into());
        let mut engine = Engine::new(Limits {
            default_hold: hold(config.default_hold_ms),
            max_hold: hold(config.max_hold_ms),
            remembered: config.max_remembered as usize,
        });
        engine.expect_implicit_fences();
        let names_from = clock::fresh_number();
        engine.name_groups_from(names_from);
        let slices = Arc::new(Slices::new(Tracer::new(&config)));
        let state = State {
            engine,
            effects: Effects::default(),
            registry: Registry::new(names_from),
            sessions: Sessions::new(&config, resources, Arc::clone(&slices)),
            releases: Releases::default(),
            acquires: Acquires::default(),
            waits: Waits::default(),
            polled: ByGroup::new(),
            notes: Vec::new(),
            youth: Youth::begin(hold(config.max_hold_ms)),
            unread: VecDeque::new(),
            last_look: Time(0),
            read_within: hold(config.read_grant_ms),
        };
        let has_implicit_fences = match config.implicit_fences {
            0 => false,
            1 => quirks::has_sync_file_ioctls(),
            _ => true,
        };
        Ok(Self {
            queue: SyncQueue::new(config.sync_workers),
            reactor: Reactor::new()?,
            closer: Arc::default(),
            costs: Arc::new(Costs::measure()?),
            // The pool has two threads more than `threads` says, which is 2 at least. Imports keep a third of it at
            // most, dumps two threads; the rest is there for all other calls.
            permits: Permits::new((config.threads as usize).div_ceil(3)),
            dump_permits: Permits::new(1),
            trusted_permits: Permits::new(1),
            oneways: Oneways::default(),
            sight: if has_implicit_fences { Sight::Export } else { Sight::Poll },
            has_implicit_fences,
            slices,
            state: Mutex::new(state),
            config,
        })
    }

    /// From now on clients can find this process. Until now they could find an earlier one.
    #[cfg(not(simulated))]
    pub(crate) fn begin_youth(&self) {
        let hold = Duration::from_millis(self.config.max_hold_ms.into());
        self.state().youth = Youth::begin(hold);
    }

    /// The settings, for capabilities and dumps.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether groups can take part in implicit synchronisation.
    pub fn has_implicit_fences(&self) -> bool {
        self.has_implicit_fences
    }

    /// Runs the reactor thread.
    pub fn run_reactor(&self) -> Errno {
        self.reactor.run(clock::now, |wake| self.woken(wake))
    }

    /// Runs a sync worker.
    pub fn run_worker(&self) -> Errno {
        jobs::work(&self.queue, self.sight, &self.slices, |outcome| self.reported(outcome))
    }

    /// Runs the thread that closes descriptors.
    pub fn run_closer(&self) -> ! {
        self.closer.run()
    }

    fn woken(&self, wake: Wake<Waiting>) {
        match wake {
            Wake::Timer => self.with(|state, now| {
                state.engine.tick(now, &mut state.effects);
                state.take_unread_grants(now);
            }),
            Wake::Ready(Waiting::Release { id, fence })
            | Wake::TimedOut(Waiting::Release { id, fence }) => {
                let ok = sync_file::status(fence.as_fd()) == Status::Signalled;
                self.with(|state, now| {
                    state.release_woke(id, ok);
                    state.engine.fence_done(now, id, ok, &mut state.effects);
                });
            }
            Wake::Ready(Waiting::Implicit { buffer, number })
            | Wake::TimedOut(Waiting::Implicit { buffer, number }) => self.with(|state, now| {
                let watch = (buffer, number);
                let failed = state.waits.woke(&self.queue, &self.reactor, watch, now);
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
            Outcome::Pending(job, found) => self.with(|state, now| {
                let State { waits, .. } = state;
                let failed = waits.pending(&self.reactor, job, found, now, &self.closer);
                state.waits_failed(failed, now);
            }),
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

    /// Refuses a call that would keep more descriptors while the closer is far behind.
    pub(crate) fn check_closer(&self) -> Result<(), Error> {
        let behind = self.closer.is_behind();
        (!behind).then_some(()).ok_or(Error::NoResources("descriptors, which are being closed"))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        poison::lock(&self.state)
    }

    /// One entry: runs `call` on the state and carries out the effects.
    pub(crate) fn with<R>(&self, call: impl FnOnce(&mut State, Time) -> R) -> R {
        self.with_state(self.state(), call)
    }

    /// [`Arbiter::with`] for a caller that has locked the state already.
    pub(crate) fn with_state<R>(
        &self,
        mut state: MutexGuard<'_, State>,
        call: impl FnOnce(&mut State, Time) -> R,
    ) -> R {
        let now = clock::now();
        let result = call(&mut state, now);
        self.carry_out(&mut state, now);
        if let Some(deadline) = state.next_deadline() {
            self.reactor.wake_at(deadline);
        }
        let notes = mem::take(&mut state.notes);
        drop(state);
        notes.into_iter().for_each(Note::write);
        result
    }

    /// Carries out effects until there are none: a channel that is lost closes its group, which has effects.
    /// `carry_out_one` is not inlined: most calls have no effect, and should not pay for its frame.
    pub(crate) fn carry_out(&self, state: &mut State, now: Time) {
        while let Some(effect) = state.effects.pop() {
            self.carry_out_one(state, effect, now);
        }
    }

    #[inline(never)]
    fn carry_out_one(&self, state: &mut State, effect: Effect, now: Time) {
        match effect {
            Effect::Sync { job: id, group, waits, ops } => {
                let (looks, operations) = (state.looks(waits), state.operations(ops));
                let uid = state.uid_of(group, ops);
                self.queue.push(Job::Sync(SyncJob { id, uid, looks, operations }));
            }
            Effect::Wait { job: id, group, waits, until } => {
                let (looks, uid) = (state.looks(waits), state.sessions.uid(group));
                state.waits.begin(&self.queue, WaitJob { id, uid, looks, until });
            }
            Effect::DropWait { job } => {
                state.waits.end(&self.queue, &self.reactor, job);
            }
            Effect::Granted { group, grant } => state.announce(group, grant, now),
            Effect::LockFailed { group, token, buffer, reason, cause } => {
                state.sessions.give_up(group, token);
                state.lock_failed(group, token, (buffer, reason, cause), now);
            }
            Effect::TimedOut { group, token, by } => {
                state.sessions.give_up(group, token);
                state.tell(group, outbox::timed_out(token, by), now);
            }
            Effect::Wounded { group, token } => {
                state.sessions.give_up(group, token);
                state.tell(group, outbox::wounded(token), now);
            }
            Effect::Contended { group, token, deadline } => {
                state.sessions.contended(group, token);
                state.expect_read(group, token, now);
                state.tell(group, outbox::contended(token, deadline), now);
            }
            Effect::Evicted { group, token, cause, by } => {
                state.evicted(group, (token, cause, by), now);
            }
            Effect::DropFence { fence } => {
                state.releases.drop_one(&self.reactor, fence);
            }
            Effect::Remember { buffer } => state.registry.remember(buffer),
            Effect::Forget { buffer } => {
                let identity = state.registry.forget(buffer);
                // If nothing is remembered, marks are forgotten, too.
                if let Some(identity) = identity.filter(|_| self.config.max_remembered > 0) {
                    state.youth.settle(identity, now);
                }
            }
        }
    }
}

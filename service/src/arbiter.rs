// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The arbiter: the engine behind its mutex, and the hands that carry out what it decides.
//!
//! ```text
//! binder threads ---- calls ----> Arbiter { Mutex<State { Engine, tables }> }
//! reactor thread ---- fences, time --^ |  ^---- jobs done ---- sync workers
//!                                      +--> event pipes, sync queue, reactor
//! ```
//!
//! Every entry locks the state, calls the engine once, and carries out its effects before it lets
//! go, so that records reach a pipe in the order in which things happened. Nothing done under the
//! mutex can block: pipe writes are non-blocking, cache operations and fences go to the workers and
//! the reactor. Descriptors are closed after the mutex is released, since the last close of a
//! dma-buf frees its memory.
//!
//! Lock order: state, then the mutexes of the sync queue and the reactor, which are leaves.
//!
//! Knows nothing of binder; [`crate::binder::hal`] and [`crate::binder::group`] translate.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use buffersync_aidl::event::{self, Record};
use buffersync_aidl::reply::Granted;
use buffersync_engine::{
    Access, BufferId, BuildIdHasher, Close, Effect, Effects, Engine, EvictionCause, Failure,
    FailureCause, FenceId, Grant, GrantedBuffer, GroupId, Implicit, JobId, Limits, LockOutcome,
    Phase, Span, Time, Token,
};
use buffersync_kernel::dmabuf::{self, Identity, Usage};
use buffersync_kernel::quirks;
use nix::errno::Errno;
use nix::poll::PollFlags;

use crate::by_group::ByGroup;
use crate::clock;
use crate::config::Config;
use crate::error::Error;
use crate::events::{EventPipe, Lost};
use crate::evicted::Evicted;
use crate::fences::implicit::Waits;
use crate::fences::release::{Acquire, Fence, Release};
use crate::jobs::{Operation, Outcome, SyncJob, SyncQueue};
use crate::permits::Permits;
use crate::platform::Tracer;
use crate::poison;
use crate::quota::{Kind, Quotas};
use crate::reactor::{Reactor, Wake, Watched};
use crate::trace::{GroupName, Slices};

/// See the module.
pub struct Arbiter {
    config: Config,
    state: Mutex<State>,
    pub(crate) queue: SyncQueue,
    pub(crate) reactor: Reactor<Waiting>,
    pub(crate) permits: Permits,
    has_implicit_fences: bool,
    pub(crate) slices: Arc<Slices<Tracer>>,
}

/// What the reactor waits for.
#[derive(Debug)]
pub enum Waiting {
    /// A release fence.
    Release {
        /// The engine's name for it.
        id: FenceId,
        /// The sync_file.
        fence: Arc<Fence>,
    },
    /// Implicit fences of a buffer.
    Implicit {
        /// Which buffer.
        buffer: BufferId,
        /// Which watch of it.
        number: u64,
    },
}

/// How long a lock may wait for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    Never,
    /// As long as it takes.
    UntilGranted,
    /// At most as long.
    AtMost(Duration),
}

/// The answer to a lock that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Locked {
    /// The grant follows through the event pipe.
    Queued(Token),
    /// Granted at once.
    Granted {
        /// Names the grant.
        token: Token,
        /// When it is taken away, and of what buffers, as `LockReply.grant` says it.
        grant: Vec<i64>,
        /// There may be fences to be waited for: [`Arbiter::acquire_fence`].
        waits: bool,
    },
}

/// By names that the service has given, which need no defence against chosen ones.
pub(crate) type ById<K, V> = HashMap<K, V, BuildIdHasher>;

pub(crate) struct State {
    pub(crate) engine: Engine,
    pub(crate) buffers: ById<BufferId, Buffer>,
    /// Of these buffers, and of those that are remembered.
    by_identity: HashMap<Identity, BufferId>,
    /// Buffers that no group has and of which the engine remembers something. An identity is the inode
    /// number of a dma-buf. The kernel counts those up, so that the same one comes again after 2^32
    /// dma-bufs at the earliest; that one would inherit a mark.
    remembered: ById<BufferId, Identity>,
    pub(crate) groups: ByGroup<Group>,
    /// What clients name groups by that are not the object of the call. The keys are random numbers.
    by_key: ById<i64, GroupId>,
    /// Release fences that the reactor waits for. They outlive their group.
    pub(crate) releases: ById<FenceId, Release>,
    /// Locks that wait for implicit fences.
    pub(crate) waits: Waits,
    pub(crate) quotas: Quotas,
    pub(crate) syncs: SyncCounters,
    last_buffer: u64,
    pub(crate) last_fence: u64,
    pub(crate) effects: Effects,
    /// Descriptors to be closed when the mutex is released.
    pub(crate) garbage: Vec<Watched>,
    pub(crate) evictions: VecDeque<Eviction>,
    pub(crate) slices: Arc<Slices<Tracer>>,
}

/// A dma-buf that some group has.
pub(crate) struct Buffer {
    fd: Arc<OwnedFd>,
    pub(crate) identity: Identity,
    /// In bytes; 0 if it does not say.
    pub(crate) size: u64,
}

/// What the service keeps of a group beside the engine's view.
pub(crate) struct Group {
    pub(crate) name: String,
    key: i64,
    pub(crate) uid: u32,
    pub(crate) pipe: EventPipe,
    /// A lock is accepted and neither granted nor ended; counted in the uid's quota.
    pub(crate) waiting: bool,
    /// It has a grant.
    holds: bool,
    /// The last grants that were taken away, to tell a late unlock what happened.
    pub(crate) evicted: Evicted,
    /// Release fences that are pending. Bounded: each may become a record in the pipe.
    pub(crate) fences: usize,
    /// What its grant has to wait for.
    pub(crate) acquire: Acquire,
    /// It takes part in implicit synchronisation.
    pub(crate) implicit: bool,
    /// What its CPU accesses have to find signalled, if it has any. Looked for anew when its buffers
    /// change: `None` until then.
    polled: Option<Option<Arc<Polled>>>,
}

impl Group {
    fn traced(&self, id: GroupId) -> GroupName<'_> {
        GroupName { name: &self.name, serial: id.serial() }
    }

    /// It holds, or holds more.
    fn granted(&mut self, id: GroupId, slices: &Slices<Tracer>) {
        if !std::mem::replace(&mut self.holds, true) {
            slices.holds(self.traced(id));
        }
    }

    /// It holds nothing, and waits for nothing more of it.
    pub(crate) fn holds_no_longer(&mut self, id: GroupId, slices: &Slices<Tracer>) {
        if std::mem::take(&mut self.holds) {
            slices.hold_ended(self.traced(id));
        }
    }
}

/// Dma-bufs, and the implicit fences that matter.
pub(crate) type Polled = Vec<(Arc<OwnedFd>, PollFlags)>;

fn are_ready(polled: &Polled) -> bool {
    let all = polled.iter().map(|(fd, events)| (fd.as_fd(), *events));
    dmabuf::first_pending(all) == Ok(None)
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

/// A grant that was taken away, for dumps.
pub(crate) struct Eviction {
    pub(crate) at: Time,
    pub(crate) uid: u32,
    pub(crate) name: String,
    pub(crate) token: Token,
    pub(crate) cause: EvictionCause,
}

/// As many evictions are remembered.
const REMEMBERED: usize = 16;

/// Cache operations as the kernel answered them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SyncCounters {
    pub(crate) failed: u64,
    pub(crate) waited: u64,
    pub(crate) timed_out: u64,
}

impl Arbiter {
    /// An arbiter with nothing in it. Its threads are started by [`crate::start`].
    pub fn new(config: Config) -> Result<Self, Errno> {
        let hold = |ms: u32| Duration::from_millis(ms.into());
        let limits = Limits {
            default_hold: hold(config.default_hold_ms),
            max_hold: hold(config.max_hold_ms),
            remembered: config.max_remembered as usize,
        };
        let mut engine = Engine::new(limits);
        engine.expect_implicit_fences();
        let slices = Arc::new(Slices::new(Tracer::new(&config)));
        let state = State {
            slices: Arc::clone(&slices),
            engine,
            buffers: HashMap::default(),
            by_identity: HashMap::new(),
            remembered: HashMap::default(),
            groups: ByGroup::new(),
            by_key: HashMap::default(),
            releases: HashMap::default(),
            waits: Waits::default(),
            quotas: Quotas::new(&config),
            syncs: SyncCounters::default(),
            last_buffer: 0,
            last_fence: 0,
            effects: Effects::default(),
            garbage: Vec::new(),
            evictions: VecDeque::new(),
        };
        let has_implicit_fences = match config.implicit_fences {
            0 => false,
            1 => quirks::has_sync_file_ioctls(),
            _ => true,
        };
        Ok(Self {
            queue: SyncQueue::new(config.sync_workers),
            reactor: Reactor::new()?,
            // Half of the pool, the two threads that always run included.
            permits: Permits::new(1 + config.threads as usize / 2),
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
        let (pipe, read) = EventPipe::new().map_err(|_| Error::NoResources("pipes"))?;
        let mut state = self.state();
        state.quotas.charge(uid, Kind::Groups, 1)?;
        let (id, hold) = state.engine.open_group(hold);
        let key = state.new_key();
        let group = Group {
            name: name.to_string(),
            key,
            uid,
            pipe,
            waiting: false,
            holds: false,
            evicted: Evicted::default(),
            fences: 0,
            acquire: Vec::new(),
            implicit,
            polled: None,
        };
        state.groups.insert(id, group);
        state.by_key.insert(key, id);
        log::debug!("group {} {name:?} opened by uid {uid}", id.serial());
        Ok(Opened { id, hold, key, events: read })
    }

    /// Ends a group in order, as its client asked.
    pub fn close(&self, id: GroupId) -> Result<(), Error> {
        self.with(|state, now| {
            state.group(id)?;
            state.close(id, Close::Closed, now);
            Ok(())
        })
    }

    /// Ends a group whatever its state. Nothing happens if it is closed already.
    pub fn close_group(&self, id: GroupId, how: Close) {
        self.with(|state, now| {
            if state.groups.get(id).is_some() {
                state.close(id, how, now);
            }
        });
    }

    /// Adds the dma-bufs among `fds` to a group: all of them or, on an error, none.
    pub fn add(
        &self,
        id: GroupId,
        fds: &[BorrowedFd<'_>],
        access: Access,
    ) -> Result<Vec<BufferId>, Error> {
        let mut found: Vec<(Identity, BorrowedFd<'_>)> = Vec::new();
        for fd in fds {
            if let Some(identity) = dmabuf::identify(*fd).map_err(|_| Error::NotDmaBuf)? {
                if found.iter().all(|(known, _)| *known != identity) {
                    found.push((identity, *fd));
                }
            }
        }
        if found.is_empty() {
            return Err(Error::NotDmaBuf);
        }
        self.with(|state, _| state.add(id, &found, access, self.config.max_buffers_per_group))
    }

    /// Takes a buffer out of a group.
    pub fn remove(&self, id: GroupId, buffer: BufferId) -> Result<(), Error> {
        self.with(|state, _| {
            state.group(id)?;
            if state.engine.members(id).all(|(member, _)| member != buffer) {
                return Err(Error::UnknownBuffer);
            }
            state.remove(id, buffer)
        })
    }

    /// Takes all buffers out of a group.
    pub fn remove_all(&self, id: GroupId) -> Result<(), Error> {
        self.with(|state, _| {
            state.group(id)?;
            if !state.engine.is_idle(id) {
                return Err(Error::Busy);
            }
            let members: Vec<BufferId> = state.engine.members(id).map(|(id, _)| id).collect();
            for buffer in members {
                state.remove(id, buffer)?;
            }
            Ok(())
        })
    }

    /// Locks a group, or grows what it holds.
    pub fn lock(&self, id: GroupId, wait: Wait) -> Result<Locked, Error> {
        let (state, looked) = self.look_for_implicit_fences(self.state(), id);
        self.with_state(state, |state, now| state.lock(id, wait, looked, now))
    }

    /// Looks for implicit fences in the way of a group's CPU accesses, without the mutex; the buffers, if
    /// there is no fence. It counts for the lock that follows with the mutex that comes back, and only
    /// if that is granted at once: otherwise the sync workers look. A group that has devices only has
    /// nothing to look for, and keeps the mutex.
    pub(crate) fn look_for_implicit_fences<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        id: GroupId,
    ) -> (MutexGuard<'a, State>, Option<Arc<Polled>>) {
        let Some((uid, polled)) = state.polled(id) else { return (state, None) };
        drop(state);
        let ready = self.permits.enter(uid).is_some_and(|_permit| are_ready(&polled));
        (self.state(), ready.then_some(polled))
    }

    /// Takes a waiting lock back.
    pub fn cancel(&self, id: GroupId) -> Result<(), Error> {
        self.with(|state, now| {
            state.group(id)?;
            state.engine.cancel(now, id, &mut state.effects)?;
            state.no_longer_waiting(id);
            Ok(())
        })
    }

    /// The reactor's handler.
    pub fn woken(&self, wake: Wake<Waiting>) {
        match wake {
            Wake::Timer => self.with(|state, now| state.engine.tick(now, &mut state.effects)),
            Wake::Ready(Waiting::Implicit { buffer, number })
            | Wake::TimedOut(Waiting::Implicit { buffer, number }) => {
                self.watch_woke(buffer, number);
            }
            Wake::Ready(Waiting::Release { id, fence })
            | Wake::TimedOut(Waiting::Release { id, fence }) => self.fence_woke(id, &fence),
        }
    }

    /// The workers' report.
    pub fn reported(&self, outcome: Outcome) {
        match outcome {
            Outcome::Done(job) => self.with(|state, now| {
                state.waits.ended(job);
                state.engine.job_done(now, job, Ok(()), &mut state.effects);
            }),
            Outcome::Failed(job, succeeded, errno) => self.with(|state, now| {
                state.waits.ended(job);
                state.syncs.failed += 1;
                state.job_failed(job, succeeded, errno, now);
            }),
            Outcome::Blocked(job, succeeded) => self.with(|state, now| {
                state.engine.job_blocked(now, job, succeeded, &mut state.effects);
            }),
            Outcome::Pending(job, nth) => self.wait_goes_on(job, nth),
        }
    }

    /// The reactor thread's life.
    pub fn run_reactor(&self) -> Errno {
        self.reactor.run(clock::now, |wake| self.woken(wake))
    }

    /// A sync worker's life.
    pub fn run_worker(&self) -> Errno {
        crate::jobs::work(&self.queue, &self.slices, |outcome| self.reported(outcome))
    }

    /// Looks at the state, for dumps.
    pub(crate) fn inspect<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.state())
    }

    /// Jobs that wait for a worker, and waits in the reactor.
    pub(crate) fn backlog(&self) -> (usize, usize) {
        (self.queue.len(), self.reactor.len())
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        poison::lock(&self.state)
    }

    /// One entry: runs `call` on the state and carries out what the engine decided.
    pub(crate) fn with<R>(&self, call: impl FnOnce(&mut State, Time) -> R) -> R {
        self.with_state(self.state(), call)
    }

    /// As [`Arbiter::with`], by who has the mutex already.
    pub(crate) fn with_state<R>(
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

    /// Carries out effects until there are none: losing a pipe closes its group, which has effects.
    pub(crate) fn carry_out(&self, state: &mut State, now: Time) {
        while let Some(effect) = state.effects.pop() {
            match effect {
                Effect::Sync { job, group, waits, ops } => {
                    self.submit(state, (job, group), waits, ops, now);
                }
                Effect::Wait { job, group, ops, until } => {
                    self.begin_wait(state, job, group, ops, until);
                }
                Effect::DropWait { job } => self.drop_wait(state, job),
                Effect::Granted { group, grant } => {
                    state.no_longer_waiting(group);
                    state.announce(group, grant, now);
                }
                Effect::LockFailed { group, token, buffer, reason, cause } => {
                    state.no_longer_waiting(group);
                    state.lock_failed(group, token, (buffer, reason, cause), now);
                }
                Effect::TimedOut { group, token } => {
                    state.no_longer_waiting(group);
                    state.tell(group, record(event::TIMED_OUT, token), now);
                }
                Effect::Wounded { group, token } => {
                    state.no_longer_waiting(group);
                    state.tell(group, record(event::WOUNDED, token), now);
                }
                Effect::Evicted { group, token, cause } => {
                    if cause == EvictionCause::Deadline {
                        state.ended(group);
                    }
                    state.tell_evicted(group, token, cause, now);
                }
                Effect::DropFence { fence } => self.drop_fence(state, fence),
                Effect::Remember { buffer } => state.remember(buffer),
                Effect::Forget { buffer } => state.forget(buffer),
            }
        }
    }

    fn submit(
        &self,
        state: &State,
        (id, group): (JobId, Option<GroupId>),
        waits: Span,
        ops: Span,
        now: Time,
    ) {
        let uid = group.and_then(|group| state.groups.get(group)).map_or(u32::MAX, |g| g.uid);
        let looks = state.looks(waits);
        let ops = state.effects.ops(ops).iter();
        let operations = ops.filter_map(|op| {
            let fd = Arc::clone(&state.buffers.get(&op.buffer)?.fd);
            Some(Operation { buffer: op.buffer, fd, kind: op.kind, flags: op.flags })
        });
        let operations = operations.collect();
        self.queue.push(SyncJob { id, uid, looks, operations, until: now });
    }
}

impl State {
    pub(crate) fn group(&self, id: GroupId) -> Result<&Group, Error> {
        self.groups.get(id).ok_or(Error::Closed)
    }

    /// The service's own descriptor of a buffer.
    pub(crate) fn fd_of(&self, id: BufferId) -> Option<Arc<OwnedFd>> {
        self.buffers.get(&id).map(|buffer| Arc::clone(&buffer.fd))
    }

    /// What the CPU accesses of a group have to find signalled, and whose they are; `None` if it has
    /// none.
    fn polled(&mut self, id: GroupId) -> Option<(u32, Arc<Polled>)> {
        let Self { groups, buffers, engine, .. } = self;
        let group = groups.get_mut(id)?;
        let polled = group.polled.get_or_insert_with(|| {
            let polled = engine.members(id).filter_map(|(buffer, access)| {
                if access.is_dma() {
                    return None;
                }
                let events = Usage::new(access.is_exclusive()).poll_events();
                Some((Arc::clone(&buffers.get(&buffer)?.fd), events))
            });
            let polled: Polled = polled.collect();
            (!polled.is_empty()).then(|| Arc::new(polled))
        });
        Some((group.uid, Arc::clone(polled.as_ref()?)))
    }

    fn add(
        &mut self,
        id: GroupId,
        found: &[(Identity, BorrowedFd<'_>)],
        access: Access,
        max_members: u32,
    ) -> Result<Vec<BufferId>, Error> {
        let group = self.group(id)?;
        if !matches!(self.engine.phase(id), Some(Phase::Idle | Phase::Held { .. })) {
            return Err(Error::Busy);
        }
        // Everything that can refuse comes first, so that a refused call has changed nothing.
        let known: Vec<Option<BufferId>> =
            found.iter().map(|(identity, _)| self.by_identity.get(identity).copied()).collect();
        let mut newcomers = 0;
        for buffer in &known {
            let member =
                buffer.and_then(|buffer| self.engine.members(id).find(|(id, _)| *id == buffer));
            match member {
                Some((_, has)) if has.is_dma() != access.is_dma() => {
                    return Err(Error::AccessConflict)
                }
                Some(_) => {}
                None => newcomers += 1,
            }
        }
        if self.engine.members(id).count() + newcomers as usize > max_members as usize {
            return Err(Error::Quota("too many buffers in this group"));
        }
        let uid = group.uid;
        let mut own = Vec::with_capacity(found.len());
        for ((identity, fd), known) in found.iter().zip(&known) {
            // One that is remembered has a name and no descriptor.
            let has_it = known.is_some_and(|known| self.buffers.contains_key(&known));
            own.push(if has_it {
                None
            } else {
                let fd = fd.try_clone_to_owned();
                let fd = Arc::new(fd.map_err(|_| Error::NoResources("descriptors"))?);
                let size = quirks::size(fd.as_fd()).unwrap_or(0);
                Some(Buffer { size, identity: *identity, fd })
            });
        }
        self.quotas.charge(uid, Kind::Buffers, newcomers)?;

        let mut ids = Vec::with_capacity(found.len());
        for (known, own) in known.into_iter().zip(own) {
            let buffer = match (known, own) {
                (known, Some(buffer)) => self.register(known, buffer),
                (known, None) => known.ok_or(Error::UnknownBuffer)?,
            };
            self.join(id, buffer, access)?;
            ids.push(buffer);
        }
        Ok(ids)
    }

    /// Keeps a dma-buf, by the name that it has if it is remembered.
    fn register(&mut self, known: Option<BufferId>, buffer: Buffer) -> BufferId {
        let id = known.unwrap_or_else(|| {
            self.last_buffer += 1;
            BufferId(self.last_buffer)
        });
        self.remembered.remove(&id);
        self.by_identity.insert(buffer.identity, id);
        self.buffers.insert(id, buffer);
        id
    }

    fn join(&mut self, id: GroupId, buffer: BufferId, access: Access) -> Result<(), Error> {
        self.engine.add(id, buffer, access)?;
        let group = self.groups.get_mut(id).ok_or(Error::Closed)?;
        group.polled = None;
        Ok(())
    }

    fn remove(&mut self, id: GroupId, buffer: BufferId) -> Result<(), Error> {
        self.engine.remove(id, buffer, &mut self.effects)?;
        if let Some(group) = self.groups.get_mut(id) {
            group.polled = None;
            self.quotas.give_back(group.uid, Kind::Buffers, 1);
        }
        Ok(())
    }

    /// Locks a group. `looked`: no implicit fence was pending on these dma-bufs just now, which counts
    /// if they are the group's still.
    pub(crate) fn lock(
        &mut self,
        id: GroupId,
        wait: Wait,
        looked: Option<Arc<Polled>>,
        now: Time,
    ) -> Result<Locked, Error> {
        let Self { groups, engine, effects, quotas, slices, .. } = self;
        let group = groups.get_mut(id).ok_or(Error::Closed)?;
        let polled = group.polled.as_ref().and_then(Option::as_ref);
        let same = looked.zip(polled).is_some_and(|(looked, polled)| Arc::ptr_eq(&looked, polled));
        let implicit = if same { Implicit::Idle } else { Implicit::Unknown };
        if !group.waiting {
            // Otherwise the engine's own answer is the clearer one.
            if !group.pipe.has_room() {
                return Err(Error::EventsUnread);
            }
            // Asked before the engine is, so that a refusal has changed nothing.
            quotas.check(group.uid, Kind::Queued, 1)?;
        }
        let outcome = match wait {
            Wait::Never => engine.try_lock(now, id, implicit, effects),
            Wait::UntilGranted => engine.lock(now, id, None, implicit, effects),
            Wait::AtMost(limit) => engine.lock(now, id, Some(limit), implicit, effects),
        };
        match outcome? {
            LockOutcome::Pending(token) => {
                quotas.charge(group.uid, Kind::Queued, 1)?;
                group.waiting = true;
                slices.waits(group.traced(id));
                Ok(Locked::Queued(token))
            }
            LockOutcome::Granted(Grant { token, deadline, buffers: granted }) => {
                let implicit = group.implicit;
                let granted = effects.buffers(granted);
                let fenced = granted.iter().any(|granted| granted.fenced);
                let waits = fenced || implicit && granted.iter().any(|g| g.access.is_dma());
                let told = granted.iter().map(|granted| as_told(granted, implicit));
                let grant = Granted::numbers(wire(deadline.0), told);
                group.granted(id, slices);
                if fenced {
                    self.acquired(id, token);
                }
                Ok(Locked::Granted { token, grant, waits })
            }
        }
    }

    /// The group that a client names by its key.
    pub(crate) fn by_key(&self, key: i64) -> Result<GroupId, Error> {
        self.by_key.get(&key).copied().ok_or(Error::Closed)
    }

    /// Whether a group that waits for nothing, and holds nothing but what `but` ends, could be locked.
    pub(crate) fn check_lockable(&mut self, id: GroupId, but: GroupId) -> Result<(), Error> {
        let group = self.groups.get_mut(id).ok_or(Error::Closed)?;
        let uid = group.uid;
        let idle = match self.engine.phase(id) {
            Some(Phase::Idle) => true,
            Some(Phase::Held { .. }) => id == but && !group.waiting,
            _ => false,
        };
        if !idle {
            return Err(Error::AlreadyLocked);
        }
        if self.engine.members(id).next().is_none() {
            return Err(Error::EmptyGroup);
        }
        if !group.pipe.has_room() {
            return Err(Error::EventsUnread);
        }
        self.quotas.check(uid, Kind::Queued, 1)
    }

    /// A key that nobody can guess and nothing has. (`RandomState` is keyed by the system's random
    /// numbers, and what it makes of nothing is different each time.)
    fn new_key(&self) -> i64 {
        loop {
            let key = RandomState::new().build_hasher().finish() as i64;
            if key != 0 && !self.by_key.contains_key(&key) {
                return key;
            }
        }
    }

    pub(crate) fn no_longer_waiting(&mut self, id: GroupId) {
        if let Some(group) = self.groups.get_mut(id) {
            if std::mem::take(&mut group.waiting) {
                self.slices.wait_ended(group.traced(id));
                self.quotas.give_back(group.uid, Kind::Queued, 1);
            }
        }
    }

    fn announce(&mut self, id: GroupId, grant: Grant, now: Time) {
        let Grant { token, deadline, buffers } = grant;
        if self.effects.buffers(buffers).iter().any(|granted| granted.fenced) {
            self.acquired(id, token);
        }
        let Some(group) = self.groups.get_mut(id) else { return };
        group.granted(id, &self.slices);
        let (granted, implicit) = (self.effects.buffers(buffers), group.implicit);
        let head = Record {
            value0: wire(deadline.0),
            value1: wire(granted.len() as u64),
            ..record(event::GRANTED, token)
        };
        let buffers = granted.iter().map(|granted| {
            let event::Buffer { id: value0, generation: value1, flags } =
                as_told(granted, implicit);
            Record { flags, value0, value1, ..record(event::BUFFER, token) }
        });
        let sent = group.pipe.send(head, buffers);
        self.told(id, sent, now);
    }

    fn lock_failed(
        &mut self,
        id: GroupId,
        token: Token,
        (buffer, reason, cause): (BufferId, i32, FailureCause),
        now: Time,
    ) {
        let (what, flags) = match cause {
            FailureCause::Operation => ("cache maintenance failed", 0),
            FailureCause::ImplicitFence => {
                ("an implicit fence did not signal in time", event::FLAG_FENCE)
            }
        };
        log::warn!("buffer {}: {what}: errno {reason}", buffer.0);
        let failed = record(event::LOCK_FAILED, token);
        let failed = Record { flags, value0: wire(buffer.0), value1: reason.into(), ..failed };
        self.tell(id, failed, now);
    }

    fn tell_evicted(&mut self, id: GroupId, token: Token, cause: EvictionCause, now: Time) {
        let Some(group) = self.groups.get_mut(id) else { return };
        group.evicted.add(token);
        self.slices.evicted(group.traced(id));
        log::warn!(
            "group {} {:?} of uid {} evicted: {cause:?}",
            id.serial(),
            group.name,
            group.uid
        );
        self.evictions.truncate(REMEMBERED - 1);
        let (name, uid) = (group.name.clone(), group.uid);
        self.evictions.push_front(Eviction { at: now, uid, name, token, cause });
        let flags = match cause {
            EvictionCause::Deadline => 0,
            EvictionCause::Fence => event::FLAG_FENCE,
        };
        let evicted = Record { flags, ..record(event::EVICTED, token) };
        self.tell(id, evicted, now);
    }

    /// Writes a record to a group's pipe.
    fn tell(&mut self, id: GroupId, record: Record, now: Time) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let sent = group.pipe.send(record, std::iter::empty());
        self.told(id, sent, now);
    }

    /// A group that can't be told anything is dead.
    fn told(&mut self, id: GroupId, sent: Result<(), Lost>, now: Time) {
        let Err(lost) = sent else { return };
        let name = self.groups.get(id).map_or("", |group| group.name.as_str());
        log::warn!("group {} {name:?} closed: {lost}", id.serial());
        self.close(id, Close::Died, now);
    }

    fn close(&mut self, id: GroupId, how: Close, now: Time) {
        self.ended(id);
        let Some(group) = self.groups.remove(id) else { return };
        self.by_key.remove(&group.key);
        let members = self.engine.members(id).count();
        self.engine.close_group(now, id, how, &mut self.effects);
        self.quotas.give_back(group.uid, Kind::Buffers, members as u32);
        self.quotas.give_back(group.uid, Kind::Groups, 1);
        log::debug!("group {} {:?} of uid {}: {how:?}", id.serial(), group.name, group.uid);
    }

    fn job_failed(&mut self, job: JobId, succeeded: usize, errno: Errno, now: Time) {
        let failure = Failure { succeeded, reason: errno as i32 };
        self.engine.job_done(now, job, Err(failure), &mut self.effects);
    }

    /// No group has a buffer any more, but its name is kept.
    fn remember(&mut self, id: BufferId) {
        if let Some(buffer) = self.buffers.remove(&id) {
            self.remembered.insert(id, buffer.identity);
            self.garbage.push(buffer.fd);
        }
    }

    /// Nothing is kept of a buffer any more.
    fn forget(&mut self, id: BufferId) {
        if let Some(buffer) = self.buffers.remove(&id) {
            self.by_identity.remove(&buffer.identity);
            self.garbage.push(buffer.fd);
        }
        if let Some(identity) = self.remembered.remove(&id) {
            self.by_identity.remove(&identity);
        }
    }
}

/// A buffer of a grant as its group is told of it. Which implicit fences there are is only known when
/// they are asked for, so each device's buffer of such a group may have some.
fn as_told(granted: &GrantedBuffer, implicit: bool) -> event::Buffer {
    let fenced = granted.fenced || implicit && granted.access.is_dma();
    let flags = [
        (granted.evicted, event::FLAG_EVICTED),
        (granted.torn, event::FLAG_TORN),
        (fenced, event::FLAG_FENCED),
    ];
    let flags = flags.into_iter().filter(|(set, _)| *set).fold(0, |all, (_, flag)| all | flag);
    let (id, generation) = (wire(granted.buffer.0), wire(granted.generation));
    event::Buffer { id, generation, flags }
}

fn record(kind: i32, token: Token) -> Record {
    Record { kind, token: wire(token.0), ..Record::default() }
}

/// Ids, generations and times count from 0 and stay far below 2^63.
fn wire(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl From<buffersync_engine::Error> for Error {
    fn from(error: buffersync_engine::Error) -> Self {
        use buffersync_engine::Error as Engine;
        match error {
            Engine::UnknownGroup => Self::Closed,
            Engine::UnknownBuffer => Self::UnknownBuffer,
            Engine::Busy => Self::Busy,
            Engine::EmptyGroup => Self::EmptyGroup,
            Engine::AlreadyLocked | Engine::AlreadyQueued => Self::AlreadyLocked,
            Engine::WouldBlock => Self::WouldBlock,
            Engine::NotQueued => Self::NotQueued,
            Engine::BadToken => Self::BadToken,
            Engine::AccessConflict => Self::AccessConflict,
            Engine::Deadlock => Self::Deadlock,
        }
    }
}

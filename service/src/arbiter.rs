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
//! Knows nothing of binder; [`crate::hal`] and [`crate::group`] translate.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use buffersync_aidl::event::{self, Record};
use buffersync_engine::{
    Access, BufferId, Close, Effect, Effects, Engine, EvictionCause, Failure, GrantedBuffer,
    GroupId, JobId, Limits, LockOutcome, SyncOp, Time, Token,
};
use nix::errno::Errno;
use nix::poll::PollFlags;

use crate::clock;
use crate::config::Config;
use crate::dmabuf::{self, Identity};
use crate::error::Error;
use crate::events::EventPipe;
use crate::poison;
use crate::quota::{Kind, Quotas};
use crate::reactor::{Reactor, WaitId, Wake};
use crate::sync_file;
use crate::sync_jobs::{Operation, Outcome, SyncJob, SyncQueue};

/// See the module.
pub struct Arbiter {
    config: Config,
    state: Mutex<State>,
    queue: SyncQueue,
    reactor: Reactor<Waiting>,
}

/// What the reactor waits for.
#[derive(Debug)]
pub enum Waiting {
    /// A release fence.
    Release {
        /// For which grant.
        token: Token,
        /// The sync_file.
        fence: Arc<OwnedFd>,
    },
    /// Implicit fences of a buffer that is to be synced.
    Sync(SyncJob),
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
        /// When it is taken away.
        deadline: Time,
        /// In the order of their addition.
        buffers: Vec<GrantedBuffer>,
    },
}

pub(crate) struct State {
    pub(crate) engine: Engine,
    pub(crate) buffers: HashMap<BufferId, Buffer>,
    by_identity: HashMap<Identity, BufferId>,
    pub(crate) groups: HashMap<GroupId, Group>,
    /// Release fences that the reactor waits for. They outlive their group.
    releases: HashMap<Token, Release>,
    pub(crate) quotas: Quotas,
    pub(crate) syncs: SyncCounters,
    last_buffer: u64,
    effects: Effects,
    /// Descriptors to be closed when the mutex is released.
    garbage: Vec<Arc<OwnedFd>>,
}

/// A dma-buf that some group has.
pub(crate) struct Buffer {
    fd: Arc<OwnedFd>,
    pub(crate) identity: Identity,
    pub(crate) size: Option<u64>,
}

/// What the service keeps of a group beside the engine's view.
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) uid: u32,
    /// Buffers with their access, in the order of their addition.
    pub(crate) members: Vec<(BufferId, Access)>,
    pipe: EventPipe,
    /// A lock is accepted and neither granted nor ended; counted in the uid's quota.
    pub(crate) waiting: bool,
    /// The last grant that was taken away, to tell a late unlock what happened.
    evicted: Option<Token>,
}

/// A grant that is unlocked but for its fence. Counted as a queued lock of its uid, since a group
/// can be closed and leave it behind.
struct Release {
    uid: u32,
    wait: WaitId,
}

/// Cache operations as the kernel answered them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SyncCounters {
    pub(crate) failed: u64,
    pub(crate) waited: u64,
    pub(crate) timed_out: u64,
}

impl Arbiter {
    /// An arbiter with nothing in it. Its threads are started by [`crate::serve`].
    pub fn new(config: Config) -> Result<Self, Errno> {
        let hold = |ms: u32| Duration::from_millis(ms.into());
        let limits = Limits {
            default_hold: hold(config.default_hold_ms),
            max_hold: hold(config.max_hold_ms),
        };
        let state = State {
            engine: Engine::new(limits),
            buffers: HashMap::new(),
            by_identity: HashMap::new(),
            groups: HashMap::new(),
            releases: HashMap::new(),
            quotas: Quotas::new(&config),
            syncs: SyncCounters::default(),
            last_buffer: 0,
            effects: Effects::default(),
            garbage: Vec::new(),
        };
        Ok(Self {
            queue: SyncQueue::new(config.sync_workers),
            reactor: Reactor::new()?,
            state: Mutex::new(state),
            config,
        })
    }

    /// The settings, for capabilities and dumps.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Opens a group for `uid`. Returns its id, its hold limit and the client's end of its pipe.
    pub fn open_group(
        &self,
        uid: u32,
        name: &str,
        hold: Option<Duration>,
    ) -> Result<(GroupId, Duration, OwnedFd), Error> {
        let (pipe, read) = EventPipe::new().map_err(|_| Error::NoResources("pipes"))?;
        let mut state = self.state();
        state.quotas.charge(uid, Kind::Groups, 1)?;
        let (id, hold) = state.engine.open_group(hold);
        let group = Group {
            name: name.to_string(),
            uid,
            members: Vec::new(),
            pipe,
            waiting: false,
            evicted: None,
        };
        state.groups.insert(id, group);
        log::debug!("group {} {name:?} opened by uid {uid}", id.0);
        Ok((id, hold, read))
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
            if state.groups.contains_key(&id) {
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
            let group = state.group(id)?;
            if group.members.iter().all(|(member, _)| *member != buffer) {
                return Err(Error::UnknownBuffer);
            }
            state.remove(id, buffer)
        })
    }

    /// Takes all buffers out of a group.
    pub fn remove_all(&self, id: GroupId) -> Result<(), Error> {
        self.with(|state, _| {
            // A busy group refuses the first removal, and so all of them.
            for (buffer, _) in state.group(id)?.members.clone() {
                state.remove(id, buffer)?;
            }
            Ok(())
        })
    }

    /// Locks a group, waiting for others if `wait`.
    pub fn lock(&self, id: GroupId, wait: bool) -> Result<Locked, Error> {
        self.with(|state, now| state.lock(id, wait, now))
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

    /// Ends a grant, at once or when `fence` has signalled.
    pub fn unlock(
        &self,
        id: GroupId,
        token: Token,
        fence: Option<BorrowedFd<'_>>,
    ) -> Result<(), Error> {
        let fence = fence.map(release_fence).transpose()?.flatten();
        self.with(|state, now| {
            let group = state.group(id)?;
            if group.evicted == Some(token) {
                return Err(Error::Evicted);
            }
            let uid = group.uid;
            if fence.is_some() {
                state.quotas.charge(uid, Kind::Queued, 1)?;
            }
            let unlocked = state.engine.unlock(now, id, token, fence.is_some(), &mut state.effects);
            match (unlocked, fence) {
                (Ok(()), Some(fence)) => self.await_release(state, uid, token, fence, now),
                (Ok(()), None) => {}
                (Err(error), fence) => {
                    state.quotas.give_back(uid, Kind::Queued, fence.is_some().into());
                    return Err(error.into());
                }
            }
            Ok(())
        })
    }

    fn await_release(
        &self,
        state: &mut State,
        uid: u32,
        token: Token,
        fence: Arc<OwnedFd>,
        now: Time,
    ) {
        // The engine has the grant's deadline and ends the wait; the reactor's own is beyond it.
        let beyond = now.after(2 * Duration::from_millis(self.config.max_hold_ms.into()));
        let waiting = Waiting::Release { token, fence: Arc::clone(&fence) };
        match self.reactor.watch(fence, PollFlags::POLLIN, beyond, waiting) {
            Ok(wait) => {
                state.releases.insert(token, Release { uid, wait });
            }
            // A fence that can't be waited for has not signalled.
            Err((errno, _)) => {
                log::error!("release fence of grant {}: {errno}", token.0);
                state.quotas.give_back(uid, Kind::Queued, 1);
                state.engine.fence_done(now, token, false, &mut state.effects);
            }
        }
    }

    /// The reactor's handler.
    pub fn woken(&self, wake: Wake<Waiting>) {
        match wake {
            Wake::Timer => self.with(|state, now| state.engine.tick(now, &mut state.effects)),
            Wake::Ready(Waiting::Sync(job)) => self.queue.push(job),
            Wake::TimedOut(Waiting::Sync(job)) => {
                let buffer = job.operations.front().map(|operation| operation.buffer);
                self.with(|state, now| {
                    state.syncs.timed_out += 1;
                    state.job_done(job.id, buffer.map(|buffer| (buffer, Errno::ETIMEDOUT)), now);
                });
            }
            Wake::Ready(Waiting::Release { token, fence })
            | Wake::TimedOut(Waiting::Release { token, fence }) => {
                let ok = sync_file::status(fence.as_fd()) == sync_file::Status::Signalled;
                self.with(|state, now| {
                    state.released(token);
                    state.engine.fence_done(now, token, ok, &mut state.effects);
                    state.garbage.push(fence);
                });
            }
        }
    }

    /// The workers' report.
    pub fn reported(&self, outcome: Outcome) {
        match outcome {
            Outcome::Done(job) => self.with(|state, now| state.job_done(job, None, now)),
            Outcome::Failed(job, buffer, errno) => self.with(|state, now| {
                state.syncs.failed += 1;
                state.job_done(job, Some((buffer, errno)), now);
            }),
            Outcome::NotReady(job, fd, wanted) => {
                self.with(|state, _| state.syncs.waited += 1);
                let (id, give_up) = (job.id, job.give_up);
                let buffer = job.operations.front().map(|operation| operation.buffer);
                if let Err((errno, _)) = self.reactor.watch(fd, wanted, give_up, Waiting::Sync(job))
                {
                    self.with(|state, now| {
                        state.job_done(id, buffer.map(|buffer| (buffer, errno)), now);
                    });
                }
            }
        }
    }

    /// The reactor thread's life.
    pub fn run_reactor(&self) -> Errno {
        self.reactor.run(clock::now, |wake| self.woken(wake))
    }

    /// A sync worker's life.
    pub fn run_worker(&self) -> Errno {
        crate::sync_jobs::work(&self.queue, |outcome| self.reported(outcome))
    }

    /// Looks at the state, for dumps.
    pub(crate) fn inspect<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.state())
    }

    /// Jobs that wait for a worker, and waits in the reactor.
    pub(crate) fn backlog(&self) -> (usize, usize) {
        (self.queue.len(), self.reactor.len())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        poison::lock(&self.state)
    }

    /// One entry: runs `call` on the state and carries out what the engine decided.
    fn with<R>(&self, call: impl FnOnce(&mut State, Time) -> R) -> R {
        let mut state = self.state();
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
    fn carry_out(&self, state: &mut State, now: Time) {
        while let Some(effect) = state.effects.pop_front() {
            match effect {
                Effect::Sync { job, group, ops } => self.submit(state, job, group, ops, now),
                Effect::Granted { group, token, deadline, buffers } => {
                    state.no_longer_waiting(group);
                    state.announce(group, token, deadline, &buffers, now);
                }
                Effect::LockFailed { group, token, failure } => {
                    state.no_longer_waiting(group);
                    state.lock_failed(group, token, failure, now);
                }
                Effect::Evicted { group, token, cause } => {
                    state.tell_evicted(group, token, cause, now);
                }
                Effect::DropFence { token } => {
                    let wait = state.released(token);
                    if let Some(Waiting::Release { fence, .. }) =
                        wait.and_then(|wait| self.reactor.forget(wait))
                    {
                        state.garbage.push(fence);
                    }
                }
                Effect::Forget { buffer } => state.forget(buffer),
            }
        }
    }

    fn submit(
        &self,
        state: &State,
        id: JobId,
        group: Option<GroupId>,
        ops: Vec<SyncOp>,
        now: Time,
    ) {
        let uid = group.and_then(|group| state.groups.get(&group)).map_or(u32::MAX, |g| g.uid);
        let operations: VecDeque<Operation> = ops
            .into_iter()
            .filter_map(|op| {
                let fd = Arc::clone(&state.buffers.get(&op.buffer)?.fd);
                Some(Operation { buffer: op.buffer, fd, kind: op.kind, flags: op.flags })
            })
            .collect();
        let give_up = now.after(Duration::from_millis(self.config.max_hold_ms.into()));
        self.queue.push(SyncJob { id, uid, operations, give_up });
    }
}

/// The fence to wait for: `None` if it has signalled already.
fn release_fence(fd: BorrowedFd<'_>) -> Result<Option<Arc<OwnedFd>>, Error> {
    if !sync_file::is_sync_file(fd) {
        return Err(Error::BadFence);
    }
    match sync_file::status(fd) {
        sync_file::Status::Signalled => Ok(None),
        // A failed fence is ready at once, and the reactor finds what it is.
        sync_file::Status::Pending | sync_file::Status::Failed => {
            let own = fd.try_clone_to_owned().map_err(|_| Error::NoResources("descriptors"))?;
            Ok(Some(Arc::new(own)))
        }
    }
}

impl State {
    fn group(&self, id: GroupId) -> Result<&Group, Error> {
        self.groups.get(&id).ok_or(Error::Closed)
    }

    fn add(
        &mut self,
        id: GroupId,
        found: &[(Identity, BorrowedFd<'_>)],
        access: Access,
        max_members: u32,
    ) -> Result<Vec<BufferId>, Error> {
        let group = self.group(id)?;
        if !self.engine.is_idle(id) {
            return Err(Error::Busy);
        }
        // Everything that can refuse comes first, so that a refused call has changed nothing.
        let known: Vec<Option<BufferId>> =
            found.iter().map(|(identity, _)| self.by_identity.get(identity).copied()).collect();
        let mut newcomers = 0;
        for buffer in &known {
            let member =
                buffer.and_then(|buffer| group.members.iter().find(|(id, _)| *id == buffer));
            match member {
                Some((_, has)) if has.is_dma() != access.is_dma() => {
                    return Err(Error::AccessConflict)
                }
                Some(_) => {}
                None => newcomers += 1,
            }
        }
        if group.members.len() + newcomers as usize > max_members as usize {
            return Err(Error::Quota("too many buffers in this group"));
        }
        let uid = group.uid;
        let mut own = Vec::with_capacity(found.len());
        for ((identity, fd), known) in found.iter().zip(&known) {
            own.push(match known {
                Some(_) => None,
                None => {
                    let fd = fd.try_clone_to_owned();
                    let fd = Arc::new(fd.map_err(|_| Error::NoResources("descriptors"))?);
                    Some(Buffer { size: dmabuf::size(fd.as_fd()), identity: *identity, fd })
                }
            });
        }
        self.quotas.charge(uid, Kind::Buffers, newcomers)?;

        let mut ids = Vec::with_capacity(found.len());
        for (known, own) in known.into_iter().zip(own) {
            let buffer = match (known, own) {
                (None, Some(buffer)) => self.register(buffer),
                (known, _) => known.ok_or(Error::UnknownBuffer)?,
            };
            self.join(id, buffer, access)?;
            ids.push(buffer);
        }
        Ok(ids)
    }

    fn register(&mut self, buffer: Buffer) -> BufferId {
        self.last_buffer += 1;
        let id = BufferId(self.last_buffer);
        self.by_identity.insert(buffer.identity, id);
        self.buffers.insert(id, buffer);
        id
    }

    fn join(&mut self, id: GroupId, buffer: BufferId, access: Access) -> Result<(), Error> {
        let effective = self.engine.add(id, buffer, access)?;
        let group = self.groups.get_mut(&id).ok_or(Error::Closed)?;
        match group.members.iter_mut().find(|(member, _)| *member == buffer) {
            Some((_, has)) => *has = effective,
            None => group.members.push((buffer, effective)),
        }
        Ok(())
    }

    fn remove(&mut self, id: GroupId, buffer: BufferId) -> Result<(), Error> {
        self.engine.remove(id, buffer, &mut self.effects)?;
        if let Some(group) = self.groups.get_mut(&id) {
            group.members.retain(|(member, _)| *member != buffer);
            self.quotas.give_back(group.uid, Kind::Buffers, 1);
        }
        Ok(())
    }

    fn lock(&mut self, id: GroupId, wait: bool, now: Time) -> Result<Locked, Error> {
        let group = self.group(id)?;
        let uid = group.uid;
        if self.engine.is_idle(id) {
            // Otherwise the engine's own answer is the clearer one.
            if !group.pipe.has_room() {
                return Err(Error::EventsUnread);
            }
            // Charged before the engine is asked, so that a refusal has changed nothing.
            self.quotas.charge(uid, Kind::Queued, 1)?;
        }
        let idle = self.engine.is_idle(id);
        let outcome = if wait {
            self.engine.lock(now, id, &mut self.effects)
        } else {
            self.engine.try_lock(now, id, &mut self.effects)
        };
        match outcome {
            Ok(LockOutcome::Pending(token)) => {
                if let Some(group) = self.groups.get_mut(&id) {
                    group.waiting = true;
                }
                Ok(Locked::Queued(token))
            }
            Ok(LockOutcome::Granted { token, deadline, buffers }) => {
                self.quotas.give_back(uid, Kind::Queued, 1);
                let buffers = self.in_order(id, &buffers);
                Ok(Locked::Granted { token, deadline, buffers })
            }
            Err(error) => {
                if idle {
                    self.quotas.give_back(uid, Kind::Queued, 1);
                }
                Err(error.into())
            }
        }
    }

    /// The grant's buffers in the order in which the group added them, as the AIDL promises.
    fn in_order(&self, id: GroupId, buffers: &[GrantedBuffer]) -> Vec<GrantedBuffer> {
        let Some(group) = self.groups.get(&id) else { return buffers.to_vec() };
        let by_id: HashMap<BufferId, &GrantedBuffer> =
            buffers.iter().map(|granted| (granted.buffer, granted)).collect();
        group.members.iter().filter_map(|(id, _)| by_id.get(id).map(|b| **b)).collect()
    }

    fn no_longer_waiting(&mut self, id: GroupId) {
        if let Some(group) = self.groups.get_mut(&id) {
            if std::mem::take(&mut group.waiting) {
                self.quotas.give_back(group.uid, Kind::Queued, 1);
            }
        }
    }

    fn announce(
        &mut self,
        id: GroupId,
        token: Token,
        deadline: Time,
        buffers: &[GrantedBuffer],
        now: Time,
    ) {
        let buffers = self.in_order(id, buffers);
        let mut records = Vec::with_capacity(1 + buffers.len());
        records.push(Record {
            kind: event::GRANTED,
            flags: 0,
            token: wire(token.0),
            value0: wire(deadline.0),
            value1: wire(buffers.len() as u64),
        });
        records.extend(buffers.iter().map(|granted| Record {
            kind: event::BUFFER,
            flags: if granted.evicted { event::FLAG_EVICTED } else { 0 },
            token: wire(token.0),
            value0: wire(granted.buffer.0),
            value1: wire(granted.generation),
        }));
        self.tell(id, &records, now);
    }

    fn lock_failed(&mut self, id: GroupId, token: Token, failure: Failure, now: Time) {
        let Failure { buffer, reason } = failure;
        log::warn!("cache maintenance of buffer {} failed: errno {reason}", buffer.0);
        let record = Record {
            kind: event::LOCK_FAILED,
            flags: 0,
            token: wire(token.0),
            value0: wire(buffer.0),
            value1: reason.into(),
        };
        self.tell(id, &[record], now);
    }

    fn tell_evicted(&mut self, id: GroupId, token: Token, cause: EvictionCause, now: Time) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        group.evicted = Some(token);
        log::warn!("group {} {:?} of uid {} evicted: {cause:?}", id.0, group.name, group.uid);
        let flags = match cause {
            EvictionCause::Deadline => 0,
            EvictionCause::Fence => event::FLAG_FENCE,
        };
        let record =
            Record { kind: event::EVICTED, flags, token: wire(token.0), value0: 0, value1: 0 };
        self.tell(id, &[record], now);
    }

    /// Writes records to a group's pipe. A group that can't be told anything is dead.
    fn tell(&mut self, id: GroupId, records: &[Record], now: Time) {
        let Some(group) = self.groups.get(&id) else { return };
        if let Err(lost) = group.pipe.send(records) {
            log::warn!("group {} {:?} closed: {lost}", id.0, group.name);
            self.close(id, Close::Died, now);
        }
    }

    fn close(&mut self, id: GroupId, how: Close, now: Time) {
        self.no_longer_waiting(id);
        let Some(group) = self.groups.remove(&id) else { return };
        self.engine.close_group(now, id, how, &mut self.effects);
        self.quotas.give_back(group.uid, Kind::Buffers, group.members.len() as u32);
        self.quotas.give_back(group.uid, Kind::Groups, 1);
        log::debug!("group {} {:?} of uid {}: {how:?}", id.0, group.name, group.uid);
    }

    fn job_done(&mut self, job: JobId, failure: Option<(BufferId, Errno)>, now: Time) {
        let result = match failure {
            None => Ok(()),
            Some((buffer, errno)) => Err(Failure { buffer, reason: errno as i32 }),
        };
        self.engine.job_done(now, job, result, &mut self.effects);
    }

    /// A release fence is no longer waited for.
    fn released(&mut self, token: Token) -> Option<WaitId> {
        let release = self.releases.remove(&token)?;
        self.quotas.give_back(release.uid, Kind::Queued, 1);
        Some(release.wait)
    }

    fn forget(&mut self, id: BufferId) {
        if let Some(buffer) = self.buffers.remove(&id) {
            self.by_identity.remove(&buffer.identity);
            self.garbage.push(buffer.fd);
        }
    }
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
        }
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The state behind the arbiter's mutex: the engine, and the tables of the things that the engine names.
//!
//! | part | owns |
//! |---|---|
//! | [`Engine`], [`Effects`] | holders and waiters of each buffer, and the effects of a call |
//! | [`Registry`] | the buffers' descriptors |
//! | [`Sessions`] | the groups' names, event channels, locks and quotas |
//! | [`Releases`] | release fences that are pending |
//! | [`Acquires`] | release fences that grants wait for |
//! | [`Waits`] | locks that wait for implicit fences |
//!
//! No part has a reference to another; a method that needs a second part (a quota, a buffer's descriptor) is
//! given it. The methods here need several parts at once. They run under the mutex, and none of them blocks.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use buffersync_aidl::event::Record;
use buffersync_engine::{
    Access, BufferId, Checked, Close, Effects, Engine, EvictionCause, Failure, FailureCause,
    FenceId, Grant, GrantedBuffer, GroupId, Implicit, JobId, LockOutcome, Phase, Span, Time, Token,
    Wait, Wants,
};
use buffersync_kernel::clock as kernel_clock;
use buffersync_kernel::dmabuf::Usage;

use crate::clock;
use crate::closer::{Closer, Descriptor};
use crate::error::{Error, Obstacle};
use crate::events::Lost;
use crate::fences::acquire::Acquires;
use crate::fences::implicit::{Failed, Waits};
use crate::fences::release::{Given, Keeper, Releases};
use crate::fences::Fence;
use crate::jobs::{usage, Look, Operation};
use crate::notes::Note;
use crate::outbox::{self, wire};
use crate::registry::{DeviceBuffer, Found, Identity, Registry};
use crate::sessions::{Sessions, NOBODY};
use crate::tables::ByGroup;

/// The arguments of a lock or of a growth.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The number that the client has chosen.
    pub token: Token,
    /// The buffers, each named once or more, and the accesses.
    pub wants: Wants<'a>,
    /// How long it may wait for others.
    pub wait: Wait,
}

/// The answer to a lock that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Locked {
    /// The grant follows through the event channel.
    Queued,
    /// Granted at once.
    Granted {
        /// The deadline and the buffers, as in `LockReply.grant`.
        grant: Vec<i64>,
        /// There may be fences to wait for: [`crate::arbiter::Arbiter::acquire_fence`].
        waits: bool,
    },
}

/// A lock as `getLocks()` reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Living {
    /// Its number.
    pub token: Token,
    /// It waits for its grant, or for more.
    pub waiting: bool,
    /// As in `LockState.grant`.
    pub grant: Vec<i64>,
}

/// The looks of one lock. A call takes them while it has no mutex.
pub(crate) type Looked = Arc<Vec<Look>>;

pub(crate) struct State {
    pub engine: Engine,
    pub effects: Effects,
    pub registry: Registry,
    pub sessions: Sessions,
    pub releases: Releases,
    pub acquires: Acquires,
    pub waits: Waits,
    /// The looks that a lock of all buffers of a group needs, `None` if it needs none; no entry after the
    /// group's buffers have changed.
    pub polled: ByGroup<Option<Looked>>,
    /// Lines for the log, which the arbiter writes after it has released the mutex.
    pub notes: Vec<Note>,
    pub youth: Youth,
    /// Grants that were told by an event, and when to look whether it was read. In the order of these times.
    pub unread: VecDeque<(Time, GroupId, Token)>,
    /// When that was done last.
    pub last_look: Time,
    /// How long a client may take to read of a grant for which somebody waits.
    pub read_within: Duration,
}

/// The time after the start in which clients of an earlier process of the service may still be at work.
#[derive(Debug)]
pub(crate) struct Youth {
    /// One maximum hold after the start.
    pub until: Time,
    /// The start, in nanoseconds of the time of day.
    pub began_ns: u64,
    /// Buffers that were marked, and were written in order since. Nobody has them now.
    pub settled: HashSet<Identity>,
}

/// The time between two looks for unread grants: however many grants there are, the reactor wakes up for them so often.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
/// Looks for which the queue keeps its memory.
const LOOKS_KEPT: usize = 256;
/// Settled buffers that are known: if there are more, some are marked once more.
const SETTLED: usize = 4096;

impl Youth {
    /// The process starts now.
    pub fn begin(max_hold: Duration) -> Self {
        let (until, began_ns) = (clock::now().after(max_hold), kernel_clock::time_of_day_ns());
        Self { until, began_ns, settled: HashSet::new() }
    }

    /// True if an earlier process may have granted a buffer that is added now. A buffer that is younger than this
    /// process has no past.
    fn distrusts(&mut self, found: &Found<'_>, now: Time) -> bool {
        // It is settled again when it is let go again without a mark.
        let settled = self.settled.remove(&found.identity);
        now < self.until
            && found.created_ns.is_none_or(|created| created <= self.began_ns)
            && !settled
    }

    /// A buffer is let go without a mark.
    pub fn settle(&mut self, identity: Identity, now: Time) {
        if now >= self.until {
            self.settled = HashSet::new();
        } else if self.settled.len() < SETTLED {
            self.settled.insert(identity);
        }
    }
}

impl State {
    /// Adds buffers to a group: all of them or, on an error, none.
    pub fn add(
        &mut self,
        id: GroupId,
        found: &[Found<'_>],
        access: Access,
        (max_members, closer): (u32, &Arc<Closer>),
        now: Time,
    ) -> Result<Vec<BufferId>, Error> {
        let uid = self.sessions.group(id)?.uid;
        // Everything that can refuse comes first, so that a refused call has changed nothing.
        let mut newcomers = Vec::with_capacity(found.len());
        for found in found {
            let known = self.registry.id_of(&found.identity);
            let member =
                known.and_then(|known| self.engine.members(id).find(|(id, _)| *id == known));
            match member {
                Some((id, has)) if has.is_dma() != access.is_dma() => {
                    return Err(Error::AccessConflict(id.0))
                }
                Some(_) => {}
                None => newcomers.push((self.registry.kept(&found.identity), found.size)),
            }
        }
        if self.engine.members(id).count() + newcomers.len() > max_members as usize {
            return Err(Error::Quota(
                "buffers of a group at most: remove some, or open another group",
                max_members as usize,
            ));
        }
        let kept = self.registry.bytes();
        self.sessions.quotas.check_buffers(uid, kept, newcomers.into_iter())?;
        let mut own = Vec::with_capacity(found.len());
        for found in found {
            own.push(self.registry.open(found, uid, closer)?);
        }

        self.polled.remove(id);
        let mut ids = Vec::with_capacity(found.len());
        for (found, own) in found.iter().zip(own) {
            let known = self.registry.id_of(&found.identity);
            let buffer = match (own, known) {
                (Some(buffer), _) => self.registry.register(buffer),
                (None, Some(known)) => known,
                (None, None) => return Err(Error::UnknownBuffer(0)),
            };
            let has = self.engine.members(id).any(|(member, _)| member == buffer);
            if found.identity.is_plain() {
                self.engine.add_plain(id, buffer, access)?;
            } else {
                self.engine.add(id, buffer, access)?;
            }
            if !has {
                self.sessions.quotas.charge_buffer(uid, buffer, found.size);
            }
            if known.is_none() {
                self.engine.count_generations_from(buffer, clock::fresh_number());
                if self.youth.distrusts(found, now) {
                    self.engine.distrust(buffer);
                }
            }
            ids.push(buffer);
        }
        Ok(ids)
    }

    /// Takes buffers out of a group: all of these or, on an error, none. An empty list means all that the group has.
    pub fn remove(&mut self, id: GroupId, mut buffers: Vec<BufferId>) -> Result<(), Error> {
        let uid = self.sessions.group(id)?.uid;
        if buffers.is_empty() {
            if let Some(lock) = self.engine.locks(id).next() {
                return Err(Error::Busy(lock.0));
            }
            buffers.extend(self.engine.members(id).map(|(buffer, _)| buffer));
        } else {
            buffers.sort_unstable();
            buffers.dedup();
            // If a lock of the group had one of them, a lock that writes would conflict with it.
            let accesses = vec![Access::Write; buffers.len()];
            let wants = Wants { buffers: &buffers, accesses: &accesses };
            let conflict = self.engine.check_lock(id, Token(u64::MAX), wants, None);
            conflict.map_err(|error| match error {
                buffersync_engine::Error::AlreadyLocked => {
                    let conflict = self.engine.conflict(id, wants, None);
                    Error::Busy(conflict.map_or(0, |(_, lock)| lock.0))
                }
                error => self.refused(id, wants, None, error),
            })?;
        }
        self.polled.remove(id);
        for buffer in buffers {
            self.registry.let_go_by(buffer, uid);
            self.engine.remove(id, buffer, &mut self.effects)?;
            self.sessions.quotas.give_back_buffer(uid, buffer);
        }
        Ok(())
    }

    /// The buffers and accesses that a lock asks for, as far as they are the group's.
    fn wanted<'a>(
        &'a self,
        id: GroupId,
        wants: Wants<'a>,
    ) -> impl Iterator<Item = (BufferId, Access)> + 'a {
        let Wants { buffers, accesses } = wants;
        let all = buffers.is_empty().then(|| self.engine.members(id)).into_iter().flatten();
        let named = buffers.iter().enumerate().filter_map(move |(nth, buffer)| {
            let (_, own) = self.engine.members(id).find(|(member, _)| member == buffer)?;
            Some((*buffer, accesses.get(nth).copied().unwrap_or(own)))
        });
        all.chain(named)
    }

    /// The number of buffers of a grant, of which `named` are in the call: all that the group has, if none is. A
    /// buffer that is named twice counts twice.
    fn size(&self, id: GroupId, named: usize, wants: Wants<'_>) -> usize {
        let all = self.engine.member_count(id);
        if wants.buffers.is_empty() {
            all
        } else {
            all.min(named)
        }
    }

    /// The dma-bufs that a lock asks for with a CPU access.
    fn to_look_at<'a>(
        &'a self,
        id: GroupId,
        wants: Wants<'a>,
    ) -> impl Iterator<Item = (BufferId, &'a Arc<Descriptor>, Usage)> + 'a {
        let of_cpu = self.wanted(id, wants).filter(|(_, access)| !access.is_dma());
        of_cpu.filter_map(|(buffer, access)| {
            Some((buffer, self.registry.dma_buf(buffer)?, Usage::new(access.is_exclusive())))
        })
    }

    /// The looks that a lock for the CPU needs; `None` if it needs none.
    pub fn looks_of_cpu(&mut self, id: GroupId, wants: Wants<'_>) -> Option<Looked> {
        self.sessions.get(id)?;
        let Wants { buffers, accesses } = wants;
        // The common cases first: all for devices, or no buffer of the group for the CPU.
        let of_group = buffers.is_empty() || accesses.is_empty();
        if !of_group && accesses.iter().all(|access| access.is_dma())
            || of_group && matches!(self.polled.get(id), Some(None))
        {
            return None;
        }
        let looks = |state: &Self| {
            let looks = state.to_look_at(id, wants);
            let looks = looks.map(|(buffer, fd, usage)| Look { buffer, fd: Arc::clone(fd), usage });
            let looks: Vec<Look> = looks.collect();
            (!looks.is_empty()).then(|| Arc::new(looks))
        };
        if !buffers.is_empty() {
            return looks(self);
        }
        if self.polled.get(id).is_none() {
            let looks = looks(self);
            self.polled.insert(id, looks);
        }
        self.polled.get(id)?.as_ref().map(Arc::clone)
    }

    /// `looked` are looks that have found no fence pending, without the mutex. That counts only if the lock
    /// still needs the same looks.
    fn implicit(&self, id: GroupId, wants: Wants<'_>, looked: Option<&Looked>) -> Implicit {
        let same = looked.is_some_and(|looked| {
            if wants.buffers.is_empty() {
                let polled = self.polled.get(id).and_then(Option::as_ref);
                return polled.is_some_and(|polled| Arc::ptr_eq(looked, polled));
            }
            let mut before = looked.iter();
            let same = |(buffer, fd, usage)| {
                before.next().is_some_and(|look: &Look| {
                    look.buffer == buffer && look.usage == usage && Arc::ptr_eq(&look.fd, fd)
                })
            };
            self.to_look_at(id, wants).all(same) && before.next().is_none()
        });
        if same {
            Implicit::Idle
        } else {
            Implicit::Unknown
        }
    }

    /// Locks buffers of a group. `looked` are looks that have found no implicit fence pending.
    pub fn lock(
        &mut self,
        id: GroupId,
        request: Request<'_>,
        looked: Option<&Looked>,
        now: Time,
    ) -> Result<Locked, Error> {
        let Request { token, wants, .. } = request;
        self.sessions.check_number(id, token)?;
        let buffers = self.size(id, wants.buffers.len(), wants);
        // Before the engine is asked, so that a refusal has changed nothing.
        self.sessions.check_room(id, None, buffers, 0)?;
        let checked = self.engine.check_lock(id, token, wants, None);
        let checked = checked.map_err(|error| self.refused(id, wants, None, error))?;
        self.lock_checked(id, (checked, buffers), request, looked, now)
    }

    /// [`State::lock`] for a lock that was checked, and its number of buffers.
    pub fn lock_checked(
        &mut self,
        id: GroupId,
        (checked, buffers): (Checked, usize),
        request: Request<'_>,
        looked: Option<&Looked>,
        now: Time,
    ) -> Result<Locked, Error> {
        let Request { token, wants, wait } = request;
        let implicit = self.implicit(id, wants, looked);
        let Self { engine, effects, .. } = self;
        let outcome = engine.lock_checked(now, checked, wait, implicit, effects);
        let outcome = outcome.map_err(|error| self.refused(id, wants, None, error))?;
        self.sessions.begin_lock(id, token);
        self.accepted(id, outcome, buffers)
    }

    /// [`State::lock`] for a lock that is granted: adds to its grant.
    pub fn grow(
        &mut self,
        id: GroupId,
        request: Request<'_>,
        looked: Option<&Looked>,
        now: Time,
    ) -> Result<Locked, Error> {
        let Request { token, wants, wait } = request;
        let lock = self.sessions.lock(id, token)?;
        if lock.is_waiting() {
            return Err(Error::Busy(token.0));
        }
        let had = lock.buffers();
        let more = |buffer: &&BufferId| {
            self.engine.held(id, token).into_iter().flatten().all(|(had, _)| had != **buffer)
        };
        let more = wants.buffers.iter().filter(more).count();
        let buffers = self.size(id, had + more, wants);
        self.sessions.check_room(id, Some(token), buffers, 0)?;
        let implicit = self.implicit(id, wants, looked);
        let Self { engine, effects, .. } = self;
        let outcome = engine.grow(now, id, token, wants, wait, implicit, effects);
        let outcome = outcome.map_err(|error| self.refused(id, wants, Some(token), error))?;
        self.accepted(id, outcome, buffers)
    }

    /// The engine has accepted a lock, or a growth. `buffers` is the number of buffers that it asks for.
    fn accepted(
        &mut self,
        id: GroupId,
        outcome: LockOutcome,
        buffers: usize,
    ) -> Result<Locked, Error> {
        match outcome {
            LockOutcome::Pending(token) => {
                self.sessions.begin_wait(id, token, buffers)?;
                Ok(Locked::Queued)
            }
            LockOutcome::Granted(Grant { token, deadline, buffers }) => {
                let fenced = self.begin_hold(id, token, buffers);
                let implicit = self.sessions.group(id)?.implicit;
                let granted = self.effects.buffers(buffers);
                let waits = fenced || implicit && granted.iter().any(|g| g.access.is_dma());
                let grant = outbox::reply(deadline, granted, implicit);
                Ok(Locked::Granted { grant, waits })
            }
        }
    }

    /// Adds to the engine's refusal of a lock what it does not say: which buffer, which lock. `but` is the lock that grows
    /// or that ends: it is no conflict.
    fn refused(
        &self,
        id: GroupId,
        wants: Wants<'_>,
        but: Option<Token>,
        error: buffersync_engine::Error,
    ) -> Error {
        use buffersync_engine::Error as Engine;
        let mut named = wants.buffers.iter();
        match error {
            Engine::UnknownBuffer => {
                let members: BTreeSet<BufferId> =
                    self.engine.members(id).map(|(member, _)| member).collect();
                let unknown = named.find(|buffer| !members.contains(buffer));
                Error::UnknownBuffer(unknown.map_or(0, |buffer| wire(buffer.0)))
            }
            Engine::AccessConflict => {
                let mut wanted: Vec<(BufferId, Access)> = self.wanted(id, wants).collect();
                wanted.sort_unstable_by_key(|(buffer, _)| *buffer);
                let mixed = wanted.windows(2).find(|pair| {
                    pair[0].0 == pair[1].0 && pair[0].1.is_dma() != pair[1].1.is_dma()
                });
                let has_otherwise = |(buffer, access): &(BufferId, Access)| {
                    wanted.iter().any(|(id, want)| id == buffer && want.is_dma() != access.is_dma())
                };
                let held = || self.engine.held(id, but?)?.find(has_otherwise);
                let mixed =
                    mixed.map(|pair| pair[0].0).or_else(|| held().map(|(buffer, _)| buffer));
                Error::AccessConflict(mixed.map_or(0, |buffer| buffer.0))
            }
            Engine::AlreadyLocked => {
                let conflict = self.engine.conflict(id, wants, but);
                Error::AlreadyLocked(conflict.map(|(buffer, lock)| (lock.0, buffer.0)))
            }
            Engine::WouldBlock => {
                let obstacle = self.engine.obstacle(id, wants);
                Error::WouldBlock(obstacle.map(|(buffer, group, lock)| Obstacle {
                    buffer: buffer.0,
                    group: group.serial(),
                    lock: lock.0,
                }))
            }
            error => error.into(),
        }
    }

    /// Refuses an exchange that could not be carried out as a whole. `failed` is the number of fences that
    /// `done` ends with and that have failed. Returns what [`State::lock_checked`] needs when `done` has ended.
    pub fn check_exchange(
        &mut self,
        id: GroupId,
        (done, failed): (Token, usize),
        request: Request<'_>,
    ) -> Result<(Checked, usize), Error> {
        self.check_granted(id, done, None)?;
        let Request { token, wants, .. } = request;
        self.sessions.check_number(id, token)?;
        let buffers = self.size(id, wants.buffers.len(), wants);
        self.sessions.check_room(id, Some(done), buffers, failed)?;
        let checked = self.engine.check_lock(id, token, wants, Some(done));
        let checked = checked.map_err(|error| self.refused(id, wants, Some(done), error))?;
        Ok((checked, buffers))
    }

    /// The living locks of a group, the oldest number first.
    pub fn locks(&self, id: GroupId) -> Result<Vec<Living>, Error> {
        let implicit = self.sessions.group(id)?.implicit;
        let locks = self.engine.locks(id).filter_map(|token| {
            let (waiting, deadline) = match self.engine.phase(id, token)? {
                Phase::Queued | Phase::Preparing => (true, None),
                Phase::Held { deadline } => (false, Some(deadline)),
                Phase::Growing { deadline } => (true, Some(deadline)),
            };
            let granted: Vec<GrantedBuffer> = self.engine.granted(id, token).collect();
            let grant = deadline.map(|deadline| outbox::reply(deadline, &granted, implicit));
            Some(Living { token, waiting, grant: grant.unwrap_or_default() })
        });
        Ok(locks.collect())
    }

    /// The lock has its buffers, and keeps the release fences that the grant waits for. Returns whether there
    /// are any.
    fn begin_hold(&mut self, id: GroupId, token: Token, granted: Span) -> bool {
        let granted = self.effects.buffers(granted);
        self.sessions.hold(id, token, granted.len());
        let fenced = granted.iter().any(|granted| granted.fenced);
        if fenced && self.sessions.lock(id, token).is_ok() {
            let Self { engine, releases, acquires, .. } = self;
            for (buffer, name) in engine.acquire_fences(id, token) {
                if let Some(fence) = releases.get(name) {
                    acquires.add((id, token), buffer, name, fence);
                    releases.keep(name, (id, token));
                }
            }
        }
        fenced
    }

    /// A lock is over, with its grant and with what would have grown it.
    pub fn end_lock(&mut self, id: GroupId, token: Token) {
        self.sessions.end_lock(id, token);
        let ended = self.acquires.remove((id, token));
        self.let_go((id, token), ended);
    }

    /// A grant has kept these fences and needs them no more.
    fn let_go(&mut self, keeper: Keeper, fences: Vec<(FenceId, Arc<Fence>)>) {
        for (name, _) in fences {
            self.releases.let_go(name, keeper);
        }
    }

    /// The reactor has handed out the wait for a release fence. If it has signalled without an error, the grants that
    /// waited for it keep it no longer: a grant may last for ever, and the giver is charged meanwhile.
    pub fn release_woke(&mut self, id: FenceId, ok: bool) {
        let Some(keepers) = self.releases.woke(id) else { return };
        for keeper in keepers.into_iter().filter(|_| ok) {
            self.acquires.remove_fence(keeper, id);
        }
    }

    /// Ends a grant whose work is finished, or a part of it: there is no fence.
    pub fn end_without_fences(
        &mut self,
        id: GroupId,
        token: Token,
        mut part: Option<&mut [BufferId]>,
        now: Time,
    ) -> Result<(), Error> {
        let Self { engine, effects, .. } = self;
        match &mut part {
            None => engine.unlock(now, id, token, &[], effects)?,
            Some(part) => {
                engine.unlock_part(now, id, token, part, &[], &[], effects)?;
            }
        }
        self.ended(id, token, part.as_deref());
        Ok(())
    }

    /// The engine has ended a grant, or a part of it.
    pub fn ended(&mut self, id: GroupId, token: Token, part: Option<&[BufferId]>) {
        match part {
            Some(part) => self.end_part(id, token, part),
            None => self.end_lock(id, token),
        }
    }

    /// A part of a grant is over, or all of it.
    fn end_part(&mut self, id: GroupId, token: Token, part: &[BufferId]) {
        let Some(left) = self.engine.held(id, token).map(Iterator::count) else {
            return self.end_lock(id, token);
        };
        self.sessions.hold(id, token, left);
        let ended = self.acquires.remove_part((id, token), part);
        self.let_go((id, token), ended);
    }

    /// Refuses a lock that is not granted. Refuses to end a part of a grant that grows.
    pub fn check_granted(
        &self,
        id: GroupId,
        token: Token,
        part: Option<&[BufferId]>,
    ) -> Result<(), Error> {
        let lock = self.sessions.lock(id, token)?;
        if !lock.is_granted() || part.is_some() && lock.is_waiting() {
            return Err(Error::Busy(token.0));
        }
        Ok(())
    }

    /// For an unlock with fences: the group's uid, and the dma-bufs that the fences go into if the group takes
    /// part in implicit synchronisation. Refuses what the unlock would refuse.
    pub fn giving(
        &mut self,
        id: GroupId,
        token: Token,
        part: Option<&[BufferId]>,
        given: &[Given<'_>],
    ) -> Result<(u32, Vec<DeviceBuffer>), Error> {
        self.check_granted(id, token, part)?;
        let held = self.engine.held(id, token).ok_or(Error::Ended)?;
        let ends: Vec<(BufferId, Access)> =
            held.filter(|(buffer, _)| part.is_none_or(|part| part.contains(buffer))).collect();
        let is_there = |buffer: &BufferId| ends.iter().any(|(ends, _)| ends == buffer);
        let named = given.iter().filter_map(|given| given.buffer);
        let mut named = named.chain(part.into_iter().flatten().copied());
        if let Some(other) = named.find(|buffer| !is_there(buffer)) {
            return Err(Error::UnknownBuffer(wire(other.0)));
        }
        self.check_fences(id, token, part, given.len())?;
        let group = self.sessions.group(id)?;
        Ok((group.uid, self.registry.devices(ends.into_iter().filter(|_| group.implicit))))
    }

    /// Whether a group can give so many fences with an unlock. Each may become a record.
    pub fn check_fences(
        &mut self,
        id: GroupId,
        token: Token,
        part: Option<&[BufferId]>,
        more: usize,
    ) -> Result<(), Error> {
        if more == 0 {
            return Ok(());
        }
        let pending = self.releases.check_room(id, more)?;
        self.sessions.check_fences(id, part.is_none().then_some(token), pending)
    }

    /// The release fences that a grant waits for and the dma-bufs with implicit ones; of one buffer, or
    /// of all.
    pub fn acquiring(
        &self,
        id: GroupId,
        token: Token,
        buffer: Option<BufferId>,
    ) -> Result<(Vec<Arc<Fence>>, Vec<DeviceBuffer>), Error> {
        self.check_granted(id, token, None)?;
        let group = self.sessions.group(id)?;
        let held = self.engine.held(id, token).ok_or(Error::Ended)?;
        let mut chosen =
            held.filter(|(held, _)| buffer.is_none_or(|buffer| buffer == *held)).peekable();
        if chosen.peek().is_none() {
            return Err(Error::UnknownBuffer(buffer.map_or(0, |buffer| wire(buffer.0))));
        }
        let devices = self.registry.devices(chosen.filter(|_| group.implicit));
        Ok((self.acquires.of((id, token), buffer), devices))
    }

    /// Ends a group. Nothing happens if it is closed already.
    pub fn close(&mut self, id: GroupId, how: Close, now: Time) {
        while let Some(token) = self.sessions.any_lock(id) {
            self.end_lock(id, token);
        }
        if let Some(uid) = self.sessions.get(id).map(|group| group.uid) {
            let Self { engine, sessions, registry, .. } = self;
            engine.members(id).for_each(|(buffer, _)| registry.let_go_by(buffer, uid));
            sessions.close(id, engine.members(id).map(|(buffer, _)| buffer));
            self.engine.close_group(now, id, how, &mut self.effects);
            self.polled.remove(id);
        }
    }

    /// Tells a group that its queued lock is granted.
    pub fn announce(&mut self, id: GroupId, grant: Grant, now: Time) {
        let Grant { token, deadline, buffers } = grant;
        self.begin_hold(id, token, buffers);
        let Some(implicit) = self.sessions.get(id).map(|group| group.implicit) else { return };
        let granted = self.effects.buffers(buffers);
        let (head, buffers) = outbox::granted(token, deadline, granted, implicit);
        let sent = self.sessions.send(id, head, buffers);
        self.sessions.told(id, token, now);
        self.expect_read(id, token, now);
        self.told(id, sent, now);
    }

    /// Looks later whether the client has read the event that told a grant. (If it was told by a reply, it has.)
    pub fn expect_read(&mut self, id: GroupId, token: Token, now: Time) {
        // Most clients read soon, and unlock: then their places are free.
        while let Some((_, id, token)) = self.unread.front().copied() {
            if self.sessions.is_told(id, token) {
                break;
            }
            self.unread.pop_front();
        }
        if self.sessions.is_told(id, token) {
            self.unread.push_back((now.after(self.read_within), id, token));
        }
    }

    /// Takes grants away that their clients have not read in time, if somebody waits for them: the clients are stopped,
    /// or frozen, and would keep the others waiting for the whole hold limit. A grant for which nobody waits yet is
    /// looked at again when that is so (CONTENDED).
    pub fn take_unread_grants(&mut self, now: Time) {
        if self.next_look().is_none_or(|look| now < look) {
            return;
        }
        self.last_look = now;
        while let Some((_, id, token)) =
            self.unread.front().copied().filter(|(due, ..)| *due <= now)
        {
            self.unread.pop_front();
            let since = self.sessions.unread_since(id, token);
            let is_late = since.is_some_and(|since| since.after(self.read_within) <= now);
            if is_late && self.engine.is_waited_for(id, token) {
                self.engine.expire(now, id, token, &mut self.effects);
            }
        }
        if self.unread.is_empty() {
            self.unread.shrink_to(LOOKS_KEPT);
        }
    }

    /// When to look for unread grants.
    fn next_look(&self) -> Option<Time> {
        let (due, ..) = self.unread.front()?;
        Some((*due).max(self.last_look.after(BETWEEN_LOOKS)))
    }

    /// The next time at which something has to happen.
    pub fn next_deadline(&self) -> Option<Time> {
        self.engine.next_deadline().into_iter().chain(self.next_look()).min()
    }

    /// Tells a group that its queued lock has failed; `reason` is an errno.
    pub fn lock_failed(
        &mut self,
        id: GroupId,
        token: Token,
        (buffer, reason, cause): (BufferId, i32, FailureCause),
        now: Time,
    ) {
        let uid = self.sessions.uid(id);
        self.notes.push(Note::LockFailed { uid, buffer, errno: reason, cause });
        self.tell(id, outbox::lock_failed(token, buffer, reason, cause), now);
    }

    /// Tells a group that a grant was taken away.
    pub fn evicted(
        &mut self,
        id: GroupId,
        (token, cause, by): (Token, EvictionCause, Option<(GroupId, Token)>),
        now: Time,
    ) {
        // A release fence that fails belongs to a grant that has ended already.
        if cause == EvictionCause::Deadline {
            self.end_lock(id, token);
        }
        self.notes.extend(self.sessions.evicted(id, token, cause, now));
        self.tell(id, outbox::evicted(token, cause, by), now);
    }

    /// Sends a record to a group.
    pub fn tell(&mut self, id: GroupId, record: Record, now: Time) {
        let sent = self.sessions.send(id, record, std::iter::empty());
        self.told(id, sent, now);
    }

    /// A group whose channel is lost counts as dead, because it gets no more events.
    fn told(&mut self, id: GroupId, sent: Option<Result<(), Lost>>, now: Time) {
        let Some(Err(lost)) = sent else { return };
        if let Some(group) = self.sessions.get(id) {
            let (uid, name) = (group.uid, Arc::clone(&group.name));
            self.notes.push(Note::Lost { uid, group: id.serial(), name, lost });
        }
        self.close(id, Close::Died, now);
    }

    /// The implicit fences that the engine asks about.
    pub fn looks(&self, waits: Span) -> Vec<Look> {
        let waits = self.effects.waits(waits).iter();
        waits
            .filter_map(|wait| {
                let fd = Arc::clone(self.registry.dma_buf(wait.buffer)?);
                Some(Look { buffer: wait.buffer, fd, usage: usage(wait.flags) })
            })
            .collect()
    }

    /// The uid to which a job with operations belongs. If its group has ended, it is who let the buffer go last: each
    /// uid has its share of the workers.
    pub fn uid_of(&self, group: Option<GroupId>, ops: Span) -> u32 {
        let of_buffer = || self.registry.get(self.effects.ops(ops).first()?.buffer);
        let of_group = group.and_then(|id| self.sessions.get(id)).map(|group| group.uid);
        of_group.or_else(|| of_buffer().map(|buffer| buffer.uid)).unwrap_or(NOBODY)
    }

    /// The cache operations that the engine asks for.
    pub fn operations(&self, ops: Span) -> Vec<Operation> {
        let ops = self.effects.ops(ops).iter();
        ops.filter_map(|op| {
            let fd = Arc::clone(self.registry.dma_buf(op.buffer)?);
            Some(Operation { buffer: op.buffer, fd, kind: op.kind, flags: op.flags })
        })
        .collect()
    }

    /// A worker is done with a job.
    pub fn job_done(&mut self, id: JobId, result: Result<(), Failure>, now: Time) {
        self.waits.done(id);
        self.engine.job_done(now, id, result, &mut self.effects);
    }

    /// Locks have waited for implicit fences in vain.
    pub fn waits_failed(&mut self, failed: impl IntoIterator<Item = Failed>, now: Time) {
        for (id, failure) in failed {
            self.engine.job_done(now, id, Err(failure), &mut self.effects);
        }
    }
}

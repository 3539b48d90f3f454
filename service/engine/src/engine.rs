// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The calls, and how a lock goes from its request to its end.
//!
//! ```text
//!            lock()            all entries clear         operations done
//!   (none) ---------> Queued -------------------> Preparing -----------> Held
//!                       |                            |  failed: LockFailed |
//!                cancel, close                 cancel, close               | unlock(fence)
//!                       v                            v                     v
//!                    (gone)                  gone at job_done          Releasing
//!                                                                          |
//!             unlock, close, deadline, death: the buffers pass on  <-------+ fence_done, deadline
//! ```
//!
//! A lock is its token; its group points at it as long as the client can name it. A lock that the
//! client has given up while operations are in flight, or that only waits for its release fence,
//! lives on without its group until that is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::coherence::{Plan, SyncKind, SyncOp};
use crate::slot::Slot;
use crate::{
    Access, BufferId, Close, Counters, Effect, Effects, Error, EvictionCause, Failure,
    GrantedBuffer, GroupId, JobId, Limits, Time, Token,
};

/// The lock table. See the crate.
#[derive(Clone, Debug)]
pub struct Engine {
    limits: Limits,
    pub(crate) groups: BTreeMap<GroupId, Group>,
    pub(crate) slots: BTreeMap<BufferId, Slot>,
    pub(crate) locks: BTreeMap<Token, Lock>,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    /// When grants end, the next one first.
    pub(crate) deadlines: BTreeSet<(Time, Token)>,
    counters: Counters,
    last_group: u64,
    last_token: u64,
    last_job: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Group {
    hold: Duration,
    pub(crate) members: BTreeMap<BufferId, Access>,
    /// The lock that the client waits for or holds.
    pub(crate) current: Option<Token>,
    /// An earlier one that waits for its release fence. One at most: its next grant waits for it.
    pub(crate) releasing: Option<Token>,
}

/// A lock. Its buffers are those of the group when it was requested.
#[derive(Clone, Debug)]
pub(crate) struct Lock {
    /// `None` once the client can no longer name it.
    pub(crate) group: Option<GroupId>,
    pub(crate) phase: Phase,
    pub(crate) buffers: Vec<Hold>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    pub(crate) buffer: BufferId,
    pub(crate) access: Access,
    /// Evictions that the buffer had seen when the grant began.
    evictions: u64,
}

/// How far a lock is. See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// In the queues of its buffers.
    Queued {
        /// What it still waits for: entries that are not clear, and the group's release fence.
        blocked: usize,
    },
    /// All buffers are taken; cache operations are in flight.
    Preparing {
        /// For this lock; otherwise others', which it waits for.
        own_job: bool,
    },
    /// Granted, until the deadline.
    Held {
        /// When it is taken away.
        deadline: Time,
    },
    /// Unlocked; the release fence has not signalled.
    Releasing {
        /// When it is taken away.
        deadline: Time,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// `None`: the buffer retires.
    lock: Option<Token>,
    pub(crate) ops: Vec<SyncOp>,
}

/// The answer to a lock that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockOutcome {
    /// [`Effect::Granted`] or [`Effect::LockFailed`] will follow.
    Pending(Token),
    /// Granted at once; no effect follows.
    Granted {
        /// Names the grant.
        token: Token,
        /// When it will be taken away.
        deadline: Time,
        /// What it holds.
        buffers: Vec<GrantedBuffer>,
    },
}

impl Engine {
    /// An empty lock table.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            groups: BTreeMap::new(),
            slots: BTreeMap::new(),
            locks: BTreeMap::new(),
            jobs: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            counters: Counters::default(),
            last_group: 0,
            last_token: 0,
            last_job: 0,
        }
    }

    /// Opens a group. Its grants last `hold`, or the default, but never longer than the maximum:
    /// the second value is what was decided.
    pub fn open_group(&mut self, hold: Option<Duration>) -> (GroupId, Duration) {
        self.last_group += 1;
        let id = GroupId(self.last_group);
        let hold = hold.unwrap_or(self.limits.default_hold).min(self.limits.max_hold);
        let group = Group { hold, members: BTreeMap::new(), current: None, releasing: None };
        self.groups.insert(id, group);
        (id, hold)
    }

    /// Ends a group: its waiting lock is taken back, its grant ends as `how` says, its buffers are
    /// let go. A release fence that it gave is still waited for. Unknown groups are ignored.
    pub fn close_group(&mut self, now: Time, id: GroupId, how: Close, fx: &mut Effects) {
        let Some(group) = self.groups.remove(&id) else { return };
        if how == Close::Died {
            self.counters.deaths += 1;
        }
        if let Some(lock) = group.releasing.and_then(|token| self.locks.get_mut(&token)) {
            lock.group = None;
        }
        if let Some(token) = group.current {
            match self.locks.get(&token).map(|lock| lock.phase) {
                Some(Phase::Held { .. }) if how == Close::Died => {
                    self.end(now, token, End::Evicted, fx)
                }
                Some(Phase::Held { .. }) => self.end(now, token, End::InOrder, fx),
                _ => self.withdraw(now, token, fx),
            }
        }
        for buffer in group.members.into_keys() {
            self.leave(buffer, fx);
        }
    }

    /// Whether the group neither waits nor holds. False for unknown groups.
    pub fn is_idle(&self, id: GroupId) -> bool {
        self.groups.get(&id).is_some_and(|group| group.current.is_none())
    }

    /// Adds a buffer to an idle group and returns the access that the group now has: the stronger
    /// one, if it had the buffer already.
    pub fn add(&mut self, id: GroupId, buffer: BufferId, access: Access) -> Result<Access, Error> {
        let group = idle(&mut self.groups, id)?;
        if let Some(has) = group.members.get_mut(&buffer) {
            *has = has.stronger(access).ok_or(Error::AccessConflict)?;
            return Ok(*has);
        }
        group.members.insert(buffer, access);
        self.slots.entry(buffer).or_default().members += 1;
        Ok(access)
    }

    /// Takes a buffer out of an idle group.
    pub fn remove(&mut self, id: GroupId, buffer: BufferId, fx: &mut Effects) -> Result<(), Error> {
        let group = idle(&mut self.groups, id)?;
        group.members.remove(&buffer).ok_or(Error::UnknownBuffer)?;
        self.leave(buffer, fx);
        Ok(())
    }

    /// Locks all buffers of a group, waiting for others where it must.
    pub fn lock(&mut self, now: Time, id: GroupId, fx: &mut Effects) -> Result<LockOutcome, Error> {
        let token = self.enqueue(id)?;
        let mut ready = BTreeSet::new();
        for buffer in self.buffers_of(token) {
            self.clear(buffer, &mut ready);
        }
        if ready.is_empty() {
            self.counters.queued += 1;
        }
        self.take(now, ready, fx);
        // Only this lock can have been waiting for nothing, so a grant stands last.
        match fx.back() {
            Some(Effect::Granted { token: granted, .. }) if *granted == token => {}
            _ => return Ok(LockOutcome::Pending(token)),
        }
        match fx.pop_back() {
            Some(Effect::Granted { token, deadline, buffers, .. }) => {
                Ok(LockOutcome::Granted { token, deadline, buffers })
            }
            _ => Ok(LockOutcome::Pending(token)),
        }
    }

    /// Locks all buffers of a group if that needs no waiting for others. It may still be pending,
    /// for cache operations.
    pub fn try_lock(
        &mut self,
        now: Time,
        id: GroupId,
        fx: &mut Effects,
    ) -> Result<LockOutcome, Error> {
        let group = self.lockable(id)?;
        let free = group.releasing.is_none()
            && group.members.iter().all(|(buffer, access)| {
                self.slots.get(buffer).is_some_and(|slot| slot.admits(*access))
            });
        if !free {
            return Err(Error::WouldBlock);
        }
        self.lock(now, id, fx)
    }

    /// Takes a lock back that is not granted yet.
    pub fn cancel(&mut self, now: Time, id: GroupId, fx: &mut Effects) -> Result<(), Error> {
        let group = self.groups.get_mut(&id).ok_or(Error::UnknownGroup)?;
        let token = group.current.ok_or(Error::NotQueued)?;
        if matches!(self.locks.get(&token).map(|lock| lock.phase), Some(Phase::Held { .. })) {
            return Err(Error::NotQueued);
        }
        group.current = None;
        self.counters.cancels += 1;
        self.withdraw(now, token, fx);
        Ok(())
    }

    /// Ends a grant; with `fence`, not before [`Engine::fence_done`] or its deadline. The group is
    /// idle at once, but its next lock waits for its own fence.
    pub fn unlock(
        &mut self,
        now: Time,
        id: GroupId,
        token: Token,
        fence: bool,
        fx: &mut Effects,
    ) -> Result<(), Error> {
        let group = self.groups.get_mut(&id).ok_or(Error::UnknownGroup)?;
        if group.current != Some(token) {
            return Err(Error::BadToken);
        }
        let lock = self.locks.get_mut(&token).ok_or(Error::BadToken)?;
        let Phase::Held { deadline } = lock.phase else { return Err(Error::BadToken) };
        group.current = None;
        self.counters.unlocks += 1;
        if fence {
            lock.phase = Phase::Releasing { deadline };
            group.releasing = Some(token);
        } else {
            self.end(now, token, End::InOrder, fx);
        }
        Ok(())
    }

    /// The release fence of a grant has signalled (`ok`), or failed. Ignored for a grant that has
    /// ended meanwhile.
    pub fn fence_done(&mut self, now: Time, token: Token, ok: bool, fx: &mut Effects) {
        let releasing = self.locks.get(&token).is_some_and(|lock| lock.phase.is_releasing());
        if releasing && ok {
            self.end(now, token, End::InOrder, fx);
        } else if releasing {
            self.evict(now, token, fx);
        }
    }

    /// A batch of cache operations is done. `Err`: all before the one on this buffer succeeded, it
    /// failed, and none after it were issued.
    pub fn job_done(
        &mut self,
        now: Time,
        id: JobId,
        result: Result<(), Failure>,
        fx: &mut Effects,
    ) {
        let Some(job) = self.jobs.remove(&id) else { return };
        let waiting = self.book(&job, result.err());
        let mut ready = waiting;
        match (job.lock, result) {
            (None, _) => job.ops.iter().for_each(|op| self.retire(op.buffer, fx)),
            // Given up meanwhile.
            (Some(token), _) if self.locks.get(&token).is_some_and(|l| l.group.is_none()) => {
                self.end(now, token, End::NotGranted, fx);
            }
            (Some(token), Ok(())) => {
                if let Some(lock) = self.locks.get_mut(&token) {
                    lock.phase = Phase::Preparing { own_job: false };
                }
                ready.insert(token);
            }
            (Some(token), Err(failure)) => self.fail(now, token, failure, fx),
        }
        // The oldest first, as everywhere.
        for token in ready {
            self.prepare(now, token, fx);
        }
    }

    /// Takes away every grant whose deadline has come.
    pub fn tick(&mut self, now: Time, fx: &mut Effects) {
        while let Some((deadline, token)) = self.deadlines.first().copied() {
            if deadline > now {
                break;
            }
            self.evict(now, token, fx);
        }
    }

    /// When [`Engine::tick`] has something to do.
    pub fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Whether nothing is kept of any group, buffer or lock.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
            && self.slots.is_empty()
            && self.locks.is_empty()
            && self.jobs.is_empty()
            && self.deadlines.is_empty()
    }

    /// What has happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn lockable(&self, id: GroupId) -> Result<&Group, Error> {
        let group = self.groups.get(&id).ok_or(Error::UnknownGroup)?;
        match group.current.and_then(|token| self.locks.get(&token)).map(|lock| lock.phase) {
            Some(Phase::Held { .. }) => Err(Error::AlreadyLocked),
            Some(_) => Err(Error::AlreadyQueued),
            None if group.members.is_empty() => Err(Error::EmptyGroup),
            None => Ok(group),
        }
    }

    /// Gives the group a lock with the next stamp, in the queues of its buffers, blocked by all of
    /// them and by the group's own release fence.
    fn enqueue(&mut self, id: GroupId) -> Result<Token, Error> {
        let group = self.lockable(id)?;
        let hold = |(buffer, access): (&BufferId, &Access)| Hold {
            buffer: *buffer,
            access: *access,
            evictions: 0,
        };
        let buffers: Vec<Hold> = group.members.iter().map(hold).collect();
        let blocked = buffers.len() + usize::from(group.releasing.is_some());
        self.last_token += 1;
        let token = Token(self.last_token);
        for hold in &buffers {
            if let Some(slot) = self.slots.get_mut(&hold.buffer) {
                slot.enqueue(token, hold.access);
            }
        }
        let phase = Phase::Queued { blocked };
        self.locks.insert(token, Lock { group: Some(id), phase, buffers });
        if let Some(group) = self.groups.get_mut(&id) {
            group.current = Some(token);
        }
        Ok(token)
    }

    fn buffers_of(&self, token: Token) -> Vec<BufferId> {
        let lock = self.locks.get(&token);
        lock.map_or_else(Vec::new, |lock| lock.buffers.iter().map(|hold| hold.buffer).collect())
    }

    /// Looks at the head of a buffer's queue after something has changed, and notes the locks that
    /// thereby wait for nothing any more.
    fn clear(&mut self, buffer: BufferId, ready: &mut BTreeSet<Token>) {
        while let Some(token) = self.slots.get_mut(&buffer).and_then(Slot::clear_next) {
            self.unblock(token, ready);
        }
    }

    fn unblock(&mut self, token: Token, ready: &mut BTreeSet<Token>) {
        if let Some(Lock { phase: Phase::Queued { blocked }, .. }) = self.locks.get_mut(&token) {
            *blocked -= 1;
            if *blocked == 0 {
                ready.insert(token);
            }
        }
    }

    /// Locks that are clear everywhere take their buffers, the oldest first. They can't be in each
    /// other's way: on every buffer all clear waiters are compatible.
    fn take(&mut self, now: Time, ready: BTreeSet<Token>, fx: &mut Effects) {
        for token in ready {
            let Some(lock) = self.locks.get_mut(&token) else { continue };
            lock.phase = Phase::Preparing { own_job: false };
            for hold in &lock.buffers {
                if let Some(slot) = self.slots.get_mut(&hold.buffer) {
                    slot.dequeue(token);
                    slot.holders.insert(token, hold.access);
                }
            }
            self.prepare(now, token, fx);
        }
    }

    /// Brings the buffers of a lock into the state that its access needs, or finds that they are.
    fn prepare(&mut self, now: Time, token: Token, fx: &mut Effects) {
        let Some(lock) = self.locks.get(&token) else { return };
        if lock.phase != (Phase::Preparing { own_job: false }) {
            return;
        }
        // Another reader's operations, or the END of a buffer that was let go: what they leave
        // behind decides what is needed.
        let mut in_flight = false;
        for hold in &lock.buffers {
            if let Some(slot) = self.slots.get_mut(&hold.buffer) {
                if slot.job.is_some() {
                    slot.after_job.insert(token);
                    in_flight = true;
                }
            }
        }
        if in_flight {
            return;
        }
        let mut ops = Vec::new();
        for hold in &lock.buffers {
            if let Some(slot) = self.slots.get(&hold.buffer) {
                push_ops(&mut ops, hold.buffer, slot.coherence.plan(hold.access));
            }
        }
        if ops.is_empty() {
            self.grant(now, token, fx);
        } else {
            let group = lock.group;
            if let Some(lock) = self.locks.get_mut(&token) {
                lock.phase = Phase::Preparing { own_job: true };
            }
            self.start_job(Some(token), group, ops, fx);
        }
    }

    fn start_job(
        &mut self,
        lock: Option<Token>,
        group: Option<GroupId>,
        ops: Vec<SyncOp>,
        fx: &mut Effects,
    ) {
        self.last_job += 1;
        let job = JobId(self.last_job);
        for op in &ops {
            if let Some(slot) = self.slots.get_mut(&op.buffer) {
                slot.job = Some(job);
            }
        }
        self.jobs.insert(job, Job { lock, ops: ops.clone() });
        fx.push_back(Effect::Sync { job, group, ops });
    }

    /// Books what a job has done, and returns the locks that waited for it.
    fn book(&mut self, job: &Job, failure: Option<Failure>) -> BTreeSet<Token> {
        let mut waiting = BTreeSet::new();
        let mut failed = false;
        for op in &job.ops {
            let Some(slot) = self.slots.get_mut(&op.buffer) else { continue };
            slot.job = None;
            waiting.append(&mut slot.after_job);
            if failed {
                continue;
            }
            if failure.is_some_and(|failure| failure.buffer == op.buffer) {
                // Of two operations on one buffer it is not known which one failed, and after
                // either of them nothing is known of the buffer.
                failed = true;
                slot.coherence.failed();
                self.counters.sync_failed += 1;
                continue;
            }
            slot.coherence.issued(op.kind, op.flags);
            match op.kind {
                SyncKind::Start => self.counters.sync_start += 1,
                SyncKind::End => self.counters.sync_end += 1,
            }
        }
        waiting
    }

    fn grant(&mut self, now: Time, token: Token, fx: &mut Effects) {
        let Some(lock) = self.locks.get_mut(&token) else { return };
        let Some(group) = lock.group else { return };
        let hold = self.groups.get(&group).map_or(self.limits.max_hold, |group| group.hold);
        let deadline = now.after(hold);
        lock.phase = Phase::Held { deadline };
        self.deadlines.insert((deadline, token));
        let mut buffers = Vec::with_capacity(lock.buffers.len());
        for hold in &mut lock.buffers {
            let Some(slot) = self.slots.get_mut(&hold.buffer) else { continue };
            slot.generation += u64::from(hold.access.is_exclusive());
            slot.coherence.granted(hold.access);
            hold.evictions = slot.evictions;
            buffers.push(GrantedBuffer {
                buffer: hold.buffer,
                access: hold.access,
                generation: slot.generation,
                evicted: slot.tainted(),
            });
        }
        self.counters.grants += 1;
        self.counters.bracketing_ops += 2 * buffers.len() as u64;
        fx.push_back(Effect::Granted { group, token, deadline, buffers });
    }

    fn evict(&mut self, now: Time, token: Token, fx: &mut Effects) {
        let Some(lock) = self.locks.get(&token) else { return };
        let cause = match lock.phase {
            Phase::Releasing { .. } => {
                fx.push_back(Effect::DropFence { token });
                EvictionCause::Fence
            }
            _ => EvictionCause::Deadline,
        };
        if let Some(group) = lock.group {
            fx.push_back(Effect::Evicted { group, token, cause });
        }
        self.counters.evictions += 1;
        self.end(now, token, End::Evicted, fx);
    }

    fn fail(&mut self, now: Time, token: Token, failure: Failure, fx: &mut Effects) {
        if let Some(group) = self.locks.get(&token).and_then(|lock| lock.group) {
            fx.push_back(Effect::LockFailed { group, token, failure });
        }
        self.counters.lock_failures += 1;
        self.end(now, token, End::NotGranted, fx);
    }

    /// The client gives up a lock that is not granted.
    fn withdraw(&mut self, now: Time, token: Token, fx: &mut Effects) {
        let Some(lock) = self.locks.get_mut(&token) else { return };
        if lock.phase == (Phase::Preparing { own_job: true }) {
            // The buffers can't pass on under operations in flight.
            lock.group = None;
        } else {
            self.end(now, token, End::NotGranted, fx);
        }
    }

    /// Takes a lock out of the table, and lets those go on who waited for it.
    fn end(&mut self, now: Time, token: Token, how: End, fx: &mut Effects) {
        let Some(lock) = self.locks.remove(&token) else { return };
        if let Some(deadline) = lock.phase.deadline() {
            self.deadlines.remove(&(deadline, token));
        }
        for hold in &lock.buffers {
            if let Some(slot) = self.slots.get_mut(&hold.buffer) {
                slot.dequeue(token);
                slot.after_job.remove(&token);
                slot.holders.remove(&token);
                hold.settle(slot, how);
            }
        }
        let mut ready = BTreeSet::new();
        if let Some(group) = lock.group.and_then(|id| self.groups.get_mut(&id)) {
            if group.current == Some(token) {
                group.current = None;
            }
            if group.releasing == Some(token) {
                group.releasing = None;
                // The group's next lock waited for its own fence too.
                if let Some(next) = group.current {
                    self.unblock(next, &mut ready);
                }
            }
        }
        for hold in &lock.buffers {
            self.clear(hold.buffer, &mut ready);
            self.retire(hold.buffer, fx);
        }
        self.take(now, ready, fx);
    }

    /// A group lets a buffer go.
    fn leave(&mut self, buffer: BufferId, fx: &mut Effects) {
        if let Some(slot) = self.slots.get_mut(&buffer) {
            slot.members -= 1;
        }
        self.retire(buffer, fx);
    }

    /// Forgets a buffer that nobody has any more, after the END that its START asks for.
    fn retire(&mut self, buffer: BufferId, fx: &mut Effects) {
        let Some(slot) = self.slots.get(&buffer) else { return };
        if !slot.is_abandoned() {
            return;
        }
        let mut ops = Vec::new();
        push_ops(&mut ops, buffer, slot.coherence.plan_retirement());
        if ops.is_empty() {
            self.slots.remove(&buffer);
            fx.push_back(Effect::Forget { buffer });
        } else {
            self.start_job(None, None, ops, fx);
        }
    }
}

/// How a lock ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Its holder let go.
    InOrder,
    /// It was taken away, or its holder died.
    Evicted,
    /// It never became a grant.
    NotGranted,
}

impl Hold {
    /// What the end of a grant leaves behind.
    fn settle(&self, slot: &mut Slot, how: End) {
        match how {
            End::InOrder if self.evictions > slot.settled => {
                // The evicted holder may have written all the while. From here on it counts as
                // gone, and what it wrote as history.
                slot.coherence.unknown();
                slot.settled = self.evictions;
            }
            End::InOrder | End::NotGranted => {}
            End::Evicted => {
                slot.evictions += 1;
                if self.access.is_exclusive() {
                    slot.coherence.unknown();
                }
            }
        }
    }
}

impl Phase {
    pub(crate) fn deadline(self) -> Option<Time> {
        match self {
            Self::Held { deadline } | Self::Releasing { deadline } => Some(deadline),
            Self::Queued { .. } | Self::Preparing { .. } => None,
        }
    }

    fn is_releasing(self) -> bool {
        matches!(self, Self::Releasing { .. })
    }
}

fn idle(groups: &mut BTreeMap<GroupId, Group>, id: GroupId) -> Result<&mut Group, Error> {
    let group = groups.get_mut(&id).ok_or(Error::UnknownGroup)?;
    if group.current.is_some() {
        return Err(Error::Busy);
    }
    Ok(group)
}

fn push_ops(ops: &mut Vec<SyncOp>, buffer: BufferId, plan: Plan) {
    ops.extend(plan.into_iter().flatten().map(|(kind, flags)| SyncOp { buffer, kind, flags }));
}

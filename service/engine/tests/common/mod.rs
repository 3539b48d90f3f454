// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A lock table under test. Every call checks the invariants. Cache operations and waits succeed at once,
//! unless a test holds them back.
//!
//! Most tests need groups that have one lock at a time, of all their buffers. [`World::lock`] and its like
//! name such locks themselves: they lock a group, or grow the lock that it has.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod crowd;

use std::collections::BTreeMap;
use std::time::Duration;

use buffersync_engine::*;

pub struct World {
    pub engine: Engine,
    pub now: Time,
    /// Effects that the test has not looked at yet.
    pub events: Vec<Effect>,
    /// The buffers of the grants among them.
    pub buffers: Vec<Vec<GrantedBuffer>>,
    /// The grants whose holders were told that somebody waits, with their deadlines, in order.
    pub contended: Vec<(GroupId, Token, Time)>,
    /// Operations issued, in order.
    pub ops: Vec<SyncOp>,
    /// Waits for implicit fences begun, in order.
    pub waited: Vec<FenceWait>,
    /// The jobs of operations that a test holds back.
    pub jobs: Vec<JobId>,
    pub hold_jobs: bool,
    /// Waits for implicit fences that a test holds back, with their time limits.
    pub waits: Vec<(JobId, Time)>,
    pub hold_waits: bool,
    /// What the next lock knows about implicit fences.
    pub implicit: Implicit,
    /// From when the hold limits of new groups count.
    pub hold_from: HoldFrom,
    /// Whether each call checks the invariants. In large crowds that takes too long.
    pub checked: bool,
    pub last_fence: u64,
    last_token: u64,
    /// The last lock of each group.
    tokens: BTreeMap<GroupId, Token>,
    fx: Effects,
}

impl World {
    pub fn new() -> Self {
        Self {
            engine: Engine::new(Limits::default()),
            now: Time(0),
            events: Vec::new(),
            buffers: Vec::new(),
            contended: Vec::new(),
            ops: Vec::new(),
            waited: Vec::new(),
            jobs: Vec::new(),
            hold_jobs: false,
            waits: Vec::new(),
            hold_waits: false,
            implicit: Implicit::Unknown,
            hold_from: HoldFrom::Grant,
            checked: true,
            last_fence: 0,
            last_token: 0,
            tokens: BTreeMap::new(),
            fx: Effects::new(),
        }
    }

    /// Opens a group with these buffers.
    pub fn group(&mut self, members: &[(u64, Access)]) -> GroupId {
        let (group, _) = self.engine.open_group_from(None, self.hold_from);
        self.add(group, members);
        group
    }

    /// [`World::group`] with a hold limit.
    pub fn group_with_hold(&mut self, millis: u64, members: &[(u64, Access)]) -> GroupId {
        let (group, _) = self.engine.open_group(Some(Duration::from_millis(millis)));
        self.add(group, members);
        group
    }

    pub fn add(&mut self, group: GroupId, members: &[(u64, Access)]) {
        for (buffer, access) in members {
            self.engine.add(group, BufferId(*buffer), *access).unwrap();
        }
    }

    /// Runs a call and carries out its effects.
    pub fn call<R>(&mut self, call: impl FnOnce(&mut Engine, Time, &mut Effects) -> R) -> R {
        let result = call(&mut self.engine, self.now, &mut self.fx);
        self.carry_out();
        result
    }

    fn carry_out(&mut self) {
        self.check();
        while let Some(effect) = self.fx.pop() {
            match effect {
                Effect::Sync { job, ops, .. } => {
                    self.ops.extend(self.fx.ops(ops));
                    if self.hold_jobs {
                        self.jobs.push(job);
                    } else {
                        self.engine.job_done(self.now, job, Ok(()), &mut self.fx);
                        self.check();
                    }
                }
                Effect::Wait { job, waits, until, .. } => {
                    self.waited.extend(self.fx.waits(waits));
                    if self.hold_waits {
                        self.waits.push((job, until));
                    } else {
                        self.engine.job_done(self.now, job, Ok(()), &mut self.fx);
                        self.check();
                    }
                }
                Effect::Contended { group, token, deadline } => {
                    self.contended.push((group, token, deadline));
                }
                Effect::DropWait { job } => self.waits.retain(|(wait, _)| *wait != job),
                event => {
                    if let Effect::Granted { grant, .. } = event {
                        self.buffers.push(self.fx.buffers(grant.buffers).to_vec());
                    }
                    self.events.push(event);
                }
            }
        }
    }

    pub fn check(&self) {
        if !self.checked {
            return;
        }
        if let Err(broken) = self.engine.check_invariants() {
            panic!("{broken}\n{:#?}", self.engine);
        }
    }

    pub fn try_to_lock(&mut self, group: GroupId) -> Result<Token, Error> {
        self.try_to_lock_for(group, None)
    }

    pub fn try_to_lock_for(
        &mut self,
        group: GroupId,
        timeout: Option<Duration>,
    ) -> Result<Token, Error> {
        self.acquire(group, timeout.map_or(Wait::UntilGranted, Wait::AtMost))
    }

    /// Locks all buffers of a group, or grows its lock by them.
    fn acquire(&mut self, group: GroupId, wait: Wait) -> Result<Token, Error> {
        match self.token(group) {
            Some(token) => {
                let implicit = std::mem::replace(&mut self.implicit, Implicit::Unknown);
                let outcome = self.engine.grow(
                    self.now,
                    group,
                    token,
                    Wants::ALL,
                    wait,
                    implicit,
                    &mut self.fx,
                );
                self.answered(group, outcome)
            }
            None => self.lock_some(group, Wants::ALL, wait),
        }
    }

    /// A new lock, beside those that the group has.
    pub fn lock_some(
        &mut self,
        group: GroupId,
        wants: Wants<'_>,
        wait: Wait,
    ) -> Result<Token, Error> {
        self.last_token += 1;
        let token = Token(self.last_token);
        let implicit = std::mem::replace(&mut self.implicit, Implicit::Unknown);
        let outcome = self.engine.lock(self.now, group, token, wants, wait, implicit, &mut self.fx);
        if outcome.is_ok() {
            self.tokens.insert(group, token);
        }
        self.answered(group, outcome)
    }

    pub fn grow_some(
        &mut self,
        group: GroupId,
        token: Token,
        wants: Wants<'_>,
        wait: Wait,
    ) -> Result<Token, Error> {
        let implicit = std::mem::replace(&mut self.implicit, Implicit::Unknown);
        let outcome = self.engine.grow(self.now, group, token, wants, wait, implicit, &mut self.fx);
        self.answered(group, outcome)
    }

    fn answered(
        &mut self,
        group: GroupId,
        outcome: Result<LockOutcome, Error>,
    ) -> Result<Token, Error> {
        let token = outcome.map(|outcome| self.note(group, outcome));
        self.carry_out();
        token
    }

    /// The group's last lock, if it is not over.
    pub fn token(&self, group: GroupId) -> Option<Token> {
        let token = *self.tokens.get(&group)?;
        self.engine.phase(group, token).map(|_| token)
    }

    /// How far the group's last lock is.
    pub fn phase(&self, group: GroupId) -> Option<Phase> {
        self.engine.phase(group, self.token(group)?)
    }

    pub fn lock(&mut self, group: GroupId) -> Token {
        self.try_to_lock(group).unwrap()
    }

    pub fn lock_for(&mut self, group: GroupId, millis: u64) -> Token {
        self.try_to_lock_for(group, Some(Duration::from_millis(millis))).unwrap()
    }

    pub fn try_lock(&mut self, group: GroupId) -> Result<Token, Error> {
        self.acquire(group, Wait::Never)
    }

    /// Notes a grant at once like one that comes later.
    fn note(&mut self, group: GroupId, outcome: LockOutcome) -> Token {
        match outcome {
            LockOutcome::Pending(token) => token,
            LockOutcome::Granted(grant) => {
                self.buffers.push(self.fx.buffers(grant.buffers).to_vec());
                self.events.push(Effect::Granted { group, grant });
                grant.token
            }
        }
    }

    pub fn unlock(&mut self, group: GroupId, token: Token) {
        self.call(|e, now, fx| e.unlock(now, group, token, &[], fx)).unwrap();
    }

    pub fn unlock_part(
        &mut self,
        group: GroupId,
        token: Token,
        buffers: &[u64],
        given: &[ReleaseFence],
    ) -> Result<(), Error> {
        let mut part: Vec<BufferId> = buffers.iter().map(|buffer| BufferId(*buffer)).collect();
        self.call(|e, now, fx| e.unlock_part(now, group, token, &mut part, given, &[], fx))
    }

    pub fn downgrade(&mut self, group: GroupId, token: Token, part: &[u64]) -> Result<(), Error> {
        let mut part: Vec<BufferId> = part.iter().map(|buffer| BufferId(*buffer)).collect();
        self.call(|e, now, fx| e.downgrade(now, group, token, &mut part, fx))
    }

    pub fn unlock_with_fence(&mut self, group: GroupId, token: Token) -> FenceId {
        self.last_fence += 1;
        let fence = FenceId(self.last_fence);
        let given = [ReleaseFence { fence, buffer: None }];
        self.call(|e, now, fx| e.unlock(now, group, token, &given, fx)).unwrap();
        fence
    }

    pub fn fence_done(&mut self, fence: FenceId, ok: bool) {
        self.call(|e, now, fx| e.fence_done(now, fence, ok, fx));
    }

    pub fn cancel(&mut self, group: GroupId) -> Result<(), Error> {
        let token = self.tokens.get(&group).copied().unwrap_or(Token(0));
        self.call(|e, now, fx| e.cancel(now, group, token, fx))
    }

    pub fn close(&mut self, group: GroupId, how: Close) {
        self.call(|e, now, fx| e.close_group(now, group, how, fx));
    }

    pub fn pass(&mut self, millis: u64) {
        self.now = self.now.after(Duration::from_millis(millis));
        self.call(|e, now, fx| e.tick(now, fx));
    }

    pub fn finish_job(&mut self, result: Result<(), Failure>) {
        let job = self.jobs.remove(0);
        self.call(|e, now, fx| e.job_done(now, job, result, fx));
    }

    /// Ends the oldest wait: the fences have signalled, or not in time.
    pub fn finish_wait(&mut self, ok: bool) {
        let (job, _) = self.waits.remove(0);
        let result = if ok { Ok(()) } else { Err(Failure { succeeded: 0, reason: 110 }) };
        self.call(|e, now, fx| e.job_done(now, job, result, fx));
    }

    pub fn forget_events(&mut self) {
        self.events.clear();
        self.buffers.clear();
    }

    /// The events since the last look that a client learns about.
    pub fn told(&mut self) -> Vec<Effect> {
        self.buffers.clear();
        let events = std::mem::take(&mut self.events).into_iter();
        events
            .filter(|event| !matches!(event, Effect::Forget { .. } | Effect::Remember { .. }))
            .collect()
    }

    /// The groups that were granted since the last look, in order.
    pub fn granted(&mut self) -> Vec<GroupId> {
        let groups = self.events.iter().filter_map(|event| match event {
            Effect::Granted { group, .. } => Some(*group),
            _ => None,
        });
        let groups = groups.collect();
        self.forget_events();
        groups
    }

    /// The buffers of the grants since the last look.
    pub fn grants(&mut self) -> Vec<Vec<GrantedBuffer>> {
        self.events.clear();
        std::mem::take(&mut self.buffers)
    }

    /// Locks and unlocks. Returns the buffers of the grant.
    pub fn cycle(&mut self, group: GroupId) -> Vec<GrantedBuffer> {
        self.forget_events();
        let token = self.lock(group);
        let mut grants = self.grants();
        assert_eq!(grants.len(), 1, "not granted at once");
        self.unlock(group, token);
        grants.remove(0)
    }
}

/// The generator xorshift64*: the same history for the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }

    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for at in (1..all.len()).rev() {
            all.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}

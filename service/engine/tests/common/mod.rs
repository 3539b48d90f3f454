// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A lock table under test: every call checks the invariants, cache operations succeed at once
//! unless a test holds them back.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::time::Duration;

use buffersync_engine::*;

/// See the module.
pub struct World {
    pub engine: Engine,
    pub now: Time,
    /// What happened and was not looked at yet.
    pub events: Vec<Effect>,
    /// Operations issued, in order.
    pub ops: Vec<SyncOp>,
    /// Jobs that a test holds back.
    pub jobs: Vec<JobId>,
    /// Whether jobs are held back.
    pub hold_jobs: bool,
}

impl World {
    pub fn new() -> Self {
        Self {
            engine: Engine::new(Limits::default()),
            now: Time(0),
            events: Vec::new(),
            ops: Vec::new(),
            jobs: Vec::new(),
            hold_jobs: false,
        }
    }

    /// A group of these buffers.
    pub fn group(&mut self, members: &[(u64, Access)]) -> GroupId {
        let (group, _) = self.engine.open_group(None);
        for (buffer, access) in members {
            self.engine.add(group, BufferId(*buffer), *access).unwrap();
        }
        group
    }

    /// As [`World::group`], with a hold limit.
    pub fn group_with_hold(&mut self, millis: u64, members: &[(u64, Access)]) -> GroupId {
        let (group, _) = self.engine.open_group(Some(Duration::from_millis(millis)));
        for (buffer, access) in members {
            self.engine.add(group, BufferId(*buffer), *access).unwrap();
        }
        group
    }

    /// Runs a call and carries out its effects.
    pub fn call<R>(&mut self, call: impl FnOnce(&mut Engine, Time, &mut Effects) -> R) -> R {
        let mut fx = Effects::new();
        let result = call(&mut self.engine, self.now, &mut fx);
        self.carry_out(fx);
        result
    }

    fn carry_out(&mut self, mut fx: Effects) {
        self.check();
        while let Some(effect) = fx.pop_front() {
            match effect {
                Effect::Sync { job, ops, .. } => {
                    self.ops.extend(&ops);
                    if self.hold_jobs {
                        self.jobs.push(job);
                    } else {
                        self.engine.job_done(self.now, job, Ok(()), &mut fx);
                        self.check();
                    }
                }
                event => self.events.push(event),
            }
        }
    }

    pub fn check(&self) {
        if let Err(broken) = self.engine.check_invariants() {
            panic!("{broken}\n{:#?}", self.engine);
        }
    }

    pub fn lock(&mut self, group: GroupId) -> Token {
        match self.call(|e, now, fx| e.lock(now, group, fx)).unwrap() {
            LockOutcome::Pending(token) => token,
            LockOutcome::Granted { token, deadline, buffers } => {
                self.events.push(Effect::Granted { group, token, deadline, buffers });
                token
            }
        }
    }

    pub fn unlock(&mut self, group: GroupId, token: Token) {
        self.call(|e, now, fx| e.unlock(now, group, token, false, fx)).unwrap();
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

    /// Groups that were granted since the last look, in order.
    pub fn granted(&mut self) -> Vec<GroupId> {
        let groups = self.events.iter().filter_map(|event| match event {
            Effect::Granted { group, .. } => Some(*group),
            _ => None,
        });
        let groups = groups.collect();
        self.events.clear();
        groups
    }

    /// The grants since the last look.
    pub fn grants(&mut self) -> Vec<Vec<GrantedBuffer>> {
        let grants = std::mem::take(&mut self.events).into_iter();
        grants
            .filter_map(|event| match event {
                Effect::Granted { buffers, .. } => Some(buffers),
                _ => None,
            })
            .collect()
    }

    /// Locks and unlocks; the buffers of the grant.
    pub fn cycle(&mut self, group: GroupId) -> Vec<GrantedBuffer> {
        self.events.clear();
        let token = self.lock(group);
        let mut grants = self.grants();
        assert_eq!(grants.len(), 1, "not granted at once");
        self.unlock(group, token);
        grants.remove(0)
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Clients that do anything at any time. The caller makes the choices, so that a seed or a fuzzer can.

use std::collections::BTreeMap;

use buffersync_engine::*;

use super::{Random, World};

/// Makes a choice: a number below its argument.
pub type Choose = Box<dyn FnMut(u64) -> u64>;

/// The same choices for the same seed.
pub fn seeded(seed: u64) -> Choose {
    let mut random = Random(seed);
    Box::new(move |bound| random.below(bound))
}

/// Some clients and their lock table.
pub struct Crowd {
    pub world: World,
    choose: Choose,
    groups: Vec<GroupId>,
    tokens: BTreeMap<GroupId, Token>,
    fences: Vec<FenceId>,
    buffers: u64,
}

impl Crowd {
    pub fn new(groups: usize, buffers: u64, choose: Choose) -> Self {
        let mut crowd = Self {
            world: World::new(),
            choose,
            groups: Vec::new(),
            tokens: BTreeMap::new(),
            fences: Vec::new(),
            buffers,
        };
        crowd.groups = (0..groups).map(|_| crowd.open()).collect();
        crowd
    }

    fn open(&mut self) -> GroupId {
        let hold = 20 + (self.choose)(60);
        let group = self.world.group_with_hold(hold, &[]);
        self.add_some(group);
        group
    }

    /// Mostly no fence; or one for the whole grant, or one for a buffer that may be held, or both.
    fn some_fences(&mut self) -> Vec<ReleaseFence> {
        let buffers = match (self.choose)(8) {
            0 => vec![None],
            1 => vec![Some((self.choose)(4))],
            2 => vec![Some((self.choose)(4)), None],
            _ => vec![],
        };
        let mut given = |buffer: Option<u64>| {
            self.world.last_fence += 1;
            let fence = FenceId(self.world.last_fence);
            ReleaseFence { fence, buffer: buffer.map(BufferId) }
        };
        buffers.into_iter().map(&mut given).collect()
    }

    fn some_members(&mut self, group: GroupId) -> Vec<BufferId> {
        let members: Vec<BufferId> = self.world.engine.members(group).map(|m| m.0).collect();
        members.into_iter().filter(|_| (self.choose)(2) == 0).collect()
    }

    fn add_some(&mut self, group: GroupId) {
        for _ in 0..1 + (self.choose)(3) {
            let access = Access::ALL[(self.choose)(4) as usize];
            let buffer = BufferId((self.choose)(self.buffers));
            // The engine refuses a mix of CPU and device. Then the group has fewer buffers.
            let _ = self.world.engine.add(group, buffer, access);
        }
    }

    pub fn step(&mut self) {
        let at = (self.choose)(self.groups.len() as u64) as usize;
        let group = self.groups[at];
        match (self.choose)(21) {
            0..=5 => {
                let timeout = ((self.choose)(3) == 0).then_some((self.choose)(50));
                let timeout = timeout.map(std::time::Duration::from_millis);
                let token = self.world.try_to_lock_for(group, timeout);
                self.note(group, token);
            }
            6 => {
                let token = self.world.try_lock(group);
                self.note(group, token);
            }
            7..=9 => {
                if let Some(token) = self.tokens.get(&group).copied() {
                    let given = self.some_fences();
                    let done =
                        self.world.call(|e, now, fx| e.unlock(now, group, token, &given, fx));
                    if done.is_ok() {
                        self.fences.extend(given.iter().map(|given| given.fence));
                    }
                }
            }
            10 => drop(self.world.cancel(group)),
            11 => {
                if !self.fences.is_empty() {
                    let at = (self.choose)(self.fences.len() as u64) as usize;
                    let fence = self.fences.swap_remove(at);
                    self.world.fence_done(fence, (self.choose)(3) > 0);
                }
            }
            12 => {
                let died = (self.choose)(2) == 0;
                self.world.close(group, if died { Close::Died } else { Close::Closed });
                self.groups[at] = self.open();
            }
            13 => self.world.pass((self.choose)(40)),
            14 => self.add_some(group),
            15 | 16 => {
                if let Some(token) = self.tokens.get(&group).copied() {
                    let (mut part, given) = (self.some_members(group), self.some_fences());
                    let done = self.world.call(|e, now, fx| {
                        e.unlock_part(now, group, token, &mut part, &given, &[], fx)
                    });
                    if done.is_ok() {
                        self.fences.extend(given.iter().map(|given| given.fence));
                    }
                }
            }
            17 => {
                if let Some(token) = self.tokens.get(&group).copied() {
                    let mut part = self.some_members(group);
                    let _ =
                        self.world.call(|e, now, fx| e.downgrade(now, group, token, &mut part, fx));
                }
            }
            _ => self.finish_a_job(),
        }
    }

    fn note(&mut self, group: GroupId, token: Result<Token, Error>) {
        if let Ok(token) = token {
            let last = self.tokens.insert(group, token);
            assert!(last.is_none_or(|last| last <= token), "a token was used again");
        }
    }

    fn finish_a_job(&mut self) {
        if self.world.jobs.is_empty() {
            return;
        }
        let at = (self.choose)(self.world.jobs.len() as u64) as usize;
        self.world.jobs.swap(0, at);
        let succeeded = (self.choose)(3) as usize;
        let fails = (self.choose)(6) == 0;
        self.world.finish_job(if fails { Err(Failure { succeeded, reason: 5 }) } else { Ok(()) });
    }

    pub fn end(mut self) {
        for group in std::mem::take(&mut self.groups) {
            self.world.close(group, Close::Died);
        }
        for _ in 0..2 {
            while !self.world.jobs.is_empty() {
                self.world.finish_job(Ok(()));
            }
            self.world.pass(10_000);
        }
        assert!(self.world.engine.is_empty(), "something was left: {:#?}", self.world.engine);
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Clients that do anything at any time, each with several locks. The caller makes the choices, so that a seed or a fuzzer can.

use std::time::Duration;

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
    fences: Vec<FenceId>,
    buffers: u64,
}

impl Crowd {
    pub fn new(groups: usize, buffers: u64, choose: Choose) -> Self {
        let mut crowd =
            Self { world: World::new(), choose, groups: Vec::new(), fences: Vec::new(), buffers };
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
            let _ = match buffer.0 % 4 {
                3 => self.world.engine.add_plain(group, buffer, access),
                _ => self.world.engine.add(group, buffer, access),
            };
        }
    }

    /// A lock of the group, or the last token of all, which is seldom its own.
    fn some_lock(&mut self, group: GroupId) -> Token {
        let mut locks: Vec<Token> = self.world.engine.locks(group).collect();
        locks.push(Token(self.world.last_token));
        locks[(self.choose)(locks.len() as u64) as usize]
    }

    /// A new lock or a growth, of all buffers of the group or of some.
    fn ask(&mut self, group: GroupId, grows: bool) {
        let all = (self.choose)(2) == 0;
        let buffers = if all { Vec::new() } else { self.some_members(group) };
        let accesses = match (self.choose)(2) {
            0 => Vec::new(),
            _ => buffers.iter().map(|_| Access::ALL[(self.choose)(4) as usize]).collect(),
        };
        let wants = Wants { buffers: &buffers, accesses: &accesses };
        let wait = match (self.choose)(6) {
            0 => Wait::Never,
            1 | 2 => Wait::AtMost(Duration::from_millis((self.choose)(50))),
            _ => Wait::UntilGranted,
        };
        // The engine refuses what conflicts with the group's other locks, and more.
        let _ = if grows {
            let token = self.some_lock(group);
            self.world.grow_some(group, token, wants, wait)
        } else {
            self.world.lock_some(group, wants, wait)
        };
    }

    pub fn step(&mut self) {
        let at = (self.choose)(self.groups.len() as u64) as usize;
        let group = self.groups[at];
        match (self.choose)(21) {
            0..=4 => self.ask(group, false),
            5 | 6 => self.ask(group, true),
            7..=9 => {
                let (token, given) = (self.some_lock(group), self.some_fences());
                let done = self.world.call(|e, now, fx| e.unlock(now, group, token, &given, fx));
                if done.is_ok() {
                    self.fences.extend(given.iter().map(|given| given.fence));
                }
            }
            10 => {
                let token = self.some_lock(group);
                let _ = self.world.call(|e, now, fx| e.cancel(now, group, token, fx));
            }
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
                let (token, given) = (self.some_lock(group), self.some_fences());
                let mut part = self.some_members(group);
                let done = self.world.call(|e, now, fx| {
                    e.unlock_part(now, group, token, &mut part, &given, &[], fx)
                });
                if done.is_ok() {
                    self.fences.extend(given.iter().map(|given| given.fence));
                }
            }
            17 => {
                let (token, mut part) = (self.some_lock(group), self.some_members(group));
                let _ = self.world.call(|e, now, fx| e.downgrade(now, group, token, &mut part, fx));
            }
            _ => self.finish_a_job(),
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

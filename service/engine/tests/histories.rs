// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Long random histories of what the oracle leaves out: cache operations that take their time and
//! fail, and crowds. The invariants hold after every call, nobody is overtaken, nothing is left.

mod common;

use std::collections::BTreeMap;

use buffersync_engine::*;
use common::{Random, World};

/// What the scheduler knows of its clients.
struct Crowd {
    world: World,
    random: Random,
    groups: Vec<GroupId>,
    tokens: BTreeMap<GroupId, Token>,
    fences: Vec<FenceId>,
    buffers: u64,
}

impl Crowd {
    fn new(groups: usize, buffers: u64, seed: u64) -> Self {
        let mut crowd = Self {
            world: World::new(),
            random: Random(seed),
            groups: Vec::new(),
            tokens: BTreeMap::new(),
            fences: Vec::new(),
            buffers,
        };
        crowd.groups = (0..groups).map(|_| crowd.open()).collect();
        crowd
    }

    fn open(&mut self) -> GroupId {
        let hold = 20 + self.random.below(60);
        let group = self.world.group_with_hold(hold, &[]);
        self.add_some(group);
        group
    }

    /// None, mostly; or one for the whole grant, for a buffer that may be held, or both.
    fn some_fences(&mut self) -> Vec<ReleaseFence> {
        let buffers = match self.random.below(8) {
            0 => vec![None],
            1 => vec![Some(self.random.below(4))],
            2 => vec![Some(self.random.below(4)), None],
            _ => vec![],
        };
        let mut given = |buffer: Option<u64>| {
            self.world.last_fence += 1;
            let fence = FenceId(self.world.last_fence);
            ReleaseFence { fence, buffer: buffer.map(BufferId) }
        };
        buffers.into_iter().map(&mut given).collect()
    }

    fn add_some(&mut self, group: GroupId) {
        for _ in 0..1 + self.random.below(3) {
            let access = Access::ALL[self.random.below(4) as usize];
            let buffer = BufferId(self.random.below(self.buffers));
            // A mix of CPU and device is refused; the group then has fewer buffers.
            let _ = self.world.engine.add(group, buffer, access);
        }
    }

    fn step(&mut self) {
        let at = self.random.below(self.groups.len() as u64) as usize;
        let group = self.groups[at];
        match self.random.below(18) {
            0..=5 => {
                let timeout = (self.random.below(3) == 0).then_some(self.random.below(50));
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
                    let at = self.random.below(self.fences.len() as u64) as usize;
                    let fence = self.fences.swap_remove(at);
                    self.world.fence_done(fence, self.random.below(3) > 0);
                }
            }
            12 => {
                let died = self.random.below(2) == 0;
                self.world.close(group, if died { Close::Died } else { Close::Closed });
                self.groups[at] = self.open();
            }
            13 => self.world.pass(self.random.below(40)),
            14 => self.add_some(group),
            _ => self.finish_a_job(),
        }
    }

    fn note(&mut self, group: GroupId, token: Result<Token, Error>) {
        if let Ok(token) = token {
            let last = self.tokens.insert(group, token);
            assert!(last.is_none_or(|last| last <= token), "a token came again");
        }
    }

    fn finish_a_job(&mut self) {
        if self.world.jobs.is_empty() {
            return;
        }
        let at = self.random.below(self.world.jobs.len() as u64) as usize;
        self.world.jobs.swap(0, at);
        let succeeded = self.random.below(3) as usize;
        let fails = self.random.below(6) == 0;
        self.world.finish_job(if fails { Err(Failure { succeeded, reason: 5 }) } else { Ok(()) });
    }

    fn end(mut self, seed: u64) {
        for group in std::mem::take(&mut self.groups) {
            self.world.close(group, Close::Died);
        }
        for _ in 0..2 {
            while !self.world.jobs.is_empty() {
                self.world.finish_job(Ok(()));
            }
            self.world.pass(10_000);
        }
        assert!(self.world.engine.is_empty(), "seed {seed}: {:#?}", self.world.engine);
    }
}

#[test]
fn invariants_hold_while_operations_take_their_time_and_fail() {
    for seed in 1..=60 {
        let mut crowd = Crowd::new(8, 5, seed * 0x9e37_79b9);
        crowd.world.hold_jobs = true;
        for _ in 0..1_500 {
            crowd.step();
            crowd.world.forget_events();
        }
        crowd.end(seed);
    }
}

/// Who waits for what, before a call.
fn waiters(world: &World) -> Vec<(BufferId, LockView)> {
    let views = world.engine.buffers();
    views.iter().flat_map(|v| v.waiters.iter().map(|waiter| (v.id, *waiter))).collect()
}

#[test]
fn among_64_groups_on_hot_buffers_nobody_is_overtaken() {
    for seed in 1..=6 {
        let mut crowd = Crowd::new(64, 4, seed * 0x51_7cc1);
        let mut overtakes = 0;
        for _ in 0..4_000 {
            let before = waiters(&crowd.world);
            let holders = |world: &World| -> Vec<(BufferId, LockView)> {
                let views = world.engine.buffers();
                views.iter().flat_map(|v| v.holders.iter().map(|h| (v.id, *h))).collect()
            };
            let held = holders(&crowd.world);
            crowd.step();
            let still = waiters(&crowd.world);
            for (buffer, holder) in holders(&crowd.world) {
                let had = held
                    .iter()
                    .any(|(b, h)| (*b, h.token, h.access) == (buffer, holder.token, holder.access));
                // Who waited before and waits still, is older, and wants it in conflict.
                let passed = before.iter().filter(|(b, w)| {
                    !had && *b == buffer
                        && w.group != holder.group
                        && w.ticket < holder.ticket
                        && w.access.conflicts(holder.access)
                        && still.iter().any(|(b, s)| *b == buffer && s.token == w.token)
                });
                overtakes += passed.count();
            }
            crowd.world.forget_events();
        }
        assert_eq!(overtakes, 0, "seed {seed}");
        assert!(crowd.world.engine.counters().queued > 200, "a crowd without a crowd");
        crowd.end(seed);
    }
}

/// An adversary who tries to keep one group waiting: it lets readers and writers of all ages in,
/// has old ones come back with the tickets that they have kept, and lets go as late as it may.
#[test]
fn an_adversary_can_not_starve_the_oldest_waiter() {
    use Access::{DmaRead, DmaWrite};
    for victim_access in [DmaRead, DmaWrite] {
        let mut world = World::new();
        let hot = |access| [(0, access), (1, access)];
        let blocker = world.group(&hot(DmaWrite));
        world.lock(blocker);
        // Tickets older than the victim's, to come back with.
        let elders: Vec<GroupId> = (0..8).map(|_| world.group(&[(0, DmaRead)])).collect();
        for elder in &elders {
            world.lock(*elder);
            world.cancel(*elder).unwrap();
        }
        let victim = world.group(&hot(victim_access));
        world.lock(victim);
        let crowd: Vec<GroupId> = (0..55)
            .map(|at| world.group(&[(at % 2, if at % 3 == 0 { DmaWrite } else { DmaRead })]))
            .collect();
        for young in &crowd {
            world.lock(*young);
        }
        for elder in &elders {
            world.lock(*elder);
        }
        world.forget_events();
        world.close(blocker, Close::Closed);
        // Elders go first, each once; then the victim, whatever the crowd of 55 does.
        let mut served = world.granted();
        for _ in 0..elders.len() {
            if served.contains(&victim) {
                break;
            }
            let elder = served.remove(0);
            assert!(elders.contains(&elder), "a younger one was served first");
            world.close(elder, Close::Closed);
            served.extend(world.granted());
        }
        assert!(served.contains(&victim), "starved");
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Long random histories: the invariants hold after every call, nobody is overtaken, everything is
//! freed in the end.

mod common;

use std::collections::BTreeMap;

use buffersync_engine::*;
use common::World;

/// xorshift64*: the same history for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}

const BUFFERS: u64 = 5;

fn open(world: &mut World, random: &mut Random) -> GroupId {
    let group = world.group_with_hold(20 + random.below(60), &[]);
    for _ in 0..1 + random.below(3) {
        let access = Access::ALL[random.below(4) as usize];
        // A mix of CPU and device is refused; the group then has fewer buffers.
        let _ = world.engine.add(group, BufferId(random.below(BUFFERS)), access);
    }
    group
}

fn step(world: &mut World, random: &mut Random, groups: &mut [GroupId], held: &mut Held) {
    let at = random.below(groups.len() as u64) as usize;
    let group = groups[at];
    match random.below(16) {
        0..=5 => {
            if let Ok(outcome) = world.call(|e, now, fx| e.lock(now, group, fx)) {
                held.note(group, &outcome);
            }
        }
        6 => {
            if let Ok(outcome) = world.call(|e, now, fx| e.try_lock(now, group, fx)) {
                held.note(group, &outcome);
            }
        }
        7..=9 => {
            if let Some(token) = held.0.get(&group) {
                let fence = random.below(4) == 0;
                let _ = world.call(|e, now, fx| e.unlock(now, group, *token, fence, fx));
            }
        }
        10 => {
            let _ = world.call(|e, now, fx| e.cancel(now, group, fx));
        }
        11 => {
            if let Some(token) = held.0.get(&group) {
                let ok = random.below(3) > 0;
                world.call(|e, now, fx| e.fence_done(now, *token, ok, fx));
            }
        }
        12 => {
            let how = if random.below(2) == 0 { Close::Died } else { Close::Closed };
            world.close(group, how);
            groups[at] = open(world, random);
        }
        13 => world.pass(random.below(40)),
        _ => {
            if !world.jobs.is_empty() {
                let at = random.below(world.jobs.len() as u64) as usize;
                world.jobs.swap(0, at);
                let result = match random.below(8) {
                    0 => Err(Failure { buffer: BufferId(random.below(BUFFERS)), reason: 5 }),
                    _ => Ok(()),
                };
                world.finish_job(result);
            }
        }
    }
}

/// The last token of each group, granted or not.
struct Held(BTreeMap<GroupId, Token>);

impl Held {
    fn note(&mut self, group: GroupId, outcome: &LockOutcome) {
        let token = match outcome {
            LockOutcome::Pending(token) | LockOutcome::Granted { token, .. } => *token,
        };
        let last = self.0.insert(group, token);
        assert!(last.is_none_or(|last| last < token), "a token was used twice");
    }
}

#[test]
fn invariants_hold_through_random_histories_and_nothing_is_left() {
    for seed in 1..=60 {
        let mut random = Random(seed * 0x9e37_79b9);
        let mut world = World::new();
        world.hold_jobs = true;
        let mut groups: Vec<GroupId> = (0..8).map(|_| open(&mut world, &mut random)).collect();
        let mut held = Held(BTreeMap::new());
        for _ in 0..1_000 {
            step(&mut world, &mut random, &mut groups, &mut held);
            world.events.clear();
        }
        for group in groups {
            world.close(group, Close::Died);
        }
        while !world.jobs.is_empty() {
            world.finish_job(Ok(()));
        }
        world.pass(10_000);
        while !world.jobs.is_empty() {
            world.finish_job(Ok(()));
        }
        assert!(world.engine.is_empty(), "seed {seed}: {:#?}", world.engine);
    }
}

#[test]
fn if_holders_let_go_every_waiter_is_granted() {
    for seed in 1..=60 {
        let mut random = Random(seed * 0x51_7cc1);
        let mut world = World::new();
        let mut waiting = BTreeMap::new();
        for _ in 0..40 {
            let group = open(&mut world, &mut random);
            if let Ok(outcome) = world.call(|e, now, fx| e.lock(now, group, fx)) {
                match outcome {
                    LockOutcome::Pending(token) => waiting.insert(group, token),
                    LockOutcome::Granted { token, deadline, buffers } => {
                        world.events.push(Effect::Granted { group, token, deadline, buffers });
                        waiting.insert(group, token)
                    }
                };
            }
        }
        let mut granted = 0;
        let all = waiting.len();
        loop {
            let groups = world.granted();
            if groups.is_empty() {
                break;
            }
            for group in groups {
                granted += 1;
                world.unlock(group, waiting[&group]);
            }
        }
        assert_eq!(granted, all, "seed {seed}");
    }
}

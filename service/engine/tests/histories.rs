// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Long random histories of cases that the oracle leaves out: crowds, and slow cache operations that fail.
//! The invariants hold after every call, nobody is overtaken, and nothing is left in the end.

mod common;

use buffersync_engine::*;
use common::crowd::{seeded, Crowd};
use common::World;

#[test]
fn invariants_hold_while_operations_take_their_time_and_fail() {
    for seed in 1..=60 {
        let mut crowd = Crowd::new(8, 5, seeded(seed * 0x9e37_79b9));
        crowd.world.hold_jobs = true;
        for _ in 0..1_500 {
            crowd.step();
            crowd.world.forget_events();
        }
        crowd.end();
    }
}

/// All waiters, with their buffers.
fn waiters(world: &World) -> Vec<(BufferId, LockView)> {
    let views = world.engine.buffers();
    views.iter().flat_map(|v| v.waiters.iter().map(|waiter| (v.id, *waiter))).collect()
}

#[test]
fn among_64_groups_on_hot_buffers_nobody_is_overtaken() {
    for seed in 1..=6 {
        let mut crowd = Crowd::new(64, 4, seeded(seed * 0x51_7cc1));
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
                // An older, conflicting waiter that waited before the call and still waits.
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
        assert!(crowd.world.engine.counters().queued > 200, "too few locks had to wait");
        crowd.end();
    }
}

/// An adversary tries to keep one group waiting: it adds readers and writers of all ages, old ones come
/// back with kept tickets, and everybody unlocks as late as possible.
#[test]
fn an_adversary_can_not_starve_the_oldest_waiter() {
    use Access::{DmaRead, DmaWrite};
    for victim_access in [DmaRead, DmaWrite] {
        let mut world = World::new();
        let hot = |access| [(0, access), (1, access)];
        let blocker = world.group(&hot(DmaWrite));
        world.lock(blocker);
        // They keep tickets that are older than the victim's.
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
        // Elders go first, each once. Then the victim is served, whatever the crowd of 55 does.
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

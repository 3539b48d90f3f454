// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Nobody can store age: a lock waits only so long, whatever others do with their tickets.
//!
//! The bound and its proof are in docs/engine.md, "How long a lock waits".

mod common;

use buffersync_engine::Access::{DmaRead, DmaWrite};
use buffersync_engine::*;
use common::World;

/// The longest hold, and the life of a ticket.
const MAX_HOLD_MS: u64 = 5_000;
/// The default quota of groups of one uid.
const GROUPS: u64 = 255;
const SHARED: u64 = 100_000;

#[test]
fn a_ticket_lives_from_its_birth_and_nothing_renews_it() {
    let mut world = World::new();
    let [holder, hoarder] = [(); 2].map(|()| world.group(&[(1, DmaWrite)]));
    // It queues and cancels for an hour.
    for _ in 0..900 {
        let held = world.lock(holder);
        world.lock(hoarder);
        world.cancel(hoarder).unwrap();
        world.unlock(holder, held);
        world.pass(4_000);
    }
    let [first, second] = [(); 2].map(|()| world.group(&[(2, DmaWrite)]));
    world.add(hoarder, &[(2, DmaWrite)]);
    let held = world.lock(first);
    world.lock(second);
    world.pass(500);
    world.lock(hoarder);
    world.forget_events();
    world.unlock(first, held);
    assert_eq!(world.granted(), [second]);
}

#[test]
fn a_ticket_that_is_kept_in_line_is_not_renewed_either() {
    let mut world = World::new();
    let [holder, next, hoarder, young] = [(); 4].map(|()| world.group(&[(1, DmaWrite)]));
    for group in [holder, next, hoarder, young] {
        world.lock(group);
    }
    // When the ticket's life is over, the next one holds. The young one has stayed in line all the time.
    for (passed, expected) in [(3_000, [hoarder, young]), (3_000, [young, hoarder])] {
        world.pass(passed);
        world.cancel(hoarder).unwrap();
        world.lock(hoarder);
        let waiting = world.engine.waiting_by_age().into_iter().map(|(group, _)| group);
        let waiting: Vec<GroupId> = waiting.filter(|group| *group != next).collect();
        assert_eq!(waiting, expected);
    }
}

#[test]
fn a_kept_ticket_passes_nobody_who_stood_at_the_buffer_first() {
    for victim_access in [DmaRead, DmaWrite] {
        let mut world = World::new();
        let [holder, shared] = [1, SHARED].map(|buffer| world.group(&[(buffer, DmaWrite)]));
        world.lock(holder);
        let held = world.lock(shared);
        // The hoarder has waited for buffer 1. It comes to the shared buffer after the victim.
        let hoarder = world.group(&[(1, DmaWrite)]);
        world.lock(hoarder);
        world.cancel(hoarder).unwrap();
        let victim = world.group(&[(SHARED, victim_access)]);
        world.lock(victim);
        world.call(|e, _, fx| e.remove(hoarder, BufferId(1), fx)).unwrap();
        world.add(hoarder, &[(SHARED, DmaWrite)]);
        world.lock(hoarder);
        world.forget_events();
        world.unlock(shared, held);
        assert_eq!(world.granted(), [victim]);
    }
}

#[test]
fn a_kept_ticket_is_of_use_where_it_has_waited() {
    let mut world = World::new();
    let holder = world.group(&[(1, DmaWrite)]);
    let held = world.lock(holder);
    let [old, young] = [(); 2].map(|()| world.group(&[(1, DmaWrite)]));
    world.lock(old);
    world.lock(young);
    world.cancel(old).unwrap();
    world.lock(old);
    world.forget_events();
    world.unlock(holder, held);
    assert_eq!(world.granted(), [old]);
}

#[test]
fn a_kept_ticket_passes_nobody_who_came_while_its_group_was_away() {
    for access in [DmaRead, DmaWrite] {
        let mut world = World::new();
        let holder = world.group(&[(1, DmaWrite)]);
        let held = world.lock(holder);
        let old = world.group(&[(1, DmaWrite)]);
        world.lock(old);
        world.cancel(old).unwrap();
        let young = world.group(&[(1, access)]);
        world.lock(young);
        world.lock(old);
        world.forget_events();
        world.unlock(holder, held);
        assert_eq!(world.granted(), [young]);
    }
}

#[test]
fn a_kept_ticket_passes_nobody_who_came_back_first() {
    let mut world = World::new();
    let holder = world.group(&[(1, DmaWrite)]);
    let held = world.lock(holder);
    let groups = [(); 3].map(|()| world.group(&[(1, DmaWrite)]));
    for group in groups {
        world.lock(group);
    }
    for group in groups {
        world.cancel(group).unwrap();
    }
    // The youngest comes back first.
    world.lock(groups[2]);
    world.lock(groups[0]);
    world.lock(groups[1]);
    world.forget_events();
    world.unlock(holder, held);
    assert_eq!(world.granted(), [groups[2]]);
}

#[test]
fn a_reader_that_comes_back_as_a_writer_comes_late() {
    let mut world = World::new();
    let holder = world.group(&[(1, DmaWrite)]);
    let held = world.lock(holder);
    let old = world.group(&[(1, DmaRead)]);
    world.lock(old);
    let young = world.group(&[(1, DmaRead)]);
    world.lock(young);
    world.cancel(old).unwrap();
    world.add(old, &[(1, DmaWrite)]);
    world.lock(old);
    world.forget_events();
    world.unlock(holder, held);
    assert_eq!(world.granted(), [young]);
}

#[test]
fn growth_after_the_tickets_life_passes_nobody() {
    for late in [false, true] {
        let mut world = World::new();
        let blocker = world.group(&[(1, DmaWrite)]);
        let grower = world.group(&[(1, DmaWrite)]);
        world.lock(blocker);
        world.lock(grower);
        if late {
            // The blocker is evicted when the grower's ticket has reached the end of its life.
            world.pass(MAX_HOLD_MS);
        } else {
            world.close(blocker, Close::Closed);
        }
        let holder = world.group(&[(SHARED, DmaWrite)]);
        let victim = world.group(&[(SHARED, DmaWrite)]);
        let held = world.lock(holder);
        world.lock(victim);
        world.add(grower, &[(SHARED, DmaWrite)]);
        let grown = world.try_to_lock(grower);
        assert_eq!(grown.is_err(), late);
        assert!(!late || grown == Err(Error::Deadlock));
        world.forget_events();
        world.unlock(holder, held);
        assert_eq!(world.granted(), [if late { victim } else { grower }]);
    }
}

/// A world for so many groups that a check of the invariants after each call takes too long.
fn crowd(from: HoldFrom) -> World {
    let mut world = World::new();
    world.checked = false;
    world.hold_from = from;
    world
}

/// Each siege is tried with both.
const FROM: [HoldFrom; 2] = [HoldFrom::Grant, HoldFrom::Conflict];

/// Every group that is granted holds until it is evicted. Returns how long the victim has waited, in
/// longest holds, rounded up.
fn besiege(mut world: World, victim: GroupId, mut attack: impl FnMut(&mut World)) -> u64 {
    let begin = world.now;
    world.checked = true;
    world.check();
    world.checked = false;
    for step in 0.. {
        attack(&mut world);
        world.pass(MAX_HOLD_MS / 10);
        let granted = world.granted();
        if granted.contains(&victim) {
            let waited = world.now.0 - begin.0;
            return waited.div_ceil(MAX_HOLD_MS * 1_000_000);
        }
        assert!(step < 20 * GROUPS, "the victim starves");
    }
    unreachable!("the loop ends by itself")
}

/// A world with a holder of the shared buffer and a victim that waits for it.
fn with_victim(world: &mut World) -> GroupId {
    let [holder, victim] = [(); 2].map(|()| world.group(&[(SHARED, DmaWrite)]));
    world.lock(holder);
    world.lock(victim);
    world.forget_events();
    victim
}

#[test]
fn siege_by_tickets_kept_on_a_private_buffer() {
    for from in FROM {
        let mut world = crowd(from);
        let private = world.group(&[(0, DmaWrite)]);
        world.lock(private);
        let mut attackers: Vec<GroupId> =
            (0..GROUPS).map(|_| world.group(&[(0, DmaWrite)])).collect();
        for attacker in &attackers {
            world.lock(*attacker);
            world.cancel(*attacker).unwrap();
        }
        let victim = with_victim(&mut world);
        // All of them come to the victim's buffer at once.
        let waited = besiege(world, victim, |world| {
            for attacker in attackers.drain(..) {
                world.call(|e, _, fx| e.remove(attacker, BufferId(0), fx)).unwrap();
                world.add(attacker, &[(SHARED, DmaWrite)]);
                world.lock(attacker);
            }
        });
        assert_eq!(waited, 1, "longer than the first holder");
    }
}

#[test]
fn siege_by_tickets_kept_on_the_victims_buffer() {
    for from in FROM {
        let mut world = crowd(from);
        let first = world.group(&[(SHARED, DmaWrite)]);
        world.lock(first);
        let attackers: Vec<GroupId> =
            (0..GROUPS).map(|_| world.group(&[(SHARED, DmaWrite)])).collect();
        for attacker in &attackers {
            world.lock(*attacker);
        }
        // They leave just before the victim comes, and come back after it.
        attackers.iter().for_each(|attacker| world.cancel(*attacker).unwrap());
        let victim = world.group(&[(SHARED, DmaWrite)]);
        world.lock(victim);
        let waited = besiege(world, victim, |world| {
            for attacker in &attackers {
                let _ = world.try_to_lock(*attacker);
            }
        });
        assert_eq!(waited, 1);
    }
}

#[test]
fn siege_by_growth_of_what_was_granted_before() {
    for from in FROM {
        let mut world = crowd(from);
        let attackers: Vec<GroupId> =
            (0..GROUPS).map(|at| world.group(&[(at, DmaWrite)])).collect();
        for attacker in &attackers {
            world.lock(*attacker);
        }
        let victim = with_victim(&mut world);
        let mut left = attackers;
        let waited = besiege(world, victim, |world| {
            for attacker in left.drain(..) {
                world.add(attacker, &[(SHARED, DmaWrite)]);
                let _ = world.try_to_lock(attacker);
            }
        });
        // They keep their deadlines: one longest hold for all of them.
        assert!(waited <= 2, "{waited}");
    }
}

#[test]
fn siege_by_growth_of_locks_that_were_queued_before_and_are_granted_later() {
    for from in FROM {
        let mut world = crowd(from);
        let blockers: Vec<GroupId> = (0..GROUPS).map(|at| world.group(&[(at, DmaWrite)])).collect();
        let attackers: Vec<GroupId> =
            (0..GROUPS).map(|at| world.group(&[(at, DmaWrite)])).collect();
        for group in blockers.iter().chain(&attackers) {
            world.lock(*group);
        }
        let victim = with_victim(&mut world);
        let mut left: Vec<_> = blockers.into_iter().zip(attackers).collect();
        let mut step = 0;
        let waited = besiege(world, victim, |world| {
            step += 1;
            // One attacker after the other is granted and grows, each shortly before the last one's deadline.
            if step % 9 == 0 {
                let Some((blocker, attacker)) = left.pop() else { return };
                world.close(blocker, Close::Closed);
                world.add(attacker, &[(SHARED, DmaWrite)]);
                let _ = world.try_to_lock(attacker);
            }
        });
        assert!(waited <= 2, "{waited}");
    }
}

#[test]
fn siege_by_wounded_groups_that_come_back() {
    for from in FROM {
        let mut world = crowd(from);
        // Each attacker holds a buffer that an older accomplice will want.
        let elders: Vec<GroupId> =
            (0..GROUPS).map(|at| world.group(&[(2 * at, DmaWrite)])).collect();
        let attackers: Vec<GroupId> =
            (0..GROUPS).map(|at| world.group(&[(2 * at + 1, DmaWrite)])).collect();
        let mut tokens = Vec::new();
        for (elder, attacker) in elders.iter().zip(&attackers) {
            world.lock(*elder);
            tokens.push(world.lock(*attacker));
        }
        // The number of the shared buffer is higher than all others.
        let victim = with_victim(&mut world);
        let mut left = Some((elders, attackers, tokens));
        let waited = besiege(world, victim, |world| {
            let Some((elders, attackers, tokens)) = left.take() else { return };
            for (at, (elder, (attacker, token))) in
                elders.into_iter().zip(attackers.into_iter().zip(tokens)).enumerate()
            {
                world.add(attacker, &[(SHARED, DmaWrite)]);
                let _ = world.try_to_lock(attacker);
                world.add(elder, &[(2 * at as u64 + 1, DmaWrite)]);
                let _ = world.try_to_lock(elder);
                world.unlock(attacker, token);
                let _ = world.try_to_lock(attacker);
            }
        });
        assert!(waited <= 2, "{waited}");
    }
}

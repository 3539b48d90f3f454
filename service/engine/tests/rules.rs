// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The engine's rules, by their numbers in the crate's documentation.

mod common;

use buffersync_engine::Access::{DmaRead, DmaWrite, Read, Write};
use buffersync_engine::*;
use common::World;

// Exclusion and sharing.

#[test]
fn writers_exclude_and_readers_share() {
    for first in Access::ALL {
        for second in Access::ALL {
            let mut world = World::new();
            let a = world.group(&[(1, first)]);
            let b = world.group(&[(1, second)]);
            world.lock(a);
            world.lock(b);
            let shared = !first.is_exclusive() && !second.is_exclusive();
            let expected = if shared { vec![a, b] } else { vec![a] };
            assert_eq!(world.granted(), expected, "{first:?} {second:?}");
        }
    }
}

// Rule 1: wound-wait.

#[test]
fn groups_that_want_each_others_buffers_take_turns_by_age() {
    let mut world = World::new();
    let ab = world.group(&[(1, DmaWrite), (2, DmaWrite)]);
    let ba = world.group(&[(2, DmaWrite), (1, DmaWrite)]);
    let first = world.lock(ab);
    world.lock(ba);
    assert_eq!(world.granted(), [ab]);
    world.unlock(ab, first);
    assert_eq!(world.granted(), [ba]);
}

#[test]
fn cycles_of_groups_do_not_deadlock() {
    for n in 2..=8 {
        let mut world = World::new();
        // Each group holds nothing and wants its own buffer and its neighbour's.
        let blocker = world.group(&(0..n).map(|b| (b, DmaWrite)).collect::<Vec<_>>());
        let held = world.lock(blocker);
        let ring: Vec<GroupId> =
            (0..n).map(|i| world.group(&[(i, DmaWrite), ((i + 1) % n, DmaWrite)])).collect();
        let tokens: Vec<Token> = ring.iter().map(|group| world.lock(*group)).collect();
        world.forget_events();
        world.unlock(blocker, held);
        let mut served = Vec::new();
        for _ in 0..n {
            for group in world.granted() {
                served.push(group);
                let at = ring.iter().position(|g| *g == group).unwrap();
                world.unlock(group, tokens[at]);
            }
        }
        assert_eq!(served.len(), ring.len(), "n = {n}");
    }
}

#[test]
fn a_granted_group_is_not_preempted_by_age() {
    let mut world = World::new();
    let blocker = world.group(&[(1, DmaWrite)]);
    let held = world.lock(blocker);
    // The oldest waiter, and a younger group that is granted while it waits.
    let old = world.group(&[(1, DmaWrite), (2, DmaWrite)]);
    let late = world.group(&[(3, DmaWrite)]);
    let token = world.lock(late);
    world.lock(old);
    world.forget_events();
    world.pass(1);
    world.unlock(blocker, held);
    assert_eq!(world.granted(), [old]);
    world.unlock(late, token);
}

// Rule 2: no overtaking.

#[test]
fn conflicting_waiters_are_served_in_ticket_order() {
    let mut world = World::new();
    let holder = world.group(&[(1, DmaWrite)]);
    let held = world.lock(holder);
    let waiters: Vec<GroupId> = (0..5).map(|_| world.group(&[(1, DmaWrite)])).collect();
    let tokens: Vec<Token> = waiters.iter().map(|waiter| world.lock(*waiter)).collect();
    world.forget_events();
    world.unlock(holder, held);
    for (waiter, token) in waiters.iter().zip(tokens) {
        assert_eq!(world.granted(), [*waiter]);
        world.unlock(*waiter, token);
    }
}

#[test]
fn an_older_waiter_bars_younger_ones_even_while_it_waits_elsewhere() {
    let mut world = World::new();
    let on_two = world.group(&[(2, DmaWrite)]);
    let held = world.lock(on_two);
    let both = world.group(&[(1, DmaWrite), (2, DmaWrite)]);
    let token = world.lock(both);
    let on_one = world.group(&[(1, DmaWrite)]);
    world.lock(on_one);
    assert_eq!(world.granted(), [on_two]);
    world.unlock(on_two, held);
    assert_eq!(world.granted(), [both]);
    world.unlock(both, token);
    assert_eq!(world.granted(), [on_one]);
}

#[test]
fn a_crowd_of_readers_does_not_starve_a_writer() {
    let mut world = World::new();
    let readers: Vec<GroupId> = (0..8).map(|_| world.group(&[(1, DmaRead)])).collect();
    let writer = world.group(&[(1, DmaWrite)]);
    let mut held: Vec<(GroupId, Token)> =
        readers[..4].iter().map(|reader| (*reader, world.lock(*reader))).collect();
    let token = world.lock(writer);
    world.forget_events();
    // Readers come and go without a gap. None may pass the writer.
    for late in &readers[4..] {
        world.lock(*late);
        let (reader, token) = held.remove(0);
        world.unlock(reader, token);
    }
    assert_eq!(world.granted(), [writer]);
    world.unlock(writer, token);
    assert_eq!(world.granted(), readers[4..]);
}

#[test]
fn a_waiter_that_conflicts_with_nobody_ahead_is_granted_at_once() {
    let mut world = World::new();
    let holder = world.group(&[(1, DmaWrite)]);
    world.lock(holder);
    let waiter = world.group(&[(1, DmaRead), (2, DmaRead)]);
    world.lock(waiter);
    world.forget_events();
    let reader = world.group(&[(2, DmaRead)]);
    world.lock(reader);
    assert_eq!(world.granted(), [reader]);
}

#[test]
fn a_waiting_writer_that_leaves_wakes_the_readers_behind_it() {
    for how in [None, Some(Close::Closed), Some(Close::Died)] {
        let mut world = World::new();
        let holder = world.group(&[(1, DmaRead)]);
        world.lock(holder);
        let writer = world.group(&[(1, DmaWrite)]);
        world.lock(writer);
        let behind = world.group(&[(1, DmaRead)]);
        world.lock(behind);
        world.forget_events();
        match how {
            None => world.cancel(writer).unwrap(),
            Some(how) => world.close(writer, how),
        }
        assert_eq!(world.granted(), [behind]);
    }
}

// Rule 3 is in growth.rs; the refusals are here.

#[test]
fn buffers_with_locks_stay_and_others_come_and_go() {
    let mut world = World::new();
    let holder = world.group(&[(1, DmaWrite)]);
    world.lock(holder);
    let waiter = world.group(&[(1, DmaWrite)]);
    world.lock(waiter);
    for (group, again) in [(holder, Error::AlreadyLocked), (waiter, Error::Busy)] {
        let removed = world.call(|e, _, fx| e.remove(group, BufferId(1), fx));
        assert_eq!(removed, Err(Error::Busy));
        assert_eq!(world.try_to_lock(group), Err(again));
        assert_eq!(world.try_lock(group), Err(again));
        // Not in the lock, so it may come and go.
        assert_eq!(world.engine.add(group, BufferId(2), DmaRead), Ok(DmaRead));
        assert_eq!(world.call(|e, _, fx| e.remove(group, BufferId(2), fx)), Ok(()));
    }
}

// Rule 4: forced release.

#[test]
fn a_grant_ends_at_its_deadline_and_not_before() {
    let mut world = World::new();
    let stuck = world.group_with_hold(500, &[(1, DmaWrite)]);
    let next = world.group(&[(1, DmaWrite)]);
    let token = world.lock(stuck);
    let next_token = world.lock(next);
    world.forget_events();
    world.pass(499);
    assert!(world.events.is_empty());
    world.pass(1);
    let by = Some((next, next_token));
    let evicted = Effect::Evicted { group: stuck, token, cause: EvictionCause::Deadline, by };
    assert_eq!(world.events[0], evicted);
    let grants = world.grants();
    assert!(grants[0][0].evicted, "the next holder was not told");
    let late = world.call(|e, now, fx| e.unlock(now, stuck, token, &[], fx));
    assert_eq!(late, Err(Error::Ended));
    world.unlock(next, next_token);
    assert!(!world.cycle(next)[0].evicted, "told again after a grant that ended in order");
}

#[test]
fn the_mark_stays_until_a_grant_that_began_after_the_eviction_ends_in_order() {
    let mut world = World::new();
    let early = world.group(&[(1, DmaRead)]);
    let stuck = world.group_with_hold(500, &[(1, DmaRead)]);
    let early_token = world.lock(early);
    world.lock(stuck);
    world.pass(500);
    // This grant began before the eviction, so its end says nothing about the evicted reader.
    world.unlock(early, early_token);
    let writer = world.group(&[(1, DmaWrite)]);
    assert!(world.cycle(writer)[0].evicted);
    assert!(!world.cycle(writer)[0].evicted);
}

#[test]
fn death_while_holding_is_told_and_orderly_close_is_not() {
    for (how, told) in [(Close::Died, true), (Close::Closed, false)] {
        let mut world = World::new();
        let holder = world.group(&[(1, DmaWrite)]);
        let next = world.group(&[(1, DmaWrite)]);
        world.lock(holder);
        world.lock(next);
        world.forget_events();
        world.close(holder, how);
        assert_eq!(world.grants()[0][0].evicted, told);
    }
}

#[test]
fn hold_limits_are_cut_to_the_maximum() {
    let limits = Limits {
        default_hold: std::time::Duration::from_secs(2),
        max_hold: std::time::Duration::from_secs(3),
        ..Limits::default()
    };
    let mut engine = Engine::new(limits);
    assert_eq!(engine.open_group(None).1, limits.default_hold);
    assert_eq!(engine.open_group(Some(limits.max_hold * 2)).1, limits.max_hold);
}

// Rule 5: counts. In the RFC's time-out worker two readers could both see a count of 2 and both
// decrement it. Russell King showed it in review.

#[test]
fn king_two_readers_time_out_together_with_a_writer_waiting() {
    for order in [[0, 1], [1, 0]] {
        for death_between in [false, true] {
            let mut world = World::new();
            let readers = [0, 1].map(|_| world.group_with_hold(500, &[(1, DmaRead)]));
            let writer = world.group(&[(1, DmaWrite)]);
            world.lock(readers[order[0]]);
            world.lock(readers[order[1]]);
            world.lock(writer);
            world.forget_events();
            if death_between {
                world.close(readers[order[0]], Close::Died);
            }
            // Both deadlines are the same instant.
            world.pass(500);
            assert_eq!(world.granted(), [writer], "granted exactly once");
            let view = &world.engine.buffers()[0];
            assert_eq!(view.holders.len(), 1);
            world.close(writer, Close::Closed);
            world.close(readers[0], Close::Closed);
            world.close(readers[1], Close::Closed);
            assert!(world.engine.is_empty());
        }
    }
}

// Rule 6: generations.

#[test]
fn exclusive_grants_and_no_others_advance_the_generation() {
    let mut world = World::new();
    let reader = world.group(&[(1, Read)]);
    let writer = world.group(&[(1, Write)]);
    let generations: Vec<u64> = [reader, writer, reader, reader, writer, reader]
        .map(|group| world.cycle(group)[0].generation)
        .into();
    assert_eq!(generations, [0, 1, 1, 1, 2, 2]);
}

// Nothing is left.

#[test]
fn everything_is_freed_in_whatever_state_a_group_is_closed() {
    for how in [Close::Closed, Close::Died] {
        for state in 0..5 {
            let mut world = World::new();
            world.hold_jobs = true;
            let blocker = world.group(&[(1, DmaWrite)]);
            let group = world.group(&[(1, if state == 2 { Read } else { DmaWrite })]);
            let mut blocked = None;
            match state {
                0 => {}
                1 => {
                    blocked = Some(world.lock(blocker));
                    world.lock(group);
                }
                // Cache operations are in flight.
                2 => {
                    world.lock(group);
                }
                3 => {
                    world.lock(group);
                }
                _ => {
                    let token = world.lock(group);
                    world.unlock_with_fence(group, token);
                }
            }
            world.close(group, how);
            if let Some(token) = blocked {
                world.unlock(blocker, token);
            }
            world.close(blocker, Close::Closed);
            // A release fence outlives its group, up to the deadline.
            world.pass(5_000);
            while !world.jobs.is_empty() {
                world.finish_job(Ok(()));
            }
            assert!(world.engine.is_empty(), "{how:?} in state {state}: {:#?}", world.engine);
            let gone = |e: &&Effect| matches!(e, Effect::Forget { .. } | Effect::Remember { .. });
            assert_eq!(world.events.iter().filter(gone).count(), 1);
        }
    }
}

// Cache operations in flight.

#[test]
fn a_grant_is_announced_when_its_operations_are_done() {
    let mut world = World::new();
    world.hold_jobs = true;
    let group = world.group(&[(1, Read), (2, Write)]);
    world.lock(group);
    assert!(world.granted().is_empty());
    assert_eq!(world.ops.len(), 2);
    world.finish_job(Ok(()));
    assert_eq!(world.granted(), [group]);
}

#[test]
fn a_second_reader_waits_for_the_first_ones_operation_and_needs_none() {
    let mut world = World::new();
    world.hold_jobs = true;
    let a = world.group(&[(1, Read)]);
    let b = world.group(&[(1, Read)]);
    world.lock(a);
    world.lock(b);
    assert!(world.granted().is_empty());
    assert_eq!(world.ops.len(), 1);
    world.finish_job(Ok(()));
    assert_eq!(world.granted(), [a, b]);
    assert_eq!(world.ops.len(), 1);
}

#[test]
fn a_failed_operation_fails_the_lock_and_lets_the_next_try() {
    let mut world = World::new();
    world.hold_jobs = true;
    let group = world.group(&[(1, Read), (2, Read)]);
    let next = world.group(&[(1, Read)]);
    let token = world.lock(group);
    world.lock(next);
    world.finish_job(Err(Failure { succeeded: 0, reason: 110 }));
    let cause = FailureCause::Operation;
    let failed = Effect::LockFailed { group, token, buffer: BufferId(1), reason: 110, cause };
    assert_eq!(world.events, [failed]);
    assert!(world.engine.is_idle(group));
    // The next reader tries again.
    assert_eq!(world.jobs.len(), 1);
    world.forget_events();
    world.finish_job(Ok(()));
    assert_eq!(world.granted(), [next]);
}

#[test]
fn buffers_of_a_lock_given_up_under_operations_wait_for_them() {
    let mut world = World::new();
    world.hold_jobs = true;
    let group = world.group(&[(1, Read)]);
    let writer = world.group(&[(1, DmaWrite)]);
    world.lock(group);
    world.lock(writer);
    world.cancel(group).unwrap();
    assert!(world.granted().is_empty());
    world.finish_job(Ok(()));
    // START needs its END before the device writes.
    assert_eq!(world.ops.last().unwrap().kind, SyncKind::End);
    world.finish_job(Ok(()));
    assert_eq!(world.granted(), [writer]);
}

#[test]
fn a_buffer_that_comes_back_during_its_last_end_waits_for_it() {
    let mut world = World::new();
    let group = world.group(&[(1, Write)]);
    world.cycle(group);
    world.hold_jobs = true;
    world.close(group, Close::Closed);
    assert_eq!(world.jobs.len(), 1);
    let again = world.group(&[(1, Read)]);
    world.lock(again);
    assert!(world.granted().is_empty());
    world.finish_job(Ok(()));
    // The END left the CPU's view valid: no operation is needed.
    assert_eq!(world.granted(), [again]);
    assert!(!world.events.iter().any(|event| matches!(event, Effect::Forget { .. })));
}

// Release fences.

/// `giver` unlocks a buffer with a fence while `taker` waits. Returns the fence.
fn hand_over(world: &mut World, giver: Access, taker: Access) -> (GroupId, FenceId) {
    let first = world.group_with_hold(500, &[(1, giver)]);
    let second = world.group(&[(1, taker)]);
    let token = world.lock(first);
    world.lock(second);
    world.forget_events();
    let fence = world.unlock_with_fence(first, token);
    (second, fence)
}

#[test]
fn a_device_is_granted_with_the_fence_of_another() {
    for taker in [DmaRead, DmaWrite] {
        let mut world = World::new();
        let (taker, fence) = hand_over(&mut world, DmaWrite, taker);
        assert!(world.grants()[0][0].fenced);
        let token = world.engine.buffers()[0].holders[0].token;
        let pending = |world: &World| world.engine.acquire_fences(taker, token).collect::<Vec<_>>();
        assert_eq!(pending(&world), [(BufferId(1), fence)]);
        world.fence_done(fence, true);
        assert!(pending(&world).is_empty() && world.events.is_empty());
    }
}

#[test]
fn the_cpu_is_granted_when_the_fence_has_signalled() {
    for (giver, taker) in [(DmaWrite, Read), (DmaWrite, Write), (DmaRead, Write)] {
        let mut world = World::new();
        let (taker, fence) = hand_over(&mut world, giver, taker);
        assert!(world.events.is_empty());
        assert!(world.ops.is_empty(), "START before the device was done");
        world.fence_done(fence, true);
        assert!(!world.ops.is_empty());
        assert_eq!(world.granted(), [taker]);
    }
}

#[test]
fn a_device_waits_for_the_fence_of_a_cpu() {
    // END has to find what the CPU writes.
    let mut world = World::new();
    let (taker, fence) = hand_over(&mut world, Write, DmaRead);
    assert!(world.events.is_empty());
    world.fence_done(fence, true);
    assert_eq!(world.granted(), [taker]);
}

#[test]
fn nobody_passes_a_fence_while_somebody_evicted_may_be_at_work() {
    let mut world = World::new();
    let evicted = world.group_with_hold(100, &[(1, Write)]);
    world.lock(evicted);
    world.pass(100);
    let (taker, fence) = hand_over(&mut world, DmaWrite, DmaRead);
    assert!(world.events.is_empty());
    world.fence_done(fence, true);
    assert_eq!(world.granted(), [taker]);
}

#[test]
fn the_fences_of_all_readers_come_with_the_next_writer() {
    let mut world = World::new();
    let readers: Vec<GroupId> = (0..3).map(|_| world.group(&[(1, DmaRead)])).collect();
    let writer = world.group(&[(1, DmaWrite)]);
    let tokens: Vec<Token> = readers.iter().map(|reader| world.lock(*reader)).collect();
    let mut fences = Vec::new();
    for (reader, token) in readers.iter().zip(tokens) {
        fences.push(world.unlock_with_fence(*reader, token));
    }
    // A reader does not wait for the fences of readers.
    assert!(!world.cycle(readers[0])[0].fenced);
    let token = world.lock(writer);
    let given: Vec<FenceId> =
        world.engine.acquire_fences(writer, token).map(|(_, fence)| fence).collect();
    assert_eq!(given, fences);
}

#[test]
fn a_fence_of_one_buffer_leaves_the_others_free() {
    let mut world = World::new();
    let both = world.group(&[(1, DmaWrite), (2, DmaWrite)]);
    let [one, two] = [1, 2].map(|buffer| world.group(&[(buffer, Write)]));
    let token = world.lock(both);
    world.lock(one);
    world.lock(two);
    world.forget_events();
    let given = [ReleaseFence { fence: FenceId(7), buffer: Some(BufferId(1)) }];
    let stranger = [ReleaseFence { fence: FenceId(7), buffer: Some(BufferId(9)) }];
    let refused = world.call(|e, now, fx| e.unlock(now, both, token, &stranger, fx));
    assert_eq!(refused, Err(Error::UnknownBuffer));
    world.call(|e, now, fx| e.unlock(now, both, token, &given, fx)).unwrap();
    assert_eq!(world.granted(), [two]);
    world.fence_done(FenceId(7), true);
    assert_eq!(world.granted(), [one]);
}

#[test]
fn a_fence_that_is_given_for_nothing_is_dropped() {
    let mut world = World::new();
    let group = world.group(&[(1, DmaWrite)]);
    let token = world.lock(group);
    world.forget_events();
    let own = ReleaseFence { fence: FenceId(1), buffer: Some(BufferId(1)) };
    let rest = ReleaseFence { fence: FenceId(2), buffer: None };
    world.call(|e, now, fx| e.unlock(now, group, token, &[own, rest], fx)).unwrap();
    assert_eq!(world.told(), [Effect::DropFence { fence: FenceId(2) }]);
}

/// The unlock itself grants the waiter, so an effect tells it.
#[test]
fn a_fence_that_had_failed_before_the_unlock_marks_the_next_grant() {
    let mut world = World::new();
    let giver = world.group(&[(1, DmaWrite)]);
    let taker = world.group(&[(1, DmaRead)]);
    let token = world.lock(giver);
    world.lock(taker);
    world.forget_events();
    let fence = FenceId(7);
    let given = [ReleaseFence { fence, buffer: None }];
    world.call(|e, now, fx| e.unlock_with_failed(now, giver, token, &given, &[fence], fx)).unwrap();
    let evicted = Effect::Evicted { group: giver, token, cause: EvictionCause::Fence, by: None };
    assert_eq!(world.events[0], evicted);
    let granted = world.grants()[0][0];
    assert!(granted.evicted && granted.torn && !granted.fenced);
    // It has ended.
    world.forget_events();
    world.fence_done(fence, true);
    assert!(world.told().is_empty());
}

/// One of two jobs has failed, and the other goes on.
#[test]
fn beside_a_fence_that_had_failed_another_one_is_waited_for() {
    let mut world = World::new();
    let giver = world.group(&[(1, DmaWrite)]);
    let [device, cpu] = [DmaRead, Read].map(|access| world.group(&[(1, access)]));
    let token = world.lock(giver);
    world.lock(device);
    world.lock(cpu);
    world.forget_events();
    let given = [7, 8].map(|fence| ReleaseFence { fence: FenceId(fence), buffer: None });
    let failed = [FenceId(7)];
    world.call(|e, now, fx| e.unlock_with_failed(now, giver, token, &given, &failed, fx)).unwrap();
    // Nobody passes the fence of an evicted holder, who may still be at work.
    assert_eq!(world.granted(), []);
    world.fence_done(FenceId(8), true);
    assert_eq!(world.granted(), [device, cpu]);
    assert!(world.grants().iter().flatten().all(|granted| granted.evicted && granted.torn));
}

#[test]
fn a_fence_that_fails_or_never_signals_is_an_eviction() {
    for fails in [true, false] {
        let mut world = World::new();
        let giver = world.group_with_hold(500, &[(1, DmaWrite)]);
        let taker = world.group(&[(1, Read)]);
        let token = world.lock(giver);
        world.lock(taker);
        // The time of the fence counts from the unlock.
        world.pass(400);
        world.forget_events();
        let fence = world.unlock_with_fence(giver, token);
        if fails {
            world.fence_done(fence, false);
        } else {
            world.pass(499);
            assert!(world.told().is_empty());
            world.pass(1);
        }
        let evicted =
            Effect::Evicted { group: giver, token, cause: EvictionCause::Fence, by: None };
        let drop_fence = (!fails).then_some(Effect::DropFence { fence });
        let expected: Vec<Effect> = drop_fence.into_iter().chain([evicted]).collect();
        assert_eq!(world.events[..expected.len()], expected);
        assert!(world.grants()[0][0].evicted);
        // Too late.
        world.fence_done(fence, true);
        assert!(world.events.is_empty());
    }
}

#[test]
fn a_readers_fence_gates_the_next_writer_and_no_reader() {
    let mut world = World::new();
    let reader = world.group(&[(1, Read)]);
    let writer = world.group(&[(1, Write)]);
    let token = world.lock(reader);
    let fence = world.unlock_with_fence(reader, token);
    assert_eq!(world.try_lock(writer), Err(Error::WouldBlock));
    let again = world.try_lock(reader).unwrap();
    world.unlock(reader, again);
    world.forget_events();
    world.lock(writer);
    assert!(world.events.is_empty());
    world.fence_done(fence, true);
    assert_eq!(world.granted(), [writer]);
}

// Implicit fences.

#[test]
fn the_cpu_waits_for_implicit_fences_unless_there_are_none() {
    for (access, flags) in [(Read, SyncFlags::Read), (Write, SyncFlags::ReadWrite)] {
        let mut world = World::new();
        world.engine.expect_implicit_fences();
        let group = world.group(&[(1, access)]);
        world.cycle(group);
        world.waited.clear();
        // It needs no START any more, so it has to wait by itself.
        world.cycle(group);
        let wait = FenceWait { buffer: BufferId(1), flags };
        assert_eq!(world.waited, [wait]);
        // If the caller has looked, that counts for one lock.
        world.implicit = Implicit::Idle;
        world.cycle(group);
        assert_eq!(world.waited, [wait]);
        world.cycle(group);
        assert_eq!(world.waited, [wait, wait]);
    }
}

#[test]
fn a_look_for_implicit_fences_is_of_no_use_to_a_lock_that_waits() {
    let mut world = World::new();
    world.engine.expect_implicit_fences();
    let (holder, waiter) = (world.group(&[(1, Read)]), world.group(&[(1, Write)]));
    world.cycle(waiter);
    let token = world.lock(holder);
    world.waited.clear();
    world.implicit = Implicit::Idle;
    world.lock(waiter);
    world.unlock(holder, token);
    assert_eq!(world.waited.len(), 1);
}

#[test]
fn an_implicit_fence_in_the_way_of_a_lock_fails_it_in_time() {
    let mut world = World::new();
    world.engine.expect_implicit_fences();
    let group = world.group(&[(1, Read)]);
    world.cycle(group);
    world.hold_waits = true;
    world.lock(group);
    world.forget_events();
    world.finish_wait(false);
    let cause = FailureCause::ImplicitFence;
    assert!(
        matches!(world.told()[..], [Effect::LockFailed { reason: 110, cause: c, .. }] if c == cause)
    );
    assert!(world.engine.is_idle(group));
}

// Refusals change nothing.

#[test]
fn refused_calls_change_nothing() {
    let mut world = World::new();
    let group = world.group(&[(1, DmaWrite)]);
    let empty = world.group(&[]);
    let rival = world.group(&[(1, DmaRead)]);
    let held = world.lock(group);
    world.forget_events();
    let closed = world.group(&[]);
    world.close(closed, Close::Closed);
    let refused = |world: &mut World| {
        [
            world.try_to_lock(empty).err(),
            world.try_to_lock(closed).err(),
            world.try_lock(rival).err(),
            world.cancel(group).err(),
            world.cancel(rival).err(),
            world.call(|e, now, fx| e.unlock(now, rival, held, &[], fx)).err(),
            world.call(|e, now, fx| e.unlock(now, group, Token(0), &[], fx)).err(),
            world.call(|e, _, fx| e.remove(rival, BufferId(2), fx)).err(),
            world.engine.add(rival, BufferId(1), Read).err(),
            world.engine.add(closed, BufferId(1), Read).err(),
        ]
    };
    // The first time leaves memory for the next lock.
    refused(&mut world);
    let before = format!("{:?}", world.engine);
    let expected = [
        Error::EmptyGroup,
        Error::UnknownGroup,
        Error::WouldBlock,
        Error::NotQueued,
        Error::BadToken,
        Error::BadToken,
        Error::BadToken,
        Error::UnknownBuffer,
        Error::AccessConflict,
        Error::UnknownGroup,
    ];
    assert_eq!(refused(&mut world), expected.map(Some));
    assert_eq!(format!("{:?}", world.engine), before);
    assert!(world.events.is_empty());
}

#[test]
fn a_buffer_added_twice_takes_the_stronger_access() {
    let mut world = World::new();
    let group = world.group(&[(1, DmaRead)]);
    assert_eq!(world.engine.add(group, BufferId(1), DmaWrite), Ok(DmaWrite));
    assert_eq!(world.engine.add(group, BufferId(1), DmaRead), Ok(DmaWrite));
    let grant = world.cycle(group);
    assert_eq!((grant.len(), grant[0].access), (1, DmaWrite));
}

#[test]
fn a_grant_that_expires_early_is_evicted_and_passes_on() {
    let mut world = World::new();
    let [a, b] = [0; 2].map(|_| world.group(&[(1, Write)]));
    let held = world.lock(a);
    world.call(|engine, _, _| assert!(!engine.is_waited_for(a, held)));
    world.lock(b);
    world.call(|engine, _, _| assert!(engine.is_waited_for(a, held)));
    world.forget_events();
    world.call(|engine, now, fx| engine.expire(now, a, held, fx));
    assert!(
        matches!(world.told()[..], [Effect::Evicted { group, token, .. }, ..] if group == a && token == held)
    );
    assert!(matches!(world.phase(b), Some(Phase::Held { .. })));
    // There is no such grant any more.
    world.call(|engine, now, fx| engine.expire(now, a, held, fx));
    assert!(world.told().is_empty());
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Rule 3: groups that hold and want more, and kept tickets.

mod common;

use buffersync_engine::Access::{DmaRead, DmaWrite, Read, Write};
use buffersync_engine::*;
use common::World;

/// The groups that were wounded since the last look.
fn wounded(world: &mut World) -> Vec<GroupId> {
    let told = world.told().into_iter();
    told.filter_map(|event| match event {
        Effect::Wounded { group, .. } => Some(group),
        _ => None,
    })
    .collect()
}

fn evicted(group: GroupId, token: Token) -> Effect {
    Effect::Evicted { group, token, cause: EvictionCause::Deadline, by: None }
}

#[test]
fn growth_keeps_token_deadline_and_what_is_held() {
    let mut world = World::new();
    let group = world.group_with_hold(500, &[(1, DmaWrite)]);
    let token = world.lock(group);
    world.pass(100);
    world.add(group, &[(2, DmaRead), (3, DmaWrite)]);
    assert_eq!(world.granted(), [group]);
    assert_eq!(world.lock(group), token);
    let Effect::Granted { grant, .. } = world.events[0] else { panic!("{:?}", world.events) };
    assert_eq!((grant.token, grant.deadline), (token, Time(500_000_000)));
    let buffers: Vec<u64> = world.grants()[0].iter().map(|b| b.buffer.0).collect();
    assert_eq!(buffers, [1, 2, 3], "in the order of addition");
    world.pass(400);
    assert_eq!(world.told(), [evicted(group, token)]);
    assert!(world.engine.is_idle(group));
}

#[test]
fn what_is_added_is_not_held_before_it_is_locked() {
    let mut world = World::new();
    let group = world.group(&[(1, DmaWrite)]);
    let other = world.group(&[(2, DmaWrite)]);
    let token = world.lock(group);
    world.add(group, &[(2, DmaWrite)]);
    world.forget_events();
    world.cycle(other);
    world.call(|e, _, fx| e.remove(group, BufferId(2), fx)).unwrap();
    assert_eq!(world.try_to_lock(group), Err(Error::AlreadyLocked));
    world.unlock(group, token);
}

#[test]
fn a_reader_becomes_a_writer_when_the_other_readers_are_gone() {
    let mut world = World::new();
    let group = world.group(&[(1, DmaRead)]);
    let other = world.group(&[(1, DmaRead)]);
    let token = world.lock(group);
    let other_token = world.lock(other);
    let before = world.grants()[0][0].generation;
    assert_eq!(world.engine.add(group, BufferId(1), DmaWrite), Ok(DmaWrite));
    assert_eq!(world.lock(group), token);
    assert!(world.told().is_empty(), "granted over a reader");
    world.unlock(other, other_token);
    let grants = world.grants();
    assert_eq!((grants.len(), grants[0][0].access), (1, DmaWrite));
    assert_eq!(grants[0][0].generation, before + 1, "an exclusive grant");
    world.lock(other);
    assert!(world.told().is_empty(), "a reader beside a writer");
    world.unlock(group, token);
    assert_eq!(world.granted(), [other]);
}

#[test]
fn a_cpu_reader_that_becomes_a_writer_is_written_back() {
    let mut world = World::new();
    let group = world.group(&[(1, Read)]);
    let device = world.group(&[(1, DmaRead)]);
    let token = world.lock(group);
    world.add(group, &[(1, Write)]);
    world.lock(group);
    world.unlock(group, token);
    world.cycle(device);
    let ops: Vec<_> = world.ops.iter().map(|op| (op.kind, op.flags)).collect();
    use SyncFlags::{Read as R, ReadWrite as RW};
    use SyncKind::{End, Start};
    assert_eq!(ops, [(Start, R), (End, R), (Start, RW), (End, RW)]);
}

#[test]
fn an_older_reader_wounds_no_reader_that_grows() {
    let mut world = World::new();
    let old = world.group(&[(3, DmaWrite)]);
    world.lock(old);
    let blocker = world.group(&[(2, DmaWrite)]);
    world.lock(blocker);
    let young = world.group(&[(1, DmaRead)]);
    world.lock(young);
    world.add(young, &[(2, DmaRead)]);
    world.lock(young);
    world.forget_events();
    // It waits for buffer 2, and shares buffer 1.
    world.add(old, &[(1, DmaRead), (2, DmaRead)]);
    world.lock(old);
    assert_eq!(world.told(), []);
    assert!(matches!(world.phase(young), Some(Phase::Growing { .. })));
}

#[test]
fn an_older_writer_wounds_all_readers_that_grow() {
    let mut world = World::new();
    let old = world.group(&[(3, DmaWrite)]);
    world.lock(old);
    let blocker = world.group(&[(2, DmaWrite)]);
    world.lock(blocker);
    let young = [(); 3].map(|()| world.group(&[(1, DmaRead)]));
    for group in young {
        world.lock(group);
        world.add(group, &[(2, DmaRead)]);
        world.lock(group);
    }
    world.forget_events();
    world.add(old, &[(1, DmaWrite)]);
    world.lock(old);
    let wounded = world.told().into_iter().filter_map(|told| match told {
        Effect::Wounded { group, .. } => Some(group),
        _ => None,
    });
    assert_eq!(wounded.collect::<Vec<_>>(), young);
}

#[test]
fn of_two_readers_that_both_want_to_write_the_younger_is_refused() {
    let mut world = World::new();
    let old = world.group(&[(1, DmaRead)]);
    let young = world.group(&[(1, DmaRead)]);
    let old_token = world.lock(old);
    let young_token = world.lock(young);
    world.add(old, &[(1, DmaWrite)]);
    world.add(young, &[(1, DmaWrite)]);
    world.lock(old);
    assert_eq!(world.try_to_lock(young), Err(Error::Deadlock));
    world.forget_events();
    world.unlock(young, young_token);
    assert_eq!(world.granted(), [old]);
    // It comes back as a writer and is the next one.
    world.lock(young);
    world.unlock(old, old_token);
    assert_eq!(world.granted(), [young]);
}

#[test]
fn of_two_readers_that_both_want_to_write_the_younger_is_wounded() {
    let mut world = World::new();
    let old = world.group(&[(1, DmaRead)]);
    let young = world.group(&[(1, DmaRead)]);
    world.lock(old);
    let young_token = world.lock(young);
    world.add(old, &[(1, DmaWrite)]);
    world.add(young, &[(1, DmaWrite)]);
    world.lock(young);
    world.forget_events();
    world.lock(old);
    assert_eq!(wounded(&mut world), [young]);
    assert_eq!(world.try_to_lock(young), Err(Error::Deadlock), "until it has unlocked");
    assert_eq!(world.try_lock(young), Err(Error::Deadlock));
    world.unlock(young, young_token);
    assert_eq!(world.granted(), [old]);
}

#[test]
fn a_wounded_group_that_comes_back_is_served_before_the_younger() {
    let mut world = World::new();
    let old = world.group(&[(1, DmaWrite)]);
    let grower = world.group(&[(2, DmaWrite)]);
    let old_token = world.lock(old);
    let grower_token = world.lock(grower);
    world.add(grower, &[(1, DmaWrite)]);
    world.lock(grower);
    // The older one wants what the grower holds.
    world.add(old, &[(2, DmaWrite)]);
    world.forget_events();
    world.lock(old);
    assert_eq!(wounded(&mut world), [grower]);
    let young = world.group(&[(2, DmaWrite)]);
    world.lock(young);
    world.unlock(grower, grower_token);
    assert_eq!(world.granted(), [old]);
    world.lock(grower);
    world.unlock(old, old_token);
    assert_eq!(world.granted(), [grower], "the retry lost its age");
}

#[test]
fn a_growing_group_waits_for_a_younger_one_that_only_holds() {
    let mut world = World::new();
    let old = world.group(&[(1, DmaWrite)]);
    let young = world.group(&[(2, DmaWrite)]);
    world.lock(old);
    let young_token = world.lock(young);
    world.add(old, &[(2, DmaWrite)]);
    world.forget_events();
    world.lock(old);
    assert!(world.told().is_empty(), "a grant was preempted by age");
    world.unlock(young, young_token);
    assert_eq!(world.granted(), [old]);
}

#[test]
fn a_reader_that_waits_does_not_wound_a_reader_that_grows() {
    let mut world = World::new();
    let blocker = world.group(&[(2, DmaWrite), (3, DmaWrite)]);
    world.lock(blocker);
    let old = world.group(&[(1, DmaRead), (2, DmaRead)]);
    world.lock(old);
    let young = world.group(&[(1, DmaRead)]);
    world.lock(young);
    world.add(young, &[(3, DmaRead)]);
    world.forget_events();
    // `old` waits for 2, and shares 1.
    world.lock(young);
    assert!(world.told().is_empty());
}

#[test]
fn growth_that_needs_no_wait_succeeds_whoever_waits() {
    let mut world = World::new();
    let grower = world.group(&[(1, DmaWrite)]);
    let waiter = world.group(&[(1, DmaWrite)]);
    let token = world.lock(grower);
    world.lock(waiter);
    world.add(grower, &[(2, DmaWrite)]);
    world.forget_events();
    world.lock(grower);
    assert_eq!(world.granted(), [grower]);
    world.unlock(grower, token);
    assert_eq!(world.granted(), [waiter]);
}

#[test]
fn a_growing_group_passes_younger_waiters_that_were_clear() {
    let mut world = World::new();
    let grower = world.group(&[(1, DmaWrite)]);
    let blocker = world.group(&[(3, DmaWrite)]);
    let token = world.lock(grower);
    let blocked = world.lock(blocker);
    let waiter = world.group(&[(2, DmaWrite), (3, DmaWrite)]);
    world.lock(waiter);
    world.add(grower, &[(2, DmaWrite)]);
    world.forget_events();
    // Buffer 2 is free. Its waiter also waits for buffer 3.
    world.lock(grower);
    assert_eq!(world.granted(), [grower]);
    world.unlock(blocker, blocked);
    assert!(world.granted().is_empty(), "two writers of one buffer");
    world.unlock(grower, token);
    assert_eq!(world.granted(), [waiter]);
}

#[test]
fn cancel_and_time_out_of_growth_keep_the_grant() {
    for time_out in [false, true] {
        let mut world = World::new();
        let grower = world.group(&[(1, DmaWrite)]);
        let holder = world.group(&[(2, DmaWrite)]);
        let behind = world.group(&[(2, DmaWrite)]);
        let token = world.lock(grower);
        let held = world.lock(holder);
        world.add(grower, &[(2, DmaWrite)]);
        world.lock_for(grower, 100);
        world.lock(behind);
        world.forget_events();
        if time_out {
            world.pass(99);
            assert!(world.told().is_empty());
            world.pass(1);
            let by = Some((holder, held));
            assert_eq!(world.told(), [Effect::TimedOut { group: grower, token, by }]);
        } else {
            world.cancel(grower).unwrap();
        }
        assert!(matches!(world.phase(grower), Some(Phase::Held { .. })));
        world.unlock(holder, held);
        assert_eq!(world.granted(), [behind]);
        world.unlock(grower, token);
    }
}

#[test]
fn eviction_during_growth_ends_both() {
    let mut world = World::new();
    let grower = world.group_with_hold(500, &[(1, DmaWrite)]);
    let holder = world.group(&[(2, DmaWrite)]);
    let next = world.group(&[(1, DmaRead)]);
    let token = world.lock(grower);
    let held = world.lock(holder);
    world.add(grower, &[(2, DmaWrite)]);
    world.lock(grower);
    let behind = world.group(&[(2, DmaWrite)]);
    world.lock(behind);
    world.forget_events();
    world.pass(500);
    assert_eq!(world.told()[0], evicted(grower, token));
    assert!(world.engine.is_idle(grower));
    let late = world.call(|e, now, fx| e.unlock(now, grower, token, &[], fx));
    assert_eq!(late, Err(Error::Ended));
    world.unlock(holder, held);
    assert_eq!(world.granted(), [behind], "an evicted group still waited");
    assert!(world.cycle(next)[0].evicted);
}

#[test]
fn eviction_during_growth_that_is_being_prepared_leaves_the_operations() {
    let mut world = World::new();
    world.hold_jobs = true;
    let grower = world.group_with_hold(500, &[(1, DmaWrite)]);
    let token = world.lock(grower);
    world.add(grower, &[(2, Read)]);
    world.lock(grower);
    let next = world.group(&[(2, Read)]);
    world.lock(next);
    world.forget_events();
    world.pass(500);
    assert_eq!(world.told(), [evicted(grower, token)]);
    world.finish_job(Ok(()));
    let grants = world.grants();
    assert!(!grants[0][0].evicted, "evicted from a buffer that was never granted");
    assert_eq!(world.ops.len(), 1, "the operation was wasted");
}

#[test]
fn a_failed_operation_of_growth_keeps_the_grant() {
    let mut world = World::new();
    world.hold_jobs = true;
    let group = world.group(&[(1, DmaWrite)]);
    let token = world.lock(group);
    world.add(group, &[(2, Read)]);
    world.lock(group);
    world.forget_events();
    world.finish_job(Err(Failure { succeeded: 0, reason: 5 }));
    let cause = FailureCause::Operation;
    let failed = Effect::LockFailed { group, token, buffer: BufferId(2), reason: 5, cause };
    assert_eq!(world.told(), [failed]);
    assert!(matches!(world.phase(group), Some(Phase::Held { .. })));
    world.unlock(group, token);
}

#[test]
fn unlock_takes_growth_back_and_the_age_with_it() {
    let mut world = World::new();
    let holder = world.group(&[(2, DmaWrite)]);
    let held = world.lock(holder);
    let grower = world.group(&[(1, DmaWrite)]);
    let token = world.lock(grower);
    world.add(grower, &[(2, DmaWrite)]);
    world.lock(grower);
    let waiter = world.group(&[(2, DmaWrite)]);
    world.lock(waiter);
    world.unlock(grower, token);
    world.forget_events();
    world.lock(grower);
    world.unlock(holder, held);
    assert_eq!(world.granted(), [waiter]);
}

// Kept tickets.

/// Ways in which a lock ends without a grant.
#[derive(Clone, Copy, Debug)]
enum GiveUp {
    Cancel,
    TimeOut,
    Failure,
}

#[test]
fn a_lock_that_was_given_up_keeps_its_age() {
    for how in [GiveUp::Cancel, GiveUp::TimeOut, GiveUp::Failure] {
        for away in [false, true] {
            let mut world = World::new();
            world.hold_jobs = true;
            let holder = world.group(&[(1, DmaRead)]);
            world.lock(holder);
            // It shares the buffer with the holder and waits for its own operation.
            let old = world.group(&[(1, DmaRead), (2, Read)]);
            world.lock_for(old, 10);
            let young = world.group(&[(1, DmaWrite)]);
            if !away {
                world.lock(young);
            }
            match how {
                GiveUp::Failure => world.finish_job(Err(Failure { succeeded: 0, reason: 5 })),
                GiveUp::Cancel => world.cancel(old).unwrap(),
                GiveUp::TimeOut => world.pass(10),
            }
            if away {
                world.lock(young);
            }
            world.forget_events();
            world.lock(old);
            while !world.jobs.is_empty() {
                world.finish_job(Ok(()));
            }
            // With a new ticket it waits behind the writer.
            let expected = if away { vec![] } else { vec![old] };
            assert_eq!(world.granted(), expected, "{how:?}, away: {away}");
        }
    }
}

#[test]
fn a_kept_ticket_does_not_last_longer_than_a_grant_can() {
    let mut world = World::new();
    let holder = world.group(&[(1, DmaWrite)]);
    world.lock(holder);
    let old = world.group(&[(1, DmaRead)]);
    world.lock(old);
    world.cancel(old).unwrap();
    world.pass(4_999);
    let young = world.group(&[(1, DmaWrite)]);
    world.lock(young);
    world.forget_events();
    world.pass(1);
    // The holder's deadline, five seconds after the cancel.
    assert_eq!(world.granted(), [young]);
    let third = world.group(&[(1, DmaWrite)]);
    world.lock(third);
    world.lock(old);
    world.close(young, Close::Closed);
    assert_eq!(world.granted(), [third]);
}

#[test]
fn a_lock_that_was_granted_and_released_begins_anew() {
    let mut world = World::new();
    let old = world.group(&[(1, DmaWrite)]);
    let token = world.lock(old);
    let young = world.group(&[(1, DmaWrite)]);
    let young_token = world.lock(young);
    world.unlock(old, token);
    world.forget_events();
    let third = world.group(&[(1, DmaWrite)]);
    world.lock(third);
    world.lock(old);
    world.unlock(young, young_token);
    assert_eq!(world.granted(), [third]);
}

#[test]
fn an_older_lock_that_comes_late_bars_younger_waiters() {
    // `old` had a ticket, gave up, and comes back when a reader is clear on the buffer but waits
    // for another.
    let mut world = World::new();
    let blocker = world.group(&[(1, DmaWrite)]);
    let blocked = world.lock(blocker);
    let old = world.group(&[(1, DmaWrite), (3, DmaWrite)]);
    world.lock(old);
    let young = world.group(&[(1, DmaRead), (3, DmaRead)]);
    world.lock(young);
    world.cancel(old).unwrap();
    world.lock(old);
    world.forget_events();
    world.unlock(blocker, blocked);
    assert_eq!(world.granted(), [old]);
}

#[test]
fn lock_time_outs_are_exact_and_leave_others_alone() {
    let mut world = World::new();
    let holder = world.group(&[(1, DmaWrite)]);
    let held = world.lock(holder);
    let hasty = world.group(&[(1, DmaRead)]);
    let patient = world.group(&[(1, DmaRead)]);
    let token = world.lock_for(hasty, 100);
    world.lock_for(patient, 200);
    world.forget_events();
    world.pass(99);
    assert!(world.told().is_empty());
    world.pass(1);
    let by = Some((holder, held));
    assert_eq!(world.told(), [Effect::TimedOut { group: hasty, token, by }]);
    assert_eq!(world.engine.next_deadline(), Some(Time(200_000_000)));
    world.close(holder, Close::Closed);
    assert_eq!(world.granted(), [patient]);
    world.pass(100);
    assert!(world.told().is_empty(), "its time-out is over");
    assert_eq!(world.engine.next_deadline(), Some(Time(5_100_000_000)));
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Operations and waits that end late, fail, or outlive their lock.

mod common;

use std::time::Duration;

use buffersync_engine::Access::{DmaRead, DmaWrite, Read, Write};
use buffersync_engine::*;
use common::World;

const FAILED: Result<(), Failure> = Err(Failure { succeeded: 0, reason: 5 });

fn kinds(world: &World) -> Vec<(SyncKind, SyncFlags)> {
    world.ops.iter().map(|op| (op.kind, op.flags)).collect()
}

fn waits(world: &World) -> Vec<SyncFlags> {
    world.waited.iter().map(|wait| wait.flags).collect()
}

// START and END.

#[test]
fn end_has_the_flags_of_its_start_in_every_sequence_of_four() {
    let mut sequences = vec![Vec::new()];
    for _ in 0..4 {
        sequences = sequences
            .iter()
            .flat_map(|before: &Vec<Access>| {
                Access::ALL.map(|next| [before.as_slice(), &[next]].concat())
            })
            .collect();
    }
    for sequence in sequences {
        let mut world = World::new();
        for access in &sequence {
            let group = world.group(&[(1, *access)]);
            world.cycle(group);
        }
        let mut open = None;
        for (kind, flags) in kinds(&world) {
            match kind {
                SyncKind::Start => assert_eq!(open.replace(flags), None, "{sequence:?}"),
                SyncKind::End => assert_eq!(open.take(), Some(flags), "{sequence:?}"),
            }
        }
    }
}

#[test]
fn a_wait_that_fails_leaves_an_open_start_to_be_ended() {
    let mut world = World::new();
    world.engine.expect_implicit_fences();
    let writer = world.group(&[(1, Write)]);
    world.cycle(writer);
    world.ops.clear();
    world.waited.clear();
    world.hold_waits = true;
    world.lock(writer);
    assert_eq!(waits(&world), [SyncFlags::ReadWrite]);
    world.close(writer, Close::Closed);
    assert!(world.waits.is_empty(), "the wait was not dropped");
    assert_eq!(kinds(&world), [(SyncKind::End, SyncFlags::ReadWrite)]);
    assert!(world.engine.is_empty());
}

#[test]
fn an_operation_that_fails_for_a_closed_group_is_no_retirement() {
    let mut world = World::new();
    let writer = world.group(&[(1, Write)]);
    world.cycle(writer);
    // A device needs END. Its group closes, and the END fails.
    let device = world.group(&[(1, DmaRead)]);
    world.hold_jobs = true;
    world.lock(device);
    world.close(writer, Close::Closed);
    world.close(device, Close::Closed);
    world.ops.clear();
    world.finish_job(FAILED);
    assert_eq!(kinds(&world), [(SyncKind::End, SyncFlags::ReadWrite)], "nobody cleans it");
    world.finish_job(Ok(()));
    assert_eq!(world.told(), []);
    assert!(world.engine.is_empty());
}

#[test]
fn a_buffer_that_could_not_be_cleaned_is_remembered_as_dirty_and_torn() {
    let mut world = World::new();
    let writer = world.group(&[(1, Write)]);
    world.cycle(writer);
    world.hold_jobs = true;
    world.close(writer, Close::Closed);
    world.forget_events();
    world.finish_job(FAILED);
    assert_eq!(world.events, [Effect::Remember { buffer: BufferId(1) }]);
    assert!(world.engine.is_empty());
    // The END is still owed.
    world.hold_jobs = false;
    world.ops.clear();
    let device = world.group(&[(1, DmaRead)]);
    assert!(world.cycle(device)[0].torn);
    assert_eq!(kinds(&world), [(SyncKind::End, SyncFlags::ReadWrite)]);
}

#[test]
fn a_buffer_that_comes_back_while_its_last_end_fails_still_owes_it() {
    let mut world = World::new();
    let writer = world.group(&[(1, Write)]);
    world.cycle(writer);
    world.hold_jobs = true;
    world.close(writer, Close::Closed);
    let device = world.group(&[(1, DmaRead)]);
    world.lock(device);
    world.ops.clear();
    world.finish_job(FAILED);
    assert_eq!(kinds(&world), [(SyncKind::End, SyncFlags::ReadWrite)]);
    assert!(world.granted().is_empty());
    world.finish_job(Ok(()));
    assert_eq!(world.granted(), [device]);
}

#[test]
fn what_an_evicted_writer_wrote_after_an_operation_is_not_cleaned_by_it() {
    let mut world = World::new();
    let evicted = world.group_with_hold(100, &[(1, Write)]);
    world.lock(evicted);
    world.pass(100);
    let reader = world.group(&[(1, Read)]);
    let token = world.lock(reader);
    // The reader unlocks while END for a device is in flight. From then on the evicted writer counts as gone.
    let device = world.group(&[(1, DmaRead)]);
    world.hold_jobs = true;
    let device_token = world.lock(device);
    assert_eq!(world.jobs.len(), 1);
    world.unlock(reader, token);
    world.ops.clear();
    world.finish_job(Ok(()));
    let cleaned = [(SyncKind::Start, SyncFlags::ReadWrite), (SyncKind::End, SyncFlags::ReadWrite)];
    assert_eq!(kinds(&world), cleaned);
    world.forget_events();
    world.finish_job(Ok(()));
    assert_eq!(world.granted(), [device]);
    world.unlock(device, device_token);
}

// Implicit fences.

fn with_implicit_fences() -> World {
    let mut world = World::new();
    world.engine.expect_implicit_fences();
    world
}

#[test]
fn a_look_counts_for_the_call_that_it_is_given_to() {
    let mut world = with_implicit_fences();
    let reader = world.group(&[(1, Read)]);
    let writer = world.group(&[(1, Write)]);
    world.cycle(writer);
    let token = world.lock(reader);
    let fence = world.unlock_with_fence(reader, token);
    world.waited.clear();
    // The writer waits at the gate of the reader's fence. Meanwhile a driver may attach another fence.
    world.implicit = Implicit::Idle;
    world.lock(writer);
    world.fence_done(fence, true);
    assert_eq!(waits(&world), [SyncFlags::ReadWrite]);
}

#[test]
fn a_look_does_not_outlive_operations_that_take_their_time() {
    let mut world = with_implicit_fences();
    let both = world.group(&[(1, Write), (2, Write)]);
    let first = world.group(&[(1, Write)]);
    world.cycle(first);
    world.ops.clear();
    // Buffer 1 needs nothing, buffer 2 a START. Before it the caller looks at both again.
    world.hold_jobs = true;
    world.implicit = Implicit::Idle;
    let (now, fx) = (world.now, &mut Effects::new());
    let (wants, wait) = (Wants::ALL, Wait::UntilGranted);
    let outcome = world.engine.lock(now, both, Token(9), wants, wait, Implicit::Idle, fx);
    assert!(matches!(outcome, Ok(LockOutcome::Pending(_))));
    let Some(Effect::Sync { waits, ops, .. }) = fx.pop() else { panic!("no operation") };
    let waits: Vec<u64> = fx.waits(waits).iter().map(|wait| wait.buffer.0).collect();
    assert_eq!((waits, fx.ops(ops).len()), (vec![1, 2], 1));
}

#[test]
fn devices_and_readers_go_past_a_readers_wait() {
    let mut world = with_implicit_fences();
    let [one, two] = [(); 2].map(|()| world.group(&[(1, Read)]));
    let device = world.group(&[(1, DmaRead)]);
    world.cycle(one);
    world.hold_waits = true;
    world.lock(one);
    world.forget_events();
    world.lock(device);
    assert_eq!(world.granted(), [device]);
    // The other reader's wait succeeds.
    world.lock(two);
    assert_eq!(world.waits.len(), 2);
    world.waits.swap(0, 1);
    world.finish_wait(true);
    assert_eq!(world.granted(), [two]);
    world.finish_wait(true);
    assert_eq!(world.granted(), [one]);
}

#[test]
fn a_fence_that_comes_before_a_start_leaves_the_buffer_to_others() {
    let mut world = with_implicit_fences();
    let reader = world.group(&[(1, Read)]);
    let device = world.group(&[(1, DmaRead)]);
    world.hold_jobs = true;
    world.hold_waits = true;
    world.lock(reader);
    let job = world.jobs.remove(0);
    world.call(|e, now, fx| e.job_blocked(now, job, 0, fx));
    assert_eq!(world.waits.len(), 1);
    world.forget_events();
    world.lock(device);
    assert_eq!(world.granted(), [device]);
    // Then the lock tries its START again.
    world.finish_wait(true);
    world.finish_job(Ok(()));
    assert_eq!(world.granted(), [reader]);
}

fn seconds(time: Time) -> u64 {
    time.0 / 1_000_000_000
}

#[test]
fn all_locks_behind_a_hung_fence_fail_at_the_same_time() {
    for access in [Read, Write] {
        let mut world = with_implicit_fences();
        world.hold_waits = true;
        world.hold_jobs = true;
        let groups: Vec<GroupId> = (0..5).map(|_| world.group(&[(1, access)])).collect();
        // Each START finds the fence pending.
        let block = |world: &mut World| {
            while let Some(job) = world.jobs.pop() {
                world.call(|e, now, fx| e.job_blocked(now, job, 0, fx));
            }
        };
        for group in &groups {
            world.lock(*group);
            block(&mut world);
            world.pass(900);
        }
        let mut failed = Vec::new();
        while failed.len() < groups.len() {
            block(&mut world);
            let (_, until) = world.waits[0];
            world.now = world.now.max(until);
            world.pass(0);
            world.finish_wait(false);
            let now = seconds(world.now);
            failed.extend(world.told().iter().filter_map(|told| match told {
                Effect::LockFailed { cause: FailureCause::ImplicitFence, buffer, .. } => {
                    Some((buffer.0, now))
                }
                _ => None,
            }));
        }
        assert_eq!(failed, [(1, 5); 5], "{access:?}");
        // The next lock has a new time limit.
        world.pass(20_000);
        world.lock(groups[0]);
        let job = world.jobs.remove(0);
        world.call(|e, now, fx| e.job_blocked(now, job, 0, fx));
        assert_eq!(seconds(world.waits[0].1), seconds(world.now) + 5);
    }
}

/// A world in which buffers need no operations, and the test holds back waits for implicit fences.
fn ready_but_for_fences() -> World {
    let mut world = with_implicit_fences();
    let writer = world.group(&[(1, Write)]);
    world.cycle(writer);
    world.hold_waits = true;
    world
}

#[test]
fn a_readers_look_says_nothing_of_the_fences_that_a_writer_waits_for() {
    let mut world = ready_but_for_fences();
    let [first, second] = [(); 2].map(|()| world.group(&[(1, Write)]));
    let reader = world.group(&[(1, Read)]);
    world.lock(first);
    let reading = world.lock(reader);
    world.lock(second);
    // A device reads: the writer's wait fails, the reader's wait succeeds.
    world.pass(5_000);
    world.finish_wait(false);
    world.forget_events();
    world.finish_wait(true);
    assert_eq!(world.granted(), [reader]);
    world.pass(1_000);
    world.unlock(reader, reading);
    assert!(world.waits[0].1 <= world.now, "the second writer has a new time limit");
}

#[test]
fn nobody_makes_anothers_time_short_by_waiting_before() {
    let mut world = ready_but_for_fences();
    // One of two other groups always waits, for a fence of a buffer of their own.
    let strangers = [(); 2].map(|()| world.group(&[(1, Read), (2, Read)]));
    world.hold_waits = false;
    world.cycle(strangers[0]);
    world.hold_waits = true;
    world.lock(strangers[0]);
    for turn in 1..10 {
        world.pass(3_000);
        world.lock(strangers[turn % 2]);
        world.cancel(strangers[(turn + 1) % 2]).unwrap();
    }
    let victim = world.group(&[(1, Read)]);
    world.lock(victim);
    let (_, until) = *world.waits.last().unwrap();
    assert_eq!(seconds(until), seconds(world.now) + 5);
}

#[test]
fn try_lock_looks_once_and_does_not_wait() {
    let mut world = with_implicit_fences();
    let reader = world.group(&[(1, Read)]);
    world.cycle(reader);
    world.hold_waits = true;
    world.try_lock(reader).unwrap();
    assert_eq!(world.waits[0].1, world.now);
}

// One instant.

#[test]
fn a_lock_that_gets_its_buffers_in_the_moment_of_its_time_out_is_granted() {
    for waiter_first in [false, true] {
        for by_fence in [false, true] {
            let mut world = World::new();
            // From here on no lock needs an operation.
            let writer = world.group(&[(1, Write)]);
            world.cycle(writer);
            let [x, y] = [(); 2].map(|()| world.group_with_hold(500, &[]));
            let (holder, waiter) = if waiter_first { (y, x) } else { (x, y) };
            world.add(holder, &[(1, Read)]);
            world.add(waiter, &[(1, Write)]);
            let token = world.lock(holder);
            if by_fence {
                world.unlock_with_fence(holder, token);
            }
            world.lock_for(waiter, 500);
            world.forget_events();
            world.pass(500);
            assert_eq!(world.granted(), [waiter], "{waiter_first} {by_fence}");
        }
    }
}

#[test]
fn a_lock_whose_operations_are_not_done_at_its_time_out_has_waited_long_enough() {
    let mut world = World::new();
    let holder = world.group_with_hold(500, &[(1, DmaWrite)]);
    let waiter = world.group(&[(1, Read)]);
    world.lock(holder);
    world.lock_for(waiter, 500);
    world.forget_events();
    world.pass(500);
    assert!(matches!(world.told()[..], [Effect::Evicted { .. }, Effect::TimedOut { .. }]));
    world.lock(waiter);
    assert_eq!(world.granted(), [waiter]);
}

#[test]
fn time_outs_of_one_instant_do_not_make_room_for_each_other() {
    for reversed in [false, true] {
        let mut world = World::new();
        let holder = world.group(&[(1, DmaRead)]);
        world.lock(holder);
        // The reader waits behind the writer, whichever group was opened first.
        let mut groups = [(); 2].map(|()| world.group(&[]));
        if reversed {
            groups.reverse();
        }
        for (group, access) in groups.into_iter().zip([DmaWrite, DmaRead]) {
            world.add(group, &[(1, access)]);
            world.lock_for(group, 500);
        }
        world.forget_events();
        world.pass(500);
        let told = world.told();
        let timed_out = told.iter().filter(|told| matches!(told, Effect::TimedOut { .. }));
        assert_eq!((timed_out.count(), told.len()), (2, 2));
    }
}

#[test]
fn a_late_tick_takes_one_instant_after_the_other() {
    let mut world = World::new();
    let holder = world.group_with_hold(500, &[(1, DmaWrite)]);
    world.lock(holder);
    let waiter = world.group(&[(1, DmaWrite)]);
    world.lock_for(waiter, 499);
    world.forget_events();
    world.now = world.now.after(Duration::from_millis(700));
    world.pass(0);
    assert!(matches!(world.told()[..], [Effect::TimedOut { .. }, Effect::Evicted { .. }]));
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A group with many locks: names, parts of the group, and locks in each other's way.

mod common;

use buffersync_engine::Access::{DmaRead, DmaWrite, Read, Write};
use buffersync_engine::*;
use common::World;

const WAIT: Wait = Wait::UntilGranted;

fn some(buffers: &[BufferId]) -> Wants<'_> {
    Wants { buffers, accesses: &[] }
}

fn ids<const N: usize>(buffers: [u64; N]) -> [BufferId; N] {
    buffers.map(BufferId)
}

#[test]
fn locks_of_parts_are_granted_waited_for_and_ended_each_for_itself() {
    let mut world = World::new();
    let camera = world.group(&[(1, DmaWrite), (2, DmaWrite), (3, DmaWrite), (4, DmaWrite)]);
    let codec = world.group(&[(3, DmaRead)]);
    let encoded = world.lock(codec);
    let first = world.lock_some(camera, some(&ids([1])), WAIT).unwrap();
    let second = world.lock_some(camera, some(&ids([2, 3])), WAIT).unwrap();
    let third = world.lock_some(camera, some(&ids([4])), WAIT).unwrap();
    let phases = [first, second, third].map(|lock| world.engine.phase(camera, lock).unwrap());
    assert!(matches!(phases, [Phase::Held { .. }, Phase::Queued, Phase::Held { .. }]));
    assert!(world.engine.locks(camera).eq([first, second, third]));
    world.unlock(camera, first);
    world.forget_events();
    world.unlock(codec, encoded);
    assert_eq!(world.grants()[0].len(), 2);
    assert!(world.engine.locks(camera).eq([second, third]));
    world.unlock(camera, third);
    world.unlock(camera, second);
    assert!(world.engine.is_idle(camera));
}

#[test]
fn a_lock_names_accesses_or_takes_those_of_the_group() {
    let mut world = World::new();
    let group = world.group(&[(1, DmaRead), (2, Write)]);
    let accesses = |world: &mut World, wants: Wants<'_>| {
        world.forget_events();
        let lock = world.lock_some(group, wants, WAIT).unwrap();
        let granted: Vec<_> = world.grants()[0].iter().map(|b| (b.buffer.0, b.access)).collect();
        world.unlock(group, lock);
        granted
    };
    assert_eq!(accesses(&mut world, Wants::ALL), [(1, DmaRead), (2, Write)]);
    assert_eq!(accesses(&mut world, some(&ids([2]))), [(2, Write)]);
    let wants = Wants { buffers: &ids([2, 1, 2]), accesses: &[DmaRead, Read, DmaWrite] };
    assert_eq!(accesses(&mut world, wants), [(2, DmaWrite), (1, Read)]);
    let mixed = Wants { buffers: &ids([1, 1]), accesses: &[Read, DmaRead] };
    assert_eq!(world.lock_some(group, mixed, WAIT), Err(Error::AccessConflict));
    let short = Wants { buffers: &ids([1, 2]), accesses: &[Read] };
    assert_eq!(world.lock_some(group, short, WAIT), Err(Error::UnknownBuffer));
}

#[test]
fn numbers_grow_and_a_refused_lock_uses_up_none() {
    let mut world = World::new();
    let group = world.group(&[(1, DmaWrite)]);
    let lock = |world: &mut World, number, wants: Wants<'_>| {
        let (token, unknown) = (Token(number), Implicit::Unknown);
        let asked =
            world.call(|e, now, fx| e.lock(now, group, token, wants, Wait::Never, unknown, fx));
        asked.map(drop)
    };
    assert_eq!(lock(&mut world, 0, Wants::ALL), Err(Error::BadToken));
    assert_eq!(lock(&mut world, 7, some(&ids([9]))), Err(Error::UnknownBuffer));
    assert_eq!(lock(&mut world, 5, Wants::ALL), Ok(()));
    assert_eq!(lock(&mut world, 7, Wants::ALL), Err(Error::AlreadyLocked));
    world.unlock(group, Token(5));
    let told = [5, 4, 6, 0].map(|number| {
        world.call(|e, now, fx| e.unlock(now, group, Token(number), &[], fx)).unwrap_err()
    });
    assert_eq!(told, [Error::Ended, Error::Ended, Error::BadToken, Error::BadToken]);
    assert_eq!(lock(&mut world, 5, Wants::ALL), Err(Error::BadToken));
    assert_eq!(lock(&mut world, 6, Wants::ALL), Ok(()));
}

#[test]
fn a_lock_never_waits_for_its_own_group() {
    let mut world = World::new();
    let group = world.group(&[(1, DmaRead), (2, DmaWrite)]);
    let other = world.group(&[(2, DmaWrite)]);
    world.lock(other);
    let waiting = world.lock_some(group, some(&ids([2])), WAIT).unwrap();
    let reading = world.lock_some(group, some(&ids([1])), WAIT).unwrap();
    // Readers share, in a group as between groups.
    let also = world.lock_some(group, some(&ids([1])), WAIT).unwrap();
    let write = Wants { buffers: &ids([1]), accesses: &[DmaWrite] };
    for (wants, what) in [(write, "held"), (some(&ids([2])), "waited for")] {
        let refused = world.lock_some(group, wants, WAIT);
        assert_eq!(refused, Err(Error::AlreadyLocked), "{what}");
        let refused = world.grow_some(group, reading, wants, WAIT);
        assert_eq!(refused, Err(Error::AlreadyLocked), "{what}");
    }
    world.unlock(group, also);
    // Now it is the only one, and nobody else is there.
    assert_eq!(world.grow_some(group, reading, write, WAIT), Ok(reading));
    assert_eq!(world.engine.held(group, reading).unwrap().next(), Some((BufferId(1), DmaWrite)));
    world.unlock(group, waiting);
    assert!(world.engine.locks(group).eq([reading]));
}

#[test]
fn unlock_ends_a_lock_that_waits_and_takes_no_fences_for_it() {
    let mut world = World::new();
    let [holder, waiter, next] = [(); 3].map(|()| world.group(&[(1, DmaWrite)]));
    let held = world.lock(holder);
    let waiting = world.lock(waiter);
    world.lock(next);
    let fence = [ReleaseFence { fence: FenceId(1), buffer: None }];
    let fenced = world.call(|e, now, fx| e.unlock(now, waiter, waiting, &fence, fx));
    assert_eq!(fenced, Err(Error::Busy));
    world.unlock(waiter, waiting);
    world.forget_events();
    world.unlock(holder, held);
    assert_eq!(world.granted(), [next]);
}

#[test]
fn a_growth_that_fails_leaves_the_grant_as_it_was() {
    let mut world = World::new();
    let group = world.group(&[(1, DmaRead), (2, DmaWrite)]);
    let [holder, reader] = [world.group(&[(2, DmaWrite)]), world.group(&[(1, DmaRead)])];
    world.lock(holder);
    world.lock(reader);
    let grant = world.lock_some(group, some(&ids([1])), WAIT).unwrap();
    let held = |world: &World| world.engine.held(group, grant).unwrap().collect::<Vec<_>>();
    let stronger = Wants { buffers: &ids([1]), accesses: &[DmaWrite] };
    for (wants, way) in [(some(&ids([2])), 0), (stronger, 1), (some(&ids([2])), 2)] {
        let wait = if way == 2 { Wait::Never } else { WAIT };
        let grown = world.grow_some(group, grant, wants, wait);
        match way {
            0 => world.cancel(group).unwrap(),
            1 => world.call(|e, now, fx| e.time_out(now, group, grant, fx)),
            _ => assert_eq!(grown, Err(Error::WouldBlock)),
        }
        assert_eq!(held(&world), [(BufferId(1), DmaRead)]);
        // It has not stayed in the lock.
        assert_eq!(world.call(|e, _, fx| e.remove(group, BufferId(2), fx)), Ok(()));
        world.add(group, &[(2, DmaWrite)]);
    }
    let nothing = world.grow_some(group, grant, some(&ids([1])), WAIT);
    assert_eq!(nothing, Err(Error::AlreadyLocked));
}

#[test]
fn what_was_let_go_is_free_for_another_lock() {
    let mut world = World::new();
    let group = world.group(&[(1, DmaWrite), (2, DmaWrite)]);
    let first = world.lock_some(group, Wants::ALL, WAIT).unwrap();
    world.unlock_part(group, first, &[1], &[]).unwrap();
    let second = world.lock_some(group, some(&ids([1])), WAIT).unwrap();
    let back = world.grow_some(group, first, some(&ids([1])), WAIT);
    assert_eq!(back, Err(Error::AlreadyLocked));
    world.downgrade(group, second, &[1]).unwrap();
    let read = Wants { buffers: &ids([1]), accesses: &[DmaRead] };
    assert_eq!(world.grow_some(group, first, read, WAIT), Ok(first));
}

#[test]
fn a_kept_ticket_goes_to_the_next_lock_and_helps_where_it_stood() {
    let mut world = World::new();
    let both = [(1, DmaWrite), (2, DmaWrite)];
    let [holder, old, young] = [(); 3].map(|()| world.group(&both));
    let held = world.lock(holder);
    let given_up = world.lock_some(old, some(&ids([1])), WAIT).unwrap();
    world.lock_some(young, some(&ids([1])), WAIT).unwrap();
    world.unlock(old, given_up);
    // In front of the young one, where it stood before.
    world.lock_some(old, some(&ids([1])), WAIT).unwrap();
    world.forget_events();
    world.unlock(holder, held);
    assert_eq!(world.granted(), [old]);

    let mut world = World::new();
    let [holder, old, young] = [(); 3].map(|()| world.group(&both));
    let held = world.lock(holder);
    let given_up = world.lock_some(old, some(&ids([1])), WAIT).unwrap();
    world.lock_some(young, some(&ids([2])), WAIT).unwrap();
    world.unlock(old, given_up);
    // It has never stood at buffer 2, so it passes nobody there.
    world.lock_some(old, some(&ids([2])), WAIT).unwrap();
    world.forget_events();
    world.unlock(holder, held);
    assert_eq!(world.granted(), [young]);
}

#[test]
fn the_end_of_a_group_ends_all_its_locks() {
    for (how, evicted) in [(Close::Closed, false), (Close::Died, true)] {
        let mut world = World::new();
        let group = world.group(&[(1, DmaWrite), (2, DmaWrite), (3, DmaWrite)]);
        let [holder, next] = [3, 1].map(|buffer| world.group(&[(buffer, DmaWrite)]));
        world.lock(holder);
        for buffer in [1, 2, 3] {
            world.lock_some(group, some(&ids([buffer])), WAIT).unwrap();
        }
        world.lock(next);
        world.forget_events();
        world.close(group, how);
        let grants = world.grants();
        assert_eq!((grants.len(), grants[0][0].evicted), (1, evicted));
    }
}

#[test]
fn memory_without_caches_needs_no_operation_and_no_wait() {
    let mut world = World::new();
    world.engine.expect_implicit_fences();
    world.hold_jobs = true;
    world.hold_waits = true;
    let [writer, reader] = [Write, Read].map(|access| {
        let group = world.group(&[]);
        world.engine.add_plain(group, BufferId(1), access).unwrap();
        group
    });
    assert_eq!(world.cycle(writer)[0].generation, 1);
    assert_eq!(world.cycle(reader)[0].generation, 1);
    let stuck = world.lock(writer);
    world.call(|e, now, fx| e.expire(now, writer, stuck, fx));
    assert!(world.cycle(reader)[0].torn);
    world.close(writer, Close::Closed);
    world.close(reader, Close::Closed);
    assert!(world.ops.is_empty() && world.waited.is_empty());
}

#[test]
fn a_check_refuses_what_a_lock_after_the_unlock_would_be_refused() {
    let mut world = World::new();
    let group = world.group(&[(1, DmaWrite), (2, DmaWrite)]);
    let done = world.lock_some(group, some(&ids([1])), WAIT).unwrap();
    let check = |world: &mut World, wants: Wants<'_>, ending| {
        world.engine.check_lock(group, Token(done.0 + 5), wants, ending).map(drop)
    };
    assert_eq!(check(&mut world, Wants::ALL, Some(done)), Ok(()));
    assert_eq!(check(&mut world, Wants::ALL, None), Err(Error::AlreadyLocked));
    assert_eq!(check(&mut world, some(&ids([3])), Some(done)), Err(Error::UnknownBuffer));
    let again = world.engine.check_lock(group, done, Wants::ALL, Some(done));
    assert_eq!(again.map(drop), Err(Error::BadToken));
    world.lock_some(group, some(&ids([2])), WAIT).unwrap();
    assert_eq!(check(&mut world, Wants::ALL, Some(done)), Err(Error::AlreadyLocked));
    assert_eq!(check(&mut world, some(&ids([1])), Some(done)), Ok(()));
}

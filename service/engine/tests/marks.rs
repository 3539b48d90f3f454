// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The two facts about a buffer after an eviction: the evicted holder may still be at work, and the
//! content is torn.

mod common;

use buffersync_engine::Access::{DmaRead, DmaWrite, Read, Write};
use buffersync_engine::*;
use common::World;

/// The marks `evicted` and `torn` of the only buffer of a grant.
fn marks(granted: &[GrantedBuffer]) -> (bool, bool) {
    (granted[0].evicted, granted[0].torn)
}

/// A world where a holder with this access was evicted from buffer 1.
fn after_eviction_of(access: Access) -> World {
    let mut world = World::new();
    let evicted = world.group_with_hold(100, &[(1, access)]);
    world.lock(evicted);
    world.pass(100);
    world
}

#[test]
fn a_writer_leaves_torn_content_and_a_reader_does_not() {
    for access in Access::ALL {
        let mut world = after_eviction_of(access);
        let next = world.group(&[(1, DmaRead)]);
        assert_eq!(marks(&world.cycle(next)), (true, access.is_exclusive()), "{access:?}");
    }
}

#[test]
fn a_reader_clears_nothing_of_torn_content_and_a_writer_all() {
    for reader in [Read, DmaRead] {
        for writer in [Write, DmaWrite] {
            let mut world = after_eviction_of(DmaWrite);
            let readers = [(); 2].map(|()| world.group(&[(1, reader)]));
            assert_eq!(marks(&world.cycle(readers[0])), (true, true));
            assert_eq!(marks(&world.cycle(readers[1])), (false, true));
            let writer = world.group(&[(1, writer)]);
            assert_eq!(marks(&world.cycle(writer)), (false, true));
            assert_eq!(marks(&world.cycle(readers[0])), (false, false));
        }
    }
}

#[test]
fn a_grant_that_began_before_the_eviction_ends_neither_fact() {
    let mut world = World::new();
    let early = world.group(&[(1, DmaRead)]);
    let stuck = world.group_with_hold(500, &[(1, DmaRead)]);
    let token = world.lock(early);
    world.lock(stuck);
    world.pass(500);
    world.unlock(early, token);
    let writer = world.group(&[(1, DmaWrite)]);
    assert_eq!(marks(&world.cycle(writer)), (true, false));
    assert_eq!(marks(&world.cycle(writer)), (false, false));
}

/// Unlocks with two fences for all buffers.
fn unlock_with_two_fences(world: &mut World, group: GroupId, token: Token) -> [FenceId; 2] {
    let fences = [FenceId(101), FenceId(102)];
    let given = fences.map(|fence| ReleaseFence { fence, buffer: None });
    world.call(|e, now, fx| e.unlock(now, group, token, &given, fx)).unwrap();
    fences
}

#[test]
fn a_grant_has_ended_in_order_when_the_last_of_its_fences_has_signalled() {
    for access in [DmaRead, DmaWrite] {
        for order in [[0, 1], [1, 0]] {
            let mut world = after_eviction_of(DmaWrite);
            let group = world.group(&[(1, access)]);
            let keeper = world.group(&[(1, DmaRead)]);
            let token = world.lock(group);
            let fences = unlock_with_two_fences(&mut world, group, token);
            let view = |world: &World| {
                let view = &world.engine.buffers()[0];
                (view.evicted, view.torn)
            };
            world.fence_done(fences[order[0]], true);
            assert_eq!(view(&world), (true, true), "one fence is pending");
            world.fence_done(fences[order[1]], true);
            assert_eq!(view(&world), (false, !access.is_exclusive()));
            world.close(keeper, Close::Closed);
        }
    }
}

#[test]
fn a_grant_of_which_one_fence_fails_has_not_ended_in_order() {
    for order in [[0, 1], [1, 0]] {
        for failing in [0, 1] {
            let mut world = World::new();
            let writer = world.group(&[(1, DmaWrite)]);
            let token = world.lock(writer);
            let fences = unlock_with_two_fences(&mut world, writer, token);
            for nth in order {
                world.fence_done(fences[nth], nth != failing);
            }
            assert_eq!(marks(&world.cycle(writer)), (true, true));
            assert_eq!(marks(&world.cycle(writer)), (false, false));
        }
    }
}

#[test]
fn one_fence_for_many_buffers_or_given_twice_is_one_fence() {
    let mut world = World::new();
    let device = world.group(&[(1, DmaWrite), (2, DmaWrite)]);
    let token = world.lock(device);
    let fence = FenceId(1);
    let one = ReleaseFence { fence, buffer: Some(BufferId(1)) };
    let rest = ReleaseFence { fence, buffer: None };
    world.call(|e, now, fx| e.unlock(now, device, token, &[one, one, rest], fx)).unwrap();
    let next = world.group(&[(1, DmaWrite), (2, DmaWrite)]);
    let token = world.lock(next);
    let fences: Vec<_> = world.engine.acquire_fences(next, token).collect();
    assert_eq!(fences, [(BufferId(1), fence), (BufferId(2), fence)]);
    world.fence_done(fence, true);
    world.unlock(next, token);
    world.close(device, Close::Closed);
    world.close(next, Close::Closed);
    assert!(world.engine.is_empty());
}

// Buffers that nobody has.

#[test]
fn whoever_adds_a_marked_buffer_after_its_last_group_is_gone_is_told() {
    for how in [Close::Died, Close::Closed] {
        let mut world = World::new();
        let camera = world.group_with_hold(100, &[(1, DmaWrite)]);
        world.lock(camera);
        if how == Close::Closed {
            world.pass(100);
        }
        world.forget_events();
        world.close(camera, how);
        assert_eq!(world.events, [Effect::Remember { buffer: BufferId(1) }]);
        let codec = world.group(&[(1, DmaRead)]);
        let granted = world.cycle(codec);
        assert_eq!(marks(&granted), (true, true), "{how:?}");
        assert_eq!(granted[0].generation, 1, "the generation goes on");
        world.close(codec, Close::Closed);
        // Somebody writes the whole frame.
        let camera = world.group(&[(1, DmaWrite)]);
        assert_eq!(marks(&world.cycle(camera)), (false, true));
        world.forget_events();
        world.close(camera, Close::Closed);
        assert_eq!(world.events, [Effect::Forget { buffer: BufferId(1) }]);
    }
}

#[test]
fn the_oldest_of_the_remembered_buffers_is_forgotten_first() {
    let limits = Limits { remembered: 2, ..Limits::default() };
    let mut world = World::new();
    world.engine = Engine::new(limits);
    for buffer in 1..=3 {
        let group = world.group(&[(buffer, DmaWrite)]);
        world.lock(group);
        world.close(group, Close::Died);
    }
    let forgotten: Vec<Effect> = world.events.drain(..).collect();
    let of_first = |effect: &&Effect| matches!(effect, Effect::Forget { buffer: BufferId(1) });
    assert_eq!(forgotten.iter().filter(of_first).count(), 1);
    assert_eq!(world.engine.remembered(), 2);
    let told: Vec<_> = (1..=3)
        .map(|buffer| {
            let group = world.group(&[(buffer, DmaRead)]);
            marks(&world.cycle(group)).1
        })
        .collect();
    assert_eq!(told, [false, true, true]);
    assert_eq!(world.engine.remembered(), 0);
}

#[test]
fn an_evicted_cpu_writers_lines_are_cleaned_before_and_after_its_buffer_was_away() {
    let mut world = World::new();
    let writer = world.group(&[(1, Write)]);
    world.lock(writer);
    world.ops.clear();
    world.close(writer, Close::Died);
    let last = world.ops.last().map(|op| (op.kind, op.flags));
    assert_eq!(last, Some((SyncKind::End, SyncFlags::ReadWrite)));
    // The evicted holder may go on writing, so the cache is cleaned again after the first orderly grant.
    let device = world.group(&[(1, DmaRead)]);
    world.cycle(device);
    world.ops.clear();
    world.cycle(device);
    let ops: Vec<_> = world.ops.iter().map(|op| op.kind).collect();
    assert_eq!(ops, [SyncKind::Start, SyncKind::End]);
}

#[test]
fn a_buffer_with_an_unknown_past_is_marked_until_it_is_written_in_order() {
    for access in [Read, Write, DmaRead, DmaWrite] {
        let mut world = World::new();
        let group = world.group(&[(1, access)]);
        world.call(|engine, _, _| engine.distrust(BufferId(1)));
        assert_eq!(marks(&world.cycle(group)), (true, true), "{access:?}");
        let after = (false, !access.is_exclusive());
        assert_eq!(marks(&world.cycle(group)), after, "{access:?}");
    }
}

#[test]
fn generations_count_from_where_the_buffer_was_told() {
    let mut world = World::new();
    let group = world.group(&[(1, Write)]);
    world.call(|engine, _, _| engine.count_generations_from(BufferId(1), 70));
    assert_eq!([1, 2].map(|_| world.cycle(group)[0].generation), [71, 72]);
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A grant that ends in parts, and a writer that goes on as a reader.

mod common;

use buffersync_engine::*;
use common::World;
use Access::{DmaRead, DmaWrite, Read, Write};

fn fence(fence: u64, buffer: Option<u64>) -> ReleaseFence {
    ReleaseFence { fence: FenceId(fence), buffer: buffer.map(BufferId) }
}

/// The marks of the buffers of the only grant since the last look.
fn marks(world: &mut World) -> Vec<(bool, bool, bool)> {
    let mut grants = world.grants();
    assert_eq!(grants.len(), 1);
    grants.remove(0).iter().map(|b| (b.evicted, b.torn, b.fenced)).collect()
}

#[test]
fn a_part_goes_to_the_next_while_the_rest_is_held() {
    let mut world = World::new();
    let camera = world.group(&[(1, DmaWrite), (2, DmaWrite), (3, DmaWrite)]);
    let [one, two] = [1, 2].map(|buffer| world.group(&[(buffer, DmaRead)]));
    let token = world.lock(camera);
    world.lock(one);
    world.lock(two);
    world.forget_events();
    world.unlock_part(camera, token, &[2], &[]).unwrap();
    assert_eq!(world.granted(), [two]);
    let held: Vec<_> = world.engine.held(camera, token).unwrap().collect();
    assert_eq!(held, [(BufferId(1), DmaWrite), (BufferId(3), DmaWrite)]);
    // What is left ends the grant.
    world.unlock_part(camera, token, &[3, 1, 1], &[]).unwrap();
    assert_eq!(world.granted(), [one]);
    assert!(world.engine.is_idle(camera));
    assert_eq!(world.engine.counters().unlocks, 1);
}

#[test]
fn the_rest_keeps_its_deadline_and_only_the_rest_is_evicted() {
    let mut world = World::new();
    let holder = world.group(&[(1, DmaWrite), (2, DmaWrite)]);
    let [one, two] = [1, 2].map(|buffer| world.group(&[(buffer, DmaRead)]));
    let token = world.lock(holder);
    world.pass(4_000);
    world.unlock_part(holder, token, &[1], &[]).unwrap();
    world.cycle(one);
    world.forget_events();
    let by = Some((two, world.lock(two)));
    world.pass(999);
    assert!(world.told().is_empty());
    world.pass(1);
    let evicted = Effect::Evicted { group: holder, token, cause: EvictionCause::Deadline, by };
    assert_eq!(world.events[0], evicted);
    assert_eq!(marks(&mut world), [(true, true, false)]);
    world.lock(one);
    assert_eq!(marks(&mut world), [(false, false, false)], "it was let go in order");
}

#[test]
fn a_part_ends_with_fences_of_its_own() {
    let mut world = World::new();
    let holder = world.group(&[(1, DmaWrite), (2, DmaWrite)]);
    let [device, cpu] = [DmaRead, Read].map(|access| world.group(&[(1, access)]));
    let token = world.lock(holder);
    assert_eq!(
        world.unlock_part(holder, token, &[1], &[fence(1, Some(2))]),
        Err(Error::UnknownBuffer),
        "the fence is for a buffer that stays"
    );
    world.unlock_part(holder, token, &[1], &[fence(1, None)]).unwrap();
    world.forget_events();
    world.lock(device);
    assert_eq!(marks(&mut world), [(false, false, true)]);
    world.lock(cpu);
    assert!(world.granted().is_empty(), "the CPU waits for the fence");
    // The fence fails while the grant goes on: that is told, and does not end the grant.
    world.fence_done(FenceId(1), false);
    let evicted = Effect::Evicted { group: holder, token, cause: EvictionCause::Fence, by: None };
    assert_eq!(world.events[0], evicted);
    assert_eq!(world.engine.held(holder, token).unwrap().count(), 1);
    world.unlock(holder, token);
}

#[test]
fn a_part_can_be_locked_again_with_the_same_token() {
    let mut world = World::new();
    let group = world.group(&[(1, Write), (2, Write)]);
    let token = world.lock(group);
    world.unlock_part(group, token, &[1], &[]).unwrap();
    assert_eq!(world.lock(group), token);
    assert_eq!(world.engine.held(group, token).unwrap().count(), 2);
    assert_eq!(world.try_to_lock(group), Err(Error::AlreadyLocked));
}

#[test]
fn a_writer_becomes_a_reader_and_no_writer_comes_between() {
    let mut world = World::new();
    let encoder = world.group(&[(1, Write)]);
    let writer = world.group(&[(1, Write)]);
    let reader = world.group(&[(1, Read)]);
    let token = world.lock(encoder);
    let generation = world.grants()[0][0].generation;
    world.lock_for(writer, 10);
    world.pass(10);
    world.lock(reader);
    world.forget_events();
    world.downgrade(encoder, token, &[1]).unwrap();
    let grants = world.grants();
    assert_eq!(grants.len(), 1, "the reader");
    assert_eq!(grants[0][0].generation, generation, "nobody wrote");
    assert!(world.ops.iter().all(|op| op.kind == SyncKind::Start), "{:?}", world.ops);
    world.lock(writer);
    assert!(world.granted().is_empty(), "two read");
    let held: Vec<_> = world.engine.held(encoder, token).unwrap().collect();
    assert_eq!(held, [(BufferId(1), Read)]);
    // It asks for its access again, and waits for the other reader, before the younger writer.
    assert_eq!(world.lock(encoder), token);
    assert!(world.granted().is_empty());
    world.close(reader, Close::Closed);
    assert_eq!(world.granted(), [encoder]);
}

#[test]
fn a_writer_that_reads_has_made_the_content_whole_and_tears_it_no_more() {
    let mut world = World::new();
    let dead = world.group(&[(1, DmaWrite)]);
    world.lock(dead);
    world.close(dead, Close::Died);
    world.forget_events();
    let writer = world.group(&[(1, DmaWrite)]);
    let token = world.lock(writer);
    assert_eq!(marks(&mut world), [(true, true, false)]);
    world.downgrade(writer, token, &[1]).unwrap();
    let reader = world.group(&[(1, DmaRead)]);
    world.lock(reader);
    assert_eq!(marks(&mut world), [(false, false, false)]);
    world.pass(5_000);
    world.forget_events();
    let next = world.group(&[(1, DmaRead)]);
    world.lock(next);
    assert_eq!(marks(&mut world), [(true, false, false)], "evicted as a reader");
}

#[test]
fn refused_parts_change_nothing() {
    let mut world = World::new();
    let group = world.group(&[(1, Write), (2, Write)]);
    let other = world.group(&[(3, Write)]);
    let token = world.lock(group);
    world.lock(other);
    assert_eq!(world.unlock_part(group, Token(99), &[1], &[]), Err(Error::BadToken));
    assert_eq!(world.unlock_part(group, token, &[], &[]), Err(Error::UnknownBuffer));
    assert_eq!(world.unlock_part(group, token, &[1, 3], &[]), Err(Error::UnknownBuffer));
    assert_eq!(world.downgrade(group, token, &[]), Err(Error::UnknownBuffer));
    assert_eq!(world.downgrade(group, token, &[3]), Err(Error::UnknownBuffer));
    world.add(group, &[(3, Write)]);
    assert_eq!(world.lock(group), token);
    assert_eq!(world.unlock_part(group, token, &[1], &[]), Err(Error::Busy));
    assert_eq!(world.downgrade(group, token, &[1]), Err(Error::Busy));
    let held: Vec<_> = world.engine.held(group, token).unwrap().collect();
    assert_eq!(held, [(BufferId(1), Write), (BufferId(2), Write)]);
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Holders are told once that somebody waits, and a hold limit may count from there.

mod common;

use std::time::Duration;

use buffersync_engine::*;
use common::World;
use Access::{DmaRead, DmaWrite, Read, Write};

fn millis(millis: u64) -> Time {
    Time(millis * 1_000_000)
}

/// A group whose hold limit of 100 ms counts from the first conflict.
fn patient(world: &mut World, members: &[(u64, Access)]) -> GroupId {
    let hold = Duration::from_millis(100);
    let (group, _) = world.engine.open_group_from(Some(hold), HoldFrom::Conflict);
    world.add(group, members);
    group
}

fn deadline(world: &World, group: GroupId) -> Time {
    match world.phase(group) {
        Some(Phase::Held { deadline } | Phase::Growing { deadline }) => deadline,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_nobody_waits_for_has_no_deadline() {
    let mut world = World::new();
    let display = patient(&mut world, &[(1, DmaRead)]);
    world.lock(display);
    assert_eq!(deadline(&world, display), Time::NEVER);
    assert_eq!(world.engine.next_deadline(), None);
    world.pass(1_000_000);
    // One that shares, and one that only tries, are no conflict.
    let reader = world.group(&[(1, DmaRead)]);
    world.cycle(reader);
    let writer = world.group(&[(1, DmaWrite)]);
    assert_eq!(world.try_lock(writer), Err(Error::WouldBlock));
    assert_eq!(deadline(&world, display), Time::NEVER);
    assert_eq!(world.contended, []);
}

#[test]
fn the_first_conflict_starts_the_time_and_the_holder_is_told() {
    let mut world = World::new();
    let display = patient(&mut world, &[(1, DmaRead)]);
    let token = world.lock(display);
    world.pass(10_000);
    let [writer, other] = [(); 2].map(|()| world.group(&[(1, DmaWrite)]));
    world.lock(writer);
    assert_eq!(world.contended, [(display, token, millis(10_100))]);
    world.pass(50);
    world.lock(other);
    assert_eq!(world.contended.len(), 1, "it is told once");
    // A lock that has left has started the time all the same.
    world.cancel(writer).unwrap();
    world.cancel(other).unwrap();
    world.forget_events();
    world.pass(49);
    assert!(world.told().is_empty());
    world.pass(1);
    let cause = EvictionCause::Deadline;
    assert_eq!(world.told(), [Effect::Evicted { group: display, token, cause, by: None }]);
}

#[test]
fn a_grant_with_a_deadline_is_told_too() {
    let mut world = World::new();
    let holder = world.group_with_hold(100, &[(1, Write), (2, Read)]);
    let token = world.lock(holder);
    world.pass(30);
    let reader = world.group(&[(2, Read)]);
    world.lock(reader);
    assert_eq!(world.contended, [], "two read");
    let waiter = world.group(&[(1, Read)]);
    world.lock(waiter);
    assert_eq!(world.contended, [(holder, token, millis(100))], "its own deadline");
}

#[test]
fn who_is_granted_while_others_wait_is_told_at_once() {
    let mut world = World::new();
    let holder = world.group(&[(1, Write)]);
    let first = patient(&mut world, &[(1, Write)]);
    let second = world.group(&[(1, Write)]);
    let held = world.lock(holder);
    let token = world.lock(first);
    world.lock(second);
    world.pass(1_000);
    world.contended.clear();
    world.forget_events();
    world.unlock(holder, held);
    assert_eq!(world.granted(), [first]);
    assert_eq!(world.contended, [(first, token, millis(1_100))]);
}

#[test]
fn every_reader_in_the_way_is_told_and_nobody_else() {
    let mut world = World::new();
    let readers = [(); 3].map(|()| patient(&mut world, &[(1, Read), (2, Read)]));
    let beside = patient(&mut world, &[(2, Read)]);
    let tokens = readers.map(|reader| world.lock(reader));
    world.lock(beside);
    // The one in the middle of the list has left.
    world.unlock(readers[1], tokens[1]);
    let writer = world.group(&[(1, Write)]);
    world.lock(writer);
    let mut told: Vec<GroupId> = world.contended.iter().map(|(group, ..)| *group).collect();
    told.sort_unstable();
    assert_eq!(told, [readers[0], readers[2]]);
    assert_eq!(deadline(&world, beside), Time::NEVER);
}

#[test]
fn an_upgrade_is_no_conflict_with_its_own_hold() {
    let mut world = World::new();
    let one = world.group(&[(1, Read)]);
    let other = patient(&mut world, &[(1, Read)]);
    world.lock(one);
    let token = world.lock(other);
    world.add(one, &[(1, Write)]);
    world.lock(one);
    assert_eq!(world.contended, [(other, token, millis(100))]);
}

#[test]
fn a_holder_that_waits_for_more_has_a_deadline() {
    let mut world = World::new();
    let holder = world.group(&[(2, Write)]);
    let held = world.lock(holder);
    let group = patient(&mut world, &[(1, Write)]);
    let token = world.lock(group);
    // Growth that is granted at once starts nothing.
    world.add(group, &[(3, Write)]);
    world.lock(group);
    assert_eq!(deadline(&world, group), Time::NEVER);
    world.pass(1_000);
    world.contended.clear();
    world.add(group, &[(2, Write)]);
    world.lock(group);
    assert!(world.contended.contains(&(group, token, millis(1_100))));
    world.unlock(holder, held);
    assert_eq!(deadline(&world, group), millis(1_100), "it stays");
}

#[test]
fn a_holder_that_waits_at_a_gate_for_more_has_a_deadline() {
    let mut world = World::new();
    let giver = world.group(&[(2, DmaWrite)]);
    let group = patient(&mut world, &[(1, Read)]);
    let token = world.lock(group);
    let held = world.lock(giver);
    world.unlock_with_fence(giver, held);
    world.add(group, &[(2, Write)]);
    world.lock(group);
    assert_eq!(world.contended, [(group, token, millis(100))]);
}

#[test]
fn growth_meets_those_who_wait_already() {
    let mut world = World::new();
    let holder = world.group(&[(2, Write)]);
    let held = world.lock(holder);
    let group = patient(&mut world, &[(1, Write)]);
    let token = world.lock(group);
    world.add(group, &[(2, Write)]);
    assert_eq!(world.lock(group), token);
    // A younger lock waits behind the growth.
    let younger = world.group(&[(2, Read)]);
    world.lock(younger);
    world.contended.clear();
    world.pass(40);
    world.unlock(holder, held);
    assert_eq!(world.contended, [], "it was told when it began to wait");
    assert_eq!(deadline(&world, group), millis(100));
}

#[test]
fn the_next_grant_of_a_group_starts_anew() {
    let mut world = World::new();
    let display = patient(&mut world, &[(1, DmaRead)]);
    let writer = world.group(&[(1, DmaWrite)]);
    let token = world.lock(display);
    let waits = world.lock(writer);
    world.unlock(display, token);
    world.unlock(writer, waits);
    world.lock(display);
    assert_eq!(deadline(&world, display), Time::NEVER);
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Exclusion, sharing, and the order of locks.

use std::os::fd::AsFd;

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::*;
use buffersync_testbed_guest::heap;
use buffersync_testbed_guest::user::User;
use buffersync_vts::hal::{counter, error, eventually, now_ns, service, Group, ACCESSES, SHORT};
use buffersync_vts::process::Client;
use buffersync_vts::suite::Tests;
use buffersync_vts::tests;

pub const TESTS: Tests = tests![
    writers_exclude_everybody_and_readers_share,
    processes_of_different_users_exclude_each_other,
    readers_in_different_processes_share,
    queued_locks_are_granted_in_ticket_order,
    a_whole_group_is_held_or_nothing_of_it,
    a_reader_does_not_overtake_a_waiting_writer,
    a_waiter_that_conflicts_with_nobody_ahead_is_granted_at_once,
    groups_that_want_each_others_buffers_do_not_deadlock,
    every_exclusive_grant_and_no_other_advances_the_generation,
    a_cancelled_lock_leaves_no_record_and_lets_those_behind_go,
    deadlines_lie_in_the_future,
    hold_limits_are_cut_to_the_maximum,
    generations_never_come_again,
];

const SIZE: usize = 16 * 1024;

fn exclusive(access: Access) -> bool {
    access == Access::WRITE || access == Access::DMA_WRITE
}

fn writers_exclude_everybody_and_readers_share() {
    for first in ACCESSES {
        for second in ACCESSES {
            let buffer = heap::allocate(SIZE).expect("heap");
            let mut a = Group::of("vts/a", &buffer, first);
            let mut b = Group::of("vts/b", &buffer, second);
            let held = a.lock();
            if exclusive(first) || exclusive(second) {
                let token = b.lock_must_wait();
                a.unlock(&held);
                let grant = b.next_grant();
                assert_eq!(grant.token, token);
                b.unlock(&grant);
            } else {
                let both = b.lock();
                b.unlock(&both);
                a.unlock(&held);
            }
        }
    }
}

fn processes_of_different_users_exclude_each_other() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut holder = Client::start(User::CAMERA, "hold", buffer.as_fd(), Access::DMA_WRITE);
    holder.granted();
    let mut waiter = Client::start(User::CODEC, "queue", buffer.as_fd(), Access::WRITE);
    assert_eq!(waiter.line(), "queued");
    let own = Group::of("vts/own", &buffer, Access::DMA_READ);
    assert_eq!(error(own.binder.try_lock()), ERROR_WOULD_BLOCK);
}

fn readers_in_different_processes_share() {
    let buffer = heap::allocate(SIZE).expect("heap");
    for (first, second) in [(Access::READ, Access::DMA_READ), (Access::DMA_READ, Access::READ)] {
        let mut a = Client::start(User::CAMERA, "hold", buffer.as_fd(), first);
        a.granted();
        let mut b = Client::start(User::CODEC, "hold", buffer.as_fd(), second);
        b.granted();
    }
}

fn queued_locks_are_granted_in_ticket_order() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut holder = Group::of("vts/holder", &buffer, Access::DMA_WRITE);
    let mut held = holder.lock();
    let mut waiters: Vec<Group> =
        (0..6).map(|i| Group::of(&format!("vts/waiter{i}"), &buffer, Access::DMA_WRITE)).collect();
    for waiter in &mut waiters {
        waiter.lock_must_wait();
    }
    holder.unlock(&held);
    for turn in 0..waiters.len() {
        held = waiters[turn].next_grant();
        for later in &mut waiters[turn + 1..] {
            assert!(later.nothing_within(std::time::Duration::ZERO));
        }
        waiters[turn].unlock(&held);
    }
}

fn a_whole_group_is_held_or_nothing_of_it() {
    let (x, y) = (heap::allocate(SIZE).expect("heap"), heap::allocate(SIZE).expect("heap"));
    let mut on_y = Group::of("vts/y", &y, Access::DMA_WRITE);
    let held = on_y.lock();
    let mut both = Group::of("vts/both", &x, Access::DMA_WRITE);
    both.add(&y, Access::DMA_WRITE);
    both.lock_must_wait();
    // An older group that waits for y also keeps the younger one from x: no overtaking.
    let mut on_x = Group::of("vts/x", &x, Access::DMA_WRITE);
    on_x.lock_must_wait();
    on_y.unlock(&held);
    let grant = both.next_grant();
    assert_eq!(grant.buffers.len(), 2);
    assert!(on_x.nothing_within(SHORT));
    both.unlock(&grant);
    on_x.next_grant();
}

fn a_reader_does_not_overtake_a_waiting_writer() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut reader = Group::of("vts/reader", &buffer, Access::DMA_READ);
    let held = reader.lock();
    let mut writer = Group::of("vts/writer", &buffer, Access::DMA_WRITE);
    writer.lock_must_wait();
    let mut late = Group::of("vts/late", &buffer, Access::DMA_READ);
    late.lock_must_wait();
    reader.unlock(&held);
    let grant = writer.next_grant();
    assert!(late.nothing_within(SHORT));
    writer.unlock(&grant);
    late.next_grant();
}

fn a_waiter_that_conflicts_with_nobody_ahead_is_granted_at_once() {
    let (x, y) = (heap::allocate(SIZE).expect("heap"), heap::allocate(SIZE).expect("heap"));
    let mut holder = Group::of("vts/holder", &x, Access::DMA_WRITE);
    holder.lock();
    let mut waiter = Group::of("vts/waiter", &x, Access::DMA_WRITE);
    waiter.lock_must_wait();
    Group::of("vts/elsewhere", &y, Access::DMA_WRITE).cycle();
}

fn groups_that_want_each_others_buffers_do_not_deadlock() {
    let (x, y) = (heap::allocate(SIZE).expect("heap"), heap::allocate(SIZE).expect("heap"));
    let mut a = Group::of("vts/a", &x, Access::WRITE);
    a.add(&y, Access::WRITE);
    let mut b = Group::of("vts/b", &y, Access::WRITE);
    b.add(&x, Access::WRITE);
    for _ in 0..20 {
        let first = a.lock();
        b.binder.lock(0).expect("lock");
        a.unlock(&first);
        let second = b.next_grant();
        b.unlock(&second);
    }
}

fn every_exclusive_grant_and_no_other_advances_the_generation() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut writer = Group::of("vts/writer", &buffer, Access::WRITE);
    let mut reader = Group::of("vts/reader", &buffer, Access::READ);
    let generation = |grant: buffersync_vts::hal::Grant| grant.buffers[0].1;
    let first = generation(reader.cycle());
    assert_eq!(generation(writer.cycle()), first + 1);
    assert_eq!(generation(reader.cycle()), first + 1);
    assert_eq!(generation(reader.cycle()), first + 1);
    assert_eq!(generation(writer.cycle()), first + 2);
    assert_eq!(generation(reader.cycle()), first + 2);
}

fn a_cancelled_lock_leaves_no_record_and_lets_those_behind_go() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut reader = Group::of("vts/reader", &buffer, Access::DMA_READ);
    let held = reader.lock();
    let mut writer = Group::of("vts/writer", &buffer, Access::DMA_WRITE);
    writer.lock_must_wait();
    let mut behind = Group::of("vts/behind", &buffer, Access::DMA_READ);
    behind.lock_must_wait();
    writer.binder.cancel().expect("cancel");
    let grant = behind.next_grant();
    behind.unlock(&grant);
    reader.unlock(&held);
    assert!(writer.nothing_within(SHORT));
    writer.cycle();
}

fn deadlines_lie_in_the_future() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut group = Group::of("vts/deadlines", &buffer, Access::DMA_WRITE);
    for _ in 0..10 {
        let before = now_ns();
        let grant = group.cycle();
        let hold = i64::from(group.hold_ms) * 1_000_000;
        assert!(grant.deadline >= before + hold);
        assert!(grant.deadline <= now_ns() + hold);
    }
}

fn hold_limits_are_cut_to_the_maximum() {
    let capabilities = service().getCapabilities().expect("capabilities");
    assert_eq!(Group::open("vts/default").hold_ms, capabilities.defaultHoldMs);
    assert_eq!(Group::with_hold("vts/short", 250).hold_ms, 250);
    assert_eq!(Group::with_hold("vts/long", i32::MAX).hold_ms, capabilities.maxHoldMs);
}

fn generations_never_come_again() {
    let remembered = counter("remembered");
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut first = Group::of("vts/first", &buffer, Access::DMA_WRITE);
    let mut keeper = Group::of("vts/keeper", &buffer, Access::DMA_READ);
    let one = first.cycle().buffers[0].1;
    assert_eq!(first.cycle().buffers[0].1, one + 1);
    drop(first);
    assert_eq!(keeper.cycle().buffers[0].1, one + 1, "somebody has had it all the while");
    keeper.binder.remove_all().expect("removeAll");
    eventually("nobody has the buffer", || counter("buffers") == 0);
    assert_eq!(counter("remembered"), remembered, "there is nothing to remember");
    let mut again = Group::of("vts/again", &buffer, Access::DMA_WRITE);
    assert!(again.cycle().buffers[0].1 > one + 1, "nobody has had it in between");
}

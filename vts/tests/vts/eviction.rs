// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Forced release: at the deadline, and when a client dies.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::*;
use buffersync_aidl::event;
use buffersync_testbed_guest::heap;
use buffersync_testbed_guest::user::User;
use buffersync_vts::fence::Pending;
use buffersync_vts::hal::{error, eventually, now_ns, whole, Group, SHORT};
use buffersync_vts::process::Client;
use buffersync_vts::suite::Tests;
use buffersync_vts::tests;

pub const TESTS: Tests = tests![
    a_stuck_holder_is_evicted_at_its_limit_and_all_are_told,
    two_readers_time_out_and_the_writer_is_granted_once,
    a_killed_holder_is_released_at_once,
    a_killed_waiter_is_out_of_the_way,
    dropping_the_group_binder_ends_its_grant,
    closing_a_group_ends_its_grant_in_order,
    a_client_that_goes_leaves_nothing_behind,
    the_mark_stays_until_a_grant_has_ended_in_order,
    deadlines_are_kept_with_tolerance,
];

const SIZE: usize = 16 * 1024;
/// A client's default hold limit is 5 s; whatever comes well before was not a deadline.
const AT_ONCE: Duration = Duration::from_secs(2);

fn a_stuck_holder_is_evicted_at_its_limit_and_all_are_told() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut stuck = Group::with_hold("vts/stuck", 300);
    stuck.add(&buffer, Access::WRITE);
    let mut next = Group::of("vts/next", &buffer, Access::DMA_WRITE);
    let held = stuck.lock();
    next.binder.lock(0).expect("lock");

    let record = stuck.next_event().expect("an eviction");
    let told = now_ns();
    assert_eq!((record.kind, record.token), (event::EVICTED, held.token));
    assert_eq!(record.flags & event::FLAG_FENCE, 0);
    assert!(told >= held.deadline, "evicted {} ns too early", held.deadline - told);
    assert_eq!(error(stuck.binder.unlock(held.token)), ERROR_EVICTED);
    let pending = Pending::new();
    let fences = [whole(&pending.sync_file)];
    assert_eq!(error(stuck.binder.unlockWithFences(held.token, &fences)), ERROR_EVICTED);

    let grant = next.next_grant();
    assert!(grant.buffers[0].2, "the next holder was not told");
    next.unlock(&grant);
    assert!(!next.cycle().buffers[0].2, "the mark outlives the grant that reported it");
    // The evicted group itself goes on, and its dead token stays dead.
    let again = stuck.cycle();
    assert!(again.token > held.token);
    assert_eq!(error(stuck.binder.unlock(held.token)), ERROR_EVICTED);
}

fn two_readers_time_out_and_the_writer_is_granted_once() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut readers: Vec<Group> = (0..2).map(|_| Group::with_hold("vts/reader", 300)).collect();
    for reader in &mut readers {
        reader.add(&buffer, Access::DMA_READ);
        reader.lock();
    }
    let mut writer = Group::of("vts/writer", &buffer, Access::DMA_WRITE);
    writer.lock_must_wait();
    for reader in &mut readers {
        assert_eq!(reader.next_event().expect("an eviction").kind, event::EVICTED);
    }
    let grant = writer.next_grant();
    assert!(writer.nothing_within(SHORT));
    for reader in &mut readers {
        assert_eq!(error(reader.binder.tryLock()), ERROR_WOULD_BLOCK);
    }
    writer.unlock(&grant);
    for reader in &mut readers {
        reader.cycle();
    }
}

fn a_killed_holder_is_released_at_once() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut holder = Client::start(User::CAMERA, "hold", buffer.as_fd(), Access::WRITE);
    assert_eq!(holder.line(), "granted");
    let mut next = Group::of("vts/next", &buffer, Access::DMA_WRITE);
    next.lock_must_wait();
    let begin = Instant::now();
    holder.kill();
    let grant = next.next_grant();
    assert!(begin.elapsed() < AT_ONCE, "took {:?}", begin.elapsed());
    assert!(grant.buffers[0].2, "the next holder was not told");
}

fn a_killed_waiter_is_out_of_the_way() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut reader = Group::of("vts/reader", &buffer, Access::DMA_READ);
    reader.lock();
    let mut waiter = Client::start(User::CODEC, "queue", buffer.as_fd(), Access::WRITE);
    assert_eq!(waiter.line(), "queued");
    let mut behind = Group::of("vts/behind", &buffer, Access::DMA_READ);
    behind.lock_must_wait();
    waiter.kill();
    let grant = behind.next_grant();
    assert!(!grant.buffers[0].2, "a waiter has held nothing");
}

fn dropping_the_group_binder_ends_its_grant() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut holder = Group::of("vts/holder", &buffer, Access::DMA_WRITE);
    holder.lock();
    let mut next = Group::of("vts/next", &buffer, Access::DMA_WRITE);
    next.lock_must_wait();
    let begin = Instant::now();
    drop(holder);
    assert!(next.next_grant().buffers[0].2);
    assert!(begin.elapsed() < AT_ONCE);
}

fn closing_a_group_ends_its_grant_in_order() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut holder = Group::of("vts/holder", &buffer, Access::DMA_WRITE);
    holder.lock();
    let mut next = Group::of("vts/next", &buffer, Access::DMA_WRITE);
    next.lock_must_wait();
    holder.binder.close().expect("close");
    assert!(!next.next_grant().buffers[0].2, "close() is no eviction");
    assert!(holder.next_event().is_none(), "the pipe must end");
}

fn a_client_that_goes_leaves_nothing_behind() {
    let before = buffersync_vts::hal::counter("groups");
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut client = Client::start(User::PREVIEW, "hold", buffer.as_fd(), Access::READ);
    assert_eq!(client.line(), "granted");
    client.kill();
    eventually("the groups are gone", || buffersync_vts::hal::counter("groups") == before);
    eventually("the buffers are gone", || buffersync_vts::hal::counter("buffers") == 0);
}

fn the_mark_stays_until_a_grant_has_ended_in_order() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut stuck = Group::with_hold("vts/stuck", 200);
    stuck.add(&buffer, Access::DMA_WRITE);
    let mut readers: Vec<Group> =
        (0..2).map(|_| Group::of("vts/reader", &buffer, Access::DMA_READ)).collect();
    stuck.lock();
    assert_eq!(stuck.next_event().expect("an eviction").kind, event::EVICTED);
    // Both begin before either has ended: both are told.
    let grants: Vec<_> = readers.iter_mut().map(Group::lock).collect();
    assert!(grants.iter().all(|grant| grant.buffers[0].2), "{grants:?}");
    readers[0].unlock(&grants[0]);
    assert!(!readers[0].cycle().buffers[0].2, "one has ended in order");
    readers[1].unlock(&grants[1]);
}

/// Never early, and late by no more than a busy machine makes it.
fn deadlines_are_kept_with_tolerance() {
    const LATE: i64 = 500_000_000;
    let buffer = heap::allocate(SIZE).expect("heap");
    for hold_ms in [50, 120, 300] {
        let mut group = Group::with_hold("vts/deadline", hold_ms);
        group.add(&buffer, Access::DMA_WRITE);
        let held = group.lock();
        let record = group.next_event().expect("an eviction");
        let late = now_ns() - held.deadline;
        assert_eq!((record.kind, record.token), (event::EVICTED, held.token));
        assert!((0..LATE).contains(&late), "{hold_ms} ms: {late} ns late");
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Evictions: at the deadline, and when a client dies.

use std::os::fd::AsFd;
use std::time::Duration;

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::*;
use buffersync_aidl::event;
use buffersync_testbed_guest::dmabuf::DmaBuf;
use buffersync_testbed_guest::heap;
use buffersync_testbed_guest::user::User;
use buffersync_vts::fence::Pending;
use buffersync_vts::hal::{
    counter, error, eventually, granted_in, now_ns, service_pid, whole, Group, SHORT,
};
use buffersync_vts::pace::Limit;
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
    a_reader_ends_the_mark_of_the_evicted_and_not_that_of_torn_content,
    three_readers_are_told_that_a_dead_writer_left_torn_content,
    readers_that_come_when_the_only_group_has_died_are_told_too,
    an_evicted_writer_does_not_repair_what_another_one_left,
    an_evicted_reader_leaves_no_torn_content,
    a_marked_buffer_keeps_its_id_and_its_generation_when_nobody_has_it,
    the_tokens_of_sixteen_evictions_are_remembered_and_no_more,
    deadlines_are_kept_with_tolerance,
    a_grant_that_nobody_reads_ends_before_its_deadline,
];

const SIZE: usize = 16 * 1024;

fn a_stuck_holder_is_evicted_at_its_limit_and_all_are_told() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut stuck = Group::with_hold("vts/stuck", 300);
    stuck.add(&buffer, Access::WRITE);
    let mut next = Group::of("vts/next", &buffer, Access::DMA_WRITE);
    let held = stuck.lock();
    let reply = next.binder.lock(0).expect("lock");
    assert!(granted_in(&reply).is_none(), "granted against somebody who holds");

    let flags = stuck.next_eviction(held.token);
    let told = now_ns();
    assert_eq!(flags & event::FLAG_FENCE, 0);
    assert!(told >= held.deadline, "evicted {} ns too early", held.deadline - told);
    assert_eq!(error(stuck.binder.unlock(held.token)), ERROR_EVICTED);
    let pending = Pending::new();
    let fences = [whole(&pending.sync_file)];
    assert_eq!(error(stuck.binder.unlock_with(held.token, &fences)), ERROR_EVICTED);

    let grant = next.granted(&reply);
    assert_eq!(grant.marks(), (true, true), "the next holder was not told");
    next.unlock(&grant);
    assert_eq!(next.cycle().marks(), (false, false), "a writer has ended in order");
    // The evicted group can be used again, and its dead token stays dead.
    let again = stuck.cycle();
    assert!(again.token > held.token);
    assert_eq!(error(stuck.binder.unlock(held.token)), ERROR_EVICTED);
}

fn two_readers_time_out_and_the_writer_is_granted_once() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut readers: Vec<Group> = (0..2).map(|_| Group::with_hold("vts/reader", 1000)).collect();
    for reader in &mut readers {
        reader.add(&buffer, Access::DMA_READ);
    }
    let mut writer = Group::of("vts/writer", &buffer, Access::DMA_WRITE);
    let held: Vec<_> = readers.iter_mut().map(Group::lock).collect();
    writer.lock_must_wait();
    for (reader, held) in readers.iter_mut().zip(&held) {
        reader.next_eviction(held.token);
    }
    let grant = writer.next_grant();
    assert!(writer.nothing_within(SHORT));
    for reader in &mut readers {
        assert_eq!(error(reader.binder.try_lock()), ERROR_WOULD_BLOCK);
    }
    writer.unlock(&grant);
    for reader in &mut readers {
        reader.cycle();
    }
}

fn a_killed_holder_is_released_at_once() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut holder = Client::start(User::CAMERA, "hold", buffer.as_fd(), Access::WRITE);
    let deadline = Limit::at(holder.granted());
    let mut next = Group::of("vts/next", &buffer, Access::DMA_WRITE);
    next.lock_must_wait();
    holder.kill();
    let grant = next.next_grant();
    deadline.assert_ahead("the release of what a dead client held");
    assert_eq!(grant.marks(), (true, true), "the next holder was not told");
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
    assert_eq!(grant.marks(), (false, false), "a waiter has held nothing");
}

fn dropping_the_group_binder_ends_its_grant() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut holder = Group::of("vts/holder", &buffer, Access::DMA_WRITE);
    let deadline = Limit::at(holder.lock().deadline);
    let mut next = Group::of("vts/next", &buffer, Access::DMA_WRITE);
    next.lock_must_wait();
    drop(holder);
    assert_eq!(next.next_grant().marks(), (true, true));
    deadline.assert_ahead("the release of what a group held that is gone");
}

fn closing_a_group_ends_its_grant_in_order() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut holder = Group::of("vts/holder", &buffer, Access::DMA_WRITE);
    holder.lock();
    let mut next = Group::of("vts/next", &buffer, Access::DMA_WRITE);
    next.lock_must_wait();
    holder.binder.close().expect("close");
    assert_eq!(next.next_grant().marks(), (false, false), "close() is no eviction");
    assert!(holder.next_event().is_none(), "the channel must end");
}

fn a_client_that_goes_leaves_nothing_behind() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut client = Client::start(User::PREVIEW, "hold", buffer.as_fd(), Access::READ);
    client.granted();
    assert_eq!((counter("groups"), counter("buffers")), (1, 1));
    client.kill();
    eventually("the groups are gone", || counter("groups") == 0);
    eventually("the buffers are gone", || counter("buffers") == 0);
}

/// Opens a group that is evicted from the buffer at once.
fn evicted(buffer: &DmaBuf, access: Access) -> Group {
    let mut stuck = Group::with_hold("vts/stuck", 100);
    stuck.add(buffer, access);
    evict(&mut stuck);
    stuck
}

/// Locks, and waits until the grant is taken away. Returns its token.
fn evict(group: &mut Group) -> i64 {
    let held = group.lock();
    group.next_eviction(held.token);
    held.token
}

fn the_mark_stays_until_a_grant_has_ended_in_order() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut readers: Vec<Group> =
        (0..2).map(|_| Group::of("vts/reader", &buffer, Access::DMA_READ)).collect();
    let _stuck = evicted(&buffer, Access::DMA_WRITE);
    // Both grants begin before one has ended, so both have the mark.
    let grants: Vec<_> = readers.iter_mut().map(Group::lock).collect();
    assert!(grants.iter().all(|grant| grant.marks() == (true, true)), "{grants:?}");
    readers[0].unlock(&grants[0]);
    assert!(!readers[0].cycle().marks().0, "one has ended in order");
    readers[1].unlock(&grants[1]);
}

fn a_reader_ends_the_mark_of_the_evicted_and_not_that_of_torn_content() {
    for access in [Access::READ, Access::DMA_READ] {
        let buffer = heap::allocate(SIZE).expect("heap");
        let mut reader = Group::of("vts/reader", &buffer, access);
        let mut writer = Group::of("vts/writer", &buffer, Access::DMA_WRITE);
        let _stuck = evicted(&buffer, Access::DMA_WRITE);
        assert_eq!(reader.cycle().marks(), (true, true));
        assert_eq!(reader.cycle().marks(), (false, true), "a reader repairs nothing");
        assert_eq!(writer.cycle().marks(), (false, true), "a writer is told too");
        assert_eq!(reader.cycle().marks(), (false, false), "a writer has ended in order");
    }
}

fn three_readers_are_told_that_a_dead_writer_left_torn_content() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut readers: Vec<Group> =
        (0..3).map(|_| Group::of("vts/reader", &buffer, Access::READ)).collect();
    let mut writer = Client::start(User::CAMERA, "hold", buffer.as_fd(), Access::WRITE);
    writer.granted();
    writer.kill();
    // The first reader waits until the service hears of the death.
    let marks: Vec<_> = readers.iter_mut().map(|reader| reader.cycle().marks()).collect();
    assert_eq!(marks, [(true, true), (false, true), (false, true)]);
}

fn readers_that_come_when_the_only_group_has_died_are_told_too() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut writer = Client::start(User::CAMERA, "hold", buffer.as_fd(), Access::WRITE);
    writer.granted();
    writer.kill();
    eventually("nobody has the buffer", || counter("groups") == 0 && counter("buffers") == 0);
    let marks = [(); 3].map(|()| Group::of("vts/late", &buffer, Access::READ).cycle().marks());
    assert_eq!(marks, [(true, true), (false, true), (false, true)]);
    let mut repairer = Group::of("vts/repairer", &buffer, Access::WRITE);
    assert_eq!(repairer.cycle().marks(), (false, true));
    assert_eq!(repairer.cycle().marks(), (false, false));
}

fn an_evicted_writer_does_not_repair_what_another_one_left() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut reader = Group::of("vts/reader", &buffer, Access::DMA_READ);
    let _first = evicted(&buffer, Access::DMA_WRITE);
    assert_eq!(reader.cycle().marks(), (true, true));
    let _second = evicted(&buffer, Access::DMA_WRITE);
    assert_eq!(reader.cycle().marks(), (true, true));
    assert_eq!(reader.cycle().marks(), (false, true));
}

fn an_evicted_reader_leaves_no_torn_content() {
    for access in [Access::READ, Access::DMA_READ] {
        let buffer = heap::allocate(SIZE).expect("heap");
        let mut next = Group::of("vts/next", &buffer, Access::DMA_READ);
        let _stuck = evicted(&buffer, access);
        assert_eq!(next.cycle().marks(), (true, false));
        assert_eq!(next.cycle().marks(), (false, false));
    }
}

fn a_marked_buffer_keeps_its_id_and_its_generation_when_nobody_has_it() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let nobody_has_it = || eventually("nobody has the buffer", || counter("buffers") == 0);
    let of = |access| Group::of("vts/again", &buffer, access);
    let mut stuck = of(Access::DMA_WRITE);
    let (id, first, _) = stuck.cycle().buffers[0];
    stuck.lock();
    drop(stuck);
    nobody_has_it();
    // The service keeps only the identity of the buffer.
    eventually("no descriptor of a buffer is kept", || {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", service_pid())).expect("fds").flatten();
        let mut targets = fds.filter_map(|fd| std::fs::read_link(fd.path()).ok());
        !targets.any(|target| target.to_string_lossy().contains("dmabuf"))
    });

    let again = of(Access::DMA_READ).cycle();
    assert_eq!((again.buffers[0], again.marks()), ((id, first + 1, true), (true, true)));
    nobody_has_it();
    let again = of(Access::DMA_WRITE).cycle();
    assert_eq!((again.buffers[0], again.marks()), ((id, first + 2, false), (false, true)));
    nobody_has_it();
    // The marks were cleared, so the service remembers nothing.
    let fresh = of(Access::DMA_WRITE).cycle();
    assert!(fresh.buffers[0].1 > first + 3 && fresh.marks() == (false, false));
}

fn the_tokens_of_sixteen_evictions_are_remembered_and_no_more() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut stuck = Group::with_hold("vts/stuck", 20);
    stuck.add(&buffer, Access::DMA_WRITE);
    let mut tokens: Vec<i64> = (0..16).map(|_| evict(&mut stuck)).collect();
    for token in &tokens {
        assert_eq!(error(stuck.binder.unlock(*token)), ERROR_EVICTED);
        assert_eq!(error(stuck.binder.acquire_fence(*token, 0)), ERROR_EVICTED);
    }
    tokens.push(evict(&mut stuck));
    assert_eq!(error(stuck.binder.unlock(tokens[0])), ERROR_ENDED);
    for token in &tokens[1..] {
        assert_eq!(error(stuck.binder.unlock(*token)), ERROR_EVICTED);
    }
}

/// An eviction is never early. A delay like this is a wrong deadline if it comes each time; a busy machine has it
/// sometimes.
fn deadlines_are_kept_with_tolerance() {
    const LATE: i64 = 500_000_000;
    const TIMES: u32 = 20;
    let buffer = heap::allocate(SIZE).expect("heap");
    for hold_ms in [50, 120, 300] {
        let mut group = Group::with_hold("vts/deadline", hold_ms);
        group.add(&buffer, Access::DMA_WRITE);
        let in_time = (0..TIMES).any(|_| {
            let held = group.lock();
            group.next_eviction(held.token);
            let late = now_ns() - held.deadline;
            assert!(late >= 0, "{hold_ms} ms: {late} ns late");
            late < LATE
        });
        assert!(in_time, "{hold_ms} ms: more than {LATE} ns late, {TIMES} times");
    }
}

fn a_grant_that_nobody_reads_ends_before_its_deadline() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut holder = Group::of("vts/holder", &buffer, Access::WRITE);
    let mut stopped = Group::of("vts/stopped", &buffer, Access::WRITE);
    let mut next = Group::of("vts/next", &buffer, Access::WRITE);
    let held = holder.lock();
    let token = stopped.lock_must_wait();
    next.lock_must_wait();
    holder.unlock(&held);
    // Nobody reads the record of the lock that is granted now.
    let granted = next.next_grant();
    let told = now_ns();
    let grant = stopped.next_grant();
    assert_eq!(grant.token, token);
    let limit = Limit::at(grant.deadline);
    assert!(told < grant.deadline, "the next lock was granted at the deadline");
    assert_eq!(stopped.next_eviction(token) & event::FLAG_FENCE, 0);
    drop(limit);
    next.unlock(&granted);
    // A client that reads keeps its grant.
    let held = holder.lock();
    stopped.lock_must_wait();
    holder.unlock(&held);
    let grant = stopped.next_grant();
    let limit = Limit::at(grant.deadline);
    next.lock_must_wait();
    assert!(
        next.nothing_within(Duration::from_millis(2_500)),
        "granted against a client that reads"
    );
    limit.assert_ahead("the grant of a client that reads");
    stopped.unlock(&grant);
    next.next_grant();
}

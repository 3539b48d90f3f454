// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Limits: a client can't exceed them, and can't delay others.

use std::os::fd::AsFd;
use std::sync::mpsc::channel;

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::*;
use buffersync_aidl::aidl::vendor::buffersync::ReleaseFence::MAX_FENCES;
use buffersync_testbed_guest::dmabuf::DmaBuf;
use buffersync_testbed_guest::heap;
use buffersync_testbed_guest::user::User;
use buffersync_vts::calls::Calls;
use buffersync_vts::fence::{has_signalled, Pending};
use buffersync_vts::hal::{
    at_rest, counter, error, eventually, fill_channel, handle, is_granted, long, service,
    service_pid, service_threads, whole, Group,
};
use buffersync_vts::process::Client;
use buffersync_vts::suite::Tests;
use buffersync_vts::tests;

pub const TESTS: Tests = tests![
    a_uid_has_so_many_groups_and_others_are_not_affected,
    a_uid_has_so_many_waiting_locks,
    a_group_has_so_many_buffers_and_the_largest_grant_arrives_whole,
    a_channel_that_nobody_reads_stops_its_own_group_only,
    the_service_answers_while_64_locks_wait,
    a_group_has_so_many_fences_pending_and_no_more,
    a_release_fence_is_made_of_so_many_fences_and_no_more,
    a_uid_has_so_many_memberships,
    a_uid_has_so_many_fences_pending,
    a_thousand_pending_fences_cost_no_thread,
    descriptors_do_not_leak,
    the_service_lives_with_what_makes_no_sense,
];

const SIZE: usize = 4096;

fn a_uid_has_so_many_groups_and_others_are_not_affected() {
    let most = service().getCapabilities().expect("capabilities").maxGroupsPerUid;
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut client = Client::start(User::CODEC, "groups", buffer.as_fd(), Access::READ);
    assert_eq!(client.line(), format!("{most} {ERROR_QUOTA}"));
    let mut other = Client::start(User::PREVIEW, "hold", buffer.as_fd(), Access::READ);
    other.granted();
}

fn a_uid_has_so_many_waiting_locks() {
    let most = service().getCapabilities().expect("capabilities").maxQueuedPerUid;
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut holder = Group::of("vts/holder", &buffer, Access::DMA_WRITE);
    let mut client = Client::start(User::CODEC, "queues", buffer.as_fd(), Access::WRITE);
    assert_eq!(client.line(), "ready");
    holder.lock();
    client.go();
    assert_eq!(client.line(), format!("{most} {ERROR_QUOTA}"));
}

fn a_group_has_so_many_buffers_and_the_largest_grant_arrives_whole() {
    let most = service().getCapabilities().expect("capabilities").maxBuffersPerGroup as usize;
    let buffers: Vec<_> = (0..=most).map(|_| heap::allocate(SIZE).expect("heap")).collect();
    let mut group = Group::open("vts/large");
    for buffer in &buffers[..most] {
        group.add(buffer, Access::READ);
    }
    let one_more = group.binder.add(&handle(&[buffers[most].as_fd()]), Access::READ);
    assert_eq!(error(one_more), ERROR_QUOTA);
    assert_eq!(group.cycle().buffers.len(), most);
}

fn a_channel_that_nobody_reads_stops_its_own_group_only() {
    let (x, y) = (heap::allocate(SIZE).expect("heap"), heap::allocate(SIZE).expect("heap"));
    let mut holder = Group::open("vts/holder");
    let silent = Group::open("vts/silent");
    assert_eq!(fill_channel(&silent, &mut holder, &x), ERROR_EVENTS_UNREAD);
    Group::of("vts/other", &y, Access::WRITE).cycle();
}

fn the_service_answers_while_64_locks_wait() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut holder = Group::of("vts/holder", &buffer, Access::DMA_WRITE);
    // Four times the threads of a binder thread pool.
    let waiters: Vec<Group> =
        (0..64).map(|_| Group::of("vts/waiter", &buffer, Access::DMA_WRITE)).collect();
    let held = holder.lock();
    let (answered, answers) = channel();
    for waiter in &waiters {
        let (waiter, answered) = (Calls::new(waiter.binder.object.clone()), answered.clone());
        std::thread::spawn(move || {
            answered.send(is_granted(&waiter.lock(0).expect("lock"))).expect("somebody listens");
        });
    }
    std::thread::spawn(move || {
        for _ in 0..50 {
            service().getCapabilities().expect("capabilities");
        }
        answered.send(false).expect("somebody listens");
    });
    for _ in 0..=waiters.len() {
        let granted = answers.recv_timeout(long()).expect("an answer while locks wait");
        assert!(!granted, "granted against somebody who holds");
    }
    // All calls returned while the holder held, so no call waited for it.
    holder.unlock(&held);
    drop(waiters);
    holder.cycle();
}

/// Locks and unlocks with this number of fences, each in its own sync_file. Each call gives many, so that all are
/// pending before the time of the first one is over.
fn leave_fences(group: &mut Group, pending: &Pending, count: i32) {
    let each = service().getCapabilities().expect("capabilities").maxBuffersPerGroup;
    let mut left = count;
    while left > 0 {
        let grant = group.lock();
        let fences: Vec<_> = (0..left.min(each)).map(|_| whole(&pending.another())).collect();
        group.unlock_with(&grant, &fences);
        left -= each;
    }
}

/// Groups of a reading device, with `count` fences together.
fn leave_fences_of_many(pending: &Pending, buffer: &DmaBuf, count: i32) -> Vec<Group> {
    let most = service().getCapabilities().expect("capabilities").maxFencesPerGroup;
    let of = |nth: i32| {
        let mut group = Group::of("vts/many", buffer, Access::DMA_READ);
        leave_fences(&mut group, pending, most.min(count - nth * most));
        group
    };
    (0..(count + most - 1) / most).map(of).collect()
}

fn a_group_has_so_many_fences_pending_and_no_more() {
    let pending = Pending::new();
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut group = Group::of("vts/fences", &buffer, Access::DMA_READ);
    let most = service().getCapabilities().expect("capabilities").maxFencesPerGroup;
    leave_fences(&mut group, &pending, most);
    let grant = group.lock();
    assert_eq!(
        error(group.binder.unlock_with(grant.token, &[whole(&pending.sync_file)])),
        ERROR_QUOTA
    );
    let fences = [whole(&pending.sync_file)];
    let refused = group.binder.unlock_and_lock(grant.token, &fences, 0);
    assert_eq!(error(refused), ERROR_QUOTA);
    // The grant goes on, and the service keeps nothing of the refused fence.
    assert_eq!(counter("fences"), most as u64);
    group.unlock(&grant);
    pending.signal();
    eventually("all fences are gone", || counter("fences") == 0);
    group.cycle();
}

fn a_release_fence_is_made_of_so_many_fences_and_no_more() {
    let most = MAX_FENCES as usize;
    let (many, too_many) = (Pending::of(most), Pending::of(most + 1));
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut giver = Group::of("vts/giver", &buffer, Access::DMA_WRITE);
    let mut taker = Group::of("vts/taker", &buffer, Access::DMA_READ);
    let grant = giver.lock();
    let refused = giver.binder.unlock_with(grant.token, &[whole(&too_many.sync_file)]);
    assert_eq!(error(refused), ERROR_QUOTA);
    // The grant goes on.
    giver.unlock_fenced(&grant, &many.sync_file);
    let grant = taker.lock();
    let fence = taker.acquire_fence(&grant, 0).expect("an acquire fence");
    assert!(!has_signalled(&fence));
    many.signal();
    assert!(has_signalled(&fence));
    taker.unlock(&grant);
}

fn a_uid_has_so_many_memberships() {
    let caps = service().getCapabilities().expect("capabilities");
    let (most, groups) = (caps.maxBuffersPerUid, caps.maxGroupsPerUid);
    let each = caps.maxBuffersPerGroup;
    assert!(each * groups > most, "the bound could not be reached");
    let buffers: Vec<_> = (0..each).map(|_| heap::allocate(SIZE).expect("heap")).collect();
    let mut filled = Vec::new();
    let (mut count, mut refused) = (0, 0);
    'full: for _ in 0..groups {
        let group = Group::open("vts/member");
        for buffer in &buffers {
            match group.binder.add(&handle(&[buffer.as_fd()]), Access::READ) {
                Ok(_) => count += 1,
                denied => {
                    refused = error(denied);
                    break 'full;
                }
            }
        }
        filled.push(group);
    }
    assert_eq!((count, refused), (most, ERROR_QUOTA));
    // A closed group makes room for a new one.
    filled[0].binder.remove_all().expect("removeAll");
    Group::of("vts/again", &buffers[0], Access::READ).cycle();
    drop(filled);
}

fn a_uid_has_so_many_fences_pending() {
    let most = service().getCapabilities().expect("capabilities").maxFencesPerUid;
    let (pending, another) = (Pending::new(), Pending::new());
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut group = Group::of("vts/fences", &buffer, Access::DMA_READ);
    let filled = leave_fences_of_many(&pending, &buffer, most);
    assert_eq!(counter("fences"), most as u64);
    let held = group.lock();
    let refused = group.binder.unlock_with(held.token, &[whole(&another.sync_file)]);
    assert_eq!(error(refused), ERROR_QUOTA);
    // The grant goes on, and can end with a fence when there is room again.
    pending.signal();
    eventually("the fences are forgotten", || counter("fences") == 0);
    group.unlock_fenced(&held, &another.sync_file);
    another.signal();
    drop(filled);
}

fn a_thousand_pending_fences_cost_no_thread() {
    const FENCES: i32 = 1000;
    let pending = Pending::new();
    let [buffer, other] = [(); 2].map(|()| heap::allocate(SIZE).expect("heap"));
    let mut writer = Group::of("vts/writer", &buffer, Access::WRITE);
    let before = service_threads();
    let filled = leave_fences_of_many(&pending, &buffer, FENCES);
    assert_eq!(counter("fences"), FENCES as u64);
    // A binder runtime may start threads for calls meanwhile, but far fewer.
    let more = service_threads().saturating_sub(before);
    assert!(more < FENCES as usize / 10, "{more} more threads than {before}");
    // Other clients are not delayed.
    Group::of("vts/other", &other, Access::WRITE).cycle();
    writer.lock_must_wait();
    pending.signal();
    assert_eq!(writer.next_grant().marks(), (false, false));
    eventually("all fences are gone", || counter("fences") == 0);
    drop(filled);
}

fn descriptors_do_not_leak() {
    let pid = service_pid();
    at_rest();
    let count = || std::fs::read_dir(format!("/proc/{pid}/fd")).expect("fds").count();
    let before = count();
    for _ in 0..20 {
        let buffer = heap::allocate(SIZE).expect("heap");
        let mut group = Group::of("vts/leak", &buffer, Access::WRITE);
        let _ = group.binder.add(&handle(&[buffer.as_fd()]), Access::READ);
        group.cycle();
    }
    eventually("as many as before", || count() <= before);
}

/// A handle that is full of the same buffer, and groups that are closed while they wait.
fn the_service_lives_with_what_makes_no_sense() {
    let caps = service().getCapabilities().expect("capabilities");
    let buffer = heap::allocate(SIZE).expect("heap");
    let many = vec![buffer.as_fd(); usize::try_from(caps.maxFdsPerHandle).expect("a bound")];
    let group = Group::open("vts/same");
    assert_eq!(group.binder.add(&handle(&many), Access::WRITE).expect("add").len(), 1);
    let mut holder = Group::of("vts/holder", &buffer, Access::WRITE);
    let held = holder.lock();
    for _ in 0..100 {
        let waiter = Group::of("vts/ghost", &buffer, Access::WRITE);
        waiter.binder.lock(1).expect("lock");
    }
    holder.unlock(&held);
    eventually("the ghosts are gone", || holder.binder.try_lock().is_ok());
}

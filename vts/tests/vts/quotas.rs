// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Bounds: what a client can't make grow, and what it can't hold up.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::*;
use buffersync_testbed_guest::heap;
use buffersync_testbed_guest::user::User;
use buffersync_vts::fence::Pending;
use buffersync_vts::hal::{counter, error, eventually, handle, service, whole, Group};
use buffersync_vts::process::Client;
use buffersync_vts::suite::Tests;
use buffersync_vts::tests;

pub const TESTS: Tests = tests![
    a_uid_has_so_many_groups_and_others_are_not_affected,
    a_uid_has_so_many_waiting_locks,
    a_group_has_so_many_buffers_and_the_largest_grant_arrives_whole,
    a_pipe_that_nobody_reads_stops_its_own_group_only,
    the_service_answers_while_64_locks_wait,
    a_group_has_so_many_fences_pending_and_no_more,
    a_uid_has_so_many_memberships,
    a_uid_has_so_many_fences_pending,
    the_service_lives_with_what_makes_no_sense,
];

const SIZE: usize = 4096;

fn a_uid_has_so_many_groups_and_others_are_not_affected() {
    let most = service().getCapabilities().expect("capabilities").maxGroupsPerUid;
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut client = Client::start(User::CODEC, "groups", buffer.as_fd(), Access::READ);
    assert_eq!(client.line(), format!("{most} {ERROR_QUOTA}"));
    let mut other = Client::start(User::PREVIEW, "hold", buffer.as_fd(), Access::READ);
    assert_eq!(other.line(), "granted");
}

fn a_uid_has_so_many_waiting_locks() {
    let most = service().getCapabilities().expect("capabilities").maxQueuedPerUid;
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut holder = Group::of("vts/holder", &buffer, Access::DMA_WRITE);
    holder.lock();
    let mut client = Client::start(User::CODEC, "queues", buffer.as_fd(), Access::WRITE);
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

fn a_pipe_that_nobody_reads_stops_its_own_group_only() {
    let (x, y) = (heap::allocate(SIZE).expect("heap"), heap::allocate(SIZE).expect("heap"));
    let holder = Group::of("vts/holder", &x, Access::DMA_WRITE);
    let silent = Group::of("vts/silent", &x, Access::DMA_WRITE);
    let refused = loop {
        let held = holder.binder.lock(0).expect("lock");
        let queued = match silent.binder.lock(0) {
            Ok(queued) => queued,
            refused => break error(refused),
        };
        holder.binder.unlock(held.token).expect("unlock");
        silent.binder.unlock(queued.token).expect("unlock");
    };
    assert_eq!(refused, ERROR_EVENTS_UNREAD);
    Group::of("vts/other", &y, Access::WRITE).cycle();
}

fn the_service_answers_while_64_locks_wait() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut holder = Group::of("vts/holder", &buffer, Access::DMA_WRITE);
    let held = holder.lock();
    // Four times as many as a binder thread pool has threads.
    let waiters: Vec<Group> =
        (0..64).map(|_| Group::of("vts/waiter", &buffer, Access::DMA_WRITE)).collect();
    let mut slowest = Duration::ZERO;
    std::thread::scope(|scope| {
        for waiter in &waiters {
            scope.spawn(|| waiter.binder.lock(0).expect("lock"));
        }
        for _ in 0..50 {
            let begin = Instant::now();
            service().getCapabilities().expect("capabilities");
            slowest = slowest.max(begin.elapsed());
        }
    });
    assert!(slowest < Duration::from_millis(500), "a call took {slowest:?}");
    drop(waiters);
    holder.unlock(&held);
    holder.cycle();
}

fn a_group_has_so_many_fences_pending_and_no_more() {
    let pending = Pending::new();
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut group = Group::of("vts/fences", &buffer, Access::DMA_READ);
    let most = service().getCapabilities().expect("capabilities").maxFencesPerGroup;
    for _ in 0..most {
        let grant = group.lock();
        group.unlock_fenced(&grant, &pending.sync_file);
    }
    let grant = group.lock();
    assert_eq!(
        error(group.binder.unlockWithFences(grant.token, &[whole(&pending.sync_file)])),
        ERROR_QUOTA
    );
    let fences = [whole(&pending.sync_file)];
    let refused = group.binder.unlockWithFencesAndLock(grant.token, &fences, group.key, 0);
    assert_eq!(error(refused), ERROR_QUOTA);
    // The grant goes on, and nothing is kept of the fence that was refused.
    assert_eq!(counter("fences"), most as u64);
    group.unlock(&grant);
    pending.signal();
    eventually("all fences are gone", || counter("fences") == 0);
    group.cycle();
}

fn a_uid_has_so_many_memberships() {
    let caps = service().getCapabilities().expect("capabilities");
    let (most, groups) = (caps.maxBuffersPerUid, caps.maxGroupsPerUid);
    let each = caps.maxBuffersPerGroup;
    assert!(each * groups > most, "the bound could not be reached");
    let buffers: Vec<_> = (0..each).map(|_| heap::allocate(SIZE).expect("heap")).collect();
    let mut filled = Vec::new();
    let mut count = 0;
    let refused = 'full: loop {
        let group = Group::open("vts/member");
        for buffer in &buffers {
            match group.binder.add(&handle(&[buffer.as_fd()]), Access::READ) {
                Ok(_) => count += 1,
                refused => break 'full error(refused),
            }
        }
        filled.push(group);
    };
    assert_eq!((count, refused), (most, ERROR_QUOTA));
    // What is let go can be had again.
    filled[0].binder.removeAll().expect("removeAll");
    Group::of("vts/again", &buffers[0], Access::READ).cycle();
    drop(filled);
}

fn a_uid_has_so_many_fences_pending() {
    let caps = service().getCapabilities().expect("capabilities");
    let pending = Pending::new();
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut groups = Vec::new();
    let mut count = 0;
    let refused = 'full: loop {
        let mut group = Group::of("vts/fences", &buffer, Access::DMA_READ);
        for _ in 0..caps.maxFencesPerGroup {
            let held = group.lock();
            match group.binder.unlockWithFences(held.token, &[whole(&pending.sync_file)]) {
                Ok(()) => count += 1,
                refused => {
                    let refused = error(refused);
                    // The grant goes on.
                    group.unlock(&held);
                    break 'full refused;
                }
            }
        }
        groups.push(group);
    };
    assert_eq!((count, refused), (caps.maxFencesPerUid, ERROR_QUOTA));
    pending.signal();
    let held = groups[0].lock();
    let another = Pending::new();
    eventually("the fences are forgotten", || {
        groups[0].binder.unlockWithFences(held.token, &[whole(&another.sync_file)]).is_ok()
    });
    another.signal();
}

/// A handle that is full of the same buffer, groups that come and go while they wait.
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
    eventually("the ghosts are gone", || holder.binder.tryLock().is_ok());
}

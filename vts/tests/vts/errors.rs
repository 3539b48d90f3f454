// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Every refused call returns the documented error and changes nothing.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use binder::ParcelFileDescriptor;
use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::GroupOptions::GroupOptions;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::*;
use buffersync_aidl::aidl::NativeHandle;
use buffersync_testbed_guest::heap;
use buffersync_vts::calls::Calls;
use buffersync_vts::fence::Pending;
use buffersync_vts::hal::{
    counter, dump, error, handle, is_granted, is_illegal_argument, service, whole, Group, ACCESSES,
};
use buffersync_vts::suite::Tests;
use buffersync_vts::tests;

pub const TESTS: Tests = tests![
    what_is_no_dma_buf_is_refused,
    other_descriptors_in_a_handle_are_skipped,
    a_closed_descriptor_does_not_arrive,
    handles_without_descriptors_or_with_too_many_are_refused,
    unknown_accesses_are_refused,
    a_buffer_added_twice_is_one_buffer_with_the_stronger_access,
    cpu_and_dma_access_in_one_group_conflict,
    unknown_buffers_can_not_be_removed,
    only_the_own_tokens_of_a_grant_unlock_it,
    a_group_that_waits_or_holds_refuses_another_lock_of_the_buffer,
    try_lock_never_waits_for_others,
    a_closed_group_refuses_everything,
    bad_names_and_options_open_nothing,
    a_release_fence_must_be_a_sync_file_and_the_grant_goes_on,
    the_dump_names_buffers_holders_and_waiters_and_is_bounded,
    an_empty_group_has_nothing_to_lock,
    acquire_fences_are_for_the_holder_only,
    more_fences_than_buffers_are_refused,
];

const SIZE: usize = 16 * 1024;

/// Runs refused calls and checks that the service's tables are as before.
fn changing_nothing(calls: impl FnOnce()) {
    let state = || (counter("buffers"), counter("groups"), counter("grants"), counter("queued"));
    let before = state();
    calls();
    assert_eq!(state(), before);
}

fn what_is_no_dma_buf_is_refused() {
    let group = Group::open("vts/fds");
    let null = File::open("/dev/null").expect("null");
    let program = File::open("/proc/self/exe").expect("a file");
    let (pipe, _write) = nix::unistd::pipe().expect("pipe");
    changing_nothing(|| {
        for fd in [null.as_fd(), program.as_fd(), pipe.as_fd()] {
            let refused = group.binder.add(&handle(&[fd]), Access::READ);
            assert_eq!(error(refused), ERROR_NOT_DMABUF);
        }
        assert_eq!(error(group.binder.lock(0)), ERROR_EMPTY_GROUP);
    });
}

fn other_descriptors_in_a_handle_are_skipped() {
    let mut group = Group::open("vts/mixed");
    let null = File::open("/dev/null").expect("null");
    let (x, y) = (heap::allocate(SIZE).expect("heap"), heap::allocate(SIZE).expect("heap"));
    let mixed = handle(&[null.as_fd(), x.as_fd(), null.as_fd(), y.as_fd(), x.as_fd()]);
    let ids = group.binder.add(&mixed, Access::DMA_READ).expect("add");
    assert_eq!(ids.len(), 2);
    let granted: Vec<i64> = group.cycle().buffers.iter().map(|buffer| buffer.0).collect();
    assert_eq!(granted, ids, "not in the order of their addition");
}

fn a_closed_descriptor_does_not_arrive() {
    let group = Group::open("vts/closed");
    // SAFETY: only the driver uses the number as a descriptor, and finds it closed.
    let closed = unsafe { OwnedFd::from_raw_fd(987_654) };
    let bad = NativeHandle { fds: vec![ParcelFileDescriptor::new(closed)], ints: Vec::new() };
    changing_nothing(|| assert!(group.binder.add(&bad, Access::READ).is_err()));
    // It must not be closed a second time.
    for fd in bad.fds {
        std::mem::forget(fd);
    }
}

fn handles_without_descriptors_or_with_too_many_are_refused() {
    let group = Group::open("vts/handles");
    let most = service().getCapabilities().expect("capabilities").maxFdsPerHandle as usize;
    let buffer = heap::allocate(SIZE).expect("heap");
    let many = vec![buffer.as_fd(); most + 1];
    changing_nothing(|| {
        assert!(is_illegal_argument(group.binder.add(&handle(&[]), Access::READ)));
        assert!(is_illegal_argument(group.binder.add(&handle(&many), Access::READ)));
    });
}

fn unknown_accesses_are_refused() {
    let group = Group::open("vts/access");
    let buffer = heap::allocate(SIZE).expect("heap");
    changing_nothing(|| {
        for bits in [-1, 0, 3, 4, 7, 8, i32::MAX] {
            let refused = group.binder.add(&handle(&[buffer.as_fd()]), Access(bits));
            assert!(is_illegal_argument(refused), "{bits}");
        }
    });
}

fn a_buffer_added_twice_is_one_buffer_with_the_stronger_access() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut group = Group::open("vts/twice");
    let first = group.add(&buffer, Access::DMA_READ);
    let other_fd = buffer.as_fd().try_clone_to_owned().expect("dup");
    assert_eq!(group.add(&other_fd, Access::DMA_WRITE), first);
    assert_eq!(group.add(&buffer, Access::DMA_READ), first);
    assert_eq!(group.lock().buffers.len(), 1);
    let mut reader = Group::of("vts/reader", &buffer, Access::DMA_READ);
    reader.lock_must_wait();
}

fn cpu_and_dma_access_in_one_group_conflict() {
    let buffer = heap::allocate(SIZE).expect("heap");
    for has in ACCESSES {
        for wants in ACCESSES {
            let dma = |access: Access| access.0 & 4 != 0;
            let mut group = Group::of("vts/conflict", &buffer, has);
            let added = group.binder.add(&handle(&[buffer.as_fd()]), wants);
            if dma(has) == dma(wants) {
                added.expect("add");
            } else {
                assert_eq!(error(added), ERROR_ACCESS_CONFLICT);
            }
            group.cycle();
        }
    }
}

fn unknown_buffers_can_not_be_removed() {
    let (x, y) = (heap::allocate(SIZE).expect("heap"), heap::allocate(SIZE).expect("heap"));
    let mut group = Group::of("vts/remove", &x, Access::DMA_READ);
    let other = Group::open("vts/other");
    let foreign = other.add(&y, Access::DMA_READ);
    changing_nothing(|| {
        for id in [foreign, 0, -1, i64::MAX] {
            assert_eq!(error(group.binder.remove(id)), ERROR_UNKNOWN_BUFFER);
        }
    });
    group.cycle();
}

fn only_the_own_tokens_of_a_grant_unlock_it() {
    let (x, y) = (heap::allocate(SIZE).expect("heap"), heap::allocate(SIZE).expect("heap"));
    let mut group = Group::of("vts/tokens", &x, Access::DMA_WRITE);
    let mut other = Group::of("vts/other", &y, Access::DMA_WRITE);
    let stale = group.cycle();
    let held = group.lock();
    let other_only = other.add(heap::allocate(SIZE).expect("heap"), Access::DMA_WRITE);
    let first = [other.cycle().buffers[0].0];
    let reply = other.binder.lock_some(&first, &[], 0).expect("lock");
    let foreign = other.granted(&reply);
    let pending = Pending::new();
    let fences = [whole(&pending.sync_file)];
    let object = group.binder.object.clone();
    let refused = |token, expected| {
        assert_eq!(error(object.unlock(token)), expected);
        assert_eq!(error(object.unlockBuffers(token, &[], &[])), expected);
        assert_eq!(error(object.unlockBuffers(token, &[], &fences)), expected);
    };
    refused(stale.token, ERROR_ENDED);
    // A number means a lock of this group, and of no other.
    let reply = other.binder.object.lock(1000, &[other_only], &[], 0).expect("lock");
    assert!(!reply.grant.is_empty());
    [1000, 0, -1, i64::MIN, i64::MAX].into_iter().for_each(|bad| refused(bad, ERROR_BAD_LOCK));
    other.binder.unlock(1000).expect("unlock");
    let mut rival = Group::of("vts/rival", &x, Access::DMA_WRITE);
    rival.lock_must_wait();
    group.unlock(&held);
    refused(held.token, ERROR_ENDED);
    assert_eq!(counter("fences"), 0, "what is refused leaves no fence behind");
    rival.next_grant();
    other.unlock(&foreign);
}

fn a_group_that_waits_or_holds_refuses_another_lock_of_the_buffer() {
    let x = heap::allocate(SIZE).expect("heap");
    let mut holder = Group::of("vts/holder", &x, Access::DMA_WRITE);
    let mut waiter = Group::of("vts/waiter", &x, Access::DMA_WRITE);
    let held = holder.lock();
    waiter.lock_must_wait();
    let id = held.buffers[0].0;
    for group in [&holder, &waiter] {
        assert_eq!(error(group.binder.lock(0)), ERROR_ALREADY_LOCKED);
        assert_eq!(error(group.binder.try_lock()), ERROR_ALREADY_LOCKED);
        assert_eq!(error(group.binder.remove_all()), ERROR_BUSY);
        assert_eq!(error(group.binder.remove(id)), ERROR_BUSY);
    }
    holder.unlock(&held);
    let grant = waiter.next_grant();
    assert_eq!(grant.buffers.len(), 1);
    waiter.unlock(&grant);
}

fn try_lock_never_waits_for_others() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut a = Group::of("vts/a", &buffer, Access::WRITE);
    let mut b = Group::of("vts/b", &buffer, Access::WRITE);
    let reply = a.binder.try_lock().expect("tryLock");
    let held = a.granted(&reply);
    changing_nothing(|| assert_eq!(error(b.binder.try_lock()), ERROR_WOULD_BLOCK));
    a.unlock(&held);
    let reply = b.binder.try_lock().expect("tryLock");
    assert!(is_granted(&reply), "nothing was to be done for the cache");
    let held = b.granted(&reply);
    b.unlock(&held);
}

fn a_closed_group_refuses_everything() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut group = Group::of("vts/closed", &buffer, Access::DMA_READ);
    let binder = Calls::new(group.binder.object.clone());
    binder.close().expect("close");
    assert!(group.next_event().is_none(), "the channel must end");
    let added = binder.add(&handle(&[buffer.as_fd()]), Access::DMA_READ);
    assert_eq!(error(added), ERROR_CLOSED);
    assert_eq!(error(binder.remove(1)), ERROR_CLOSED);
    assert_eq!(error(binder.remove_all()), ERROR_CLOSED);
    assert_eq!(error(binder.lock(0)), ERROR_CLOSED);
    assert_eq!(error(binder.try_lock()), ERROR_CLOSED);
    assert_eq!(error(binder.cancel()), ERROR_CLOSED);
    assert_eq!(error(binder.unlock(1)), ERROR_CLOSED);
    assert_eq!(error(binder.unlock_with(1, &[])), ERROR_CLOSED);
    assert_eq!(error(binder.unlock_some(1, &[1], &[])), ERROR_CLOSED);
    assert_eq!(error(binder.unlock_and_lock(1, &[], 0)), ERROR_CLOSED);
    assert_eq!(error(binder.grow(0)), ERROR_CLOSED);
    assert_eq!(error(binder.downgrade(1, &[])), ERROR_CLOSED);
    assert_eq!(error(binder.acquire_fence(1, 0)), ERROR_CLOSED);
    assert_eq!(error(binder.object.getLocks()), ERROR_CLOSED);
    assert_eq!(error(binder.close()), ERROR_CLOSED);
}

fn bad_names_and_options_open_nothing() {
    let service = service();
    let options = GroupOptions::default();
    let long = "x".repeat(MAX_NAME_BYTES as usize + 1);
    changing_nothing(|| {
        for name in ["", "a\nb", "a\0b", "\u{1b}[0m", &long] {
            assert!(is_illegal_argument(service.openGroup(name, &options)), "{name:?}");
        }
        let negative = GroupOptions { holdLimitMs: -1, ..Default::default() };
        assert!(is_illegal_argument(service.openGroup("vts/negative", &negative)));
    });
    let longest = "x".repeat(MAX_NAME_BYTES as usize);
    service.openGroup(&longest, &options).expect("the longest name");
}

fn a_release_fence_must_be_a_sync_file_and_the_grant_goes_on() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut group = Group::of("vts/fence", &buffer, Access::DMA_WRITE);
    let held = group.lock();
    let null = File::open("/dev/null").expect("null");
    for fd in [null.as_fd(), buffer.as_fd()] {
        let bogus = whole(&fd.try_clone_to_owned().expect("dup"));
        assert_eq!(error(group.binder.unlock_with(held.token, &[bogus])), ERROR_BAD_FENCE);
    }
    let most = service().getCapabilities().expect("capabilities").maxBuffersPerGroup;
    let null = null.try_clone().expect("dup").into();
    let too_many: Vec<_> = (0..most + 2).map(|_| whole(&null)).collect();
    assert!(is_illegal_argument(group.binder.unlock_with(held.token, &too_many)));
    let mut rival = Group::of("vts/rival", &buffer, Access::DMA_READ);
    rival.lock_must_wait();
    group.unlock(&held);
    rival.next_grant();
}

fn the_dump_names_buffers_holders_and_waiters_and_is_bounded() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let crowd: Vec<Group> = (0..230).map(|_| Group::open("vts/crowd")).collect();
    // Locked last, so that the holder is not evicted before the dump, unless the machine is slow.
    let mut holder = Group::of("vts/dump-holder", &buffer, Access::DMA_WRITE);
    holder.lock();
    let mut waiter = Group::of("vts/dump-waiter", &buffer, Access::READ);
    waiter.lock_must_wait();
    let text = dump(&[]);
    let inode =
        nix::sys::stat::fstat(buffer.as_fd().as_raw_fd()).expect("fstat").st_ino.to_string();
    let line = text.lines().find(|line| line.contains("vts/dump-holder/1 #")).expect("its line");
    assert!(line.split_whitespace().any(|word| word == inode), "{line}");
    assert!(line.contains(" WRITE|DMA ("), "{line}");
    assert!(line.contains("<- vts/dump-waiter/1 #"), "{line}");
    assert!(text.contains("counters:"));
    assert!(text.contains(" more"), "the table of groups is not cut");
    assert!(text.len() < 64 * 1024);
    drop(crowd);
}

fn an_empty_group_has_nothing_to_lock() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut group = Group::open("vts/empty");
    assert_eq!(error(group.binder.lock(0)), ERROR_EMPTY_GROUP);
    assert_eq!(error(group.binder.try_lock()), ERROR_EMPTY_GROUP);
    let id = group.add(&buffer, Access::READ);
    group.cycle();
    group.binder.remove(id).expect("remove");
    assert_eq!(error(group.binder.lock(0)), ERROR_EMPTY_GROUP);
}

fn acquire_fences_are_for_the_holder_only() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut group = Group::with_hold("vts/holder", 200);
    let id = group.add(&buffer, Access::DMA_WRITE);
    assert_eq!(error(group.binder.acquire_fence(1, 0)), ERROR_BAD_LOCK);
    let held = group.lock();
    assert!(group.acquire_fence(&held, 0).is_none() && group.acquire_fence(&held, id).is_none());
    assert_eq!(error(group.binder.acquire_fence(held.token, id + 99)), ERROR_UNKNOWN_BUFFER);
    assert_eq!(error(group.binder.acquire_fence(held.token + 99, 0)), ERROR_BAD_LOCK);
    group.next_eviction(held.token);
    assert_eq!(error(group.binder.acquire_fence(held.token, 0)), ERROR_EVICTED);
    let held = group.cycle();
    assert_eq!(error(group.binder.acquire_fence(held.token, 0)), ERROR_ENDED);
}

/// One fence for each buffer that a group can have, and one for the rest.
fn more_fences_than_buffers_are_refused() {
    let most = service().getCapabilities().expect("capabilities").maxBuffersPerGroup;
    let null: OwnedFd = File::open("/dev/null").expect("null").into();
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut group = Group::of("vts/many", &buffer, Access::DMA_WRITE);
    let held = group.lock();
    let fences: Vec<_> = (0..=most + 1).map(|_| whole(&null)).collect();
    assert!(is_illegal_argument(group.binder.unlock_with(held.token, &fences)));
    group.unlock(&held);
}

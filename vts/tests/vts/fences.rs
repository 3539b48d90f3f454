// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Explicit fences: the release fences of unlockBuffers(), and the acquire fences of the next holder.

use std::os::fd::AsFd;
use std::time::Duration;

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::{
    ERROR_BAD_LOCK, ERROR_ENDED, ERROR_UNKNOWN_BUFFER, ERROR_WOULD_BLOCK,
};
use buffersync_aidl::event;
use buffersync_testbed_guest::fdpass::are_one_file;
use buffersync_testbed_guest::heap;
use buffersync_vts::fence::{has_signalled, Pending};
use buffersync_vts::hal::{
    counter, dump, error, eventually, is_granted, now_ns, of_buffer, whole, Grant, Group, SHORT,
};
use buffersync_vts::suite::Tests;
use buffersync_vts::tests;

pub const TESTS: Tests = tests![
    the_next_device_is_granted_at_once_with_the_pending_fence,
    a_device_that_waits_in_the_queue_is_told_to_fetch_its_fence,
    an_acquire_fence_is_a_file_of_the_services,
    the_cpu_never_sees_what_was_before_the_fence,
    the_fences_of_several_readers_are_merged_for_the_next_writer,
    each_buffer_can_have_a_fence_of_its_own,
    a_fence_that_never_signals_is_an_eviction_when_the_hold_limit_has_passed_from_the_unlock,
    a_device_that_holds_can_still_ask_for_a_fence_whose_time_is_up,
    a_group_that_is_closed_leaves_its_fence_in_force,
    several_fences_for_one_buffer_add_up,
    each_fence_that_does_not_end_is_reported,
    torn_content_is_repaired_when_the_last_fence_of_the_writer_has_signalled,
    a_readers_fence_that_never_signals_leaves_no_torn_content,
    try_lock_does_not_wait_for_a_fence,
];

const SIZE: usize = 16 * 1024;

/// Locks. The lock must be granted at once. Returns the grant and the acquire fence of the reply.
fn lock_now(group: &mut Group) -> (Grant, Option<std::os::fd::OwnedFd>) {
    let reply = group.binder.lock(0).expect("lock");
    assert!(is_granted(&reply), "had to wait");
    let grant = group.granted(&reply);
    (grant, reply.fence.map(Into::into))
}

fn the_next_device_is_granted_at_once_with_the_pending_fence() {
    for access in [Access::DMA_READ, Access::DMA_WRITE] {
        let (pending, other) = (Pending::new(), Pending::new());
        let buffer = heap::allocate(SIZE).expect("heap");
        let mut giver = Group::of("vts/giver", &buffer, Access::DMA_WRITE);
        let mut taker = Group::of("vts/taker", &buffer, access);
        let held = giver.lock();
        giver.unlock_fenced(&held, &pending.sync_file);

        let (grant, fence) = lock_now(&mut taker);
        let fence = fence.expect("an acquire fence");
        assert_eq!(grant.fenced, [grant.buffers[0].0]);
        assert!(!has_signalled(&fence));
        // It is the same fence.
        other.signal();
        assert!(!has_signalled(&fence));
        pending.signal();
        assert!(has_signalled(&fence));
        taker.unlock(&grant);
        // The service notices the signal a little later.
        eventually("nothing is pending any more", || {
            let (grant, fence) = lock_now(&mut taker);
            taker.unlock(&grant);
            grant.fenced.is_empty() && fence.is_none()
        });
    }
}

fn a_device_that_waits_in_the_queue_is_told_to_fetch_its_fence() {
    let pending = Pending::new();
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut giver = Group::of("vts/giver", &buffer, Access::DMA_WRITE);
    let mut taker = Group::of("vts/taker", &buffer, Access::DMA_READ);
    let held = giver.lock();
    taker.lock_must_wait();
    giver.unlock_fenced(&held, &pending.sync_file);
    let grant = taker.next_grant();
    let id = grant.buffers[0].0;
    assert_eq!(grant.fenced, [id]);
    let fence = taker.acquire_fence(&grant, 0).expect("an acquire fence");
    assert!(!has_signalled(&fence));
    assert!(taker.acquire_fence(&grant, id).is_some());
    assert_eq!(error(taker.binder.acquire_fence(grant.token, id + 99)), ERROR_UNKNOWN_BUFFER);
    assert_eq!(error(taker.binder.acquire_fence(grant.token + 99, 0)), ERROR_BAD_LOCK);
    assert_eq!(error(giver.binder.acquire_fence(giver.binder.last(), 0)), ERROR_ENDED);
    pending.signal();
    assert!(has_signalled(&fence));
    assert!(taker.acquire_fence(&grant, 0).is_none(), "nothing is pending any more");
    taker.unlock(&grant);
    assert_eq!(error(taker.binder.acquire_fence(grant.token, 0)), ERROR_ENDED);
}

/// It is not the giver's file, because the next holder may have no rights on the giver's domain.
fn an_acquire_fence_is_a_file_of_the_services() {
    let pending = Pending::new();
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut giver = Group::of("vts/giver", &buffer, Access::DMA_WRITE);
    let mut taker = Group::of("vts/taker", &buffer, Access::DMA_READ);
    let held = giver.lock();
    giver.unlock_fenced(&held, &pending.sync_file);
    let (grant, fence) = lock_now(&mut taker);
    let fetched = taker.acquire_fence(&grant, 0);
    for fence in [fence, fetched] {
        let fence = fence.expect("an acquire fence");
        let same = are_one_file(fence.as_fd(), pending.sync_file.as_fd()).expect("kcmp");
        assert_ne!(same, Some(true), "the giver's own file is handed on");
        assert!(!has_signalled(&fence));
    }
    taker.unlock(&grant);
}

fn the_cpu_never_sees_what_was_before_the_fence() {
    for round in 0..20u64 {
        let pending = Pending::new();
        let buffer = heap::allocate(SIZE).expect("heap");
        let mut giver = Group::of("vts/giver", &buffer, Access::DMA_WRITE);
        let mut reader = Group::of("vts/reader", &buffer, Access::READ);
        let held = giver.lock();
        let reply = reader.binder.lock(0).expect("lock");
        assert!(!is_granted(&reply));
        giver.unlock_fenced(&held, &pending.sync_file);
        let starts = counter("sync_start");
        std::thread::scope(|scope| {
            // The device finishes some time after the unlock.
            let mut memory = buffer.map().expect("mmap");
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(round));
                assert_eq!(counter("sync_start"), starts, "START before the device was done");
                (0..memory.words()).for_each(|word| memory.write(word, round + 1));
                pending.signal();
            });
            let memory = buffer.map().expect("mmap");
            let grant = reader.granted(&reply);
            assert!(grant.fenced.is_empty());
            assert!((0..memory.words()).all(|word| memory.read(word) == round + 1), "too early");
            assert!(counter("sync_start") > starts);
            reader.unlock(&grant);
        });
        assert!(giver.nothing_within(Duration::ZERO));
    }
}

fn the_fences_of_several_readers_are_merged_for_the_next_writer() {
    let all: Vec<Pending> = (0..3).map(|_| Pending::new()).collect();
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut readers: Vec<Group> =
        all.iter().map(|_| Group::of("vts/reader", &buffer, Access::DMA_READ)).collect();
    let mut device = Group::of("vts/device", &buffer, Access::DMA_WRITE);
    let mut cpu = Group::of("vts/cpu", &buffer, Access::WRITE);
    let held: Vec<Grant> = readers.iter_mut().map(Group::lock).collect();
    for ((reader, grant), pending) in readers.iter().zip(&held).zip(&all) {
        reader.unlock_fenced(grant, &pending.sync_file);
    }
    // Readers do not wait for readers.
    let (grant, fence) = lock_now(&mut readers[0]);
    assert!(fence.is_none() && grant.fenced.is_empty());
    readers[0].unlock(&grant);

    let (grant, fence) = lock_now(&mut device);
    let fence = fence.expect("an acquire fence");
    device.unlock(&grant);
    cpu.lock_must_wait();
    for (done, pending) in [1, 2, 0].into_iter().map(|at| &all[at]).enumerate() {
        assert!(!has_signalled(&fence) && cpu.nothing_within(SHORT), "after {done} of 3");
        pending.signal();
    }
    assert!(has_signalled(&fence));
    let grant = cpu.next_grant();
    assert_eq!(grant.marks(), (false, false));
    cpu.unlock(&grant);
}

fn each_buffer_can_have_a_fence_of_its_own() {
    let (one, rest) = (Pending::new(), Pending::new());
    let [x, y, z] = [(); 3].map(|()| heap::allocate(SIZE).expect("heap"));
    let mut giver = Group::of("vts/giver", &x, Access::DMA_WRITE);
    giver.add(&y, Access::DMA_WRITE);
    let mut taker = Group::of("vts/taker", &y, Access::DMA_READ);
    let mut cpu = Group::of("vts/cpu", &z, Access::READ);
    let held = giver.lock();
    let [x_id, y_id] = [held.buffers[0].0, held.buffers[1].0];
    let stranger = [of_buffer(y_id + 99, &one.sync_file)];
    assert_eq!(error(giver.binder.unlock_with(held.token, &stranger)), ERROR_UNKNOWN_BUFFER);
    let fences = [of_buffer(x_id, &one.sync_file), whole(&rest.sync_file)];
    giver.unlock_with(&held, &fences);
    taker.add(&x, Access::DMA_READ);
    let (grant, merged) = lock_now(&mut taker);
    let merged = merged.expect("an acquire fence");
    let [of_x, of_y] = [x_id, y_id].map(|id| taker.acquire_fence(&grant, id).expect("a fence"));
    one.signal();
    assert_eq!([&of_x, &of_y, &merged].map(has_signalled), [true, false, false]);
    rest.signal();
    assert_eq!([&of_x, &of_y, &merged].map(has_signalled), [true, true, true]);
    taker.unlock(&grant);

    // The work on a buffer without a fence is finished.
    let one = Pending::new();
    giver.add(&z, Access::DMA_WRITE);
    let held = giver.lock();
    giver.unlock_with(&held, &[of_buffer(x_id, &one.sync_file)]);
    cpu.cycle();
    one.signal();
}

fn a_fence_that_never_signals_is_an_eviction_when_the_hold_limit_has_passed_from_the_unlock() {
    let pending = Pending::new();
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut giver = Group::with_hold("vts/forgetful", 1000);
    giver.add(&buffer, Access::DMA_WRITE);
    let mut taker = Group::of("vts/taker", &buffer, Access::READ);
    let held = giver.lock();
    std::thread::sleep(Duration::from_millis(200));
    let unlocked = now_ns();
    giver.unlock_fenced(&held, &pending.sync_file);
    taker.lock_must_wait();
    assert!(dump(&[]).contains("(fence of vts/forgetful/1, WRITE|DMA, "));
    assert_eq!(giver.next_eviction(held.token) & event::FLAG_FENCE, event::FLAG_FENCE);
    let grant = taker.next_grant();
    let granted = grant.deadline - i64::from(taker.hold_ms) * 1_000_000;
    assert!(granted >= unlocked + 1_000_000_000, "passed on too early");
    assert_eq!(grant.marks(), (true, true), "the next holder was not told");
    let told = dump(&[]);
    let line = told.lines().find(|line| line.contains("vts/forgetful of uid")).expect("named");
    assert!(line.contains("did not signal"), "{line}");
    pending.signal();
}

fn a_device_that_holds_can_still_ask_for_a_fence_whose_time_is_up() {
    let pending = Pending::new();
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut giver = Group::with_hold("vts/giver", 1000);
    giver.add(&buffer, Access::DMA_WRITE);
    let mut taker = Group::of("vts/taker", &buffer, Access::DMA_READ);
    let held = giver.lock();
    taker.lock_must_wait();
    giver.unlock_fenced(&held, &pending.sync_file);
    let grant = taker.next_grant();
    assert_eq!(grant.marks(), (false, false));
    giver.next_eviction(held.token);
    // It has not signalled, and the service does not report that it has.
    assert!(!has_signalled(&taker.acquire_fence(&grant, 0).expect("an acquire fence")));
    taker.unlock(&grant);
    // A grant after the eviction has the mark.
    assert_eq!(taker.cycle().marks(), (true, true));
    pending.signal();
}

fn a_group_that_is_closed_leaves_its_fence_in_force() {
    let pending = Pending::new();
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut giver = Group::of("vts/giver", &buffer, Access::DMA_WRITE);
    let held = giver.lock();
    giver.unlock_fenced(&held, &pending.sync_file);
    drop(giver);
    let mut taker = Group::of("vts/taker", &buffer, Access::READ);
    taker.lock_must_wait();
    pending.signal();
    assert_eq!(taker.next_grant().marks(), (false, false));
}

fn several_fences_for_one_buffer_add_up() {
    let (first, second) = (Pending::new(), Pending::new());
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut giver = Group::of("vts/giver", &buffer, Access::DMA_WRITE);
    let mut taker = Group::of("vts/taker", &buffer, Access::DMA_READ);
    let held = giver.lock();
    let id = held.buffers[0].0;
    let fences = [of_buffer(id, &first.sync_file), of_buffer(id, &second.sync_file)];
    giver.unlock_with(&held, &fences);
    let (grant, fence) = lock_now(&mut taker);
    let fence = fence.expect("an acquire fence");
    first.signal();
    assert!(!has_signalled(&fence), "one of two");
    second.signal();
    assert!(has_signalled(&fence));
    taker.unlock(&grant);
}

fn each_fence_that_does_not_end_is_reported() {
    let [first, second] = [(); 2].map(|()| Pending::new());
    let [x, y] = [(); 2].map(|()| heap::allocate(SIZE).expect("heap"));
    let mut giver = Group::with_hold("vts/giver", 200);
    let x_id = giver.add(&x, Access::DMA_WRITE);
    let y_id = giver.add(&y, Access::DMA_WRITE);
    let held = giver.lock();
    let fences = [of_buffer(x_id, &first.sync_file), of_buffer(y_id, &second.sync_file)];
    giver.unlock_with(&held, &fences);
    for _ in 0..2 {
        assert_eq!(giver.next_eviction(held.token), event::FLAG_FENCE);
    }
    assert!(giver.nothing_within(SHORT));
    first.signal();
    second.signal();
}

fn torn_content_is_repaired_when_the_last_fence_of_the_writer_has_signalled() {
    let [first, second] = [(); 2].map(|()| Pending::new());
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut stuck = Group::with_hold("vts/stuck", 100);
    let id = stuck.add(&buffer, Access::DMA_WRITE);
    let mut writer = Group::of("vts/writer", &buffer, Access::DMA_WRITE);
    let mut reader = Group::of("vts/reader", &buffer, Access::DMA_READ);
    let held = stuck.lock();
    stuck.next_eviction(held.token);
    // Nobody works on the buffer any more, so devices may pass the fences.
    assert_eq!(reader.cycle().marks(), (true, true));
    let held = writer.lock();
    let fences = [of_buffer(id, &first.sync_file), of_buffer(id, &second.sync_file)];
    writer.unlock_with(&held, &fences);
    for (pending, fence) in [(2, Some(&first)), (1, Some(&second)), (0, None)] {
        eventually("the service hears of the signal", || counter("fences") == pending);
        let (grant, _) = lock_now(&mut reader);
        assert_eq!(grant.marks(), (false, pending > 0), "{pending} fences of 2 are pending");
        reader.unlock(&grant);
        fence.into_iter().for_each(Pending::signal);
    }
}

fn a_readers_fence_that_never_signals_leaves_no_torn_content() {
    let pending = Pending::new();
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut giver = Group::with_hold("vts/giver", 200);
    giver.add(&buffer, Access::DMA_READ);
    let mut next = Group::of("vts/next", &buffer, Access::DMA_READ);
    let held = giver.lock();
    giver.unlock_fenced(&held, &pending.sync_file);
    giver.next_eviction(held.token);
    assert_eq!(next.cycle().marks(), (true, false));
    pending.signal();
}

fn try_lock_does_not_wait_for_a_fence() {
    let pending = Pending::new();
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut giver = Group::of("vts/giver", &buffer, Access::DMA_WRITE);
    let mut device = Group::of("vts/device", &buffer, Access::DMA_READ);
    let mut cpu = Group::of("vts/cpu", &buffer, Access::READ);
    let held = giver.lock();
    giver.unlock_fenced(&held, &pending.sync_file);
    assert_eq!(error(cpu.binder.try_lock()), ERROR_WOULD_BLOCK);
    let reply = device.binder.try_lock().expect("tryLock");
    assert!(is_granted(&reply), "a device waits by itself");
    assert!(reply.fence.is_some());
    let grant = device.granted(&reply);
    device.unlock(&grant);
    pending.signal();
    cpu.cycle();
}

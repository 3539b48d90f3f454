// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Fences: release fences given to unlock, and implicit ones on the dma-buf.

use std::time::{Duration, Instant};

use binder::ParcelFileDescriptor;
use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::event;
use buffersync_testbed_guest::heap;
use buffersync_testbed_guest::vgem::Vgem;
use buffersync_vts::hal::{counter, now_ns, service, Group, SHORT};

const SIZE: usize = 16 * 1024;

#[test]
fn buffers_pass_on_when_the_release_fence_has_signalled() {
    let vgem = Vgem::open().expect("vgem");
    let fenced = vgem.allocate(SIZE).expect("vgem buffer");
    let fence = vgem.attach(&fenced, true).expect("attach");
    let sync_file = ParcelFileDescriptor::new(fenced.dmabuf.sync_file().expect("sync_file"));

    let buffer = heap::allocate(SIZE).expect("heap");
    let mut giver = Group::of("vts/giver", &buffer, Access::DMA_WRITE);
    let mut taker = Group::of("vts/taker", &buffer, Access::DMA_READ);
    let held = giver.lock();
    giver.binder.unlock(held.token, Some(&sync_file)).expect("unlock");
    taker.lock_must_wait();
    vgem.signal(fence).expect("signal");
    let grant = taker.next_grant();
    assert!(!grant.buffers[0].2);
    taker.unlock(&grant);
    assert!(giver.nothing_within(SHORT));
    giver.cycle();
}

#[test]
fn a_fence_that_never_signals_ends_as_an_eviction_at_the_deadline() {
    let vgem = Vgem::open().expect("vgem");
    let fenced = vgem.allocate(SIZE).expect("vgem buffer");
    let fence = vgem.attach(&fenced, true).expect("attach");
    let sync_file = ParcelFileDescriptor::new(fenced.dmabuf.sync_file().expect("sync_file"));

    let buffer = heap::allocate(SIZE).expect("heap");
    let mut giver = Group::with_hold("vts/giver", 400);
    giver.add(&buffer, Access::DMA_WRITE);
    let mut taker = Group::of("vts/taker", &buffer, Access::DMA_READ);
    let held = giver.lock();
    giver.binder.unlock(held.token, Some(&sync_file)).expect("unlock");
    taker.lock_must_wait();
    let grant = taker.next_grant();
    assert!(now_ns() >= held.deadline, "passed on too early");
    assert!(grant.buffers[0].2, "the next holder was not told");
    let record = giver.next_event().expect("an eviction");
    assert_eq!((record.kind, record.token), (event::EVICTED, held.token));
    assert_eq!(record.flags & event::FLAG_FENCE, event::FLAG_FENCE);
    vgem.signal(fence).expect("signal");
}

#[test]
fn a_group_that_is_closed_leaves_its_fence_in_force() {
    let vgem = Vgem::open().expect("vgem");
    let fenced = vgem.allocate(SIZE).expect("vgem buffer");
    let fence = vgem.attach(&fenced, true).expect("attach");
    let sync_file = ParcelFileDescriptor::new(fenced.dmabuf.sync_file().expect("sync_file"));

    let buffer = heap::allocate(SIZE).expect("heap");
    let mut giver = Group::of("vts/giver", &buffer, Access::DMA_WRITE);
    let held = giver.lock();
    giver.binder.unlock(held.token, Some(&sync_file)).expect("unlock");
    drop(giver);
    let mut taker = Group::of("vts/taker", &buffer, Access::DMA_READ);
    taker.lock_must_wait();
    vgem.signal(fence).expect("signal");
    assert!(!taker.next_grant().buffers[0].2);
}

#[test]
fn an_implicit_fence_delays_its_buffer_and_nothing_else() {
    let vgem = Vgem::open().expect("vgem");
    // More than there are threads for cache operations.
    let fenced: Vec<_> = (0..6)
        .map(|_| {
            let buffer = vgem.allocate(SIZE).expect("vgem buffer");
            let fence = vgem.attach(&buffer, true).expect("attach");
            (buffer, fence)
        })
        .collect();
    let mut waiters: Vec<Group> =
        fenced.iter().map(|(b, _)| Group::of("vts/reader", &b.dmabuf, Access::READ)).collect();
    for waiter in &mut waiters {
        waiter.lock_must_wait();
    }
    let begin = Instant::now();
    for _ in 0..10 {
        service().getCapabilities().expect("capabilities");
        let other = heap::allocate(SIZE).expect("heap");
        Group::of("vts/other", &other, Access::READ).cycle();
    }
    assert!(begin.elapsed() < Duration::from_secs(3), "others waited {:?}", begin.elapsed());
    for waiter in &mut waiters {
        assert!(waiter.nothing_within(Duration::ZERO), "granted before the fence signalled");
    }
    for ((_, fence), waiter) in fenced.iter().zip(&mut waiters) {
        vgem.signal(*fence).expect("signal");
        let grant = waiter.next_grant();
        waiter.unlock(&grant);
    }
    assert!(counter("sync_waited") >= 6);
}

#[test]
fn an_implicit_fence_that_never_signals_fails_the_lock_in_time() {
    let vgem = Vgem::open().expect("vgem");
    let buffer = vgem.allocate(SIZE).expect("vgem buffer");
    let fence = vgem.attach(&buffer, true).expect("attach");
    let mut group = Group::of("vts/reader", &buffer.dmabuf, Access::READ);
    let begin = Instant::now();
    let token = group.lock_must_wait();
    let record = group.next_event().expect("a failure");
    assert_eq!((record.kind, record.token), (event::LOCK_FAILED, token));
    assert_eq!(record.value1, nix::errno::Errno::ETIMEDOUT as i64);
    // The driver itself ends the fence after 10 s.
    assert!(begin.elapsed() < Duration::from_secs(9));
    vgem.signal(fence).expect("signal");
    group.cycle();
}

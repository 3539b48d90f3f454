// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Implicit fences: the fences in the dma-buf's reservation object.

use std::time::Duration;

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::Capabilities::FEATURE_IMPLICIT_FENCES;
use buffersync_aidl::aidl::vendor::buffersync::GroupOptions::GroupOptions;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::{
    ERROR_EVENTS_UNREAD, ERROR_UNKNOWN_BUFFER,
};
use buffersync_aidl::event;
use buffersync_testbed_guest::heap;
use buffersync_testbed_guest::vgem::{self, Buffer, Vgem};
use buffersync_vts::fence::{has_signalled, Pending, EXPIRES};
use buffersync_vts::hal::{
    counter, error, eventually, fill_channel, is_granted, now_ns, of_buffer, service, whole, Group,
    SHORT,
};
use buffersync_vts::pace::Limit;
use buffersync_vts::suite::Tests;
use buffersync_vts::tests;
use nix::errno::Errno;

pub const TESTS: Tests = tests![
    the_cpu_waits_for_implicit_fences_even_if_no_cache_operation_does,
    an_implicit_fence_delays_its_buffer_and_nothing_else,
    an_implicit_fence_that_never_signals_fails_the_lock_in_time,
    locks_behind_one_fence_that_never_signals_fail_together,
    try_lock_looks_once_and_waits_for_no_implicit_fence,
    a_device_that_reads_goes_past_a_cpu_readers_implicit_fence,
    a_lock_that_was_refused_has_to_look_for_fences_again,
    a_fence_that_comes_while_a_release_fence_is_pending_is_waited_for,
    what_the_cpu_wrote_is_cleaned_when_its_group_is_closed_while_it_waits,
    a_device_gets_the_implicit_fences_if_it_asks_for_them,
    an_implicit_group_without_pending_fences_is_not_fenced,
    a_part_that_is_refused_puts_no_fence_into_the_dma_buf,
    explicit_and_implicit_fences_are_merged,
    the_release_fence_of_a_group_of_implicit_fences_is_seen_by_implicit_users,
    clients_of_one_user_that_lock_at_once_do_not_hold_each_other_up,
    a_lock_that_failed_has_taken_nothing_and_can_be_locked_again,
];

const SIZE: usize = 16 * 1024;

/// A time-out of a service is never this late, unless the machine is slow.
const LATE: Duration = Duration::from_secs(2);

/// A fence in a dma-buf's reservation object. A test relies on it until the service or the driver gives up.
struct Fence<'a> {
    vgem: &'a Vgem,
    fence: vgem::Fence,
    limit: Limit,
}

impl<'a> Fence<'a> {
    /// Attaches a fence. Locks wait for it only until the service's limit.
    fn attach(vgem: &'a Vgem, buffer: &Buffer, write: bool) -> Self {
        let limit = Limit::after(limit().unwrap_or(EXPIRES));
        Self { vgem, fence: vgem.attach(buffer, write).expect("attach"), limit }
    }

    /// Attaches a fence that does not signal before the service gives up.
    fn stuck(vgem: &'a Vgem, buffer: &Buffer) -> Self {
        let limit = Limit::after(EXPIRES);
        Self { vgem, fence: vgem.attach(buffer, true).expect("attach"), limit }
    }

    fn signal(&self) {
        self.vgem.signal(self.fence).expect("signal");
    }
}

fn vgem() -> (Vgem, Buffer) {
    let vgem = Vgem::open().expect("vgem");
    let buffer = vgem.allocate(SIZE).expect("vgem buffer");
    (vgem, buffer)
}

fn implicit(name: &str, buffer: &Buffer, access: Access) -> Group {
    assert_ne!(
        service().getCapabilities().expect("capabilities").features & FEATURE_IMPLICIT_FENCES,
        0
    );
    let options = GroupOptions { implicitFences: true, ..Default::default() };
    let group = Group::with_options(name, &options);
    group.add(&buffer.dmabuf, access);
    group
}

fn the_cpu_waits_for_implicit_fences_even_if_no_cache_operation_does() {
    for (access, writes) in [(Access::READ, true), (Access::WRITE, true), (Access::WRITE, false)] {
        let (vgem, buffer) = vgem();
        let mut group = Group::of("vts/cpu", &buffer.dmabuf, access);
        group.cycle();
        // No cache operation is needed now, and without a fence the lock is granted at once.
        let starts = counter("sync_start");
        let reply = group.binder.try_lock().expect("tryLock");
        assert!(is_granted(&reply));
        group.binder.unlock(reply.token).expect("unlock");
        let fence = Fence::attach(&vgem, &buffer, writes);
        group.lock_must_wait();
        fence.signal();
        let grant = group.next_grant();
        group.unlock(&grant);
        assert_eq!(counter("sync_start"), starts);
    }
    // A reader does not wait for a reader's fence.
    let (vgem, buffer) = vgem();
    let mut group = Group::of("vts/cpu", &buffer.dmabuf, Access::READ);
    let fence = Fence::attach(&vgem, &buffer, false);
    group.cycle();
    fence.signal();
}

fn an_implicit_fence_delays_its_buffer_and_nothing_else() {
    let vgem = Vgem::open().expect("vgem");
    // More than the threads for cache operations.
    let buffers: Vec<_> = (0..6).map(|_| vgem.allocate(SIZE).expect("vgem buffer")).collect();
    let fences: Vec<_> = buffers.iter().map(|b| Fence::attach(&vgem, b, true)).collect();
    let mut waiters: Vec<Group> =
        buffers.iter().map(|b| Group::of("vts/reader", &b.dmabuf, Access::READ)).collect();
    for waiter in &waiters {
        assert!(!is_granted(&waiter.binder.lock(0).expect("lock")), "a fence is pending");
    }
    for _ in 0..10 {
        service().getCapabilities().expect("capabilities");
        let other = heap::allocate(SIZE).expect("heap");
        Group::of("vts/other", &other, Access::READ).cycle();
    }
    // So the others did not wait for the fences.
    for waiter in &mut waiters {
        assert!(waiter.nothing_within(Duration::ZERO), "it ended before the fence signalled");
    }
    for (fence, waiter) in fences.iter().zip(&mut waiters) {
        fence.signal();
        let grant = waiter.next_grant();
        waiter.unlock(&grant);
    }
    assert!(counter("sync_waited") >= 6);
}

/// The longest wait for an implicit fence; `None` if the driver signals its fence before.
fn limit() -> Option<Duration> {
    let limit = service().getCapabilities().expect("capabilities").maxHoldMs;
    let limit = Duration::from_millis(u64::from(limit.unsigned_abs()));
    (limit < EXPIRES.mul_f32(0.8)).then_some(limit)
}

fn an_implicit_fence_that_never_signals_fails_the_lock_in_time() {
    let Some(limit) = limit() else { return };
    let (vgem, buffer) = vgem();
    let fence = Fence::stuck(&vgem, &buffer);
    let mut group = Group::open("vts/reader");
    let id = group.add(&buffer.dmabuf, Access::READ);
    let (begin, late) = (now_ns(), Limit::after(limit + LATE));
    let token = group.lock_must_wait();
    assert_fence_timed_out(&mut group, token, id);
    let took = now_ns() - begin;
    assert!(took >= nanos(limit), "{took} ns");
    late.assert_ahead("the failure of the lock");
    fence.signal();
    group.cycle();
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).expect("a time")
}

/// Checks the next event: a lock failed because an implicit fence of this buffer did not signal.
fn assert_fence_timed_out(group: &mut Group, token: i64, buffer: i64) {
    let record = group.next_event().expect("a failure");
    assert_eq!((record.kind, record.token), (event::LOCK_FAILED, token));
    assert_eq!(record.flags, event::FLAG_FENCE);
    assert_eq!((record.value0, record.value1), (buffer, Errno::ETIMEDOUT as i64));
}

fn locks_behind_one_fence_that_never_signals_fail_together() {
    let Some(limit) = limit() else { return };
    let (vgem, buffer) = vgem();
    let other = vgem.allocate(SIZE).expect("vgem buffer");
    let fences = [&buffer, &other].map(|buffer| Fence::stuck(&vgem, buffer));
    // They begin at different times, but all locks behind one fence fail at the same time.
    let lock = |buffer: &Buffer, access| {
        let mut group = Group::open("vts/behind");
        let id = group.add(&buffer.dmabuf, access);
        let token = group.lock_must_wait();
        assert!(group.nothing_within(limit / 8));
        (group, token, id)
    };
    let (begin, before_the_first_fails) = (now_ns(), Limit::after(limit));
    let mut waiting =
        Vec::from([Access::READ, Access::READ, Access::WRITE].map(|a| lock(&buffer, a)));
    let (mut witness, token, id) = lock(&other, Access::WRITE);
    waiting.push(lock(&buffer, Access::WRITE));
    drop(before_the_first_fails);

    let (group, first_token, first_id) = &mut waiting[0];
    assert_fence_timed_out(group, *first_token, *first_id);
    assert!(now_ns() - begin >= nanos(limit));
    // The witness came before the last lock. If the last one had its own time limit, it would fail after it.
    assert_fence_timed_out(&mut witness, token, id);
    for (group, token, id) in &mut waiting[1..] {
        assert!(!group.nothing_within(SHORT), "it waits anew");
        assert_fence_timed_out(group, *token, *id);
    }
    fences.iter().for_each(Fence::signal);
    for (group, ..) in waiting.iter_mut().chain([&mut (witness, token, id)]) {
        group.cycle();
    }
}

fn try_lock_looks_once_and_waits_for_no_implicit_fence() {
    for access in [Access::READ, Access::WRITE] {
        let (vgem, buffer) = vgem();
        let mut group = Group::open("vts/try");
        let id = group.add(&buffer.dmabuf, access);
        let fence = Fence::attach(&vgem, &buffer, true);
        let reply = group.binder.try_lock().expect("tryLock");
        assert!(!is_granted(&reply), "a fence is pending");
        assert_fence_timed_out(&mut group, reply.token, id);
        fence.limit.assert_ahead("the answer of tryLock()");
        fence.signal();
        let reply = group.binder.try_lock().expect("tryLock");
        let grant = group.granted(&reply);
        group.unlock(&grant);
    }
}

fn a_device_that_reads_goes_past_a_cpu_readers_implicit_fence() {
    let (vgem, buffer) = vgem();
    let mut reader = Group::of("vts/cpu", &buffer.dmabuf, Access::READ);
    reader.cycle();
    let fence = Fence::attach(&vgem, &buffer, true);
    reader.lock_must_wait();
    let mut device = Group::of("vts/device", &buffer.dmabuf, Access::DMA_READ);
    let reply = device.binder.lock(0).expect("lock");
    assert!(is_granted(&reply), "the reader's wait is its own");
    let grant = device.granted(&reply);
    device.unlock(&grant);
    assert!(reader.nothing_within(Duration::ZERO));
    fence.signal();
    let grant = reader.next_grant();
    reader.unlock(&grant);
}

fn a_lock_that_was_refused_has_to_look_for_fences_again() {
    let (vgem, buffer) = vgem();
    let other = heap::allocate(SIZE).expect("heap");
    let mut silent = Group::of("vts/silent", &buffer.dmabuf, Access::WRITE);
    let mut holder = Group::open("vts/holder");
    // Afterwards nothing is to be done for the cache: only a fence can be in the way.
    silent.cycle();
    // The last lock is refused after no fence was seen.
    fill_channel(&silent, &mut holder, &other);
    assert_eq!(error(silent.binder.lock(0)), ERROR_EVENTS_UNREAD);
    silent.read_all();
    let fence = Fence::attach(&vgem, &buffer, true);
    silent.lock_must_wait();
    fence.signal();
    let grant = silent.next_grant();
    silent.unlock(&grant);
}

fn a_fence_that_comes_while_a_release_fence_is_pending_is_waited_for() {
    let (vgem, buffer) = vgem();
    let mut writer = Group::of("vts/writer", &buffer.dmabuf, Access::WRITE);
    writer.cycle();
    let mut reader = Group::of("vts/reader", &buffer.dmabuf, Access::READ);
    let (grant, pending) = (reader.lock(), Pending::new());
    reader.unlock_fenced(&grant, &pending.sync_file);
    writer.lock_must_wait();
    let fence = Fence::attach(&vgem, &buffer, true);
    pending.signal();
    eventually("the release fence has signalled", || counter("fences") == 0);
    assert!(writer.nothing_within(SHORT), "a fence is pending in the dma-buf");
    fence.signal();
    let grant = writer.next_grant();
    writer.unlock(&grant);
}

fn what_the_cpu_wrote_is_cleaned_when_its_group_is_closed_while_it_waits() {
    let (vgem, buffer) = vgem();
    let mut group = Group::of("vts/cpu", &buffer.dmabuf, Access::WRITE);
    group.cycle();
    let ends = counter("sync_end");
    let fence = Fence::attach(&vgem, &buffer, true);
    group.lock_must_wait();
    group.binder.close().expect("close");
    eventually("END is issued", || counter("sync_end") > ends);
    // Unless the driver has ended it meanwhile.
    let _ = vgem.signal(fence.fence);
}

fn a_device_gets_the_implicit_fences_if_it_asks_for_them() {
    let (vgem, buffer) = vgem();
    let fence = Fence::attach(&vgem, &buffer, false);
    // A reader does not wait for a reader's fence.
    let mut reader = implicit("vts/reader", &buffer, Access::DMA_READ);
    let grant = reader.lock();
    assert!(reader.acquire_fence(&grant, 0).is_none());
    reader.unlock(&grant);
    let mut explicit = Group::of("vts/explicit", &buffer.dmabuf, Access::DMA_WRITE);
    let grant = explicit.lock();
    assert!(grant.fenced.is_empty() && explicit.acquire_fence(&grant, 0).is_none());
    explicit.unlock(&grant);

    let writer = implicit("vts/writer", &buffer, Access::DMA_WRITE);
    let reply = writer.binder.lock(0).expect("lock");
    assert!(is_granted(&reply), "a device waits by itself");
    let acquire = reply.fence.expect("an acquire fence").into();
    assert!(!has_signalled(&acquire));
    fence.signal();
    assert!(has_signalled(&acquire));
}

fn an_implicit_group_without_pending_fences_is_not_fenced() {
    let (_vgem, buffer) = vgem();
    let mut group = implicit("vts/device", &buffer, Access::DMA_WRITE);
    let reply = group.binder.lock(0).expect("lock");
    assert!(is_granted(&reply) && reply.fence.is_none());
    let grant = group.granted(&reply);
    assert!(grant.fenced.is_empty(), "{grant:?}");
    group.unlock(&grant);
}

fn a_part_that_is_refused_puts_no_fence_into_the_dma_buf() {
    let (pending, (_vgem, buffer)) = (Pending::new(), vgem());
    let mut group = implicit("vts/device", &buffer, Access::DMA_WRITE);
    let grant = group.lock();
    let id = grant.buffers[0].0;
    let fences = [whole(&pending.sync_file)];
    let refused = group.binder.unlock_some(grant.token, &[id, id + 1_000_000], &fences);
    assert_eq!(error(refused), ERROR_UNKNOWN_BUFFER);
    let foreign = [of_buffer(id + 1_000_000, &pending.sync_file)];
    for refused in [
        group.binder.unlock_some(grant.token, &[id], &foreign),
        group.binder.unlock_with(grant.token, &foreign),
    ] {
        assert_eq!(error(refused), ERROR_UNKNOWN_BUFFER);
    }
    assert!(buffer.dmabuf.is_ready(true), "a fence is in the dma-buf");
    group.unlock(&grant);
}

fn explicit_and_implicit_fences_are_merged() {
    let (vgem, buffer) = vgem();
    let pending = Pending::new();
    let mut giver = Group::of("vts/giver", &buffer.dmabuf, Access::DMA_WRITE);
    let held = giver.lock();
    giver.unlock_fenced(&held, &pending.sync_file);
    let fence = Fence::attach(&vgem, &buffer, true);
    let mut taker = implicit("vts/taker", &buffer, Access::DMA_READ);
    let grant = taker.lock();
    let acquire = taker.acquire_fence(&grant, 0).expect("an acquire fence");
    pending.signal();
    assert!(!has_signalled(&acquire), "the implicit one is missing");
    fence.signal();
    assert!(has_signalled(&acquire));
}

fn the_release_fence_of_a_group_of_implicit_fences_is_seen_by_implicit_users() {
    for (access, reader_waits) in [(Access::DMA_WRITE, true), (Access::DMA_READ, false)] {
        let (_vgem, buffer) = vgem();
        let pending = Pending::new();
        let mut group = implicit("vts/giver", &buffer, access);
        let grant = group.lock();
        assert!(buffer.dmabuf.is_ready(true));
        group.unlock_fenced(&grant, &pending.sync_file);
        // A driver that waits for the buffer would see the fence, and poll(2) does.
        assert_eq!(buffer.dmabuf.is_ready(false), !reader_waits);
        assert!(!buffer.dmabuf.is_ready(true));
        pending.signal();
        assert!(buffer.dmabuf.is_ready(true));
    }
    // A group without the option does not change the dma-buf.
    let (_vgem, buffer) = vgem();
    let pending = Pending::new();
    let mut group = Group::of("vts/explicit", &buffer.dmabuf, Access::DMA_WRITE);
    let grant = group.lock();
    group.unlock_fenced(&grant, &pending.sync_file);
    assert!(buffer.dmabuf.is_ready(true));
    assert!(group.nothing_within(SHORT));
    pending.signal();
}

fn clients_of_one_user_that_lock_at_once_do_not_hold_each_other_up() {
    // More than may look for implicit fences at the same time: the workers look for the others.
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                let (_vgem, buffer) = vgem();
                let access = if thread % 2 == 0 { Access::READ } else { Access::WRITE };
                let mut group = Group::of("vts/thread", &buffer.dmabuf, access);
                for _ in 0..25 {
                    group.cycle();
                }
            });
        }
    });
}

fn a_lock_that_failed_has_taken_nothing_and_can_be_locked_again() {
    let (vgem, buffer) = vgem();
    let plain = heap::allocate(SIZE).expect("heap");
    let mut unlucky = Group::of("vts/unlucky", &buffer.dmabuf, Access::READ);
    unlucky.add(&plain, Access::WRITE);
    let fence = Fence::attach(&vgem, &buffer, true);
    unlucky.binder.try_lock().expect("tryLock");
    assert_eq!(unlucky.next_event().expect("a failure").kind, event::LOCK_FAILED);
    // The next group gets the buffers that it had taken, and then it gets them again.
    let mut other = Group::of("vts/other", &plain, Access::WRITE);
    let grant = other.lock();
    fence.signal();
    unlucky.lock_must_wait();
    other.unlock(&grant);
    let grant = unlucky.next_grant();
    unlucky.unlock(&grant);
}

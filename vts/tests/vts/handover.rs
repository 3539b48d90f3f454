// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! One call that ends a grant and locks the group again.

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::GroupOptions::GroupOptions;
use buffersync_aidl::aidl::vendor::buffersync::HoldFrom::HoldFrom;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::*;
use buffersync_aidl::aidl::vendor::buffersync::ISyncGroup::TRY;
use buffersync_aidl::event;
use buffersync_testbed_guest::dmabuf::DmaBuf;
use buffersync_testbed_guest::heap;
use buffersync_vts::calls::Reply;
use buffersync_vts::fence::Pending;
use buffersync_vts::hal::{
    counter, error, eventually, fill_channel, is_granted, is_illegal_argument, of_buffer, service,
    whole, Grant, Group, MORE_THAN_A_CHANNEL, SHORT,
};
use buffersync_vts::suite::Tests;
use buffersync_vts::tests;

pub const TESTS: Tests = tests![
    the_next_lock_is_granted_in_the_call_that_ends_the_grant,
    a_next_lock_that_has_to_wait_is_granted_through_the_channel,
    the_next_lock_of_the_same_buffers_stands_behind_those_who_waited,
    a_time_out_of_the_next_lock_ends_it,
    a_call_that_is_refused_has_ended_nothing_and_locked_nothing,
    a_full_channel_refuses_the_exchange_and_the_grant_goes_on,
    an_evicted_grant_is_not_exchanged,
    a_number_that_was_taken_away_stays_so_when_the_fence_before_it_fails_too,
    fences_are_taken_and_found_by_the_next_lock,
];

const SIZE: usize = 16 * 1024;

fn buffer() -> DmaBuf {
    heap::allocate(SIZE).expect("heap")
}

/// Ends a grant, and locks these buffers.
fn exchange(group: &Group, done: i64, buffers: &[i64], timeout_ns: i64) -> Reply {
    let token = group.binder.number();
    let reply = group.binder.object.unlockAndLock(done, &[], token, buffers, &[], timeout_ns);
    let reply = reply.expect("unlockAndLock");
    Reply { token, grant: reply.grant, fence: reply.acquireFence }
}

/// A group with two frames, the first of them locked.
fn with_frames(first: &DmaBuf, second: &DmaBuf) -> (Group, [i64; 2], Grant) {
    let mut group = Group::open("vts/frames");
    let frames = [first, second].map(|frame| group.add(frame, Access::DMA_WRITE));
    let reply = group.binder.lock_some(&frames[..1], &[], 0).expect("lock");
    let held = group.granted(&reply);
    (group, frames, held)
}

fn the_next_lock_is_granted_in_the_call_that_ends_the_grant() {
    let (shared, own) = (buffer(), buffer());
    let (mut group, frames, held) = with_frames(&shared, &own);
    let mut other = Group::of("vts/other", &shared, Access::DMA_WRITE);
    other.lock_must_wait();
    let reply = exchange(&group, held.token, &frames[1..], 0);
    assert!(is_granted(&reply));
    // The first grant is over, and the waiter has its buffer.
    assert_eq!(error(group.binder.unlock(held.token)), ERROR_ENDED);
    let theirs = other.next_grant();
    other.unlock(&theirs);
    let grant = group.granted(&reply);
    assert_eq!(grant.buffers[0].0, frames[1]);
    group.unlock(&grant);
    group.cycle();
}

fn a_next_lock_that_has_to_wait_is_granted_through_the_channel() {
    let (shared, own) = (buffer(), buffer());
    let mut holder = Group::of("vts/holder", &shared, Access::DMA_WRITE);
    let theirs = holder.lock();
    let (mut group, frames, held) = with_frames(&own, &shared);
    let reply = exchange(&group, held.token, &frames[1..], 0);
    assert!(!is_granted(&reply));
    assert!(group.nothing_within(SHORT));
    holder.unlock(&theirs);
    let grant = group.granted(&reply);
    group.unlock(&grant);
}

fn the_next_lock_of_the_same_buffers_stands_behind_those_who_waited() {
    let shared = buffer();
    let mut group = Group::of("vts/again", &shared, Access::DMA_WRITE);
    let mut other = Group::of("vts/other", &shared, Access::DMA_WRITE);
    let held = group.lock();
    let reply = exchange(&group, held.token, &[], 0);
    assert!(is_granted(&reply));
    let held = group.granted(&reply);
    other.lock_must_wait();
    let reply = exchange(&group, held.token, &[], 0);
    assert!(!is_granted(&reply), "the other one is older");
    let theirs = other.next_grant();
    other.unlock(&theirs);
    let held = group.granted(&reply);
    group.unlock(&held);
}

fn a_time_out_of_the_next_lock_ends_it() {
    let (shared, own) = (buffer(), buffer());
    let mut holder = Group::of("vts/holder", &shared, Access::DMA_WRITE);
    let theirs = holder.lock();
    let (mut group, frames, held) = with_frames(&own, &shared);
    let reply = exchange(&group, held.token, &frames[1..], 50_000_000);
    let record = group.next_event().expect("a record");
    assert_eq!((record.kind, record.token), (event::TIMED_OUT, reply.token));
    holder.unlock(&theirs);
}

fn refusal<T>(result: &binder::Result<T>) -> Option<String> {
    result.as_ref().err().map(|status| format!("{status:?}"))
}

/// Checks that the first frame is still held, and the second one is free.
fn nothing_has_happened(group: &mut Group, frames: &[i64], grant: &Grant) {
    group.binder.acquire_fence(grant.token, 0).expect("the grant goes on");
    let reply = group.binder.lock_some(&frames[1..], &[], TRY).expect("it is free");
    let grant = group.granted(&reply);
    group.unlock(&grant);
}

fn a_call_that_is_refused_has_ended_nothing_and_locked_nothing() {
    let (first, second) = (buffer(), buffer());
    let (mut group, frames, held) = with_frames(&first, &second);
    let pending = Pending::new();
    let fences = [whole(&pending.sync_file)];
    let next = held.token + 1;
    let call = |done: i64, lock: i64, buffers: &[i64], timeout: i64| {
        let object = &group.binder.object;
        let without = object.unlockAndLock(done, &[], lock, buffers, &[], timeout);
        let with = object.unlockAndLock(done, &fences, lock, buffers, &[], timeout);
        assert_eq!(refusal(&without), refusal(&with), "fences or none, it is the same call");
        without
    };
    assert_eq!(error(call(held.token, next, &[i64::MAX], 0)), ERROR_UNKNOWN_BUFFER);
    for number in [held.token, 0, -1] {
        assert_eq!(error(call(held.token, number, &[], 0)), ERROR_BAD_LOCK);
    }
    for timeout in [TRY, i64::MIN] {
        assert!(is_illegal_argument(call(held.token, next, &[], timeout)));
    }
    assert_eq!(error(call(next, next + 1, &[], 0)), ERROR_BAD_LOCK);
    let object = &group.binder.object;
    let read = [Access::DMA_READ];
    let refused = object.unlockAndLock(held.token, &[], next, &frames, &read, 0);
    assert!(is_illegal_argument(refused), "two buffers and one access");

    let mut refused = vec![(vec![of_buffer(frames[1], &pending.sync_file)], ERROR_UNKNOWN_BUFFER)];
    let null = std::fs::File::open("/dev/null").expect("/dev/null");
    refused.push((vec![whole(&null.into())], ERROR_BAD_FENCE));
    for (fences, expected) in refused {
        let refused = object.unlockAndLock(held.token, &fences, next, &[], &[], 0);
        assert_eq!(error(refused), expected);
    }
    let most = service().getCapabilities().expect("capabilities").maxBuffersPerGroup;
    let too_many: Vec<_> = (0..most + 2).map(|_| whole(&pending.sync_file)).collect();
    let refused = object.unlockAndLock(held.token, &too_many, next, &[], &[], 0);
    assert!(is_illegal_argument(refused));
    assert_eq!(counter("fences"), 0, "what is refused leaves no fence behind");
    nothing_has_happened(&mut group, &frames, &held);

    // Another lock of the group is in the way, the one that ends is not.
    let reply = group.binder.lock_some(&frames[1..], &[], 0).expect("lock");
    let other = group.granted(&reply);
    let refused = group.binder.unlock_and_lock(held.token, &[], 0);
    assert_eq!(error(refused), ERROR_ALREADY_LOCKED);
    group.unlock(&other);
    let reply = group.binder.unlock_and_lock(held.token, &[], 0).expect("unlockAndLock");
    let grant = group.granted(&reply);
    assert_eq!(grant.buffers.len(), 2);
    group.unlock(&grant);
}

/// Each exchange that has to wait leaves a record that nobody reads, until one is refused.
fn a_full_channel_refuses_the_exchange_and_the_grant_goes_on() {
    // Nobody waits for its frame, so it may hold it while the channel is filled.
    let patient = GroupOptions { holdFrom: HoldFrom::CONFLICT, ..Default::default() };
    let mut unread = Group::with_options("vts/unread", &patient);
    let own = [unread.add(buffer(), Access::DMA_WRITE)];
    let shared = buffer();
    let theirs_too = [unread.add(&shared, Access::DMA_WRITE)];
    let mut holder = Group::of("vts/holder", &shared, Access::DMA_WRITE);
    let reply = unread.binder.lock_some(&own, &[], 0).expect("lock");
    let mut held = unread.granted(&reply).token;
    assert_eq!(fill_channel(&unread, &mut holder, &shared), ERROR_EVENTS_UNREAD);
    let object = unread.binder.object.clone();
    let mut go_to = |frame: &[i64]| {
        let next = unread.binder.number();
        object.unlockAndLock(held, &[], next, frame, &[], 0)?;
        held = next;
        binder::Result::Ok(())
    };
    let refused = (0..MORE_THAN_A_CHANNEL).find_map(|_| {
        let theirs = holder.lock();
        holder.read_all();
        let asked = go_to(&theirs_too);
        holder.unlock(&theirs);
        let waits = || object.getLocks().expect("getLocks").iter().any(|lock| lock.waiting);
        eventually("the lock is granted", || !waits());
        asked.and_then(|()| go_to(&own)).err()
    });
    let refused = refused.map(|refused| error(Err::<(), _>(refused)));
    assert_eq!(refused, Some(ERROR_EVENTS_UNREAD));
    let pending = Pending::new();
    let refused = unread.binder.unlock_and_lock(held, &[whole(&pending.sync_file)], 0);
    assert_eq!(error(refused), ERROR_EVENTS_UNREAD);
    unread.binder.acquire_fence(held, 0).expect("the grant goes on");
    unread.read_all();
    let reply = exchange(&unread, held, &own, 0);
    let grant = unread.granted(&reply);
    unread.unlock(&grant);
}

fn an_evicted_grant_is_not_exchanged() {
    let mut group = Group::with_hold("vts/late", 60);
    group.add(buffer(), Access::DMA_WRITE);
    let held = group.lock();
    group.next_eviction(held.token);
    let pending = Pending::new();
    for fences in [&[][..], &[whole(&pending.sync_file)]] {
        let refused = group.binder.unlock_and_lock(held.token, fences, 0);
        assert_eq!(error(refused), ERROR_EVICTED);
    }
    group.cycle();
}

/// The fence of the ended grant and the next grant reach their limits at the same instant.
fn a_number_that_was_taken_away_stays_so_when_the_fence_before_it_fails_too() {
    let (pending, mut group) = (Pending::new(), Group::with_hold("vts/exchange", 300));
    group.add(buffer(), Access::DMA_WRITE);
    let held = group.lock();
    let fences = [whole(&pending.sync_file)];
    let reply = group.binder.unlock_and_lock(held.token, &fences, 0).expect("unlockAndLock");
    assert!(is_granted(&reply), "a device waits for no fence");
    let mut told = [0; 2].map(|_| {
        let record = group.next_event().expect("an eviction");
        assert_eq!(record.kind, event::EVICTED);
        (record.token, record.flags)
    });
    told.sort_unstable();
    assert_eq!(told, [(held.token, event::FLAG_FENCE), (reply.token, 0)]);
    assert_eq!(error(group.binder.unlock(reply.token)), ERROR_EVICTED);
    pending.signal();
}

fn fences_are_taken_and_found_by_the_next_lock() {
    let (pending, shared) = (Pending::new(), buffer());
    let mut group = Group::of("vts/first", &shared, Access::DMA_WRITE);
    let held = group.lock();
    let fences = [whole(&pending.sync_file)];
    let reply = group.binder.unlock_and_lock(held.token, &fences, 0).expect("unlockAndLock");
    assert!(is_granted(&reply), "a device waits for no fence");
    assert!(reply.fence.is_some(), "as lock() answers");
    let grant = group.granted(&reply);
    assert_eq!(grant.fenced.len(), 1);
    // Another exchange without a fence: the next holder still gets the pending one.
    let reply = exchange(&group, grant.token, &[], 0);
    assert!(is_granted(&reply) && reply.fence.is_some(), "{reply:?}");
    let grant = group.granted(&reply);
    group.unlock(&grant);
    pending.signal();
    group.cycle();
}

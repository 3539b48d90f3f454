// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! One call that ends a grant and locks the next group.

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::{
    ERROR_ALREADY_LOCKED, ERROR_BAD_FENCE, ERROR_BAD_TOKEN, ERROR_CLOSED, ERROR_EMPTY_GROUP,
    ERROR_EVENTS_UNREAD, ERROR_EVICTED, ERROR_UNKNOWN_BUFFER,
};
use buffersync_aidl::aidl::vendor::buffersync::LockReply::LockReply;
use buffersync_aidl::event;
use buffersync_testbed_guest::dmabuf::DmaBuf;
use buffersync_testbed_guest::heap;
use buffersync_vts::fence::Pending;
use buffersync_vts::hal::{
    counter, error, fill_channel, is_granted, is_illegal_argument, of_buffer, service, whole,
    Grant, Group, SHORT,
};
use buffersync_vts::suite::Tests;
use buffersync_vts::tests;

pub const TESTS: Tests = tests![
    the_next_group_is_granted_in_the_call_that_ends_the_grant,
    a_next_group_that_has_to_wait_is_granted_through_its_own_channel,
    a_group_can_be_the_next_one_itself_behind_those_who_waited,
    a_time_out_of_the_next_lock_ends_it,
    keys_are_different_random_and_never_zero,
    a_call_that_is_refused_has_ended_nothing_and_locked_nothing,
    an_evicted_grant_is_not_exchanged,
    a_token_that_was_taken_away_stays_so_when_the_fence_before_it_fails_too,
    fences_are_taken_and_found_by_the_next_group,
];

const SIZE: usize = 16 * 1024;

fn buffer() -> DmaBuf {
    heap::allocate(SIZE).expect("heap")
}

fn exchange(group: &Group, grant: &Grant, next: &Group) -> LockReply {
    group.binder.unlockAndLock(grant.token, next.key, 0).expect("unlockAndLock")
}

/// Opens two groups of a client, each with its own buffer.
fn frames() -> (Group, Group) {
    let of = |name| Group::of(name, buffer(), Access::DMA_WRITE);
    (of("vts/frame-0"), of("vts/frame-1"))
}

fn the_next_group_is_granted_in_the_call_that_ends_the_grant() {
    let shared = buffer();
    let (mut first, mut second) = (Group::of("vts/first", &shared, Access::DMA_WRITE), frames().0);
    let mut other = Group::of("vts/other", &shared, Access::DMA_WRITE);
    let held = first.lock();
    other.lock_must_wait();
    let reply = exchange(&first, &held, &second);
    assert!(is_granted(&reply));
    // The first grant is over, and the waiter has its buffer.
    assert_eq!(error(first.binder.unlock(held.token)), ERROR_BAD_TOKEN);
    let theirs = other.next_grant();
    other.unlock(&theirs);
    let grant = second.granted(&reply);
    assert!(grant.token != held.token);
    second.unlock(&grant);
    first.cycle();
}

fn a_next_group_that_has_to_wait_is_granted_through_its_own_channel() {
    let shared = buffer();
    let mut holder = Group::of("vts/holder", &shared, Access::DMA_WRITE);
    let (mut first, _) = frames();
    let mut second = Group::of("vts/second", &shared, Access::DMA_READ);
    let (theirs, held) = (holder.lock(), first.lock());
    let reply = exchange(&first, &held, &second);
    assert!(!is_granted(&reply));
    assert!(second.nothing_within(SHORT) && first.nothing_within(SHORT));
    holder.unlock(&theirs);
    let grant = second.granted(&reply);
    assert!(first.nothing_within(SHORT), "it is the second's record");
    second.unlock(&grant);
}

fn a_group_can_be_the_next_one_itself_behind_those_who_waited() {
    let shared = buffer();
    let mut group = Group::of("vts/again", &shared, Access::DMA_WRITE);
    let mut other = Group::of("vts/other", &shared, Access::DMA_WRITE);
    let held = group.lock();
    let reply = exchange(&group, &held, &group);
    assert!(is_granted(&reply));
    assert!(reply.token != held.token, "it is another grant");
    let held = group.granted(&reply);
    other.lock_must_wait();
    let reply = exchange(&group, &held, &group);
    assert!(!is_granted(&reply), "the other one is older");
    let theirs = other.next_grant();
    other.unlock(&theirs);
    let held = group.granted(&reply);
    group.unlock(&held);
}

fn a_time_out_of_the_next_lock_ends_it() {
    let shared = buffer();
    let mut holder = Group::of("vts/holder", &shared, Access::DMA_WRITE);
    let (mut first, _) = frames();
    let mut second = Group::of("vts/second", &shared, Access::DMA_READ);
    let (theirs, held) = (holder.lock(), first.lock());
    let reply = first.binder.unlockAndLock(held.token, second.key, 50_000_000);
    let reply = reply.expect("unlockWithFencesAndLock");
    let record = second.next_event().expect("a record");
    assert_eq!((record.kind, record.token), (event::TIMED_OUT, reply.token));
    holder.unlock(&theirs);
}

fn keys_are_different_random_and_never_zero() {
    let groups: Vec<Group> = (0..32).map(|_| Group::open("vts/key")).collect();
    let mut keys: Vec<i64> = groups.iter().map(|group| group.key).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), groups.len());
    assert!(!keys.contains(&0));
    // Two of 32 random numbers are neighbours in one of 2^53 runs only.
    assert!(keys.windows(2).all(|pair| pair[1].abs_diff(pair[0]) > 1024), "{keys:?}");
}

fn refusal<T>(result: &binder::Result<T>) -> Option<String> {
    result.as_ref().err().map(|status| format!("{status:?}"))
}

/// Checks that the held buffer is still held, and the free one is free.
fn nothing_has_happened(group: &Group, grant: &Grant, next: &mut Group) {
    group.binder.getAcquireFence(grant.token, 0).expect("the grant goes on");
    next.cycle();
}

fn a_call_that_is_refused_has_ended_nothing_and_locked_nothing() {
    let unread = Group::of("vts/unread", buffer(), Access::DMA_WRITE);
    // Before the test holds anything, because it takes long.
    assert_eq!(fill_channel(&unread, &mut frames().0, buffer()), ERROR_EVENTS_UNREAD);
    let (mut first, mut second) = frames();
    let held = first.lock();
    let pending = Pending::new();
    let fences = [whole(&pending.sync_file)];
    let call = |token: i64, key: i64, timeout: i64| {
        let without = first.binder.unlockAndLock(token, key, timeout);
        for fences in [&[], &fences[..]] {
            let with = first.binder.unlockWithFencesAndLock(token, fences, key, timeout);
            assert_eq!(refusal(&without), refusal(&with), "fences or none, it is the same call");
        }
        without
    };
    let gone = {
        let group = Group::open("vts/gone");
        group.binder.close().expect("close");
        group.key
    };
    for key in [0, second.key ^ 1, gone] {
        assert_eq!(error(call(held.token, key, 0)), ERROR_CLOSED);
    }
    assert_eq!(error(call(held.token, Group::open("vts/empty").key, 0)), ERROR_EMPTY_GROUP);
    assert!(is_illegal_argument(call(held.token, second.key, -1)));
    assert_eq!(error(call(held.token + 1, second.key, 0)), ERROR_BAD_TOKEN);
    nothing_has_happened(&first, &held, &mut second);

    let mut busy = frames().0;
    let theirs = busy.lock();
    assert_eq!(error(call(held.token, busy.key, 0)), ERROR_ALREADY_LOCKED);
    busy.unlock(&theirs);

    assert_eq!(error(call(held.token, unread.key, 0)), ERROR_EVENTS_UNREAD);

    let null = std::fs::File::open("/dev/null").expect("/dev/null");
    let no_fence = [whole(&null.into())];
    let refused = first.binder.unlockWithFencesAndLock(held.token, &no_fence, second.key, 0);
    assert_eq!(error(refused), ERROR_BAD_FENCE);
    let stray = [of_buffer(i64::MAX, &pending.sync_file)];
    let refused = first.binder.unlockWithFencesAndLock(held.token, &stray, second.key, 0);
    assert_eq!(error(refused), ERROR_UNKNOWN_BUFFER);
    let most = service().getCapabilities().expect("capabilities").maxBuffersPerGroup;
    let too_many: Vec<_> = (0..most + 2).map(|_| whole(&pending.sync_file)).collect();
    let refused = first.binder.unlockWithFencesAndLock(held.token, &too_many, second.key, 0);
    assert!(is_illegal_argument(refused));
    assert_eq!(counter("fences"), 0, "what is refused leaves no fence behind");
    nothing_has_happened(&first, &held, &mut second);
    first.unlock(&held);
}

fn an_evicted_grant_is_not_exchanged() {
    let mut first = Group::with_hold("vts/late", 60);
    first.add(buffer(), Access::DMA_WRITE);
    let (mut second, _) = frames();
    let held = first.lock();
    first.next_eviction(held.token);
    let refused = first.binder.unlockAndLock(held.token, second.key, 0);
    assert_eq!(error(refused), ERROR_EVICTED);
    let pending = Pending::new();
    let fences = [whole(&pending.sync_file)];
    let refused = first.binder.unlockWithFencesAndLock(held.token, &fences, second.key, 0);
    assert_eq!(error(refused), ERROR_EVICTED);
    second.cycle();
}

/// The fence of the ended grant and the next grant reach their limits at the same instant.
fn a_token_that_was_taken_away_stays_so_when_the_fence_before_it_fails_too() {
    let (pending, mut group) = (Pending::new(), Group::with_hold("vts/exchange", 300));
    group.add(buffer(), Access::DMA_WRITE);
    let held = group.lock();
    let fences = [whole(&pending.sync_file)];
    let reply = group.binder.unlockWithFencesAndLock(held.token, &fences, group.key, 0);
    let reply = reply.expect("unlockWithFencesAndLock");
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

fn fences_are_taken_and_found_by_the_next_group() {
    let (pending, shared) = (Pending::new(), buffer());
    let mut first = Group::of("vts/first", &shared, Access::DMA_WRITE);
    let mut second = Group::of("vts/second", &shared, Access::DMA_READ);
    let held = first.lock();
    let fences = [whole(&pending.sync_file)];
    let reply = first.binder.unlockWithFencesAndLock(held.token, &fences, second.key, 0);
    let reply = reply.expect("unlockWithFencesAndLock");
    assert!(is_granted(&reply), "a device waits for no fence");
    assert!(reply.acquireFence.is_some(), "as lock() answers");
    let grant = second.granted(&reply);
    assert_eq!(grant.fenced.len(), 1);
    // Another exchange without a fence: the next holder still gets the pending one.
    let mut third = Group::of("vts/third", &shared, Access::DMA_READ);
    let reply = exchange(&second, &grant, &third);
    assert!(is_granted(&reply) && reply.acquireFence.is_some(), "{reply:?}");
    let grant = third.granted(&reply);
    // An empty list of fences is the same as no fences.
    let reply = third.binder.unlockWithFencesAndLock(grant.token, &[], second.key, 0);
    let grant = second.granted(&reply.expect("unlockWithFencesAndLock"));
    second.binder.unlockWithFences(grant.token, &[]).expect("unlockWithFences");
    pending.signal();
    first.cycle();
}

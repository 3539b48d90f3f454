// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Groups with several locks: parts of a group, numbers, locks in each other's way, lost replies, memfds.

use std::os::fd::{AsFd, OwnedFd};

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::*;
use buffersync_aidl::aidl::vendor::buffersync::ISyncGroup::TRY;
use buffersync_aidl::aidl::vendor::buffersync::LockState::LockState;
use buffersync_aidl::event;
use buffersync_testbed_guest::dmabuf::DmaBuf;
use buffersync_testbed_guest::heap;
use buffersync_testbed_guest::user::User;
use buffersync_vts::fence::Pending;
use buffersync_vts::hal::{
    error, eventually, granted_in, handle, is_granted, is_illegal_argument, service, whole, Grant,
    Group, SHORT,
};
use buffersync_vts::process::Client;
use buffersync_vts::suite::Tests;
use buffersync_vts::tests;
use nix::fcntl::OFlag;
use nix::sys::memfd::{memfd_create, MemFdCreateFlag};

pub const TESTS: Tests = tests![
    locks_of_parts_are_granted_and_ended_each_for_itself,
    a_lock_names_accesses_or_takes_those_of_add,
    a_lock_of_what_the_group_lacks_is_refused,
    numbers_grow_and_a_refused_call_uses_up_none,
    a_number_that_is_over_says_so,
    a_lock_never_waits_for_its_own_group,
    growth_never_waits_for_its_own_group,
    records_have_the_number_of_their_lock,
    each_lock_has_a_deadline_of_its_own,
    each_lock_is_told_that_somebody_waits,
    the_locks_of_a_group_are_told,
    unlock_ends_a_lock_that_waits,
    what_waits_is_taken_back_and_a_grant_is_not,
    buffers_without_locks_come_and_go,
    what_was_let_go_is_free_for_another_lock,
    a_closed_group_ends_all_its_locks,
    a_group_has_so_many_locks_at_once,
    the_locks_of_a_group_have_so_many_buffers_in_sum,
    a_lock_whose_reply_was_lost_can_be_named,
    a_memfd_is_locked_like_a_dma_buf,
    memfds_beside_a_dma_buf_and_other_files_are_no_buffers,
];

const SIZE: usize = 16 * 1024;

fn buffers<const N: usize>() -> [DmaBuf; N] {
    [(); N].map(|()| heap::allocate(SIZE).expect("heap"))
}

/// A group that has these buffers, and their ids.
fn group<const N: usize>(buffers: &[DmaBuf; N], access: Access) -> (Group, [i64; N]) {
    let group = Group::open("vts/locks");
    let ids = std::array::from_fn(|nth| group.add(&buffers[nth], access));
    (group, ids)
}

/// Locks these buffers, which must be granted.
fn lock(group: &mut Group, buffers: &[i64]) -> Grant {
    let reply = group.binder.lock_some(buffers, &[], 0).expect("lock");
    group.granted(&reply)
}

/// Locks these buffers, which must wait. Returns the number.
fn wait(group: &mut Group, buffers: &[i64]) -> i64 {
    let reply = group.binder.lock_some(buffers, &[], 0).expect("lock");
    assert!(!is_granted(&reply) && group.nothing_within(SHORT), "granted against a holder");
    reply.token
}

fn ids(grant: &Grant) -> Vec<i64> {
    grant.buffers.iter().map(|(id, ..)| *id).collect()
}

/// Tells if nobody holds the buffer or waits for it.
fn is_free(buffer: impl AsFd) -> bool {
    let mut group = Group::of("vts/probe", buffer, Access::DMA_WRITE);
    let Ok(reply) = group.binder.try_lock() else { return false };
    let grant = group.granted(&reply);
    group.unlock(&grant);
    true
}

fn locks_of_parts_are_granted_and_ended_each_for_itself() {
    let all = buffers::<4>();
    let (mut camera, id) = group(&all, Access::DMA_WRITE);
    let mut codec = Group::of("vts/codec", &all[2], Access::DMA_READ);
    let encoded = codec.lock();
    let first = lock(&mut camera, &id[..1]);
    let second = wait(&mut camera, &id[1..3]);
    let third = lock(&mut camera, &id[3..]);
    assert_eq!((ids(&first), ids(&third)), (vec![id[0]], vec![id[3]]));
    // The lock that waits holds nothing, and the others hold their own and no more.
    assert_eq!([0, 1, 3].map(|nth: usize| is_free(&all[nth])), [false, false, false]);
    camera.unlock(&first);
    assert!(is_free(&all[0]) && !is_free(&all[3]));
    codec.unlock(&encoded);
    let granted = camera.next_grant();
    assert_eq!((granted.token, ids(&granted)), (second, id[1..3].to_vec()));
    camera.unlock(&granted);
    assert!(is_free(&all[1]) && is_free(&all[2]) && !is_free(&all[3]));
    camera.unlock(&third);
    assert!(is_free(&all[3]));
    // No buffers named: all of them.
    let whole = camera.lock();
    assert_eq!(ids(&whole), id);
    camera.unlock(&whole);
}

fn a_lock_names_accesses_or_takes_those_of_add() {
    let all = buffers::<2>();
    let (mut camera, id) = group(&all, Access::DMA_READ);
    let mut rival = Group::of("vts/rival", &all[0], Access::DMA_READ);
    let shares = |rival: &mut Group| {
        let Ok(reply) = rival.binder.try_lock() else { return false };
        let grant = rival.granted(&reply);
        rival.unlock(&grant);
        true
    };
    let mut with = |buffers: &[i64], accesses: &[Access]| {
        let reply = camera.binder.lock_some(buffers, accesses, 0).expect("lock");
        let grant = camera.granted(&reply);
        let shared = shares(&mut rival);
        camera.unlock(&grant);
        (ids(&grant), shared)
    };
    assert_eq!(with(&id, &[]), (id.to_vec(), true));
    let read_write = [Access::DMA_READ, Access::DMA_WRITE];
    assert_eq!(with(&id, &read_write), (id.to_vec(), true));
    assert_eq!(with(&[id[1], id[0]], &read_write), (vec![id[1], id[0]], false));
    // The stronger access counts for a buffer that is named twice.
    assert_eq!(with(&[id[0], id[0]], &read_write), (vec![id[0]], false));
    assert_eq!(with(&[id[0]], &[Access::WRITE]), (vec![id[0]], false));
    // The accesses were those locks' own.
    assert_eq!(with(&[], &[]), (id.to_vec(), true));
}

/// Asks for these buffers, with these accesses and this time-out.
type Asks<'a> = dyn Fn(&[i64], &[Access], i64) -> binder::Result<()> + 'a;

fn a_lock_of_what_the_group_lacks_is_refused() {
    let all = buffers::<2>();
    let (mut camera, id) = group(&all, Access::DMA_WRITE);
    let held = lock(&mut camera, &id[..1]);
    let most = service().getCapabilities().expect("capabilities").maxBuffersPerGroup;
    let too_many = vec![id[1]; most as usize + 1];
    let grow = |buffers: &[i64], accesses: &[Access], limit| {
        camera.binder.object.grow(held.token, buffers, accesses, limit).map(drop)
    };
    let ask = |buffers: &[i64], accesses: &[Access], limit| {
        camera.binder.lock_some(buffers, accesses, limit).map(drop)
    };
    let calls: [&Asks<'_>; 2] = [&ask, &grow];
    for call in calls {
        for stranger in [i64::MAX, 0, -1] {
            assert_eq!(error(call(&[id[1], stranger], &[], 0)), ERROR_UNKNOWN_BUFFER);
        }
        let mixed = [Access::DMA_READ, Access::READ];
        assert_eq!(error(call(&[id[1], id[1]], &mixed, 0)), ERROR_ACCESS_CONFLICT);
        assert!(is_illegal_argument(call(&too_many, &[], 0)));
        assert!(is_illegal_argument(call(&[], &[Access::DMA_READ], 0)));
        assert!(is_illegal_argument(call(&[id[1]], &mixed, 0)));
        assert!(is_illegal_argument(call(&[id[1]], &[Access(3)], 0)));
        assert!(is_illegal_argument(call(&[id[1]], &[], -2)));
        assert!(is_free(&all[1]), "what is refused holds nothing");
    }
    let one = [id[0]];
    let mixed = camera.binder.object.grow(held.token, &one, &[Access::READ], 0);
    assert_eq!(error(mixed), ERROR_ACCESS_CONFLICT);
    camera.unlock(&held);
    let empty = Group::open("vts/empty");
    assert_eq!(error(empty.binder.lock(0)), ERROR_EMPTY_GROUP);
}

fn numbers_grow_and_a_refused_call_uses_up_none() {
    let all = buffers::<2>();
    let (camera, id) = group(&all, Access::DMA_WRITE);
    let ask = |number: i64, buffers: &[i64]| {
        camera.binder.object.lock(number, buffers, &[], TRY).map(drop)
    };
    for number in [0, -1, i64::MIN] {
        assert_eq!(error(ask(number, &id)), ERROR_BAD_LOCK);
    }
    assert_eq!(error(ask(9, &[i64::MAX])), ERROR_UNKNOWN_BUFFER);
    ask(5, &id[..1]).expect("5 was not used");
    // Neither with the lock nor after it, and not below it.
    for number in [5, 4] {
        assert_eq!(error(ask(number, &id[1..])), ERROR_BAD_LOCK);
    }
    assert_eq!(error(ask(7, &id)), ERROR_ALREADY_LOCKED);
    camera.binder.unlock(5).expect("unlock");
    assert_eq!(error(ask(5, &id)), ERROR_BAD_LOCK);
    ask(6, &id).expect("7 was refused");
    camera.binder.unlock(6).expect("unlock");
    ask(i64::MAX, &id).expect("the greatest number");
    camera.binder.unlock(i64::MAX).expect("unlock");
}

fn a_number_that_is_over_says_so() {
    let all = buffers::<1>();
    let (mut camera, id) = group(&all, Access::DMA_WRITE);
    let object = camera.binder.object.clone();
    let calls = |number: i64| {
        [
            error(object.unlock(number)),
            error(object.unlockBuffers(number, &id, &[])),
            error(object.downgrade(number, &[])),
            error(object.cancel(number)),
            error(object.getAcquireFence(number, 0)),
            error(object.grow(number, &[], &[], 0)),
            error(object.unlockAndLock(number, &[], i64::MAX, &[], &[], 0)),
        ]
    };
    assert_eq!(calls(3), [ERROR_BAD_LOCK; 7]);
    object.lock(3, &[], &[], TRY).expect("lock");
    object.unlock(3).expect("unlock");
    assert_eq!(calls(3), [ERROR_ENDED; 7]);
    // It was passed over, so it can't come any more.
    assert_eq!(calls(2), [ERROR_ENDED; 7]);
    assert_eq!([0, -1, 4].map(calls), [[ERROR_BAD_LOCK; 7]; 3]);
    // One that waited, and was taken back or timed out.
    let mut holder = Group::of("vts/holder", &all[0], Access::DMA_WRITE);
    let held = holder.lock();
    object.lock(4, &[], &[], 0).expect("lock");
    object.cancel(4).expect("cancel");
    object.lock(5, &[], &[], 1_000_000).expect("lock");
    assert_eq!(camera.next_event().expect("a time-out").kind, event::TIMED_OUT);
    assert_eq!([4, 5].map(calls), [[ERROR_ENDED; 7]; 2]);
    holder.unlock(&held);
}

fn a_lock_never_waits_for_its_own_group() {
    let all = buffers::<2>();
    let (mut camera, id) = group(&all, Access::DMA_READ);
    let mut other = Group::of("vts/other", &all[1], Access::DMA_WRITE);
    let theirs = other.lock();
    let reading = lock(&mut camera, &id[..1]);
    let waiting = wait(&mut camera, &id[1..]);
    for (nth, what) in [(0, "held"), (1, "waited for")] {
        let one = [id[nth]];
        let write = camera.binder.lock_some(&one, &[Access::DMA_WRITE], 0);
        assert_eq!(error(write), ERROR_ALREADY_LOCKED, "{what}");
        let write = camera.binder.lock_some(&one, &[Access::DMA_WRITE], TRY);
        assert_eq!(error(write), ERROR_ALREADY_LOCKED, "{what}");
    }
    // Readers share, in a group as between groups.
    let also = lock(&mut camera, &id[..1]);
    other.unlock(&theirs);
    let second = camera.next_grant();
    assert_eq!(second.token, waiting);
    for grant in [reading, also, second] {
        camera.unlock(&grant);
    }
    let reply = camera.binder.lock_some(&id, &[Access::DMA_WRITE; 2], 0).expect("nothing is left");
    let grant = camera.granted(&reply);
    camera.unlock(&grant);
}

fn growth_never_waits_for_its_own_group() {
    let all = buffers::<2>();
    let (mut camera, id) = group(&all, Access::DMA_READ);
    let first = lock(&mut camera, &id[..1]);
    let second = lock(&mut camera, &id[1..]);
    let write = [Access::DMA_WRITE];
    let refused = camera.binder.object.grow(first.token, &id[1..], &write, 0);
    assert_eq!(error(refused), ERROR_ALREADY_LOCKED);
    camera.unlock(&second);
    let object = camera.binder.object.clone();
    let grown = object.grow(first.token, &id[1..], &write, 0).expect("grow");
    assert!(!grown.grant.is_empty());
    assert_eq!(error(object.grow(first.token, &id, &[], 0)), ERROR_ALREADY_LOCKED, "it has all");
    assert!(!is_free(&all[1]));
    camera.unlock(&first);
}

fn records_have_the_number_of_their_lock() {
    let all = buffers::<3>();
    let mut holder = Group::open("vts/holder");
    all.iter().for_each(|buffer| assert!(holder.add(buffer, Access::DMA_WRITE) > 0));
    let (mut camera, id) = group(&all, Access::DMA_WRITE);
    let held = holder.lock();
    let first = wait(&mut camera, &id[..1]);
    let hasty = camera.binder.lock_some(&id[1..2], &[], 1_000_000).expect("lock");
    let record = camera.next_event().expect("a time-out");
    assert_eq!((record.kind, record.token), (event::TIMED_OUT, hasty.token));
    let third = wait(&mut camera, &id[2..]);
    holder.unlock(&held);
    let mut grants = [camera.next_grant(), camera.next_grant()];
    grants.sort_by_key(|grant| grant.token);
    let told = grants.each_ref().map(|grant| (grant.token, ids(grant)));
    assert_eq!(told, [(first, vec![id[0]]), (third, vec![id[2]])]);
    grants.iter().for_each(|grant| camera.unlock(grant));
}

fn each_lock_has_a_deadline_of_its_own() {
    let all = buffers::<2>();
    let mut camera = Group::with_hold("vts/locks", 700);
    let id = [0, 1].map(|nth: usize| camera.add(&all[nth], Access::DMA_WRITE));
    let first = lock(&mut camera, &id[..1]);
    std::thread::sleep(SHORT);
    let second = lock(&mut camera, &id[1..]);
    assert!(second.deadline > first.deadline);
    assert_eq!(camera.next_eviction(first.token), 0);
    assert_eq!(error(camera.binder.unlock(first.token)), ERROR_EVICTED);
    assert!(is_free(&all[0]));
    assert_eq!(camera.next_eviction(second.token), 0);
}

fn each_lock_is_told_that_somebody_waits() {
    let all = buffers::<2>();
    let (mut camera, id) = group(&all, Access::DMA_WRITE);
    let (first, second) = (lock(&mut camera, &id[..1]), lock(&mut camera, &id[1..]));
    let mut rivals = [0, 1].map(|nth: usize| Group::of("vts/rival", &all[nth], Access::DMA_WRITE));
    for (rival, grant) in rivals.iter_mut().zip([&first, &second]) {
        rival.lock_must_wait();
        let record = camera.next_contended();
        assert_eq!((record.token, record.value0), (grant.token, grant.deadline));
        assert!(camera.is_uncontended_within(SHORT));
    }
    camera.unlock(&first);
    rivals[0].next_grant();
    assert!(rivals[1].nothing_within(SHORT));
    camera.unlock(&second);
    rivals[1].next_grant();
}

fn the_locks_of_a_group_are_told() {
    let all = buffers::<3>();
    let (mut camera, id) = group(&all, Access::DMA_WRITE);
    let mut other = Group::of("vts/other", &all[2], Access::DMA_WRITE);
    let theirs = other.lock();
    let locks = |camera: &Group| -> Vec<(i64, bool, Vec<i64>)> {
        let told = camera.binder.object.getLocks().expect("getLocks").into_iter();
        told.map(|LockState { lock, waiting, grant }| (lock, waiting, grant)).collect()
    };
    assert_eq!(locks(&camera), []);
    let reply = camera.binder.lock_some(&id[..2], &[], 0).expect("lock");
    let held = camera.granted(&reply);
    let of = |lock, waiting, grant: &[i64]| (lock, waiting, grant.to_vec());
    assert_eq!(locks(&camera), [of(held.token, false, &reply.grant)]);
    let waiting = wait(&mut camera, &id[2..]);
    assert_eq!(locks(&camera), [of(held.token, false, &reply.grant), of(waiting, true, &[])]);
    camera.binder.unlock(waiting).expect("unlock");
    camera.binder.object.grow(held.token, &id[2..], &[], 0).expect("grow");
    assert_eq!(locks(&camera), [of(held.token, true, &reply.grant)]);
    other.unlock(&theirs);
    let grown = camera.next_grant();
    let told = locks(&camera);
    assert_eq!((told.len(), told[0].1), (1, false));
    assert_eq!(told[0].2.len(), 1 + 3 * grown.buffers.len());
    assert_eq!(told[0].2[0], grown.deadline);
    camera.binder.unlock_some(held.token, &id[..2], &[]).expect("unlockBuffers");
    let told = locks(&camera);
    assert_eq!((told[0].2.len(), told[0].2[1]), (4, id[2]));
    camera.unlock(&grown);
    assert_eq!(locks(&camera), []);
}

fn unlock_ends_a_lock_that_waits() {
    let all = buffers::<1>();
    let (mut camera, _) = group(&all, Access::DMA_WRITE);
    let mut holder = Group::of("vts/holder", &all[0], Access::DMA_WRITE);
    let mut young = Group::of("vts/young", &all[0], Access::DMA_WRITE);
    let held = holder.lock();
    let waiting = camera.lock_must_wait();
    young.lock_must_wait();
    let pending = Pending::new();
    let fenced = camera.binder.unlock_with(waiting, &[whole(&pending.sync_file)]);
    assert_eq!(error(fenced), ERROR_BUSY);
    assert_eq!(error(camera.binder.acquire_fence(waiting, 0)), ERROR_BUSY);
    assert_eq!(error(camera.binder.downgrade(waiting, &[])), ERROR_BUSY);
    camera.binder.unlock(waiting).expect("unlock");
    assert_eq!(error(camera.binder.unlock(waiting)), ERROR_ENDED);
    holder.unlock(&held);
    let grant = young.next_grant();
    assert!(camera.nothing_within(SHORT), "a record of a lock that was ended");
    young.unlock(&grant);
}

fn what_waits_is_taken_back_and_a_grant_is_not() {
    let all = buffers::<2>();
    let (mut camera, id) = group(&all, Access::DMA_WRITE);
    let mut holder = Group::of("vts/holder", &all[1], Access::DMA_WRITE);
    let theirs = holder.lock();
    let held = lock(&mut camera, &id[..1]);
    assert_eq!(error(camera.binder.object.cancel(held.token)), ERROR_NOT_QUEUED);
    let waiting = wait(&mut camera, &id[1..]);
    // The other lock of the group stays.
    camera.binder.object.cancel(waiting).expect("cancel");
    camera.binder.object.grow(held.token, &id[1..], &[], 0).expect("grow");
    assert_eq!(error(camera.binder.object.grow(held.token, &id, &[], 0)), ERROR_BUSY);
    camera.binder.object.cancel(held.token).expect("cancel");
    holder.unlock(&theirs);
    assert!(camera.nothing_within(SHORT));
    assert!(is_free(&all[1]) && !is_free(&all[0]));
    camera.unlock(&held);
}

fn buffers_without_locks_come_and_go() {
    let all = buffers::<3>();
    let (mut camera, id) = group(&all, Access::DMA_WRITE);
    let mut holder = Group::of("vts/holder", &all[1], Access::DMA_WRITE);
    let theirs = holder.lock();
    let held = lock(&mut camera, &id[2..]);
    wait(&mut camera, &id[1..2]);
    let remove = |buffers: &[i64]| camera.binder.object.remove(buffers);
    for busy in [&id[2..], &id[1..2], &id[..2], &[id[0], id[2]], &[id[2], id[0]], &[]] {
        assert_eq!(error(remove(busy)), ERROR_BUSY);
    }
    assert_eq!(error(remove(&[id[0], i64::MAX])), ERROR_UNKNOWN_BUFFER);
    let most = service().getCapabilities().expect("capabilities").maxBuffersPerGroup;
    assert!(is_illegal_argument(remove(&vec![id[0]; most as usize + 1])));
    // All or none: it is still there.
    remove(&[id[0], id[0]]).expect("nobody has a lock on it");
    assert_eq!(error(remove(&id[..1])), ERROR_UNKNOWN_BUFFER);
    let again = camera.add(&all[0], Access::DMA_READ);
    let third = lock(&mut camera, &[again]);
    camera.unlock(&third);
    camera.unlock(&held);
    holder.unlock(&theirs);
}

fn what_was_let_go_is_free_for_another_lock() {
    let all = buffers::<2>();
    let (mut camera, id) = group(&all, Access::DMA_WRITE);
    let first = camera.lock();
    camera.binder.unlock_some(first.token, &id[..1], &[]).expect("unlockBuffers");
    let second = lock(&mut camera, &id[..1]);
    let object = camera.binder.object.clone();
    assert_eq!(error(object.grow(first.token, &id[..1], &[], 0)), ERROR_ALREADY_LOCKED);
    // It shares now, so the first one may read, too.
    object.downgrade(second.token, &[]).expect("downgrade");
    object.grow(first.token, &id[..1], &[Access::DMA_READ], 0).expect("grow");
    camera.unlock(&first);
    camera.unlock(&second);
    assert!(is_free(&all[0]) && is_free(&all[1]));
}

fn a_closed_group_ends_all_its_locks() {
    let all = buffers::<3>();
    let (mut camera, id) = group(&all, Access::DMA_WRITE);
    let mut holder = Group::of("vts/holder", &all[2], Access::DMA_WRITE);
    let theirs = holder.lock();
    lock(&mut camera, &id[..1]);
    lock(&mut camera, &id[1..2]);
    wait(&mut camera, &id[2..]);
    camera.binder.close().expect("close");
    assert!(is_free(&all[0]) && is_free(&all[1]));
    holder.unlock(&theirs);
    assert!(is_free(&all[2]));
}

fn a_group_has_so_many_locks_at_once() {
    let most = service().getCapabilities().expect("capabilities").maxLocksPerGroup;
    assert!(most >= 1);
    let all = buffers::<2>();
    let (mut camera, id) = group(&all, Access::DMA_READ);
    let mut holder = Group::of("vts/holder", &all[1], Access::DMA_WRITE);
    let theirs = holder.lock();
    // Granted and waiting ones count alike.
    let locks: Vec<i64> = (0..most)
        .map(|nth| {
            let which = nth as usize % 2;
            let reply = camera.binder.lock_some(&id[which..=which], &[], 0).expect("lock");
            assert_eq!(is_granted(&reply), which == 0);
            reply.token
        })
        .collect();
    assert_eq!(error(camera.binder.lock_some(&id[..1], &[], 0)), ERROR_QUOTA);
    for ended in [0, 1].into_iter().filter_map(|nth: usize| locks.get(nth)) {
        camera.binder.unlock(*ended).expect("unlock");
        lock(&mut camera, &id[..1]);
        assert_eq!(error(camera.binder.lock_some(&id[..1], &[], 0)), ERROR_QUOTA);
    }
    holder.unlock(&theirs);
}

fn the_locks_of_a_group_have_so_many_buffers_in_sum() {
    let limits = service().getCapabilities().expect("capabilities");
    let size = limits.maxBuffersPerGroup.min(100) as usize;
    let camera = Group::open("vts/locks");
    for _ in 0..size {
        camera.add(heap::allocate(4096).expect("heap"), Access::DMA_READ);
    }
    // The AIDL promises 1024 buffers, and the number of locks.
    let fit = (1024 / size).min(limits.maxLocksPerGroup as usize);
    let locks: Vec<i64> = (0..fit).map(|_| camera.binder.lock(0).expect("lock").token).collect();
    assert_eq!(error(camera.binder.lock(0)), ERROR_QUOTA);
    camera.binder.unlock(locks[0]).expect("unlock");
    camera.binder.lock(0).expect("one has ended");
}

/// The client has no descriptor left for the fence in the reply.
fn a_lock_whose_reply_was_lost_can_be_named() {
    let [buffer] = buffers::<1>();
    let pending = Pending::new();
    let mut giver = Group::of("vts/giver", &buffer, Access::DMA_WRITE);
    let held = giver.lock();
    giver.unlock_fenced(&held, &pending.sync_file);
    let mut client = Client::start(User::ROOT, "lose", buffer.as_fd(), Access::DMA_READ);
    assert_eq!(client.line(), "lost 1, held 1, ended 0");
    // The client lives, and its group is open: only the unlock can have ended its lock.
    pending.signal();
    eventually("the buffer is free", || is_free(&buffer));
}

fn memfd() -> OwnedFd {
    let name = c"frame";
    let memory = memfd_create(name, MemFdCreateFlag::MFD_CLOEXEC).expect("memfd_create");
    let memory = std::fs::File::from(memory);
    memory.set_len(SIZE as u64).expect("ftruncate");
    memory.into()
}

fn a_memfd_is_locked_like_a_dma_buf() {
    let frame = memfd();
    let mut writer = Group::of("vts/writer", &frame, Access::WRITE);
    let mut reader = Group::of("vts/reader", frame.try_clone().expect("dup"), Access::READ);
    let held = writer.lock();
    reader.lock_must_wait();
    writer.unlock(&held);
    let read = reader.next_grant();
    assert_eq!(read.buffers[0].0, held.buffers[0].0, "it is the same buffer");
    reader.unlock(&read);
    // It is granted at once, whatever it was before: there is nothing to be done.
    for access in [Access::WRITE, Access::READ, Access::WRITE] {
        let mut group = Group::of("vts/frames", &frame, access);
        let reply = group.binder.try_lock().expect("tryLock");
        assert!(granted_in(&reply).is_some());
        let grant = group.granted(&reply);
        group.unlock(&grant);
    }
    // An eviction leaves its marks as on a dma-buf.
    let mut stuck = Group::with_hold("vts/stuck", 60);
    stuck.add(&frame, Access::WRITE);
    let lost = stuck.lock();
    stuck.next_eviction(lost.token);
    assert_eq!(reader.lock().marks(), (true, true));
}

fn memfds_beside_a_dma_buf_and_other_files_are_no_buffers() {
    let ([buffer], frame) = (buffers::<1>(), memfd());
    let group = Group::open("vts/metadata");
    let both = handle(&[frame.as_fd(), buffer.as_fd()]);
    let added = group.binder.add(&both, Access::WRITE).expect("add");
    assert_eq!(added.len(), 1);
    assert_eq!(Group::of("vts/other", &buffer, Access::WRITE).lock().buffers[0].0, added[0]);
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let file = std::fs::File::open("/proc/self/exe").expect("a file");
    assert_eq!(error(group.binder.add(&handle(&[file.as_fd()]), Access::READ)), ERROR_NOT_DMABUF);
    // Not every kernel has huge pages; a memfd of them needs none before it is mapped.
    if let Ok(huge) = memfd_create(c"huge", MemFdCreateFlag::MFD_HUGETLB) {
        let refused = group.binder.add(&handle(&[huge.as_fd()]), Access::READ);
        assert_eq!(error(refused), ERROR_NOT_DMABUF);
    }
    // A file of tmpfs is memory, too, but no memfd. Not every system has such a folder.
    if let Ok(fd) = nix::fcntl::open("/dev/shm", flags, nix::sys::stat::Mode::S_IRUSR) {
        // SAFETY: open(2) has just returned the descriptor, and nobody else has it.
        let file = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) };
        let refused = group.binder.add(&handle(&[file.as_fd()]), Access::READ);
        assert_eq!(error(refused), ERROR_NOT_DMABUF);
    }
}

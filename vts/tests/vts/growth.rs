// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Growth of grants, time-outs, and kept tickets.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::*;
use buffersync_aidl::aidl::vendor::buffersync::ISyncGroup::TRY;
use buffersync_aidl::event;
use buffersync_testbed_guest::heap;
use buffersync_vts::hal::{error, is_illegal_argument, now_ns, service, Grant, Group, SHORT};
use buffersync_vts::suite::Tests;
use buffersync_vts::tests;

pub const TESTS: Tests = tests![
    growth_keeps_token_and_deadline_and_names_every_buffer,
    a_reader_becomes_a_writer_when_it_is_alone,
    growth_that_could_deadlock_is_refused_and_the_retry_keeps_its_age,
    a_growing_group_is_wounded_by_an_older_one_and_keeps_what_it_holds,
    a_lock_that_times_out_is_told_and_leaves_its_ticket,
    growth_that_is_cancelled_or_times_out_keeps_the_grant,
    unlock_ends_growth_too,
    negative_time_outs_are_refused,
    a_lock_that_is_cancelled_leaves_its_ticket,
    a_ticket_is_kept_as_long_as_the_longest_grant_and_no_longer,
    a_ticket_is_not_renewed_by_locking_and_cancelling,
    a_ticket_of_another_buffer_passes_no_waiter_that_stood_there_first,
    growth_after_the_tickets_life_passes_no_waiter_that_stood_there_first,
    growth_of_a_grant_that_was_taken_away_is_refused,
];

const SIZE: usize = 16 * 1024;

fn growth_keeps_token_and_deadline_and_names_every_buffer() {
    let (x, y) = (heap::allocate(SIZE).expect("heap"), heap::allocate(SIZE).expect("heap"));
    let mut group = Group::of("vts/grower", &x, Access::DMA_WRITE);
    let held = group.lock();
    let added = group.add(&y, Access::DMA_WRITE);
    let mut rival = Group::of("vts/rival", &y, Access::DMA_WRITE);
    rival.cycle();
    let grown = group.grow();
    assert_eq!((grown.token, grown.deadline), (held.token, held.deadline));
    let ids: Vec<i64> = grown.buffers.iter().map(|(id, ..)| *id).collect();
    assert_eq!(ids, [held.buffers[0].0, added]);
    assert_eq!(error(group.binder.remove(added)), ERROR_BUSY);
    rival.lock_must_wait();
    group.unlock(&grown);
    let grant = rival.next_grant();
    rival.unlock(&grant);
}

fn a_reader_becomes_a_writer_when_it_is_alone() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut group = Group::of("vts/upgrader", &buffer, Access::READ);
    let mut other = Group::of("vts/reader", &buffer, Access::READ);
    let held = group.lock();
    let shared = other.lock();
    group.add(&buffer, Access::WRITE);
    assert_eq!(group.grow_must_wait(), held.token);
    other.unlock(&shared);
    let grown = group.next_grant();
    assert_eq!(grown.token, held.token);
    assert_eq!(grown.buffers[0].1, held.buffers[0].1 + 1, "an exclusive grant has a generation");
    other.lock_must_wait();
    group.unlock(&grown);
    let grant = other.next_grant();
    other.unlock(&grant);
}

fn growth_that_could_deadlock_is_refused_and_the_retry_keeps_its_age() {
    let (x, y) = (heap::allocate(SIZE).expect("heap"), heap::allocate(SIZE).expect("heap"));
    let mut old = Group::of("vts/old", &x, Access::DMA_WRITE);
    let mut young = Group::of("vts/young", &y, Access::DMA_WRITE);
    let old_held = old.lock();
    let young_held = young.lock();
    old.add(&y, Access::DMA_WRITE);
    old.grow_must_wait();
    young.add(&x, Access::DMA_WRITE);
    assert_eq!(error(young.binder.grow(0)), ERROR_DEADLOCK);
    assert_eq!(error(young.binder.grow(TRY)), ERROR_DEADLOCK);
    let mut third = Group::of("vts/third", &y, Access::DMA_WRITE);
    third.lock_must_wait();
    young.unlock(&young_held);
    assert_eq!(old.next_grant().token, old_held.token);
    young.lock_must_wait();
    old.unlock(&old_held);
    let both = young.next_grant();
    assert_eq!(both.buffers.len(), 2, "served after a younger one");
    young.unlock(&both);
    let grant = third.next_grant();
    third.unlock(&grant);
}

fn a_growing_group_is_wounded_by_an_older_one_and_keeps_what_it_holds() {
    let (x, y) = (heap::allocate(SIZE).expect("heap"), heap::allocate(SIZE).expect("heap"));
    let mut old = Group::of("vts/old", &x, Access::DMA_WRITE);
    let mut young = Group::of("vts/young", &y, Access::DMA_WRITE);
    let old_held = old.lock();
    let young_held = young.lock();
    young.add(&x, Access::DMA_WRITE);
    young.grow_must_wait();
    old.add(&y, Access::DMA_WRITE);
    old.grow_must_wait();
    let record = young.next_event().expect("a wound");
    assert_eq!((record.kind, record.token), (event::WOUNDED, young_held.token));
    assert_eq!(error(young.binder.grow(0)), ERROR_DEADLOCK);
    young.unlock(&young_held);
    old.next_grant();
    young.lock_must_wait();
    old.unlock(&old_held);
    let both = young.next_grant();
    young.unlock(&both);
}

fn a_lock_that_times_out_is_told_and_leaves_its_ticket() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut holder = Group::with_hold("vts/holder", i32::MAX);
    holder.add(&buffer, Access::DMA_WRITE);
    let mut hasty = Group::of("vts/hasty", &buffer, Access::DMA_WRITE);
    let mut young = Group::of("vts/young", &buffer, Access::DMA_WRITE);
    let held = holder.lock();
    let begin = now_ns();
    let reply = hasty.binder.lock(2_000_000_000).expect("lock");
    // It is behind the other one, and did not come while that one was away.
    young.lock_must_wait();
    let record = hasty.next_event().expect("a time-out");
    assert_eq!((record.kind, record.token), (event::TIMED_OUT, reply.token));
    assert!(now_ns() - begin >= 2_000_000_000, "too early");
    assert_eq!(error(hasty.binder.cancel()), ERROR_ENDED);
    hasty.lock_must_wait();
    holder.unlock(&held);
    let grant = hasty.next_grant();
    assert!(young.nothing_within(SHORT), "two writers");
    hasty.unlock(&grant);
    let grant = young.next_grant();
    young.unlock(&grant);
}

fn growth_that_is_cancelled_or_times_out_keeps_the_grant() {
    let (x, y) = (heap::allocate(SIZE).expect("heap"), heap::allocate(SIZE).expect("heap"));
    let mut holder = Group::of("vts/holder", &y, Access::DMA_WRITE);
    let held_y = holder.lock();
    let mut group = Group::of("vts/grower", &x, Access::DMA_WRITE);
    let held = group.lock();
    let added = group.add(&y, Access::DMA_WRITE);
    group.grow_must_wait();
    assert_eq!(error(group.binder.remove_all()), ERROR_BUSY);
    group.binder.cancel().expect("cancel");
    assert_eq!(error(group.binder.cancel()), ERROR_NOT_QUEUED);
    group.binder.grow(50_000_000).expect("grow");
    assert_eq!(group.next_event().expect("a time-out").kind, event::TIMED_OUT);
    group.binder.remove(added).expect("what is not held can be removed");
    let mut rival = Group::of("vts/rival", &x, Access::DMA_READ);
    assert_eq!(error(rival.binder.try_lock()), ERROR_WOULD_BLOCK);
    group.unlock(&held);
    rival.cycle();
    holder.unlock(&held_y);
}

fn unlock_ends_growth_too() {
    let (x, y) = (heap::allocate(SIZE).expect("heap"), heap::allocate(SIZE).expect("heap"));
    let mut holder = Group::of("vts/holder", &y, Access::DMA_WRITE);
    let held_y = holder.lock();
    let mut group = Group::of("vts/grower", &x, Access::DMA_WRITE);
    let held = group.lock();
    group.add(&y, Access::DMA_WRITE);
    group.grow_must_wait();
    group.unlock(&held);
    holder.unlock(&held_y);
    assert!(group.nothing_within(SHORT), "a growth outlived its grant");
    group.cycle();
}

fn negative_time_outs_are_refused() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut group = Group::of("vts/negative", buffer.as_fd(), Access::DMA_READ);
    for timeout in [-2, i64::MIN] {
        assert!(is_illegal_argument(group.binder.lock(timeout)));
    }
    let reply = group.binder.lock(i64::MAX).expect("lock");
    let grant = group.granted(&reply);
    group.unlock(&grant);
}

fn a_lock_that_is_cancelled_leaves_its_ticket() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut holder = Group::of("vts/holder", &buffer, Access::DMA_WRITE);
    let held = holder.lock();
    let mut fickle = Group::of("vts/fickle", &buffer, Access::DMA_WRITE);
    fickle.lock_must_wait();
    let mut young = Group::of("vts/young", &buffer, Access::DMA_WRITE);
    young.lock_must_wait();
    fickle.binder.cancel().expect("cancel");
    fickle.lock_must_wait();
    holder.unlock(&held);
    let grant = fickle.next_grant();
    assert!(young.nothing_within(SHORT), "two writers");
    fickle.unlock(&grant);
    let grant = young.next_grant();
    young.unlock(&grant);
    // The ticket was used, so the next lock draws a new one.
    let held = holder.lock();
    young.lock_must_wait();
    fickle.lock_must_wait();
    holder.unlock(&held);
    let grant = young.next_grant();
    assert!(fickle.nothing_within(SHORT), "two writers");
    young.unlock(&grant);
    let grant = fickle.next_grant();
    fickle.unlock(&grant);
}

/// The life of a ticket; `None` if it is too long for a test.
fn life_of_a_ticket() -> Option<Duration> {
    let longest = service().getCapabilities().expect("capabilities").maxHoldMs;
    let longest = u64::from(longest.unsigned_abs());
    (longest <= 10_000).then(|| Duration::from_millis(longest))
}

/// A little more than the life of a ticket.
const LATER: Duration = Duration::from_millis(200);

/// `first` is before `second` in the queue of the buffer. Checks that they are served in this order when the
/// holder unlocks.
fn served_in_order(holder: (&Group, &Grant), first: &mut Group, second: &mut Group) {
    holder.0.unlock(holder.1);
    let grant = first.next_grant();
    assert!(second.nothing_within(SHORT), "two writers");
    first.unlock(&grant);
    let grant = second.next_grant();
    second.unlock(&grant);
}

/// A hoarder is in line before a young group until the life of the hoarder's ticket is over. Then it leaves,
/// and comes back behind the young one.
fn outlive_a_ticket(mut meanwhile: impl FnMut(&mut Group)) {
    let Some(longest) = life_of_a_ticket() else { return };
    let buffer = heap::allocate(SIZE).expect("heap");
    // The next group is granted when the holder is evicted, and still holds when the ticket's life is over.
    let [mut holder, mut next] = ["vts/holder", "vts/next"].map(|name| {
        let group = Group::with_hold(name, i32::MAX);
        group.add(&buffer, Access::DMA_WRITE);
        group
    });
    let first = holder.lock();
    next.lock_must_wait();
    let mut hoarder = Group::of("vts/hoarder", &buffer, Access::DMA_WRITE);
    hoarder.lock_must_wait();
    let begin = Instant::now();
    let mut young = Group::of("vts/young", &buffer, Access::DMA_WRITE);
    young.lock_must_wait();
    while begin.elapsed() < longest + LATER {
        meanwhile(&mut hoarder);
    }
    holder.next_eviction(first.token);
    hoarder.binder.cancel().expect("cancel");
    hoarder.lock_must_wait();
    let held = next.next_grant();
    served_in_order((&next, &held), &mut young, &mut hoarder);
}

fn a_ticket_is_kept_as_long_as_the_longest_grant_and_no_longer() {
    outlive_a_ticket(|_| std::thread::sleep(SHORT));
}

fn a_ticket_is_not_renewed_by_locking_and_cancelling() {
    outlive_a_ticket(|hoarder| {
        hoarder.binder.cancel().expect("cancel");
        hoarder.lock_must_wait();
        std::thread::sleep(SHORT);
    });
}

fn a_ticket_of_another_buffer_passes_no_waiter_that_stood_there_first() {
    let [x, own] = [(); 2].map(|()| heap::allocate(SIZE).expect("heap"));
    let mut keeper = Group::of("vts/keeper", &own, Access::DMA_WRITE);
    let mut hoarder = Group::of("vts/hoarder", &own, Access::DMA_WRITE);
    let kept = keeper.lock();
    hoarder.lock_must_wait();
    hoarder.binder.cancel().expect("cancel");
    keeper.unlock(&kept);
    let mut holder = Group::of("vts/holder", &x, Access::DMA_WRITE);
    let mut honest = Group::of("vts/honest", &x, Access::DMA_WRITE);
    let held = holder.lock();
    honest.lock_must_wait();
    hoarder.add(&x, Access::DMA_WRITE);
    hoarder.lock_must_wait();
    served_in_order((&holder, &held), &mut honest, &mut hoarder);
}

fn growth_after_the_tickets_life_passes_no_waiter_that_stood_there_first() {
    let Some(longest) = life_of_a_ticket() else { return };
    let [x, y] = [(); 2].map(|()| heap::allocate(SIZE).expect("heap"));
    let mut before = Group::of("vts/before", &x, Access::DMA_WRITE);
    let mut grower = Group::with_hold("vts/grower", i32::MAX);
    grower.add(&x, Access::DMA_WRITE);
    let held = before.lock();
    let begin = Instant::now();
    grower.lock_must_wait();
    // So its grant lasts beyond its ticket's life.
    assert!(grower.nothing_within(longest / 2));
    before.unlock(&held);
    let grown = grower.next_grant();
    std::thread::sleep((longest + LATER).saturating_sub(begin.elapsed()));

    let mut holder = Group::of("vts/holder", &y, Access::DMA_WRITE);
    let mut honest = Group::of("vts/honest", &y, Access::DMA_WRITE);
    let held = holder.lock();
    honest.lock_must_wait();
    grower.add(&y, Access::DMA_WRITE);
    assert_eq!(error(grower.binder.grow(0)), ERROR_DEADLOCK);
    grower.unlock(&grown);
    grower.lock_must_wait();
    served_in_order((&holder, &held), &mut honest, &mut grower);
}

fn growth_of_a_grant_that_was_taken_away_is_refused() {
    let (x, y) = (heap::allocate(SIZE).expect("heap"), heap::allocate(SIZE).expect("heap"));
    let mut group = Group::with_hold("vts/slow", 200);
    group.add(&x, Access::DMA_WRITE);
    let held = group.lock();
    group.add(&y, Access::DMA_WRITE);
    group.next_eviction(held.token);
    assert_eq!(error(group.binder.grow(0)), ERROR_EVICTED);
    assert_eq!(error(group.binder.unlock(held.token)), ERROR_EVICTED);
    assert_eq!(group.cycle().buffers.len(), 2);
}

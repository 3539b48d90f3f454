// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Holders are told that somebody waits, and a hold limit may count from there. Who waited in vain, or too long, is told
//! for whom.

use std::os::fd::AsFd;
use std::time::Duration;

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::GroupOptions::GroupOptions;
use buffersync_aidl::aidl::vendor::buffersync::HoldFrom::HoldFrom;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::*;
use buffersync_aidl::event::{self, Record};
use buffersync_testbed_guest::heap;
use buffersync_testbed_guest::user::User;
use buffersync_testbed_guest::vgem::Vgem;
use buffersync_vts::fence::Pending;
use buffersync_vts::hal::{error, eventually, is_illegal_argument, now_ns, service, Group, SHORT};
use buffersync_vts::process::Client;
use buffersync_vts::suite::Tests;
use buffersync_vts::tests;

pub const TESTS: Tests = tests![
    a_holder_is_told_once_that_somebody_waits,
    who_shares_or_only_tries_is_no_conflict,
    who_is_granted_while_others_wait_is_told_too,
    what_nobody_waits_for_can_be_held_beyond_the_limit,
    the_limit_counts_from_the_first_conflict,
    the_deadline_stays_when_the_lock_gives_up,
    a_growing_grant_has_no_deadline_either,
    a_holder_that_waits_for_more_gets_a_deadline,
    every_reader_in_the_way_is_told,
    an_unknown_moment_is_refused,
    a_time_out_names_a_lock_in_the_way,
    an_eviction_names_a_lock_that_waited,
    names_are_for_the_own_uid_and_the_system,
];

const SIZE: usize = 16 * 1024;
const HOLD_MS: i32 = 300;
const HOLD_NS: i64 = HOLD_MS as i64 * 1_000_000;

/// A group whose hold limit counts from the first conflict.
fn patient(name: &str) -> Group {
    let options = GroupOptions {
        holdLimitMs: HOLD_MS,
        holdFrom: HoldFrom::CONFLICT,
        ..GroupOptions::default()
    };
    Group::with_options(name, &options)
}

fn a_holder_is_told_once_that_somebody_waits() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut holder = Group::of("vts/holder", &buffer, Access::DMA_WRITE);
    let [mut first, mut second] =
        ["vts/first", "vts/second"].map(|name| Group::of(name, &buffer, Access::DMA_READ));
    let held = holder.lock();
    assert!(holder.is_uncontended_within(SHORT), "nobody waits");
    let token = first.lock_must_wait();
    let told = holder.next_contended();
    // Before it is too late. If the deadline has passed, the test runs again.
    assert!(now_ns() < held.deadline);
    assert_eq!((told.token, told.value0), (held.token, held.deadline));
    second.lock_must_wait();
    assert!(holder.is_uncontended_within(SHORT), "it is told once");
    // It does not end the grant.
    holder.unlock(&held);
    assert_eq!(first.next_grant().token, token);
    second.next_grant();
    // Each grant is told anew.
    for group in [&first, &second] {
        group.binder.close().expect("close");
    }
    let held = holder.lock();
    let mut third = Group::of("vts/third", &buffer, Access::DMA_READ);
    third.lock_must_wait();
    assert_eq!(holder.next_contended().token, held.token);
    holder.unlock(&held);
}

fn who_shares_or_only_tries_is_no_conflict() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut display = patient("vts/display");
    display.add(&buffer, Access::DMA_READ);
    let held = display.lock();
    assert_eq!(held.deadline, 0, "it has no deadline yet");
    Group::of("vts/reader", &buffer, Access::DMA_READ).cycle();
    let writer = Group::of("vts/writer", &buffer, Access::DMA_WRITE);
    assert_eq!(error(writer.binder.try_lock()), ERROR_WOULD_BLOCK);
    // One that waits, but for another buffer.
    let other = heap::allocate(SIZE).expect("heap");
    let mut holder = Group::of("vts/holder", &other, Access::DMA_WRITE);
    let theirs = holder.lock();
    let mut both = Group::of("vts/both", &buffer, Access::DMA_READ);
    both.add(&other, Access::DMA_READ);
    both.lock_must_wait();
    assert_eq!(holder.next_contended().token, theirs.token);
    assert!(display.is_uncontended_within(SHORT));
    display.unlock(&held);
}

fn who_is_granted_while_others_wait_is_told_too() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut holder = Group::of("vts/holder", &buffer, Access::DMA_WRITE);
    let mut first = patient("vts/first");
    first.add(&buffer, Access::DMA_WRITE);
    let mut second = Group::of("vts/second", &buffer, Access::DMA_WRITE);
    let held = holder.lock();
    first.lock_must_wait();
    second.lock_must_wait();
    let before = now_ns();
    holder.unlock(&held);
    let granted = first.next_grant();
    assert_eq!(granted.deadline, 0);
    let told = first.next_contended();
    assert_eq!(told.token, granted.token);
    assert!((before + HOLD_NS..=now_ns() + HOLD_NS).contains(&told.value0), "{told:?}");
    assert_eq!(first.next_eviction(granted.token), 0);
    second.next_grant();
}

fn what_nobody_waits_for_can_be_held_beyond_the_limit() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut display = patient("vts/display");
    display.add(&buffer, Access::DMA_READ);
    let held = display.lock();
    assert_eq!(held.deadline, 0);
    assert!(display.nothing_within(Duration::from_millis(3 * u64::from(HOLD_MS.unsigned_abs()))));
    display.unlock(&held);
}

fn the_limit_counts_from_the_first_conflict() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut display = patient("vts/display");
    display.add(&buffer, Access::DMA_READ);
    let held = display.lock();
    // Time passes first: a limit that counts from the grant would end earlier than this test accepts.
    std::thread::sleep(Duration::from_millis(u64::from(HOLD_MS.unsigned_abs())));
    let mut camera = Group::of("vts/camera", &buffer, Access::DMA_WRITE);
    let before = now_ns();
    let reply = camera.binder.lock(0).expect("lock");
    let after = now_ns();
    let told = display.next_contended();
    assert_eq!(told.token, held.token);
    assert!((before + HOLD_NS..=after + HOLD_NS).contains(&told.value0), "{told:?}");
    assert_eq!(display.next_eviction(held.token), 0);
    assert!(now_ns() >= told.value0, "too early");
    assert_eq!(camera.granted(&reply).token, reply.token);
    assert_eq!(error(display.binder.unlock(held.token)), ERROR_EVICTED);
}

fn the_deadline_stays_when_the_lock_gives_up() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut display = patient("vts/display");
    display.add(&buffer, Access::DMA_READ);
    let held = display.lock();
    let mut camera = Group::of("vts/camera", &buffer, Access::DMA_WRITE);
    camera.lock_must_wait();
    camera.binder.cancel().expect("cancel");
    let told = display.next_contended();
    assert_eq!(display.next_eviction(held.token), 0);
    assert!(now_ns() >= told.value0, "too early");
}

fn a_growing_grant_has_no_deadline_either() {
    let [x, y] = [(); 2].map(|()| heap::allocate(SIZE).expect("heap"));
    let mut group = patient("vts/group");
    group.add(&x, Access::WRITE);
    let held = group.lock();
    group.add(&y, Access::WRITE);
    let grown = group.grow();
    assert_eq!((grown.token, grown.deadline), (held.token, 0));
    let mut other = Group::of("vts/other", &y, Access::READ);
    other.lock_must_wait();
    assert_eq!(group.next_contended().token, held.token);
    group.unlock(&grown);
    other.next_grant();
}

/// Otherwise holders without a deadline could keep a waiter off one after the other.
fn a_holder_that_waits_for_more_gets_a_deadline() {
    let [x, y] = [(); 2].map(|()| heap::allocate(SIZE).expect("heap"));
    let mut other = Group::of("vts/other", &y, Access::DMA_WRITE);
    let theirs = other.lock();
    let mut group = patient("vts/group");
    group.add(&x, Access::DMA_WRITE);
    let held = group.lock();
    assert_eq!(held.deadline, 0);
    group.add(&y, Access::DMA_WRITE);
    let before = now_ns();
    assert!(!buffersync_vts::hal::is_granted(&group.binder.grow(0).expect("grow")));
    let told = group.next_contended();
    assert_eq!(told.token, held.token);
    assert!((before + HOLD_NS..=now_ns() + HOLD_NS).contains(&told.value0), "{told:?}");
    assert_eq!(group.next_eviction(held.token), 0);
    other.unlock(&theirs);
}

fn every_reader_in_the_way_is_told() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut readers = ["vts/one", "vts/two", "vts/three"].map(patient);
    for reader in &mut readers {
        reader.add(&buffer, Access::DMA_READ);
        reader.lock();
    }
    let mut writer = Group::of("vts/writer", &buffer, Access::DMA_WRITE);
    let reply = writer.binder.lock(0).expect("lock");
    readers.iter_mut().for_each(|reader| assert_ne!(reader.next_contended().value0, 0));
    assert_eq!(writer.granted(&reply).token, reply.token);
}

fn an_unknown_moment_is_refused() {
    for unknown in [-1, 2, i32::MAX] {
        let options = GroupOptions { holdFrom: HoldFrom(unknown), ..GroupOptions::default() };
        assert!(is_illegal_argument(service().openGroup("vts/unknown", &options)), "{unknown}");
    }
}

/// The name and the lock in a record.
fn way(group: &Group, record: &Record) -> (Option<String>, i64) {
    let name = group.binder.object.getGroupName(record.value0).expect("getGroupName");
    (name, record.value1)
}

fn a_time_out_names_a_lock_in_the_way() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut holder = Group::of("vts/holder", &buffer, Access::DMA_READ);
    let mut writer = Group::of("vts/writer", &buffer, Access::DMA_WRITE);
    let mut hasty = Group::of("vts/hasty", &buffer, Access::DMA_WRITE);
    let named = |name: &str, token| (Some(name.to_string()), token);

    // A holder.
    let held = holder.lock();
    let record = hasty.times_out();
    assert_eq!(way(&hasty, &record), named("vts/holder", held.token));
    // An older waiter; the holder would share.
    let token = writer.lock_must_wait();
    let mut reader = Group::of("vts/reader", &buffer, Access::DMA_READ);
    let record = reader.times_out();
    assert_eq!(way(&reader, &record), named("vts/writer", token));
    // The wait of a growth.
    let other = heap::allocate(SIZE).expect("heap");
    let mut grower = Group::of("vts/grower", &other, Access::DMA_WRITE);
    let own = grower.lock();
    grower.add(&buffer, Access::DMA_READ);
    grower.binder.grow(50_000_000).expect("grow");
    let record = grower.next_event().expect("a time-out");
    assert_eq!(
        (record.kind, way(&grower, &record)),
        (event::TIMED_OUT, named("vts/writer", token))
    );
    grower.unlock(&own);
    // The giver of a fence.
    holder.unlock(&held);
    let written = writer.next_grant();
    let fence = Pending::new();
    writer.unlock_fenced(&written, &fence.sync_file);
    let mut cpu = Group::of("vts/cpu", &buffer, Access::READ);
    let record = cpu.times_out();
    assert_eq!(way(&cpu, &record), named("vts/writer", written.token));
    fence.signal();

    // A driver is no lock.
    let vgem = Vgem::open().expect("vgem");
    let frame = vgem.allocate(SIZE).expect("a buffer");
    let pending = vgem.attach(&frame, true).expect("a fence");
    let record = Group::of("vts/cpu", &frame.dmabuf, Access::READ).times_out();
    assert_eq!((record.value0, record.value1), (0, 0));
    vgem.signal(pending).expect("signal");
}

fn an_eviction_names_a_lock_that_waited() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut holder = Group::with_hold("vts/holder", HOLD_MS);
    holder.add(&buffer, Access::DMA_WRITE);
    // Nobody waits.
    holder.lock();
    let record = holder.next_event().expect("an eviction");
    assert_eq!((record.kind, record.value0, record.value1), (event::EVICTED, 0, 0));
    // A lock of other buffers, too.
    let other = heap::allocate(SIZE).expect("heap");
    let mut waiter = Group::of("vts/waiter", &other, Access::DMA_READ);
    waiter.add(&buffer, Access::DMA_READ);
    holder.lock();
    let token = waiter.lock_must_wait();
    holder.next_contended();
    let record = holder.next_event().expect("an eviction");
    assert_eq!(record.kind, event::EVICTED);
    assert_eq!(way(&holder, &record), (Some("vts/waiter".to_string()), token));
    let granted = waiter.next_grant();
    waiter.unlock(&granted);
}

fn names_are_for_the_own_uid_and_the_system() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut root = Group::of("vts/root", &buffer, Access::DMA_WRITE);
    let held = root.lock();
    let mut client = Client::start(User::CAMERA, "names", buffer.as_fd(), Access::DMA_WRITE);
    // The name of this process's group, and that of its own.
    assert_eq!(client.line(), r#"[None, Some("vts/own")]"#);
    root.unlock(&held);
    drop(client);
    let mut client = Client::start(User::CAMERA, "hold", buffer.as_fd(), Access::DMA_WRITE);
    client.granted();
    let record = root.times_out();
    assert_eq!(way(&root, &record).0.as_deref(), Some("vts/holder"));
    client.kill();
    eventually("the group is closed", || way(&root, &record).0.is_none());
    for no_group in [0, -1, i64::MIN, i64::MAX] {
        let name = root.binder.object.getGroupName(no_group).expect("getGroupName");
        assert_eq!(name, None, "{no_group}");
    }
}

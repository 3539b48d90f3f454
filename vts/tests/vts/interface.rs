// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The interface: its version, its limits, the layout of its answers.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::Capabilities::{
    FEATURE_IMPLICIT_FENCES, FEATURE_RELEASE_FENCE,
};
use buffersync_aidl::aidl::vendor::buffersync::EventType::EventType;
use buffersync_aidl::aidl::vendor::buffersync::GroupOptions::GroupOptions;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::{
    ERROR_UNSUPPORTED, MAX_NAME_BYTES, VERSION,
};
use buffersync_aidl::event::MESSAGE_BYTES;
use buffersync_testbed_guest::heap;
use buffersync_vts::hal::{
    counter, error, eventually, handle, is_readable, long, now_ns, service, Group, ACCESSES, SHORT,
};
use buffersync_vts::suite::Tests;
use buffersync_vts::tests;
use nix::errno::Errno;
use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::sys::socket::{send, setsockopt, sockopt, MsgFlags};

pub const TESTS: Tests = tests![
    the_interface_has_a_version_and_a_hash,
    capabilities_are_plausible_and_constant,
    a_group_comes_with_its_channel_and_its_limit,
    names_of_every_legal_length_are_taken,
    replies_say_what_they_promise_for_every_access,
    an_event_channel_hangs_up_when_its_group_is_closed,
    records_are_laid_out_as_documented,
    ids_are_in_order_and_the_same_everywhere,
    a_buffer_outlives_the_descriptor_that_it_came_by,
    an_event_channel_may_be_made_non_blocking,
    each_read_returns_one_message,
    what_a_client_does_to_its_end_of_a_channel_changes_nothing,
    implicit_fences_need_their_feature,
];

const SIZE: usize = 16 * 1024;

fn the_interface_has_a_version_and_a_hash() {
    let service = service();
    let version = service.getInterfaceVersion().expect("a version");
    assert!(version >= 1 && version <= VERSION, "{version}");
    let hash = service.getInterfaceHash().expect("a hash");
    let frozen = hash.len() == 40 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(frozen || hash == "notfrozen", "{hash:?}");
    let opened = service.openGroup("vts/version", &GroupOptions::default()).expect("openGroup");
    let group = opened.group.expect("a group");
    assert_eq!(group.getInterfaceVersion().expect("a version"), version);
    assert_eq!(group.getInterfaceHash().expect("a hash"), hash);
}

fn capabilities_are_plausible_and_constant() {
    let caps = service().getCapabilities().expect("capabilities");
    let again = service().getCapabilities().expect("capabilities");
    assert_eq!(format!("{caps:?}"), format!("{again:?}"));
    assert!(caps.defaultHoldMs > 0 && caps.defaultHoldMs <= caps.maxHoldMs, "{caps:?}");
    assert!((1..=126).contains(&caps.maxBuffersPerGroup), "{caps:?}");
    for bound in
        [caps.maxGroupsPerUid, caps.maxBuffersPerUid, caps.maxQueuedPerUid, caps.maxFdsPerHandle]
    {
        assert!(bound > 0, "{caps:?}");
    }
    if caps.features & FEATURE_RELEASE_FENCE != 0 {
        assert!(caps.maxFencesPerUid > 0 && caps.maxFencesPerGroup > 0, "{caps:?}");
    } else {
        assert_eq!(caps.features & FEATURE_IMPLICIT_FENCES, 0, "implicit fences need fences");
    }
}

fn a_group_comes_with_its_channel_and_its_limit() {
    let caps = service().getCapabilities().expect("capabilities");
    let group = Group::open("vts/default");
    assert_eq!(group.hold_ms, caps.defaultHoldMs);
    assert_eq!(Group::with_hold("vts/own", 123).hold_ms, 123);
    assert_eq!(Group::with_hold("vts/max", i32::MAX).hold_ms, caps.maxHoldMs);
}

fn names_of_every_legal_length_are_taken() {
    let longest = "x".repeat(usize::try_from(MAX_NAME_BYTES).expect("a length"));
    // The same number of bytes, in characters of two bytes.
    let wide = "\u{e9}".repeat(longest.len() / 2);
    for name in ["x", "with spaces and \u{1f3a5}", &longest, &wide, "x"] {
        let opened = service().openGroup(name, &GroupOptions::default());
        assert!(opened.is_ok(), "{name:?}: {opened:?}");
    }
}

/// A grant is complete, whether it comes at once or after cache maintenance.
fn replies_say_what_they_promise_for_every_access() {
    let buffer = heap::allocate(SIZE).expect("heap");
    for access in ACCESSES {
        let mut group = Group::open("vts/reply");
        let id = group.add(&buffer, access);
        assert!(id > 0);
        for _ in 0..2 {
            let before = now_ns();
            let reply = group.binder.lock(0).expect("lock");
            assert!(reply.token > 0);
            assert!(reply.fence.is_none(), "nothing is pending: {reply:?}");
            let grant = group.granted(&reply);
            assert!(group.nothing_within(SHORT), "the grant is told once");
            let hold_ns = i64::from(group.hold_ms) * 1_000_000;
            assert!(grant.deadline >= before + hold_ns, "{grant:?} {before}");
            assert!(grant.deadline <= now_ns() + hold_ns, "{grant:?}");
            assert_eq!(grant.buffers.len(), 1);
            assert_eq!(grant.buffers[0].0, id);
            assert!(grant.fenced.is_empty());
            group.unlock(&grant);
        }
    }
}

fn an_event_channel_hangs_up_when_its_group_is_closed() {
    let opened = service().openGroup("vts/hangup", &GroupOptions::default()).expect("openGroup");
    let mut events = File::from(OwnedFd::from(opened.events.expect("an event channel")));
    let closer = opened.group.expect("a group");
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        closer.close().expect("close");
        closer
    });
    // Nothing can be read any more: this is the end of the channel.
    assert!(is_readable(&events, long()), "no POLLHUP");
    assert_eq!(events.read(&mut [0; 32]).expect("read"), 0);
    drop(thread.join().expect("close"));
}

/// Reads the bytes itself, and not with the bindings' reader.
fn records_are_laid_out_as_documented() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut holder = Group::of("vts/holder", &buffer, Access::WRITE);
    let held = holder.lock();
    let opened = service().openGroup("vts/raw", &GroupOptions::default()).expect("openGroup");
    let group = opened.group.expect("a group");
    let mut events = File::from(OwnedFd::from(opened.events.expect("an event channel")));
    let ids = group.add(&handle(&[buffer.as_fd()]), Access::READ).expect("add");
    let reply = group.lock(77, &[], &[], 0).expect("lock");
    assert!(reply.grant.is_empty());
    let before = now_ns();
    holder.unlock(&held);

    let mut bytes = [0; 2 * 32];
    assert!(is_readable(&events, long()), "no record");
    events.read_exact(&mut bytes).expect("two records");
    let hold = i64::from(opened.holdLimitMs) * 1_000_000;
    let granted = before + hold..=now_ns() + hold;
    let int = |at: usize| i32::from_ne_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
    let long = |at: usize| i64::from_ne_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    assert_eq!((int(0), int(4), long(8)), (EventType::GRANTED.0, 0, 77));
    assert!(granted.contains(&long(16)), "deadline {}, not in {granted:?}", long(16));
    assert_eq!(long(24), 1, "buffers");
    assert_eq!((int(32), int(36), long(40)), (EventType::BUFFER.0, 0, 77));
    assert_eq!((long(48), long(56)), (ids[0], held.buffers[0].1), "id and generation");
}

fn ids_are_in_order_and_the_same_everywhere() {
    let [x, y, z] = [(); 3].map(|()| heap::allocate(SIZE).expect("heap"));
    let (one, other) = (Group::open("vts/one"), Group::open("vts/other"));
    let all = [y.as_fd(), x.as_fd(), y.as_fd(), z.as_fd()];
    let ids = one.binder.add(&handle(&all), Access::READ).expect("add");
    assert_eq!(ids.len(), 3, "one for each dma-buf: {ids:?}");
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
    // The ints of a handle belong to gralloc.
    let mut reversed = handle(&[z.as_fd(), y.as_fd(), x.as_fd()]);
    reversed.ints = vec![i32::MAX, -1, 0];
    let again = other.binder.add(&reversed, Access::READ).expect("add");
    assert_eq!(again, [ids[2], ids[0], ids[1]]);
}

fn a_buffer_outlives_the_descriptor_that_it_came_by() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let copy = buffer.as_fd().try_clone_to_owned().expect("dup");
    let mut group = Group::of("vts/kept", &buffer, Access::DMA_WRITE);
    let first = group.cycle();
    drop(buffer);
    let mut other = Group::of("vts/other", &copy, Access::DMA_WRITE);
    let second = other.cycle();
    assert_eq!(second.buffers[0].0, first.buffers[0].0, "the same buffer");
    assert_eq!(second.buffers[0].1, first.buffers[0].1 + 1, "the same history");
    group.cycle();
}

fn an_event_channel_may_be_made_non_blocking() {
    let opened = service().openGroup("vts/nonblock", &GroupOptions::default()).expect("openGroup");
    let mut events = File::from(OwnedFd::from(opened.events.expect("an event channel")));
    fcntl(events.as_raw_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("F_SETFL");
    let nothing = events.read(&mut [0; 32]).expect_err("nothing has happened");
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut holder = Group::of("vts/holder", &buffer, Access::WRITE);
    let held = holder.lock();
    let group = opened.group.expect("a group");
    group.add(&handle(&[buffer.as_fd()]), Access::WRITE).expect("add");
    group.lock(1, &[], &[], 0).expect("lock");
    holder.unlock(&held);
    assert!(is_readable(&events, long()), "no record");
    assert_eq!(events.read(&mut [0; 128]).expect("records"), 64);
}

/// A waiter that is granted and evicted before it reads: a grant with two buffers, then the eviction.
fn each_read_returns_one_message() {
    let (x, y) = (heap::allocate(SIZE).expect("heap"), heap::allocate(SIZE).expect("heap"));
    let mut holder = Group::of("vts/holder", &x, Access::WRITE);
    let held = holder.lock();
    let options = GroupOptions { holdLimitMs: 1, ..Default::default() };
    let opened = service().openGroup("vts/message", &options).expect("openGroup");
    let mut events = File::from(OwnedFd::from(opened.events.expect("an event channel")));
    let group = opened.group.expect("a group");
    group.add(&handle(&[x.as_fd(), y.as_fd()]), Access::WRITE).expect("add");
    let evictions = counter("evictions");
    assert!(group.lock(1, &[], &[], 0).expect("lock").grant.is_empty());
    holder.unlock(&held);
    eventually("the grant is taken away", || counter("evictions") > evictions);
    let mut bytes = [0; MESSAGE_BYTES];
    assert_eq!(events.read(&mut bytes).expect("the grant"), 3 * 32);
    assert_eq!(events.read(&mut bytes).expect("the eviction"), 32);
}

/// The service sends while it arbitrates, so a client must not be able to make that fail or wait.
fn what_a_client_does_to_its_end_of_a_channel_changes_nothing() {
    let buffer = heap::allocate(SIZE).expect("heap");
    let mut holder = Group::of("vts/holder", &buffer, Access::WRITE);
    let mut group = Group::of("vts/waiter", &buffer, Access::WRITE);
    setsockopt(&group.events, sockopt::RcvBuf, &1).expect("SO_RCVBUF");
    setsockopt(&group.events, sockopt::SndBuf, &1).expect("SO_SNDBUF");
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    let sent = send(group.events.as_raw_fd(), &[0; 32], flags);
    assert_eq!(sent, Err(Errno::EPIPE), "the service's end takes messages");
    for _ in 0..20 {
        let held = holder.lock();
        let token = group.lock_must_wait();
        holder.unlock(&held);
        let grant = group.next_grant();
        assert_eq!(grant.token, token);
        group.unlock(&grant);
    }
}

fn implicit_fences_need_their_feature() {
    let caps = service().getCapabilities().expect("capabilities");
    let options = GroupOptions { implicitFences: true, ..Default::default() };
    let opened = service().openGroup("vts/implicit", &options);
    if caps.features & FEATURE_IMPLICIT_FENCES == 0 {
        assert_eq!(error(opened), ERROR_UNSUPPORTED);
    } else {
        assert!(opened.is_ok(), "{opened:?}");
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The interface as a whole: its version, its bounds, the shape of its answers.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use buffersync_aidl::aidl::vendor::buffersync::Capabilities::{
    FEATURE_IMPLICIT_FENCES, FEATURE_RELEASE_FENCE,
};
use buffersync_aidl::aidl::vendor::buffersync::GroupOptions::GroupOptions;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::{MAX_NAME_BYTES, VERSION};
use buffersync_aidl::aidl::vendor::buffersync::LockStatus::LockStatus;
use buffersync_testbed_guest::heap;
use buffersync_vts::hal::{now_ns, service, Group, ACCESSES};
use buffersync_vts::suite::Tests;
use buffersync_vts::tests;

pub const TESTS: Tests = tests![
    the_interface_has_a_version_and_a_hash,
    capabilities_are_plausible_and_constant,
    a_group_comes_with_its_pipe_and_its_limit,
    names_of_every_legal_length_are_taken,
    replies_say_what_they_promise_for_every_access,
    an_event_pipe_hangs_up_when_its_group_is_closed,
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
    assert!((1..=120).contains(&caps.maxBuffersPerGroup), "{caps:?}");
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

fn a_group_comes_with_its_pipe_and_its_limit() {
    let caps = service().getCapabilities().expect("capabilities");
    let group = Group::open("vts/default");
    assert_eq!(group.hold_ms, caps.defaultHoldMs);
    assert_eq!(Group::with_hold("vts/own", 123).hold_ms, 123);
    assert_eq!(Group::with_hold("vts/max", i32::MAX).hold_ms, caps.maxHoldMs);
}

fn names_of_every_legal_length_are_taken() {
    let longest = "x".repeat(usize::try_from(MAX_NAME_BYTES).expect("a length"));
    // As many bytes, in characters of two.
    let wide = "\u{e9}".repeat(longest.len() / 2);
    for name in ["x", "with spaces and \u{1f3a5}", &longest, &wide, "x"] {
        let opened = service().openGroup(name, &GroupOptions::default());
        assert!(opened.is_ok(), "{name:?}: {opened:?}");
    }
}

/// Granted at once or after cache maintenance: either way everything is told.
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
            if reply.status == LockStatus::QUEUED {
                assert_eq!((reply.deadlineNs, reply.buffers.len()), (0, 0), "{reply:?}");
                assert!(reply.acquireFence.is_none(), "{reply:?}");
            } else {
                assert_eq!(reply.status, LockStatus::GRANTED);
                assert!(reply.acquireFence.is_none(), "nothing is pending: {reply:?}");
            }
            let grant = group.granted(&reply);
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

fn an_event_pipe_hangs_up_when_its_group_is_closed() {
    let opened = service().openGroup("vts/hangup", &GroupOptions::default()).expect("openGroup");
    let mut events = File::from(OwnedFd::from(opened.events.expect("a pipe")));
    let closer = opened.group.expect("a group");
    let begin = Instant::now();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        closer.close().expect("close");
        closer
    });
    // Blocks until there is something, and there never is: the end.
    assert_eq!(events.read(&mut [0; 32]).expect("read"), 0);
    assert!(begin.elapsed() < Duration::from_secs(2));
    drop(thread.join().expect("close"));
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A client that is stopped (SIGSTOP, a frozen app) while its lock waits is granted, and does not know. The next one
//! in line gets the buffer before anybody's hold limit is over who knows of his grant.

use std::os::fd::AsFd;
use std::time::Duration;

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_testbed_guest::heap;
use buffersync_testbed_guest::user::User;
use buffersync_vts::hal::Group;

use super::actor::{Actor, Stage};
use super::scene::Scene;

/// The hold limit of all groups here, in milliseconds: longer than a slow machine takes for a few calls, and shorter
/// than [`buffersync_vts::hal::long`].
const HOLD: i32 = 30_000;

pub fn a_grant_that_a_stopped_client_has_not_read_ends_early() {
    let mut scene = Scene::start(&["--read-grant-ms", "1000"]);
    let (one, other) = (heap::allocate(4096).expect("heap"), heap::allocate(4096).expect("heap"));
    let waiting = |user, buffer: &buffersync_testbed_guest::dmabuf::DmaBuf| {
        let mut waiter = Actor::start(user, "stopped::waiter", &[]);
        waiter.send(&[buffer.as_fd()]);
        waiter.says("queued");
        waiter
    };
    let mut holders = [&one, &other].map(|buffer| {
        let mut group = Group::of("stopped/first", buffer, Access::DMA_WRITE);
        let held = group.lock();
        (group, held)
    });
    // Two clients that are alike: one reads of its grant, and never unlocks. The other one is stopped.
    let mut rival = waiting(User::CAMERA, &one);
    let mut stopped = waiting(User::CODEC, &other);
    let mut next = [&one, &other].map(|buffer| {
        let group = Group::of("stopped/next", buffer, Access::DMA_WRITE);
        let queued = group.binder.lock(0).expect("lock");
        (group, queued)
    });
    stopped.stop();
    // The rival is granted first, so its limit is over first.
    for (group, held) in &mut holders {
        group.unlock(held);
    }
    rival.says("granted");
    let (group, queued) = &mut next[1];
    let granted = group.granted(queued);
    assert!(granted.marks().0, "the stopped client may still use it");
    assert!(!rival.has_said(Duration::ZERO), "the rival was evicted first");
    group.unlock(&granted);
    scene.is_served();
    // It learns what has happened: the grant, and its end.
    stopped.go_on();
    stopped.says("granted");
    stopped.says("evicted");
    // The limit of who has read its grant is the group's.
    let (group, queued) = &mut next[0];
    group.granted(queued);
    rival.says("evicted");
}

/// Waits for a buffer, holds it, and says what it reads.
pub fn waiter(stage: Stage) {
    let buffer = stage.receive().remove(0);
    let mut group = Group::with_hold("stopped/waiter", HOLD);
    group.add(&buffer, Access::DMA_WRITE);
    let queued = group.binder.lock(0).expect("lock");
    stage.say("queued");
    let granted = group.granted(&queued);
    stage.say("granted");
    group.next_eviction(granted.token);
    stage.say("evicted");
    stage.rest()
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! On Linux nothing orders the service manager and its services, and nothing restarts a service with it.

use std::os::fd::AsFd;

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_testbed_guest::heap;
use buffersync_testbed_guest::stack::{patient, Stack};
use buffersync_testbed_guest::user::User;
use buffersync_vts::hal::{eventually, handle, Group};

use super::actor::{Actor, Stage};
use super::scene::{bin, logs, Scene};

pub fn the_service_may_start_before_the_service_manager() {
    let mut stack = Stack::start_without_hub(&bin(), &logs(), &patient()).expect("a service");
    // It says what it waits for. So it has looked before there was a service manager.
    eventually("it says that it waits for the service manager", || {
        assert!(stack.service_is_alive(), "it has ended: {}", stack.service_log());
        stack.service_log().contains("service manager")
    });
    stack.start_hub().expect("a service manager");
    stack.wait_for_service().expect("it registers");
    Scene::of(stack);
}

pub fn it_registers_again_when_the_service_manager_has_restarted() {
    let Scene { mut stack, .. } = Scene::start(&[]);
    let buffer = heap::allocate(4096).expect("heap");
    let mut keeper = Actor::start(User::CODEC, "manager::keeper", &[]);
    keeper.send(&[buffer.as_fd()]);
    keeper.says("holds");
    // A service that registers again only once would pass the first round.
    for _ in 0..2 {
        stack.kill_hub().expect("kill");
        keeper.go();
        keeper.says("served");
        stack.start_hub().expect("a service manager");
        stack.wait_for_service().expect("it registers again");
        keeper.go();
        keeper.says("served");
        // Who looks it up now meets the same service: the keeper still holds the buffer.
        let mut contender = Actor::start(User::CAMERA, "manager::contender", &[]);
        contender.send(&[buffer.as_fd()]);
        contender.says("waits");
    }
    assert!(stack.service_is_alive(), "{}", stack.service_log());
    Scene::of(stack);
}

/// Holds a buffer. Each time that it may go, it is served without a look-up.
pub fn keeper(mut stage: Stage) {
    let shared = stage.receive().remove(0);
    let own = heap::allocate(4096).expect("heap");
    let mut holder = Group::of("keeper/holder", &shared, Access::WRITE);
    holder.lock();
    let mut one = Group::of("keeper/one", &own, Access::WRITE);
    let mut other = Group::with_hold("keeper/other", 50);
    other.add(&own, Access::DMA_WRITE);
    stage.say("holds");
    loop {
        stage.wait();
        let held = other.lock();
        let queued = one.binder.lock(0).expect("lock");
        let granted = one.granted(&queued);
        other.next_eviction(held.token);
        one.unlock(&granted);
        let another = heap::allocate(4096).expect("heap");
        let id = one.binder.add(&handle(&[another.as_fd()]), Access::WRITE).expect("add")[0];
        one.cycle();
        one.binder.remove(id).expect("remove");
        stage.say("served");
    }
}

/// Locks a buffer that somebody holds.
pub fn contender(stage: Stage) {
    let shared = stage.receive().remove(0);
    let mut group = Group::of("contender", &shared, Access::WRITE);
    group.lock_must_wait();
    stage.say("waits");
}

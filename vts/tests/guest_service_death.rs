// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The death of the service: clients see it long before any time limit, and the service can start again.

use std::path::PathBuf;

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_testbed_guest::heap;
use buffersync_testbed_guest::stack::{patient, Stack};
use buffersync_vts::hal::{eventually, Group};

fn start() -> Stack {
    let own = std::env::current_exe().expect("own path");
    let out = std::env::var_os("BUFFERSYNC_OUT").map_or_else(|| "/out".into(), PathBuf::from);
    let bin = own.parent().expect("a folder");
    Stack::start(bin, &out.join("log-death"), &patient()).expect("stack")
}

#[test]
fn clients_see_the_end_and_a_new_service_serves_them() {
    let mut stack = start();
    let buffer = heap::allocate(16 * 1024).expect("heap");
    let mut holder = Group::of("death/holder", &buffer, Access::DMA_WRITE);
    holder.lock();
    let mut waiter = Group::of("death/waiter", &buffer, Access::DMA_WRITE);
    waiter.lock_must_wait();

    stack.kill_service().expect("kill");
    assert!(waiter.next_event().is_none(), "the channel must end");
    assert!(holder.next_event().is_none(), "the channel must end");
    assert!(waiter.binder.lock(0).is_err());

    stack.restart_service(&[]).expect("restart");
    // The new service has no locks of the old one.
    let mut again = Group::of("death/again", &buffer, Access::DMA_WRITE);
    again.cycle();
    eventually("the service lives", || stack.service_is_alive());
}

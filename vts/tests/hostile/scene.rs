// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The stack of a test, and its victim: a client of another uid that uses all parts of the service.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_testbed_guest::dmabuf::DmaBuf;
use buffersync_testbed_guest::heap;
use buffersync_testbed_guest::stack::{patient, Stack};
use buffersync_testbed_guest::user::User;
use buffersync_vts::fence::Pending;
use buffersync_vts::hal::{dump, service, Group};

use super::actor::{Actor, Stage};
use super::alone;

/// A hold limit that passes during the test, in milliseconds.
const BRIEF: i32 = 50;

/// The folder of the programs.
pub fn bin() -> PathBuf {
    let own = std::env::current_exe().expect("own path");
    own.parent().expect("a folder").to_path_buf()
}

/// The folder for the logs of this test.
pub fn logs() -> PathBuf {
    let out = std::env::var_os("BUFFERSYNC_OUT").map_or_else(|| "/out".into(), PathBuf::from);
    out.join(format!("log-{}", alone::name().replace("::", "-")))
}

/// Flags of the service that take nothing away by themselves, and more.
pub fn patient_and(more: &[&str]) -> Vec<String> {
    patient().into_iter().chain(more.iter().map(ToString::to_string)).collect()
}

/// A stack, and a victim that has been served once.
pub struct Scene {
    // Before the stack: the victim ends first.
    victim: Actor,
    pub stack: Stack,
}

impl Scene {
    /// With these flags of the service, in addition to a long hold limit.
    pub fn start(flags: &[&str]) -> Self {
        Self::of(Stack::start(&bin(), &logs(), &patient_and(flags)).expect("stack"))
    }

    /// The service logs to a descriptor.
    pub fn start_logging_to(stderr: OwnedFd) -> Self {
        Self::of(Stack::start_logging_to(&bin(), &logs(), &patient(), stderr).expect("stack"))
    }

    pub fn of(stack: Stack) -> Self {
        let victim = Actor::start(User::PREVIEW, "scene::victim", &[]);
        let mut scene = Self { victim, stack };
        scene.victim.says("ready");
        scene.is_served();
        scene
    }

    /// The victim is served, in all ways.
    #[track_caller]
    pub fn is_served(&mut self) {
        self.ask();
        self.answers();
    }

    /// Lets the victim begin.
    pub fn ask(&mut self) {
        self.victim.go();
    }

    /// The victim has been served.
    #[track_caller]
    pub fn answers(&mut self) {
        self.victim.says("served");
        assert!(self.stack.service_is_alive(), "the service has ended");
        assert!(!self.stack.service_log().contains("panicked"), "the service has panicked");
    }
}

/// Each time that it may go, it is served in all ways: by threads of the pool, the reactor and the workers.
pub fn victim(mut stage: Stage) {
    let buffer = heap::allocate(16 * 1024).expect("heap");
    let mut old = Group::of("victim/old", &buffer, Access::WRITE);
    stage.say("ready");
    loop {
        stage.wait();
        serve(&mut old, &buffer);
        stage.say("served");
    }
}

fn serve(old: &mut Group, buffer: &DmaBuf) {
    service().getCapabilities().expect("getCapabilities");
    old.cycle();
    // A hand-over by event, with cache maintenance.
    let mut next = Group::of("victim/next", buffer, Access::DMA_READ);
    let held = old.lock();
    let queued = next.binder.lock(0).expect("lock");
    old.unlock(&held);
    let held = next.granted(&queued);
    next.unlock(&held);
    // An eviction, and a time-out before it.
    let mut brief = Group::with_hold("victim/brief", BRIEF);
    brief.add(buffer, Access::DMA_WRITE);
    let held = brief.lock();
    let queued = next.binder.lock(1).expect("lock");
    assert_eq!(next.next_event().expect("a time-out").token, queued.token);
    let queued = next.binder.lock(0).expect("lock");
    let granted = next.granted(&queued);
    assert_eq!(granted.marks(), (true, true), "after an eviction");
    brief.next_eviction(held.token);
    next.unlock(&granted);
    // A release fence, for a device and for the CPU. What the evicted holder left is whole again after it.
    let pending = Pending::new();
    let mut writer = Group::of("victim/writer", buffer, Access::DMA_WRITE);
    let held = writer.lock();
    writer.unlock_fenced(&held, &pending.sync_file);
    let held = next.lock();
    assert!(next.acquire_fence(&held, 0).is_some(), "the writer's fence");
    next.unlock(&held);
    let queued = old.binder.lock(0).expect("lock");
    assert!(queued.grant.is_empty(), "the CPU waits for a fence");
    pending.signal();
    let held = old.granted(&queued);
    assert!(!held.marks().1, "a writer has ended in order");
    old.unlock(&held);
}

/// A client that asks for dumps: calls that may hang are made by actors.
pub struct Dumper(pub User);

impl Dumper {
    /// The text of a dump.
    pub fn dump(&self, args: &[&str]) -> String {
        let mut actor = Actor::start(self.0, "scene::dumper", &[&args.join(" ")]);
        actor.line().replace("\\n", "\n")
    }
}

/// Says one dump as one line.
pub fn dumper(stage: Stage) {
    let args: String = stage.arg(0);
    let args: Vec<&str> = args.split_whitespace().collect();
    stage.say(dump(&args).replace('\n', "\\n"));
}

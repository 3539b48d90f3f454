// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A holder forks a child (a crash handler, a worker) that never calls the client library and never calls exec. When
//! the holder dies, everything that it had ends, although the child lives.

use std::os::fd::AsFd;
use std::time::Duration;

use buffersync_aidl::aidl::vendor::buffersync::Access::Access as Aidl;
use buffersync_client::{Access, BufferSync, Options};
use buffersync_testbed_guest::heap;
use buffersync_testbed_guest::user::User;
use buffersync_vts::hal::{counter, eventually, Group};
use nix::sys::signal::{kill, Signal};
use nix::unistd::{fork, ForkResult, Pid};

use super::actor::{Actor, Stage};
use super::scene::Scene;

pub fn a_forked_child_keeps_nothing_of_a_dead_holder() {
    let mut scene = Scene::start(&[]);
    let buffer = heap::allocate(4096).expect("heap");
    let before = counter("groups");
    for thread in ["main", "other"] {
        let mut holder = Actor::start(User::CODEC, "fork::forker", &[thread]);
        holder.send(&[buffer.as_fd()]);
        let child = Pid::from_raw(holder.line().parse().expect("the child's pid"));
        holder.says("holds");
        assert_eq!(counter("groups"), before + 3);
        let mut next = Group::of("fork/next", &buffer, Aidl::READ);
        let waits = next.lock_must_wait();

        holder.kill();
        // No deadline helps: the hold limit is ten minutes.
        let granted = next.next_grant();
        assert_eq!(granted.token, waits);
        assert_eq!(granted.marks(), (true, true), "its holder has died");
        next.unlock(&granted);
        drop(next);
        eventually("all groups of the dead process end", || counter("groups") == before);
        assert!(is_running(child), "the child has ended, and nothing is shown");
        kill(child, Signal::SIGKILL).expect("kill");
    }
    scene.is_served();
}

/// Tells if a process has not ended; one that nobody has waited for yet is a zombie.
fn is_running(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next().map(|s| s != "Z"))
        == Some(true)
}

/// Has three groups, one of which holds a buffer. Forks, from its first thread or from another one, and works on.
pub fn forker(stage: Stage) {
    let buffer = stage.receive().remove(0);
    let service = BufferSync::connect().expect("connect");
    let open = |name| service.open_group(name, Options::default()).expect("open_group");
    let (holder, idle, other) = (open("fork/holder"), open("fork/idle"), open("fork/other"));
    holder.add(&buffer, Access::Write).expect("add");
    idle.add(&buffer, Access::Read).expect("add");
    let grant = holder.lock(None).expect("lock");
    let child = match stage.arg::<String>(0).as_str() {
        "main" => child(),
        _ => std::thread::spawn(child).join().expect("a thread"),
    };
    stage.say(child);
    // The fork takes nothing from the parent.
    let own = heap::allocate(4096).expect("heap");
    other.add(&own, Access::DmaWrite).expect("add");
    other.lock(None).expect("lock").unlock().expect("unlock");
    assert_eq!(grant.is_evicted(), Ok(false));
    stage.say("holds");
    stage.rest()
}

/// Forks a child that does nothing.
fn child() -> Pid {
    // SAFETY: the child calls nothing but sleep, which is async-signal-safe.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Parent { child } => child,
        ForkResult::Child => loop {
            std::thread::sleep(Duration::from_secs(1));
        },
    }
}

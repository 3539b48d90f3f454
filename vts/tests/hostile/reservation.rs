// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A dma-buf whose reservation lock is busy. poll(2), epoll_ctl(2) and some ioctls on it take that lock, so they wait
//! for as long as a client likes. Whoever has other buffers does not notice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_testbed_guest::user::User;
use buffersync_testbed_guest::vgem::Vgem;
use buffersync_testbed_guest::{heap, udmabuf};
use buffersync_vts::hal::{eventually, Group};

use super::actor::{Actor, Stage};
use super::scene::Scene;

/// An import takes the lock for as long as it takes to map all pages.
const BIG: usize = 60 << 20;
/// Threads that import, so that the lock is hardly ever free.
const THREADS: usize = 2;
/// Looks at the service's threads, at most.
const LOOKS: usize = 2000;
/// So often a thread of the service has to be seen in one system call before it counts that the victim was never
/// served meanwhile.
const ENOUGH: u32 = 20;
/// So often it has to be served meanwhile.
const SERVED: u32 = 3;

pub fn a_busy_reservation_lock_delays_its_own_buffer_only() {
    let mut scene = Scene::start(&[]);
    let pid = scene.stack.service_pid();
    let mut attackers = [User::CAMERA, User::STUCK].map(|user| {
        let mut attacker = Actor::start(user, "reservation::attacker", &[]);
        attacker.says("imports");
        attacker
    });
    let mut victim = Actor::start(User::PREVIEW, "reservation::victim", &[]);
    victim.says("ready");
    // By system call: how often a thread of the service waited in it, and how often the victim was served meanwhile.
    let mut calls: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    for _ in 0..LOOKS {
        let before = asleep(pid);
        if before.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        // The attackers say each grant: what is said now is of earlier locks.
        attackers.iter_mut().for_each(said);
        victim.go();
        victim.says("evicted");
        let after = asleep(pid);
        let granted = attackers.iter().any(|attacker| attacker.has_said(Duration::ZERO));
        for thread in &before {
            let (seen, served) = calls.entry(thread.1.clone()).or_default();
            *seen += 1;
            *served += u32::from(!granted && after.contains(thread));
        }
        if !calls.is_empty() && calls.values().all(|(seen, n)| *seen >= ENOUGH && *n >= SERVED) {
            break;
        }
    }
    for attacker in &mut attackers {
        assert!(attacker.is_alive(), "the attack has ended");
    }
    scene.is_served();
    attackers.iter_mut().for_each(Actor::kill);
    scene.is_served();
    for (call, (seen, served)) in calls {
        assert!(
            seen < ENOUGH || served > 0,
            "{seen} times a thread of the service waited in system call {call}, and the victim was \
             never served meanwhile"
        );
    }
}

/// Reads what an attacker has said.
fn said(attacker: &mut Actor) {
    while attacker.has_said(Duration::ZERO) {
        attacker.says("granted");
    }
}

/// The threads of a process that sleep and can't be killed, each with its system call.
fn asleep(pid: u32) -> BTreeSet<(String, String)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("threads").flatten();
    let asleep = tasks.filter_map(|task| {
        let read = |file: &str| fs::read_to_string(task.path().join(file)).ok();
        let stat = read("stat")?;
        let call = read("syscall")?.split_whitespace().next()?.to_string();
        let state = stat.rsplit(") ").next()?.chars().next()?;
        (state == 'D').then(|| (task.file_name().to_string_lossy().into_owned(), call))
    });
    asleep.collect()
}

/// Loses a grant each time that it may go: the shortest way through the reactor.
pub fn victim(mut stage: Stage) {
    let buffer = heap::allocate(4096).expect("heap");
    let mut group = Group::with_hold("reservation/victim", 1);
    group.add(&buffer, Access::DMA_WRITE);
    stage.say("ready");
    loop {
        stage.wait();
        let held = group.lock();
        group.next_eviction(held.token);
        stage.say("evicted");
    }
}

/// Keeps a buffer's lock busy, and makes the service look at its fences: by locks for the CPU while a fence is
/// pending.
pub fn attacker(stage: Stage) {
    let buffer = udmabuf::allocate(BIG).expect("udmabuf");
    let shared: Arc<OwnedFd> = Arc::new(buffer.as_fd().try_clone_to_owned().expect("dup"));
    let imports = Arc::new(AtomicUsize::new(0));
    for _ in 0..THREADS {
        let (shared, imports) = (Arc::clone(&shared), Arc::clone(&imports));
        std::thread::spawn(move || loop {
            // A new device each time: one that has the buffer already does not map it again.
            let vgem = Vgem::open().expect("vgem");
            vgem.import(shared.as_fd(), BIG).expect("import");
            imports.fetch_add(1, Ordering::SeqCst);
        });
    }
    eventually("every thread imports", || imports.load(Ordering::SeqCst) >= 2 * THREADS);
    stage.say("imports");
    let vgem = Vgem::open().expect("vgem");
    let imported = vgem.import(shared.as_fd(), BIG).expect("import");
    let mut group = Group::of("reservation/cpu", &shared, Access::WRITE);
    loop {
        let fence = vgem.attach(&imported, true).expect("attach");
        let queued = group.binder.lock(0).expect("lock");
        // Time for the service to begin to wait for the fence. After ten seconds it has signalled by itself.
        std::thread::sleep(Duration::from_millis(20));
        let _ = vgem.signal(fence);
        let granted = group.granted(&queued);
        group.unlock(&granted);
        stage.say("granted");
    }
}

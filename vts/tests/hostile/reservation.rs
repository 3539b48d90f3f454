// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A dma-buf whose reservation lock is busy. poll(2), epoll_ctl(2) and some ioctls on it take that lock, so they wait
//! for as long as a client likes. Whoever has other buffers does not notice.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_testbed_guest::udmabuf;
use buffersync_testbed_guest::user::User;
use buffersync_testbed_guest::vgem::Vgem;
use buffersync_vts::hal::{eventually, Group};

use super::actor::{Actor, Stage};
use super::scene::Scene;

/// An import takes the lock for as long as it takes to map all pages.
const BIG: usize = 60 << 20;
/// Threads that import, so that the lock is hardly ever free.
const THREADS: usize = 4;
/// Locks of the CPU that wait for the buffer's fence.
const ROUNDS: usize = 20;

pub fn a_busy_reservation_lock_delays_its_own_buffer_only() {
    let mut scene = Scene::start(&[]);
    let mut attackers = [User::CAMERA, User::STUCK].map(|user| {
        let mut attacker = Actor::start(user, "reservation::attacker", &[]);
        attacker.says("imports");
        attacker
    });
    // Grants, evictions at their deadlines, fences: of the victim, while the attackers ask for locks of their own.
    for _ in 0..5 {
        scene.is_served();
    }
    for attacker in &mut attackers {
        assert!(attacker.is_alive(), "the attack has ended");
        attacker.kill();
    }
    scene.is_served();
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
    for _ in 0..ROUNDS {
        let fence = vgem.attach(&imported, true).expect("attach");
        let queued = group.binder.lock(0).expect("lock");
        // After ten seconds it has signalled by itself.
        let _ = vgem.signal(fence);
        let granted = group.granted(&queued);
        group.unlock(&granted);
    }
    stage.rest()
}


// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A dump tells a client nothing of others, and a dump that nobody takes costs nobody.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::runtime;
use buffersync_testbed_guest::heap;
use buffersync_testbed_guest::user::User;
use buffersync_vts::hal::{eventually, service, Group};
use nix::fcntl::{fcntl, splice, FcntlArg, OFlag, SpliceFFlags};

use super::actor::{Actor, Stage};
use super::scene::{Dumper, Scene};

/// Sizes that no other buffer has: they show in a dump whose buffer it is.
const CAMERAS: usize = 37 * 4096;
const CODECS: usize = 41 * 4096;

pub fn a_client_sees_its_own_and_nothing_else() {
    let scene = Scene::start(&[]);
    let shared = heap::allocate(4096).expect("heap");
    let owner = |user, name, size: usize| {
        let mut owner = Actor::start(user, "dump::owner", &[name, &size.to_string()]);
        owner.send(&[shared.as_fd()]);
        owner.says("has");
        owner
    };
    let _camera = owner(User::CAMERA, "camera", CAMERAS);
    let _codec = owner(User::CODEC, "codec", CODECS);
    let sees = |user, args: &[&str]| {
        let text = Dumper(user).dump(args);
        [("camera/", CAMERAS), ("codec/", CODECS)].map(|(name, size)| {
            let size = size.to_string();
            let has_name =
                ["own", "shared", "evicted"].map(|of| text.contains(&format!("{name}{of}")));
            (has_name, text.split_whitespace().any(|word| word == size))
        })
    };
    let (all, none) = (([true; 3], true), ([false; 3], false));
    for user in [User::ROOT, User::SYSTEM, User::SHELL] {
        assert_eq!(sees(user, &[]), [all, all], "uid {}", user.0);
    }
    // Arguments change nothing about it.
    for args in [&[][..], &["all"], &["counters"], &["-a", "counters"]] {
        let in_tables = |shown| if args.contains(&"counters") { none } else { shown };
        assert_eq!(sees(User::CAMERA, args), [in_tables(all), none], "{args:?}");
        assert_eq!(sees(User::CODEC, args), [none, in_tables(all)], "{args:?}");
        assert_eq!(sees(User::STUCK, args), [none, none], "{args:?}");
    }
    // Names hide in all tables, the victim's too.
    let text = Dumper(User::CAMERA).dump(&[]);
    assert!(!text.contains("victim"), "{text}");
    drop(scene);
}

/// Has a buffer of its own, shares one, and has lost a grant.
pub fn owner(stage: Stage) {
    let shared = stage.receive().remove(0);
    let name: String = stage.arg(0);
    let buffer = heap::allocate(stage.arg(1)).expect("heap");
    let mut own = Group::of(&format!("{name}/own"), &buffer, Access::WRITE);
    own.lock();
    let sharer = Group::of(&format!("{name}/shared"), &shared, Access::WRITE);
    // The second one waits.
    sharer.binder.lock(0).expect("lock");
    let lost = heap::allocate(4096).expect("heap");
    let mut evicted = Group::with_hold(&format!("{name}/evicted"), 1);
    evicted.add(&lost, Access::WRITE);
    let held = evicted.lock();
    evicted.next_eviction(held.token);
    stage.say("has");
    stage.rest()
}

pub fn a_dump_that_nobody_takes_costs_nobody() {
    let mut scene = Scene::start(&[]);
    let root = Dumper(User::ROOT);
    root.dump(&[]);
    let attackers = [(User::CAMERA, "full"), (User::CODEC, "brim"), (User::STUCK, "splice")];
    let mut attackers = attackers.map(|(user, how)| {
        let mut attacker = Actor::start(user, "dump::taker", &[how]);
        attacker.says("calls");
        attacker
    });
    for _ in 0..3 {
        assert!(root.dump(&[]).contains("victim/old"), "root's dump");
        scene.is_served();
    }
    assert!(attackers.iter_mut().all(Actor::is_alive), "the attack has ended");
    attackers.iter_mut().for_each(Actor::kill);
    assert!(root.dump(&[]).contains("victim/old"), "root's dump after it");
    scene.is_served();
}

/// Threads of an attacker: more than the service's pool has.
const THREADS: usize = 12;

/// Asks for dumps that it does not take.
pub fn taker(stage: Stage) {
    let how: String = stage.arg(0);
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).expect("pipe");
    match how.as_str() {
        // No room at all.
        "full" => fill(&write),
        // Room for the first page.
        "brim" => drop(fcntl(write.as_raw_fd(), FcntlArg::F_SETPIPE_SZ(4096)).expect("fcntl")),
        // The pipe's lock is taken: a write sleeps, even with O_NONBLOCK, and can't be killed.
        "splice" => hold_by_splice(read.try_clone().expect("dup"), &write),
        other => panic!("unknown way {other}"),
    }
    let begun = Arc::new(AtomicUsize::new(0));
    for _ in 0..THREADS {
        let (begun, write) = (Arc::clone(&begun), write.try_clone().expect("dup"));
        std::thread::spawn(move || loop {
            let service = service();
            begun.fetch_add(1, Ordering::SeqCst);
            let _ = runtime::dump(&service, write.try_clone().expect("dup"), &[]);
        });
    }
    eventually("all threads call", || begun.load(Ordering::SeqCst) >= THREADS);
    stage.say("calls");
    // The reading end stays open: a write would end with EPIPE.
    let _open = read;
    stage.rest()
}

/// Fills a pipe. What others write into it then has to wait: their description does not get O_NONBLOCK.
pub fn fill(write: &OwnedFd) {
    let path = format!("/proc/self/fd/{}", write.as_raw_fd());
    let flags = OFlag::O_NONBLOCK.bits();
    let mut open = File::options();
    let open = std::os::unix::fs::OpenOptionsExt::custom_flags(open.write(true), flags);
    let mut pipe = open.open(path).expect("the pipe again");
    for part in [4096, 1] {
        while pipe.write(&vec![b'.'; part]).is_ok() {}
    }
}

/// Holds a pipe's lock: a thread splices from it into a socket that is full.
fn hold_by_splice(read: OwnedFd, write: &OwnedFd) {
    let (full, other) = UnixStream::pair().expect("socketpair");
    full.set_nonblocking(true).expect("fcntl");
    for part in [4096, 1] {
        while (&full).write(&vec![0; part]).is_ok() {}
    }
    full.set_nonblocking(false).expect("fcntl");
    nix::unistd::write(write, b"x").expect("write");
    let thread = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&thread);
    std::thread::spawn(move || {
        told.store(nix::unistd::gettid().as_raw() as usize, Ordering::SeqCst);
        let _other = other;
        let flags = SpliceFFlags::empty();
        let spliced = splice(read.as_fd(), None, full.as_fd(), None, 4096, flags);
        panic!("splice has ended: {spliced:?}");
    });
    eventually("splice waits for the socket", || {
        let task = format!("/proc/self/task/{}", thread.load(Ordering::SeqCst));
        let call = fs::read_to_string(format!("{task}/syscall")).unwrap_or_default();
        // Of a thread that does not sleep the file says only that it is running.
        call.starts_with(&format!("{} ", nix::libc::SYS_splice))
    });
}

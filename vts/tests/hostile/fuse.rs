// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Descriptors of a file whose file system is a client's own (FUSE), and which does not answer. A system call that
//! asks such a file system waits for as long as its daemon likes, and can't be killed.
//!
//! Only FLUSH can't be avoided: the kernel asks for it when a descriptor of the parcel is closed, and the binder
//! runtime does that. So the daemon here answers it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::{ERROR_BAD_FENCE, ERROR_NOT_DMABUF};
use buffersync_testbed_guest::heap;
use buffersync_testbed_guest::user::User;
use buffersync_vts::hal::{error, handle, whole, Group};
use nix::libc;
use nix::mount::{mount, MsFlags};
use nix::sched::{unshare, CloneFlags};

use super::actor::{Actor, Stage};
use super::scene::Scene;

/// Calls at once: twice as many as the service's pool has threads.
const CALLS: usize = 12;

// Requests of linux/fuse.h.
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const STATFS: u32 = 17;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const BATCH_FORGET: u32 = 42;
const STATX: u32 = 52;

/// `struct fuse_in_header`, `struct fuse_out_header`.
const IN_HEADER: usize = 40;
const OUT_HEADER: usize = 16;
/// More than a request has.
const REQUEST: usize = 1 << 17;

pub fn a_file_system_that_does_not_answer_stops_nobody() {
    let mut scene = Scene::start(&[]);
    let mut daemon = Actor::start(User::ROOT, "fuse::daemon", &[]);
    daemon.says("mounted");
    let file = daemon.receive().remove(0);
    daemon.go();
    daemon.says("silent");
    let mut attackers = [User::CAMERA, User::STUCK].map(|user| {
        let attacker = Actor::start(user, "fuse::attacker", &[]);
        attacker.send(&[file.as_fd()]);
        attacker
    });
    for attacker in &mut attackers {
        attacker.says("refused");
        scene.is_served();
        attacker.says("no fences");
    }
    scene.is_served();
    assert!(daemon.is_alive(), "the attack has ended");
    // It was silent: whoever asks for the file's attributes waits.
    let mut asker = Actor::start(User::ROOT, "fuse::asker", &[]);
    asker.send(&[file.as_fd()]);
    asker.says("asks");
    assert!(!asker.has_said(buffersync_vts::hal::SHORT), "the file system has answered");
    daemon.kill();
    asker.says("answered");
}

/// A file system with one file, which it passes on. When it may go, it answers no question about the file any more.
pub fn daemon(mut stage: Stage) {
    // Nobody else sees the mount, and it ends with this process.
    unshare(CloneFlags::CLONE_NEWNS).expect("unshare");
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("a private /");
    mount(Some("hostile"), "/run", Some("tmpfs"), MsFlags::empty(), none).expect("tmpfs");
    let device = File::options().read(true).write(true).open("/dev/fuse").expect("/dev/fuse");
    fs::write("/run/file", "").expect("a file to mount on");
    let fd = device.as_raw_fd();
    let options = format!("fd={fd},rootmode=100666,user_id=0,group_id=0,allow_other");
    let empty = MsFlags::empty();
    mount(Some("hostile"), "/run/file", Some("fuse"), empty, Some(&*options)).expect("mount");
    let silent = Arc::new(AtomicBool::new(false));
    let is_silent = Arc::clone(&silent);
    std::thread::spawn(move || answer(device, &is_silent));
    let file = File::options().read(true).write(true).open("/run/file").expect("the file");
    stage.send(&[file.as_fd()]);
    // A daemon that has its own file open can't end: the kernel asks for a FLUSH before it closes the device.
    drop(file);
    stage.say("mounted");
    stage.wait();
    silent.store(true, Ordering::SeqCst);
    stage.say("silent");
    stage.rest()
}

fn answer(mut device: File, silent: &AtomicBool) {
    let mut request = vec![0; REQUEST];
    while let Ok(length) = device.read(&mut request) {
        assert!(length >= IN_HEADER, "a request");
        let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().expect("4 bytes"));
        let put = |body: &mut [u8], at: usize, value: u32| {
            body[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        };
        let (mut body, mut error) = (Vec::new(), 0_i32);
        match word(4) {
            GETATTR | STATFS | STATX if silent.load(Ordering::SeqCst) => continue,
            FORGET | BATCH_FORGET => continue,
            INIT => {
                body.resize(64, 0);
                // Version 7.31, and the largest write.
                for (at, value) in [(0, 7), (4, 31), (20, 4096)] {
                    put(&mut body, at, value);
                }
            }
            GETATTR => {
                body.resize(104, 0);
                // Valid for no time: inode 1, mode, one link.
                for (at, value) in [(16, 1), (76, 0o100_666), (80, 1)] {
                    put(&mut body, at, value);
                }
            }
            OPEN => body.resize(16, 0),
            STATFS => body.resize(80, 0),
            // The kernel does not ask again.
            FLUSH => error = -libc::ENOSYS,
            _ => {}
        }
        let mut reply = vec![0; OUT_HEADER];
        put(&mut reply, 0, (OUT_HEADER + body.len()) as u32);
        reply[4..8].copy_from_slice(&error.to_ne_bytes());
        reply[8..16].copy_from_slice(&request[8..16]);
        reply.extend(body);
        // A request that was interrupted takes no answer.
        let _ = device.write_all(&reply);
    }
}

/// Gives the file to everything that takes a descriptor.
pub fn attacker(stage: Stage) {
    let file = stage.receive().remove(0);
    let add = |file: OwnedFd| {
        let group = Group::open("fuse/add");
        error(group.binder.add(&handle(&[file.as_fd()]), Access::READ))
    };
    let threads = (0..CALLS).map(|_| {
        let file = file.try_clone().expect("dup");
        std::thread::spawn(move || add(file))
    });
    for thread in threads.collect::<Vec<_>>() {
        assert_eq!(thread.join().expect("an answer"), ERROR_NOT_DMABUF);
    }
    stage.say("refused");
    let buffer = heap::allocate(4096).expect("heap");
    let mut group = Group::of("fuse/fences", &buffer, Access::DMA_WRITE);
    let held = group.lock();
    for _ in 0..CALLS {
        let fence = [whole(&file)];
        assert_eq!(error(group.binder.unlock_with(held.token, &fence)), ERROR_BAD_FENCE);
        assert_eq!(error(group.binder.unlock_and_lock(held.token, &fence, 0)), ERROR_BAD_FENCE);
    }
    group.unlock(&held);
    stage.say("no fences");
    stage.rest()
}

/// Asks for the file's attributes.
pub fn asker(stage: Stage) {
    let file = stage.receive().remove(0);
    stage.say("asks");
    let _ = nix::sys::stat::fstat(file.as_raw_fd());
    stage.say("answered");
}

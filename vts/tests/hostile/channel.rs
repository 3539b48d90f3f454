// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Everything that a client can do to its end of an event channel. The service sends records into the other end while
//! it arbitrates, so nothing of this may make a send wait, or signal the service, or end it.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_testbed_guest::user::User;
use buffersync_testbed_guest::{fdpass, heap};
use buffersync_vts::hal::{eventually, service_pid, Group};
use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::socket::{getsockopt, recv, setsockopt, shutdown, sockopt, MsgFlags, Shutdown};

use super::actor::{Actor, Stage};
use super::dump::fill;
use super::scene::Scene;

/// Ways to use one's end, each by a thread with a group of its own.
const WAYS: [&str; 15] = [
    "splice",
    "splice-full",
    "tee",
    "pipe-size",
    "peek",
    "blocked",
    "small",
    "shut-read",
    "shut-write",
    "shut",
    "filter",
    "signal",
    "passed",
    "circle",
    "closed",
];
/// Evictions of each group before the victim is looked at, and while it is served.
const EVICTIONS: usize = 5;
/// The hold limit of the groups in milliseconds: each eviction sends a record.
const BRIEF: i32 = 5;
/// Between two turns of a loop that waits for nothing: this is no test of the processor's speed.
const PAUSE: Duration = Duration::from_millis(5);
/// Groups of which one uid makes the channels larger, if they can be.
const LARGE: usize = 40;
/// Threads that wait in recv(2) on one channel.
const READERS: usize = 8;

pub fn nothing_that_a_client_does_to_its_channel_stops_the_service() {
    let mut scene = Scene::start(&[]);
    let mut attackers = [User::CAMERA, User::STUCK].map(|user| {
        let mut attacker = Actor::start(user, "channel::attacker", &[]);
        attacker.says("attacks");
        attacker
    });
    for _ in 0..3 {
        scene.is_served();
    }
    for attacker in &mut attackers {
        // The service has sent records to all of its channels meanwhile.
        attacker.go();
        attacker.says("attacks");
    }
    // No thread of the service is where it can't be killed.
    scene.stack.kill_service().expect("it ends");
    assert!(attackers.iter_mut().all(Actor::is_alive), "the attack ended before the service");
}

/// Attacks in all ways at once. Says when each of its groups has lost some grants.
pub fn attacker(mut stage: Stage) {
    let target: i32 = service_pid().parse().expect("a pid");
    let counts: Vec<Arc<AtomicUsize>> = WAYS.iter().map(|_| Arc::default()).collect();
    for (way, count) in WAYS.iter().zip(&counts) {
        let count = Arc::clone(count);
        std::thread::spawn(move || lose_grants(way, target, &count));
    }
    loop {
        let enough: Vec<usize> =
            counts.iter().map(|count| count.load(Ordering::SeqCst) + EVICTIONS).collect();
        for (way, (count, enough)) in WAYS.iter().zip(counts.iter().zip(enough)) {
            eventually(way, || count.load(Ordering::SeqCst) >= enough);
        }
        stage.say("attacks");
        stage.wait();
    }
}

/// Loses grants, one after the other, while the channel is used in a wrong way.
fn lose_grants(way: &str, target: i32, count: &AtomicUsize) {
    let buffer = heap::allocate(4096).expect("heap");
    let misused = || {
        let group = open(&buffer);
        let kept = misuse(way, &group, target);
        (group, kept)
    };
    let mut channel = misused();
    loop {
        let group = &channel.0;
        match group.binder.lock(0) {
            // Closed while records are sent.
            Ok(_) if way == "closed" => {
                std::thread::sleep(PAUSE);
                channel = misused();
                count.fetch_add(1, Ordering::SeqCst);
            }
            Ok(reply) => {
                // The end of the lock does not need the channel to be seen.
                eventually(way, || group.binder.unlock(reply.token).is_err());
                count.fetch_add(1, Ordering::SeqCst);
            }
            // The channel is full, or shut: only a new group can lock.
            Err(_) => channel = misused(),
        }
    }
}

fn open(buffer: impl AsFd) -> Group {
    let group = Group::with_hold("channel", BRIEF);
    group.add(buffer, Access::DMA_WRITE);
    group
}

/// Does something to a group's end of its channel, some of it in other threads. They end when the group's channel does.
fn misuse(way: &str, group: &Group, target: i32) -> Vec<OwnedFd> {
    let end: OwnedFd = group.events.as_fd().try_clone_to_owned().expect("dup");
    let raw = end.as_raw_fd();
    let pipe = || nix::unistd::pipe2(OFlag::O_CLOEXEC).expect("pipe");
    match way {
        // Out of the channel into a pipe with room, and into a full one.
        "splice" | "splice-full" => {
            let (read, write) = pipe();
            if way == "splice-full" {
                fill(&write);
            }
            let into = write.try_clone().expect("dup");
            std::thread::spawn(move || while splice(&end, &into) {});
            return vec![read, write];
        }
        // A socket is no pipe, so the kernel refuses these; who knows for how long.
        "tee" => {
            let (read, write) = pipe();
            // SAFETY: tee(2) takes numbers only; vmsplice(2) reads one iovec, which lives until it returns.
            unsafe {
                libc::tee(raw, write.as_raw_fd(), 4096, 0);
                let mut byte = [0_u8];
                let part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
                libc::vmsplice(raw, &part, 1, 0);
            }
            return vec![read, write, end];
        }
        // A uid's pipes may have 64 MiB in all; a service's pipes would be its own.
        "pipe-size" => {
            let more = (0..LARGE).map(|_| OwnedFd::from(Group::open("channel/more").events));
            let more: Vec<OwnedFd> = more.chain([end]).collect();
            for end in &more {
                // SAFETY: F_SETPIPE_SZ takes a number.
                unsafe { libc::fcntl(end.as_raw_fd(), libc::F_SETPIPE_SZ, 1 << 20) };
            }
            return more;
        }
        "peek" => {
            let peek = MsgFlags::MSG_PEEK | MsgFlags::MSG_WAITALL;
            let end = end.try_clone().expect("dup");
            let read = move || recv(end.as_raw_fd(), &mut [0; 1], peek);
            std::thread::spawn(move || {
                // What it sees stays there, so it would take a whole processor.
                while read().is_ok_and(|count| count > 0) {
                    std::thread::sleep(PAUSE);
                }
            });
        }
        "blocked" => {
            for _ in 0..READERS {
                let end = end.try_clone().expect("dup");
                let read = move || recv(end.as_raw_fd(), &mut [0; 1], MsgFlags::MSG_WAITALL);
                std::thread::spawn(move || while read().is_ok_and(|count| count > 0) {});
            }
        }
        "small" => {
            setsockopt(&end, sockopt::RcvBuf, &0).expect("SO_RCVBUF");
            setsockopt(&end, sockopt::SndBuf, &0).expect("SO_SNDBUF");
            assert!(getsockopt(&end, sockopt::RcvBuf).expect("SO_RCVBUF") < 4096);
        }
        "shut-read" => shutdown(raw, Shutdown::Read).expect("shutdown"),
        "shut-write" => shutdown(raw, Shutdown::Write).expect("shutdown"),
        "shut" => shutdown(raw, Shutdown::Both).expect("shutdown"),
        "filter" => drop_all(&end),
        // SIGIO, or any other signal, for the service's process at each record.
        "signal" => {
            // SAFETY: these take numbers only.
            unsafe {
                libc::fcntl(raw, libc::F_SETOWN, target);
                libc::fcntl(raw, F_SETSIG, libc::SIGKILL);
                libc::fcntl(raw, libc::F_SETFL, libc::O_ASYNC | libc::O_NONBLOCK);
            }
        }
        // In a message that nobody receives.
        "passed" => {
            let (here, there) = UnixStream::pair().expect("socketpair");
            fdpass::send(&here, &[end.as_fd()]).expect("send");
            return vec![here.into(), there.into()];
        }
        // In a message of a socket that is in a message of its own: only the kernel's collector finds it.
        "circle" => {
            let (here, there) = UnixStream::pair().expect("socketpair");
            fdpass::send(&here, &[end.as_fd(), there.as_fd(), here.as_fd()]).expect("send");
            fdpass::send(&there, &[end.as_fd(), here.as_fd()]).expect("send");
            return Vec::new();
        }
        _ => {}
    }
    vec![end]
}

/// `F_SETSIG` of fcntl.h.
const F_SETSIG: libc::c_int = 10;

fn splice(from: &OwnedFd, into: &OwnedFd) -> bool {
    // SAFETY: splice(2) without offsets takes numbers only.
    let moved = unsafe {
        let (from, into) = (from.as_raw_fd(), into.as_raw_fd());
        libc::splice(from, std::ptr::null_mut(), into, std::ptr::null_mut(), 4096, 0)
    };
    moved > 0
}

/// A socket filter that lets no message through.
fn drop_all(end: &OwnedFd) {
    // BPF_RET | BPF_K: the number of bytes that are let through.
    let mut code = [libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 }];
    let filter = libc::sock_fprog { len: 1, filter: code.as_mut_ptr() };
    let size = std::mem::size_of_val(&filter) as libc::socklen_t;
    let pointer: *const libc::sock_fprog = &filter;
    // SAFETY: the kernel reads one struct, and the program that it points to; both live until the call returns.
    let set = unsafe {
        let end = end.as_raw_fd();
        libc::setsockopt(end, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, pointer.cast(), size)
    };
    assert_eq!(set, 0, "SO_ATTACH_FILTER");
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A client process of the conformance tests: the suite's own program, started as `client VERB [ACCESS]`,
//! with a Unix socket as its standard input.
//!
//! These verbs need an ACCESS, and a buffer from the socket. They wait until they are killed or their
//! input ends:
//!
//! | verb | action |
//! |---|---|
//! | `hold` | locks, prints "granted" and its deadline, holds |
//! | `queue` | requests the lock, prints "queued" |
//! | `groups` | opens groups until one is refused, prints their number |
//! | `lose` | has no descriptor left, locks behind a pending fence, ends the lock, prints how many replies were lost, how many locks there were then, and how many in the end |
//! | `names` | waits in vain for the buffer, and for one of its own; prints the names of the groups in the way |
//! | `queues` | opens groups, prints "ready", reads a byte, queues a lock of each group until one is refused, prints their number |
//!
//! These verbs end by themselves:
//!
//! | verb | action |
//! |---|---|
//! | `give` | receives a buffer and perhaps a fence, locks, sends a byte, receives a byte, unlocks with the fence |
//! | `take` | receives a buffer, queues a lock, sends a byte, is granted with an acquire fence, sends a byte |
//! | `call` | makes one call |
//! | `dump` | asks the service for its dump |

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::GroupOptions::GroupOptions;
use buffersync_aidl::{runtime, Failure};
use buffersync_testbed_guest::{fdpass, heap};
use nix::libc;

use crate::fence::has_signalled;
use crate::hal::{dump, error, service, Group};

/// With this first argument the suite's program is a client.
pub const VERB: &str = "client";

/// Runs the verb of the other arguments.
pub fn run(mut args: impl Iterator<Item = String>) -> ! {
    let verb = args.next().expect("a verb");
    match verb.as_str() {
        "give" => give(&socket()),
        "take" => take(&socket()),
        "call" => {
            service().getCapabilities().expect("capabilities");
            std::process::exit(0)
        }
        "dump" => {
            assert!(!dump(&[]).is_empty(), "nothing was printed");
            std::process::exit(0)
        }
        _ => {}
    }
    let access = Access(args.next().and_then(|bits| bits.parse().ok()).expect("an access"));
    let buffer = fdpass::receive(&socket()).expect("the buffer").remove(0);
    // Kept until the end, because a dropped group is closed.
    let mut groups = Vec::new();
    match verb.as_str() {
        "hold" => {
            let mut group = Group::of("vts/holder", &buffer, access);
            let grant = group.lock();
            groups.push(group);
            println!("granted {}", grant.deadline);
        }
        "queue" => {
            let mut group = Group::of("vts/waiter", &buffer, access);
            group.lock_must_wait();
            groups.push(group);
            println!("queued");
        }
        "groups" => {
            let most = service().getCapabilities().expect("capabilities").maxGroupsPerUid;
            let options = GroupOptions::default();
            let mut opened = Vec::new();
            let mut refused = 0;
            // More than the quota, but not without end.
            for _ in 0..4 * most {
                match service().openGroup("vts/quota", &options) {
                    Ok(group) => opened.push(group),
                    denied => {
                        refused = error(denied);
                        break;
                    }
                }
            }
            println!("{} {refused}", opened.len());
            rest();
        }
        "names" => {
            let mut stranger = Group::of("vts/stranger", &buffer, access);
            let own = heap::allocate(4096).expect("heap");
            let mut holder = Group::of("vts/own", &own, Access::DMA_WRITE);
            let _held = holder.lock();
            let mut waiter = Group::of("vts/behind", &own, Access::DMA_WRITE);
            let names = [&mut stranger, &mut waiter].map(|group| {
                let way = group.times_out();
                group.binder.object.getGroupName(way.value0).expect("getGroupName")
            });
            println!("{names:?}");
            groups.extend([stranger, holder, waiter]);
        }
        "lose" => {
            let group = Group::of("vts/loser", &buffer, access);
            println!("{}", lose(&group));
            groups.push(group);
        }
        "queues" => {
            let most = service().getCapabilities().expect("capabilities").maxQueuedPerUid;
            groups.extend((0..=most).map(|_| Group::of("vts/quota", &buffer, access)));
            // Only the locks are made while somebody holds.
            println!("ready");
            std::io::stdin().read_exact(&mut [0]).expect("a byte");
            let locked: Vec<_> = groups.iter().map(|group| group.binder.lock(0)).collect();
            let queued = locked.iter().filter(|locked| locked.is_ok()).count();
            let refused = locked.into_iter().find(Result::is_err).map_or(0, error);
            println!("{queued} {refused}");
        }
        other => panic!("unknown verb {other}"),
    }
    rest();
}

/// A lock whose reply has a fence, which this process has no descriptor for.
fn lose(group: &Group) -> String {
    let locks = || group.binder.object.getLocks().expect("getLocks").len();
    // The lowest limit that leaves nothing: a hole below it would be used.
    let mut holes = Vec::new();
    let top = std::iter::from_fn(|| std::io::stdin().as_fd().try_clone_to_owned().ok());
    let limit = top.take(1).map(|fd| fd.as_raw_fd() as u64 + 1).next().expect("a descriptor");
    let limit = libc::rlimit { rlim_cur: limit as _, rlim_max: limit as _ };
    // SAFETY: setrlimit(2) reads one struct, which lives until it returns.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0, "setrlimit");
    while let Ok(fd) = std::io::stdin().as_fd().try_clone_to_owned() {
        holes.push(fd);
    }
    let lost = match group.binder.lock(0).map_err(|status| runtime::failure(&status)) {
        Err(Failure::Other(_)) => 1,
        other => panic!("not lost: {other:?}"),
    };
    let held = locks();
    group.binder.unlock(group.binder.last()).expect("unlock");
    format!("lost {lost}, held {held}, ended {}", locks())
}

fn socket() -> UnixStream {
    let socket: OwnedFd = std::io::stdin().as_fd().try_clone_to_owned().expect("dup");
    UnixStream::from(socket)
}

/// Locks with descriptors that another process has opened, and unlocks with its fence.
fn give(mut socket: &UnixStream) -> ! {
    let fds = fdpass::receive(socket).expect("a buffer");
    let mut group = Group::of("vts/give", &fds[0], Access::DMA_WRITE);
    let held = group.lock();
    socket.write_all(b"h").expect("socket");
    socket.read_exact(&mut [0]).expect("socket");
    match fds.get(1) {
        Some(fence) => group.unlock_fenced(&held, fence),
        None => group.unlock(&held),
    }
    std::process::exit(0)
}

/// The next holder: is granted through the event channel, with the giver's fence.
fn take(mut socket: &UnixStream) -> ! {
    let fds = fdpass::receive(socket).expect("a buffer");
    let mut group = Group::of("vts/take", &fds[0], Access::DMA_READ);
    let queued = group.binder.lock(0).expect("lock");
    socket.write_all(b"q").expect("socket");
    let held = group.granted(&queued);
    let fence = group.acquire_fence(&held, 0).expect("an acquire fence");
    assert!(!has_signalled(&fence), "it is pending");
    group.unlock(&held);
    socket.write_all(b"g").expect("socket");
    std::process::exit(0)
}

/// Waits until this process is killed, or until its parent ends.
fn rest() -> ! {
    let _ = std::io::stdin().read(&mut [0]);
    std::process::exit(0)
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! More calls than the service can serve, from all threads of one uid: calls without reply, calls that nobody knows,
//! wrong parcels, big ones. The victim's calls go on among them.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use binder::{Interface, ParcelFileDescriptor};
use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_testbed_guest::heap;
use buffersync_testbed_guest::user::User;
use buffersync_vts::hal::{eventually, service, Group};

use super::actor::{Actor, Stage};
use super::scene::Scene;

/// Threads of the attacker.
const THREADS: usize = 8;
/// Rounds of the victim, each of some dozen calls.
const ROUNDS: usize = 5;
/// Transactions that the attacker has made before the victim is looked at, and while it is served.
const MANY: usize = 200;

// Flags of linux/android/binder.h.
const ONE_WAY: u32 = 0x01;
const ACCEPT_FDS: u32 = 0x10;

/// Codes of the interface, beyond it, and those of binder itself (PING, DUMP, SHELL, INTERFACE, SYSPROPS, DEBUG_PID,
/// EXTENSION, LIKE).
const CODES: [u32; 20] = [
    1,
    2,
    3,
    4,
    5,
    9,
    13,
    14,
    20,
    1000,
    0x00ff_fffe,
    0x00ff_ffff,
    0x5f50_4e47,
    0x5f43_4d44,
    0x5f4e_5446,
    0x5f53_5052,
    0x5f50_4944,
    0x5f45_5854,
    0x5f4c_494b,
    u32::MAX,
];

pub fn calls_without_reply_stop_nobody() {
    flooded("oneway");
}

pub fn big_calls_without_reply_stop_nobody() {
    flooded("oneway-big");
}

pub fn big_calls_stop_nobody() {
    flooded("big");
}

pub fn calls_that_nobody_understands_stop_nobody() {
    flooded("junk");
}

pub fn descriptors_that_nobody_reads_stop_nobody() {
    flooded("descriptors");
}

fn flooded(how: &str) {
    let mut scene = Scene::start(&[]);
    let pid = scene.stack.service_pid();
    let descriptors = || std::fs::read_dir(format!("/proc/{pid}/fd")).expect("fd").count();
    let before = descriptors();
    let mut flooder = Actor::start(User::STUCK, "flood::flooder", &[how]);
    flooder.says("flooded");
    for _ in 0..ROUNDS {
        scene.is_served();
    }
    // It was at it all the time: it reaches the next number of calls.
    flooder.go();
    flooder.says("flooded");
    flooder.kill();
    scene.is_served();
    eventually("what the calls carried is closed", || descriptors() <= before);
}

/// Calls with all its threads. Says when it has made many more calls, the first time and each time that it may go.
pub fn flooder(mut stage: Stage) {
    let calls = Arc::new(AtomicUsize::new(0));
    let how: String = stage.arg(0);
    for nth in 0..THREADS {
        let (calls, how) = (Arc::clone(&calls), how.clone());
        std::thread::spawn(move || call(&how, nth, &calls));
    }
    loop {
        let enough = calls.load(Ordering::SeqCst) + MANY;
        eventually("many calls", || calls.load(Ordering::SeqCst) >= enough);
        stage.say("flooded");
        stage.wait();
    }
}

fn call(how: &str, nth: usize, calls: &AtomicUsize) {
    let buffer = heap::allocate(4096).expect("heap");
    let group = Group::of("flood", &buffer, Access::DMA_WRITE);
    let objects = [service().as_binder(), group.binder.object.as_binder()];
    for turn in nth.. {
        let proxy = objects[turn % 2].as_proxy().expect("a proxy");
        let header = how != "junk" || turn % 3 > 0;
        let mut parcel = proxy.prepare_transact(header).expect("a parcel");
        let mut code = CODES[turn % CODES.len()];
        let mut flags = ACCEPT_FDS;
        match how {
            // lock() of the group, and openGroup() of the service: what makes work.
            "oneway" => {
                code = [2, 3][turn % 2];
                flags |= ONE_WAY;
                parcel.write(&(turn as i64)).expect("a number");
            }
            "oneway-big" => {
                flags |= ONE_WAY;
                parcel.write(&vec![7_u8; 100_000]).expect("bytes");
            }
            "big" => parcel.write(&vec![7_u8; [200_000, 900_000][turn % 2]]).expect("bytes"),
            "junk" => {
                for number in 0..turn % 9 {
                    parcel.write(&(-7_i32 + number as i32)).expect("a number");
                }
                parcel.write(&objects[0].clone()).expect("a binder");
            }
            _ => {
                flags |= (turn % 2) as u32 * ONE_WAY;
                for _ in 0..20 {
                    let fd = buffer.as_fd().try_clone_to_owned().expect("dup");
                    parcel.write(&ParcelFileDescriptor::new(fd)).expect("a descriptor");
                }
            }
        }
        // What becomes of it is not of interest here.
        let _ = proxy.submit_transact(code, &parcel, flags);
        calls.fetch_add(1, Ordering::SeqCst);
    }
}

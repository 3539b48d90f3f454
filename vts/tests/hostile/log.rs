// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Standard error is a pipe whose reader (a logger, journald) has stopped, while clients cause lines. Nobody waits,
//! and afterwards the log says how much is absent.

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Arc};

use binder::Interface;
use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_testbed_guest::heap;
use buffersync_testbed_guest::user::User;
use buffersync_vts::hal::{eventually, long, service, Group};
use nix::fcntl::OFlag;

use super::actor::{Actor, Stage};
use super::dump::fill;
use super::scene::Scene;

/// Evictions, and as many malformed transactions: more lines than any place in the source may write at once.
const FLOOD: usize = 100;

fn pipe() -> (OwnedFd, OwnedFd) {
    nix::unistd::pipe2(OFlag::O_CLOEXEC).expect("pipe")
}

pub fn a_log_that_nobody_reads_stops_nobody() {
    let (read, write) = pipe();
    let mut scene = Scene::start_logging_to(write.try_clone().expect("dup"));
    fill(&write);
    // The reader sees the end of the pipe only if the service alone has the other end.
    drop(write);
    let mut flooder = Actor::start(User::STUCK, "log::flooder", &[]);
    flooder.says("flooded");
    for _ in 0..3 {
        scene.is_served();
    }
    assert!(flooder.is_alive());

    // The reader is back. The flood goes on, so that a line follows.
    let (line, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for text in BufReader::new(std::fs::File::from(read)).lines().map_while(Result::ok) {
            let _ = line.send(text);
        }
    });
    let left_out = || loop {
        let text = lines.recv_timeout(long()).expect("a line that says how many were left out");
        if text.contains("left out") {
            return text;
        }
    };
    let said = left_out();
    let number = said.split_whitespace().find_map(|word| word.parse::<u64>().ok());
    assert!(number.is_some_and(|number| number > 0), "{said:?} says no number");
    scene.is_served();
}

pub fn a_log_whose_reader_is_gone_stops_nobody() {
    let (read, write) = pipe();
    let mut scene = Scene::start_logging_to(write);
    drop(read);
    let mut flooder = Actor::start(User::STUCK, "log::flooder", &[]);
    flooder.says("flooded");
    scene.is_served();
}

/// Causes lines for as long as it lives: evictions, and transactions that nobody understands. Says when it has caused
/// enough of both.
pub fn flooder(stage: Stage) {
    let (evictions, malformed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&evictions);
    std::thread::spawn(move || {
        let buffer = heap::allocate(4096).expect("heap");
        let mut group = Group::with_hold("log/evicted", 1);
        group.add(&buffer, Access::DMA_WRITE);
        loop {
            let held = group.lock();
            group.next_eviction(held.token);
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let count = Arc::clone(&malformed);
    std::thread::spawn(move || {
        let object = service().as_binder();
        let proxy = object.as_proxy().expect("a proxy");
        for code in (1..4).cycle() {
            let mut parcel = proxy.prepare_transact(true).expect("a parcel");
            parcel.write(&-7_i32).expect("a parcel");
            // Whether it is refused, and how, is not of interest here.
            let _ = proxy.submit_transact(code, &parcel, 0);
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    eventually("enough lines", || {
        [&evictions, &malformed].iter().all(|count| count.load(Ordering::SeqCst) >= FLOOD)
    });
    stage.say("flooded");
    stage.rest()
}

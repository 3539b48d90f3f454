// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Everybody wants the buffer: from the unlock in one process to the grant in the next, and who waits
//! how long.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use buffersync_client::{Access, BufferSync, Options};
use serde_json::{json, Value};

use crate::alone::{buffers, empty_call};
use crate::crew::{self, Crew, Shared};
use crate::stats::{now, Samples};

/// How long each holds: long enough for the one before to wait again.
const HOLD: Duration = Duration::from_millis(2);
/// Word that counts grants. Each has four words from `FIRST` on: when it was there, when its end began,
/// whose it was, how long that one had waited.
const COUNT: usize = 2;
const FIRST: usize = 16;
const MOST: usize = 20_000;

/// `buffersync-bench contend`: locks and unlocks the one buffer again and again.
pub fn client(number: usize, shared: &Shared, fds: &[String]) -> std::io::Result<()> {
    let buffer = crew::inherited(&fds[0])?;
    let sync = BufferSync::connect().expect("connect");
    let mut group = sync.open_group("bench/contend", Options::default()).expect("openGroup");
    group.add(&buffer, Access::DmaWrite).expect("add");
    crew::begin(shared);
    while !crew::is_over(shared) {
        let asked = now();
        let grant = group.lock(None).expect("lock");
        let there = now();
        // Nobody else has the grant, so nobody else counts meanwhile.
        let at = shared.word(COUNT).fetch_add(1, SeqCst) as usize;
        if at < MOST {
            let at = FIRST + 4 * at;
            shared.word(at).store(there, SeqCst);
            shared.word(at + 2).store(number as u64, SeqCst);
            shared.word(at + 3).store(there - asked, SeqCst);
            std::thread::sleep(HOLD);
            shared.word(at + 1).store(now(), SeqCst);
        }
        grant.unlock().expect("unlock");
    }
    Ok(())
}

fn contended(clients: usize) -> std::io::Result<Value> {
    let shared = Shared::new()?;
    let buffer = buffers(1).remove(0);
    let crew = Crew::start("contend", clients, &shared, &[buffer.as_fd().as_raw_fd()])?;
    crew.run_for(&shared, Duration::from_secs(4))?;
    let count = (shared.word(COUNT).load(SeqCst) as usize).min(MOST);
    let entry = |at: usize, what: usize| shared.word(FIRST + 4 * at + what).load(SeqCst);
    let (mut latency, mut waits) = (Samples::default(), BTreeMap::<u64, Samples>::new());
    // The first round is the start's.
    for at in clients + 1..count {
        if entry(at, 2) != entry(at - 1, 2) {
            latency.push(entry(at, 0).saturating_sub(entry(at - 1, 1)));
        }
        waits.entry(entry(at, 2)).or_default().push(entry(at, 3));
    }
    let served = waits.len();
    let mut all = Samples::default();
    waits.into_values().for_each(|waits| {
        all.push(waits.summary()["max"].as_u64().unwrap_or(0));
    });
    let mut every = Samples::default();
    (clients + 1..count).for_each(|at| every.push(entry(at, 3)));
    let (longest, usual) = (all.summary()["max"].clone(), every.summary()["median"].clone());
    Ok(json!({ "latency": latency.summary(), "grants": count, "served": served,
               "longest_wait": longest, "median_wait": usual }))
}

/// `buffersync-bench woken`: says when it was woken by the pipe.
pub fn woken(shared: &Shared, fds: &[String]) -> std::io::Result<()> {
    let mut pipe = crew::inherited_file(&fds[0])?;
    crew::begin(shared);
    let mut at = FIRST;
    while pipe.read_exact(&mut [0]).is_ok() {
        shared.word(at).store(now(), SeqCst);
        at += 1;
    }
    Ok(())
}

/// The least that a hand-over through a service can be: one empty call, and one pipe that wakes.
fn floor() -> std::io::Result<Value> {
    let shared = Shared::new()?;
    let (read, mut write) = std::io::pipe()?;
    let mut crew = Crew::start("woken", 1, &shared, &[read.as_raw_fd()])?;
    drop(read);
    shared.word(crew::PHASE).store(1, SeqCst);
    std::thread::sleep(Duration::from_millis(50));
    let mut call = empty_call();
    let mut samples = Samples::default();
    for at in FIRST..FIRST + 800 {
        // As the holder above.
        std::thread::sleep(HOLD);
        let begin = now();
        call();
        write.write_all(b"x")?;
        std::thread::sleep(HOLD);
        let there = shared.word(at).load(SeqCst);
        if there != 0 {
            samples.push(there - begin);
        }
    }
    drop(write);
    crew.wait()?;
    Ok(samples.summary())
}

/// All of it.
pub fn measure() -> std::io::Result<Value> {
    let mut by_clients = serde_json::Map::new();
    let floor = floor()?;
    for clients in [2, 8, 64] {
        by_clients.insert(clients.to_string(), contended(clients)?);
    }
    Ok(json!({ "floor": floor, "clients": by_clients }))
}

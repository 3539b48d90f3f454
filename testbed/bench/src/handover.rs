// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Everybody wants the buffer: from the unlock in one process to the grant in the next, and who waits
//! how long.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use buffersync_client::{Access, BufferSync, Options};
use serde_json::{json, Value};

use crate::alone::{buffers, empty_call};
use crate::crew::{self, Crew, Shared};
use crate::stats::{now, Samples};

/// How long each holds: long enough for the one before to wait again.
const HOLD: Duration = Duration::from_millis(2);
/// How long each run is.
const TIME: Duration = Duration::from_secs(4);
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
    crew.run_for(&shared, TIME)?;
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

/// `buffersync-bench relay`: as [`client`], but each wakes the other itself.
pub fn relay(number: usize, shared: &Shared, fds: &[String]) -> std::io::Result<()> {
    let mut ends: Vec<_> =
        fds.iter().map(|fd| crew::inherited_file(fd).map(Some)).collect::<Result<_, _>>()?;
    let mut take = |at: usize| ends[at].take().ok_or(std::io::ErrorKind::InvalidInput);
    let (mut own, mut others) = (take(2 * number)?, take(2 * (1 - number) + 1)?);
    // Whoever holds an end that is not its own would keep the pipe open.
    drop(ends);
    let _sync = BufferSync::connect().expect("connect");
    let mut call = empty_call();
    crew::begin(shared);
    while own.read_exact(&mut [0]).is_ok() && !crew::is_over(shared) {
        let there = now();
        let at = shared.word(COUNT).fetch_add(1, SeqCst) as usize;
        if at < MOST {
            let at = FIRST + 4 * at;
            shared.word(at).store(there, SeqCst);
            std::thread::sleep(HOLD);
            shared.word(at + 1).store(now(), SeqCst);
        }
        call();
        others.write_all(b"x")?;
    }
    Ok(())
}

/// The least that a hand-over through a service can be: one empty call, and one pipe that wakes.
fn floor() -> std::io::Result<Value> {
    let shared = Shared::new()?;
    let pipes = [std::io::pipe()?, std::io::pipe()?];
    let ends: Vec<RawFd> =
        pipes.iter().flat_map(|(read, write)| [read.as_raw_fd(), write.as_raw_fd()]).collect();
    let crew = Crew::start("relay", 2, &shared, &ends)?;
    (&pipes[0].1).write_all(b"x")?;
    // Whoever of the two ends first closes the other's pipe, if nobody else has its end.
    drop(pipes);
    crew.run_for(&shared, TIME)?;
    let count = (shared.word(COUNT).load(SeqCst) as usize).min(MOST);
    let entry = |at: usize, what: usize| shared.word(FIRST + 4 * at + what).load(SeqCst);
    let mut latency = Samples::default();
    (3..count).for_each(|at| latency.push(entry(at, 0).saturating_sub(entry(at - 1, 1))));
    Ok(latency.summary())
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

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! All processes want the buffer: the time from the unlock in one process to the grant in the next, and the
//! waits of each.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use buffersync_client::{Access, BufferSync, Options};
use serde_json::{json, Value};

use crate::alone::{buffers, empty_call};
use crate::crew::{self, Crew, Shared};
use crate::stats::{now, Samples};

/// The time of each hold: long enough for the holder before to wait again.
const HOLD: Duration = Duration::from_millis(2);
/// The time of each run.
const TIME: Duration = Duration::from_secs(4);
/// The word that counts turns.
const COUNT: usize = 2;
/// From this word on, each [`Turn`] has [`WORDS`] words.
const FIRST: usize = 16;
const WORDS: usize = 4;
const MOST: usize = 20_000;

/// One hold of the buffer. The shared memory has them in order.
struct Turns<'a>(&'a Shared);

/// Times in nanoseconds.
#[derive(Clone, Copy)]
struct Turn {
    began: u64,
    ended: u64,
    who: u64,
    waited: u64,
}

impl Turns<'_> {
    /// Notes a hold that was requested at this time, and holds. Only the holder counts turns, so nobody else
    /// counts meanwhile.
    fn hold(&self, who: usize, asked: u64) {
        let Self(shared) = self;
        let began = now();
        let at = shared.word(COUNT).fetch_add(1, SeqCst) as usize;
        if at < MOST {
            let first = FIRST + WORDS * at;
            for (at, what) in (first..).zip([began, who as u64, began - asked]) {
                shared.word(at).store(what, SeqCst);
            }
            std::thread::sleep(HOLD);
            // The last step before the measurement, on a page that is mapped already.
            shared.word(first + 3).store(now(), SeqCst);
        }
    }

    /// Reads all turns.
    fn all(&self) -> Vec<Turn> {
        let Self(shared) = self;
        let count = (shared.word(COUNT).load(SeqCst) as usize).min(MOST);
        let turn = |nth: usize| {
            let [began, who, waited, ended] =
                std::array::from_fn(|what| shared.word(FIRST + WORDS * nth + what).load(SeqCst));
            Turn { began, ended, who, waited }
        };
        (0..count).map(turn).collect()
    }
}

/// `buffersync-bench contend`: locks and unlocks the one buffer again and again.
pub fn client(number: usize, shared: &Shared, fds: &[String]) -> std::io::Result<()> {
    let buffer = crew::inherited(&fds[0])?;
    let sync = BufferSync::connect().expect("connect");
    let group = sync.open_group("bench/contend", Options::default()).expect("openGroup");
    group.add(&buffer, Access::DmaWrite).expect("add");
    crew::begin(shared);
    while !crew::is_over(shared) {
        let asked = now();
        let grant = group.lock(None).expect("lock");
        Turns(shared).hold(number, asked);
        grant.unlock().expect("unlock");
    }
    Ok(())
}

fn contended(clients: usize) -> std::io::Result<Value> {
    let shared = Shared::new()?;
    let buffer = buffers(1).remove(0);
    let crew = Crew::start("contend", clients, &shared, &[buffer.as_fd().as_raw_fd()])?;
    crew.run_for(&shared, TIME)?;
    let turns = Turns(&shared).all();
    let (mut latency, mut waits, mut served) =
        (Samples::default(), Samples::default(), BTreeSet::new());
    // The first round is part of the start.
    for pair in turns.windows(2).skip(clients) {
        let [before, turn] = [pair[0], pair[1]];
        if before.who != turn.who {
            latency.push(turn.began.saturating_sub(before.ended));
        }
        waits.push(turn.waited);
        served.insert(turn.who);
    }
    let waits = waits.summary();
    Ok(json!({ "latency": latency.summary(), "grants": turns.len(), "served": served.len(),
               "longest_wait": waits["max"], "median_wait": waits["median"] }))
}

/// `buffersync-bench relay`: like [`client`], but the processes wake each other.
pub fn relay(number: usize, shared: &Shared, fds: &[String]) -> std::io::Result<()> {
    let mut ends: Vec<_> =
        fds.iter().map(|fd| crew::inherited_file(fd).map(Some)).collect::<Result<_, _>>()?;
    let mut take = |at: usize| ends[at].take().ok_or(std::io::ErrorKind::InvalidInput);
    let (mut own, mut others) = (take(2 * number)?, take(2 * (1 - number) + 1)?);
    // A process that keeps another's end would keep the pipe open.
    drop(ends);
    let _sync = BufferSync::connect().expect("connect");
    let mut call = empty_call();
    crew::begin(shared);
    while own.read_exact(&mut [0]).is_ok() && !crew::is_over(shared) {
        Turns(shared).hold(number, now());
        call();
        others.write_all(b"x")?;
    }
    Ok(())
}

/// The smallest hand-over through any service: one empty call, and one pipe that wakes.
fn floor() -> std::io::Result<Value> {
    let shared = Shared::new()?;
    let pipes = [std::io::pipe()?, std::io::pipe()?];
    let ends: Vec<RawFd> =
        pipes.iter().flat_map(|(read, write)| [read.as_raw_fd(), write.as_raw_fd()]).collect();
    let crew = Crew::start("relay", 2, &shared, &ends)?;
    (&pipes[0].1).write_all(b"x")?;
    // The process that ends first closes the other's pipe, if nobody else has its end.
    drop(pipes);
    crew.run_for(&shared, TIME)?;
    let mut latency = Samples::default();
    for pair in Turns(&shared).all().windows(2).skip(2) {
        latency.push(pair[1].began.saturating_sub(pair[0].ended));
    }
    Ok(latency.summary())
}

pub fn measure() -> std::io::Result<Value> {
    let mut by_clients = serde_json::Map::new();
    let floor = floor()?;
    for clients in [2, 8, 64] {
        by_clients.insert(clients.to_string(), contended(clients)?);
    }
    Ok(json!({ "floor": floor, "clients": by_clients }))
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Many clients, each with its own buffer: their locks and unlocks per second.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use buffersync_client::{Access, BufferSync};
use serde_json::{json, Value};

use crate::alone::{buffers, empty_call, group};
use crate::crew::{self, Crew, Shared};

const CLIENTS: [usize; 4] = [1, 4, 16, 64];
const TIME: Duration = Duration::from_millis(1500);
const FIRST: usize = 16;

/// `buffersync-bench cycle`: counts its locks in its word.
pub fn client(number: usize, shared: &Shared) -> std::io::Result<()> {
    let sync = BufferSync::connect().expect("connect");
    let group = group(&sync, "bench/cycle", &buffers(1), Access::DmaWrite);
    crew::begin(shared);
    while !crew::is_over(shared) {
        group.lock(None).expect("lock").unlock().expect("unlock");
        shared.word(FIRST + number).fetch_add(1, SeqCst);
    }
    Ok(())
}

/// `buffersync-bench call`: the same with two empty calls.
pub fn caller(number: usize, shared: &Shared) -> std::io::Result<()> {
    let _sync = BufferSync::connect().expect("connect");
    let mut call = empty_call();
    crew::begin(shared);
    while !crew::is_over(shared) {
        call();
        call();
        shared.word(FIRST + number).fetch_add(1, SeqCst);
    }
    Ok(())
}

fn rate(verb: &str, clients: usize) -> std::io::Result<f64> {
    let shared = Shared::new()?;
    Crew::start(verb, clients, &shared, &[])?.run_for(&shared, TIME)?;
    let count: u64 = (0..clients).map(|at| shared.word(FIRST + at).load(SeqCst)).sum();
    Ok(count as f64 / TIME.as_secs_f64())
}

/// Rates by the number of clients.
pub fn measure() -> std::io::Result<Value> {
    let mut rows = Vec::new();
    for clients in CLIENTS {
        let (locks, calls) = (rate("cycle", clients)?, rate("call", clients)?);
        rows.push(json!({ "clients": clients, "locks": locks, "call_pairs": calls }));
    }
    Ok(Value::from(rows))
}

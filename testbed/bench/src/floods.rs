// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `buffersync-bench floods FILE`: what one uid's flood of calls costs another uid.
//!
//! The victim is measured beside each kind of flood, and before each of them beside the control: as many threads of
//! the flooder's uid that call nobody. Who shares a machine with eight busy threads waits for a processor; what a
//! flood adds to that is what the service (and the kernel's binder) lets one uid do to another.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use buffersync_testbed_guest::user::User;
use serde_json::{json, Value};

use crate::crew::{Crew, Member, Shared};
use crate::flood::{CALLS, CONTROL, KINDS, REFUSED, SAMPLES, THREADS};
use crate::stats::Samples;

/// How often each kind is measured. The report has the medians.
const ROUNDS: usize = 3;
/// The length of one measurement. Beside the control a lock and an unlock take some 25 ms, so this is some hundred
/// samples.
const TIME: Duration = Duration::from_secs(4);

/// One measurement: `KINDS[kind]` for [`TIME`].
fn beside(kind: usize) -> std::io::Result<Value> {
    let shared = Shared::new()?;
    let flood = Member { user: User::STUCK, verb: "flood", number: kind };
    let victim = Member { user: User::CAMERA, verb: "victim", number: 0 };
    Crew::start_all(&[flood, victim], &shared, &[])?.run_for(&shared, TIME)?;
    let count = |word: usize| shared.word(word).load(SeqCst);
    let mut samples = Samples::default();
    for sample in 1..=count(SAMPLES) as usize {
        samples.push(count(SAMPLES + sample));
    }
    let rate = |word| count(word) as f64 / TIME.as_secs_f64();
    Ok(json!({ "calls": rate(CALLS), "refused": rate(REFUSED), "victim": samples.summary() }))
}

/// All kinds that `only` names, or all; each row has its rounds, and each round its control.
pub fn measure(only: &[String]) -> std::io::Result<Value> {
    let wanted = |name: &str| only.is_empty() || only.iter().any(|word| name.contains(word));
    let kinds = || KINDS.iter().enumerate().skip(1).filter(|(_, kind)| wanted(kind.name));
    // What runs for the first time is translated and paged in first.
    beside(0)?;
    let mut rows: Vec<Value> =
        kinds().map(|(_, kind)| json!({ "kind": kind.name, "rounds": [] })).collect();
    for round in 1..=ROUNDS {
        for ((number, kind), row) in kinds().zip(&mut rows) {
            eprintln!("bench: round {round} of {ROUNDS}: {}", kind.name);
            let both = json!({ "control": beside(0)?, "flood": beside(number)? });
            row["rounds"].as_array_mut().expect("a list").push(both);
        }
    }
    Ok(json!({ "threads": THREADS, "control": CONTROL.name, "floods": rows }))
}

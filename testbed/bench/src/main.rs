// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `buffersync-bench run FILE`: measures the service at work, and writes the results as JSON.
//! `buffersync-bench alone` prints what locks cost that nobody contends.
//! `buffersync-bench locks COUNT`, for a profiler, locks and unlocks four device buffers COUNT times.
//! `cpu-locks`, `exchanges` and `moves` (one call each) and `calls` (two empty calls) are similar.
//! `buffersync-bench floods FILE [WORD]...` measures what one uid's floods of calls cost another, and `newcomer FILE`
//! what is left for a uid when 64 others have all that they may have.
//!
//! | module | measures |
//! |---|---|
//! | [`alone`] | a lock and an unlock without contention, and its peers |
//! | [`handover`] | from an unlock to the next one's grant |
//! | [`scale`] | many clients |
//! | [`pipeline`] | frames a second, end to end |
//! | [`floods`] | one uid's locks, beside another's floods ([`flood`]) |
//! | [`newcomer`] | a uid beside 64 that have filled their quotas |
//! | [`cost`] | processor, memory, descriptors, wake-ups of the service |
//!
//! [`crew`] starts the other processes, which run this program too. All modules use [`peers`] and [`stats`].
//! The times are raw here: `cargo xtask bench` makes ratios of them.

mod alone;
mod cost;
mod crew;
mod flood;
mod floods;
mod handover;
mod newcomer;
mod peers;
mod pipeline;
mod scale;
mod stats;

use std::process::ExitCode;

use buffersync_client::{Access, BufferSync};
use crew::Shared;
use serde_json::json;

fn run(file: &str) -> std::io::Result<()> {
    let say = |what: &str| eprintln!("bench: {what}");
    let sync = BufferSync::connect().expect("connect");
    say("hand-over");
    let handover = handover::measure()?;
    say("many clients");
    let scale = scale::measure()?;
    say("pipeline");
    let pipeline = pipeline::measure()?;
    say("the service's own");
    let cost = cost::measure(&sync);
    let all = json!({ "handover": handover, "scale": scale, "pipeline": pipeline,
                      "cost": cost });
    std::fs::write(file, format!("{all:#}\n"))
}

/// The verbs of [`repeat`].
const REPEATED: [&str; 5] = ["locks", "cpu-locks", "exchanges", "moves", "calls"];

/// Repeats one operation, for tools that count.
fn repeat(verb: &str, count: &str) -> std::io::Result<()> {
    let count: u64 = count.parse().map_err(|_| std::io::ErrorKind::InvalidInput)?;
    let sync = BufferSync::connect().expect("connect");
    let mut turn: Box<dyn FnMut()> = match verb {
        "locks" => Box::new(alone::locks(&sync, 4, Access::DmaWrite)),
        "cpu-locks" => Box::new(alone::locks(&sync, 4, Access::Write)),
        "exchanges" => Box::new(alone::exchanges(&sync)),
        "moves" => Box::new(alone::moves(&sync)),
        _ => {
            let mut call = alone::empty_call();
            Box::new(move || {
                call();
                call();
            })
        }
    };
    for _ in 0..count {
        turn();
    }
    Ok(())
}

/// A process of a crew: `VERB NUMBER SHARED FD...`.
fn take_part(verb: &str, args: &[String]) -> std::io::Result<()> {
    let bad = || std::io::Error::from(std::io::ErrorKind::InvalidInput);
    let number = args.first().and_then(|word| word.parse().ok()).ok_or_else(bad)?;
    let shared = args.get(1).and_then(|word| word.parse().ok()).ok_or_else(bad)?;
    let (shared, fds) = (Shared::inherited(shared)?, &args[2..]);
    match verb {
        "contend" => handover::client(number, &shared, fds),
        "relay" => handover::relay(number, &shared, fds),
        "cycle" => scale::client(number, &shared),
        "call" => scale::caller(number, &shared),
        "flood" => flood::flood(number, &shared),
        "victim" => flood::victim(&shared),
        "fill" => newcomer::fill(&shared),
        "newcomer" => newcomer::newcomer(&shared),
        "stage" | "stage-by-hand" => pipeline::stage(verb, number, &shared, fds),
        _ => Err(bad()),
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.split_first() {
        Some((verb, [file])) if verb == "run" => run(file),
        Some((verb, [file, only @ ..])) if verb == "floods" => floods::measure(only)
            .and_then(|measured| std::fs::write(file, format!("{measured:#}\n"))),
        Some((verb, [file])) if verb == "newcomer" => {
            newcomer::measure().and_then(|measured| std::fs::write(file, format!("{measured:#}\n")))
        }
        Some((verb, [])) if verb == "alone" => {
            println!("{:#}", alone::measure(&BufferSync::connect().expect("connect")));
            Ok(())
        }
        Some((verb, [count])) if REPEATED.contains(&verb.as_str()) => repeat(verb, count),
        Some((verb, rest)) if rest.len() >= 2 => take_part(verb, rest),
        _ => {
            eprintln!(
                "usage: buffersync-bench run FILE | alone | floods FILE | newcomer FILE | {} COUNT",
                REPEATED.join("|")
            );
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("buffersync-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

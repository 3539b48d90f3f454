// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `buffersync-soak run [--seconds N] [--seed S] [--service PROGRAM]`: everything at once against the service, as
//! `cargo xtask soak` and `cargo xtask test` run it. The last line that it prints is
//!
//! ```text
//! soak: locks=N kills=N evictions=N restarts=N violations=N leaked=N
//! ```
//!
//! Workers of several uids lock a few shared buffers in all ways. The orchestrator kills, stops and starves them, and
//! kills the service. What may not be is looked for in the buffers themselves ([`invariant`]); when all workers have
//! gone, nothing of them may be left in the service.
//!
//! | module | what it is |
//! |---|---|
//! | [`orchestrator`] | the run, from beginning to end |
//! | [`crew`] | the worker processes: start, kill, stop, watch |
//! | [`service`] | the service: restarts, and what is left in it |
//! | [`worker`], [`actor`] | a worker process, and a thread of it that locks |
//! | [`held`] | a grant: what is checked when it comes, and how it ends |
//! | [`header`] | what users say of themselves in a buffer |
//! | [`invariant`] | what may not be |
//! | [`control`] | the memory that all share beside the buffers |
//! | [`devices`] | work that goes on after an unlock, with a fence |

mod actor;
mod control;
mod crew;
mod devices;
mod header;
mod held;
mod invariant;
mod orchestrator;
mod service;
mod worker;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.split_first() {
        Some((verb, rest)) if verb == "run" => match orchestrator::Settings::of(rest) {
            Some(settings) => orchestrator::run(&settings),
            None => return usage(),
        },
        Some((verb, rest)) if verb == "worker" => {
            worker::run(rest).map(|()| true).map_err(Into::into)
        }
        _ => return usage(),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("buffersync-soak: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: buffersync-soak run [--seconds N] [--seed S] [--service PROGRAM]");
    ExitCode::from(2)
}

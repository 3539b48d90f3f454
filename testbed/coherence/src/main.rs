// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `buffersync-coherence prove [--accesses N] [--seed S] [WRONG SERVICE...]`: coherence shown by memory, as
//! `cargo xtask coherence` and `cargo xtask test` run it, in a guest with `swiotlb=force` and QEMU's edu device.
//!
//! A random history runs on the service, and then on services that are wrong on purpose, each until a word is wrong.
//! The last line is
//!
//! ```text
//! coherence: accesses=N dma=N lost=0 stale=0 wrong_services=N caught=N
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`prove`] | the services, one after the other, and the last line |
//! | [`history`] | what happens, decided from the seed |
//! | [`oracle`] | what each word must be, and the verdict on a wrong one |
//! | [`crew`], [`client`], [`protocol`] | the client processes, and what they are told |
//! | [`memory`] | memory that is not coherent |
//! | [`edu`] | the device |
//! | [`exporters`] | a command of its own: which operations do something |

mod client;
mod crew;
mod edu;
mod exporters;
mod history;
mod memory;
mod oracle;
mod protocol;
mod prove;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.split_first() {
        Some((verb, rest)) if verb == "prove" => match prove::Settings::of(rest) {
            Some(settings) => prove::run(&settings),
            None => return usage(),
        },
        Some((verb, [])) if verb == "exporters" => exporters::run(),
        Some((verb, rest)) if verb == "client" => {
            client::run(rest).map(|()| true).map_err(Into::into)
        }
        _ => return usage(),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("buffersync-coherence: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: buffersync-coherence exporters | prove [--accesses N] [--seed S] [WRONG SERVICE...]"
    );
    ExitCode::from(2)
}

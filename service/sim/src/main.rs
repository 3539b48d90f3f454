// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A simulation of the whole service: the arbiter, registry, sessions, fences, jobs and outbox as they are in
//! `service/src`, over a simulated kernel, on one thread, from a seed. `cargo xtask simulate` builds and starts it.
//!
//! | module | contents |
//! |---|---|
//! | [`plan`] | what a seed decides first: limits, clients, faults |
//! | [`simulation`] | the order of steps, restarts, the end |
//! | [`threads`], [`surroundings`] | turns of the service's threads; time, drivers, the allocator |
//! | [`calls`], [`locks`], [`unlocks`], [`arguments`] | calls, and what clients choose for them |
//! | [`clients`] | what clients do beside calls |
//! | [`books`], [`grants`], [`records`], [`fences`], [`marks`], [`refusals`] | the model: what was told, and what may follow from it |
//! | [`memory`] | what accesses must find |
//!
//! The last line says what was done. A violation says its seed, and `--seed N --verbose` prints its steps.

mod arguments;
mod books;
mod calls;
mod clients;
mod fences;
mod grants;
mod locks;
mod marks;
mod memory;
mod plan;
mod records;
mod refusals;
mod simulation;
mod surroundings;
mod threads;
mod unlocks;

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use buffersync_kernel::site::Faults;
use buffersync_kernel::world;

use simulation::{Figures, Simulation};

const HELP: &str = "\
buffersync-simulation [OPTIONS]
  --seconds N   runs seeds for so long (60)
  --seeds N     stops after so many seeds
  --calls N     stops after so many calls of clients
  --seed S      the first seed (1); without --seconds, --seeds and --calls only this one
  --length N    clients' calls of a usual history (200)
  --each-fault  runs the first seed without faults, and then with each system call failing in turn
  --fault N     no system call fails but the Nth of those that can
  --verbose     prints each step
  --keep-going  does not stop at a violation
";

/// Clients' calls of a usual history.
const LENGTH: u64 = 200;
/// Violations that are printed in full.
const SHOWN: u64 = 20;

#[derive(Debug)]
struct Options {
    seconds: Option<u64>,
    seeds: Option<u64>,
    calls: Option<u64>,
    first: Option<u64>,
    length: u64,
    each_fault: bool,
    fault: Option<u64>,
    verbose: bool,
    keep_going: bool,
}

impl Options {
    /// The options besides the seed that replay a history.
    fn how(&self, fault: Option<u64>) -> String {
        let length = if self.length == LENGTH {
            String::new()
        } else {
            format!(" --length {}", self.length)
        };
        let fault = fault.map(|nth| format!(" --fault {nth}")).unwrap_or_default();
        length + &fault
    }
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        seconds: None,
        seeds: None,
        calls: None,
        first: None,
        length: LENGTH,
        each_fault: false,
        fault: None,
        verbose: false,
        keep_going: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || {
            args.next().and_then(|value| value.parse().ok()).ok_or(format!("{arg} takes a number"))
        };
        match arg.as_str() {
            "--seconds" => options.seconds = Some(number()?),
            "--seeds" => options.seeds = Some(number()?),
            "--calls" => options.calls = Some(number()?),
            "--seed" => options.first = Some(number()?),
            "--length" => options.length = number()?,
            "--each-fault" => options.each_fault = true,
            "--fault" => options.fault = Some(number()?),
            "--verbose" => options.verbose = true,
            "--keep-going" => options.keep_going = true,
            _ => return Err(format!("unknown option {arg}")),
        }
    }
    Ok(options)
}

/// Runs one history. A panic is a violation.
fn run(seed: u64, options: &Options, faults: Option<Faults>) -> Result<Figures, String> {
    let simulation = Simulation::new(seed, options.length, faults, options.verbose);
    let ran = catch_unwind(AssertUnwindSafe(|| simulation.run()));
    ran.unwrap_or_else(|panic| {
        // Half-made states are not taken apart, only forgotten.
        std::mem::forget(simulation);
        world::attach(None, None);
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

#[derive(Default)]
struct Sum {
    seeds: u64,
    calls: u64,
    faults: u64,
    violations: u64,
}

impl Sum {
    fn add(&mut self, seed: u64, how: &str, ran: Result<Figures, String>) {
        self.seeds += 1;
        match ran {
            Ok(figures) => {
                self.calls += figures.calls;
                self.faults += figures.faults;
            }
            Err(why) => {
                self.violations += 1;
                if self.violations <= SHOWN {
                    println!("violation with seed {seed}{how}: {why}");
                    println!("  replay: cargo xtask simulate --seed {seed}{how} --verbose");
                }
            }
        }
    }
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            eprint!("{error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    // A violation prints the panic, once and with its seed.
    if !options.verbose {
        std::panic::set_hook(Box::new(|_| {}));
    }
    let begin = Instant::now();
    let mut sum = Sum::default();
    let first = options.first.unwrap_or(1);
    let single = options.first.is_some()
        && options.seconds.is_none()
        && options.seeds.is_none()
        && options.calls.is_none();
    if options.each_fault {
        each_fault(first, &options, &mut sum);
    } else {
        let limit = Duration::from_secs(
            options.seconds.unwrap_or(if options.seeds.or(options.calls).is_some() {
                u64::MAX
            } else {
                60
            }),
        );
        for seed in first.. {
            let ran = run(seed, &options, options.fault.map(Faults::Only));
            sum.add(seed, &options.how(options.fault), ran);
            let enough = options.seeds.is_some_and(|seeds| sum.seeds >= seeds)
                || options.calls.is_some_and(|calls| sum.calls >= calls);
            if single
                || enough
                || begin.elapsed() >= limit
                || sum.violations > 0 && !options.keep_going
            {
                break;
            }
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{:.0} calls a second, seeds {first} to {}",
        sum.calls as f64 / seconds,
        first + sum.seeds - 1
    );
    let Sum { seeds, calls, faults, violations } = sum;
    println!("simulate: seeds={seeds} calls={calls} faults={faults} violations={violations}");
    ExitCode::from(u8::from(violations > 0))
}

/// One history again and again, each time with another system call that fails.
fn each_fault(seed: u64, options: &Options, sum: &mut Sum) {
    let sites = run(seed, options, Some(Faults::None));
    let most = sites.as_ref().map_or(0, |figures| figures.sites);
    sum.add(seed, &options.how(None), sites);
    for nth in 1..=most {
        sum.add(seed, &options.how(Some(nth)), run(seed, options, Some(Faults::Only(nth))));
        if sum.violations > 0 && !options.keep_going {
            return;
        }
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The service and the wrong services, one after the other, and what was found.

use std::error::Error;
use std::path::{Path, PathBuf};

use buffersync_testbed_guest::stack::{patient, Stack};

use crate::edu::Edu;
use crate::history::{self, Event, Outcome};

/// A wrong service that so many accesses do not show is not noticed.
const WRONG_ACCESSES: u64 = 5_000;
/// A history of so many accesses has everything in it.
const WHOLE: u64 = 5_000;
const EVENTS: [(Event, &str); 14] = [
    (Event::Lock, "locks"),
    (Event::Wait, "waits"),
    (Event::Cancel, "cancelled"),
    (Event::Upgrade, "upgrades"),
    (Event::Downgrade, "downgrades"),
    (Event::Part, "parts"),
    (Event::Exchange, "exchanges"),
    (Event::ReleaseFence, "release fences"),
    (Event::AcquireFence, "acquire fences"),
    (Event::Eviction, "evictions"),
    (Event::Death, "deaths"),
    (Event::Torn, "torn"),
    (Event::NewGroup, "new groups"),
    (Event::Registration, "registered again"),
];

/// The command line.
pub struct Settings {
    accesses: u64,
    seed: u64,
    wrong: Vec<String>,
}

impl Settings {
    /// Reads it.
    pub fn of(args: &[String]) -> Option<Self> {
        let mut settings = Self { accesses: 10_000, seed: 1, wrong: Vec::new() };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--accesses" => settings.accesses = args.next()?.parse().ok()?,
                "--seed" => settings.seed = args.next()?.parse().ok()?,
                option if option.starts_with('-') => return None,
                name => settings.wrong.push(name.to_string()),
            }
        }
        // Without both, nothing would be shown.
        (settings.accesses > 0 || !settings.wrong.is_empty()).then_some(settings)
    }
}

/// So many accesses have one comparison at least. (Usually there are three for four: a device that writes seldom reads first.)
const COMPARED: u64 = 2;

/// True if nothing was lost or stale, and all wrong services were caught.
pub fn run(settings: &Settings) -> Result<bool, Box<dyn Error>> {
    let own = std::env::current_exe()?;
    let bin = own.parent().ok_or("no folder of programs")?;
    let mut edu = Edu::open()?;
    let mut good = true;
    let mut right = Outcome::default();
    if settings.accesses > 0 {
        right = attempt(&mut edu, bin, None, settings.accesses, settings.seed)?;
        println!("history: comparisons {}, {}", right.compared, events(&right));
        if let Some(violation) = &right.violation {
            println!("seed {}, access {}: {violation}", settings.seed, right.accesses);
        }
        let missing = EVENTS.iter().find(|(event, _)| !right.events.contains_key(event));
        if let (Some((_, what)), true) = (missing, right.accesses >= WHOLE) {
            println!("nothing of this has happened: {what}");
            good = false;
        }
        // A service that calls every content torn would excuse all.
        if right.compared < right.accesses / COMPARED {
            println!("only {} comparisons for {} accesses", right.compared, right.accesses);
            good = false;
        }
    }
    let mut caught = 0;
    for name in &settings.wrong {
        let outcome = attempt(&mut edu, bin, Some(name), WRONG_ACCESSES, settings.seed);
        caught += u64::from(report(name, outcome));
    }
    let Outcome { accesses, dma, lost, stale, .. } = right;
    let wrong = settings.wrong.len() as u64;
    println!(
        "coherence: accesses={accesses} dma={dma} lost={lost} stale={stale} wrong_services={wrong} \
         caught={caught}"
    );
    Ok(good && lost + stale == 0 && caught == wrong)
}

/// Says how a wrong service has done; true if it was caught by what it did to the memory.
fn report(name: &str, outcome: Result<Outcome, Box<dyn Error>>) -> bool {
    match outcome {
        Ok(Outcome { accesses, lost, violation: Some(_), .. }) => {
            let what = if lost > 0 { "lost" } else { "stale" };
            println!("wrong service {name}: caught by access {}: {what}", accesses + 1);
            true
        }
        Ok(outcome) => {
            println!("wrong service {name}: NOT CAUGHT in {} accesses", outcome.accesses);
            false
        }
        Err(error) => {
            println!("wrong service {name}: NOT CAUGHT, but {error}");
            false
        }
    }
}

/// A history on one service. The buffers are new each time, since a service does not trust those that are older than
/// itself.
fn attempt(
    edu: &mut Edu,
    bin: &Path,
    fault: Option<&str>,
    accesses: u64,
    seed: u64,
) -> Result<Outcome, Box<dyn Error>> {
    let out =
        std::env::var_os("BUFFERSYNC_OUT").map_or_else(|| PathBuf::from("/out"), PathBuf::from);
    std::env::set_var("BUFFERSYNC_FAULT", fault.unwrap_or_default());
    let program = match fault {
        Some(_) => bin.join("../wrong/arbiter"),
        None => bin.join("vendor.buffersync-service"),
    };
    let mut stack = Stack::start_with(bin, &program, &out.join("log"), &patient())?;
    let outcome = history::run(edu, accesses, seed);
    if !stack.service_is_alive() {
        return Err(format!("the service has ended:\n{}", stack.service_log()).into());
    }
    Ok(outcome?)
}

fn events(outcome: &Outcome) -> String {
    let count = |event| outcome.events.get(event).copied().unwrap_or_default();
    EVENTS
        .iter()
        .map(|(event, what)| format!("{what} {}", count(event)))
        .collect::<Vec<_>>()
        .join(", ")
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask bench`: the lock table beside other locks here, the service beside what people would use
//! instead in the testbed. All peers in one run; what is said are ratios.
//!
//! | part | what it is |
//! |---|---|
//! | `ratios` | what is compared with what, the goals, and the bounds that `--check` keeps |
//! | `report` | the tables |
//! | `floods` | what one uid's floods of calls cost another: a measurement of its own |
//! | `starts` | several starts of one measurement made one |

mod floods;
mod ratios;
mod report;
mod starts;

use std::fs;
use std::path::Path;
use std::time::Duration;

use buffersync_testbed::checkout::{cache, out, root, target};
use buffersync_testbed::command::made;
use buffersync_testbed::{programs, Accel, Failure, Run, Testbed, Where};
use serde_json::Value;

/// Where the guest's program leaves what it has measured.
const RAW: &str = "bench.json";
/// Before the number of a start: what `buffersync-bench alone` printed then.
const ALONE: &str = "alone.json";
/// See [`starts`].
const STARTS: usize = 3;

/// Runs both, or the one that is named: `engine`, `service`; `cost` is a part of `engine`, and `floods` is run by its
/// name alone. With `check` the exit status is 1 if a ratio of the service is beyond its bound.
pub fn run(
    place: Where,
    limit: Option<Duration>,
    check: bool,
    which: &[String],
) -> Result<i32, Failure> {
    let which: Vec<&str> = which.iter().map(String::as_str).collect();
    let (engine, service) = match which[..] {
        [] => (!check, true),
        ["engine"] => (true, false),
        ["cost"] => return run_engine(&["--bench", "cost"]),
        ["service"] => (false, true),
        ["floods", ref only @ ..] => return floods::run(place, limit, only),
        _ => return Err(Failure("bench takes engine, cost, service or floods".into())),
    };
    let mut status = 0;
    if engine {
        status = run_engine(&[])?;
    }
    if service {
        let measured = measure(place, limit)?;
        let ratios = ratios::of(&measured, &bounds()?, place != Where::Native).map_err(Failure)?;
        let text = report::markdown(&measured, &ratios, &machine(place));
        let folder = target().join("bench");
        made(fs::create_dir_all(&folder), "target/bench")?;
        made(fs::write(folder.join("service.md"), &text), "service.md")?;
        made(fs::copy(out().join(RAW), folder.join("service.json")), "service.json")?;
        println!("{text}\n(target/bench: service.md, service.json)");
        let beyond: Vec<&str> = ratios
            .iter()
            .filter(|ratio| !ratio.is_within())
            .map(|ratio| ratio.name.as_str())
            .collect();
        if check && !beyond.is_empty() {
            println!("bench: beyond their bounds: {beyond:?}");
            status = 1;
        }
    }
    Ok(status)
}

fn run_engine(which: &[&str]) -> Result<i32, Failure> {
    let mut cargo = programs::cargo(&["bench", "--quiet", "--package", "buffersync-engine-bench"]);
    cargo.args(which);
    cargo.env("CRITERION_HOME", target().join("criterion"));
    let status = cargo.status().map_err(|error| Failure(format!("cargo bench: {error}")))?;
    Ok(status.code().unwrap_or(1))
}

/// Two boots: what nobody contends is measured in a guest whose clock counts instructions, all else in a guest with
/// a clock of its own.
fn measure(place: Where, limit: Option<Duration>) -> Result<Value, Failure> {
    let stage = programs::stage(&programs::release_programs()?)?;
    let out = out();
    let _ = fs::remove_file(out.join(RAW));
    let limit = limit.unwrap_or(Duration::from_secs(900));
    let run = |testbed: Testbed, what: &str| {
        let command = format!("cd /tmp; bin=$BUFFERSYNC_STAGE/bin; {what}");
        let run = Run { command: &command, stage: &stage, out: &out, limit };
        let mut demo = String::new();
        let status = testbed.run(&run, &mut |line| {
            println!("{line}");
            if line.starts_with("demo: ") {
                demo = line.to_string();
            }
        })?;
        (status == 0)
            .then_some(demo)
            .ok_or_else(|| Failure(format!("the measurement ended with {status}")))
    };
    let counted = Testbed::prepare(counted(place), &cache())?;
    let starts = format!(
        "for start in $(seq {STARTS}); do \
         echo bench: alone, start $start of {STARTS}; \
         $bin/buffersync-stack -- $bin/buffersync-bench alone > $BUFFERSYNC_OUT/{ALONE}.$start || exit 1; \
         done"
    );
    run(counted, &starts)?;
    let rest = format!(
        "$bin/buffersync-stack -- $bin/buffersync-bench run $BUFFERSYNC_OUT/{RAW} || exit 1; {} /tmp/demo",
        programs::DEMO
    );
    let demo = run(Testbed::prepare(place, &cache())?.with_devices(), &rest)?;
    let text = made(fs::read_to_string(out.join(RAW)), RAW)?;
    let measured = serde_json::from_str(&text);
    let mut measured: Value = measured.map_err(|error| Failure(format!("{RAW}: {error}")))?;
    measured["demo"] = figures_of(&demo);
    measured["alone"] = alone(&out)?;
    made(fs::write(out.join(RAW), format!("{measured:#}\n")), RAW)?;
    Ok(measured)
}

/// The place for ratios that have to come out again: its clock counts instructions.
fn counted(place: Where) -> Where {
    if place == Where::Native {
        place
    } else {
        Where::Guest(Accel::Counted)
    }
}

/// The cost of an uncontended lock, over all starts.
fn alone(out: &Path) -> Result<Value, Failure> {
    let starts = (1..=STARTS).map(|start| {
        let file = format!("{ALONE}.{start}");
        let text = made(fs::read_to_string(out.join(&file)), &file)?;
        serde_json::from_str(&text).map_err(|error| Failure(format!("{file}: {error}")))
    });
    let starts: Result<Vec<Value>, Failure> = starts.collect();
    starts::mean(&starts?).map_err(Failure)
}

/// The figures of the demo's last line.
fn figures_of(line: &str) -> Value {
    let pairs = line.split_whitespace().filter_map(|pair| pair.split_once('='));
    let figure =
        |(key, value): (&str, &str)| Some((key.to_string(), value.parse::<u64>().ok()?.into()));
    Value::Object(pairs.filter_map(figure).collect())
}

fn bounds() -> Result<Value, Failure> {
    let path = "testbed/bench/bounds.json";
    let text = made(fs::read_to_string(root().join(path)), path)?;
    serde_json::from_str(&text).map_err(|error| Failure(format!("{path}: {error}")))
}

/// On what it was measured.
fn machine(place: Where) -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let how = match place {
        Where::Native => "its own kernel".into(),
        Where::Guest(accel) => format!("Debian's 6.12 kernel in QEMU ({accel:?}), 2 processors"),
    };
    format!("{cores} x {}; {how}", model.unwrap_or("unknown processor"))
}

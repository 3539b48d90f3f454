// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask bench -- floods`: what one uid's floods cost another, in a guest whose clock counts instructions.
//!
//! Its times mean nothing by themselves; only the ratios to the control do.

use std::fmt::Write;
use std::fs;
use std::time::Duration;

use buffersync_testbed::checkout::{cache, out, target};
use buffersync_testbed::command::made;
use buffersync_testbed::{programs, Failure, Run, Testbed, Where};
use serde_json::Value;

use crate::counted;
use crate::ratios::figure;

/// A flood may make the victim's times this much longer than threads that only burn processor time do.
const GOAL: f64 = 1.2;
const FLOODS: &str = "floods.json";
const NEWCOMER: &str = "newcomer.json";

/// Measures, and prints the tables; `only` names floods by a word of their name. In the guest whatever `place` says
/// about its accelerator: only this clock gives the same ratios again.
pub fn run(place: Where, limit: Option<Duration>, only: &[&str]) -> Result<i32, Failure> {
    let testbed = Testbed::prepare(counted(place), &cache())?;
    let stage = programs::stage(&programs::release_programs()?)?;
    let out = out();
    let words: String = only.iter().map(|word| format!(" '{word}'")).collect();
    let floods = format!(
        "$bin/buffersync-stack -- $bin/buffersync-bench floods $BUFFERSYNC_OUT/{FLOODS}{words}"
    );
    // Who waits and who has a fence pending must still do so when the newcomer comes.
    let newcomer = format!(
        "$bin/buffersync-stack --service-arg --max-hold-ms --service-arg 600000 -- \
         $bin/buffersync-bench newcomer $BUFFERSYNC_OUT/{NEWCOMER}"
    );
    let parts = match only {
        [] => vec![floods, newcomer],
        ["newcomer"] => vec![newcomer],
        _ => vec![floods],
    };
    for file in [FLOODS, NEWCOMER] {
        let _ = fs::remove_file(out.join(file));
    }
    let command = format!("cd /tmp; bin=$BUFFERSYNC_STAGE/bin; {}", parts.join(" && "));
    let limit = limit.unwrap_or(Duration::from_secs(1800));
    let run = Run { command: &command, stage: &stage, out: &out, limit };
    let status = testbed.run(&run, &mut |line| println!("{line}"))?;
    if status != 0 {
        return Err(Failure(format!("the measurement ended with {status}")));
    }
    let mut text = String::new();
    for (file, table) in
        [(FLOODS, floods_table as fn(&Value) -> String), (NEWCOMER, newcomer_table)]
    {
        let Ok(measured) = fs::read_to_string(out.join(file)) else { continue };
        let measured = serde_json::from_str(&measured);
        text += &table(&measured.map_err(|error| Failure(format!("{file}: {error}")))?);
    }
    let folder = target().join("bench");
    made(fs::create_dir_all(&folder), "target/bench")?;
    made(fs::write(folder.join("floods.md"), &text), "floods.md")?;
    println!("{text}\n(target/bench: floods.md)");
    Ok(0)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn floods_table(measured: &Value) -> String {
    let mut text = format!(
        "## One uid floods, another one locks and unlocks\n\n\
         {} threads. The figures are medians of the rounds, and the ratios are to the median of all measurements of the \
         control. The goal is {GOAL}.\n\n\
         | flood | calls/s | refused | p50, us | p99, us | p50 ratio | p99 ratio | |\n\
         |---|---|---|---|---|---|---|---|\n",
        measured["threads"]
    );
    let rows = || measured["floods"].as_array().into_iter().flatten();
    let rounds = |row: &'_ Value| row["rounds"].as_array().cloned().unwrap_or_default();
    let all = |rounds: &[Value], path: &str| -> Vec<f64> {
        rounds.iter().map(|round| figure(round, path).unwrap_or(f64::NAN)).collect()
    };
    let every: Vec<Value> = rows().flat_map(rounds).collect();
    let control = |what: &str| all(&every, &format!("control/victim/{what}"));
    let (middle, slow) = (median(control("median")), median(control("p99")));
    for row in rows() {
        let rounds = rounds(row);
        let of = |path: &str| median(all(&rounds, path));
        let ratios = [of("flood/victim/median") / middle, of("flood/victim/p99") / slow];
        let _ = writeln!(
            text,
            "| {} | {:.0} | {:.0} % | {:.1} | {:.1} | {:.2} | {:.2} | {} |",
            row["kind"].as_str().unwrap_or("?"),
            of("flood/calls"),
            100.0 * of("flood/refused") / of("flood/calls").max(1.0),
            of("flood/victim/median") / 1e3,
            of("flood/victim/p99") / 1e3,
            ratios[0],
            ratios[1],
            if ratios.iter().all(|ratio| *ratio <= GOAL) { "met" } else { "**not met**" },
        );
    }
    let range = |what: &str| {
        let values = control(what);
        let least = values.iter().copied().fold(f64::INFINITY, f64::min) / 1e3;
        let most = values.iter().copied().fold(0.0, f64::max) / 1e3;
        format!("{:.1} ({least:.1} .. {most:.1})", median(values) / 1e3)
    };
    let name = measured["control"].as_str().unwrap_or("control");
    let (median, p99) = (range("median"), range("p99"));
    let _ = writeln!(text, "| ({name}) | | | {median} | {p99} | 1 | 1 | |\n");
    text
}

fn newcomer_table(measured: &Value) -> String {
    let mut text = format!(
        "## A newcomer beside {} uids at their quotas\n\n\
         They have {} groups, {} buffers, {} waiting locks and {} pending fences; the service has {} of {} \
         descriptors open.\n\n\
         | the newcomer's step | |\n|---|---|\n",
        measured["uids"],
        measured["groups"],
        measured["buffers"],
        measured["waiting"],
        measured["fences"],
        measured["descriptors"],
        measured["limit"].as_str().unwrap_or("?"),
    );
    for step in measured["steps"].as_array().into_iter().flatten() {
        let outcome = match step["ns"].as_f64() {
            Some(time) => format!("done, {:.1} us", time / 1e3),
            None => "**not done**".into(),
        };
        let _ = writeln!(text, "| {} | {outcome} |", step["step"].as_str().unwrap_or("?"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ratios_are_to_the_median_of_all_controls() {
        let victim = |time: u64| json!({ "median": time, "p99": 10 * time });
        let round = |control: u64, flood: u64| {
            json!({ "control": { "victim": victim(control) },
                    "flood": { "calls": 100, "refused": 25, "victim": victim(flood) } })
        };
        // Of some measurements of the control the victim is lucky.
        let (one, other) = ([round(100, 119), round(1, 500), round(100, 7)], [round(100, 300)]);
        let table = floods_table(&json!({ "threads": 8, "control": "burn",
            "floods": [{ "kind": "a", "rounds": one }, { "kind": "b", "rounds": other }] }));
        assert!(table.contains("| a | 100 | 25 % | 0.1 | 1.2 | 1.19 | 1.19 | met |"), "{table}");
        assert!(table.contains("| 3.00 | 3.00 | **not met** |"), "{table}");
    }

    #[test]
    fn a_step_that_the_newcomer_did_not_get_is_told() {
        let table = newcomer_table(
            &json!({ "steps": [{ "step": "add", "ns": 1500 }, { "step": "lock" }] }),
        );
        assert!(
            table.contains("| add | done, 1.5 us |") && table.contains("| lock | **not done** |")
        );
    }
}

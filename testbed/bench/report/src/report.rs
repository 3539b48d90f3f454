// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The tables of a run, as Markdown.

use std::fmt::Write;

use serde_json::Value;

use super::ratios::{figure, Ratio};

/// All tables.
pub fn markdown(measured: &Value, ratios: &[Ratio], machine: &str) -> String {
    let mut text = format!("# The service beside its peers\n\n{machine}\n\n");
    goals(&mut text, ratios);
    alone(&mut text, measured);
    handover(&mut text, measured);
    scale(&mut text, measured);
    rest(&mut text, measured);
    text
}

fn at(measured: &Value, path: &str) -> f64 {
    figure(measured, path).unwrap_or(f64::NAN)
}

fn goals(text: &mut String, ratios: &[Ratio]) {
    text.push_str("| ratio | now | goal | bound | |\n|---|---|---|---|---|\n");
    for ratio in ratios {
        let verdict = match (ratio.is_met(), ratio.is_within()) {
            (true, _) => "met",
            (false, true) => "not yet",
            (false, false) => "**beyond**",
        };
        let Ratio { name, value, goal, bound } = ratio;
        let _ = writeln!(text, "| {name} | {value:.2} | {goal} | {bound} | {verdict} |");
    }
}

fn alone(text: &mut String, measured: &Value) {
    text.push_str(
        "\n## Nobody else wants the buffers\n\n\
         | lock and unlock | median, us | p99, us | x two empty calls |\n|---|---|---|---|\n",
    );
    let calls = at(measured, "alone/peers/two empty calls/median");
    let order = measured["alone"]["order"].as_array().into_iter().flatten();
    for name in order.filter_map(Value::as_str) {
        let peer = |what: &str| at(measured, &format!("alone/peers/{name}/{what}"));
        let (median, p99) = (peer("median"), peer("p99"));
        let _ = writeln!(
            text,
            "| {name} | {:.1} | {:.1} | {:.3} |",
            median / 1e3,
            p99 / 1e3,
            median / calls
        );
    }
}

fn handover(text: &mut String, measured: &Value) {
    text.push_str(
        "\n## Everybody wants the buffer\n\n\
         | clients | unlock to grant, median us | p99, us | x one empty call and a pipe | longest / usual wait |\n\
         |---|---|---|---|---|\n",
    );
    let floor = at(measured, "handover/floor/median");
    let p99 = at(measured, "handover/floor/p99");
    let _ = writeln!(text, "| (a call and a pipe) | {:.1} | {:.1} | 1 | |", floor / 1e3, p99 / 1e3);
    for clients in ["2", "8", "64"] {
        let of = |what: &str| at(measured, &format!("handover/clients/{clients}/{what}"));
        let median = of("latency/median");
        let _ = writeln!(
            text,
            "| {clients} | {:.1} | {:.1} | {:.2} | {:.2} |",
            median / 1e3,
            of("latency/p99") / 1e3,
            median / floor,
            of("longest_wait") / of("median_wait")
        );
    }
}

fn scale(text: &mut String, measured: &Value) {
    text.push_str(
        "\n## Many clients, each with its own buffer\n\n\
         | clients | locks and unlocks a second | pairs of empty calls | ratio |\n|---|---|---|---|\n",
    );
    for row in measured["scale"].as_array().into_iter().flatten() {
        let of = |what: &str| row[what].as_f64().unwrap_or(f64::NAN);
        let (locks, calls) = (of("locks"), of("call_pairs"));
        let clients = &row["clients"];
        let _ = writeln!(text, "| {clients} | {locks:.0} | {calls:.0} | {:.2} |", calls / locks);
    }
}

/// Cache maintenance, which is by whole buffers: `DMA_BUF_IOCTL_SYNC` knows no ranges.
fn cache(text: &mut String, measured: &Value) {
    let frames = at(measured, "demo/frames");
    text.push_str(
        "## Cache maintenance in the demo's pipeline\n\n\
         | | operations a frame |\n|---|---|\n",
    );
    for (name, figure) in [
        ("the service", "demo/cache_ops"),
        ("START and END around each access", "demo/bracketing_ops"),
    ] {
        let each = at(measured, figure) / frames;
        let _ = writeln!(text, "| {name} | {each:.1} |");
    }
    text.push('\n');
}

fn rest(text: &mut String, measured: &Value) {
    let of = |path: &str| at(measured, path);
    let (groups, by_hand) = (of("pipeline/buffersync"), of("pipeline/by_hand"));
    let _ = writeln!(
        text,
        "\n## camera -> codec -> preview, frames of 16 KiB\n\n\
         | | frames a second |\n|---|---|\n| groups of the service | {groups:.0} |\n\
         | fcntl locks and ioctls by hand | {by_hand:.0} ({:.1} times as many) |\n",
        by_hand / groups
    );
    cache(text, measured);
    let _ = writeln!(text, "## The service\n\n| | |\n|---|---|");
    for (name, path, unit) in [
        ("processor, a lock and an unlock of 4", "cost/time/lock_and_unlock", "ns"),
        ("processor, two empty calls", "cost/time/two_calls", "ns"),
        ("memory, empty", "cost/memory", "bytes"),
        ("memory, each group", "cost/bytes_per_group", "bytes"),
        ("memory, each buffer", "cost/bytes_per_buffer", "bytes"),
        ("descriptors, each group", "cost/descriptors_per_group", ""),
        ("descriptors, each buffer", "cost/descriptors_per_buffer", ""),
        ("threads", "cost/threads", ""),
        ("wake-ups in 4 idle seconds", "cost/idle_wakes", ""),
    ] {
        let _ = writeln!(text, "| {name} | {} {unit} |", of(path));
    }
}

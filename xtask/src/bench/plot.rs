// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The cost of a lock and an unlock as bars, on a logarithmic scale: median, and on to the p99.

use std::fmt::Write;

use serde_json::Value;

use super::ratios::figure;

const LEFT: f64 = 190.0;
const WIDTH: f64 = 560.0;
const ROW: f64 = 22.0;
const TOP: f64 = 46.0;
/// The scale, in microseconds: from 0.1 to 100 000.
const DECADES: (i32, i32) = (-1, 5);

/// Where a time is on the scale.
fn x(micros: f64) -> f64 {
    let (low, high) = (f64::from(DECADES.0), f64::from(DECADES.1));
    let decade = micros.max(1e-3).log10().clamp(low, high);
    LEFT + (decade - low) / (high - low) * WIDTH
}

/// The picture.
pub fn svg(measured: &Value) -> String {
    let order = measured["alone"]["order"].as_array().into_iter().flatten();
    let names: Vec<&str> = order.filter_map(Value::as_str).collect();
    let height = TOP + ROW * names.len() as f64 + 34.0;
    let right = LEFT + WIDTH + 80.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{right}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"14\">lock and unlock, nobody else wants the buffers: \
         median, and p99 (us)</text>\n"
    );
    for decade in DECADES.0..=DECADES.1 {
        let (at, bottom) = (x(10f64.powi(decade)), height - 28.0);
        let label = 10f64.powi(decade);
        let _ = writeln!(
            text,
            "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#666\">{label}</text>",
            bottom + 16.0
        );
    }
    for (nth, name) in names.iter().enumerate() {
        bar(&mut text, measured, name, TOP + ROW * nth as f64);
    }
    text.push_str("</svg>\n");
    text
}

fn bar(text: &mut String, measured: &Value, name: &str, top: f64) {
    let of = |what: &str| figure(measured, &format!("alone/peers/{name}/{what}")).unwrap_or(0.0);
    let (median, p99) = (of("median") / 1e3, of("p99") / 1e3);
    let colour = match name.split(',').next() {
        Some("buffersync" | "exchange") => "#2a6fb0",
        Some("ping" | "empty call" | "two empty calls" | "two empty calls and poll") => "#8a8a8a",
        _ => "#d08a2e",
    };
    let (middle, low, high) = (top + ROW / 2.0, x(median), x(p99));
    let _ = writeln!(
        text,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>\
         <rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>\
         <line x1=\"{low:.1}\" y1=\"{middle:.1}\" x2=\"{high:.1}\" y2=\"{middle:.1}\" stroke=\"{colour}\" \
         stroke-width=\"2\"/><text x=\"{:.1}\" y=\"{:.1}\" fill=\"#333\">{median:.1}</text>",
        LEFT - 8.0,
        middle + 4.0,
        top + 3.0,
        low - LEFT,
        ROW - 6.0,
        high + 6.0,
        middle + 4.0
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_peer_has_a_bar_within_the_picture() {
        let peers = json!({ "a": { "median": 1000, "p99": 5e12 }, "buffersync, 4": { "median": 0, "p99": 1 } });
        let picture = svg(&json!({ "alone": { "order": ["a", "buffersync, 4"], "peers": peers } }));
        roxmltree::Document::parse(&picture).unwrap();
        assert!(picture.contains(">a</text>") && picture.contains(">buffersync, 4</text>"));
        assert_eq!(x(0.1), LEFT);
        assert!(x(1e12) <= LEFT + WIDTH && x(0.0) >= LEFT);
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Draws who had which buffer when: a lane for each process and each device, a colour for each
//! buffer.
//!
//! Two panels on one page: a few frames in the midst of the run, large enough to follow one frame
//! from process to process by its number; and the time around the eviction.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::span::Span;

type Spans = BTreeMap<&'static str, Vec<Span>>;

const LANES: [Lane; 6] = [
    Lane { name: "camera", role: "camera", device: false },
    Lane { name: "its sensor", role: "camera", device: true },
    Lane { name: "codec", role: "codec", device: false },
    Lane { name: "its encoder", role: "codec", device: true },
    Lane { name: "preview", role: "preview", device: false },
    Lane { name: "stuck", role: "stuck", device: false },
];
const WIDTH: f64 = 1400.0;
const LEFT: f64 = 90.0;
const LANE: f64 = 52.0;
const BAR: f64 = 22.0;
/// Frames in the first panel.
const FRAMES: u64 = 8;

/// What is drawn beside each other.
struct Lane {
    name: &'static str,
    role: &'static str,
    /// What its device does behind a fence, not its locks.
    device: bool,
}

/// A colour for each buffer: the camera's are warm, the codec's cold.
fn colour(buffer: &str) -> &'static str {
    match buffer {
        "in0" => "#e4572e",
        "in1" => "#f3a712",
        "in2" => "#c44569",
        "in3" => "#a0643c",
        "out0" => "#2e86ab",
        "out1" => "#3bb273",
        "out2" => "#7768ae",
        _ => "#4d9de0",
    }
}

/// The whole picture.
pub fn draw(spans: &Spans) -> String {
    let height = 2.0 * (LANES.len() as f64 * LANE + 90.0) + 60.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <defs><pattern id=\"wait\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
         patternTransform=\"rotate(45)\"><rect width=\"2\" height=\"6\" fill=\"#999\"/></pattern>\
         </defs>\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    let (from, to) = busy_window(spans);
    let mut top = 30.0;
    top = panel(&mut svg, spans, (from, to), top, "A few frames, from process to process");
    if let Some(stuck) = spans.get("stuck").and_then(|spans| spans.first()) {
        let window = (stuck.asked.saturating_sub(150_000_000), stuck.ended + 250_000_000);
        let title = "A holder that never lets go: evicted at its limit of 500 ms";
        top = panel(&mut svg, spans, window, top + 20.0, title);
    }
    legend(&mut svg, top + 10.0);
    svg.push_str("</svg>\n");
    svg
}

/// From the camera's request for some frame in the first third to the preview's end a few later.
fn busy_window(spans: &Spans) -> (u64, u64) {
    let of = |role: &str, sequence: u64| {
        spans.get(role)?.iter().find(|span| span.sequence == Some(sequence))
    };
    let frames = spans.get("preview").map_or(0, Vec::len) as u64;
    let first = frames / 5;
    let from = of("camera", first).map_or(0, |span| span.asked);
    let last = (first + FRAMES - 1).min(frames.saturating_sub(1));
    let to = of("preview", last).map_or(from + 1, |span| span.ended);
    (from, to.max(from + 1))
}

/// Draws one window of time; returns where it ends on the page.
fn panel(svg: &mut String, spans: &Spans, window: (u64, u64), top: f64, title: &str) -> f64 {
    let (from, to) = window;
    let x = |time: u64| {
        let time = time.clamp(from, to) - from;
        LEFT + time as f64 / (to - from) as f64 * (WIDTH - LEFT - 20.0)
    };
    text(svg, LEFT, top, "start", "#222", 15, title);
    let top = top + 14.0;
    let bottom = top + LANE * LANES.len() as f64;
    axis(svg, window, &x, top, bottom);
    for (lane, Lane { name, role, device }) in LANES.iter().enumerate() {
        let y = top + LANE * lane as f64;
        let _ =
            writeln!(svg, "<line x1=\"0\" y1=\"{y}\" x2=\"{WIDTH}\" y2=\"{y}\" stroke=\"#ddd\"/>");
        text(svg, 10.0, y + LANE / 2.0 + 4.0, "start", "#222", 13, name);
        let all = spans.get(*role).into_iter().flatten();
        let shown = all.filter(|span| span.ended.max(span.work.1) > from && span.asked < to);
        if *device {
            // The waits first, so that they are behind the work.
            shown.clone().for_each(|span| device_waits(svg, span, &x, y));
            shown.for_each(|span| device_works(svg, span, &x, y));
        } else {
            shown.for_each(|span| hold(svg, span, &x, y));
        }
    }
    bottom + 40.0
}

fn axis(svg: &mut String, (from, to): (u64, u64), x: &dyn Fn(u64) -> f64, top: f64, bottom: f64) {
    let millis = (to - from) / 1_000_000;
    let steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
    let step = steps.into_iter().find(|step| millis / step <= 16).unwrap_or(2000);
    let mut at = 0;
    while at <= millis {
        let position = x(from + at * 1_000_000);
        let _ = writeln!(
            svg,
            "<line x1=\"{position:.1}\" y1=\"{top}\" x2=\"{position:.1}\" y2=\"{bottom}\" \
             stroke=\"#eee\"/>"
        );
        text(svg, position, bottom + 16.0, "middle", "#666", 11, &format!("{at} ms"));
        at += step;
    }
}

/// A wait, and the hold that follows: a bar for each buffer, one below the other.
fn hold(svg: &mut String, span: &Span, x: &dyn Fn(u64) -> f64, lane: f64) {
    let (asked, granted, ended) = (x(span.asked), x(span.granted), x(span.ended));
    for (y, buffer) in rows(span, lane) {
        let _ = writeln!(
            svg,
            "<rect x=\"{asked:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" \
             fill=\"url(#wait)\" stroke=\"{}\" stroke-width=\"0.6\"/>",
            y + 6.0,
            (granted - asked).max(0.3),
            BAR - 12.0,
            colour(buffer),
        );
        let width = (ended - granted).max(0.8);
        let _ = writeln!(
            svg,
            "<rect x=\"{granted:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\" rx=\"2\" \
             fill=\"{}\"><title>{buffer}</title></rect>",
            y + 1.0,
            BAR - 2.0,
            colour(buffer),
        );
        label(svg, span, buffer, (granted, width), y);
    }
    if span.evicted {
        let _ = writeln!(
            svg,
            "<line x1=\"{ended:.1}\" y1=\"{:.1}\" x2=\"{ended:.1}\" y2=\"{:.1}\" stroke=\"#d00\" \
             stroke-width=\"3\"/>",
            lane + 6.0,
            lane + LANE - 6.0
        );
        text(svg, ended + 6.0, lane + LANE / 2.0 + 4.0, "start", "#d00", 13, "evicted");
    }
}

/// From the unlock to the beginning of the device's work.
fn device_waits(svg: &mut String, span: &Span, x: &dyn Fn(u64) -> f64, lane: f64) {
    let (ended, began) = (x(span.ended), x(span.work.0));
    for (y, buffer) in rows(span, lane) {
        let (middle, colour) = (y + BAR / 2.0, colour(buffer));
        let _ = writeln!(
            svg,
            "<line x1=\"{ended:.1}\" y1=\"{middle:.1}\" x2=\"{began:.1}\" y2=\"{middle:.1}\" \
             stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"2 3\"/>"
        );
    }
}

/// The device's work. At its end the fence signals.
fn device_works(svg: &mut String, span: &Span, x: &dyn Fn(u64) -> f64, lane: f64) {
    let (began, done) = (x(span.work.0), x(span.work.1));
    let width = (done - began).max(0.8);
    for (y, buffer) in rows(span, lane) {
        let _ = writeln!(
            svg,
            "<rect class=\"device\" x=\"{began:.1}\" y=\"{:.1}\" width=\"{width:.1}\" \
             height=\"{:.1}\" rx=\"8\" fill=\"{}\"/>",
            y + 1.0,
            BAR - 2.0,
            colour(buffer),
        );
        label(svg, span, buffer, (began, width), y);
    }
}

/// Where the bar of each buffer begins, one below the other.
fn rows(span: &Span, lane: f64) -> impl Iterator<Item = (f64, &String)> {
    let count = span.buffers.len().max(1) as f64;
    let first = lane + LANE / 2.0 - count * BAR / 2.0;
    span.buffers.iter().enumerate().map(move |(row, buffer)| (first + row as f64 * BAR, buffer))
}

/// Names a bar, if it is long enough.
fn label(svg: &mut String, span: &Span, buffer: &str, (from, width): (f64, f64), y: f64) {
    let label = match span.sequence {
        Some(sequence) if width > 62.0 => format!("{buffer} #{sequence}"),
        Some(sequence) => format!("{sequence}"),
        None => format!("{buffer}, never unlocked"),
    };
    if width > 8.0 * label.len() as f64 {
        text(svg, from + width / 2.0, y + BAR / 2.0 + 4.0, "middle", "white", 12, &label);
    }
}

fn legend(svg: &mut String, y: f64) {
    let mut x = LEFT;
    for buffer in ["in0", "in1", "in2", "in3", "out0", "out1", "out2", "out3"] {
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{:.1}\" width=\"16\" height=\"12\" rx=\"2\" fill=\"{}\"/>",
            y - 10.0,
            colour(buffer)
        );
        text(svg, x + 22.0, y, "start", "#222", 12, buffer);
        x += 76.0;
    }
    let _ = writeln!(
        svg,
        "<rect x=\"{x}\" y=\"{:.1}\" width=\"24\" height=\"12\" fill=\"url(#wait)\" \
         stroke=\"#999\"/>",
        y - 10.0
    );
    text(svg, x + 32.0, y, "start", "#222", 12, "waiting for the lock; solid: held. Devices, behind a fence: dotted, they wait; round, they work");
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, fill: &str, size: u32, content: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{fill}\" \
         font-size=\"{size}\">{content}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(asked: u64, granted: u64, ended: u64, sequence: Option<u64>, buffer: &str) -> Span {
        let evicted = sequence.is_none();
        let (work, buffers) = ((ended, ended + 400_000), vec![buffer.into()]);
        Span { asked, granted, ended, work, acquired: None, sequence, evicted, buffers }
    }

    #[test]
    fn the_picture_has_every_lane_and_the_eviction() {
        let mut spans = Spans::new();
        for role in ["camera", "codec", "preview"] {
            let of = |i: u64| {
                span(i * 1_000_000, i * 1_000_000 + 9, (i + 1) * 1_000_000, Some(i), "in0")
            };
            spans.insert(role, (0..20).map(of).collect());
        }
        spans.insert("stuck", vec![span(1_000_000, 2_000_000, 502_000_000, None, "out0")]);
        let svg = draw(&spans);
        let expected =
            ["camera", "codec", "preview", "stuck", "evicted", "#2e86ab", "device", "</svg>"];
        for expected in expected {
            assert!(svg.contains(expected), "{expected}");
        }
    }

    #[test]
    fn nothing_to_draw_is_still_a_picture() {
        assert!(draw(&Spans::new()).ends_with("</svg>\n"));
    }
}

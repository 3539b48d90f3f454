// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Draws the use of the buffers over time: a lane for each process and each device, a colour for each
//! buffer.
//!
//! The page has three panels: one frame's way through the pipeline with locks; beside it, in the same
//! scale, torn frames of the control run; below, the eviction of the stuck holder. The numbers in a
//! panel refer to the sentences under it, which [`crate::story`] finds.

use crate::span::{Span, Spans};
use crate::story::{self, Lane, Story};
use crate::svg::{text_width, Svg};

const WIDTH: f64 = 1600.0;
const MARGIN: f64 = 20.0;
/// Room for the names of the lanes.
const NAMES: f64 = 70.0;
/// Room above the bars of a lane, for numbers and marks.
const STRIP: f64 = 20.0;
const BAR: f64 = 16.0;
const RED: &str = "#d00000";

/// The camera's buffers have warm colours, the codec's have cold ones.
const COLOURS: [(&str, &str); 9] = [
    ("in0", "#e4572e"),
    ("in1", "#d99000"),
    ("in2", "#c44569"),
    ("in3", "#a0643c"),
    ("in4", "#8a7a00"),
    ("in5", "#b5533c"),
    ("out0", "#2e86ab"),
    ("out1", "#2f9e5f"),
    ("out2", "#7768ae"),
];

fn colour(buffer: &str) -> &'static str {
    COLOURS.iter().find(|(name, _)| *name == buffer).map_or("#444", |(_, colour)| colour)
}

/// The whole picture.
pub fn draw(locked: &Spans, control: &Spans) -> String {
    let mut svg = Svg::default();
    let style = "font-size=\"20\" font-weight=\"bold\" fill=\"#222\"";
    svg.text((MARGIN, 34.0), style, "The demo's pipeline: which process uses which buffer when");

    let width = WIDTH / 2.0 - 1.5 * MARGIN;
    let right = WIDTH / 2.0 + MARGIN / 2.0;
    let good = story::hand_over(locked);
    let torn = story::torn(control, good.to - good.from);
    let mut bottom: f64 = 0.0;
    for (story, spans, left, title) in [
        (good, locked, MARGIN, "With buffersync: the way of one frame"),
        (torn, control, right, "The same pipeline without locks: torn frames"),
    ] {
        let lanes = &Lane::PIPELINE;
        let panel = Panel { story: &story, spans, lanes, left, top: 80.0, width };
        bottom = bottom.max(panel.draw(&mut svg, title));
    }
    if let Some(story) = story::eviction(locked) {
        let (left, width, top) = (MARGIN, WIDTH - 2.0 * MARGIN, bottom + 50.0);
        let lanes = &[&Lane::PIPELINE[..], &[Lane::Stuck]].concat();
        let panel = Panel { story: &story, spans: locked, lanes, left, top, width };
        bottom = panel.draw(&mut svg, "A holder that never unlocks is evicted");
    }
    bottom = legend(&mut svg, bottom + 30.0);
    svg.finish(WIDTH, bottom + MARGIN)
}

fn height(lane: Lane) -> f64 {
    STRIP + lane.rows() as f64 * BAR + 8.0
}

/// A window of time on the page.
struct Panel<'a> {
    story: &'a Story,
    spans: &'a Spans,
    lanes: &'a [Lane],
    left: f64,
    /// The top of the first lane.
    top: f64,
    width: f64,
}

impl Panel<'_> {
    fn x(&self, time: u64) -> f64 {
        let Story { from, to, .. } = *self.story;
        let part = (time.clamp(from, to) - from) as f64 / (to - from).max(1) as f64;
        self.left + NAMES + part * (self.width - NAMES)
    }

    /// The top of a lane.
    fn lane(&self, lane: Lane) -> f64 {
        let above = self.lanes.iter().copied().take_while(|other| *other != lane);
        self.top + above.map(height).sum::<f64>()
    }

    /// The end of the last lane.
    fn bottom(&self) -> f64 {
        self.top + self.lanes.iter().copied().map(height).sum::<f64>()
    }

    /// Draws everything, and returns where it ends on the page.
    fn draw(&self, svg: &mut Svg, title: &str) -> f64 {
        let style = "font-size=\"15\" font-weight=\"bold\" fill=\"#222\"";
        svg.text((self.left, self.top - 14.0), style, title);
        let bottom = self.bottom();
        self.axis(svg, bottom);
        if let Some(evicted) = self.story.evicted {
            let (x, style) = (self.x(evicted), format!("stroke=\"{RED}\" stroke-width=\"2\""));
            svg.line((x, self.top), (x, bottom), &style);
            let style = format!("font-size=\"13\" font-weight=\"bold\" fill=\"{RED}\"");
            svg.text((x + 8.0, bottom - BAR), &style, "evicted");
        }
        for lane in self.lanes.iter().copied() {
            let y = self.lane(lane);
            let end = self.left + self.width;
            svg.line((self.left, y), (end, y), "stroke=\"#ccc\"");
            let style = "font-size=\"13\" font-weight=\"bold\" fill=\"#222\"";
            svg.text((self.left, y + STRIP + 6.0), style, lane.name());
            let kind = if lane.is_device() { "device" } else { "process" };
            let style = "font-size=\"11\" fill=\"#666\"";
            svg.text((self.left, y + STRIP + 20.0), style, kind);
            let Story { from, to, .. } = *self.story;
            let spans = self.spans.get(lane.role()).into_iter().flatten();
            for span in spans.filter(|span| span.asked < to && span.ended.max(span.work.1) > from) {
                self.bars(svg, lane, span, y);
            }
        }
        self.marks(svg);
        self.sentences(svg, bottom + 52.0)
    }

    fn axis(&self, svg: &mut Svg, bottom: f64) {
        let millis = (self.story.to - self.story.from) / 1_000_000;
        // At most 12 numbers, so that they do not touch.
        let step =
            [1, 2, 5, 10, 20, 50, 100, 200, 500].into_iter().find(|step| millis / step <= 12);
        let step = step.unwrap_or(millis.max(1));
        for at in (0..=millis).step_by(step as usize) {
            let x = self.x(self.story.from + at * 1_000_000);
            svg.line((x, self.top), (x, bottom + 4.0), "stroke=\"#e4e4e4\"");
            let style = "text-anchor=\"middle\" font-size=\"11\" fill=\"#444\"";
            svg.text((x, bottom + 16.0), style, &at.to_string());
        }
        svg.line((self.left, bottom), (self.left + self.width, bottom), "stroke=\"#888\"");
        let middle = self.left + NAMES + (self.width - NAMES) / 2.0;
        let style = "text-anchor=\"middle\" font-size=\"11\" fill=\"#444\"";
        svg.text((middle, bottom + 31.0), style, "time in ms");
    }

    /// The bars of a lock: of a process the wait and the hold, of a device the work.
    fn bars(&self, svg: &mut Svg, lane: Lane, span: &Span, top: f64) {
        let frames = &self.story.frames;
        let followed = span.frame.is_some_and(|frame| frames.contains(&frame));
        let strong = followed || frames.is_empty();
        for (nth, buffer) in span.buffers.iter().enumerate() {
            let row = lane.row(span, nth);
            let (y, colour) = (top + STRIP + row as f64 * BAR, colour(buffer));
            let (from, to, corner) = if lane.is_device() {
                (span.work.0, span.work.1, 7)
            } else {
                self.wait(svg, span, nth, y);
                (span.granted, span.ended, 0)
            };
            if to <= self.story.from || from >= self.story.to {
                continue;
            }
            // The buffer that is read comes first.
            let torn = span.torn && nth == 0;
            let opacity = if strong { "1" } else { "0.25" };
            let outline = match (torn, followed) {
                (true, _) => format!("stroke=\"{RED}\" stroke-width=\"2\""),
                (_, true) => "stroke=\"#222\" stroke-width=\"1.5\"".into(),
                _ => String::new(),
            };
            let (x, width) = (self.x(from), (self.x(to) - self.x(from)).max(1.5));
            let (at, size) = ((x, y + 1.0), (width, BAR - 2.0));
            svg.rect(
                at,
                size,
                &format!("rx=\"{corner}\" fill=\"{colour}\" fill-opacity=\"{opacity}\" {outline}"),
            );
            let frame = span.frame.map_or_else(String::new, |frame| format!("#{frame}"));
            let long = match (span.frame, torn) {
                (None, _) => format!("holds {buffer}, never unlocks"),
                (_, true) => format!("{frame} torn"),
                (_, false) => format!("{buffer} {frame}"),
            };
            let style =
                if strong { "fill=\"white\" font-weight=\"bold\"" } else { "fill=\"#333\"" };
            svg.label(at, size, style, &[&long, if torn { "torn" } else { &frame }]);
        }
    }

    /// A wait for the lock. A long one has a label with the buffers.
    fn wait(&self, svg: &mut Svg, span: &Span, nth: usize, y: f64) {
        let (x, end) = (self.x(span.asked), self.x(span.granted));
        if end - x < 0.5 {
            return;
        }
        let style = "fill=\"url(#wait)\" stroke=\"#bbb\" stroke-width=\"0.6\"";
        svg.rect((x, y + 4.0), (end - x, BAR - 8.0), style);
        let text = format!("waits for {}", span.buffers.join(" and "));
        let width = text_width(&text, 11.0) + 6.0;
        if nth == 0 && end - x > width + 10.0 {
            let x = x + (end - x - width) / 2.0;
            svg.rect((x, y + 1.0), (width, BAR - 2.0), "fill=\"white\"");
            svg.label((x, y), (width, BAR), "fill=\"#333\"", &[&text]);
        }
    }

    fn marks(&self, svg: &mut Svg) {
        for fence in &self.story.fences {
            let (x, y) = (self.x(fence.at), self.lane(fence.from));
            let end = self.lane(fence.to) + STRIP;
            svg.line(
                (x, y),
                (x, end),
                "stroke=\"#222\" stroke-width=\"1.5\" stroke-dasharray=\"5 3\"",
            );
            svg.text((x + 5.0, y + 14.0), "font-size=\"11\" fill=\"#222\"", "fence signals");
        }
        for (nth, (lane, time)) in self.story.numbers.iter().enumerate() {
            svg.number((self.x(*time) + 8.0, self.lane(*lane) + 10.0), nth + 1);
        }
    }

    /// The sentences, each with its number, in lines as wide as the panel.
    fn sentences(&self, svg: &mut Svg, top: f64) -> f64 {
        let mut y = top;
        for (nth, sentence) in self.story.sentences.iter().enumerate() {
            if nth < self.story.numbers.len() {
                svg.number((self.left + 8.0, y - 4.0), nth + 1);
            }
            let mut line = String::new();
            for word in sentence.split(' ') {
                if text_width(&line, 12.0) + text_width(word, 12.0) > self.width - 30.0 {
                    svg.text((self.left + 24.0, y), "fill=\"#222\"", &line);
                    line.clear();
                    y += 16.0;
                }
                line.push_str(word);
                line.push(' ');
            }
            svg.text((self.left + 24.0, y), "fill=\"#222\"", &line);
            y += 20.0;
        }
        y
    }
}

fn legend(svg: &mut Svg, top: f64) -> f64 {
    let buffers = COLOURS.map(|(buffer, colour)| {
        let text = match buffer {
            "in0" => "in0 (camera to codec and display)",
            "out0" => "out0 (codec to writer)",
            _ => buffer,
        };
        (format!("fill=\"{colour}\""), text)
    });
    legend_row(svg, top, &buffers);
    let torn = format!("fill=\"#2e86ab\" stroke=\"{RED}\" stroke-width=\"2\"");
    let kinds = [
        ("fill=\"url(#wait)\" stroke=\"#bbb\"", "process waits for its lock"),
        ("fill=\"#2e86ab\"", "process holds the buffer (or just uses it)"),
        ("rx=\"7\" fill=\"#2e86ab\"", "device has the buffer"),
        ("fill=\"#2e86ab\" fill-opacity=\"0.25\"", "other frames"),
        (&torn, "torn: the codec finds another frame or a mixture"),
    ];
    legend_row(svg, top + 24.0, &kinds);
    top + 24.0
}

/// Samples of styles, each with its text.
fn legend_row<S: AsRef<str>>(svg: &mut Svg, y: f64, entries: &[(S, &str)]) {
    let mut x = MARGIN;
    for (style, text) in entries {
        svg.rect((x, y - 11.0), (24.0, 13.0), style.as_ref());
        svg.text((x + 30.0, y), "fill=\"#222\"", text);
        x += 30.0 + text_width(text, 12.0) + 14.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(asked: u64, granted: u64, ended: u64, frame: Option<u64>, buffer: &str) -> Span {
        let evicted = frame.is_none();
        let (work, buffers) = ((ended, ended + 400_000), vec![buffer.into()]);
        Span { asked, granted, ended, work, frame, evicted, torn: false, buffers }
    }

    fn run() -> Spans {
        let mut spans = Spans::new();
        for role in ["camera", "codec", "writer", "display"] {
            let of = |i: u64| {
                span(i * 1_000_000, i * 1_000_000 + 9, (i + 1) * 1_000_000, Some(i), "in0")
            };
            spans.insert(role, (0..20).map(of).collect());
        }
        spans
    }

    #[test]
    fn the_picture_has_every_lane_the_eviction_and_torn_frames() {
        let (mut locked, mut control) = (run(), run());
        locked.insert("stuck", vec![span(1_000_000, 2_000_000, 502_000_000, None, "out0")]);
        control.values_mut().flatten().for_each(|span| span.torn = true);
        let svg = draw(&locked, &control);
        for expected in [">vivid<", ">cirrus<", "Of 20 frames, 20 were torn"] {
            assert!(svg.contains(expected), "{expected}");
        }
        for expected in [">evicted<", ">holds out0, never unlocks<"] {
            assert!(svg.contains(expected), "{expected}");
            assert!(!draw(&run(), &control).contains(expected), "{expected}");
        }
    }

    #[test]
    fn nothing_to_draw_is_still_a_picture() {
        assert!(draw(&Spans::new(), &Spans::new()).ends_with("</svg>\n"));
    }
}

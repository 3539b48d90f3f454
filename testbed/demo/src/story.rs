// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Chooses the frames of the timeline from the spans of a run, and describes them in sentences.
//!
//! [`crate::timeline`] draws the result.

use crate::span::{Span, Spans};

/// A row of a panel: the locks of a process, or the work that its device does behind fences.
pub struct Lane {
    pub name: &'static str,
    pub role: &'static str,
    pub device: bool,
}

/// The lanes, from the producer down. The last one has no part in the pipeline.
pub const LANES: [Lane; 6] = [
    Lane { name: "camera", role: "camera", device: false },
    Lane { name: "sensor", role: "camera", device: true },
    Lane { name: "codec", role: "codec", device: false },
    Lane { name: "encoder", role: "codec", device: true },
    Lane { name: "preview", role: "preview", device: false },
    Lane { name: "stuck", role: "stuck", device: false },
];

const MILLI: u64 = 1_000_000;

/// A window of time, with its marks and sentences.
#[derive(Default)]
pub struct Story {
    pub from: u64,
    pub to: u64,
    /// The frames to follow; other frames are pale. If it is empty, no frame is pale.
    pub frames: Vec<u64>,
    /// Lane and time of each number.
    pub numbers: Vec<(usize, u64)>,
    /// One for each number, then one for the whole panel.
    pub sentences: Vec<String>,
    pub fences: Vec<Fence>,
    /// When a holder was evicted.
    pub evicted: Option<u64>,
}

/// A fence that signals: drawn as a line from the lane of its device to the lane that waits for it.
pub struct Fence {
    pub at: u64,
    pub from: usize,
    pub to: usize,
}

impl Story {
    fn new(from: u64, to: u64) -> Self {
        Self { from, to: to.max(from + 1), ..Self::default() }
    }

    /// Adds a numbered sentence about a lane.
    fn say(&mut self, lane: &str, time: u64, sentence: &str) {
        self.numbers.push((lane_of(lane), time));
        self.sentences.push(format!("{lane}: {sentence}"));
    }

    /// A time of the panel's axis.
    fn at(&self, time: u64) -> String {
        format!("{:.1} ms", (time as f64 - self.from as f64) / MILLI as f64)
    }

    fn during(&self, (from, to): (u64, u64)) -> String {
        format!("from {} to {}", self.at(from), self.at(to))
    }
}

fn lane_of(name: &str) -> usize {
    LANES.iter().position(|lane| lane.name == name).unwrap_or(0)
}

fn of<'a>(spans: &'a Spans, role: &str) -> &'a [Span] {
    spans.get(role).map_or(&[], Vec::as_slice)
}

/// Names of the buffers that a span reads and writes. They are the same one but for the codec.
fn buffers(span: &Span) -> (&str, &str) {
    match &span.buffers[..] {
        [] => ("", ""),
        [one] => (one, one),
        [read, .., written] => (read, written),
    }
}

/// One frame's way from the camera to the preview, with locks. It prefers a frame that shows both
/// kinds of hand-over: the codec is granted while the sensor still writes, and the preview, a CPU,
/// waits for the encoder's fence.
pub fn hand_over(spans: &Spans) -> Story {
    let devices = of(spans, "camera").iter().zip(of(spans, "codec"));
    let frames = devices.zip(of(spans, "preview"));
    let chosen = frames.min_by_key(|((camera, codec), preview)| {
        let early = codec.acquired.is_some_and(|signal| signal > codec.granted + 4 * MILLI);
        let waits = preview.asked + 2 * MILLI < codec.work.1;
        (!(early && waits), preview.ended.saturating_sub(camera.asked))
    });
    let Some(((camera, codec), preview)) = chosen else { return Story::new(0, 1) };
    // The text at the encoder's fence needs a seventh of the panel.
    let to = codec.work.1 + codec.work.1.saturating_sub(camera.asked) / 6;
    let to = to.max(preview.ended + 6 * MILLI);
    let mut story = Story::new(camera.asked, to);
    story.frames.extend(camera.sequence);
    let frame = camera.sequence.unwrap_or(0);
    let (input, output) = buffers(codec);
    let asks = format!(
        "asks for {input}, is granted it at {}, tells its sensor to write frame #{frame}, and unlocks \
         at once with the sensor's fence.",
        story.at(camera.granted)
    );
    story.say("camera", camera.granted, &asks);
    let writes = format!("writes {input} {}. Then its fence signals.", story.during(camera.work));
    story.say("sensor", camera.work.0, &writes);
    let lead = codec.acquired.map_or("after the sensor's fence".into(), |signal| {
        let lead = signal.saturating_sub(codec.granted) as f64 / MILLI as f64;
        format!("{lead:.1} ms before the sensor's fence signals")
    });
    let is_granted = format!(
        "is granted {input} and {output} together at {}, {lead}. It gives the frame and the fence to \
         its encoder, and unlocks with the encoder's fence.",
        story.at(codec.granted)
    );
    story.say("codec", codec.granted, &is_granted);
    let encodes = format!(
        "begins after the sensor's fence and after the frame before; reads {input} and writes \
         {output} {}. Then its fence signals.",
        story.during(codec.work)
    );
    story.say("encoder", codec.work.0, &encodes);
    let reads = format!(
        "reads with the CPU, so it is granted {output} after the encoder's fence, at {}. It finds \
         frame #{frame} whole.",
        story.at(preview.granted)
    );
    story.say("preview", preview.granted, &reads);
    let fence = |at, from, to| Fence { at, from: lane_of(from), to: lane_of(to) };
    story.fences.push(fence(camera.work.1, "sensor", "encoder"));
    story.fences.push(fence(codec.work.1, "encoder", "preview"));
    story
}

/// A frame that a reader found torn, and the writer that did it: the last one that began to write the
/// buffer before the read ended.
struct Torn<'a> {
    reader: &'a Span,
    writer: &'a Span,
}

impl Torn<'_> {
    /// The time in which the writer wrote during the read.
    fn overlap(&self) -> u64 {
        let (read, write) = (self.reader.work, self.writer.work);
        read.1.min(write.1).saturating_sub(read.0.max(write.0))
    }

    fn sentence(&self, story: &Story, writer: &str) -> String {
        let frame = |span: &Span| span.sequence.unwrap_or(0);
        let (wanted, found) = (frame(self.reader), frame(self.writer));
        let (buffer, during) = (buffers(self.reader).0, story.during(self.reader.work));
        let why = match self.overlap() {
            0 => format!("{buffer} has frame #{found}"),
            _ => format!("the {writer} writes frame #{found} into {buffer} at the same time"),
        };
        format!("reads {buffer} as frame #{wanted} {during}, but {why}: torn.")
    }
}

/// The torn frame of these readers with the longest overlap. Read and write take at most `length`.
fn worst<'a>(
    readers: impl Iterator<Item = &'a Span>,
    writers: &'a [Span],
    length: u64,
) -> Option<Torn<'a>> {
    let torn = readers.filter(|reader| reader.torn).filter_map(|reader| {
        let (wanted, _) = buffers(reader);
        let began = |writer: &&Span| writer.work.0 < reader.work.1;
        let writer = writers.iter().rfind(|writer| began(writer) && buffers(writer).1 == wanted)?;
        let whole = reader.work.1.max(writer.work.1) - reader.work.0.min(writer.work.0);
        (whole <= length).then_some(Torn { reader, writer })
    });
    torn.max_by_key(Torn::overlap)
}

/// Torn frames of the run without locks: one that the encoder read while the sensor wrote the buffer,
/// and one of the preview beside it.
pub fn torn(spans: &Spans, length: u64) -> Story {
    let (cameras, codecs) = (of(spans, "camera"), of(spans, "codec"));
    let encoder = worst(codecs.iter(), cameras, length / 2);
    let Some(encoder) = encoder else { return Story::new(0, length) };
    let middle = encoder.reader.work.0 / 2 + encoder.reader.work.1 / 2;
    let from = middle.saturating_sub(length / 2);
    let mut story = Story::new(from, from + length);
    let inside = |span: &&Span| span.work.0 > story.from && span.work.1 < story.to;
    let preview = worst(of(spans, "preview").iter().filter(inside), codecs, u64::MAX);

    let mut frames = vec![encoder.writer.sequence, encoder.reader.sequence];
    let writes = format!(
        "writes frame #{} into {} {}. Nothing tells it that the encoder still needs an older frame \
         there.",
        encoder.writer.sequence.unwrap_or(0),
        buffers(encoder.writer).1,
        story.during(encoder.writer.work)
    );
    story.say("sensor", encoder.writer.work.0, &writes);
    let reads = encoder.sentence(&story, "sensor");
    story.say("encoder", encoder.reader.work.0, &reads);
    if let Some(preview) = preview {
        frames.push(preview.reader.sequence);
        let reads = preview.sentence(&story, "encoder");
        story.say("preview", preview.reader.work.0, &reads);
    }
    let count = |role| of(spans, role).iter().filter(|span| span.torn).count();
    story.sentences.push(format!(
        "Of {} frames, {} were torn for the encoder and {} for the preview.",
        cameras.len(),
        count("codec"),
        count("preview")
    ));
    story.frames = frames.into_iter().flatten().collect();
    story
}

/// The time around the eviction of the stuck holder.
pub fn eviction(spans: &Spans) -> Option<Story> {
    let stuck = of(spans, "stuck").first()?;
    let from = stuck.asked.saturating_sub(150 * MILLI);
    let mut story = Story::new(from, stuck.ended + 250 * MILLI);
    story.evicted = Some(stuck.ended);
    let (buffer, _) = buffers(stuck);
    let holds = format!(
        "is granted {buffer} at {} with a hold limit of 500 ms, and does not unlock. The others soon \
         wait for it, directly or behind one another.",
        story.at(stuck.granted)
    );
    story.say("stuck", stuck.granted, &holds);
    story.sentences.push(format!(
        "At {}, {:.0} ms after the grant, stuck reads that it is evicted. The pipeline goes on, \
         and the service refuses the late unlock of stuck.",
        story.at(stuck.ended),
        stuck.ended.saturating_sub(stuck.granted) as f64 / MILLI as f64
    ));
    Some(story)
}

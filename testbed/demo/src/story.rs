// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Chooses the frames of the timeline from the spans of a run, and describes them in sentences.
//!
//! [`crate::timeline`] draws the result.

use buffersync_testbed_guest::{kms, v4l2};

use crate::span::{torn_frames, Span, Spans};

/// A part of a panel: the locks of a process, or the time in which its device has the buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    Camera,
    CameraDevice,
    Codec,
    Writer,
    Display,
    DisplayDevice,
    Stuck,
}

impl Lane {
    /// The lanes of the pipeline, from the producer down.
    pub const PIPELINE: [Self; 6] = [
        Self::Camera,
        Self::CameraDevice,
        Self::Codec,
        Self::Writer,
        Self::Display,
        Self::DisplayDevice,
    ];

    /// The process whose spans the lane shows.
    pub fn role(self) -> &'static str {
        match self {
            Self::Camera | Self::CameraDevice => "camera",
            Self::Codec => "codec",
            Self::Writer => "writer",
            Self::Display | Self::DisplayDevice => "display",
            Self::Stuck => "stuck",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::CameraDevice => v4l2::DRIVER,
            Self::DisplayDevice => kms::DRIVERS[0],
            _ => self.role(),
        }
    }

    pub fn is_device(self) -> bool {
        matches!(self, Self::CameraDevice | Self::DisplayDevice)
    }

    /// Bars at the same time.
    pub fn rows(self) -> usize {
        match self {
            Self::Camera | Self::CameraDevice => 6,
            Self::Codec | Self::Display => 2,
            Self::Writer | Self::DisplayDevice | Self::Stuck => 1,
        }
    }

    /// The row of a bar, which shows the `nth` buffer of a lock.
    pub fn row(self, span: &Span, nth: usize) -> usize {
        match span.frame {
            // The camera has a row for each of its buffers.
            Some(_) if self.role() == "camera" => {
                let number = |name: &String| name.trim_start_matches("in").parse().ok();
                span.buffers.get(nth).and_then(number).unwrap_or(0) % self.rows()
            }
            // The display locks a frame while it still has the one before.
            Some(frame) if self.role() == "display" => (frame % self.rows() as u64) as usize,
            _ => nth,
        }
    }
}

const MILLI: u64 = 1_000_000;

/// A window of time, with its marks and sentences.
#[derive(Default)]
pub struct Story {
    pub from: u64,
    pub to: u64,
    /// The frames to follow; other frames are pale. If it is empty, no frame is pale.
    pub frames: Vec<u64>,
    /// Lane and time of each number.
    pub numbers: Vec<(Lane, u64)>,
    /// One for each number, then one for the whole panel.
    pub sentences: Vec<String>,
    pub fences: Vec<Fence>,
    /// When a holder was evicted.
    pub evicted: Option<u64>,
}

/// A fence that signals: drawn as a line from the lane of its device to the lane that waits for it.
pub struct Fence {
    pub at: u64,
    pub from: Lane,
    pub to: Lane,
}

impl Story {
    fn new(from: u64, to: u64) -> Self {
        Self { from, to: to.max(from + 1), ..Self::default() }
    }

    /// Adds a numbered sentence about a lane.
    fn say(&mut self, lane: Lane, time: u64, sentence: &str) {
        self.numbers.push((lane, time));
        self.sentences.push(format!("{}: {sentence}", lane.name()));
    }

    /// A time of the panel's axis.
    fn at(&self, time: u64) -> String {
        format!("{:.1} ms", (time as f64 - self.from as f64) / MILLI as f64)
    }

    fn during(&self, (from, to): (u64, u64)) -> String {
        format!("from {} to {}", self.at(from), self.at(to))
    }
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

/// The locks of a frame by all processes, and the camera's next one of its buffer.
struct Way<'a> {
    camera: &'a Span,
    codec: &'a Span,
    writer: &'a Span,
    display: &'a Span,
    again: &'a Span,
}

impl<'a> Way<'a> {
    fn of(camera: &'a Span, spans: &'a Spans) -> Option<Self> {
        let find = |role| of(spans, role).iter().find(|span| span.frame == camera.frame);
        let later = |span: &&Span| span.frame > camera.frame && span.buffers == camera.buffers;
        Some(Self {
            camera,
            codec: find("codec")?,
            writer: find("writer")?,
            display: find("display")?,
            again: of(spans, "camera").iter().find(later)?,
        })
    }

    /// From the camera's request to the next frame in its buffer.
    fn ends(&self) -> u64 {
        self.again.work.0.max(self.display.work.1).max(self.writer.ended)
    }
}

/// One frame's way through the pipeline, with locks, and the camera's next lock of its buffer: the shortest one, but
/// not the first, during which programs and devices start.
pub fn hand_over(spans: &Spans) -> Story {
    let ways = of(spans, "camera").iter().skip(10).filter_map(|camera| Way::of(camera, spans));
    let way = ways.min_by_key(|way| way.ends().saturating_sub(way.camera.asked));
    let Some(way) = way else { return Story::new(0, 1) };
    let Way { camera, codec, writer, display, again } = &way;
    let (begin, end) = (camera.asked, way.ends());
    let mut story = Story::new(begin, end + (end - begin) / 8);
    story.frames.extend(camera.frame);
    let frame = camera.frame.unwrap_or(0);
    let (input, output) = buffers(codec);
    let queues = format!(
        "is granted {input} and queues it in its driver (QBUF). V4L2 has no fences: the lock stays until DQBUF, and a \
         little longer, while the camera looks at the frame with the CPU."
    );
    story.say(Lane::Camera, camera.granted, &queues);
    let has = format!(
        "has {input} {}, with others. What it writes last is frame #{frame}.",
        story.during(camera.work)
    );
    story.say(Lane::CameraDevice, camera.work.0, &has);
    let encodes = format!(
        "is granted {input} for reading and {output} for writing at {}, encodes the frame with the CPU, and finds it \
         whole.",
        story.at(codec.granted)
    );
    story.say(Lane::Codec, codec.granted, &encodes);
    let saves =
        format!("is granted {output} at {} and saves the stream.", story.at(writer.granted));
    story.say(Lane::Writer, writer.granted, &saves);
    let shows = format!(
        "reads {input} beside the codec, from {}. It unlocks when it has handed in the next frame, with the fence of \
         that page flip.",
        story.at(display.granted)
    );
    story.say(Lane::Display, display.granted, &shows);
    let flips = format!(
        "shows the frame {}. Then the next one is on the screen, and the fence signals.",
        story.during(display.work)
    );
    story.say(Lane::DisplayDevice, display.work.0, &flips);
    let waits = format!(
        "has asked for {input} again at {}. It is granted it at {} and queues it at {}: after the codec's unlock and \
         the display's fence.",
        story.at(again.asked),
        story.at(again.granted),
        story.at(again.work.0)
    );
    story.say(Lane::Camera, again.work.0, &waits);
    let at = display.work.1;
    story.fences.push(Fence { at, from: Lane::DisplayDevice, to: Lane::Camera });
    story
}

/// A frame that the codec found torn, and the camera's use of its buffer that did it: the last one that began before
/// the codec had read it.
struct Torn<'a> {
    reader: &'a Span,
    writer: &'a Span,
}

impl Torn<'_> {
    /// The time in which the driver had the buffer during the read.
    fn overlap(&self) -> u64 {
        let (read, write) = (self.reader.work, self.writer.work);
        read.1.min(write.1).saturating_sub(read.0.max(write.0))
    }
}

fn worst<'a>(readers: &'a [Span], writers: &'a [Span]) -> Option<Torn<'a>> {
    let torn = readers.iter().filter(|reader| reader.torn).filter_map(|reader| {
        let (wanted, _) = buffers(reader);
        let did = |span: &&Span| span.work.0 < reader.work.1 && buffers(span).1 == wanted;
        Some(Torn { reader, writer: writers.iter().rfind(did)? })
    });
    torn.max_by_key(Torn::overlap)
}

/// A torn frame of the run without locks: the driver had the buffer while the codec read it.
pub fn torn(spans: &Spans, length: u64) -> Story {
    let (cameras, codecs) = (of(spans, "camera"), of(spans, "codec"));
    let Some(Torn { reader, writer }) = worst(codecs, cameras) else {
        return Story::new(0, length);
    };
    let middle = reader.work.0 / 2 + reader.work.1 / 2;
    let from = middle.saturating_sub(length / 2);
    let mut story = Story::new(from, from + length);
    let (input, wanted, found) =
        (buffers(reader).0, reader.frame.unwrap_or(0), writer.frame.unwrap_or(0));
    let reads = format!("reads {input} as frame #{wanted} {}.", story.during(reader.work));
    story.say(Lane::Codec, reader.work.0, &reads);
    let writes = format!(
        "has the same buffer {} and writes frame #{found} into it. Nothing tells it that the codec still reads: torn.",
        story.during(writer.work)
    );
    story.say(Lane::CameraDevice, writer.work.0.max(from), &writes);
    let count = torn_frames(spans.values().flatten());
    story.sentences.push(format!("Of {} frames, {count} were torn.", cameras.len()));
    story.frames = [reader.frame, writer.frame].into_iter().flatten().collect();
    story
}

/// The time around the eviction of the stuck holder.
pub fn eviction(spans: &Spans) -> Option<Story> {
    let stuck = of(spans, "stuck").first()?;
    let from = stuck.asked.saturating_sub(300 * MILLI);
    let mut story = Story::new(from, stuck.ended + 500 * MILLI);
    story.evicted = Some(stuck.ended);
    let (buffer, _) = buffers(stuck);
    let holds = format!(
        "is granted {buffer} at {} with a hold limit of 500 ms, and does not unlock. The codec soon waits for it, and \
         the others for the codec.",
        story.at(stuck.granted)
    );
    story.say(Lane::Stuck, stuck.granted, &holds);
    story.sentences.push(format!(
        "At {}, {:.0} ms after the grant, stuck reads that it is evicted. The pipeline goes on, \
         and the service refuses the late unlock of stuck.",
        story.at(stuck.ended),
        stuck.ended.saturating_sub(stuck.granted) as f64 / MILLI as f64
    ));
    Some(story)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lock whose work is all of its time.
    fn span(frame: u64, (from, to): (u64, u64), buffers: &[&str]) -> Span {
        let buffers = buffers.iter().map(|name| name.to_string()).collect();
        let (frame, work) = (Some(frame), (from, to));
        let (evicted, torn) = (false, false);
        Span { asked: from, granted: from, ended: to, work, frame, evicted, torn, buffers }
    }

    #[test]
    fn the_way_of_the_fastest_frame_after_the_start_is_told() {
        // The buffer is back soonest after frame 12; after frame 3 still sooner, but that is during the start.
        let begin = |frame| match frame {
            4 => 310,
            13 => 1250,
            _ => 100 * frame,
        };
        let roles = [
            ("camera", &["in0"][..]),
            ("codec", &["in0", "out1"]),
            ("writer", &["out1"]),
            ("display", &["in0"]),
        ];
        let mut spans = Spans::new();
        for (role, buffers) in roles {
            let of = |frame| span(frame, (begin(frame), begin(frame) + 9), buffers);
            spans.insert(role, (0..20).map(of).collect());
        }
        let story = hand_over(&spans);
        assert_eq!((story.from, &story.frames[..]), (1200, &[12][..]));
        let text = story.sentences.join("\n");
        assert!(text.contains("queues it in its driver"), "{text}");
        assert!(text.contains("in0 for reading and out1 for writing"), "{text}");
        assert_eq!(story.fences.iter().map(|fence| fence.at).collect::<Vec<_>>(), [1209]);
    }

    #[test]
    fn the_torn_frame_is_the_one_that_the_driver_had_longest_during_the_read() {
        let mut readers = vec![
            span(1, (100, 200), &["in0", "out0"]),
            span(2, (300, 400), &["in1", "out0"]),
            span(3, (500, 600), &["in0", "out0"]),
        ];
        let writers = [
            span(7, (110, 190), &["in0"]),
            span(8, (350, 450), &["in1"]),
            span(9, (350, 420), &["in0"]),
        ];
        assert!(worst(&readers, &writers).is_none(), "nobody found one torn");
        readers[1].torn = true;
        readers[2].torn = true;
        let found = worst(&readers, &writers).map(|torn| (torn.reader.frame, torn.writer.frame));
        assert_eq!(found, Some((Some(2), Some(8))));
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The report of one lock: when the process asked, was granted, and let go, and when the work was done.

use std::collections::{BTreeMap, BTreeSet};

use nix::time::{clock_gettime, ClockId};

/// One lock of one process. In the control run, one use of the buffers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The time of the request. All times are nanoseconds of CLOCK_MONOTONIC.
    pub asked: u64,
    /// The time of the grant.
    pub granted: u64,
    /// The time of the unlock or of the eviction.
    pub ended: u64,
    /// Begin and end of the work. Of the camera: when the driver had the buffer; of the display: when it was on the
    /// screen, which can be after the unlock, behind a fence.
    pub work: (u64, u64),
    /// The frame; `None` for the stuck holder.
    pub frame: Option<u64>,
    pub evicted: bool,
    /// The process has read the frame and found it torn.
    pub torn: bool,
    /// The names of the buffers: first the one that is read.
    pub buffers: Vec<String>,
}

/// The spans of a run: of each process, in the order of its locks.
pub type Spans = BTreeMap<&'static str, Vec<Span>>;

/// Counts the frames that some process has found torn.
pub fn torn_frames<'a>(spans: impl IntoIterator<Item = &'a Span>) -> usize {
    let torn = spans.into_iter().filter(|span| span.torn).map(|span| span.frame);
    torn.collect::<BTreeSet<_>>().len()
}

pub fn now() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |now| now.tv_sec().unsigned_abs() * 1_000_000_000 + now.tv_nsec().unsigned_abs())
}

impl Span {
    /// Writes the span as a line of output.
    pub fn to_line(&self) -> String {
        let frame = self.frame.map_or_else(|| "-".into(), |frame| frame.to_string());
        let buffers = self.buffers.join(",");
        let Self { asked, granted, ended, work: (began, done), evicted, torn, .. } = self;
        format!("span {asked} {granted} {ended} {began} {done} {frame} {evicted} {torn} {buffers}")
    }

    /// Reads a line of [`Span::to_line`].
    pub fn from_line(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("span ")?.split(' ');
        let mut number = || words.next()?.parse::<u64>().ok();
        let (asked, granted, ended) = (number()?, number()?, number()?);
        let work = (number()?, number()?);
        let frame = words.next()?.parse().ok();
        let evicted = words.next()? == "true";
        let torn = words.next()? == "true";
        let buffers = words.next()?.split(',').map(str::to_string).collect();
        Some(Self { asked, granted, ended, work, frame, evicted, torn, buffers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_back() {
        let span = Span {
            asked: 1,
            granted: 2,
            ended: 30,
            work: (25, 40),
            frame: Some(4),
            evicted: false,
            torn: true,
            buffers: vec!["in0".into(), "out3".into()],
        };
        assert_eq!(Span::from_line(&span.to_line()), Some(span.clone()));
        let stuck = Span { frame: None, evicted: true, torn: false, ..span };
        assert_eq!(Span::from_line(&stuck.to_line()), Some(stuck));
        assert_eq!(Span::from_line("done 3"), None);
    }

    #[test]
    fn a_frame_that_two_processes_find_torn_counts_once() {
        let line = |frame, torn| format!("span 1 2 3 1 3 {frame} false {torn} in0");
        let lines = [line(4, true), line(4, true), line(5, false), line(6, true)];
        let spans: Vec<Span> = lines.iter().filter_map(|line| Span::from_line(line)).collect();
        assert_eq!((spans.len(), torn_frames(&spans)), (4, 2));
    }
}

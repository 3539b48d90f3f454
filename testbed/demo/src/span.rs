// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The report of one lock: when the process asked, was granted, and let go, and when the work was done.

use std::collections::BTreeMap;

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
    /// Begin and end of the work. A device works after the unlock, behind a fence.
    pub work: (u64, u64),
    /// The time at which the acquire fence signalled, if that was after the grant.
    pub acquired: Option<u64>,
    /// The frame; `None` for the stuck holder.
    pub sequence: Option<u64>,
    pub evicted: bool,
    /// The process has read the frame and found it torn.
    pub torn: bool,
    /// The names of the buffers: first the one that is read.
    pub buffers: Vec<String>,
}

/// The spans of a run: of each process, in the order of its locks.
pub type Spans = BTreeMap<&'static str, Vec<Span>>;

pub fn now() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |now| now.tv_sec().unsigned_abs() * 1_000_000_000 + now.tv_nsec().unsigned_abs())
}

impl Span {
    /// Writes the span as a line of output.
    pub fn to_line(&self) -> String {
        let sequence = self.sequence.map_or_else(|| "-".into(), |sequence| sequence.to_string());
        let buffers = self.buffers.join(",");
        let acquired = self.acquired.unwrap_or(0);
        let Self { asked, granted, ended, work: (began, done), evicted, torn, .. } = self;
        format!(
            "span {asked} {granted} {ended} {began} {done} {acquired} {sequence} {evicted} {torn} \
             {buffers}"
        )
    }

    /// Reads a line of [`Span::to_line`].
    pub fn from_line(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("span ")?.split(' ');
        let mut number = || words.next()?.parse::<u64>().ok();
        let (asked, granted, ended) = (number()?, number()?, number()?);
        let work = (number()?, number()?);
        let acquired = Some(number()?).filter(|acquired| *acquired > 0);
        let sequence = words.next()?.parse().ok();
        let evicted = words.next()? == "true";
        let torn = words.next()? == "true";
        let buffers = words.next()?.split(',').map(str::to_string).collect();
        Some(Self { asked, granted, ended, work, acquired, sequence, evicted, torn, buffers })
    }
}

/// The time in which a holder had a grant while an earlier device still worked on its buffers. Without
/// fences the earlier holder would have kept its lock for that time.
pub fn overlap<'a>(spans: impl Iterator<Item = &'a Span>) -> u64 {
    let early = spans.filter_map(|span| Some((span.granted, span.acquired?)));
    let mut early: Vec<(u64, u64)> = early.filter(|(from, to)| from < to).collect();
    early.sort_unstable();
    let (mut total, mut counted) = (0, 0);
    for (from, to) in early {
        total += to.saturating_sub(from.max(counted));
        counted = counted.max(to);
    }
    total
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
            acquired: Some(20),
            sequence: Some(4),
            evicted: false,
            torn: true,
            buffers: vec!["in0".into(), "out3".into()],
        };
        assert_eq!(Span::from_line(&span.to_line()), Some(span.clone()));
        let stuck = Span { sequence: None, evicted: true, torn: false, acquired: None, ..span };
        assert_eq!(Span::from_line(&stuck.to_line()), Some(stuck));
        assert_eq!(Span::from_line("done 3"), None);
    }

    #[test]
    fn overlaps_at_the_same_time_are_counted_once() {
        let span = |granted, acquired| Span {
            asked: 0,
            granted,
            ended: granted,
            work: (granted, granted),
            acquired,
            sequence: None,
            evicted: false,
            torn: false,
            buffers: Vec::new(),
        };
        let spans = [
            span(10, Some(20)),
            span(15, Some(30)),
            span(12, Some(13)),
            span(50, Some(40)),
            span(60, Some(65)),
            span(70, None),
        ];
        assert_eq!(overlap(spans.iter()), 25);
    }
}

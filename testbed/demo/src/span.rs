// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What a process tells of a lock: when it asked, got it, let go, and when its work was done.

use std::collections::BTreeMap;

use nix::time::{clock_gettime, ClockId};

/// One lock of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// When it asked: nanoseconds of CLOCK_MONOTONIC, like the others.
    pub asked: u64,
    /// When it was granted.
    pub granted: u64,
    /// When it let go, or was evicted.
    pub ended: u64,
    /// From when to when the work was done. A device's goes on when the lock is gone, behind a fence.
    pub work: (u64, u64),
    /// When the last device had done with the buffers, if that was after the grant.
    pub acquired: Option<u64>,
    /// Which frame; `None` for the holder that does nothing.
    pub sequence: Option<u64>,
    pub evicted: bool,
    /// The process has read the frame and found it torn.
    pub torn: bool,
    /// Names of the buffers.
    pub buffers: Vec<String>,
}

/// The spans of a run: of each process, in the order of its locks.
pub type Spans = BTreeMap<&'static str, Vec<Span>>;

/// Now.
pub fn now() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |now| now.tv_sec().unsigned_abs() * 1_000_000_000 + now.tv_nsec().unsigned_abs())
}

impl Span {
    /// As a line of a process's output.
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

    /// Reads [`Span::to_line`] back.
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

/// How long somebody was granted, and had handed work in, what an earlier device was still at work
/// on. Had that device's holder waited before it unlocked, nobody would have been.
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
    fn what_overlaps_at_the_same_time_is_counted_once() {
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

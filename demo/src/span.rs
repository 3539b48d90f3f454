// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What a process tells of a lock: when it asked, got it, and let go.

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
    /// Which frame; `None` for the holder that does nothing.
    pub sequence: Option<u64>,
    /// Whether it was evicted.
    pub evicted: bool,
    /// Names of the buffers.
    pub buffers: Vec<String>,
}

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
        let Self { asked, granted, ended, evicted, .. } = self;
        format!("span {asked} {granted} {ended} {sequence} {evicted} {buffers}")
    }

    /// Reads [`Span::to_line`] back.
    pub fn from_line(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("span ")?.split(' ');
        let mut number = || words.next()?.parse::<u64>().ok();
        let (asked, granted, ended) = (number()?, number()?, number()?);
        let sequence = words.next()?.parse().ok();
        let evicted = words.next()? == "true";
        let buffers = words.next()?.split(',').map(str::to_string).collect();
        Some(Self { asked, granted, ended, sequence, evicted, buffers })
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
            sequence: Some(4),
            evicted: false,
            buffers: vec!["in0".into(), "out3".into()],
        };
        assert_eq!(Span::from_line(&span.to_line()), Some(span.clone()));
        let stuck = Span { sequence: None, evicted: true, ..span };
        assert_eq!(Span::from_line(&stuck.to_line()), Some(stuck));
        assert_eq!(Span::from_line("done 3"), None);
    }
}

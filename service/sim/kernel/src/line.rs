// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! One line of a dma-buf's memory, and the CPU's cache of it, which no device sees.
//!
//! The cache may fetch the line, write it back or drop it at any moment ([`Line::disturb`]). Values are versions: each
//! write makes a new one.

use crate::dmabuf::Usage;
use crate::random::Random;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    pub memory: u32,
    /// The value, and whether the memory does not have it yet.
    pub cached: Option<(u32, bool)>,
    /// The START that has no END yet.
    pub open: Option<Usage>,
    /// Its END has failed.
    pub owed: bool,
    last: u32,
}

impl Line {
    /// A change that the cache makes by itself.
    pub fn disturb(&mut self, random: &mut Random) {
        match random.below(6) {
            0 => {
                self.cached.get_or_insert((self.memory, false));
            }
            1 => self.write_back(),
            2 => {
                self.write_back();
                self.cached = None;
            }
            _ => {}
        }
    }

    pub fn write_back(&mut self) {
        if let Some((value, true)) = self.cached {
            self.memory = value;
            self.cached = Some((value, false));
        }
    }

    /// START drops the line; an exporter may write it back first.
    pub fn start(&mut self, random: &mut Random) {
        if random.one_in(2) {
            self.write_back();
        }
        self.cached = None;
    }

    /// END writes back what the CPU may have written. After START for reading, older arm64 kernels do nothing.
    pub fn end(&mut self, usage: Usage) {
        if usage == Usage::Write {
            self.write_back();
        }
    }

    pub fn cpu_reads(&mut self) -> u32 {
        self.cached.get_or_insert((self.memory, false)).0
    }

    /// A partial write, so it fetches the line first. Returns what was there, and the new value.
    pub fn cpu_writes(&mut self) -> (u32, u32) {
        let before = self.cpu_reads();
        self.last += 1;
        self.cached = Some((self.last, true));
        (before, self.last)
    }

    /// Returns what was there, and the new value.
    pub fn device_writes(&mut self) -> (u32, u32) {
        let before = self.memory;
        self.last += 1;
        self.memory = self.last;
        (before, self.last)
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The content that each buffer must have, word by word, and the verdict on a word that is another.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use buffersync_testbed_guest::dmabuf::Mapping;
use nix::sys::memfd::{memfd_create, MemFdCreateFlag};

use crate::edu::Edu;
use crate::memory::{Bounced, PAGE, WORDS};
use crate::protocol::{Writing, Wrong};

/// Pages of each buffer.
const PAGES: [usize; 14] = [2, 3, 2, 2, 3, 2, 2, 3, 2, 2, 2, 3, 2, 2];
/// Accesses of a buffer that are shown when one finds a wrong word.
const SHOWN: usize = 16;

/// A buffer and what it must be.
pub struct Buffer {
    pub memory: Bounced,
    /// The memory of `expected`, for the clients.
    pub shared: OwnedFd,
    expected: Mapping,
    /// A writer was evicted or died, so nobody knows the content.
    pub doubt: bool,
    log: VecDeque<String>,
}

/// All buffers.
pub struct Oracle {
    pub buffers: Vec<Buffer>,
}

/// Words that follow each other, from the first one on.
pub type Piece = (usize, Vec<u64>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Neither copy of the memory has the value, and nobody will write it: it has been overwritten.
    Lost,
    /// The value is there or still comes, and the reader had the one before.
    Stale,
}

/// A wrong word.
pub struct Violation {
    pub kind: Kind,
    pub buffer: usize,
    pub wrong: Wrong,
    /// The reader that has found it.
    pub reader: String,
    /// The accesses of the buffer before.
    pub log: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, buffer, wrong: Wrong { word, saw, want }, reader, log } = self;
        let kind = match kind {
            Kind::Lost => "LOST",
            Kind::Stale => "STALE",
        };
        writeln!(f, "{kind}: buffer {buffer}, word {word}: {reader} saw {saw:016x}, not {want:016x}; before:")?;
        log.iter().try_for_each(|line| writeln!(f, "    {line}"))
    }
}

impl Oracle {
    /// Makes the buffers, all zero for the CPU and for devices.
    pub fn new() -> io::Result<Self> {
        let buffers: io::Result<Vec<Buffer>> = PAGES.into_iter().map(Buffer::new).collect();
        Ok(Self { buffers: buffers? })
    }

    /// The CPU has written, or will have before anybody is granted the buffer.
    pub fn written(&mut self, writing: Writing) {
        let Buffer { memory, expected, .. } = &mut self.buffers[writing.buffer];
        writing.values(memory.words()).for_each(|(at, value)| expected.write(at, value));
    }

    /// The same of a device.
    pub fn written_by_dma(&mut self, buffer: usize, pieces: &[Piece]) {
        let expected = &mut self.buffers[buffer].expected;
        for (first, values) in pieces {
            values.iter().enumerate().for_each(|(nth, value)| expected.write(first + nth, *value));
        }
    }

    /// All words of a buffer, as they must be.
    pub fn content(&self, buffer: usize) -> Vec<u64> {
        let Buffer { memory, expected, .. } = &self.buffers[buffer];
        (0..memory.words()).map(|at| expected.read(at)).collect()
    }

    /// Notes what somebody did.
    pub fn log(&mut self, buffer: usize, what: String) {
        let log = &mut self.buffers[buffer].log;
        if log.len() == SHOWN {
            log.pop_front();
        }
        log.push_back(what);
    }

    /// Reads all of a buffer by DMA; the first word that is not what it must be.
    pub fn check_by_dma(
        &self,
        edu: &mut Edu,
        buffer: usize,
        content: &[u64],
    ) -> io::Result<Option<Wrong>> {
        for (page, address) in self.buffers[buffer].memory.pages.iter().enumerate() {
            let read = edu.read(*address)?;
            let wanted = &content[page * WORDS..];
            let both = read.iter().zip(wanted).enumerate();
            if let Some((at, (saw, want))) = both.into_iter().find(|(_, (saw, want))| saw != want) {
                let word = page * WORDS + at;
                return Ok(Some(Wrong { word, saw: *saw, want: *want }));
            }
        }
        Ok(None)
    }

    /// The verdict on a wrong word. `comes`: somebody will still write the value.
    pub fn judge(
        &self,
        edu: &mut Edu,
        buffer: usize,
        wrong: Wrong,
        comes: bool,
        reader: String,
    ) -> io::Result<Violation> {
        let Buffer { memory, log, .. } = &self.buffers[buffer];
        let of_device = edu.read(memory.pages[wrong.word / WORDS])?[wrong.word % WORDS];
        let there = [memory.mapping.read(wrong.word), of_device].contains(&wrong.want);
        let kind = if there || comes { Kind::Stale } else { Kind::Lost };
        Ok(Violation { kind, buffer, wrong, reader, log: log.iter().cloned().collect() })
    }
}

impl Buffer {
    fn new(pages: usize) -> io::Result<Self> {
        let memory = Bounced::new(pages * PAGE)?;
        let shared = memfd_create(c"expected", MemFdCreateFlag::MFD_CLOEXEC)?;
        nix::unistd::ftruncate(&shared, (pages * PAGE) as i64)?;
        let expected = Mapping::new(shared.as_fd(), pages * PAGE)?;
        Ok(Self { memory, shared, expected, doubt: false, log: VecDeque::new() })
    }
}

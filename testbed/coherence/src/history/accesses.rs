// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The accesses of CPUs and of the device under their grants, and the comparison with what must be there.

use super::{broken, History, Part, Step, Stop};
use crate::edu::ROOM;
use crate::memory::WORDS;
use crate::oracle::Piece;
use crate::protocol::{name, Command, Reply, Want, Writing, Wrong};

impl History<'_> {
    /// Uses what was not used yet, and need not wait for a fence.
    pub(super) fn use_parts(&mut self, at: usize) -> Step {
        let mut parts = self.parts(at);
        let checks: Vec<usize> = parts
            .iter()
            .filter(|part| !part.used && !part.torn && !part.want.is_dma())
            .map(|part| part.want.buffer)
            .collect();
        self.check(at, &checks)?;
        for part in parts.iter_mut().filter(|part| !part.used && part.is_ready()) {
            self.count_access(at, part.want);
            if part.want.is_dma() {
                self.use_by_dma(at, part)?;
            } else if part.want.writes() {
                let writing = self.writing(part);
                self.oracle.written(writing);
                self.actors[at].later.push(Command::Write(writing));
            }
            part.used = true;
            if part.want.writes() {
                part.torn = false;
                self.oracle.buffers[part.want.buffer].doubt = false;
            }
        }
        self.set_parts(at, parts);
        Ok(())
    }

    pub(super) fn count_access(&mut self, at: usize, want: Want) {
        self.outcome.accesses += 1;
        let nth = self.outcome.accesses;
        self.oracle.log(want.buffer, format!("{nth}: client {at} {}", name(want.access)));
    }

    /// The client compares every byte of these buffers.
    pub(super) fn check(&mut self, at: usize, buffers: &[usize]) -> Step {
        let checks: Vec<Command> = buffers.iter().map(|at| Command::Check(*at)).collect();
        if checks.is_empty() {
            return Ok(());
        }
        let replies = self.actors[at].client.ask(&checks)?;
        self.outcome.compared += checks.len() as u64;
        for (buffer, reply) in buffers.iter().zip(&replies) {
            match reply {
                Reply::Done => {}
                Reply::Wrong(wrong) => {
                    return self.is_wrong(*buffer, *wrong, format!("the CPU of client {at}"));
                }
                other => return broken(format!("a check was answered by {other}")),
            }
        }
        Ok(())
    }

    pub(super) fn is_wrong(&mut self, buffer: usize, wrong: Wrong, reader: String) -> Step {
        let words = self.oracle.buffers[buffer].memory.words();
        let tasks = self.works.iter().flat_map(|work| &work.tasks);
        let comes = tasks.into_iter().any(|task| task.writes(buffer, wrong.want, words));
        let violation = self.oracle.judge(self.edu, buffer, wrong, comes, reader)?;
        Err(Stop::Wrong(Box::new(violation)))
    }

    pub(super) fn use_by_dma(&mut self, at: usize, part: &Part) -> Step {
        let buffer = part.want.buffer;
        let reads = !part.want.writes() || self.random.percent(25);
        if reads && !part.torn {
            let content = self.oracle.content(buffer);
            self.check_by_dma(buffer, &content, format!("the device of client {at}"))?;
        }
        if part.want.writes() {
            let pieces = self.pieces(part);
            self.oracle.written_by_dma(buffer, &pieces);
            self.write_by_dma(buffer, &pieces)?;
        }
        Ok(())
    }

    pub(super) fn check_by_dma(&mut self, buffer: usize, content: &[u64], reader: String) -> Step {
        self.outcome.compared += 1;
        match self.oracle.check_by_dma(self.edu, buffer, content)? {
            None => Ok(()),
            Some(wrong) => self.is_wrong(buffer, wrong, reader),
        }
    }

    pub(super) fn write_by_dma(&mut self, buffer: usize, pieces: &[Piece]) -> Step {
        // As many pieces as the device has room for.
        let mut rest = pieces;
        while !rest.is_empty() {
            let (mut count, mut sum) = (0, 0);
            while rest.get(count).is_some_and(|(_, values)| sum + values.len() <= ROOM) {
                sum += rest[count].1.len();
                count += 1;
            }
            let (now, after) = rest.split_at(count);
            let all: Vec<u64> = now.iter().flat_map(|(_, values)| values).copied().collect();
            self.edu.load(&all)?;
            let mut from = 0;
            for (first, values) in now {
                let address = self.oracle.buffers[buffer].memory.address(*first);
                self.edu.store(from, address, values.len());
                from += values.len();
            }
            rest = after;
        }
        Ok(())
    }

    /// The words that a CPU writes: some, or all if the content may be torn.
    pub(super) fn writing(&mut self, part: &Part) -> Writing {
        self.stamp += 1;
        let words = if part.torn { 0 } else { self.random.between(1, 48) as usize };
        Writing { buffer: part.want.buffer, stamp: self.stamp, words }
    }

    /// The pieces that a device writes. A piece ends with its page: the pages of the device's copy do not follow each
    /// other.
    pub(super) fn pieces(&mut self, part: &Part) -> Vec<Piece> {
        let pages = self.oracle.buffers[part.want.buffer].memory.pages.len();
        let places: Vec<(usize, usize)> = if part.torn {
            (0..pages * WORDS).step_by(ROOM).map(|first| (first, ROOM)).collect()
        } else {
            let count = self.random.between(1, 2);
            let some = (0..count).map(|_| {
                let page = self.random.below(pages as u64) as usize;
                let first = self.random.below(WORDS as u64) as usize;
                let most = (WORDS - first).min(ROOM);
                (page * WORDS + first, 1 + self.random.below(most as u64) as usize)
            });
            some.collect()
        };
        self.stamp += 1;
        let all = Writing { buffer: part.want.buffer, stamp: self.stamp, words: 0 };
        let mut values = all.values(places.iter().map(|(_, length)| length).sum());
        let take = |(first, length): (usize, usize)| {
            (first, values.by_ref().take(length).map(|(_, value)| value).collect())
        };
        places.into_iter().map(take).collect()
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A CPU cache that is not coherent, and a device, around one line of a buffer.
//!
//! It knows nothing of the engine's rules. The cache may fetch a line or write it back at any moment
//! (speculation, eviction). So the model follows the set of all lines that are possible.

use buffersync_engine::Access;

/// The effect of a cache operation on the CPU's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    Nothing,
    /// START, unless it is for writing only: it drops the line, dirty or not. An exporter may write a
    /// dirty line back first.
    Invalidate,
    /// END for writing: it writes a dirty line back.
    Clean,
}

/// One line, in memory and perhaps in the CPU's cache. Values count versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Line {
    memory: u8,
    /// The value, and whether it is dirty.
    cached: Option<(u8, bool)>,
    /// The value that every read must return. `None` if nobody knows it, because an evicted holder may have
    /// written. Then the next read in order decides, and later reads must agree.
    newest: Option<u8>,
}

impl Line {
    /// A line of unknown history: an old version may be in the cache.
    pub fn unknown() -> Self {
        Self { memory: 1, cached: Some((0, false)), newest: Some(1) }
    }

    fn written_back(mut self) -> Self {
        if let Some((value, true)) = self.cached {
            self.memory = value;
            self.cached = Some((value, false));
        }
        self
    }

    /// The lines that the cache may make of it by itself: no change, a fetch, a write-back, an eviction.
    fn disturbed(self) -> [Self; 4] {
        let fetched = Self { cached: self.cached.or(Some((self.memory, false))), ..self };
        let evicted = Self { cached: None, ..self.written_back() };
        [self, fetched, self.written_back(), evicted]
    }

    fn next_version(&self) -> u8 {
        let cached = self.cached.map_or(0, |(value, _)| value);
        1 + self.memory.max(cached).max(self.newest.unwrap_or(0))
    }

    fn read(mut self, value: u8) -> Result<Self, &'static str> {
        match self.newest {
            Some(newest) if newest != value => Err("a stale read, or a lost write"),
            _ => {
                self.newest = Some(value);
                Ok(self)
            }
        }
    }

    /// An access as it happens. A CPU write is a partial one, so it fetches the line first.
    fn accessed(mut self, access: Access) -> Result<Self, &'static str> {
        let version = self.next_version();
        match access {
            Access::Read | Access::Write => {
                let (value, _) = *self.cached.get_or_insert((self.memory, false));
                let mut line = self.read(value)?;
                if access == Access::Write {
                    line.cached = Some((version, true));
                    line.newest = Some(version);
                }
                Ok(line)
            }
            Access::DmaRead => self.read(self.memory),
            Access::DmaWrite => Ok(Self { memory: version, newest: Some(version), ..self }),
        }
    }

    /// An access by an evicted holder, or by a holder while an evicted one is at work.
    pub fn trespassed(self, access: Access) -> Self {
        let version = self.next_version();
        match access {
            Access::Write => Self { cached: Some((version, true)), newest: None, ..self },
            Access::DmaWrite => Self { memory: version, newest: None, ..self },
            Access::Read | Access::DmaRead => self,
        }
    }

    /// Whether a write-back would change the memory.
    fn is_unwritten(&self) -> bool {
        self.cached.is_some_and(|(value, dirty)| dirty && value != self.memory)
    }

    /// Replaces versions by small numbers in the same order: only the order matters.
    fn renamed(self) -> Self {
        let cached = self.cached.map_or(self.memory, |(value, _)| value);
        let all = [self.memory, cached, self.newest.unwrap_or(self.memory)];
        let rank = |value: u8| {
            let smaller = |nth: usize| all[nth] < value && !all[..nth].contains(&all[nth]);
            (0..all.len()).filter(|nth| smaller(*nth)).count() as u8
        };
        Self {
            memory: rank(self.memory),
            cached: self.cached.map(|(value, dirty)| (rank(value), dirty)),
            newest: self.newest.map(rank),
        }
    }
}

/// All lines that are possible, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lines(Vec<Line>);

impl Lines {
    pub fn unknown() -> Self {
        Self(vec![Line::unknown()]).disturbed()
    }

    /// A buffer that nobody has used yet.
    pub fn known() -> Self {
        Self(vec![Line { memory: 0, cached: None, newest: Some(0) }]).disturbed()
    }

    fn of(lines: impl Iterator<Item = Line>) -> Self {
        let mut all: Vec<Line> = lines.map(Line::renamed).collect();
        all.sort_unstable();
        all.dedup();
        Self(all)
    }

    fn map<I: IntoIterator<Item = Line>>(&self, each: impl Fn(Line) -> I) -> Self {
        Self::of(self.0.iter().flat_map(|line| each(*line)))
    }

    fn disturbed(&self) -> Self {
        self.map(Line::disturbed)
    }

    /// A cache operation. A failed one may have had its effect or not.
    pub fn sync(&self, sync: Sync, fails: bool) -> Self {
        let after = self.map(|line| {
            let done = match sync {
                Sync::Nothing => [line, line],
                Sync::Invalidate => {
                    [line, line.written_back()].map(|line| Line { cached: None, ..line })
                }
                Sync::Clean => [line.written_back(); 2],
            };
            fails.then_some(line).into_iter().chain(done)
        });
        after.disturbed()
    }

    /// An access in order: no other writer is at work.
    pub fn accessed(&self, access: Access) -> Result<Self, &'static str> {
        let accessed: Result<Vec<Line>, _> =
            self.0.iter().map(|line| line.accessed(access)).collect();
        Ok(Self::of(accessed?.into_iter()).disturbed())
    }

    /// An access that may find anything.
    pub fn trespassed(&self, access: Access) -> Self {
        self.map(|line| [line.trespassed(access)]).disturbed()
    }

    /// A device that the engine does not see may write.
    pub fn used_unseen(&self) -> Self {
        let written = |line: Line| match line.is_unwritten() {
            true => line.trespassed(Access::DmaWrite),
            false => line.accessed(Access::DmaWrite).unwrap_or(line),
        };
        self.map(|line| [line, written(line)]).disturbed()
    }

    /// Whether a CPU write may still reach the memory.
    pub fn may_be_unwritten(&self) -> bool {
        self.0.iter().any(Line::is_unwritten)
    }

    /// A holder's access, at any moment of its grant. `trespassers` may write meanwhile, and then nobody
    /// knows the right value.
    pub fn access(&self, access: Access, trespassers: &[Access]) -> Result<Self, &'static str> {
        if trespassers.is_empty() {
            return self.accessed(access);
        }
        let before = self.with_any_of(trespassers);
        Ok(before.trespassed(access).with_any_of(trespassers))
    }

    fn with_any_of(&self, trespassers: &[Access]) -> Self {
        let mut lines = self.map(|line| [Line { newest: None, ..line }]);
        for access in trespassers {
            let after = lines.map(|line| [line, line.trespassed(*access)]);
            lines = after.disturbed();
        }
        lines
    }
}

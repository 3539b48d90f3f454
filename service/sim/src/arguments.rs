// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Clients choose these arguments: groups, locks, buffers, accesses, time-outs; sometimes nonsense.

use std::time::Duration;

use buffersync_aidl::event::Buffer as Told;
use buffersync_aidl::reply::Granted;
use buffersync_engine::{Access, BufferId, Wait};

use crate::books::{join, At, Lock, Waits};
use crate::refusals::Asked;
use crate::simulation::Inner;

pub const ACCESSES: [Access; 4] = [Access::Read, Access::Write, Access::DmaRead, Access::DmaWrite];
const MS: u64 = 1_000_000;

/// A lock's arguments.
pub struct Arguments {
    pub buffers: Vec<BufferId>,
    pub accesses: Vec<Access>,
    pub asked: Asked,
}

impl Inner {
    pub fn open_groups(&self) -> Vec<At> {
        let groups = self.books.groups.iter().enumerate();
        groups.filter(|(_, group)| group.open).map(|(at, _)| at).collect()
    }

    /// An open group, or sometimes a closed one.
    pub fn some_group(&mut self, nonsense: u32) -> Option<At> {
        let open = self.open_groups();
        if open.is_empty() || self.random.one_in(4 * nonsense) {
            let count = self.books.groups.len();
            return (count > 0).then(|| self.random.below(count));
        }
        self.random.of(&open).copied()
    }

    /// A lock that lives, of a kind, if there is one; or any number.
    pub fn some_lock(&mut self, nonsense: u32, kind: impl Fn(&Lock) -> bool) -> Option<(At, u64)> {
        if self.random.one_in(nonsense) {
            let at = self.some_group(nonsense)?;
            let last = self.books.groups[at].last;
            return Some((at, self.random.number() % (last + 3)));
        }
        let open = self.books.groups.iter().enumerate().filter(|(_, group)| group.open);
        let locks = open.flat_map(|(at, group)| group.locks.iter().map(move |lock| (at, lock)));
        let locks: Vec<(At, u64)> =
            locks.filter(|(_, lock)| kind(lock)).map(|(at, lock)| (at, lock.token)).collect();
        self.random.of(&locks).copied()
    }

    pub fn some_buffers(&mut self, all: &[BufferId], nonsense: u32) -> Vec<BufferId> {
        let mut some: Vec<BufferId> =
            all.iter().copied().filter(|_| self.random.one_in(2)).collect();
        if self.random.one_in(4) {
            some.reverse();
        }
        if let Some(twice) = some.first().copied().filter(|_| self.random.one_in(10)) {
            some.push(twice);
        }
        if self.random.one_in(2 * nonsense) {
            let known: Vec<BufferId> = self.books.buffers.keys().copied().collect();
            some.push(self.random.of(&known).copied().unwrap_or(BufferId(1)));
        }
        some
    }

    /// Buffers and accesses that a lock may ask for. `has` is what a growing lock has already.
    pub fn arguments(&mut self, at: At, nonsense: u32) -> Arguments {
        let members = self.books.groups[at].members.clone();
        let all: Vec<BufferId> = members.iter().map(|(buffer, _)| *buffer).collect();
        let buffers =
            if self.random.one_in(3) { Vec::new() } else { self.some_buffers(&all, nonsense) };
        let mut accesses = Vec::new();
        if !buffers.is_empty() && self.random.one_in(2) {
            for buffer in &buffers {
                let own = members
                    .iter()
                    .find(|(member, _)| member == buffer)
                    .map_or(Access::Read, |(_, own)| *own);
                let same: Vec<Access> =
                    ACCESSES.into_iter().filter(|access| access.is_dma() == own.is_dma()).collect();
                let from = if self.random.one_in(4) { &ACCESSES[..] } else { &same[..] };
                accesses.push(from[self.random.below(from.len())]);
            }
        }
        let wait = match self.random.below(8) {
            0 => Wait::Never,
            1..=3 => {
                Wait::AtMost(Duration::from_nanos([0, MS, 5 * MS, 40 * MS][self.random.below(4)]))
            }
            _ => Wait::UntilGranted,
        };
        let asked = Asked { named: buffers.clone(), joined: None, wait };
        Arguments { buffers, accesses, asked }
    }

    pub fn joined(
        &self,
        at: At,
        Arguments { buffers, accesses, .. }: &Arguments,
        has: &[(BufferId, Access)],
    ) -> Option<Vec<(BufferId, Access)>> {
        let group = &self.books.groups[at];
        let all = buffers.is_empty().then_some(&group.members).into_iter().flatten().copied();
        let named = buffers.iter().enumerate().map(|(nth, buffer)| {
            let own = group.member(*buffer).unwrap_or(Access::Read);
            (*buffer, accesses.get(nth).copied().unwrap_or(own))
        });
        let mut joined = has.to_vec();
        for (buffer, access) in all.chain(named) {
            let before = joined.iter().find(|(other, _)| *other == buffer);
            if before.is_some_and(|(_, before)| before.is_dma() != access.is_dma()) {
                return None;
            }
            join(&mut joined, buffer, access);
        }
        Some(joined)
    }

    pub fn waits(&self, wait: Wait) -> Option<Waits> {
        let since = self.books.now;
        let expires = match wait {
            Wait::AtMost(span) => Some(since + span.as_nanos() as u64),
            Wait::Never | Wait::UntilGranted => None,
        };
        Some(Waits { expires })
    }
}

/// The buffers of a reply.
pub fn told(grant: &[i64]) -> Result<(u64, Vec<Told>), String> {
    match Granted::of(grant) {
        Ok(Some(granted)) => Ok((granted.deadline_ns as u64, granted.buffers().collect())),
        other => Err(format!("a reply is no grant: {other:?}")),
    }
}

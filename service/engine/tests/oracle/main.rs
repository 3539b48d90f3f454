// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Long random histories of calls, given to the engine and to a naive second implementation of the
//! rules: every answer, everything that is told, and the next deadline must be the same.

#[path = "../common/mod.rs"]
mod common;
mod naive;

use std::time::Duration;

use buffersync_engine::*;
use common::World;
use naive::{Naive, Told};
use proptest::prelude::*;

const GROUPS: usize = 6;
const BUFFERS: u64 = 4;

#[derive(Clone, Debug)]
enum Call {
    Add(usize, u64, Access),
    Remove(usize, u64),
    Lock(usize, Option<u8>),
    TryLock(usize),
    Cancel(usize),
    /// With a fence for the whole grant, and one for a buffer.
    Unlock(usize, bool, Option<u64>),
    BadUnlock(usize),
    FenceDone(prop::sample::Index, bool),
    Close(usize, bool),
    Pass(u8),
}

fn call() -> impl Strategy<Value = Call> {
    let group = 0..GROUPS;
    let access = prop_oneof![
        3 => Just(Access::DmaRead),
        3 => Just(Access::DmaWrite),
        1 => Just(Access::Read),
        1 => Just(Access::Write),
    ];
    prop_oneof![
        6 => (group.clone(), 0..BUFFERS, access).prop_map(|(g, b, a)| Call::Add(g, b, a)),
        1 => (group.clone(), 0..BUFFERS).prop_map(|(g, b)| Call::Remove(g, b)),
        8 => (group.clone(), prop::option::weighted(0.3, 1..60u8))
            .prop_map(|(g, t)| Call::Lock(g, t)),
        2 => group.clone().prop_map(Call::TryLock),
        2 => group.clone().prop_map(Call::Cancel),
        5 => (group.clone(), prop::bool::weighted(0.4), prop::option::weighted(0.2, 0..BUFFERS))
            .prop_map(|(g, all, one)| Call::Unlock(g, all, one)),
        1 => group.clone().prop_map(Call::BadUnlock),
        2 => (any::<prop::sample::Index>(), prop::bool::weighted(0.8))
            .prop_map(|(i, ok)| Call::FenceDone(i, ok)),
        1 => (group, any::<bool>()).prop_map(|(g, died)| Call::Close(g, died)),
        3 => (0..40u8).prop_map(Call::Pass),
    ]
}

/// Both implementations, side by side.
struct Pair {
    world: World,
    naive: Naive,
    groups: Vec<GroupId>,
    /// The last token of each group.
    tokens: Vec<Token>,
    fences: Vec<FenceId>,
    /// Of calls; part of every moment, so that no two things are due at once.
    step: u64,
}

const MS: u64 = 1_000_000;

impl Pair {
    fn new() -> Self {
        let mut pair = Self {
            world: World::new(),
            naive: Naive::default(),
            groups: Vec::new(),
            tokens: vec![Token(0); GROUPS],
            fences: Vec::new(),
            step: 0,
        };
        pair.groups = (0..GROUPS).map(|at| pair.open(at)).collect();
        pair
    }

    fn open(&mut self, at: usize) -> GroupId {
        let hold = (20 + 15 * at as u64) * MS + 10_000 * at as u64;
        let (id, _) = self.world.engine.open_group(Some(Duration::from_nanos(hold)));
        self.naive.open(id, hold);
        id
    }

    fn run(&mut self, call: &Call) {
        self.step += 1;
        self.world.now = Time(self.world.now.0 + 1);
        let now = self.world.now;
        match *call {
            Call::Add(at, buffer, access) => {
                let (id, buffer) = (self.groups[at], BufferId(buffer));
                let answer = self.world.engine.add(id, buffer, access);
                assert_eq!(answer, self.naive.add(id, buffer, access));
            }
            Call::Remove(at, buffer) => {
                let (id, buffer) = (self.groups[at], BufferId(buffer));
                let answer = self.world.call(|e, _, fx| e.remove(id, buffer, fx));
                assert_eq!(answer, self.naive.remove(id, buffer));
            }
            Call::Lock(at, timeout) => {
                let id = self.groups[at];
                let timeout = timeout.map(|ms| u64::from(ms) * MS + 500_000 + 10_000 * at as u64);
                let limit = timeout.map(Duration::from_nanos);
                let answer = self.world.try_to_lock_for(id, limit);
                assert_eq!(answer, self.naive.lock(now, id, timeout, true));
                self.tokens[at] = answer.unwrap_or(self.tokens[at]);
            }
            Call::TryLock(at) => {
                let id = self.groups[at];
                let answer = self.world.try_lock(id);
                assert_eq!(answer, self.naive.lock(now, id, None, false));
                self.tokens[at] = answer.unwrap_or(self.tokens[at]);
            }
            Call::Cancel(at) => {
                let id = self.groups[at];
                assert_eq!(self.world.cancel(id), self.naive.cancel(now, id));
            }
            Call::Unlock(at, all, one) => self.unlock(at, self.tokens[at], all, one),
            // Another group's token, or an old one.
            Call::BadUnlock(at) => self.unlock(at, self.tokens[(at + 1) % GROUPS], false, None),
            Call::FenceDone(index, ok) => {
                if !self.fences.is_empty() {
                    let fence = self.fences.remove(index.index(self.fences.len()));
                    self.world.fence_done(fence, ok);
                    self.naive.fence_done(now, fence, ok);
                }
            }
            Call::Close(at, died) => {
                let how = if died { Close::Died } else { Close::Closed };
                self.world.close(self.groups[at], how);
                self.naive.close(now, self.groups[at], how);
                self.groups[at] = self.open(at);
            }
            Call::Pass(ms) => {
                // From one deadline to the next: between two, cache operations are done.
                let end = Time(now.0 + u64::from(ms) * MS);
                while let Some(due) = self.world.engine.next_deadline().filter(|due| *due <= end) {
                    self.world.now = self.world.now.max(due);
                    self.world.pass(0);
                    self.naive.tick(self.world.now);
                    self.compare();
                }
                self.world.now = end;
            }
        }
        self.compare();
        for at in 0..GROUPS {
            self.compare_fences(at);
        }
    }

    fn compare_fences(&self, at: usize) {
        let (id, token) = (self.groups[at], self.tokens[at]);
        let mut fences: Vec<_> = self.world.engine.acquire_fences(id, token).collect();
        fences.sort_unstable();
        assert_eq!(fences, self.naive.acquire_fences(id, token));
    }

    fn unlock(&mut self, at: usize, token: Token, all: bool, one: Option<u64>) {
        let (id, now) = (self.groups[at], self.world.now);
        let one = one.map(|buffer| Some(BufferId(buffer)));
        let given: Vec<ReleaseFence> = one
            .into_iter()
            .chain(all.then_some(None))
            .zip(self.world.last_fence + 1..)
            .map(|(buffer, fence)| ReleaseFence { fence: FenceId(fence), buffer })
            .collect();
        self.world.last_fence += given.len() as u64;
        let answer = self.world.call(|e, now, fx| e.unlock(now, id, token, &given, fx));
        assert_eq!(answer, self.naive.unlock(now, id, token, &given));
        if answer.is_ok() {
            self.fences.extend(given.iter().map(|given| given.fence));
        }
    }

    /// Of what is told in one call the order is nobody's business.
    fn compare(&mut self) {
        let mut buffers = std::mem::take(&mut self.world.buffers).into_iter();
        let told = std::mem::take(&mut self.world.events).into_iter();
        let mut told: Vec<Told> = told
            .filter_map(|event| match event {
                Effect::Granted { group, grant } => {
                    let buffers = buffers.next().expect("the buffers of the grant");
                    Some(Told::Granted(group, grant.token, grant.deadline, buffers))
                }
                Effect::TimedOut { group, token } => Some(Told::TimedOut(group, token)),
                Effect::Wounded { group, token } => Some(Told::Wounded(group, token)),
                Effect::Evicted { group, token, cause } => Some(Told::Evicted(group, token, cause)),
                _ => None,
            })
            .collect();
        let mut expected = std::mem::take(&mut self.naive.told);
        told.sort_by_key(|told| format!("{told:?}"));
        expected.sort_by_key(|told| format!("{told:?}"));
        assert_eq!(told, expected, "the engine on the left, the oracle on the right");
        let (next, exact) = (self.world.engine.next_deadline(), self.naive.next_deadline());
        assert!(
            exact.is_none_or(|due| next.is_some_and(|next| next <= due)),
            "{next:?}, {exact:?}"
        );
    }

    fn end(mut self) {
        for at in 0..GROUPS {
            self.world.close(self.groups[at], Close::Died);
        }
        self.world.pass(10_000);
        assert!(self.world.engine.is_empty(), "{:#?}", self.world.engine);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_engine_does_what_the_rules_say(history in prop::collection::vec(call(), 1..400)) {
        let mut pair = Pair::new();
        for call in &history {
            pair.run(call);
        }
        pair.end();
    }
}

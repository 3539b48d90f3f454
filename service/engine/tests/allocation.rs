// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Locking and unlocking allocate nothing once the tables have their size. A table that is empty again
//! has freed the memory of a crowd.

use std::time::Duration;

use buffersync_engine::*;

fn allocations(run: impl FnOnce()) -> u64 {
    allocation_counter::measure(run).count_total
}

/// Groups with the same buffers. The effects are carried out.
struct World {
    engine: Engine,
    fx: Effects,
    now: Time,
    groups: Vec<GroupId>,
    last: Token,
}

impl World {
    fn new(accesses: &[Access]) -> Self {
        let mut engine = Engine::new(Limits::default());
        let groups = accesses.iter().map(|access| {
            let (group, _) = engine.open_group(None);
            for buffer in 0..16 {
                engine.add(group, BufferId(buffer), *access).unwrap();
            }
            group
        });
        let groups = groups.collect();
        Self { engine, fx: Effects::new(), now: Time(0), groups, last: Token(0) }
    }

    fn lock(&mut self, at: usize) -> Token {
        self.now = self.now.after(Duration::from_micros(1));
        let limit = Wait::AtMost(Duration::from_secs(1));
        self.last.0 += 1;
        let Self { engine, fx, now, groups, last } = self;
        let locked = engine.lock(*now, groups[at], *last, Wants::ALL, limit, Implicit::Unknown, fx);
        match locked.unwrap() {
            LockOutcome::Granted(grant) => {
                assert_eq!(self.fx.buffers(grant.buffers).len(), 16);
                self.carry_out();
                grant.token
            }
            LockOutcome::Pending(token) => {
                self.carry_out();
                token
            }
        }
    }

    fn unlock(&mut self, at: usize, token: Token) {
        self.engine.unlock(self.now, self.groups[at], token, &[], &mut self.fx).unwrap();
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.fx.pop() {
            if let Effect::Sync { job, .. } = effect {
                self.engine.job_done(self.now, job, Ok(()), &mut self.fx);
            }
        }
    }

    /// Each group locks, and waits for the first. Then each is granted and unlocks, one after the other.
    fn round(&mut self) {
        let mut tokens = [Token(0); 8];
        for (at, token) in (0..self.groups.len()).zip(&mut tokens) {
            *token = self.lock(at);
        }
        for (at, token) in (0..self.groups.len()).zip(tokens) {
            self.unlock(at, token);
        }
    }
}

#[test]
fn the_warm_path_allocates_nothing() {
    use Access::{DmaRead, DmaWrite, Read, Write};
    for (what, accesses) in [
        ("a device alone", &[DmaWrite][..]),
        ("two devices by turns", &[DmaWrite, DmaRead]),
        ("a crowd of readers and writers", &[DmaWrite, DmaRead, DmaRead, DmaWrite, DmaRead]),
        ("CPU and device, with cache operations", &[Write, DmaWrite, Read, DmaRead]),
    ] {
        let mut world = World::new(accesses);
        world.round();
        world.round();
        let count = allocations(|| (0..100).for_each(|_| world.round()));
        assert_eq!(count, 0, "{what}");
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1);
    let mut world = World::new(&[Access::DmaWrite]);
    assert!(allocations(|| world.round()) > 0, "the first round makes the tables");
}

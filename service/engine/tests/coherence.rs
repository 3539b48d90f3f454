// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The coherence rules against a model of a cache that is not coherent.
//!
//! The model knows nothing of the rules: a cache line may be fetched or written back at any moment
//! on its own, so every run asks what could be there, not what usually is.

use buffersync_engine::coherence::Coherence;
use buffersync_engine::Access::{DmaRead, DmaWrite, Read, Write};
use buffersync_engine::{Access, SyncFlags, SyncKind};

/// One line of a buffer, in memory and, perhaps, in the CPU's cache. Values count versions.
#[derive(Clone)]
struct Line {
    memory: u32,
    /// Value, and whether it is dirty.
    cached: Option<(u32, bool)>,
    newest: u32,
}

impl Line {
    fn new() -> Self {
        // What was before is unknown: an old line is in the cache.
        Self { memory: 1, cached: Some((0, false)), newest: 1 }
    }

    fn write_back(&mut self) {
        if let Some((value, true)) = self.cached {
            self.memory = value;
            self.cached = Some((value, false));
        }
    }

    /// START: invalidates, if a device may have written (READ is among the flags).
    fn start(&mut self) {
        self.cached = None;
    }

    /// END: writes dirty lines back.
    fn end(&mut self) {
        self.write_back();
    }

    /// Whether what is read is the newest.
    fn cpu_read(&mut self) -> bool {
        let (value, _) = *self.cached.get_or_insert((self.memory, false));
        value == self.newest
    }

    fn cpu_write(&mut self) -> bool {
        // A partial write fetches the line first: it must not be stale.
        let fresh = self.cpu_read();
        self.newest += 1;
        self.cached = Some((self.newest, true));
        fresh
    }

    fn dma_read(&self) -> bool {
        self.memory == self.newest
    }

    fn dma_write(&mut self) -> bool {
        self.newest += 1;
        self.memory = self.newest;
        true
    }

    /// What the cache may do by itself at any time: nothing, fetch the line, evict it.
    fn disturbed(&self) -> [Self; 3] {
        let mut fetched = self.clone();
        fetched.cached.get_or_insert((fetched.memory, false));
        let mut evicted = self.clone();
        evicted.write_back();
        evicted.cached = None;
        [self.clone(), fetched, evicted]
    }
}

fn access(line: &mut Line, access: Access) -> bool {
    match access {
        Read => line.cpu_read(),
        Write => line.cpu_write(),
        DmaRead => line.dma_read(),
        DmaWrite => line.dma_write(),
    }
}

/// Carries out a plan on all lines, and checks that START and END alternate.
fn carry_out(
    state: &mut Coherence,
    lines: &mut [Line],
    plan: [Option<(SyncKind, SyncFlags)>; 2],
) -> usize {
    let mut issued = 0;
    for (kind, flags) in plan.into_iter().flatten() {
        let open = state.open().is_some();
        assert_eq!(kind == SyncKind::End, open, "START and END do not alternate");
        for line in lines.iter_mut() {
            match kind {
                SyncKind::Start => line.start(),
                SyncKind::End => line.end(),
            }
        }
        state.issued(kind, flags);
        issued += 1;
    }
    issued
}

/// Runs every sequence of `length` more accesses from here; counts accesses and operations.
fn explore(state: Coherence, lines: &[Line], history: &mut Vec<Access>, length: usize) {
    if length == 0 {
        return;
    }
    for next in Access::ALL {
        history.push(next);
        let (mut state, mut lines) = (state, lines.to_vec());
        let plan = state.plan(next);
        carry_out(&mut state, &mut lines, plan);
        state.granted(next);
        let mut after = Vec::new();
        for line in &lines {
            for mut line in line.disturbed() {
                assert!(access(&mut line, next), "stale or lost: {history:?}");
                after.extend(line.disturbed());
            }
        }
        // Lines in the same condition have the same future.
        after.sort_by_key(|line| (line.memory, line.cached, line.newest));
        after.dedup_by_key(|line| (line.memory, line.cached, line.newest));
        explore(state, &after, history, length - 1);
        history.pop();
    }
}

#[test]
fn no_read_is_stale_and_no_write_is_lost_in_any_sequence() {
    explore(Coherence::default(), &[Line::new()], &mut Vec::new(), 6);
}

#[test]
fn a_rule_over_pairs_fails_in_this_model() {
    // The model can tell: the RFC's rule, which knows only the last access, reads stale data.
    let sequence = [Write, Read, DmaRead];
    let mut line = Line::new();
    line.start();
    let mut stale = false;
    let mut previous = None;
    for next in sequence {
        match (previous, next) {
            (Some(DmaWrite), Read) => line.start(),
            (Some(Write), DmaRead | DmaWrite) => line.end(),
            _ => {}
        }
        stale |= !access(&mut line, next);
        previous = Some(next);
    }
    assert!(stale);
}

#[test]
fn every_pair_gets_the_operations_of_the_table() {
    use SyncFlags::{Read as R, ReadWrite as RW};
    use SyncKind::{End, Start};
    let table = [
        (Read, Read, None),
        (Read, Write, None),
        (Read, DmaRead, None),
        (Read, DmaWrite, Some((End, R))),
        (Write, Read, None),
        (Write, Write, None),
        (Write, DmaRead, Some((End, RW))),
        (Write, DmaWrite, Some((End, RW))),
        (DmaRead, Read, Some((Start, R))),
        (DmaRead, Write, Some((Start, RW))),
        (DmaRead, DmaRead, None),
        (DmaRead, DmaWrite, None),
        (DmaWrite, Read, Some((Start, R))),
        (DmaWrite, Write, Some((Start, RW))),
        (DmaWrite, DmaRead, None),
        (DmaWrite, DmaWrite, None),
    ];
    for (first, second, expected) in table {
        let mut state = Coherence::default();
        let plan = state.plan(first);
        carry_out(&mut state, &mut [], plan);
        state.granted(first);
        assert_eq!(state.plan(second), [expected, None], "{first:?} {second:?}");
    }
}

#[test]
fn an_end_carries_the_write_that_a_read_only_start_did_not_announce() {
    let mut state = Coherence::default();
    for next in [Read, Write] {
        let plan = state.plan(next);
        carry_out(&mut state, &mut [], plan);
        state.granted(next);
    }
    assert_eq!(state.plan(DmaRead)[0], Some((SyncKind::End, SyncFlags::ReadWrite)));
}

#[test]
fn start_and_end_alternate_after_evictions_and_failures_too() {
    for before in Access::ALL {
        for fails in [false, true] {
            for after in Access::ALL {
                let mut state = Coherence::default();
                let plan = state.plan(before);
                carry_out(&mut state, &mut [], plan);
                state.granted(before);
                if fails {
                    state.failed();
                } else {
                    state.may_have_written(Write);
                    state.may_have_written(DmaWrite);
                }
                let plan = state.plan(after);
                carry_out(&mut state, &mut [], plan);
                state.granted(after);
                assert_eq!(state.plan(after), [None, None], "{before:?} {fails} {after:?}");
                let plan = state.plan_retirement();
                carry_out(&mut state, &mut [], plan);
                assert_eq!(state.open(), None);
            }
        }
    }
}

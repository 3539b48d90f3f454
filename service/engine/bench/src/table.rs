// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The engine behind one mutex. Each access is `DMA_WRITE`, so that the benchmark measures locking alone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use buffersync_engine::{
    Access, BufferId, Effect, Effects, Engine, Error, GroupId, Implicit, Limits, LockOutcome, Time,
    Token, Wait, Wants,
};

/// The lock table and threads that wait for grants.
pub struct Table(Mutex<State>);

struct State {
    engine: Engine,
    effects: Effects,
    now: Time,
    last: Token,
    waiting: HashMap<GroupId, Arc<Waiter>>,
}

/// How a thread learns about its grant.
struct Waiter {
    thread: Thread,
    granted: AtomicU64,
}

impl Table {
    /// A table with so many buffers. Groups that never lock keep them in it.
    pub fn new(buffers: usize) -> Self {
        let mut engine = Engine::new(Limits::default());
        // In groups of 64, since the cost of `add` grows with the group.
        for first in (0..buffers).step_by(64) {
            let (keeper, _) = engine.open_group(None);
            for buffer in first..buffers.min(first + 64) {
                add(&mut engine, keeper, buffer);
            }
        }
        Self(Mutex::new(State {
            engine,
            effects: Effects::new(),
            now: Time(0),
            last: Token(0),
            waiting: HashMap::new(),
        }))
    }

    /// Opens a group with these buffers.
    pub fn group(&self, which: &[usize]) -> GroupId {
        let mut state = self.state();
        let (group, _) = state.engine.open_group(None);
        which.iter().for_each(|buffer| add(&mut state.engine, group, *buffer));
        group
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks a group whose buffers nobody else holds. Panics otherwise.
    pub fn lock_free(&self, group: GroupId) -> Token {
        let mut state = self.state();
        match state.lock(group) {
            Ok(LockOutcome::Granted(grant)) => {
                // The service does this too: its reply has every buffer.
                assert!(!state.effects.buffers(grant.buffers).is_empty());
                grant.token
            }
            other => panic!("{other:?}"),
        }
    }

    /// Locks a group that has to wait. No thread waits for the grant.
    pub fn lock_queued(&self, group: GroupId) -> Token {
        let mut state = self.state();
        match state.lock(group) {
            Ok(LockOutcome::Pending(token)) => token,
            other => panic!("{other:?}"),
        }
    }

    /// Locks a group. This thread waits for the grant if it must. Returns whether it had to wait.
    pub fn lock(&self, group: GroupId) -> (Token, bool) {
        let mut state = self.state();
        let token = match state.lock(group) {
            Ok(LockOutcome::Granted(grant)) => return (grant.token, false),
            Ok(LockOutcome::Pending(token)) => token,
            Err(error) => panic!("{error:?}"),
        };
        let thread = std::thread::current();
        let waiter = Arc::new(Waiter { thread, granted: AtomicU64::new(0) });
        state.waiting.insert(group, Arc::clone(&waiter));
        drop(state);
        while waiter.granted.load(Ordering::Acquire) != token.0 {
            std::thread::park();
        }
        (token, true)
    }

    /// Ends a grant, and tells those who are granted with that.
    pub fn unlock(&self, group: GroupId, token: Token) {
        let mut state = self.state();
        let State { engine, effects, now, waiting, .. } = &mut *state;
        engine.unlock(*now, group, token, &[], effects).expect("a grant");
        while let Some(effect) = effects.pop() {
            if let Effect::Granted { group, grant } = effect {
                if let Some(waiter) = waiting.remove(&group) {
                    waiter.granted.store(grant.token.0, Ordering::Release);
                    waiter.thread.unpark();
                }
            }
        }
    }
}

impl State {
    fn lock(&mut self, group: GroupId) -> Result<LockOutcome, Error> {
        let Self { engine, effects, now, last, .. } = self;
        now.0 += 1;
        last.0 += 1;
        let (wait, unknown) = (Wait::UntilGranted, Implicit::Unknown);
        engine.lock(*now, group, *last, Wants::ALL, wait, unknown, effects)
    }
}

fn add(engine: &mut Engine, group: GroupId, buffer: usize) {
    let added = engine.add(group, BufferId(buffer as u64), Access::DmaWrite);
    added.expect("an open group");
}

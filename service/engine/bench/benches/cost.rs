// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask bench -- cost`: the cost of a call with 10^2 to 10^5 waiters, holders, fences or victims. It
//! prints the table of docs/engine.md.
//!
//! Each figure is the time of one call, or of its share for each lock that it lets go on. It is the mean
//! over many calls in one world, since a single call is too short for the clock.

use std::hint::black_box;
use std::time::Instant;

use buffersync_engine::Access::{DmaRead, DmaWrite, Read};
use buffersync_engine::{
    Access, BufferId, Effect, Effects, Engine, FenceId, GroupId, Implicit, JobId, Limits,
    LockOutcome, ReleaseFence, Time, Token, Wait, Wants,
};
use buffersync_engine_bench::Random;

const SIZES: [usize; 4] = [100, 1_000, 10_000, 100_000];
const NOW: Time = Time(0);

/// The measurements: a title, and a function from the size to nanoseconds.
type Row = (&'static str, fn(usize) -> f64);

const ROWS: &[Row] = &[
    ("n writers wait: one more `lock`", |n| queue_of_writers(n).0),
    ("n writers wait: `unlock`, which grants the next", |n| queue_of_writers(n).1),
    ("n readers and behind them a writer wait: a reader's `lock`", reader_behind_a_writer),
    ("n readers hold: a reader's `lock` and `unlock`", reader_among_readers),
    ("n readers hold: one of them, in any order, `unlock`s", readers_leave),
    ("n readers' fences pend: a reader's `lock` and `unlock`", |n| fences(n).0),
    ("n readers' fences pend: one, in any order, signals", |n| fences(n).1),
    ("n readers' fences pend: a writer's `lock`, granted with them", |n| fences(n).2),
    ("n CPU locks at the gate of n fences: one signals", gate_of_many_fences),
    ("n growing readers: an older writer wounds all, for each", wounds),
    ("n CPU readers wait for an implicit fence: it signals, for each", implicit_waits),
    ("n other groups hold other buffers: `lock` and `unlock` of four", own_buffers),
    ("n writers wait: one in the middle `cancel`s", |n| middle(n).0),
    ("n writers wait: it comes back there with its kept ticket", |n| middle(n).1),
];

fn main() {
    if std::env::args().any(|arg| arg == "--test") {
        for (_, measure) in ROWS {
            let _ = black_box(measure(10));
        }
        return;
    }
    println!("| one call, ns | n = 10^2 | 10^3 | 10^4 | 10^5 |\n|---|---|---|---|---|");
    for (what, measure) in ROWS {
        let nanos = SIZES.map(|size| format!("{:.0}", measure(size)));
        println!("| {what} | {} |", nanos.join(" | "));
    }
}

/// A lock table and its effects.
struct World {
    engine: Engine,
    fx: Effects,
    jobs: Vec<JobId>,
    granted: Vec<(GroupId, Token)>,
    last: Token,
}

impl World {
    fn new() -> Self {
        let engine = Engine::new(Limits::default());
        let (fx, jobs, granted) = (Effects::new(), Vec::new(), Vec::new());
        Self { engine, fx, jobs, granted, last: Token(0) }
    }

    fn groups(&mut self, count: usize, buffers: &[(u64, Access)]) -> Vec<GroupId> {
        (0..count).map(|_| self.group(buffers)).collect()
    }

    fn group(&mut self, buffers: &[(u64, Access)]) -> GroupId {
        let (group, _) = self.engine.open_group(None);
        for (buffer, access) in buffers {
            self.engine.add(group, BufferId(*buffer), *access).expect("a new group");
        }
        group
    }

    fn lock(&mut self, group: GroupId) -> Token {
        self.last.0 += 1;
        let Self { engine, fx, last, .. } = self;
        let (wait, unknown) = (Wait::UntilGranted, Implicit::Unknown);
        let outcome = engine.lock(NOW, group, *last, Wants::ALL, wait, unknown, fx);
        match outcome.expect("a lock that is not refused") {
            LockOutcome::Granted(grant) => grant.token,
            LockOutcome::Pending(token) => token,
        }
    }

    /// Grows a grant by all buffers of its group. It has to wait for them.
    fn grow(&mut self, group: GroupId, token: Token) {
        let Self { engine, fx, .. } = self;
        let (wait, unknown) = (Wait::UntilGranted, Implicit::Unknown);
        let outcome = engine.grow(NOW, group, token, Wants::ALL, wait, unknown, fx);
        assert_eq!(outcome, Ok(LockOutcome::Pending(token)));
    }

    fn unlock(&mut self, group: GroupId, token: Token, fences: &[ReleaseFence]) {
        self.engine.unlock(NOW, group, token, fences, &mut self.fx).expect("a grant");
        self.listen();
    }

    /// Keeps the jobs and the grants among the effects.
    fn listen(&mut self) {
        while let Some(effect) = self.fx.pop() {
            match effect {
                Effect::Sync { job, .. } | Effect::Wait { job, .. } => self.jobs.push(job),
                Effect::Granted { group, grant } => self.granted.push((group, grant.token)),
                _ => {}
            }
        }
    }

    fn finish_jobs(&mut self) {
        while let Some(job) = self.jobs.pop() {
            self.engine.job_done(NOW, job, Ok(()), &mut self.fx);
            self.listen();
        }
    }
}

/// The mean time of `count` runs, in nanoseconds.
fn time(count: usize, mut run: impl FnMut(usize)) -> f64 {
    let begin = Instant::now();
    (0..count).for_each(&mut run);
    begin.elapsed().as_nanos() as f64 / count as f64
}

fn queue_of_writers(n: usize) -> (f64, f64) {
    let mut world = World::new();
    let groups = world.groups(n + 1, &[(1, DmaWrite)]);
    let mut held = (groups[0], world.lock(groups[0]));
    let lock = time(n, |nth| {
        let _ = black_box(world.lock(groups[nth + 1]));
    });
    let unlock = time(n, |_| {
        world.unlock(held.0, held.1, &[]);
        held = world.granted.pop().expect("the next one");
    });
    (lock, unlock)
}

fn reader_behind_a_writer(n: usize) -> f64 {
    let mut world = World::new();
    let holder = world.group(&[(1, DmaWrite)]);
    world.lock(holder);
    for group in world.groups(n, &[(1, DmaRead)]) {
        world.lock(group);
    }
    let writer = world.group(&[(1, DmaWrite)]);
    world.lock(writer);
    let late = world.groups(1_000, &[(1, DmaRead)]);
    time(late.len(), |nth| {
        let _ = black_box(world.lock(late[nth]));
    })
}

fn reader_among_readers(n: usize) -> f64 {
    let mut world = World::new();
    for group in world.groups(n, &[(1, DmaRead)]) {
        world.lock(group);
    }
    let reader = world.group(&[(1, DmaRead)]);
    time(10_000, |_| {
        let token = world.lock(reader);
        world.unlock(reader, token, &[]);
    })
}

fn readers_leave(n: usize) -> f64 {
    let mut world = World::new();
    let groups = world.groups(n, &[(1, DmaRead)]);
    let mut held: Vec<(GroupId, Token)> =
        groups.into_iter().map(|group| (group, world.lock(group))).collect();
    shuffle(&mut held);
    time(n, |nth| world.unlock(held[nth].0, held[nth].1, &[]))
}

fn shuffle<T>(all: &mut [T]) {
    let mut random = Random(1);
    for at in (1..all.len()).rev() {
        all.swap(at, random.below(at + 1));
    }
}

/// Each of n readers unlocks with a fence.
fn give_fences(world: &mut World, n: usize, access: Access) -> Vec<FenceId> {
    let groups = world.groups(n, &[(1, access)]);
    let tokens: Vec<Token> = groups.iter().map(|group| world.lock(*group)).collect();
    let mut fences: Vec<FenceId> = (0..n as u64).map(FenceId).collect();
    for ((group, token), fence) in groups.into_iter().zip(tokens).zip(&fences) {
        world.unlock(group, token, &[ReleaseFence { fence: *fence, buffer: None }]);
    }
    shuffle(&mut fences);
    fences
}

fn fences(n: usize) -> (f64, f64, f64) {
    let mut world = World::new();
    let fences = give_fences(&mut world, n, DmaRead);
    let reader = world.group(&[(1, DmaRead)]);
    let read = time(10_000, |_| {
        let token = world.lock(reader);
        world.unlock(reader, token, &[]);
    });
    let writer = world.group(&[(1, DmaWrite)]);
    let write = time(1_000, |_| {
        let token = world.lock(writer);
        world.unlock(writer, token, &[]);
    });
    let signal = time(n, |nth| {
        world.engine.fence_done(NOW, fences[nth], true, &mut world.fx);
        world.listen();
    });
    (read, signal, write)
}

fn gate_of_many_fences(n: usize) -> f64 {
    let mut world = World::new();
    // Devices that write pass the buffer on, each with the fences of those before it. The CPU waits.
    let mut fences = Vec::new();
    for nth in 0..n as u64 {
        let group = world.group(&[(1, DmaWrite)]);
        let token = world.lock(group);
        fences.push(FenceId(nth));
        world.unlock(group, token, &[ReleaseFence { fence: FenceId(nth), buffer: None }]);
    }
    for group in world.groups(n, &[(1, Read)]) {
        world.lock(group);
    }
    shuffle(&mut fences);
    let last = fences.len() - 1;
    // The last fence would open the gate for all; that is another measurement.
    time(last, |nth| {
        world.engine.fence_done(NOW, fences[nth], true, &mut world.fx);
        world.listen();
    })
}

fn wounds(n: usize) -> f64 {
    let mut world = World::new();
    // The older group holds a buffer of its own, and grows when the others have begun to grow.
    let elder = world.group(&[(3, DmaWrite)]);
    let held = world.lock(elder);
    let blocker = world.group(&[(2, DmaWrite)]);
    world.lock(blocker);
    for group in world.groups(n, &[(1, DmaRead)]) {
        let token = world.lock(group);
        world.engine.add(group, BufferId(2), DmaRead).expect("an open group");
        world.grow(group, token);
    }
    world.engine.add(elder, BufferId(1), DmaWrite).expect("an open group");
    let begin = Instant::now();
    world.grow(elder, held);
    let nanos = begin.elapsed().as_nanos() as f64;
    let wounded = std::iter::from_fn(|| world.fx.pop());
    let wounded = wounded.filter(|effect| matches!(effect, Effect::Wounded { .. })).count();
    assert_eq!(wounded, n);
    nanos / n as f64
}

fn implicit_waits(n: usize) -> f64 {
    let mut world = World::new();
    world.engine.expect_implicit_fences();
    let first = world.group(&[(1, Read)]);
    let token = world.lock(first);
    world.listen();
    world.finish_jobs();
    world.unlock(first, token, &[]);
    for group in world.groups(n, &[(1, Read)]) {
        world.lock(group);
        world.listen();
    }
    assert_eq!(world.jobs.len(), n);
    world.granted.clear();
    let begin = Instant::now();
    world.finish_jobs();
    let nanos = begin.elapsed().as_nanos() as f64;
    assert_eq!(world.granted.len(), n);
    nanos / n as f64
}

fn own_buffers(n: usize) -> f64 {
    let mut world = World::new();
    let groups: Vec<GroupId> = (0..n as u64)
        .map(|at| world.group(&[0, 1, 2, 3].map(|nth| (4 * at + nth, DmaWrite))))
        .collect();
    for group in &groups[1..] {
        world.lock(*group);
    }
    time(100_000, |_| {
        let token = world.lock(black_box(groups[0]));
        world.unlock(groups[0], token, &[]);
    })
}

fn middle(n: usize) -> (f64, f64) {
    let mut world = World::new();
    let groups = world.groups(n + 1, &[(1, DmaWrite)]);
    let tokens: Vec<Token> = groups.iter().map(|group| world.lock(*group)).collect();
    let mut token = tokens[n / 2];
    let in_the_middle = groups[n / 2];
    let (mut cancel, mut lock) = (0.0, 0.0);
    const ROUNDS: usize = 1_000;
    for _ in 0..ROUNDS {
        cancel += time(1, |_| {
            world.engine.cancel(NOW, in_the_middle, token, &mut world.fx).expect("it waits");
            world.listen();
        });
        lock += time(1, |_| {
            token = black_box(world.lock(in_the_middle));
        });
    }
    (cancel / ROUNDS as f64, lock / ROUNDS as f64)
}

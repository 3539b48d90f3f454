// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Long random histories of calls, for the engine and for a naive second implementation of the rules.
//! Both must have the same answers, effects, locks, views of buffers, and next deadline.
//!
//! All times are multiples of 5 ms, so deadlines, fence deadlines and time-outs often fall on one
//! instant. No grant and no ticket lives longer than 60 ms, so their ends fall into the histories.

mod naive;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Debug;
use std::time::Duration;

use buffersync_engine::*;
use naive::{End, Naive, Stats, Told, View};
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};

const GROUPS: usize = 6;
const MS: u64 = 1_000_000;
const MAX_HOLD: u64 = 60 * MS;
/// How long grants last, in units of 5 ms.
const HOLDS: [u64; 5] = [12, 4, 8, 12, 2];

/// The settings of a history.
#[derive(Clone, Debug)]
struct World {
    /// The engine expects implicit fences.
    implicit: bool,
    remembered: usize,
    /// How many of four jobs are answered when the history says so; the others are answered at once. The
    /// first buffer of a job decides.
    late: u64,
    /// Of the jobs that are answered at once, how many of four find an implicit fence pending.
    busy: u64,
    /// Of the jobs that are answered at once, one of eight fails; of the last jobs of a buffer, one of two.
    faulty: bool,
    /// Waits are never answered at once.
    long_waits: bool,
    /// How many groups and buffers take part. A few of them meet more often.
    groups: usize,
    buffers: u64,
    /// [`Call::LockOneMore`] needs a group with fewer locks.
    locks: usize,
    /// How many of the buffers are plain: the last ones.
    plain: u64,
    /// How much time passes at once, at most, in units of 5 ms.
    pace: u64,
    accesses: u8,
    /// The caller always ticks late.
    slow: bool,
}

impl World {
    fn access(&self, at: usize) -> Access {
        ACCESSES[usize::from(self.accesses)][at]
    }

    fn is_plain(&self, buffer: BufferId) -> bool {
        buffer.0 + self.plain >= self.buffers
    }
}

/// Picks one of a list of any length.
#[derive(Clone, Copy, Debug)]
struct Index(usize);

impl Index {
    fn index(self, len: usize) -> usize {
        self.0 % len
    }

    fn get<T>(self, all: &[T]) -> &T {
        &all[self.index(all.len())]
    }
}

/// What a lock asks for. No buffers: all of the group. No accesses: those of `add`.
#[derive(Clone, Debug, Default)]
struct Want {
    /// Mostly buffers of the group.
    buffers: Vec<Index>,
    /// Places in [`ACCESSES`].
    accesses: Vec<usize>,
}

#[derive(Clone, Debug)]
enum Call {
    /// The access is one of [`ACCESSES`].
    Add(usize, u64, usize),
    Remove(usize, u64),
    /// Time-outs are in units of 5 ms. A time-out above 12 means: until the next deadline.
    Lock(usize, Want, Option<u64>, Implicit),
    /// A group that has few locks.
    LockOneMore(Index, Want, Option<u64>, Implicit),
    TryLock(usize, Want, Implicit),
    /// A number that the group has had, or 0.
    LockAgain(usize, Index, Want),
    /// A grant grows by one buffer, which may be new to its group, or by a stronger access.
    Grow(Index, Index, usize, Option<u64>, Implicit),
    /// A grant grows. The flag: it does not wait.
    GrowBy(Index, Want, bool, Option<u64>, Implicit),
    /// A lock that waits.
    Cancel(Index),
    /// A grant. Each fence is one of two new ones, for all buffers or for one.
    Unlock(Index, Vec<(u64, Option<Index>)>),
    /// A call with any number, of a lock in any state or of none: cancel, unlock, a part, downgrade, grow.
    Any(usize, Index, u8, Want, Vec<(u64, Option<Index>)>),
    /// A grant, or any lock, ends a part: some of its buffers.
    UnlockPart(Index, Vec<Index>, Vec<(u64, Option<Index>)>),
    /// The same, to share them.
    Downgrade(Index, Vec<Index>),
    FenceDone(Index, bool),
    JobDone(Index),
    JobFails(Index, Index),
    JobBlocks(Index, Index),
    /// The flags: its client died; a new group takes over its buffers.
    Close(usize, bool, bool),
    /// Time passes, with a tick at each deadline.
    Pass(u64),
    /// Time passes, with one late tick for all deadlines.
    PassLate(u64),
}

fn world() -> impl Strategy<Value = World> {
    let remembered = prop_oneof![1 => Just(0usize), 2 => Just(1), 5 => Just(2)];
    let size = (2..=GROUPS, 1..=6u64, 1..=4usize, prop_oneof![3 => Just(0u64), 1 => 1..3u64]);
    let time = (1..=4u64, prop::bool::weighted(0.2));
    let jobs = (0..=4u64, 0..=2u64, prop::bool::weighted(0.3), any::<bool>());
    (any::<bool>(), remembered, jobs, size, time, 0..3u8).prop_map(
        |(
            implicit,
            remembered,
            (late, busy, faulty, long_waits),
            (groups, buffers, locks, plain),
            (pace, slow),
            accesses,
        )| World {
            implicit,
            remembered,
            late,
            busy,
            faulty,
            long_waits,
            groups,
            buffers,
            locks,
            plain,
            pace,
            accesses,
            slow,
        },
    )
}

fn any_index() -> impl Strategy<Value = Index> {
    (0..60usize).prop_map(Index)
}

fn add() -> impl Strategy<Value = Call> {
    (0..GROUPS, 0..6u64, 0..8usize).prop_map(|(g, b, a)| Call::Add(g, b, a))
}

fn want() -> impl Strategy<Value = Want> {
    let accesses = |count| prop::collection::vec(0..8usize, count);
    let accesses = prop_oneof![12 => Just(vec![]), 8 => accesses(4), 1 => accesses(1)];
    let buffers = |count| prop::collection::vec(any_index(), count);
    let buffers = prop_oneof![4 => Just(vec![]), 6 => buffers(1), 4 => buffers(2), 2 => buffers(3)];
    (buffers, accesses).prop_map(|(buffers, accesses)| Want { buffers, accesses })
}

fn call() -> impl Strategy<Value = Call> {
    let group = 0..GROUPS;
    let implicit = || prop_oneof![3 => Just(Implicit::Unknown), 1 => Just(Implicit::Idle)];
    let timeout = || prop::option::weighted(0.6, 1..=15u64);
    let fences = prop::collection::vec((0..4u64, prop::option::of(any_index())), 1..4);
    let fences = prop_oneof![3 => Just(vec![]), 1 => fences];
    let some = || prop::collection::vec(any_index(), 0..3);
    prop_oneof![
        7 => add(),
        2 => (group.clone(), 0..6u64).prop_map(|(g, b)| Call::Remove(g, b)),
        2 => (group.clone(), want(), timeout(), implicit())
            .prop_map(|(g, w, t, i)| Call::Lock(g, w, t, i)),
        30 => (any_index(), want(), timeout(), implicit())
            .prop_map(|(g, w, t, i)| Call::LockOneMore(g, w, t, i)),
        3 => (group.clone(), want(), implicit()).prop_map(|(g, w, i)| Call::TryLock(g, w, i)),
        1 => (group.clone(), any_index(), want()).prop_map(|(g, n, w)| Call::LockAgain(g, n, w)),
        14 => (any_index(), any_index(), (0..8usize, timeout(), implicit()))
            .prop_map(|(g, b, (a, t, i))| Call::Grow(g, b, a, t, i)),
        3 => (any_index(), want(), prop::bool::weighted(0.3), timeout(), implicit())
            .prop_map(|(g, w, tries, t, i)| Call::GrowBy(g, w, tries, t, i)),
        3 => any_index().prop_map(Call::Cancel),
        20 => (any_index(), fences.clone()).prop_map(|(g, f)| Call::Unlock(g, f)),
        8 => (any_index(), some(), fences.clone()).prop_map(|(g, b, f)| Call::UnlockPart(g, b, f)),
        2 => (group.clone(), any_index(), 0..5u8, want(), fences)
            .prop_map(|(g, n, k, w, f)| Call::Any(g, n, k, w, f)),
        5 => (any_index(), some()).prop_map(|(g, b)| Call::Downgrade(g, b)),
        10 => (any_index(), prop::bool::weighted(0.8)).prop_map(|(i, ok)| Call::FenceDone(i, ok)),
        16 => any_index().prop_map(Call::JobDone),
        2 => (any_index(), any_index()).prop_map(|(i, k)| Call::JobFails(i, k)),
        3 => (any_index(), any_index()).prop_map(|(i, k)| Call::JobBlocks(i, k)),
        2 => (group, any::<bool>(), prop::bool::weighted(0.8))
            .prop_map(|(g, died, again)| Call::Close(g, died, again)),
        5 => (0..12u64).prop_map(Call::Pass),
        1 => (0..12u64).prop_map(Call::PassLate),
    ]
}

/// The accesses in each kind of world: mostly devices, mixed, mostly the CPU.
const ACCESSES: [[Access; 8]; 3] = {
    use Access::{DmaRead as R, DmaWrite as W, Read as CpuR, Write as CpuW};
    [
        [R, R, R, W, W, W, CpuR, CpuW],
        [R, R, W, W, CpuR, CpuR, CpuW, CpuW],
        [R, W, CpuR, CpuR, CpuR, CpuR, CpuW, CpuW],
    ]
};

/// A job that the engine waits for.
#[derive(Clone, Debug)]
struct Job {
    id: JobId,
    /// The oracle's number of it.
    number: u64,
    /// Its operations in order; a wait has no kind.
    steps: Vec<(BufferId, Option<SyncKind>)>,
    has_waits: bool,
    /// It is the last job of a buffer that no group has.
    is_last: bool,
    /// The time limit of a wait.
    until: Option<Time>,
}

impl Job {
    /// The steps before which a fence may be pending: the first one, and each START.
    fn where_it_may_block(&self) -> Vec<usize> {
        let steps = self.steps.iter().enumerate();
        let starts = steps.filter(|(_, (_, kind))| *kind == Some(SyncKind::Start));
        self.has_waits.then_some(0).into_iter().chain(starts.map(|(at, _)| at)).collect()
    }
}

/// Both implementations, side by side.
struct Pair {
    world: World,
    engine: Engine,
    naive: Naive,
    fx: Effects,
    now: Time,
    groups: Vec<GroupId>,
    /// The last number of each group.
    numbers: Vec<u64>,
    fences: Vec<FenceId>,
    last_fence: u64,
    opened: usize,
    jobs: Vec<Job>,
    /// Jobs that will be answered at once.
    prompt: Vec<Job>,
    trace: bool,
}

impl Pair {
    fn new(world: &World) -> Self {
        let hold = Duration::from_nanos(MAX_HOLD);
        let remembered = world.remembered;
        let mut engine = Engine::new(Limits { default_hold: hold, max_hold: hold, remembered });
        if world.implicit {
            engine.expect_implicit_fences();
        }
        let mut pair = Self {
            world: world.clone(),
            engine,
            naive: Naive::new(MAX_HOLD, remembered, world.implicit),
            fx: Effects::new(),
            now: Time(0),
            groups: Vec::new(),
            numbers: vec![0; world.groups],
            fences: Vec::new(),
            last_fence: 0,
            opened: 0,
            jobs: Vec::new(),
            prompt: Vec::new(),
            trace: false,
        };
        pair.groups = (0..world.groups).map(|_| pair.open()).collect();
        pair
    }

    fn open(&mut self) -> GroupId {
        let hold = HOLDS[self.opened % HOLDS.len()] * 5 * MS;
        self.opened += 1;
        let from = if self.opened.is_multiple_of(3) { HoldFrom::Conflict } else { HoldFrom::Grant };
        let (id, _) = self.engine.open_group_from(Some(Duration::from_nanos(hold)), from);
        self.naive.open(id, hold, from);
        id
    }

    fn run(&mut self, call: &Call) {
        let now = self.now;
        let group = |at: usize| at % self.world.groups;
        let named = |buffer: u64| BufferId(buffer % self.world.buffers);
        match *call {
            Call::Add(at, buffer, access) => {
                let access = self.world.access(access);
                self.add(self.groups[group(at)], named(buffer), access);
            }
            Call::Remove(at, buffer) => {
                let (id, buffer) = (self.groups[group(at)], named(buffer));
                let answer = self.engine.remove(id, buffer, &mut self.fx);
                self.hint();
                assert_eq!(answer, self.naive.remove(id, buffer));
            }
            Call::Lock(at, ref want, timeout, implicit) => {
                self.lock(group(at), want, self.wait_of(timeout), implicit);
            }
            Call::LockOneMore(index, ref want, timeout, implicit) => {
                let first = index.index(self.world.groups);
                let mut all = (0..self.world.groups).map(|nth| (first + nth) % self.world.groups);
                let few =
                    |at: &usize| self.engine.locks(self.groups[*at]).count() < self.world.locks;
                if let Some(at) = all.find(few) {
                    self.lock(at, want, self.wait_of(timeout), implicit);
                }
            }
            Call::TryLock(at, ref want, implicit) => {
                self.lock(group(at), want, Wait::Never, implicit);
            }
            Call::LockAgain(at, number, ref want) => {
                let at = group(at);
                let number = number.index(1 + self.numbers[at] as usize);
                self.lock_as(at, number as u64, want, Wait::UntilGranted, Implicit::Unknown);
            }
            Call::Grow(index, buffer, access, timeout, implicit) => {
                let (at, token) = self.one_of(index, |phase| matches!(phase, Phase::Held { .. }));
                let (id, buffer) = (self.groups[at], buffer.index(self.world.buffers as usize));
                let buffer = BufferId(buffer as u64);
                let mut held = self.engine.held(id, token).into_iter().flatten();
                let access = match held.find(|(own, _)| *own == buffer) {
                    Some((_, Access::Read)) => Access::Write,
                    Some((_, Access::DmaRead)) => Access::DmaWrite,
                    _ => self.world.access(access),
                };
                drop(held);
                self.add(id, buffer, access);
                let wants = Wants { buffers: &[buffer], accesses: &[access] };
                self.grow(at, token, wants, self.wait_of(timeout), implicit);
            }
            Call::GrowBy(index, ref want, tries, timeout, implicit) => {
                let (at, token) = self.one_of(index, |phase| matches!(phase, Phase::Held { .. }));
                let (buffers, accesses) = self.wanted(at, want);
                let wants = Wants { buffers: &buffers, accesses: &accesses };
                let wait = if tries { Wait::Never } else { self.wait_of(timeout) };
                self.grow(at, token, wants, wait, implicit);
            }
            Call::Cancel(index) => {
                let (at, token) = self.one_of(index, |phase| !matches!(phase, Phase::Held { .. }));
                self.cancel(at, token);
            }
            Call::Unlock(index, ref fences) => {
                let holds = |phase| matches!(phase, Phase::Held { .. } | Phase::Growing { .. });
                let (at, token) = self.one_of(index, holds);
                self.give(at, token, fences, None);
            }
            Call::Any(at, number, kind, ref want, ref fences) => {
                let at = group(at);
                // The number may be too great.
                let token = Token(number.index(3 + self.numbers[at] as usize) as u64);
                let mut part = self.some_of(at, token, &want.buffers);
                match kind {
                    0 => self.cancel(at, token),
                    1 => self.give(at, token, fences, None),
                    2 => self.give(at, token, fences, Some(&mut part)),
                    3 => self.downgrade(at, token, &mut part),
                    _ => {
                        let (buffers, accesses) = self.wanted(at, want);
                        let wants = Wants { buffers: &buffers, accesses: &accesses };
                        self.grow(at, token, wants, Wait::UntilGranted, Implicit::Unknown);
                    }
                }
            }
            Call::UnlockPart(index, ref buffers, ref fences) => {
                let (at, token) = self.one_of(index, |phase| matches!(phase, Phase::Held { .. }));
                let mut buffers = self.some_of(at, token, buffers);
                self.give(at, token, fences, Some(&mut buffers));
            }
            Call::Downgrade(index, ref buffers) => {
                let (at, token) = self.one_of(index, |phase| matches!(phase, Phase::Held { .. }));
                let mut buffers = self.some_of(at, token, buffers);
                self.downgrade(at, token, &mut buffers);
            }
            Call::FenceDone(index, ok) => {
                if !self.fences.is_empty() {
                    let fence = self.fences.remove(index.index(self.fences.len()));
                    self.engine.fence_done(now, fence, ok, &mut self.fx);
                    self.hint();
                    self.naive.fence_done(now, fence, ok);
                }
            }
            Call::JobDone(index) => {
                if let Some(job) = self.pick(index) {
                    self.end_job(&job, End::Done);
                }
            }
            Call::JobFails(index, after) => {
                if let Some(job) = self.pick(index) {
                    let succeeded = after.index(job.steps.len());
                    self.end_job(&job, End::Failed(Failure { succeeded, reason: 7 }));
                }
            }
            Call::JobBlocks(index, after) => self.block(index, after),
            Call::Close(at, died, again) => {
                let at = group(at);
                let members: Vec<_> = self.engine.members(self.groups[at]).collect();
                self.close(at, if died { Close::Died } else { Close::Closed });
                self.compare();
                self.cancel(at, Token(self.numbers[at]));
                (self.groups[at], self.numbers[at]) = (self.open(), 0);
                for (buffer, access) in members.into_iter().filter(|_| again) {
                    self.add(self.groups[at], buffer, access);
                }
            }
            Call::Pass(steps) if !self.world.slow => {
                self.pass(steps % (self.world.pace + 1) * 5 * MS)
            }
            Call::Pass(steps) | Call::PassLate(steps) => {
                self.now = Time(now.0 + steps % (self.world.pace + 1) * 5 * MS);
                self.tick();
            }
        }
        self.compare();
        self.answer_prompt_jobs();
        for at in 0..self.world.groups {
            self.compare_group(at);
        }
        self.compare_buffers();
        self.naive.count_holds();
    }

    fn say(&self, what: &dyn Debug) {
        if self.trace {
            println!("{:3} ms  {what:?}", self.now.0 / MS);
        }
    }

    /// Tells the oracle the order in which the engine lets buffers go and ends locks.
    fn hint(&mut self) {
        let order = self.fx.iter().filter_map(|effect| match effect {
            Effect::Remember { buffer } => Some(*buffer),
            _ => None,
        });
        self.naive.order = order.collect();
        let time_outs = self.fx.iter().filter_map(|effect| match effect {
            Effect::TimedOut { group, token, .. } => Some((*group, *token)),
            _ => None,
        });
        self.naive.time_outs = time_outs.collect();
        let ways = self.fx.iter().filter_map(|effect| match effect {
            Effect::TimedOut { group, token, by } => Some(((*group, *token), *by)),
            Effect::Evicted { group, token, by, .. } => Some(((*group, *token), *by)),
            _ => None,
        });
        self.naive.ways = ways.collect();
    }

    fn add(&mut self, id: GroupId, buffer: BufferId, access: Access) {
        let plain = self.world.is_plain(buffer);
        let answer = if plain {
            self.engine.add_plain(id, buffer, access)
        } else {
            self.engine.add(id, buffer, access)
        };
        assert_eq!(answer, self.naive.add(id, buffer, access, plain));
    }

    fn wait_of(&self, timeout: Option<u64>) -> Wait {
        let due = self.engine.next_deadline().filter(|due| *due > self.now);
        match (timeout, due) {
            (None, _) => Wait::UntilGranted,
            (Some(13..), Some(due)) => Wait::AtMost(Duration::from_nanos(due.0 - self.now.0)),
            (Some(steps), _) => Wait::AtMost(Duration::from_nanos(steps * 5 * MS)),
        }
    }

    /// A lock in such a phase, or a group with its last number.
    fn one_of(&self, index: Index, is_so_far: fn(Phase) -> bool) -> (usize, Token) {
        let first = index.index(self.world.groups);
        for at in (0..self.world.groups).map(|nth| (first + nth) % self.world.groups) {
            let id = self.groups[at];
            let fits = |token: &Token| self.engine.phase(id, *token).is_some_and(is_so_far);
            let locks: Vec<_> = self.engine.locks(id).filter(fits).collect();
            if !locks.is_empty() {
                return (at, *Index(index.0 / self.world.groups).get(&locks));
            }
        }
        (first, Token(self.numbers[first]))
    }

    fn wanted(&self, at: usize, want: &Want) -> (Vec<BufferId>, Vec<Access>) {
        let members: Vec<_> = self.engine.members(self.groups[at]).collect();
        let buffers = want.buffers.iter().map(|index| match index.0 % 16 {
            0 => BufferId(index.0 as u64 / 16),
            _ if members.is_empty() => BufferId(0),
            _ => index.get(&members).0,
        });
        let buffers: Vec<_> = buffers.collect();
        let accesses = want.accesses.iter().take(buffers.len().max(1));
        (buffers, accesses.map(|access| self.world.access(*access)).collect())
    }

    fn lock(&mut self, at: usize, want: &Want, wait: Wait, implicit: Implicit) {
        // Some numbers are passed over.
        let number = self.numbers[at] + if self.numbers[at] % 5 == 3 { 3 } else { 1 };
        self.lock_as(at, number, want, wait, implicit);
    }

    fn lock_as(&mut self, at: usize, number: u64, want: &Want, wait: Wait, implicit: Implicit) {
        let (id, now, token) = (self.groups[at], self.now, Token(number));
        let (buffers, accesses) = self.wanted(at, want);
        let wants = Wants { buffers: &buffers, accesses: &accesses };
        let ending = self.engine.locks(id).nth(number as usize % 3);
        let refused = self.engine.check_lock(id, token, wants, ending).map(drop);
        let expected = self.naive.clone().check_lock(id, token, wants, ending);
        assert_eq!(refused, expected.map(drop), "after the end of {ending:?}");
        let outcome = self.engine.lock(now, id, token, wants, wait, implicit, &mut self.fx);
        self.hint();
        let answer = self.naive.lock(now, id, token, wants, wait, implicit);
        self.compare_outcome(id, token, outcome, answer);
        if answer.is_ok() {
            self.numbers[at] = number;
        }
    }

    fn grow(&mut self, at: usize, token: Token, wants: Wants<'_>, wait: Wait, implicit: Implicit) {
        let (id, now) = (self.groups[at], self.now);
        let outcome = self.engine.grow(now, id, token, wants, wait, implicit, &mut self.fx);
        self.hint();
        let answer = self.naive.grow(now, id, token, wants, wait, implicit);
        self.compare_outcome(id, token, outcome, answer);
    }

    fn compare_outcome(
        &mut self,
        id: GroupId,
        token: Token,
        outcome: Result<LockOutcome, Error>,
        answer: Result<(), Error>,
    ) {
        assert_eq!(outcome.map(drop), answer, "the engine on the left, the oracle on the right");
        match outcome {
            Ok(LockOutcome::Pending(named)) => {
                assert_eq!(named, token);
                let own = |told: &Told| matches!(told, Told::Granted(g, t, ..) if (*g, *t) == (id, token));
                assert!(!self.naive.told.iter().any(own), "pending, but the oracle grants it");
            }
            Ok(LockOutcome::Granted(grant)) => {
                let buffers = self.fx.buffers(grant.buffers).to_vec();
                let told = Told::Granted(id, grant.token, grant.deadline, buffers);
                let expected = self.naive.told.iter().position(|other| *other == told);
                let expected = expected.unwrap_or_else(|| {
                    panic!("granted at once: {told:?}, expected: {:?}", self.naive.told)
                });
                self.naive.told.remove(expected);
            }
            Err(_) => {}
        }
    }

    fn cancel(&mut self, at: usize, token: Token) {
        let (id, now) = (self.groups[at], self.now);
        let answer = self.engine.cancel(now, id, token, &mut self.fx);
        self.hint();
        assert_eq!(answer, self.naive.cancel(now, id, token));
    }

    fn downgrade(&mut self, at: usize, token: Token, buffers: &mut [BufferId]) {
        let (id, now) = (self.groups[at], self.now);
        let expected = self.naive.downgrade(now, id, token, buffers);
        let answer = self.engine.downgrade(now, id, token, buffers, &mut self.fx);
        self.hint();
        assert_eq!(answer, expected);
    }

    /// Buffers of a grant, seldom others of its group; one can be there twice.
    fn some_of(&self, at: usize, token: Token, which: &[Index]) -> Vec<BufferId> {
        let id = self.groups[at];
        let held: Vec<_> = self.engine.held(id, token).into_iter().flatten().collect();
        let members: Vec<_> = self.engine.members(id).collect();
        let some = which.iter().filter_map(|which| {
            let all = if held.is_empty() || which.0 % 16 == 0 { &members } else { &held };
            (!all.is_empty()).then(|| which.get(all).0)
        });
        some.collect()
    }

    /// Ends a grant with fences, or a part of it.
    fn give(
        &mut self,
        at: usize,
        token: Token,
        fences: &[(u64, Option<Index>)],
        part: Option<&mut [BufferId]>,
    ) {
        let (id, now) = (self.groups[at], self.now);
        // Two fences, each of which may have failed already.
        let name = |fence: u64| FenceId(self.last_fence + 1 + fence % 2);
        let failed: Vec<_> =
            fences.iter().filter(|(fence, _)| *fence == 3).map(|(fence, _)| name(*fence)).collect();
        let given = fences.iter().filter_map(|(fence, buffer)| {
            let fence = name(*fence);
            let buffer = match buffer {
                Some(index) => Some(*self.some_of(at, token, &[*index]).first()?),
                None => None,
            };
            Some(ReleaseFence { fence, buffer })
        });
        let given: Vec<_> = given.collect();
        self.last_fence += 2;
        let (fx, failed, engine) = (&mut self.fx, &failed, &mut self.engine);
        let named = part.as_deref().map(<[BufferId]>::to_vec);
        let answer = match part {
            None => engine.unlock_with_failed(now, id, token, &given, failed, fx),
            Some(part) => engine.unlock_part(now, id, token, part, &given, failed, fx),
        };
        self.hint();
        let expected = match named {
            None => self.naive.unlock(now, id, token, &given, failed),
            Some(part) => self.naive.unlock_part(now, id, token, &part, &given, failed),
        };
        assert_eq!(answer, expected);
        if answer.is_ok() {
            let pending = given.iter().map(|given| given.fence);
            self.fences.extend(pending.filter(|fence| !failed.contains(fence)));
            self.fences.sort_unstable();
            self.fences.dedup();
        }
    }

    fn close(&mut self, at: usize, how: Close) {
        self.engine.close_group(self.now, self.groups[at], how, &mut self.fx);
        self.hint();
        self.naive.close(self.now, self.groups[at], how);
    }

    fn pick(&mut self, index: Index) -> Option<Job> {
        (!self.jobs.is_empty()).then(|| self.jobs.remove(index.index(self.jobs.len())))
    }

    fn end_job(&mut self, job: &Job, end: End) {
        self.say(&(job.number, end));
        let (now, fx) = (self.now, &mut self.fx);
        match end {
            End::Done => self.engine.job_done(now, job.id, Ok(()), fx),
            End::Failed(failure) => self.engine.job_done(now, job.id, Err(failure), fx),
            End::Blocked(succeeded) => self.engine.job_blocked(now, job.id, succeeded, fx),
        }
        self.hint();
        self.naive.job_ended(now, job.number, end);
    }

    fn block(&mut self, index: Index, after: Index) {
        if self.jobs.is_empty() || !self.world.implicit {
            return;
        }
        let at = index.index(self.jobs.len());
        let places = self.jobs[at].where_it_may_block();
        if !places.is_empty() {
            let job = self.jobs.remove(at);
            self.end_job(&job, End::Blocked(*after.get(&places)));
        }
    }

    fn tick(&mut self) {
        self.say(&"tick");
        self.engine.tick(self.now, &mut self.fx);
        self.hint();
        self.naive.tick(self.now);
    }

    /// Goes from one deadline to the next. Waits that are too late fail, before or after the tick of their
    /// instant.
    fn pass(&mut self, span: u64) {
        let end = Time(self.now.0 + span);
        loop {
            let wait = self.jobs.iter().filter_map(|job| job.until).min();
            let due = self.engine.next_deadline();
            let Some(first) = wait.into_iter().chain(due).min().filter(|first| *first <= end)
            else {
                break;
            };
            self.now = self.now.max(first);
            let wait_first = wait == Some(first) && (due != wait || self.opened.is_multiple_of(2));
            if wait_first {
                let at = self.jobs.iter().position(|job| job.until == wait).expect("a wait");
                let job = self.jobs.remove(at);
                let succeeded = (job.number as usize) % job.steps.len();
                self.end_job(&job, End::Failed(Failure { succeeded, reason: 110 }));
            } else {
                self.tick();
            }
            self.compare();
            self.answer_prompt_jobs();
        }
        self.now = end;
    }

    fn answer_prompt_jobs(&mut self) {
        while let Some(job) = self.prompt.pop() {
            let places = job.where_it_may_block();
            let busy = self.world.implicit && job.number % 4 < self.world.busy;
            if busy && !places.is_empty() {
                let place = places[job.number as usize / 4 % places.len()];
                self.end_job(&job, End::Blocked(place));
            } else if self.world.faulty && job.number % if job.is_last { 2 } else { 8 } == 1 {
                let succeeded = job.number as usize / 8 % job.steps.len();
                self.end_job(&job, End::Failed(Failure { succeeded, reason: 5 }));
            } else {
                self.end_job(&job, End::Done);
            }
            self.compare();
        }
    }

    /// Compares the effects of a call. Their order does not matter.
    fn compare(&mut self) {
        if let Err(broken) = self.engine.check_invariants() {
            panic!("{broken}\n{:#?}", self.engine);
        }
        let (mut told, mut issued, mut dropped) = (Vec::new(), Vec::new(), Vec::new());
        let effects: Vec<Effect> = self.fx.iter().copied().collect();
        for effect in effects {
            let fx = &self.fx;
            let next = match effect {
                Effect::Sync { job, group, waits, ops, .. } => {
                    let (waits, ops) = (fx.waits(waits).to_vec(), fx.ops(ops).to_vec());
                    let told = Told::Sync { group, waits, ops };
                    issued.push((job, told.clone()));
                    told
                }
                Effect::Wait { job, group, waits, until, .. } => {
                    let told = Told::Wait { group, waits: fx.waits(waits).to_vec(), until };
                    issued.push((job, told.clone()));
                    told
                }
                Effect::DropWait { job } => {
                    dropped.push(job);
                    continue;
                }
                Effect::Granted { group, grant } => {
                    let buffers = fx.buffers(grant.buffers).to_vec();
                    Told::Granted(group, grant.token, grant.deadline, buffers)
                }
                Effect::LockFailed { group, token, buffer, reason, cause } => {
                    Told::Failed(group, token, buffer, reason, cause)
                }
                Effect::TimedOut { group, token, by } => Told::TimedOut(group, token, by),
                Effect::Wounded { group, token } => Told::Wounded(group, token),
                Effect::Contended { group, token, deadline } => {
                    Told::Contended(group, token, deadline)
                }
                Effect::Evicted { group, token, cause, by } => {
                    Told::Evicted(group, token, cause, by)
                }
                Effect::DropFence { fence } => Told::DropFence(fence),
                Effect::Remember { buffer } => Told::Remember(buffer),
                Effect::Forget { buffer } => Told::Forget(buffer),
            };
            told.push(next);
        }
        while self.fx.pop().is_some() {}
        self.note_jobs(issued, &dropped, &mut told);
        let mut expected = std::mem::take(&mut self.naive.told);
        for list in [&mut told, &mut expected] {
            if list.len() > 1 {
                list.sort_by_cached_key(|told| format!("{told:?}"));
            }
        }
        for told in &told {
            self.say(told);
        }
        assert_eq!(told, expected, "the engine on the left, the oracle on the right");
        let (next, exact) = (self.engine.next_deadline(), self.naive.next_deadline());
        assert!(
            exact.is_none_or(|due| next.is_some_and(|next| next <= due)),
            "{next:?}, {exact:?}"
        );
    }

    /// Finds the oracle's numbers of the jobs that the engine has issued. If two waits of a group in one call
    /// are equal, that of the older lock comes first in both.
    fn note_jobs(
        &mut self,
        mut issued: Vec<(JobId, Told)>,
        dropped: &[JobId],
        all: &mut Vec<Told>,
    ) {
        let mut expected = std::mem::take(&mut self.naive.issued);
        issued.sort_by_cached_key(|(_, told)| format!("{told:?}"));
        expected.sort_by_cached_key(|(_, told)| format!("{told:?}"));
        let mut numbers: HashMap<JobId, u64> = HashMap::new();
        for ((id, told), (number, other)) in issued.into_iter().zip(expected) {
            assert_eq!(told, other, "the engine on the left, the oracle on the right");
            let (steps, until, has_waits, is_last): (Vec<_>, _, _, _) = match told {
                Told::Wait { waits, until, .. } => {
                    let steps = waits.iter().map(|wait| (wait.buffer, None));
                    (steps.collect(), Some(until), false, false)
                }
                Told::Sync { group, ops, waits } => {
                    let steps = ops.iter().map(|op| (op.buffer, Some(op.kind)));
                    (steps.collect(), None, !waits.is_empty(), group.is_none())
                }
                _ => continue,
            };
            numbers.insert(id, number);
            let place = steps.first().map_or(0, |(buffer, _)| buffer.0) + self.opened as u64;
            let job = Job { id, number, steps, has_waits, is_last, until };
            let long = job.until.is_some() && self.world.long_waits;
            if long || place % 4 < self.world.late {
                self.jobs.push(job);
            } else {
                self.prompt.push(job);
            }
        }
        for id in dropped {
            let jobs = self.jobs.iter().chain(&self.prompt);
            let number = jobs.filter(|job| job.id == *id).map(|job| job.number).next();
            all.push(Told::DropWait(number.expect("a wait that is pending is dropped")));
            self.jobs.retain(|job| job.id != *id);
            self.prompt.retain(|job| job.id != *id);
            // An answer comes too late.
            self.engine.job_done(self.now, *id, Ok(()), &mut self.fx);
            assert!(self.fx.is_empty(), "a wait that was dropped was answered");
        }
    }

    fn compare_group(&self, at: usize) {
        let id = self.groups[at];
        assert_eq!(self.engine.members(id).collect::<Vec<_>>(), self.naive.members(id));
        let living: Vec<_> = self.engine.locks(id).collect();
        assert_eq!(living, self.naive.tokens(id));
        assert_eq!(self.engine.is_idle(id), living.is_empty());
        // And a number that may be dead.
        for token in living.into_iter().chain([Token(self.numbers[at])]) {
            assert_eq!(self.engine.phase(id, token), self.naive.phase(id, token));
            let held = self.engine.held(id, token).map(|held| held.collect::<Vec<_>>());
            assert_eq!(held, self.naive.held(id, token));
            let granted: Vec<_> = self.engine.granted(id, token).collect();
            assert_eq!(granted, self.naive.granted(id, token));
            let mut fences: Vec<_> = self.engine.acquire_fences(id, token).collect();
            fences.sort_unstable();
            assert_eq!(fences, self.naive.acquire_fences(id, token));
        }
    }

    fn compare_buffers(&self) {
        let views = self.engine.buffers();
        assert_eq!(views.len(), self.naive.buffers());
        assert_eq!(self.engine.remembered(), self.naive.remembered());
        for view in views {
            let parts = |locks: &[LockView]| {
                let parts = locks.iter().map(|lock| {
                    let LockView { group, token, ticket, access, .. } = *lock;
                    (ticket, token, group, access)
                });
                let mut parts: Vec<_> = parts.collect();
                parts.sort_unstable();
                parts
            };
            let cache = view.coherence;
            let shown = View {
                members: view.members,
                holders: parts(&view.holders),
                waiters: parts(&view.waiters),
                generation: view.generation,
                marks: (view.evicted, view.torn, view.syncing),
                cache: (!self.world.is_plain(view.id))
                    .then(|| (cache.device_dirty(), cache.cpu_dirty(), cache.open())),
            };
            assert_eq!(shown, self.naive.view(view.id), "{:?}", view.id);
        }
    }

    /// All groups die and all jobs are answered. Then nothing is left.
    fn end(mut self) -> Stats {
        for at in 0..self.world.groups {
            self.close(at, Close::Died);
            self.compare();
        }
        self.world = World { late: 0, busy: 0, faulty: false, long_waits: false, ..self.world };
        while let Some(job) = self.jobs.pop() {
            self.end_job(&job, End::Done);
            self.compare();
            self.answer_prompt_jobs();
        }
        self.answer_prompt_jobs();
        self.pass(10_000 * MS);
        assert!(self.engine.is_empty(), "{:#?}", self.engine);
        assert_eq!(self.naive.buffers(), 0);
        self.naive.stats
    }
}

/// Runs a history. With `trace` it prints what happens.
fn play(world: &World, history: &[Call], trace: bool) -> Stats {
    let mut pair = Pair::new(world);
    pair.trace = trace;
    for call in history {
        pair.say(call);
        pair.run(call);
    }
    pair.end()
}

/// Shortens a history that fails, until each part of it is needed.
fn shortened(world: &World, mut history: Vec<Call>) -> Vec<Call> {
    let fails =
        |history: &[Call]| std::panic::catch_unwind(|| play(world, history, false)).is_err();
    let mut size = history.len() / 2;
    while size > 0 {
        let mut at = 0;
        let before = history.len();
        while at < history.len() {
            let mut rest = history.clone();
            rest.drain(at..(at + size).min(history.len()));
            if fails(&rest) {
                history = rest;
            } else {
                at += size;
            }
        }
        if size > 1 || before == history.len() {
            size /= 2;
        }
    }
    history
}

#[test]
fn the_engine_does_what_the_rules_say() {
    let thorough = std::env::var_os("BUFFERSYNC_THOROUGH").is_some_and(|value| value != "0");
    let (cases, length) = if thorough { (10_000, 600) } else { (1_000, 400) };
    // `shortened` is better at it.
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 0,
        ..ProptestConfig::default()
    };
    let total = RefCell::new(Stats::default());
    let first = prop::collection::vec(add(), 18);
    let calls = (first, prop::collection::vec(call(), length / 2..length));
    let histories = (world(), calls.prop_map(|(first, rest)| [first, rest].concat()));
    // Rare cases may not have happened in one run of a thousand.
    for _ in 0..3 {
        let result = TestRunner::new(config.clone()).run(&histories, |(world, history)| {
            total.borrow_mut().add(&play(&world, &history, false));
            Ok(())
        });
        match result {
            Ok(()) => {}
            Err(TestError::Fail(_, (world, history))) => show(&world, history),
            Err(error) => panic!("{error}"),
        }
        if total.borrow().missing().is_empty() {
            break;
        }
    }
    let total = total.into_inner();
    println!("{total:?}");
    assert_eq!(total.missing(), [""; 0], "never happened");
}

/// Prints the shortest history that fails, and fails.
fn show(world: &World, history: Vec<Call>) {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let history = shortened(world, history);
    std::panic::set_hook(hook);
    println!("{world:?}");
    play(world, &history, true);
    panic!("it failed once, but not again");
}

/// Runs a written history, in a world where no job is answered at once and fences are expected.
fn play_by_hand(history: &[Call]) {
    let world = World {
        implicit: true,
        remembered: 2,
        late: 4,
        busy: 0,
        faulty: false,
        long_waits: true,
        groups: 4,
        buffers: 3,
        locks: 4,
        plain: 0,
        pace: 4,
        accesses: 0,
        slow: false,
    };
    play(&world, history, true);
}

// The accesses of that world: places in `ACCESSES`.
const DMA_WRITE: usize = 3;
const READ: usize = 6;
const WRITE: usize = 7;

fn lock(at: usize, timeout: Option<u64>) -> Call {
    Call::Lock(at, Want::default(), timeout, Implicit::Unknown)
}

/// A wait ends at a deadline, and another lock takes its place after a time-out of the same instant. The
/// row goes on, because a lock waits when the instant is over.
#[test]
fn a_row_of_waits_goes_on_within_an_instant() {
    play_by_hand(&[
        Call::Add(1, 0, DMA_WRITE),
        lock(1, None),
        Call::Add(1, 1, READ),
        Call::GrowBy(Index(1), Want::default(), false, None, Implicit::Unknown),
        Call::JobBlocks(Index(0), Index(0)),
        Call::Add(0, 2, DMA_WRITE),
        lock(0, None),
        Call::Add(2, 1, WRITE),
        Call::Add(2, 2, DMA_WRITE),
        lock(2, Some(4)),
        Call::Add(3, 1, READ),
        lock(3, None),
        Call::Pass(4),
    ]);
}

/// One of two waits succeeds. That ends the row, even if the other wait goes on: the next lock has the
/// whole time.
#[test]
fn a_wait_that_succeeds_ends_the_row() {
    play_by_hand(&[
        Call::Add(0, 0, READ),
        lock(0, None),
        Call::JobBlocks(Index(0), Index(0)),
        Call::Add(1, 0, READ),
        lock(1, None),
        Call::Pass(2),
        Call::JobDone(Index(0)),
        Call::JobDone(Index(1)),
        Call::Add(2, 0, READ),
        lock(2, None),
    ]);
}

/// A group locks some of its buffers for a device's write.
fn lock_some(at: usize, buffers: &[usize]) -> Call {
    Call::Lock(at, writes(buffers), None, Implicit::Unknown)
}

/// Names buffers by their positions in a group that has three.
fn writes(buffers: &[usize]) -> Want {
    let buffers = buffers.iter().map(|nth| Index(3 + nth)).collect();
    Want { buffers, accesses: vec![DMA_WRITE; 3] }
}

/// All four groups have all three buffers.
fn all_have_all() -> Vec<Call> {
    (0..12).map(|nth| Call::Add(nth as usize / 3, nth % 3, 0)).collect()
}

/// A grant that became exclusive later, and was wounded, leaves a ticket that is late for this buffer.
#[test]
fn an_upgrade_stays_late() {
    let read = Want { buffers: vec![Index(3)], accesses: vec![] };
    let grow = |buffer| Call::GrowBy(Index(0), writes(&[buffer]), false, None, Implicit::Unknown);
    let history = [
        lock_some(3, &[2]),
        lock_some(1, &[2]),
        Call::Cancel(Index(1)),
        Call::Lock(0, read, None, Implicit::Unknown),
        grow(0),
        // It has the older ticket.
        lock_some(1, &[2, 0]),
        lock_some(2, &[1]),
        grow(1),
        lock_some(2, &[0]),
        Call::Unlock(Index(0), vec![]),
        lock_some(0, &[0]),
    ];
    play_by_hand(&[all_have_all(), history.into()].concat());
}

/// The last ticket is kept, even if its life is over.
#[test]
fn a_group_keeps_one_ticket() {
    let history = [
        lock_some(3, &[2]),
        lock_some(1, &[2]),
        lock_some(0, &[2]),
        Call::Pass(4),
        Call::Pass(4),
        Call::Pass(4),
        Call::Pass(2),
        lock_some(2, &[0]),
        lock_some(0, &[0]),
        Call::Cancel(Index(4)),
        Call::Cancel(Index(0)),
        lock_some(0, &[0]),
    ];
    play_by_hand(&[all_have_all(), history.into()].concat());
}

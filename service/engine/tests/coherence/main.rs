// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The coherence rules against a model of a cache that is not coherent.
//!
//! This file runs every sequence, up to a length of six, of accesses, releases, evictions, failed
//! operations, re-registrations, and devices that begin and finish after their grant (release fences).
//! There is one access at a time, and operations end at once. [`crowd`] runs long random histories of
//! several clients at once. Their operations, fences and waits end at any time.

mod book;
mod crowd;
mod dmabuf;
mod line;

use std::collections::HashMap;
use std::time::Duration;

use book::Book;
use buffersync_engine::coherence::Coherence;
use buffersync_engine::Access::{DmaRead, DmaWrite, Read, Write};
use buffersync_engine::{
    Access, BufferId, Close, Effect, Effects, Engine, Failure, FenceId, GrantedBuffer, GroupId,
    Implicit, Limits, LockOutcome, ReleaseFence, SyncFlags, SyncKind, Time, Token, Wait, Wants,
};
use dmabuf::{Checked, DmaBuf};
use line::{Line, Lines, Sync};

const LENGTH: usize = 6;
const BUFFER: BufferId = BufferId(1);

/// What happens next to the one buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// It is accessed and released.
    Release(Access),
    /// It is accessed, and the holder is evicted. The access may go on.
    Evict(Access),
    /// The first or the second operation of a grant fails. If there is no such operation, there is no such
    /// step.
    Fail(Access, usize),
    /// Its last group lets it go, and a new group adds it. One of the last operations may fail.
    Forget(Option<usize>),
    /// A device is granted it and unlocks with a fence. It has not begun its work.
    Later(Access),
    /// The oldest such device that need not wait for another does its work.
    Work,
    /// That device does its work, unless it has, and its fence signals.
    Finish,
    /// The fence of that device fails. The device may go on.
    Miss,
}

impl Step {
    fn all() -> impl Iterator<Item = Self> {
        let each = Access::ALL.into_iter().flat_map(|access| {
            [
                Self::Release(access),
                Self::Evict(access),
                Self::Fail(access, 0),
                Self::Fail(access, 1),
            ]
        });
        let later = [Self::Later(DmaRead), Self::Later(DmaWrite)];
        let forget = [None, Some(0), Some(1)].map(Self::Forget);
        each.chain(later).chain(forget).chain([Self::Work, Self::Finish, Self::Miss])
    }
}

/// A device whose grant is over and whose fence is pending.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Device {
    fence: FenceId,
    access: Access,
    /// Its acquire fences that are pending.
    waits: Vec<FenceId>,
    worked: bool,
    /// The number of evictions that its grant has noted.
    seen: u64,
    /// Its grant had the mark of the evicted: it may read anything.
    told: bool,
}

struct Visit {
    group: GroupId,
    token: Token,
    seen: u64,
}

/// The engine with one buffer, the dma-buf, and the holders that may still be at work on it.
#[derive(Clone)]
struct World {
    engine: Engine,
    /// Keeps the buffer in the engine between visits.
    keeper: GroupId,
    dmabuf: DmaBuf,
    book: Book,
    /// The CPU may have written since the last END.
    unclean: bool,
    /// In the order of their grants.
    devices: Vec<Device>,
    last_fence: u64,
    /// The effect with which the engine let the buffer go.
    let_go: Option<Effect>,
    cost: Cost,
    now: Time,
}

/// The sums over sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cost {
    sequences: u64,
    /// Operations that succeeded.
    ops: u64,
    /// Operations if START and END were around every CPU access, and once more around every CPU access that
    /// went on after its eviction.
    bracketing: u64,
    /// Operations for the writes of a trespasser when the last group lets the buffer go, and for writes
    /// that could not be cleaned then. Bracketing does not have them.
    beside: u64,
    /// The least number of operations by which bracketing was ahead, without those.
    least_ahead: i64,
}

impl Cost {
    fn ahead(&self) -> i64 {
        (self.bracketing + self.beside) as i64 - self.ops as i64
    }
}

impl World {
    fn new() -> Self {
        let mut engine = Engine::new(Limits::default());
        let (keeper, _) = engine.open_group(None);
        engine.add(keeper, BUFFER, Read).expect("a new group can be changed");
        Self {
            engine,
            keeper,
            dmabuf: DmaBuf::new(),
            book: Book::default(),
            unclean: false,
            devices: Vec::new(),
            last_fence: 0,
            let_go: None,
            cost: Cost::default(),
            now: Time(0),
        }
    }

    /// Takes a step. False if it is not possible here.
    fn step(&mut self, step: Step) -> Checked<bool> {
        match step {
            Step::Release(access) => {
                let Some(visit) = self.visit(access)? else { return Ok(false) };
                self.work(access)?;
                self.unlock(&visit, &[])?;
                self.ended(access, visit.seen);
                self.close(visit.group)?;
            }
            Step::Evict(access) => {
                let Some(visit) = self.visit(access)? else { return Ok(false) };
                self.work(access)?;
                self.now = self.now.after(Duration::from_secs(10));
                self.engine.tick(self.now, &mut Effects::new());
                self.cost.bracketing += if access.is_dma() { 0 } else { 2 };
                // The fences come too late as well.
                for device in std::mem::take(&mut self.devices) {
                    self.book.evict(device.access);
                }
                self.book.evict(access);
                self.close(visit.group)?;
            }
            Step::Later(access) => {
                let Some(visit) = self.grant(access)? else { return Ok(false) };
                let waits = self.engine.acquire_fences(visit.group, visit.token);
                let mut waits: Vec<FenceId> = waits.map(|(_, fence)| fence).collect();
                waits.sort_unstable();
                if waits != self.in_the_way(access) {
                    return Err("the acquire fences are wrong");
                }
                self.last_fence += 1;
                let fence = FenceId(self.last_fence);
                self.unlock(&visit, &[ReleaseFence { fence, buffer: None }])?;
                let (seen, told) = (visit.seen, self.book.writers_at_work().next().is_some());
                self.devices.push(Device { fence, access, waits, worked: false, seen, told });
                self.close(visit.group)?;
            }
            Step::Work | Step::Finish | Step::Miss => return self.device(step),
            Step::Fail(_, _) if !self.devices.is_empty() => return Ok(false),
            Step::Forget(_) if !self.devices.is_empty() => return Ok(false),
            Step::Fail(access, nth) => {
                let group = self.open(access);
                let granted = self.lock(group, Some(nth))?;
                self.cost.bracketing += if access.is_dma() { 0 } else { 2 };
                self.close(group)?;
                return Ok(granted.is_none());
            }
            Step::Forget(fails) => return self.forget(fails),
        }
        Ok(true)
    }

    /// The last group closes, and a new one adds the buffer. False if the operation that should fail is not
    /// there.
    fn forget(&mut self, fails: Option<usize>) -> Checked<bool> {
        let mut fx = Effects::new();
        let at_work = self.book.writers_at_work().any(|access| access == Write);
        self.cost.beside += if at_work { 2 } else { 0 };
        self.engine.close_group(self.now, self.keeper, Close::Closed, &mut fx);
        let (_, failed) = self.carry_out(&mut fx, fails)?;
        if fails.is_some() && !failed {
            return Ok(false);
        }
        if failed && (self.unclean || at_work) {
            self.book.evict(Write);
            self.cost.beside += 4;
        }
        if !self.engine.is_empty() {
            return Err("the engine keeps a buffer that nobody has");
        }
        match self.let_go.take() {
            Some(Effect::Forget { .. }) => {
                self.dmabuf.forgotten(&self.book)?;
                self.unclean = false;
            }
            Some(Effect::Remember { .. }) => self.dmabuf.remembered(&self.book, self.unclean)?,
            _ => return Err("the engine does not let a buffer go that nobody has"),
        }
        self.dmabuf.lines = self.dmabuf.lines.used_unseen();
        self.keeper = self.open(Read);
        Ok(true)
    }

    /// `is_ready_for` agrees with `plan`.
    fn check_readiness(&self) -> Checked<()> {
        let view = &self.engine.buffers()[0];
        let same = |access: &Access| {
            [false, true].map(|cpu| view.coherence.plan(*access, cpu) == [None, None])
                == [view.coherence.is_ready_for(*access); 2]
        };
        Access::ALL.iter().all(same).then_some(()).ok_or("is_ready_for and plan disagree")
    }

    fn open(&mut self, access: Access) -> GroupId {
        let (group, _) = self.engine.open_group(None);
        self.engine.add(group, BUFFER, access).expect("a new group can be changed");
        group
    }

    /// A grant whose holder waits for no device. `None` if there is no such grant now.
    fn visit(&mut self, access: Access) -> Checked<Option<Visit>> {
        if access.is_dma() && !self.in_the_way(access).is_empty() {
            // A device that has done its work has waited first: that is a Finish, and then this step.
            return Ok(None);
        }
        self.grant(access)
    }

    /// Locks, and checks that a device is granted with a device's fence and the CPU is not.
    fn grant(&mut self, access: Access) -> Checked<Option<Visit>> {
        self.check_readiness()?;
        let group = self.open(access);
        let granted = self.lock(group, None)?;
        let waits = !self.in_the_way(access).is_empty();
        let coherence = self.engine.buffers()[0].coherence;
        match granted {
            Some(_) if waits && !access.is_dma() => {
                Err("the CPU is granted before a device has finished")
            }
            Some(_) if waits && self.book.evicted() => {
                Err("a device passes a fence while a trespasser is at work")
            }
            Some(token) => {
                self.cost.bracketing += if access.is_dma() { 0 } else { 2 };
                self.unclean |= access == Write;
                Ok(Some(Visit { group, token, seen: self.book.seen() }))
            }
            None if !waits => Err("not granted"),
            None if access.is_dma()
                && !self.book.evicted()
                && !coherence.plan_has_start(access) =>
            {
                Err("a device is not granted with another's fence")
            }
            None => Ok(None),
        }
    }

    /// The fences of devices that such an access waits for.
    fn in_the_way(&self, access: Access) -> Vec<FenceId> {
        let conflicts = self.devices.iter().filter(|device| device.access.conflicts(access));
        conflicts.map(|device| device.fence).collect()
    }

    fn work(&mut self, access: Access) -> Checked<()> {
        let mut trespassers: Vec<Access> = self.book.writers_at_work().collect();
        trespassers.sort_by_key(|access| *access as u8);
        trespassers.dedup();
        self.dmabuf.lines = self.dmabuf.lines.access(access, &trespassers)?;
        Ok(())
    }

    fn unlock(&mut self, visit: &Visit, fences: &[ReleaseFence]) -> Checked<()> {
        let Visit { group, token, .. } = *visit;
        let unlocked = self.engine.unlock(self.now, group, token, fences, &mut Effects::new());
        unlocked.map_err(|_| "the grant is gone")
    }

    /// A grant has ended in order.
    fn ended(&mut self, access: Access, seen: u64) {
        self.unclean |= self.book.ended(access, seen).contains(&Write);
    }

    fn device(&mut self, step: Step) -> Checked<bool> {
        let Some(at) = self.devices.iter().position(|device| device.waits.is_empty()) else {
            return Ok(false);
        };
        let Device { fence, access, worked, seen, told, .. } = self.devices[at].clone();
        if step != Step::Miss && !worked {
            if access == DmaWrite || !told {
                self.work(access)?;
            }
            self.devices[at].worked = true;
        }
        if step != Step::Work {
            let ok = step == Step::Finish;
            self.devices.remove(at);
            for other in &mut self.devices {
                other.waits.retain(|waited| *waited != fence);
            }
            self.engine.fence_done(self.now, fence, ok, &mut Effects::new());
            if ok {
                self.ended(access, seen);
            } else {
                self.book.evict(access);
            }
        }
        Ok(step != Step::Work || !worked)
    }

    /// Locks. The operation with this number fails, if there is one.
    fn lock(&mut self, group: GroupId, fails: Option<usize>) -> Checked<Option<Token>> {
        let mut fx = Effects::new();
        let (now, all, wait) = (self.now, Wants::ALL, Wait::UntilGranted);
        let outcome = self.engine.lock(now, group, Token(1), all, wait, Implicit::Unknown, &mut fx);
        let granted = match outcome.map_err(|_| "the lock was refused")? {
            LockOutcome::Granted(grant) => {
                self.check_told(fx.buffers(grant.buffers))?;
                Some(grant.token)
            }
            LockOutcome::Pending(_) => None,
        };
        let (later, _) = self.carry_out(&mut fx, fails)?;
        Ok(granted.or(later))
    }

    fn check_told(&self, buffers: &[GrantedBuffer]) -> Checked<()> {
        buffers.iter().try_for_each(|told| self.book.check(told))
    }

    fn close(&mut self, group: GroupId) -> Checked<()> {
        let mut fx = Effects::new();
        self.engine.close_group(self.now, group, Close::Closed, &mut fx);
        self.carry_out(&mut fx, None).map(drop)
    }

    /// Carries out effects. Returns the grant among them, and whether an operation failed.
    fn carry_out(
        &mut self,
        fx: &mut Effects,
        fails: Option<usize>,
    ) -> Checked<(Option<Token>, bool)> {
        let (mut granted, mut any_failed) = (None, false);
        while let Some(effect) = fx.pop() {
            match effect {
                Effect::Sync { job, ops, .. } => {
                    let mut result = Ok(());
                    for (nth, op) in fx.ops(ops).to_vec().into_iter().enumerate() {
                        let failed = fails == Some(nth);
                        self.issue(op.kind, op.flags, failed)?;
                        if failed {
                            any_failed = true;
                            result = Err(Failure { succeeded: nth, reason: 5 });
                            break;
                        }
                    }
                    self.engine.job_done(self.now, job, result, fx);
                }
                Effect::Granted { grant, .. } => {
                    self.check_told(fx.buffers(grant.buffers))?;
                    granted = Some(grant.token);
                }
                Effect::Wait { .. } => return Err("nobody expects implicit fences"),
                Effect::Remember { .. } | Effect::Forget { .. } => self.let_go = Some(effect),
                _ => {}
            }
        }
        Ok((granted, any_failed))
    }

    fn issue(&mut self, kind: SyncKind, flags: SyncFlags, fails: bool) -> Checked<()> {
        let at_work = self.devices.iter().any(|device| device.access.is_exclusive());
        if kind == SyncKind::Start && at_work {
            return Err("START before a device has written");
        }
        self.cost.ops += u64::from(!fails);
        self.unclean &= kind != SyncKind::End || fails;
        self.dmabuf.issue(kind, flags, fails)
    }

    /// Two worlds with the same name have the same future.
    fn name(&self) -> Name {
        let engine = self.engine.canonical(&[vec![BUFFER]], true);
        let mut devices = self.devices.clone();
        let fences: Vec<FenceId> = devices.iter().map(|device| device.fence).collect();
        let rank = |fence: &mut FenceId| {
            let rank = fences.iter().position(|other| other == fence);
            *fence = FenceId(rank.map_or(0, |rank| rank as u64));
        };
        for device in &mut devices {
            rank(&mut device.fence);
            device.waits.iter_mut().for_each(rank);
            device.seen = self.book.rank(device.seen) as u64;
        }
        let dmabuf = (self.dmabuf.lines.clone(), self.dmabuf.open(), self.unclean);
        (engine, dmabuf, self.book.name(), devices)
    }
}

type Name = (u128, (Lines, Option<SyncFlags>, bool), Vec<(Access, bool)>, Vec<Device>);

/// Runs every sequence of steps. It looks at equal worlds once, and counts them as often as they come.
struct Search {
    known: HashMap<(Name, usize), Cost>,
    steps: Vec<Step>,
}

impl Search {
    fn run(steps: impl Iterator<Item = Step>, length: usize) -> Cost {
        let mut search = Self { known: HashMap::new(), steps: steps.collect() };
        search.explore(&World::new(), &mut Vec::new(), length)
    }

    fn explore(&mut self, world: &World, path: &mut Vec<Step>, length: usize) -> Cost {
        let mut total = Cost { sequences: 1, ..Cost::default() };
        if length == 0 {
            return total;
        }
        let name = (world.name(), length);
        if let Some(cost) = self.known.get(&name) {
            return *cost;
        }
        for step in self.steps.clone() {
            path.push(step);
            let mut next = World { cost: Cost::default(), ..world.clone() };
            let taken = next.step(step).unwrap_or_else(|wrong| panic!("{wrong}: {path:?}"));
            if taken {
                let rest = self.explore(&next, path, length - 1);
                let ahead = next.cost.ahead();
                total.sequences += rest.sequences;
                total.ops += rest.ops + next.cost.ops * rest.sequences;
                total.bracketing += rest.bracketing + next.cost.bracketing * rest.sequences;
                total.beside += rest.beside + next.cost.beside * rest.sequences;
                total.least_ahead = total.least_ahead.min(ahead).min(ahead + rest.least_ahead);
            }
            path.pop();
        }
        self.known.insert(name, total);
        total
    }
}

fn fewer(cost: &Cost) -> u64 {
    100 - 100 * cost.ops / cost.bracketing
}

#[test]
fn no_read_is_stale_and_no_write_is_lost_in_any_sequence() {
    let cost = Search::run(Step::all(), LENGTH);
    println!(
        "coherence: {} sequences of up to {LENGTH} steps, {} operations, {} % fewer than bracketing",
        cost.sequences,
        cost.ops,
        fewer(&cost)
    );
    assert!(cost.sequences > 1_000_000, "{cost:?}");
    assert!(cost.least_ahead >= 0, "more operations than bracketing: {cost:?}");
}

#[test]
fn orderly_sequences_take_fewer_operations_than_bracketing() {
    let orderly = Access::ALL.into_iter().map(Step::Release);
    let cost = Search::run(orderly, LENGTH);
    println!("coherence: without evictions and failures {} % fewer", fewer(&cost));
    assert!(cost.least_ahead >= 0 && fewer(&cost) > 30, "{cost:?}");
}

/// The RFC's rule (`NEED_BEGIN_CPU_ACCESS`, `NEED_END_CPU_ACCESS` in its `dmabuf-sync.c`): the operation
/// between the last access and the next one.
fn rfc(last: Access, next: Access) -> Sync {
    match (last, next) {
        (DmaWrite, Read) => Sync::Invalidate,
        (Write, DmaRead | DmaWrite) => Sync::Clean,
        _ => Sync::Nothing,
    }
}

fn is_right_by_rfc(sequence: &[Access]) -> bool {
    let mut lines = Lines::known();
    let mut last = None;
    for next in sequence {
        if let Some(last) = last.replace(*next) {
            lines = lines.sync(rfc(last, *next), false);
        }
        match lines.access(*next, &[]) {
            Ok(after) => lines = after,
            Err(_) => return false,
        }
    }
    true
}

fn sequences(length: usize) -> Vec<Vec<Access>> {
    (0..length).fold(vec![Vec::new()], |shorter, _| {
        let longer = |sequence: &Vec<Access>| {
            let sequence = sequence.clone();
            Access::ALL.map(move |next| [&sequence[..], &[next]].concat())
        };
        shorter.iter().flat_map(longer).collect()
    })
}

/// Whether the longer sequence contains the shorter one, perhaps with more in between.
fn is_part(shorter: &[Access], longer: &[Access]) -> bool {
    let mut longer = longer.iter();
    shorter.iter().all(|access| longer.any(|other| other == access))
}

/// The shortest sequences on which the RFC's rule goes wrong, as `docs/engine.md` lists them.
#[test]
fn the_rfcs_macros_fail_where_the_documentation_says() {
    let mut wrong: Vec<Vec<Access>> = Vec::new();
    for sequence in (1..=4).flat_map(sequences) {
        let known = wrong.iter().any(|shorter| is_part(shorter, &sequence));
        if !known && !is_right_by_rfc(&sequence) {
            wrong.push(sequence);
        }
    }
    let listed: Vec<String> = wrong.iter().map(|sequence| format!("`{sequence:?}`")).collect();
    println!("the RFC's macros fail on {}", listed.join(", "));
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/engine.md");
    let docs = std::fs::read_to_string(docs).expect("docs/engine.md");
    for sequence in &listed {
        assert!(docs.contains(sequence), "{sequence} is not listed");
    }
    assert!(listed.len() >= 4, "the model is too kind");
}

#[test]
fn the_model_can_tell() {
    // A CPU write after a device's, with START|WRITE, which invalidates nothing.
    let lines = Lines::unknown().access(DmaWrite, &[]).expect("a device writes");
    assert!(lines.clone().access(Write, &[]).is_err());
    assert!(lines.sync(Sync::Invalidate, false).access(Write, &[]).is_ok());
    // A START that may have failed is no START.
    assert!(lines.sync(Sync::Invalidate, true).access(Read, &[]).is_err());
    let line = Line::unknown();
    assert_ne!(line, line.trespassed(Write));
}

#[test]
fn every_pair_gets_the_operations_of_the_table() {
    use SyncFlags::{Read as R, ReadWrite as RW};
    use SyncKind::{End, Start};
    let table = [
        (Read, Read, [None, None]),
        (Read, Write, [Some((End, R)), Some((Start, RW))]),
        (Read, DmaRead, [None, None]),
        (Read, DmaWrite, [Some((End, R)), None]),
        (Write, Read, [None, None]),
        (Write, Write, [None, None]),
        (Write, DmaRead, [Some((End, RW)), None]),
        (Write, DmaWrite, [Some((End, RW)), None]),
        (DmaRead, Read, [Some((Start, R)), None]),
        (DmaRead, Write, [Some((Start, RW)), None]),
        (DmaRead, DmaRead, [None, None]),
        (DmaRead, DmaWrite, [None, None]),
        (DmaWrite, Read, [Some((Start, R)), None]),
        (DmaWrite, Write, [Some((Start, RW)), None]),
        (DmaWrite, DmaRead, [None, None]),
        (DmaWrite, DmaWrite, [None, None]),
    ];
    for (first, second, expected) in table {
        let mut state = Coherence::default();
        grant(&mut state, first);
        assert_eq!(state.plan(second, false), expected, "{first:?} {second:?}");
    }
}

fn grant(state: &mut Coherence, access: Access) {
    assert_eq!(state.is_ready_for(access), state.plan(access, false) == [None, None]);
    for (kind, flags) in state.plan(access, false).into_iter().flatten() {
        state.issued(kind, flags);
    }
    state.granted(access);
}

#[test]
fn an_end_carries_the_flags_of_its_start() {
    let mut state = Coherence::default();
    grant(&mut state, Read);
    grant(&mut state, Write);
    assert_eq!(state.open(), Some(SyncFlags::ReadWrite));
    assert_eq!(state.plan(DmaRead, false)[0], Some((SyncKind::End, SyncFlags::ReadWrite)));
}

/// The END of the next holder has to clean the lines that an evicted CPU writer leaves in the cache.
#[test]
fn beside_an_evicted_cpu_writer_each_start_is_for_writing() {
    let state = Coherence::default();
    assert_eq!(state.plan(Read, true), [Some((SyncKind::Start, SyncFlags::ReadWrite)), None]);
}

/// Such a START waits in the kernel for the fences of readers too, so its lock has to wait for them first.
#[test]
fn a_lock_waits_for_all_fences_that_its_start_waits_for() {
    let mut engine = Engine::new(Limits::default());
    engine.expect_implicit_fences();
    let [writer, device, reader] = [Write, DmaWrite, Read].map(|access| {
        let (group, _) = engine.open_group(None);
        engine.add(group, BUFFER, access).expect("a new group can be changed");
        group
    });
    let mut fx = Effects::new();
    let now = Time(0);
    let mut lock = |engine: &mut Engine, group| {
        let (all, wait) = (Wants::ALL, Wait::UntilGranted);
        let granted = engine.lock(now, group, Token(1), all, wait, Implicit::Idle, &mut fx);
        granted.expect("nobody is in the way");
        let mut waits = Vec::new();
        while let Some(effect) = fx.pop() {
            if let Effect::Sync { job, waits: span, .. } = effect {
                waits.extend(fx.waits(span).iter().map(|wait| wait.flags));
                engine.job_done(now, job, Ok(()), &mut fx);
            }
        }
        waits
    };
    lock(&mut engine, writer);
    engine.close_group(now, writer, Close::Died, &mut Effects::new());
    lock(&mut engine, device);
    engine.close_group(now, device, Close::Closed, &mut Effects::new());
    assert_eq!(lock(&mut engine, reader), [SyncFlags::ReadWrite]);
}

/// An exporter may do half of an operation; the model has no such device.
#[test]
fn after_a_failed_operation_the_cpus_view_is_not_trusted() {
    let mut state = Coherence::default();
    grant(&mut state, Write);
    assert_eq!(state.plan(Read, false), [None, None]);
    // The END for a device fails. It is still owed, and after it the CPU needs a new START.
    assert!(state.plan(DmaRead, false)[0].is_some());
    state.failed();
    let expected =
        [Some((SyncKind::End, SyncFlags::ReadWrite)), Some((SyncKind::Start, SyncFlags::Read))];
    assert_eq!(state.plan(Read, false), expected);
}

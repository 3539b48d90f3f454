// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The coherence rules against a model of a cache that is not coherent: every sequence of accesses,
//! releases, evictions, failed operations, re-registrations, and devices that begin and finish after
//! their grant is over (release fences), up to a length of six.

mod line;

use std::collections::HashMap;
use std::time::Duration;

use buffersync_engine::coherence::Coherence;
use buffersync_engine::Access::{DmaRead, DmaWrite, Read, Write};
use buffersync_engine::{
    Access, BufferId, Close, Effect, Effects, Engine, Failure, FenceId, GroupId, Limits,
    LockOutcome, ReleaseFence, SyncFlags, SyncKind, Time, Token,
};
use line::{Line, Lines, Sync};

const LENGTH: usize = 6;
const BUFFER: BufferId = BufferId(1);

/// What happens next to the one buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// It is accessed and released.
    Release(Access),
    /// It is accessed, and evicted; the access may go on.
    Evict(Access),
    /// The first, or the second, operation of a grant fails. Not a step where none is needed.
    Fail(Access, usize),
    /// Everybody lets it go, and somebody comes back with it. What the service knew is forgotten.
    Forget,
    /// A device is given it and lets go but for a fence. It has not begun.
    Later(Access),
    /// The oldest such device that need not wait for another does its work.
    Work,
    /// It does so unless it has, and its fence signals.
    Finish,
    /// Its fence fails; it may go on.
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
        each.chain(later).chain([Self::Forget, Self::Work, Self::Finish, Self::Miss])
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
    /// As many trespassers came before its grant, and are not gone.
    after: usize,
    /// It was told that there are some: what it reads need not be right.
    told: bool,
}

/// The engine with one buffer, the buffer, and who may still be at work on it.
#[derive(Clone)]
struct World {
    engine: Engine,
    /// Keeps the buffer known between visits.
    keeper: GroupId,
    lines: Lines,
    /// What the kernel has seen: a START that is not ended.
    open: bool,
    /// Evicted writers, until a grant that began after them has ended in order.
    trespassers: Vec<Access>,
    /// In the order of their grants.
    devices: Vec<Device>,
    last_fence: u64,
    cost: Cost,
    now: Time,
}

/// What sequences took together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cost {
    sequences: u64,
    /// That succeeded.
    ops: u64,
    /// START and END around every CPU access; and around every CPU access that did not end when it
    /// was evicted, once more.
    bracketing: u64,
    /// The least that bracketing was ever ahead.
    least_ahead: i64,
}

impl Cost {
    fn ahead(&self) -> i64 {
        self.bracketing as i64 - self.ops as i64
    }
}

type Checked<T> = Result<T, &'static str>;

impl World {
    fn new() -> Self {
        let mut engine = Engine::new(Limits::default());
        let (keeper, _) = engine.open_group(None);
        engine.add(keeper, BUFFER, Read).expect("a new group can be changed");
        Self {
            engine,
            keeper,
            lines: Lines::unknown(),
            open: false,
            trespassers: Vec::new(),
            devices: Vec::new(),
            last_fence: 0,
            cost: Cost::default(),
            now: Time(0),
        }
    }

    /// Takes a step; false if it can't be taken here.
    fn step(&mut self, step: Step) -> Checked<bool> {
        match step {
            Step::Release(access) => {
                let Some((group, token)) = self.visit(access)? else { return Ok(false) };
                self.work(access)?;
                self.unlock(group, token, &[])?;
                self.gone(self.trespassers.len());
                self.close(group)?;
            }
            Step::Evict(access) => {
                let Some((group, _)) = self.visit(access)? else { return Ok(false) };
                self.work(access)?;
                self.now = self.now.after(Duration::from_secs(10));
                self.engine.tick(self.now, &mut Effects::new());
                self.cost.bracketing += if access.is_dma() { 0 } else { 2 };
                // The fences' time is up as well.
                for device in std::mem::take(&mut self.devices) {
                    self.trespass(device.access);
                }
                self.trespass(access);
                self.close(group)?;
            }
            Step::Later(access) => {
                let Some((group, token)) = self.grant(access)? else { return Ok(false) };
                let waits = self.engine.acquire_fences(group, token).map(|(_, fence)| fence);
                let waits: Vec<FenceId> = waits.collect();
                if waits != self.in_the_way(access) {
                    return Err("not the acquire fences that there are");
                }
                self.last_fence += 1;
                let fence = FenceId(self.last_fence);
                self.unlock(group, token, &[ReleaseFence { fence, buffer: None }])?;
                let after = self.trespassers.len();
                let told = after > 0;
                self.devices.push(Device { fence, access, waits, worked: false, after, told });
                self.close(group)?;
            }
            Step::Work | Step::Finish | Step::Miss => return self.device(step),
            Step::Fail(_, _) if !self.devices.is_empty() => return Ok(false),
            Step::Forget if !self.devices.is_empty() => return Ok(false),
            Step::Fail(access, nth) => {
                let group = self.open(access);
                let granted = self.lock(group, Some(nth))?;
                self.cost.bracketing += if access.is_dma() { 0 } else { 2 };
                self.close(group)?;
                return Ok(granted.is_none());
            }
            Step::Forget => {
                self.close(self.keeper)?;
                if self.open {
                    return Err("a START was never ended");
                }
                if !self.engine.is_empty() {
                    return Err("something is kept of a buffer that nobody has");
                }
                // Who has no mapping of it any more writes no more.
                self.trespassers.clear();
                self.keeper = self.open(Read);
            }
        }
        Ok(true)
    }

    /// The short answer and the long one are the same.
    fn check_readiness(&self) -> Checked<()> {
        let coherence = self.engine.buffers()[0].coherence;
        let same = |access: &Access| {
            coherence.is_ready_for(*access) == (coherence.plan(*access) == [None, None])
        };
        Access::ALL.iter().all(same).then_some(()).ok_or("ready, and not ready")
    }

    fn open(&mut self, access: Access) -> GroupId {
        let (group, _) = self.engine.open_group(None);
        self.engine.add(group, BUFFER, access).expect("a new group can be changed");
        group
    }

    /// A grant whose holder waits for no device; `None` where there is none to be had.
    fn visit(&mut self, access: Access) -> Checked<Option<(GroupId, Token)>> {
        if access.is_dma() && !self.in_the_way(access).is_empty() {
            // Who says that its work is done has waited: this is a Finish, and then this step.
            return Ok(None);
        }
        self.grant(access)
    }

    /// Who has to wait for a device is not granted if it is the CPU's, and is if it is another's.
    fn grant(&mut self, access: Access) -> Checked<Option<(GroupId, Token)>> {
        self.check_readiness()?;
        let group = self.open(access);
        let granted = self.lock(group, None)?;
        let waits = !self.in_the_way(access).is_empty();
        let view = &self.engine.buffers()[0];
        let coherence = view.coherence;
        match granted {
            Some(_) if !self.trespassers.is_empty() && !view.tainted => Err("a holder is not told"),
            Some(_) if waits && !access.is_dma() => Err("the CPU comes before a device is done"),
            Some(token) => {
                self.cost.bracketing += if access.is_dma() { 0 } else { 2 };
                Ok(Some((group, token)))
            }
            None if !waits => Err("not granted"),
            None if access.is_dma() && !view.tainted && !coherence.plan_has_start(access) => {
                Err("a device is not granted with another's fence")
            }
            None => Ok(None),
        }
    }

    /// The fences of devices that such an access has to wait for.
    fn in_the_way(&self, access: Access) -> Vec<FenceId> {
        let conflicts = self.devices.iter().filter(|device| device.access.conflicts(access));
        conflicts.map(|device| device.fence).collect()
    }

    fn work(&mut self, access: Access) -> Checked<()> {
        let mut trespassers = self.trespassers.clone();
        trespassers.sort_by_key(|access| *access as u8);
        trespassers.dedup();
        self.lines = self.lines.access(access, &trespassers)?;
        Ok(())
    }

    fn unlock(&mut self, group: GroupId, token: Token, fences: &[ReleaseFence]) -> Checked<()> {
        let unlocked = self.engine.unlock(self.now, group, token, fences, &mut Effects::new());
        unlocked.map_err(|_| "the grant is gone")
    }

    fn trespass(&mut self, access: Access) {
        if access.is_exclusive() {
            self.trespassers.push(access);
        }
    }

    /// So many of the trespassers count as gone.
    fn gone(&mut self, count: usize) {
        self.trespassers.drain(..count);
        for device in &mut self.devices {
            device.after = device.after.saturating_sub(count);
        }
    }

    fn device(&mut self, step: Step) -> Checked<bool> {
        let Some(at) = self.devices.iter().position(|device| device.waits.is_empty()) else {
            return Ok(false);
        };
        let Device { fence, access, worked, after, told, .. } = self.devices[at].clone();
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
                self.gone(after);
            } else {
                self.trespass(access);
            }
        }
        Ok(step != Step::Work || !worked)
    }

    /// Locks; the operation of that number fails, if there is one.
    fn lock(&mut self, group: GroupId, fails: Option<usize>) -> Checked<Option<Token>> {
        let mut fx = Effects::new();
        let outcome = self.engine.lock(self.now, group, None, &mut fx);
        let granted = match outcome.map_err(|_| "the lock was refused")? {
            LockOutcome::Granted(grant) => Some(grant.token),
            LockOutcome::Pending(_) => None,
        };
        let later = self.carry_out(&mut fx, fails)?;
        Ok(granted.or(later))
    }

    fn close(&mut self, group: GroupId) -> Checked<()> {
        let mut fx = Effects::new();
        self.engine.close_group(self.now, group, Close::Closed, &mut fx);
        self.carry_out(&mut fx, None).map(drop)
    }

    fn carry_out(&mut self, fx: &mut Effects, fails: Option<usize>) -> Checked<Option<Token>> {
        let mut granted = None;
        while let Some(effect) = fx.pop() {
            match effect {
                Effect::Sync { job, ops, .. } => {
                    let mut result = Ok(());
                    for (nth, op) in fx.ops(ops).to_vec().into_iter().enumerate() {
                        let failed = fails == Some(nth);
                        self.issue(op.kind, op.flags, failed)?;
                        if failed {
                            result = Err(Failure { succeeded: nth, reason: 5 });
                            break;
                        }
                    }
                    self.engine.job_done(self.now, job, result, fx);
                }
                Effect::Granted { grant, .. } => granted = Some(grant.token),
                _ => {}
            }
        }
        Ok(granted)
    }

    fn issue(&mut self, kind: SyncKind, flags: SyncFlags, fails: bool) -> Checked<()> {
        let starts = kind == SyncKind::Start;
        if starts && self.devices.iter().any(|device| device.access.is_exclusive()) {
            return Err("START before a device has written");
        }
        if starts == self.open {
            return Err("START and END do not alternate");
        }
        self.cost.ops += u64::from(!fails);
        let sync = match (kind, flags) {
            (SyncKind::Start, _) => Sync::Invalidate,
            (SyncKind::End, SyncFlags::ReadWrite) => Sync::Clean,
            // What older arm64 kernels make of it.
            (SyncKind::End, SyncFlags::Read) => Sync::Nothing,
            (SyncKind::Wait, _) => return Err("nobody expects implicit fences"),
        };
        self.lines = self.lines.sync(sync, fails);
        self.open = starts != fails;
        Ok(())
    }

    /// Two worlds that agree in this have the same future.
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
        }
        (engine, self.lines.clone(), self.open, self.trespassers.clone(), devices)
    }
}

type Name = (u128, Lines, bool, Vec<Access>, Vec<Device>);

/// Runs every sequence of steps. Equal worlds are looked at once, and counted as often as they come.
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

/// The RFC's rule (`NEED_BEGIN_CPU_ACCESS`, `NEED_END_CPU_ACCESS` in its `dmabuf-sync.c`): what the
/// last access and the next one ask for.
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

/// Whether the second is the first with something in between.
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
        grant(&mut state, first);
        assert_eq!(state.plan(second), [expected, None], "{first:?} {second:?}");
    }
}

fn grant(state: &mut Coherence, access: Access) {
    assert_eq!(state.is_ready_for(access), state.plan(access) == [None, None]);
    for (kind, flags) in state.plan(access).into_iter().flatten() {
        state.issued(kind, flags);
    }
    state.granted(access);
}

#[test]
fn an_end_carries_the_write_that_a_read_only_start_did_not_announce() {
    let mut state = Coherence::default();
    grant(&mut state, Read);
    grant(&mut state, Write);
    assert_eq!(state.plan(DmaRead)[0], Some((SyncKind::End, SyncFlags::ReadWrite)));
}

/// The model has no device that half does what it is asked; an exporter may.
#[test]
fn after_a_failed_operation_the_cpus_view_is_not_trusted() {
    let mut state = Coherence::default();
    grant(&mut state, Write);
    assert_eq!(state.plan(Read), [None, None]);
    // The END for a device fails: it is still owed, and then the CPU starts anew.
    assert!(state.plan(DmaRead)[0].is_some());
    state.failed();
    let expected =
        [Some((SyncKind::End, SyncFlags::ReadWrite)), Some((SyncKind::Start, SyncFlags::Read))];
    assert_eq!(state.plan(Read), expected);
}

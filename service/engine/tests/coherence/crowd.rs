// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Several clients at once around one or two dma-bufs, at random.
//!
//! Each operation of a job acts on the line at a step of its own, and the job is reported at a later step.
//! In between act other clients, devices behind release fences or implicit fences, and evicted holders.
//! Groups close and die at any time, and buffers are let go and come back. A client has several locks at
//! once, each of some of its buffers, and they grow. The dma-buf ([`DmaBuf`]) lives longer than the engine
//! knows it. One buffer may be plain memory, which must see no operation.
//!
//! The CPU must not be granted a buffer while a release fence that concerns it is pending, nor while an
//! implicit one is. But time passes after a look at implicit fences. So one case is right: the call reports
//! the grant's own job, and the implicit fence came after the job had looked at its `waits`.

use std::time::Duration;

use buffersync_engine::Access::{DmaRead, DmaWrite, Read, Write};
use buffersync_engine::{
    Access, BufferId, Close, Effect, Effects, Engine, EvictionCause, Failure, FenceId, FenceWait,
    Grant, GrantedBuffer, GroupId, Implicit, JobId, Limits, LockOutcome, Phase, ReleaseFence,
    SyncFlags, SyncKind, SyncOp, Time, Token, Wait as Patience, Wants,
};

use crate::book::Book;
use crate::dmabuf::{Checked, DmaBuf, ImplicitFence};

/// The generator xorshift64*: the same history for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % bound as u64) as usize
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn of<T>(&mut self, all: &[T]) -> Option<usize> {
        (!all.is_empty()).then(|| self.below(all.len()))
    }
}

/// A buffer of a grant, until its holder has finished.
#[derive(Clone, Debug)]
struct Use {
    group: GroupId,
    token: Token,
    at: usize,
    access: Access,
    /// The number of evictions that the grant has noted.
    seen: u64,
    /// An evicted writer may have been at work since the grant: the holder may read anything.
    told: bool,
    /// Its pending acquire fences.
    waits: Vec<FenceId>,
    /// The grant is over, except for its fences.
    released: bool,
    fences: Vec<FenceId>,
    /// One of them has failed.
    failed: bool,
}

/// The work of a device behind an implicit fence. Its grant may be over.
#[derive(Clone, Debug)]
struct Submitted {
    serial: u64,
    at: usize,
    access: Access,
    told: bool,
    /// The holder. `None`: a device of somebody else, which does nothing to the line.
    owner: Option<(GroupId, Token)>,
    waits: Vec<FenceId>,
}

/// An evicted writer.
#[derive(Clone, Debug)]
struct Trespasser {
    at: usize,
    access: Access,
    number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Done,
    Failed(usize),
    Blocked(usize),
}

/// A job whose operations are in flight.
#[derive(Clone, Debug)]
struct Job {
    id: JobId,
    group: Option<GroupId>,
    /// The buffers that the lock wanted exclusively, and the lock.
    writes: Vec<(BufferId, Token)>,
    waits: Vec<FenceWait>,
    ops: Vec<SyncOp>,
    /// The last implicit fence before the look at `waits`.
    looked: Option<u64>,
    done: usize,
    ended: Option<Ended>,
    /// Buffers whose evicted CPU writer began to count as gone meanwhile.
    gone: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Wait {
    id: JobId,
    waits: Vec<FenceWait>,
    until: Time,
}

/// A dma-buf and its state outside of the engine.
#[derive(Clone, Debug)]
struct Shared {
    dmabuf: DmaBuf,
    book: Book,
    /// The CPU may have written since the last END.
    unclean: bool,
    /// How the engine let it go when nobody had it any more.
    let_go: bool,
    remembered: bool,
    /// Memory without a cache to maintain, and without implicit fences.
    plain: bool,
}

#[derive(Clone, Copy, Debug)]
struct Client {
    group: GroupId,
    /// The last number of a lock.
    last: u64,
}

/// The possible next steps.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Lock,
    Unlock,
    UnlockPart,
    Downgrade,
    Cancel,
    Close,
    Add,
    Grow,
    Remove,
    Pass,
    Operate,
    Report,
    Look,
    EndFence,
    Attach,
    Signal,
    Trespass,
    UseUnseen,
    WorkSubmitted,
    Work,
}

/// How often each of them comes, in parts of their sum.
const DEEDS: [(Deed, usize); 20] = [
    (Deed::Lock, 6),
    (Deed::Unlock, 3),
    (Deed::UnlockPart, 1),
    (Deed::Downgrade, 1),
    (Deed::Cancel, 1),
    (Deed::Close, 2),
    (Deed::Add, 2),
    (Deed::Grow, 1),
    (Deed::Remove, 1),
    (Deed::Pass, 1),
    (Deed::Operate, 5),
    (Deed::Report, 3),
    (Deed::Look, 2),
    (Deed::EndFence, 2),
    (Deed::Attach, 1),
    (Deed::Signal, 3),
    (Deed::Trespass, 3),
    (Deed::UseUnseen, 1),
    (Deed::WorkSubmitted, 1),
    (Deed::Work, 4),
];

/// The report that a call makes.
#[derive(Clone, Copy, Debug, Default)]
struct Cause<'a> {
    /// A job of operations.
    job: Option<&'a Job>,
    /// The last operations of a buffer that nobody has have failed.
    failed_last: Option<usize>,
}

/// How often each interesting case came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Coverage {
    pub grants: u64,
    pub parts: u64,
    pub downgrades: u64,
    pub shared_by_both: u64,
    pub failed_of_closed: u64,
    pub failed_last: u64,
    pub back_remembered: u64,
    pub trespasses: u64,
    pub beside_operations: u64,
    pub ops: u64,
    pub blocked_at_once: u64,
    pub blocked_later: u64,
    pub fence_after_look: u64,
    pub waits: u64,
    pub dropped_waits: u64,
    pub late_devices: u64,
    pub several_fences: u64,
    pub upgrades: u64,
    pub told_torn_only: u64,
    pub forgotten: u64,
    pub checked_reads: u64,
    pub beside_own: u64,
    pub of_a_part: u64,
    pub growths: u64,
    pub plain: u64,
    pub unlocked_waiters: u64,
}

impl Coverage {
    pub fn add(&mut self, other: &Self) {
        for ((_, mine), (_, others)) in self.all_mut().into_iter().zip(other.clone().all_mut()) {
            *mine += *others;
        }
    }

    pub fn all_mut(&mut self) -> [(&'static str, &mut u64); 26] {
        [
            ("grants", &mut self.grants),
            ("CPU and device readers at once", &mut self.shared_by_both),
            ("failed jobs of closed groups", &mut self.failed_of_closed),
            ("failed last operations", &mut self.failed_last),
            ("remembered buffers that come back", &mut self.back_remembered),
            ("writes after an eviction", &mut self.trespasses),
            ("accesses between operations and their report", &mut self.beside_operations),
            ("operations", &mut self.ops),
            ("jobs blocked at once", &mut self.blocked_at_once),
            ("jobs blocked before a later START", &mut self.blocked_later),
            ("grants after which a fence came in time", &mut self.fence_after_look),
            ("waits that succeeded", &mut self.waits),
            ("waits dropped", &mut self.dropped_waits),
            ("accesses behind a release fence", &mut self.late_devices),
            ("grants that ended with several fences", &mut self.several_fences),
            ("upgrades", &mut self.upgrades),
            ("grants with the mark of torn content only", &mut self.told_torn_only),
            ("forgotten buffers", &mut self.forgotten),
            ("checked reads", &mut self.checked_reads),
            ("grants of parts that ended", &mut self.parts),
            ("downgrades", &mut self.downgrades),
            ("grants beside another of the group", &mut self.beside_own),
            ("locks of a part of the group's buffers", &mut self.of_a_part),
            ("growths that were granted", &mut self.growths),
            ("grants of plain memory", &mut self.plain),
            ("locks unlocked while they waited", &mut self.unlocked_waiters),
        ]
    }
}

pub struct Crowd {
    engine: Engine,
    now: Time,
    random: Random,
    implicit: bool,
    /// Jobs are reported long after their operations.
    slow: bool,
    /// How many of four accesses are shared.
    readers: usize,
    /// The most locks of a client.
    locks: usize,
    clients: Vec<Client>,
    buffers: Vec<Shared>,
    uses: Vec<Use>,
    submitted: Vec<Submitted>,
    trespassers: Vec<Trespasser>,
    jobs: Vec<Job>,
    waits: Vec<Wait>,
    last_fence: u64,
    last_implicit: u64,
    fx: Effects,
    pub coverage: Coverage,
    /// Every step, if it should be printed.
    pub trace: Option<Vec<String>>,
}

macro_rules! note {
    ($self:ident, $($what:tt)*) => {
        if let Some(trace) = &mut $self.trace {
            trace.push(format!($($what)*));
        }
    };
}

fn id(at: usize) -> BufferId {
    BufferId(at as u64)
}

fn at_of(buffer: BufferId) -> usize {
    buffer.0 as usize
}

/// The implicit fences that the grant of such an access waits for.
fn before(access: Access) -> SyncFlags {
    if access.is_exclusive() {
        SyncFlags::ReadWrite
    } else {
        SyncFlags::Read
    }
}

impl Crowd {
    pub fn new(seed: u64, trace: bool) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (clients, buffers) = (3 + random.below(3), 1 + random.below(2));
        let (implicit, slow, readers) = (random.one_in(2), random.one_in(2), 1 + random.below(3));
        let (locks, plain) = (1 + random.below(3), random.one_in(3));
        let mut engine = Engine::new(Limits::default());
        if implicit {
            engine.expect_implicit_fences();
        }
        let shared = Shared {
            dmabuf: DmaBuf::new(),
            book: Book::default(),
            unclean: false,
            let_go: true,
            remembered: false,
            plain: false,
        };
        let mut buffers = vec![shared.clone(); buffers];
        buffers.extend(plain.then_some(Shared { plain, ..shared }));
        let mut crowd = Self {
            engine,
            now: Time(0),
            random,
            implicit,
            slow,
            readers,
            locks,
            clients: Vec::new(),
            buffers,
            uses: Vec::new(),
            submitted: Vec::new(),
            trespassers: Vec::new(),
            jobs: Vec::new(),
            waits: Vec::new(),
            last_fence: 0,
            last_implicit: 0,
            fx: Effects::new(),
            coverage: Coverage::default(),
            trace: trace.then(Vec::new),
        };
        for _ in 0..clients {
            let client = crowd.open();
            crowd.clients.push(client);
        }
        note!(crowd, "implicit fences: {implicit}");
        crowd
    }

    fn open(&mut self) -> Client {
        let hold = 20 + self.random.below(60) as u64;
        let (group, _) = self.engine.open_group(Some(Duration::from_millis(hold)));
        if !self.random.one_in(3) {
            self.add(group);
        }
        Client { group, last: 0 }
    }

    /// Takes a step that is possible.
    pub fn step(&mut self) -> Checked<()> {
        let mut deed = Deed::Pass;
        for _ in 0..8 {
            let mut nth = self.random.below(DEEDS.iter().map(|(_, parts)| parts).sum());
            let chosen = DEEDS.iter().find(|(_, parts)| {
                let here = nth < *parts;
                nth = nth.saturating_sub(*parts);
                here
            });
            deed = chosen.map_or(Deed::Pass, |(deed, _)| *deed);
            if self.is_possible(deed) {
                break;
            }
        }
        let client = self.random.below(self.clients.len());
        match deed {
            Deed::Lock => self.lock(),
            Deed::Unlock => self.unlock(false),
            Deed::UnlockPart => self.unlock(true),
            Deed::Downgrade => self.downgrade(),
            Deed::Cancel => self.cancel(client),
            Deed::Close => self.close(client),
            Deed::Add => {
                self.add(self.clients[client].group);
                Ok(())
            }
            Deed::Grow => self.grow(),
            Deed::Remove => self.remove(self.clients[client].group),
            Deed::Pass => self.pass(),
            Deed::Operate => self.operate(),
            Deed::Report => self.report(),
            Deed::Look => self.look(),
            Deed::EndFence => self.end_fence(),
            Deed::Attach => self.attach(),
            Deed::Signal => self.signal(),
            Deed::Trespass => self.trespass(),
            Deed::UseUnseen => self.use_unseen(),
            Deed::WorkSubmitted => self.work_submitted(),
            Deed::Work => self.work(),
        }
    }

    fn is_possible(&self, deed: Deed) -> bool {
        match deed {
            Deed::Lock => self.clients.iter().any(|client| self.may_lock(client)),
            Deed::Unlock | Deed::Grow | Deed::UnlockPart | Deed::Downgrade => {
                self.uses.iter().any(|one| !one.released)
            }
            Deed::Operate => self.jobs.iter().any(|job| job.ended.is_none()),
            Deed::Report => self.jobs.iter().any(|job| job.ended.is_some()),
            Deed::Look => !self.waits.is_empty(),
            Deed::EndFence => self.uses.iter().any(|one| one.released),
            Deed::Attach => self.implicit,
            Deed::Signal | Deed::WorkSubmitted => !self.submitted.is_empty(),
            Deed::Trespass => !self.trespassers.is_empty(),
            Deed::UseUnseen => self.buffers.iter().any(|shared| shared.let_go),
            Deed::Work => !self.uses.is_empty(),
            Deed::Cancel | Deed::Close | Deed::Add | Deed::Remove | Deed::Pass => true,
        }
    }

    fn may_lock(&self, Client { group, .. }: &Client) -> bool {
        self.engine.members(*group).next().is_some()
            && self.engine.locks(*group).count() < self.locks
    }

    /// Takes a wait back, or ends the lock if it still waits.
    fn cancel(&mut self, client: usize) -> Checked<()> {
        let group = self.clients[client].group;
        let locks: Vec<Token> = self.engine.locks(group).collect();
        let Some(nth) = self.random.of(&locks) else { return Ok(()) };
        let (token, phase) = (locks[nth], self.engine.phase(group, locks[nth]));
        let waits = matches!(phase, Some(Phase::Queued | Phase::Preparing));
        let unlocks = waits && self.random.one_in(2);
        self.coverage.unlocked_waiters += u64::from(unlocks);
        note!(self, "cancel {group:?} {token:?}, unlocks: {unlocks}");
        let done = self.call(Cause::default(), |e, now, fx| match unlocks {
            true => e.unlock(now, group, token, &[], fx),
            false => e.cancel(now, group, token, fx),
        })?;
        let held = matches!(phase, Some(Phase::Held { .. }));
        if done.is_ok() == held || waits && self.engine.phase(group, token).is_some() {
            return Err("a wait was not taken back");
        }
        Ok(())
    }

    fn members(&self, group: GroupId) -> Vec<(BufferId, Access)> {
        self.engine.members(group).collect()
    }

    fn call<R>(
        &mut self,
        cause: Cause<'_>,
        call: impl FnOnce(&mut Engine, Time, &mut Effects) -> R,
    ) -> Checked<R> {
        let result = call(&mut self.engine, self.now, &mut self.fx);
        self.follow(cause)?;
        Ok(result)
    }

    /// Carries out the effects of a call and checks them.
    fn follow(&mut self, cause: Cause<'_>) -> Checked<()> {
        if let Err(broken) = self.engine.check_invariants() {
            note!(self, "{broken}");
            return Err("an invariant is broken");
        }
        while let Some(effect) = self.fx.pop() {
            match effect {
                Effect::Sync { job, group, waits, ops, .. } => {
                    let (waits, ops) = (self.fx.waits(waits).to_vec(), self.fx.ops(ops).to_vec());
                    note!(self, "  {job:?} of {group:?}: {ops:?} after {waits:?}");
                    let named = waits.iter().map(|wait| wait.buffer);
                    let mut named = named.chain(ops.iter().map(|op| op.buffer));
                    if named.any(|buffer| self.buffers[at_of(buffer)].plain) {
                        return Err("an operation on plain memory");
                    }
                    drop(named);
                    // Beside an exclusive lock of a buffer, the group has no other lock there.
                    let views = self.engine.buffers().into_iter();
                    let writes = views.flat_map(|view| {
                        let holders = view.holders.into_iter();
                        let own = holders.filter(move |holder| Some(holder.group) == group);
                        let own = own.filter(|holder| holder.access.is_exclusive());
                        own.map(move |holder| (view.id, holder.token))
                    });
                    let writes = writes.collect();
                    let (looked, done, ended, gone) = (None, 0, None, Vec::new());
                    let new = Job { id: job, group, writes, waits, ops, looked, done, ended, gone };
                    self.jobs.push(new);
                }
                Effect::Wait { job, group, waits, until, .. } => {
                    let waits = self.fx.waits(waits).to_vec();
                    note!(self, "  {job:?} of {group:?}: wait {waits:?}");
                    if !self.implicit || waits.is_empty() {
                        return Err("a wait without fences");
                    }
                    if waits.iter().any(|wait| self.buffers[at_of(wait.buffer)].plain) {
                        return Err("a wait for implicit fences of plain memory");
                    }
                    self.waits.push(Wait { id: job, waits, until });
                }
                Effect::DropWait { job } => {
                    self.waits.retain(|wait| wait.id != job);
                    self.coverage.dropped_waits += 1;
                }
                Effect::Granted { group, grant } => {
                    let buffers = self.fx.buffers(grant.buffers).to_vec();
                    self.granted(group, grant, &buffers, cause)?;
                }
                Effect::Evicted { group, token, cause: EvictionCause::Deadline, .. } => {
                    note!(self, "  evicted {group:?} {token:?}");
                    self.evict(group, token);
                }
                Effect::DropFence { fence } => self.fence_over(fence, false),
                Effect::Remember { buffer } | Effect::Forget { buffer } => {
                    self.let_go(effect, at_of(buffer), cause)?;
                }
                Effect::Evicted { .. } => {}
                Effect::LockFailed { .. }
                | Effect::TimedOut { .. }
                | Effect::Wounded { .. }
                | Effect::Contended { .. } => {
                    note!(self, "  {effect:?}");
                }
            }
        }
        for view in self.engine.buffers() {
            let book = &self.buffers[at_of(view.id)].book;
            if (view.evicted, view.torn) != (book.evicted(), book.torn()) {
                return Err("the marks are wrong");
            }
        }
        Ok(())
    }

    fn let_go(&mut self, effect: Effect, at: usize, cause: Cause<'_>) -> Checked<()> {
        note!(self, "  {effect:?}");
        let used = self.uses.iter().any(|one| one.at == at);
        let has = |group: GroupId| self.engine.members(group).any(|(buffer, _)| buffer == id(at));
        if used || self.clients.iter().any(|client| has(client.group)) {
            return Err("let go while a group has it");
        }
        let shared = &mut self.buffers[at];
        let cpu_at_work = shared.book.writers_at_work().any(|access| access == Write);
        if cause.failed_last == Some(at) && (shared.unclean || cpu_at_work) {
            shared.book.evict(Write);
        }
        shared.let_go = true;
        shared.remembered = matches!(effect, Effect::Remember { .. });
        if shared.remembered {
            return shared.dmabuf.remembered(&shared.book, shared.unclean);
        }
        shared.dmabuf.forgotten(&shared.book)?;
        shared.unclean = false;
        self.coverage.forgotten += 1;
        Ok(())
    }

    // Calls.

    fn add(&mut self, group: GroupId) {
        for _ in 0..1 + self.random.below(2) {
            let at = self.random.below(self.buffers.len());
            let readers = self.random.below(4) < self.readers;
            let access = [[Write, DmaWrite], [Read, DmaRead]][usize::from(readers)];
            let access = access[self.random.below(2)];
            let added = match self.buffers[at].plain {
                true => self.engine.add_plain(group, id(at), access),
                false => self.engine.add(group, id(at), access),
            };
            if added.is_ok() {
                note!(self, "add {group:?} {at} {access:?}");
                let shared = &mut self.buffers[at];
                shared.let_go = false;
                self.coverage.back_remembered += u64::from(shared.remembered);
                shared.remembered = false;
            }
        }
    }

    /// A grant wants more: exclusive access, or another buffer of its group.
    fn grow(&mut self) -> Checked<()> {
        let Some((group, token, part)) = self.some_part() else { return Ok(()) };
        let wants = if self.random.one_in(2) {
            let Some(one) = self.held(group, token).find(|one| one.at == part[0]) else {
                return Ok(());
            };
            vec![(id(one.at), if one.access.is_dma() { DmaWrite } else { Write })]
        } else {
            self.add(group);
            self.members(group)
        };
        let (buffers, accesses): (Vec<_>, Vec<_>) = wants.into_iter().unzip();
        let wants = Wants { buffers: &buffers, accesses: &accesses };
        self.ask(group, token, wants, true)
    }

    fn remove(&mut self, group: GroupId) -> Checked<()> {
        let at = self.random.below(self.buffers.len());
        note!(self, "remove {group:?} {at}");
        self.call(Cause::default(), |e, _, fx| e.remove(group, id(at), fx)).map(|_| ())
    }

    fn lock(&mut self) -> Checked<()> {
        let clients: Vec<usize> =
            (0..self.clients.len()).filter(|nth| self.may_lock(&self.clients[*nth])).collect();
        let Some(nth) = self.random.of(&clients) else { return Ok(()) };
        let Client { group, last } = self.clients[clients[nth]];
        let members = self.members(group);
        let named = if self.random.one_in(2) { members.clone() } else { Vec::new() };
        let mut named: Vec<(BufferId, Access)> =
            named.into_iter().filter(|_| self.random.one_in(2)).collect();
        // Sometimes other accesses than those of `add`.
        let others = self.random.one_in(3);
        for (_, access) in named.iter_mut().filter(|_| others) {
            *access = Access::ALL[self.random.below(4)];
        }
        let (buffers, accesses): (Vec<_>, Vec<_>) = named.into_iter().unzip();
        let wants = Wants { buffers: &buffers, accesses: &accesses };
        self.coverage.of_a_part += u64::from((1..members.len()).contains(&buffers.len()));
        self.ask(group, Token(last + 1), wants, false)
    }

    /// Calls `lock` or `grow`.
    fn ask(&mut self, group: GroupId, token: Token, wants: Wants<'_>, grows: bool) -> Checked<()> {
        let members = self.members(group);
        let named: Vec<(BufferId, Access)> = match wants.buffers {
            [] => members,
            buffers => buffers.iter().copied().zip(wants.accesses.iter().copied()).collect(),
        };
        let idle = named.iter().filter(|(_, access)| !access.is_dma()).all(|(buffer, access)| {
            let dmabuf = &self.buffers[at_of(*buffer)].dmabuf;
            dmabuf.pending(before(*access)).next().is_none()
        });
        let implicit =
            if idle && self.random.one_in(2) { Implicit::Idle } else { Implicit::Unknown };
        let patience = match self.random.below(8) {
            0 => Patience::Never,
            1 | 2 => Patience::AtMost(Duration::from_millis(self.random.below(50) as u64)),
            _ => Patience::UntilGranted,
        };
        note!(self, "ask {group:?} {token:?} {named:?} {implicit:?} {patience:?}, grows: {grows}");
        let (now, fx) = (self.now, &mut self.fx);
        let outcome = match grows {
            true => self.engine.grow(now, group, token, wants, patience, implicit, fx),
            false => self.engine.lock(now, group, token, wants, patience, implicit, fx),
        };
        let client = self.clients.iter_mut().find(|client| client.group == group);
        match outcome {
            Ok(_) => client.into_iter().for_each(|client| client.last = client.last.max(token.0)),
            Err(refused) => note!(self, "  {refused:?}"),
        }
        if let Ok(LockOutcome::Granted(grant)) = outcome {
            let buffers = self.fx.buffers(grant.buffers).to_vec();
            self.granted(group, grant, &buffers, Cause::default())?;
        }
        self.follow(Cause::default())
    }

    /// A grant, and some of its buffers, if its group waits for nothing.
    fn some_part(&mut self) -> Option<(GroupId, Token, Vec<usize>)> {
        let holders: Vec<(GroupId, Token)> = (self.uses.iter())
            .filter(|one| !one.released)
            .map(|one| (one.group, one.token))
            .filter(|(group, token)| {
                matches!(self.engine.phase(*group, *token), Some(Phase::Held { .. }))
            })
            .collect();
        let (group, token) = holders[self.random.of(&holders)?];
        let held: Vec<usize> = self.held(group, token).map(|one| one.at).collect();
        let some: Vec<usize> = held.iter().copied().filter(|_| self.random.one_in(2)).collect();
        Some((group, token, if some.is_empty() { held } else { some }))
    }

    /// A writer goes on as a reader.
    fn downgrade(&mut self) -> Checked<()> {
        let Some((group, token, part)) = self.some_part() else { return Ok(()) };
        note!(self, "downgrade {group:?} {token:?} {part:?}");
        let mut named: Vec<BufferId> = part.iter().map(|at| id(*at)).collect();
        let done = self.engine.downgrade(self.now, group, token, &mut named, &mut self.fx);
        done.map_err(|_| "a holder cannot share")?;
        for at in part {
            let mine =
                |one: &Use| !one.released && (one.group, one.token, one.at) == (group, token, at);
            let Some(nth) = self.uses.iter().position(mine) else { continue };
            let Use { access, seen, .. } = self.uses[nth];
            if access.is_exclusive() {
                self.ended(at, access, seen);
                self.uses[nth].access = access.shared();
                self.coverage.downgrades += 1;
            }
        }
        self.follow(Cause::default())
    }

    fn unlock(&mut self, some: bool) -> Checked<()> {
        let part = if some { self.some_part() } else { None };
        let holders: Vec<(GroupId, Token)> = (self.uses.iter())
            .filter(|one| !one.released)
            .map(|one| (one.group, one.token))
            .collect();
        let Some(nth) = self.random.of(&holders) else { return Ok(()) };
        let (group, token) =
            part.as_ref().map_or(holders[nth], |(group, token, _)| (*group, *token));
        let held: Vec<usize> = match &part {
            Some((_, _, part)) => part.clone(),
            None => self.held(group, token).map(|one| one.at).collect(),
        };
        let mut given = Vec::new();
        if self.random.one_in(2) {
            for _ in 0..1 + self.random.below(3) {
                self.last_fence += 1;
                let buffer = held[self.random.below(held.len())];
                let buffer = (!self.random.one_in(3)).then_some(id(buffer));
                given.push(ReleaseFence { fence: FenceId(self.last_fence), buffer });
            }
        }
        note!(self, "unlock {group:?} {token:?} {held:?} {given:?}");
        let (now, fx) = (self.now, &mut self.fx);
        let done = if part.is_some() {
            self.coverage.parts += 1;
            let mut named: Vec<BufferId> = held.iter().map(|at| id(*at)).collect();
            self.engine.unlock_part(now, group, token, &mut named, &given, &[], fx)
        } else {
            self.engine.unlock(now, group, token, &given, fx)
        };
        done.map_err(|_| "a holder cannot unlock")?;
        self.release(group, token, Some(&held), &given);
        self.follow(Cause::default())
    }

    fn close(&mut self, client: usize) -> Checked<()> {
        let group = self.clients[client].group;
        let how = if self.random.one_in(2) { Close::Died } else { Close::Closed };
        note!(self, "close {group:?} {how:?}");
        self.ends(group, how);
        self.clients[client] = self.closed(group, how)?;
        Ok(())
    }

    /// Closes a group; another one takes its place.
    fn closed(&mut self, group: GroupId, how: Close) -> Checked<Client> {
        self.call(Cause::default(), |e, now, fx| e.close_group(now, group, how, fx))?;
        Ok(self.open())
    }

    fn pass(&mut self) -> Checked<()> {
        let millis = self.random.below(30) as u64;
        self.now = self.now.after(Duration::from_millis(millis));
        note!(self, "pass {millis}");
        self.call(Cause::default(), |e, now, fx| e.tick(now, fx))
    }

    // Grants, and how they end.

    fn held(&self, group: GroupId, token: Token) -> impl Iterator<Item = &Use> {
        let mine = move |one: &&Use| !one.released && (one.group, one.token) == (group, token);
        self.uses.iter().filter(mine)
    }

    fn granted(
        &mut self,
        group: GroupId,
        grant: Grant,
        buffers: &[GrantedBuffer],
        cause: Cause<'_>,
    ) -> Checked<()> {
        note!(self, "  granted {group:?} {:?} {buffers:?}", grant.token);
        let token = grant.token;
        let acquire: Vec<(BufferId, FenceId)> = self.engine.acquire_fences(group, token).collect();
        self.coverage.grants += 1;
        let own = |one: &Use| !one.released && one.group == group && one.token != token;
        self.coverage.beside_own += u64::from(self.uses.iter().any(own));
        let held = self.held(group, token).count();
        self.coverage.growths += u64::from((1..buffers.len()).contains(&held));
        for told in buffers {
            let (at, access) = (at_of(told.buffer), told.access);
            let shared = &self.buffers[at];
            shared.book.check(told)?;
            let before = self.held(group, token).find(|one| one.at == at).map(|one| one.access);
            let others = || {
                // Also its own fences, of a part of the grant that has ended.
                let own = |one: &Use| !one.released && (one.group, one.token) == (group, token);
                self.uses.iter().filter(move |one| one.at == at && !own(one))
            };
            let conflicts = |one: &&Use| one.access.conflicts(access);
            if others().filter(conflicts).any(|one| !one.released) {
                return Err("conflicting holders");
            }
            let mut waits: Vec<FenceId> =
                others().filter(conflicts).flat_map(|one| one.fences.clone()).collect();
            let mut named: Vec<FenceId> = acquire
                .iter()
                .filter(|(buffer, _)| *buffer == told.buffer)
                .map(|(_, fence)| *fence)
                .collect();
            waits.sort_unstable();
            waits.dedup();
            named.sort_unstable();
            // Later effects of the same call may have ended some of them.
            let known = waits == named || !self.fx.is_empty();
            if !known || told.fenced == waits.is_empty() {
                return Err("the acquire fences are wrong");
            }
            if before == Some(access) {
                continue;
            }
            if !access.is_dma() && !waits.is_empty() {
                return Err("the CPU is granted before a release fence has signalled");
            }
            if shared.book.evicted() && !waits.is_empty() {
                return Err("a device passes a fence while a trespasser is at work");
            }
            let by_cpu = |one: &Use| !one.access.is_dma() && !one.fences.is_empty();
            if others().filter(conflicts).any(by_cpu) {
                return Err("a device passes a fence of the CPU");
            }
            if self.jobs.iter().any(|job| job.ops.iter().any(|op| op.buffer == told.buffer)) {
                return Err("granted with operations in flight");
            }
            let late = self.implicit
                && !shared.plain
                && !access.is_dma()
                && self.has_late_fence(group, at, access, cause)?;
            let both = |one: &Use| !one.released && one.access.is_dma() != access.is_dma();
            self.coverage.shared_by_both += u64::from(others().any(both));
            self.coverage.fence_after_look += u64::from(late);
            self.coverage.upgrades += u64::from(before.is_some());
            self.coverage.told_torn_only += u64::from(told.torn && !told.evicted);
            let shared = &mut self.buffers[at];
            shared.unclean |= access == Write && !shared.plain;
            self.coverage.plain += u64::from(shared.plain);
            let new = Use {
                group,
                token,
                at,
                access,
                seen: shared.book.seen(),
                told: shared.book.writers_at_work().next().is_some(),
                waits,
                released: false,
                fences: Vec::new(),
                failed: false,
            };
            self.uses.retain(|one| {
                one.released || one.at != at || (one.group, one.token) != (group, token)
            });
            self.uses.push(new);
        }
        Ok(())
    }

    /// Checks that a pending implicit fence that concerns a grant came after the look; see the comment of
    /// this file.
    fn has_late_fence(
        &self,
        group: GroupId,
        at: usize,
        access: Access,
        cause: Cause<'_>,
    ) -> Checked<bool> {
        let dmabuf = &self.buffers[at].dmabuf;
        let Some(first) = dmabuf.pending(before(access)).map(|fence| fence.serial).min() else {
            return Ok(false);
        };
        // A wait for all fences covers a wait for those of writers.
        let covers = |wait: &FenceWait| {
            wait.buffer == id(at) && [before(access), SyncFlags::ReadWrite].contains(&wait.flags)
        };
        let own = cause.job.filter(|job| job.group == Some(group) && job.waits.iter().any(covers));
        if own.and_then(|job| job.looked).is_none_or(|looked| first <= looked) {
            return Err("the CPU is granted before an implicit fence has signalled");
        }
        Ok(true)
    }

    /// A group closes.
    fn ends(&mut self, group: GroupId, how: Close) {
        let own = self.uses.iter().filter(|one| !one.released && one.group == group);
        let mut tokens: Vec<Token> = own.map(|one| one.token).collect();
        tokens.dedup();
        for token in tokens {
            match how {
                Close::Died => self.evict(group, token),
                Close::Closed => self.release(group, token, None, &[]),
            }
        }
    }

    /// A holder is evicted.
    fn evict(&mut self, group: GroupId, token: Token) {
        let taken: Vec<(usize, Access)> =
            self.held(group, token).map(|one| (one.at, one.access)).collect();
        self.uses.retain(|one| one.released || (one.group, one.token) != (group, token));
        for one in &mut self.submitted {
            if one.owner == Some((group, token)) {
                one.owner = None;
            }
        }
        for (at, access) in taken {
            self.evict_use(at, access);
        }
    }

    fn evict_use(&mut self, at: usize, access: Access) {
        let book = &mut self.buffers[at].book;
        book.evict(access);
        if !access.is_exclusive() {
            return;
        }
        self.trespassers.push(Trespasser { at, access, number: book.seen() });
        self.uses.iter_mut().filter(|one| one.at == at).for_each(|one| one.told = true);
        self.submitted.iter_mut().filter(|one| one.at == at).for_each(|one| one.told = true);
    }

    /// A holder unlocks, all or some buffers, with these fences.
    fn release(
        &mut self,
        group: GroupId,
        token: Token,
        part: Option<&[usize]>,
        given: &[ReleaseFence],
    ) {
        let mut ended = Vec::new();
        self.uses.retain_mut(|one| {
            if one.released || (one.group, one.token) != (group, token) {
                return true;
            }
            if part.is_some_and(|part| !part.contains(&one.at)) {
                return true;
            }
            let of = |buffer: Option<BufferId>| -> Vec<FenceId> {
                let mine = given.iter().filter(|given| given.buffer == buffer);
                mine.map(|given| given.fence).collect()
            };
            one.fences = of(Some(id(one.at)));
            if one.fences.is_empty() {
                one.fences = of(None);
            }
            one.released = true;
            if one.fences.is_empty() {
                ended.push((one.at, one.access, one.seen));
            }
            self.coverage.several_fences += u64::from(one.fences.len() > 1);
            !one.fences.is_empty()
        });
        for (at, access, seen) in ended {
            self.ended(at, access, seen);
        }
    }

    /// A grant has ended in order.
    fn ended(&mut self, at: usize, access: Access, seen: u64) {
        let Self { buffers, trespassers, jobs, .. } = self;
        let shared = &mut buffers[at];
        if shared.book.ended(access, seen).contains(&Write) && !shared.plain {
            shared.unclean = true;
            for job in jobs.iter_mut().filter(|job| job.ops.iter().any(|op| op.buffer == id(at))) {
                job.gone.push(at);
            }
        }
        trespassers.retain(|one| one.at != at || shared.book.is_at_work(one.number));
    }

    // Release fences.

    fn end_fence(&mut self) -> Checked<()> {
        let mut fences: Vec<FenceId> =
            self.uses.iter().flat_map(|one| one.fences.clone()).collect();
        fences.sort_unstable();
        fences.dedup();
        let Some(nth) = self.random.of(&fences) else { return Ok(()) };
        let fence = fences[nth];
        let fails = self.random.one_in(4);
        // A device that waits itself has not finished.
        let waits = |one: &Use| one.fences.contains(&fence) && !one.waits.is_empty();
        if !fails && self.uses.iter().any(waits) {
            return Ok(());
        }
        note!(self, "{fence:?} fails: {fails}");
        self.engine.fence_done(self.now, fence, !fails, &mut self.fx);
        self.fence_over(fence, !fails);
        self.follow(Cause::default())
    }

    fn fence_over(&mut self, fence: FenceId, ok: bool) {
        let (mut ended, mut evicted) = (Vec::new(), Vec::new());
        self.uses.retain_mut(|one| {
            one.waits.retain(|other| *other != fence);
            let before = one.fences.len();
            one.fences.retain(|other| *other != fence);
            if one.fences.len() == before {
                return true;
            }
            if !ok {
                one.failed = true;
                one.told = true;
                evicted.push((one.at, one.access));
            } else if one.fences.is_empty() && !one.failed {
                ended.push((one.at, one.access, one.seen));
            }
            !one.fences.is_empty()
        });
        for one in &mut self.submitted {
            one.waits.retain(|other| *other != fence);
        }
        for (at, access) in evicted {
            self.evict_use(at, access);
        }
        for (at, access, seen) in ended {
            self.ended(at, access, seen);
        }
    }

    // Jobs and waits.

    /// The next operation of a job, or its look at the fences that it waits for.
    fn operate(&mut self) -> Checked<()> {
        let open: Vec<usize> =
            (0..self.jobs.len()).filter(|nth| self.jobs[*nth].ended.is_none()).collect();
        let Some(nth) = self.random.of(&open) else { return Ok(()) };
        let (fails, may_fail) = (self.random.one_in(10), self.random.one_in(40));
        let Self { jobs, buffers, uses, .. } = self;
        let job = &mut jobs[open[nth]];
        let pending = |buffer, flags| buffers[at_of(buffer)].dmabuf.pending(flags).next();
        if job.looked.is_none() {
            if job.waits.iter().any(|wait| pending(wait.buffer, wait.flags).is_some()) {
                job.ended = Some(Ended::Blocked(0));
                self.coverage.blocked_at_once += 1;
            }
            job.looked = Some(self.last_implicit);
            note!(self, "look before {:?}", self.jobs[open[nth]].id);
            return Ok(());
        }
        let op = job.ops[job.done];
        let at = at_of(op.buffer);
        if op.kind == SyncKind::Start {
            if let Some(fence) = pending(op.buffer, op.flags) {
                job.ended = Some(Ended::Blocked(job.done));
                let awaited = |wait: &FenceWait| {
                    wait.buffer == op.buffer && (fence.write || wait.flags == SyncFlags::ReadWrite)
                };
                if job.group.is_some() && !job.waits.iter().any(awaited) {
                    return Err("START is blocked by a fence that its lock does not wait for");
                }
                self.coverage.blocked_later += 1;
                note!(self, "blocked: {:?}", self.jobs[open[nth]].id);
                return Ok(());
            }
        }
        let writer = job.writes.iter().find(|(buffer, _)| *buffer == op.buffer);
        let lock = writer.map(|(_, lock)| *lock);
        let own = |one: &Use| Some(one.group) == job.group && Some(one.token) == lock;
        let others = || uses.iter().filter(|one| one.at == at && !own(one));
        if others().any(|one| one.access.is_exclusive() && !one.failed) {
            return Err("an operation before a writer has finished");
        }
        if writer.is_some() && op.kind == SyncKind::Start && others().any(|one| one.released) {
            return Err("START for a writer before a reader has finished");
        }
        note!(self, "{op:?} of {:?}, fails: {fails}", self.jobs[open[nth]].id);
        let job = &mut self.jobs[open[nth]];
        self.buffers[at].dmabuf.issue(op.kind, op.flags, fails)?;
        self.coverage.ops += 1;
        if fails {
            job.ended = Some(Ended::Failed(job.done));
            return Ok(());
        }
        job.done += 1;
        if job.done == job.ops.len() {
            job.ended = Some(if may_fail { Ended::Failed(job.done) } else { Ended::Done });
        }
        Ok(())
    }

    fn report(&mut self) -> Checked<()> {
        let over: Vec<usize> =
            (0..self.jobs.len()).filter(|nth| self.jobs[*nth].ended.is_some()).collect();
        let Some(nth) = self.random.of(&over) else { return Ok(()) };
        if self.slow && !self.random.one_in(6) {
            return Ok(());
        }
        let job = self.jobs.remove(over[nth]);
        let Some(ended) = job.ended else { return Ok(()) };
        note!(self, "report {:?}: {ended:?}", job.id);
        for op in &job.ops[..job.done] {
            self.buffers[at_of(op.buffer)].unclean &= op.kind != SyncKind::End;
        }
        for at in &job.gone {
            self.buffers[*at].unclean = true;
        }
        let incomplete = job.done < job.ops.len();
        let last = job.group.is_none() && incomplete;
        self.coverage.failed_last += u64::from(last);
        let closed = |group| self.clients.iter().all(|client| client.group != group);
        self.coverage.failed_of_closed +=
            u64::from(incomplete && ended != Ended::Blocked(0) && job.group.is_some_and(closed));
        let failed_last = last.then(|| at_of(job.ops[0].buffer));
        let cause = Cause { job: Some(&job), failed_last };
        self.call(cause, |e, now, fx| match ended {
            Ended::Done => e.job_done(now, job.id, Ok(()), fx),
            Ended::Failed(succeeded) => {
                e.job_done(now, job.id, Err(Failure { succeeded, reason: 5 }), fx);
            }
            Ended::Blocked(succeeded) => e.job_blocked(now, job.id, succeeded, fx),
        })
    }

    /// Looks at the implicit fences of a wait.
    fn look(&mut self) -> Checked<()> {
        let Some(nth) = self.random.of(&self.waits) else { return Ok(()) };
        let Wait { id, until, ref waits } = self.waits[nth];
        let pending = |wait: &FenceWait| {
            self.buffers[at_of(wait.buffer)].dmabuf.pending(wait.flags).next().is_some()
        };
        let result = match waits.iter().position(pending) {
            None => Ok(()),
            Some(_) if self.now < until => return Ok(()),
            Some(succeeded) => Err(Failure { succeeded, reason: 110 }),
        };
        self.coverage.waits += u64::from(result.is_ok());
        self.waits.remove(nth);
        note!(self, "end of {id:?}: {result:?}");
        self.call(Cause::default(), |e, now, fx| e.job_done(now, id, result, fx))
    }

    // Implicit fences.

    /// A device that holds begins work behind an implicit fence. Or somebody else attaches a fence of work
    /// that does nothing to the line.
    fn attach(&mut self) -> Checked<()> {
        if !self.implicit {
            return Ok(());
        }
        self.last_implicit += 1;
        let serial = self.last_implicit;
        let devices: Vec<usize> = (0..self.uses.len())
            .filter(|nth| self.uses[*nth].access.is_dma() && !self.uses[*nth].released)
            .filter(|nth| !self.buffers[self.uses[*nth].at].plain)
            .collect();
        let new = match self.random.of(&devices) {
            Some(nth) if !self.random.one_in(4) => {
                let Use { group, token, at, access, told, ref waits, .. } = self.uses[devices[nth]];
                let owner = Some((group, token));
                Submitted { serial, at, access, told, owner, waits: waits.clone() }
            }
            _ => {
                let at = self.random.below(self.buffers.len());
                if self.buffers[at].plain {
                    return Ok(());
                }
                let access = if self.random.one_in(2) { DmaRead } else { DmaWrite };
                Submitted { serial, at, access, told: true, owner: None, waits: Vec::new() }
            }
        };
        note!(self, "attach {new:?}");
        let write = new.access.is_exclusive();
        self.buffers[new.at].dmabuf.implicit.push(ImplicitFence { serial, write });
        self.submitted.push(new);
        Ok(())
    }

    /// An implicit fence signals.
    fn signal(&mut self) -> Checked<()> {
        let Some(nth) = self.random.of(&self.submitted) else { return Ok(()) };
        if self.may_work(&self.submitted[nth]) {
            let Submitted { serial, at, .. } = self.submitted.remove(nth);
            note!(self, "signal {serial}");
            self.buffers[at].dmabuf.implicit.retain(|fence| fence.serial != serial);
        }
        Ok(())
    }

    /// Whether everything is over that it waits for.
    fn may_work(&self, one: &Submitted) -> bool {
        let earlier = self.buffers[one.at].dmabuf.pending(before(one.access));
        one.waits.is_empty() && earlier.into_iter().all(|fence| fence.serial >= one.serial)
    }

    fn work_submitted(&mut self) -> Checked<()> {
        let Some(nth) = self.random.of(&self.submitted) else { return Ok(()) };
        let Submitted { at, access, told, owner, .. } = self.submitted[nth];
        if owner.is_none() || !self.may_work(&self.submitted[nth]) {
            return Ok(());
        }
        note!(self, "submitted {access:?} of {at}, told {told}");
        self.act(at, access, told)
    }

    // Accesses.

    /// A holder, or a device behind a release fence, accesses the line.
    fn work(&mut self) -> Checked<()> {
        let Some(nth) = self.random.of(&self.uses) else { return Ok(()) };
        let reads = self.random.one_in(3);
        let Use { group, token, at, access, told, released, ref waits, .. } = self.uses[nth];
        let own = |serial: u64| {
            let mut own = self.submitted.iter().filter(|one| one.owner == Some((group, token)));
            own.any(|one| one.serial == serial)
        };
        let mut earlier = self.buffers[at].dmabuf.pending(before(access));
        let behind = !waits.is_empty() || earlier.any(|fence| !own(fence.serial));
        drop(earlier);
        if access.is_dma() && behind {
            return Ok(());
        }
        let done = match access {
            Write if reads => Read,
            DmaWrite if reads => DmaRead,
            _ => access,
        };
        note!(self, "{done:?} of {at} by {group:?}, told {told}");
        self.coverage.late_devices += u64::from(released);
        self.act(at, done, told)
    }

    fn trespass(&mut self) -> Checked<()> {
        let Some(nth) = self.random.of(&self.trespassers) else { return Ok(()) };
        let Trespasser { at, access, .. } = self.trespassers[nth];
        note!(self, "trespass {access:?} of {at}");
        self.coverage.trespasses += 1;
        self.act(at, access, true)
    }

    fn act(&mut self, at: usize, access: Access, told: bool) -> Checked<()> {
        if self.buffers[at].plain {
            return Ok(());
        }
        let beside = |job: &Job| job.ops[..job.done].iter().any(|op| op.buffer == id(at));
        self.coverage.beside_operations += u64::from(self.jobs.iter().any(beside));
        self.coverage.checked_reads += u64::from(!told && access != DmaWrite);
        let lines = &mut self.buffers[at].dmabuf.lines;
        *lines = if told { lines.trespassed(access) } else { lines.accessed(access)? };
        Ok(())
    }

    /// Somebody uses a buffer that the engine has let go.
    fn use_unseen(&mut self) -> Checked<()> {
        let at = self.random.below(self.buffers.len());
        let shared = &mut self.buffers[at];
        if shared.let_go && shared.dmabuf.implicit.is_empty() {
            note!(self, "unseen use of {at}");
            let dmabuf = &mut self.buffers[at].dmabuf;
            dmabuf.lines = dmabuf.lines.used_unseen();
        }
        Ok(())
    }

    /// All groups close, and everything in flight ends.
    pub fn end(&mut self) -> Checked<()> {
        note!(self, "the end");
        for client in 0..self.clients.len() {
            let group = self.clients[client].group;
            let how = if self.random.one_in(4) { Close::Died } else { Close::Closed };
            self.ends(group, how);
            note!(self, "close {group:?} {how:?}");
            self.call(Cause::default(), |e, now, fx| e.close_group(now, group, how, fx))?;
        }
        for _ in 0..10_000 {
            let busy = !(self.jobs.is_empty() && self.uses.is_empty() && self.waits.is_empty());
            if !busy {
                break;
            }
            self.operate()?;
            self.report()?;
            self.end_fence()?;
            self.signal()?;
            self.trespass()?;
        }
        self.clients.clear();
        if !self.engine.is_empty() {
            note!(self, "{:#?}", self.engine);
            return Err("something is left in the engine");
        }
        if self.buffers.iter().any(|shared| !shared.let_go) {
            return Err("the engine keeps a buffer that nobody has");
        }
        let remembered = self.buffers.iter().filter(|shared| shared.remembered).count();
        if self.engine.remembered() != remembered {
            return Err("miscounted remembered buffers");
        }
        Ok(())
    }
}

/// Prints the seed of the history if the engine panics.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

/// Runs one history. An error has the number of steps before it.
fn run(seed: u64, steps: usize, trace: bool) -> (Crowd, Result<(), (usize, &'static str)>) {
    let guard = Seed(seed);
    let mut crowd = Crowd::new(seed, trace);
    let taken = (0..steps).try_for_each(|nth| crowd.step().map_err(|wrong| (nth, wrong)));
    let taken = taken.and_then(|()| crowd.end().map_err(|wrong| (steps, wrong)));
    std::mem::forget(guard);
    (crowd, taken)
}

#[test]
fn several_clients_at_once_read_what_was_written_and_are_told_what_they_have_to_know() {
    let thorough = std::env::var_os("BUFFERSYNC_THOROUGH").is_some_and(|value| value != "0");
    let (histories, steps) = if thorough { (10_000, 600) } else { (4_000, 400) };
    let mut coverage = Coverage::default();
    // The shortest wrong history is the easiest to read.
    let mut worst: Option<(usize, u64)> = None;
    let mut wrong_ones = 0;
    for seed in 1..=histories {
        let (crowd, result) = run(seed, steps, false);
        coverage.add(&crowd.coverage);
        if let Err((taken, _)) = result {
            wrong_ones += 1;
            worst = worst.min(Some((taken, seed))).or(Some((taken, seed)));
        }
    }
    if let Some((taken, seed)) = worst {
        let (crowd, result) = run(seed, steps, true);
        let trace = crowd.trace.unwrap_or_default().join("\n");
        panic!("{result:?}, seed {seed} after {taken} steps ({wrong_ones} are wrong):\n{trace}");
    }
    println!("coherence: {histories} histories of {steps} steps");
    for (what, count) in coverage.all_mut() {
        println!("  {count:>9} {what}");
        assert!(*count > 0, "never: {what}");
    }
}

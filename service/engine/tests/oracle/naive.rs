// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The rules in their plainest form: no queues, no counts, no links. After every change each group is asked
//! again whether it may go on. It costs O(n^2), and it was written from the rules, not from the engine.
//!
//! Tokens, tickets and jobs count as the interface says.

use buffersync_engine::*;

/// An effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Granted(GroupId, Token, Time, Vec<GrantedBuffer>),
    TimedOut(GroupId, Token),
    Wounded(GroupId, Token),
    Contended(GroupId, Token, Time),
    Evicted(GroupId, Token, EvictionCause),
    Failed(GroupId, Token, BufferId, i32, FailureCause),
    Sync {
        group: Option<GroupId>,
        waits: Vec<FenceWait>,
        ops: Vec<SyncOp>,
    },
    Wait {
        group: GroupId,
        waits: Vec<FenceWait>,
        until: Time,
    },
    /// Has the oracle's number of the wait.
    DropWait(u64),
    DropFence(FenceId),
    Remember(BufferId),
    Forget(BufferId),
}

/// How a job ended.
#[derive(Clone, Copy, Debug)]
pub enum End {
    Done,
    Failed(Failure),
    Blocked(usize),
}

/// Counters of cases that a run has to cover.
macro_rules! stats {
    ($($name:ident),* $(,)?) => {
        #[derive(Clone, Copy, Debug, Default)]
        pub struct Stats {
            $(pub $name: u64,)*
        }

        impl Stats {
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            /// The cases that have never happened.
            pub fn missing(&self) -> Vec<&'static str> {
                let all = [$((stringify!($name), self.$name)),*];
                all.into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
            }
        }
    };
}

stats! {
    grants,
    shared_holds,
    kept_tickets_used,
    lapsed_tickets,
    tickets_that_would_pass,
    growth_refused_for_age,
    growth_refused,
    wounds,
    instants_with_deadline_and_time_out,
    instants_with_two_deadlines,
    instants_with_two_time_outs,
    saved_from_time_out,
    late_instants,
    operations_failed,
    operations_blocked,
    operations_failed_after_close,
    operations_blocked_after_close,
    operations_failed_after_give_up,
    last_operations,
    last_operations_failed,
    last_operations_outlived,
    waits,
    waits_failed,
    waits_dropped,
    waits_in_a_row,
    waits_for_devices,
    waits_behind_operations,
    waits_before_operations,
    idle_grants,
    evicted_grants,
    torn_grants,
    torn_but_not_evicted,
    fenced_grants,
    written_while_operations,
    fences_failed,
    fences_failed_before,
    ends_with_several_fences,
    ends_with_a_failed_and_a_good_fence,
    fences_for_nothing,
    remembered,
    remembered_for_end,
    came_back,
    forgotten_for_room,
    upgrades,
    parts,
    parts_with_fences,
    parts_that_are_all,
    downgrades,
    contended_grants,
    deadlines_from_conflicts,
    deadlines_from_growth,
}

#[derive(Clone, Debug)]
pub struct Naive {
    max_hold: u64,
    remembered: usize,
    implicit: bool,
    groups: Vec<Group>,
    fences: Vec<Fence>,
    endings: Vec<Ending>,
    buffers: Vec<Buffer>,
    /// Remembered buffers, in the order in which their groups let them go.
    memory: Vec<Buffer>,
    jobs: Vec<Job>,
    last_group: u64,
    last_token: u64,
    last_ticket: u64,
    last_arrival: u64,
    /// The effects of the current call.
    now: Time,
    last_job: u64,
    pub told: Vec<Told>,
    /// The jobs among them, with their numbers.
    pub issued: Vec<(u64, Told)>,
    /// The rules do not say which of two buffers is older if one call lets both go. So the engine says it.
    pub order: Vec<BufferId>,
    pub stats: Stats,
}

#[derive(Clone, Debug)]
struct Group {
    id: GroupId,
    hold: u64,
    from: HoldFrom,
    /// It was told that somebody waits.
    contended: bool,
    members: Vec<Member>,
    state: State,
    wounded: bool,
    ticket: u64,
    /// The end of the ticket's life.
    life: Time,
    keeps_ticket: bool,
    /// The last arrival anywhere when it kept its ticket.
    left: u64,
    /// When it asked for its lock.
    asked: Time,
    token: Token,
    deadline: Option<Time>,
    expires: Option<Time>,
    /// The own time limit of its lock for implicit fences: from its first wait, or now for a `try_lock`.
    patience: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There is no pending lock.
    Quiet,
    /// It waits for others.
    Waiting,
    /// It has its buffers, and waits for operations of others or release fences.
    Gated,
    /// It has its buffers, and waits for its own operations.
    Syncing(u64),
    /// It has its buffers, and waits for implicit fences.
    Looking(u64),
}

/// A row of waits for implicit fences: when the first lock began to wait, unless the fences were seen
/// signalled since, and when the last lock stopped.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    since: Option<Time>,
    ended: Time,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    buffer: BufferId,
    want: Access,
    has: Option<Access>,
    granted: Option<Access>,
    /// The number of evictions of the buffer when it was granted.
    seen: usize,
    /// Whether the lock that drew the ticket already had this buffer with this access. `None`: there was no
    /// lock since the buffer was added or wanted more strongly.
    from_the_beginning: Option<bool>,
}

#[derive(Clone, Debug)]
struct Fence {
    id: FenceId,
    group: GroupId,
    token: Token,
    deadline: Time,
}

/// A buffer of a grant that ended with fences.
#[derive(Clone, Debug)]
struct Ending {
    part: Part,
    pending: Vec<FenceId>,
    failed: bool,
    signalled: bool,
}

/// A grant of one buffer.
#[derive(Clone, Copy, Debug)]
struct Part {
    buffer: BufferId,
    access: Access,
    seen: usize,
}

#[derive(Clone, Debug)]
struct Job {
    number: u64,
    group: Option<GroupId>,
    closed: bool,
    work: Work,
}

#[derive(Clone, Debug)]
enum Work {
    /// Operations, and the writes that came after them and that they do not clear.
    Operations {
        ops: Vec<SyncOp>,
        last_ones: bool,
        written: Vec<(BufferId, Access)>,
    },
    Wait(Vec<(BufferId, SyncFlags)>),
}

#[derive(Clone, Debug)]
struct Buffer {
    id: BufferId,
    generation: u64,
    /// All evictions in order. The number of each is its place.
    evictions: Vec<Access>,
    /// How many of them count as gone.
    gone: usize,
    /// How many of them are repaired: their content is written over.
    repaired: usize,
    open: Option<SyncFlags>,
    cpu_dirty: bool,
    device_dirty: bool,
    /// The rows of waits for the implicit fences of writers, and for all.
    rows: [Row; 2],
    /// The last arrival in its queue of any waiter, and of an exclusive one.
    arrivals: [u64; 2],
}

impl Buffer {
    fn new(id: BufferId) -> Self {
        Self {
            id,
            generation: 0,
            evictions: Vec::new(),
            gone: 0,
            repaired: 0,
            open: None,
            cpu_dirty: false,
            device_dirty: true,
            rows: [Row::default(); 2],
            arrivals: [0; 2],
        }
    }

    fn is_evicted(&self) -> bool {
        self.evictions.len() > self.gone
    }

    fn is_torn(&self) -> bool {
        self.evictions[self.repaired..].iter().any(|access| access.is_exclusive())
    }

    fn has_cpu_at_work(&self) -> bool {
        self.evictions[self.gone..].contains(&Access::Write)
    }

    fn wrote(&mut self, access: Access) {
        self.cpu_dirty |= access == Access::Write;
        self.device_dirty |= access == Access::DmaWrite;
    }

    /// The table in `coherence`.
    fn plan(&self, access: Access) -> Vec<SyncOp> {
        let uncleaned = self.cpu_dirty && self.open.is_none();
        let start = match access {
            Access::Read if self.device_dirty || uncleaned => {
                let reads = !uncleaned && !self.has_cpu_at_work();
                Some(if reads { SyncFlags::Read } else { SyncFlags::ReadWrite })
            }
            Access::Write if self.device_dirty || self.open != Some(SyncFlags::ReadWrite) => {
                Some(SyncFlags::ReadWrite)
            }
            Access::DmaRead | Access::DmaWrite if uncleaned => Some(SyncFlags::ReadWrite),
            _ => None,
        };
        let mut ops = Vec::new();
        let ends = match access {
            Access::Read | Access::Write => start.is_some(),
            Access::DmaRead => self.cpu_dirty,
            Access::DmaWrite => true,
        };
        ops.extend(self.open.filter(|_| ends).map(|flags| self.op(SyncKind::End, flags)));
        if let Some(flags) = start {
            ops.push(self.op(SyncKind::Start, flags));
            if access.is_dma() {
                ops.push(self.op(SyncKind::End, flags));
            }
        }
        ops
    }

    /// The operations when nobody has the buffer any more.
    fn last_plan(&self) -> Vec<SyncOp> {
        let all = SyncFlags::ReadWrite;
        match self.open {
            Some(flags) => vec![self.op(SyncKind::End, flags)],
            None if self.cpu_dirty || self.has_cpu_at_work() => {
                vec![self.op(SyncKind::Start, all), self.op(SyncKind::End, all)]
            }
            None => vec![],
        }
    }

    fn op(&self, kind: SyncKind, flags: SyncFlags) -> SyncOp {
        SyncOp { buffer: self.id, kind, flags }
    }

    fn needs_start(&self, access: Access) -> bool {
        self.plan(access).iter().any(|op| op.kind == SyncKind::Start)
    }

    fn issued(&mut self, op: SyncOp) {
        if op.kind == SyncKind::Start {
            (self.open, self.device_dirty) = (Some(op.flags), false);
        } else {
            (self.open, self.cpu_dirty) = (None, false);
        }
    }
}

impl Member {
    fn lacks(&self) -> bool {
        self.has != Some(self.want)
    }

    /// The access that it has taken and that the client was not granted yet.
    fn is_new(&self) -> bool {
        self.has.is_some() && self.has != self.granted
    }
}

impl Group {
    fn holds(&self) -> bool {
        self.deadline.is_some()
    }

    fn phase(&self) -> Phase {
        match (self.deadline, self.state) {
            (None, State::Quiet) => Phase::Idle,
            (None, State::Waiting) => Phase::Queued,
            (None, _) => Phase::Preparing,
            (Some(deadline), State::Quiet) => Phase::Held { deadline },
            (Some(deadline), _) => Phase::Growing { deadline },
        }
    }
}

impl Naive {
    pub fn new(max_hold: u64, remembered: usize, implicit: bool) -> Self {
        Self {
            max_hold,
            remembered,
            implicit,
            groups: Vec::new(),
            fences: Vec::new(),
            endings: Vec::new(),
            buffers: Vec::new(),
            memory: Vec::new(),
            jobs: Vec::new(),
            last_group: 0,
            last_token: 0,
            last_arrival: 0,
            now: Time(0),
            last_ticket: 0,
            last_job: 0,
            told: Vec::new(),
            issued: Vec::new(),
            order: Vec::new(),
            stats: Stats::default(),
        }
    }

    pub fn open(&mut self, id: GroupId, hold: u64, from: HoldFrom) {
        assert!(self.last_group < id.serial(), "a name is reused");
        self.last_group = id.serial();
        self.groups.push(Group {
            id,
            hold: hold.min(self.max_hold),
            from,
            contended: false,
            members: Vec::new(),
            state: State::Quiet,
            wounded: false,
            ticket: 0,
            life: Time(0),
            keeps_ticket: false,
            left: 0,
            asked: Time(0),
            token: Token(0),
            deadline: None,
            expires: None,
            patience: None,
        });
    }

    fn at(&self, id: GroupId) -> usize {
        self.groups.iter().position(|group| group.id == id).expect("an open group")
    }

    fn group(&mut self, id: GroupId) -> &mut Group {
        let at = self.at(id);
        &mut self.groups[at]
    }

    fn buffer(&self, id: BufferId) -> &Buffer {
        self.buffers.iter().find(|buffer| buffer.id == id).expect("a known buffer")
    }

    fn buffer_mut(&mut self, id: BufferId) -> &mut Buffer {
        self.buffers.iter_mut().find(|buffer| buffer.id == id).expect("a known buffer")
    }

    pub fn add(&mut self, id: GroupId, buffer: BufferId, access: Access) -> Result<Access, Error> {
        let group = self.group(id);
        if group.state != State::Quiet {
            return Err(Error::Busy);
        }
        if let Some(member) = group.members.iter_mut().find(|member| member.buffer == buffer) {
            if member.want.is_dma() != access.is_dma() {
                return Err(Error::AccessConflict);
            }
            if access.is_exclusive() && member.want != access {
                member.want = access;
                member.from_the_beginning = None;
            }
            return Ok(member.want);
        }
        let (has, granted, from_the_beginning) = (None, None, None);
        let member = Member { buffer, want: access, has, granted, seen: 0, from_the_beginning };
        group.members.push(member);
        if self.buffers.iter().all(|known| known.id != buffer) {
            let memory = self.memory.iter().position(|known| known.id == buffer);
            self.stats.came_back += u64::from(memory.is_some());
            let known = memory.map(|at| self.memory.remove(at));
            self.buffers.push(known.unwrap_or_else(|| Buffer::new(buffer)));
        }
        Ok(access)
    }

    pub fn remove(&mut self, id: GroupId, buffer: BufferId) -> Result<(), Error> {
        let group = self.group(id);
        if group.state != State::Quiet {
            return Err(Error::Busy);
        }
        let member = group.members.iter().position(|member| member.buffer == buffer);
        let member = member.ok_or(Error::UnknownBuffer)?;
        if group.members[member].has.is_some() {
            return Err(Error::Busy);
        }
        group.members.remove(member);
        self.let_go();
        Ok(())
    }

    /// With `wait` it may wait, for so long. Without, it is a `try_lock`.
    pub fn lock(
        &mut self,
        now: Time,
        id: GroupId,
        wait: Option<Option<u64>>,
        implicit: Implicit,
    ) -> Result<Token, Error> {
        self.now = now;
        let at = self.at(id);
        let group = &self.groups[at];
        let holds = group.holds();
        if group.state != State::Quiet {
            return Err(Error::AlreadyQueued);
        }
        if group.wounded {
            return Err(Error::Deadlock);
        }
        if group.members.is_empty() {
            return Err(Error::EmptyGroup);
        }
        if group.members.iter().all(|member| !member.lacks()) {
            return Err(Error::AlreadyLocked);
        }
        let (lives, passes) = (now < group.life, self.would_pass(at));
        let keeps = group.keeps_ticket && lives && !passes;
        let old = holds || keeps;
        let ticket = if old { group.ticket } else { self.last_ticket + 1 };
        let too_old = holds && !lives && passes;
        let free = !too_old && self.may_take(at, ticket);
        if wait.is_none() && (!free || self.is_gated(at, Member::lacks)) {
            return Err(Error::WouldBlock);
        }
        if !free && holds && (too_old || self.older_wants_what_is_held(at)) {
            self.stats.growth_refused += 1;
            self.stats.growth_refused_for_age += u64::from(too_old);
            self.groups[at].wounded = true;
            return Err(Error::Deadlock);
        }
        if self.groups[at].keeps_ticket {
            self.stats.kept_tickets_used += u64::from(keeps);
            self.stats.lapsed_tickets += u64::from(!lives);
            self.stats.tickets_that_would_pass += u64::from(lives && passes);
        }
        self.last_ticket = self.last_ticket.max(ticket);
        self.last_token += u64::from(!holds);
        let last_token = self.last_token;
        let life = now.0 + self.max_hold;
        let group = &mut self.groups[at];
        if !holds {
            group.token = Token(last_token);
        }
        if !old {
            group.ticket = ticket;
            group.life = Time(life);
        }
        for member in &mut group.members {
            member.from_the_beginning = Some(!old || member.from_the_beginning == Some(true));
        }
        group.keeps_ticket = false;
        group.state = State::Waiting;
        group.asked = now;
        group.expires = wait.flatten().map(|timeout| Time(now.0 + timeout));
        group.patience = wait.is_none().then_some(now);
        let token = group.token;
        if free {
            self.take(now, at, implicit == Implicit::Idle);
        } else {
            self.arrive(at);
            for other in 0..self.groups.len() {
                if other != at && self.waits_for(at, other) {
                    self.contend(other);
                }
            }
            self.start_time_of_growth(at);
            self.wound_younger_than(at);
        }
        self.go_on(now);
        Ok(token)
    }

    /// Whether the group would pass a younger waiter with its ticket, at a buffer to which somebody came
    /// while the group was away, or to which it has come since it drew the ticket.
    fn would_pass(&self, at: usize) -> bool {
        let group = &self.groups[at];
        group.members.iter().filter(|mine| mine.lacks()).any(|mine| {
            self.waiters(mine.buffer).any(|(other, theirs)| {
                let class = usize::from(!mine.want.is_exclusive());
                let come = self.buffer(mine.buffer).arrivals[class] > group.left;
                theirs.want.conflicts(mine.want)
                    && other.ticket > group.ticket
                    && (come || mine.from_the_beginning != Some(true))
            })
        })
    }

    /// True if a waiting group wants a buffer that `holder` was granted.
    fn waits_for(&self, at: usize, holder: usize) -> bool {
        let (mine, theirs) = (&self.groups[at], &self.groups[holder]);
        let lacking = mine.members.iter().filter(|mine| mine.lacks());
        mine.state == State::Waiting
            && lacking.into_iter().any(|mine| {
                theirs.members.iter().any(|theirs| {
                    theirs.buffer == mine.buffer
                        && theirs.granted.is_some()
                        && theirs.has.is_some_and(|access| access.conflicts(mine.want))
                })
            })
    }

    /// A holder that waits for more has a deadline from here on.
    fn start_time_of_growth(&mut self, at: usize) {
        if self.groups[at].deadline == Some(Time::NEVER) {
            self.stats.deadlines_from_growth += 1;
            self.contend(at);
        }
    }

    fn contend(&mut self, at: usize) {
        let now = self.now;
        let group = &mut self.groups[at];
        if std::mem::replace(&mut group.contended, true) {
            return;
        }
        if group.deadline == Some(Time::NEVER) {
            group.deadline = Some(Time(now.0 + group.hold));
            self.stats.deadlines_from_conflicts += 1;
        }
        let deadline = group.deadline.expect("it holds");
        self.told.push(Told::Contended(group.id, group.token, deadline));
    }

    fn arrive(&mut self, at: usize) {
        self.last_arrival += 1;
        let arrival = self.last_arrival;
        let lacking = self.groups[at].members.iter().filter(|member| member.lacks());
        let lacking: Vec<_> = lacking.map(|m| (m.buffer, m.want.is_exclusive())).collect();
        for (id, exclusive) in lacking {
            let arrivals = &mut self.buffer_mut(id).arrivals;
            arrivals[0] = arrival;
            if exclusive {
                arrivals[1] = arrival;
            }
        }
    }

    /// The groups in the queue of a buffer.
    fn waiters(&self, buffer: BufferId) -> impl Iterator<Item = (&Group, &Member)> {
        let waiting = self.groups.iter().filter(|group| group.state == State::Waiting);
        let all = waiting.flat_map(|group| group.members.iter().map(move |member| (group, member)));
        all.filter(move |(_, member)| member.buffer == buffer && member.lacks())
    }

    /// Whether no holder and no older waiter conflicts with what it lacks.
    fn may_take(&self, at: usize, ticket: u64) -> bool {
        self.groups[at].members.iter().filter(|mine| mine.lacks()).all(|mine| {
            let others = self.groups.iter().enumerate().filter(|(other, _)| *other != at);
            others.into_iter().all(|(_, other)| {
                other.members.iter().filter(|m| m.buffer == mine.buffer).all(|theirs| {
                    let held = theirs.has.is_some_and(|has| has.conflicts(mine.want));
                    let wanted = other.state == State::Waiting
                        && other.ticket < ticket
                        && theirs.lacks()
                        && theirs.want.conflicts(mine.want);
                    !held && !wanted
                })
            })
        })
    }

    /// Whether a group waits for operations of others or for release fences. A device waits for a device
    /// itself, unless an evicted holder may be at work or the access needs a START.
    fn is_gated(&self, at: usize, which: fn(&Member) -> bool) -> bool {
        self.groups[at].members.iter().filter(|mine| which(mine)).any(|mine| {
            let buffer = self.buffer(mine.buffer);
            let disorder = buffer.is_evicted() || buffer.needs_start(mine.want);
            self.has_operations(mine.buffer)
                || self
                    .fences_of(mine.buffer, mine.want)
                    .any(|(_, theirs)| disorder || !theirs.is_dma() || !mine.want.is_dma())
        })
    }

    fn has_operations(&self, buffer: BufferId) -> bool {
        self.jobs.iter().any(|job| match &job.work {
            Work::Operations { ops, .. } => ops.iter().any(|op| op.buffer == buffer),
            Work::Wait(_) => false,
        })
    }

    fn fences_of(
        &self,
        buffer: BufferId,
        want: Access,
    ) -> impl Iterator<Item = (FenceId, Access)> + '_ {
        let endings = self.endings.iter().filter(move |ending| {
            ending.part.buffer == buffer && ending.part.access.conflicts(want)
        });
        endings.flat_map(|ending| ending.pending.iter().map(|id| (*id, ending.part.access)))
    }

    pub fn acquire_fences(&self, id: GroupId, token: Token) -> Vec<(BufferId, FenceId)> {
        let Some(group) = self.groups.iter().find(|group| group.id == id) else { return vec![] };
        if !group.holds() || group.token != token {
            return vec![];
        }
        let held = group.members.iter().filter_map(|m| Some((m.buffer, m.granted?)));
        let mut fences: Vec<_> = held
            .flat_map(|(b, access)| self.fences_of(b, access).map(move |(fence, _)| (b, fence)))
            .collect();
        fences.sort_unstable();
        fences
    }

    fn older_wants_what_is_held(&self, at: usize) -> bool {
        self.groups.iter().any(|other| {
            other.state == State::Waiting
                && other.ticket < self.groups[at].ticket
                && wants_of(other, &self.groups[at])
        })
    }

    fn wound_younger_than(&mut self, at: usize) {
        for other in 0..self.groups.len() {
            let (mine, theirs) = (&self.groups[at], &self.groups[other]);
            let vulnerable = theirs.state == State::Waiting && theirs.holds();
            if vulnerable && theirs.ticket > mine.ticket && wants_of(mine, theirs) {
                let theirs = &mut self.groups[other];
                theirs.state = State::Quiet;
                theirs.expires = None;
                theirs.wounded = true;
                self.told.push(Told::Wounded(theirs.id, theirs.token));
                self.stats.wounds += 1;
            }
        }
    }

    /// Lets each group go on that may, the oldest first, until no group may.
    fn go_on(&mut self, now: Time) {
        loop {
            let able = (0..self.groups.len()).filter(|at| match self.groups[*at].state {
                State::Waiting => self.may_take(*at, self.groups[*at].ticket),
                State::Gated => !self.is_gated(*at, Member::is_new),
                State::Quiet | State::Syncing(_) | State::Looking(_) => false,
            });
            let Some(at) = able.min_by_key(|at| self.groups[*at].ticket) else { break };
            self.take(now, at, false);
        }
        self.let_go();
    }

    /// Gives a group what it lacks, and lets it go on if it can. `idle`: the caller has just found its
    /// implicit fences signalled.
    fn take(&mut self, now: Time, at: usize, idle: bool) {
        let group = &mut self.groups[at];
        group.members.iter_mut().for_each(|member| member.has = Some(member.want));
        group.state = State::Gated;
        if self.is_gated(at, Member::is_new) {
            self.start_time_of_growth(at);
            return;
        }
        let new = self.groups[at].members.iter().filter(|member| member.is_new());
        let ops: Vec<_> =
            new.flat_map(|member| self.buffer(member.buffer).plan(member.want)).collect();
        let waits = self.waits_of(at);
        // If it joins a row of waits, it waits before it issues anything.
        let awaited = waits.iter().any(|wait| self.joined(at, wait.buffer).is_some());
        if awaited && !idle {
            self.stats.waits_before_operations += u64::from(!ops.is_empty());
            self.look(now, at);
        } else if !ops.is_empty() {
            let group = self.groups[at].id;
            let told = Told::Sync { group: Some(group), waits, ops: ops.clone() };
            let work = Work::Operations { ops, last_ones: false, written: vec![] };
            self.groups[at].state = State::Syncing(self.issue(Some(group), work, told));
        } else if !waits.is_empty() && !idle {
            self.look(now, at);
        } else {
            self.stats.idle_grants += u64::from(!waits.is_empty());
            self.grant(now, at);
        }
    }

    /// The implicit fences that new accesses wait for.
    fn waits_of(&self, at: usize) -> Vec<FenceWait> {
        let new = self.groups[at].members.iter().filter(|member| self.implicit && member.is_new());
        let concerned = new.filter_map(|member| {
            let buffer = self.buffer(member.buffer);
            let start = buffer.op(SyncKind::Start, SyncFlags::ReadWrite);
            // START for RW waits for all fences, also if it is for a device.
            let flags = match member.want {
                access if buffer.plan(access).contains(&start) => SyncFlags::ReadWrite,
                Access::Read => SyncFlags::Read,
                Access::Write => SyncFlags::ReadWrite,
                Access::DmaRead | Access::DmaWrite => return None,
            };
            Some(FenceWait { buffer: buffer.id, flags })
        });
        concerned.collect()
    }

    /// Begins a wait for implicit fences.
    fn look(&mut self, now: Time, at: usize) {
        self.start_time_of_growth(at);
        let waits = self.waits_of(at);
        let own = *self.groups[at].patience.get_or_insert(Time(now.0 + self.max_hold));
        let mut until = own;
        let buffers: Vec<_> = waits.iter().map(|wait| (wait.buffer, wait.flags)).collect();
        for (id, flags) in &buffers {
            let known = self.joined(at, *id);
            self.stats.waits_in_a_row += u64::from(known.is_some_and(|since| since < now));
            let since = known.unwrap_or(now);
            until = until.min(Time(since.0 + self.max_hold));
            let own = self.joined_row(at, *id, *flags).is_some();
            let others = self.waits_at(*id, *flags);
            let row = &mut self.buffer_mut(*id).rows[*flags as usize];
            if !own && !others || row.since.is_none() {
                row.since = Some(since);
            }
        }
        let group = self.groups[at].id;
        let devices = self.groups[at].members.iter().filter(|m| m.want.is_dma());
        let devices = devices.filter(|m| buffers.iter().any(|(id, _)| *id == m.buffer)).count();
        self.stats.waits_for_devices += devices as u64;
        self.stats.waits += 1;
        let told = Told::Wait { group, waits, until };
        self.groups[at].state = State::Looking(self.issue(Some(group), Work::Wait(buffers), told));
    }

    /// Whether a lock waits for these implicit fences of a buffer.
    fn waits_at(&self, id: BufferId, flags: SyncFlags) -> bool {
        self.jobs.iter().any(|job| match &job.work {
            Work::Wait(buffers) => buffers.contains(&(id, flags)),
            Work::Operations { .. } => false,
        })
    }

    /// When the row began that a group's lock joins: the row goes on, or the group had asked before it
    /// stopped; and the group had asked before its time limit.
    fn joined_row(&self, at: usize, id: BufferId, flags: SyncFlags) -> Option<Time> {
        let Row { since, ended } = self.buffer(id).rows[flags as usize];
        let asked = self.groups[at].asked;
        since
            .filter(|_| self.waits_at(id, flags) || asked <= ended)
            .filter(|since| asked.0 <= since.0 + self.max_hold)
    }

    /// The same for both rows of the buffer.
    fn joined(&self, at: usize, id: BufferId) -> Option<Time> {
        let rows = [SyncFlags::Read, SyncFlags::ReadWrite];
        rows.into_iter().filter_map(|flags| self.joined_row(at, id, flags)).min()
    }

    /// A wait is over at this moment.
    fn wait_is_over(&mut self, buffers: &[(BufferId, SyncFlags)]) {
        let now = self.now;
        for (id, flags) in buffers {
            self.buffer_mut(*id).rows[*flags as usize].ended = now;
        }
    }

    fn issue(&mut self, group: Option<GroupId>, work: Work, told: Told) -> u64 {
        self.last_job += 1;
        self.issued.push((self.last_job, told.clone()));
        self.told.push(told);
        self.jobs.push(Job { number: self.last_job, group, closed: false, work });
        self.last_job
    }

    fn grant(&mut self, now: Time, at: usize) {
        let group = &mut self.groups[at];
        group.state = State::Quiet;
        group.expires = None;
        let first = match group.from {
            HoldFrom::Grant => Time(now.0 + group.hold),
            HoldFrom::Conflict => Time::NEVER,
        };
        let deadline = *group.deadline.get_or_insert(first);
        let mut granted = Vec::new();
        for member in &mut group.members {
            let buffer = self.buffers.iter_mut().find(|b| b.id == member.buffer).expect("known");
            if member.granted != Some(member.want) {
                self.stats.upgrades += u64::from(member.granted.is_some());
                member.granted = Some(member.want);
                member.seen = buffer.evictions.len();
                buffer.generation += u64::from(member.want.is_exclusive());
                buffer.wrote(member.want);
            }
            granted.push(GrantedBuffer {
                buffer: member.buffer,
                access: member.want,
                generation: buffer.generation,
                evicted: buffer.is_evicted(),
                torn: buffer.is_torn(),
                fenced: false,
            });
        }
        let group = &self.groups[at];
        for granted in &mut granted {
            granted.fenced = self.fences_of(granted.buffer, granted.access).next().is_some();
        }
        for GrantedBuffer { evicted, torn, fenced, .. } in &granted {
            self.stats.evicted_grants += u64::from(*evicted);
            self.stats.torn_grants += u64::from(*torn);
            self.stats.torn_but_not_evicted += u64::from(*torn && !*evicted);
            self.stats.fenced_grants += u64::from(*fenced);
        }
        self.stats.grants += 1;
        self.told.push(Told::Granted(group.id, group.token, deadline, granted));
        self.now = now;
        if (0..self.groups.len()).any(|other| other != at && self.waits_for(other, at)) {
            self.stats.contended_grants += u64::from(!self.groups[at].contended);
            self.contend(at);
        }
    }

    pub fn cancel(&mut self, now: Time, id: GroupId) -> Result<(), Error> {
        self.now = now;
        let at = self.at(id);
        if self.groups[at].state == State::Quiet {
            return Err(Error::NotQueued);
        }
        self.give_up(at);
        self.go_on(now);
        Ok(())
    }

    /// A pending lock ends without a grant. A group that holds keeps its grant, another one its ticket.
    fn give_up(&mut self, at: usize) {
        self.take_back(at);
        let newest = self.last_arrival;
        let group = &mut self.groups[at];
        group.keeps_ticket = !group.holds();
        group.left = newest;
    }

    fn take_back(&mut self, at: usize) {
        let group = &mut self.groups[at];
        for member in &mut group.members {
            member.has = member.granted;
        }
        group.expires = None;
        match std::mem::replace(&mut group.state, State::Quiet) {
            State::Quiet | State::Waiting | State::Gated => {}
            State::Syncing(number) => {
                let job = self.jobs.iter_mut().find(|job| job.number == number);
                job.into_iter().for_each(|job| job.group = None);
            }
            State::Looking(number) => {
                let job = self.jobs.iter().position(|job| job.number == number).expect("a wait");
                if let Work::Wait(buffers) = self.jobs.remove(job).work {
                    self.wait_is_over(&buffers);
                }
                self.told.push(Told::DropWait(number));
                self.stats.waits_dropped += 1;
            }
        }
    }

    pub fn unlock(
        &mut self,
        now: Time,
        id: GroupId,
        token: Token,
        given: &[ReleaseFence],
        failed: &[FenceId],
    ) -> Result<(), Error> {
        self.now = now;
        let at = self.at(id);
        let group = &self.groups[at];
        if !group.holds() || group.token != token {
            return Err(Error::BadToken);
        }
        for buffer in given.iter().filter_map(|given| given.buffer) {
            let held = group.members.iter().any(|m| m.buffer == buffer && m.granted.is_some());
            if !held {
                return Err(Error::UnknownBuffer);
            }
        }
        let wounded = group.wounded;
        let parts = self.end(at);
        self.groups[at].keeps_ticket = wounded;
        self.groups[at].left = self.last_arrival;
        self.end_parts(at, parts, given, failed);
        Ok(())
    }

    /// Ends a part of a grant. Buffers are named once or several times.
    pub fn unlock_part(
        &mut self,
        now: Time,
        id: GroupId,
        token: Token,
        buffers: &[BufferId],
        given: &[ReleaseFence],
        failed: &[FenceId],
    ) -> Result<(), Error> {
        let at = self.part(now, id, token, buffers)?;
        let named = |buffer: &BufferId| buffers.contains(buffer);
        let held = self.groups[at].members.iter().filter(|member| member.granted.is_some());
        if held.map(|member| member.buffer).all(|buffer| named(&buffer)) {
            self.stats.parts_that_are_all += 1;
            return self.unlock(now, id, token, given, failed);
        }
        if !given.iter().filter_map(|given| given.buffer).all(|buffer| named(&buffer)) {
            return Err(Error::UnknownBuffer);
        }
        self.stats.parts += 1;
        self.stats.parts_with_fences += u64::from(!given.is_empty());
        let mut parts = Vec::new();
        for member in self.groups[at].members.iter_mut().filter(|member| named(&member.buffer)) {
            if let Some(access) = member.granted.take() {
                parts.push(Part { buffer: member.buffer, access, seen: member.seen });
            }
            member.has = None;
            member.from_the_beginning = None;
        }
        self.end_parts(at, parts, given, failed);
        Ok(())
    }

    pub fn downgrade(
        &mut self,
        now: Time,
        id: GroupId,
        token: Token,
        buffers: &[BufferId],
    ) -> Result<(), Error> {
        let at = self.part(now, id, token, buffers)?;
        for nth in 0..self.groups[at].members.len() {
            let Member { buffer, granted, seen, .. } = self.groups[at].members[nth];
            if !buffers.contains(&buffer) {
                continue;
            }
            if let Some(access) = granted.filter(|access| access.is_exclusive()) {
                self.stats.downgrades += 1;
                self.ended_in_order(Part { buffer, access, seen });
                let member = &mut self.groups[at].members[nth];
                let shared = if access.is_dma() { Access::DmaRead } else { Access::Read };
                (member.has, member.granted) = (Some(shared), Some(shared));
            }
            self.groups[at].members[nth].from_the_beginning = None;
        }
        self.go_on(now);
        Ok(())
    }

    /// The group of a part of its grant.
    fn part(
        &mut self,
        now: Time,
        id: GroupId,
        token: Token,
        buffers: &[BufferId],
    ) -> Result<usize, Error> {
        self.now = now;
        let at = self.at(id);
        let group = &self.groups[at];
        if !group.holds() || group.token != token {
            return Err(Error::BadToken);
        }
        if group.state != State::Quiet {
            return Err(Error::Busy);
        }
        let held = |buffer: &BufferId| {
            group.members.iter().any(|m| m.buffer == *buffer && m.granted.is_some())
        };
        (!buffers.is_empty() && buffers.iter().all(held)).then_some(at).ok_or(Error::UnknownBuffer)
    }

    /// Parts of a grant end with the fences that are given.
    fn end_parts(
        &mut self,
        at: usize,
        parts: Vec<Part>,
        given: &[ReleaseFence],
        failed: &[FenceId],
    ) {
        let (now, Group { id, token, hold, .. }) = (self.now, self.groups[at].clone());
        for part in parts {
            let own = given.iter().any(|given| given.buffer == Some(part.buffer));
            let whose = if own { Some(part.buffer) } else { None };
            let fences = given.iter().filter(|given| given.buffer == whose);
            let mut pending: Vec<_> = fences.map(|given| given.fence).collect();
            pending.sort_unstable();
            pending.dedup();
            self.stats.ends_with_several_fences += u64::from(pending.len() > 1);
            if pending.is_empty() {
                self.ended_in_order(part);
            } else {
                self.endings.push(Ending { part, pending, failed: false, signalled: false });
            }
        }
        let mut names: Vec<_> = given.iter().map(|given| given.fence).collect();
        names.sort_unstable();
        names.dedup();
        for fence in names {
            if self.endings.iter().any(|ending| ending.pending.contains(&fence)) {
                let deadline = Time(now.0 + hold);
                self.fences.push(Fence { id: fence, group: id, token, deadline });
            } else {
                self.told.push(Told::DropFence(fence));
                self.stats.fences_for_nothing += 1;
            }
        }
        for fence in failed {
            if self.fences.iter().any(|pending| pending.id == *fence) {
                self.stats.fences_failed_before += 1;
                self.end_fence(*fence, false);
            }
        }
        self.go_on(now);
    }

    /// Ends the lock and the grant of a group. Returns its grants of buffers.
    fn end(&mut self, at: usize) -> Vec<Part> {
        self.take_back(at);
        let group = &mut self.groups[at];
        let granted = group.members.iter().filter_map(|member| {
            let Member { buffer, granted, seen, .. } = *member;
            Some(Part { buffer, access: granted?, seen })
        });
        let granted = granted.collect();
        for member in &mut group.members {
            member.has = None;
            member.granted = None;
        }
        group.deadline = None;
        group.wounded = false;
        group.contended = false;
        granted
    }

    fn ended_in_order(&mut self, Part { buffer: id, access, seen }: Part) {
        let buffer = self.buffer_mut(id);
        if access.is_exclusive() {
            buffer.repaired = buffer.repaired.max(seen);
        }
        if seen <= buffer.gone {
            return;
        }
        // When the first of them counts as gone, all of them may have written.
        let wrote: Vec<_> = buffer.evictions[buffer.gone..].to_vec();
        buffer.gone = seen;
        for access in wrote {
            self.buffer_mut(id).wrote(access);
            for job in &mut self.jobs {
                match &mut job.work {
                    Work::Operations { ops, written, .. }
                        if ops.iter().any(|op| op.buffer == id) =>
                    {
                        written.push((id, access));
                        self.stats.written_while_operations += 1;
                    }
                    _ => {}
                }
            }
        }
    }

    fn ended_by_eviction(&mut self, parts: &[Part]) {
        for Part { buffer, access, .. } in parts {
            self.buffer_mut(*buffer).evictions.push(*access);
        }
    }

    pub fn close(&mut self, now: Time, id: GroupId, how: Close) {
        self.now = now;
        let at = self.at(id);
        if let State::Syncing(number) = self.groups[at].state {
            let job = self.jobs.iter_mut().find(|job| job.number == number);
            job.into_iter().for_each(|job| job.closed = true);
        }
        let parts = self.end(at);
        match how {
            Close::Closed => parts.into_iter().for_each(|part| self.ended_in_order(part)),
            Close::Died => self.ended_by_eviction(&parts),
        }
        self.groups.remove(at);
        self.go_on(now);
    }

    pub fn fence_done(&mut self, now: Time, id: FenceId, ok: bool) {
        self.now = now;
        if self.fences.iter().any(|fence| fence.id == id) {
            self.end_fence(id, ok);
            self.go_on(now);
        }
    }

    fn end_fence(&mut self, id: FenceId, ok: bool) {
        let at = self.fences.iter().position(|fence| fence.id == id).expect("a pending fence");
        let fence = self.fences.remove(at);
        if !ok {
            self.told.push(Told::Evicted(fence.group, fence.token, EvictionCause::Fence));
            self.stats.fences_failed += 1;
        }
        for mut ending in std::mem::take(&mut self.endings) {
            if let Some(at) = ending.pending.iter().position(|fence| *fence == id) {
                ending.pending.remove(at);
                ending.failed |= !ok;
                ending.signalled |= ok;
                if !ok {
                    self.ended_by_eviction(&[ending.part]);
                } else if ending.pending.is_empty() && !ending.failed {
                    self.ended_in_order(ending.part);
                }
            }
            if !ending.pending.is_empty() {
                self.endings.push(ending);
            } else if ending.failed && ending.signalled {
                self.stats.ends_with_a_failed_and_a_good_fence += 1;
            }
        }
    }

    pub fn job_ended(&mut self, now: Time, number: u64, end: End) {
        self.now = now;
        let at = self.jobs.iter().position(|job| job.number == number).expect("a job");
        let Job { group, closed, work, .. } = self.jobs.remove(at);
        let at = group.map(|group| self.at(group));
        let (buffers, cause): (Vec<BufferId>, _) = match work {
            Work::Operations { ops, last_ones, written } => {
                self.count_end(end, group, closed, last_ones);
                self.end_operations(&ops, last_ones, &written, end);
                (ops.iter().map(|op| op.buffer).collect(), FailureCause::Operation)
            }
            Work::Wait(buffers) => {
                self.wait_is_over(&buffers);
                if matches!(end, End::Done) {
                    for (id, flags) in &buffers {
                        let rows = &mut self.buffer_mut(*id).rows;
                        rows[0].since = None;
                        if *flags == SyncFlags::ReadWrite {
                            rows[1].since = None;
                        }
                    }
                } else {
                    self.stats.waits_failed += 1;
                }
                let buffers = buffers.into_iter().map(|(id, _)| id);
                (buffers.collect(), FailureCause::ImplicitFence)
            }
        };
        if let Some(at) = at {
            self.groups[at].state = State::Gated;
            match end {
                // The caller has just found its fences signalled.
                End::Done => {
                    self.take(now, at, true);
                    let gated = self.groups[at].state == State::Gated;
                    self.stats.waits_behind_operations += u64::from(gated);
                }
                End::Blocked(_) => self.look(now, at),
                End::Failed(Failure { succeeded, reason }) => {
                    let Group { id, token, .. } = self.groups[at];
                    self.told.push(Told::Failed(id, token, buffers[succeeded], reason, cause));
                    self.give_up(at);
                }
            }
        }
        self.go_on(now);
    }

    fn count_end(&mut self, end: End, group: Option<GroupId>, closed: bool, last_ones: bool) {
        let orphan = group.is_none() && !closed && !last_ones;
        let (failed, blocked) = (matches!(end, End::Failed(_)), matches!(end, End::Blocked(_)));
        let stats = &mut self.stats;
        stats.operations_failed += u64::from(failed);
        stats.operations_blocked += u64::from(blocked);
        stats.operations_failed_after_close += u64::from(failed && closed);
        stats.operations_blocked_after_close += u64::from(blocked && closed);
        stats.operations_failed_after_give_up += u64::from(failed && orphan);
        stats.last_operations += u64::from(last_ones);
        stats.last_operations_failed += u64::from(last_ones && failed);
    }

    fn end_operations(
        &mut self,
        ops: &[SyncOp],
        last_ones: bool,
        written: &[(BufferId, Access)],
        end: End,
    ) {
        let (succeeded, failed) = match end {
            End::Done => (ops.len(), false),
            End::Failed(failure) => (failure.succeeded, true),
            End::Blocked(succeeded) => (succeeded, false),
        };
        for op in &ops[..succeeded] {
            self.buffer_mut(op.buffer).issued(*op);
        }
        if failed {
            // It may have been done or not: the CPU's view is not trusted.
            self.buffer_mut(ops[succeeded].buffer).device_dirty = true;
        }
        for (buffer, access) in written {
            self.buffer_mut(*buffer).wrote(*access);
        }
        if last_ones {
            let id = ops[0].buffer;
            if self.is_abandoned(id) {
                self.forget(id, succeeded < ops.len());
            } else {
                self.stats.last_operations_outlived += 1;
            }
        }
    }

    pub fn tick(&mut self, now: Time) {
        self.now = now;
        while let Some(due) = self.next_deadline().filter(|due| *due <= now) {
            self.stats.late_instants += u64::from(due < now);
            let mut deadlines = 0;
            while let Some(fence) = self.fences.iter().find(|fence| fence.deadline == due) {
                let id = fence.id;
                self.told.push(Told::DropFence(id));
                self.end_fence(id, false);
                deadlines += 1;
            }
            for at in 0..self.groups.len() {
                if self.groups[at].deadline == Some(due) {
                    let Group { id, token, .. } = self.groups[at];
                    self.told.push(Told::Evicted(id, token, EvictionCause::Deadline));
                    let parts = self.end(at);
                    self.ended_by_eviction(&parts);
                    deadlines += 1;
                }
            }
            let before = self.groups.iter().filter(|group| group.expires == Some(due)).count();
            self.go_on(now);
            let mut time_outs = 0;
            for at in 0..self.groups.len() {
                if self.groups[at].expires == Some(due) {
                    self.told.push(Told::TimedOut(self.groups[at].id, self.groups[at].token));
                    self.give_up(at);
                    time_outs += 1;
                }
            }
            self.go_on(now);
            let stats = &mut self.stats;
            stats.instants_with_two_deadlines += u64::from(deadlines > 1);
            stats.instants_with_two_time_outs += u64::from(time_outs > 1);
            stats.instants_with_deadline_and_time_out += u64::from(deadlines > 0 && time_outs > 0);
            stats.saved_from_time_out += (before - time_outs) as u64;
        }
    }

    /// Whether no group has it, no operation is in flight on it and no fence is pending.
    fn is_abandoned(&self, id: BufferId) -> bool {
        self.groups.iter().flat_map(|group| &group.members).all(|member| member.buffer != id)
            && self.endings.iter().all(|ending| ending.part.buffer != id)
            && !self.has_operations(id)
    }

    /// Lets buffers go that nobody has any more.
    fn let_go(&mut self) {
        let all = self.buffers.iter().map(|buffer| buffer.id);
        let mut abandoned: Vec<_> = all.filter(|id| self.is_abandoned(*id)).collect();
        abandoned.sort_by_key(|id| self.order.iter().position(|other| other == id));
        for id in abandoned {
            let ops = self.buffer(id).last_plan();
            if ops.is_empty() {
                self.forget(id, false);
            } else {
                let told = Told::Sync { group: None, waits: vec![], ops: ops.clone() };
                self.issue(None, Work::Operations { ops, last_ones: true, written: vec![] }, told);
            }
        }
    }

    /// `failed`: not all of its last operations have succeeded.
    fn forget(&mut self, id: BufferId, failed: bool) {
        let at = self.buffers.iter().position(|buffer| buffer.id == id).expect("a known buffer");
        let mut buffer = self.buffers.remove(at);
        let owed = failed && (buffer.open.is_some() || buffer.cpu_dirty);
        if owed && (buffer.cpu_dirty || buffer.has_cpu_at_work()) {
            buffer.evictions.push(Access::Write);
        }
        (buffer.device_dirty, buffer.rows) = (true, [Row::default(); 2]);
        buffer.arrivals = [0; 2];
        let marked = buffer.is_evicted() || buffer.is_torn();
        if !marked && !owed || self.remembered == 0 {
            self.told.push(Told::Forget(id));
            return;
        }
        self.stats.remembered += 1;
        self.stats.remembered_for_end += u64::from(owed);
        self.told.push(Told::Remember(id));
        self.memory.push(buffer);
        if self.memory.len() > self.remembered {
            self.told.push(Told::Forget(self.memory.remove(0).id));
            self.stats.forgotten_for_room += 1;
        }
    }

    pub fn next_deadline(&self) -> Option<Time> {
        let grants = self.groups.iter().filter_map(|group| group.deadline);
        let grants = grants.filter(|deadline| *deadline != Time::NEVER);
        let locks = self.groups.iter().filter_map(|group| group.expires);
        grants.chain(locks).chain(self.fences.iter().map(|fence| fence.deadline)).min()
    }

    pub fn phase(&self, id: GroupId) -> Option<Phase> {
        self.groups.iter().find(|group| group.id == id).map(Group::phase)
    }

    pub fn remembered(&self) -> usize {
        self.memory.len()
    }

    /// The view of a buffer, to compare it with the engine's.
    pub fn view(&self, id: BufferId) -> View {
        let buffer = self.buffer(id);
        let groups = || self.groups.iter();
        let members =
            || groups().flat_map(|group| group.members.iter().map(move |member| (group, member)));
        let of = || members().filter(|(_, member)| member.buffer == id);
        let lock = |group: &Group, access| (Ticket(group.ticket), group.token, group.id, access);
        let holders = of().filter_map(|(group, member)| Some(lock(group, member.has?)));
        let mut holders: Vec<_> = holders.collect();
        let waiters = self.waiters(id).map(|(group, member)| lock(group, member.want));
        let mut waiters: Vec<_> = waiters.collect();
        holders.sort_unstable();
        waiters.sort_unstable();
        let marks = (buffer.is_evicted(), buffer.is_torn(), self.has_operations(id));
        let cache = (buffer.device_dirty, buffer.cpu_dirty, buffer.open);
        View {
            members: of().count(),
            holders,
            waiters,
            generation: buffer.generation,
            marks,
            cache,
        }
    }

    /// The number of buffers that a group has or on which something is pending.
    pub fn buffers(&self) -> usize {
        self.buffers.len()
    }

    pub fn count_shared_holds(&mut self) {
        let shared = self.buffers.iter().filter(|buffer| {
            let members = self.groups.iter().flat_map(|group| &group.members);
            members.filter(|m| m.buffer == buffer.id && m.granted.is_some()).count() > 1
        });
        self.stats.shared_holds += shared.count() as u64;
    }
}

/// A lock's part in a buffer.
pub type LockPart = (Ticket, Token, GroupId, Access);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub members: usize,
    pub holders: Vec<LockPart>,
    pub waiters: Vec<LockPart>,
    pub generation: u64,
    /// The marks evicted and torn, and whether operations are in flight.
    pub marks: (bool, bool, bool),
    /// The facts device_dirty, cpu_dirty and open.
    pub cache: (bool, bool, Option<SyncFlags>),
}

/// Whether the second has something, in conflict, that the first lacks.
fn wants_of(one: &Group, other: &Group) -> bool {
    one.members.iter().filter(|mine| mine.lacks()).any(|mine| {
        other.members.iter().any(|theirs| {
            theirs.buffer == mine.buffer && theirs.has.is_some_and(|has| has.conflicts(mine.want))
        })
    })
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The rules in their plainest form: no queues, no counts, no links. After every change each lock is asked
//! again whether it may go on. It costs O(n^2), and it was written from the rules, not from the engine.
//!
//! Tickets and jobs count as the interface says.

use buffersync_engine::*;

/// Names a lock.
pub type Name = (GroupId, Token);

/// An effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Granted(GroupId, Token, Time, Vec<GrantedBuffer>),
    TimedOut(GroupId, Token, Option<Name>),
    Wounded(GroupId, Token),
    Contended(GroupId, Token, Time),
    Evicted(GroupId, Token, EvictionCause, Option<Name>),
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
    groups_with_two_grants,
    groups_with_a_grant_and_a_waiter,
    locks_of_a_part,
    accesses_other_than_those_of_add,
    buffers_named_twice,
    conflicts_in_a_group,
    bad_tokens,
    ended_tokens,
    waiters_unlocked,
    busy,
    kept_for_other_buffers,
    late_with_a_kept_ticket,
    late_again,
    plain_grants,
    plain_writes_without_operations,
    kept_tickets_used,
    lapsed_tickets,
    tickets_that_would_pass,
    growth_refused_for_age,
    growth_refused,
    wounds,
    instants_with_deadline_and_time_out,
    evicted_for_a_waiter,
    timed_out_behind_a_lock,
    timed_out_behind_a_fence,
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
    /// The living locks of all groups.
    locks: Vec<Lock>,
    fences: Vec<Fence>,
    endings: Vec<Ending>,
    buffers: Vec<Buffer>,
    /// Remembered buffers, in the order in which their groups let them go.
    memory: Vec<Buffer>,
    jobs: Vec<Job>,
    last_group: u64,
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
    /// The rules do not say which of two locks of a group ends last if both time out in one call. So the
    /// engine says it.
    pub time_outs: Vec<Name>,
    /// The rules do not say which of several locks in the way is told. So the engine says it: for each lock that timed
    /// out or was evicted.
    pub ways: Vec<(Name, Option<Name>)>,
    pub stats: Stats,
}

#[derive(Clone, Debug)]
struct Group {
    id: GroupId,
    hold: u64,
    from: HoldFrom,
    /// Its buffers, with the accesses of locks that name none.
    members: Vec<(BufferId, Access)>,
    /// The greatest token of a lock that was accepted.
    last: Token,
    kept: Option<Kept>,
}

/// A ticket that a lock left to the next lock of its group.
#[derive(Clone, Debug)]
struct Kept {
    ticket: u64,
    life: Time,
    /// The last arrival anywhere at that time.
    left: u64,
    /// The entries of that lock: the buffer, exclusive or not, late or not.
    entries: Vec<(BufferId, bool, bool)>,
}

#[derive(Clone, Debug)]
struct Lock {
    group: GroupId,
    token: Token,
    hold: u64,
    from: HoldFrom,
    /// Its group was told that somebody waits.
    contended: bool,
    entries: Vec<Entry>,
    /// The entries before it began to grow.
    before: Vec<Entry>,
    state: State,
    wounded: bool,
    ticket: u64,
    /// The end of the ticket's life.
    life: Time,
    /// The moment of the last call of `lock` or `grow` for it.
    asked: Time,
    deadline: Option<Time>,
    expires: Option<Time>,
    /// Its own time limit for implicit fences: from its first wait, or now if it never waits.
    patience: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is granted and does not grow; or it was not accepted yet.
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
struct Entry {
    buffer: BufferId,
    want: Access,
    has: Option<Access>,
    granted: Option<Access>,
    /// The number of evictions of the buffer when it was granted.
    seen: usize,
    /// Others may have come to the buffer first: the lock that drew the ticket did not ask for it, or not
    /// exclusively.
    late: bool,
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
    owner: Option<Name>,
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
    /// It needs no operations and has no implicit fences.
    plain: bool,
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
    fn new(id: BufferId, plain: bool) -> Self {
        Self {
            id,
            plain,
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
        if self.plain {
            return vec![];
        }
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
            _ if self.plain => vec![],
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

impl Entry {
    fn lacks(&self) -> bool {
        self.has != Some(self.want)
    }

    /// The access that it has taken and that the client was not granted yet.
    fn is_new(&self) -> bool {
        self.has.is_some() && self.has != self.granted
    }
}

impl Lock {
    fn name(&self) -> Name {
        (self.group, self.token)
    }

    fn holds(&self) -> bool {
        self.deadline.is_some()
    }

    fn phase(&self) -> Phase {
        match (self.deadline, self.state) {
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
            locks: Vec::new(),
            fences: Vec::new(),
            endings: Vec::new(),
            buffers: Vec::new(),
            memory: Vec::new(),
            jobs: Vec::new(),
            last_group: 0,
            last_arrival: 0,
            now: Time(0),
            last_ticket: 0,
            last_job: 0,
            told: Vec::new(),
            issued: Vec::new(),
            order: Vec::new(),
            time_outs: Vec::new(),
            ways: Vec::new(),
            stats: Stats::default(),
        }
    }

    pub fn open(&mut self, id: GroupId, hold: u64, from: HoldFrom) {
        assert!(self.last_group < id.serial(), "a name is reused");
        self.last_group = id.serial();
        let hold = hold.min(self.max_hold);
        self.groups.push(Group { id, hold, from, members: vec![], last: Token(0), kept: None });
    }

    fn group(&self, id: GroupId) -> Result<&Group, Error> {
        self.groups.iter().find(|group| group.id == id).ok_or(Error::UnknownGroup)
    }

    fn group_mut(&mut self, id: GroupId) -> Result<&mut Group, Error> {
        self.groups.iter_mut().find(|group| group.id == id).ok_or(Error::UnknownGroup)
    }

    fn place(&self, name: Name) -> Option<usize> {
        self.locks.iter().position(|lock| lock.name() == name)
    }

    /// The place of a living lock.
    fn living(&mut self, id: GroupId, token: Token) -> Result<usize, Error> {
        let last = self.group(id)?.last;
        let at = self.place((id, token));
        let ended = token > Token(0) && token <= last;
        self.stats.ended_tokens += u64::from(at.is_none() && ended);
        self.stats.bad_tokens += u64::from(!ended);
        at.ok_or(if ended { Error::Ended } else { Error::BadToken })
    }

    /// The locks of a group.
    fn locks_of(&self, id: GroupId) -> impl Iterator<Item = &Lock> {
        self.locks.iter().filter(move |lock| lock.group == id)
    }

    fn buffer(&self, id: BufferId) -> &Buffer {
        self.buffers.iter().find(|buffer| buffer.id == id).expect("a known buffer")
    }

    fn buffer_mut(&mut self, id: BufferId) -> &mut Buffer {
        self.buffers.iter_mut().find(|buffer| buffer.id == id).expect("a known buffer")
    }

    pub fn add(
        &mut self,
        id: GroupId,
        buffer: BufferId,
        access: Access,
        plain: bool,
    ) -> Result<Access, Error> {
        let members = &mut self.group_mut(id)?.members;
        if let Some((_, own)) = members.iter_mut().find(|(own, _)| *own == buffer) {
            *own = stronger(*own, access)?;
            return Ok(*own);
        }
        members.push((buffer, access));
        if self.buffers.iter().all(|known| known.id != buffer) {
            let memory = self.memory.iter().position(|known| known.id == buffer);
            self.stats.came_back += u64::from(memory.is_some());
            let known = memory.map(|at| self.memory.remove(at));
            self.buffers.push(known.unwrap_or_else(|| Buffer::new(buffer, plain)));
        }
        Ok(access)
    }

    pub fn remove(&mut self, id: GroupId, buffer: BufferId) -> Result<(), Error> {
        let member = self.group(id)?.members.iter().position(|(own, _)| *own == buffer);
        let member = member.ok_or(Error::UnknownBuffer)?;
        if self.locks_of(id).any(|lock| lock.entries.iter().any(|entry| entry.buffer == buffer)) {
            return Err(Error::Busy);
        }
        let group = self.group_mut(id)?;
        group.members.remove(member);
        if let Some(kept) = &mut group.kept {
            kept.entries.retain(|(own, ..)| *own != buffer);
        }
        self.let_go();
        Ok(())
    }

    /// Adds what a call asks for to what the lock has. Each buffer is there once.
    fn wanted(
        &mut self,
        id: GroupId,
        has: &[(BufferId, Access)],
        wants: Wants<'_>,
    ) -> Result<Vec<(BufferId, Access)>, Error> {
        let members = self.group(id)?.members.clone();
        let Wants { buffers, accesses } = wants;
        let all: Vec<_> = members.iter().map(|(buffer, _)| *buffer).collect();
        let (named, accesses) = match buffers {
            [] if members.is_empty() => return Err(Error::EmptyGroup),
            [] => (&all[..], &[][..]),
            _ if !accesses.is_empty() && accesses.len() != buffers.len() => {
                return Err(Error::UnknownBuffer);
            }
            _ => (buffers, accesses),
        };
        let (mut wanted, mut others) = (has.to_vec(), false);
        // The first mistake in the list counts.
        for (nth, buffer) in named.iter().enumerate() {
            let own = members.iter().find(|(own, _)| own == buffer).ok_or(Error::UnknownBuffer)?.1;
            let access = *accesses.get(nth).unwrap_or(&own);
            others |= access != own;
            match wanted.iter_mut().find(|(own, _)| own == buffer) {
                Some((_, has)) => *has = stronger(*has, access)?,
                None => wanted.push((*buffer, access)),
            }
        }
        self.stats.locks_of_a_part += u64::from(has.is_empty() && wanted.len() < all.len());
        self.stats.accesses_other_than_those_of_add += u64::from(others);
        let twice = has.is_empty() && wanted.len() < named.len();
        self.stats.buffers_named_twice += u64::from(twice);
        Ok(wanted)
    }

    /// Refuses a conflict with another lock of the group; `ending` counts as gone.
    fn refuse_conflict(
        &mut self,
        id: GroupId,
        ending: Option<Token>,
        wanted: &[(BufferId, Access)],
    ) -> Result<(), Error> {
        let others = self.locks_of(id).filter(|lock| Some(lock.token) != ending);
        let conflicts = others.flat_map(|lock| &lock.entries).any(|theirs| {
            let conflicts = |(buffer, access): &(BufferId, Access)| {
                *buffer == theirs.buffer && access.conflicts(theirs.want)
            };
            wanted.iter().any(conflicts)
        });
        self.stats.conflicts_in_a_group += u64::from(conflicts);
        (!conflicts).then_some(()).ok_or(Error::AlreadyLocked)
    }

    /// Checks a new lock against its own group. Returns its wants.
    pub fn check_lock(
        &mut self,
        id: GroupId,
        token: Token,
        wants: Wants<'_>,
        ending: Option<Token>,
    ) -> Result<Vec<(BufferId, Access)>, Error> {
        if token <= self.group(id)?.last {
            self.stats.bad_tokens += 1;
            return Err(Error::BadToken);
        }
        let wanted = self.wanted(id, &[], wants)?;
        self.refuse_conflict(id, ending, &wanted)?;
        Ok(wanted)
    }

    pub fn lock(
        &mut self,
        now: Time,
        id: GroupId,
        token: Token,
        wants: Wants<'_>,
        wait: Wait,
        implicit: Implicit,
    ) -> Result<(), Error> {
        self.now = now;
        let wanted = self.check_lock(id, token, wants, None)?;
        let Group { hold, from, ref kept, .. } = *self.group(id)?;
        let kept = kept.clone();
        let entries = wanted.iter().map(|(buffer, want)| {
            let had = |(own, exclusive, late): &(BufferId, bool, bool)| {
                own == buffer && !late && (*exclusive || !want.is_exclusive())
            };
            let late = kept.as_ref().is_some_and(|kept| !kept.entries.iter().any(had));
            Entry { buffer: *buffer, want: *want, has: None, granted: None, seen: 0, late }
        });
        let mut lock = Lock {
            group: id,
            token,
            hold,
            from,
            contended: false,
            entries: entries.collect(),
            before: vec![],
            state: State::Quiet,
            wounded: false,
            ticket: self.last_ticket + 1,
            life: Time(now.0 + self.max_hold),
            asked: now,
            deadline: None,
            expires: None,
            patience: None,
        };
        let (lives, passes) = kept.as_ref().map_or((false, false), |kept| {
            (now < kept.life, self.would_pass(&lock, kept.ticket, kept.left))
        });
        match &kept {
            Some(kept) if lives && !passes => (lock.ticket, lock.life) = (kept.ticket, kept.life),
            _ => lock.entries.iter_mut().for_each(|entry| entry.late = false),
        }
        let ticket = lock.ticket;
        let at = self.locks.len();
        self.locks.push(lock);
        let free = self.may_take(at);
        if wait == Wait::Never && (!free || self.is_gated(at, Entry::lacks)) {
            self.locks.remove(at);
            return Err(Error::WouldBlock);
        }
        if let Some(kept) = &kept {
            let stats = &mut self.stats;
            stats.kept_tickets_used += u64::from(lives && !passes);
            stats.lapsed_tickets += u64::from(!lives);
            stats.tickets_that_would_pass += u64::from(lives && passes);
            let had = |entry: &Entry| kept.entries.iter().find(|(own, ..)| *own == entry.buffer);
            let entries = || self.locks[at].entries.iter();
            stats.kept_for_other_buffers += u64::from(entries().any(|e| had(e).is_none()));
            stats.late_with_a_kept_ticket += u64::from(entries().any(|entry| entry.late));
            let again = |e: &Entry| e.late && had(e).is_some_and(|(.., late)| *late);
            stats.late_again += u64::from(entries().any(again));
        }
        self.last_ticket = self.last_ticket.max(ticket);
        let group = self.group_mut(id)?;
        (group.last, group.kept) = (token, None);
        self.begin(at, wait, implicit, free);
        Ok(())
    }

    pub fn grow(
        &mut self,
        now: Time,
        id: GroupId,
        token: Token,
        wants: Wants<'_>,
        wait: Wait,
        implicit: Implicit,
    ) -> Result<(), Error> {
        self.now = now;
        let at = self.quiet(id, token)?;
        if self.locks[at].wounded {
            return Err(Error::Deadlock);
        }
        let entries = self.locks[at].entries.iter();
        let has: Vec<_> = entries.map(|entry| (entry.buffer, entry.want)).collect();
        let wanted = self.wanted(id, &has, wants)?;
        if wanted == has {
            return Err(Error::AlreadyLocked);
        }
        self.refuse_conflict(id, Some(token), &wanted)?;
        let lock = &mut self.locks[at];
        lock.before = lock.entries.clone();
        for (buffer, want) in wanted {
            match lock.entries.iter_mut().find(|entry| entry.buffer == buffer) {
                Some(entry) if entry.want == want => {}
                Some(entry) => (entry.want, entry.late) = (want, true),
                None => {
                    let (has, granted, seen) = (None, None, 0);
                    lock.entries.push(Entry { buffer, want, has, granted, seen, late: true });
                }
            }
        }
        let lock = &self.locks[at];
        let too_old = now >= lock.life && self.would_pass(lock, lock.ticket, u64::MAX);
        let free = !too_old && self.may_take(at);
        let refused = if wait == Wait::Never && (!free || self.is_gated(at, Entry::lacks)) {
            Some(Error::WouldBlock)
        } else if too_old || !free && self.older_wants_what_is_held(at) {
            self.stats.growth_refused += 1;
            self.stats.growth_refused_for_age += u64::from(too_old);
            self.locks[at].wounded = true;
            Some(Error::Deadlock)
        } else {
            None
        };
        if let Some(error) = refused {
            self.locks[at].entries = std::mem::take(&mut self.locks[at].before);
            return Err(error);
        }
        self.begin(at, wait, implicit, free);
        Ok(())
    }

    /// A lock or a growth is accepted.
    fn begin(&mut self, at: usize, wait: Wait, implicit: Implicit, free: bool) {
        let now = self.now;
        let lock = &mut self.locks[at];
        lock.state = State::Waiting;
        lock.asked = now;
        lock.expires = match wait {
            Wait::AtMost(span) => Some(now.after(span)),
            Wait::Never | Wait::UntilGranted => None,
        };
        lock.patience = (wait == Wait::Never).then_some(now);
        if free {
            self.take(now, at, implicit == Implicit::Idle);
        } else {
            self.arrive(at);
            for other in 0..self.locks.len() {
                if other != at && self.waits_for(at, other) {
                    self.contend(other);
                }
            }
            self.start_time_of_growth(at);
            self.wound_younger_than(at);
        }
        self.go_on(now);
    }

    /// A lock that is granted and does not grow.
    fn quiet(&mut self, id: GroupId, token: Token) -> Result<usize, Error> {
        let at = self.living(id, token)?;
        let busy = self.locks[at].state != State::Quiet;
        self.stats.busy += u64::from(busy);
        if busy {
            Err(Error::Busy)
        } else {
            Ok(at)
        }
    }

    /// Whether a lock with this ticket would pass a younger waiter, at a buffer to which somebody came after
    /// the arrival `left`, or to which the lock comes late.
    fn would_pass(&self, lock: &Lock, ticket: u64, left: u64) -> bool {
        lock.entries.iter().filter(|mine| mine.lacks()).any(|mine| {
            self.waiters(mine.buffer).any(|(other, theirs)| {
                let class = usize::from(!mine.want.is_exclusive());
                let come = self.buffer(mine.buffer).arrivals[class] > left;
                theirs.want.conflicts(mine.want) && other.ticket > ticket && (come || mine.late)
            })
        })
    }

    /// True if a waiting lock wants a buffer that `holder` was granted.
    fn waits_for(&self, at: usize, holder: usize) -> bool {
        let (mine, theirs) = (&self.locks[at], &self.locks[holder]);
        let lacking = mine.entries.iter().filter(|mine| mine.lacks());
        mine.state == State::Waiting
            && lacking.into_iter().any(|mine| {
                theirs.entries.iter().any(|theirs| {
                    theirs.buffer == mine.buffer
                        && theirs.granted.is_some()
                        && theirs.has.is_some_and(|access| access.conflicts(mine.want))
                })
            })
    }

    /// A holder that waits for more has a deadline from here on.
    fn start_time_of_growth(&mut self, at: usize) {
        if self.locks[at].deadline == Some(Time::NEVER) {
            self.stats.deadlines_from_growth += 1;
            self.contend(at);
        }
    }

    fn contend(&mut self, at: usize) {
        let now = self.now;
        let lock = &mut self.locks[at];
        if std::mem::replace(&mut lock.contended, true) {
            return;
        }
        if lock.deadline == Some(Time::NEVER) {
            lock.deadline = Some(Time(now.0 + lock.hold));
            self.stats.deadlines_from_conflicts += 1;
        }
        let deadline = lock.deadline.expect("it holds");
        self.told.push(Told::Contended(lock.group, lock.token, deadline));
    }

    fn arrive(&mut self, at: usize) {
        self.last_arrival += 1;
        let arrival = self.last_arrival;
        let lacking = self.locks[at].entries.iter().filter(|entry| entry.lacks());
        let lacking: Vec<_> = lacking.map(|m| (m.buffer, m.want.is_exclusive())).collect();
        for (id, exclusive) in lacking {
            let arrivals = &mut self.buffer_mut(id).arrivals;
            arrivals[0] = arrival;
            if exclusive {
                arrivals[1] = arrival;
            }
        }
    }

    /// The locks in the queue of a buffer.
    fn waiters(&self, buffer: BufferId) -> impl Iterator<Item = (&Lock, &Entry)> {
        let waiting = self.locks.iter().filter(|lock| lock.state == State::Waiting);
        let all = waiting.flat_map(|lock| lock.entries.iter().map(move |entry| (lock, entry)));
        all.filter(move |(_, entry)| entry.buffer == buffer && entry.lacks())
    }

    /// Whether no holder and no older waiter conflicts with what it lacks.
    fn may_take(&self, at: usize) -> bool {
        let ticket = self.locks[at].ticket;
        self.locks[at].entries.iter().filter(|mine| mine.lacks()).all(|mine| {
            let mut others = self.locks.iter().enumerate().filter(|(other, _)| *other != at);
            others.all(|(_, other)| {
                other.entries.iter().filter(|m| m.buffer == mine.buffer).all(|theirs| {
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

    /// Whether a lock waits for operations of others or for release fences. A device waits for a device
    /// itself, unless an evicted holder may be at work or the access needs a START.
    fn is_gated(&self, at: usize, which: fn(&Entry) -> bool) -> bool {
        self.locks[at].entries.iter().filter(|mine| which(mine)).any(|mine| {
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
        let held = self.held(id, token).unwrap_or_default().into_iter();
        let mut fences: Vec<_> = held
            .flat_map(|(b, access)| self.fences_of(b, access).map(move |(fence, _)| (b, fence)))
            .collect();
        fences.sort_unstable();
        fences
    }

    /// The buffers of a grant, with what a grant would say of them now.
    pub fn granted(&self, id: GroupId, token: Token) -> Vec<GrantedBuffer> {
        let held = self.held(id, token).unwrap_or_default().into_iter();
        let granted = held.map(|(id, access)| {
            let buffer = self.buffer(id);
            GrantedBuffer {
                buffer: id,
                access,
                generation: buffer.generation,
                evicted: buffer.is_evicted(),
                torn: buffer.is_torn(),
                fenced: self.fences_of(id, access).next().is_some(),
            }
        });
        granted.collect()
    }

    pub fn held(&self, id: GroupId, token: Token) -> Option<Vec<(BufferId, Access)>> {
        let lock = &self.locks[self.place((id, token))?];
        let held = lock.entries.iter().filter_map(|e| Some((e.buffer, e.granted?)));
        lock.holds().then(|| held.collect())
    }

    fn older_wants_what_is_held(&self, at: usize) -> bool {
        self.locks.iter().any(|other| {
            other.state == State::Waiting
                && other.ticket < self.locks[at].ticket
                && wants_of(other, &self.locks[at])
        })
    }

    fn wound_younger_than(&mut self, at: usize) {
        for other in 0..self.locks.len() {
            let (mine, theirs) = (&self.locks[at], &self.locks[other]);
            let vulnerable = theirs.state == State::Waiting && theirs.holds();
            if vulnerable && theirs.ticket > mine.ticket && wants_of(mine, theirs) {
                self.take_back(other);
                self.locks[other].wounded = true;
                let Lock { group, token, .. } = self.locks[other];
                self.told.push(Told::Wounded(group, token));
                self.stats.wounds += 1;
            }
        }
    }

    /// Lets each lock go on that may, the oldest first, until no lock may.
    fn go_on(&mut self, now: Time) {
        loop {
            let able = (0..self.locks.len()).filter(|at| match self.locks[*at].state {
                State::Waiting => self.may_take(*at),
                State::Gated => !self.is_gated(*at, Entry::is_new),
                State::Quiet | State::Syncing(_) | State::Looking(_) => false,
            });
            let Some(at) = able.min_by_key(|at| self.locks[*at].ticket) else { break };
            self.take(now, at, false);
        }
        self.let_go();
    }

    /// Gives a lock what it lacks, and lets it go on if it can. `idle`: the caller has just found its
    /// implicit fences signalled.
    fn take(&mut self, now: Time, at: usize, idle: bool) {
        let lock = &mut self.locks[at];
        lock.entries.iter_mut().for_each(|entry| entry.has = Some(entry.want));
        lock.state = State::Gated;
        if self.is_gated(at, Entry::is_new) {
            self.start_time_of_growth(at);
            return;
        }
        let new = self.locks[at].entries.iter().filter(|entry| entry.is_new());
        let ops: Vec<_> =
            new.flat_map(|entry| self.buffer(entry.buffer).plan(entry.want)).collect();
        let waits = self.waits_of(at);
        // If it joins a row of waits, it waits before it issues anything.
        let awaited = waits.iter().any(|wait| self.joined(at, wait.buffer).is_some());
        if awaited && !idle {
            self.stats.waits_before_operations += u64::from(!ops.is_empty());
            self.look(now, at);
        } else if !ops.is_empty() {
            let name = self.locks[at].name();
            let told = Told::Sync { group: Some(name.0), waits, ops: ops.clone() };
            let work = Work::Operations { ops, last_ones: false, written: vec![] };
            self.locks[at].state = State::Syncing(self.issue(Some(name), work, told));
        } else if !waits.is_empty() && !idle {
            self.look(now, at);
        } else {
            self.stats.idle_grants += u64::from(!waits.is_empty());
            self.grant(now, at);
        }
    }

    /// The implicit fences that new accesses wait for.
    fn waits_of(&self, at: usize) -> Vec<FenceWait> {
        let new = self.locks[at].entries.iter().filter(|entry| self.implicit && entry.is_new());
        let concerned = new.filter_map(|entry| {
            let buffer = self.buffer(entry.buffer);
            if buffer.plain {
                return None;
            }
            let start = buffer.op(SyncKind::Start, SyncFlags::ReadWrite);
            // START for RW waits for all fences, also if it is for a device.
            let flags = match entry.want {
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
        let own = *self.locks[at].patience.get_or_insert(Time(now.0 + self.max_hold));
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
        let name = self.locks[at].name();
        let devices = self.locks[at].entries.iter().filter(|m| m.want.is_dma());
        let devices = devices.filter(|m| buffers.iter().any(|(id, _)| *id == m.buffer)).count();
        self.stats.waits_for_devices += devices as u64;
        self.stats.waits += 1;
        let told = Told::Wait { group: name.0, waits, until };
        self.locks[at].state = State::Looking(self.issue(Some(name), Work::Wait(buffers), told));
    }

    /// Whether a lock waits for these implicit fences of a buffer.
    fn waits_at(&self, id: BufferId, flags: SyncFlags) -> bool {
        self.jobs.iter().any(|job| match &job.work {
            Work::Wait(buffers) => buffers.contains(&(id, flags)),
            Work::Operations { .. } => false,
        })
    }

    /// When the row began that a lock joins: the row goes on, or the lock was asked for before it stopped;
    /// and before its time limit.
    fn joined_row(&self, at: usize, id: BufferId, flags: SyncFlags) -> Option<Time> {
        let Row { since, ended } = self.buffer(id).rows[flags as usize];
        let asked = self.locks[at].asked;
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

    fn issue(&mut self, owner: Option<Name>, work: Work, told: Told) -> u64 {
        self.last_job += 1;
        self.issued.push((self.last_job, told.clone()));
        self.told.push(told);
        self.jobs.push(Job { number: self.last_job, owner, closed: false, work });
        self.last_job
    }

    fn grant(&mut self, now: Time, at: usize) {
        let lock = &mut self.locks[at];
        lock.state = State::Quiet;
        lock.expires = None;
        let first = match lock.from {
            HoldFrom::Grant => Time(now.0 + lock.hold),
            HoldFrom::Conflict => Time::NEVER,
        };
        let deadline = *lock.deadline.get_or_insert(first);
        for entry in lock.entries.iter_mut().filter(|entry| entry.granted != Some(entry.want)) {
            let buffer = self.buffers.iter_mut().find(|b| b.id == entry.buffer).expect("known");
            self.stats.upgrades += u64::from(entry.granted.is_some());
            entry.granted = Some(entry.want);
            entry.seen = buffer.evictions.len();
            buffer.generation += u64::from(entry.want.is_exclusive());
            let dirty = buffer.plain && (buffer.cpu_dirty || buffer.device_dirty);
            self.stats.plain_grants += u64::from(buffer.plain);
            self.stats.plain_writes_without_operations += u64::from(dirty);
            buffer.wrote(entry.want);
        }
        let name = lock.name();
        let granted = self.granted(name.0, name.1);
        for GrantedBuffer { evicted, torn, fenced, .. } in &granted {
            self.stats.evicted_grants += u64::from(*evicted);
            self.stats.torn_grants += u64::from(*torn);
            self.stats.torn_but_not_evicted += u64::from(*torn && !*evicted);
            self.stats.fenced_grants += u64::from(*fenced);
        }
        self.stats.grants += 1;
        self.told.push(Told::Granted(name.0, name.1, deadline, granted));
        self.now = now;
        if (0..self.locks.len()).any(|other| other != at && self.waits_for(other, at)) {
            self.stats.contended_grants += u64::from(!self.locks[at].contended);
            self.contend(at);
        }
    }

    pub fn cancel(&mut self, now: Time, id: GroupId, token: Token) -> Result<(), Error> {
        self.now = now;
        let at = self.living(id, token)?;
        if self.locks[at].state == State::Quiet {
            return Err(Error::NotQueued);
        }
        self.give_up(at);
        self.go_on(now);
        Ok(())
    }

    /// A wait ends without success. A grant goes on as it was; another lock ends, and its ticket is kept.
    fn give_up(&mut self, at: usize) {
        self.take_back(at);
        if !self.locks[at].holds() {
            let lock = self.locks.remove(at);
            self.keep(&lock);
        }
    }

    /// Keeps the ticket of a lock that has ended.
    fn keep(&mut self, lock: &Lock) {
        let entries = lock.entries.iter();
        let entries = entries.map(|entry| (entry.buffer, entry.want.is_exclusive(), entry.late));
        let Lock { group, ticket, life, .. } = *lock;
        let (left, entries) = (self.last_arrival, entries.collect());
        let group = self.group_mut(group).expect("the group of a lock");
        group.kept = Some(Kept { ticket, life, left, entries });
    }

    /// Ends a wait. A grant gets the entries back that it had before it grew.
    fn take_back(&mut self, at: usize) {
        let lock = &mut self.locks[at];
        if lock.state != State::Quiet && lock.holds() {
            lock.entries = std::mem::take(&mut lock.before);
        }
        lock.expires = None;
        match std::mem::replace(&mut lock.state, State::Quiet) {
            State::Quiet | State::Waiting | State::Gated => {}
            State::Syncing(number) => {
                let job = self.jobs.iter_mut().find(|job| job.number == number);
                job.into_iter().for_each(|job| job.owner = None);
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
        let at = self.living(id, token)?;
        if !self.locks[at].holds() {
            if !given.is_empty() {
                self.stats.busy += 1;
                return Err(Error::Busy);
            }
            self.stats.waiters_unlocked += 1;
            return self.cancel(now, id, token);
        }
        let held = self.held(id, token).unwrap_or_default();
        for buffer in given.iter().filter_map(|given| given.buffer) {
            if held.iter().all(|(own, _)| *own != buffer) {
                return Err(Error::UnknownBuffer);
            }
        }
        let (lock, parts) = self.end(at);
        if lock.wounded {
            self.keep(&lock);
        }
        self.end_parts(&lock, parts, given, failed);
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
        let held = self.locks[at].entries.iter().filter(|entry| entry.granted.is_some());
        if held.map(|entry| entry.buffer).all(|buffer| named(&buffer)) {
            self.stats.parts_that_are_all += 1;
            return self.unlock(now, id, token, given, failed);
        }
        if !given.iter().filter_map(|given| given.buffer).all(|buffer| named(&buffer)) {
            return Err(Error::UnknownBuffer);
        }
        self.stats.parts += 1;
        self.stats.parts_with_fences += u64::from(!given.is_empty());
        let parts = parts_of(&self.locks[at]).into_iter().filter(|part| named(&part.buffer));
        let parts = parts.collect();
        self.locks[at].entries.retain(|entry| !named(&entry.buffer));
        let lock = self.locks[at].clone();
        self.end_parts(&lock, parts, given, failed);
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
        for nth in 0..self.locks[at].entries.len() {
            let Entry { buffer, granted, seen, .. } = self.locks[at].entries[nth];
            if !buffers.contains(&buffer) {
                continue;
            }
            if let Some(access) = granted.filter(|access| access.is_exclusive()) {
                self.stats.downgrades += 1;
                self.ended_in_order(Part { buffer, access, seen });
                let entry = &mut self.locks[at].entries[nth];
                let shared = if access.is_dma() { Access::DmaRead } else { Access::Read };
                (entry.want, entry.has, entry.granted) = (shared, Some(shared), Some(shared));
            }
        }
        self.go_on(now);
        Ok(())
    }

    /// The lock of a part of its grant.
    fn part(
        &mut self,
        now: Time,
        id: GroupId,
        token: Token,
        buffers: &[BufferId],
    ) -> Result<usize, Error> {
        self.now = now;
        let at = self.quiet(id, token)?;
        let held =
            |buffer: &BufferId| self.locks[at].entries.iter().any(|entry| entry.buffer == *buffer);
        (!buffers.is_empty() && buffers.iter().all(held)).then_some(at).ok_or(Error::UnknownBuffer)
    }

    /// Parts of a grant end with the fences that are given.
    fn end_parts(
        &mut self,
        lock: &Lock,
        parts: Vec<Part>,
        given: &[ReleaseFence],
        failed: &[FenceId],
    ) {
        let Lock { group, token, hold, .. } = *lock;
        let now = self.now;
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
                self.fences.push(Fence { id: fence, group, token, deadline });
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

    /// Ends a lock. Returns it and its grants of buffers.
    fn end(&mut self, at: usize) -> (Lock, Vec<Part>) {
        self.take_back(at);
        let lock = self.locks.remove(at);
        let parts = parts_of(&lock);
        (lock, parts)
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
        while let Some(at) = self.locks.iter().position(|lock| lock.group == id) {
            if let State::Syncing(number) = self.locks[at].state {
                let job = self.jobs.iter_mut().find(|job| job.number == number);
                job.into_iter().for_each(|job| job.closed = true);
            }
            let (_, parts) = self.end(at);
            match how {
                Close::Closed => parts.into_iter().for_each(|part| self.ended_in_order(part)),
                Close::Died => self.ended_by_eviction(&parts),
            }
        }
        self.groups.retain(|group| group.id != id);
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
            self.told.push(Told::Evicted(fence.group, fence.token, EvictionCause::Fence, None));
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
        let Job { owner, closed, work, .. } = self.jobs.remove(at);
        let at = owner.map(|owner| self.place(owner).expect("the lock of a job"));
        let (buffers, cause): (Vec<BufferId>, _) = match work {
            Work::Operations { ops, last_ones, written } => {
                self.count_end(end, owner, closed, last_ones);
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
            self.locks[at].state = State::Gated;
            match end {
                // The caller has just found its fences signalled.
                End::Done => {
                    self.take(now, at, true);
                    let gated = self.locks[at].state == State::Gated;
                    self.stats.waits_behind_operations += u64::from(gated);
                }
                End::Blocked(_) => self.look(now, at),
                End::Failed(Failure { succeeded, reason }) => {
                    let Lock { group, token, .. } = self.locks[at];
                    self.told.push(Told::Failed(group, token, buffers[succeeded], reason, cause));
                    self.give_up(at);
                }
            }
        }
        self.go_on(now);
    }

    fn count_end(&mut self, end: End, owner: Option<Name>, closed: bool, last_ones: bool) {
        let orphan = owner.is_none() && !closed && !last_ones;
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
            // All at once: the rules do not say which of two deadlines in one instant is the first.
            let is_due = |(_, lock): &(usize, &Lock)| lock.deadline == Some(due);
            let evicted = self.locks.iter().enumerate().filter(is_due);
            let waiters: Vec<(Name, Vec<Name>)> =
                evicted.map(|(at, lock)| (lock.name(), self.waiters_of(at))).collect();
            while let Some(at) = self.locks.iter().position(|lock| lock.deadline == Some(due)) {
                let name = self.locks[at].name();
                let all = waiters.iter().find(|(of, _)| *of == name).map(|(_, all)| &all[..]);
                let all = all.unwrap_or_default();
                let told = self.ways.iter().any(|(of, by)| *of == name && by.is_some());
                let all_go = all.iter().all(|waiter| waiters.iter().any(|(of, _)| of == waiter));
                let by = if all_go && !told { None } else { self.way(name, all) };
                let (Lock { group, token, .. }, parts) = self.end(at);
                self.told.push(Told::Evicted(group, token, EvictionCause::Deadline, by));
                self.stats.evicted_for_a_waiter += u64::from(by.is_some());
                self.ended_by_eviction(&parts);
                deadlines += 1;
            }
            let expired = |lock: &&Lock| lock.expires == Some(due);
            let before = self.locks.iter().filter(expired).count();
            self.go_on(now);
            let mut late: Vec<_> = self.locks.iter().filter(expired).map(Lock::name).collect();
            late.sort_by_key(|name| self.time_outs.iter().position(|other| other == name));
            let time_outs = late.len();
            for name in late {
                let at = self.place(name).expect("a lock that waits");
                let by = self.way(name, &self.in_the_way(at));
                self.told.push(Told::TimedOut(name.0, name.1, by));
                let is_fence = self.locks[at].state == State::Gated;
                self.stats.timed_out_behind_a_lock += u64::from(by.is_some() && !is_fence);
                self.stats.timed_out_behind_a_fence += u64::from(by.is_some() && is_fence);
                self.give_up(at);
            }
            self.go_on(now);
            let stats = &mut self.stats;
            stats.instants_with_two_deadlines += u64::from(deadlines > 1);
            stats.instants_with_two_time_outs += u64::from(time_outs > 1);
            stats.instants_with_deadline_and_time_out += u64::from(deadlines > 0 && time_outs > 0);
            stats.saved_from_time_out += (before - time_outs) as u64;
        }
    }

    /// The lock that is told to be in the way of another: any of these.
    fn way(&self, of: Name, all: &[Name]) -> Option<Name> {
        let told = self.ways.iter().find(|(name, _)| *name == of).and_then(|(_, by)| *by);
        told.filter(|by| all.contains(by)).or(all.first().copied())
    }

    /// The locks that a waiting one waits for: holders, older waiters, and the givers of fences.
    fn in_the_way(&self, at: usize) -> Vec<Name> {
        let lock = &self.locks[at];
        let mut found = Vec::new();
        for entry in lock.entries.iter().filter(|entry| entry.granted != Some(entry.want)) {
            let conflicts = |access: Access| access.is_exclusive() || entry.want.is_exclusive();
            if lock.state == State::Waiting {
                for (other, theirs) in self.others_at(at, entry.buffer) {
                    let older = other.state == State::Waiting && other.ticket < lock.ticket;
                    let wants = older && theirs.has != Some(theirs.want) && conflicts(theirs.want);
                    if theirs.has.is_some_and(conflicts) || wants {
                        found.push(other.name());
                    }
                }
            }
            if lock.state == State::Gated {
                let of = self.endings.iter().filter(|ending| ending.part.buffer == entry.buffer);
                let pending = of.filter(|ending| conflicts(ending.part.access));
                for id in pending.flat_map(|ending| &ending.pending) {
                    let fence = self.fences.iter().find(|fence| fence.id == *id);
                    found.extend(fence.map(|fence| (fence.group, fence.token)));
                }
            }
        }
        found
    }

    /// The locks that wait for a buffer that a lock was granted.
    fn waiters_of(&self, at: usize) -> Vec<Name> {
        let mut found = Vec::new();
        for entry in &self.locks[at].entries {
            let Some(granted) = entry.granted else { continue };
            for (other, theirs) in self.others_at(at, entry.buffer) {
                let waits = other.state == State::Waiting && theirs.has != Some(theirs.want);
                if waits && (granted.is_exclusive() || theirs.want.is_exclusive()) {
                    found.push(other.name());
                }
            }
        }
        found
    }

    /// The other locks that have or want a buffer.
    fn others_at(&self, at: usize, buffer: BufferId) -> impl Iterator<Item = (&Lock, &Entry)> {
        let others = self.locks.iter().enumerate().filter(move |(other, _)| *other != at);
        let entries = others.flat_map(|(_, lock)| lock.entries.iter().map(move |e| (lock, e)));
        entries.filter(move |(_, entry)| entry.buffer == buffer)
    }

    /// Whether no group has it, no operation is in flight on it and no fence is pending.
    fn is_abandoned(&self, id: BufferId) -> bool {
        self.groups.iter().flat_map(|group| &group.members).all(|(member, _)| *member != id)
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
        let grants = self.locks.iter().filter_map(|lock| lock.deadline);
        let grants = grants.filter(|deadline| *deadline != Time::NEVER);
        let locks = self.locks.iter().filter_map(|lock| lock.expires);
        grants.chain(locks).chain(self.fences.iter().map(|fence| fence.deadline)).min()
    }

    pub fn phase(&self, id: GroupId, token: Token) -> Option<Phase> {
        Some(self.locks[self.place((id, token))?].phase())
    }

    /// The living locks of a group, in the order of their numbers.
    pub fn tokens(&self, id: GroupId) -> Vec<Token> {
        let mut tokens: Vec<_> = self.locks_of(id).map(|lock| lock.token).collect();
        tokens.sort_unstable();
        tokens
    }

    pub fn members(&self, id: GroupId) -> Vec<(BufferId, Access)> {
        self.group(id).map(|group| group.members.clone()).unwrap_or_default()
    }

    pub fn remembered(&self) -> usize {
        self.memory.len()
    }

    /// The view of a buffer, to compare it with the engine's.
    pub fn view(&self, id: BufferId) -> View {
        let buffer = self.buffer(id);
        let locks = || self.locks.iter();
        let entries =
            || locks().flat_map(|lock| lock.entries.iter().map(move |entry| (lock, entry)));
        let of = || entries().filter(|(_, entry)| entry.buffer == id);
        let part = |lock: &Lock, access| (Ticket(lock.ticket), lock.token, lock.group, access);
        let holders = of().filter_map(|(lock, entry)| Some(part(lock, entry.has?)));
        let mut holders: Vec<_> = holders.collect();
        let waiters = self.waiters(id).map(|(lock, entry)| part(lock, entry.want));
        let mut waiters: Vec<_> = waiters.collect();
        let members = self.groups.iter().flat_map(|group| &group.members);
        holders.sort_unstable();
        waiters.sort_unstable();
        let marks = (buffer.is_evicted(), buffer.is_torn(), self.has_operations(id));
        let cache = (buffer.device_dirty, buffer.cpu_dirty, buffer.open);
        let cache = (!buffer.plain).then_some(cache);
        View {
            members: members.filter(|(member, _)| *member == id).count(),
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

    pub fn count_holds(&mut self) {
        let shared = self.buffers.iter().filter(|buffer| {
            let entries = self.locks.iter().flat_map(|lock| &lock.entries);
            entries.filter(|e| e.buffer == buffer.id && e.granted.is_some()).count() > 1
        });
        self.stats.shared_holds += shared.count() as u64;
        for group in &self.groups {
            let (grants, waiters): (Vec<_>, Vec<_>) =
                self.locks.iter().filter(|lock| lock.group == group.id).partition(|l| l.holds());
            self.stats.groups_with_two_grants += u64::from(grants.len() > 1);
            let both = !grants.is_empty() && !waiters.is_empty();
            self.stats.groups_with_a_grant_and_a_waiter += u64::from(both);
        }
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
    /// The facts device_dirty, cpu_dirty and open, if it is not plain.
    pub cache: Option<(bool, bool, Option<SyncFlags>)>,
}

/// Whether the second has something, in conflict, that the first lacks.
fn wants_of(one: &Lock, other: &Lock) -> bool {
    one.entries.iter().filter(|mine| mine.lacks()).any(|mine| {
        other.entries.iter().any(|theirs| {
            theirs.buffer == mine.buffer && theirs.has.is_some_and(|has| has.conflicts(mine.want))
        })
    })
}

/// The stronger of two accesses to one buffer.
fn stronger(one: Access, other: Access) -> Result<Access, Error> {
    if one.is_dma() != other.is_dma() {
        return Err(Error::AccessConflict);
    }
    Ok(if one.is_exclusive() { one } else { other })
}

/// The grants of buffers of a lock.
fn parts_of(lock: &Lock) -> Vec<Part> {
    let granted = lock.entries.iter().filter_map(|entry| {
        let Entry { buffer, granted, seen, .. } = *entry;
        Some(Part { buffer, access: granted?, seen })
    });
    granted.collect()
}

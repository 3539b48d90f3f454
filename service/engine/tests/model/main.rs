// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Every interleaving of calls in small worlds, breadth first, up to renaming of groups, locks and buffers.
//! In most worlds a group has one lock at a time, in some it has two.
//!
//! There is no clock: a deadline, a time-out or the end of a ticket's life may come at any moment. In
//! each state the model checks, with its own books where it can:
//! * No two grants conflict, and the engine's invariants hold. (One of them: each waiter waits for somebody
//!   older or for somebody who does not wait.)
//! * If holders let go from here on, every waiter is granted: no deadlock, no lost wake-up.
//! * Nobody is granted past an older waiter that conflicts on a buffer.
//! * A token is dead when its lock has ended, and names nothing in another group.
//! * With release fences (in worlds of their own): the CPU is never granted before a fence that it has to
//!   wait for, and a device is granted with exactly those that it has to wait for.
//! * There, too: each grant says for each buffer whether an evicted holder may be at work and whether the
//!   content is torn, exactly as [`books`] has it.
//! * With slow operations (in worlds of their own): they end, fail or are blocked at any moment, also when
//!   their group is closed. START and END alternate and have the same flags. No buffer is let go while
//!   a START is open or the CPU's writes are not cleaned.
//!
//! `BUFFERSYNC_THOROUGH=1` explores larger worlds.

mod books;
mod search;

use books::Book;
use buffersync_engine::Access::{DmaRead, DmaWrite, Read, Write};
use buffersync_engine::*;
use search::{explore, thorough, Bound, World as Searchable};

/// The access that one lock wants to each buffer.
type Wish = Vec<Option<Access>>;

#[derive(Clone)]
struct Locking {
    engine: Engine,
    /// Each place has one lock at a time. The places of one group are neighbours.
    locks: Vec<Place>,
    buffers: u64,
    /// Grants may end with fences, and the CPU takes part.
    with_fences: bool,
    /// Tickets' lives end.
    with_age: bool,
    /// Operations are slow.
    with_jobs: bool,
    with_implicit: bool,
    fences: Vec<Fence>,
    jobs: Vec<Job>,
    books: Vec<Book>,
    last_fence: u64,
    last_token: u64,
}

/// A pending fence: the accesses that its giver had, and when each of them began.
#[derive(Clone)]
struct Fence {
    id: FenceId,
    parts: Wish,
    since: Vec<u32>,
    /// The same for all fences of one grant.
    ending: u64,
    /// Another fence of the grant has failed.
    spoilt: bool,
}

/// A job that the engine has asked for.
#[derive(Clone)]
struct Job {
    id: JobId,
    ops: Vec<SyncOp>,
    /// The number of its waits for implicit fences; then it has no operations.
    waits: usize,
    /// It is the last job of a buffer that nobody has.
    retires: bool,
}

/// The whole world in the thorough mode; otherwise as much as a test has time for.
fn some() -> Bound {
    if thorough() {
        Bound::All
    } else {
        Bound::States(15_000)
    }
}

/// In the thorough mode as much of a world as fits into memory.
fn a_million() -> Bound {
    Bound::States(if thorough() { 1_000_000 } else { 15_000 })
}

/// The most pending fences. More make the world too large.
const FENCES: usize = 2;

/// A place for a lock.
#[derive(Clone)]
struct Place {
    group: GroupId,
    /// The last lock.
    token: Token,
    /// The accesses of its grant.
    holds: Wish,
    /// When each buffer of the grant was granted, by its book.
    since: Vec<u32>,
}

#[derive(Clone, Debug)]
enum Action {
    Lock(usize, Wish),
    Grow(usize, Wish),
    Unlock(usize),
    UnlockFenced(usize),
    UnlockFencedTwice(usize),
    /// Ends the grant of one buffer, perhaps with a fence.
    UnlockPart(usize, usize, bool),
    Downgrade(usize, usize),
    Signal(usize),
    Fail(usize),
    JobDone(usize),
    JobFails(usize, usize),
    JobBlocked(usize, usize),
    Cancel(usize),
    TimeOut(usize),
    Deadline(usize),
    /// The ticket of a lock, or the one that its group keeps.
    Outlive(usize, bool),
    /// The group of a lock.
    Close(usize),
    Die(usize),
}

const NOW: Time = Time(0);

/// The time of the first group's grants counts from the first lock that waits for them.
fn from(at: usize) -> HoldFrom {
    if at == 0 {
        HoldFrom::Conflict
    } else {
        HoldFrom::Grant
    }
}

impl Locking {
    fn new(groups: usize, buffers: u64) -> Self {
        Self::with_locks(&vec![1; groups], buffers)
    }

    /// A world of groups with so many locks each.
    fn with_locks(groups: &[usize], buffers: u64) -> Self {
        let mut engine = Engine::new(Limits::default());
        let mut locks = Vec::new();
        for (at, count) in groups.iter().enumerate() {
            let (group, _) = engine.open_group_from(None, from(at));
            let (token, holds) = (Token(0), vec![None; buffers as usize]);
            let place = Place { group, token, holds, since: vec![0; buffers as usize] };
            locks.extend(std::iter::repeat_n(place, *count));
        }
        let mut world = Self {
            engine,
            locks,
            buffers,
            with_fences: false,
            with_age: false,
            with_jobs: false,
            with_implicit: false,
            fences: Vec::new(),
            jobs: Vec::new(),
            books: vec![Book::default(); buffers as usize],
            last_fence: 0,
            last_token: 0,
        };
        world.add_all();
        world
    }

    /// Adds all buffers to all groups. Locks name their accesses.
    fn add_all(&mut self) {
        for at in 0..self.locks.len() {
            for buffer in 0..self.buffers {
                let added = self.engine.add(self.locks[at].group, BufferId(buffer), Read);
                added.expect("a buffer can always be added");
            }
        }
    }

    fn with_jobs(groups: usize, buffers: u64, implicit: bool) -> Self {
        let mut world = Self::with_fences(groups, buffers);
        (world.with_jobs, world.with_implicit) = (true, implicit);
        if implicit {
            world.engine.expect_implicit_fences();
        }
        world
    }

    fn with_age(groups: usize, buffers: u64) -> Self {
        Self { with_age: true, ..Self::new(groups, buffers) }
    }

    fn with_fences(groups: usize, buffers: u64) -> Self {
        Self::with_locks(&vec![1; groups], buffers).and_fences()
    }

    fn and_fences(mut self) -> Self {
        self.with_fences = true;
        self.tidy();
        self
    }

    /// `None`: there is no lock.
    fn phase(&self, at: usize) -> Option<Phase> {
        self.engine.phase(self.locks[at].group, self.locks[at].token)
    }

    fn is_held(&self, at: usize) -> bool {
        matches!(self.phase(at), Some(Phase::Held { .. }))
    }

    /// Whether this place is the first of its group.
    fn is_first(&self, at: usize) -> bool {
        at == 0 || self.locks[at - 1].group != self.locks[at].group
    }

    fn place_of(&self, group: GroupId, token: Token) -> usize {
        let mut places = self.locks.iter();
        let place = places.position(|place| (place.group, place.token) == (group, token));
        place.expect("a lock that was asked for")
    }

    /// Every wish that is possible for a lock that holds this, beside the others of its group.
    fn wishes(&self, at: usize) -> Vec<Wish> {
        let Place { group, token, holds: ref held, .. } = self.locks[at];
        let mut wishes = vec![Vec::new()];
        for has in held {
            let choices: &[Option<Access>] = match has {
                None if self.with_fences => {
                    &[None, Some(Read), Some(Write), Some(DmaRead), Some(DmaWrite)]
                }
                None => &[None, Some(DmaRead), Some(DmaWrite)],
                Some(Read) => &[Some(Read), Some(Write)],
                Some(DmaRead) => &[Some(DmaRead), Some(DmaWrite)],
                Some(Write) => &[Some(Write)],
                Some(DmaWrite) => &[Some(DmaWrite)],
            };
            let longer = |wish: &Wish| {
                let wish = wish.clone();
                choices.iter().map(move |choice| [&wish[..], &[*choice]].concat())
            };
            wishes = wishes.iter().flat_map(longer).collect();
        }
        wishes.retain(|wish| wish != held);
        for view in self.engine.buffers() {
            let locks = view.holders.iter().chain(&view.waiters);
            for other in locks.filter(|lock| lock.group == group && lock.token != token) {
                let wanted = |wish: &Wish| wish[view.id.0 as usize];
                wishes.retain(|wish| wanted(wish).is_none_or(|w| !w.conflicts(other.access)));
            }
        }
        wishes
    }

    fn lock(&mut self, at: usize, wish: &Wish, grows: bool, fx: &mut Effects) {
        let named = wish.iter().enumerate();
        let named = named.filter_map(|(nth, access)| Some((BufferId(nth as u64), (*access)?)));
        let (buffers, accesses): (Vec<_>, Vec<_>) = named.unzip();
        let group = self.locks[at].group;
        for buffer in buffers.iter().filter(|_| self.with_fences) {
            self.engine.add(group, *buffer, Read).expect("a buffer can always be added");
        }
        if !grows {
            self.last_token += 1;
            self.locks[at].token = Token(self.last_token);
        }
        let (token, unknown) = (self.locks[at].token, Implicit::Unknown);
        let wants = Wants { buffers: &buffers, accesses: &accesses };
        let ask = |engine: &mut Engine, wait, fx: &mut Effects| match grows {
            true => engine.grow(NOW, group, token, wants, wait, unknown, fx),
            false => engine.lock(NOW, group, token, wants, wait, unknown, fx),
        };
        // `Wait::Never` succeeds exactly if there is nothing to wait for.
        let tried = ask(&mut self.engine.clone(), Wait::Never, &mut Effects::new());
        match ask(&mut self.engine, Wait::UntilGranted, fx) {
            Ok(LockOutcome::Pending(named)) => {
                assert!(tried == Err(Error::WouldBlock) || self.with_fences && tried.is_ok());
                assert_eq!(named, token);
            }
            Ok(LockOutcome::Granted(grant)) => {
                assert!(tried.is_ok());
                assert_eq!(grant.token, token);
                let buffers = fx.buffers(grant.buffers).to_vec();
                self.note_grant(at, &buffers);
            }
            Err(Error::Deadlock) => assert!(grows, "EDEADLK without holding"),
            Err(error) => panic!("{error:?}"),
        }
    }

    fn note_grant(&mut self, at: usize, buffers: &[GrantedBuffer]) {
        for granted in buffers {
            self.check_fences_of(at, granted);
            let nth = granted.buffer.0 as usize;
            let book = &mut self.books[nth];
            let told = (granted.evicted, granted.torn);
            assert_eq!(told, book.marks(), "marks of {:?}", granted.buffer);
            let place = &mut self.locks[at];
            if place.holds[nth].replace(granted.access) != Some(granted.access) {
                place.since[nth] = book.granted(granted.access);
            }
        }
        for other in (0..self.locks.len()).filter(|other| *other != at) {
            for (mine, theirs) in self.locks[at].holds.iter().zip(&self.locks[other].holds) {
                if let (Some(mine), Some(theirs)) = (mine, theirs) {
                    assert!(!mine.conflicts(*theirs), "conflicting grants");
                }
            }
        }
    }

    fn check_fences_of(&self, at: usize, granted: &GrantedBuffer) {
        let GrantedBuffer { buffer, access, fenced, .. } = *granted;
        let conflicts = |fence: &&Fence| {
            fence.parts[buffer.0 as usize].is_some_and(|theirs| theirs.conflicts(access))
        };
        let expected: Vec<FenceId> =
            self.fences.iter().filter(conflicts).map(|fence| fence.id).collect();
        assert!(expected.is_empty() || access.is_dma(), "the CPU before a fence");
        let Place { group, token, .. } = self.locks[at];
        let given = self.engine.acquire_fences(group, token).filter(|(of, _)| *of == buffer);
        let mut given: Vec<FenceId> = given.map(|(_, fence)| fence).collect();
        given.sort_unstable();
        assert_eq!(given, expected, "acquire fences");
        assert_eq!(fenced, !expected.is_empty());
    }

    /// A grant is over. Each buffer's book notes how it ended.
    fn lets_go(&mut self, at: usize, end: impl Fn(&mut Book, Access, u32)) {
        let place = &mut self.locks[at];
        for (nth, hold) in place.holds.iter_mut().enumerate() {
            if let Some(access) = hold.take() {
                end(&mut self.books[nth], access, place.since[nth]);
            }
        }
    }

    fn unlock(&mut self, at: usize, fx: &mut Effects) {
        let Place { group, token, .. } = self.locks[at];
        self.engine.unlock(NOW, group, token, &[], fx).expect("a lock");
        self.lets_go(at, Book::ended_in_order);
    }

    fn unlock_fenced(&mut self, at: usize, count: u64, fx: &mut Effects) {
        let Place { group, token, ref holds, ref since } = self.locks[at];
        let ending = self.last_fence + 1;
        let mut given = Vec::new();
        for _ in 0..count {
            self.last_fence += 1;
            let fence = FenceId(self.last_fence);
            let (parts, since) = (holds.clone(), since.clone());
            self.fences.push(Fence { id: fence, parts, since, ending, spoilt: false });
            given.push(ReleaseFence { fence, buffer: None });
        }
        self.engine.unlock(NOW, group, token, &given, fx).expect("a grant");
        self.lets_go(at, |_, _, _| {});
    }

    fn unlock_part(&mut self, at: usize, nth: usize, fenced: bool, fx: &mut Effects) {
        let place = &mut self.locks[at];
        let (buffer, since) = (BufferId(nth as u64), place.since.clone());
        let access = place.holds[nth].take().expect("it holds the buffer");
        let mut given = Vec::new();
        if fenced {
            self.last_fence += 1;
            let (id, ending) = (FenceId(self.last_fence), self.last_fence);
            let mut parts = vec![None; self.buffers as usize];
            parts[nth] = Some(access);
            self.fences.push(Fence { id, parts, since, ending, spoilt: false });
            given.push(ReleaseFence { fence: id, buffer: None });
        } else {
            self.books[nth].ended_in_order(access, since[nth]);
        }
        let Place { group, token, .. } = self.locks[at];
        self.engine
            .unlock_part(NOW, group, token, &mut [buffer], &given, &[], fx)
            .expect("a grant");
    }

    fn downgrade(&mut self, at: usize, nth: usize, fx: &mut Effects) {
        let place = &mut self.locks[at];
        let access = place.holds[nth].expect("it holds the buffer");
        self.books[nth].ended_in_order(access, place.since[nth]);
        place.holds[nth] = Some(access.shared());
        let (group, token) = (place.group, place.token);
        self.engine.downgrade(NOW, group, token, &mut [BufferId(nth as u64)], fx).expect("a grant");
    }

    /// The group of a place closes, and another one takes its place.
    fn close(&mut self, at: usize, how: Close, fx: &mut Effects) {
        let group = self.locks[at].group;
        let all = 0..self.locks.len();
        let own: Vec<usize> = all.filter(|at| self.locks[*at].group == group).collect();
        for at in &own {
            match how {
                Close::Closed => self.lets_go(*at, Book::ended_in_order),
                Close::Died => self.lets_go(*at, |book, access, _| book.evicted(access)),
            }
        }
        self.engine.close_group(NOW, group, how, fx);
        let groups = (1..=own[0]).filter(|at| self.is_first(*at)).count();
        let (group, _) = self.engine.open_group_from(None, from(groups));
        for at in own {
            (self.locks[at].group, self.locks[at].token) = (group, Token(0));
        }
        if !self.with_fences {
            self.add_all();
        }
    }

    fn fence_done(&mut self, nth: usize, ok: bool, fx: &mut Effects) {
        let Fence { id, parts, since, ending, spoilt } = self.fences.remove(nth);
        let others = self.fences.iter_mut().filter(|other| other.ending == ending);
        let last = others.map(|other| other.spoilt |= !ok).count() == 0;
        for (nth, access) in parts.into_iter().enumerate() {
            match access {
                Some(access) if !ok => self.books[nth].evicted(access),
                Some(access) if last && !spoilt => {
                    self.books[nth].ended_in_order(access, since[nth]);
                }
                _ => {}
            }
        }
        self.engine.fence_done(NOW, id, ok, fx);
    }

    /// Ends a job: all its operations have succeeded, or so many before one fails or is blocked.
    fn job_done(&mut self, nth: usize, succeeded: Option<usize>, blocked: bool, fx: &mut Effects) {
        let Job { id, ops, retires, .. } = self.jobs.remove(nth);
        for op in ops.iter().take(succeeded.unwrap_or(usize::MAX)) {
            self.books[op.buffer.0 as usize].issued(op.kind, op.flags);
        }
        if retires && succeeded.is_some() {
            self.books[ops[0].buffer.0 as usize].not_cleaned = true;
        }
        match succeeded {
            None => self.engine.job_done(NOW, id, Ok(()), fx),
            Some(succeeded) if blocked => self.engine.job_blocked(NOW, id, succeeded, fx),
            Some(succeeded) => {
                self.engine.job_done(NOW, id, Err(Failure { succeeded, reason: 5 }), fx);
            }
        }
    }

    fn ask(&mut self, job: Job, fx: &mut Effects) {
        self.jobs.push(job);
        if !self.with_jobs {
            self.job_done(self.jobs.len() - 1, None, false, fx);
        }
    }

    /// Carries effects out. Returns the locks that were granted.
    fn listen(&mut self, fx: &mut Effects) -> Vec<usize> {
        let mut granted = Vec::new();
        while let Some(effect) = fx.pop() {
            match effect {
                Effect::Granted { group, grant } => {
                    let at = self.place_of(group, grant.token);
                    let buffers = fx.buffers(grant.buffers).to_vec();
                    self.note_grant(at, &buffers);
                    granted.push(at);
                }
                Effect::Sync { job: id, ops, group, .. } => {
                    assert!(self.with_fences, "a cache operation between devices");
                    let ops = fx.ops(ops).to_vec();
                    self.ask(Job { id, ops, waits: 0, retires: group.is_none() }, fx);
                }
                Effect::Wait { job: id, waits, .. } => {
                    let waits = fx.waits(waits).len();
                    self.ask(Job { id, ops: Vec::new(), waits, retires: false }, fx);
                }
                Effect::DropWait { job } => self.jobs.retain(|other| other.id != job),
                Effect::Remember { buffer } => self.books[buffer.0 as usize].remembered(),
                Effect::Forget { buffer } => self.books[buffer.0 as usize].forgotten(),
                _ => {}
            }
        }
        granted
    }

    /// Removes buffers that no lock has, so that the engine lets them go. In worlds without fences groups have
    /// all buffers all the time, so tickets are kept with them.
    fn tidy(&mut self) {
        for at in 0..self.locks.len() {
            for buffer in 0..self.buffers {
                let mut fx = Effects::new();
                let _ = self.engine.remove(self.locks[at].group, BufferId(buffer), &mut fx);
                self.listen(&mut fx);
            }
        }
    }

    /// Nobody was granted past an older, conflicting waiter that still waits. A lock that had taken the
    /// buffer before, and was granted it when a fence signalled, has passed nobody.
    fn check_order(&self, granted: &[usize], before: &Self) {
        let earlier = before.engine.buffers();
        for view in self.engine.buffers() {
            for holder in &view.holders {
                let at = self.place_of(holder.group, holder.token);
                let had = earlier.iter().filter(|earlier| earlier.id == view.id).any(|earlier| {
                    let name = |lock: &LockView| (lock.group, lock.token, lock.access);
                    earlier.holders.iter().any(|had| name(had) == name(holder))
                });
                let new = granted.contains(&at) && !had;
                for waiter in &view.waiters {
                    let passed = waiter.ticket < holder.ticket
                        && waiter.access.conflicts(holder.access)
                        && waiter.token != holder.token;
                    assert!(!(new && passed), "overtaken on {:?}", view.id);
                }
            }
        }
    }

    fn check_tokens(&self) {
        let mut engine = self.engine.clone();
        for Place { group, .. } in &self.locks {
            let own = self.locks.iter().filter(|place| place.group == *group);
            let last = own.map(|place| place.token).max().unwrap_or(Token(0));
            let all = self.locks.iter().map(|place| place.token);
            for token in all.filter(|token| self.engine.phase(*group, *token).is_none()) {
                let ended = token > Token(0) && token <= last;
                let expected = if ended { Error::Ended } else { Error::BadToken };
                let answer = engine.unlock(NOW, *group, token, &[], &mut Effects::new());
                assert_eq!(answer, Err(expected), "a dead token, or another group's");
            }
        }
    }

    /// If holders let go, every waiter is granted.
    fn check_progress(&self) {
        let mut world = self.clone();
        let mut fx = Effects::new();
        loop {
            let mut all = 0..world.locks.len();
            let holder = all.clone().find(|at| world.is_held(*at));
            match holder {
                Some(holder) => world.unlock(holder, &mut fx),
                None if !world.jobs.is_empty() => world.job_done(0, None, false, &mut fx),
                None if !world.fences.is_empty() => world.fence_done(0, true, &mut fx),
                None => {
                    let stuck = all.any(|at| world.phase(at).is_some());
                    assert!(!stuck, "a lock waits and nobody holds");
                    return;
                }
            }
            world.listen(&mut fx);
        }
    }
}

impl Searchable for Locking {
    type Action = Action;

    fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        for nth in 0..self.fences.len() {
            actions.extend([Action::Signal(nth), Action::Fail(nth)]);
        }
        for (nth, Job { ops, waits, .. }) in self.jobs.iter().enumerate() {
            actions.push(Action::JobDone(nth));
            for succeeded in 0..ops.len() + waits {
                actions.push(Action::JobFails(nth, succeeded));
                let start = ops.get(succeeded).is_some_and(|op| op.kind == SyncKind::Start);
                let blocks = self.with_implicit && start;
                actions.extend(blocks.then_some(Action::JobBlocked(nth, succeeded)));
            }
        }
        let fence = self.with_fences && self.fences.len() < FENCES;
        let two = self.with_fences && self.fences.is_empty();
        for (at, place) in self.locks.iter().enumerate() {
            // The places of a group are alike: the first one that is free is enough.
            let free = |at: usize| self.phase(at).is_none();
            let twin = !self.is_first(at) && free(at - 1);
            match self.phase(at) {
                None if twin => {}
                None => {
                    let wishes = self.wishes(at).into_iter();
                    actions.extend(wishes.map(|wish| Action::Lock(at, wish)));
                }
                Some(Phase::Queued | Phase::Preparing) => {
                    actions.extend([Action::Cancel(at), Action::TimeOut(at), Action::Unlock(at)]);
                }
                Some(Phase::Growing { deadline }) => {
                    actions.extend([Action::Cancel(at), Action::TimeOut(at), Action::Unlock(at)]);
                    actions.extend((deadline != Time::NEVER).then_some(Action::Deadline(at)));
                }
                Some(Phase::Held { deadline }) => {
                    let wishes = self.wishes(at).into_iter();
                    actions.extend(wishes.map(|wish| Action::Grow(at, wish)));
                    actions.push(Action::Unlock(at));
                    actions.extend((deadline != Time::NEVER).then_some(Action::Deadline(at)));
                    actions.extend(fence.then_some(Action::UnlockFenced(at)));
                    actions.extend(two.then_some(Action::UnlockFencedTwice(at)));
                    for (nth, hold) in place.holds.iter().enumerate() {
                        let Some(access) = hold else { continue };
                        actions.push(Action::UnlockPart(at, nth, false));
                        actions.extend(fence.then_some(Action::UnlockPart(at, nth, true)));
                        let shares = access.is_exclusive();
                        actions.extend(shares.then_some(Action::Downgrade(at, nth)));
                    }
                }
            }
            let Place { group, token, .. } = *place;
            let lives = |token| self.with_age && self.engine.has_living_ticket(group, token);
            actions.extend(lives(Some(token)).then_some(Action::Outlive(at, true)));
            if self.is_first(at) {
                actions.extend(lives(None).then_some(Action::Outlive(at, false)));
                let some = self.engine.locks(group).next().is_some();
                actions.extend(some.then_some(Action::Die(at)));
                actions.extend(self.with_jobs.then_some(Action::Close(at)));
            }
        }
        actions
    }

    fn after(&self, action: &Action) -> Self {
        let mut next = self.clone();
        let mut fx = Effects::new();
        let mut granted = Vec::new();
        match action {
            Action::Lock(at, wish) => {
                next.lock(*at, wish, false, &mut fx);
                granted.push(*at);
            }
            Action::Grow(at, wish) => {
                next.lock(*at, wish, true, &mut fx);
                granted.push(*at);
            }
            Action::Unlock(at) => next.unlock(*at, &mut fx),
            Action::UnlockFenced(at) => next.unlock_fenced(*at, 1, &mut fx),
            Action::UnlockFencedTwice(at) => next.unlock_fenced(*at, 2, &mut fx),
            Action::UnlockPart(at, nth, fenced) => next.unlock_part(*at, *nth, *fenced, &mut fx),
            Action::Downgrade(at, nth) => next.downgrade(*at, *nth, &mut fx),
            Action::Signal(nth) => next.fence_done(*nth, true, &mut fx),
            Action::Fail(nth) => next.fence_done(*nth, false, &mut fx),
            Action::JobDone(nth) => next.job_done(*nth, None, false, &mut fx),
            Action::JobFails(nth, after) => next.job_done(*nth, Some(*after), false, &mut fx),
            Action::JobBlocked(nth, after) => next.job_done(*nth, Some(*after), true, &mut fx),
            Action::Cancel(at) => {
                let Place { group, token, .. } = next.locks[*at];
                next.engine.cancel(NOW, group, token, &mut fx).expect("a pending lock");
            }
            Action::TimeOut(at) => {
                let Place { group, token, .. } = next.locks[*at];
                next.engine.time_out(NOW, group, token, &mut fx);
            }
            Action::Outlive(at, own) => {
                let Place { group, token, .. } = next.locks[*at];
                next.engine.outlive(group, own.then_some(token));
            }
            Action::Deadline(at) => {
                let Place { group, token, .. } = next.locks[*at];
                next.lets_go(*at, |book, access, _| book.evicted(access));
                next.engine.expire(NOW, group, token, &mut fx);
            }
            Action::Close(at) => next.close(*at, Close::Closed, &mut fx),
            Action::Die(at) => next.close(*at, Close::Died, &mut fx),
        }
        granted.extend(next.listen(&mut fx));
        next.check_order(&granted, self);
        if next.with_fences {
            next.tidy();
        }
        next
    }

    fn name(&self) -> u128 {
        let ids = (0..self.buffers).map(BufferId).collect();
        self.engine.canonical(&permutations(ids), self.with_fences)
    }

    fn check(&self) {
        if let Err(broken) = self.engine.check_invariants() {
            panic!("{broken}");
        }
        self.check_tokens();
        self.check_progress();
    }
}

fn permutations(ids: Vec<BufferId>) -> Vec<Vec<BufferId>> {
    if ids.len() <= 1 {
        return vec![ids];
    }
    let mut all = Vec::new();
    for first in 0..ids.len() {
        let mut rest = ids.clone();
        let head = rest.remove(first);
        all.extend(permutations(rest).into_iter().map(|tail| [&[head], &tail[..]].concat()));
    }
    all
}

#[test]
fn two_groups_three_buffers() {
    explore("2 groups x 3 buffers", Locking::new(2, 3), some());
}

#[test]
fn three_groups_two_buffers() {
    explore("3 groups x 2 buffers", Locking::new(3, 2), a_million());
}

#[test]
fn three_groups_one_buffer() {
    explore("3 groups x 1 buffer", Locking::new(3, 1), some());
}

#[test]
fn four_groups_one_buffer() {
    explore("4 groups x 1 buffer", Locking::new(4, 1), a_million());
}

#[test]
fn three_groups_three_buffers() {
    explore("3 groups x 3 buffers", Locking::new(3, 3), a_million());
}

#[test]
fn two_locks_of_a_group_and_two_of_another_and_one_buffer() {
    explore("2 + 2 locks x 1 buffer", Locking::with_locks(&[2, 2], 1), some());
}

#[test]
fn two_locks_of_a_group_and_one_of_another_and_two_buffers() {
    explore("2 + 1 locks x 2 buffers", Locking::with_locks(&[2, 1], 2), a_million());
}

#[test]
fn two_locks_of_two_groups_and_two_buffers() {
    explore("2 + 2 locks x 2 buffers", Locking::with_locks(&[2, 2], 2), a_million());
}

#[test]
fn two_locks_of_a_group_and_one_of_another_and_three_buffers() {
    explore("2 + 1 locks x 3 buffers", Locking::with_locks(&[2, 1], 3), a_million());
}

#[test]
fn lives_of_tickets_of_two_locks_of_a_group_and_one_of_another() {
    let world = Locking { with_age: true, ..Locking::with_locks(&[2, 1], 2) };
    explore("lives of tickets, 2 + 1 locks x 2 buffers", world, a_million());
}

#[test]
fn operations_of_two_locks_of_a_group_and_one_of_another() {
    let world = Locking { with_jobs: true, ..Locking::with_locks(&[2, 1], 1).and_fences() };
    explore("operations, 2 + 1 locks x 1 buffer", world, a_million());
}

#[test]
fn lives_of_tickets_of_two_groups_and_two_buffers() {
    explore("lives of tickets, 2 groups x 2 buffers", Locking::with_age(2, 2), some());
}

#[test]
fn lives_of_tickets_of_three_groups_and_two_buffers() {
    explore("lives of tickets, 3 groups x 2 buffers", Locking::with_age(3, 2), a_million());
}

#[test]
fn fences_of_two_groups_and_two_buffers() {
    explore("fences, 2 groups x 2 buffers", Locking::with_fences(2, 2), a_million());
}

#[test]
fn fences_of_three_groups_and_one_buffer() {
    explore("fences, 3 groups x 1 buffer", Locking::with_fences(3, 1), a_million());
}

#[test]
fn operations_of_two_groups_and_one_buffer() {
    explore("operations, 2 groups x 1 buffer", Locking::with_jobs(2, 1, false), a_million());
}

#[test]
fn operations_and_implicit_fences_of_two_groups_and_one_buffer() {
    explore("implicit fences, 2 groups x 1 buffer", Locking::with_jobs(2, 1, true), a_million());
}

#[test]
fn operations_and_implicit_fences_of_three_groups_and_one_buffer() {
    explore("implicit fences, 3 groups x 1 buffer", Locking::with_jobs(3, 1, true), a_million());
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Every interleaving of calls in small worlds, breadth first, up to renaming of groups and buffers.
//!
//! Time is not modelled: a deadline or a time-out may come at any moment. In each state all of this
//! is checked, by the model's own books where it can be:
//! * no two conflicting grants, and the engine's invariants (among them: who waits does so for
//!   somebody older or for somebody who does not wait);
//! * from here, if holders let go, everybody who waits is granted: no deadlock, no lost wake-up;
//! * nobody is granted past an older waiter that conflicts on a buffer;
//! * tokens are new with each lock, kept by growth, and dead when their grant has ended;
//! * with release fences (in worlds of their own): the CPU is never granted before one that it has to
//!   wait for, and a device is granted with just those that it has to wait for.
//!
//! `BUFFERSYNC_THOROUGH=1` explores larger worlds.

mod search;

use buffersync_engine::Access::{DmaRead, DmaWrite, Read, Write};
use buffersync_engine::*;
use search::{explore, thorough, Bound, World as Searchable};

/// What one group wants of each buffer.
type Wish = Vec<Option<Access>>;

#[derive(Clone)]
struct Locking {
    engine: Engine,
    groups: Vec<Client>,
    buffers: u64,
    /// Grants may end but for a fence, and the CPU takes part.
    with_fences: bool,
    fences: Vec<Fence>,
    last_fence: u64,
}

/// A fence that is pending: of what, as whom.
#[derive(Clone)]
struct Fence {
    id: FenceId,
    parts: Wish,
}

/// More than so many fences are never pending.
const FENCES: usize = 2;

/// What a client knows.
#[derive(Clone)]
struct Client {
    id: GroupId,
    token: Token,
    /// Of a grant.
    holds: Wish,
}

#[derive(Clone, Debug)]
enum Action {
    Lock(usize, Wish),
    Grow(usize, Wish),
    Unlock(usize),
    UnlockFenced(usize),
    Signal(usize),
    Fail(usize),
    Cancel(usize),
    TimeOut(usize),
    Deadline(usize),
    Die(usize),
}

const NOW: Time = Time(0);

impl Locking {
    fn new(groups: usize, buffers: u64) -> Self {
        let mut engine = Engine::new(Limits::default());
        let client = |_| Client {
            id: engine.open_group(None).0,
            token: Token(0),
            holds: vec![None; buffers as usize],
        };
        let groups = (0..groups).map(client).collect();
        Self { engine, groups, buffers, with_fences: false, fences: Vec::new(), last_fence: 0 }
    }

    fn with_fences(groups: usize, buffers: u64) -> Self {
        Self { with_fences: true, ..Self::new(groups, buffers) }
    }

    fn phase(&self, at: usize) -> Phase {
        self.engine.phase(self.groups[at].id).expect("an open group")
    }

    /// Everything that could be wished for beside what is held.
    fn wishes(&self, held: &Wish) -> Vec<Wish> {
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
        wishes
    }

    fn add(&mut self, at: usize, wish: &Wish) {
        for (buffer, access) in wish.iter().enumerate() {
            if let Some(access) = access {
                let added = self.engine.add(self.groups[at].id, BufferId(buffer as u64), *access);
                added.expect("a group that waits for nothing can be changed");
            }
        }
    }

    fn lock(&mut self, at: usize, grows: bool, fx: &mut Effects) {
        let newest = self.groups.iter().map(|client| client.token).max();
        // Never waits exactly if there is nothing to wait for.
        let tried = self.engine.clone().try_lock(NOW, self.groups[at].id, &mut Effects::new());
        let client = &mut self.groups[at];
        match self.engine.lock(NOW, client.id, None, fx) {
            Ok(LockOutcome::Pending(token)) => {
                assert!(tried == Err(Error::WouldBlock) || self.with_fences && tried.is_ok());
                assert!(if grows { token == client.token } else { Some(token) > newest });
                client.token = token;
            }
            Ok(LockOutcome::Granted(grant)) => {
                assert!(tried.is_ok());
                let token = grant.token;
                assert!(if grows { token == client.token } else { Some(token) > newest });
                client.token = token;
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
            self.groups[at].holds[granted.buffer.0 as usize] = Some(granted.access);
        }
        for other in (0..self.groups.len()).filter(|other| *other != at) {
            for (mine, theirs) in self.groups[at].holds.iter().zip(&self.groups[other].holds) {
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
        let Client { id, token, .. } = self.groups[at];
        let given = self.engine.acquire_fences(id, token).filter(|(of, _)| *of == buffer);
        assert!(given.map(|(_, fence)| fence).eq(expected.iter().copied()), "acquire fences");
        assert_eq!(fenced, !expected.is_empty());
    }

    fn lets_go(&mut self, at: usize) {
        self.groups[at].holds.fill(None);
    }

    fn unlock(&mut self, at: usize, fx: &mut Effects) {
        let Client { id, token, .. } = self.groups[at];
        self.engine.unlock(NOW, id, token, &[], fx).expect("a grant");
        self.lets_go(at);
    }

    fn unlock_fenced(&mut self, at: usize, fx: &mut Effects) {
        let Client { id, token, ref holds } = self.groups[at];
        self.last_fence += 1;
        let fence = FenceId(self.last_fence);
        self.fences.push(Fence { id: fence, parts: holds.clone() });
        let given = [ReleaseFence { fence, buffer: None }];
        self.engine.unlock(NOW, id, token, &given, fx).expect("a grant");
        self.lets_go(at);
    }

    fn fence_done(&mut self, nth: usize, ok: bool, fx: &mut Effects) {
        let fence = self.fences.remove(nth);
        self.engine.fence_done(NOW, fence.id, ok, fx);
    }

    /// Follows what was told; the groups that were granted.
    fn listen(&mut self, fx: &mut Effects) -> Vec<usize> {
        let mut granted = Vec::new();
        while let Some(effect) = fx.pop() {
            match effect {
                Effect::Granted { group, grant } => {
                    let at = self.groups.iter().position(|client| client.id == group);
                    let at = at.expect("a grant to a group that is open");
                    assert_eq!(grant.token, self.groups[at].token);
                    let buffers = fx.buffers(grant.buffers).to_vec();
                    self.note_grant(at, &buffers);
                    granted.push(at);
                }
                Effect::Sync { job, .. } => {
                    assert!(self.with_fences, "a cache operation between devices");
                    self.engine.job_done(NOW, job, Ok(()), fx);
                }
                _ => {}
            }
        }
        granted
    }

    /// Wishes that came to nothing are forgotten, so that they make no difference.
    fn tidy(&mut self) {
        for at in 0..self.groups.len() {
            if !matches!(self.phase(at), Phase::Idle | Phase::Held { .. }) {
                continue;
            }
            for buffer in 0..self.buffers {
                let id = self.groups[at].id;
                let mut fx = Effects::new();
                let _ = self.engine.remove(id, BufferId(buffer), &mut fx);
                self.listen(&mut fx);
            }
        }
    }

    /// Nobody was granted past an older waiter in conflict, who waits still. Who had taken the buffer
    /// before, and was granted it when a fence signalled, has passed nobody.
    fn check_order(&self, granted: &[usize], before: &Self) {
        let earlier = before.engine.buffers();
        for view in self.engine.buffers() {
            for holder in &view.holders {
                let at = self.groups.iter().position(|client| client.id == holder.group);
                let at = at.expect("an open group");
                let had = earlier.iter().filter(|earlier| earlier.id == view.id).any(|earlier| {
                    let same =
                        |had: &LockView| (had.group, had.access) == (holder.group, holder.access);
                    earlier.holders.iter().any(same)
                });
                let new = granted.contains(&at) && !had;
                for waiter in &view.waiters {
                    let passed = waiter.ticket < holder.ticket
                        && waiter.access.conflicts(holder.access)
                        && waiter.group != holder.group;
                    assert!(!(new && passed), "overtaken on {:?}", view.id);
                }
            }
        }
    }

    fn check_tokens(&self) {
        let mut engine = self.engine.clone();
        for (at, client) in self.groups.iter().enumerate() {
            let held = matches!(self.phase(at), Phase::Held { .. } | Phase::Growing { .. });
            for other in &self.groups {
                if !(held && other.token == client.token) {
                    let answer =
                        engine.unlock(NOW, client.id, other.token, &[], &mut Effects::new());
                    assert_eq!(answer, Err(Error::BadToken), "a dead token, or another's");
                }
            }
        }
    }

    /// If holders let go, everybody is granted.
    fn check_progress(&self) {
        let mut world = self.clone();
        let mut fx = Effects::new();
        let waiting =
            |world: &Self, at| !matches!(world.phase(at), Phase::Idle | Phase::Held { .. });
        loop {
            let all = 0..world.groups.len();
            let holder = all.clone().find(|at| matches!(world.phase(*at), Phase::Held { .. }));
            match holder {
                Some(holder) => world.unlock(holder, &mut fx),
                None if !world.fences.is_empty() => world.fence_done(0, true, &mut fx),
                None => {
                    let stuck = all.filter(|at| waiting(&world, *at)).count();
                    assert_eq!(stuck, 0, "somebody waits for nobody");
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
        let fence = self.with_fences && self.fences.len() < FENCES;
        for (at, client) in self.groups.iter().enumerate() {
            match self.phase(at) {
                Phase::Idle => {
                    let wishes = self.wishes(&client.holds).into_iter();
                    actions.extend(wishes.map(|wish| Action::Lock(at, wish)));
                }
                Phase::Queued | Phase::Preparing => {
                    actions.extend([Action::Cancel(at), Action::TimeOut(at), Action::Die(at)]);
                }
                Phase::Growing { .. } => actions.extend([
                    Action::Cancel(at),
                    Action::TimeOut(at),
                    Action::Unlock(at),
                    Action::Deadline(at),
                    Action::Die(at),
                ]),
                Phase::Held { .. } => {
                    let wishes = self.wishes(&client.holds).into_iter();
                    actions.extend(wishes.map(|wish| Action::Grow(at, wish)));
                    let rest = [Action::Unlock(at), Action::Deadline(at), Action::Die(at)];
                    actions.extend(rest);
                    actions.extend(fence.then_some(Action::UnlockFenced(at)));
                }
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
                next.add(*at, wish);
                next.lock(*at, false, &mut fx);
                granted.push(*at);
            }
            Action::Grow(at, wish) => {
                next.add(*at, wish);
                next.lock(*at, true, &mut fx);
                granted.push(*at);
            }
            Action::Unlock(at) => next.unlock(*at, &mut fx),
            Action::UnlockFenced(at) => next.unlock_fenced(*at, &mut fx),
            Action::Signal(nth) => next.fence_done(*nth, true, &mut fx),
            Action::Fail(nth) => next.fence_done(*nth, false, &mut fx),
            Action::Cancel(at) => {
                next.engine.cancel(NOW, next.groups[*at].id, &mut fx).expect("a pending lock");
            }
            Action::TimeOut(at) => next.engine.time_out(NOW, next.groups[*at].id, &mut fx),
            Action::Deadline(at) => {
                next.lets_go(*at);
                next.engine.expire(NOW, next.groups[*at].id, &mut fx);
            }
            Action::Die(at) => {
                next.lets_go(*at);
                next.engine.close_group(NOW, next.groups[*at].id, Close::Died, &mut fx);
                next.groups[*at].id = next.engine.open_group(None).0;
            }
        }
        granted.extend(next.listen(&mut fx));
        next.check_order(&granted, self);
        next.tidy();
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
    explore("2 groups x 3 buffers", Locking::new(2, 3), Bound::All);
}

#[test]
fn three_groups_two_buffers() {
    explore("3 groups x 2 buffers", Locking::new(3, 2), Bound::All);
}

#[test]
fn four_groups_one_buffer() {
    explore("4 groups x 1 buffer", Locking::new(4, 1), Bound::All);
}

#[test]
fn three_groups_three_buffers() {
    // The layers grow by a factor of ten; the whole would not fit into memory.
    let bound = Bound::States(if thorough() { 1_500_000 } else { 50_000 });
    explore("3 groups x 3 buffers", Locking::new(3, 3), bound);
}

#[test]
fn fences_of_two_groups_and_two_buffers() {
    let bound = Bound::States(if thorough() { 1_000_000 } else { 20_000 });
    explore("fences, 2 groups x 2 buffers", Locking::with_fences(2, 2), bound);
}

#[test]
fn fences_of_three_groups_and_one_buffer() {
    let bound = Bound::States(if thorough() { 1_000_000 } else { 20_000 });
    explore("fences, 3 groups x 1 buffer", Locking::with_fences(3, 1), bound);
}

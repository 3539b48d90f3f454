// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The calls for locks: each is made as the binder objects make it, and its answer is noted.

use buffersync_engine::{BufferId, Token, Wants};
use buffersync_kernel::channel;
use buffersync_kernel::fd::AsFd;
use buffersync_kernel::world::{self, Kind};
use buffersync_service::arbiter::simulated::Error;
use buffersync_service::calls::{Locked, Request};
use buffersync_service::quota;

use crate::arguments::{told, Arguments};
use crate::books::{At, Checked};
use crate::note;
use crate::plan::Plan;
use crate::refusals::{Asked, Call, Done};
use crate::simulation::Simulation;

/// The unread events of a uid, as the kernel counts them.
struct Unread {
    bytes: usize,
    /// The steps inside of other steps by then.
    steps: u64,
}

impl Unread {
    /// A uid with so much may have a new lock.
    fn check(&self, plan: &Plan) -> Checked {
        let most = quota::UNREAD_FLOOR.max(plan.resources.unread / quota::PARTS);
        let is_less = self.bytes as u64 <= most;
        is_less
            .then_some(())
            .ok_or_else(|| format!("a lock is accepted with {} of {most} bytes unread", self.bytes))
    }
}

impl Simulation {
    pub fn lock(&self) -> Checked {
        let (at, token, mut arguments) = {
            let mut inner = self.inner();
            let Some(at) = inner.some_group(self.plan.nonsense) else { return Ok(()) };
            let token = inner.new_number(at, self.plan.nonsense);
            (at, token, inner.arguments(at, self.plan.nonsense))
        };
        let Arguments { buffers, accesses, asked } = &arguments;
        note!(self, "group {at} locks {token}: {buffers:?} {accesses:?} {:?}", asked.wait);
        let wants = Wants { buffers, accesses };
        let request = Request { token: Token(token), wants, wait: asked.wait };
        let before = self.unread(at);
        let locked = self.arbiter().lock(self.id(at), request);
        // If other steps ran inside of the call, nobody knows what was unread when it was decided.
        if locked.is_ok() && before.steps == self.inner().nested_in_all {
            before.check(&self.plan)?;
        }
        arguments.asked.joined = self.inner().joined(at, &arguments, &[]);
        self.locked(at, token, arguments.asked, locked, None)
    }

    fn unread(&self, at: At) -> Unread {
        let inner = self.inner();
        let groups = inner.books.of_uid(inner.books.groups[at].uid).filter(|group| group.open);
        let bytes = groups.map(|group| channel::taken(group.channel)).sum();
        Unread { bytes, steps: inner.nested_in_all }
    }

    /// Notes the answer to a new lock. With `done`, another has ended before.
    pub fn locked(
        &self,
        at: At,
        token: u64,
        asked: Asked,
        locked: Result<Locked, Error>,
        done: Option<Done>,
    ) -> Checked {
        let locked = match locked {
            Ok(locked) => locked,
            Err(error) => {
                return self.refused(Some(at), &Call::Lock { token, asked, done }, &error)
            }
        };
        note!(self, "  {locked:?}");
        let wants = asked.joined.ok_or("a buffer is locked for CPU and device at once")?;
        {
            let mut inner = self.inner();
            inner.books.now = world::with(|world| world.now);
            let group = &inner.books.groups[at];
            if !group.open || token <= group.last {
                return Err(format!(
                    "lock {token} of group {at} is accepted, and the last is {}",
                    group.last
                ));
            }
            match &locked {
                Locked::Queued => {
                    let waits = inner.waits(asked.wait);
                    inner.books.begin_lock(at, token, wants, waits);
                    inner.books.follow(false)?;
                }
                Locked::Granted { grant, .. } => {
                    // The grants that follow from the end of the other come before this one.
                    if done.is_some() {
                        inner.books.follow(false)?;
                    }
                    let (deadline, buffers) = told(grant)?;
                    inner.books.begin_lock(at, token, wants, None);
                    let granted = inner.books.granted(at, token, deadline, &buffers, false);
                    granted.map_err(|why| {
                        format!(
                            "{why}; group {at} was told {buffers:?} in the reply of lock {token}"
                        )
                    })?;
                    inner.books.follow(false)?;
                }
            }
            inner.books.follow_early()?;
            inner.check_counts(at, &self.plan.most())?;
        }
        match locked {
            Locked::Granted { waits: true, .. } => self.acquire_fence(at, token, None),
            _ => Ok(()),
        }
    }

    pub fn grow(&self) -> Checked {
        let (at, token, mut arguments) = {
            let mut inner = self.inner();
            let lock = inner.some_lock(self.plan.nonsense, |lock| lock.held.is_some());
            let Some((at, token)) = lock else { return Ok(()) };
            (at, token, inner.arguments(at, self.plan.nonsense))
        };
        let Arguments { buffers, accesses, asked } = &arguments;
        note!(self, "group {at} grows {token}: {buffers:?} {accesses:?} {:?}", asked.wait);
        let wants = Wants { buffers, accesses };
        let request = Request { token: Token(token), wants, wait: asked.wait };
        let grown = self.arbiter().grow(self.id(at), request);
        let has = {
            let inner = self.inner();
            let lock = inner.books.groups[at].lock(token);
            lock.map(|lock| lock.wants.clone()).unwrap_or_default()
        };
        arguments.asked.joined = self.inner().joined(at, &arguments, &has);
        let asked = arguments.asked;
        let grown = match grown {
            Ok(grown) => grown,
            Err(error) => return self.refused(Some(at), &Call::Grow { token, asked }, &error),
        };
        note!(self, "  {grown:?}");
        {
            let mut inner = self.inner();
            inner.books.now = world::with(|world| world.now);
            let wants = asked.joined.ok_or("a buffer is locked for CPU and device at once")?;
            let waits = inner.waits(asked.wait);
            let lock = inner.books.lock_mut(at, token).ok_or("a lock grows that does not live")?;
            if lock.held.is_none() || lock.waits.is_some() {
                return Err("a lock grows that is not granted, or grows already".into());
            }
            lock.wants = wants;
            match &grown {
                Locked::Queued => lock.waits = waits,
                Locked::Granted { grant, .. } => {
                    let (deadline, buffers) = told(grant)?;
                    let granted = inner.books.granted(at, token, deadline, &buffers, false);
                    granted.map_err(|why| {
                        format!(
                            "{why}; group {at} was told {buffers:?} in the reply of growth {token}"
                        )
                    })?;
                }
            }
            inner.books.follow(false)?;
            inner.check_counts(at, &self.plan.most())?;
        }
        match grown {
            Locked::Granted { waits: true, .. } => self.acquire_fence(at, token, None),
            _ => Ok(()),
        }
    }

    pub fn cancel(&self) -> Checked {
        let lock = self.inner().some_lock(self.plan.nonsense, |lock| lock.waits.is_some());
        let Some((at, token)) = lock else { return Ok(()) };
        note!(self, "group {at} cancels {token}");
        if let Err(error) = self.arbiter().cancel(self.id(at), Token(token)) {
            return self.refused(Some(at), &Call::Cancel { token }, &error);
        }
        let mut inner = self.inner();
        let lock =
            inner.books.groups[at].lock(token).ok_or("a lock is cancelled that does not live")?;
        if lock.waits.is_none() {
            return Err("a lock is cancelled that does not wait".into());
        }
        inner.books.give_up(at, token);
        inner.books.follow(false)
    }

    pub fn unlock(&self) -> Checked {
        let lock = {
            let mut inner = self.inner();
            let waiting = inner.random.one_in(6);
            inner.some_lock(self.plan.nonsense, |lock| waiting || lock.held.is_some())
        };
        let Some((at, token)) = lock else { return Ok(()) };
        self.unlock_one(at, token)
    }

    pub fn unlock_one(&self, at: At, token: u64) -> Checked {
        note!(self, "group {at} unlocks {token}");
        if let Err(error) = self.arbiter().unlock(self.id(at), Token(token)) {
            return self.refused(Some(at), &Call::Unlock { token }, &error);
        }
        let mut inner = self.inner();
        inner.books.now = world::with(|world| world.now);
        if !inner.books.groups[at].open || inner.books.groups[at].lock(token).is_none() {
            return Err("a lock is unlocked that does not live".into());
        }
        inner.books.unlock(at, token);
        inner.books.follow(false)
    }

    pub fn downgrade(&self) -> Checked {
        let (at, token, part) = {
            let mut inner = self.inner();
            let lock = inner.some_lock(self.plan.nonsense, |lock| lock.held.is_some());
            let Some((at, token)) = lock else { return Ok(()) };
            let held = inner.held(at, token);
            (at, token, inner.some_buffers(&held, self.plan.nonsense))
        };
        note!(self, "group {at} downgrades {token}: {part:?}");
        if let Err(error) = self.arbiter().downgrade(self.id(at), Token(token), part.clone()) {
            return self.refused(Some(at), &Call::Downgrade { token, part }, &error);
        }
        let mut inner = self.inner();
        let lock =
            inner.books.lock_mut(at, token).ok_or("a lock is downgraded that does not live")?;
        let mut ended = Vec::new();
        for held in lock.held.iter_mut().flat_map(|held| &mut held.parts) {
            if held.access.is_exclusive() && (part.is_empty() || part.contains(&held.buffer)) {
                ended.push((held.buffer, held.access, held.seen));
                held.access = held.access.shared();
            }
        }
        for (buffer, access) in &mut lock.wants {
            if ended.iter().any(|(other, ..)| other == buffer) {
                *access = access.shared();
            }
        }
        ended
            .into_iter()
            .for_each(|(buffer, access, seen)| inner.books.ended_in_order(buffer, access, seen));
        inner.books.follow(false)
    }

    pub fn acquire(&self) -> Checked {
        let (at, token, buffer) = {
            let mut inner = self.inner();
            let lock = inner.some_lock(self.plan.nonsense, |lock| lock.held.is_some());
            let Some((at, token)) = lock else { return Ok(()) };
            let held = inner.held(at, token);
            let some = inner.some_buffers(&held, self.plan.nonsense);
            (at, token, some.first().copied())
        };
        self.acquire_fence(at, token, buffer)
    }

    /// Asks for the fences that a grant waits for.
    pub fn acquire_fence(&self, at: At, token: u64, buffer: Option<BufferId>) -> Checked {
        let before = self.inner().books.grants;
        let answer = self.arbiter().acquire_fence(self.id(at), Token(token), buffer);
        note!(self, "group {at} asks for the fences of {token} {buffer:?}: {answer:?}");
        match answer {
            Err(error) => self.refused(Some(at), &Call::Acquire { token, buffer }, &error),
            Ok(fd) => {
                let file = fd.as_ref().map(|fd| fd.as_fd().file());
                let fences = file.map_or(Vec::new(), |file| {
                    world::with(|world| match &world.files[file].kind {
                        Kind::SyncFile(fences) => fences.clone(),
                        _ => Vec::new(),
                    })
                });
                drop(fd);
                let mut inner = self.inner();
                // In a crowd the lock may have ended or grown since the service has looked.
                if let Some(held) =
                    inner.books.lock_mut(at, token).and_then(|lock| lock.held.as_mut())
                {
                    let chosen = held
                        .parts
                        .iter_mut()
                        .filter(|part| buffer.is_none_or(|buffer| part.buffer == buffer));
                    for part in chosen.filter(|part| part.number <= before) {
                        part.waits.get_or_insert_default().extend(&fences);
                    }
                }
                inner.books.follow(false)
            }
        }
    }
}

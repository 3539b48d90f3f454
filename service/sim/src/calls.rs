// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The clients' calls: each chooses its arguments, calls the service as the binder objects do, and notes the answer.

use std::time::Duration;

use buffersync_aidl::event::Buffer as Told;
use buffersync_aidl::reply::Granted;
use buffersync_engine::{Access, BufferId, Close, GroupId, Token, Wait, Wants};
use buffersync_kernel::fd::{AsFd, Fd, FdRef};
use buffersync_kernel::world::{self, Kind};
use buffersync_service::arbiter::simulated::Error;
use buffersync_service::calls::{HoldFrom, Locked, Request};

use crate::books::{join, At, Checked, Group, Waits};
use crate::note;
use crate::refusals::{Asked, Call, Done, Trouble};
use crate::simulation::{Inner, Simulation};

const ACCESSES: [Access; 4] = [Access::Read, Access::Write, Access::DmaRead, Access::DmaWrite];
const MS: u64 = 1_000_000;

/// The kinds of calls, and how often each comes.
#[derive(Clone, Copy, Debug)]
enum Kinds {
    Open,
    Add,
    Remove,
    Lock,
    Grow,
    Cancel,
    Unlock,
    UnlockPart,
    Downgrade,
    Exchange,
    Acquire,
    Locks,
    Name,
    Close,
    Die,
    HangUp,
}

const KINDS: [(Kinds, usize); 16] = [
    (Kinds::Open, 6),
    (Kinds::Add, 14),
    (Kinds::Remove, 3),
    (Kinds::Lock, 40),
    (Kinds::Grow, 8),
    (Kinds::Cancel, 3),
    (Kinds::Unlock, 14),
    (Kinds::UnlockPart, 14),
    (Kinds::Downgrade, 4),
    (Kinds::Exchange, 8),
    (Kinds::Acquire, 6),
    (Kinds::Locks, 3),
    (Kinds::Name, 1),
    (Kinds::Close, 2),
    (Kinds::Die, 2),
    (Kinds::HangUp, 1),
];

/// A lock's arguments.
pub struct Arguments {
    pub buffers: Vec<BufferId>,
    pub accesses: Vec<Access>,
    pub asked: Asked,
}

impl Inner {
    pub fn open_groups(&self) -> Vec<At> {
        let groups = self.books.groups.iter().enumerate();
        groups.filter(|(_, group)| group.open).map(|(at, _)| at).collect()
    }

    /// An open group, or sometimes a closed one.
    fn some_group(&mut self, nonsense: u32) -> Option<At> {
        let open = self.open_groups();
        if open.is_empty() || self.random.one_in(4 * nonsense) {
            let count = self.books.groups.len();
            return (count > 0).then(|| self.random.below(count));
        }
        self.random.of(&open).copied()
    }

    /// A lock that lives, of a kind, if there is one; or any number.
    pub fn some_lock(&mut self, nonsense: u32, kind: impl Fn(&crate::books::Lock) -> bool) -> Option<(At, u64)> {
        if self.random.one_in(nonsense) {
            let at = self.some_group(nonsense)?;
            let last = self.books.groups[at].last;
            return Some((at, self.random.next() % (last + 3)));
        }
        let open = self.books.groups.iter().enumerate().filter(|(_, group)| group.open);
        let locks = open.flat_map(|(at, group)| group.locks.iter().map(move |lock| (at, lock)));
        let locks: Vec<(At, u64)> = locks.filter(|(_, lock)| kind(lock)).map(|(at, lock)| (at, lock.token)).collect();
        self.random.of(&locks).copied()
    }

    pub fn some_buffers(&mut self, all: &[BufferId], nonsense: u32) -> Vec<BufferId> {
        let mut some: Vec<BufferId> = all.iter().copied().filter(|_| self.random.one_in(2)).collect();
        if self.random.one_in(4) {
            some.reverse();
        }
        if let Some(twice) = some.first().copied().filter(|_| self.random.one_in(10)) {
            some.push(twice);
        }
        if self.random.one_in(2 * nonsense) {
            let known: Vec<BufferId> = self.books.buffers.keys().copied().collect();
            some.push(self.random.of(&known).copied().unwrap_or(BufferId(1)));
        }
        some
    }

    /// Buffers and accesses that a lock may ask for. `has` is what a growing lock has already.
    pub fn arguments(&mut self, at: At, nonsense: u32) -> Arguments {
        let members = self.books.groups[at].members.clone();
        let all: Vec<BufferId> = members.iter().map(|(buffer, _)| *buffer).collect();
        let buffers = if self.random.one_in(3) { Vec::new() } else { self.some_buffers(&all, nonsense) };
        let mut accesses = Vec::new();
        if !buffers.is_empty() && self.random.one_in(2) {
            for buffer in &buffers {
                let own = members.iter().find(|(member, _)| member == buffer).map_or(Access::Read, |(_, own)| *own);
                let same: Vec<Access> = ACCESSES.into_iter().filter(|access| access.is_dma() == own.is_dma()).collect();
                let from = if self.random.one_in(4) { &ACCESSES[..] } else { &same[..] };
                accesses.push(from[self.random.below(from.len())]);
            }
        }
        let wait = match self.random.below(8) {
            0 => Wait::Never,
            1..=3 => Wait::AtMost(Duration::from_nanos([0, MS, 5 * MS, 40 * MS][self.random.below(4)])),
            _ => Wait::UntilGranted,
        };
        let asked = Asked { named: buffers.clone(), joined: None, wait };
        Arguments { buffers, accesses, asked }
    }

    pub fn joined(&self, at: At, Arguments { buffers, accesses, .. }: &Arguments, has: &[(BufferId, Access)]) -> Option<Vec<(BufferId, Access)>> {
        let group = &self.books.groups[at];
        let all = buffers.is_empty().then_some(&group.members).into_iter().flatten().copied();
        let named = buffers.iter().enumerate().map(|(nth, buffer)| {
            let own = group.member(*buffer).unwrap_or(Access::Read);
            (*buffer, accesses.get(nth).copied().unwrap_or(own))
        });
        let mut joined = has.to_vec();
        for (buffer, access) in all.chain(named) {
            let before = joined.iter().find(|(other, _)| *other == buffer);
            if before.is_some_and(|(_, before)| before.is_dma() != access.is_dma()) {
                return None;
            }
            join(&mut joined, buffer, access);
        }
        Some(joined)
    }

    fn waits(&self, wait: Wait) -> Option<Waits> {
        let since = self.books.now;
        let expires = match wait {
            Wait::AtMost(span) => Some(since + span.as_nanos() as u64),
            Wait::Never | Wait::UntilGranted => None,
        };
        Some(Waits { expires })
    }
}

/// The buffers of a reply.
pub fn told(grant: &[i64]) -> Result<(u64, Vec<Told>), String> {
    match Granted::of(grant) {
        Ok(Some(granted)) => Ok((granted.deadline_ns as u64, granted.buffers().collect())),
        other => Err(format!("a reply is no grant: {other:?}")),
    }
}

impl Simulation {
    pub fn call(&self) -> Checked {
        let kind = {
            let mut inner = self.inner();
            inner.calls += 1;
            let total: usize = KINDS.iter().map(|(_, weight)| weight).sum();
            let mut nth = inner.random.below(total);
            let found = KINDS.iter().find(|(_, weight)| {
                let here = nth < *weight;
                nth = nth.saturating_sub(*weight);
                here
            });
            found.map_or(Kinds::Lock, |(kind, _)| *kind)
        };
        match kind {
            _ if self.inner().open_groups().len() < if self.plan.silent { 2 } else { 1 } => self.open_group(),
            // Who never reads stays, so that something piles up.
            Kinds::Open | Kinds::Close | Kinds::Die | Kinds::HangUp | Kinds::Remove if self.plan.silent => self.lock(),
            Kinds::Open => self.open_group(),
            Kinds::Add => self.add(),
            Kinds::Remove => self.remove(),
            Kinds::Lock => self.lock(),
            Kinds::Grow => self.grow(),
            Kinds::Cancel => self.cancel(),
            Kinds::Unlock => self.unlock(),
            Kinds::UnlockPart => self.unlock_part(),
            Kinds::Downgrade => self.downgrade(),
            Kinds::Exchange => self.exchange(),
            Kinds::Acquire => self.acquire(),
            Kinds::Locks => self.audit(),
            Kinds::Name => self.name(),
            Kinds::Close => self.close(),
            Kinds::Die => self.die(),
            Kinds::HangUp => self.hang_up(),
        }
    }

    pub fn id(&self, at: At) -> GroupId {
        self.inner().books.groups[at].id
    }

    /// Notes a refusal, which has changed nothing.
    pub fn refused(&self, at: Option<At>, call: &Call, error: &Error) -> Checked {
        note!(self, "  refused: {error:?}");
        let trouble = Trouble { short: self.plan.is_short(), crowded: self.plan.switch > 0 };
        let mut inner = self.inner();
        inner.books.now = world::with(|world| world.now);
        if *error == Error::Closed {
            // Its own effects may have closed the group: its channel was lost.
            inner.books.follow(false)?;
        }
        inner.books.refused(at, call, error, &self.plan.most(), trouble)?;
        inner.books.follow(false)?;
        let audits = inner.random.one_in(8);
        drop(inner);
        match at.filter(|_| audits) {
            Some(at) => self.audit_group(at),
            None => Ok(()),
        }
    }

    fn open_group(&self) -> Checked {
        let (client, uid, process, hold, from, implicit, lost) = {
            let mut inner = self.inner();
            let count = inner.clients.len();
            let client = inner.random.below(count);
            let hold = [None, Some(1), Some(5), Some(30), Some(100), Some(5000)][inner.random.below(6)];
            let from = if inner.random.one_in(3) { HoldFrom::Conflict } else { HoldFrom::Grant };
            let (uid, process) = (inner.clients[client].uid, inner.clients[client].process);
            (client, uid, process, hold, from, inner.random.one_in(4), inner.random.one_in(12))
        };
        let arbiter = self.arbiter();
        note!(self, "client {client} opens a group: hold {hold:?} {from:?}, implicit: {implicit}");
        let name = format!("client{client}");
        let opened = match arbiter.open_group(uid, &name, (hold.map(Duration::from_millis), from), implicit) {
            Ok(opened) => opened,
            Err(Error::Unsupported(_)) if implicit && !arbiter.has_implicit_fences() => return self.follow(),
            Err(error) => return self.refused(None, &Call::Open { uid }, &error),
        };
        let most = u64::from(self.plan.config.max_hold_ms);
        let expected = hold.unwrap_or(u64::from(self.plan.config.default_hold_ms)).min(most);
        if opened.hold.as_millis() as u64 != expected {
            return Err(format!("a group's hold limit is {:?}, and should be {expected} ms", opened.hold));
        }
        let channel = opened.events.as_fd().file();
        let end = if lost { None } else { opened.events.as_fd().send_to(process).ok() };
        drop(opened.events);
        let is_lost = end.is_none();
        let at = {
            let mut inner = self.inner();
            let names_from = inner.names_from;
            let books = &mut inner.books;
            let serial = opened.id.serial();
            if serial <= names_from || books.groups.iter().any(|group| group.id.serial() == serial) {
                return Err(format!("the group's number {serial} is not new"));
            }
            books.groups.push(Group {
                id: opened.id,
                uid,
                client,
                name,
                hold: expected * MS,
                from,
                implicit,
                channel,
                end,
                sent: 0,
                read: 0,
                members: Vec::new(),
                locks: Vec::new(),
                last: 0,
                evicted: Vec::new(),
                open: true,
                due: Vec::new(),
            });
            if books.of_uid(uid).count() > self.plan.config.max_groups_per_uid as usize {
                return Err("more groups than a uid may have".into());
            }
            books.groups.len() - 1
        };
        note!(self, "  group {at}, lost: {is_lost}");
        // Nobody has the reply, so the binder object is dropped.
        if is_lost {
            self.close_group(at, true)?;
        }
        self.follow()
    }

    fn follow(&self) -> Checked {
        self.inner().books.follow(false)
    }

    /// A group ends in order, or its client dies.
    pub fn close_group(&self, at: At, died: bool) -> Checked {
        let id = self.id(at);
        let arbiter = self.arbiter();
        if died {
            arbiter.close_group(id, Close::Died);
        } else if let Err(error) = arbiter.close(id) {
            return self.refused(Some(at), &Call::Other, &error);
        }
        let mut inner = self.inner();
        if inner.books.groups[at].open {
            inner.books.now = world::with(|world| world.now);
            inner.books.close(at, died);
            inner.books.groups[at].end = None;
        }
        inner.books.follow(false)
    }

    fn close(&self) -> Checked {
        let Some(at) = self.inner().some_group(self.plan.nonsense) else { return Ok(()) };
        note!(self, "group {at} closes");
        self.close_group(at, false)
    }

    /// A client dies with all its groups, or drops one.
    fn die(&self) -> Checked {
        let (doomed, whole) = {
            let mut inner = self.inner();
            let Some(at) = inner.some_group(self.plan.nonsense) else { return Ok(()) };
            if inner.random.one_in(2) {
                (vec![at], false)
            } else {
                let client = inner.books.groups[at].client;
                let groups = inner.open_groups();
                (groups.into_iter().filter(|at| inner.books.groups[*at].client == client).collect(), true)
            }
        };
        note!(self, "groups {doomed:?} die, the whole client: {whole}");
        if whole {
            // Its descriptors are closed first.
            for at in &doomed {
                self.inner().books.groups[*at].end = None;
            }
        }
        doomed.into_iter().try_for_each(|at| self.close_group(at, true))
    }

    /// A client closes its end of a channel, and goes on.
    fn hang_up(&self) -> Checked {
        let Some(at) = self.inner().some_group(self.plan.nonsense) else { return Ok(()) };
        note!(self, "group {at} hangs up");
        self.inner().books.groups[at].end = None;
        Ok(())
    }

    fn add(&self) -> Checked {
        let (at, access, files, handle) = {
            let mut inner = self.inner();
            let Some(at) = inner.some_group(self.plan.nonsense) else { return Ok(()) };
            let access = ACCESSES[inner.random.below(4)];
            let count = 1 + inner.random.below(3);
            let mut handle: Vec<Fd> = Vec::new();
            let mut files = Vec::new();
            for _ in 0..count {
                let service = world::with(|world| world.service);
                let count = inner.made.len();
                let fd = if inner.random.one_in(8) || count == 0 {
                    world::with(|world| world.create(service, Kind::Other))
                } else {
                    let nth = inner.random.below(count);
                    inner.made[nth].fd.as_fd().send_to(service)
                };
                let Ok(fd) = fd else { continue };
                files.push(fd.as_fd().file());
                handle.push(fd);
            }
            if handle.is_empty() {
                return Ok(());
            }
            (at, access, files, handle)
        };
        // As in `registry::identify`, by the AIDL: dma-bufs, or else memfds, each once.
        let of = |want: fn(&Kind) -> bool| {
            let mut found = Vec::new();
            for file in &files {
                if world::with(|world| want(&world.files[*file].kind)) && !found.contains(file) {
                    found.push(*file);
                }
            }
            found
        };
        let dma_bufs = of(|kind| matches!(kind, Kind::DmaBuf(_)));
        let plain = dma_bufs.is_empty();
        let found = if plain { of(|kind| matches!(kind, Kind::Memfd { .. })) } else { dma_bufs };
        note!(self, "group {at} adds files {found:?} of {files:?} for {access:?}");
        let fds: Vec<FdRef<'_>> = handle.iter().map(AsFd::as_fd).collect();
        let before = world::with(|world| std::mem::take(&mut world.recognised));
        let added = self.arbiter().add(self.id(at), &fds, access);
        let recognised = world::with(|world| std::mem::replace(&mut world.recognised, before));
        drop(handle);
        match added {
            Ok(ids) => {
                note!(self, "  ids {ids:?}");
                let mut inner = self.inner();
                // A memfd whose link could not be read is left out.
                let mut found = found;
                if plain {
                    found.clear();
                    recognised.into_iter().for_each(|file| {
                        if !found.contains(&file) {
                            found.push(file);
                        }
                    });
                }
                inner.added(at, &found, &ids, access, plain)?;
                inner.books.follow(false)
            }
            Err(error) => {
                let call = {
                    let inner = self.inner();
                    let known = found.iter().filter_map(|file| inner.books.by_file.get(file).copied());
                    let buffers: Vec<BufferId> = known.collect();
                    let group = &inner.books.groups[at];
                    let has = buffers.iter().filter(|buffer| group.member(**buffer).is_some()).count();
                    Call::Add { access, buffers, new: found.len() - has, any: !found.is_empty() }
                };
                self.refused(Some(at), &call, &error)
            }
        }
    }

    fn remove(&self) -> Checked {
        let (at, buffers) = {
            let mut inner = self.inner();
            let Some(at) = inner.some_group(self.plan.nonsense) else { return Ok(()) };
            let all: Vec<BufferId> = inner.books.groups[at].members.iter().map(|(buffer, _)| *buffer).collect();
            (at, inner.some_buffers(&all, self.plan.nonsense))
        };
        note!(self, "group {at} removes {buffers:?}");
        if let Err(error) = self.arbiter().remove(self.id(at), buffers.clone()) {
            return self.refused(Some(at), &Call::Remove { buffers }, &error);
        }
        let mut inner = self.inner();
        let books = &mut inner.books;
        let mut left = books.groups[at].members.clone();
        left.retain(|(buffer, _)| !buffers.is_empty() && !buffers.contains(buffer));
        let members = std::mem::replace(&mut books.groups[at].members, left.clone());
        for (buffer, _) in members.into_iter().filter(|member| !left.contains(member)) {
            let wanted = books.groups[at].locks.iter().any(|lock| lock.wants.iter().any(|(want, _)| *want == buffer));
            if wanted {
                return Err(format!("group {at} has removed {buffer:?}, and a lock of it wants it"));
            }
            books.leave(buffer);
        }
        books.follow(false)
    }

    fn lock(&self) -> Checked {
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
        let locked = self.arbiter().lock(self.id(at), request);
        arguments.asked.joined = self.inner().joined(at, &arguments, &[]);
        self.locked(at, token, arguments.asked, locked, None)
    }

    /// Notes the answer to a new lock. With `done`, another has ended before.
    pub fn locked(&self, at: At, token: u64, asked: Asked, locked: Result<Locked, Error>, done: Option<Done>) -> Checked {
        let locked = match locked {
            Ok(locked) => locked,
            Err(error) => return self.refused(Some(at), &Call::Lock { token, asked, done }, &error),
        };
        note!(self, "  {locked:?}");
        let wants = asked.joined.ok_or("a buffer is locked for CPU and device at once")?;
        {
            let mut inner = self.inner();
            inner.books.now = world::with(|world| world.now);
            let group = &inner.books.groups[at];
            if !group.open || token <= group.last {
                return Err(format!("lock {token} of group {at} is accepted, and the last is {}", group.last));
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
                    granted.map_err(|why| format!("{why}; group {at} was told {buffers:?} in the reply of lock {token}"))?;
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

    fn grow(&self) -> Checked {
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
                    granted.map_err(|why| format!("{why}; group {at} was told {buffers:?} in the reply of growth {token}"))?;
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

    fn cancel(&self) -> Checked {
        let lock = self.inner().some_lock(self.plan.nonsense, |lock| lock.waits.is_some());
        let Some((at, token)) = lock else { return Ok(()) };
        note!(self, "group {at} cancels {token}");
        if let Err(error) = self.arbiter().cancel(self.id(at), Token(token)) {
            return self.refused(Some(at), &Call::Cancel { token }, &error);
        }
        let mut inner = self.inner();
        let lock = inner.books.groups[at].lock(token).ok_or("a lock is cancelled that does not live")?;
        if lock.waits.is_none() {
            return Err("a lock is cancelled that does not wait".into());
        }
        inner.books.give_up(at, token);
        inner.books.follow(false)
    }

    fn unlock(&self) -> Checked {
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

    fn downgrade(&self) -> Checked {
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
        let lock = inner.books.lock_mut(at, token).ok_or("a lock is downgraded that does not live")?;
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
        ended.into_iter().for_each(|(buffer, access, seen)| inner.books.ended_in_order(buffer, access, seen));
        inner.books.follow(false)
    }

    fn acquire(&self) -> Checked {
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
                if let Some(held) = inner.books.lock_mut(at, token).and_then(|lock| lock.held.as_mut()) {
                    let chosen = held.parts.iter_mut().filter(|part| buffer.is_none_or(|buffer| part.buffer == buffer));
                    for part in chosen.filter(|part| part.number <= before) {
                        part.waits.get_or_insert_default().extend(&fences);
                    }
                }
                inner.books.follow(false)
            }
        }
    }

    fn audit(&self) -> Checked {
        let Some(at) = self.inner().some_group(self.plan.nonsense) else { return Ok(()) };
        self.audit_group(at)
    }

    /// Compares what getLocks() says with what was told.
    fn audit_group(&self, at: At) -> Checked {
        match self.arbiter().locks(self.id(at)) {
            Err(error) => self.refused(Some(at), &Call::Other, &error),
            Ok(living) => self.inner().check_locks(at, &living),
        }
    }

    fn name(&self) -> Checked {
        let (at, serial) = {
            let mut inner = self.inner();
            let Some(at) = inner.some_group(self.plan.nonsense) else { return Ok(()) };
            let count = inner.books.groups.len();
            let of = inner.random.below(count);
            (at, inner.books.groups[of].id.serial())
        };
        match self.arbiter().name_of(self.id(at), serial) {
            Err(error) => self.refused(Some(at), &Call::Other, &error),
            Ok(name) => {
                let inner = self.inner();
                let uid = inner.books.groups[at].uid;
                let of = inner.books.groups.iter().find(|group| group.open && group.id.serial() == serial);
                let known = of.filter(|of| of.uid == uid || uid == 1000).map(|of| of.name.clone());
                (name == known).then_some(()).ok_or_else(|| format!("the name of group {serial} is {name:?}"))
            }
        }
    }
}

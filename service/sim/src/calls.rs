// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The clients' calls: each chooses its arguments, calls the service as the binder objects do, and notes the answer.

use std::time::Duration;

use buffersync_engine::{BufferId, Close, GroupId};
use buffersync_kernel::fd::{AsFd, Fd, FdRef};
use buffersync_kernel::world::{self, Kind};
use buffersync_service::arbiter::simulated::Error;
use buffersync_service::calls::HoldFrom;

use crate::arguments::ACCESSES;
use crate::books::{At, Checked, Group};
use crate::note;
use crate::refusals::{Call, Trouble};
use crate::simulation::Simulation;

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
            _ if self.inner().open_groups().len() < if self.plan.silent { 2 } else { 1 } => {
                self.open_group()
            }
            // Who never reads stays, so that something piles up.
            Kinds::Open | Kinds::Close | Kinds::Die | Kinds::HangUp | Kinds::Remove
                if self.plan.silent =>
            {
                self.lock()
            }
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
            let hold =
                [None, Some(1), Some(5), Some(30), Some(100), Some(5000)][inner.random.below(6)];
            let from = if inner.random.one_in(3) { HoldFrom::Conflict } else { HoldFrom::Grant };
            let (uid, process) = (inner.clients[client].uid, inner.clients[client].process);
            (client, uid, process, hold, from, inner.random.one_in(4), inner.random.one_in(12))
        };
        let arbiter = self.arbiter();
        note!(self, "client {client} opens a group: hold {hold:?} {from:?}, implicit: {implicit}");
        let name = format!("client{client}");
        let opened =
            match arbiter.open_group(uid, &name, (hold.map(Duration::from_millis), from), implicit)
            {
                Ok(opened) => opened,
                Err(Error::Unsupported(_)) if implicit && !arbiter.has_implicit_fences() => {
                    return self.follow()
                }
                Err(error) => return self.refused(None, &Call::Open { uid }, &error),
            };
        let most = u64::from(self.plan.config.max_hold_ms);
        let expected = hold.unwrap_or(u64::from(self.plan.config.default_hold_ms)).min(most);
        if opened.hold.as_millis() as u64 != expected {
            return Err(format!(
                "a group's hold limit is {:?}, and should be {expected} ms",
                opened.hold
            ));
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
            if serial <= names_from || books.groups.iter().any(|group| group.id.serial() == serial)
            {
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
                (
                    groups
                        .into_iter()
                        .filter(|at| inner.books.groups[*at].client == client)
                        .collect(),
                    true,
                )
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
                    let known =
                        found.iter().filter_map(|file| inner.books.by_file.get(file).copied());
                    let buffers: Vec<BufferId> = known.collect();
                    let group = &inner.books.groups[at];
                    let has =
                        buffers.iter().filter(|buffer| group.member(**buffer).is_some()).count();
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
            let all: Vec<BufferId> =
                inner.books.groups[at].members.iter().map(|(buffer, _)| *buffer).collect();
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
            let wanted = books.groups[at]
                .locks
                .iter()
                .any(|lock| lock.wants.iter().any(|(want, _)| *want == buffer));
            if wanted {
                return Err(format!(
                    "group {at} has removed {buffer:?}, and a lock of it wants it"
                ));
            }
            books.leave(buffer);
        }
        books.follow(false)
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
                let of = inner
                    .books
                    .groups
                    .iter()
                    .find(|group| group.open && group.id.serial() == serial);
                let known = of.filter(|of| of.uid == uid || uid == 1000).map(|of| of.name.clone());
                (name == known)
                    .then_some(())
                    .ok_or_else(|| format!("the name of group {serial} is {name:?}"))
            }
        }
    }
}

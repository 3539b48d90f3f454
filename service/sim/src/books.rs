// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! An independent model's books: what clients were told, by replies and records, in the order in which it was decided.
//!
//! The books know the rules of the AIDL. They look into neither the engine nor the service's tables, and they refuse
//! what contradicts them: two conflicting grants, a wrong deadline, generation or mark, a record that nothing calls
//! for.

use std::collections::BTreeMap;

use buffersync_engine::{Access, BufferId, GroupId, HoldFrom};
use buffersync_kernel::fd::Fd;
use buffersync_kernel::world::{self, FenceId, FileId};

use crate::fences::Fences;
use crate::marks::Marks;
use crate::memory::Memory;

pub type Checked<T = ()> = Result<T, String>;

/// The position of a group in [`Books::groups`].
pub type At = usize;

/// The evicted locks that a group remembers (ERROR_EVICTED).
const REMEMBERED: usize = 16;

#[derive(Debug)]
pub struct Group {
    pub id: GroupId,
    pub uid: u32,
    pub client: usize,
    pub name: String,
    /// In nanoseconds.
    pub hold: u64,
    pub from: HoldFrom,
    pub implicit: bool,
    /// The file of the client's end of the channel, and the end itself until the client closes it.
    pub channel: FileId,
    pub end: Option<Fd>,
    /// Messages that were sent, and read.
    pub sent: u64,
    pub read: u64,
    pub members: Vec<(BufferId, Access)>,
    pub locks: Vec<Lock>,
    pub last: u64,
    pub evicted: Vec<u64>,
    pub open: bool,
    /// Locks for which a record is due that a fence of theirs has failed.
    pub due: Vec<u64>,
}

#[derive(Debug)]
pub struct Lock {
    pub token: u64,
    /// The buffers that it has or asks for.
    pub wants: Vec<(BufferId, Access)>,
    pub waits: Option<Waits>,
    pub held: Option<Held>,
}

#[derive(Clone, Copy, Debug)]
pub struct Waits {
    pub expires: Option<u64>,
}

#[derive(Debug)]
pub struct Held {
    /// 0 if there is none yet.
    pub deadline: u64,
    pub parts: Vec<Part>,
    pub contended: bool,
    /// When it was told by a record, and the number of its message.
    pub told: Option<(u64, u64)>,
}

#[derive(Debug)]
pub struct Part {
    pub buffer: BufferId,
    pub file: FileId,
    pub access: Access,
    /// The number of evictions when it was granted.
    pub seen: u64,
    /// It was marked as evicted.
    pub told: bool,
    /// The fences that the client's devices wait for; `None` as long as it has not asked.
    pub waits: Option<Vec<FenceId>>,
    /// The number of the grant that told it.
    pub number: u64,
}

#[derive(Debug)]
pub struct Buffer {
    pub file: FileId,
    pub plain: bool,
    pub generation: u64,
    /// No grant has told the generation yet: the service counts from where it likes, above this one.
    pub fresh: bool,
    pub marks: Marks,
    /// Groups that have it.
    pub members: usize,
    /// Accesses of grants that ended with a lost channel, so that nobody knows whether they were.
    pub untold: Vec<Access>,
}

#[derive(Debug, Default)]
pub struct Books {
    pub verbose: bool,
    pub now: u64,
    pub groups: Vec<Group>,
    pub buffers: BTreeMap<BufferId, Buffer>,
    pub by_file: BTreeMap<FileId, BufferId>,
    pub fences: Fences,
    pub memory: Memory,
    /// Evicted holders of this many in 4 go on.
    pub stubborn: u64,
    /// Groups whose channel is lost, and that are closed when all that was decided before is told.
    pub dying: Vec<At>,
    /// There was one among what is followed now.
    pub died: bool,
    /// Grants, in all.
    pub grants: u64,
    /// A record of a lock whose reply is not noted yet.
    pub early: Vec<(At, buffersync_aidl::event::Record)>,
    /// Operations may fail.
    pub faulty: bool,
    /// The reactor's thread is at work.
    pub in_reactor: bool,
    /// The service's own file for a given sync_file, and whether a fence in the given one had failed.
    pub merged: BTreeMap<FileId, FileId>,
    pub failed: BTreeMap<FileId, bool>,
    /// Fences that were given since the service began.
    pub kept_fences: usize,
    /// In nanoseconds: a grant that is not read for so long may be taken away.
    pub read_within: u64,
}

pub fn conflicts(one: Access, other: Access) -> bool {
    one.is_exclusive() || other.is_exclusive()
}

/// Adds to a list of buffers with accesses; the stronger access counts.
pub fn join(wants: &mut Vec<(BufferId, Access)>, buffer: BufferId, access: Access) {
    match wants.iter_mut().find(|(other, _)| *other == buffer) {
        Some((_, has)) => *has = has.stronger(access).unwrap_or(*has),
        None => wants.push((buffer, access)),
    }
}

impl Group {
    pub fn lock(&self, token: u64) -> Option<&Lock> {
        self.locks.iter().find(|lock| lock.token == token)
    }

    pub fn member(&self, buffer: BufferId) -> Option<Access> {
        self.members.iter().find(|(member, _)| *member == buffer).map(|(_, access)| *access)
    }

    fn remember_evicted(&mut self, token: u64) {
        if !self.evicted.contains(&token) {
            if self.evicted.len() == REMEMBERED {
                self.evicted.remove(0);
            }
            self.evicted.push(token);
        }
    }
}

impl Lock {
    pub fn grows(&self) -> bool {
        self.held.is_some() && self.waits.is_some()
    }
}

impl Books {
    pub fn lock_mut(&mut self, at: At, token: u64) -> Option<&mut Lock> {
        self.groups[at].locks.iter_mut().find(|lock| lock.token == token)
    }

    /// The grants of a buffer: group, lock, access.
    pub fn holders(&self, buffer: BufferId) -> impl Iterator<Item = (At, u64, Access)> + '_ {
        let open = self.groups.iter().enumerate().filter(|(_, group)| group.open);
        open.flat_map(move |(at, group)| {
            let held =
                group.locks.iter().filter_map(|lock| Some((lock.token, lock.held.as_ref()?)));
            held.flat_map(move |(token, held)| {
                let parts = held.parts.iter().filter(move |part| part.buffer == buffer);
                parts.map(move |part| (at, token, part.access))
            })
        })
    }

    /// True if a lock waits for a buffer of a grant.
    pub fn is_waited_for(&self, at: At, token: u64) -> bool {
        let Some(held) = self.groups[at].lock(token).and_then(|lock| lock.held.as_ref()) else {
            return false;
        };
        let open = self.groups.iter().enumerate().filter(|(_, group)| group.open);
        open.flat_map(|(other, group)| group.locks.iter().map(move |lock| (other, lock))).any(
            |(other, lock)| {
                lock.waits.is_some()
                    && (other, lock.token) != (at, token)
                    && held.parts.iter().any(|part| {
                        lock.wants.iter().any(|(buffer, access)| {
                            *buffer == part.buffer && conflicts(*access, part.access)
                        })
                    })
            },
        )
    }

    /// A new lock that waits, or is granted just now.
    pub fn begin_lock(
        &mut self,
        at: At,
        token: u64,
        wants: Vec<(BufferId, Access)>,
        waits: Option<Waits>,
    ) {
        let group = &mut self.groups[at];
        group.last = token;
        group.locks.push(Lock { token, wants, waits, held: None });
    }

    /// A wait ends without a grant.
    pub fn give_up(&mut self, at: At, token: u64) {
        let Some(lock) = self.lock_mut(at, token) else { return };
        lock.waits = None;
        match &lock.held {
            Some(held) => {
                lock.wants = held.parts.iter().map(|part| (part.buffer, part.access)).collect()
            }
            None => self.groups[at].locks.retain(|lock| lock.token != token),
        }
    }

    /// A grant is taken away, or its client dies.
    pub fn evict(&mut self, at: At, token: u64) {
        let group = &mut self.groups[at];
        let Some(nth) = group.locks.iter().position(|lock| lock.token == token) else { return };
        let lock = group.locks.remove(nth);
        for part in lock.held.into_iter().flat_map(|held| held.parts) {
            self.evict_from(part.buffer, part.access);
        }
    }

    /// A holder of a buffer is evicted.
    pub fn evict_from(&mut self, id: BufferId, access: Access) {
        let Some(buffer) = self.buffers.get_mut(&id) else { return };
        let number = buffer.marks.evict(access);
        if self.verbose {
            println!(
                "{:>12}   books: a holder of {} for {access:?} is evicted",
                self.now / 1000,
                id.0
            );
        }
        let goes_on = self.grants.wrapping_mul(7) % 4 < self.stubborn;
        let goes_on = goes_on && !(buffer.plain && access.is_dma());
        self.memory.evicted(buffer.file, access, number, goes_on);
        if let Some(content) = self.memory.get(buffer.file) {
            content.trespassers.retain(|(_, number)| buffer.marks.is_at_work(*number));
        }
    }

    pub fn note_evicted(&mut self, at: At, token: u64) {
        self.groups[at].remember_evicted(token);
    }

    /// An access of a grant has ended in order.
    pub fn ended_in_order(&mut self, id: BufferId, access: Access, seen: u64) {
        let Some(buffer) = self.buffers.get_mut(&id) else { return };
        buffer.marks.ended(access, seen);
        if self.verbose {
            println!(
                "{:>12}   books: {access:?} of {}, which saw {seen}, has ended in order",
                self.now / 1000,
                id.0
            );
        }
        if let Some(content) = self.memory.get(buffer.file) {
            content.trespassers.retain(|(_, number)| buffer.marks.is_at_work(*number));
        }
    }

    /// A part of a grant, or all of it, leaves the lock. Returns the parts; no lock is left without one.
    pub fn take_parts(&mut self, at: At, token: u64, chosen: Option<&[BufferId]>) -> Vec<Part> {
        let Some(lock) = self.lock_mut(at, token) else { return Vec::new() };
        let Some(held) = &mut lock.held else { return Vec::new() };
        let is_chosen = |part: &Part| chosen.is_none_or(|chosen| chosen.contains(&part.buffer));
        let (ended, left) = std::mem::take(&mut held.parts).into_iter().partition(is_chosen);
        held.parts = left;
        lock.wants = held.parts.iter().map(|part| (part.buffer, part.access)).collect();
        if held.parts.is_empty() {
            self.groups[at].locks.retain(|lock| lock.token != token);
        }
        ended
    }

    /// A lock ends in order, without fences, whatever it is.
    pub fn unlock(&mut self, at: At, token: u64) {
        for part in self.take_parts(at, token, None) {
            self.ended_in_order(part.buffer, part.access, part.seen);
        }
        self.groups[at].locks.retain(|lock| lock.token != token);
    }

    /// A group has left, in order or not.
    pub fn close(&mut self, at: At, died: bool) {
        while let Some(token) = self.groups[at].locks.first().map(|lock| lock.token) {
            if died {
                self.evict(at, token);
            } else {
                self.unlock(at, token);
            }
        }
        let group = &mut self.groups[at];
        group.open = false;
        group.due.clear();
        for (buffer, _) in std::mem::take(&mut group.members) {
            self.leave(buffer);
        }
    }

    /// A group has the buffer no more.
    pub fn leave(&mut self, id: BufferId) {
        let Some(buffer) = self.buffers.get_mut(&id) else { return };
        buffer.members -= 1;
        let file = buffer.file;
        if buffer.members == 0 && world::with(|world| !world.reserved(file, true).is_empty()) {
            if let Some(content) = self.memory.get(file) {
                // The last cleaning is blocked.
                content.failed = true;
                buffer.marks.unsure = true;
            }
        }
        // Nobody is told how its cleaning ends.
        buffer.marks.unsure |= buffer.members == 0 && self.faulty && !buffer.plain;
    }

    /// No two grants conflict, and nobody waits for a grant without a deadline.
    pub fn check_conflicts(&self) -> Checked {
        for id in self.buffers.keys() {
            let all: Vec<_> = self.holders(*id).collect();
            for (nth, (at, token, access)) in all.iter().enumerate() {
                if let Some((other, lock, has)) =
                    all[..nth].iter().find(|(.., has)| conflicts(*has, *access))
                {
                    return Err(format!(
                        "buffer {} is held by lock {token} of group {at} for {access:?} and by lock {lock} of group {other} for {has:?}",
                        id.0
                    ));
                }
                let held = self.groups[*at].lock(*token).and_then(|lock| lock.held.as_ref());
                if held.is_some_and(|held| held.deadline == 0) && self.is_waited_for(*at, *token) {
                    return Err(format!(
                        "lock {token} of group {at} has no deadline, and somebody waits for it"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Nothing is pending, so the oldest of the locks that wait for each other waits for a holder.
    pub fn check_somebody_is_in_the_way(&self) -> Checked {
        let open = self.groups.iter().enumerate().filter(|(_, group)| group.open);
        let waiting: Vec<(At, &Lock)> = open
            .flat_map(|(at, group)| group.locks.iter().map(move |lock| (at, lock)))
            .filter(|(_, lock)| lock.waits.is_some())
            .collect();
        // Colours of locks that conflict with each other, directly or not.
        let mut colour: Vec<usize> = (0..waiting.len()).collect();
        for one in 0..waiting.len() {
            for other in 0..one {
                let meet = waiting[one].1.wants.iter().any(|(buffer, access)| {
                    waiting[other]
                        .1
                        .wants
                        .iter()
                        .any(|(has, with)| has == buffer && conflicts(*access, *with))
                });
                if meet {
                    let (from, to) = (colour[one], colour[other]);
                    colour
                        .iter_mut()
                        .filter(|colour| **colour == from)
                        .for_each(|colour| *colour = to);
                }
            }
        }
        let blocked = |(at, lock): &(At, &Lock)| {
            lock.wants.iter().any(|(buffer, access)| {
                self.holders(*buffer).any(|(other, token, has)| {
                    (other, token) != (*at, lock.token) && conflicts(has, *access)
                })
            })
        };
        for (nth, (at, lock)) in waiting.iter().enumerate() {
            let mut same =
                waiting.iter().enumerate().filter(|(other, _)| colour[*other] == colour[nth]);
            if !same.any(|(_, waiting)| blocked(waiting)) {
                return Err(format!(
                    "lock {} of group {at} waits, and nobody is in the way",
                    lock.token
                ));
            }
        }
        Ok(())
    }
}

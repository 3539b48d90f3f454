// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The rules, as plainly as they can be written: no queues, no counts, no links. After every change
//! everybody is asked again whether it may go on. O(n^2), and written from the rules in the crate's
//! documentation, not from the engine.
//!
//! Cache operations are taken to succeed at once. Tokens are counted here as the interface says they
//! count.

use buffersync_engine::*;

/// What a group is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Granted(GroupId, Token, Time, Vec<GrantedBuffer>),
    TimedOut(GroupId, Token),
    Wounded(GroupId, Token),
    Evicted(GroupId, Token, EvictionCause),
}

#[derive(Clone, Debug, Default)]
pub struct Naive {
    groups: Vec<Group>,
    fences: Vec<Fence>,
    buffers: Vec<Buffer>,
    last_group: u64,
    last_token: u64,
    last_ticket: u64,
    /// Counts everything that happens, to tell before from after.
    moment: u64,
    pub told: Vec<Told>,
}

#[derive(Clone, Debug)]
struct Group {
    id: GroupId,
    hold: u64,
    members: Vec<Member>,
    state: State,
    wounded: bool,
    ticket: u64,
    token: Token,
    deadline: Option<Time>,
    kept: Option<(u64, Time)>,
    expires: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Has no pending lock.
    Quiet,
    Waiting,
    /// Has its buffers, but for fences.
    Fenced,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    buffer: BufferId,
    want: Access,
    has: Option<Access>,
    granted: Option<Access>,
    since: u64,
}

#[derive(Clone, Debug)]
struct Fence {
    id: FenceId,
    group: GroupId,
    token: Token,
    deadline: Time,
    parts: Vec<(BufferId, Access, u64)>,
}

#[derive(Clone, Debug, Default)]
struct Buffer {
    id: Option<BufferId>,
    generation: u64,
    /// When, and who, as long as it may still be at work.
    evicted: Vec<(u64, Access)>,
    /// The CPU has a view of it: START without END.
    open: bool,
    /// The CPU has written what memory may not have.
    dirty: bool,
    /// The CPU's view is not the device's.
    stale: bool,
}

impl Buffer {
    /// Whether START has to come before such an access: table of `coherence`.
    fn needs_start(&self, access: Access) -> bool {
        match access {
            Access::Read => self.stale || self.dirty && !self.open,
            Access::Write => self.stale || !self.open,
            Access::DmaRead | Access::DmaWrite => self.dirty && !self.open,
        }
    }

    fn accessed(&mut self, access: Access) {
        if self.needs_start(access) {
            (self.dirty, self.stale) = (self.dirty && !self.open, false);
            self.open = true;
        }
        if access == Access::DmaWrite || access == Access::DmaRead && self.dirty {
            (self.open, self.dirty) = (false, false);
        }
        self.wrote(access);
    }

    fn wrote(&mut self, access: Access) {
        self.dirty |= access == Access::Write;
        self.stale |= access == Access::DmaWrite;
    }
}

const MAX_HOLD: u64 = 5_000_000_000;

impl Naive {
    pub fn open(&mut self, id: GroupId, hold: u64) {
        assert!(self.last_group < id.serial(), "a name is reused");
        self.last_group = id.serial();
        self.groups.push(Group {
            id,
            hold,
            members: Vec::new(),
            state: State::Quiet,
            wounded: false,
            ticket: 0,
            token: Token(0),
            deadline: None,
            kept: None,
            expires: None,
        });
    }

    fn at(&self, id: GroupId) -> usize {
        self.groups.iter().position(|group| group.id == id).expect("an open group")
    }

    fn group(&mut self, id: GroupId) -> &mut Group {
        let at = self.at(id);
        &mut self.groups[at]
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
            if access.is_exclusive() {
                member.want = access;
            }
            return Ok(member.want);
        }
        group.members.push(Member { buffer, want: access, has: None, granted: None, since: 0 });
        if self.buffers.iter().all(|known| known.id != Some(buffer)) {
            self.buffers.push(Buffer { id: Some(buffer), stale: true, ..Buffer::default() });
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
        self.forget();
        Ok(())
    }

    pub fn lock(
        &mut self,
        now: Time,
        id: GroupId,
        timeout: Option<u64>,
        wait: bool,
    ) -> Result<Token, Error> {
        let at = self.at(id);
        let group = &self.groups[at];
        let holds = group.deadline.is_some();
        if group.state != State::Quiet {
            return Err(Error::AlreadyQueued);
        }
        if group.wounded {
            return Err(Error::Deadlock);
        }
        if group.members.is_empty() {
            return Err(Error::EmptyGroup);
        }
        if group.members.iter().all(|member| member.has == Some(member.want)) {
            return Err(Error::AlreadyLocked);
        }
        let ticket = match group.kept {
            _ if holds => group.ticket,
            Some((ticket, until)) if now < until => ticket,
            _ => self.last_ticket + 1,
        };
        let free = self.may_take(at, ticket);
        if !wait && (!free || self.is_gated(at)) {
            return Err(Error::WouldBlock);
        }
        if !free && holds && self.older_wants_what_is_held(at) {
            self.groups[at].wounded = true;
            return Err(Error::Deadlock);
        }
        self.last_ticket = self.last_ticket.max(ticket);
        if !holds {
            self.last_token += 1;
            self.groups[at].token = Token(self.last_token);
        }
        let group = &mut self.groups[at];
        group.ticket = ticket;
        group.kept = None;
        group.state = State::Waiting;
        group.expires = timeout.map(|timeout| Time(now.0 + timeout));
        let token = group.token;
        if !free {
            self.wound_younger_than(at);
        }
        self.go_on(now);
        Ok(token)
    }

    /// Nobody holds what it lacks, and no older waiter wants it, in conflict.
    fn may_take(&self, at: usize, ticket: u64) -> bool {
        let lacking = self.groups[at].members.iter().filter(|m| m.has != Some(m.want));
        lacking.into_iter().all(|mine| {
            let others = self.groups.iter().enumerate().filter(|(other, _)| *other != at);
            others.into_iter().all(|(_, other)| {
                other.members.iter().filter(|m| m.buffer == mine.buffer).all(|theirs| {
                    let held = theirs.has.is_some_and(|has| has.conflicts(mine.want));
                    let wanted = other.state == State::Waiting
                        && other.ticket < ticket
                        && theirs.has != Some(theirs.want)
                        && theirs.want.conflicts(mine.want);
                    !held && !wanted
                })
            })
        })
    }

    /// Whether a fence has to signal before it is granted what is new. A device waits for a device
    /// itself, unless somebody evicted may be at work or the CPU's view has to be opened in between.
    fn is_gated(&self, at: usize) -> bool {
        let new = self.groups[at].members.iter().filter(|m| m.granted != Some(m.want));
        new.into_iter().any(|mine| {
            let buffer = self.buffers.iter().find(|b| b.id == Some(mine.buffer)).expect("known");
            let disorder = !buffer.evicted.is_empty() || buffer.needs_start(mine.want);
            self.fences_of(mine.buffer, mine.want)
                .any(|(_, theirs)| disorder || !theirs.is_dma() || !mine.want.is_dma())
        })
    }

    fn fences_of(
        &self,
        buffer: BufferId,
        want: Access,
    ) -> impl Iterator<Item = (FenceId, Access)> + '_ {
        self.fences.iter().flat_map(move |fence| {
            let parts = fence
                .parts
                .iter()
                .filter(move |(of, access, _)| *of == buffer && access.conflicts(want));
            parts.map(|(_, access, _)| (fence.id, *access))
        })
    }

    pub fn acquire_fences(&self, id: GroupId, token: Token) -> Vec<(BufferId, FenceId)> {
        let Some(group) = self.groups.iter().find(|group| group.id == id) else { return vec![] };
        if group.deadline.is_none() || group.token != token {
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
            let vulnerable = theirs.state == State::Waiting && theirs.deadline.is_some();
            if vulnerable && theirs.ticket > mine.ticket && wants_of(mine, theirs) {
                let theirs = &mut self.groups[other];
                theirs.state = State::Quiet;
                theirs.expires = None;
                theirs.wounded = true;
                self.told.push(Told::Wounded(theirs.id, theirs.token));
            }
        }
    }

    /// Lets everybody go on who may, the oldest first, until nobody may.
    fn go_on(&mut self, now: Time) {
        loop {
            let mut order: Vec<usize> = (0..self.groups.len()).collect();
            order.sort_by_key(|at| self.groups[*at].ticket);
            let next = order.into_iter().find(|at| match self.groups[*at].state {
                State::Quiet => false,
                State::Waiting => self.may_take(*at, self.groups[*at].ticket),
                State::Fenced => !self.is_gated(*at),
            });
            let Some(at) = next else { break };
            for member in &mut self.groups[at].members {
                member.has = Some(member.want);
            }
            self.groups[at].state = State::Fenced;
            if !self.is_gated(at) {
                self.grant(now, at);
            }
        }
        self.forget();
    }

    fn grant(&mut self, now: Time, at: usize) {
        self.moment += 1;
        let group = &mut self.groups[at];
        group.state = State::Quiet;
        group.expires = None;
        let deadline = *group.deadline.get_or_insert(Time(now.0 + group.hold));
        let mut granted = Vec::new();
        for member in &mut group.members {
            let id = Some(member.buffer);
            let buffer = self.buffers.iter_mut().find(|b| b.id == id).expect("known");
            if member.granted != Some(member.want) {
                member.granted = Some(member.want);
                member.since = self.moment;
                buffer.generation += u64::from(member.want.is_exclusive());
                buffer.accessed(member.want);
            }
            granted.push(GrantedBuffer {
                buffer: member.buffer,
                access: member.want,
                generation: buffer.generation,
                evicted: !buffer.evicted.is_empty(),
                fenced: false,
            });
        }
        let group = &self.groups[at];
        for granted in &mut granted {
            granted.fenced = self.fences_of(granted.buffer, granted.access).next().is_some();
        }
        self.told.push(Told::Granted(group.id, group.token, deadline, granted));
    }

    pub fn cancel(&mut self, now: Time, id: GroupId) -> Result<(), Error> {
        let at = self.at(id);
        if self.groups[at].state == State::Quiet {
            return Err(Error::NotQueued);
        }
        self.give_up(now, at);
        self.go_on(now);
        Ok(())
    }

    fn give_up(&mut self, now: Time, at: usize) {
        let group = &mut self.groups[at];
        group.state = State::Quiet;
        group.expires = None;
        for member in &mut group.members {
            member.has = member.granted;
        }
        if group.deadline.is_none() {
            group.kept = Some((group.ticket, Time(now.0 + MAX_HOLD)));
        }
    }

    pub fn unlock(
        &mut self,
        now: Time,
        id: GroupId,
        token: Token,
        given: &[ReleaseFence],
    ) -> Result<(), Error> {
        let at = self.at(id);
        let group = &self.groups[at];
        if group.deadline.is_none() || group.token != token {
            return Err(Error::BadToken);
        }
        for buffer in given.iter().filter_map(|given| given.buffer) {
            let held = group.members.iter().any(|m| m.buffer == buffer && m.granted.is_some());
            if !held {
                return Err(Error::UnknownBuffer);
            }
        }
        let (ticket, wounded, hold) = (group.ticket, group.wounded, group.hold);
        let parts = self.end(at);
        if wounded {
            self.groups[at].kept = Some((ticket, Time(now.0 + MAX_HOLD)));
        }
        for part in parts {
            let own = given.iter().filter(|given| given.buffer == Some(part.0)).count() > 0;
            let fences = given.iter().filter(|given| given.buffer.is_some() == own);
            let fences = fences.filter(|given| given.buffer.is_none_or(|buffer| buffer == part.0));
            for ReleaseFence { fence, .. } in fences.clone() {
                match self.fences.iter_mut().find(|known| known.id == *fence) {
                    Some(known) => known.parts.push(part),
                    None => {
                        let (deadline, parts) = (Time(now.0 + hold), vec![part]);
                        self.fences.push(Fence { id: *fence, group: id, token, deadline, parts });
                    }
                }
            }
            if fences.count() == 0 {
                self.ended_in_order(&[part]);
            }
        }
        self.go_on(now);
        Ok(())
    }

    /// Ends whatever a group has; what was granted of it.
    fn end(&mut self, at: usize) -> Vec<(BufferId, Access, u64)> {
        let group = &mut self.groups[at];
        let granted = group.members.iter().filter_map(|m| Some((m.buffer, m.granted?, m.since)));
        let granted = granted.collect();
        for member in &mut group.members {
            member.has = None;
            member.granted = None;
        }
        group.state = State::Quiet;
        group.expires = None;
        group.deadline = None;
        group.wounded = false;
        granted
    }

    fn ended_in_order(&mut self, parts: &[(BufferId, Access, u64)]) {
        for (id, _, since) in parts {
            let buffer = self.buffers.iter_mut().find(|b| b.id == Some(*id)).expect("known");
            // The first that counts as gone books what all of them may have done.
            if buffer.evicted.iter().any(|(moment, _)| moment < since) {
                for (_, access) in buffer.evicted.clone() {
                    buffer.wrote(access);
                }
                buffer.evicted.retain(|(moment, _)| moment > since);
            }
        }
    }

    fn ended_by_eviction(&mut self, parts: &[(BufferId, Access, u64)]) {
        self.moment += 1;
        for (id, access, _) in parts {
            let buffer = self.buffers.iter_mut().find(|b| b.id == Some(*id)).expect("known");
            buffer.evicted.push((self.moment, *access));
        }
    }

    pub fn close(&mut self, now: Time, id: GroupId, how: Close) {
        let at = self.at(id);
        let parts = self.end(at);
        match how {
            Close::Closed => self.ended_in_order(&parts),
            Close::Died => self.ended_by_eviction(&parts),
        }
        self.groups.remove(at);
        self.go_on(now);
    }

    pub fn fence_done(&mut self, now: Time, id: FenceId, ok: bool) {
        if let Some(at) = self.fences.iter().position(|fence| fence.id == id) {
            self.end_fence(at, ok);
            self.go_on(now);
        }
    }

    fn end_fence(&mut self, at: usize, ok: bool) {
        let fence = self.fences.remove(at);
        if ok {
            self.ended_in_order(&fence.parts);
        } else {
            self.ended_by_eviction(&fence.parts);
            self.told.push(Told::Evicted(fence.group, fence.token, EvictionCause::Fence));
        }
    }

    pub fn tick(&mut self, now: Time) {
        loop {
            let grants = self.groups.iter().filter_map(|group| group.deadline);
            let locks = self.groups.iter().filter_map(|group| group.expires);
            let fences = self.fences.iter().map(|fence| fence.deadline);
            let Some(due) = grants.chain(locks).chain(fences).min().filter(|due| *due <= now)
            else {
                break;
            };
            if let Some(at) = self.groups.iter().position(|group| group.deadline == Some(due)) {
                let group = &self.groups[at];
                let (id, token) = (group.id, group.token);
                self.told.push(Told::Evicted(id, token, EvictionCause::Deadline));
                let parts = self.end(at);
                self.ended_by_eviction(&parts);
                self.go_on(now);
            } else if let Some(at) = self.groups.iter().position(|g| g.expires == Some(due)) {
                let group = &self.groups[at];
                self.told.push(Told::TimedOut(group.id, group.token));
                self.give_up(now, at);
                self.go_on(now);
            } else {
                while let Some(at) = self.fences.iter().position(|f| f.deadline == due) {
                    self.end_fence(at, false);
                }
                self.go_on(now);
            }
        }
    }

    /// Buffers that nobody has and no fence holds are as good as new.
    fn forget(&mut self) {
        let (groups, fences) = (&self.groups, &self.fences);
        self.buffers.retain(|buffer| {
            groups.iter().flat_map(|g| &g.members).any(|member| Some(member.buffer) == buffer.id)
                || fences.iter().flat_map(|f| &f.parts).any(|(id, _, _)| Some(*id) == buffer.id)
        });
    }

    pub fn next_deadline(&self) -> Option<Time> {
        let grants = self.groups.iter().filter_map(|group| group.deadline);
        let locks = self.groups.iter().filter_map(|group| group.expires);
        grants.chain(locks).chain(self.fences.iter().map(|fence| fence.deadline)).min()
    }
}

/// Whether the first lacks something that the second has, in conflict.
fn wants_of(one: &Group, other: &Group) -> bool {
    one.members.iter().filter(|mine| mine.has != Some(mine.want)).any(|mine| {
        other.members.iter().any(|theirs| {
            theirs.buffer == mine.buffer && theirs.has.is_some_and(|has| has.conflicts(mine.want))
        })
    })
}

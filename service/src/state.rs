// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The state behind the arbiter's mutex: the engine, and the tables of the things that the engine names.
//!
//! | part | owns |
//! |---|---|
//! | [`Engine`], [`Effects`] | holders and waiters of each buffer, and the effects of a call |
//! | [`Registry`] | the dma-bufs' descriptors |
//! | [`Sessions`] | the groups' names, keys, event channels and quotas |
//! | [`Releases`] | release fences that are pending |
//! | [`Acquires`] | release fences that grants wait for |
//! | [`Waits`] | locks that wait for implicit fences |
//!
//! No part has a reference to another; a method that needs a second part (a quota, a buffer's descriptor) is
//! given it. The methods here need several parts at once. They run under the mutex, and none of them blocks.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use buffersync_aidl::event::Record;
use buffersync_engine::{
    Access, BufferId, Close, Effects, Engine, EvictionCause, Failure, FailureCause, FenceId, Grant,
    GroupId, Implicit, JobId, LockOutcome, Phase, Span, Time, Token,
};
use buffersync_kernel::dmabuf::{Identity, Usage};

use crate::error::Error;
use crate::events::Lost;
use crate::fences::acquire::Acquires;
use crate::fences::implicit::{Failed, Waits};
use crate::fences::release::{Given, Releases};
use crate::fences::Fence;
use crate::jobs::{usage, Look, Operation};
use crate::outbox;
use crate::quota::Kind;
use crate::reactor::Watched;
use crate::registry::{DeviceBuffer, Registry};
use crate::sessions::Sessions;
use crate::tables::ByGroup;

/// How long a lock may wait for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    Never,
    /// As long as it takes.
    UntilGranted,
    /// This long at most.
    AtMost(Duration),
}

/// The answer to a lock that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Locked {
    /// The grant follows through the event channel.
    Queued(Token),
    /// Granted at once.
    Granted {
        /// Names the grant.
        token: Token,
        /// The deadline and the buffers, as in `LockReply.grant`.
        grant: Vec<i64>,
        /// There may be fences to wait for: [`crate::arbiter::Arbiter::acquire_fence`].
        waits: bool,
    },
}

pub(crate) struct State {
    pub engine: Engine,
    pub effects: Effects,
    pub registry: Registry,
    pub sessions: Sessions,
    pub releases: Releases,
    pub acquires: Acquires,
    pub waits: Waits,
    /// The looks that each group's CPU accesses need, `None` if it has none; no entry after its buffers
    /// have changed.
    pub polled: ByGroup<Option<Arc<Vec<Look>>>>,
    /// Descriptors that the arbiter closes after it has released the mutex.
    pub garbage: Vec<Watched>,
}

impl State {
    /// Adds dma-bufs to a group: all of them or, on an error, none.
    pub fn add(
        &mut self,
        id: GroupId,
        found: &[(Identity, BorrowedFd<'_>)],
        access: Access,
        max_members: u32,
    ) -> Result<Vec<BufferId>, Error> {
        let uid = self.sessions.group(id)?.uid;
        if !matches!(self.engine.phase(id), Some(Phase::Idle | Phase::Held { .. })) {
            return Err(Error::Busy);
        }
        // Everything that can refuse comes first, so that a refused call has changed nothing.
        let mut newcomers = 0;
        for (identity, _) in found {
            let known = self.registry.id_of(identity);
            let member =
                known.and_then(|known| self.engine.members(id).find(|(id, _)| *id == known));
            match member {
                Some((_, has)) if has.is_dma() != access.is_dma() => {
                    return Err(Error::AccessConflict)
                }
                Some(_) => {}
                None => newcomers += 1,
            }
        }
        if self.engine.members(id).count() + newcomers as usize > max_members as usize {
            return Err(Error::Quota("too many buffers in this group"));
        }
        let mut own = Vec::with_capacity(found.len());
        for (identity, fd) in found {
            own.push(self.registry.open(*identity, *fd)?);
        }
        self.sessions.quotas.charge(uid, Kind::Buffers, newcomers)?;

        self.polled.remove(id);
        let mut ids = Vec::with_capacity(found.len());
        for ((identity, _), own) in found.iter().zip(own) {
            let buffer = match own {
                Some(buffer) => self.registry.register(buffer),
                None => self.registry.id_of(identity).ok_or(Error::UnknownBuffer)?,
            };
            self.engine.add(id, buffer, access)?;
            ids.push(buffer);
        }
        Ok(ids)
    }

    /// Takes a buffer out of a group.
    pub fn remove(&mut self, id: GroupId, buffer: BufferId) -> Result<(), Error> {
        self.engine.remove(id, buffer, &mut self.effects)?;
        let uid = self.sessions.group(id)?.uid;
        self.sessions.quotas.give_back(uid, Kind::Buffers, 1);
        self.polled.remove(id);
        Ok(())
    }

    /// The group's uid, and the looks that its CPU accesses need; `None` if it has none.
    pub fn looks_of_cpu(&mut self, id: GroupId) -> Option<(u32, Arc<Vec<Look>>)> {
        let uid = self.sessions.get(id)?.uid;
        if self.polled.get(id).is_none() {
            let of_cpu = self.engine.members(id).filter(|(_, access)| !access.is_dma());
            let looks = of_cpu.filter_map(|(buffer, access)| {
                let events = Usage::new(access.is_exclusive()).poll_events();
                Some(Look { buffer, fd: self.registry.fd(buffer)?, events })
            });
            let looks: Vec<Look> = looks.collect();
            self.polled.insert(id, (!looks.is_empty()).then(|| Arc::new(looks)));
        }
        Some((uid, Arc::clone(self.polled.get(id)?.as_ref()?)))
    }

    /// Locks a group. `looked` are looks that have found no implicit fence pending just now; that counts if
    /// they are still the group's.
    pub fn lock(
        &mut self,
        id: GroupId,
        wait: Wait,
        looked: Option<&Arc<Vec<Look>>>,
        now: Time,
    ) -> Result<Locked, Error> {
        let waiting = self.sessions.group(id)?.is_waiting();
        let polled = self.polled.get(id).and_then(Option::as_ref);
        let same = looked.zip(polled).is_some_and(|(looked, polled)| Arc::ptr_eq(looked, polled));
        let implicit = if same { Implicit::Idle } else { Implicit::Unknown };
        // Before the engine is asked, so that a refusal has changed nothing. If the group waits already,
        // the engine's refusal is the clearer one.
        if !waiting {
            self.sessions.check_room(id)?;
        }
        let Self { engine, effects, .. } = self;
        let outcome = match wait {
            Wait::Never => engine.try_lock(now, id, implicit, effects),
            Wait::UntilGranted => engine.lock(now, id, None, implicit, effects),
            Wait::AtMost(limit) => engine.lock(now, id, Some(limit), implicit, effects),
        };
        match outcome? {
            LockOutcome::Pending(token) => {
                self.sessions.begin_wait(id)?;
                Ok(Locked::Queued(token))
            }
            LockOutcome::Granted(Grant { token, deadline, buffers }) => {
                let fenced = self.begin_hold(id, token, buffers);
                let implicit = self.sessions.group(id)?.implicit;
                let granted = self.effects.buffers(buffers);
                let waits = fenced || implicit && granted.iter().any(|g| g.access.is_dma());
                let grant = outbox::reply(deadline, granted, implicit);
                Ok(Locked::Granted { token, grant, waits })
            }
        }
    }

    /// Whether a group can be locked when the grant of `but`, which may be the same group, has ended.
    /// Refuses one that waits, still holds, has no buffers, or has no room for one more lock.
    pub fn check_lockable(&mut self, id: GroupId, but: GroupId) -> Result<(), Error> {
        let waiting = self.sessions.group(id)?.is_waiting();
        let idle = match self.engine.phase(id) {
            Some(Phase::Idle) => true,
            Some(Phase::Held { .. }) => id == but && !waiting,
            _ => false,
        };
        if !idle {
            return Err(Error::AlreadyLocked);
        }
        if self.engine.members(id).next().is_none() {
            return Err(Error::EmptyGroup);
        }
        self.sessions.check_room(id)
    }

    /// The group holds its buffers, and keeps the release fences that the grant waits for. Returns whether
    /// there are any.
    fn begin_hold(&mut self, id: GroupId, token: Token, granted: Span) -> bool {
        self.sessions.begin_hold(id);
        let fenced = self.effects.buffers(granted).iter().any(|granted| granted.fenced);
        if fenced && self.sessions.get(id).is_some() {
            let Self { engine, releases, acquires, .. } = self;
            let fences: Vec<_> = engine.acquire_fences(id, token).collect();
            fences.iter().for_each(|(_, fence)| releases.keep(*fence, id));
            let fences = fences
                .into_iter()
                .filter_map(|(buffer, fence)| Some((buffer, Arc::clone(releases.get(fence)?))));
            acquires.add(id, fences);
        }
        fenced
    }

    /// The grant is over, and so is a lock that would have grown it.
    pub fn end_hold(&mut self, id: GroupId) {
        self.sessions.end_wait(id);
        self.sessions.end_hold(id);
        self.garbage.extend(self.acquires.remove(id).map(|fence| fence as Watched));
    }

    /// The reactor has handed out the wait for a release fence. If it has signalled without an error, the grants that
    /// waited for it keep it no longer: a grant may last for ever, and the giver is charged meanwhile.
    pub fn release_woke(&mut self, id: FenceId, ok: bool) {
        let Some((fence, keepers)) = self.releases.woke(id) else { return };
        for keeper in keepers.into_iter().filter(|_| ok) {
            let kept = self.acquires.remove_fence(keeper, &fence);
            self.garbage.extend(kept.into_iter().map(|fence| fence as Watched));
        }
        self.garbage.push(fence);
    }

    /// A part of the grant is over.
    pub fn end_part(&mut self, id: GroupId, part: &[BufferId]) {
        let fences = self.acquires.remove_part(id, part);
        self.garbage.extend(fences.into_iter().map(|fence| fence as Watched));
    }

    /// Refuses a token whose grant was taken away. A grant of which a part has ended with a fence that failed goes
    /// on.
    pub fn refuse_evicted(&self, id: GroupId, token: Token) -> Result<(), Error> {
        if self.engine.held(id, token).is_some() {
            return Ok(());
        }
        self.sessions.refuse_evicted(id, token)
    }

    /// The uid of a group that gives fences with an unlock, and the dma-bufs that the fences go into if
    /// the group takes part in implicit synchronisation. Refuses what the unlock would refuse.
    pub fn giving(
        &mut self,
        id: GroupId,
        token: Token,
        part: Option<&[BufferId]>,
        given: &[Given<'_>],
    ) -> Result<(u32, Vec<DeviceBuffer>), Error> {
        self.refuse_evicted(id, token)?;
        let held = self.engine.held(id, token).ok_or(Error::BadToken)?;
        let ends: Vec<(BufferId, Access)> =
            held.filter(|(buffer, _)| part.is_none_or(|part| part.contains(buffer))).collect();
        let is_there = |buffer: &BufferId| ends.iter().any(|(ends, _)| ends == buffer);
        let named = given.iter().filter_map(|given| given.buffer);
        if !named.chain(part.into_iter().flatten().copied()).all(|buffer| is_there(&buffer)) {
            return Err(Error::UnknownBuffer);
        }
        if part.is_some() {
            if !matches!(self.engine.phase(id), Some(Phase::Held { .. })) {
                return Err(Error::Busy);
            }
            // Each fence may become a record, and a grant has any number of parts.
            self.sessions.check_channel(id)?;
        }
        self.releases.check_room(id, given.len())?;
        let group = self.sessions.group(id)?;
        Ok((group.uid, self.registry.devices(ends.into_iter().filter(|_| group.implicit))))
    }

    /// The release fences that a grant waits for and the dma-bufs with implicit ones; of one buffer, or
    /// of all.
    pub fn acquiring(
        &self,
        id: GroupId,
        token: Token,
        buffer: Option<BufferId>,
    ) -> Result<(Vec<Arc<Fence>>, Vec<DeviceBuffer>), Error> {
        self.refuse_evicted(id, token)?;
        let group = self.sessions.group(id)?;
        let held = self.engine.held(id, token).ok_or(Error::BadToken)?;
        let mut chosen =
            held.filter(|(held, _)| buffer.is_none_or(|buffer| buffer == *held)).peekable();
        if chosen.peek().is_none() {
            return Err(Error::UnknownBuffer);
        }
        let devices = self.registry.devices(chosen.filter(|_| group.implicit));
        Ok((self.acquires.of(id, buffer), devices))
    }

    /// Ends a group. Nothing happens if it is closed already.
    pub fn close(&mut self, id: GroupId, how: Close, now: Time) {
        self.end_hold(id);
        if self.sessions.get(id).is_some() {
            let members = self.engine.members(id).count();
            self.engine.close_group(now, id, how, &mut self.effects);
            self.sessions.close(id, how, members);
            self.polled.remove(id);
        }
    }

    /// Tells a group that its queued lock is granted.
    pub fn announce(&mut self, id: GroupId, grant: Grant, now: Time) {
        let Grant { token, deadline, buffers } = grant;
        self.begin_hold(id, token, buffers);
        let Some(group) = self.sessions.get_mut(id) else { return };
        let granted = self.effects.buffers(buffers);
        let (head, buffers) = outbox::granted(token, deadline, granted, group.implicit);
        let sent = group.channel.send(head, buffers);
        self.told(id, sent, now);
    }

    /// Tells a group that its queued lock has failed; `reason` is an errno.
    pub fn lock_failed(
        &mut self,
        id: GroupId,
        token: Token,
        (buffer, reason, cause): (BufferId, i32, FailureCause),
        now: Time,
    ) {
        let what = match cause {
            FailureCause::Operation => "cache maintenance failed",
            FailureCause::ImplicitFence => "an implicit fence did not signal in time",
        };
        log::warn!("buffer {}: {what}: errno {reason}", buffer.0);
        self.tell(id, outbox::lock_failed(token, buffer, reason, cause), now);
    }

    /// Tells a group that a grant was taken away.
    pub fn evicted(&mut self, id: GroupId, token: Token, cause: EvictionCause, now: Time) {
        // A release fence that fails belongs to a grant that has ended already.
        if cause == EvictionCause::Deadline {
            self.end_hold(id);
        }
        self.sessions.evicted(id, token, cause, now);
        self.tell(id, outbox::evicted(token, cause), now);
    }

    /// Sends a record to a group.
    pub fn tell(&mut self, id: GroupId, record: Record, now: Time) {
        let Some(group) = self.sessions.get_mut(id) else { return };
        let sent = group.channel.send(record, std::iter::empty());
        self.told(id, sent, now);
    }

    /// A group whose channel is lost counts as dead, because it gets no more events.
    fn told(&mut self, id: GroupId, sent: Result<(), Lost>, now: Time) {
        let Err(lost) = sent else { return };
        let name = self.sessions.get(id).map_or("", |group| group.name.as_str());
        log::warn!("group {} {name:?} closed: {lost}", id.serial());
        self.close(id, Close::Died, now);
    }

    /// The implicit fences that the engine asks about.
    pub fn looks(&self, waits: Span) -> Vec<Look> {
        let waits = self.effects.waits(waits).iter();
        waits
            .filter_map(|wait| {
                let events = usage(wait.flags).poll_events();
                Some(Look { buffer: wait.buffer, fd: self.registry.fd(wait.buffer)?, events })
            })
            .collect()
    }

    /// The cache operations that the engine asks for.
    pub fn operations(&self, ops: Span) -> Vec<Operation> {
        let ops = self.effects.ops(ops).iter();
        ops.filter_map(|op| {
            let fd = self.registry.fd(op.buffer)?;
            Some(Operation { buffer: op.buffer, fd, kind: op.kind, flags: op.flags })
        })
        .collect()
    }

    /// A worker is done with a job.
    pub fn job_done(&mut self, id: JobId, result: Result<(), Failure>, now: Time) {
        self.waits.done(id);
        self.engine.job_done(now, id, result, &mut self.effects);
    }

    /// Locks have waited for implicit fences in vain.
    pub fn waits_failed(&mut self, failed: impl IntoIterator<Item = Failed>, now: Time) {
        for (id, failure) in failed {
            self.engine.job_done(now, id, Err(failure), &mut self.effects);
        }
    }
}

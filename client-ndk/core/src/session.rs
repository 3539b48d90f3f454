// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The state of a group and its calls, under the mutex of [`crate::Group`]. [`crate::group`] waits without it, for
//! locks and for fences that the service can't take. Only the unlock of a part waits for such a fence with the mutex
//! ([`crate::unlock`]).
//!
//! [`Locks`] has the client's view of the group's locks. A request names its lock by a number that the
//! client chooses, and so does every event. So it is always clear which lock a reply or an event is about.
//!
//! This file has the requests, [`crate::unlock`] what ends locks, and [`crate::lost`] what follows a lost reply.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use binder::{ParcelFileDescriptor, Strong};
use buffersync_aidl::aidl::vendor::buffersync as aidl;
use buffersync_aidl::aidl::vendor::buffersync::ISyncGroup::ISyncGroup;
use buffersync_aidl::aidl::vendor::buffersync::LockReply::LockReply;
use buffersync_aidl::aidl::vendor::buffersync::ReleaseFence::ReleaseFence;
use buffersync_aidl::aidl::NativeHandle;
use buffersync_aidl::reply;
use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::events::{Event, EventChannel};
use crate::fork::{self, Remote};
use crate::locks::{Accesses, Acquire, Granted, Locks};
use crate::types::{to_aidl, Access, BufferId, GrantInfo, LockId, LockStatus, Timeout};
use crate::writable;

/// A call that may wait reads the channel after so many locks. A lock leaves two records at most for which nobody
/// waits (CONTENDED, EVICTED), and the service has room for more than 32 unread ones.
const READ_AFTER: u32 = 16;

/// What a lock asks for. Empty: all buffers of the group, each with the access of [`crate::Group::add`].
pub(crate) type Wants<'a> = &'a [(BufferId, Access)];

pub(crate) struct Session {
    binder: Remote<dyn ISyncGroup>,
    events: EventChannel,
    pub(crate) locks: Locks,
    /// The buffers of the group, each once, with the access of locks that name none.
    members: Accesses,
    hold_limit: Duration,
    evictions: u64,
    /// The channel has no record that matters: since it was read empty no lock has waited, no fence was given, and
    /// every grant has ended by its unlock. Saves a read(2) for each lock.
    quiet: bool,
    /// The locks that have begun since the channel was read empty.
    begun: u32,
    /// Locks about which the client and the service may disagree, because a reply was lost: see
    /// [`crate::lost`]. The next request puts them right before it does anything else, so these are few.
    pub(crate) unclear: Vec<LockId>,
}

impl Session {
    pub fn new(binder: Strong<dyn ISyncGroup>, events: EventChannel, hold_limit: Duration) -> Self {
        Self {
            binder: Remote::new(binder),
            events,
            locks: Locks::default(),
            members: Accesses::new(),
            hold_limit,
            evictions: 0,
            quiet: true,
            begun: 0,
            unclear: Vec::new(),
        }
    }

    pub fn remote(&self) -> Result<&dyn ISyncGroup> {
        self.binder.get()
    }

    /// A reference of one's own, for a call that outlives this session.
    pub fn own_remote(&self) -> Result<Strong<dyn ISyncGroup>> {
        self.binder.clone_it()
    }

    pub fn event_fd(&self) -> &Arc<OwnedFd> {
        self.events.fd()
    }

    pub fn hold_limit(&self) -> Duration {
        self.hold_limit
    }

    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    pub fn add_handle(
        &mut self,
        fds: &[BorrowedFd<'_>],
        ints: &[i32],
        access: Access,
    ) -> Result<Vec<BufferId>> {
        if access == Access::Write {
            writable::check(fds)?;
        }
        let fds = fds.iter().map(|fd| duplicate(*fd)).collect::<Result<Vec<_>>>()?;
        let handle = NativeHandle { fds, ints: ints.to_vec() };
        let ids = self.remote()?.add(&handle, to_aidl(access)).map_err(|s| lost(s.into()))?;
        let ids: Vec<BufferId> = ids.into_iter().map(BufferId).collect();
        ids.iter().for_each(|id| add_access(&mut self.members, *id, access));
        Ok(ids)
    }

    pub fn remove(&mut self, buffer: BufferId) -> Result<()> {
        self.settle()?;
        let removed = self.remote()?.remove(&[buffer.0]).map_err(|status| lost(status.into()));
        if matches!(removed, Ok(()) | Err(Error::ReplyLost(_))) {
            self.members.retain(|(member, _)| *member != buffer);
        }
        removed
    }

    pub fn remove_all(&mut self) -> Result<()> {
        self.settle()?;
        let removed = self.remote()?.remove(&[]).map_err(|status| lost(status.into()));
        if matches!(removed, Ok(()) | Err(Error::ReplyLost(_))) {
            self.members.clear();
        }
        removed
    }

    pub fn read_event(&mut self) -> Result<Option<Event>> {
        // A forked child shares the parent's channel, and must not take its records.
        fork::check()?;
        loop {
            if let Some(event) = self.locks.next_unread() {
                return Ok(Some(event));
            }
            if !self.absorb()? {
                return Ok(None);
            }
        }
    }

    /// Reads one event from the channel, and keeps it for [`Session::read_event`]. Returns false if there is
    /// none now.
    pub fn absorb(&mut self) -> Result<bool> {
        fork::check()?;
        let Some(event) = self.events.next()? else {
            self.begun = 0;
            return Ok(false);
        };
        if matches!(event, Event::Evicted { .. }) {
            self.evictions = self.evictions.wrapping_add(1);
        }
        if self.locks.note(&event) {
            self.locks.keep(event);
        }
        Ok(true)
    }

    pub fn absorb_all(&mut self) -> Result<()> {
        while self.absorb()? {}
        Ok(())
    }

    /// Sends a new lock, and makes its record. Returns true if it is granted at once. If the reply was
    /// lost, ends the lock.
    pub fn lock(&mut self, wants: Wants<'_>, timeout: Timeout) -> Result<(LockId, bool)> {
        self.settle()?;
        let id = self.locks.next_id();
        let (buffers, accesses) = split(wants);
        let granted = self.with_room(id, |group| {
            Ok(group.remote()?.lock(id.0, &buffers, &accesses, timeout.ns())?)
        });
        match granted {
            Err(error) if is_unclear(&error) => {
                self.end_lost(id);
                Err(lost(error))
            }
            granted => Ok((id, self.begin(id, granted?, wants, timeout))),
        }
    }

    /// Sends the growth of a grant. Returns true if it is granted at once. If the reply was lost, asks
    /// what has become of the growth.
    pub fn grow(&mut self, id: LockId, wants: Wants<'_>, timeout: Timeout) -> Result<bool> {
        self.settle()?;
        match self.locks.find(id) {
            None => return Err(Error::Ended),
            Some(lock) if lock.evicted.is_some() => return Err(self.locks.evicted(id)),
            Some(lock) if lock.waiting => return Err(waits(id)),
            Some(_) => {}
        }
        let (buffers, accesses) = split(wants);
        let granted = self.with_room(id, |group| {
            Ok(group.remote()?.grow(id.0, &buffers, &accesses, timeout.ns())?)
        });
        let wants = if wants.is_empty() { &self.members } else { wants };
        match granted {
            Ok(granted) => {
                self.locks.ask_for_more(id, wants, timeout);
                Ok(self.grown(id, granted))
            }
            Err(error) if is_unclear(&error) => {
                self.locks.ask_for_more(id, wants, timeout);
                self.ask_after_growth(id, error)
            }
            Err(error) => Err(self.noted(id, error)),
        }
    }

    /// Sends the end of a grant together with a new lock, and changes the records. Returns true if the
    /// new lock is granted at once. If the reply was lost, ends both.
    pub fn exchange(
        &mut self,
        done: LockId,
        fences: &[ReleaseFence],
        wants: Wants<'_>,
        timeout: Timeout,
    ) -> Result<(LockId, bool)> {
        self.settle()?;
        if self.locks.find(done).is_none() {
            return Err(Error::Ended);
        }
        let id = self.locks.next_id();
        let (buffers, accesses) = split(wants);
        let granted = self.with_room(id, |group| {
            let remote = group.remote()?;
            Ok(remote.unlockAndLock(done.0, fences, id.0, &buffers, &accesses, timeout.ns())?)
        });
        if granted.is_err() || !fences.is_empty() {
            self.may_hear_later();
        }
        match granted {
            Ok(granted) => {
                self.forget(done);
                Ok((id, self.begin(id, granted, wants, timeout)))
            }
            Err(error) if is_unclear(&error) => {
                self.end_lost_exchange(done, fences, id);
                Err(lost(error))
            }
            Err(error @ (Error::Evicted { .. } | Error::Ended | Error::ServiceDied)) => {
                let error = self.of_ended(done, error);
                self.forget(done);
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Sends a request for a lock. Earlier grants may have left CONTENDED records, which nobody has read. If they fill
    /// the channel, this reads them and sends the request again.
    fn with_room(
        &mut self,
        id: LockId,
        ask: impl Fn(&Self) -> Result<LockReply>,
    ) -> Result<Option<Granted>> {
        self.make_room()?;
        let reply = match ask(self) {
            Err(Error::EventsUnread) => {
                self.absorb_all()?;
                ask(self)
            }
            reply => reply,
        }?;
        self.granted_of(id, reply)
    }

    /// Reads the channel now and then, for calls that may wait. A program that only makes such calls does not read
    /// it, and a full channel costs a second call (ERROR_EVENTS_UNREAD). Programs that poll read it themselves.
    pub fn keep_up(&mut self) -> Result<()> {
        if self.begun >= READ_AFTER {
            self.absorb_all()?;
        }
        Ok(())
    }

    /// Notes that a record may still come for a lock that has ended.
    pub fn may_hear_later(&mut self) {
        self.quiet = false;
    }

    /// Reads the records that earlier locks left, so that they don't fill the channel
    /// (ERROR_EVENTS_UNREAD).
    fn make_room(&mut self) -> Result<()> {
        if self.locks.is_empty() && !self.quiet {
            self.absorb_all()?;
            self.quiet = true;
        }
        Ok(())
    }

    /// The grant in a reply; `None` if the lock is queued.
    fn granted_of(&mut self, id: LockId, reply: LockReply) -> Result<Option<Granted>> {
        let granted = reply::Granted::of(&reply.grant).map_err(|_| MALFORMED)?;
        let Some(granted) = granted else { return Ok(None) };
        let info = GrantInfo::new(id, granted, self.locks.spare());
        let acquire = match reply.acquireFence {
            // The service had no descriptor for the fence.
            None if info.buffers.iter().any(|buffer| buffer.fenced) => Acquire::Ask,
            fence => Acquire::Known(fence.map(Into::into)),
        };
        Ok(Some((info, acquire)))
    }

    fn begin(
        &mut self,
        id: LockId,
        granted: Option<Granted>,
        wants: Wants<'_>,
        timeout: Timeout,
    ) -> bool {
        let is_granted = granted.is_some();
        self.quiet &= is_granted;
        self.begun = self.begun.saturating_add(1);
        let wants = if wants.is_empty() { &self.members } else { wants };
        self.locks.begin(id, granted, wants, timeout);
        is_granted
    }

    pub fn grown(&mut self, id: LockId, granted: Option<Granted>) -> bool {
        let is_granted = granted.is_some();
        self.quiet &= is_granted;
        self.locks.grown(id, granted);
        is_granted
    }

    /// Takes back what waits: a lock ends, or a growth ends and its grant goes on.
    pub fn cancel(&mut self, lock: LockId) -> Result<()> {
        let waits = |session: &Self| session.locks.find(lock).is_some_and(|lock| lock.waiting);
        if !waits(self) {
            return Err(Error::NotQueued);
        }
        let call = || -> Result<()> { Ok(self.remote()?.cancel(lock.0)?) };
        let result = match call() {
            Err(Error::Binder(_)) => match call() {
                // Without a record of its end, the lock was cancelled by the first request.
                Err(Error::NotQueued | Error::Ended | Error::Evicted { .. }) => {
                    while waits(self) && self.absorb()? {}
                    waits(self).then_some(()).ok_or(Error::NotQueued)
                }
                result => result,
            },
            Err(Error::Ended | Error::Evicted { .. }) => Err(Error::NotQueued),
            result => result,
        };
        result.map_err(lost)?;
        self.forget_wait(lock);
        Ok(())
    }

    /// Gives up what waits and what nobody wants any more. A grant that it would grow goes on.
    pub fn abandon(&mut self, id: LockId) {
        let Some(lock) = self.locks.find(id).filter(|lock| lock.waiting) else { return };
        let grew = lock.grant.is_some();
        if self.cancel(id).is_ok() {
            return;
        }
        // It was granted or has ended meanwhile, and its record is there. If the service is gone, so is the lock.
        if self.absorb_all().is_ok() && !grew && self.locks.find(id).is_some() {
            let _ = self.release(id, &[]);
        }
    }

    /// Notes that a lock or a growth waits no more: it was taken back.
    pub fn forget_wait(&mut self, lock: LockId) {
        match self.locks.find_mut(lock) {
            Some(granted) if granted.grant.is_some() => granted.waiting = false,
            _ => self.forget(lock),
        }
    }

    /// The group's locks as the service knows them.
    pub fn living(&self) -> Result<Vec<LockStatus>> {
        let status = |state: &aidl::LockState::LockState| {
            let lock = LockId(state.lock);
            let granted = reply::Granted::of(&state.grant).map_err(|_| MALFORMED)?;
            let grant = granted.map(|granted| GrantInfo::new(lock, granted, Vec::new()));
            Ok(LockStatus { lock, waiting: state.waiting, grant })
        };
        let states = self.remote()?.getLocks().map_err(|status| lost(status.into()))?;
        states.iter().map(status).collect()
    }

    /// The grant of a lock, as far as its events were read.
    pub fn granted(&self, lock: LockId) -> Result<&GrantInfo> {
        match self.locks.find(lock) {
            None => Err(Error::Ended),
            Some(found) if found.evicted.is_some() => Err(self.locks.evicted(lock)),
            Some(found) => found.grant.as_ref().ok_or_else(|| waits(lock)),
        }
    }

    /// The release fences of earlier holders, for one buffer or all.
    pub fn acquire_fence(&self, lock: LockId, buffer: Option<BufferId>) -> Result<Option<OwnedFd>> {
        let grant = self.granted(lock)?;
        let Some(buffer) = buffer else {
            return match self.locks.find(lock).map(|lock| &lock.acquire) {
                Some(Acquire::Known(None)) | None => Ok(None),
                Some(Acquire::Known(Some(fence))) => Ok(Some(duplicate(fence.as_fd())?.into())),
                // No buffer is marked, so no fence is pending.
                Some(Acquire::Ask) if grant.buffers.iter().all(|buffer| !buffer.fenced) => Ok(None),
                Some(Acquire::Ask) => self.ask_for_fence(lock, BufferId(0)),
            };
        };
        match grant.buffers.iter().find(|granted| granted.id == buffer) {
            None => Err(not_in_grant(buffer, grant)),
            Some(granted) if !granted.fenced => Ok(None),
            Some(_) => self.ask_for_fence(lock, buffer),
        }
    }

    fn ask_for_fence(&self, lock: LockId, buffer: BufferId) -> Result<Option<OwnedFd>> {
        let fence = self.remote()?.getAcquireFence(lock.0, buffer.0);
        Ok(fence.map_err(|status| lost(status.into()))?.map(Into::into))
    }

    /// Deletes the record of a lock that has ended.
    pub fn forget(&mut self, id: LockId) {
        self.locks.forget(id);
        self.unclear.retain(|unclear| *unclear != id);
    }

    /// The error for a lock that the service does not have. The service forgets old evictions, so it may
    /// call them [`Error::Ended`]; their records are in the channel, and say who was waiting.
    pub fn of_ended(&mut self, id: LockId, error: Error) -> Error {
        if !matches!(error, Error::Ended | Error::Evicted { .. }) {
            return error;
        }
        let is_evicted =
            |session: &Self| session.locks.find(id).is_some_and(|lock| lock.evicted.is_some());
        while !is_evicted(self) && self.absorb() == Ok(true) {}
        match is_evicted(self) {
            true => self.locks.evicted(id),
            false => error,
        }
    }

    /// Notes an eviction that a call has told. The record stays until the lock is unlocked.
    pub fn noted(&mut self, id: LockId, error: Error) -> Error {
        match error {
            // A lock with a grant ends by itself only if the grant is taken away.
            Error::Evicted { .. } | Error::Ended => {
                let error = self.of_ended(id, error);
                self.locks.take_away(id);
                match error {
                    Error::Ended => Error::Evicted { by: None },
                    error => error,
                }
            }
            error => error,
        }
    }

    /// Reads events until a pending lock is granted (true) or has ended (an error). Returns false if
    /// there are no more events.
    pub fn look(&mut self, id: LockId) -> Result<bool> {
        while self.locks.find(id).is_some_and(|lock| lock.waiting) {
            if !self.absorb()? {
                return Ok(false);
            }
        }
        self.locks.answer(id).map(|()| true)
    }

    /// Whether a grant has the buffer with at least this access, as far as its events were read.
    pub fn holds(&self, id: LockId, buffer: BufferId, access: Access) -> bool {
        let held = self.locks.find(id).filter(|lock| lock.grant.is_some());
        held.is_some_and(|lock| lock.holds(buffer, access))
    }
}

impl Drop for Session {
    /// close() ends grants in order, as unlock() does. With a grant that nobody has unlocked, nobody has said that the work
    /// was finished: then only the reference goes, and the service evicts.
    fn drop(&mut self) {
        if let (false, Ok(binder)) = (self.locks.holds_any(), self.remote()) {
            // An error can be ignored: the reference is dropped now in any case.
            let _ = binder.close();
        }
    }
}

pub(crate) const MALFORMED: Error = Error::Protocol("a grant with an impossible number of buffers");

/// Tells if a failed call may have been done all the same: only its reply was lost, or is broken.
pub(crate) fn is_unclear(error: &Error) -> bool {
    matches!(error, Error::Binder(_) | Error::Protocol(_))
}

/// Calls a failure of the transport a lost reply, which it mostly is.
pub(crate) fn lost(error: Error) -> Error {
    match error {
        Error::Binder(reason) => Error::ReplyLost(reason),
        error => error,
    }
}

pub(crate) fn waits(lock: LockId) -> Error {
    Error::Busy(format!("lock {lock} still waits: wait for its grant, or cancel it"))
}

pub(crate) fn not_in_grant(buffer: BufferId, grant: &GrantInfo) -> Error {
    let ids: Vec<String> = grant.buffers.iter().map(|buffer| buffer.id.to_string()).collect();
    let (lock, ids) = (grant.lock, ids.join(", "));
    Error::UnknownBuffer(format!("lock {lock} has no buffer {buffer}: it has {ids}"))
}

/// Adds an access, or makes the access to a buffer stronger.
fn add_access(accesses: &mut Accesses, buffer: BufferId, access: Access) {
    match accesses.iter_mut().find(|(id, _)| *id == buffer) {
        // The service refuses a mix of CPU and device.
        Some((_, has)) => *has = has.stronger(access).unwrap_or(*has),
        None => accesses.push((buffer, access)),
    }
}

/// The two arrays of a request.
fn split(wants: Wants<'_>) -> (Vec<i64>, Vec<aidl::Access::Access>) {
    wants.iter().map(|(buffer, access)| (buffer.0, to_aidl(*access))).unzip()
}

pub(crate) fn duplicate(fd: BorrowedFd<'_>) -> Result<ParcelFileDescriptor> {
    fd.try_clone_to_owned().map(ParcelFileDescriptor::new).map_err(|error| {
        match Error::io("dup of a descriptor", &error) {
            Error::System(_, Errno::EBADF) => Error::BadFd,
            error => error,
        }
    })
}

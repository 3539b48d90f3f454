// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A group: its buffers, its requests and events.
//!
//! [`Locks`] has the client's view of the group's locks. A request names its lock by a number that the
//! client chooses, and so does every event. So it is always clear which lock a reply or an event is about.
//!
//! [`crate::lock`] has the calls of the main lock, [`crate::lock_buffers`] those of locks by number, and
//! [`crate::unlock`] what ends them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

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
use crate::locks::{Acquire, Granted, Locks};
use crate::members::Members;
use crate::types::{to_aidl, Access, BufferId, GrantInfo, LockId};

/// The wait for the record of a lock that can't be cancelled any more. The service writes the record
/// before it answers, so only a faulty service lets this time pass.
const RECORD_GRACE: Duration = Duration::from_secs(1);

/// A call that may wait reads the channel after so many locks. A lock leaves two records at most for which nobody
/// waits (CONTENDED, EVICTED), and the service has room for more than 32 unread ones.
const READ_AFTER: u32 = 16;

/// The time-out of a request that waits for nobody.
pub(crate) const TRY: i64 = aidl::ISyncGroup::TRY;

pub(crate) fn grace() -> Option<Instant> {
    Instant::now().checked_add(RECORD_GRACE)
}

/// What a lock asks for. Empty: all buffers of the group, each with the access of [`Group::add`].
pub(crate) type Wants<'a> = &'a [(BufferId, Access)];

/// A set of dma-bufs, which are locked for one use after the other, all of them or some.
///
/// Most programs have one lock at a time, of all buffers: [`Group::lock`] and its [`Grant`](crate::Grant).
/// This is the group's *main lock*. A group can also have many locks at once, of some of its buffers each:
/// [`Group::lock_buffers`].
///
/// Dropping a group closes it in order, waiting locks included. If a lock is still granted (a
/// [`Grant`](crate::Grant) was forgotten, or a lock by number was not unlocked), the service treats the
/// drop as an eviction, because nobody said that the work was finished.
pub struct Group {
    binder: Remote<dyn ISyncGroup>,
    pub(crate) events: EventChannel,
    hold_limit: Duration,
    pub(crate) locks: Locks,
    pub(crate) members: Members,
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

/// The result of [`Group::start_lock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// The lock has all its buffers: call [`Group::grant`]. No event follows.
    Granted,
    /// [`Group::read_event`] will report [`Event::Granted`], or how else the lock ended.
    Queued,
}

impl Started {
    pub(crate) fn of(granted: bool) -> Self {
        match granted {
            true => Self::Granted,
            false => Self::Queued,
        }
    }
}

impl Group {
    pub(crate) fn new(
        binder: Strong<dyn ISyncGroup>,
        events: EventChannel,
        hold_limit: Duration,
    ) -> Self {
        Self {
            binder: Remote::new(binder),
            events,
            hold_limit,
            locks: Locks::default(),
            members: Members::default(),
            evictions: 0,
            quiet: true,
            begun: 0,
            unclear: Vec::new(),
        }
    }

    pub(crate) fn remote(&self) -> Result<&dyn ISyncGroup> {
        self.binder.get()
    }

    /// The hold limit of the group: its grants are taken away after this time.
    pub fn hold_limit(&self) -> Duration {
        self.hold_limit
    }

    /// The number of evictions of this group's grants that were reported so far.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Adds one dma-buf, or a memfd (see [`Group::add_handle`]). You may close the descriptor afterwards:
    /// the service has one of its own. The locks that the group has stay as they are; the next ones can
    /// have the buffer.
    ///
    /// # Errors
    /// [`Error::BadFd`] for a descriptor that is not open, and those of `ISyncGroup.add`:
    /// [`Error::NotDmaBuf`], [`Error::Quota`], [`Error::AccessConflict`], [`Error::NoResources`]. After
    /// [`Error::ReplyLost`] the group may have the buffer: add it again to learn its id.
    pub fn add(&mut self, fd: impl AsFd, access: Access) -> Result<BufferId> {
        match self.add_handle(&[fd.as_fd()], &[], access)?[..] {
            [id] => Ok(id),
            _ => Err(Error::Protocol("one descriptor became several buffers")),
        }
    }

    /// Adds the dma-bufs of a native handle. Other descriptors in it are skipped. In a handle without a
    /// dma-buf, the memfds are the buffers: they are locked in the same way, and need no cache
    /// maintenance. The ids are in the order of the first descriptor of each buffer.
    ///
    /// # Errors
    /// Those of [`Group::add`], and [`Error::IllegalArgument`] for no descriptors or too many.
    pub fn add_handle(
        &mut self,
        fds: &[BorrowedFd<'_>],
        ints: &[i32],
        access: Access,
    ) -> Result<Vec<BufferId>> {
        let fds = fds.iter().map(|fd| duplicate(*fd)).collect::<Result<Vec<_>>>()?;
        let handle = NativeHandle { fds, ints: ints.to_vec() };
        let ids = self.remote()?.add(&handle, to_aidl(access)).map_err(|s| lost(s.into()))?;
        let ids: Vec<BufferId> = ids.into_iter().map(BufferId).collect();
        ids.iter().for_each(|id| self.members.add(*id, access));
        Ok(ids)
    }

    /// Removes one buffer. No lock of the group may have it or wait for it.
    ///
    /// # Errors
    /// [`Error::UnknownBuffer`], [`Error::Busy`]. After [`Error::ReplyLost`] the buffer may be gone:
    /// remove it again.
    pub fn remove(&mut self, buffer: BufferId) -> Result<()> {
        self.settle()?;
        let removed = self.remote()?.remove(&[buffer.0]).map_err(|status| lost(status.into()));
        if matches!(removed, Ok(()) | Err(Error::ReplyLost(_))) {
            self.members.remove(buffer);
        }
        removed
    }

    /// Removes all buffers.
    ///
    /// # Errors
    /// [`Error::Busy`]. After [`Error::ReplyLost`] they may be gone.
    pub fn remove_all(&mut self) -> Result<()> {
        self.settle()?;
        let removed = self.remote()?.remove(&[]).map_err(|status| lost(status.into()));
        if matches!(removed, Ok(()) | Err(Error::ReplyLost(_))) {
            self.members.clear();
        }
        removed
    }

    /// The event channel. Poll it for POLLIN; POLLHUP means that the service is gone. Other calls may read
    /// events too, even if they do not wait: those that lock, unlock or cancel, and [`Grant::is_evicted`].
    /// They keep the events of other locks for [`Group::read_event`]: call it until it returns `None`, before
    /// you poll.
    ///
    /// [`Grant::is_evicted`]: crate::Grant::is_evicted
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// Returns the next event; `None` if there is none now. Never blocks.
    ///
    /// # Errors
    /// [`Error::ServiceDied`].
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

    /// Reads one event from the channel, and keeps it for [`Group::read_event`]. Returns false if there is
    /// none now.
    pub(crate) fn absorb(&mut self) -> Result<bool> {
        fork::check()?;
        let Some(event) = self.events.next()? else {
            self.begun = 0;
            return Ok(false);
        };
        if matches!(event, Event::Evicted { .. }) {
            self.evictions = self.evictions.wrapping_add(1);
        }
        let is_main = self.locks.is_main(event.lock());
        if self.locks.note(&event) {
            match &event {
                Event::Granted(_) if is_main => self.members.granted(),
                _ if is_main && self.locks.main().is_none() => self.members.let_go(&[]),
                _ => {}
            }
            self.locks.keep(event);
        }
        Ok(true)
    }

    /// Sends a new lock, and makes its record. Returns true if it is granted at once. If the reply was
    /// lost, ends the lock.
    pub(crate) fn request_lock(
        &mut self,
        wants: Wants<'_>,
        timeout_ns: i64,
    ) -> Result<(LockId, bool)> {
        self.settle()?;
        let id = self.locks.next_id();
        let (buffers, accesses) = split(wants);
        let granted = self.with_room(id, |group| {
            Ok(group.remote()?.lock(id.0, &buffers, &accesses, timeout_ns)?)
        });
        match granted {
            Err(error) if is_unclear(&error) => {
                self.end_lost(id);
                Err(lost(error))
            }
            granted => Ok((id, self.begin(id, granted?))),
        }
    }

    /// Sends the growth of a grant. Returns true if it is granted at once. If the reply was lost, asks
    /// what has become of the growth.
    pub(crate) fn request_growth(
        &mut self,
        id: LockId,
        wants: Wants<'_>,
        timeout_ns: i64,
    ) -> Result<bool> {
        self.settle()?;
        match self.locks.find(id) {
            None => return Err(Error::Ended),
            Some(lock) if lock.evicted => return Err(Error::Evicted),
            Some(lock) if lock.waiting => return Err(Error::Busy),
            Some(_) => {}
        }
        if self.locks.is_main(id) {
            self.members.ask(wants);
        }
        let (buffers, accesses) = split(wants);
        let granted = self.with_room(id, |group| {
            Ok(group.remote()?.grow(id.0, &buffers, &accesses, timeout_ns)?)
        });
        match granted {
            Ok(granted) => Ok(self.grown(id, granted)),
            Err(error) if is_unclear(&error) => self.ask_after_growth(id, error),
            // A lock with a grant ends by itself only if the grant is taken away.
            Err(Error::Evicted | Error::Ended) => {
                self.take_away(id);
                Err(Error::Evicted)
            }
            Err(error) => Err(error),
        }
    }

    /// Sends the end of a grant together with a new lock, and changes the records. Returns true if the
    /// new lock is granted at once. If the reply was lost, ends both.
    pub(crate) fn request_exchange(
        &mut self,
        done: LockId,
        fences: &[ReleaseFence],
        wants: Wants<'_>,
        timeout_ns: i64,
    ) -> Result<(LockId, bool)> {
        self.settle()?;
        if self.locks.find(done).is_none() {
            return Err(Error::Ended);
        }
        let id = self.locks.next_id();
        let (buffers, accesses) = split(wants);
        let granted = self.with_room(id, |group| {
            let remote = group.remote()?;
            Ok(remote.unlockAndLock(done.0, fences, id.0, &buffers, &accesses, timeout_ns)?)
        });
        if granted.is_err() || !fences.is_empty() {
            self.may_hear_later();
        }
        match granted {
            Ok(granted) => {
                // The main lock has all buffers, and so does the next one.
                let is_main = self.locks.is_main(done) && wants.is_empty();
                self.forget(done);
                let granted = self.begin(id, granted);
                if is_main {
                    self.make_main(id, granted);
                }
                Ok((id, granted))
            }
            Err(error) if is_unclear(&error) => {
                self.end_lost_exchange(done, fences, id);
                Err(lost(error))
            }
            Err(error @ (Error::Evicted | Error::Ended | Error::ServiceDied)) => {
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
                while self.absorb()? {}
                ask(self)
            }
            reply => reply,
        }?;
        self.granted_of(id, reply)
    }

    /// Reads the channel now and then, for calls that may wait. A program that only makes such calls does not read
    /// it, and a full channel costs a second call (ERROR_EVENTS_UNREAD). Programs that poll read it themselves.
    pub(crate) fn keep_up(&mut self) -> Result<()> {
        if self.begun >= READ_AFTER {
            while self.absorb()? {}
        }
        Ok(())
    }

    /// Notes that a record may still come for a lock that has ended.
    pub(crate) fn may_hear_later(&mut self) {
        self.quiet = false;
    }

    /// Reads the records that earlier locks left, so that they don't fill the channel
    /// (ERROR_EVENTS_UNREAD).
    fn make_room(&mut self) -> Result<()> {
        if self.locks.is_empty() && !self.quiet {
            while self.absorb()? {}
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

    fn begin(&mut self, id: LockId, granted: Option<Granted>) -> bool {
        let is_granted = granted.is_some();
        self.quiet &= is_granted;
        self.begun = self.begun.saturating_add(1);
        self.locks.begin(id, granted);
        is_granted
    }

    /// Makes a lock of all buffers the main lock.
    pub(crate) fn make_main(&mut self, id: LockId, granted: bool) {
        self.locks.set_main(id);
        self.members.ask(&[]);
        if granted {
            self.members.granted();
        }
    }

    pub(crate) fn grown(&mut self, id: LockId, granted: Option<Granted>) -> bool {
        let is_granted = granted.is_some();
        self.quiet &= is_granted;
        self.locks.grown(id, granted);
        if is_granted && self.locks.is_main(id) {
            self.members.granted();
        }
        is_granted
    }

    /// Notes that a grant was taken away.
    pub(crate) fn take_away(&mut self, id: LockId) {
        if let Some(lock) = self.locks.find_mut(id) {
            (lock.evicted, lock.waiting) = (true, false);
        }
    }

    /// Deletes the record of a lock that has ended.
    pub(crate) fn forget(&mut self, id: LockId) {
        if self.locks.is_main(id) {
            self.members.let_go(&[]);
        }
        self.locks.forget(id);
        self.unclear.retain(|unclear| *unclear != id);
    }

    /// The error for a lock that the service does not have. The service forgets old evictions, so it may
    /// call them [`Error::Ended`]; their records are in the channel.
    pub(crate) fn of_ended(&mut self, id: LockId, error: Error) -> Error {
        let is_evicted = |group: &Self| group.locks.find(id).is_some_and(|lock| lock.evicted);
        while error == Error::Ended && !is_evicted(self) && self.absorb() == Ok(true) {}
        match error {
            Error::Ended if is_evicted(self) => Error::Evicted,
            error => error,
        }
    }

    /// Waits until a pending lock is granted (true) or has ended (an error). Returns false if `until`
    /// comes first.
    pub(crate) fn await_grant(&mut self, id: LockId, until: Option<Instant>) -> Result<bool> {
        while !self.look(id)? {
            if !self.events.wait(until)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads events until a pending lock is granted (true) or has ended (an error). Returns false if
    /// there are no more events.
    pub(crate) fn look(&mut self, id: LockId) -> Result<bool> {
        while self.locks.find(id).is_some_and(|lock| lock.waiting) {
            if !self.absorb()? {
                return Ok(false);
            }
        }
        self.locks.answer(id).map(|()| true)
    }
}

impl Drop for Group {
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

/// Converts release fences to AIDL.
pub(crate) fn given(each: Vec<(BufferId, OwnedFd)>, rest: Option<OwnedFd>) -> Vec<ReleaseFence> {
    each.into_iter()
        .chain(rest.map(|fence| (BufferId(0), fence)))
        .map(|(buffer, fence)| ReleaseFence {
            bufferId: buffer.0,
            fence: Some(ParcelFileDescriptor::new(fence)),
        })
        .collect()
}

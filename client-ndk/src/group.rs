// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A group and its grants.
//!
//! A group is idle, waiting or holding, as in `ISyncGroup.aidl`; [`State`] is the client's view of
//! that, and is what tells a record of the current lock from one of a lock long gone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use binder::{NativeHandle, ParcelFileDescriptor, Strong};
use buffersync_aidl::aidl::vendor::buffersync::ISyncGroup::ISyncGroup;
use buffersync_aidl::aidl::vendor::buffersync::LockReply::LockReply;
use buffersync_aidl::aidl::vendor::buffersync::LockStatus::LockStatus;
use nix::errno::Errno;
use nix::time::{clock_gettime, ClockId};

use crate::error::{Error, Result};
use crate::events::{Event, EventPipe};
use crate::types::{monotonic, Access, BufferId, GrantInfo, GrantedBuffer, Token};

/// How long the record of a lock that can't be cancelled any more may take. The service writes it
/// before it answers, so this is met only if the service breaks its word.
const RECORD_GRACE: Duration = Duration::from_secs(1);

/// A set of dma-bufs that are locked and unlocked together.
///
/// Dropping a group ends it in order, a waiting lock included. A group that holds when it is
/// dropped (its [`Grant`] was forgotten) is left to the service, which treats that as an eviction:
/// nobody said that the work was finished.
pub struct Group {
    binder: Strong<dyn ISyncGroup>,
    events: EventPipe,
    hold_limit: Duration,
    state: State,
    evictions: u64,
}

#[derive(Debug)]
enum State {
    Idle,
    Waiting(Token),
    Holding { grant: GrantInfo, evicted: bool },
}

/// What [`Group::start_lock`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// Everything is held, [`Group::grant`] has the guard; no event follows.
    Granted,
    /// [`Group::read_event`] will report [`Event::Granted`] or [`Event::LockFailed`].
    Queued,
}

impl Group {
    pub(crate) fn new(
        binder: Strong<dyn ISyncGroup>,
        events: EventPipe,
        hold_limit: Duration,
    ) -> Self {
        Self { binder, events, hold_limit, state: State::Idle, evictions: 0 }
    }

    /// How long a grant of this group lasts at most.
    pub fn hold_limit(&self) -> Duration {
        self.hold_limit
    }

    /// How many evictions of this group's grants were reported so far.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Adds one dma-buf. The service keeps no reference to the descriptor.
    ///
    /// # Errors
    /// [`Error::BadFd`] for a descriptor that is not open, and those of `ISyncGroup.add`:
    /// [`Error::NotDmaBuf`], [`Error::Busy`], [`Error::Quota`], [`Error::AccessConflict`],
    /// [`Error::NoResources`].
    pub fn add(&mut self, fd: impl AsFd, access: Access) -> Result<BufferId> {
        match self.add_handle(&[fd.as_fd()], &[], access)?[..] {
            [id] => Ok(id),
            _ => Err(Error::Protocol("one descriptor became several buffers")),
        }
    }

    /// Adds the dma-bufs of a native handle; other descriptors in it are skipped. The ids come in
    /// the order of the dma-bufs' first descriptor.
    ///
    /// # Errors
    /// As [`Group::add`], and [`Error::IllegalArgument`] for no descriptors or too many.
    pub fn add_handle(
        &mut self,
        fds: &[BorrowedFd<'_>],
        ints: &[i32],
        access: Access,
    ) -> Result<Vec<BufferId>> {
        let fds = fds.iter().map(|fd| duplicate(*fd)).collect::<Result<Vec<_>>>()?;
        let handle = NativeHandle { fds, ints: ints.to_vec() };
        let ids = self.binder.add(&handle, access.to_aidl())?;
        Ok(ids.into_iter().map(BufferId).collect())
    }

    /// Takes one buffer out.
    ///
    /// # Errors
    /// [`Error::UnknownBuffer`], [`Error::Busy`].
    pub fn remove(&mut self, buffer: BufferId) -> Result<()> {
        Ok(self.binder.remove(buffer.0)?)
    }

    /// Takes all buffers out.
    ///
    /// # Errors
    /// [`Error::Busy`].
    pub fn remove_all(&mut self) -> Result<()> {
        Ok(self.binder.removeAll()?)
    }

    /// Locks every buffer of the group, waiting for other holders up to `timeout` (`None`: as long
    /// as it takes, which other holders' deadlines bound).
    ///
    /// If the grant and the time-out cross, the grant wins: it is returned, a little late, rather
    /// than given back unused.
    ///
    /// # Errors
    /// [`Error::TimedOut`] (the lock was taken back), [`Error::LockFailed`],
    /// [`Error::ServiceDied`], and those of `ISyncGroup.lock`: [`Error::EmptyGroup`],
    /// [`Error::AlreadyLocked`], [`Error::Quota`], [`Error::EventsUnread`].
    pub fn lock(&mut self, timeout: impl Into<Option<Duration>>) -> Result<Grant<'_>> {
        // A time-out beyond the clock's range is none.
        let until = timeout.into().and_then(|timeout| Instant::now().checked_add(timeout));
        if self.request(true)? || self.await_grant(until)? || self.take_back()? {
            self.grant().ok_or(Error::Protocol("the grant is gone"))
        } else {
            Err(Error::TimedOut)
        }
    }

    /// Locks every buffer of the group if nobody else has one or waits for one. May still wait,
    /// for cache maintenance alone.
    ///
    /// # Errors
    /// [`Error::WouldBlock`], and those of [`Group::lock`] but [`Error::TimedOut`].
    pub fn try_lock(&mut self) -> Result<Grant<'_>> {
        if self.request(false)? || self.await_grant(None)? {
            self.grant().ok_or(Error::Protocol("the grant is gone"))
        } else {
            Err(Error::Protocol("an endless wait ended"))
        }
    }

    /// Asks for the lock and returns at once; the lock has its place in the queue from here on.
    /// For a poll loop of one's own:
    ///
    /// ```no_run
    /// # use buffersync_client::{Error, Event, Group, Started};
    /// # fn my_poll(_: std::os::fd::BorrowedFd<'_>) {}
    /// # fn f(group: &mut Group) -> Result<(), Error> {
    /// if let Started::Queued = group.start_lock()? {
    ///     loop {
    ///         my_poll(group.event_fd()); // for POLLIN, beside other descriptors
    ///         match group.read_event()? {
    ///             Some(Event::Granted(_)) => break,
    ///             Some(Event::LockFailed { buffer, errno, .. }) => {
    ///                 return Err(Error::LockFailed { buffer, errno })
    ///             }
    ///             _ => {} // nothing yet, or news of an earlier grant
    ///         }
    ///     }
    /// }
    /// let grant = group.grant().expect("granted at once, or as just read");
    /// grant.unlock()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of `ISyncGroup.lock`, and [`Error::ServiceDied`].
    pub fn start_lock(&mut self) -> Result<Started> {
        Ok(if self.request(true)? { Started::Granted } else { Started::Queued })
    }

    /// Waits for a lock that [`Group::start_lock`] queued, as [`Group::lock`] does.
    ///
    /// # Errors
    /// [`Error::NotQueued`] if no lock is waiting, and those of [`Group::lock`].
    pub fn finish_lock(&mut self, timeout: impl Into<Option<Duration>>) -> Result<Grant<'_>> {
        let until = timeout.into().and_then(|timeout| Instant::now().checked_add(timeout));
        if matches!(self.state, State::Idle) {
            return Err(Error::NotQueued);
        }
        if self.await_grant(until)? || self.take_back()? {
            self.grant().ok_or(Error::Protocol("the grant is gone"))
        } else {
            Err(Error::TimedOut)
        }
    }

    /// Takes a waiting lock back.
    ///
    /// # Errors
    /// [`Error::NotQueued`] if none is waiting. It may have been granted meanwhile: then
    /// [`Group::read_event`] says so.
    pub fn cancel(&mut self) -> Result<()> {
        self.binder.cancel()?;
        self.state = State::Idle;
        Ok(())
    }

    /// The event pipe, to poll for POLLIN. POLLHUP: the service is gone.
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// The next event, `None` if there is none now. Never blocks.
    ///
    /// # Errors
    /// [`Error::ServiceDied`].
    pub fn read_event(&mut self) -> Result<Option<Event>> {
        let event = self.events.next()?;
        if let Some(event) = &event {
            self.note(event);
        }
        Ok(event)
    }

    /// The guard of a grant that [`Group::read_event`] reported, or whose guard was forgotten.
    pub fn grant(&mut self) -> Option<Grant<'_>> {
        match self.state {
            State::Holding { .. } => Some(Grant { group: self, ended: false }),
            _ => None,
        }
    }

    /// Sends the request. True: granted at once.
    fn request(&mut self, wait: bool) -> Result<bool> {
        if matches!(self.state, State::Idle) {
            // What earlier locks left must not fill the pipe (ERROR_EVENTS_UNREAD).
            while self.read_event()?.is_some() {}
        }
        let reply = if wait { self.binder.lock()? } else { self.binder.tryLock()? };
        match reply.status {
            LockStatus::GRANTED => {
                self.state = State::Holding { grant: grant_of(reply), evicted: false };
                Ok(true)
            }
            LockStatus::QUEUED => {
                self.state = State::Waiting(Token(reply.token));
                Ok(false)
            }
            _ => Err(Error::Protocol("unknown lock status")),
        }
    }

    /// Waits until the waiting lock is granted. False: `until` passed.
    fn await_grant(&mut self, until: Option<Instant>) -> Result<bool> {
        loop {
            while let Some(event) = self.read_event()? {
                if let Event::LockFailed { buffer, errno, .. } = event {
                    // The last lock is over, and no younger one can be: this was about it.
                    if matches!(self.state, State::Idle) {
                        return Err(Error::LockFailed { buffer, errno });
                    }
                }
            }
            if matches!(self.state, State::Holding { .. }) {
                return Ok(true);
            }
            if !self.events.wait(until)? {
                return Ok(false);
            }
        }
    }

    /// After a time-out: cancels. True: it was granted before it could be.
    fn take_back(&mut self) -> Result<bool> {
        match self.cancel() {
            Ok(()) => Ok(false),
            Err(Error::NotQueued) if self.await_grant(Some(Instant::now() + RECORD_GRACE))? => {
                Ok(true)
            }
            Err(Error::NotQueued) => {
                Err(Error::Protocol("a lock ended and the event pipe does not say how"))
            }
            Err(error) => Err(error),
        }
    }

    /// Follows the state. Records of earlier locks leave it alone.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Granted(grant) => match self.state {
                State::Waiting(token) if token == grant.token => {
                    self.state = State::Holding { grant: grant.clone(), evicted: false };
                }
                _ => {}
            },
            Event::LockFailed { token, .. } => match self.state {
                State::Waiting(waiting) if waiting == *token => self.state = State::Idle,
                _ => {}
            },
            Event::Evicted { token, .. } => {
                self.evictions += 1;
                match &mut self.state {
                    State::Holding { grant, evicted } if grant.token == *token => *evicted = true,
                    _ => {}
                }
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !matches!(self.state, State::Holding { .. }) {
            // Nothing can be done about a failure: either way the reference goes now.
            let _ = self.binder.close();
        }
    }
}

/// All buffers of a group are held and coherent. Unlocks when dropped.
///
/// The guard ends at its deadline whatever its owner does: long work looks at
/// [`Grant::time_left`], or polls [`Grant::event_fd`] and asks [`Grant::is_evicted`].
/// `std::mem::forget` keeps the lock until the deadline; [`Group::grant`] gives the guard back.
pub struct Grant<'a> {
    group: &'a mut Group,
    ended: bool,
}

impl Grant<'_> {
    /// When the grant is taken away: a reading of `CLOCK_MONOTONIC`.
    pub fn deadline(&self) -> Duration {
        self.info().map_or(Duration::ZERO, |grant| grant.deadline)
    }

    /// How long is left until the deadline; zero when it has passed.
    pub fn time_left(&self) -> Duration {
        // CLOCK_MONOTONIC with a valid pointer can't fail (clock_gettime(2)).
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::MAX, Duration::from);
        self.deadline().saturating_sub(now)
    }

    /// The grant's name.
    pub fn token(&self) -> Token {
        self.info().map_or(Token(0), |grant| grant.token)
    }

    /// The buffers, in the order of their addition, with generation and whether the previous
    /// holder was evicted.
    pub fn buffers(&self) -> &[GrantedBuffer] {
        self.info().map_or(&[], |grant| &grant.buffers)
    }

    /// One buffer of the grant.
    pub fn buffer(&self, id: BufferId) -> Option<&GrantedBuffer> {
        self.buffers().iter().find(|buffer| buffer.id == id)
    }

    /// The group's event pipe: readable when the grant is taken away.
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.group.event_fd()
    }

    /// Whether the grant was taken away. Looks into the event pipe without blocking.
    ///
    /// # Errors
    /// [`Error::ServiceDied`].
    pub fn is_evicted(&mut self) -> Result<bool> {
        while !self.known_evicted() && self.group.read_event()?.is_some() {}
        Ok(self.known_evicted())
    }

    /// Ends the grant; the work on the buffers is finished.
    ///
    /// # Errors
    /// [`Error::Evicted`] if it was taken away before: what was read may be torn, and what was
    /// written may be lost. [`Error::ServiceDied`].
    pub fn unlock(mut self) -> Result<()> {
        self.end(None)
    }

    /// Ends the grant; the buffers pass on when `fence`, a sync_file, has signalled. If that does
    /// not happen by the deadline, or the fence fails, it is an eviction ([`Event::Evicted`]).
    ///
    /// # Errors
    /// [`Error::BadFence`] if it is no sync_file: then the grant has ended without it, as if
    /// dropped. [`Error::Evicted`], [`Error::ServiceDied`].
    pub fn unlock_with_fence(mut self, fence: OwnedFd) -> Result<()> {
        let result = self.end(Some(ParcelFileDescriptor::new(fence)));
        if result == Err(Error::BadFence) {
            // The service keeps the grant; the guard is going, so the grant must.
            self.ended = false;
        }
        result
    }

    fn end(&mut self, fence: Option<ParcelFileDescriptor>) -> Result<()> {
        self.ended = true;
        Ok(self.group.binder.unlock(self.token().0, fence.as_ref())?)
    }

    fn info(&self) -> Option<&GrantInfo> {
        match &self.group.state {
            State::Holding { grant, .. } => Some(grant),
            // The guard borrows the group for as long as it holds.
            _ => None,
        }
    }

    fn known_evicted(&self) -> bool {
        matches!(self.group.state, State::Holding { evicted: true, .. })
    }
}

impl Drop for Grant<'_> {
    fn drop(&mut self) {
        if !self.ended {
            // Evicted or dead: the grant is gone all the same.
            let _ = self.end(None);
        }
        self.group.state = State::Idle;
    }
}

fn duplicate(fd: BorrowedFd<'_>) -> Result<ParcelFileDescriptor> {
    fd.try_clone_to_owned().map(ParcelFileDescriptor::new).map_err(|error| {
        match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
            Errno::EBADF => Error::BadFd,
            errno => Error::System("dup of a descriptor", errno),
        }
    })
}

fn grant_of(reply: LockReply) -> GrantInfo {
    GrantInfo {
        token: Token(reply.token),
        deadline: monotonic(reply.deadlineNs),
        buffers: reply
            .buffers
            .into_iter()
            .map(|buffer| GrantedBuffer {
                id: BufferId(buffer.bufferId),
                generation: buffer.generation,
                evicted: buffer.evicted,
            })
            .collect(),
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A group and its grants.
//!
//! A group is idle, waiting, holding or growing, as in `ISyncGroup.aidl`; [`State`] is the client's view of
//! that, and is what tells a record of the current lock from one of a lock long gone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use binder::{NativeHandle, ParcelFileDescriptor, Strong};
use buffersync_aidl::aidl::vendor::buffersync::ISyncGroup::ISyncGroup;
use buffersync_aidl::aidl::vendor::buffersync::LockReply::LockReply;
use buffersync_aidl::aidl::vendor::buffersync::LockStatus::LockStatus;
use buffersync_aidl::aidl::vendor::buffersync::ReleaseFence::ReleaseFence;
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
    Holding { grant: GrantInfo, evicted: bool, growing: bool, acquire: Acquire },
}

/// What a grant has to wait for.
#[derive(Debug)]
enum Acquire {
    /// As the reply said.
    Known(Option<OwnedFd>),
    /// The grant came by event, which carries no descriptor: the service is to be asked.
    Ask,
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
    /// The service ends the wait, so that a time-out and a grant can't cross. A lock that timed out
    /// leaves its age to the group's next one.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::LockFailed`],
    /// [`Error::ServiceDied`], and those of `ISyncGroup.lock`: [`Error::EmptyGroup`],
    /// [`Error::AlreadyLocked`], [`Error::Quota`], [`Error::EventsUnread`].
    pub fn lock(&mut self, timeout: impl Into<Option<Duration>>) -> Result<Grant<'_>> {
        // A time-out beyond the clock's range is none.
        if !self.request(Some(timeout_ns(timeout.into())))? {
            self.await_grant(None)?;
        }
        self.grant().ok_or(Error::Protocol("the grant is gone"))
    }

    /// Locks every buffer of the group if nobody else has one or waits for one. May still wait,
    /// for cache maintenance alone.
    ///
    /// # Errors
    /// [`Error::WouldBlock`], and those of [`Group::lock`] but [`Error::TimedOut`].
    pub fn try_lock(&mut self) -> Result<Grant<'_>> {
        if !self.request(None)? {
            self.await_grant(None)?;
        }
        self.grant().ok_or(Error::Protocol("the grant is gone"))
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
        Ok(if self.request(Some(0))? { Started::Granted } else { Started::Queued })
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
        match &mut self.state {
            State::Holding { growing, .. } => *growing = false,
            state => *state = State::Idle,
        }
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

    /// Sends the request, with a time-out in the service's terms or (`None`) to wait for nobody.
    /// True: granted at once.
    fn request(&mut self, timeout_ns: Option<i64>) -> Result<bool> {
        if matches!(self.state, State::Idle) {
            // What earlier locks left must not fill the pipe (ERROR_EVENTS_UNREAD).
            while self.read_event()?.is_some() {}
        }
        let reply = match timeout_ns {
            Some(timeout_ns) => self.binder.lock(timeout_ns)?,
            None => self.binder.tryLock()?,
        };
        if matches!(&self.state, State::Holding { grant, .. } if grant.token.0 != reply.token) {
            // The grant that was to grow had been taken away, so this began a lock of its own.
            return self.discard(&reply);
        }
        match reply.status {
            LockStatus::GRANTED => {
                let (grant, fence) = grant_of(reply);
                let acquire = Acquire::Known(fence);
                self.state = State::Holding { grant, evicted: false, growing: false, acquire };
                Ok(true)
            }
            LockStatus::QUEUED => {
                match &mut self.state {
                    State::Holding { growing, .. } => *growing = true,
                    state => *state = State::Waiting(Token(reply.token)),
                }
                Ok(false)
            }
            _ => Err(Error::Protocol("unknown lock status")),
        }
    }

    /// Gives a lock back that was not meant, and reports the eviction that led to it.
    fn discard(&mut self, reply: &LockReply) -> Result<bool> {
        let token = Token(reply.token);
        if let State::Holding { evicted, .. } = &mut self.state {
            *evicted = true;
        }
        let mut granted = reply.status == LockStatus::GRANTED;
        if !granted && self.binder.cancel().is_err() {
            // Granted meanwhile, or ended: its record is there, or comes now.
            while self.events.wait(Some(Instant::now() + RECORD_GRACE))? {
                match self.read_event()? {
                    Some(Event::Granted(grant)) if grant.token == token => granted = true,
                    Some(Event::LockFailed { token: ended, .. }) if ended == token => {}
                    _ => continue,
                }
                break;
            }
        }
        if granted {
            self.binder.unlock(token.0, &[])?;
        }
        Err(Error::Evicted)
    }

    /// Waits until the pending lock is granted, or says how it ended. False: `until` passed.
    fn await_grant(&mut self, until: Option<Instant>) -> Result<bool> {
        loop {
            while self.is_pending() {
                let Some(event) = self.read_event()? else { break };
                // An event after which nothing is pending was about this lock.
                match event {
                    _ if self.is_pending() => {}
                    Event::LockFailed { buffer, errno, .. } => {
                        return Err(Error::LockFailed { buffer, errno })
                    }
                    Event::TimedOut { .. } => return Err(Error::TimedOut),
                    Event::Wounded { .. } => return Err(Error::Deadlock),
                    Event::Evicted { .. } => return Err(Error::Evicted),
                    Event::Granted(_) => {}
                }
            }
            if !self.is_pending() {
                return Ok(true);
            }
            if !self.events.wait(until)? {
                return Ok(false);
            }
        }
    }

    fn is_pending(&self) -> bool {
        matches!(self.state, State::Waiting(_) | State::Holding { growing: true, .. })
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
            Event::Granted(granted) => match &mut self.state {
                State::Waiting(token) if *token == granted.token => {
                    let (grant, acquire) = (granted.clone(), Acquire::Ask);
                    self.state = State::Holding { grant, evicted: false, growing: false, acquire };
                }
                State::Holding { grant, growing, acquire, .. } if grant.token == granted.token => {
                    grant.clone_from(granted);
                    *growing = false;
                    *acquire = Acquire::Ask;
                }
                _ => {}
            },
            Event::LockFailed { token, .. }
            | Event::TimedOut { token }
            | Event::Wounded { token } => match &mut self.state {
                State::Waiting(waiting) if waiting == token => self.state = State::Idle,
                State::Holding { grant, growing, .. } if grant.token == *token => *growing = false,
                _ => {}
            },
            Event::Evicted { token, .. } => {
                self.evictions += 1;
                match &mut self.state {
                    State::Holding { grant, evicted, growing, .. } if grant.token == *token => {
                        *evicted = true;
                        *growing = false;
                    }
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

    /// What devices have to wait for before they begin: the release fences of earlier holders, as
    /// one sync_file, to be handed to the driver (or to [`crate::fence::wait`]). `None` if nothing
    /// is pending. If it signals an error, what is in the buffers is not what it should be.
    ///
    /// # Errors
    /// [`Error::Evicted`], [`Error::NoResources`], [`Error::ServiceDied`].
    pub fn acquire_fence(&self) -> Result<Option<OwnedFd>> {
        match &self.group.state {
            State::Holding { acquire: Acquire::Known(None), .. } => Ok(None),
            State::Holding { acquire: Acquire::Known(Some(fence)), .. } => {
                Ok(Some(duplicate(fence.as_fd())?.into()))
            }
            // Nothing is pending if no buffer says so.
            State::Holding { grant, .. } if grant.buffers.iter().all(|b| !b.fenced) => Ok(None),
            _ => self.ask_for_fence(BufferId(0)),
        }
    }

    /// As [`Grant::acquire_fence`], for one buffer.
    ///
    /// # Errors
    /// [`Error::UnknownBuffer`], and those of [`Grant::acquire_fence`].
    pub fn acquire_fence_of(&self, buffer: BufferId) -> Result<Option<OwnedFd>> {
        match self.buffer(buffer) {
            None => Err(Error::UnknownBuffer),
            Some(granted) if !granted.fenced => Ok(None),
            Some(_) => self.ask_for_fence(buffer),
        }
    }

    fn ask_for_fence(&self, buffer: BufferId) -> Result<Option<OwnedFd>> {
        let fence = self.group.binder.getAcquireFence(self.token().0, buffer.0)?;
        Ok(fence.map(Into::into))
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

    /// Adds a dma-buf, or a stronger access to one that is held; [`Grant::grow`] gets it.
    ///
    /// # Errors
    /// Those of [`Group::add`].
    pub fn add(&mut self, fd: impl AsFd, access: Access) -> Result<BufferId> {
        self.group.add(fd, access)
    }

    /// Takes one buffer out that was added and is not held.
    ///
    /// # Errors
    /// [`Error::UnknownBuffer`]; [`Error::Busy`] if it is held.
    pub fn remove(&mut self, buffer: BufferId) -> Result<()> {
        self.group.remove(buffer)
    }

    /// Gets what was added since the grant, waiting up to `timeout` (`None`: as long as it takes).
    /// The deadline stays what it is; what is held stays held, however this ends.
    ///
    /// # Errors
    /// [`Error::Deadlock`]: unlock, and lock the group again, which includes what was added and has
    /// the old ticket. [`Error::Evicted`]: the deadline came first. [`Error::AlreadyLocked`] if
    /// nothing was added. [`Error::TimedOut`], [`Error::LockFailed`], [`Error::Quota`],
    /// [`Error::EventsUnread`], [`Error::ServiceDied`].
    pub fn grow(&mut self, timeout: impl Into<Option<Duration>>) -> Result<()> {
        if !self.group.request(Some(timeout_ns(timeout.into())))? {
            self.group.await_grant(None)?;
        }
        Ok(())
    }

    /// As [`Grant::grow`], if nobody else has or waits for one of the buffers.
    ///
    /// # Errors
    /// [`Error::WouldBlock`], and those of [`Grant::grow`] but [`Error::TimedOut`].
    pub fn try_grow(&mut self) -> Result<()> {
        if !self.group.request(None)? {
            self.group.await_grant(None)?;
        }
        Ok(())
    }

    /// Ends the grant; the work on the buffers is finished.
    ///
    /// # Errors
    /// [`Error::Evicted`] if it was taken away before: what was read may be torn, and what was
    /// written may be lost. [`Error::ServiceDied`].
    pub fn unlock(mut self) -> Result<()> {
        self.end(&[])
    }

    /// Ends the grant; the work on the buffers is finished when `fence`, a sync_file, has signalled.
    /// Devices that are next are granted the buffers at once, with the fence; the CPU when it has
    /// signalled. If it fails, or has not signalled when the group's hold limit has passed from
    /// now, it is an eviction ([`Event::Evicted`]).
    ///
    /// If the service can't take the fence (a quota, descriptors), this waits for it here, until the
    /// deadline, and unlocks then.
    ///
    /// # Errors
    /// [`Error::BadFence`] if it is no sync_file: then the grant has ended without it, as if
    /// dropped. [`Error::Evicted`], [`Error::ServiceDied`].
    pub fn unlock_with_fence(self, fence: OwnedFd) -> Result<()> {
        self.unlock_with_fences(Vec::new(), Some(fence))
    }

    /// As [`Grant::unlock_with_fence`], with fences of single buffers and one for the rest. Buffers
    /// without either are finished.
    ///
    /// # Errors
    /// [`Error::UnknownBuffer`] for a buffer that the grant does not have: then the grant has ended
    /// without fences, as if dropped. Those of [`Grant::unlock_with_fence`].
    pub fn unlock_with_fences(
        mut self,
        each: Vec<(BufferId, OwnedFd)>,
        rest: Option<OwnedFd>,
    ) -> Result<()> {
        let fences: Vec<ReleaseFence> = each
            .into_iter()
            .chain(rest.map(|fence| (BufferId(0), fence)))
            .map(|(buffer, fence)| ReleaseFence {
                bufferId: buffer.0,
                fence: Some(ParcelFileDescriptor::new(fence)),
            })
            .collect();
        match self.end(&fences) {
            Err(Error::Quota | Error::NoResources) => {
                for fence in fences.iter().filter_map(|given| given.fence.as_ref()) {
                    // At the deadline the grant is over anyway.
                    let _ = crate::fence::wait(fence, self.time_left());
                }
                self.end(&[])
            }
            Err(refused @ (Error::BadFence | Error::UnknownBuffer)) => {
                // The service keeps the grant; the guard is going, so the grant must.
                self.ended = false;
                Err(refused)
            }
            result => result,
        }
    }

    fn end(&mut self, fences: &[ReleaseFence]) -> Result<()> {
        self.ended = true;
        Ok(self.group.binder.unlock(self.token().0, fences)?)
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
            let _ = self.end(&[]);
        }
        self.group.state = State::Idle;
    }
}

/// A time-out as the service wants it: in nanoseconds, 0 for none.
fn timeout_ns(timeout: Option<Duration>) -> i64 {
    timeout.map_or(0, |timeout| i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX).max(1))
}

fn duplicate(fd: BorrowedFd<'_>) -> Result<ParcelFileDescriptor> {
    fd.try_clone_to_owned().map(ParcelFileDescriptor::new).map_err(|error| {
        match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
            Errno::EBADF => Error::BadFd,
            errno => Error::System("dup of a descriptor", errno),
        }
    })
}

fn grant_of(reply: LockReply) -> (GrantInfo, Option<OwnedFd>) {
    let grant = GrantInfo {
        token: Token(reply.token),
        deadline: monotonic(reply.deadlineNs),
        buffers: reply
            .buffers
            .into_iter()
            .map(|buffer| GrantedBuffer {
                id: BufferId(buffer.bufferId),
                generation: buffer.generation,
                evicted: buffer.evicted,
                fenced: buffer.fenced,
            })
            .collect(),
    };
    (grant, reply.acquireFence.map(Into::into))
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A group, and how threads wait for its locks.
//!
//! Any thread may call at any time. Calls take turns by a mutex, over the [`Session`]. A call that waits for a grant
//! releases the mutex while it waits, so another thread can cancel it, close the group, or lock other buffers.
//!
//! Several threads can wait for a lock each. One of them polls the event channel; the others wait for
//! their turn at a condition variable. The thread that polls lets all look at their locks after each
//! message. A call of another thread may read the channel too, so it wakes the thread that polls.
//!
//! The threads that wait read the group's events until their locks end, and keep those of other locks. Meanwhile
//! [`Group::read_event`] of another thread returns none.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use binder::Strong;
use buffersync_aidl::aidl::vendor::buffersync::ISyncGroup::ISyncGroup;
use nix::errno::Errno;
use nix::poll::{ppoll, PollFd, PollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use once_cell::sync::OnceCell;

use crate::error::{Error, Result};
use crate::events::{Event, EventChannel};
use crate::fences::Fences;
use crate::fork;
use crate::session::{waits, Session};
use crate::types::{Access, BufferId, GrantInfo, InTheWay, LockId, LockStatus, Timeout};
use crate::unlock::{await_fences, Release};

/// A client's buffers and locks. `Send` and `Sync`: any thread may call.
///
/// A lock is named by its number. It takes some buffers of the group, or all, and lasts until it is unlocked by its
/// number, or until its deadline. A group can have many locks at once.
pub struct Group {
    state: Mutex<State>,
    events: Arc<OwnedFd>,
    hold_limit: Duration,
    /// Wakes the thread that polls. The first wait makes it.
    wake: OnceCell<EventFd>,
    /// The thread that polled has looked at the channel: the others can go on.
    turn: Condvar,
}

struct State {
    /// `None` when closed.
    session: Option<Session>,
    /// The locks for which threads wait, one each.
    waited: Vec<LockId>,
    /// Those of them that another thread has cancelled.
    cancelled: Vec<LockId>,
    /// Locks whose fences a thread waits for, before it ends them.
    ending: Vec<LockId>,
    /// One of the threads in `waited` polls the event channel.
    polling: bool,
}

impl Group {
    pub(crate) fn new(
        binder: Strong<dyn ISyncGroup>,
        events: EventChannel,
        hold_limit: Duration,
    ) -> Self {
        let session = Session::new(binder, events, hold_limit);
        let events = Arc::clone(session.event_fd());
        let state = State {
            session: Some(session),
            waited: Vec::new(),
            cancelled: Vec::new(),
            ending: Vec::new(),
            polling: false,
        };
        let (state, wake) = (Mutex::new(state), OnceCell::new());
        Self { state, events, hold_limit, wake, turn: Condvar::new() }
    }

    /// The hold limit of the group: its grants are taken away after this time.
    pub fn hold_limit(&self) -> Duration {
        self.hold_limit
    }

    /// The number of evictions of this group's grants that were reported so far.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Forked`].
    pub fn evictions(&self) -> Result<u64> {
        Ok(self.state()?.session()?.evictions())
    }

    /// Adds one dma-buf, or a memfd (see [`Group::add_handle`]). You may close the descriptor afterwards: the service
    /// has one of its own, so the memory stays until the buffer is removed or the group ends. The locks that the group
    /// has stay as they are; the next ones can have the buffer.
    ///
    /// # Errors
    /// [`Error::BadFd`] for a descriptor that is not open, and those of `ISyncGroup.add`:
    /// [`Error::NotDmaBuf`], [`Error::Quota`], [`Error::AccessConflict`], [`Error::NoResources`]. After
    /// [`Error::ReplyLost`] the group may have the buffer: add it again to learn its id.
    pub fn add(&self, fd: impl AsFd, access: Access) -> Result<BufferId> {
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
        &self,
        fds: &[BorrowedFd<'_>],
        ints: &[i32],
        access: Access,
    ) -> Result<Vec<BufferId>> {
        self.call(|session| session.add_handle(fds, ints, access))
    }

    /// Removes one buffer. No lock of the group may have it or wait for it.
    ///
    /// # Errors
    /// [`Error::UnknownBuffer`], [`Error::Busy`]. After [`Error::ReplyLost`] the buffer may be gone:
    /// remove it again.
    pub fn remove(&self, buffer: BufferId) -> Result<()> {
        self.call(|session| session.remove(buffer))
    }

    /// Removes all buffers.
    ///
    /// # Errors
    /// [`Error::Busy`]. After [`Error::ReplyLost`] they may be gone.
    pub fn remove_all(&self) -> Result<()> {
        self.call(Session::remove_all)
    }

    /// Returns the next event; `None` if there is none now, or if a thread waits for a lock. Never blocks.
    ///
    /// Other calls may read events too, even if they do not wait: those that lock, unlock or cancel, and those that
    /// ask for a lock's state. They keep the events of other locks for this call: call it until it returns `None`,
    /// before you poll.
    ///
    /// # Errors
    /// [`Error::ServiceDied`], [`Error::Closed`].
    pub fn read_event(&self) -> Result<Option<Event>> {
        let mut state = self.state()?;
        if !state.waited.is_empty() {
            return Ok(None);
        }
        state.session()?.read_event()
    }

    /// Locks some buffers of the group, each with an access, all or nothing; none named: all buffers with the access of
    /// [`Group::add`]. Waits for other holders up to `timeout` (`None`: no time-out; the deadlines of other holders
    /// bound the wait). Blocks this thread only.
    ///
    /// # Errors
    /// [`Error::AlreadyLocked`] if another lock of this group has one of the buffers with a conflicting
    /// access, or waits for it. [`Error::Cancelled`] after [`Group::cancel`] and [`Error::Closed`] after
    /// [`Group::close`] by another thread. [`Error::UnknownBuffer`], [`Error::AccessConflict`], [`Error::TimedOut`],
    /// [`Error::LockFailed`], [`Error::EmptyGroup`], [`Error::Quota`], [`Error::EventsUnread`],
    /// [`Error::ServiceDied`]. After [`Error::ReplyLost`] nothing is locked.
    pub fn lock(
        &self,
        wants: &[(BufferId, Access)],
        timeout: impl Into<Option<Duration>>,
    ) -> Result<LockId> {
        let timeout = Timeout::of(timeout.into());
        self.request(true, |state| state.session()?.lock(wants, timeout))
    }

    /// Like [`Group::lock`], but does not wait for other clients. May still wait for cache maintenance.
    ///
    /// # Errors
    /// [`Error::WouldBlock`], and those of [`Group::lock`] except [`Error::TimedOut`]. [`Error::LockFailed`] also if an
    /// implicit fence is pending: this call does not wait for it.
    pub fn try_lock(&self, wants: &[(BufferId, Access)]) -> Result<LockId> {
        self.request(true, |state| state.session()?.lock(wants, Timeout::Try))
    }

    /// Asks for a lock and returns at once, with its number, and true if it is granted. Otherwise
    /// [`Group::read_event`] reports how it ends, or [`Group::wait`] waits for that.
    ///
    /// # Errors
    /// Those of [`Group::lock`].
    pub fn start_lock(
        &self,
        wants: &[(BufferId, Access)],
        timeout: impl Into<Option<Duration>>,
    ) -> Result<(LockId, bool)> {
        let timeout = Timeout::of(timeout.into());
        self.call(|session| session.lock(wants, timeout))
    }

    /// Waits for a lock that [`Group::start_lock`] or [`Group::start_grow`] has queued. Returns at once if it is
    /// granted.
    ///
    /// # Errors
    /// Those of [`Group::lock`], also if its event was read before. [`Error::Ended`] for one that was unlocked or cancelled,
    /// or ended before the last 32 that did. [`Error::Busy`] if another
    /// thread waits for it.
    pub fn wait(&self, lock: LockId) -> Result<()> {
        self.request(false, |state| {
            state.refuse_waited(lock)?;
            let granted = state.session()?.look(lock);
            if granted != Ok(false) {
                state.cancelled.retain(|cancelled| *cancelled != lock);
            }
            Ok((lock, granted?))
        })
        .map(drop)
    }

    /// Ends the wait of another thread, or its next wait if that is about to begin: it gets [`Error::Cancelled`]. The
    /// lock still waits, and that thread then ends it ([`Group::abandon`], [`Group::drop_lock`]). This is no call of
    /// the service, so a thread that is interrupted does not block the one that interrupts it.
    pub fn interrupt(&self, lock: LockId) {
        let _ = self.with(|state| {
            let found = state.session()?.locks.find(lock);
            if found.is_some_and(|lock| lock.waiting) && !state.cancelled.contains(&lock) {
                state.cancelled.push(lock);
            }
            Ok(())
        });
    }

    /// Reads the pending events. Returns true if a lock is granted, false if it waits.
    ///
    /// # Errors
    /// Those of [`Group::wait`].
    pub fn is_granted(&self, lock: LockId) -> Result<bool> {
        let result = self.call(|session| {
            let granted = session.look(lock)?;
            let until = session.locks.find(lock).and_then(|lock| lock.until);
            if !granted && until.is_some_and(|until| until <= Instant::now()) {
                session.give_up_silent(lock);
                return Err(Error::TimedOut { by: None, silent: true });
            }
            Ok(granted)
        });
        result.map_err(|error| self.explained(error))
    }

    /// Gives up what waits and what nobody wants any more: a lock ends, also if it was granted meanwhile; a growth
    /// ends, and its grant goes on.
    pub fn abandon(&self, lock: LockId) {
        let _ = self.with(|state| {
            state.cancelled.retain(|cancelled| *cancelled != lock);
            state.session()?.abandon(lock);
            Ok(())
        });
    }

    /// Adds buffers, or stronger accesses, to a grant; none named: what the group has and the grant lacks. Its
    /// deadline stays the same, and it keeps what it has even if this call fails. Blocks this thread only.
    ///
    /// # Errors
    /// [`Error::Deadlock`]: unlock the lock, and lock everything; the new lock has the old ticket while
    /// that lives. [`Error::AlreadyLocked`] if the lock has all of this, or as in
    /// [`Group::lock`]. [`Error::Busy`] if it waits. [`Error::Evicted`], [`Error::Ended`], and
    /// the other errors of [`Group::lock`]. After [`Error::ReplyLost`] the grant has what
    /// [`Group::granted`] says.
    pub fn grow(
        &self,
        lock: LockId,
        wants: &[(BufferId, Access)],
        timeout: impl Into<Option<Duration>>,
    ) -> Result<()> {
        self.grow_until(lock, wants, Timeout::of(timeout.into()))
    }

    /// Like [`Group::grow`], but does not wait for other clients.
    ///
    /// # Errors
    /// [`Error::WouldBlock`], and those of [`Group::grow`] except [`Error::TimedOut`].
    pub fn try_grow(&self, lock: LockId, wants: &[(BufferId, Access)]) -> Result<()> {
        self.grow_until(lock, wants, Timeout::Try)
    }

    fn grow_until(
        &self,
        lock: LockId,
        wants: &[(BufferId, Access)],
        timeout: Timeout,
    ) -> Result<()> {
        let request = |state: &mut State| {
            state.refuse_waited(lock)?;
            Ok((lock, state.session()?.grow(lock, wants, timeout)?))
        };
        self.request(false, request).map(drop)
    }

    /// Like [`Group::grow`], but returns at once: true if it is granted, false if it waits.
    ///
    /// # Errors
    /// Those of [`Group::grow`].
    pub fn start_grow(
        &self,
        lock: LockId,
        wants: &[(BufferId, Access)],
        timeout: impl Into<Option<Duration>>,
    ) -> Result<bool> {
        let timeout = Timeout::of(timeout.into());
        self.with(|state| {
            state.refuse_waited(lock)?;
            state.session()?.grow(lock, wants, timeout)
        })
    }

    /// Takes back what waits, also if another thread waits for it: a lock ends, or a growth ends and its grant goes on
    /// as it was. No event follows.
    ///
    /// # Errors
    /// [`Error::NotQueued`] if the lock does not wait. If it was granted or has ended meanwhile,
    /// [`Group::read_event`] reports it.
    pub fn cancel(&self, lock: LockId) -> Result<()> {
        self.with(|state| {
            state.session()?.cancel(lock)?;
            if state.waited.contains(&lock) {
                state.cancelled.push(lock);
            }
            Ok(())
        })
    }

    /// Returns the grant of a lock. Reads the pending events first, so it knows of an eviction at once.
    ///
    /// # Errors
    /// [`Error::Busy`] if the lock waits for its grant. [`Error::Evicted`]: unlock the lock to acknowledge that.
    /// [`Error::Ended`].
    pub fn granted(&self, lock: LockId) -> Result<GrantInfo> {
        let granted = self.call(|session| {
            session.absorb_all()?;
            session.granted(lock).cloned()
        });
        granted.map_err(|error| self.explained(error))
    }

    /// The grant as it was when it was granted, less what was let go since; also if it was taken away.
    ///
    /// # Errors
    /// [`Error::Ended`].
    pub fn known_grant(&self, lock: LockId) -> Result<GrantInfo> {
        let mut state = self.state()?;
        let lock = state.session()?.locks.find(lock).ok_or(Error::Ended)?;
        lock.grant.clone().ok_or_else(|| waits(lock.id))
    }

    /// When a grant ends, as far as events were read. `None` while it has no deadline.
    pub fn deadline(&self, lock: LockId) -> Option<Duration> {
        let mut state = self.state().ok()?;
        state.session().ok()?.locks.find(lock)?.grant.as_ref()?.deadline
    }

    /// Succeeds if the grant has the buffer with at least this access and its deadline has not passed.
    ///
    /// # Errors
    /// [`Error::UnknownBuffer`] if it has not; [`Error::Evicted`], [`Error::Ended`].
    pub fn check_held(&self, lock: LockId, buffer: BufferId, access: Access) -> Result<()> {
        let mut state = self.state()?;
        let session = state.session()?;
        session.granted(lock)?;
        if !session.holds(lock, buffer, access) {
            let why = format!("lock {lock} does not have buffer {buffer} for {access:?}");
            return Err(Error::UnknownBuffer(why));
        }
        match session.time_left(lock) {
            Some(left) if left.is_zero() => Err(Error::Evicted { by: None }),
            _ => Ok(()),
        }
    }

    /// The time that is left until the deadline of a grant; zero when it has passed, or without a grant. `None` while
    /// the grant has no deadline ([`crate::HoldFrom::Conflict`]).
    pub fn time_left(&self, lock: LockId) -> Option<Duration> {
        match self.state().as_mut().map(|state| state.session().map(|s| s.time_left(lock))) {
            Ok(Ok(left)) => left,
            _ => Some(Duration::ZERO),
        }
    }

    /// Returns the release fences of earlier holders, as one sync_file; of one buffer, or of all. Devices must wait for
    /// it before they begin: give it to the driver, or to [`crate::fence::wait`]. `None` if no fence is pending. If it
    /// signals an error, the content of the buffers is wrong.
    ///
    /// # Errors
    /// [`Error::Busy`] if the lock has no grant yet. [`Error::UnknownBuffer`], [`Error::Evicted`], [`Error::Ended`],
    /// [`Error::NoResources`], [`Error::ServiceDied`].
    pub fn acquire_fence(&self, lock: LockId, buffer: Option<BufferId>) -> Result<Option<OwnedFd>> {
        self.call(|session| session.acquire_fence(lock, buffer))
    }

    /// Ends a lock, whatever it is: a grant, a growth with its grant, or a lock that waits. The work on the buffers is
    /// finished, or ends when their fences have signalled.
    ///
    /// If the service can't take the fences (a quota, descriptors), or if it is not clear that it has, this call
    /// waits for them, until the deadline, and then unlocks.
    ///
    /// # Errors
    /// [`Error::Evicted`] if the grant was taken away before: data that was read may be torn, and data that was written
    /// may be lost. The lock has ended now. [`Error::Ended`], [`Error::ServiceDied`]. [`Error::BadFence`],
    /// [`Error::UnknownBuffer`], [`Error::Busy`] if another thread waits for the lock: it goes on as it was. After
    /// [`Error::ReplyLost`] it is over for this group, and the next request ends it if the service still has it.
    pub fn unlock(&self, lock: LockId, fences: impl Into<Fences>) -> Result<()> {
        let fences = fences.into().into_aidl();
        let ended = self.with(|state| {
            state.refuse_waited(lock)?;
            let session = state.session()?;
            session.locks.find(lock).ok_or(Error::Ended)?;
            Ok(match session.try_release(lock, &fences) {
                Release::Done(result) => Ok(result),
                Release::After { unclear } => {
                    // Others may not end the lock meanwhile.
                    state.ending.push(lock);
                    Err((unclear, state.session()?.patience(lock)))
                }
            })
        });
        let ended = ended.and_then(|ended| match ended {
            Ok(result) => result,
            Err((unclear, patience)) => {
                await_fences(&fences, patience);
                self.with(|state| {
                    state.ending.retain(|ending| *ending != lock);
                    state.session()?.end_waited(lock, unclear)
                })
            }
        });
        ended.map_err(|error| self.explained(error))
    }

    /// [`Group::unlock`] for a guard that is dropped: nothing can refuse it. A lock that waits ends too.
    pub fn drop_lock(&self, lock: LockId) {
        let _ = self.with(|state| {
            state.cancelled.retain(|cancelled| *cancelled != lock);
            let session = state.session()?;
            if session.locks.find(lock).is_some() {
                // An error is ignored: after an eviction or a death the grant is gone in any case.
                let _ = session.release(lock, &[]);
                session.give_up(lock);
            }
            Ok(())
        });
    }

    /// Ends a part of a grant. The work on these buffers is finished, or ends when their fences have signalled. The
    /// grant goes on for the rest, with the same deadline; without a rest it has ended. May wait for fences like
    /// [`Group::unlock`].
    ///
    /// # Errors
    /// Those of [`Group::unlock`]. After [`Error::BadFence`], [`Error::UnknownBuffer`] and [`Error::Busy`] the lock goes on
    /// as it was; after [`Error::Evicted`] unlock it, to acknowledge that. After [`Error::ReplyLost`] it is
    /// not clear if the buffers were let go: call again, and [`Error::UnknownBuffer`] means that they were.
    /// [`Error::IllegalArgument`] if no buffer is named.
    pub fn unlock_buffers(
        &self,
        lock: LockId,
        buffers: &[BufferId],
        fences: impl Into<Fences>,
    ) -> Result<()> {
        if buffers.is_empty() {
            let why = "unlock_buffers names no buffer: unlock ends the whole lock";
            return Err(Error::IllegalArgument(why.to_string()));
        }
        let fences = fences.into().into_aidl();
        self.with(|state| {
            state.refuse_waited(lock)?;
            state.session()?.release_part(lock, buffers, &fences)
        })
        .map_err(|error| self.explained(error))
    }

    /// Makes exclusive accesses of a grant shared, when the writes are finished; none named: all of them.
    /// Readers that wait are then granted. [`Group::grow`] can make an access exclusive again.
    ///
    /// # Errors
    /// [`Error::Evicted`], [`Error::Ended`], [`Error::UnknownBuffer`]; [`Error::Busy`] if the lock waits.
    /// After [`Error::ReplyLost`] call again.
    pub fn downgrade(&self, lock: LockId, buffers: &[BufferId]) -> Result<()> {
        self.with(|state| {
            state.refuse_waited(lock)?;
            state.session()?.share(lock, buffers)
        })
        .map_err(|error| self.explained(error))
    }

    /// Ends a grant, with fences like [`Group::unlock`], and locks buffers like [`Group::lock`], in one call of the
    /// service. Both happen, or neither. Others that wait for the buffers come first. This call does not wait for
    /// fences that the service can't take.
    ///
    /// # Errors
    /// Those of both calls. [`Error::Evicted`]: the old grant had been taken away, and nothing is locked.
    /// [`Error::TimedOut`], [`Error::LockFailed`], [`Error::Cancelled`]: the old grant has ended. After
    /// [`Error::ReplyLost`] both have ended. After any other error the old grant goes on.
    pub fn unlock_and_lock(
        &self,
        done: LockId,
        fences: impl Into<Fences>,
        wants: &[(BufferId, Access)],
        timeout: impl Into<Option<Duration>>,
    ) -> Result<LockId> {
        let (fences, timeout) = (fences.into().into_aidl(), Timeout::of(timeout.into()));
        self.request(true, |state| {
            state.refuse_waited(done)?;
            state.session()?.exchange(done, &fences, wants, timeout)
        })
    }

    /// [`Group::unlock_and_lock`] for a guard, which has ended in any case: if the service refuses the call, the grant
    /// ends with its fences as by [`Group::unlock`].
    ///
    /// # Errors
    /// Those of [`Group::unlock_and_lock`].
    pub fn unlock_and_lock_guarded(
        &self,
        done: LockId,
        fences: impl Into<Fences>,
        wants: &[(BufferId, Access)],
        timeout: impl Into<Option<Duration>>,
    ) -> Result<LockId> {
        let (fences, timeout) = (fences.into().into_aidl(), Timeout::of(timeout.into()));
        self.request(true, |state| {
            state.refuse_waited(done)?;
            let session = state.session()?;
            let asked = session.exchange(done, &fences, wants, timeout);
            // The guard's own unlock would hand the buffers on without the fences.
            if asked.is_err() && !fences.is_empty() && session.locks.find(done).is_some() {
                let _ = session.release(done, &fences);
            }
            asked
        })
    }

    /// Like [`Group::unlock_and_lock`], but returns at once: the number of the new lock, and true if it is granted. The
    /// old grant has ended.
    ///
    /// # Errors
    /// Those of [`Group::unlock_and_lock`], except those of a wait.
    pub fn start_unlock_and_lock(
        &self,
        done: LockId,
        fences: impl Into<Fences>,
        wants: &[(BufferId, Access)],
        timeout: impl Into<Option<Duration>>,
    ) -> Result<(LockId, bool)> {
        let (fences, timeout) = (fences.into().into_aidl(), Timeout::of(timeout.into()));
        self.with(|state| {
            state.refuse_waited(done)?;
            state.session()?.exchange(done, &fences, wants, timeout)
        })
        .map_err(|error| self.explained(error))
    }

    /// Asks the service for the group's locks, the oldest number first. A lock that it does not list has ended or never
    /// existed.
    ///
    /// # Errors
    /// [`Error::ServiceDied`], [`Error::Closed`].
    pub fn locks(&self) -> Result<Vec<LockStatus>> {
        self.call(|session| session.living())
    }

    /// The name of the group that has this number at the service, if it is open and this client may know it: the groups
    /// of its own uid, and for root and the system all.
    ///
    /// # Errors
    /// [`Error::ServiceDied`], [`Error::Closed`].
    pub fn name_of(&self, group: i64) -> Result<Option<String>> {
        self.call(|session| Ok(session.remote()?.getGroupName(group)?))
    }

    /// Closes the group. Waiting locks are cancelled. Unlock first: a grant that is still held ends as
    /// an eviction, because nobody said that the work was finished. Later calls return
    /// [`Error::Closed`], a second close too.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Forked`].
    pub fn close(&self) -> Result<()> {
        let closed = self.state()?.session.take();
        self.wake();
        closed.map(drop).ok_or(Error::Closed)
    }

    fn call<T>(&self, call: impl FnOnce(&mut Session) -> Result<T>) -> Result<T> {
        self.with(|state| call(state.session()?))
    }

    /// Calls `call` under the mutex. It may read events for which other threads wait.
    fn with<T>(&self, call: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = self.state()?;
        let result = call(&mut state);
        if state.polling {
            self.wake();
        }
        result
    }

    /// Sends a request, and waits for the lock unless it is granted already. If it ends otherwise, nothing is left of a
    /// `new` lock: the caller does not know its number.
    fn request(
        &self,
        new: bool,
        request: impl FnOnce(&mut State) -> Result<(LockId, bool)>,
    ) -> Result<LockId> {
        let mut state = self.state()?;
        let requested =
            state.session().and_then(Session::keep_up).and_then(|()| request(&mut state));
        if state.polling {
            self.wake();
        }
        match requested {
            Ok((id, true)) => Ok(id),
            Ok((id, false)) => {
                let result = self.finish(state, id);
                if result.is_err() && new {
                    self.drop_lock(id);
                }
                result.map(|()| id).map_err(|error| self.explained(error))
            }
            Err(error) => {
                drop(state);
                Err(self.explained(error))
            }
        }
    }

    /// Waits for a lock.
    fn finish<'a>(&'a self, mut state: MutexGuard<'a, State>, id: LockId) -> Result<()> {
        let wake = self.wake.get_or_try_init(|| {
            EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
        });
        let wake = match wake {
            Ok(wake) => wake,
            Err(errno) => {
                state.session()?.abandon(id);
                return Err(Error::System("eventfd", errno));
            }
        };
        let until = state.session()?.locks.find(id).and_then(|lock| lock.until);
        state.waited.push(id);
        let result = loop {
            match state.progress(id) {
                Ok(false) => {}
                Ok(true) => break Ok(()),
                Err(error) => break Err(error),
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                break state.session().and_then(|session| {
                    session.give_up_silent(id);
                    Err(Error::TimedOut { by: None, silent: true })
                });
            }
            if state.polling {
                state = self.wait_turn(state, left);
                continue;
            }
            state.polling = true;
            // Clears earlier wake-ups: this thread has just looked.
            let _ = wake.read();
            drop(state);
            let polled = self.wait_for_events(wake, left);
            state = self.state()?;
            state.polling = false;
            self.turn.notify_all();
            if let Err(error) = polled {
                if let Ok(session) = state.session() {
                    session.abandon(id);
                }
                break Err(error);
            }
        };
        state.waited.retain(|waited| *waited != id);
        state.cancelled.retain(|cancelled| *cancelled != id);
        result
    }

    fn wait_turn<'a>(
        &self,
        state: MutexGuard<'a, State>,
        left: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        match left {
            None => self.turn.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(left) => {
                let waited = self.turn.wait_timeout(state, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// Waits until there is an event, another thread calls `wake`, or the time is over.
    fn wait_for_events(&self, wake: &EventFd, left: Option<Duration>) -> Result<()> {
        let events = PollFd::new(self.events.as_fd(), PollFlags::POLLIN);
        let mut polled = [events, PollFd::new(wake.as_fd(), PollFlags::POLLIN)];
        match ppoll(&mut polled, left.map(TimeSpec::from_duration), None) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(Error::System("poll on the event channel", errno)),
        }
    }

    fn wake(&self) {
        if let Some(wake) = self.wake.get() {
            // An error is ignored: if the counter is full, the thread wakes in any case.
            let _ = wake.write(1);
        }
    }

    /// Adds the name of the lock in the way, if this client may know it.
    fn explained(&self, error: Error) -> Error {
        let explain = |by: Option<InTheWay>| {
            by.map(|by| InTheWay { owner: self.name_of(by.group).ok().flatten(), ..by })
        };
        match error {
            Error::TimedOut { by, silent } => Error::TimedOut { by: explain(by), silent },
            Error::Evicted { by } => Error::Evicted { by: explain(by) },
            error => error,
        }
    }

    fn state(&self) -> Result<MutexGuard<'_, State>> {
        // Before the mutex: in a forked child it may stay locked for ever.
        fork::check()?;
        Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The event channel. Poll it for POLLIN; POLLHUP means that the service or the group is gone.
impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Group");
        out.field("events", &self.events).field("hold_limit", &self.hold_limit);
        out.finish_non_exhaustive()
    }
}

impl State {
    fn session(&mut self) -> Result<&mut Session> {
        self.session.as_mut().ok_or(Error::Closed)
    }

    /// Refuses a call on a lock while a thread waits for it.
    fn refuse_waited(&mut self, id: LockId) -> Result<()> {
        self.session()?;
        match self.waited.contains(&id) || self.ending.contains(&id) {
            true => Err(waits(id)),
            false => Ok(()),
        }
    }

    /// Checks a waiting lock. Returns true if it is granted. Leaves the channel to the thread that polls it: that
    /// thread would not wake up for an event that is gone.
    fn progress(&mut self, id: LockId) -> Result<bool> {
        if self.cancelled.contains(&id) {
            return Err(Error::Cancelled);
        }
        let polling = self.polling;
        let session = self.session()?;
        if polling && session.locks.find(id).is_some_and(|lock| lock.waiting) {
            return Ok(false);
        }
        session.look(id)
    }
}

#[cfg(test)]
mod tests {
    use buffersync_aidl::event;

    use super::*;
    use crate::scripted::{group, record, Code, Done, Queued, Then, ONE, TIMED_OUT, TWO};

    #[test]
    fn an_interruption_ends_a_wait_also_if_it_comes_before() {
        let timed_out = Then(vec![record(event::TIMED_OUT, 2)], Box::new(Done));
        let calls = [("lock 1 [1]", Queued), ("lock 2 [2]", Queued), ("remove [9]", timed_out)];
        let (group, _ending) = group(calls);
        let lock = group.start_lock(&[ONE], None).unwrap().0;
        group.interrupt(lock);
        group.interrupt(lock);
        assert_eq!(group.wait(lock), Err(Error::Cancelled));
        assert_eq!(group.is_granted(lock), Ok(false), "it still waits");
        // Of a lock that has ended nothing is kept.
        let lock = group.start_lock(&[TWO], None).unwrap().0;
        group.interrupt(lock);
        group.remove(BufferId(9)).unwrap();
        assert_eq!(group.wait(lock), Err(TIMED_OUT));
        group.interrupt(lock);
        assert_eq!(group.state().unwrap().cancelled, []);
    }

    /// Another thread reads the grant and its end before the thread that waits looks.
    #[test]
    fn nothing_is_left_of_a_new_lock_that_was_taken_away() {
        let evicted = Then(vec![record(event::EVICTED, 1)], Box::new(Done));
        let gone = Code(buffersync_aidl::aidl::vendor::buffersync::IBufferSync::ERROR_EVICTED);
        let (group, ending) =
            group([("lock 1 [1]", Queued), ("remove [9]", evicted), ("unlock 1", gone)]);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| group.lock(&[ONE], None));
            while ending.calls_left() > 2 {
                std::thread::sleep(Duration::from_millis(1));
            }
            let mut state = group.state().unwrap();
            let session = state.session().unwrap();
            session.remove(BufferId(9)).unwrap();
            session.absorb_all().unwrap();
            drop(state);
            group.wake();
            assert_eq!(waits.join().unwrap(), Err(Error::Evicted { by: None }));
        });
        assert!(group.state().unwrap().session().unwrap().locks.is_empty());
    }

    #[test]
    fn a_thread_leaves_the_events_to_the_thread_that_polls() {
        let timed_out = Then(vec![record(event::TIMED_OUT, 1)], Box::new(Done));
        let calls = [("lock 1 [1]", Queued), ("lock 2 [2]", Queued), ("remove [9]", timed_out)];
        let (group, _ending) = group(calls);
        let mut state = group.state().unwrap();
        for want in [ONE, TWO] {
            state.session().unwrap().lock(&[want], Timeout::Never).unwrap();
        }
        // Another thread polls, for lock 1.
        state.polling = true;
        state.session().unwrap().remove(BufferId(9)).unwrap();
        assert_eq!(state.progress(LockId(2)), Ok(false));
        state.polling = false;
        assert_eq!(state.session().unwrap().absorb(), Ok(true), "the event is there");
        assert_eq!(state.progress(LockId(1)), Err(TIMED_OUT));
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A group for callers without a borrow checker: the C ABI and Java.
//!
//! There is no guard. What a guard proves is checked at run time instead: an unlock without a grant is
//! [`Error::NotLocked`], a call after [`SharedGroup::close`] is [`Error::Closed`]. Any thread may call
//! at any time. Calls take turns by a mutex. A call that waits for a grant releases the mutex while it
//! waits, so another thread can cancel it, close the group, or lock other buffers.
//!
//! Several threads can wait for a lock each. One of them polls the event channel; the others wait for
//! their turn at a condition variable. The thread that polls lets all look at their locks after each
//! message. A call of another thread may read the channel too, so it wakes the thread that polls.
//!
//! The threads that wait consume the group's events until their locks end. Meanwhile
//! [`SharedGroup::read_event`] of another thread returns none.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use once_cell::sync::OnceCell;

use crate::error::{Error, Result};
use crate::events::Event;
use crate::fork;
use crate::grant::Grant;
use crate::group::{given, Group, Started, TRY};
use crate::types::{timeout_ns, Access, BufferId, GrantInfo, LockId, LockStatus};

/// A [`Group`] that threads share, without a guard. `Send` and `Sync`.
pub struct SharedGroup {
    state: Mutex<State>,
    /// Wakes the thread that polls. The first wait makes it.
    wake: OnceCell<EventFd>,
    /// The thread that polled has looked at the channel: the others can go on.
    turn: Condvar,
}

struct State {
    /// `None` when closed.
    group: Option<Group>,
    /// The locks for which threads wait, one each.
    waited: Vec<LockId>,
    /// Those of them that another thread has cancelled.
    cancelled: Vec<LockId>,
    /// One of these threads polls the event channel.
    polling: bool,
}

impl SharedGroup {
    /// Takes over a group.
    pub fn new(group: Group) -> Self {
        let (waited, cancelled) = (Vec::new(), Vec::new());
        let state = State { group: Some(group), waited, cancelled, polling: false };
        Self { state: Mutex::new(state), wake: OnceCell::new(), turn: Condvar::new() }
    }

    /// Calls `call` with the group. It must not wait; [`Group::add`] is an example.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Forked`], and those of `call`.
    pub fn with<T>(&self, call: impl FnOnce(&mut Group) -> Result<T>) -> Result<T> {
        self.call(|state| call(state.group()?))
    }

    /// Calls `call` with the grant.
    ///
    /// # Errors
    /// [`Error::NotLocked`] if there is none, and those of [`SharedGroup::with`].
    pub fn with_grant<T>(&self, call: impl FnOnce(&mut Grant<'_>) -> Result<T>) -> Result<T> {
        self.with(|group| {
            let mut grant = group.grant().ok_or(Error::NotLocked)?;
            let result = call(&mut grant);
            // The group keeps the grant when the guard is gone.
            std::mem::forget(grant);
            result
        })
    }

    /// Locks the group like [`Group::lock`], or grows its grant like [`Grant::grow`]. Blocks this thread
    /// only.
    ///
    /// # Errors
    /// [`Error::AlreadyLocked`] also if another thread waits. [`Error::Cancelled`] after
    /// [`SharedGroup::cancel`] and [`Error::Closed`] after [`SharedGroup::close`] by another thread.
    /// Those of [`Group::lock`] and [`Grant::grow`].
    pub fn lock(&self, timeout: impl Into<Option<Duration>>) -> Result<()> {
        self.acquire(timeout_ns(timeout.into()))
    }

    /// Like [`SharedGroup::lock`], but does not wait for other clients, like [`Group::try_lock`].
    ///
    /// # Errors
    /// [`Error::WouldBlock`], and those of [`SharedGroup::lock`] except [`Error::TimedOut`].
    pub fn try_lock(&self) -> Result<()> {
        self.acquire(TRY)
    }

    /// Asks for the lock and returns at once, like [`Group::start_lock`]; `None` for no time-out.
    ///
    /// # Errors
    /// Those of [`Group::start_lock`].
    pub fn start_lock(&self, timeout: impl Into<Option<Duration>>) -> Result<Started> {
        self.call(|state| {
            state.refuse_waiting()?;
            Ok(Started::of(state.group()?.request(timeout_ns(timeout.into()))?.1))
        })
    }

    /// Cancels the main lock if it waits, also if another thread waits for it.
    ///
    /// # Errors
    /// [`Error::NotQueued`] if it does not wait: it may have been granted meanwhile.
    pub fn cancel(&self) -> Result<()> {
        self.call(|state| {
            let id = state.main()?.ok_or(Error::NotQueued)?;
            state.cancel(id)
        })
    }

    /// Returns the next event; `None` if there is none now, or if a thread waits for a lock.
    ///
    /// # Errors
    /// [`Error::ServiceDied`], [`Error::Closed`].
    pub fn read_event(&self) -> Result<Option<Event>> {
        let mut state = self.state()?;
        if !state.waited.is_empty() {
            return Ok(None);
        }
        state.group()?.read_event()
    }

    /// Returns a copy of the grant's data.
    ///
    /// # Errors
    /// [`Error::NotLocked`].
    pub fn granted(&self) -> Result<GrantInfo> {
        self.with_grant(|grant| {
            let (lock, deadline) = (grant.id(), grant.deadline());
            Ok(GrantInfo { lock, deadline, buffers: grant.buffers().to_vec() })
        })
    }

    /// Ends the grant, with release fences like [`Grant::unlock_with_fences`].
    ///
    /// # Errors
    /// [`Error::NotLocked`]. [`Error::BadFence`] or [`Error::UnknownBuffer`]: the grant goes on.
    /// [`Error::Evicted`], [`Error::ServiceDied`], [`Error::ReplyLost`]: the grant has ended.
    pub fn unlock(&self, each: Vec<(BufferId, OwnedFd)>, rest: Option<OwnedFd>) -> Result<()> {
        self.call(|state| {
            let id = state.main_grant()?;
            state.group()?.release(id, &given(each, rest))
        })
    }

    /// Ends the grant and locks the group again in one call, like [`Grant::unlock_and_lock`].
    ///
    /// # Errors
    /// [`Error::NotLocked`]. After [`Error::Evicted`], [`Error::ServiceDied`] and [`Error::ReplyLost`] the
    /// grant has ended, and nothing is locked; after any other error of the request it goes on. Those of
    /// [`SharedGroup::lock`].
    pub fn unlock_and_lock(
        &self,
        each: Vec<(BufferId, OwnedFd)>,
        rest: Option<OwnedFd>,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<()> {
        self.request(|state| {
            let id = state.main_grant()?;
            let (fences, timeout_ns) = (given(each, rest), timeout_ns(timeout.into()));
            state.group()?.request_exchange(id, &fences, &[], timeout_ns)
        })
        .map(drop)
    }

    /// Locks some buffers like [`Group::lock_buffers`]. Blocks this thread only; other threads can wait for
    /// other locks meanwhile.
    ///
    /// # Errors
    /// [`Error::Cancelled`] after [`SharedGroup::cancel_lock`] and [`Error::Closed`] after
    /// [`SharedGroup::close`] by another thread. Those of [`Group::lock_buffers`].
    pub fn lock_buffers(
        &self,
        wants: &[(BufferId, Access)],
        timeout: impl Into<Option<Duration>>,
    ) -> Result<LockId> {
        let timeout_ns = timeout_ns(timeout.into());
        self.request(|state| state.group()?.request_lock(wants, timeout_ns))
    }

    /// Like [`SharedGroup::lock_buffers`], but does not wait for other clients.
    ///
    /// # Errors
    /// [`Error::WouldBlock`], and those of [`SharedGroup::lock_buffers`] except [`Error::TimedOut`].
    pub fn try_lock_buffers(&self, wants: &[(BufferId, Access)]) -> Result<LockId> {
        self.request(|state| state.group()?.request_lock(wants, TRY))
    }

    /// Adds to a grant like [`Group::grow_buffers`]. Blocks this thread only.
    ///
    /// # Errors
    /// Those of [`Group::grow_buffers`], and [`Error::Cancelled`] and [`Error::Closed`] as in
    /// [`SharedGroup::lock_buffers`].
    pub fn grow_buffers(
        &self,
        lock: LockId,
        wants: &[(BufferId, Access)],
        timeout: impl Into<Option<Duration>>,
    ) -> Result<()> {
        let timeout_ns = timeout_ns(timeout.into());
        let request = |state: &mut State| {
            state.refuse_waited(lock)?;
            Ok((lock, state.group()?.request_growth(lock, wants, timeout_ns)?))
        };
        self.request(request).map(drop)
    }

    /// Takes back what waits, like [`Group::cancel_lock`], also if another thread waits for it.
    ///
    /// # Errors
    /// Those of [`Group::cancel_lock`].
    pub fn cancel_lock(&self, lock: LockId) -> Result<()> {
        self.call(|state| state.cancel(lock))
    }

    /// Ends a part of a grant, or a lock, like [`Group::unlock_buffers`].
    ///
    /// # Errors
    /// [`Error::Busy`] if a thread waits for the lock. Those of [`Group::unlock_buffers`].
    pub fn unlock_buffers(
        &self,
        lock: LockId,
        buffers: &[BufferId],
        each: Vec<(BufferId, OwnedFd)>,
        rest: Option<OwnedFd>,
    ) -> Result<()> {
        self.call(|state| {
            state.refuse_waited(lock)?;
            state.group()?.unlock_buffers(lock, buffers, each, rest)
        })
    }

    /// Shares buffers of a grant like [`Group::downgrade`].
    ///
    /// # Errors
    /// [`Error::Busy`] if a thread waits for the lock. Those of [`Group::downgrade`].
    pub fn downgrade(&self, lock: LockId, buffers: &[BufferId]) -> Result<()> {
        self.call(|state| {
            state.refuse_waited(lock)?;
            state.group()?.downgrade(lock, buffers)
        })
    }

    /// Ends a grant and locks buffers in one call, like [`Group::unlock_and_lock_buffers`].
    ///
    /// # Errors
    /// Those of [`Group::unlock_and_lock_buffers`] and of [`SharedGroup::lock_buffers`].
    pub fn unlock_and_lock_buffers(
        &self,
        done: LockId,
        each: Vec<(BufferId, OwnedFd)>,
        rest: Option<OwnedFd>,
        wants: &[(BufferId, Access)],
        timeout: impl Into<Option<Duration>>,
    ) -> Result<LockId> {
        let (fences, timeout_ns) = (given(each, rest), timeout_ns(timeout.into()));
        self.request(|state| {
            state.refuse_waited(done)?;
            state.group()?.request_exchange(done, &fences, wants, timeout_ns)
        })
    }

    /// Describes a lock, after the pending events were read. Asks this client, not the service.
    ///
    /// # Errors
    /// [`Error::Evicted`]: unlock the lock to acknowledge that. [`Error::Ended`].
    pub fn status(&self, lock: LockId) -> Result<LockStatus> {
        self.with(|group| {
            while group.absorb()? {}
            let found = group.locks.find(lock).ok_or(Error::Ended)?;
            match found.evicted {
                true => Err(Error::Evicted),
                false => {
                    Ok(LockStatus { lock, waiting: found.waiting, grant: found.grant.clone() })
                }
            }
        })
    }

    /// Closes the group. Waiting locks are cancelled. Unlock first: a grant that is still held ends as
    /// an eviction, because nobody said that the work was finished. Later calls return
    /// [`Error::Closed`], a second close too.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Forked`].
    pub fn close(&self) -> Result<()> {
        let closed = self.state()?.group.take();
        self.wake();
        closed.map(drop).ok_or(Error::Closed)
    }

    fn acquire(&self, timeout_ns: i64) -> Result<()> {
        self.request(|state| {
            state.refuse_waiting()?;
            state.group()?.request(timeout_ns)
        })
        .map(drop)
    }

    /// Calls `call` under the mutex. It may read events for which other threads wait.
    fn call<T>(&self, call: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = self.state()?;
        let result = call(&mut state);
        if state.polling {
            self.wake();
        }
        result
    }

    /// Sends a request, and waits for the lock unless it is granted already.
    fn request(
        &self,
        request: impl FnOnce(&mut State) -> Result<(LockId, bool)>,
    ) -> Result<LockId> {
        let mut state = self.state()?;
        let requested = state.group().and_then(Group::keep_up).and_then(|()| request(&mut state));
        if state.polling {
            self.wake();
        }
        let (id, granted) = requested?;
        if !granted {
            self.finish(state, id)?;
        }
        Ok(id)
    }

    /// Waits for a lock.
    fn finish<'a>(&'a self, mut state: MutexGuard<'a, State>, id: LockId) -> Result<()> {
        // A descriptor of its own: another thread may close the group, and with it the group's.
        let events = match self.prepare_wait(state.group()?) {
            Ok(events) => events,
            Err(error) => {
                state.group()?.abandon(id);
                return Err(error);
            }
        };
        state.waited.push(id);
        let result = loop {
            match state.progress(id) {
                Ok(false) => {}
                Ok(true) => break Ok(()),
                Err(error) => break Err(error),
            }
            if state.polling {
                state = self.turn.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.polling = true;
            if let Some(wake) = self.wake.get() {
                // Clears earlier wake-ups: this thread has just looked.
                let _ = wake.read();
            }
            drop(state);
            let polled = self.wait(events.as_fd());
            state = self.state()?;
            state.polling = false;
            self.turn.notify_all();
            if let Err(error) = polled {
                if let Ok(group) = state.group() {
                    group.abandon(id);
                }
                break Err(error);
            }
        };
        state.waited.retain(|waited| *waited != id);
        state.cancelled.retain(|cancelled| *cancelled != id);
        result
    }

    fn prepare_wait(&self, group: &Group) -> Result<OwnedFd> {
        self.wake.get_or_try_init(|| {
            EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
                .map_err(|errno| Error::System("eventfd", errno))
        })?;
        let events = group.event_fd().try_clone_to_owned();
        events.map_err(|error| Error::io("dup of the event channel", &error))
    }

    /// Waits until there is an event, or another thread calls `wake`.
    fn wait(&self, events: BorrowedFd<'_>) -> Result<()> {
        let Some(wake) = self.wake.get() else { return Ok(()) };
        let mut polled =
            [PollFd::new(events, PollFlags::POLLIN), PollFd::new(wake.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, PollTimeout::NONE) {
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

    fn state(&self) -> Result<MutexGuard<'_, State>> {
        // Before the mutex: in a forked child it may stay locked for ever.
        fork::check()?;
        Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn group(&mut self) -> Result<&mut Group> {
        self.group.as_mut().ok_or(Error::Closed)
    }

    fn main(&mut self) -> Result<Option<LockId>> {
        Ok(self.group()?.locks.main().map(|lock| lock.id))
    }

    /// The main lock, if it is granted and no thread waits for its growth.
    fn main_grant(&mut self) -> Result<LockId> {
        self.refuse_waiting()?;
        let main = self.group()?.locks.main();
        let granted = main.filter(|lock| lock.grant.is_some());
        granted.map(|lock| lock.id).ok_or(Error::NotLocked)
    }

    /// Refuses a call on the main lock while a thread waits for it.
    fn refuse_waiting(&mut self) -> Result<()> {
        match self.main()? {
            Some(main) if self.waited.contains(&main) => Err(Error::AlreadyLocked),
            _ => Ok(()),
        }
    }

    /// Refuses a call on a lock while a thread waits for it.
    fn refuse_waited(&mut self, id: LockId) -> Result<()> {
        self.group()?;
        match self.waited.contains(&id) {
            true => Err(Error::Busy),
            false => Ok(()),
        }
    }

    fn cancel(&mut self, id: LockId) -> Result<()> {
        self.group()?.cancel_lock(id)?;
        if self.waited.contains(&id) {
            self.cancelled.push(id);
        }
        Ok(())
    }

    /// Checks a waiting lock. Returns true if it is granted. Leaves the channel to the thread that polls it: that
    /// thread would not wake up for an event that is gone.
    fn progress(&mut self, id: LockId) -> Result<bool> {
        if self.cancelled.contains(&id) {
            return Err(Error::Cancelled);
        }
        let polling = self.polling;
        let group = self.group()?;
        if polling && group.locks.find(id).is_some_and(|lock| lock.waiting) {
            return Ok(false);
        }
        group.look(id)
    }
}

#[cfg(test)]
mod tests {
    use buffersync_aidl::event;

    use super::*;
    use crate::scripted::{group, record, Done, Queued, Then, ONE, TWO};

    #[test]
    fn a_thread_leaves_the_events_to_the_thread_that_polls() {
        let timed_out = Then(vec![record(event::TIMED_OUT, 1)], Box::new(Done));
        let calls = [("lock 1 [1]", Queued), ("lock 2 [2]", Queued), ("remove [9]", timed_out)];
        let (group, _ending) = group(calls);
        let shared = SharedGroup::new(group);
        let mut state = shared.state().unwrap();
        for want in [ONE, TWO] {
            state.group().unwrap().start_lock_buffers(&[want], None).unwrap();
        }
        // Another thread polls, for lock 1.
        state.polling = true;
        state.group().unwrap().remove(BufferId(9)).unwrap();
        assert_eq!(state.progress(LockId(2)), Ok(false));
        state.polling = false;
        assert_eq!(state.group().unwrap().absorb(), Ok(true), "the event is there");
        assert_eq!(state.progress(LockId(1)), Err(Error::TimedOut));
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A group for callers without a borrow checker: the C ABI and Java.
//!
//! There is no guard. What a guard proves is checked at run time instead: an unlock without a grant is
//! [`Error::NotLocked`], a call after [`SharedGroup::close`] is [`Error::Closed`]. Any thread may call
//! at any time. Calls take turns by a mutex. A call that waits for a grant releases the mutex while it
//! waits, so another thread can cancel it or close the group.
//!
//! The thread that waits for a lock consumes the group's events until the lock ends. Meanwhile
//! [`SharedGroup::read_event`] of another thread returns none.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use once_cell::sync::OnceCell;

use crate::error::{Error, Result};
use crate::events::Event;
use crate::fork;
use crate::grant::Grant;
use crate::group::{Group, Started};
use crate::types::{timeout_ns, BufferId, GrantInfo};

/// A [`Group`] that threads share, without a guard. `Send` and `Sync`.
pub struct SharedGroup {
    state: Mutex<State>,
    /// Wakes the thread that waits. The first wait makes it.
    wake: OnceCell<EventFd>,
}

struct State {
    /// `None` when closed.
    group: Option<Group>,
    /// A thread waits for the lock.
    waiting: bool,
    /// Another thread has cancelled that lock.
    cancelled: bool,
}

impl SharedGroup {
    /// Takes over a group.
    pub fn new(group: Group) -> Self {
        let state = State { group: Some(group), waiting: false, cancelled: false };
        Self { state: Mutex::new(state), wake: OnceCell::new() }
    }

    /// Calls `call` with the group. It must not wait; [`Group::add`] is an example.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Forked`], and those of `call`.
    pub fn with<T>(&self, call: impl FnOnce(&mut Group) -> Result<T>) -> Result<T> {
        call(self.state()?.group()?)
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
        self.acquire(Some(timeout_ns(timeout.into())))
    }

    /// Like [`SharedGroup::lock`], but does not wait for other clients, like [`Group::try_lock`].
    ///
    /// # Errors
    /// [`Error::WouldBlock`], and those of [`SharedGroup::lock`] except [`Error::TimedOut`].
    pub fn try_lock(&self) -> Result<()> {
        self.acquire(None)
    }

    /// Asks for the lock and returns at once, like [`Group::start_lock`]; `None` for no time-out.
    ///
    /// # Errors
    /// Those of [`Group::start_lock`].
    pub fn start_lock(&self, timeout: impl Into<Option<Duration>>) -> Result<Started> {
        let mut state = self.state()?;
        state.refuse_waiting()?;
        let granted = state.group()?.request(Some(timeout_ns(timeout.into())))?;
        Ok(if granted { Started::Granted } else { Started::Queued })
    }

    /// Cancels a waiting lock, also one that another thread waits for.
    ///
    /// # Errors
    /// [`Error::NotQueued`] if no lock waits: it may have been granted meanwhile.
    pub fn cancel(&self) -> Result<()> {
        let mut state = self.state()?;
        state.group()?.cancel()?;
        state.cancelled = state.waiting;
        self.wake();
        Ok(())
    }

    /// Returns the next event; `None` if there is none now, or if a thread waits for a lock.
    ///
    /// # Errors
    /// [`Error::ServiceDied`], [`Error::Closed`].
    pub fn read_event(&self) -> Result<Option<Event>> {
        let mut state = self.state()?;
        if state.waiting {
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
            let (token, deadline) = (grant.token(), grant.deadline());
            Ok(GrantInfo { token, deadline, buffers: grant.buffers().to_vec() })
        })
    }

    /// Ends the grant, with release fences like [`Grant::unlock_with_fences`].
    ///
    /// # Errors
    /// [`Error::NotLocked`]. [`Error::BadFence`] or [`Error::UnknownBuffer`]: the grant goes on.
    /// [`Error::Evicted`], [`Error::ServiceDied`]: the grant has ended.
    pub fn unlock(&self, each: Vec<(BufferId, OwnedFd)>, rest: Option<OwnedFd>) -> Result<()> {
        let mut state = self.state()?;
        state.refuse_waiting()?;
        let mut grant = state.group()?.grant().ok_or(Error::NotLocked)?;
        let result = grant.release(each, rest);
        if matches!(result, Err(Error::BadFence | Error::UnknownBuffer)) {
            std::mem::forget(grant);
        }
        result
    }

    /// Ends the grant and locks another group in one call, like [`Grant::unlock_and_lock`].
    ///
    /// # Errors
    /// [`Error::IllegalArgument`] if `next` is this group. [`Error::NotLocked`]. After
    /// [`Error::Evicted`] and [`Error::ServiceDied`] the grant has ended; after any other error of the
    /// request it goes on. Those of [`SharedGroup::lock`].
    pub fn unlock_and_lock(
        &self,
        each: Vec<(BufferId, OwnedFd)>,
        rest: Option<OwnedFd>,
        next: &Self,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<()> {
        if std::ptr::eq(self, next) {
            return Err(Error::IllegalArgument("the next group is this one".into()));
        }
        // The mutexes are taken in the order of their addresses, because another thread may hand over
        // from `next` to this group.
        let (mut own, mut other) = if std::ptr::from_ref(self) < std::ptr::from_ref(next) {
            let own = self.state()?;
            (own, next.state()?)
        } else {
            let other = next.state()?;
            (self.state()?, other)
        };
        own.refuse_waiting()?;
        other.refuse_waiting()?;
        let mut grant = own.group()?.grant().ok_or(Error::NotLocked)?;
        let result = grant.exchange(each, rest, other.group()?, timeout_ns(timeout.into()));
        if !grant.has_ended() {
            std::mem::forget(grant);
        } else {
            drop(grant);
        }
        drop(own);
        next.finish(other, result?)
    }

    /// Closes the group. A waiting lock is cancelled. Unlock first: a grant that is still held ends as
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

    fn acquire(&self, timeout_ns: Option<i64>) -> Result<()> {
        let mut state = self.state()?;
        state.refuse_waiting()?;
        let granted = state.group()?.request(timeout_ns)?;
        self.finish(state, granted)
    }

    /// Waits for a requested lock, unless it is granted already.
    fn finish<'a>(&'a self, mut state: MutexGuard<'a, State>, granted: bool) -> Result<()> {
        if granted {
            return Ok(());
        }
        // A descriptor of its own: another thread may close the group, and with it the group's.
        let events = match self.prepare_wait(state.group()?) {
            Ok(events) => events,
            Err(error) => {
                state.group()?.abandon();
                return Err(error);
            }
        };
        state.waiting = true;
        let result = loop {
            match state.progress() {
                Ok(false) => {}
                Ok(true) => break Ok(()),
                Err(error) => break Err(error),
            }
            drop(state);
            let polled = self.wait(events.as_fd());
            state = self.state()?;
            if let Err(error) = polled {
                if let Ok(group) = state.group() {
                    group.abandon();
                }
                break Err(error);
            }
        };
        state.waiting = false;
        state.cancelled = false;
        result
    }

    fn prepare_wait(&self, group: &Group) -> Result<OwnedFd> {
        let wake = self.wake.get_or_try_init(|| {
            EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
                .map_err(|errno| Error::System("eventfd", errno))
        })?;
        // Clears a wake-up of an earlier wait.
        let _ = wake.read();
        let events = group.event_fd().try_clone_to_owned();
        events.map_err(|error| Error::io("dup of the event channel", &error))
    }

    /// Waits until there is an event, or another thread calls `wake`.
    fn wait(&self, events: BorrowedFd<'_>) -> Result<()> {
        let Some(wake) = self.wake.get() else { return Ok(()) };
        let mut polled =
            [PollFd::new(events, PollFlags::POLLIN), PollFd::new(wake.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {
                let _ = wake.read();
                Ok(())
            }
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

    fn refuse_waiting(&mut self) -> Result<()> {
        self.group()?;
        if self.waiting {
            Err(Error::AlreadyLocked)
        } else {
            Ok(())
        }
    }

    /// Checks the waiting lock. Returns true if it is granted.
    fn progress(&mut self) -> Result<bool> {
        if self.cancelled {
            return Err(Error::Cancelled);
        }
        self.group()?.look()
    }
}

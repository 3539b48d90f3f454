// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A group for callers that have no borrow checker: the C ABI and Java.
//!
//! The guard is gone, so what it proves is checked at run time: an unlock without a grant is
//! [`Error::NotLocked`], a call after [`SharedGroup::close`] is [`Error::Closed`]. Any thread may call
//! anything at any time. Calls take turns, but one that waits for a grant lets the others in, so that
//! another thread can cancel it or close the group.
//!
//! A lock that is waited for owns the group's events until it ends: [`SharedGroup::read_event`] of
//! another thread has none meanwhile.

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

/// See the module. `Send` and `Sync`.
pub struct SharedGroup {
    state: Mutex<State>,
    /// Wakes the thread that waits. Made when one first does.
    wake: OnceCell<EventFd>,
}

struct State {
    /// `None` when closed.
    group: Option<Group>,
    /// A thread waits for the lock.
    waiting: bool,
    /// Another has taken that lock back.
    cancelled: bool,
}

impl SharedGroup {
    /// Takes a group over.
    pub fn new(group: Group) -> Self {
        let state = State { group: Some(group), waiting: false, cancelled: false };
        Self { state: Mutex::new(state), wake: OnceCell::new() }
    }

    /// Does something with the group that does not wait, such as [`Group::add`].
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Forked`], and those of `call`.
    pub fn with<T>(&self, call: impl FnOnce(&mut Group) -> Result<T>) -> Result<T> {
        call(self.state()?.group()?)
    }

    /// Does something with the grant.
    ///
    /// # Errors
    /// [`Error::NotLocked`] if there is none, and those of [`SharedGroup::with`].
    pub fn with_grant<T>(&self, call: impl FnOnce(&mut Grant<'_>) -> Result<T>) -> Result<T> {
        self.with(|group| {
            let mut grant = group.grant().ok_or(Error::NotLocked)?;
            let result = call(&mut grant);
            // The grant is the group's, and outlives its guard.
            std::mem::forget(grant);
            result
        })
    }

    /// Locks, or grows what is held, as [`Group::lock`] and [`Grant::grow`] do. Blocks this thread
    /// only.
    ///
    /// # Errors
    /// [`Error::AlreadyLocked`] also if another thread waits. [`Error::Cancelled`] if another has
    /// called [`SharedGroup::cancel`], [`Error::Closed`] if it has called [`SharedGroup::close`].
    /// Those of [`Group::lock`] and [`Grant::grow`].
    pub fn lock(&self, timeout: impl Into<Option<Duration>>) -> Result<()> {
        self.acquire(Some(timeout_ns(timeout.into())))
    }

    /// As [`SharedGroup::lock`], but waits for no other client, as [`Group::try_lock`].
    ///
    /// # Errors
    /// [`Error::WouldBlock`], and those of [`SharedGroup::lock`] but [`Error::TimedOut`].
    pub fn try_lock(&self) -> Result<()> {
        self.acquire(None)
    }

    /// Asks for the lock and returns, as [`Group::start_lock`]; `None` waits for as long as it takes.
    ///
    /// # Errors
    /// Those of [`Group::start_lock`].
    pub fn start_lock(&self, timeout: impl Into<Option<Duration>>) -> Result<Started> {
        let mut state = self.state()?;
        state.refuse_waiting()?;
        let granted = state.group()?.request(Some(timeout_ns(timeout.into())))?;
        Ok(if granted { Started::Granted } else { Started::Queued })
    }

    /// Takes a waiting lock back, also one that another thread waits for.
    ///
    /// # Errors
    /// [`Error::NotQueued`] if none waits: it may have been granted meanwhile.
    pub fn cancel(&self) -> Result<()> {
        let mut state = self.state()?;
        state.group()?.cancel()?;
        state.cancelled = state.waiting;
        self.wake();
        Ok(())
    }

    /// The next event; `None` if there is none now, or a thread waits for a lock.
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

    /// A copy of what is granted.
    ///
    /// # Errors
    /// [`Error::NotLocked`].
    pub fn granted(&self) -> Result<GrantInfo> {
        self.with_grant(|grant| {
            let (token, deadline) = (grant.token(), grant.deadline());
            Ok(GrantInfo { token, deadline, buffers: grant.buffers().to_vec() })
        })
    }

    /// Ends the grant, with release fences as in [`Grant::unlock_with_fences`].
    ///
    /// # Errors
    /// [`Error::NotLocked`]. [`Error::BadFence`] or [`Error::UnknownBuffer`]: the grant goes on.
    /// [`Error::Evicted`], [`Error::ServiceDied`]: there is none any more.
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

    /// Ends the grant and locks another group in one call, as [`Grant::unlock_and_lock`].
    ///
    /// # Errors
    /// [`Error::IllegalArgument`] if `next` is this group. [`Error::NotLocked`]. After
    /// [`Error::Evicted`] and [`Error::ServiceDied`] there is no grant any more; after any other error
    /// of the request the grant goes on. Those of [`SharedGroup::lock`].
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
        // In the order of their addresses: another thread may go the other way.
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

    /// Ends the group. A lock that waits is taken back; a grant ends as an eviction, since nobody
    /// said that the work was finished: unlock first. Later calls are [`Error::Closed`], this one too.
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

    /// Waits for a lock that was requested, if it is not granted yet.
    fn finish<'a>(&'a self, mut state: MutexGuard<'a, State>, granted: bool) -> Result<()> {
        if granted {
            return Ok(());
        }
        // Of its own, since the group's goes when another thread closes it.
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
        // What is left of an earlier wait.
        let _ = wake.read();
        let events = group.event_fd().try_clone_to_owned();
        events.map_err(|error| Error::io("dup of the event pipe", &error))
    }

    /// Until there is an event, or another thread has something to say.
    fn wait(&self, events: BorrowedFd<'_>) -> Result<()> {
        let Some(wake) = self.wake.get() else { return Ok(()) };
        let mut polled =
            [PollFd::new(events, PollFlags::POLLIN), PollFd::new(wake.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {
                let _ = wake.read();
                Ok(())
            }
            Err(errno) => Err(Error::System("poll on the event pipe", errno)),
        }
    }

    fn wake(&self) {
        if let Some(wake) = self.wake.get() {
            // Full: then it is awake.
            let _ = wake.write(1);
        }
    }

    fn state(&self) -> Result<MutexGuard<'_, State>> {
        // First: in a forked child another thread may hold the mutex for ever.
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

    /// How the wait stands. True: granted.
    fn progress(&mut self) -> Result<bool> {
        if self.cancelled {
            return Err(Error::Cancelled);
        }
        self.group()?.look()
    }
}

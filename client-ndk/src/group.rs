// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A group: its buffers, its state, its requests and events.
//!
//! A group is idle, waiting, holding or growing, as in `ISyncGroup.aidl`. [`State`] is the client's view
//! of that. By its token the group tells a record of the current lock from a record of an earlier one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use binder::{ParcelFileDescriptor, Strong};
use buffersync_aidl::aidl::vendor::buffersync::ISyncGroup::ISyncGroup;
use buffersync_aidl::aidl::vendor::buffersync::LockReply::LockReply;
use buffersync_aidl::aidl::NativeHandle;
use buffersync_aidl::reply::Granted;
use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::events::{Event, EventChannel};
use crate::fork::{self, Remote};
use crate::members::Members;
use crate::types::{monotonic, to_aidl, Access, BufferId, GrantInfo, GrantedBuffer, Token};

/// The wait for the record of a lock that can't be cancelled any more. The service writes the record
/// before it answers, so only a faulty service lets this time pass.
const RECORD_GRACE: Duration = Duration::from_secs(1);

pub(crate) fn grace() -> Option<Instant> {
    Instant::now().checked_add(RECORD_GRACE)
}

/// A set of dma-bufs that are locked and unlocked together.
///
/// Dropping a group closes it in order, a waiting lock included. If the group still holds (its
/// [`Grant`](crate::Grant) was forgotten), the service treats the drop as an eviction, because nobody
/// said that the work was finished.
pub struct Group {
    binder: Remote<dyn ISyncGroup>,
    /// Names this group in an `unlockAndLock` call of another one.
    pub(crate) key: i64,
    pub(crate) events: EventChannel,
    hold_limit: Duration,
    pub(crate) state: State,
    pub(crate) members: Members,
    evictions: u64,
    /// The channel has no record that matters: since it was read empty no lock has waited, no fence was given, and
    /// every grant has ended by its unlock. Saves a read(2) for each lock.
    quiet: bool,
    /// The memory of the last grant, for the next grant.
    spare: Vec<GrantedBuffer>,
}

#[derive(Debug)]
pub(crate) enum State {
    Idle,
    Waiting(Token),
    Holding { grant: GrantInfo, evicted: bool, growing: bool, acquire: Acquire },
}

/// The acquire fence of a grant.
#[derive(Debug)]
pub(crate) enum Acquire {
    /// The fence that came with the reply, if any.
    Known(Option<OwnedFd>),
    /// The grant came by event, which carries no descriptor, or the service had none for the reply: ask for it.
    Ask,
}

/// The result of [`Group::start_lock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// The group holds all its buffers: call [`Group::grant`]. No event follows.
    Granted,
    /// [`Group::read_event`] will report [`Event::Granted`] or [`Event::LockFailed`].
    Queued,
}

impl Group {
    pub(crate) fn new(
        binder: Strong<dyn ISyncGroup>,
        key: i64,
        events: EventChannel,
        hold_limit: Duration,
    ) -> Self {
        let (binder, members) = (Remote::new(binder), Members::default());
        Self {
            binder,
            key,
            events,
            hold_limit,
            state: State::Idle,
            members,
            evictions: 0,
            quiet: true,
            spare: Vec::new(),
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

    /// Adds one dma-buf. You may close the descriptor afterwards: the service has one of its own.
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

    /// Adds the dma-bufs of a native handle. Other descriptors in it are skipped. The ids are in the
    /// order of the first descriptor of each dma-buf.
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
        let ids = self.remote()?.add(&handle, to_aidl(access))?;
        let ids: Vec<BufferId> = ids.into_iter().map(BufferId).collect();
        ids.iter().for_each(|id| self.members.add(*id, access));
        Ok(ids)
    }

    /// Removes one buffer. The group must not hold it.
    ///
    /// # Errors
    /// [`Error::UnknownBuffer`], [`Error::Busy`].
    pub fn remove(&mut self, buffer: BufferId) -> Result<()> {
        self.remote()?.remove(buffer.0)?;
        self.members.remove(buffer);
        Ok(())
    }

    /// Removes all buffers.
    ///
    /// # Errors
    /// [`Error::Busy`].
    pub fn remove_all(&mut self) -> Result<()> {
        self.remote()?.removeAll()?;
        self.members.clear();
        Ok(())
    }

    /// Asks for the lock and returns at once. The lock has its place in the queue from now on. For a
    /// program with its own poll loop:
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
    ///             Some(Event::LockFailed { buffer, errno, by_fence, .. }) => {
    ///                 return Err(Error::LockFailed { buffer, errno, by_fence })
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

    /// Cancels a waiting lock.
    ///
    /// # Errors
    /// [`Error::NotQueued`] if no lock waits. It may have been granted meanwhile: then
    /// [`Group::read_event`] reports it.
    pub fn cancel(&mut self) -> Result<()> {
        self.remote()?.cancel()?;
        match &mut self.state {
            State::Holding { growing, .. } => *growing = false,
            state => *state = State::Idle,
        }
        Ok(())
    }

    /// The event channel. Poll it for POLLIN; POLLHUP means that the service is gone.
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
        let event = self.events.next()?;
        if let Some(event) = &event {
            self.note(event);
        }
        Ok(event)
    }

    /// Sends a lock with a time-out (see [`timeout_ns`](crate::types::timeout_ns)), or a try-lock for
    /// `None`. Returns true if it is granted at once.
    pub(crate) fn request(&mut self, timeout_ns: Option<i64>) -> Result<bool> {
        let reply = self.with_room(|group| match timeout_ns {
            Some(timeout_ns) => Ok(group.remote()?.lock(timeout_ns)?),
            None => Ok(group.remote()?.tryLock()?),
        })?;
        if matches!(&self.state, State::Holding { grant, .. } if grant.token.0 != reply.token) {
            // The grant was taken away before it could grow, so this is a new lock.
            return self.discard(&reply);
        }
        self.accept(reply)
    }

    /// Sends a lock of this group. Earlier grants may have left CONTENDED records, which nobody has read. If they fill
    /// the channel, this reads them and sends the lock again.
    pub(crate) fn with_room(
        &mut self,
        ask: impl Fn(&Self) -> Result<LockReply>,
    ) -> Result<LockReply> {
        self.make_room()?;
        match ask(self) {
            Err(Error::EventsUnread) if !self.is_pending() => {
                while self.read_event()?.is_some() {}
                ask(self)
            }
            reply => reply,
        }
    }

    /// Notes that a record may come after the lock it belongs to has ended.
    pub(crate) fn may_hear_later(&mut self) {
        self.quiet = false;
    }

    /// Reads the records that earlier locks left, so that they don't fill the channel
    /// (ERROR_EVENTS_UNREAD).
    pub(crate) fn make_room(&mut self) -> Result<()> {
        if matches!(self.state, State::Idle) && !self.quiet {
            while self.read_event()?.is_some() {}
            self.quiet = true;
        }
        Ok(())
    }

    /// Updates the state after the reply to a request. Returns true if the lock is granted.
    pub(crate) fn accept(&mut self, reply: LockReply) -> Result<bool> {
        let granted = Granted::of(&reply);
        match granted
            .map_err(|_| Error::Protocol("a grant with an impossible number of buffers"))?
        {
            Some(granted) => {
                let mut buffers = std::mem::take(&mut self.spare);
                buffers.clear();
                buffers.extend(granted.buffers().map(GrantedBuffer::from));
                let (token, deadline) = (Token(reply.token), monotonic(granted.deadline_ns));
                let acquire = match reply.acquireFence {
                    // The service had no descriptor for the fence.
                    None if buffers.iter().any(|buffer| buffer.fenced) => Acquire::Ask,
                    fence => Acquire::Known(fence.map(Into::into)),
                };
                let grant = GrantInfo { token, deadline, buffers };
                self.members.granted();
                self.state = State::Holding { grant, evicted: false, growing: false, acquire };
                Ok(true)
            }
            None => {
                self.quiet = false;
                match &mut self.state {
                    State::Holding { growing, .. } => *growing = true,
                    state => *state = State::Waiting(Token(reply.token)),
                }
                Ok(false)
            }
        }
    }

    /// Notes that the grant has ended.
    pub(crate) fn released(&mut self) {
        let held = std::mem::replace(&mut self.state, State::Idle);
        if let State::Holding { grant, .. } = held {
            self.spare = grant.buffers;
        }
        self.members.released();
    }

    /// A growth became a new lock, because the grant was evicted before the call. Gives the new lock
    /// back and returns [`Error::Evicted`].
    fn discard(&mut self, reply: &LockReply) -> Result<bool> {
        let token = Token(reply.token);
        if let State::Holding { evicted, .. } = &mut self.state {
            *evicted = true;
        }
        let mut granted = !matches!(Granted::of(reply), Ok(None));
        if !granted && self.remote()?.cancel().is_err() {
            // It was granted or has ended meanwhile: its record is in the channel, or comes now.
            while self.events.wait(grace())? {
                match self.read_event()? {
                    Some(Event::Granted(grant)) if grant.token == token => granted = true,
                    Some(Event::LockFailed { token: ended, .. }) if ended == token => {}
                    _ => continue,
                }
                break;
            }
        }
        if granted {
            self.remote()?.unlock(token.0)?;
        }
        Err(Error::Evicted)
    }

    /// Waits until the pending lock is granted (true) or has ended (an error). Returns false if `until`
    /// comes first.
    pub(crate) fn await_grant(&mut self, until: Option<Instant>) -> Result<bool> {
        while !self.look()? {
            if !self.events.wait(until)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads events until the pending lock is granted (true) or has ended (an error). Returns false if
    /// there are no more events.
    pub(crate) fn look(&mut self) -> Result<bool> {
        while self.is_pending() {
            let Some(event) = self.read_event()? else { return Ok(false) };
            // If nothing is pending after an event, it was about this lock.
            match event {
                _ if self.is_pending() => {}
                Event::LockFailed { buffer, errno, by_fence, .. } => {
                    return Err(Error::LockFailed { buffer, errno, by_fence })
                }
                Event::TimedOut { .. } => return Err(Error::TimedOut),
                Event::Wounded { .. } => return Err(Error::Deadlock),
                Event::Evicted { .. } => return Err(Error::Evicted),
                Event::Granted(_) => {}
            }
        }
        Ok(true)
    }

    pub(crate) fn is_pending(&self) -> bool {
        matches!(self.state, State::Waiting(_) | State::Holding { growing: true, .. })
    }

    /// Updates the state after an event. Records of earlier locks don't change it.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Granted(granted) => match &mut self.state {
                State::Waiting(token) if *token == granted.token => {
                    let (grant, acquire) = (granted.clone(), Acquire::Ask);
                    self.members.granted();
                    self.state = State::Holding { grant, evicted: false, growing: false, acquire };
                }
                State::Holding { grant, growing, acquire, .. } if grant.token == granted.token => {
                    grant.clone_from(granted);
                    self.members.granted();
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
                self.evictions = self.evictions.wrapping_add(1);
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
        if let (false, Ok(binder)) = (matches!(self.state, State::Holding { .. }), self.remote()) {
            // An error can be ignored: the reference is dropped now in any case.
            let _ = binder.close();
        }
    }
}

pub(crate) fn duplicate(fd: BorrowedFd<'_>) -> Result<ParcelFileDescriptor> {
    fd.try_clone_to_owned().map(ParcelFileDescriptor::new).map_err(|error| {
        match Error::io("dup of a descriptor", &error) {
            Error::System(_, Errno::EBADF) => Error::BadFd,
            error => error,
        }
    })
}

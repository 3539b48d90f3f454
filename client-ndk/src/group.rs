// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A group and its grants.
//!
//! A group is idle, waiting, holding or growing, as in `ISyncGroup.aidl`; [`State`] is the client's view of
//! that, and is what tells a record of the current lock from one of a lock long gone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use binder::{ParcelFileDescriptor, Strong};
use buffersync_aidl::aidl::vendor::buffersync::ISyncGroup::ISyncGroup;
use buffersync_aidl::aidl::vendor::buffersync::LockReply::LockReply;
use buffersync_aidl::aidl::NativeHandle;
use buffersync_aidl::reply::Granted;
use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::events::{Event, EventPipe};
use crate::fork::{self, Remote};
use crate::members::Members;
use crate::types::{monotonic, Access, BufferId, GrantInfo, GrantedBuffer, Token};

/// How long the record of a lock that can't be cancelled any more may take. The service writes it
/// before it answers, so this is met only if the service breaks its word.
const RECORD_GRACE: Duration = Duration::from_secs(1);

pub(crate) fn grace() -> Option<Instant> {
    Instant::now().checked_add(RECORD_GRACE)
}

/// A set of dma-bufs that are locked and unlocked together.
///
/// Dropping a group ends it in order, a waiting lock included. A group that holds when it is
/// dropped (its [`Grant`](crate::Grant) was forgotten) is left to the service, which treats that as an eviction:
/// nobody said that the work was finished.
pub struct Group {
    binder: Remote<dyn ISyncGroup>,
    /// Names the group in a call of another one.
    pub(crate) key: i64,
    pub(crate) events: EventPipe,
    hold_limit: Duration,
    pub(crate) state: State,
    pub(crate) members: Members,
    evictions: u64,
    /// Nothing is in the pipe: since it was read empty no lock has waited, no fence was given, and no
    /// grant ended otherwise than by its unlock.
    quiet: bool,
    /// Memory of the last grant for the next.
    spare: Vec<GrantedBuffer>,
}

#[derive(Debug)]
pub(crate) enum State {
    Idle,
    Waiting(Token),
    Holding { grant: GrantInfo, evicted: bool, growing: bool, acquire: Acquire },
}

/// What a grant has to wait for.
#[derive(Debug)]
pub(crate) enum Acquire {
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
        key: i64,
        events: EventPipe,
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

    /// The service's end.
    pub(crate) fn remote(&self) -> Result<&dyn ISyncGroup> {
        self.binder.get()
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
        let ids = self.remote()?.add(&handle, access.to_aidl())?;
        let ids: Vec<BufferId> = ids.into_iter().map(BufferId).collect();
        ids.iter().for_each(|id| self.members.add(*id, access));
        Ok(ids)
    }

    /// Takes one buffer out.
    ///
    /// # Errors
    /// [`Error::UnknownBuffer`], [`Error::Busy`].
    pub fn remove(&mut self, buffer: BufferId) -> Result<()> {
        self.remote()?.remove(buffer.0)?;
        self.members.remove(buffer);
        Ok(())
    }

    /// Takes all buffers out.
    ///
    /// # Errors
    /// [`Error::Busy`].
    pub fn remove_all(&mut self) -> Result<()> {
        self.remote()?.removeAll()?;
        self.members.clear();
        Ok(())
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

    /// Takes a waiting lock back.
    ///
    /// # Errors
    /// [`Error::NotQueued`] if none is waiting. It may have been granted meanwhile: then
    /// [`Group::read_event`] says so.
    pub fn cancel(&mut self) -> Result<()> {
        self.remote()?.cancel()?;
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
        // The pipe is the parent's: what a child reads it does not get.
        fork::check()?;
        let event = self.events.next()?;
        if let Some(event) = &event {
            self.note(event);
        }
        Ok(event)
    }

    /// Sends the request, with a time-out in the service's terms or (`None`) to wait for nobody.
    /// True: granted at once.
    pub(crate) fn request(&mut self, timeout_ns: Option<i64>) -> Result<bool> {
        self.make_room()?;
        let reply = match timeout_ns {
            Some(timeout_ns) => self.remote()?.lock(timeout_ns)?,
            None => self.remote()?.tryLock()?,
        };
        if matches!(&self.state, State::Holding { grant, .. } if grant.token.0 != reply.token) {
            // The grant that was to grow had been taken away, so this began a lock of its own.
            return self.discard(&reply);
        }
        self.accept(reply)
    }

    /// A record may come that belongs to no lock any more.
    pub(crate) fn may_hear_later(&mut self) {
        self.quiet = false;
    }

    /// What earlier locks left must not fill the pipe (ERROR_EVENTS_UNREAD).
    pub(crate) fn make_room(&mut self) -> Result<()> {
        if matches!(self.state, State::Idle) && !self.quiet {
            while self.read_event()?.is_some() {}
            self.quiet = true;
        }
        Ok(())
    }

    /// Follows the reply to a request. True: granted.
    pub(crate) fn accept(&mut self, reply: LockReply) -> Result<bool> {
        let granted = Granted::of(&reply);
        match granted.map_err(|_| Error::Protocol("a grant of an impossible number of buffers"))? {
            Some(granted) => {
                let mut buffers = std::mem::take(&mut self.spare);
                buffers.clear();
                buffers.extend(granted.buffers().map(GrantedBuffer::from));
                let (token, deadline) = (Token(reply.token), monotonic(granted.deadline_ns));
                let grant = GrantInfo { token, deadline, buffers };
                let acquire = Acquire::Known(reply.acquireFence.map(Into::into));
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

    /// The grant is over.
    pub(crate) fn released(&mut self) {
        let held = std::mem::replace(&mut self.state, State::Idle);
        if let State::Holding { grant, .. } = held {
            self.spare = grant.buffers;
        }
        self.members.released();
    }

    /// Gives a lock back that was not meant, and reports the eviction that led to it.
    fn discard(&mut self, reply: &LockReply) -> Result<bool> {
        let token = Token(reply.token);
        if let State::Holding { evicted, .. } = &mut self.state {
            *evicted = true;
        }
        let mut granted = !matches!(Granted::of(reply), Ok(None));
        if !granted && self.remote()?.cancel().is_err() {
            // Granted meanwhile, or ended: its record is there, or comes now.
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

    /// Waits until the pending lock is granted, or says how it ended. False: `until` passed.
    pub(crate) fn await_grant(&mut self, until: Option<Instant>) -> Result<bool> {
        while !self.look()? {
            if !self.events.wait(until)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads events until the pending lock is granted (true), has ended otherwise, or there are no
    /// more.
    pub(crate) fn look(&mut self) -> Result<bool> {
        while self.is_pending() {
            let Some(event) = self.read_event()? else { return Ok(false) };
            // An event after which nothing is pending was about this lock.
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

    /// Follows the state. Records of earlier locks leave it alone.
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
            // Nothing can be done about a failure: either way the reference goes now.
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

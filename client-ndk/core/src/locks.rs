// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The client's books: one record for each lock of a group that has not ended, and the events that nobody
//! has asked for yet. No I/O and no calls.
//!
//! A record is made when the service has accepted a request. It goes when the client ends the lock, or
//! when an event tells that the lock ended without a grant. A grant that was taken away keeps its record
//! until the client unlocks it, so that the client learns of it. The service limits the locks of a group, and with that
//! the records, but it does not count grants that it has taken away: of those the client keeps the newest.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::Instant;

use crate::error::{Error, Result};
use crate::events::Event;
use crate::types::{Access, BufferId, GrantInfo, GrantedBuffer, InTheWay, LockId, Timeout};

/// Unread events that are kept: 32 locks at once with GRANTED, CONTENDED and EVICTED, and a group's 120 late
/// fences, are 216. A program that never asks for events loses the oldest. Events only report what the records
/// have, except why a lock ended without a grant.
const MAX_UNREAD: usize = 256;

/// As many locks as a group can have at once, unless an integrator allows more.
const MAX_ENDED: usize = 32;

/// Records that are kept: more than a group can have locks at once (32, and an integrator may allow more).
const MAX_RECORDS: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Locks {
    /// The oldest number is the first.
    living: Vec<Lock>,
    /// The greatest number so far.
    last: LockId,
    /// The last locks that have ended without a grant, and why: for whoever asks after another call has read the event.
    ended: VecDeque<(LockId, Error)>,
    /// Events that a call has read while it waited for others.
    unread: VecDeque<Event>,
    /// The memory of the last grant, for the next grant.
    spare: Vec<GrantedBuffer>,
    spare_accesses: Accesses,
}

/// Buffers with their accesses. The strongest counts for one that is there twice.
pub(crate) type Accesses = Vec<(BufferId, Access)>;

#[derive(Debug)]
pub(crate) struct Lock {
    pub id: LockId,
    /// `None` until the first grant.
    pub grant: Option<GrantInfo>,
    /// The accesses of the grant.
    held: Accesses,
    /// If it waits: the accesses that it will have.
    asked: Accesses,
    /// It waits: for its grant or for more.
    pub waiting: bool,
    /// If it waits: the time at which the client ends the wait, because the service should have done so before.
    pub until: Option<Instant>,
    /// How the last growth ended, if it was not granted.
    failed: Option<Error>,
    /// The grant was taken away.
    pub evicted: Option<Taken>,
    pub acquire: Acquire,
}

/// How a grant was taken away.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    /// A lock that was waiting for it.
    pub by: Option<InTheWay>,
}

impl Lock {
    /// Whether the grant has the buffer with at least this access.
    pub fn holds(&self, buffer: BufferId, access: Access) -> bool {
        let mut held = self.held.iter().filter(|(id, _)| *id == buffer);
        held.any(|(_, held)| held.stronger(access) == Some(*held))
    }

    /// What waited is granted.
    fn granted(&mut self, grant: GrantInfo, acquire: Acquire) {
        self.held = std::mem::take(&mut self.asked);
        self.failed = None;
        (self.grant, self.acquire, self.waiting) = (Some(grant), acquire, false);
    }
}

/// The acquire fence of a grant.
#[derive(Debug)]
pub(crate) enum Acquire {
    /// The fence that came with the reply, if any.
    Known(Option<OwnedFd>),
    /// The grant came by event, which carries no descriptor, or the service had none for the reply: ask for it.
    Ask,
}

/// A grant, and its fence.
pub(crate) type Granted = (GrantInfo, Acquire);

impl Locks {
    /// A number for a new lock. It is never used again, whatever becomes of the request.
    pub fn next_id(&mut self) -> LockId {
        self.last = LockId(self.last.0.saturating_add(1));
        self.last
    }

    /// Notes a lock that the service has accepted; with its grant, or it waits.
    pub fn begin(
        &mut self,
        id: LockId,
        granted: Option<Granted>,
        wants: &[(BufferId, Access)],
        timeout: Timeout,
    ) {
        let mut asked = std::mem::take(&mut self.spare_accesses);
        asked.clear();
        asked.extend_from_slice(wants);
        let mut lock = Lock {
            id,
            grant: None,
            held: Vec::new(),
            asked,
            waiting: true,
            until: None,
            failed: None,
            evicted: None,
            acquire: Acquire::Ask,
        };
        match granted {
            Some((grant, acquire)) => lock.granted(grant, acquire),
            None => lock.until = timeout.until(),
        }
        self.living.push(lock);
        if self.living.len() > MAX_RECORDS {
            // A program that never unlocks what was taken away.
            if let Some(oldest) = self.living.iter().find(|lock| lock.evicted.is_some()) {
                self.forget(oldest.id);
            }
        }
    }

    /// Notes what a growth asks for.
    pub fn ask_for_more(&mut self, id: LockId, wants: &[(BufferId, Access)], timeout: Timeout) {
        let Some(lock) = self.find_mut(id) else { return };
        lock.asked.clone_from(&lock.held);
        lock.asked.extend_from_slice(wants);
        lock.failed = None;
        lock.until = timeout.until();
    }

    /// Notes that a growth was granted (or queued, for `None`).
    pub fn grown(&mut self, id: LockId, granted: Option<Granted>) {
        let Some(lock) = self.find_mut(id) else { return };
        match granted {
            Some((grant, acquire)) => lock.granted(grant, acquire),
            None => lock.waiting = true,
        }
    }

    /// Notes that a part of a grant was let go. Returns true if nothing is left.
    pub fn let_go(&mut self, id: LockId, buffers: &[BufferId]) -> bool {
        let Some(lock) = self.find_mut(id) else { return false };
        lock.held.retain(|(buffer, _)| !buffers.contains(buffer));
        lock.grant.as_mut().is_some_and(|grant| {
            grant.buffers.retain(|buffer| !buffers.contains(&buffer.id));
            grant.buffers.is_empty()
        })
    }

    /// Notes that nobody may use these buffers of a grant.
    pub fn disown(&mut self, id: LockId, buffers: &[BufferId]) {
        if let Some(lock) = self.find_mut(id) {
            lock.held.retain(|(buffer, _)| !buffers.contains(buffer));
        }
    }

    /// Notes that a grant shares these buffers; none: all of them.
    pub fn share(&mut self, id: LockId, buffers: &[BufferId]) {
        let held = self.find_mut(id).into_iter().flat_map(|lock| &mut lock.held);
        held.filter(|(id, _)| buffers.is_empty() || buffers.contains(id))
            .for_each(|(_, access)| *access = access.shared());
    }

    /// Notes that a grant was taken away, without its record.
    pub fn take_away(&mut self, id: LockId) {
        if let Some(lock) = self.find_mut(id) {
            lock.evicted.get_or_insert(Taken { by: None });
            lock.waiting = false;
        }
    }

    /// The error of a grant that was taken away.
    pub fn evicted(&self, id: LockId) -> Error {
        let taken = self.find(id).and_then(|lock| lock.evicted.as_ref());
        Error::Evicted { by: taken.and_then(|taken| taken.by.clone()) }
    }

    /// Deletes a record: the lock has ended.
    pub fn forget(&mut self, id: LockId) {
        if let Some(at) = self.living.iter().position(|lock| lock.id == id) {
            let Lock { grant, held, .. } = self.living.remove(at);
            if let Some(grant) = grant {
                (self.spare, self.spare_accesses) = (grant.buffers, held);
            }
        }
        self.unread.retain(|event| event.lock() != id || is_late_fence(event));
    }

    pub fn find(&self, id: LockId) -> Option<&Lock> {
        self.living.iter().find(|lock| lock.id == id)
    }

    pub fn find_mut(&mut self, id: LockId) -> Option<&mut Lock> {
        self.living.iter_mut().find(|lock| lock.id == id)
    }

    pub fn is_empty(&self) -> bool {
        self.living.is_empty()
    }

    /// Tells if a lock has a grant, or had one that was taken away.
    pub fn holds_any(&self) -> bool {
        self.living.iter().any(|lock| lock.grant.is_some())
    }

    /// Memory for the buffers of a grant.
    pub fn spare(&mut self) -> Vec<GrantedBuffer> {
        std::mem::take(&mut self.spare)
    }

    /// Updates the records after an event. Returns false for an event of a lock that has ended, which
    /// nobody wants to know of.
    pub fn note(&mut self, event: &Event) -> bool {
        let id = event.lock();
        if is_late_fence(event) {
            // A lock that lives goes on.
            return true;
        }
        let Some(lock) = self.find_mut(id) else { return false };
        match event {
            Event::Granted(granted) => {
                if !lock.waiting {
                    // The client has ended the wait of a growth, and the service granted it first.
                    lock.asked.clone_from(&lock.held);
                }
                lock.granted(granted.clone(), Acquire::Ask);
                lock.held.retain(|(id, _)| granted.buffers.iter().any(|buffer| buffer.id == *id));
                true
            }
            Event::LockFailed { .. } | Event::TimedOut { .. } | Event::Wounded { .. } => {
                let waited = lock.waiting;
                if waited {
                    self.fail(id, how_it_ended(event));
                }
                waited
            }
            Event::Evicted { by, .. } => {
                lock.evicted = Some(Taken { by: by.clone() });
                lock.waiting = false;
                true
            }
            Event::Contended { deadline, .. } => match &mut lock.grant {
                Some(grant) if lock.evicted.is_none() => {
                    grant.deadline = *deadline;
                    true
                }
                _ => false,
            },
        }
    }

    /// Keeps an event for [`Locks::next_unread`].
    pub fn keep(&mut self, event: Event) {
        if self.unread.len() >= MAX_UNREAD {
            self.unread.pop_front();
        }
        self.unread.push_back(event);
    }

    pub fn next_unread(&mut self) -> Option<Event> {
        self.unread.pop_front()
    }

    /// Tells how a request ended that waits no more. The events that told it are not reported again.
    pub fn answer(&mut self, id: LockId) -> Result<()> {
        self.unread.retain(|event| {
            event.lock() != id || matches!(event, Event::Contended { .. }) || is_late_fence(event)
        });
        match self.find(id) {
            Some(lock) if lock.evicted.is_some() => Err(self.evicted(id)),
            Some(lock) => lock.failed.clone().map_or(Ok(()), Err),
            None => {
                let ended = self.ended.iter().find(|(ended, _)| *ended == id);
                Err(ended.map_or(Error::Ended, |(_, error)| error.clone()))
            }
        }
    }

    /// Notes that a wait has ended without a grant. Whoever asks is told, also if somebody else has read the event.
    fn fail(&mut self, id: LockId, error: Error) {
        let Some(lock) = self.find_mut(id) else { return };
        lock.waiting = false;
        if lock.grant.is_some() {
            lock.failed = Some(error);
            return;
        }
        self.living.retain(|lock| lock.id != id);
        if self.ended.len() >= MAX_ENDED {
            self.ended.pop_front();
        }
        self.ended.push_back((id, error));
    }
}

/// The error of a wait that ended without a grant.
fn how_it_ended(event: &Event) -> Error {
    match event {
        Event::LockFailed { buffer, errno, by_fence, .. } => {
            Error::LockFailed { buffer: *buffer, errno: *errno, by_fence: *by_fence }
        }
        Event::TimedOut { by, .. } => Error::TimedOut { by: by.clone(), silent: false },
        Event::Wounded { .. } => Error::Deadlock,
        _ => Error::Ended,
    }
}

/// An event about the release fence of an earlier unlock. It changes no lock.
fn is_late_fence(event: &Event) -> bool {
    matches!(event, Event::Evicted { by_fence: true, .. })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ONE: LockId = LockId(1);
    const TWO: LockId = LockId(2);

    fn info(lock: LockId, buffers: &[i64]) -> GrantInfo {
        let buffer = |id: &i64| GrantedBuffer {
            id: BufferId(*id),
            generation: 1,
            evicted: false,
            torn: false,
            fenced: false,
        };
        let buffers = buffers.iter().map(buffer).collect();
        GrantInfo { lock, deadline: Some(Duration::from_secs(1)), buffers }
    }

    /// Lock 1 is granted with buffers 1 and 2, lock 2 waits.
    fn locks() -> Locks {
        let mut locks = Locks::default();
        assert_eq!((locks.next_id(), locks.next_id()), (ONE, TWO));
        let wants = [(BufferId(1), Access::Read), (BufferId(2), Access::Write)];
        let granted = Some((info(ONE, &[1, 2]), Acquire::Known(None)));
        locks.begin(ONE, granted, &wants, Timeout::Never);
        locks.begin(TWO, None, &[(BufferId(3), Access::DmaRead)], Timeout::Never);
        locks
    }

    fn evicted(lock: LockId, by_fence: bool) -> Event {
        Event::Evicted { lock, by_fence, by: None }
    }

    #[test]
    fn an_event_changes_the_lock_of_its_number_only() {
        let mut locks = locks();
        assert!(locks.note(&Event::Granted(info(TWO, &[3]))));
        assert!(locks.note(&evicted(ONE, false)));
        let (one, two) = (locks.find(ONE).unwrap(), locks.find(TWO).unwrap());
        assert!(one.evicted.is_some() && two.evicted.is_none() && !two.waiting);
        assert_eq!(two.grant.as_ref().unwrap().buffers.len(), 1);
    }

    #[test]
    fn events_of_unknown_numbers_are_skipped_except_those_of_fences() {
        let mut locks = locks();
        locks.forget(ONE);
        let deadline = Some(Duration::from_secs(2));
        for event in [
            Event::Granted(info(ONE, &[1])),
            Event::TimedOut { lock: ONE, by: None },
            Event::Wounded { lock: LockId(9) },
            Event::Contended { lock: ONE, deadline },
            evicted(ONE, false),
        ] {
            assert!(!locks.note(&event), "{event:?}");
        }
        assert!(locks.note(&evicted(ONE, true)));
        assert!(locks.find(ONE).is_none() && locks.find(TWO).is_some());
    }

    #[test]
    fn a_late_fence_does_not_end_a_lock_that_lives() {
        let mut locks = locks();
        assert!(locks.note(&evicted(ONE, true)));
        assert!(locks.find(ONE).unwrap().evicted.is_none());
        locks.grown(ONE, None);
        assert!(locks.note(&evicted(ONE, true)));
        assert!(locks.find(ONE).unwrap().waiting);
    }

    #[test]
    fn a_lock_that_ends_without_a_grant_is_gone_and_a_growth_leaves_its_grant() {
        let mut locks = locks();
        locks.grown(ONE, None);
        for lock in [ONE, TWO] {
            let event = Event::TimedOut { lock, by: None };
            assert!(locks.note(&event));
            locks.keep(event);
            assert_eq!(locks.answer(lock), Err(Error::TimedOut { by: None, silent: false }));
        }
        assert!(locks.find(TWO).is_none());
        let one = locks.find(ONE).unwrap();
        assert!(one.grant.is_some() && !one.waiting);
        assert_eq!(locks.next_unread(), None);
        // A growth that was cancelled has no event. If there is one all the same, it is old.
        assert!(!locks.note(&Event::Wounded { lock: ONE }));
    }

    #[test]
    fn a_contention_is_told_once_and_gives_the_deadline() {
        let mut locks = locks();
        let deadline = Some(Duration::from_secs(7));
        assert!(locks.note(&Event::Contended { lock: ONE, deadline }));
        assert_eq!(locks.find(ONE).unwrap().grant.as_ref().unwrap().deadline, deadline);
        assert!(!locks.note(&Event::Contended { lock: TWO, deadline }), "it has no grant");
    }

    #[test]
    fn the_last_answer_counts_and_other_events_stay() {
        let mut locks = locks();
        locks.grown(ONE, None);
        for event in [
            Event::TimedOut { lock: ONE, by: None },
            Event::Granted(info(TWO, &[3])),
            evicted(ONE, true),
            Event::Granted(info(ONE, &[1, 2, 3])),
        ] {
            locks.note(&event);
            locks.keep(event);
        }
        assert_eq!(locks.answer(ONE), Ok(()));
        assert!(matches!(locks.next_unread(), Some(Event::Granted(grant)) if grant.lock == TWO));
        assert_eq!(locks.next_unread(), Some(evicted(ONE, true)));
        assert_eq!(locks.next_unread(), None);
    }

    #[test]
    fn unread_events_are_bounded_and_end_with_their_lock() {
        let mut locks = locks();
        for _ in 0..2 * MAX_UNREAD {
            locks.keep(evicted(ONE, false));
        }
        assert_eq!(locks.unread.len(), MAX_UNREAD);
        locks.forget(ONE);
        assert_eq!(locks.next_unread(), None);
    }

    #[test]
    fn grants_that_were_taken_away_and_never_unlocked_are_bounded() {
        let mut locks = locks();
        for _ in 0..2 * MAX_RECORDS {
            let id = locks.next_id();
            locks.begin(id, Some((info(id, &[1]), Acquire::Ask)), &[], Timeout::Never);
            locks.note(&evicted(id, false));
        }
        assert_eq!(locks.living.len(), MAX_RECORDS);
        assert!(locks.find(ONE).is_some() && locks.find(TWO).is_some(), "they live");
        assert!(matches!(locks.evicted(locks.last), Error::Evicted { .. }));
    }

    #[test]
    fn a_grant_without_buffers_has_ended() {
        let mut locks = locks();
        assert!(!locks.let_go(ONE, &[BufferId(1)]));
        assert!(locks.let_go(ONE, &[BufferId(2), BufferId(1)]));
        assert!(!locks.let_go(TWO, &[BufferId(1)]), "it waits");
    }

    #[test]
    fn a_grant_has_the_accesses_that_were_asked_for() {
        let mut locks = locks();
        let holds = |locks: &Locks, id, buffer, access| {
            locks.find(id).is_some_and(|lock| lock.holds(BufferId(buffer), access))
        };
        assert!(holds(&locks, ONE, 2, Access::Write) && holds(&locks, ONE, 2, Access::Read));
        assert!(holds(&locks, ONE, 1, Access::Read) && !holds(&locks, ONE, 1, Access::Write));
        assert!(!holds(&locks, TWO, 3, Access::DmaRead), "it waits");
        locks.note(&Event::Granted(info(TWO, &[3])));
        assert!(holds(&locks, TWO, 3, Access::DmaRead) && !holds(&locks, TWO, 3, Access::Read));

        // A growth that fails leaves what there was; one that is granted adds to it.
        let more = [(BufferId(1), Access::Write), (BufferId(3), Access::Read)];
        locks.ask_for_more(ONE, &more, Timeout::Never);
        locks.grown(ONE, None);
        locks.note(&Event::Wounded { lock: ONE });
        assert!(!holds(&locks, ONE, 1, Access::Write));
        locks.ask_for_more(ONE, &more, Timeout::Never);
        locks.grown(ONE, Some((info(ONE, &[1, 2, 3]), Acquire::Ask)));
        assert!(holds(&locks, ONE, 1, Access::Write) && holds(&locks, ONE, 3, Access::Read));

        locks.share(ONE, &[BufferId(1)]);
        assert!(!holds(&locks, ONE, 1, Access::Write) && holds(&locks, ONE, 2, Access::Write));
        locks.let_go(ONE, &[BufferId(2)]);
        assert!(!holds(&locks, ONE, 2, Access::Read) && holds(&locks, ONE, 1, Access::Read));
    }

    #[test]
    fn numbers_grow_and_never_overflow() {
        let mut locks = Locks { last: LockId(i64::MAX - 1), ..Locks::default() };
        assert_eq!(locks.next_id(), LockId(i64::MAX));
        assert_eq!(locks.next_id(), LockId(i64::MAX));
    }
}

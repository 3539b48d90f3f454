// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The groups as the service sees them: name, event channel, locks with the records that they may still lead
//! to, charges to the uid's quotas, grants that were taken away. Writes slices. Knows neither the
//! engine's table nor buffers and fences.
//!
//! The engine has the same locks. This file keeps of each what decides about room in the channel and about quotas.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use buffersync_aidl::event::Record;
use buffersync_engine::{BufferId, EvictionCause, GroupId, Time, Token};

use crate::config::Config;
use crate::error::Error;
use crate::events::{Ahead, EventChannel, Lost, MAX_BUFFERS_OF_LOCKS, MAX_FENCES_PER_GROUP};
use crate::evicted::Evicted;
use crate::notes::Note;
use crate::platform::Tracer;
use crate::quota::{Kind, Quotas, Resources};
use crate::tables::{self, ByGroup, ById};
use crate::trace::{LockName, Slices};
use crate::unread::UnreadGroups;

/// Evictions that dumps show: enough to see a pattern on one screen.
const EVICTIONS_KEPT: usize = 16;

/// When a uid has too many unread events, a call asks the kernel about its groups, until so many have answered that
/// nothing was read. (An answer that something was read is paid for by the calls that had it sent.)
const FRUITLESS_LOOKS: usize = 16;

/// No uid (the (uid_t) -1 of setuid(2)).
pub(crate) const NOBODY: u32 = u32::MAX;

/// Who may know all names: root, and the system (AID_SYSTEM of android_filesystem_config.h).
pub(crate) const SYSTEM_UIDS: [u32; 2] = [0, 1000];

pub(crate) struct Sessions {
    groups: ByGroup<Group>,
    /// By the numbers that dumps and records say.
    by_serial: ById<u64, GroupId>,
    pub quotas: Quotas,
    unread: UnreadGroups,
    max_locks: usize,
    /// The newest first.
    evictions: VecDeque<Eviction>,
    slices: Arc<Slices<Tracer>>,
}

pub(crate) struct Group {
    pub name: Arc<str>,
    pub uid: u32,
    channel: EventChannel,
    /// Its unread events that are charged to the uid, in bytes.
    unread: usize,
    /// The group takes part in implicit synchronisation.
    pub implicit: bool,
    /// Those that have not ended, in the order of their numbers.
    locks: Vec<Lock>,
    /// The greatest number of an accepted lock.
    last: Token,
    evicted: Evicted,
}

/// A lock that has not ended.
#[derive(Debug)]
pub(crate) struct Lock {
    token: Token,
    /// The number of buffers in the grant; 0 if there is none yet.
    held: usize,
    /// The number of buffers in the grant that it waits for; `None` if it does not wait.
    waits_for: Option<usize>,
    /// The holder was told that somebody waits.
    contended: bool,
    /// The grant was told by an event, and the client has not read it.
    told: Option<Told>,
}

/// The event that told a grant.
#[derive(Clone, Copy, Debug)]
struct Told {
    at: Time,
    /// [`EventChannel::position`] behind it.
    position: usize,
}

impl Lock {
    /// It waits for its grant, or for more. It counts in the uid's quota.
    pub fn is_waiting(&self) -> bool {
        self.waits_for.is_some()
    }

    pub fn is_granted(&self) -> bool {
        self.held > 0
    }

    fn ahead(&self) -> Ahead {
        Ahead { waits_for: self.waits_for, contended: !self.contended }
    }

    /// The number of buffers that count for the group's limit.
    pub fn buffers(&self) -> usize {
        self.waits_for.unwrap_or(0).max(self.held)
    }
}

/// A grant that was taken away, for dumps.
pub(crate) struct Eviction {
    pub at: Time,
    pub uid: u32,
    pub name: Arc<str>,
    pub token: Token,
    pub cause: EvictionCause,
}

impl Group {
    pub fn locks(&self) -> &[Lock] {
        &self.locks
    }

    fn lock_mut(&mut self, token: Token) -> Option<&mut Lock> {
        self.locks.iter_mut().find(|lock| lock.token == token)
    }

    /// The locks except this one.
    fn others(&self, but: Option<Token>) -> impl Iterator<Item = &Lock> {
        self.locks.iter().filter(move |lock| Some(lock.token) != but)
    }

    /// The room in the channel for the records of all locks except this one.
    fn reserved(&self, but: Option<Token>) -> usize {
        self.others(but).map(|lock| lock.ahead().cost()).sum()
    }

    fn traced(&self, id: GroupId, token: Token) -> LockName<'_> {
        LockName { group: &self.name, serial: id.serial(), lock: token.0 }
    }
}

impl Sessions {
    pub fn new(config: &Config, resources: Resources, slices: Arc<Slices<Tracer>>) -> Self {
        Self {
            groups: ByGroup::new(),
            by_serial: ById::default(),
            quotas: Quotas::new(config, resources),
            unread: UnreadGroups::default(),
            max_locks: config.max_locks_per_group as usize,
            evictions: VecDeque::new(),
            slices,
        }
    }

    /// Adds a group that is charged to its uid already.
    pub fn open(
        &mut self,
        id: GroupId,
        uid: u32,
        name: &str,
        channel: EventChannel,
        implicit: bool,
    ) {
        let group = Group {
            name: name.into(),
            uid,
            channel,
            unread: 0,
            implicit,
            locks: Vec::new(),
            last: Token(0),
            evicted: Evicted::default(),
        };
        self.groups.insert(id, group);
        self.by_serial.insert(id.serial(), id);
    }

    /// Ends a group that has no lock, and gives its charges back. Its client sees that the
    /// channel is closed.
    pub fn close(&mut self, id: GroupId, members: impl Iterator<Item = BufferId>) {
        let Some(group) = self.groups.remove(id) else { return };
        self.by_serial.remove(&id.serial());
        tables::shrink(&mut self.by_serial);
        members.for_each(|buffer| self.quotas.give_back_buffer(group.uid, buffer));
        self.quotas.recount_unread(group.uid, group.unread as u64, 0);
        self.unread.remove(group.uid, id.serial());
        self.quotas.give_back(group.uid, Kind::Groups, 1);
    }

    pub fn get(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(id)
    }

    pub fn group(&self, id: GroupId) -> Result<&Group, Error> {
        self.get(id).ok_or(Error::Closed)
    }

    /// The name of the group with this number, if the group `asks` may know it: it has the same uid, or is the
    /// system's.
    pub fn name_for(&self, asks: GroupId, serial: u64) -> Result<Option<&str>, Error> {
        let uid = self.group(asks)?.uid;
        let group = self.by_serial.get(&serial).and_then(|id| self.get(*id));
        let known = group.filter(|group| group.uid == uid || SYSTEM_UIDS.contains(&uid));
        Ok(known.map(|group| &*group.name))
    }

    /// The uid of a group; [`NOBODY`] if it has ended.
    pub fn uid(&self, id: GroupId) -> u32 {
        self.get(id).map_or(NOBODY, |group| group.uid)
    }

    pub fn iter(&self) -> impl Iterator<Item = (GroupId, &Group)> {
        self.groups.iter()
    }

    pub fn len(&self) -> usize {
        self.groups.len()
    }

    pub fn evictions(&self) -> &VecDeque<Eviction> {
        &self.evictions
    }

    /// A lock that has not ended. Otherwise the error says why not: the grant was taken away, the lock has
    /// ended in another way, or it never was.
    pub fn lock(&self, id: GroupId, token: Token) -> Result<&Lock, Error> {
        let group = self.group(id)?;
        // First: a grant goes on when a part of it has ended with a fence that failed.
        if let Some(lock) = group.locks.iter().find(|lock| lock.token == token) {
            return Ok(lock);
        }
        Err(match token {
            token if group.evicted.contains(token) => Error::Evicted,
            Token(number) if number == 0 || token > group.last => Error::BadLock(group.last.0),
            _ => Error::Ended,
        })
    }

    /// Refuses a number that no new lock can have.
    pub fn check_number(&self, id: GroupId, token: Token) -> Result<(), Error> {
        let last = self.group(id)?.last;
        (token > last).then_some(()).ok_or(Error::BadLock(last.0))
    }

    /// Refuses a lock of `buffers` buffers for which the group has no room besides its other locks. `but` does not count:
    /// it is the same lock before it grows, or one that ends first, with `failed` fences that have failed.
    /// Each of these becomes a record.
    pub fn check_room(
        &mut self,
        id: GroupId,
        but: Option<Token>,
        buffers: usize,
        failed: usize,
    ) -> Result<(), Error> {
        let group = self.groups.get_mut(id).ok_or(Error::Closed)?;
        let (mut locks, mut all) = (1, buffers);
        for other in group.others(but) {
            locks += 1;
            all += other.buffers();
        }
        if locks > self.max_locks {
            return Err(Error::Quota("locks of a group at most: unlock one", self.max_locks));
        }
        if all > MAX_BUFFERS_OF_LOCKS {
            return Err(Error::Quota(
                "buffers in all locks of a group at most: unlock one",
                MAX_BUFFERS_OF_LOCKS,
            ));
        }
        let waited = group.locks.iter().any(|lock| Some(lock.token) == but && lock.is_waiting());
        self.quotas.check(group.uid, Kind::Queued, u64::from(!waited))?;
        let reserved = group.reserved(but) + Ahead::new(buffers).cost();
        let uid = group.uid;
        self.check_channel(id, reserved, MAX_FENCES_PER_GROUP + failed)?;
        self.check_unread(uid)
    }

    /// Refuses what could lead to more records than the channel has room for: see [`EventChannel::has_room`].
    fn check_channel(&mut self, id: GroupId, locks: usize, fences: usize) -> Result<(), Error> {
        let group = self.groups.get_mut(id).ok_or(Error::Closed)?;
        let has_room = group.channel.has_room(locks, fences);
        // It may have asked the kernel.
        self.recount(id);
        has_room.then_some(()).ok_or(Error::EventsUnread)
    }

    /// Refuses a lock of a uid whose clients leave too many events unread, in all groups together.
    fn check_unread(&mut self, uid: u32) -> Result<(), Error> {
        if self.quotas.may_be_told_more(uid) {
            return Ok(());
        }
        let mut looks = FRUITLESS_LOOKS;
        for _ in 0..self.unread.len(uid) {
            let next = self.unread.next(uid).and_then(|serial| self.by_serial.get(&serial));
            let Some(id) = next.copied().filter(|_| looks > 0) else { break };
            let before = self.quotas.unread(uid);
            if let Some(group) = self.groups.get_mut(id) {
                group.channel.ask();
            }
            self.recount(id);
            if self.quotas.may_be_told_more(uid) {
                return Ok(());
            }
            looks -= usize::from(self.quotas.unread(uid) == before);
        }
        Err(Error::EventsUnread)
    }

    /// Sends a record of a group, and those that belong to it. `None` if there is no such group.
    pub fn send(
        &mut self,
        id: GroupId,
        head: Record,
        more: impl ExactSizeIterator<Item = Record>,
    ) -> Option<Result<(), Lost>> {
        let sent = self.groups.get_mut(id)?.channel.send(head, more);
        self.recount(id);
        Some(sent)
    }

    /// Charges what is unread in a group's channel.
    fn recount(&mut self, id: GroupId) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let now = group.channel.unread();
        let before = mem::replace(&mut group.unread, now);
        if now == before {
            return;
        }
        self.quotas.recount_unread(group.uid, before as u64, now as u64);
        if before == 0 {
            self.unread.add(group.uid, id.serial());
        } else if now == 0 {
            self.unread.remove(group.uid, id.serial());
        }
    }

    /// Refuses fences if the channel has no room for the records of so many when the lock `ends` has ended. Each lock
    /// has made room for [`MAX_FENCES_PER_GROUP`] fences when it was accepted, so this refuses nothing unless fences
    /// have failed since then and nobody has read it.
    pub fn check_fences(
        &mut self,
        id: GroupId,
        ends: Option<Token>,
        fences: usize,
    ) -> Result<(), Error> {
        let reserved = self.group(id)?.reserved(ends);
        self.check_channel(id, reserved, fences)
    }

    /// A lock is accepted. Its number is greater than all before.
    pub fn begin_lock(&mut self, id: GroupId, token: Token) {
        let Some(group) = self.groups.get_mut(id) else { return };
        group.last = token;
        group.locks.push(Lock { token, held: 0, waits_for: None, contended: false, told: None });
    }

    /// A lock waits for a grant of so many buffers. Those that it has already count too.
    pub fn begin_wait(&mut self, id: GroupId, token: Token, buffers: usize) -> Result<(), Error> {
        let group = self.groups.get_mut(id).ok_or(Error::Closed)?;
        self.quotas.charge(group.uid, Kind::Queued, 1)?;
        if let Some(lock) = group.lock_mut(token) {
            lock.waits_for = Some(buffers);
        }
        self.slices.waits(group.traced(id, token));
        Ok(())
    }

    /// A lock does not wait any more.
    fn end_wait(&mut self, id: GroupId, token: Token) {
        let Some(group) = self.groups.get_mut(id) else { return };
        if group.lock_mut(token).and_then(|lock| lock.waits_for.take()).is_some() {
            self.slices.wait_ended(group.traced(id, token));
            self.quotas.give_back(group.uid, Kind::Queued, 1);
        }
    }

    /// A wait has ended without a grant: the lock has ended, or goes on with the grant that it had.
    pub fn give_up(&mut self, id: GroupId, token: Token) {
        self.end_wait(id, token);
        if self.lock(id, token).is_ok_and(|lock| !lock.is_granted()) {
            self.end_lock(id, token);
        }
    }

    /// A lock is granted, or its grant has grown or ended in part. It has so many buffers now.
    pub fn hold(&mut self, id: GroupId, token: Token, buffers: usize) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let Some(lock) = group.lock_mut(token) else { return };
        let began = mem::replace(&mut lock.held, buffers) == 0;
        // If this is a reply, its client knows of the grant.
        lock.told = None;
        if lock.is_waiting() {
            self.end_wait(id, token);
        }
        if let Some(group) = self.groups.get(id).filter(|_| began) {
            self.slices.holds(group.traced(id, token));
        }
    }

    /// A holder is told that somebody waits.
    pub fn contended(&mut self, id: GroupId, token: Token) {
        if let Some(lock) = self.groups.get_mut(id).and_then(|group| group.lock_mut(token)) {
            lock.contended = true;
        }
    }

    /// A grant was told by an event, the last one of the group's channel.
    pub fn told(&mut self, id: GroupId, token: Token, at: Time) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let position = group.channel.position();
        if let Some(lock) = group.lock_mut(token) {
            lock.told = Some(Told { at, position });
        }
    }

    /// When the event was sent that told a grant, if nobody has read it.
    pub fn unread_since(&mut self, id: GroupId, token: Token) -> Option<Time> {
        let Group { locks, channel, .. } = self.groups.get_mut(id)?;
        let lock = locks.iter_mut().find(|lock| lock.token == token)?;
        lock.told = lock.told.filter(|told| channel.is_unread(told.position));
        lock.told.map(|told| told.at)
    }

    /// True if a grant was told by an event, and is not known to be read.
    pub fn is_told(&self, id: GroupId, token: Token) -> bool {
        self.lock(id, token).is_ok_and(|lock| lock.told.is_some())
    }

    /// A lock is over.
    pub fn end_lock(&mut self, id: GroupId, token: Token) {
        self.end_wait(id, token);
        let Some(group) = self.groups.get_mut(id) else { return };
        let Some(nth) = group.locks.iter().position(|lock| lock.token == token) else { return };
        if group.locks.remove(nth).is_granted() {
            self.slices.hold_ended(group.traced(id, token));
        }
    }

    pub fn any_lock(&self, id: GroupId) -> Option<Token> {
        Some(self.get(id)?.locks.first()?.token)
    }

    /// A grant was taken away. Returns the line for the log.
    pub fn evicted(
        &mut self,
        id: GroupId,
        token: Token,
        cause: EvictionCause,
        at: Time,
    ) -> Option<Note> {
        let group = self.groups.get_mut(id)?;
        group.evicted.add(token);
        self.slices.evicted(group.traced(id, token));
        let (name, uid) = (Arc::clone(&group.name), group.uid);
        let note = Note::Evicted { uid, group: id.serial(), name: Arc::clone(&name), cause };
        self.evictions.truncate(EVICTIONS_KEPT - 1);
        self.evictions.push_front(Eviction { at, uid, name, token, cause });
        Some(note)
    }
}

#[cfg(test)]
mod tests {
    use buffersync_engine::{Engine, Limits};
    use buffersync_kernel::fd::Fd;

    use super::*;
    use crate::events::{Costs, MAX_LOCKS_PER_GROUP};

    fn sessions() -> (Sessions, GroupId, Fd) {
        let config = Config::default();
        let slices = Arc::new(Slices::new(Tracer::new(&config)));
        let mut sessions = Sessions::new(&config, Resources::AMPLE, slices);
        let (id, _) = Engine::new(Limits::default()).open_group(None);
        let (channel, clients) =
            EventChannel::new(&Arc::default(), &Arc::new(Costs::measure().unwrap())).unwrap();
        sessions.quotas.charge(1, Kind::Groups, 1).unwrap();
        sessions.open(id, 1, "test", channel, false);
        (sessions, id, clients)
    }

    #[test]
    fn a_dead_number_says_how_the_lock_has_ended() {
        let (mut sessions, id, _clients) = sessions();
        let error = |sessions: &Sessions, token| sessions.lock(id, Token(token)).err();
        for (token, held) in [(5, 1), (7, 1), (8, 0)] {
            sessions.check_number(id, Token(token)).unwrap();
            sessions.begin_lock(id, Token(token));
            sessions.hold(id, Token(token), held);
        }
        assert_eq!(sessions.check_number(id, Token(8)), Err(Error::BadLock(8)));
        sessions.end_lock(id, Token(5));
        sessions.end_lock(id, Token(7));
        sessions.evicted(id, Token(7), EvictionCause::Deadline, Time(0));
        // A part of it has ended with a fence that failed; the rest goes on.
        sessions.evicted(id, Token(8), EvictionCause::Fence, Time(0));
        let expected = [
            (0, Some(Error::BadLock(8))),
            (1, Some(Error::Ended)),
            (5, Some(Error::Ended)),
            (6, Some(Error::Ended)),
            (7, Some(Error::Evicted)),
            (8, None),
            (9, Some(Error::BadLock(8))),
        ];
        for (token, expected) in expected {
            assert_eq!(error(&sessions, token), expected, "lock {token}");
        }
        sessions.end_lock(id, Token(8));
        assert_eq!(error(&sessions, 8), Some(Error::Evicted));
    }

    #[test]
    fn the_locks_of_a_group_and_their_buffers_are_limited() {
        let (mut sessions, id, _clients) = sessions();
        let size = MAX_BUFFERS_OF_LOCKS / MAX_LOCKS_PER_GROUP;
        let quota = |room: Result<(), Error>| matches!(room, Err(Error::Quota(..)));
        for token in 1..=MAX_LOCKS_PER_GROUP as u64 {
            let token = Token(token);
            sessions.check_room(id, None, size, 0).unwrap();
            sessions.begin_lock(id, token);
            sessions.begin_wait(id, token, size).unwrap();
        }
        assert!(quota(sessions.check_room(id, None, 1, 0)), "too many locks");
        assert_eq!(sessions.check_room(id, Some(Token(1)), size, 0), Ok(()), "one ends first");
        assert!(quota(sessions.check_room(id, Some(Token(1)), size + 1, 0)), "too many buffers");
        // A growth that ends leaves the lock with what it had; a wait that ends leaves nothing.
        sessions.hold(id, Token(1), 1);
        sessions.begin_wait(id, Token(1), size).unwrap();
        sessions.give_up(id, Token(1));
        assert!(sessions.lock(id, Token(1)).is_ok_and(|lock| lock.buffers() == 1));
        sessions.give_up(id, Token(2));
        assert_eq!(sessions.lock(id, Token(2)).err(), Some(Error::Ended));
        assert_eq!(sessions.check_room(id, None, 2 * size - 1, 0), Ok(()));
    }

    #[test]
    fn a_name_is_for_its_own_uid_and_for_the_system() {
        let config = Config::default();
        let mut sessions =
            Sessions::new(&config, Resources::AMPLE, Arc::new(Slices::new(Tracer::new(&config))));
        let mut engine = buffersync_engine::Engine::new(Default::default());
        let mut open = |uid, name: &str| {
            let id = engine.open_group(None).0;
            let (channel, client) =
                EventChannel::new(&Arc::default(), &Arc::new(Costs::measure().unwrap())).unwrap();
            sessions.open(id, uid, name, channel, false);
            (id, client)
        };
        let (app, _app) = open(10_001, "app");
        let (other, _other) = open(10_002, "other");
        let (own, _own) = open(10_001, "own");
        let (system, _system) = open(1000, "system");
        let name = |asks, of: GroupId| sessions.name_for(asks, of.serial()).unwrap();
        assert_eq!((name(app, own), name(app, other)), (Some("own"), None));
        assert_eq!((name(system, app), name(app, system)), (Some("app"), None));
        assert_eq!(sessions.name_for(app, 99), Ok(None));
        sessions.close(own, std::iter::empty());
        assert_eq!(sessions.name_for(app, own.serial()), Ok(None));
        assert_eq!(sessions.name_for(own, app.serial()), Err(Error::Closed));
    }

    /// Sends to a group until its channel is full.
    fn fill(sessions: &mut Sessions, id: GroupId) {
        let record = Record::default();
        while sessions
            .send(id, record, vec![record; 63].into_iter())
            .is_some_and(|sent| sent.is_ok())
        {}
    }

    fn read_all(clients: &Fd) {
        let fd = std::os::fd::AsRawFd::as_raw_fd(clients);
        let flags = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
        nix::fcntl::fcntl(fd, flags).unwrap();
        while nix::unistd::read(fd, &mut [0; 4096]).is_ok() {}
    }

    #[test]
    fn the_unread_events_of_all_groups_of_a_uid_are_limited_together() {
        let mut engine = Engine::new(Limits::default());
        let (mut sessions, first, _first_client) = sessions();
        // More full channels than one call asks about.
        let unread = 17 * (FRUITLESS_LOOKS as u64 + 10) * 400 * 1024;
        sessions.quotas = Quotas::new(&Config::default(), Resources { unread, ..Resources::AMPLE });
        sessions.quotas.charge(1, Kind::Groups, 1).unwrap();
        // The group that `sessions` has opened has the first id.
        engine.open_group(None);
        let mut others = Vec::new();
        let mut open = |sessions: &mut Sessions, uid| {
            let id = engine.open_group(None).0;
            let costs = Arc::new(Costs::measure().unwrap());
            let (channel, client) = EventChannel::new(&Arc::default(), &costs).unwrap();
            sessions.quotas.charge(uid, Kind::Groups, 1).unwrap();
            sessions.open(id, uid, "other", channel, false);
            (id, client)
        };
        // As long as its channel is empty, the first group is refused only for the sake of the others.
        while sessions.check_room(first, None, 1, 0).is_ok() {
            let (id, client) = open(&mut sessions, 1);
            fill(&mut sessions, id);
            others.push((id, client));
            assert!(others.len() < 1000, "nothing is limited");
        }
        assert!(others.len() > FRUITLESS_LOOKS, "one call looks at all {}", others.len());
        let (of_other, _client) = open(&mut sessions, 2);
        assert_eq!(sessions.check_room(of_other, None, 1, 0), Ok(()), "another uid");
        // Whatever others leave: this one has nothing unread.
        sessions.quotas.recount_unread(3, 0, unread);
        assert_eq!(sessions.check_room(of_other, None, 1, 0), Ok(()), "another uid");
        sessions.quotas.recount_unread(3, unread, 0);
        // The service finds out by itself that one was read, whichever it is.
        for (id, client) in &others {
            assert_eq!(sessions.check_room(first, None, 1, 0), Err(Error::EventsUnread));
            read_all(client);
            let mut calls = 0..others.len().div_ceil(FRUITLESS_LOOKS);
            assert!(calls.any(|_| sessions.check_room(first, None, 1, 0).is_ok()));
            fill(&mut sessions, *id);
        }
        for (id, _) in &others {
            sessions.close(*id, std::iter::empty());
        }
        assert_eq!((sessions.unread.len(1), sessions.quotas.usage(1).unread), (0, 0));
    }

    #[test]
    fn nothing_of_a_lock_is_left_when_it_has_ended() {
        let (mut sessions, id, _clients) = sessions();
        let before = sessions.quotas.iter().next();
        let token = Token(1);
        sessions.begin_lock(id, token);
        sessions.begin_wait(id, token, 3).unwrap();
        let waits = sessions.group(id).unwrap().reserved(None);
        sessions.hold(id, token, 3);
        let holds = sessions.group(id).unwrap().reserved(None);
        sessions.contended(id, token);
        let told = sessions.group(id).unwrap().reserved(None);
        assert!(waits > holds && holds > told && told > 0);
        sessions.begin_wait(id, token, 4).unwrap();
        sessions.end_lock(id, token);
        assert_eq!(sessions.group(id).unwrap().reserved(None), 0);
        assert_eq!(sessions.quotas.iter().next(), before);
    }
}

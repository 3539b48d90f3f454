// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The groups as the service sees them: name, key, event channel, charges to the uid's quotas, grants that
//! were taken away. Writes a group's log lines and slices. Knows neither the engine's table nor
//! buffers and fences.

use std::collections::VecDeque;
use std::sync::Arc;

use buffersync_engine::{Close, EvictionCause, GroupId, Time, Token};
use nix::errno::Errno;
use nix::libc;

use crate::config::Config;
use crate::error::Error;
use crate::events::EventChannel;
use crate::evicted::Evicted;
use crate::platform::Tracer;
use crate::quota::{Kind, Quotas};
use crate::tables::{ByGroup, ById};
use crate::trace::{GroupName, Slices};

/// Evictions that dumps show: enough to see a pattern on one screen.
const EVICTIONS_KEPT: usize = 16;

pub(crate) struct Sessions {
    groups: ByGroup<Group>,
    /// Clients name a group by its key when it is not the object of the call.
    by_key: ById<i64, GroupId>,
    pub quotas: Quotas,
    /// The newest first.
    evictions: VecDeque<Eviction>,
    slices: Arc<Slices<Tracer>>,
}

pub(crate) struct Group {
    pub name: String,
    pub uid: u32,
    pub channel: EventChannel,
    /// The group takes part in implicit synchronisation.
    pub implicit: bool,
    key: i64,
    waiting: bool,
    holds: bool,
    evicted: Evicted,
}

/// A grant that was taken away, for dumps.
pub(crate) struct Eviction {
    pub at: Time,
    pub uid: u32,
    pub name: String,
    pub token: Token,
    pub cause: EvictionCause,
}

/// A key that nobody can guess. std promises no randomness of `RandomState`, so the kernel is asked.
/// Early at boot, before the kernel has entropy, it refuses: a thread of the pool must not wait for that.
///
/// # References
///  - [getrandom(2)](https://man7.org/linux/man-pages/man2/getrandom.2.html)
pub(crate) fn random_key() -> Result<i64, Error> {
    let mut bytes = [0; 8];
    loop {
        // SAFETY: the call writes at most as many bytes as the array has.
        let got =
            unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) };
        match Errno::result(got) {
            Ok(8) => return Ok(i64::from_ne_bytes(bytes)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return Err(Error::NoResources("random numbers")),
        }
    }
}

impl Group {
    /// A lock is accepted and neither granted nor ended. It counts in the uid's quota.
    pub fn is_waiting(&self) -> bool {
        self.waiting
    }

    fn traced(&self, id: GroupId) -> GroupName<'_> {
        GroupName { name: &self.name, serial: id.serial() }
    }
}

impl Sessions {
    pub fn new(config: &Config, slices: Arc<Slices<Tracer>>) -> Self {
        Self {
            groups: ByGroup::new(),
            by_key: ById::default(),
            quotas: Quotas::new(config),
            evictions: VecDeque::new(),
            slices,
        }
    }

    /// Whether a new group can have this key. 0 is no key.
    pub fn is_free(&self, key: i64) -> bool {
        key != 0 && !self.by_key.contains_key(&key)
    }

    /// Adds a group that is charged to its uid already.
    pub fn open(
        &mut self,
        id: GroupId,
        key: i64,
        uid: u32,
        name: &str,
        channel: EventChannel,
        implicit: bool,
    ) {
        let group = Group {
            name: name.to_string(),
            uid,
            channel,
            implicit,
            key,
            waiting: false,
            holds: false,
            evicted: Evicted::default(),
        };
        self.groups.insert(id, group);
        self.by_key.insert(key, id);
        log::debug!("group {} {name:?} opened by uid {uid}", id.serial());
    }

    /// Ends a group that neither waits nor holds, and gives its charges back. Its client sees that the
    /// channel is closed.
    pub fn close(&mut self, id: GroupId, how: Close, members: usize) {
        let Some(group) = self.groups.remove(id) else { return };
        self.by_key.remove(&group.key);
        self.quotas.give_back(group.uid, Kind::Buffers, members as u32);
        self.quotas.give_back(group.uid, Kind::Groups, 1);
        log::debug!("group {} {:?} of uid {}: {how:?}", id.serial(), group.name, group.uid);
    }

    pub fn get(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(id)
    }

    pub fn get_mut(&mut self, id: GroupId) -> Option<&mut Group> {
        self.groups.get_mut(id)
    }

    pub fn group(&self, id: GroupId) -> Result<&Group, Error> {
        self.get(id).ok_or(Error::Closed)
    }

    pub fn by_key(&self, key: i64) -> Result<GroupId, Error> {
        self.by_key.get(&key).copied().ok_or(Error::Closed)
    }

    /// The uid to which a group's jobs belong. Operations after the end of the group get `u32::MAX`, which
    /// is no uid.
    pub fn uid(&self, id: Option<GroupId>) -> u32 {
        id.and_then(|id| self.get(id)).map_or(u32::MAX, |group| group.uid)
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

    /// Refuses a token whose grant was taken away.
    pub fn refuse_evicted(&self, id: GroupId, token: Token) -> Result<(), Error> {
        if self.group(id)?.evicted.contains(token) {
            return Err(Error::Evicted);
        }
        Ok(())
    }

    /// Whether the group's channel and its uid's quota have room for one more lock that waits.
    pub fn check_room(&mut self, id: GroupId) -> Result<(), Error> {
        self.check_channel(id)?;
        self.quotas.check(self.group(id)?.uid, Kind::Queued, 1)
    }

    /// Whether the group's channel has room for the records of one more lock, or of a part's fences.
    pub fn check_channel(&mut self, id: GroupId) -> Result<(), Error> {
        let group = self.groups.get_mut(id).ok_or(Error::Closed)?;
        group.channel.has_room().then_some(()).ok_or(Error::EventsUnread)
    }

    /// A lock is queued.
    pub fn begin_wait(&mut self, id: GroupId) -> Result<(), Error> {
        let group = self.groups.get_mut(id).ok_or(Error::Closed)?;
        self.quotas.charge(group.uid, Kind::Queued, 1)?;
        group.waiting = true;
        self.slices.waits(group.traced(id));
        Ok(())
    }

    /// The queued lock, if there is one, is granted or has ended.
    pub fn end_wait(&mut self, id: GroupId) {
        let Some(group) = self.groups.get_mut(id) else { return };
        if std::mem::take(&mut group.waiting) {
            self.slices.wait_ended(group.traced(id));
            self.quotas.give_back(group.uid, Kind::Queued, 1);
        }
    }

    /// The group holds a grant, or its grant has grown.
    pub fn begin_hold(&mut self, id: GroupId) {
        let Some(group) = self.groups.get_mut(id) else { return };
        if !std::mem::replace(&mut group.holds, true) {
            self.slices.holds(group.traced(id));
        }
    }

    /// The grant is over.
    pub fn end_hold(&mut self, id: GroupId) {
        let Some(group) = self.groups.get_mut(id) else { return };
        if std::mem::take(&mut group.holds) {
            self.slices.hold_ended(group.traced(id));
        }
    }

    /// A grant was taken away.
    pub fn evicted(&mut self, id: GroupId, token: Token, cause: EvictionCause, at: Time) {
        let Some(group) = self.groups.get_mut(id) else { return };
        group.evicted.add(token);
        self.slices.evicted(group.traced(id));
        let (name, uid) = (group.name.clone(), group.uid);
        log::warn!("group {} {name:?} of uid {uid} evicted: {cause:?}", id.serial());
        self.evictions.truncate(EVICTIONS_KEPT - 1);
        self.evictions.push_front(Eviction { at, uid, name, token, cause });
    }
}

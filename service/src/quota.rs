// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Budgets: limits for what each uid, and all uids together, may make the service keep. This file only counts; the
//! groups, buffers, locks and fences are elsewhere.
//!
//! Each [`Kind`] has a total for all, and some have a maximum for a uid. A uid may have at most its *share* of what
//! nobody has: one sixteenth (`SHARE`). So shares shrink as uids come. With each uid that takes all it can, a
//! seventeenth of the rest goes: after 64 of them two percent of the total are left, and the next uid gets its share
//! of these. No uid can take what others may need, and none has to give anything back.
//!
//! Counts that cost only memory have a total of `CROWD` maxima: about fifty uids get their maximum. Descriptors are
//! scarce. Their total is the limit of the process less a reserve ([`Resources::reserve`]) for calls that are
//! under way, so that whoever has something can unlock, remove and leave at any time: these calls charge nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use buffersync_engine::BufferId;

use crate::config::Config;
use crate::error::Error;
use crate::fences::implicit;
use crate::tables::{self, ById};

/// A uid may have one part of this many of what is left.
const SHARE: u64 = 16;
/// The total of a count, in maxima of a uid: shares begin to shrink when 51 uids have their maximum.
const CROWD: u64 = 4 * (SHARE + 1);
/// The same as [`SHARE`] for bytes: a camera's frames are a large part of a small machine's memory.
const SHARE_OF_BYTES: u64 = 4;
/// Uids for which nobody looks for idle ones.
const KEPT: usize = 64;

/// The things that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Open groups.
    Groups,
    /// Buffers in groups, each membership counted.
    Buffers,
    /// Locks that wait for their grant.
    Queued,
    /// Release fences that are pending, or that a grant still keeps.
    Fences,
    /// Descriptors that the service keeps: one for each group, buffer and fence. A buffer of several uids counts for
    /// each.
    Descriptors,
    /// The memory of the buffers.
    Bytes,
    /// The kernel's memory for events that clients have not read, as far as the service knows.
    Unread,
}

const KINDS: usize = 7;
const ALL: [Kind; KINDS] = [
    Kind::Groups,
    Kind::Buffers,
    Kind::Queued,
    Kind::Fences,
    Kind::Descriptors,
    Kind::Bytes,
    Kind::Unread,
];
/// Bytes of unread events in all: 8 MiB for a uid that is alone, which is twenty full channels.
pub const UNREAD: u64 = PARTS * (8 << 20);
/// A uid with no more unread events than this is never refused for what others leave unread, in bytes.
pub const UNREAD_FLOOR: u64 = 32 * 1024;
/// A uid that is alone may have one part of this many.
pub const PARTS: u64 = SHARE + 1;

impl Kind {
    fn share(self) -> u64 {
        if self == Self::Bytes {
            SHARE_OF_BYTES
        } else {
            SHARE
        }
    }

    /// The subject of a refusal, with what to do.
    fn advice(self) -> &'static str {
        match self {
            Self::Groups => "open groups of a uid at most: close one, or lock parts of one group",
            Self::Buffers => "buffers in the groups of a uid at most: remove some",
            Self::Queued => "waiting locks of a uid at most: cancel one, or wait for a grant",
            Self::Fences => "pending release fences of a uid at most: unlock without one, or later",
            Self::Descriptors => {
                "groups, buffers and fences of a uid at most, at present: close or remove some"
            }
            Self::Bytes => "bytes in the buffers of a uid at most, at present: remove some",
            Self::Unread => "bytes of unread events of a uid at most, at present: read them",
        }
    }
}

/// The process has this for all uids together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// RLIMIT_NOFILE.
    pub descriptors: u64,
    /// Memory that clients' buffers may have, in bytes.
    pub bytes: u64,
    /// The kernel's memory for events that clients have not read, in bytes.
    pub unread: u64,
}

impl Resources {
    /// More than anybody uses, for tests of other things.
    pub const AMPLE: Self = Self { descriptors: 1 << 20, bytes: 1 << 40, unread: 1 << 40 };

    /// Descriptors that no quota counts: for each pool thread those of one call, as they arrive and as the service
    /// copies them; for each worker a fence; the watches of implicit fences; and the service's own.
    pub fn reserve(config: &Config) -> u64 {
        let of_call = 2 * config.max_fds_per_handle.max(config.max_buffers_per_group + 1);
        let own = 64;
        u64::from((config.threads + 2) * of_call + config.sync_workers + own)
            + implicit::MOST as u64
    }

    /// The least limit of descriptors with which the service is of use: a uid that is alone can have a full group.
    pub fn least(config: &Config) -> u64 {
        Self::reserve(config) + (SHARE + 1) * u64::from(config.max_buffers_per_group + 1)
    }
}

/// Amounts by [`Kind`].
type Amounts = [u64; KINDS];

/// The amount of a kind, if fences are counted apart: each is a descriptor, too.
fn with_fences(amounts: &Amounts, fences: &AtomicU64, kind: Kind) -> u64 {
    let fences = || fences.load(Ordering::Relaxed);
    match kind {
        Kind::Fences => fences(),
        Kind::Descriptors => amounts[kind as usize] + fences(),
        _ => amounts[kind as usize],
    }
}

/// What each uid has, and may have. A group's uid is the one that opened it.
#[derive(Debug)]
pub struct Quotas {
    most: Amounts,
    total: Amounts,
    /// The sum over all uids, except of fences.
    in_all: Amounts,
    fences_in_all: Arc<AtomicU64>,
    by_uid: ById<u32, OfUid>,
}

#[derive(Debug, Default)]
struct OfUid {
    /// Except of fences.
    has: Amounts,
    fences: Arc<AtomicU64>,
    /// For each buffer its memberships in the uid's groups, and its size.
    buffers: ById<BufferId, (u64, u64)>,
}

impl OfUid {
    fn has(&self, kind: Kind) -> u64 {
        with_fences(&self.has, &self.fences, kind)
    }

    fn usage(&self) -> Usage {
        Usage {
            groups: self.has(Kind::Groups),
            buffers: self.has(Kind::Buffers),
            queued: self.has(Kind::Queued),
            fences: self.has(Kind::Fences),
            descriptors: self.has(Kind::Descriptors),
            bytes: self.has(Kind::Bytes),
            unread: self.has(Kind::Unread),
        }
    }

    fn is_idle(&self) -> bool {
        self.has == Amounts::default() && Arc::strong_count(&self.fences) == 1
    }
}

/// One release fence of a uid, counted until this is dropped.
#[derive(Debug)]
pub struct Charge {
    of_uid: Arc<AtomicU64>,
    in_all: Arc<AtomicU64>,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.of_uid.fetch_sub(1, Ordering::Relaxed);
        self.in_all.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The amounts of a uid, for dumps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub groups: u64,
    pub buffers: u64,
    pub queued: u64,
    pub fences: u64,
    pub descriptors: u64,
    pub bytes: u64,
    pub unread: u64,
}

impl Quotas {
    pub fn new(config: &Config, resources: Resources) -> Self {
        let mut most = [u64::MAX; KINDS];
        let mut total = [0; KINDS];
        for (kind, limit) in [
            (Kind::Groups, config.max_groups_per_uid),
            (Kind::Buffers, config.max_buffers_per_uid),
            (Kind::Queued, config.max_queued_per_uid),
            (Kind::Fences, config.max_fences_per_uid),
        ] {
            most[kind as usize] = limit.into();
            total[kind as usize] = CROWD * u64::from(limit);
        }
        let reserve = Resources::reserve(config);
        total[Kind::Descriptors as usize] = resources.descriptors.saturating_sub(reserve);
        total[Kind::Bytes as usize] = resources.bytes;
        total[Kind::Unread as usize] = resources.unread;
        let (in_all, by_uid) = (Amounts::default(), ById::default());
        Self { most, total, in_all, fences_in_all: Arc::default(), by_uid }
    }

    /// The sum over all uids.
    fn in_all(&self, kind: Kind) -> u64 {
        with_fences(&self.in_all, &self.fences_in_all, kind)
    }

    /// Refuses an amount that can't be charged to `uid`.
    pub fn check(&self, uid: u32, kind: Kind, amount: u64) -> Result<(), Error> {
        self.check_beside(uid, kind, amount, self.in_all(kind))
    }

    /// [`Quotas::check`] when all uids have `in_all`.
    fn check_beside(&self, uid: u32, kind: Kind, amount: u64, in_all: u64) -> Result<(), Error> {
        if amount == 0 {
            // Shares shrink as uids come: whoever has more than its share keeps it, and gets no more.
            return Ok(());
        }
        let (most, total) = (self.most[kind as usize], self.total[kind as usize]);
        // Usually all uids together have less than one may have.
        let in_all = in_all.saturating_add(amount);
        if in_all <= most && in_all.saturating_mul(kind.share() + 1) <= total {
            return Ok(());
        }
        let has = self.by_uid.get(&uid).map_or(0, |of_uid| of_uid.has(kind));
        let others = in_all.saturating_sub(amount).saturating_sub(has);
        let limit = most.min(total.saturating_sub(others) / (kind.share() + 1));
        if has.saturating_add(amount) <= limit {
            return Ok(());
        }
        Err(Error::Quota(kind.advice(), usize::try_from(limit).unwrap_or(usize::MAX)))
    }

    /// True if a uid has so few unread events that it may cause more.
    pub fn may_be_told_more(&self, uid: u32) -> bool {
        self.check(uid, Kind::Unread, 1).is_ok() || self.unread(uid) <= UNREAD_FLOOR
    }

    /// The bytes of a uid's unread events.
    pub fn unread(&self, uid: u32) -> u64 {
        self.by_uid.get(&uid).map_or(0, |of_uid| of_uid.has(Kind::Unread))
    }

    /// Charges a new group, or a lock that waits.
    pub fn charge(&mut self, uid: u32, kind: Kind, amount: u64) -> Result<(), Error> {
        let descriptors = if kind == Kind::Groups { amount } else { 0 };
        self.check(uid, kind, amount)?;
        self.check(uid, Kind::Descriptors, descriptors)?;
        if amount > 0 {
            self.add(uid, kind, amount);
            self.add(uid, Kind::Descriptors, descriptors);
        }
        Ok(())
    }

    /// Gives back what was charged by [`Quotas::charge`].
    pub fn give_back(&mut self, uid: u32, kind: Kind, amount: u64) {
        self.subtract(uid, kind, amount);
        if kind == Kind::Groups {
            self.subtract(uid, Kind::Descriptors, amount);
        }
        self.tidy(uid);
    }

    /// Refuses buffers that a uid can't add to a group. They are given by their ids, if the service has them, and their
    /// sizes. The buffers that the service has are `kept` bytes, each counted once.
    pub fn check_buffers(
        &self,
        uid: u32,
        kept: u64,
        buffers: impl Iterator<Item = (Option<BufferId>, u64)>,
    ) -> Result<(), Error> {
        let of_uid = self.by_uid.get(&uid);
        let (mut members, mut descriptors, mut bytes) = (0, 0, 0u64);
        for (id, size) in buffers {
            members += 1;
            let has = id.zip(of_uid).is_some_and(|(id, of_uid)| of_uid.buffers.contains_key(&id));
            descriptors += u64::from(!has);
            // Memory that the service keeps anyway is charged below, and not refused.
            bytes = bytes.saturating_add(if id.is_none() { size } else { 0 });
        }
        self.check(uid, Kind::Buffers, members)?;
        self.check(uid, Kind::Descriptors, descriptors)?;
        self.check_beside(uid, Kind::Bytes, bytes, kept)
    }

    /// Charges a buffer that a uid has added to one of its groups.
    pub fn charge_buffer(&mut self, uid: u32, buffer: BufferId, size: u64) {
        self.add(uid, Kind::Buffers, 1);
        let of_uid = self.by_uid.entry(uid).or_default();
        let (members, _) = of_uid.buffers.entry(buffer).or_insert((0, size));
        *members += 1;
        if *members == 1 {
            self.add(uid, Kind::Descriptors, 1);
            self.add(uid, Kind::Bytes, size);
        }
    }

    /// A buffer has left one of the uid's groups.
    pub fn give_back_buffer(&mut self, uid: u32, buffer: BufferId) {
        self.subtract(uid, Kind::Buffers, 1);
        let Some(of_uid) = self.by_uid.get_mut(&uid) else { return };
        let Some((members, size)) = of_uid.buffers.get_mut(&buffer) else { return };
        *members -= 1;
        if *members == 0 {
            let size = *size;
            of_uid.buffers.remove(&buffer);
            tables::shrink(&mut of_uid.buffers);
            self.subtract(uid, Kind::Descriptors, 1);
            self.subtract(uid, Kind::Bytes, size);
        }
        self.tidy(uid);
    }

    /// Charges a release fence.
    pub fn charge_fence(&mut self, uid: u32) -> Result<Charge, Error> {
        self.check(uid, Kind::Fences, 1)?;
        self.check(uid, Kind::Descriptors, 1)?;
        // A uid may have fences without a group: its group is closed, and the next holder waits for them.
        if self.by_uid.len() > KEPT && self.by_uid.len() == self.by_uid.capacity() {
            self.by_uid.retain(|_, of_uid| !of_uid.is_idle());
        }
        let of_uid = Arc::clone(&self.by_uid.entry(uid).or_default().fences);
        let in_all = Arc::clone(&self.fences_in_all);
        of_uid.fetch_add(1, Ordering::Relaxed);
        in_all.fetch_add(1, Ordering::Relaxed);
        Ok(Charge { of_uid, in_all })
    }

    /// The unread events of a uid are `now` bytes, which were `before`. Refuses nothing: the events have been sent.
    pub fn recount_unread(&mut self, uid: u32, before: u64, now: u64) {
        if now > before {
            self.add(uid, Kind::Unread, now - before);
        } else {
            self.subtract(uid, Kind::Unread, before - now);
        }
    }

    fn add(&mut self, uid: u32, kind: Kind, amount: u64) {
        self.by_uid.entry(uid).or_default().has[kind as usize] += amount;
        self.in_all[kind as usize] += amount;
    }

    fn subtract(&mut self, uid: u32, kind: Kind, amount: u64) {
        let Some(of_uid) = self.by_uid.get_mut(&uid) else { return };
        let has = &mut of_uid.has[kind as usize];
        debug_assert!(*has >= amount, "uid {uid} gives back more {kind:?} than it has");
        let amount = amount.min(*has);
        *has -= amount;
        self.in_all[kind as usize] -= amount;
    }

    /// Forgets a uid that has nothing.
    fn tidy(&mut self, uid: u32) {
        if self.by_uid.get(&uid).is_some_and(OfUid::is_idle) {
            self.by_uid.remove(&uid);
            tables::shrink(&mut self.by_uid);
        }
    }

    /// The amounts of a uid, for dumps.
    pub fn usage(&self, uid: u32) -> Usage {
        self.by_uid.get(&uid).map(OfUid::usage).unwrap_or_default()
    }

    /// The uids that have anything, for dumps.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Usage)> + '_ {
        let used = self.by_uid.iter().map(|(uid, of_uid)| (*uid, of_uid.usage()));
        used.filter(|(_, usage)| *usage != Usage::default())
    }

    /// True if nobody has anything.
    pub fn is_empty(&self) -> bool {
        ALL.iter().all(|kind| self.in_all(*kind) == 0) && self.iter().next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quotas() -> Quotas {
        let config = Config { max_groups_per_uid: 2, max_buffers_per_uid: 3, ..Config::default() };
        Quotas::new(&config, Resources::AMPLE)
    }

    fn buffers(from: u64, count: u64) -> impl Iterator<Item = (Option<BufferId>, u64)> {
        (from..from + count).map(|id| (Some(BufferId(id)), 1))
    }

    #[test]
    fn the_limit_is_reached_and_not_passed() {
        let mut quotas = quotas();
        assert!(quotas.charge(1, Kind::Groups, 1).is_ok());
        assert!(quotas.charge(1, Kind::Groups, 1).is_ok());
        assert!(quotas.charge(1, Kind::Groups, 1).is_err());
        assert!(quotas.charge(2, Kind::Groups, 1).is_ok(), "another uid is not affected");
        quotas.give_back(1, Kind::Groups, 1);
        assert!(quotas.charge(1, Kind::Groups, 1).is_ok());
    }

    #[test]
    fn too_many_buffers_are_refused_as_a_whole() {
        let quotas = quotas();
        assert!(quotas.check_buffers(1, 0, buffers(0, 4)).is_err());
        assert!(quotas.check_buffers(1, 0, buffers(0, 3)).is_ok());
        assert!(quotas.check(1, Kind::Buffers, u64::MAX).is_err());
    }

    #[test]
    fn a_buffer_in_several_groups_of_a_uid_takes_one_descriptor_and_its_memory_once() {
        let mut quotas = quotas();
        let usage = |quotas: &Quotas| quotas.iter().next().map(|(_, usage)| usage);
        quotas.charge_buffer(1, BufferId(7), 4096);
        quotas.charge_buffer(1, BufferId(7), 4096);
        let two = Usage { buffers: 2, descriptors: 1, bytes: 4096, ..Usage::default() };
        assert_eq!(usage(&quotas), Some(two));
        quotas.give_back_buffer(1, BufferId(7));
        assert_eq!(usage(&quotas), Some(Usage { buffers: 1, ..two }));
        quotas.give_back_buffer(1, BufferId(7));
        assert!(quotas.is_empty() && usage(&quotas).is_none());
    }

    /// Each of many uids takes all that it may have.
    fn crowd(quotas: &mut Quotas, kind: Kind, uids: u32) -> Vec<u64> {
        (0..uids)
            .map(|uid| (0..).find(|_| quotas.charge(uid, kind, 1).is_err()).unwrap_or_default())
            .collect()
    }

    #[test]
    fn shares_shrink_as_uids_come_and_the_65th_still_gets_one() {
        let mut quotas = Quotas::new(&Config::default(), Resources::AMPLE);
        let most = u64::from(Config::default().max_groups_per_uid);
        let got = crowd(&mut quotas, Kind::Groups, 65);
        assert!(got[..51].iter().all(|got| *got == most), "{got:?}");
        assert!(got.windows(2).all(|pair| pair[1] <= pair[0]), "{got:?}");
        assert!(got[52] < most && got[64] > most / 4, "{got:?}");
        let in_all: u64 = got.iter().sum();
        assert_eq!(quotas.in_all(Kind::Groups), in_all);
        for (uid, count) in got.iter().enumerate() {
            quotas.give_back(uid as u32, Kind::Groups, *count);
        }
        assert!(quotas.is_empty());
        assert_eq!(crowd(&mut quotas, Kind::Groups, 1), [most], "all is given back");
    }

    #[test]
    fn descriptors_are_shared_by_the_processs_limit() {
        let config = Config::default();
        let descriptors = Resources::reserve(&config) + 17 * 20;
        let mut quotas = Quotas::new(&config, Resources { descriptors, ..Resources::AMPLE });
        assert_eq!(crowd(&mut quotas, Kind::Groups, 1), [20]);
        assert!(quotas.check_buffers(2, 0, buffers(0, 18)).is_ok());
        assert!(quotas.check_buffers(2, 0, buffers(0, 19)).is_err());
        let fences: Vec<Charge> = (0..18).map(|_| quotas.charge_fence(2).unwrap()).collect();
        assert!(quotas.charge_fence(2).is_err());
        drop(fences);
        assert!(quotas.charge_fence(2).is_ok());
    }

    #[test]
    fn bytes_are_charged_for_all_and_refused_only_for_new_memory() {
        let mut quotas =
            Quotas::new(&Config::default(), Resources { bytes: 500, ..Resources::AMPLE });
        assert!(quotas.check_buffers(1, 0, [(None, 101)].into_iter()).is_err());
        assert!(quotas.check_buffers(1, 0, [(None, 100)].into_iter()).is_ok());
        quotas.charge_buffer(1, BufferId(1), 100);
        assert!(quotas.check_buffers(2, 100, [(None, 81)].into_iter()).is_err());
        assert!(quotas.check_buffers(2, 100, [(None, 80)].into_iter()).is_ok());
        assert!(quotas.check_buffers(2, 100, [(Some(BufferId(1)), 100)].into_iter()).is_ok());
        quotas.charge_buffer(2, BufferId(1), 100);
        assert!(quotas.check_buffers(2, 100, [(None, 1)].into_iter()).is_err());
        assert!(quotas.check_buffers(3, 100, [(None, 80)].into_iter()).is_ok());
    }

    #[test]
    fn a_check_agrees_with_the_charge_and_other_uids_do_not_matter() {
        let mut quotas = quotas();
        for uid in 1..4 {
            assert!(quotas.check(uid, Kind::Groups, 2).is_ok());
            quotas.charge(uid, Kind::Groups, 2).unwrap();
            assert!(quotas.check(uid, Kind::Groups, 1).is_err());
            assert!(quotas.check(uid, Kind::Groups, 0).is_ok());
        }
        quotas.give_back(2, Kind::Groups, 1);
        assert!(
            quotas.check(2, Kind::Groups, 1).is_ok() && quotas.check(1, Kind::Groups, 1).is_err()
        );
        (1..4).for_each(|uid| quotas.give_back(uid, Kind::Groups, if uid == 2 { 1 } else { 2 }));
        assert!(quotas.is_empty());
    }

    #[test]
    fn a_fence_is_counted_until_it_is_dropped() {
        let config = Config { max_fences_per_uid: 2, ..Config::default() };
        let mut quotas = Quotas::new(&config, Resources::AMPLE);
        let first = quotas.charge_fence(1).unwrap();
        let _second = quotas.charge_fence(1).unwrap();
        assert!(quotas.charge_fence(1).is_err());
        assert!(quotas.charge_fence(2).is_ok());
        drop(first);
        assert!(quotas.charge_fence(1).is_ok());
    }
}

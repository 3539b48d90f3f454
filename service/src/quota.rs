// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Quotas: limits for what each uid may make the service keep. This file only counts; the groups, buffers,
//! locks and fences are elsewhere.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use buffersync_engine::BuildIdHasher;

use crate::config::Config;
use crate::error::Error;

/// What each uid has, and may have. A group's uid is the one that opened it.
#[derive(Debug)]
pub struct Quotas {
    limits: Usage,
    /// The sum over all uids.
    in_all: Usage,
    by_uid: HashMap<u32, Usage, BuildIdHasher>,
    max_fences: u32,
    fences: HashMap<u32, Arc<AtomicU32>>,
    /// Length of `fences` after the last clean-up.
    fences_kept: usize,
}

/// One release fence of a uid, counted until this is dropped.
#[derive(Debug)]
pub struct Charge(Arc<AtomicU32>);

impl Drop for Charge {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The amounts of a uid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Open groups.
    pub groups: u32,
    /// Buffers in groups, each membership counted.
    pub buffers: u32,
    /// Locks that wait for their grant.
    pub queued: u32,
}

/// A field of [`Usage`].
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Groups,
    Buffers,
    Queued,
}

impl Usage {
    fn of(&mut self, kind: Kind) -> &mut u32 {
        match kind {
            Kind::Groups => &mut self.groups,
            Kind::Buffers => &mut self.buffers,
            Kind::Queued => &mut self.queued,
        }
    }
}

impl Quotas {
    pub fn new(config: &Config) -> Self {
        let limits = Usage {
            groups: config.max_groups_per_uid,
            buffers: config.max_buffers_per_uid,
            queued: config.max_queued_per_uid,
        };
        let max_fences = config.max_fences_per_uid;
        Self {
            limits,
            in_all: Usage::default(),
            by_uid: HashMap::default(),
            max_fences,
            fences: HashMap::new(),
            fences_kept: 0,
        }
    }

    /// Charges a release fence to `uid`.
    pub fn charge_fence(&mut self, uid: u32) -> Result<Charge, Error> {
        // Removes uids without fences whenever the number of uids has doubled. So the average cost of a
        // call does not depend on the number of uids.
        if self.fences.len() >= 2 * self.fences_kept {
            self.fences.retain(|_, count| Arc::strong_count(count) > 1);
            self.fences_kept = self.fences.len();
        }
        let count = self.fences.entry(uid).or_default();
        // Another thread may drop a charge at the same time. Then the count that is read here is too
        // high, never too low.
        if count.load(Ordering::Relaxed) >= self.max_fences {
            let limit = self.max_fences as usize;
            return Err(Error::Quota(
                "pending release fences of a uid at most: unlock without one, or later",
                limit,
            ));
        }
        count.fetch_add(1, Ordering::Relaxed);
        Ok(Charge(Arc::clone(count)))
    }

    /// Release fences of a uid that are pending, or that a grant still keeps.
    pub fn fences(&self, uid: u32) -> u32 {
        self.fences.get(&uid).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Whether `amount` could be charged to `uid`.
    pub fn check(&mut self, uid: u32, kind: Kind, amount: u32) -> Result<(), Error> {
        // Usually the sum over all uids is below the limit of one.
        let in_all = self.in_all.of(kind).saturating_add(amount);
        if in_all <= *self.limits.of(kind) {
            return Ok(());
        }
        self.total(uid, kind, amount).map(|_| ())
    }

    /// Charges `amount` to `uid`: all or, on an error, nothing.
    pub fn charge(&mut self, uid: u32, kind: Kind, amount: u32) -> Result<(), Error> {
        let total = self.total(uid, kind, amount)?;
        if total > 0 {
            *self.by_uid.entry(uid).or_default().of(kind) = total;
            *self.in_all.of(kind) += amount;
        }
        Ok(())
    }

    /// The amount that `uid` would have, if that is within the limit.
    fn total(&mut self, uid: u32, kind: Kind, amount: u32) -> Result<u32, Error> {
        let limit = *self.limits.of(kind);
        let used = self.by_uid.get_mut(&uid).map_or(0, |usage| *usage.of(kind));
        let total = used.checked_add(amount).filter(|total| *total <= limit);
        let what = match kind {
            Kind::Groups => "open groups of a uid at most: close one, or lock parts of one group",
            Kind::Buffers => "buffers in the groups of a uid at most: remove some",
            Kind::Queued => "waiting locks of a uid at most: cancel one, or wait for a grant",
        };
        total.ok_or(Error::Quota(what, limit as usize))
    }

    /// Gives `amount` back.
    pub fn give_back(&mut self, uid: u32, kind: Kind, amount: u32) {
        let Some(usage) = self.by_uid.get_mut(&uid) else { return };
        let count = usage.of(kind);
        debug_assert!(*count >= amount, "uid {uid} gives back more {kind:?} than it has");
        let amount = amount.min(*count);
        *count -= amount;
        *self.in_all.of(kind) -= amount;
        if *usage == Usage::default() {
            self.by_uid.remove(&uid);
        }
    }

    /// The uids that have groups open, for dumps. One that has only release fences is not among them.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Usage)> + '_ {
        self.by_uid.iter().map(|(uid, usage)| (*uid, *usage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quotas() -> Quotas {
        Quotas::new(&Config { max_groups_per_uid: 2, max_buffers_per_uid: 3, ..Config::default() })
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
    fn a_refused_charge_charges_nothing() {
        let mut quotas = quotas();
        assert!(quotas.charge(1, Kind::Buffers, 4).is_err());
        assert!(quotas.charge(1, Kind::Buffers, 3).is_ok());
        assert!(quotas.charge(1, Kind::Buffers, u32::MAX).is_err());
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
        assert_eq!(quotas.in_all, Usage::default());
    }

    #[test]
    fn a_fence_is_counted_until_it_is_dropped() {
        let mut quotas = Quotas::new(&Config { max_fences_per_uid: 2, ..Config::default() });
        let first = quotas.charge_fence(1).unwrap();
        let _second = quotas.charge_fence(1).unwrap();
        assert!(quotas.charge_fence(1).is_err());
        assert!(quotas.charge_fence(2).is_ok());
        drop(first);
        assert!(quotas.charge_fence(1).is_ok());
        assert!(!quotas.fences.contains_key(&2), "a uid without fences is removed");
    }

    #[test]
    fn a_uid_with_nothing_is_forgotten() {
        let mut quotas = quotas();
        quotas.charge(1, Kind::Buffers, 2).unwrap();
        quotas.give_back(1, Kind::Buffers, 2);
        assert_eq!(quotas.iter().count(), 0);
    }
}

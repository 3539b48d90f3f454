// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! For tests, model checkers and fuzzers alone: the feature `check`. The shipped crate has none of it.
//!
//! [`invariants`] compares the table with its definitions, [`canonical`] names states. The calls here
//! stand for a clock where a checker has none.

mod canonical;
mod invariants;

use crate::{Effects, Engine, GroupId, Time};

impl Engine {
    /// The deadline of a grant comes now.
    pub fn expire(&mut self, now: Time, id: GroupId, fx: &mut Effects) {
        if let Ok(at) = self.find(id) {
            self.evict(now, at, fx);
            self.settle(now, fx);
        }
    }

    /// The time-out of a pending lock comes now.
    pub fn time_out(&mut self, now: Time, id: GroupId, fx: &mut Effects) {
        if let Ok(at) = self.find(id) {
            self.waited_enough(now, at, fx);
            self.settle(now, fx);
        }
    }

    /// Whether a group has or keeps a ticket whose life is not over.
    pub fn has_living_ticket(&self, id: GroupId) -> bool {
        self.find(id).is_ok_and(|at| {
            let group = &self.groups[at];
            let has = group.request.is_some() || group.grant.is_some() || group.kept.is_some();
            has && group.life > Time(0)
        })
    }

    /// The life of a group's ticket ends now.
    pub fn outlive(&mut self, id: GroupId) {
        if let Ok(at) = self.find(id) {
            self.groups[at].life = Time(0);
        }
    }
}

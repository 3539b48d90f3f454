// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! For tests, model checkers and fuzzers alone: the feature `check`. The shipped crate has none of it.
//!
//! [`invariants`] compares the table with its definitions, [`canonical`] names states. The calls here
//! stand for a clock where a checker has none.

mod canonical;
mod invariants;

use crate::{Effects, Engine, GroupId, Time, Token};

impl Engine {
    /// The time-out of a pending lock comes now.
    pub fn time_out(&mut self, now: Time, id: GroupId, token: Token, fx: &mut Effects) {
        if let Ok(at) = self.living(id, token) {
            self.waited_enough(now, at, fx);
            self.settle(now, fx);
        }
    }

    /// Whether a lock has a ticket whose life is not over; without a token, whether the group keeps one.
    pub fn has_living_ticket(&self, id: GroupId, token: Option<Token>) -> bool {
        let life = match token {
            Some(token) => self.living(id, token).ok().map(|at| self.locks[at].life),
            None => self.find(id).ok().and_then(|at| Some(self.groups[at].kept.as_ref()?.life)),
        };
        life.is_some_and(|life| life > Time(0))
    }

    /// The life of a ticket ends now: that of a lock, or that of the ticket that the group keeps.
    pub fn outlive(&mut self, id: GroupId, token: Option<Token>) {
        match token {
            Some(token) => {
                if let Ok(at) = self.living(id, token) {
                    self.locks[at].life = Time(0);
                }
            }
            None => {
                let kept = self.find(id).ok().and_then(|at| self.groups[at].kept.as_mut());
                kept.into_iter().for_each(|kept| kept.life = Time(0));
            }
        }
    }
}

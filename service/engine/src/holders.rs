// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! How many locks hold one buffer: one exclusively, or any number shared. A group also counts in this way
//! what its own locks have and want of a buffer ([`crate::group::Member`]).
//!
//! [`crate::roster`] says which locks these are, and their entries what they hold. [`Holders::hold`] alone changes an entry's hold, and it
//! changes the count in the same step, from what the entry says. So no lock is counted twice, no lock
//! leaves twice, and a buffer with 10^5 readers costs no more than a buffer with one.

use crate::Access;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holders {
    exclusive: bool,
    shared: u32,
}

impl Holders {
    /// Whether no holder conflicts with such an access. An upgrade does not conflict with the shared
    /// hold of its own lock.
    #[inline]
    pub fn admits(&self, exclusive: bool, upgrade: bool) -> bool {
        !self.exclusive && (!exclusive || self.shared == u32::from(upgrade))
    }

    pub fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    /// Lets a lock hold the buffer for `access`, or not at all. `hold` is what its entry says that it
    /// holds.
    #[inline(always)]
    pub fn hold(&mut self, hold: &mut Option<Access>, access: Option<Access>) {
        let before = std::mem::replace(hold, access);
        match before.map(Access::is_exclusive) {
            Some(true) => self.exclusive = false,
            Some(false) => self.shared -= 1,
            None => {}
        }
        match access.map(Access::is_exclusive) {
            Some(true) => self.exclusive = true,
            Some(false) => self.shared += 1,
            None => {}
        }
    }
}

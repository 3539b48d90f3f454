// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! How one buffer is held: by one exclusively, or by any number shared.
//!
//! Who holds it stands in the groups' entries. [`Slot::hold`] is the one place that changes an
//! entry's hold, and it changes this count in the same step, from what the entry says. So nobody is
//! counted twice, nobody leaves twice, and a buffer with 10^5 readers costs what one with one costs.
//!
//! [`Slot::hold`]: crate::slot::Slot::hold

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holders {
    exclusive: bool,
    shared: u32,
}

impl Holders {
    /// Whether no holder conflicts with such an access. The own shared hold of an upgrade does not.
    #[inline]
    pub fn admits(&self, exclusive: bool, upgrade: bool) -> bool {
        !self.exclusive && (!exclusive || self.shared == u32::from(upgrade))
    }

    /// Whether it is held exclusively.
    pub fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    /// Holders that share it.
    pub fn shared(&self) -> u32 {
        self.shared
    }

    /// Counts a holder in or out, or lets it hold otherwise: exclusively (`true`), shared, or not at
    /// all.
    #[inline(always)]
    pub fn change(&mut self, before: Option<bool>, after: Option<bool>) {
        match before {
            Some(true) => self.exclusive = false,
            Some(false) => self.shared -= 1,
            None => {}
        }
        match after {
            Some(true) => self.exclusive = true,
            Some(false) => self.shared += 1,
            None => {}
        }
    }
}

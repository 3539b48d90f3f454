// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Who holds one buffer: one exclusively, or any number shared.
//!
//! There is no count beside the list, so none can go wrong. An exclusive holder comes and goes in
//! O(1); a shared one is a binary search among the others, and a move of the 8 bytes of each behind.
//!
//! Knows places, not what is there.

use crate::group::Place;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holders {
    exclusive: Option<Place>,
    /// In the order of places.
    shared: Vec<Place>,
}

impl Holders {
    /// Whether no holder conflicts with such an access. The own shared hold of an upgrade does not.
    #[inline]
    pub fn admits(&self, exclusive: bool, upgrade: bool) -> bool {
        self.exclusive.is_none() && (!exclusive || self.shared.len() == usize::from(upgrade))
    }

    /// Whether it is held exclusively.
    pub fn is_exclusive(&self) -> bool {
        self.exclusive.is_some()
    }

    pub fn iter(&self) -> impl Iterator<Item = Place> + '_ {
        self.exclusive.into_iter().chain(self.shared.iter().copied())
    }

    /// Puts a holder in, takes it out, or lets it hold otherwise: each time exclusively (`true`),
    /// shared, or not at all.
    #[inline(always)]
    pub fn change(&mut self, place: Place, before: Option<bool>, after: Option<bool>) {
        if before == after {
            return;
        }
        match before {
            Some(true) => self.exclusive = None,
            Some(false) => self.leave(place),
            None => {}
        }
        match after {
            Some(true) => self.exclusive = Some(place),
            Some(false) => self.join(place),
            None => {}
        }
    }

    fn join(&mut self, place: Place) {
        if let Err(at) = self.shared.binary_search(&place) {
            self.shared.insert(at, place);
        }
    }

    fn leave(&mut self, place: Place) {
        if let Ok(at) = self.shared.binary_search(&place) {
            self.shared.remove(at);
        }
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The grants of one group that were taken away, so that a late unlock is told what happened.
//!
//! A client may keep several grants alive over time: with unlockAndLock() a grant whose release fence
//! fails ends after the next one has begun. Tokens of a group grow, and nobody comes back with a very
//! old one, so the last [`KEPT`] are enough. Groups that are never evicted take no memory for it.

use std::collections::VecDeque;

use buffersync_engine::Token;

/// How many are kept. IBufferSync.aidl (ERROR_EVICTED) says so to clients.
pub const KEPT: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Evicted(VecDeque<Token>);

impl Evicted {
    /// A grant was taken away, or one of its release fences failed. A grant with several of those is
    /// kept once.
    pub fn add(&mut self, token: Token) {
        if self.contains(token) {
            return;
        }
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(token);
    }

    pub fn contains(&self, token: Token) -> bool {
        self.0.contains(&token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept_each_once() {
        let mut evicted = Evicted::default();
        for token in 1..=KEPT as u64 + 1 {
            evicted.add(Token(token));
            evicted.add(Token(token));
        }
        assert!(!evicted.contains(Token(1)));
        assert!((2..=KEPT as u64 + 1).all(|token| evicted.contains(Token(token))));
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The grants of one group that were taken away, so that a late unlock gets the right error.
//!
//! The client is told that such a lock was evicted, and that any other has ended. Clients do not come back
//! with very old numbers, so the last [`KEPT`] are enough.

use std::collections::VecDeque;

use buffersync_engine::Token;

/// The number of grants that are kept. IBufferSync.aidl (ERROR_EVICTED) promises it to clients.
pub const KEPT: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Evicted(VecDeque<Token>);

impl Evicted {
    /// Adds a grant that was taken away, or whose release fence failed. Several fences of one grant can
    /// fail; its number is kept once.
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
    fn the_last_tokens_are_kept_each_once() {
        let mut evicted = Evicted::default();
        for token in 1..=KEPT as u64 + 1 {
            evicted.add(Token(token));
            evicted.add(Token(token));
        }
        assert!(!evicted.contains(Token(1)));
        assert!((2..=KEPT as u64 + 1).all(|token| evicted.contains(Token(token))));
    }
}

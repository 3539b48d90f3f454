// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The engine and its peers behind one interface: lock some of many, unlock them.
//!
//! | module | content |
//! |---|---|
//! | [`table`] | the engine behind a mutex, as the service has it, and threads that wait for grants |
//! | [`robust`] | robust process-shared pthread mutexes, which a user could put beside the buffers |
//! | [`ratios`] | reads criterion's results and prints them as ratios |

pub mod ratios;
pub mod robust;
pub mod table;

/// The generator xorshift64*: the same order in every run.
pub struct Random(pub u64);

impl Random {
    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    /// `count` different numbers below `bound`, in ascending order.
    pub fn choose(&mut self, count: usize, bound: usize) -> Vec<usize> {
        let mut chosen = std::collections::BTreeSet::new();
        while chosen.len() < count {
            chosen.insert(self.below(bound));
        }
        chosen.into_iter().collect()
    }
}

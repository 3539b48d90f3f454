// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! [`Access`]: how a group uses a buffer. The engine and the clients re-export it.
//!
//! # References
//!
//! The four types and their meaning are those of the dmabuf-sync RFC (Inki Dae, 2013).
//! `vendor/buffersync/Access.aidl` gives them their numbers.

#![forbid(unsafe_code)]

/// The use that a group makes of a buffer: a read or a write, by the CPU or by a device.
///
/// Reads share a buffer, writes exclude everybody else. Declare what really happens: the access also
/// decides the cache maintenance before a grant. A CPU write that is declared as [`Access::DmaWrite`]
/// leaves dirty cache lines behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// The CPU reads. Shared.
    Read,
    /// The CPU reads or writes. Exclusive.
    Write,
    /// A device reads. Shared.
    DmaRead,
    /// A device reads or writes. Exclusive.
    DmaWrite,
}

impl Access {
    /// All four, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::DmaRead, Self::DmaWrite];

    /// True if this access excludes every other access.
    pub fn is_exclusive(self) -> bool {
        matches!(self, Self::Write | Self::DmaWrite)
    }

    /// True if a device accesses the buffer, false if the CPU does.
    pub fn is_dma(self) -> bool {
        matches!(self, Self::DmaRead | Self::DmaWrite)
    }

    /// The access by the same user that shares the buffer.
    pub fn shared(self) -> Self {
        match self {
            Self::Read | Self::Write => Self::Read,
            Self::DmaRead | Self::DmaWrite => Self::DmaRead,
        }
    }

    /// True if two groups cannot hold one buffer for these two accesses at once.
    pub fn conflicts(self, other: Self) -> bool {
        self.is_exclusive() || other.is_exclusive()
    }

    /// The weakest access that allows both. `None` for one access by the CPU and one by a device: the
    /// cache is made ready for one of them, and none of the four accesses allows both.
    pub fn stronger(self, other: Self) -> Option<Self> {
        match (self.is_dma() == other.is_dma(), self.is_exclusive()) {
            (false, _) => None,
            (true, true) => Some(self),
            (true, false) => Some(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Access::{self, DmaRead, DmaWrite, Read, Write};

    #[test]
    fn the_stronger_of_two_accesses_allows_both() {
        for one in Access::ALL {
            for other in Access::ALL {
                let expected = match (one, other) {
                    (Read, Read) => Some(Read),
                    (Read | Write, Read | Write) => Some(Write),
                    (DmaRead, DmaRead) => Some(DmaRead),
                    (DmaRead | DmaWrite, DmaRead | DmaWrite) => Some(DmaWrite),
                    _ => None,
                };
                assert_eq!(one.stronger(other), expected, "{one:?} {other:?}");
            }
        }
    }
}

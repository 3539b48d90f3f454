// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The groups whose clients may have left events unread, by uid. When a uid has too many in all, [`crate::sessions`]
//! asks the kernel about these groups, some in each call: their clients may have read since.

use std::collections::BTreeSet;

use crate::tables::{self, ById};

#[derive(Debug, Default)]
pub(crate) struct UnreadGroups(ById<u32, OfUid>);

#[derive(Debug, Default)]
struct OfUid {
    serials: BTreeSet<u64>,
    /// The one that was asked about last. They take turns, so that groups that are never read do not hide the others.
    last: u64,
}

impl UnreadGroups {
    /// A group has unread events now.
    pub fn add(&mut self, uid: u32, serial: u64) {
        self.0.entry(uid).or_default().serials.insert(serial);
    }

    /// A group has none, or has ended.
    pub fn remove(&mut self, uid: u32, serial: u64) {
        let Some(of_uid) = self.0.get_mut(&uid) else { return };
        of_uid.serials.remove(&serial);
        if of_uid.serials.is_empty() {
            self.0.remove(&uid);
            tables::shrink(&mut self.0);
        }
    }

    /// The number of a uid's groups.
    pub fn len(&self, uid: u32) -> usize {
        self.0.get(&uid).map_or(0, |of_uid| of_uid.serials.len())
    }

    /// The group of a uid whose turn it is.
    pub fn next(&mut self, uid: u32) -> Option<u64> {
        let OfUid { serials, last } = self.0.get_mut(&uid)?;
        let next = serials.range(*last + 1..).next().or_else(|| serials.first()).copied()?;
        *last = next;
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_of_each_uid_take_turns() {
        let mut groups = UnreadGroups::default();
        (1..4).for_each(|serial| groups.add(7, serial));
        (4..6).for_each(|serial| groups.add(8, serial));
        let turns: Vec<_> = (0..4).map(|_| (groups.next(7), groups.next(8))).collect();
        assert_eq!(turns, [(1, 4), (2, 5), (3, 4), (1, 5)].map(|(a, b)| (Some(a), Some(b))));
        groups.remove(7, 2);
        assert_eq!((groups.next(7), groups.len(7)), (Some(3), 2));
        (1..4).for_each(|serial| groups.remove(7, serial));
        assert_eq!((groups.next(7), groups.len(7), groups.0.len()), (None, 0, 1));
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Notices floods of oneway calls.
//!
//! No method of the interface is oneway, but a client can send any of them so. Then it does not wait for the answer,
//! and can send the next calls faster than the service works. The runtime slows them down beyond a rate
//! (`buffersync_aidl::runtime::set_oneway_gate`).

use std::sync::Mutex;
use std::time::Duration;

use buffersync_engine::Time;

use crate::poison;

/// Calls of a uid in a [`PERIOD`] that are no flood. An honest client makes none.
const BURST: u32 = 50;
const PERIOD: Duration = Duration::from_secs(1);
/// Uids that are counted. If there are more, the one whose period began first is forgotten.
const UIDS: usize = 32;

#[derive(Debug, Default)]
pub struct Oneways(Mutex<Vec<Count>>);

#[derive(Clone, Copy, Debug)]
struct Count {
    uid: u32,
    since: Time,
    calls: u32,
}

impl Oneways {
    /// Counts a oneway call. Returns whether the uid floods.
    pub fn is_flood(&self, uid: u32, now: Time) -> bool {
        let mut counts = poison::lock(&self.0);
        if let Some(count) = counts.iter_mut().find(|count| count.uid == uid) {
            if count.since.after(PERIOD) <= now {
                *count = Count { uid, since: now, calls: 0 };
            }
            count.calls += 1;
            return count.calls > BURST;
        }
        if counts.len() == UIDS {
            let first = counts.iter().enumerate().min_by_key(|(_, count)| count.since);
            let first = first.map_or(0, |(nth, _)| nth);
            counts.swap_remove(first);
        }
        counts.push(Count { uid, since: now, calls: 1 });
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_lasts_until_its_period_is_over() {
        let (oneways, start) = (Oneways::default(), Time(0));
        for _ in 0..BURST {
            assert!(!oneways.is_flood(1, start));
        }
        assert!(oneways.is_flood(1, start));
        assert!(!oneways.is_flood(2, start), "another uid has its own count");
        assert!(!oneways.is_flood(1, start.after(PERIOD)));
    }

    #[test]
    fn the_table_is_bounded() {
        let oneways = Oneways::default();
        for uid in 0..10 * UIDS as u32 {
            assert!(!oneways.is_flood(uid, Time(uid.into())));
        }
        assert_eq!(oneways.0.lock().unwrap().len(), UIDS);
    }
}

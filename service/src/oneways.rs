// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Refuses floods of oneway calls.
//!
//! No method of the interface is oneway, but a client can send any of them so. Then it does not wait for the answer,
//! and can send the next calls faster than the service works. The driver hides the pid of a oneway caller: it is 0.
//! (So is that of a caller in another pid namespace, which is why some are let through.)

use std::sync::Mutex;
use std::time::Duration;

use buffersync_engine::Time;

use crate::error::Error;
use crate::poison;

/// Calls of a uid in a [`PERIOD`]: far more than a client of a container makes that has a few frames in each.
const BURST: u32 = 1_000;
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
    /// Counts a oneway call, and refuses it if the uid has made too many.
    pub fn admit(&self, uid: u32, now: Time) -> Result<(), Error> {
        let mut counts = poison::lock(&self.0);
        let nth = counts.iter().position(|count| count.uid == uid).unwrap_or_else(|| {
            if counts.len() == UIDS {
                let first = counts.iter().enumerate().min_by_key(|(_, count)| count.since);
                let first = first.map_or(0, |(nth, _)| nth);
                counts.swap_remove(first);
            }
            counts.push(Count { uid, since: now, calls: 0 });
            counts.len() - 1
        });
        let count = &mut counts[nth];
        if count.since.after(PERIOD) <= now {
            (count.since, count.calls) = (now, 0);
        }
        count.calls += 1;
        if count.calls > BURST {
            return Err(Error::Quota(
                "oneway calls of a uid in a second at most: wait for each answer",
                BURST as usize,
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_refused_until_its_period_is_over() {
        let (oneways, start) = (Oneways::default(), Time(0));
        for _ in 0..BURST {
            assert_eq!(oneways.admit(1, start), Ok(()));
        }
        assert!(oneways.admit(1, start).is_err());
        assert_eq!(oneways.admit(2, start), Ok(()), "another uid has its own count");
        assert_eq!(oneways.admit(1, start.after(PERIOD)), Ok(()));
    }

    #[test]
    fn the_table_is_bounded() {
        let oneways = Oneways::default();
        for uid in 0..10 * UIDS as u32 {
            oneways.admit(uid, Time(uid.into())).unwrap();
        }
        assert_eq!(oneways.0.lock().unwrap().len(), UIDS);
    }
}

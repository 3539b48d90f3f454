// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Deadlines and time-outs: a binary heap that knows the place of each timer.
//!
//! A timer is moved or stopped in O(log n), and without allocation once the heap has been as large.

use crate::index::Ix;
use crate::Time;

/// At most one timer for each value of a kind.
#[derive(Clone, Debug)]
pub(crate) struct Timers<const KIND: u8> {
    /// The earliest first; a parent is never later than its children.
    heap: Vec<(Time, Ix<KIND>)>,
    /// The place of each timer in the heap.
    places: Vec<usize>,
}

const NOWHERE: usize = usize::MAX;

impl<const KIND: u8> Timers<KIND> {
    pub const fn new() -> Self {
        Self { heap: Vec::new(), places: Vec::new() }
    }

    pub fn first(&self) -> Option<(Time, Ix<KIND>)> {
        self.heap.first().copied()
    }

    pub fn get(&self, who: Ix<KIND>) -> Option<Time> {
        let place = self.places.get(who.position())?;
        self.heap.get(*place).map(|(time, _)| *time)
    }

    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Sets, moves or stops a timer.
    pub fn set(&mut self, who: Ix<KIND>, time: Option<Time>) {
        match (self.place(who), time) {
            (None, None) => {}
            (None, Some(time)) => {
                if self.places.len() <= who.position() {
                    self.places.resize(who.position() + 1, NOWHERE);
                }
                self.heap.push((time, who));
                self.rise(self.heap.len() - 1);
            }
            (Some(place), Some(time)) => {
                self.heap[place].0 = time;
                let place = self.rise(place);
                self.sink(place);
            }
            (Some(place), None) => {
                self.places[who.position()] = NOWHERE;
                self.heap.swap_remove(place);
                if place < self.heap.len() {
                    let place = self.rise(place);
                    self.sink(place);
                }
            }
        }
    }

    fn place(&self, who: Ix<KIND>) -> Option<usize> {
        self.places.get(who.position()).copied().filter(|place| *place != NOWHERE)
    }

    fn rise(&mut self, mut at: usize) -> usize {
        let item = self.heap[at];
        while at > 0 && item < self.heap[(at - 1) / 2] {
            self.put(at, self.heap[(at - 1) / 2]);
            at = (at - 1) / 2;
        }
        self.put(at, item);
        at
    }

    fn sink(&mut self, mut at: usize) {
        let item = self.heap[at];
        loop {
            let left = 2 * at + 1;
            let earliest = match (self.heap.get(left), self.heap.get(left + 1)) {
                (Some(one), Some(other)) if other < one => left + 1,
                (Some(_), _) => left,
                (None, _) => break,
            };
            if item <= self.heap[earliest] {
                break;
            }
            self.put(at, self.heap[earliest]);
            at = earliest;
        }
        self.put(at, item);
    }

    fn put(&mut self, at: usize, item: (Time, Ix<KIND>)) {
        self.heap[at] = item;
        self.places[item.1.position()] = at;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::index::{JobIx, JOB};

    #[test]
    fn agrees_with_a_sorted_map_over_random_changes() {
        let all: Vec<JobIx> = (0..20).map(JobIx::new).collect();
        let (mut timers, mut model) = (Timers::<JOB>::new(), BTreeMap::new());
        let mut random = 1u64;
        for _ in 0..10_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let who = all[(random >> 33) as usize % all.len()];
            let time = (random >> 40 & 3 != 0).then_some(Time(random >> 50));
            timers.set(who, time);
            match time {
                Some(time) => drop(model.insert(who, time)),
                None => drop(model.remove(&who)),
            }
            assert_eq!(timers.first(), model.iter().map(|(who, time)| (*time, *who)).min());
            assert!(all.iter().all(|who| timers.get(*who) == model.get(who).copied()));
        }
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Everything at once, for the requested time: `BUFFERSYNC_VTS_STRESS_SECONDS=900`.
//!
//! Threads have groups with random buffers and accesses. They lock, grow, give up, are evicted, and
//! disappear. The test keeps its own book of holders and deadlines, in which holders must never conflict. At
//! the end nothing is left, and every group can lock.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::event;
use buffersync_testbed_guest::dmabuf::DmaBuf;
use buffersync_testbed_guest::heap;
use buffersync_vts::hal::{counter, eventually, granted_in, now_ns, Group, ACCESSES};
use buffersync_vts::suite::Tests;
use buffersync_vts::tests;

pub const TESTS: Tests = tests![nobody_ever_holds_against_another];

const SIZE: usize = 4096;
const BUFFERS: usize = 6;
const THREADS: u64 = 8;
/// A short hold limit, so that there are evictions.
const HOLD_MS: i32 = 200;

/// A holder of a buffer, and its deadline.
struct Holder {
    token: i64,
    access: Access,
    deadline: i64,
}

/// The holders of each buffer, as the threads note them.
struct Book([Mutex<Vec<Holder>>; BUFFERS]);

impl Book {
    fn enter(&self, which: usize, new: Holder) {
        let mut holders = self.0[which].lock().expect("no conflict yet");
        // A holder after its deadline holds nothing any more, if its thread was late with the note.
        let now = now_ns();
        let holds = |holder: &Holder| now < holder.deadline;
        let conflicts = |other: &&Holder| exclusive(other.access) || exclusive(new.access);
        if let Some(other) = holders.iter().filter(|other| holds(other)).find(conflicts) {
            let (own, others) = (new.access, other.access);
            assert!(!holds(&new), "buffer {which}: {own:?} beside {others:?}");
        }
        holders.push(new);
    }

    fn leave(&self, which: usize, token: i64) {
        let mut holders = self.0[which].lock().expect("no conflict yet");
        holders.retain(|holder| holder.token != token);
    }
}

fn exclusive(access: Access) -> bool {
    access == Access::WRITE || access == Access::DMA_WRITE
}

/// xorshift64*: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

fn nobody_ever_holds_against_another() {
    let seconds = std::env::var("BUFFERSYNC_VTS_STRESS_SECONDS").expect("asked for");
    let until = Instant::now() + Duration::from_secs(seconds.parse().expect("seconds"));
    let buffers: Vec<DmaBuf> = (0..BUFFERS).map(|_| heap::allocate(SIZE).expect("heap")).collect();
    let book = Book(std::array::from_fn(|_| Mutex::default()));
    let grants: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=THREADS)
            .map(|seed| {
                let (buffers, book) = (&buffers, &book);
                scope.spawn(move || {
                    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                    let mut grants = 0;
                    while Instant::now() < until {
                        grants += life(buffers, book, &mut random);
                    }
                    grants
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no conflict")).sum()
    });
    assert!(grants > 0);
    eventually("all groups are gone", || counter("groups") == 0);
    for buffer in &buffers {
        Group::of("stress/after", buffer, Access::WRITE).cycle();
    }
}

/// Runs one group from its opening to its end. Returns the number of its grants.
fn life(buffers: &[DmaBuf], book: &Book, random: &mut Random) -> u64 {
    let mut group = Group::with_hold("stress/group", HOLD_MS);
    let mut wanted = Vec::new();
    for (which, buffer) in buffers.iter().enumerate() {
        if random.below(2) == 0 {
            let access = ACCESSES[random.below(4) as usize];
            group.add(buffer, access);
            wanted.push((which, access));
        }
    }
    if wanted.is_empty() {
        return 0;
    }
    let mut grants = 0;
    for _ in 0..random.below(20) {
        let reply = group.binder.lock(50_000_000).expect("lock");
        let deadline = if let Some(granted) = granted_in(&reply) {
            granted.deadline_ns
        } else if random.below(8) == 0 && group.binder.cancel().is_ok() {
            continue;
        } else {
            match outcome(&mut group, reply.token) {
                Some(deadline) => deadline,
                None => continue,
            }
        };
        grants += 1;
        let token = reply.token;
        for (which, access) in &wanted {
            book.enter(*which, Holder { token, access: *access, deadline });
        }
        if random.below(4) == 0 {
            std::thread::sleep(Duration::from_micros(random.below(2000)));
        }
        wanted.iter().for_each(|(which, _)| book.leave(*which, token));
        match random.below(64) {
            // No unlock, so it is evicted.
            0 => std::thread::sleep(Duration::from_millis(u64::from(HOLD_MS.unsigned_abs()) + 20)),
            // Closed while it holds.
            1 => return grants,
            _ => {}
        }
        // It may have been evicted.
        let _ = group.binder.unlock(reply.token);
    }
    grants
}

/// Waits for the end of a queued lock. Returns the deadline of the grant, if any.
fn outcome(group: &mut Group, token: i64) -> Option<i64> {
    loop {
        let record = group.next_event().expect("the service lives");
        match record.kind {
            event::GRANTED if record.token == token => return Some(record.value0),
            event::TIMED_OUT if record.token == token => return None,
            event::LOCK_FAILED if record.token == token => panic!("{record:?}"),
            _ => {}
        }
    }
}

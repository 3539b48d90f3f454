// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A warm lock and unlock on real dma-bufs allocate nothing between the binder object and the kernel,
//! except the array that the reply hands to the binding. (The engine's own tests check the lock table.)

use std::io::Read;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;

use buffersync_engine::{Access, GroupId, Token};
use buffersync_service::arbiter::Arbiter;
use buffersync_service::calls::{HoldFrom, Locked, Opened, Wait};
use buffersync_service::config::Config;
use buffersync_testbed_guest::dmabuf::DmaBuf;
use buffersync_testbed_guest::heap;

const ROUNDS: u64 = 50;

struct Client {
    id: GroupId,
    key: i64,
    events: std::fs::File,
}

fn open(arbiter: &Arbiter, buffers: &[DmaBuf], access: Access) -> Client {
    let opened =
        arbiter.open_group(0, "allocations", (None, HoldFrom::Grant), false).expect("open_group");
    let Opened { id, key, events, .. } = opened;
    for buffer in buffers {
        arbiter.add(id, &[buffer.as_fd()], access).expect("add");
    }
    Client { id, key, events: events.into() }
}

/// Waits for the record of a grant that comes by event.
fn wait_for_grant(client: &mut Client) {
    let mut records = [0; 5 * 32];
    client.events.read_exact(&mut records).expect("GRANTED and four buffers");
}

/// Locks. Cache operations that are in flight, also those of a group that has just been closed, delay a
/// grant; then it comes by event.
fn lock(arbiter: &Arbiter, client: &mut Client) -> Token {
    match arbiter.lock(client.id, Wait::UntilGranted).expect("lock") {
        Locked::Granted { token, .. } => token,
        Locked::Queued(token) => {
            wait_for_grant(client);
            token
        }
    }
}

fn allocations(mut round: impl FnMut()) -> u64 {
    (0..3).for_each(|_| round());
    allocation_counter::measure(|| (0..ROUNDS).for_each(|_| round())).count_total
}

#[test]
fn a_warm_lock_allocates_its_reply_and_an_unlock_nothing() {
    let arbiter = Arc::new(Arbiter::new(Config::default()).expect("arbiter"));
    let worker = Arc::clone(&arbiter);
    thread::spawn(move || worker.run_worker());
    let buffers: Vec<DmaBuf> = (0..4).map(|_| heap::allocate(4096).expect("heap")).collect();

    for access in [Access::DmaWrite, Access::Write] {
        let mut client = open(&arbiter, &buffers, access);
        let count = allocations(|| {
            let token = lock(&arbiter, &mut client);
            arbiter.unlock(client.id, token, &[]).expect("unlock");
        });
        assert_eq!(count, ROUNDS, "{access:?}: one array for each reply");
        arbiter.close(client.id).expect("close");
    }

    // From one group to the next and back in one call each.
    let other: Vec<DmaBuf> = (0..4).map(|_| heap::allocate(4096).expect("heap")).collect();
    let mut pair = [&buffers, &other].map(|buffers| open(&arbiter, buffers, Access::DmaWrite));
    let mut token = lock(&arbiter, &mut pair[0]);
    let mut step = |from: usize, to: usize| {
        let next =
            arbiter.unlock_and_lock(pair[from].id, token, &[], pair[to].key, Wait::UntilGranted);
        // Nobody else has these buffers, and two devices need no cache operation between them.
        let Locked::Granted { token: next, .. } = next.expect("unlock_and_lock").1 else {
            panic!("queued")
        };
        token = next;
    };
    let count = allocations(|| {
        step(0, 1);
        step(1, 0);
    });
    assert_eq!(count, 2 * ROUNDS, "the replies' arrays");
    pair.iter().for_each(|client| arbiter.close(client.id).expect("close"));

    // Two devices take turns: one waits, and the other's unlock grants it.
    let mut clients = [(); 2].map(|()| open(&arbiter, &buffers, Access::DmaWrite));
    let first = lock(&arbiter, &mut clients[0]);
    let mut held = (0, first);
    let count = allocations(|| {
        let next = 1 - held.0;
        let Locked::Queued(token) =
            arbiter.lock(clients[next].id, Wait::UntilGranted).expect("lock")
        else {
            panic!("granted against a holder")
        };
        arbiter.unlock(clients[held.0].id, held.1, &[]).expect("unlock");
        wait_for_grant(&mut clients[next]);
        held = (next, token);
    });
    assert_eq!(count, 0, "a grant that comes by event");
}

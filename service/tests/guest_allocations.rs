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
use buffersync_service::calls::{HoldFrom, Locked, Opened, Request, Wait, Wants};
use buffersync_service::config::Config;
use buffersync_service::quota::Resources;
use buffersync_testbed_guest::dmabuf::DmaBuf;
use buffersync_testbed_guest::heap;

const ROUNDS: u64 = 50;

struct Client {
    id: GroupId,
    /// The number of its last lock.
    last: u64,
    events: std::fs::File,
}

impl Client {
    /// A lock of all its buffers, with the next number.
    fn next(&mut self) -> Request<'static> {
        self.last += 1;
        Request { token: Token(self.last), wants: Wants::ALL, wait: Wait::UntilGranted }
    }
}

fn open(arbiter: &Arbiter, buffers: &[DmaBuf], access: Access) -> Client {
    let opened =
        arbiter.open_group(0, "allocations", (None, HoldFrom::Grant), false).expect("open_group");
    let Opened { id, events, .. } = opened;
    for buffer in buffers {
        arbiter.add(id, &[buffer.as_fd()], access).expect("add");
    }
    Client { id, last: 0, events: events.into() }
}

/// Waits for the record of a grant that comes by event.
fn wait_for_grant(client: &mut Client) {
    let mut records = [0; 5 * 32];
    client.events.read_exact(&mut records).expect("GRANTED and four buffers");
}

/// Locks. Cache operations that are in flight, also those of a group that has just been closed, delay a
/// grant; then it comes by event.
fn lock(arbiter: &Arbiter, client: &mut Client) -> Token {
    let request = client.next();
    if arbiter.lock(client.id, request).expect("lock") == Locked::Queued {
        wait_for_grant(client);
    }
    request.token
}

fn allocations(mut round: impl FnMut()) -> u64 {
    (0..3).for_each(|_| round());
    allocation_counter::measure(|| (0..ROUNDS).for_each(|_| round())).count_total
}

#[test]
fn a_warm_lock_allocates_its_reply_and_an_unlock_nothing() {
    let arbiter = Arc::new(Arbiter::new(Config::default(), Resources::AMPLE).expect("arbiter"));
    let worker = Arc::clone(&arbiter);
    thread::spawn(move || worker.run_worker());
    let buffers: Vec<DmaBuf> = (0..4).map(|_| heap::allocate(4096).expect("heap")).collect();

    for access in [Access::DmaWrite, Access::Write] {
        let mut client = open(&arbiter, &buffers, access);
        let count = allocations(|| {
            let token = lock(&arbiter, &mut client);
            arbiter.unlock(client.id, token).expect("unlock");
        });
        assert_eq!(count, ROUNDS, "{access:?}: one array for each reply");
        arbiter.close(client.id).expect("close");
    }

    // From one lock to the next in one call.
    let mut client = open(&arbiter, &buffers, Access::DmaWrite);
    let mut token = lock(&arbiter, &mut client);
    let count = allocations(|| {
        let request = client.next();
        let next = arbiter.unlock_and_lock(client.id, token, &[], request);
        // Nobody else has these buffers, and two devices need no cache operation between them.
        assert!(matches!(next, Ok(Locked::Granted { .. })), "{next:?}");
        token = request.token;
    });
    assert_eq!(count, ROUNDS, "the replies' arrays");
    arbiter.close(client.id).expect("close");

    // Two devices take turns: one waits, and the other's unlock grants it.
    let mut clients = [(); 2].map(|()| open(&arbiter, &buffers, Access::DmaWrite));
    let first = lock(&arbiter, &mut clients[0]);
    let mut held = (0, first);
    let count = allocations(|| {
        let next = 1 - held.0;
        let request = clients[next].next();
        let locked = arbiter.lock(clients[next].id, request).expect("lock");
        assert_eq!(locked, Locked::Queued, "granted against a holder");
        arbiter.unlock(clients[held.0].id, held.1).expect("unlock");
        wait_for_grant(&mut clients[next]);
        held = (next, request.token);
    });
    assert_eq!(count, 0, "a grant that comes by event");
}

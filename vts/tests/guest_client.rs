// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The Rust client with a running service: growth, waits that end without a grant, fences.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use buffersync_client::{fence, Access, BufferSync, Error, Options};
use buffersync_testbed_guest::dmabuf::DmaBuf;
use buffersync_testbed_guest::heap;
use buffersync_testbed_guest::stack::{patient, Stack};
use buffersync_vts::fence::Pending;

const SIZE: usize = 16 * 1024;
/// After this time a call counts as hung.
const HUNG: Duration = Duration::from_secs(60);

fn start() -> Stack {
    let own = std::env::current_exe().expect("own path");
    let out = std::env::var_os("BUFFERSYNC_OUT").map_or_else(|| "/out".into(), PathBuf::from);
    let bin = own.parent().expect("a folder");
    Stack::start(bin, &out.join("log-client"), &patient()).expect("stack")
}

/// One test, because a process opens the binder driver only once and a second stack would need it again.
#[test]
fn grants_grow_or_say_why_not_and_fences_come_and_go() {
    let _stack = start();
    let service = BufferSync::connect().expect("connect");
    let open = |name| service.open_group(name, Options::default()).expect("open_group");
    let (x, y) = (heap::allocate(SIZE).expect("heap"), heap::allocate(SIZE).expect("heap"));
    let (one, other) = (open("client/one"), open("client/other"));
    one.add(&x, Access::DmaWrite).expect("add");
    other.add(&y, Access::DmaWrite).expect("add");

    // No other holder.
    let mut grant = one.lock(None).expect("lock");
    let (lock, deadline) = (grant.id(), grant.deadline());
    assert!(matches!(grant.grow(None), Err(Error::AlreadyLocked(_))));
    let added = one.add(&y, Access::DmaWrite).expect("add");
    grant.grow(None).expect("grow");
    assert_eq!((grant.id(), grant.deadline()), (lock, deadline));
    assert!(grant.buffer(added).is_some());
    grant.unlock().expect("unlock");
    one.remove(added).expect("remove");

    // With another holder.
    let held = other.lock(None).expect("lock");
    let mut grant = one.lock(None).expect("lock");
    one.add(&y, Access::DmaWrite).expect("add");
    assert!(matches!(grant.try_grow(), Err(Error::WouldBlock(_))));
    let begin = Instant::now();
    let timed_out = grant.grow(Duration::from_millis(100)).expect_err("it is held");
    let way = timed_out.in_the_way().expect("a lock in the way");
    assert_eq!((way.lock, way.owner.as_deref()), (held.id(), Some("client/other")));
    assert!(begin.elapsed() >= Duration::from_millis(100));
    assert_eq!(grant.is_evicted(), Ok(false));
    held.unlock().expect("unlock");
    grant.grow(HUNG).expect("grow");
    grant.unlock().expect("unlock");

    // Two groups want each other's buffers: the younger one must let go.
    one.remove_all().expect("remove_all");
    one.add(&x, Access::DmaWrite).expect("add");
    let mut old = one.lock(None).expect("lock");
    let mut young = other.lock(None).expect("lock");
    one.add(&y, Access::DmaWrite).expect("add");
    other.add(&x, Access::DmaWrite).expect("add");
    std::thread::scope(|scope| {
        let waits = scope.spawn(move || old.grow(None).and_then(|()| old.unlock()));
        let begin = Instant::now();
        // Before the older one waits, this one only times out.
        let mut refused = young.grow(Duration::from_millis(20));
        while matches!(refused, Err(Error::TimedOut { .. })) && begin.elapsed() < HUNG {
            refused = young.grow(Duration::from_millis(20));
        }
        assert_eq!(refused, Err(Error::Deadlock));
        assert_eq!(young.grow(None), Err(Error::Deadlock), "until it has unlocked");
        young.unlock().expect("unlock");
        waits.join().expect("the older one").expect("is granted");
    });
    let both = other.lock(None).expect("lock");
    assert_eq!(both.buffers().len(), 2);
    drop(both);

    // A grant that ends during or before its growth: no new lock is left behind.
    let brief = service
        .open_group(
            "client/brief",
            Options { hold_limit: Some(Duration::from_millis(150)), ..Options::default() },
        )
        .expect("open_group");
    let z = heap::allocate(SIZE).expect("heap");
    brief.add(&z, Access::DmaWrite).expect("add");
    let held = other.lock(None).expect("lock");
    let mut grant = brief.lock(None).expect("lock");
    brief.add(&y, Access::DmaRead).expect("add");
    assert!(matches!(grant.grow(None), Err(Error::Evicted { .. })));
    assert_eq!(grant.is_evicted(), Ok(true));
    assert!(matches!(grant.unlock(), Err(Error::Evicted { .. })));
    brief.remove_all().expect("remove_all");
    brief.add(&z, Access::DmaWrite).expect("add");
    let mut grant = brief.lock(None).expect("lock");
    brief.add(&y, Access::DmaRead).expect("add");
    std::thread::sleep(Duration::from_millis(200));
    let late = grant.grow(None);
    assert!(matches!(late, Err(Error::Evicted { .. })), "a new lock, taken for growth: {late:?}");
    drop(grant);
    held.unlock().expect("unlock");
    assert!(brief.lock(HUNG).is_ok(), "a lock was left behind");
    fences_come_and_go(&service);
}

fn fences_come_and_go(service: &BufferSync) {
    let open = |name, access, buffers: &[&DmaBuf]| {
        let group = service.open_group(name, Options::default()).expect("open_group");
        let ids: Vec<_> =
            buffers.iter().map(|buffer| group.add(*buffer, access).expect("add")).collect();
        (group, ids)
    };
    let (x, y) = (heap::allocate(SIZE).expect("heap"), heap::allocate(SIZE).expect("heap"));
    let (giver, ids) = open("client/giver", Access::DmaWrite, &[&x, &y]);
    let (taker, _) = open("client/taker", Access::DmaRead, &[&x, &y]);
    let dup = |pending: &Pending| pending.sync_file.try_clone().expect("dup");

    // The fence comes with the reply, or after an event.
    for by_event in [false, true] {
        let pending = Pending::new();
        let grant = giver.lock(None).expect("lock");
        let lock = if by_event {
            let mut lock = taker.start_lock(HUNG).expect("a lock");
            assert_eq!(lock.is_granted(), Ok(false));
            grant.unlock_with(dup(&pending)).expect("unlock");
            lock
        } else {
            grant.unlock_with(dup(&pending)).expect("unlock");
            let mut lock = taker.start_lock(HUNG).expect("a lock");
            assert_eq!(lock.is_granted(), Ok(true));
            lock
        };
        let grant = lock.wait().expect("granted");
        assert!(grant.buffers().iter().all(|buffer| buffer.fenced));
        let fence = grant.acquire_fence().expect("a call").expect("an acquire fence");
        let short = Duration::from_millis(20);
        assert!(matches!(fence::wait(&fence, short), Err(Error::TimedOut { .. })));
        pending.signal();
        fence::wait(&fence, None).expect("signalled");
        grant.unlock().expect("unlock");
    }

    // The fence of one buffer.
    let pending = Pending::new();
    let grant = giver.lock(None).expect("lock");
    grant.unlock_with(vec![(ids[1], dup(&pending))]).expect("unlock");
    let grant = taker.lock(None).expect("lock");
    assert!(grant.acquire_fence_of(ids[0]).expect("a call").is_none());
    assert!(grant.acquire_fence_of(ids[1]).expect("a call").is_some());
    drop(grant);

    // The client waits for a fence that the service can't take.
    let most = service.capabilities().expect("capabilities").max_fences_per_group;
    let (reader, _) = open("client/reader", Access::DmaRead, &[&x]);
    for _ in 0..most {
        reader.lock(None).expect("lock").unlock_with(dup(&pending)).expect("unlock");
    }
    let grant = reader.lock(None).expect("lock");
    let fence = dup(&pending);
    let signalled = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(100));
            signalled.store(true, Ordering::SeqCst);
            pending.signal();
        });
        grant.unlock_with(fence).expect("unlock");
        assert!(signalled.load(Ordering::SeqCst), "unlocked before the fence");
    });
    // A descriptor that is not a fence ends the grant all the same.
    let null: OwnedFd = std::fs::File::open("/dev/null").expect("null").into();
    let grant = giver.lock(HUNG).expect("lock");
    assert!(matches!(grant.unlock_with(null), Err(Error::BadFence(_))));
    assert!(taker.lock(HUNG).is_ok());
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Tests of the Rust API that need a running service.

use std::time::{Duration, Instant};

use buffersync_client::{
    Access, BufferId, BufferSync, Error, Event, Grant, Group, HoldFrom, LockId, Options, Read,
    Write,
};
use buffersync_testbed_guest::dmabuf::DmaBuf;
use buffersync_testbed_guest::stack::Stack;
use nix::sys::memfd::{memfd_create, MemFdCreateFlag};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use super::{buffers, PATIENCE, SIZE};

pub fn works(sync: &BufferSync, stack: &mut Stack) {
    let [one, other] = buffers();
    typed_access(sync, &one, &other);
    several_locks(sync, &one, &other);
    threads_share_a_group(sync, &one, &other);
    a_display_keeps_what_nobody_wants(sync, &one);
    awaited_locks(sync, &one);
    a_write_that_failed_is_torn(sync, &one);
    a_wait_ends_though_the_service_is_stopped(sync, stack, &one);
    a_connection_survives_the_service(sync, stack, &one);
}

fn open(sync: &BufferSync, name: &str) -> Group {
    sync.open_group(name, Options::default()).expect("open_group")
}

fn is_unknown<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::UnknownBuffer(_)))
}

fn typed_access(sync: &BufferSync, one: &DmaBuf, other: &DmaBuf) {
    let group = open(sync, "typed/one");
    let mut read = group.map::<Read>(one).expect("map");
    assert_eq!(read.len(), SIZE);
    let mut grant = group.lock(PATIENCE).expect("lock");
    assert!(read.to_vec(&grant).is_ok());
    let mut byte = [0];
    let beyond = read.read_at(&grant, SIZE, &mut byte);
    assert!(matches!(beyond, Err(Error::IllegalArgument(_))), "{beyond:?}");

    let mut grown = group.map::<Write>(other).expect("map");
    assert!(is_unknown(grown.to_vec(&grant)), "added, not yet held");
    grant.grow(PATIENCE).expect("grow");
    grown.write_at(&grant, 3, &[1, 2]).expect("held");
    grown.read_at(&grant, 4, &mut byte).expect("held");
    assert_eq!(byte, [2]);
    // SAFETY: nobody else uses the buffer.
    unsafe { grown.bytes_mut(&grant) }.expect("held")[0] = 1;

    // A grant that shares the buffer does not let it be written.
    grant.downgrade(&[]).expect("downgrade");
    assert!(is_unknown(grown.write_at(&grant, 0, &[1])), "shared");
    drop(grant);

    group.remove(grown.id()).expect("remove");
    let grant = group.lock(PATIENCE).expect("lock");
    assert!(is_unknown(grown.to_vec(&grant)), "removed");
    // Another group's grant does not have it either.
    let foreign = open(sync, "typed/foreign");
    foreign.add(other, Access::Read).expect("add");
    let theirs = foreign.lock(PATIENCE).expect("lock");
    assert!(is_unknown(read.to_vec(&theirs)));
    drop((grant, theirs));

    let options = Options { hold_limit: Some(Duration::from_millis(100)), ..Options::default() };
    let brief = sync.open_group("typed/brief", options).expect("open_group");
    read = brief.map(one).expect("map");
    let grant = brief.lock(PATIENCE).expect("lock");
    std::thread::sleep(Duration::from_millis(150));
    let late = read.to_vec(&grant);
    assert!(matches!(late, Err(Error::Evicted { .. })), "the deadline has passed: {late:?}");
    drop(grant);

    // A stronger access that is declared while a weaker one is held.
    let weak = open(sync, "typed/weak");
    weak.add(one, Access::Read).expect("add");
    let mut grant = weak.lock(PATIENCE).expect("lock");
    let strong = weak.map::<Write>(one).expect("map");
    assert!(is_unknown(strong.write_at(&grant, 0, &[1])), "held for reading");
    grant.grow(PATIENCE).expect("grow");
    strong.write_at(&grant, 0, &[1]).expect("held for writing");
}

/// Many locks in one group.
fn several_locks(sync: &BufferSync, one: &DmaBuf, other: &DmaBuf) {
    let (group, rival) = (open(sync, "several/one"), open(sync, "several/rival"));
    let memory = memfd_create(c"memory", MemFdCreateFlag::MFD_CLOEXEC).expect("memfd");
    nix::unistd::ftruncate(&memory, 4096).expect("ftruncate");
    let ids = [
        group.add(one, Access::Write).expect("add"),
        group.add(other, Access::Write).expect("add"),
        group.add(&memory, Access::Write).expect("a memfd"),
    ];
    rival.add(one, Access::Write).expect("add");

    let mut first = group.lock_some(&[(ids[0], Access::Write)], PATIENCE).expect("lock");
    let wants = [(ids[1], Access::DmaRead), (ids[2], Access::Read)];
    let second = group.start_lock_some(&wants, PATIENCE).expect("lock");
    assert!(first.id() < second.id() && group.locks().expect("locks").len() == 2);
    // It may wait for cache maintenance.
    let second = second.wait().expect("granted");
    assert_eq!(ids_of(&second), ids[1..]);
    let conflicts = group.try_lock_some(&[(ids[2], Access::Write)]).map(drop);
    assert!(matches!(conflicts, Err(Error::AlreadyLocked(_))), "{conflicts:?}");
    assert!(matches!(group.lock(PATIENCE), Err(Error::AlreadyLocked(_))));
    assert!(first.acquire_fence().expect("a fence of nobody").is_none());
    assert!(matches!(group.remove(ids[0]), Err(Error::Busy(_))));
    assert!(matches!(group.lock_some(&[], None), Err(Error::IllegalArgument(_))));

    // Somebody waits, and reads when the holder shares.
    let mut theirs = rival.start_lock_some(&[(ids[0], Access::Read)], None).expect("lock");
    assert_eq!(theirs.is_granted(), Ok(false));
    await_contention(&group, first.id());
    first.downgrade(&[]).expect("downgrade");
    let theirs = theirs.wait().expect("shared");
    let stronger = first.grow_some(&[(ids[0], Access::Write)], Duration::from_millis(20));
    let way = stronger.expect_err("somebody reads");
    let way = way.in_the_way().expect("the reader");
    assert_eq!((way.lock, way.owner.as_deref()), (theirs.id(), Some("several/rival")));
    theirs.unlock().expect("unlock");

    first.grow_some(&[(ids[2], Access::Read)], PATIENCE).expect("grow");
    first.unlock_buffers(&ids[..1], None).expect("a part");
    assert_eq!(ids_of(&first), ids[2..]);
    let wants = [(ids[0], Access::Write)];
    let old = first.id();
    let third = first.unlock_with_and_lock_some(None, &wants, PATIENCE).expect("unlock and lock");
    let locks: Vec<LockId> = group.locks().expect("locks").iter().map(|lock| lock.lock).collect();
    assert_eq!(locks, [second.id(), third.id()]);
    assert!(old < third.id());
    second.unlock().expect("unlock");
    // A grant that is dropped is unlocked.
    drop(third);
    assert_eq!(group.locks(), Ok(Vec::new()));
    let grant = group.lock(PATIENCE).expect("lock");
    assert_eq!(ids_of(&grant), ids);
    grant.unlock_and_lock(PATIENCE).expect("again").unlock().expect("unlock");

    // A lock that nobody waits for any more is taken back, granted or not.
    let held = rival.lock(PATIENCE).expect("lock");
    drop(group.start_lock(None).expect("a lock"));
    drop(held);
    drop(group.start_lock(None).expect("a lock"));
    assert_eq!(group.locks(), Ok(Vec::new()));
}

fn ids_of(grant: &Grant) -> Vec<BufferId> {
    grant.buffers().iter().map(|buffer| buffer.id).collect()
}

/// Reads events until somebody waits for this lock.
fn await_contention(group: &Group, of: LockId) {
    let begin = Instant::now();
    let is_it = |event| matches!(event, Event::Contended { lock, .. } if lock == of);
    while !group.read_event().expect("events").is_some_and(is_it) {
        assert!(begin.elapsed() < PATIENCE, "nobody waits");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Each thread has locks of its own in one group, and waits for other groups without the others.
fn threads_share_a_group(sync: &BufferSync, one: &DmaBuf, other: &DmaBuf) {
    let (group, rival) = (open(sync, "threads/one"), open(sync, "threads/rival"));
    let ids = [one, other].map(|buffer| group.add(buffer, Access::Write).expect("add"));
    rival.add(one, Access::Write).expect("add");
    let held = rival.lock(PATIENCE).expect("lock");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| group.lock_some(&[(ids[0], Access::Read)], PATIENCE));
        while rival.locks().expect("locks").len() + group.locks().expect("locks").len() < 2 {
            std::thread::sleep(Duration::from_millis(1));
        }
        for _ in 0..50 {
            let grant = group.lock_some(&[(ids[1], Access::Write)], PATIENCE).expect("lock");
            // To another thread.
            scope.spawn(|| grant.unlock().expect("unlock"));
            while group.locks().expect("locks").len() > 1 {
                std::thread::yield_now();
            }
        }
        assert!(!waits.is_finished(), "the rival holds it");
        held.unlock().expect("unlock");
        let grant = waits.join().expect("no panic").expect("granted");
        assert_eq!(ids_of(&grant), ids[..1]);
    });
}

/// With [`HoldFrom::Conflict`] a grant has no deadline until somebody waits.
fn a_display_keeps_what_nobody_wants(sync: &BufferSync, buffer: &DmaBuf) {
    let limit = Duration::from_millis(100);
    let (hold_limit, hold_from) = (Some(limit), HoldFrom::Conflict);
    let options = Options { hold_limit, hold_from, ..Options::default() };
    let display = sync.open_group("display/paused", options).expect("open_group");
    let frame = display.map::<Read>(buffer).expect("map");
    let camera = open(sync, "display/camera");
    camera.add(buffer, Access::Write).expect("add");
    let grant = display.lock(PATIENCE).expect("lock");
    std::thread::sleep(3 * limit);
    assert_eq!((grant.deadline(), grant.time_left(), grant.is_evicted()), (None, None, Ok(false)));
    assert!(frame.to_vec(&grant).is_ok());
    let waits = camera.start_lock(PATIENCE).expect("a lock");
    await_contention(&display, grant.id());
    assert!(grant.deadline().is_some() && grant.time_left().is_some_and(|left| left <= limit));
    let waiting = waits.id();
    drop(waits.wait().expect("granted at the display's deadline"));
    let Err(Error::Evicted { by: Some(by) }) = grant.unlock() else {
        panic!("it was taken away for the camera");
    };
    assert_eq!((by.lock, by.owner.as_deref()), (waiting, Some("display/camera")));
}

fn awaited_locks(sync: &BufferSync, buffer: &DmaBuf) {
    use tokio::sync::oneshot::channel;
    let of = |name| {
        let group = open(sync, name);
        group.add(buffer, Access::Write).expect("add");
        group
    };
    let (one, other) = (of("async/one"), of("async/other"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    runtime.expect("runtime").block_on(async {
        // On one thread: a future that waits lets the other run.
        let (held, is_held) = channel();
        let first = async {
            let grant = one.lock_async(PATIENCE).await.expect("lock");
            held.send(()).expect("the other is there");
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            grant.unlock().expect("unlock");
        };
        let second = async {
            is_held.await.expect("held");
            let timed_out = other.lock_async(Duration::from_millis(1)).await.map(drop);
            assert!(matches!(timed_out, Ok(()) | Err(Error::TimedOut { .. })), "{timed_out:?}");
            other.lock_async(PATIENCE).await.expect("lock").unlock().expect("unlock");
        };
        tokio::join!(first, second);

        // A dropped future cancels its lock, and its group can lock again.
        let grant = one.lock_async(None).await.expect("lock");
        tokio::select! {
            biased;
            _ = other.lock_async(None) => panic!("granted to two"),
            () = tokio::task::yield_now() => {}
        }
        assert_eq!(other.locks(), Ok(Vec::new()));
        grant.unlock().expect("unlock");
        other.lock_async(PATIENCE).await.expect("lock").unlock().expect("unlock");

        // Two futures of one group, and the same for growth.
        let memory = memfd_create(c"memory", MemFdCreateFlag::MFD_CLOEXEC).expect("memfd");
        nix::unistd::ftruncate(&memory, 4096).expect("ftruncate");
        let ids = [one.add(buffer, Access::Write), one.add(&memory, Access::Write)];
        let ids = ids.map(|id| id.expect("add"));
        let held = other.lock_async(PATIENCE).await.expect("lock");
        let mut grown =
            one.lock_some_async(&[(ids[1], Access::Write)], PATIENCE).await.expect("lock");
        let more = [(ids[0], Access::Read)];
        let growth = grown.grow_async(&more, PATIENCE);
        let unlock = async {
            tokio::task::yield_now().await;
            held.unlock().expect("unlock");
        };
        let (growth, ()) = tokio::join!(growth, unlock);
        growth.expect("grown");
        assert_eq!(grown.buffers().len(), 2);
        drop(grown);
        let wants = ids.map(|id| [(id, Access::Write)]);
        let both = tokio::join!(
            one.lock_some_async(&wants[0], PATIENCE),
            one.lock_some_async(&wants[1], PATIENCE)
        );
        assert!(both.0.is_ok() && both.1.is_ok());
        drop(both);

        // An eviction can be awaited too.
        let limit = Some(Duration::from_millis(100));
        let options = Options { hold_limit: limit, ..Options::default() };
        let brief = sync.open_group("async/brief", options).expect("open_group");
        brief.add(buffer, Access::Read).expect("add");
        let grant = brief.lock_async(PATIENCE).await.expect("lock");
        grant.evicted().await.expect("evicted");
        assert!(matches!(grant.unlock(), Err(Error::Evicted { .. })));
    });
}

/// The service does not run, and does not tell that a time-out is over.
fn a_wait_ends_though_the_service_is_stopped(sync: &BufferSync, stack: &Stack, buffer: &DmaBuf) {
    let (holder, waiter) = (open(sync, "stopped/holder"), open(sync, "stopped/waiter"));
    holder.add(buffer, Access::Write).expect("add");
    waiter.add(buffer, Access::Read).expect("add");
    let held = holder.lock(PATIENCE).expect("lock");
    let lock = waiter.start_lock(Duration::from_millis(300)).expect("a lock");
    let service = Pid::from_raw(stack.service_pid().try_into().expect("a pid"));
    kill(service, Signal::SIGSTOP).expect("stop");
    let ended = lock.wait().map(drop);
    kill(service, Signal::SIGCONT).expect("continue");
    let is_silent =
        |ended: &Result<(), Error>| matches!(ended, Err(Error::TimedOut { silent: true, .. }));
    assert!(is_silent(&ended), "{ended:?}");
    // The lock is ended: it does not get the buffer when the holder is done.
    let begin = Instant::now();
    while !waiter.locks().expect("locks").is_empty() {
        assert!(begin.elapsed() < PATIENCE, "the lock is still there");
        std::thread::sleep(Duration::from_millis(10));
    }
    // The holder may have been stopped past its deadline too.
    let _ = held.unlock();
    waiter.lock(PATIENCE).expect("lock").unlock().expect("unlock");
}

/// Who closes a group while it writes says that the content is not whole.
fn a_write_that_failed_is_torn(sync: &BufferSync, buffer: &DmaBuf) {
    let (writer, reader) = (open(sync, "failed/writer"), open(sync, "failed/reader"));
    writer.add(buffer, Access::Write).expect("add");
    let id = reader.add(buffer, Access::Read).expect("add");
    let grant = writer.lock(PATIENCE).expect("lock");
    writer.close().expect("close");
    assert_eq!(grant.unlock(), Err(Error::Closed));
    assert_eq!(writer.close(), Err(Error::Closed));
    let grant = reader.lock(PATIENCE).expect("lock");
    assert!(grant.buffer(id).is_some_and(|buffer| buffer.torn && buffer.evicted));
    drop(grant);
    // Somebody writes it anew, for the other tests.
    let again = open(sync, "failed/again");
    again.add(buffer, Access::Write).expect("add");
    again.lock(PATIENCE).expect("lock").unlock().expect("unlock");
}

fn a_connection_survives_the_service(sync: &BufferSync, stack: &mut Stack, buffer: &DmaBuf) {
    let group = open(sync, "death/group");
    group.add(buffer, Access::Read).expect("add");
    let held = group.lock(PATIENCE).expect("lock");
    stack.kill_service().expect("kill");
    assert_eq!(held.unlock(), Err(Error::ServiceDied));
    assert_eq!(group.lock(PATIENCE).err(), Some(Error::ServiceDied));
    // The service manager may hear of the death later than the client.
    let begin = Instant::now();
    while !matches!(sync.capabilities(), Err(Error::NoService { .. })) {
        assert!(begin.elapsed() < PATIENCE, "{:?}", sync.capabilities().err());
        std::thread::sleep(Duration::from_millis(10));
    }
    let absent = BufferSync::wait_for_service(Duration::from_millis(20)).map(drop);
    assert!(matches!(absent, Err(Error::NoService { .. })), "{absent:?}");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| BufferSync::wait_for_service(None));
        stack.restart_service(&[]).expect("restart");
        waits.join().expect("no panic").expect("it is there");
    });
    assert!(sync.capabilities().is_ok(), "the same handle finds the new service");
    assert_eq!(group.lock(PATIENCE).err(), Some(Error::ServiceDied), "the old group does not");
    let group = open(sync, "death/again");
    group.add(buffer, Access::Read).expect("add");
    group.lock(PATIENCE).expect("lock").unlock().expect("unlock");
}

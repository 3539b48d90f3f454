// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A service, or a client, that has only so many descriptors left, for each small number: what a call has done and
//! what it has answered are one thing, and a client that lost a reply can find out.
//!
//! The test lowers a process's limit (RLIMIT_NOFILE) before each call and raises it again before it looks.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use binder::Status;
use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::GroupOptions::GroupOptions;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::ERROR_NO_RESOURCES;
use buffersync_aidl::{runtime, Failure};
use buffersync_client::{Access as ClientAccess, BufferSync, Options};
use buffersync_testbed_guest::dmabuf::DmaBuf;
use buffersync_testbed_guest::heap;
use buffersync_testbed_guest::stack::{patient, Stack};
use buffersync_vts::calls::Reply;
use buffersync_vts::fence::{has_signalled, Pending};
use buffersync_vts::hal::{
    at_rest, counter, eventually, granted_in, handle, is_granted, service, whole, Group,
};
use nix::libc;

const SIZE: usize = 16 * 1024;
/// With so many free descriptors each call succeeds.
const ENOUGH: usize = 8;

/// Who runs short of descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Service,
    /// This process.
    Client,
}

/// The service and this process, whose limits the test changes.
struct Short {
    stack: Stack,
}

impl Short {
    fn start() -> Self {
        let own = std::env::current_exe().expect("own path");
        let out = std::env::var_os("BUFFERSYNC_OUT").map_or_else(|| "/out".into(), PathBuf::from);
        let bin = own.parent().expect("a folder");
        let stack = Stack::start(bin, &out.join("log-descriptors"), &patient()).expect("stack");
        Self { stack }
    }

    fn pid(&self, who: Who) -> u32 {
        match who {
            Who::Service => self.stack.service_pid(),
            Who::Client => std::process::id(),
        }
    }

    /// Runs a call while a process can open `free` descriptors and no more.
    fn with_free<T>(&self, who: Who, free: usize, call: impl FnOnce() -> T) -> T {
        let pid = self.pid(who);
        let folder = fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors");
        // The folder itself is open while this process reads its own.
        let open = folder.flatten().filter(|entry| entry.path().read_link().is_ok());
        let open = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let open: BTreeSet<usize> = open.collect();
        let here = |number: &usize| who == Who::Service || is_open(*number);
        let open: BTreeSet<usize> = open.into_iter().filter(here).collect();
        // A process can open the numbers below its limit that are not open yet.
        let limit = (0..).filter(|number| !open.contains(number)).nth(free).expect("a number");
        let before = limit_of(pid, None);
        limit_of(pid, Some(limit as u64));
        let result = call();
        limit_of(pid, Some(before));
        result
    }
}

fn is_open(fd: usize) -> bool {
    // SAFETY: F_GETFD takes no pointer.
    unsafe { libc::fcntl(fd as i32, libc::F_GETFD) >= 0 }
}

/// Returns a process's soft limit, and sets it.
fn limit_of(pid: u32, new: Option<u64>) -> u64 {
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let pid = pid as i32;
    // SAFETY: prlimit(2) reads one struct and writes the other; both live until it returns.
    let read = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &mut old) };
    assert_eq!(read, 0, "prlimit");
    if let Some(new) = new {
        let new = libc::rlimit { rlim_cur: new, rlim_max: old.rlim_max };
        // SAFETY: as above.
        let set = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &new, std::ptr::null_mut()) };
        assert_eq!(set, 0, "prlimit");
    }
    old.rlim_cur
}

/// What a call says of itself.
#[derive(Debug)]
enum Said<T> {
    Done(T),
    Refused,
    /// The kernel could not deliver the request or the reply.
    Nothing,
}

fn said<T>(result: Result<T, Status>) -> Said<T> {
    match result.map_err(|status| runtime::failure(&status)) {
        Ok(value) => Said::Done(value),
        Err(Failure::ServiceSpecific(ERROR_NO_RESOURCES, _)) => Said::Refused,
        Err(Failure::Other(_)) => Said::Nothing,
        Err(other) => panic!("{other:?}"),
    }
}

/// Tells if a call was done whose request, but not its reply, has descriptors.
fn done<T>(result: Result<T, Status>, sends_descriptors: bool) -> Option<T> {
    match said(result) {
        Said::Done(value) => Some(value),
        Said::Refused => None,
        Said::Nothing if sends_descriptors => None,
        Said::Nothing => panic!("no answer"),
    }
}

/// The numbers of a group's locks, as the service has them.
fn books(group: &Group) -> Vec<i64> {
    let locks = group.binder.object.getLocks().expect("getLocks needs no descriptor");
    locks.into_iter().map(|state| state.lock).collect()
}

fn buffer() -> DmaBuf {
    heap::allocate(SIZE).expect("heap")
}

/// Whether nobody holds a buffer: a writer gets it at once.
fn is_free(buffer: &DmaBuf) -> bool {
    let mut group = Group::of("short/probe", buffer, Access::DMA_WRITE);
    let reply = group.binder.try_lock();
    reply.is_ok_and(|reply| {
        let grant = group.granted(&reply);
        group.unlock(&grant);
        true
    })
}

/// The acquire fence of a reply, from the reply or by a later call.
fn fence_of(group: &Group, reply: &Reply) -> Option<OwnedFd> {
    let granted = granted_in(reply).expect("a grant");
    let fenced = granted.buffers().any(|b| b.flags & buffersync_aidl::event::FLAG_FENCED != 0);
    match &reply.fence {
        Some(fence) => Some(fence.as_ref().try_clone().expect("dup")),
        None if fenced => {
            let fence = group.binder.acquire_fence(reply.token, 0).expect("getAcquireFence");
            Some(fence.expect("a pending fence").into())
        }
        None => None,
    }
}

fn open_group(short: &Short, who: Who) {
    for free in 0..ENOUGH {
        let open = || service().openGroup("short", &GroupOptions::default());
        let opened = said(short.with_free(who, free, open));
        let is_open = matches!(opened, Said::Done(_));
        assert!(free < ENOUGH - 1 || is_open);
        assert!(who == Who::Client || !matches!(opened, Said::Nothing), "{free} free");
        // A group that nobody has is closed.
        eventually("as many groups as clients have", || counter("groups") == u64::from(is_open));
        drop(opened);
        at_rest();
    }
}

fn add(short: &Short, who: Who) {
    for free in 0..ENOUGH {
        let group = Group::open("short/add");
        let (one, two) = (buffer(), buffer());
        let both = handle(&[one.as_fd(), two.as_fd()]);
        let added = short.with_free(who, free, || group.binder.add(&both, Access::WRITE));
        let added = done(added, true).map_or(0, |ids| ids.len());
        assert!(added == 2 || added == 0 && free < ENOUGH - 1);
        assert_eq!(counter("buffers"), added as u64, "{free} free");
        drop(group);
        at_rest();
    }
}

/// A lock that is granted with a fence, for which there may be no descriptor.
fn lock(short: &Short, who: Who) {
    for free in 0..ENOUGH {
        let (pending, shared) = (Pending::new(), buffer());
        let mut giver = Group::of("short/giver", &shared, Access::DMA_WRITE);
        let taker = Group::of("short/taker", &shared, Access::DMA_WRITE);
        let held = giver.lock();
        giver.unlock_fenced(&held, &pending.sync_file);
        let number = taker.binder.last() + 1;
        match said(short.with_free(who, free, || taker.binder.lock(0))) {
            Said::Done(reply) => {
                assert!(is_granted(&reply), "{free} free");
                let fence = fence_of(&taker, &reply).expect("the giver's fence");
                assert!(!has_signalled(&fence));
                let asked =
                    short.with_free(who, free, || taker.binder.acquire_fence(reply.token, 0));
                assert!(!matches!(said(asked), Said::Done(None)));
                pending.signal();
                assert!(has_signalled(&fence));
            }
            // The reply is lost, and not the lock: the client knows its number.
            Said::Nothing if who == Who::Client && free < ENOUGH - 1 => pending.signal(),
            other => panic!("{free} free: {other:?}"),
        }
        assert_eq!(books(&taker), [number]);
        assert!(!is_free(&shared), "{free} free: it is held");
        taker.binder.unlock(number).expect("unlock");
        assert_eq!(books(&taker), []);
        eventually("the buffer is free", || is_free(&shared));
        drop((giver, taker));
        at_rest();
    }
}

/// An unlock with a fence, of all or of a part: it has happened, or the grant goes on.
fn unlock(short: &Short, who: Who, part: bool) {
    for free in 0..ENOUGH {
        let (pending, shared, other) = (Pending::new(), buffer(), buffer());
        let mut giver = Group::open("short/giver");
        let id = giver.add(&shared, Access::DMA_WRITE);
        giver.add(&other, Access::DMA_WRITE);
        let held = giver.lock();
        let fences = [whole(&pending.sync_file)];
        let ended = short.with_free(who, free, || match part {
            true => giver.binder.unlock_some(held.token, &[id], &fences),
            false => giver.binder.unlock_with(held.token, &fences),
        });
        let ended = done(ended, true).is_some();
        // The runtime duplicates what it sends, so a client needs a descriptor, too.
        assert!(ended || free < ENOUGH - 1);
        assert_eq!(counter("fences"), u64::from(ended), "{free} free");
        assert_eq!(is_free(&other), ended && !part, "{free} free");
        assert_eq!(books(&giver).is_empty(), ended && !part, "{free} free");
        assert_eq!(giver.binder.unlock(held.token).is_ok(), !ended || part, "{free} free");
        pending.signal();
        eventually("the buffers are free", || is_free(&shared) && is_free(&other));
        drop(giver);
        at_rest();
    }
}

/// An exchange: both halves have happened, or neither, and the books say which.
fn exchange(short: &Short, who: Who, with_fence: bool) {
    for free in 0..ENOUGH {
        let (pending, earlier, first, second) =
            (Pending::new(), Pending::new(), buffer(), buffer());
        let mut group = Group::open("short/frames");
        let frames = [&first, &second].map(|frame| group.add(frame, Access::DMA_WRITE));
        let mut giver = Group::of("short/giver", &second, Access::DMA_WRITE);
        let given = giver.lock();
        giver.unlock_fenced(&given, &earlier.sync_file);
        let reply = group.binder.lock_some(&frames[..1], &[], 0).expect("lock");
        let held = group.granted(&reply);
        let fences = [whole(&pending.sync_file)];
        let fences = if with_fence { &fences[..] } else { &[] };
        let next = held.token + 1;
        let exchange = || {
            let (object, frame) = (&group.binder.object, &frames[1..]);
            let reply = object.unlockAndLock(held.token, fences, next, frame, &[], 0)?;
            Ok(Reply { token: next, grant: reply.grant, fence: reply.acquireFence })
        };
        let answer = said(short.with_free(who, free, exchange));
        let books = books(&group);
        let happened = books == [next];
        assert!(happened || books == [held.token], "{free} free: {books:?}");
        match &answer {
            Said::Done(reply) => {
                assert!(happened && is_granted(reply));
                assert!(fence_of(&group, reply).is_some(), "{free} free");
            }
            Said::Refused => assert!(!happened && with_fence && free < ENOUGH - 1, "{free} free"),
            Said::Nothing => {
                let lost = happened && who == Who::Client;
                assert!((lost || with_fence) && free < ENOUGH - 1, "{free} free");
            }
        }
        assert_eq!(group.binder.unlock(held.token).is_ok(), !happened, "{free} free");
        assert_eq!(group.binder.unlock(next).is_ok(), happened, "{free} free");
        earlier.signal();
        pending.signal();
        eventually("the buffers are free", || is_free(&first) && is_free(&second));
        drop((group, giver));
        at_rest();
    }
}

/// The client library: a fence that can't be delivered is waited for, and the grant ends all the same.
fn client_unlock(short: &Short, who: Who) {
    let service = BufferSync::connect().expect("connect");
    for free in 0..ENOUGH {
        let (pending, shared) = (Pending::new(), buffer());
        let group = service.open_group("short/client", Options::default()).expect("open_group");
        group.add(&shared, ClientAccess::DmaWrite).expect("add");
        let grant = group.lock(None).expect("lock");
        let fence = pending.another();
        // The work is done before the unlock, so nothing has to be waited for.
        pending.signal();
        short.with_free(who, free, || grant.unlock_with(fence)).expect("unlock");
        eventually("the buffer is free", || is_free(&shared));
        // The group is usable.
        group.lock(None).expect("lock").unlock().expect("unlock");
        drop(group);
        at_rest();
    }
}

/// The client library: a lock and an exchange whose replies may be lost. It holds what it says, and nothing else.
fn client_lock(short: &Short, who: Who, again: bool) {
    let service = BufferSync::connect().expect("connect");
    for free in 0..ENOUGH {
        let (pending, shared) = (Pending::new(), buffer());
        let mut giver = Group::of("short/giver", &shared, Access::DMA_WRITE);
        let group = service.open_group("short/client", Options::default()).expect("open_group");
        group.add(&shared, ClientAccess::DmaWrite).expect("add");
        let held = giver.lock();
        giver.unlock_fenced(&held, &pending.sync_file);
        let lock = || {
            let grant = group.lock(None)?;
            if again {
                grant.unlock_and_lock(None)
            } else {
                Ok(grant)
            }
        };
        let grant = short.with_free(who, free, lock);
        let locked = grant.is_ok();
        assert!(locked || who == Who::Client && free < ENOUGH - 1, "{free} free");
        pending.signal();
        assert_eq!(group.locks().expect("getLocks needs no descriptor").len(), usize::from(locked));
        if let Ok(grant) = grant {
            assert!(!is_free(&shared), "{free} free");
            grant.unlock().expect("unlock");
        }
        eventually("the buffer is free", || is_free(&shared));
        group.lock(None).expect("lock").unlock().expect("unlock");
        drop((giver, group));
        at_rest();
    }
}

#[test]
fn what_a_call_has_done_is_what_it_has_answered() {
    let short = Short::start();
    for who in [Who::Service, Who::Client] {
        open_group(&short, who);
        add(&short, who);
        lock(&short, who);
        for way in [false, true] {
            unlock(&short, who, way);
            exchange(&short, who, way);
            client_lock(&short, who, way);
        }
        client_unlock(&short, who);
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A service that has only so many descriptors left, for each small number: what a call has done and what it has
//! answered are one thing.
//!
//! The test lowers the service's limit (RLIMIT_NOFILE) before each call and raises it again before it looks.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use binder::Status;
use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::GroupOptions::GroupOptions;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::ERROR_NO_RESOURCES;
use buffersync_aidl::aidl::vendor::buffersync::LockReply::LockReply;
use buffersync_aidl::{runtime, Failure};
use buffersync_client::{Access as ClientAccess, BufferSync, Options};
use buffersync_testbed_guest::dmabuf::DmaBuf;
use buffersync_testbed_guest::heap;
use buffersync_testbed_guest::stack::{patient, Stack};
use buffersync_vts::fence::{has_signalled, Pending};
use buffersync_vts::hal::{
    at_rest, counter, eventually, granted_in, handle, is_granted, service, whole, Group,
};
use nix::libc;

const SIZE: usize = 16 * 1024;
/// With so many free descriptors each call succeeds.
const ENOUGH: usize = 8;

/// The service, whose limit the test changes.
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

    /// Runs a call while the service can open `free` descriptors and no more.
    fn with_free<T>(&self, free: usize, call: impl FnOnce() -> T) -> T {
        let folder = format!("/proc/{}/fd", self.stack.service_pid());
        let open = fs::read_dir(folder).expect("descriptors").flatten();
        let open = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let open: BTreeSet<usize> = open.collect();
        // A process can open the numbers below its limit that are not open yet.
        let limit = (0..).filter(|number| !open.contains(number)).nth(free).expect("a number");
        let before = self.limit(None);
        self.limit(Some(limit as u64));
        let result = call();
        self.limit(Some(before));
        result
    }

    /// Returns the service's soft limit, and sets it.
    fn limit(&self, new: Option<u64>) -> u64 {
        let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        let pid = self.stack.service_pid() as i32;
        // SAFETY: prlimit(2) reads one struct and writes the other; both live until it returns.
        let read = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &mut old) };
        assert_eq!(read, 0, "prlimit");
        if let Some(new) = new {
            let new = libc::rlimit { rlim_cur: new, rlim_max: old.rlim_max };
            // SAFETY: as above.
            let set =
                unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &new, std::ptr::null_mut()) };
            assert_eq!(set, 0, "prlimit");
        }
        old.rlim_cur
    }
}

/// Tells if a call was done. It may be refused as NO_RESOURCES, or by the kernel if a descriptor of the request could
/// not be delivered.
fn done<T>(result: Result<T, Status>, sends_descriptors: bool) -> Option<T> {
    match result.map_err(|status| runtime::failure(&status)) {
        Ok(value) => Some(value),
        Err(Failure::ServiceSpecific(ERROR_NO_RESOURCES)) => None,
        Err(Failure::Other(_)) if sends_descriptors => None,
        Err(other) => panic!("{other:?}"),
    }
}

fn buffer() -> DmaBuf {
    heap::allocate(SIZE).expect("heap")
}

/// Whether nobody holds a buffer: a writer gets it at once.
fn is_free(buffer: &DmaBuf) -> bool {
    let mut group = Group::of("short/probe", buffer, Access::DMA_WRITE);
    let reply = group.binder.tryLock();
    reply.is_ok_and(|reply| {
        let grant = group.granted(&reply);
        group.unlock(&grant);
        true
    })
}

/// The acquire fence of a reply, from the reply or by a later call.
fn fence_of(group: &Group, reply: &LockReply) -> Option<OwnedFd> {
    let granted = granted_in(reply).expect("a grant");
    let fenced = granted.buffers().any(|b| b.flags & buffersync_aidl::event::FLAG_FENCED != 0);
    match &reply.acquireFence {
        Some(fence) => Some(fence.as_ref().try_clone().expect("dup")),
        None if fenced => {
            let fence = group.binder.getAcquireFence(reply.token, 0).expect("getAcquireFence");
            Some(fence.expect("a pending fence").into())
        }
        None => None,
    }
}

fn open_group(short: &Short) {
    for free in 0..ENOUGH {
        let opened =
            short.with_free(free, || service().openGroup("short", &GroupOptions::default()));
        let opened = done(opened, false);
        assert!(free < ENOUGH - 1 || opened.is_some());
        assert_eq!(counter("groups"), u64::from(opened.is_some()), "{free} free");
        drop(opened);
        at_rest();
    }
}

fn add(short: &Short) {
    for free in 0..ENOUGH {
        let group = Group::open("short/add");
        let (one, two) = (buffer(), buffer());
        let both = handle(&[one.as_fd(), two.as_fd()]);
        let added = short.with_free(free, || group.binder.add(&both, Access::WRITE));
        let added = done(added, true).map_or(0, |ids| ids.len());
        assert!(added == 2 || added == 0 && free < ENOUGH - 1);
        assert_eq!(counter("buffers"), added as u64, "{free} free");
        drop(group);
        at_rest();
    }
}

/// A lock that is granted with a fence, for which there may be no descriptor.
fn lock(short: &Short) {
    for free in 0..ENOUGH {
        let (pending, shared) = (Pending::new(), buffer());
        let mut giver = Group::of("short/giver", &shared, Access::DMA_WRITE);
        let taker = Group::of("short/taker", &shared, Access::DMA_WRITE);
        let held = giver.lock();
        giver.unlock_fenced(&held, &pending.sync_file);
        let reply = short.with_free(free, || taker.binder.lock(0)).expect("a lock is not refused");
        assert!(is_granted(&reply), "{free} free");
        let fence = fence_of(&taker, &reply).expect("the giver's fence");
        assert!(!has_signalled(&fence));
        assert!(short
            .with_free(free, || done(taker.binder.getAcquireFence(reply.token, 0), false))
            .is_none_or(|fence| fence.is_some()));
        pending.signal();
        assert!(has_signalled(&fence));
        assert!(!is_free(&shared), "{free} free: the reply says that it is held");
        taker.binder.unlock(reply.token).expect("unlock");
        eventually("the buffer is free", || is_free(&shared));
        drop((giver, taker));
        at_rest();
    }
}

/// An unlock with a fence, of all or of a part: it has happened, or the grant goes on.
fn unlock(short: &Short, part: bool) {
    for free in 0..ENOUGH {
        let (pending, shared, other) = (Pending::new(), buffer(), buffer());
        let mut giver = Group::open("short/giver");
        let id = giver.add(&shared, Access::DMA_WRITE);
        giver.add(&other, Access::DMA_WRITE);
        let held = giver.lock();
        let fences = [whole(&pending.sync_file)];
        let ended = short.with_free(free, || match part {
            true => giver.binder.unlockBuffers(held.token, &[id], &fences),
            false => giver.binder.unlockWithFences(held.token, &fences),
        });
        let ended = done(ended, true).is_some();
        assert!(ended || free < ENOUGH - 1);
        assert_eq!(counter("fences"), u64::from(ended), "{free} free");
        assert_eq!(is_free(&other), ended && !part, "{free} free");
        assert_eq!(giver.binder.unlock(held.token).is_ok(), !ended || part, "{free} free");
        pending.signal();
        eventually("the buffers are free", || is_free(&shared) && is_free(&other));
        drop(giver);
        at_rest();
    }
}

/// An exchange: both halves have happened, or neither.
fn exchange(short: &Short, with_fence: bool) {
    for free in 0..ENOUGH {
        let (pending, earlier, first, second) =
            (Pending::new(), Pending::new(), buffer(), buffer());
        let mut one = Group::of("short/one", &first, Access::DMA_WRITE);
        let mut giver = Group::of("short/giver", &second, Access::DMA_WRITE);
        let two = Group::of("short/two", &second, Access::DMA_WRITE);
        let held = giver.lock();
        giver.unlock_fenced(&held, &earlier.sync_file);
        let held = one.lock();
        let fences = [whole(&pending.sync_file)];
        let exchanged = short.with_free(free, || match with_fence {
            true => one.binder.unlockWithFencesAndLock(held.token, &fences, two.key, 0),
            false => one.binder.unlockAndLock(held.token, two.key, 0),
        });
        let exchanged = done(exchanged, with_fence);
        assert!(exchanged.is_some() || with_fence && free < ENOUGH - 1, "{free} free");
        let still_held = one.binder.unlock(held.token).is_ok();
        assert_eq!(still_held, exchanged.is_none(), "{free} free: the first half");
        if let Some(reply) = exchanged {
            assert!(is_granted(&reply));
            assert!(fence_of(&two, &reply).is_some(), "{free} free");
            two.binder.unlock(reply.token).expect("the second half");
        }
        earlier.signal();
        pending.signal();
        eventually("the buffers are free", || is_free(&first) && is_free(&second));
        drop((one, two, giver));
        at_rest();
    }
}

/// The client library: a fence that can't be delivered is waited for, and the grant ends all the same.
fn client(short: &Short) {
    let service = BufferSync::connect().expect("connect");
    for free in 0..ENOUGH {
        let (pending, shared) = (Pending::new(), buffer());
        let mut group = service.open_group("short/client", Options::default()).expect("open_group");
        group.add(&shared, ClientAccess::DmaWrite).expect("add");
        let grant = group.lock(None).expect("lock");
        let fence = pending.another();
        // The work is done before the unlock, so nothing has to be waited for.
        pending.signal();
        short.with_free(free, || grant.unlock_with_fence(fence)).expect("unlock");
        eventually("the buffer is free", || is_free(&shared));
        // The group is usable.
        group.lock(None).expect("lock").unlock().expect("unlock");
        drop(group);
        at_rest();
    }
}

#[test]
fn what_a_call_has_done_is_what_it_has_answered() {
    let short = Short::start();
    open_group(&short);
    add(&short);
    lock(&short);
    unlock(&short, false);
    unlock(&short, true);
    exchange(&short, false);
    exchange(&short, true);
    client(&short);
}

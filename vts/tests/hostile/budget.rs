// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Many uids take all that they can get, each within its own limits. One that comes later still gets something, and
//! everything is given back.
//!
//! The service has few descriptors here (RLIMIT_NOFILE), so that few clients are needed.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::GroupOptions::GroupOptions;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::{
    ERROR_EVENTS_UNREAD, ERROR_NO_RESOURCES, ERROR_QUOTA,
};
use buffersync_testbed_guest::dmabuf::DmaBuf;
use buffersync_testbed_guest::user::User;
use buffersync_testbed_guest::{heap, udmabuf};
use buffersync_vts::calls::Calls;
use buffersync_vts::fence::Pending;
use buffersync_vts::hal::{counter, error, eventually, handle, service, whole, Group};
use nix::libc;

use super::actor::{Actor, Stage};
use super::scene::Scene;

/// Descriptors in one call.
const AT_ONCE: usize = 8;

/// Limits the descriptors of the processes that this one starts.
fn with_descriptors(limit: u64) {
    let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
    // SAFETY: setrlimit(2) reads one struct, which lives until it returns.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0, "setrlimit");
}

/// The things that a service has for its clients: counters, and open descriptors.
fn has(pid: u32) -> ([u64; 3], usize) {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors").count();
    (["groups", "buffers", "fences"].map(counter), open)
}

/// True if the service has no more than before. (A dump's descriptor may have been open at that time.)
fn is_back(pid: u32, before: ([u64; 3], usize)) -> bool {
    let now = has(pid);
    now.0 == before.0 && now.1 <= before.1
}

pub fn nine_uids_leave_something_for_a_tenth() {
    crowd_leaves_something(9, 2560);
}

pub fn sixty_four_uids_leave_something_for_another() {
    crowd_leaves_something(User::CROWD - 1, 8192);
}

fn crowd_leaves_something(uids: u32, descriptors: u64) {
    with_descriptors(descriptors);
    let mut scene = Scene::start(&[]);
    let pid = scene.stack.service_pid();
    let before = has(pid);
    let mut hogs: Vec<Actor> = (0..uids)
        .map(|nth| {
            let mut hog = Actor::start(User::of_crowd(nth), "budget::hog", &[]);
            let taken: u64 = hog.line().parse().expect("a number");
            // Who refuses everything leaves something, too.
            assert!(nth > 0 || taken >= descriptors / 64, "the first uid got only {taken}");
            hog
        })
        .collect();
    let mut newcomer = Actor::start(User::of_crowd(uids), "budget::newcomer", &[]);
    newcomer.says("served");
    scene.is_served();
    for hog in &mut hogs {
        hog.go();
        hog.says("works");
    }
    newcomer.kill();
    // Half of them leave in order.
    for (nth, hog) in hogs.iter_mut().enumerate() {
        if nth % 2 == 0 {
            hog.go();
            hog.says("left");
        } else {
            hog.kill();
        }
    }
    eventually("everything is given back", || is_back(pid, before));
    // A uid can have as much as the first time.
    let mut again = Actor::start(User::of_crowd(0), "budget::hog", &[]);
    let taken: u64 = again.line().parse().expect("a number");
    assert!(taken >= descriptors / 64, "only {taken} the second time");
    scene.is_served();
}

/// Takes groups, buffers and fences until each is refused. Says how many descriptors of the service that takes.
pub fn hog(mut stage: Stage) {
    let own = heap::allocate(4096).expect("heap");
    let mut first = Group::of("hog", &own, Access::DMA_WRITE);
    let opened = || service().openGroup("hog", &GroupOptions::default());
    let groups: Vec<_> = std::iter::from_fn(|| opened().ok()).take(1000).collect();
    is_a_refusal(error(opened()));
    let calls = groups.iter().map(|opened| Calls::new(opened.group.clone().expect("a group")));
    let calls: Vec<Calls> = calls.collect();
    let mut buffers = 0;
    for group in &calls {
        // When one call is refused, smaller ones may not be.
        for at_once in [AT_ONCE, 1] {
            let mut refused = 0;
            while refused == 0 {
                let new: Vec<_> =
                    (0..at_once).map(|_| heap::allocate(4096).expect("heap")).collect();
                let new: Vec<BorrowedFd<'_>> = new.iter().map(AsFd::as_fd).collect();
                match group.add(&handle(&new), Access::DMA_WRITE) {
                    Ok(ids) => buffers += ids.len(),
                    denied => refused = error(denied),
                }
            }
            is_a_refusal(refused);
        }
    }
    let pending = Pending::new();
    let mut fences = 0;
    for group in std::iter::once(&first.binder).chain(&calls) {
        let Ok(reply) = group.lock(0) else { continue };
        match group.unlock_with(reply.token, &[whole(&pending.sync_file)]) {
            Ok(()) => fences += 1,
            denied => {
                is_a_refusal(error(denied));
                group.unlock(reply.token).expect("unlock");
            }
        }
    }
    stage.say(1 + groups.len() + buffers + fences);
    stage.wait();
    // The fences signal with the end of their device; after ten seconds they have done so by themselves.
    drop(pending);
    first.cycle();
    stage.say("works");
    stage.wait();
    calls.iter().for_each(|group| group.close().expect("close"));
    drop((first, calls, groups));
    stage.say("left");
    stage.rest()
}

fn is_a_refusal(code: i32) {
    assert!([ERROR_QUOTA, ERROR_NO_RESOURCES].contains(&code), "error {code}");
}

/// Comes when others have taken all they could, and does a little of everything.
pub fn newcomer(stage: Stage) {
    let buffer = heap::allocate(4096).expect("heap");
    let mut giver = Group::of("newcomer/giver", &buffer, Access::DMA_WRITE);
    let held = giver.lock();
    let pending = Pending::new();
    giver.unlock_fenced(&held, &pending.sync_file);
    pending.signal();
    giver.cycle();
    stage.say("served");
    stage.rest()
}

/// Of the memory that is available, a client may make the service keep at most this part.
const PART: u64 = 2;
/// One buffer of a client that wants much.
const BIG: usize = 16 << 20;

fn available() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.expect("kilobytes") * 1024
}

pub fn the_memory_of_buffers_that_only_the_service_has_is_bounded() {
    let mut scene = Scene::start(&[]);
    let pid = scene.stack.service_pid();
    for exporter in ["heap", "udmabuf"] {
        let before = has(pid);
        let mut keeper = Actor::start(User::STUCK, "budget::keeper", &[exporter]);
        let said = keeper.line();
        assert!(said.starts_with("refused"), "{exporter}: {said}");
        scene.is_served();
        keeper.kill();
        eventually("everything is given back", || is_back(pid, before));
    }
}

/// Adds big buffers that it then closes, until it is refused, or until it has used too much.
pub fn keeper(stage: Stage) {
    let allocate = match stage.arg::<String>(0).as_str() {
        "heap" => heap::allocate,
        _ => udmabuf::allocate,
    };
    // Tests that run beside this one need memory, too: what counts is what this client has added.
    let most = available() / PART;
    let mut groups = vec![Group::open("keeper")];
    let mut added = 0;
    let refused = loop {
        let buffer = allocate(BIG).expect("memory");
        let group = groups.last().expect("a group");
        match group.binder.add(&handle(&[buffer.as_fd()]), Access::DMA_WRITE) {
            Ok(_) => added += BIG as u64,
            denied => break error(denied),
        }
        if added > most {
            stage.say(format_args!("keeps {added} bytes of {} in the service", PART * most));
            stage.rest();
        }
        if added % (32 * BIG as u64) == 0 {
            groups.push(Group::open("keeper"));
        }
    };
    is_a_refusal(refused);
    stage.say(format_args!("refused after {added} bytes"));
    stage.rest()
}

/// Groups whose channels one uid fills at most: far fewer than it may have open.
const FULL_CHANNELS: usize = 128;
/// Buffers of each grant that a full channel tells of.
const TOLD: usize = 64;

pub fn the_memory_of_events_that_nobody_reads_is_bounded() {
    let mut scene = Scene::start(&[]);
    let mut mute = Actor::start(User::STUCK, "budget::mute", &[]);
    mute.says("refused in an empty channel");
    scene.is_served();
    mute.go();
    mute.says("served");
}

/// Fills the channel of one group after the other, until a group that has no event is refused; then reads one.
pub fn mute(mut stage: Stage) {
    let buffers: Vec<DmaBuf> = (0..TOLD).map(|_| heap::allocate(4096).expect("heap")).collect();
    let of_all = |name| {
        let group = Group::open(name);
        for some in buffers.chunks(TOLD / 2) {
            let some: Vec<BorrowedFd<'_>> = some.iter().map(AsFd::as_fd).collect();
            group.binder.add(&handle(&some), Access::DMA_WRITE).expect("add");
        }
        group
    };
    let mut holder = of_all("mute/holder");
    let mut full: Vec<Group> = Vec::new();
    while full.len() < FULL_CHANNELS {
        let group = of_all("mute");
        let refused = (0..).find(|_| !is_told(&mut holder, &group)).unwrap_or(0);
        full.push(group);
        if refused == 0 {
            break;
        }
    }
    let fresh = full.last().expect("a group");
    assert_eq!(
        error(fresh.binder.lock(0)),
        ERROR_EVENTS_UNREAD,
        "{} channels are full",
        full.len()
    );
    stage.say("refused in an empty channel");
    stage.wait();
    // The service looks at some of them in each call.
    full[0].read_all();
    eventually("the uid has room again", || is_told(&mut holder, full.last().expect("a group")));
    stage.say("served");
    stage.rest()
}

/// Has the service tell a group of a grant by an event. False if a lock is refused.
fn is_told(holder: &mut Group, group: &Group) -> bool {
    let Ok(theirs) = holder.binder.lock(0) else { return false };
    let reply = group.binder.lock(0);
    holder.binder.unlock(theirs.token).expect("unlock");
    holder.read_all();
    let Ok(reply) = reply else { return false };
    eventually("the lock is granted", || group.binder.unlock(reply.token).is_ok());
    true
}

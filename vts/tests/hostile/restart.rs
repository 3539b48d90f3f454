// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A restart of the service makes nobody believe in an exclusion that is gone, and there is one service at a time.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Stdio};
use std::time::Duration;

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::IBufferSync;
use buffersync_testbed_guest::stack::{patient, service_command, Stack};
use buffersync_testbed_guest::user::User;
use buffersync_testbed_guest::vgem::Vgem;
use buffersync_testbed_guest::{heap, udmabuf};
use buffersync_vts::hal::{eventually, open_driver, Group};
use nix::sys::memfd::{memfd_create, MemFdCreateFlag};

use super::actor::{Actor, Stage};
use super::scene::{bin, logs, patient_and, Scene};

/// A buffer of each kind.
fn buffers() -> Vec<OwnedFd> {
    let own = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().expect("dup");
    let memfd = memfd_create(c"shared", MemFdCreateFlag::MFD_CLOEXEC).expect("memfd");
    nix::unistd::ftruncate(&memfd, 4096).expect("ftruncate");
    let vgem = Vgem::open().expect("vgem").allocate(4096).expect("vgem buffer");
    vec![
        own(heap::allocate(4096).expect("heap").as_fd()),
        own(udmabuf::allocate(4096).expect("udmabuf").as_fd()),
        own(vgem.dmabuf.as_fd()),
        memfd,
    ]
}

/// A process that writes into these buffers, whatever becomes of the service.
fn held(buffers: &[OwnedFd]) -> Actor {
    let mut holder = Actor::start(User::CODEC, "restart::holder", &[]);
    holder.send(&buffers.iter().map(AsFd::as_fd).collect::<Vec<_>>());
    holder.says("holds");
    holder
}

/// Holds all buffers for writing.
pub fn holder(stage: Stage) {
    let mut group = Group::open("restart/holder");
    for buffer in stage.receive() {
        group.add(&buffer, Access::WRITE);
    }
    group.lock();
    stage.say("holds");
    stage.rest()
}

/// The marks (EVICTED, TORN) of a new grant of this buffer.
fn marks(buffer: &OwnedFd, access: Access) -> (bool, bool) {
    Group::of("restart/user", buffer, access).cycle().marks()
}

pub fn a_buffer_whose_holder_outlives_the_service_is_marked() {
    let mut stack = Stack::start(&bin(), &logs(), &patient()).expect("stack");
    let old = buffers();
    let mut holder = held(&old);
    stack.kill_service().expect("kill");
    stack.restart_service(&patient()).expect("restart");
    let new = buffers();
    for (nth, old) in old.iter().enumerate() {
        assert_eq!(marks(old, Access::READ), (true, true), "buffer {nth}, a reader");
        assert!(marks(old, Access::READ).1, "buffer {nth}: a reader repairs nothing");
        assert!(marks(old, Access::WRITE).1, "buffer {nth}, the next writer");
        assert!(!marks(old, Access::READ).1, "buffer {nth}: a writer has ended in order");
    }
    assert!(holder.is_alive(), "all the time the old holder could write");
    for (nth, new) in new.iter().enumerate() {
        for access in [Access::READ, Access::WRITE] {
            assert_eq!(marks(new, access), (false, false), "buffer {nth} is younger");
        }
    }
}

/// A holder of before has been told to stop by then, as any other.
pub fn the_marks_of_a_restart_end_with_the_longest_hold() {
    // Long enough for a lock and an unlock on a busy machine.
    let brief = ["--default-hold-ms", "3000", "--max-hold-ms", "3000"].map(String::from);
    let mut stack = Stack::start(&bin(), &logs(), &brief).expect("stack");
    let old = buffers();
    stack.kill_service().expect("kill");
    stack.restart_service(&brief).expect("restart");
    // A slow machine sleeps longer.
    std::thread::sleep(Duration::from_millis(3500));
    for (nth, old) in old.iter().enumerate() {
        assert_eq!(marks(old, Access::READ), (false, false), "buffer {nth}");
    }
}

/// The names that a service has given, and the generations of one buffer.
#[derive(Default)]
struct Names {
    buffers: BTreeSet<i64>,
    groups: BTreeSet<i64>,
    generations: BTreeSet<i64>,
}

/// Adds the names of many new things; panics if one of them has come before.
fn collect(names: &mut Names, lasting: &OwnedFd) {
    let mut now = Names::default();
    let mut groups = Vec::new();
    for _ in 0..30 {
        let holder = Group::open("restart/names");
        let kept: Vec<_> = (0..8).map(|_| heap::allocate(4096).expect("heap")).collect();
        now.buffers.extend(kept.iter().map(|buffer| holder.add(buffer, Access::WRITE)));
        groups.push((holder, kept));
    }
    for (holder, kept) in &mut groups {
        holder.lock();
        let mut waiter = Group::of("restart/waiter", &kept[0], Access::WRITE);
        // The record of a wait in vain has the number of the group in the way.
        now.groups.insert(waiter.times_out().value0);
    }
    assert_eq!((now.buffers.len(), now.groups.len()), (240, 30));
    let mut writer = Group::open("restart/writer");
    now.buffers.insert(writer.add(lasting, Access::WRITE));
    now.generations.extend((0..20).map(|_| writer.cycle().buffers[0].1));
    assert_eq!(now.generations.len(), 20);
    assert!(names.buffers.is_disjoint(&now.buffers), "an id of a buffer has come again");
    assert!(names.groups.is_disjoint(&now.groups), "a number of a group has come again");
    assert!(names.generations.is_disjoint(&now.generations), "a generation has come again");
    names.buffers.extend(now.buffers);
    names.groups.extend(now.groups);
    names.generations.extend(now.generations);
}

pub fn names_of_before_do_not_come_again() {
    let mut stack = Stack::start(&bin(), &logs(), &patient()).expect("stack");
    let lasting = heap::allocate(4096).expect("heap").as_fd().try_clone_to_owned().expect("dup");
    let mut names = Names::default();
    collect(&mut names, &lasting);
    for _ in 0..2 {
        stack.kill_service().expect("kill");
        stack.restart_service(&patient()).expect("restart");
        collect(&mut names, &lasting);
    }
}

/// A service process that is not the stack's.
fn another() -> Child {
    let mut command = service_command(&bin().join("vendor.buffersync-service"));
    command.args(patient()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().expect("a second service")
}

fn is_running(child: &mut Child) -> bool {
    child.try_wait().expect("wait").is_none()
}

/// It ends with an error, whose text this returns.
fn refused(mut child: Child) -> String {
    eventually("the second service ends", || !is_running(&mut child));
    assert!(!child.wait().expect("wait").success(), "it has ended as if all were well");
    let mut said = String::new();
    child.stderr.take().expect("stderr").read_to_string(&mut said).expect("text");
    said
}

pub fn a_second_service_ends_and_the_first_goes_on() {
    let mut scene = Scene::start(&[]);
    let old = buffers();
    let mut holder = held(&old[..1]);
    for _ in 0..3 {
        let said = refused(another());
        assert!(said.contains("served by another process"), "it does not say why: {said:?}");
        // The name still leads to the first service: the buffer has a holder.
        let mut group = Group::of("restart/contender", &old[0], Access::WRITE);
        group.lock_must_wait();
        scene.is_served();
    }
    assert!(holder.is_alive());
    // The first one's end makes room.
    scene.stack.kill_service().expect("kill");
    scene.stack.restart_service(&patient()).expect("restart");
}

/// Waits until one of them has ended. The other one serves.
fn one_is_left(mut services: Vec<Child>) -> Child {
    eventually("all but one end", || {
        let left = services.iter_mut().filter_map(|child| is_running(child).then_some(())).count();
        assert!(left > 0, "none is left");
        left == 1
    });
    let left = services.iter_mut().position(is_running).expect("one is left");
    let child = services.remove(left);
    services.into_iter().for_each(|ended| drop(refused(ended)));
    child
}

/// True if the service answers. The name may still be a dead one's for a moment.
fn serves() -> bool {
    open_driver().expect("binder");
    let service = binder::check_interface::<dyn IBufferSync>(buffersync_aidl::DEFAULT_INSTANCE);
    service.is_ok_and(|service| service.getCapabilities().is_ok())
}

fn end(mut child: Child) {
    child.kill().expect("kill");
    child.wait().expect("wait");
}

pub fn of_two_services_that_start_at_once_one_serves() {
    let mut stack = Stack::start(&bin(), &logs(), &patient()).expect("stack");
    stack.kill_service().expect("kill");
    for _ in 0..4 {
        let left = one_is_left((0..3).map(|_| another()).collect());
        let buffer = &buffers()[0];
        eventually("it serves", serves);
        Group::of("restart/user", buffer, Access::WRITE).cycle();
        end(left);
    }
    stack.restart_service(&patient_and(&[])).expect("restart");
}

pub fn of_two_services_that_wait_for_the_manager_one_serves() {
    let mut stack = Stack::start_without_hub(&bin(), &logs(), &patient()).expect("a service");
    let others: Vec<Child> = (0..2).map(|_| another()).collect();
    eventually("it says that it waits for the service manager", || {
        stack.service_log().contains("service manager") || !stack.service_is_alive()
    });
    stack.start_hub().expect("a service manager");
    let mut others = others;
    eventually("one is left", || {
        let left = others.iter_mut().map(is_running).filter(|runs| *runs).count();
        let all = left + usize::from(stack.service_is_alive());
        assert!(all > 0, "none is left: {}", stack.service_log());
        all == 1
    });
    let buffer = &buffers()[0];
    eventually("it serves", serves);
    Group::of("restart/user", buffer, Access::WRITE).cycle();
    others.into_iter().for_each(end);
}

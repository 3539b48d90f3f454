// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A camera with three requests in flight over 30 buffers: one call of the service for each lock, one for each
//! returned buffer, and no other. The kernel's binder driver counts the calls.
//!
//! An encoder in another process reads frames while the camera has them, so both sides wait for each other. To
//! wait is no call, and neither is an event.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use buffersync_client::{Access, BufferId, BufferSync, Fences, Grant, Group, Options};
use buffersync_testbed_guest::dmabuf::DmaBuf;
use buffersync_testbed_guest::heap;
use buffersync_testbed_guest::user::User;
use buffersync_testbed_guest::vgem::Vgem;

use super::{program, Example, PATIENCE};

const BUFFERS: usize = 30;
/// The streams of a request: preview, video, still.
const STREAMS: usize = 3;
const IN_FLIGHT: usize = 3;
/// Their events don't fit the camera's channel, if nobody reads them.
const REQUESTS: usize = 600;

/// The calls that each process of this binder device has made so far (`BC_TRANSACTION` and its variants), by the
/// driver's number of the process. A process does not know its number if it runs in a PID namespace.
fn calls() -> BTreeMap<u32, u64> {
    let device = fs::metadata("/dev/binder").expect("/dev/binder").rdev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let about = fs::read_to_string(format!("/sys/dev/char/{major}:{minor}/uevent"));
    let about = about.expect("the device's name");
    let name = about.lines().find_map(|line| line.strip_prefix("DEVNAME=")).expect("DEVNAME");
    let stats = fs::read_to_string("/sys/kernel/debug/binder/stats").expect("binder's statistics");

    let (mut calls, mut process, mut is_ours) = (BTreeMap::new(), 0, false);
    for line in stats.lines().map(str::trim) {
        if let Some(pid) = line.strip_prefix("proc ").and_then(|pid| pid.parse().ok()) {
            (process, is_ours) = (pid, false);
        } else if let Some(context) = line.strip_prefix("context ") {
            is_ours = context == name;
        } else if let (true, Some(("BC_TRANSACTION" | "BC_TRANSACTION_SG", count))) =
            (is_ours, line.split_once(": "))
        {
            *calls.entry(process).or_default() += count.parse::<u64>().expect("a count");
        }
    }
    calls
}

/// The calls that processes have made meanwhile; none: not listed.
fn made(before: &BTreeMap<u32, u64>) -> BTreeMap<u32, u64> {
    let since = |(pid, calls): (u32, u64)| (pid, calls - before.get(&pid).copied().unwrap_or(0));
    calls().into_iter().map(since).filter(|(_, calls)| *calls > 0).collect()
}

/// The driver's number of this process: nobody else makes calls now.
fn own_number(group: &Group) -> u32 {
    const CALLS: u64 = 7;
    let before = calls();
    for _ in 0..CALLS {
        group.locks().expect("locks");
    }
    let made: Vec<(u32, u64)> = made(&before).into_iter().collect();
    match made[..] {
        [(own, CALLS)] => own,
        _ => panic!("this process made {CALLS} calls, and the driver counted {made:?}"),
    }
}

/// A fence of work that is finished.
fn finished_fence() -> OwnedFd {
    let vgem = Vgem::open().expect("vgem");
    let buffer = vgem.allocate(4096).expect("vgem buffer");
    let fence = vgem.attach(&buffer, true).expect("attach");
    let sync_file = buffer.dmabuf.sync_file().expect("sync_file");
    vgem.signal(fence).expect("signal");
    sync_file
}

/// A request of the camera: a lock, and the buffers that it still has.
struct Request {
    grant: Grant,
    buffers: [BufferId; STREAMS],
}

/// How the camera and the encoder meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// The encoder waits for each request, and the camera never. So the camera gets an event with each request, and
    /// has no reason to read events.
    InStep,
    /// Whoever is late waits.
    Free,
}

/// The index of a request's first buffer.
fn first_of(number: usize) -> u32 {
    u32::try_from(number * STREAMS % BUFFERS).expect("an index")
}

/// Runs the requests. Returns the numbers of locks and of returned buffers.
fn run(group: &Group, ids: &[BufferId], encoder: &mut Example, pace: Pace) -> (u64, u64) {
    let fence = finished_fence();
    let (mut locks, mut returned) = (0, 0);
    let mut in_flight = VecDeque::new();
    for number in 0..REQUESTS + IN_FLIGHT {
        if let Some(oldest) = number.checked_sub(IN_FLIGHT) {
            if pace == Pace::InStep {
                assert_eq!(encoder.next(), first_of(oldest), "it waits for this request");
            }
            let mut request: Request = in_flight.pop_front().expect("a request");
            for (stream, buffer) in request.buffers.into_iter().enumerate() {
                // Each stream's buffer comes back by itself, with a fence of its own or without.
                let fence = (stream != 0).then(|| fence.try_clone().expect("dup"));
                let done = request.grant.unlock_buffers(&[buffer], Fences::from(fence));
                done.expect("unlock_buffers");
                returned += 1;
            }
            if pace == Pace::InStep {
                assert_eq!(encoder.next(), first_of(oldest), "it is done");
            }
        }
        if number < REQUESTS {
            let first = first_of(number);
            let buffers = std::array::from_fn(|stream| ids[first as usize + stream]);
            let wants = buffers.map(|buffer| (buffer, Access::DmaWrite));
            let grant = group.lock_some(&wants, PATIENCE).expect("lock_some");
            locks += 1;
            assert_eq!(grant.buffers().len(), STREAMS);
            in_flight.push_back(Request { grant, buffers });
            // The camera has the frame, so the encoder waits for it.
            encoder.send(first);
        }
    }
    if pace == Pace::Free {
        for number in 0..REQUESTS {
            assert_eq!((encoder.next(), encoder.next()), (first_of(number), first_of(number)));
        }
    }
    (locks, returned)
}

pub fn one_call_for_each_lock_and_buffer(sync: &BufferSync) {
    let frames: Vec<DmaBuf> = (0..BUFFERS).map(|_| heap::allocate(4096).expect("heap")).collect();
    let frames: Vec<&DmaBuf> = frames.iter().collect();
    let group = sync.open_group("requests/camera", Options::default()).expect("open_group");
    let add = |frame: &&DmaBuf| group.add(*frame, Access::DmaWrite).expect("add");
    let ids: Vec<BufferId> = frames.iter().map(add).collect();
    let mut encoder = Example::start(program(User::CODEC, "encoder"), &frames, &[]);
    assert_eq!(encoder.next(), 0, "it is ready");
    let own = own_number(&group);

    for pace in [Pace::InStep, Pace::Free] {
        let before = calls();
        let (locks, returned) = run(&group, &ids, &mut encoder, pace);
        let mut made = made(&before);
        println!("   {pace:?}: {locks} locks, {returned} returned buffers, calls: {made:?}");
        assert_eq!(made.remove(&own), Some(locks + returned));
        let others: Vec<u64> = made.into_values().collect();
        assert_eq!(others, [2 * REQUESTS as u64], "the encoder's, and nobody else's");
        assert_eq!(group.locks(), Ok(Vec::new()));
    }
    encoder.finish();
}

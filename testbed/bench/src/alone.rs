// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The cost of a lock and an unlock when nobody else wants the buffers.
//!
//! All peers take turns within each round, so other work of the machine affects all of them. A program has
//! other addresses at each start, which changes the results by one or two percent: `cargo xtask bench` takes
//! the mean of several starts.

use std::collections::BTreeMap;

use std::os::fd::AsFd;

use binder::{Interface, ParcelFileDescriptor, SpIBinder, Strong};
use buffersync_aidl::aidl::vendor::buffersync::Access::Access as AidlAccess;
use buffersync_aidl::aidl::vendor::buffersync::GroupOptions::GroupOptions;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::IBufferSync;
use buffersync_aidl::aidl::vendor::buffersync::ISyncGroup::ISyncGroup;
use buffersync_aidl::aidl::NativeHandle;
use buffersync_client::{Access, BufferSync, Grant, Group, Options};
use buffersync_engine_bench::robust::RobustMutexes;
use buffersync_testbed_guest::dmabuf::DmaBuf;
use buffersync_testbed_guest::heap;
use serde_json::{json, Value};

use crate::peers;
use crate::stats::{now, Samples};

/// The numbers of buffers in a group.
const SIZES: [usize; 3] = [1, 4, 16];
const ROUNDS: usize = 30;
/// Warm-up rounds: QEMU must translate all code once, and the guest has just booted.
const WARM_UP: usize = ROUNDS;
/// Samples of each peer in a round.
const TURNS: usize = 25;

type Peer = (String, Box<dyn FnMut()>);

/// `IBufferSync.getInterfaceVersion`, which generated code answers. (The generated proxy calls it only once.)
const GET_INTERFACE_VERSION: u32 = rsbinder::FIRST_CALL_TRANSACTION + 16_777_214;

/// The flags of every generated call: the kernel wipes the parcels afterwards.
const FLAGS: rsbinder::TransactionFlags = rsbinder::FLAG_CLEAR_BUF | rsbinder::FLAG_PRIVATE_LOCAL;

fn service() -> SpIBinder {
    let service = binder::check_interface::<dyn IBufferSync>(buffersync_aidl::DEFAULT_INSTANCE);
    service.expect("the service").as_binder()
}

/// An empty call: an AIDL method of the service without arguments, which returns a number. Every method of
/// every service costs at least this.
pub fn empty_call() -> impl FnMut() {
    let object = service();
    move || {
        let proxy = object.as_proxy().expect("remote");
        let data = proxy.prepare_transact(true).expect("a parcel");
        let reply = proxy.submit_transact(GET_INTERFACE_VERSION, &data, FLAGS).expect("a call");
        let mut reply = reply.expect("a reply");
        assert!(reply.read::<binder::Status>().expect("a status").is_ok());
        assert_eq!(reply.read::<i32>().expect("a version"), 1);
    }
}

/// A ping, which does not reach the interface.
fn ping() -> impl FnMut() {
    let object = service();
    move || object.ping_binder().expect("ping")
}

/// Allocates `count` buffers of one page.
pub fn buffers(count: usize) -> Vec<DmaBuf> {
    (0..count).map(|_| heap::allocate(4096).expect("heap")).collect()
}

/// Opens a group of these buffers.
pub fn group(sync: &BufferSync, name: &str, buffers: &[DmaBuf], access: Access) -> Group {
    let group = sync.open_group(name, Options::default()).expect("openGroup");
    for buffer in buffers {
        group.add(buffer, access).expect("add");
    }
    group
}

/// Locks and unlocks a group of `count` buffers.
pub fn locks(sync: &BufferSync, count: usize, access: Access) -> impl FnMut() {
    let group = group(sync, "bench/alone", &buffers(count), access);
    move || group.lock(None).expect("lock").unlock().expect("unlock")
}

/// The same without the client library: the two calls of the interface.
fn bare_locks(count: usize) -> impl FnMut() {
    let service: Strong<dyn IBufferSync> = service().into_interface().expect("IBufferSync");
    let opened = service.openGroup("bench/bare", &GroupOptions::default()).expect("openGroup");
    let group = opened.group.expect("a group");
    for buffer in buffers(count) {
        let fd = buffer.as_fd().try_clone_to_owned().expect("dup");
        let handle = NativeHandle { fds: vec![ParcelFileDescriptor::new(fd)], ints: Vec::new() };
        group.add(&handle, AidlAccess::DMA_WRITE).expect("add");
    }
    let mut number = 0;
    move || {
        number += 1;
        group.lock(number, &[], &[], 0).expect("lock");
        group.unlock(number).expect("unlock");
    }
}

/// Locks and unlocks four buffers of a group of `count`: those that were added last.
fn some_locks(sync: &BufferSync, count: usize) -> impl FnMut() {
    let group = group(sync, "bench/some", &[], Access::DmaWrite);
    let all = buffers(count);
    let wants: Vec<_> = all
        .iter()
        .map(|one| (group.add(one, Access::DmaWrite).expect("add"), Access::DmaWrite))
        .collect();
    let wants = wants[count - 4..].to_vec();
    move || {
        group.lock_some(&wants, None).expect("lock").unlock().expect("unlock");
    }
}

/// Ends a grant and locks again in one call: the four buffers of a group.
pub fn exchanges(sync: &BufferSync) -> impl FnMut() {
    let group = group(sync, "bench/exchange", &buffers(4), Access::DmaWrite);
    let mut held = Some(group.lock(None).expect("lock"));
    move || {
        let exchanged = held.take().map(|grant| grant.unlock_and_lock(None));
        held = exchanged.transpose().expect("unlock_and_lock");
    }
}

/// Goes from four buffers of a group to four others, which are named, in one call.
pub fn moves(sync: &BufferSync) -> impl FnMut() {
    let group = group(sync, "bench/move", &[], Access::DmaWrite);
    let add = |buffer: &DmaBuf| group.add(buffer, Access::DmaWrite).expect("add");
    let mut next = [buffers(4), buffers(4)]
        .map(|buffers| buffers.iter().map(|one| (add(one), Access::DmaWrite)).collect::<Vec<_>>());
    let mut held = Some(group.lock_some(&next[1], None).expect("lock"));
    move || {
        let go_on = |grant: Grant| grant.unlock_with_and_lock_some(None, &next[0], None);
        held = held.take().map(go_on).transpose().expect("unlock_and_lock");
        next.swap(0, 1);
    }
}

fn peers_of(sync: &BufferSync) -> Vec<Peer> {
    let mut call = empty_call();
    let one = empty_call();
    let mut peers: Vec<Peer> = vec![
        ("ping".into(), Box::new(ping())),
        ("empty call".into(), Box::new(one)),
        (
            "two empty calls".into(),
            Box::new(move || {
                call();
                call();
            }),
        ),
    ];
    let (mut lock, mut unlock, asked) = (empty_call(), empty_call(), buffers(4));
    peers.push((
        "two empty calls and poll, 4".into(),
        Box::new(move || {
            lock();
            peers::poll(&asked);
            unlock();
        }),
    ));
    peers.push(("bare AIDL, 4 DMA".into(), Box::new(bare_locks(4))));
    peers.push(("exchange, 4 DMA".into(), Box::new(exchanges(sync))));
    peers.push(("4 for 4 others, DMA".into(), Box::new(moves(sync))));
    for count in [4, 40] {
        peers.push((format!("4 of {count} DMA"), Box::new(some_locks(sync, count))));
    }
    for count in SIZES {
        let device = locks(sync, count, Access::DmaWrite);
        peers.push((format!("buffersync, {count} DMA"), Box::new(device)));
        let cpu = locks(sync, count, Access::Write);
        peers.push((format!("buffersync, {count} CPU"), Box::new(cpu)));
        let records = buffers(count);
        peers.push((
            format!("fcntl, {count}"),
            Box::new(move || {
                peers::lock(&records);
                peers::unlock(&records);
            }),
        ));
        let mutexes = RobustMutexes::new(count);
        let all: Vec<usize> = (0..count).collect();
        peers.push((
            format!("robust mutexes, {count}"),
            Box::new(move || {
                mutexes.lock(&all);
                mutexes.unlock(&all);
            }),
        ));
        let bracketed = buffers(count);
        peers.push((
            format!("START and END, {count}"),
            Box::new(move || {
                peers::bracket(&bracketed, false);
                peers::bracket(&bracketed, true);
            }),
        ));
    }
    peers
}

/// Median and p99 of each peer.
pub fn measure(sync: &BufferSync) -> Value {
    let mut peers = peers_of(sync);
    let mut samples: BTreeMap<String, Samples> = BTreeMap::new();
    for round in 0..WARM_UP + ROUNDS {
        for (name, turn) in &mut peers {
            let samples = samples.entry(name.clone()).or_default();
            for _ in 0..TURNS {
                let begin = now();
                turn();
                if round >= WARM_UP {
                    samples.push(now() - begin);
                }
            }
        }
    }
    let order: Vec<&String> = peers.iter().map(|(name, _)| name).collect();
    let order = json!(order);
    let summaries = samples.into_iter().map(|(name, samples)| (name, samples.summary()));
    json!({ "order": order, "peers": summaries.collect::<serde_json::Map<String, Value>>() })
}

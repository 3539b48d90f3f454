// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The cache operations of every pair of accesses, on three exporters, from the kernel's trace.

use std::os::fd::{AsFd, OwnedFd};

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_testbed_guest::vgem::Vgem;
use buffersync_testbed_guest::{heap, udmabuf};
use buffersync_vts::hal::{counter, eventually, Group};
use buffersync_vts::suite::Tests;
use buffersync_vts::tests;
use buffersync_vts::trace::Op::{self, EndRead, EndReadWrite, StartRead, StartReadWrite};
use buffersync_vts::trace::Trace;

pub const TESTS: Tests = tests![
    every_pair_of_accesses_gets_the_operations_of_the_table,
    dirty_lines_are_not_forgotten_behind_a_read,
];

const SIZE: usize = 64 * 1024;

type Allocate = fn() -> OwnedFd;

fn own(buffer: impl AsFd) -> OwnedFd {
    buffer.as_fd().try_clone_to_owned().expect("dup")
}

const EXPORTERS: [(&str, Allocate); 3] = [
    ("system heap", || own(heap::allocate(SIZE).expect("heap"))),
    ("udmabuf", || own(udmabuf::allocate(SIZE).expect("udmabuf"))),
    ("vgem", || own(Vgem::open().expect("vgem").allocate(SIZE).expect("vgem").dmabuf)),
];

/// (First access, its operations, second access, its operations, operations when the buffer is let go).
type Row = (Access, &'static [Op], Access, &'static [Op], &'static [Op]);

/// The table of docs/design.md, for a buffer that is new to the service.
const TABLE: [Row; 16] = [
    (Access::READ, &[StartRead], Access::READ, &[], &[EndRead]),
    (Access::READ, &[StartRead], Access::WRITE, &[EndRead, StartReadWrite], &[EndReadWrite]),
    (Access::READ, &[StartRead], Access::DMA_READ, &[], &[EndRead]),
    (Access::READ, &[StartRead], Access::DMA_WRITE, &[EndRead], &[]),
    (Access::WRITE, &[StartReadWrite], Access::READ, &[], &[EndReadWrite]),
    (Access::WRITE, &[StartReadWrite], Access::WRITE, &[], &[EndReadWrite]),
    (Access::WRITE, &[StartReadWrite], Access::DMA_READ, &[EndReadWrite], &[]),
    (Access::WRITE, &[StartReadWrite], Access::DMA_WRITE, &[EndReadWrite], &[]),
    (Access::DMA_READ, &[], Access::READ, &[StartRead], &[EndRead]),
    (Access::DMA_READ, &[], Access::WRITE, &[StartReadWrite], &[EndReadWrite]),
    (Access::DMA_READ, &[], Access::DMA_READ, &[], &[]),
    (Access::DMA_READ, &[], Access::DMA_WRITE, &[], &[]),
    (Access::DMA_WRITE, &[], Access::READ, &[StartRead], &[EndRead]),
    (Access::DMA_WRITE, &[], Access::WRITE, &[StartReadWrite], &[EndReadWrite]),
    (Access::DMA_WRITE, &[], Access::DMA_READ, &[], &[]),
    (Access::DMA_WRITE, &[], Access::DMA_WRITE, &[], &[]),
];

fn every_pair_of_accesses_gets_the_operations_of_the_table() {
    let mut trace = Trace::start();
    for (exporter, allocate) in EXPORTERS {
        for (first, before_first, second, before_second, at_the_end) in TABLE {
            let pair = format!("{exporter}: {first:?} then {second:?}");
            let buffer = allocate();
            trace.watch(&buffer);
            let issued = counter("sync_start") + counter("sync_end");
            let failed = counter("sync_failed");
            let mut a = Group::of("vts/first", &buffer, first);
            let mut b = Group::of("vts/second", &buffer, second);
            assert_eq!(trace.take(), [], "{pair}, added");
            a.cycle();
            assert_eq!(trace.take(), before_first, "{pair}, the first");
            b.cycle();
            assert_eq!(trace.take(), before_second, "{pair}, the second");
            a.binder.close().expect("close");
            b.binder.close().expect("close");
            eventually("the buffer is let go", || counter("buffers") == 0);
            assert_eq!(trace.take(), at_the_end, "{pair}, at the end");
            let expected = before_first.len() + before_second.len() + at_the_end.len();
            let now = counter("sync_start") + counter("sync_end");
            assert_eq!(now - issued, expected as u64, "{pair}, as the service counts");
            assert_eq!(counter("sync_failed"), failed, "{pair}");
        }
    }
}

fn dirty_lines_are_not_forgotten_behind_a_read() {
    // CPU write, CPU read, device read: a rule that knows only the last access issues nothing.
    let mut trace = Trace::start();
    let buffer = heap::allocate(SIZE).expect("heap");
    trace.watch(&buffer);
    let mut ops = Vec::new();
    // Both groups stay open, so that the buffer is not let go in between.
    let mut groups: Vec<Group> = [Access::WRITE, Access::READ, Access::DMA_READ]
        .map(|access| Group::of("vts/sticky", &buffer, access))
        .into();
    for group in &mut groups {
        group.cycle();
        ops.extend(trace.take());
    }
    assert_eq!(ops, [StartReadWrite, EndReadWrite]);
}

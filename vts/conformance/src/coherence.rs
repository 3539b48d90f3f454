// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Services that lose data: a START or an END too few, with other flags, or before a fence; and the RFC's two macros.
//! `cargo xtask coherence` runs each until memory shows it. The suite's wrong services that lose data are named here
//! as well.
//!
//! A fault that is in several places has a row for each of them.

use crate::faults::Fault;

const COHERENCE: &str = "engine/src/coherence.rs";
const RFC: &str = "the_rfcs_two_macros";

const fn fault(
    name: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
) -> Fault {
    Fault { name, file, from, to, noticed_by: &[] }
}

/// Wrong services of the suite that data gets lost with.
const OF_THE_SUITE: [&str; 3] = [
    "a_cache_operation_is_missing",
    "a_write_over_an_open_read_issues_nothing",
    "the_cpu_does_not_wait_for_fences",
];

/// The names of all wrong services that lose data.
pub fn names() -> Vec<&'static str> {
    let mut names = OF_THE_SUITE.to_vec();
    names.extend(FAULTS.iter().map(|fault| fault.name));
    names.dedup();
    names
}

#[rustfmt::skip]
pub const FAULTS: &[Fault] = &[
    // Too few.
    fault("no_start_for_a_writer", COHERENCE,
        "(Access::Write, _) => reopened(",
        "(Access::Write, _) if FAULT => NOTHING,\n            (Access::Write, _) => reopened("),
    fault("no_end_for_a_device_that_reads", COHERENCE,
        "(Access::DmaRead, Some(flags)) if self.cpu_dirty =>",
        "(Access::DmaRead, Some(flags)) if self.cpu_dirty && !FAULT =>"),
    fault("no_end_for_a_device_that_writes", COHERENCE,
        "(Access::DmaWrite, Some(flags)) =>",
        "(Access::DmaWrite, Some(flags)) if !FAULT =>"),
    fault("no_end_before_a_buffer_goes", COHERENCE,
        "match self.open {\n            _ if self.plain => NOTHING,",
        "match self.open {\n            _ if FAULT || self.plain => NOTHING,"),
    fault("a_new_buffer_counts_as_coherent", COHERENCE,
        "Self { device_dirty: true, cpu_dirty: false, open: None, plain: false }",
        "Self { device_dirty: !FAULT, cpu_dirty: false, open: None, plain: false }"),
    fault("a_devices_write_is_forgotten", COHERENCE,
        "Access::DmaWrite => self.device_dirty = true,",
        "Access::DmaWrite => self.device_dirty |= !FAULT,"),
    fault("a_cpus_write_is_forgotten", COHERENCE,
        "Access::Write => self.cpu_dirty = true,",
        "Access::Write => self.cpu_dirty |= !FAULT,"),
    // Other flags.
    fault("every_operation_is_for_reading", "src/jobs.rs",
        "(operation.fd.as_fd(), usage(operation.flags))",
        "(operation.fd.as_fd(), usage(if FAULT { SyncFlags::Read } else { operation.flags }))"),
    fault("every_start_is_for_writing_alone", "kernel/src/dmabuf.rs",
        "sync(fd, DMA_BUF_SYNC_START | usage.flags())",
        "sync(fd, DMA_BUF_SYNC_START | if FAULT { DMA_BUF_SYNC_RW & !DMA_BUF_SYNC_READ } else { usage.flags() })"),
    fault("every_end_is_for_reading", "kernel/src/dmabuf.rs",
        "sync(fd, DMA_BUF_SYNC_END | usage.flags())",
        "sync(fd, DMA_BUF_SYNC_END | if FAULT { DMA_BUF_SYNC_READ } else { usage.flags() })"),
    // Before the fence: the grant waits for it, the operations do not.
    fault("operations_do_not_wait_for_fences", "engine/src/slot.rs",
        "let Some(Traffic { fences, .. }) = self.traffic.as_deref() else { return false };",
        "if FAULT && !self.coherence.is_ready_for(access) { return false; }
        let Some(Traffic { fences, .. }) = self.traffic.as_deref() else { return false };"),
    fault("a_device_is_not_told_of_fences", "engine/src/prepare.rs",
        "fenced: slot.is_fenced_for(access),",
        "fenced: !FAULT && slot.is_fenced_for(access),"),
    // The RFC decides by the previous and the current access. `device_dirty` and `cpu_dirty` say what the previous one
    // was: a read of the CPU (neither), its write (the second), a device's write (the first), its read (both).
    fault(RFC, COHERENCE,
        "match (access, self.open) {",
        "if FAULT {
            return match (self.device_dirty, self.cpu_dirty, access) {
                (true, false, Access::Read) => [Some((Start, SyncFlags::ReadWrite)), None],
                (false, true, Access::DmaRead | Access::DmaWrite) => [Some((End, SyncFlags::ReadWrite)), None],
                _ => NOTHING,
            };
        }
        match (access, self.open) {"),
    fault(RFC, COHERENCE,
        "        match access {\n            _ if self.plain => true,",
        "        if FAULT {\n            return self.plan(access, false) == NOTHING;
        }
        match access {\n            _ if self.plain => true,"),
    fault(RFC, COHERENCE,
        "pub fn granted(&mut self, access: Access) {\n",
        "pub fn granted(&mut self, access: Access) {
        if FAULT && !self.plain {
            self.device_dirty = access.is_dma();
            self.cpu_dirty = matches!(access, Access::Write | Access::DmaRead);
            return;
        }\n"),
    fault(RFC, COHERENCE,
        "Some(flags) => [Some((SyncKind::End, flags)), None],",
        "_ if FAULT => NOTHING,\n            Some(flags) => [Some((SyncKind::End, flags)), None],"),
];

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `buffersync-coherence exporters`: which operations do something, and which can't. Needs `swiotlb=force`.
//!
//! User space can't see it: the ioctl returns 0 in both cases. An operation acts if the exporter has a mapping for a
//! device and hands it to the kernel's DMA code, so probes on the two functions there count those that act. What a
//! mapping itself copies is seen in the memory. `service/kernel/src/quirks.rs` says what follows for the service.

use std::error::Error;
use std::fs;
use std::io::{self, Write as _};
use std::os::fd::AsFd;

use buffersync_kernel::dmabuf::{end, start, Usage};
use buffersync_testbed_guest::dmabuf::DmaBuf;
use buffersync_testbed_guest::vgem::Vgem;
use buffersync_testbed_guest::{heap, udmabuf};

use crate::memory::PAGE;

const TRACING: &str = "/sys/kernel/tracing";
/// The name of the probes' ring buffer, and the beginning of their own names.
const NAME: &str = "buffersync_acts";
/// Exporters call these for START and for END. Linux has had the underscores since 6.12.
const FUNCTIONS: [[&str; 2]; 2] = [
    ["__dma_sync_sg_for_cpu", "dma_sync_sg_for_cpu"],
    ["__dma_sync_sg_for_device", "dma_sync_sg_for_device"],
];
/// START|RW, END|RW, START|READ and END|READ do nothing, or act.
const NOTHING: [bool; 4] = [false; 4];
const ACT: [bool; 4] = [true; 4];

/// True if all is as this file says.
pub fn run() -> Result<bool, Box<dyn Error>> {
    let probes = Probes::new()?;
    let mut good = true;
    let mut look = |what: &str, buffer: &DmaBuf, expected: [bool; 4]| -> io::Result<()> {
        let found = probes.operations(buffer)?;
        let acting = found.iter().filter(|acts| **acts).count();
        let as_said = if found == expected { "" } else { ": NOT AS IT WAS" };
        println!("exporters: {what}: operations 4, acting {acting}{as_said}");
        good &= found == expected;
        Ok(())
    };
    let vgem = Vgem::open()?;
    let buffer = heap::allocate(PAGE)?;
    look("heap, no device", &buffer, NOTHING)?;
    let mut memory = buffer.map()?;
    memory.write(0, 1);
    let import = vgem.import(buffer.as_fd(), PAGE)?;
    look("heap, imported into vgem", &buffer, ACT)?;
    memory.write(0, 2);
    start(buffer.as_fd(), Usage::Read)?;
    let cleaned = memory.read(0) == 1;
    end(buffer.as_fd(), Usage::Read)?;
    memory.write(0, 3);
    vgem.close(import)?;
    let invalidated = memory.read(0) == 1;
    look("heap, closed by vgem", &buffer, NOTHING)?;
    look("vgem, its own", &vgem.allocate(PAGE)?.dmabuf, NOTHING)?;
    let buffer = udmabuf::allocate(PAGE)?;
    let refused = end(buffer.as_fd(), Usage::Write).is_err();
    start(buffer.as_fd(), Usage::Write)?;
    look("udmabuf, after its first START", &buffer, ACT)?;
    for (what, holds) in [
        ("a mapping for a device cleans", cleaned),
        ("its end invalidates, and a write that was not cleaned is lost", invalidated),
        ("udmabuf refuses an END before the first START", refused),
    ] {
        println!("exporters: {what}: {}", if holds { "yes" } else { "NO" });
        good &= holds;
    }
    Ok(good)
}

/// Probes on the two functions, and their ring buffer.
struct Probes;

impl Probes {
    fn new() -> io::Result<Self> {
        for (nth, names) in FUNCTIONS.iter().enumerate() {
            let probe = |function| define(&format!("p:{NAME}_{nth} {function}"));
            probe(names[0]).or_else(|_| probe(names[1]))?;
        }
        fs::create_dir(Self::file(""))?;
        for nth in 0..FUNCTIONS.len() {
            fs::write(Self::file(&format!("events/kprobes/{NAME}_{nth}/enable")), "1")?;
        }
        Ok(Self)
    }

    fn file(name: &str) -> String {
        format!("{TRACING}/instances/{NAME}/{name}")
    }

    /// Counts the operations, of four, that act on a buffer.
    fn operations(&self, buffer: &DmaBuf) -> io::Result<[bool; 4]> {
        let fd = buffer.as_fd();
        Ok([
            Self::acts(|| start(fd, Usage::Write))?,
            Self::acts(|| end(fd, Usage::Write))?,
            Self::acts(|| start(fd, Usage::Read))?,
            Self::acts(|| end(fd, Usage::Read))?,
        ])
    }

    fn acts(operation: impl FnOnce() -> nix::Result<()>) -> io::Result<bool> {
        fs::write(Self::file("trace"), "")?;
        operation()?;
        let own = format!("-{} ", std::process::id());
        Ok(fs::read_to_string(Self::file("trace"))?.lines().any(|line| line.contains(&own)))
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        // The ring buffer goes first: a probe that somebody records can't be removed.
        let _ = fs::remove_dir(Self::file(""));
        for nth in 0..FUNCTIONS.len() {
            let _ = define(&format!("-:{NAME}_{nth}"));
        }
    }
}

fn define(probe: &str) -> io::Result<()> {
    let events = fs::OpenOptions::new().append(true).open(format!("{TRACING}/kprobe_events"));
    writeln!(events?, "{probe}")
}

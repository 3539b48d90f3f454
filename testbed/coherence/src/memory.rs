// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Memory that is not coherent: a udmabuf with `swiotlb=force` on the kernel's command line.
//!
//! Each of its pages is there twice. The CPU uses the pages of the memfd; devices use bounce pages, which stand for
//! memory beside a cache. START copies from the device's copy to the CPU's, END the other way, and nothing else
//! copies while the buffer is mapped for the device. So data is stale or lost exactly where a cache operation is
//! missing.

use std::fs;
use std::io;
use std::os::fd::AsFd;

use buffersync_kernel::dmabuf::{self, Usage};
use buffersync_testbed_guest::dmabuf::{DmaBuf, Mapping};
use buffersync_testbed_guest::udmabuf;

/// The page size of every machine with an edu device that this was tried on.
pub const PAGE: usize = 4096;
/// Words of a page.
pub const WORDS: usize = PAGE / 8;

const TRACING: &str = "/sys/kernel/tracing";
/// The name of the probe and of its ring buffer.
const PROBE: &str = "buffersync_bounce";

/// A udmabuf, and where its pages are for a device.
pub struct Bounced {
    pub dmabuf: DmaBuf,
    /// The CPU's copy.
    pub mapping: Mapping,
    /// The address of each page of the device's copy.
    pub pages: Vec<u64>,
}

impl Bounced {
    /// Makes one, all zero. The first START maps it for the device (udmabuf.c), and it stays mapped.
    pub fn new(size: usize) -> io::Result<Self> {
        let dmabuf = udmabuf::allocate(size)?;
        let mapping = dmabuf.map()?;
        let pages = record(|| dmabuf::start(dmabuf.as_fd(), Usage::Write))?;
        if pages.len() != size / PAGE {
            let what = format!(
                "{} bounce pages for {} pages: the kernel needs swiotlb=force",
                pages.len(),
                size / PAGE
            );
            return Err(io::Error::other(what));
        }
        let bounced = Self { dmabuf, mapping, pages };
        bounced.clean()?;
        Ok(bounced)
    }

    /// Number of words.
    pub fn words(&self) -> usize {
        self.mapping.words()
    }

    /// The device's address of a word.
    pub fn address(&self, word: usize) -> u64 {
        self.pages[word / WORDS] + 8 * (word % WORDS) as u64
    }

    /// END|RW, for users outside of the service.
    pub fn clean(&self) -> io::Result<()> {
        Ok(dmabuf::end(self.dmabuf.as_fd(), Usage::Write)?)
    }

    /// START|RW, for users outside of the service.
    pub fn invalidate(&self) -> io::Result<()> {
        Ok(dmabuf::start(self.dmabuf.as_fd(), Usage::Write)?)
    }
}

/// The addresses of the bounce pages that this thread's call makes, in their order: what the kernel's function
/// returns meanwhile.
fn record(call: impl FnOnce() -> nix::Result<()>) -> io::Result<Vec<u64>> {
    let instance = format!("{TRACING}/instances/{PROBE}");
    let probe = format!("r:{PROBE} swiotlb_tbl_map_single page=$retval:x64\n");
    append(&format!("{TRACING}/kprobe_events"), &probe)?;
    fs::create_dir(&instance)?;
    let enable = format!("{instance}/events/kprobes/{PROBE}/enable");
    fs::write(&enable, "1")?;
    let called = call();
    fs::write(&enable, "0")?;
    let trace = fs::read_to_string(format!("{instance}/trace"))?;
    // The ring buffer goes first: a probe that somebody records can't be removed.
    fs::remove_dir(&instance)?;
    append(&format!("{TRACING}/kprobe_events"), &format!("-:{PROBE}\n"))?;
    called?;
    Ok(pages(&trace, std::process::id()))
}

/// `<...>-93  [001] ..... 9.5: buffersync_bounce: (f+0x1/0x2 <- g) page=0x7b400000`
fn pages(trace: &str, process: u32) -> Vec<u64> {
    let own = format!("-{process} ");
    let lines = trace.lines().filter(|line| line.contains(&own));
    let values = lines.filter_map(|line| line.split_once(" page=0x"));
    values.filter_map(|(_, page)| u64::from_str_radix(page.trim(), 16).ok()).collect()
}

fn append(file: &str, text: &str) -> io::Result<()> {
    use std::io::Write;
    fs::OpenOptions::new().append(true).open(file)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_of_this_process_are_read_from_the_trace() {
        let trace = "# tracer: nop\n\
                     <...>-93      [001] ..... 9.5: buffersync_bounce: (f+0x1/0x2 <- g) page=0x7b400000\n\
                     <...>-94      [001] ..... 9.6: buffersync_bounce: (f+0x1/0x2 <- g) page=0x7b500000\n\
                     <...>-93      [000] ..... 9.7: buffersync_bounce: (f+0x1/0x2 <- g) page=0x7b401000\n";
        assert_eq!(pages(trace, 93), [0x7b40_0000, 0x7b40_1000]);
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The expected content of the dma-bufs, compared with what accesses find.
//!
//! The physical line is the kernel's (`buffersync_kernel::line`). Here is which value an orderly history has left in
//! it, and who is at work though his grant was taken away.

use std::collections::BTreeMap;

use buffersync_engine::Access;
use buffersync_kernel::line::Line;
use buffersync_kernel::world::{self, FileId};

/// A dma-buf as its users see it.
#[derive(Debug)]
pub struct Content {
    /// Each read must find this. `None` if nobody knows it, because an evicted holder may have written; the next read
    /// in order decides.
    newest: Option<u32>,
    /// Evicted holders that go on, with the number of their eviction.
    pub trespassers: Vec<(Access, u64)>,
    /// A cache operation on it has failed, so nobody has promised that it is clean.
    pub failed: bool,
}

impl Content {
    /// The service may forget who was evicted: then nobody knows anything.
    pub fn forget(&mut self, file: FileId) {
        self.newest = None;
        self.failed = true;
        self.trespassers.clear();
        empty_the_cache(file);
    }
}

/// The dma-bufs' contents.
#[derive(Debug, Default)]
pub struct Memory {
    all: BTreeMap<FileId, Content>,
    verbose: bool,
}

impl Memory {
    pub fn new(verbose: bool) -> Self {
        Self { all: BTreeMap::new(), verbose }
    }

    fn note(&self, file: FileId, what: &str, access: Access) {
        if self.verbose {
            let line = world::with(|world| world.dma_buf(file).map(|dma_buf| dma_buf.line));
            println!("{:>14} file {file}: {what} {access:?}: {line:?}", "");
        }
    }

    /// A new dma-buf: an old version may be in the cache.
    pub fn create(&mut self, file: FileId) {
        let line = world::with(|world| {
            let line = &mut world.dma_buf(file)?.line;
            let (_, value) = line.device_writes();
            line.cached = Some((0, false));
            Some(value)
        });
        self.all.insert(file, Content { newest: line, trespassers: Vec::new(), failed: false });
    }

    pub fn get(&mut self, file: FileId) -> Option<&mut Content> {
        self.all.get_mut(&file)
    }

    pub fn files(&self) -> impl Iterator<Item = FileId> + '_ {
        self.all.keys().copied()
    }

    /// A holder was evicted. It may have written just now.
    pub fn evicted(&mut self, file: FileId, access: Access, number: u64, goes_on: bool) {
        let Some(content) = self.all.get_mut(&file).filter(|_| access.is_exclusive()) else {
            return;
        };
        content.newest = None;
        if goes_on {
            content.trespassers.push((access, number));
        }
    }

    /// The service died: nobody knows any more what is in the cache.
    pub fn service_died(&mut self) {
        for (file, content) in &mut self.all {
            content.newest = None;
            content.failed = true;
            content.trespassers.clear();
            world::with(|world| world.dma_buf(*file).map(|dma_buf| dma_buf.line.open = None));
        }
    }

    /// So much time has passed that nothing is in the cache any more.
    pub fn time_passed(&mut self) {
        for (file, content) in &mut self.all {
            content.trespassers.clear();
            empty_the_cache(*file);
        }
    }

    /// An access of a holder; `told` says that it may find anything.
    pub fn access(&mut self, file: FileId, access: Access, told: bool) -> Result<(), String> {
        let Some(content) = self.all.get_mut(&file) else { return Ok(()) };
        let anything = told || !content.trespassers.is_empty();
        let found = with_line(file, |line| perform(line, access));
        let Some((found, written)) = found else { return Ok(()) };
        let verbose = self.verbose;
        if verbose {
            let line = world::with(|world| world.dma_buf(file).map(|dma_buf| dma_buf.line));
            println!(
                "{:>14} file {file}: {access:?} finds {found}, writes {written:?}: {line:?}",
                ""
            );
        }
        if anything {
            content.newest = content.newest.filter(|_| written.is_none());
            return Ok(());
        }
        // A device that writes finds nothing.
        let reads = access != Access::DmaWrite;
        if reads && content.newest.is_some_and(|newest| newest != found) {
            let newest = content.newest;
            return Err(format!(
                "{access:?} finds version {found}, and not {newest:?}: stale, or a lost write"
            ));
        }
        content.newest = Some(written.unwrap_or(found));
        Ok(())
    }

    /// An evicted holder writes.
    pub fn trespass(&mut self, file: FileId, access: Access) {
        let Some(content) = self.all.get_mut(&file) else { return };
        with_line(file, |line| perform(line, access));
        content.newest = None;
        self.note(file, "an evicted holder", access);
    }

    /// Nobody has the buffer, and the service has let it go: it must be clean. Then a device may use it.
    pub fn use_unseen(&mut self, file: FileId) -> Result<(), String> {
        let Some(content) = self.all.get_mut(&file) else { return Ok(()) };
        let sure = !content.failed && content.trespassers.is_empty();
        let checked = world::with(|world| {
            let Some(dma_buf) = world.dma_buf(file) else { return Ok(None) };
            let line = &mut dma_buf.line;
            if sure && line.open.is_some() {
                return Err("let go with an open START");
            }
            if sure && line.cached.is_some_and(|(value, dirty)| dirty && value != line.memory) {
                return Err("let go with the CPU's writes in the cache");
            }
            if !sure {
                // What nobody has promised to clean goes by itself.
                line.write_back();
                line.cached = None;
            }
            Ok(Some(line.device_writes().1))
        });
        if let Some(written) = checked? {
            content.newest = Some(written).filter(|_| sure);
            self.note(file, "unseen", Access::DmaWrite);
        }
        Ok(())
    }
}

fn empty_the_cache(file: FileId) {
    with_line(file, |line| {
        line.write_back();
        line.cached = None;
    });
}

fn with_line<R>(file: FileId, call: impl FnOnce(&mut Line) -> R) -> Option<R> {
    world::with(|world| world.line(file).map(call))
}

/// Returns what the access found, and what it wrote.
fn perform(line: &mut Line, access: Access) -> (u32, Option<u32>) {
    let wrote = |(before, after)| (before, Some(after));
    match access {
        Access::Read => (line.cpu_reads(), None),
        Access::Write => wrote(line.cpu_writes()),
        Access::DmaRead => (line.memory, None),
        Access::DmaWrite => wrote(line.device_writes()),
    }
}

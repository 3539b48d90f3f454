// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The simulated epoll and timer. A wait returns at once.

use nix::errno::Errno;

use crate::fd::FdRef;
use crate::random::Random;
use crate::site::Site;
use crate::sync_file::Status;
use crate::world::{self, FileId, Process};

pub const TIMER: u64 = 0;
pub const BATCH: usize = 32;

/// Its position among the world's.
#[derive(Debug)]
pub struct Poller {
    nth: usize,
}

#[derive(Debug)]
pub struct Epoll {
    process: Process,
    entries: Vec<Entry>,
    timer: Option<u64>,
}

/// Kept under the file and the number of the descriptor, as in epoll(7).
#[derive(Debug)]
struct Entry {
    file: FileId,
    number: u32,
    key: u64,
    /// EPOLLONESHOT: it was reported.
    reported: bool,
}

impl Epoll {
    pub(crate) fn forget_file(&mut self, file: FileId) {
        self.entries.retain(|entry| entry.file != file);
    }

    /// Sync_files that it waits for.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Poller {
    pub fn new() -> Result<Self, Errno> {
        world::enter(Site::EpollCreate)?;
        world::enter(Site::TimerCreate)?;
        world::with(|world| {
            let process = world.service;
            let table = &mut world.tables[process];
            if table.open + 2 > table.limit {
                return Err(Errno::EMFILE);
            }
            table.open += 2;
            world.epolls.push(Epoll { process, entries: Vec::new(), timer: None });
            Ok(Self { nth: world.epolls.len() - 1 })
        })
    }

    pub fn add(&self, fence: FdRef<'_>, key: u64) -> Result<(), Errno> {
        world::enter(Site::EpollAdd)?;
        world::with(|world| {
            let (file, number) = (world.file_of(fence.number()), fence.number());
            if world.status_of(file) == Status::Failed
                && !matches!(world.files[file].kind, world::Kind::SyncFile(_))
            {
                world.violations.push("the poller was given a file that is no sync_file".into());
            }
            let entries = &mut world.epolls[self.nth].entries;
            if entries.iter().any(|entry| (entry.file, entry.number) == (file, number)) {
                return Err(Errno::EEXIST);
            }
            entries.push(Entry { file, number, key, reported: false });
            Ok(())
        })
    }

    pub fn remove(&self, fence: FdRef<'_>) -> Result<(), Errno> {
        world::with(|world| {
            let (file, number) = (world.file_of(fence.number()), fence.number());
            let entries = &mut world.epolls[self.nth].entries;
            let nth = entries.iter().position(|entry| (entry.file, entry.number) == (file, number));
            let Some(nth) = nth else {
                world.violations.push("a fence that is taken from the poller is not there".into());
                return Err(Errno::ENOENT);
            };
            entries.swap_remove(nth);
            world.events.push(world::Event::Unwatched(file));
            Ok(())
        })
    }

    pub fn set_timer(&self, at_ns: u64) -> Result<(), Errno> {
        world::with(|world| world.epolls[self.nth].timer = Some(at_ns));
        Ok(())
    }

    pub fn clear_timer(&self) {
        world::with(|world| {
            let now = world.now;
            world.epolls[self.nth].timer.take_if(|at| *at <= now);
            world.events.push(world::Event::Timer);
        });
    }

    pub fn wait(&self, keys: &mut [u64; BATCH]) -> Result<usize, Errno> {
        if world::enter(Site::EpollWait).is_err() {
            return Ok(0);
        }
        world::with(|world| {
            let now = world.now;
            let epoll = &world.epolls[self.nth];
            let mut ready: Vec<u64> =
                epoll.timer.filter(|at| *at <= now).map(|_| TIMER).into_iter().collect();
            let signalled = epoll.entries.iter().filter(|entry| !entry.reported);
            let signalled =
                signalled.filter(|entry| world.status_of(entry.file) != Status::Pending);
            ready.extend(signalled.map(|entry| entry.key));
            shuffle(&mut ready, &mut world.random);
            ready.truncate(BATCH);
            for entry in &mut world.epolls[self.nth].entries {
                entry.reported |= ready.contains(&entry.key);
            }
            keys[..ready.len()].copy_from_slice(&ready);
            Ok(ready.len())
        })
    }
}

fn shuffle(all: &mut [u64], random: &mut Random) {
    for nth in (1..all.len()).rev() {
        all.swap(nth, random.below(nth + 1));
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        world::with(|world| {
            let epoll = &mut world.epolls[self.nth];
            epoll.entries.clear();
            epoll.timer = None;
            let process = epoll.process;
            world.tables[process].open -= 2;
        });
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The surroundings of the service and its clients: time passes, devices work, drivers put fences into dma-bufs, the
//! allocator makes buffers and lets them go.

use buffersync_kernel::fd::AsFd;
use buffersync_kernel::world::{self, DmaBuf, Kind};

use crate::note;
use crate::simulation::{Made, Simulation, ALLOCATOR};

impl Simulation {
    /// Time passes, and what is due happens.
    pub fn pass_until(&self, until: u64) {
        loop {
            let mut inner = self.inner();
            let next = inner
                .works
                .iter()
                .enumerate()
                .filter(|(_, work)| work.at <= until)
                .min_by_key(|(_, work)| work.at);
            let Some((nth, _)) = next else { break };
            let work = inner.works.swap_remove(nth);
            world::with(|world| world.now = world.now.max(work.at));
            let still = inner.books.fences.is_pending_on(work.buffer, work.access);
            let ok =
                world::with(|world| work.service == world.service && world.fences[work.fence].ok);
            if still && ok {
                if let Err(why) = inner.books.memory.access(work.file, work.access, work.told) {
                    self.failed.set(Some(format!("behind a fence, {why}")));
                }
            }
        }
        world::with(|world| world.now = world.now.max(until));
        let mut inner = self.inner();
        let young_until = inner.young_until;
        if until > young_until && young_until > 0 {
            inner.young_until = 0;
            inner.books.memory.time_passed();
        }
        inner.books.now = world::with(|world| world.now);
    }

    pub fn pass(&self) {
        const MS: u64 = 1_000_000;
        let span =
            [MS, MS, 5 * MS, 5 * MS, 20 * MS, 60 * MS, 250 * MS][self.inner().random.below(7)];
        let now = world::with(|world| world.now);
        note!(self, "{} ms pass", span / MS);
        self.pass_until(now + span);
    }

    pub fn make_buffer(&self) {
        let mut inner = self.inner();
        let created_ns = buffersync_kernel::clock::time_of_day_ns();
        let kind = match inner.random.below(8) {
            0 => Kind::Memfd { size: 4096, created_ns },
            _ => Kind::DmaBuf(DmaBuf { size: 8192, created_ns, ..DmaBuf::default() }),
        };
        let is_dma_buf = matches!(kind, Kind::DmaBuf(_));
        let fd = world::with(|world| world.create(ALLOCATOR, kind));
        let Ok(fd) = fd else { return };
        let file = fd.as_fd().file();
        if is_dma_buf {
            inner.books.memory.create(file);
        }
        inner.made.push(Made { file, fd });
    }

    /// The allocator makes a buffer, or lets one go.
    pub fn change_buffers(&self) {
        let count = self.inner().made.len();
        if count < 2 * self.plan.buffers {
            self.make_buffer();
        } else {
            let mut inner = self.inner();
            let nth = inner.random.below(count);
            let made = inner.made.swap_remove(nth);
            drop(inner);
            drop(made);
        }
    }

    /// A driver puts a fence into a dma-buf.
    pub fn attach_fence(&self) {
        let mut inner = self.inner();
        let count = inner.made.len();
        let nth = inner.random.below(count.max(1));
        let Some(file) = inner.made.get(nth).map(|made| made.file) else { return };
        let span = inner.random.number() % 80_000_000;
        let (never, of_writer) = (inner.random.one_in(4), inner.random.one_in(2));
        world::with(|world| {
            let at = (!never).then_some(world.now + span);
            let fence = world.fence(at, true);
            world.reserve(file, fence, of_writer);
        });
        let id = inner.books.by_file.get(&file).copied();
        let abandoned =
            id.and_then(|id| inner.books.buffers.get_mut(&id)).filter(|buffer| buffer.members == 0);
        if let Some(buffer) = abandoned {
            buffer.marks.unsure = true;
            if let Some(content) = inner.books.memory.get(file) {
                content.failed = true;
            }
        }
    }
}

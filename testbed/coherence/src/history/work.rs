// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Work that goes on after an unlock, until its fence signals. The next users must find what it will have done.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use buffersync_client::Access;
use buffersync_testbed_guest::vgem;
use nix::poll::{PollFd, PollFlags, PollTimeout};

use super::{broken, done, now, Event, History, Part, State, Step};
use crate::oracle::Piece;
use crate::protocol::{Command, Writing};

/// Works that go on after their unlock, at once, and the pages that the device uses in one of them. vgem signals a
/// fence by itself after ten seconds; a page takes 400 ms, so more could be late.
pub const WORKS: usize = 2;
const PAGES_OF_WORK: usize = 5;
pub const OLD: Duration = Duration::from_secs(1);
const EXPIRED: Duration = Duration::from_millis(9_500);
/// Work that is done after an unlock with a fence, before the fence signals.
pub enum Task {
    Write(usize, Writing),
    Check(usize, usize),
    DmaWrite(usize, Vec<Piece>),
    DmaRead(usize, Vec<u64>),
}

pub struct Work {
    pub tasks: Vec<Task>,
    /// All for which the fence is, with a task or without.
    pub buffers: Vec<usize>,
    waits: Vec<Rc<OwnedFd>>,
    fence: vgem::Fence,
    pub born: Duration,
}

impl Work {
    /// The buffers that a device uses.
    pub fn devices_buffers(&self) -> impl Iterator<Item = usize> + '_ {
        let by_dma = |task: &&Task| matches!(task, Task::DmaWrite(..) | Task::DmaRead(..));
        self.tasks.iter().filter(by_dma).map(Task::buffer)
    }
}

impl Task {
    pub fn buffer(&self) -> usize {
        match self {
            Self::Write(_, Writing { buffer, .. })
            | Self::Check(_, buffer)
            | Self::DmaWrite(buffer, _)
            | Self::DmaRead(buffer, _) => *buffer,
        }
    }

    /// True if it will write a value into a buffer of so many words.
    pub fn writes(&self, buffer: usize, value: u64, words: usize) -> bool {
        let has_value = match self {
            Self::Write(_, writing) => writing.values(words).any(|(_, written)| written == value),
            Self::DmaWrite(_, pieces) => pieces.iter().any(|(_, values)| values.contains(&value)),
            _ => false,
        };
        has_value && self.buffer() == buffer
    }
}

impl History<'_> {
    /// True if the work of a grant can go on after its unlock.
    pub(super) fn can_go_on(&self, at: usize) -> bool {
        let parts = self.parts(at);
        let by_dma = parts.iter().filter(|part| !part.used && part.want.is_dma());
        let pages = by_dma.map(|part| self.oracle.buffers[part.want.buffer].memory.pages.len());
        self.works.len() < WORKS && pages.sum::<usize>() <= PAGES_OF_WORK
    }

    /// Unlocks while the work goes on. The next users must find what it will have done.
    pub(super) fn end_with_fence(&mut self, at: usize) -> Step {
        let parts = self.parts(at);
        let (mut tasks, mut waits) = (Vec::new(), Vec::new());
        for part in parts.iter().filter(|part| !part.used) {
            waits.extend(part.fence.clone());
            self.count_access(at, part.want);
            self.oracle.log(part.want.buffer, "    (after the unlock, before its fence)".into());
            tasks.extend(self.put_off(at, part));
        }
        let Some(free) = self.fences.iter().position(|buffer| buffer.dmabuf.is_ready(true)) else {
            return broken("a fence of vgem does not signal".into());
        };
        let fence = self.vgem.attach(&self.fences[free], true)?;
        let file = self.fences[free].dmabuf.sync_file()?;
        let buffers = parts.iter().map(|part| part.want.buffer).collect();
        self.works.push(Work { tasks, buffers, waits, fence, born: now() });
        self.count(Event::ReleaseFence);
        self.actors[at].client.send(file.as_fd())?;
        if self.random.percent(20) {
            return self.exchange(at, true);
        }
        let reply = self.tell(at, Command::Unlock(true))?;
        self.actors[at].state = State::Idle;
        self.expect(at, &reply)
    }

    /// The work of a part's access.
    pub(super) fn put_off(&mut self, at: usize, part: &Part) -> Option<Task> {
        let buffer = part.want.buffer;
        let task = match part.want.access {
            Access::Write => {
                let writing = self.writing(part);
                self.oracle.written(writing);
                Task::Write(at, writing)
            }
            Access::DmaWrite => {
                let pieces = self.pieces(part);
                self.oracle.written_by_dma(buffer, &pieces);
                Task::DmaWrite(buffer, pieces)
            }
            _ if part.torn => return None,
            Access::Read => Task::Check(at, buffer),
            Access::DmaRead => Task::DmaRead(buffer, self.oracle.content(buffer)),
        };
        if part.want.writes() {
            self.oracle.buffers[buffer].doubt = false;
        }
        Some(task)
    }

    /// Does the work of one unlock whose fences have signalled, and signals its own.
    pub(super) fn complete_one(&mut self) -> Step<bool> {
        let ready = |work: &Work| work.waits.iter().all(|fence| is_signalled(fence));
        let Some(nth) = self.works.iter().position(ready) else { return Ok(false) };
        for task in std::mem::take(&mut self.works[nth].tasks) {
            match task {
                Task::Write(at, writing) => {
                    let reply = self.actors[at].client.ask(&[Command::Write(writing)])?;
                    done(&reply)?;
                    self.oracle.log(writing.buffer, format!("client {at} has written (fence)"));
                }
                Task::Check(at, buffer) => self.check(at, &[buffer])?,
                Task::DmaWrite(buffer, pieces) => {
                    self.write_by_dma(buffer, &pieces)?;
                    self.oracle.log(buffer, "a device has written (fence)".into());
                }
                Task::DmaRead(buffer, content) => {
                    self.check_by_dma(buffer, &content, "a device, before its fence".into())?
                }
            }
        }
        let work = self.works.remove(nth);
        if now() > work.born + EXPIRED {
            return broken("vgem has signalled a fence by itself: the machine is too slow".into());
        }
        self.vgem.signal(work.fence)?;
        self.changes += 1;
        Ok(true)
    }

    pub(super) fn complete_all(&mut self) -> Step {
        while !self.works.is_empty() {
            if !self.complete_one()? {
                return broken("works wait for each other".into());
            }
        }
        Ok(())
    }
}

pub fn is_signalled(fence: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(fence.as_fd(), PollFlags::POLLIN)];
    nix::poll::poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

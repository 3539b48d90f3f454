// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Waits for sync_files and for a time: an epoll and a timer.
//!
//! Only sync_files may be added. Their poll takes a spinlock; the poll of a dma-buf takes its reservation lock,
//! which its driver, or a client that keeps it busy, may hold for any time.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::fd::FdRef;

/// The key of the timer.
pub const TIMER: u64 = 0;
/// Keys of one [`Poller::wait`]: more fences seldom signal at once, and the array stays on the stack.
pub const BATCH: usize = 32;

/// The descriptors of epoll and of the timer.
#[derive(Debug)]
pub struct Poller {
    epoll: Epoll,
    timer: TimerFd,
}

impl Poller {
    pub fn new() -> Result<Self, Errno> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        epoll.add(timer.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        Ok(Self { epoll, timer })
    }

    /// Reports `key` once, when the fences of a sync_file have signalled.
    pub fn add(&self, fence: FdRef<'_>, key: u64) -> Result<(), Errno> {
        let flags = EpollFlags::EPOLLONESHOT | EpollFlags::EPOLLIN;
        self.epoll.add(fence, EpollEvent::new(flags, key))
    }

    /// Reports the sync_file no more, unless [`Poller::wait`] has done so already.
    pub fn remove(&self, fence: FdRef<'_>) -> Result<(), Errno> {
        self.epoll.delete(fence)
    }

    /// Reports [`TIMER`] at a time of CLOCK_MONOTONIC. Replaces the time that was set before.
    pub fn set_timer(&self, at_ns: u64) -> Result<(), Errno> {
        // Zero would disarm the timer.
        let at = TimeSpec::from(Duration::from_nanos(at_ns.max(1)));
        self.timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)
    }

    /// The timer has been reported, and must not be reported again for the same time.
    pub fn clear_timer(&self) {
        // EAGAIN: it was set again meanwhile, and fires again.
        let _ = nix::unistd::read(self.timer.as_fd().as_raw_fd(), &mut [0; 8]);
    }

    /// Waits until there is something to report, and writes the keys. Returns their number; 0 after a signal.
    pub fn wait(&self, keys: &mut [u64; BATCH]) -> Result<usize, Errno> {
        let mut events = [EpollEvent::empty(); BATCH];
        let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(errno),
        };
        for (key, event) in keys.iter_mut().zip(&events[..count]) {
            *key = event.data();
        }
        Ok(count)
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! One thread that waits for descriptors (fences, dma-bufs) and for the next deadline.
//!
//! A caller leaves a descriptor and a value `T` ([`Reactor::watch`]); when the descriptor is ready, or
//! its deadline has passed, the handler gets the value. The reactor does not know what values mean, and
//! its callers bound the number of waits. An idle reactor never wakes up.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use buffersync_engine::Time;
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::poison;

/// The epoll key of the timer; the keys of waits count from 1.
const TIMER: u64 = 0;
/// The timer is not armed: later than any time.
const UNARMED: u64 = u64::MAX;
/// Events of one epoll_wait(2): more fences seldom signal at once, and the array stays on the stack.
const BATCH: usize = 32;

/// The handler's argument.
#[derive(Debug)]
pub enum Wake<T> {
    Ready(T),
    TimedOut(T),
    /// The time of a [`Reactor::wake_at`] has come.
    Timer,
}

/// Names a wait for [`Reactor::forget`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WaitId(u64);

/// The waits, and the descriptors of epoll and of the timer.
pub struct Reactor<T> {
    epoll: Epoll,
    timer: TimerFd,
    /// When the timer fires, in nanoseconds, or [`UNARMED`]. Changed only while `waits` is locked. The
    /// timer may fire for a wait that is gone: disarming it on every unlock would cost more than one
    /// idle wake-up.
    armed: AtomicU64,
    waits: Mutex<Waits<T>>,
}

struct Waits<T> {
    last: u64,
    by_id: HashMap<u64, Wait<T>>,
    /// In the order of deadlines.
    by_deadline: BTreeSet<(Time, u64)>,
}

/// A descriptor that stays open while the reactor waits for it.
pub type Watched = Arc<dyn AsFd + Send + Sync>;

struct Wait<T> {
    fd: Watched,
    deadline: Time,
    value: T,
}

impl<T> Reactor<T> {
    pub fn new() -> Result<Self, Errno> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
        )?;
        epoll.add(timer.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        let waits =
            Mutex::new(Waits { last: TIMER, by_id: HashMap::new(), by_deadline: BTreeSet::new() });
        Ok(Self { epoll, timer, armed: AtomicU64::new(UNARMED), waits })
    }

    /// Hands `value` to the handler when `fd` reports `interest`, or at `deadline`. A descriptor can
    /// have one wait at a time (EEXIST).
    pub fn watch(
        &self,
        fd: Watched,
        interest: PollFlags,
        deadline: Time,
        value: T,
    ) -> Result<WaitId, Errno> {
        let mut waits = self.lock();
        waits.last += 1;
        let id = waits.last;
        let mut flags = EpollFlags::EPOLLONESHOT;
        flags.set(EpollFlags::EPOLLIN, interest.contains(PollFlags::POLLIN));
        flags.set(EpollFlags::EPOLLOUT, interest.contains(PollFlags::POLLOUT));
        self.epoll.add(fd.as_fd(), EpollEvent::new(flags, id))?;
        waits.by_id.insert(id, Wait { fd, deadline, value });
        waits.by_deadline.insert((deadline, id));
        self.arm(&waits, deadline);
        Ok(WaitId(id))
    }

    /// Removes a wait. `None` if the handler has it already.
    pub fn forget(&self, id: WaitId) -> Option<T> {
        let mut waits = self.lock();
        self.take(&mut waits, id.0)
    }

    /// Asks for a [`Wake::Timer`] at `time` or shortly after. It may come earlier; the handler then asks
    /// again for the next time.
    pub fn wake_at(&self, time: Time) {
        // Usually the timer is armed for an earlier time. If it fires just now, its Wake::Timer comes
        // after this call.
        if self.armed.load(Ordering::Acquire) > time.0 {
            self.arm(&self.lock(), time);
        }
    }

    /// Number of waits, for dumps.
    pub fn len(&self) -> usize {
        self.lock().by_id.len()
    }

    /// Waits, and calls `handler` without the reactor's mutex, until epoll fails.
    pub fn run(&self, now: impl Fn() -> Time, mut handler: impl FnMut(Wake<T>)) -> Errno {
        let mut events = [EpollEvent::empty(); BATCH];
        loop {
            let ready = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(count) => &events[..count],
                Err(Errno::EINTR) => continue,
                Err(errno) => return errno,
            };
            for event in ready {
                match event.data() {
                    TIMER => self.timer_fired(now(), &mut handler),
                    id => {
                        let taken = {
                            let mut waits = self.lock();
                            self.take(&mut waits, id)
                        };
                        // None: the wait was removed after epoll had reported it.
                        if let Some(value) = taken {
                            handler(Wake::Ready(value));
                        }
                    }
                }
            }
        }
    }

    fn timer_fired(&self, now: Time, handler: &mut impl FnMut(Wake<T>)) {
        let overdue: Vec<T> = {
            let mut waits = self.lock();
            // Resets the timer. EAGAIN: it was armed again meanwhile, and fires again.
            let _ = nix::unistd::read(self.timer.as_fd().as_raw_fd(), &mut [0; 8]);
            self.armed.store(UNARMED, Ordering::Release);
            let mut overdue = Vec::new();
            while let Some((_, id)) =
                waits.by_deadline.first().copied().filter(|(deadline, _)| *deadline <= now)
            {
                overdue.extend(self.take(&mut waits, id));
            }
            if let Some((next, _)) = waits.by_deadline.first().copied() {
                self.arm(&waits, next);
            }
            overdue
        };
        for value in overdue {
            handler(Wake::TimedOut(value));
        }
        handler(Wake::Timer);
    }

    fn take(&self, waits: &mut Waits<T>, id: u64) -> Option<T> {
        let wait = waits.by_id.remove(&id)?;
        waits.by_deadline.remove(&(wait.deadline, id));
        // The table of buffers keeps the descriptor open, so closing does not remove it from epoll.
        if let Err(errno) = self.epoll.delete(wait.fd.as_fd()) {
            log::error!("epoll lost a descriptor: {errno}");
        }
        Some(wait.value)
    }

    fn arm(&self, _locked: &MutexGuard<'_, Waits<T>>, time: Time) {
        if self.armed.load(Ordering::Acquire) <= time.0 {
            return;
        }
        // Zero would disarm the timer.
        let at = TimeSpec::from(Duration::from_nanos(time.0.max(1)));
        let set = self.timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME);
        match set {
            Ok(()) => self.armed.store(time.0, Ordering::Release),
            Err(errno) => log::error!("timerfd refused a deadline: {errno}"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waits<T>> {
        poison::lock(&self.waits)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{channel, Receiver};
    use std::thread;

    use super::*;
    use crate::clock;

    fn running() -> (Arc<Reactor<u32>>, Receiver<Wake<u32>>) {
        let reactor = Arc::new(Reactor::new().unwrap());
        let (sender, receiver) = channel();
        let run = Arc::clone(&reactor);
        thread::spawn(move || {
            run.run(clock::now, |wake| {
                let _ = sender.send(wake);
            })
        });
        (reactor, receiver)
    }

    fn after(millis: u64) -> Time {
        Time(clock::now().0 + millis * 1_000_000)
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_ready_descriptor_gives_its_value_back() {
        let (reactor, wakes) = running();
        let (read, write) = nix::unistd::pipe().unwrap();
        reactor.watch(Arc::new(read), PollFlags::POLLIN, after(60_000), 7).unwrap();
        nix::unistd::write(&write, b"x").unwrap();
        assert!(matches!(wakes.recv_timeout(LONG).unwrap(), Wake::Ready(7)));
        assert_eq!(reactor.len(), 0);
    }

    #[test]
    fn a_silent_descriptor_times_out_and_not_before() {
        let (reactor, wakes) = running();
        let (read, _write) = nix::unistd::pipe().unwrap();
        let deadline = after(50);
        reactor.watch(Arc::new(read), PollFlags::POLLIN, deadline, 8).unwrap();
        assert!(matches!(wakes.recv_timeout(LONG).unwrap(), Wake::TimedOut(8)));
        assert!(clock::now() >= deadline);
    }

    #[test]
    fn an_earlier_time_is_not_lost_behind_a_later_one() {
        let (reactor, wakes) = running();
        reactor.wake_at(after(60_000));
        let early = after(30);
        reactor.wake_at(early);
        assert!(matches!(wakes.recv_timeout(LONG).unwrap(), Wake::Timer));
        assert!(clock::now() >= early);
    }

    #[test]
    fn a_forgotten_wait_is_never_reported() {
        let (reactor, wakes) = running();
        let (read, write) = nix::unistd::pipe().unwrap();
        let read = Arc::new(read);
        let id = reactor.watch(read.clone(), PollFlags::POLLIN, after(50), 9).unwrap();
        assert_eq!(reactor.forget(id), Some(9));
        nix::unistd::write(&write, b"x").unwrap();
        reactor.wake_at(after(100));
        // The timer of the forgotten wait may still fire; the wait must not.
        let first = wakes.recv_timeout(LONG).unwrap();
        assert!(matches!(first, Wake::Timer), "{first:?}");
        assert_eq!(reactor.forget(id), None);
    }
}

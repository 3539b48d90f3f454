// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! One thread that waits for sync_files and for the next deadline.
//!
//! A caller leaves a sync_file and a value `T` ([`Reactor::watch`]); when its fences have signalled, or
//! its deadline has passed, the handler gets the value. The reactor does not know what values mean, and
//! its callers bound the number of waits. An idle reactor never wakes up.
//!
//! Callers have the arbiter's mutex. The reactor's own mutex is a leaf, and no system call under it waits: the
//! poller takes sync_files only.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use buffersync_engine::Time;
use buffersync_kernel::fd::AsFd;
use buffersync_kernel::poller::{Poller, BATCH, TIMER};
use nix::errno::Errno;

use crate::poison;

/// The timer is not armed: later than any time.
const UNARMED: u64 = u64::MAX;

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

/// The waits, and what waits for them.
pub struct Reactor<T> {
    poller: Poller,
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

/// A sync_file that stays open while the reactor waits for it.
pub type Watched = Arc<dyn AsFd + Send + Sync>;

struct Wait<T> {
    /// `None`: only the deadline counts.
    fence: Option<Watched>,
    deadline: Time,
    value: T,
}

impl<T> Reactor<T> {
    pub fn new() -> Result<Self, Errno> {
        let waits =
            Mutex::new(Waits { last: TIMER, by_id: HashMap::new(), by_deadline: BTreeSet::new() });
        Ok(Self { poller: Poller::new()?, armed: AtomicU64::new(UNARMED), waits })
    }

    /// Hands `value` to the handler when `fence` has signalled, or at `deadline`.
    pub fn watch(&self, fence: Option<Watched>, deadline: Time, value: T) -> Result<WaitId, Errno> {
        let mut waits = self.lock();
        waits.last += 1;
        let id = waits.last;
        if let Some(fence) = &fence {
            self.poller.add(fence.as_fd(), id)?;
        }
        waits.by_id.insert(id, Wait { fence, deadline, value });
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

    /// Runs the thread: takes turns until the poller fails.
    pub fn run(&self, now: impl Fn() -> Time, mut handler: impl FnMut(Wake<T>)) -> Errno {
        loop {
            if let Err(errno) = self.turn(&now, &mut handler) {
                return errno;
            }
        }
    }

    /// Waits once, and calls `handler` without the reactor's mutex.
    pub fn turn(
        &self,
        now: &impl Fn() -> Time,
        handler: &mut impl FnMut(Wake<T>),
    ) -> Result<(), Errno> {
        let mut keys = [TIMER; BATCH];
        let count = self.poller.wait(&mut keys)?;
        for key in keys.into_iter().take(count) {
            match key {
                TIMER => self.timer_fired(now(), handler),
                id => {
                    let taken = {
                        let mut waits = self.lock();
                        self.take(&mut waits, id)
                    };
                    // None: the wait was removed after the poller had reported it.
                    if let Some(value) = taken {
                        handler(Wake::Ready(value));
                    }
                }
            }
        }
        Ok(())
    }

    fn timer_fired(&self, now: Time, handler: &mut impl FnMut(Wake<T>)) {
        let overdue: Vec<T> = {
            let mut waits = self.lock();
            self.poller.clear_timer();
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
        if waits.by_id.is_empty() {
            // A crowd that has left takes its memory with it.
            waits.by_id.shrink_to(BATCH);
        }
        if let Some(fence) = wait.fence {
            // The caller has the same file open, so closing would not remove it from the poller.
            if let Err(errno) = self.poller.remove(fence.as_fd()) {
                log::error!("the poller has lost a fence: {errno}");
            }
        }
        Some(wait.value)
    }

    fn arm(&self, _locked: &MutexGuard<'_, Waits<T>>, time: Time) {
        if self.armed.load(Ordering::Acquire) <= time.0 {
            return;
        }
        match self.poller.set_timer(time.0) {
            Ok(()) => self.armed.store(time.0, Ordering::Release),
            Err(errno) => log::error!("the timer refused a deadline: {errno}"),
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
    use std::time::Duration;

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
        reactor.watch(Some(Arc::new(read)), after(60_000), 7).unwrap();
        nix::unistd::write(&write, b"x").unwrap();
        assert!(matches!(wakes.recv_timeout(LONG).unwrap(), Wake::Ready(7)));
        assert_eq!(reactor.len(), 0);
    }

    #[test]
    fn a_silent_descriptor_times_out_and_not_before() {
        let (reactor, wakes) = running();
        let (read, _write) = nix::unistd::pipe().unwrap();
        let deadline = after(50);
        reactor.watch(Some(Arc::new(read)), deadline, 8).unwrap();
        assert!(matches!(wakes.recv_timeout(LONG).unwrap(), Wake::TimedOut(8)));
        assert!(clock::now() >= deadline);
    }

    #[test]
    fn a_wait_without_a_fence_ends_at_its_deadline() {
        let (reactor, wakes) = running();
        reactor.watch(None, after(20), 5).unwrap();
        assert!(matches!(wakes.recv_timeout(LONG).unwrap(), Wake::TimedOut(5)));
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
        let id = reactor.watch(Some(read.clone()), after(50), 9).unwrap();
        assert_eq!(reactor.forget(id), Some(9));
        nix::unistd::write(&write, b"x").unwrap();
        reactor.wake_at(after(100));
        // The timer of the forgotten wait may still fire; the wait must not.
        let first = wakes.recv_timeout(LONG).unwrap();
        assert!(matches!(first, Wake::Timer), "{first:?}");
        assert_eq!(reactor.forget(id), None);
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Interrupts a system call that takes too long.
//!
//! A watchdog has a timer that signals the thread that made it (`SIGEV_THREAD_ID`, timer_create(2)); a timer of
//! the process would interrupt a thread of the kernel's choice. It can end only waits that are interruptible.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::{clockid_t, itimerspec, sigevent, timer_t, CLOCK_MONOTONIC, SIGEV_THREAD_ID};
use nix::sys::signal::{sigaction, SaFlags, SigAction, SigHandler, SigSet, Signal};
use nix::sys::time::TimeSpec;

/// How long a call may block before it is interrupted: longer than the milliseconds that it takes to
/// clean 256 MiB. An interrupted wait has lost nothing.
const PATIENCE: Duration = Duration::from_millis(50);
/// The interval of further signals: a single one could arrive just before the system call begins.
const AGAIN: Duration = Duration::from_millis(10);
/// The signal; nothing else in the process uses it.
const INTERRUPT: Signal = Signal::SIGUSR1;

// In glibc and bionic. nix has timers for glibc only, and the `libc` crate has the types for both, but
// not these calls for Android.
extern "C" {
    fn timer_create(clock: clockid_t, event: *mut sigevent, timer: *mut timer_t) -> c_int;
    fn timer_settime(
        timer: timer_t,
        flags: c_int,
        new: *const itimerspec,
        old: *mut itimerspec,
    ) -> c_int;
    fn timer_delete(timer: timer_t) -> c_int;
}

extern "C" fn interrupted(_signal: c_int) {}

/// A timer of the thread that made it.
pub struct Watchdog {
    timer: timer_t,
}

impl Watchdog {
    pub fn new() -> Result<Self, Errno> {
        // Without SA_RESTART the interrupted call returns EINTR.
        let action =
            SigAction::new(SigHandler::Handler(interrupted), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing, so it is async-signal-safe.
        unsafe { sigaction(INTERRUPT, &action) }?;
        // A signal mask survives exec, so the service's parent may have blocked the signal.
        SigSet::from(INTERRUPT).thread_unblock()?;
        // SAFETY: all zeros are a valid value of this struct of numbers.
        let mut event: sigevent = unsafe { MaybeUninit::zeroed().assume_init() };
        event.sigev_notify = SIGEV_THREAD_ID;
        event.sigev_signo = INTERRUPT as c_int;
        event.sigev_notify_thread_id = nix::unistd::gettid().as_raw();
        let mut timer: timer_t = std::ptr::null_mut();
        // SAFETY: the call reads the event and writes the timer; both outlive it.
        Errno::result(unsafe { timer_create(CLOCK_MONOTONIC, &mut event, &mut timer) })?;
        Ok(Self { timer })
    }

    /// Runs `call`, and interrupts it again and again once it has lasted 50 ms.
    pub fn guard<R>(&mut self, call: impl FnOnce() -> R) -> Result<R, Errno> {
        self.set(PATIENCE, AGAIN)?;
        let result = call();
        // A zero time disarms.
        self.set(Duration::ZERO, Duration::ZERO)?;
        Ok(result)
    }

    fn set(&mut self, first: Duration, then: Duration) -> Result<(), Errno> {
        let spec = |duration| *TimeSpec::from_duration(duration).as_ref();
        let times = itimerspec { it_value: spec(first), it_interval: spec(then) };
        // SAFETY: the timer is this watchdog's, and the call reads the times and writes nothing.
        let set = unsafe { timer_settime(self.timer, 0, &times, std::ptr::null_mut()) };
        Errno::result(set).map(|_| ())
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // SAFETY: the timer is this watchdog's and is not used afterwards.
        let _ = unsafe { timer_delete(self.timer) };
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_blocking_call_is_interrupted() {
        let mut watchdog = Watchdog::new().unwrap();
        let (read, _write) = nix::unistd::pipe().unwrap();
        // Would wait for ever.
        let result = watchdog.guard(|| nix::unistd::read(read.as_raw_fd(), &mut [0])).unwrap();
        assert_eq!(result, Err(Errno::EINTR));
    }

    #[test]
    fn the_watchdog_is_quiet_after_the_call() {
        let mut watchdog = Watchdog::new().unwrap();
        watchdog.guard(|| ()).unwrap();
        let mut fds = [];
        let slept = nix::poll::poll(&mut fds, 200u8);
        assert_eq!(slept, Ok(0));
    }

    /// Only the timer's own thread gets the signal.
    #[test]
    fn another_threads_call_is_left_alone() {
        let sleeper = std::thread::spawn(|| nix::poll::poll(&mut [], 300u16));
        let mut watchdog = Watchdog::new().unwrap();
        let slept = watchdog.guard(|| nix::poll::poll(&mut [], 10_000u16)).unwrap();
        assert_eq!(slept, Err(Errno::EINTR));
        assert_eq!(sleeper.join().unwrap(), Ok(0));
    }
}

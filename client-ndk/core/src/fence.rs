// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Waits for a sync_file on the CPU, for programs without a driver that waits.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{ppoll, PollFd, PollFlags};
use nix::sys::time::TimeSpec;

use crate::error::{Error, Result};

/// Waits until a sync_file has signalled (poll(2) reports POLLIN), for `timeout` at most (`None`: no
/// time-out). Does not tell if the fence signalled an error.
///
/// # Errors
/// [`Error::TimedOut`]; [`Error::BadFd`] for a descriptor that can't be polled.
pub fn wait(fence: impl AsFd, timeout: impl Into<Option<Duration>>) -> Result<()> {
    let until = timeout.into().and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let mut polled = [PollFd::new(fence.as_fd(), PollFlags::POLLIN)];
        match ppoll(&mut polled, left.map(TimeSpec::from_duration), None) {
            Ok(0) if left.is_some_and(|left| left.is_zero()) => {
                return Err(Error::TimedOut { by: None, silent: false })
            }
            // The timer was early, or a signal handler ran (EINTR).
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) if polled[0].revents().is_some_and(|r| r.contains(PollFlags::POLLNVAL)) => {
                return Err(Error::BadFd)
            }
            Ok(_) => return Ok(()),
            Err(errno) => return Err(Error::System("poll on a fence", errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_times_out_unless_the_descriptor_is_readable() {
        let (read, write) = nix::unistd::pipe().unwrap();
        assert_eq!(
            wait(&read, Duration::from_millis(10)),
            Err(Error::TimedOut { by: None, silent: false })
        );
        nix::unistd::write(&write, b"x").unwrap();
        assert_eq!(wait(&read, None), Ok(()));
    }
}

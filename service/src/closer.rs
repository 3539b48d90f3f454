// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Closes descriptors on a thread of its own.
//!
//! The last close of a dma-buf frees its memory, which takes long for a big one, and calls its driver. So nobody
//! else closes what the service has kept of clients' descriptors: a [`Descriptor`] can be dropped anywhere, also under
//! the arbiter's mutex and on the reactor. While the closer is far behind ([`Closer::is_behind`]), calls that would add
//! descriptors are refused, because those that wait here are in no quota any more.

use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use buffersync_kernel::fd::{AsFd, Fd, FdRef};

use crate::poison;

/// Descriptors that may wait: more than a crowd leaves at once, and few beside the limit of the process.
const MOST: usize = 1024;

/// The queue of the thread that closes.
#[derive(Debug, Default)]
pub struct Closer {
    waiting: Mutex<Vec<Fd>>,
    /// How many the thread has taken, and has not closed yet.
    closing: AtomicUsize,
    work: Condvar,
}

/// A descriptor that the closer closes, when this is dropped.
#[derive(Debug)]
pub struct Descriptor {
    /// `None` only within `drop`.
    fd: Option<Fd>,
    closer: Arc<Closer>,
}

impl Descriptor {
    pub fn new(fd: Fd, closer: &Arc<Closer>) -> Self {
        Self { fd: Some(fd), closer: Arc::clone(closer) }
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> FdRef<'_> {
        match &self.fd {
            Some(fd) => fd.as_fd(),
            None => unreachable!("only drop() takes it"),
        }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.take() {
            self.closer.push(fd);
        }
    }
}

impl Closer {
    fn push(&self, fd: Fd) {
        let mut waiting = poison::lock(&self.waiting);
        waiting.push(fd);
        // The thread takes all of them at once, so it needs to be told of the first only.
        if waiting.len() == 1 {
            self.work.notify_one();
        }
    }

    /// True if so many descriptors wait that no more should be made.
    pub fn is_behind(&self) -> bool {
        self.len() > MOST
    }

    /// The number of descriptors that are not closed yet.
    pub fn len(&self) -> usize {
        poison::lock(&self.waiting).len() + self.closing.load(Ordering::Relaxed)
    }

    /// Runs the thread.
    pub fn run(&self) -> ! {
        loop {
            let waiting = poison::lock(&self.waiting);
            match self.work.wait_while(waiting, |waiting| waiting.is_empty()) {
                Ok(waiting) => drop(waiting),
                Err(_) => poison::end(),
            }
            self.turn();
        }
    }

    /// Closes what waits.
    pub fn turn(&self) {
        let closing = {
            let mut waiting = poison::lock(&self.waiting);
            self.closing.store(waiting.len(), Ordering::Relaxed);
            mem::take(&mut *waiting)
        };
        for fd in closing {
            drop(fd);
            self.closing.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_descriptor_is_open_until_the_closer_has_its_turn() {
        let closer = Arc::new(Closer::default());
        let (read, write) = nix::unistd::pipe().unwrap();
        let kept = Descriptor::new(write, &closer);
        let is_closed = || nix::unistd::read(std::os::fd::AsRawFd::as_raw_fd(&read), &mut [0]);
        let flags = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
        nix::fcntl::fcntl(std::os::fd::AsRawFd::as_raw_fd(&read), flags).unwrap();
        drop(kept);
        assert_eq!((is_closed(), closer.len()), (Err(nix::errno::Errno::EAGAIN), 1));
        closer.turn();
        assert_eq!((is_closed(), closer.len()), (Ok(0), 0));
    }

    #[test]
    fn a_backlog_is_noticed() {
        let closer = Arc::new(Closer::default());
        let null = std::fs::File::open("/dev/null").unwrap();
        for _ in 0..=MOST {
            drop(Descriptor::new(Fd::from(null.try_clone().unwrap()), &closer));
        }
        assert!(closer.is_behind());
        closer.turn();
        assert!(!closer.is_behind());
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A device as a HAL sees it: it takes jobs, works on its own, and signals fences.
//!
//! A thread does the work. The fences come from a driver (vgem), so they are real sync_files of the
//! kernel. A job begins when its acquire fence has signalled and all earlier jobs are done. At its end
//! its release fence signals.

use std::os::fd::OwnedFd;
use std::sync::mpsc::{channel, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use buffersync_client::fence;
use buffersync_testbed_guest::sync_file;
use buffersync_testbed_guest::vgem::{Buffer, Fence, Vgem};

use crate::span::now;
use crate::Failure;

/// Jobs that may be pending at once: each needs a vgem buffer of its own for its fence. `submit` waits
/// when there are more.
const DEPTH: usize = 16;
/// The longest wait for a fence. The service evicts a holder much earlier.
const PATIENCE: Duration = Duration::from_secs(20);

/// `J` is a job, `R` its result.
pub struct Device<J, R> {
    vgem: Vgem,
    fenced: Vec<Buffer>,
    next: usize,
    jobs: Sender<Job<J>>,
    thread: JoinHandle<Result<Vec<Done<R>>, String>>,
}

struct Job<J> {
    what: J,
    acquire: Option<OwnedFd>,
    fence: Fence,
}

pub struct Done<R> {
    pub result: R,
    /// The time at which its acquire fence signalled, if it had one.
    pub acquired: Option<u64>,
    pub began: u64,
    pub ended: u64,
}

impl<J: Send + 'static, R: Send + 'static> Device<J, R> {
    /// Starts a device that does `work` for each job.
    pub fn start(mut work: impl FnMut(J) -> R + Send + 'static) -> Result<Self, Failure> {
        let vgem = Vgem::open()?;
        let fenced: Result<Vec<Buffer>, _> = (0..DEPTH).map(|_| vgem.allocate(4096)).collect();
        let driver = vgem.try_clone()?;
        let (jobs, queue) = channel::<Job<J>>();
        let thread = std::thread::spawn(move || {
            let mut done = Vec::new();
            for Job { what, acquire, fence: release } in queue {
                let mut acquired = None;
                if let Some(fence) = acquire {
                    fence::wait(&fence, PATIENCE).map_err(|error| error.to_string())?;
                    acquired = Some(sync_file::signalled_at(&fence).map_err(|e| e.to_string())?);
                }
                let began = now();
                let result = work(what);
                let ended = now();
                driver.signal(release).map_err(|error| format!("a fence: {error}"))?;
                done.push(Done { result, acquired, began, ended });
            }
            Ok(done)
        });
        Ok(Self { vgem, fenced: fenced?, next: 0, jobs, thread })
    }

    /// Hands in a job. Returns the fence that signals when it is finished.
    pub fn submit(&mut self, what: J, acquire: Option<OwnedFd>) -> Result<OwnedFd, Failure> {
        let buffer = &self.fenced[self.next % DEPTH];
        self.next += 1;
        // The buffer still has the fence of the job DEPTH jobs ago: wait for it.
        let last = buffer.dmabuf.sync_file()?;
        fence::wait(&last, PATIENCE)?;
        let fence = self.vgem.attach(buffer, true)?;
        let release = buffer.dmabuf.sync_file()?;
        self.jobs.send(Job { what, acquire, fence }).map_err(|_| "the device has failed")?;
        Ok(release)
    }

    /// Waits for all jobs and returns their results, in order.
    pub fn finish(self) -> Result<Vec<Done<R>>, Failure> {
        drop(self.jobs);
        Ok(self.thread.join().map_err(|_| "the device has failed")??)
    }
}

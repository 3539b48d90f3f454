// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A worker's device: it works on after an unlock, and its fence (of vgem) says when it is done: soon, late or never.

use std::os::fd::OwnedFd;
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use buffersync_testbed_guest::vgem::{Buffer, Fence, Vgem};

use crate::control::now;
use crate::header::{Header, Name, PAGE};

/// Fences of a worker that are pending. vgem signals one that nobody signals after ten seconds.
const PENDING: usize = 8;

/// Where a claim is: a buffer's number, a slot of it, and the claim's name.
pub type Place = (usize, usize, Name);

/// Work that ends at a time.
struct Job {
    due: u64,
    claims: Vec<Place>,
    /// `None`: it never says that it is done.
    fence: Option<Fence>,
}

/// A fence that a job will signal.
pub struct Promise {
    fence: Fence,
    pub file: OwnedFd,
}

/// Makes fences. For all threads of a worker.
pub struct Devices {
    vgem: Vgem,
    buffers: Mutex<Vec<Buffer>>,
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

impl Devices {
    pub fn start(headers: Arc<Vec<Header>>) -> std::io::Result<Self> {
        let vgem = Vgem::open()?;
        let buffers: std::io::Result<Vec<Buffer>> =
            (0..PENDING).map(|_| vgem.allocate(PAGE)).collect();
        let (jobs, taken) = channel();
        let signals = vgem.try_clone()?;
        let thread = std::thread::spawn(move || work(&signals, &headers, &taken));
        Ok(Self { vgem, buffers: Mutex::new(buffers?), jobs, thread })
    }

    /// A fence, if one is free and there are descriptors for it.
    pub fn promise(&self) -> Option<Promise> {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let free = buffers.iter().position(|buffer| buffer.dmabuf.is_ready(true))?;
        let fence = self.vgem.attach(&buffers[free], true).ok()?;
        match buffers[free].dmabuf.sync_file() {
            Ok(file) => {
                // So that all are used in turn.
                buffers.rotate_left(1);
                Some(Promise { fence, file })
            }
            Err(_) => {
                let _ = self.vgem.signal(fence);
                None
            }
        }
    }

    /// Waits until all work is done: vgem signals the fences of a process that ends, at work or not.
    pub fn finish(self) {
        drop(self.jobs);
        // It has panicked: then the process has ended.
        let _ = self.thread.join();
    }

    /// Ends the work at a time: the claims go, and then the fence signals, or not.
    pub fn end_at(&self, due: u64, claims: Vec<Place>, fence: Fence, signals: bool) {
        let _ = self.jobs.send(Job { due, claims, fence: signals.then_some(fence) });
    }
}

impl Promise {
    pub fn fence(&self) -> Fence {
        self.fence
    }
}

fn work(vgem: &Vgem, headers: &[Header], taken: &Receiver<Job>) {
    let mut jobs: Vec<Job> = Vec::new();
    loop {
        jobs.retain(|job| {
            let is_due = now() >= job.due;
            if is_due {
                for (buffer, slot, name) in &job.claims {
                    headers[*buffer].clear_this(*slot, *name);
                }
                if let Some(fence) = job.fence {
                    let _ = vgem.signal(fence);
                }
            }
            !is_due
        });
        let next = jobs.iter().map(|job| job.due).min();
        let wait = next
            .map_or(Duration::from_secs(1), |due| Duration::from_nanos(due.saturating_sub(now())));
        match taken.recv_timeout(wait) {
            Ok(job) => jobs.push(job),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) if jobs.is_empty() => return,
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(wait),
        }
    }
}

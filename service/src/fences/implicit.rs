// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Locks that wait for implicit fences.
//!
//! The engine decides which lock waits for which buffers, and until when. A sync worker looks first. If
//! a fence is pending, the reactor watches that one buffer; when it is ready, a worker looks again on
//! behalf of every lock that waits there. A dma-buf has one watch, however many locks wait at it: epoll
//! takes a descriptor once, and descriptors are scarce.
//!
//! # Locking
//!
//! The table is behind the arbiter's mutex. A watch is made without it, by the worker that has looked:
//! epoll_ctl(2) on a dma-buf takes its reservation lock, which a driver may hold for a while. So a watch
//! is in the table before it is in the reactor, and its maker checks the table again afterwards
//! ([`Waits::made`]). If all locks have left by then and others have come, two workers make a watch of
//! one buffer, and the second gets EEXIST. Workers look again for its locks; by then the first worker
//! has taken its watch back.
//!
//! # Bounds
//!
//! Each lock has one wait at most, and each buffer one watch.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use buffersync_engine::{BufferId, Failure, JobId, Time};
use nix::errno::Errno;
use nix::poll::PollFlags;

use super::Waiting;
use crate::jobs::{Job, Look, SyncQueue, WaitJob};
use crate::reactor::{Reactor, WaitId, Watched};
use crate::tables::ById;

#[derive(Default)]
pub(crate) struct Waits {
    by_job: ById<JobId, Wait>,
    watches: ById<BufferId, Watch>,
    last_watch: u64,
    /// How often a worker has found a fence pending, for dumps.
    pub waited: u64,
    /// How many waits have timed out, for dumps.
    pub timed_out: u64,
}

/// One lock that waits.
struct Wait {
    uid: u32,
    /// The buffer whose watch it waits for; `None` while a worker or the queue has its job.
    at: Option<BufferId>,
}

/// A dma-buf that is watched, or is about to be.
struct Watch {
    /// Distinguishes it from earlier watches of the buffer.
    number: u64,
    fd: Arc<OwnedFd>,
    events: PollFlags,
    until: Time,
    /// `None` while a worker makes it.
    wait: Option<WaitId>,
    jobs: Vec<WaitJob>,
}

/// A watch that a worker makes.
#[derive(Clone)]
pub(crate) struct Order {
    buffer: BufferId,
    number: u64,
    fd: Arc<OwnedFd>,
    events: PollFlags,
    until: Time,
}

/// A wait that has failed, as the engine is told.
pub(crate) type Failed = (JobId, Failure);

impl Watch {
    fn order(&self, buffer: BufferId) -> Order {
        let Self { number, ref fd, events, until, .. } = *self;
        Order { buffer, number, fd: Arc::clone(fd), events, until }
    }

    /// Whether the watch that was made for an order is all that is needed.
    fn is_served_by(&self, made: &Order) -> bool {
        made.events.contains(self.events) && made.until <= self.until
    }
}

impl Order {
    /// Makes the watch. Call it without the arbiter's mutex, and [`Waits::made`] with the result.
    pub fn make(&self, reactor: &Reactor<Waiting>) -> Result<WaitId, Errno> {
        let waiting = Waiting::Implicit { buffer: self.buffer, number: self.number };
        reactor.watch(Arc::clone(&self.fd) as _, self.events, self.until, waiting)
    }
}

impl Waits {
    /// Has a worker look on behalf of a lock.
    pub fn begin(&mut self, queue: &SyncQueue, job: WaitJob) {
        self.by_job.insert(job.id, Wait { uid: job.uid, at: None });
        queue.push(Job::Wait(job));
    }

    /// A worker has done a job, which may be a wait.
    pub fn done(&mut self, id: JobId) {
        self.by_job.remove(&id);
    }

    /// A lock waits no more.
    pub fn end(
        &mut self,
        queue: &SyncQueue,
        reactor: &Reactor<Waiting>,
        id: JobId,
        garbage: &mut Vec<Watched>,
    ) {
        let Some(Wait { uid, at }) = self.by_job.remove(&id) else { return };
        let Some(buffer) = at else { return queue.remove(uid, id) };
        let Some(watch) = self.watches.get_mut(&buffer) else { return };
        watch.jobs.retain(|job| job.id != id);
        if watch.jobs.is_empty() {
            self.end_watch(reactor, buffer, garbage);
        }
    }

    /// A worker has found a fence pending, at the `nth` look of a wait. Returns a watch for the caller to
    /// make, or the failure if the time is up.
    pub fn pending(
        &mut self,
        reactor: &Reactor<Waiting>,
        job: WaitJob,
        nth: usize,
        now: Time,
        garbage: &mut Vec<Watched>,
    ) -> Result<Option<Order>, Failed> {
        self.waited += 1;
        if !self.by_job.contains_key(&job.id) {
            // The lock waits no more, and the job may have the last descriptor of a dma-buf.
            garbage.extend(job.looks.into_iter().map(|look| look.fd as Watched));
            return Ok(None);
        }
        if job.until <= now {
            return self.fail(job.id, nth, Errno::ETIMEDOUT).map_or(Ok(None), Err);
        }
        Ok(self.join_watch(reactor, job, nth))
    }

    /// Adds a wait to the watch of a buffer. Returns the watch if the caller has to make it.
    fn join_watch(
        &mut self,
        reactor: &Reactor<Waiting>,
        job: WaitJob,
        nth: usize,
    ) -> Option<Order> {
        let Look { buffer, ref fd, events } = *job.looks.get(nth)?;
        if let Some(wait) = self.by_job.get_mut(&job.id) {
            wait.at = Some(buffer);
        }
        let mut new = false;
        let watch = self.watches.entry(buffer).or_insert_with(|| {
            new = true;
            self.last_watch += 1;
            let (number, fd, until) = (self.last_watch, Arc::clone(fd), job.until);
            Watch { number, fd, events, until, wait: None, jobs: Vec::new() }
        });
        let before = watch.order(buffer);
        watch.events |= events;
        watch.until = watch.until.min(job.until);
        watch.jobs.push(job);
        if new {
            return Some(watch.order(buffer));
        }
        if watch.is_served_by(&before) {
            return None;
        }
        // None: another worker makes the watch, and checks the table itself.
        let wait = watch.wait.take()?;
        drop(reactor.forget(wait));
        Some(watch.order(buffer))
    }

    /// A worker has made a watch. Returns the next one if the table wants another by now, or the waits
    /// that fail because it could not be made.
    pub fn made(
        &mut self,
        queue: &SyncQueue,
        reactor: &Reactor<Waiting>,
        order: &Order,
        made: Result<WaitId, Errno>,
        garbage: &mut Vec<Watched>,
    ) -> Result<Option<Order>, Vec<Failed>> {
        let buffer = order.buffer;
        let watch = self.watches.get_mut(&buffer).filter(|watch| watch.number == order.number);
        match (made, watch) {
            (Ok(wait), Some(watch)) if watch.is_served_by(order) => {
                watch.wait = Some(wait);
                Ok(None)
            }
            (Ok(wait), watch) => {
                drop(reactor.forget(wait));
                Ok(watch.map(|watch| watch.order(buffer)))
            }
            (Err(_), None) => Ok(None),
            (Err(Errno::EEXIST), Some(_)) => {
                for job in self.end_watch(reactor, buffer, garbage) {
                    self.look_again(queue, job);
                }
                Ok(None)
            }
            (Err(errno), Some(_)) => {
                let jobs = self.end_watch(reactor, buffer, garbage);
                Err(jobs.iter().filter_map(|job| self.fail_at(job, buffer, errno)).collect())
            }
        }
    }

    /// The reactor has found a buffer ready, or its time is up. Workers look again for the waits there;
    /// returns those whose time is up.
    pub fn woke(
        &mut self,
        queue: &SyncQueue,
        reactor: &Reactor<Waiting>,
        (buffer, number): (BufferId, u64),
        now: Time,
        garbage: &mut Vec<Watched>,
    ) -> Vec<Failed> {
        let mut failed = Vec::new();
        if self.watches.get(&buffer).is_none_or(|watch| watch.number != number) {
            return failed;
        }
        for job in self.end_watch(reactor, buffer, garbage) {
            if job.until <= now {
                failed.extend(self.fail_at(&job, buffer, Errno::ETIMEDOUT));
            } else {
                self.look_again(queue, job);
            }
        }
        failed
    }

    fn end_watch(
        &mut self,
        reactor: &Reactor<Waiting>,
        buffer: BufferId,
        garbage: &mut Vec<Watched>,
    ) -> Vec<WaitJob> {
        let Some(watch) = self.watches.remove(&buffer) else { return Vec::new() };
        if let Some(wait) = watch.wait {
            // None: the handler has the wait already, and will not find the watch here.
            drop(reactor.forget(wait));
        }
        garbage.push(watch.fd);
        watch.jobs
    }

    /// Has a worker look on behalf of a wait whose watch has ended.
    fn look_again(&mut self, queue: &SyncQueue, job: WaitJob) {
        if let Some(wait) = self.by_job.get_mut(&job.id) {
            wait.at = None;
            queue.push(Job::Wait(job));
        }
    }

    fn fail_at(&mut self, job: &WaitJob, buffer: BufferId, errno: Errno) -> Option<Failed> {
        let nth = job.looks.iter().position(|look| look.buffer == buffer);
        self.fail(job.id, nth.unwrap_or(0), errno)
    }

    fn fail(&mut self, id: JobId, nth: usize, errno: Errno) -> Option<Failed> {
        self.by_job.remove(&id)?;
        self.timed_out += u64::from(errno == Errno::ETIMEDOUT);
        Some((id, Failure { succeeded: nth, reason: errno as i32 }))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    const BUFFER: BufferId = BufferId(1);

    /// A wait for a descriptor that is never ready, as a worker has it.
    fn begin(waits: &mut Waits, id: u64, fd: &Arc<OwnedFd>) -> WaitJob {
        let id = JobId(id);
        waits.by_job.insert(id, Wait { uid: 1, at: None });
        let until = clock::now().after(Duration::from_secs(60));
        let looks = vec![Look { buffer: BUFFER, fd: Arc::clone(fd), events: PollFlags::POLLIN }];
        WaitJob { id, uid: 1, looks, until }
    }

    #[test]
    fn a_wait_that_comes_while_a_watch_is_taken_back_does_not_fail() {
        let (queue, reactor) = (SyncQueue::new(1), Reactor::new().unwrap());
        let (mut waits, mut garbage) = (Waits::default(), Vec::new());
        let (read, _write) = nix::unistd::pipe().unwrap();
        let fd = Arc::new(read);
        // A worker has made a watch, and has not entered it yet.
        let job = begin(&mut waits, 1, &fd);
        let order = waits.pending(&reactor, job, 0, clock::now(), &mut garbage).unwrap().unwrap();
        let first = order.make(&reactor);
        // Its lock is cancelled, and another one waits for the same buffer.
        waits.end(&queue, &reactor, JobId(1), &mut garbage);
        let job = begin(&mut waits, 2, &fd);
        let second = waits.pending(&reactor, job, 0, clock::now(), &mut garbage).unwrap().unwrap();
        let made = second.make(&reactor);
        assert_eq!(made, Err(Errno::EEXIST));
        let next = waits.made(&queue, &reactor, &second, made, &mut garbage);
        assert!(matches!(next, Ok(None)) && waits.watches.is_empty());
        assert_eq!(queue.len(), 1, "a worker looks again");
        // The first worker takes its watch back; then there is room for the other's.
        let next = waits.made(&queue, &reactor, &order, first, &mut garbage);
        assert!(matches!(next, Ok(None)));
        let job = begin(&mut waits, 2, &fd);
        let again = waits.pending(&reactor, job, 0, clock::now(), &mut garbage).unwrap().unwrap();
        let made = again.make(&reactor);
        let next = waits.made(&queue, &reactor, &again, made, &mut garbage);
        assert!(matches!(next, Ok(None)));
        assert!(waits.watches[&BUFFER].wait.is_some());
        waits.end(&queue, &reactor, JobId(2), &mut garbage);
        assert_eq!(reactor.len(), 0);
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Locks that wait for implicit fences.
//!
//! The engine decides which lock waits for which buffers, and until when. A sync worker looks first. If
//! a fence is pending, the reactor watches the fences that the worker has found in that one buffer; when they have
//! signalled, a worker looks again on behalf of every lock that waits there. Readers wait for the fences of writers,
//! and writers for all, so a buffer has two watches at most, however many locks wait at it: descriptors are scarce.
//!
//! The reactor does not watch the dma-buf itself: its poll takes the reservation lock, which a client can keep busy.
//! Where the kernel can't export the fences, or there are too many watches, workers look again after a [`PAUSE`].
//!
//! The table is behind the arbiter's mutex. Each lock has one wait at most.

use std::sync::Arc;
use std::time::Duration;

use buffersync_engine::{BufferId, Failure, JobId, Time};
use buffersync_kernel::dmabuf::Usage;
use nix::errno::Errno;

use super::Waiting;
use crate::closer::{Closer, Descriptor};
use crate::jobs::{Job, Look, Pending, SyncQueue, WaitJob};
use crate::reactor::{Reactor, WaitId, Watched};
use crate::tables::{self, ById};

/// The time between two looks without a watch: a few in the time of a frame. It grows with the number of watches, so
/// that the looks of a crowd cost no more.
const PAUSE: Duration = Duration::from_millis(4);
/// Watches for which the pause is not longer.
const FEW: usize = 8;
/// Watches that may have a descriptor. No quota counts them: they are within the reserve
/// ([`crate::quota::Resources::reserve`]).
pub const MOST: usize = 256;

#[derive(Default)]
pub(crate) struct Waits {
    by_job: ById<JobId, Wait>,
    watches: ById<BufferId, [Option<Watch>; 2]>,
    last_watch: u64,
    /// Watches that have a descriptor.
    files: usize,
    /// How often a worker has found a fence pending, for dumps.
    pub waited: u64,
    /// How many waits have timed out, for dumps.
    pub timed_out: u64,
}

/// One lock that waits.
struct Wait {
    uid: u32,
    /// The watch that it waits for; `None` while a worker or the queue has its job.
    at: Option<(BufferId, Usage)>,
}

/// The fences of a buffer that the reactor watches.
struct Watch {
    /// Distinguishes it from others of the buffer.
    number: u64,
    /// `None`: workers look again soon.
    fences: Option<Arc<Descriptor>>,
    /// When the reactor reports it at the latest.
    until: Time,
    wait: WaitId,
    jobs: Vec<WaitJob>,
}

/// A wait that has failed, as the engine is told.
pub(crate) type Failed = (JobId, Failure);

impl Waits {
    /// True if nothing is left.
    #[cfg(simulated)]
    pub fn is_empty(&self) -> bool {
        self.by_job.is_empty() && self.watches.is_empty() && self.files == 0
    }

    /// Has a worker look on behalf of a lock.
    pub fn begin(&mut self, queue: &SyncQueue, job: WaitJob) {
        self.by_job.insert(job.id, Wait { uid: job.uid, at: None });
        queue.push(Job::Wait(job));
    }

    /// A worker has done a job, which may be a wait.
    pub fn done(&mut self, id: JobId) {
        self.by_job.remove(&id);
        tables::shrink(&mut self.by_job);
    }

    /// A lock waits no more.
    pub fn end(&mut self, queue: &SyncQueue, reactor: &Reactor<Waiting>, id: JobId) {
        let Some(Wait { uid, at }) = self.by_job.remove(&id) else { return };
        let Some((buffer, usage)) = at else { return queue.remove(uid, id) };
        let Some(watch) = self.watch(buffer, usage) else { return };
        watch.jobs.retain(|job| job.id != id);
        if watch.jobs.is_empty() {
            self.end_watch(reactor, buffer, usage);
        }
    }

    /// A worker has found fences pending. Returns the failure if the time is up.
    pub fn pending(
        &mut self,
        reactor: &Reactor<Waiting>,
        job: WaitJob,
        found: Pending,
        now: Time,
        closer: &Arc<Closer>,
    ) -> Option<Failed> {
        self.waited += 1;
        // First, so that no way out of here closes them under the mutex.
        let fences = found.fences.map(|fences| Arc::new(Descriptor::new(fences, closer)));
        if !self.by_job.contains_key(&job.id) {
            // The lock waits no more.
            return None;
        }
        if job.until <= now {
            return self.fail(job.id, found.nth, Errno::ETIMEDOUT);
        }
        let Look { buffer, usage, .. } = *job.looks.get(found.nth)?;
        let (id, nth) = (job.id, found.nth);
        if let Some(watch) = self.watch(buffer, usage) {
            let earlier = job.until < watch.until;
            watch.jobs.push(job);
            self.wait_at(id, buffer, usage);
            if earlier {
                self.hasten(reactor, buffer, usage);
            }
            return None;
        }
        let fences = fences.filter(|_| self.files < MOST);
        match self.begin_watch(reactor, job, (buffer, usage), fences, now) {
            Ok(()) => {
                self.wait_at(id, buffer, usage);
                None
            }
            Err(errno) => self.fail(id, nth, errno),
        }
    }

    fn watch(&mut self, buffer: BufferId, usage: Usage) -> Option<&mut Watch> {
        self.watches.get_mut(&buffer)?[usage as usize].as_mut()
    }

    fn wait_at(&mut self, id: JobId, buffer: BufferId, usage: Usage) {
        if let Some(wait) = self.by_job.get_mut(&id) {
            wait.at = Some((buffer, usage));
        }
    }

    fn begin_watch(
        &mut self,
        reactor: &Reactor<Waiting>,
        job: WaitJob,
        (buffer, usage): (BufferId, Usage),
        fences: Option<Arc<Descriptor>>,
        now: Time,
    ) -> Result<(), Errno> {
        self.last_watch += 1;
        let number = self.last_watch;
        let pause = PAUSE.saturating_mul(1 + (self.watches.len() / FEW) as u32);
        let until = if fences.is_some() { job.until } else { job.until.min(now.after(pause)) };
        let watched = fences.as_ref().map(|fences| Arc::clone(fences) as Watched);
        let wait = reactor.watch(watched, until, Waiting::Implicit { buffer, number })?;
        self.files += usize::from(fences.is_some());
        let watch = Watch { number, fences, until, wait, jobs: vec![job] };
        self.watches.entry(buffer).or_default()[usage as usize] = Some(watch);
        Ok(())
    }

    /// The last lock waits for a shorter time than all others there: the reactor reports the watch by then. `None` if
    /// the reactor reports it just now.
    fn hasten(&mut self, reactor: &Reactor<Waiting>, buffer: BufferId, usage: Usage) -> Option<()> {
        let watch = self.watch(buffer, usage)?;
        // None: the handler has the wait already, and a worker looks again.
        reactor.forget(watch.wait)?;
        let until = watch.jobs.last()?.until;
        let watched = watch.fences.as_ref().map(|fences| Arc::clone(fences) as Watched);
        let waiting = || Waiting::Implicit { buffer, number: watch.number };
        // Without the fences, workers look again by then.
        let wait = reactor.watch(watched, until, waiting());
        watch.wait = wait.or_else(|_| reactor.watch(None, until, waiting())).ok()?;
        watch.until = until;
        Some(())
    }

    /// The fences of a buffer have signalled, or the time is up. Workers look again for the waits there;
    /// returns those whose time is up.
    pub fn woke(
        &mut self,
        queue: &SyncQueue,
        reactor: &Reactor<Waiting>,
        (buffer, number): (BufferId, u64),
        now: Time,
    ) -> Vec<Failed> {
        let mut usages = [Usage::Read, Usage::Write].into_iter();
        let is_it =
            |usage: &Usage| self.watch(buffer, *usage).is_some_and(|watch| watch.number == number);
        let Some(usage) = usages.find(is_it) else { return Vec::new() };
        let mut failed = Vec::new();
        for job in self.end_watch(reactor, buffer, usage) {
            if job.until <= now {
                let nth = job.looks.iter().position(|look| look.buffer == buffer);
                failed.extend(self.fail(job.id, nth.unwrap_or(0), Errno::ETIMEDOUT));
            } else if let Some(wait) = self.by_job.get_mut(&job.id) {
                wait.at = None;
                queue.push(Job::Wait(job));
            }
        }
        failed
    }

    fn end_watch(
        &mut self,
        reactor: &Reactor<Waiting>,
        buffer: BufferId,
        usage: Usage,
    ) -> Vec<WaitJob> {
        let Some(both) = self.watches.get_mut(&buffer) else { return Vec::new() };
        let Some(watch) = both[usage as usize].take() else { return Vec::new() };
        if both.iter().all(Option::is_none) {
            self.watches.remove(&buffer);
            tables::shrink(&mut self.watches);
        }
        self.files -= usize::from(watch.fences.is_some());
        // None: the handler has the wait already, and will not find the watch here.
        drop(reactor.forget(watch.wait));
        watch.jobs
    }

    fn fail(&mut self, id: JobId, nth: usize, errno: Errno) -> Option<Failed> {
        self.by_job.remove(&id)?;
        self.timed_out += u64::from(errno == Errno::ETIMEDOUT);
        Some((id, Failure { succeeded: nth, reason: errno as i32 }))
    }
}

#[cfg(test)]
mod tests {
    use buffersync_kernel::fd::Fd;

    use super::*;
    use crate::clock;

    const BUFFER: BufferId = BufferId(1);

    struct Rig {
        queue: SyncQueue,
        reactor: Reactor<Waiting>,
        waits: Waits,
        closer: Arc<Closer>,
        start: Time,
    }

    fn rig() -> Rig {
        Rig {
            queue: SyncQueue::new(1),
            reactor: Reactor::new().unwrap(),
            waits: Waits::default(),
            closer: Arc::default(),
            start: clock::now(),
        }
    }

    /// A pipe that nobody writes stands for fences that are pending.
    fn fences() -> (Fd, Fd) {
        nix::unistd::pipe().unwrap()
    }

    impl Rig {
        /// A worker has found fences for a lock that may wait so many seconds.
        fn finds(&mut self, id: u64, usage: Usage, seconds: u64, fences: Option<Fd>) {
            let (id, uid) = (JobId(id), 1);
            self.waits.by_job.insert(id, Wait { uid, at: None });
            let until = self.start.after(Duration::from_secs(seconds));
            let fd = Arc::new(Descriptor::new(self::fences().0, &self.closer));
            let looks = vec![Look { buffer: BUFFER, fd, usage }];
            let job = WaitJob { id, uid, looks, until };
            let found = Pending { nth: 0, fences };
            let failed = self.waits.pending(&self.reactor, job, found, self.start, &self.closer);
            assert_eq!(failed, None);
        }

        fn woke(&mut self, number: u64, seconds: u64) -> Vec<JobId> {
            let now = self.start.after(Duration::from_secs(seconds));
            let failed = self.waits.woke(&self.queue, &self.reactor, (BUFFER, number), now);
            failed.into_iter().map(|(id, _)| id).collect()
        }
    }

    #[test]
    fn locks_of_a_kind_share_a_watch_and_readers_do_not_wait_for_readers_fences() {
        let mut rig = rig();
        for (id, usage) in [(1, Usage::Read), (2, Usage::Read), (3, Usage::Write)] {
            let (fences, _write) = fences();
            rig.finds(id, usage, 60, Some(fences));
        }
        assert_eq!((rig.reactor.len(), rig.waits.files), (2, 2));
        assert_eq!(rig.woke(1, 1), []);
        assert_eq!((rig.queue.len(), rig.reactor.len()), (2, 1), "a worker looks for both readers");
        rig.waits.end(&rig.queue, &rig.reactor, JobId(3));
        assert_eq!((rig.reactor.len(), rig.waits.files), (0, 0));
        assert!(rig.waits.watches.is_empty());
    }

    #[test]
    fn the_shortest_wait_decides_when_the_watch_ends() {
        let mut rig = rig();
        let (fences, _write) = fences();
        rig.finds(1, Usage::Read, 60, Some(fences));
        rig.finds(2, Usage::Read, 5, None);
        let watch = rig.waits.watch(BUFFER, Usage::Read).unwrap();
        assert_eq!(watch.until, rig.start.after(Duration::from_secs(5)));
        assert_eq!(rig.woke(1, 5), [JobId(2)]);
        assert_eq!(rig.queue.len(), 1, "the other one goes on");
        assert_eq!(rig.reactor.len(), 0);
    }

    #[test]
    fn a_watch_that_was_replaced_wakes_nobody() {
        let mut rig = rig();
        rig.finds(1, Usage::Read, 60, None);
        rig.waits.end(&rig.queue, &rig.reactor, JobId(1));
        rig.finds(2, Usage::Read, 60, None);
        assert_eq!(rig.woke(1, 1), []);
        assert_eq!((rig.queue.len(), rig.reactor.len()), (0, 1));
    }

    #[test]
    fn without_fences_workers_look_again_soon() {
        let mut rig = rig();
        rig.finds(1, Usage::Write, 60, None);
        let watch = rig.waits.watch(BUFFER, Usage::Write).unwrap();
        assert_eq!(watch.until, rig.start.after(PAUSE));
        assert_eq!(rig.woke(1, 1), []);
        assert_eq!(rig.queue.len(), 1);
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The workers' jobs: cache operations and looks at implicit fences, and the queue of them. Knows
//! dma-bufs, not the lock table.
//!
//! `DMA_BUF_IOCTL_SYNC` START blocks while an implicit fence is pending, and a client can attach one to
//! its own buffers whenever it likes. So only workers issue it, with three defences:
//! * a worker looks first, and a job whose buffers are not free ends ([`Outcome::Blocked`]);
//! * a fence can still appear between look and ioctl: a timer then interrupts the ioctl, in which the
//!   kernel waits interruptibly ([`buffersync_kernel::interrupt`]), and the job ends in the same way;
//! * a uid gets all workers but one at most, if there are several, and uids take turns.
//!
//! A lock whose job was blocked waits with no operation in flight, and locks that may share the buffer go past it.
//! Its wait is a job as well: one look; if a fence is pending, [`crate::fences::implicit`] watches it.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex};

use buffersync_engine::{BufferId, JobId, SyncFlags, SyncKind, Time};
use buffersync_kernel::dmabuf::{self, Usage};
use buffersync_kernel::fd::{AsFd, Fd};
use buffersync_kernel::interrupt::Watchdog;
use buffersync_kernel::sync_file::{self, Status};
use nix::errno::Errno;

use crate::closer::Descriptor;
use crate::platform::Tracer;
use crate::poison;
use crate::trace::Slices;

/// One cache operation on one buffer.
#[derive(Debug)]
pub struct Operation {
    pub buffer: BufferId,
    /// The service's own descriptor of it.
    pub fd: Arc<Descriptor>,
    /// START or END.
    pub kind: SyncKind,
    /// For reading, or for both reading and writing.
    pub flags: SyncFlags,
}

/// The name of the operation's slice in a trace.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            SyncKind::Start => "START",
            SyncKind::End => "END",
        };
        let flags = match self.flags {
            SyncFlags::Read => "READ",
            SyncFlags::ReadWrite => "RW",
        };
        write!(f, "{kind} {flags} {}", self.buffer.0)
    }
}

/// Implicit fences of one buffer that must have signalled.
#[derive(Clone, Debug)]
pub struct Look {
    pub buffer: BufferId,
    /// The service's own descriptor of it.
    pub fd: Arc<Descriptor>,
    /// A reader waits for the fences of writers, a writer for all.
    pub usage: Usage,
}

/// How implicit fences are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// By EXPORT_SYNC_FILE, which takes no lock that a client can hold. Any thread may look.
    Export,
    /// By poll(2), because the kernel lacks that ioctl. It takes reservation locks, so only workers may look.
    Poll,
}

/// A look that has found a fence pending.
#[derive(Debug)]
pub struct Pending {
    /// The position of the look.
    pub nth: usize,
    /// The fences, where the kernel can export them.
    pub fences: Option<Fd>,
}

/// The first look that finds a fence pending; `None` if all have signalled.
pub fn first_pending(looks: &[Look], sight: Sight) -> Result<Option<Pending>, Errno> {
    if sight == Sight::Poll {
        let looked = looks.iter().map(|look| (look.fd.as_fd(), look.usage.poll_events()));
        let pending = dmabuf::first_pending(looked)?;
        return Ok(pending.map(|nth| Pending { nth, fences: None }));
    }
    for (nth, look) in looks.iter().enumerate() {
        let fences = dmabuf::export_sync_file(look.fd.as_fd(), look.usage)?;
        if sync_file::status(fences.as_fd()) == Status::Pending {
            return Ok(Some(Pending { nth, fences: Some(fences) }));
        }
    }
    Ok(None)
}

/// Looks, then operations in order. The first operation that fails ends the job.
#[derive(Debug)]
pub struct SyncJob {
    /// The engine's name for it.
    pub id: JobId,
    /// The client's uid: uids take turns.
    pub uid: u32,
    /// All of them must find no fence pending.
    pub looks: Vec<Look>,
    /// At least one.
    pub operations: Vec<Operation>,
}

/// One look on behalf of a lock that waits for implicit fences.
#[derive(Debug)]
pub struct WaitJob {
    /// The engine's name for it.
    pub id: JobId,
    /// The client's uid: uids take turns.
    pub uid: u32,
    /// All of them must find no fence pending.
    pub looks: Vec<Look>,
    /// When the lock has waited long enough.
    pub until: Time,
}

/// A worker's work.
#[derive(Debug)]
pub enum Job {
    Sync(SyncJob),
    Wait(WaitJob),
}

impl Job {
    fn id(&self) -> JobId {
        match self {
            Self::Sync(job) => job.id,
            Self::Wait(job) => job.id,
        }
    }

    pub fn uid(&self) -> u32 {
        match self {
            Self::Sync(job) => job.uid,
            Self::Wait(job) => job.uid,
        }
    }

    fn looks(&self) -> &[Look] {
        match self {
            Self::Sync(job) => &job.looks,
            Self::Wait(job) => &job.looks,
        }
    }
}

/// How a job ended, or why it cannot go on now.
#[derive(Debug)]
pub enum Outcome {
    Done(JobId),
    /// This many operations succeeded, then one failed.
    Failed(JobId, usize, Errno),
    /// This many operations succeeded; a fence is pending before the next.
    Blocked(JobId, usize),
    /// A wait is not over.
    Pending(WaitJob, Pending),
}

/// Jobs that no worker has yet. Their number is bounded: each buffer has one job with operations at most,
/// and each lock one wait.
pub struct SyncQueue {
    jobs: Mutex<Jobs>,
    work: Condvar,
    /// Workers that one uid may occupy: all but one, so that another uid's job never waits for it.
    share: u32,
}

#[derive(Default)]
struct Jobs {
    by_uid: HashMap<u32, OfUid>,
    /// Uids with waiting jobs, in the order of their turns.
    turns: VecDeque<u32>,
}

#[derive(Default)]
struct OfUid {
    waiting: VecDeque<Job>,
    running: u32,
}

impl SyncQueue {
    pub fn new(workers: u32) -> Self {
        let share = workers.saturating_sub(1).max(1);
        Self { jobs: Mutex::default(), work: Condvar::new(), share }
    }

    pub fn push(&self, job: Job) {
        let mut jobs = poison::lock(&self.jobs);
        let uid = job.uid();
        let of_uid = jobs.by_uid.entry(uid).or_default();
        of_uid.waiting.push_back(job);
        if of_uid.waiting.len() == 1 {
            jobs.turns.push_back(uid);
        }
        drop(jobs);
        self.work.notify_one();
    }

    /// Takes a job back, if no worker has it yet.
    pub fn remove(&self, uid: u32, id: JobId) {
        let mut jobs = poison::lock(&self.jobs);
        let Jobs { by_uid, turns } = &mut *jobs;
        let Some(of_uid) = by_uid.get_mut(&uid) else { return };
        of_uid.waiting.retain(|job| job.id() != id);
        if of_uid.waiting.is_empty() {
            turns.retain(|turn| *turn != uid);
            if of_uid.running == 0 {
                by_uid.remove(&uid);
            }
        }
    }

    /// The next job, if there is one that a worker may do now.
    #[cfg(any(test, simulated))]
    pub fn try_take(&self) -> Option<Job> {
        poison::lock(&self.jobs).next(self.share)
    }

    /// Number of jobs that wait, for dumps.
    pub fn len(&self) -> usize {
        poison::lock(&self.jobs).by_uid.values().map(|of_uid| of_uid.waiting.len()).sum()
    }

    /// True if nothing is left, not even of a uid.
    #[cfg(simulated)]
    pub fn is_empty(&self) -> bool {
        let jobs = poison::lock(&self.jobs);
        jobs.by_uid.is_empty() && jobs.turns.is_empty()
    }

    fn take(&self) -> Job {
        let mut jobs = poison::lock(&self.jobs);
        loop {
            if let Some(job) = jobs.next(self.share) {
                return job;
            }
            jobs = match self.work.wait(jobs) {
                Ok(jobs) => jobs,
                Err(_) => poison::end(),
            };
        }
    }

    fn finished(&self, uid: u32) {
        let mut jobs = poison::lock(&self.jobs);
        if let Some(of_uid) = jobs.by_uid.get_mut(&uid) {
            of_uid.running -= 1;
            if of_uid.running == 0 && of_uid.waiting.is_empty() {
                jobs.by_uid.remove(&uid);
            }
        }
        drop(jobs);
        // Another job of this uid may wait for its share.
        self.work.notify_one();
    }
}

impl Jobs {
    /// The next job, by turns, of a uid that has not used up its share.
    fn next(&mut self, share: u32) -> Option<Job> {
        let of_uid = |jobs: &Self, uid| jobs.by_uid.get(&uid).map_or(0, |of_uid| of_uid.running);
        let turn = self.turns.iter().position(|uid| of_uid(self, *uid) < share)?;
        let uid = self.turns.remove(turn)?;
        let of_uid = self.by_uid.get_mut(&uid)?;
        let job = of_uid.waiting.pop_front()?;
        of_uid.running += 1;
        if !of_uid.waiting.is_empty() {
            self.turns.push_back(uid);
        }
        Some(job)
    }
}

/// Runs a worker thread: takes jobs and reports how they ended. Returns only if the thread could not be
/// set up.
pub fn work(
    queue: &SyncQueue,
    sight: Sight,
    slices: &Slices<Tracer>,
    mut report: impl FnMut(Outcome),
) -> Errno {
    let mut watchdog = match Watchdog::new() {
        Ok(watchdog) => watchdog,
        Err(errno) => return errno,
    };
    loop {
        do_job(queue, queue.take(), sight, slices, &mut watchdog, &mut report);
    }
}

/// Carries out one job, and reports how it ended.
pub fn do_job(
    queue: &SyncQueue,
    job: Job,
    sight: Sight,
    slices: &Slices<Tracer>,
    watchdog: &mut Watchdog,
    report: &mut impl FnMut(Outcome),
) {
    let uid = job.uid();
    let outcome = carry_out(job, sight, slices, watchdog);
    queue.finished(uid);
    report(outcome);
}

fn carry_out(job: Job, sight: Sight, slices: &Slices<Tracer>, watchdog: &mut Watchdog) -> Outcome {
    let pending = match look(job.looks(), sight) {
        Ok(pending) => pending,
        Err(errno) => return Outcome::Failed(job.id(), 0, errno),
    };
    let job = match (job, pending) {
        (Job::Wait(job), Some(pending)) => return Outcome::Pending(job, pending),
        (Job::Wait(job), None) => return Outcome::Done(job.id),
        (Job::Sync(job), Some(_)) => return Outcome::Blocked(job.id, 0),
        (Job::Sync(job), None) => job,
    };
    for (succeeded, operation) in job.operations.iter().enumerate() {
        let _slice = slices.slice(operation);
        match issue(operation, sight, watchdog) {
            Ok(Issue::Done) => {}
            Ok(Issue::NotReady) => return Outcome::Blocked(job.id, succeeded),
            Err(errno) => return Outcome::Failed(job.id, succeeded, errno),
        }
    }
    Outcome::Done(job.id)
}

/// A worker's look. Without a descriptor for the fences it looks by poll(2).
fn look(looks: &[Look], sight: Sight) -> Result<Option<Pending>, Errno> {
    match first_pending(looks, sight) {
        Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM) => first_pending(looks, Sight::Poll),
        found => found,
    }
}

enum Issue {
    Done,
    NotReady,
}

fn issue(operation: &Operation, sight: Sight, watchdog: &mut Watchdog) -> Result<Issue, Errno> {
    let &Operation { buffer, ref fd, kind, flags } = operation;
    let looks = [Look { buffer, fd: Arc::clone(fd), usage: usage(flags) }];
    loop {
        // END waits for no fence.
        if kind == SyncKind::Start && look(&looks, sight)?.is_some() {
            return Ok(Issue::NotReady);
        }
        match watchdog.guard(|| call(operation))? {
            Ok(()) => return Ok(Issue::Done),
            // The uapi asks callers to try again; after an interruption, the look finds what it waited for.
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn call(operation: &Operation) -> Result<(), Errno> {
    let (fd, usage) = (operation.fd.as_fd(), usage(operation.flags));
    match operation.kind {
        SyncKind::Start => dmabuf::start(fd, usage),
        SyncKind::End => dmabuf::end(fd, usage),
    }
}

/// The kernel's word for the engine's flags.
pub(crate) fn usage(flags: SyncFlags) -> Usage {
    Usage::new(flags == SyncFlags::ReadWrite)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: u64, uid: u32) -> Job {
        Job::Wait(WaitJob { id: JobId(id), uid, looks: Vec::new(), until: Time(0) })
    }

    fn next(queue: &SyncQueue) -> Option<u64> {
        queue.try_take().map(|job| job.id().0)
    }

    #[test]
    fn uids_take_turns() {
        let queue = SyncQueue::new(8);
        for id in 0..3 {
            queue.push(job(id, 1));
        }
        queue.push(job(10, 2));
        let order: Vec<_> = (0..4).map(|_| next(&queue)).collect();
        assert_eq!(order, [Some(0), Some(10), Some(1), Some(2)]);
    }

    #[test]
    fn one_uid_leaves_a_worker_to_others() {
        let queue = SyncQueue::new(2);
        queue.push(job(0, 1));
        queue.push(job(1, 1));
        assert_eq!(next(&queue), Some(0));
        assert_eq!(next(&queue), None);
        queue.push(job(2, 2));
        assert_eq!(next(&queue), Some(2));
        queue.finished(1);
        assert_eq!(next(&queue), Some(1));
    }

    #[test]
    fn a_job_that_is_removed_leaves_nothing() {
        let queue = SyncQueue::new(2);
        queue.push(job(0, 1));
        queue.push(job(1, 1));
        queue.remove(1, JobId(0));
        assert_eq!(next(&queue), Some(1));
        queue.push(job(2, 2));
        queue.remove(2, JobId(2));
        assert_eq!(next(&queue), None);
        queue.finished(1);
        let jobs = poison::lock(&queue.jobs);
        assert!(jobs.by_uid.is_empty() && jobs.turns.is_empty());
    }

    #[test]
    fn nothing_is_kept_of_a_uid_that_is_done() {
        let queue = SyncQueue::new(2);
        queue.push(job(0, 1));
        next(&queue);
        queue.finished(1);
        let jobs = poison::lock(&queue.jobs);
        assert!(jobs.by_uid.is_empty() && jobs.turns.is_empty());
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Locks that wait for implicit fences: who waits at which dma-buf, and what wakes them.
//!
//! The engine says which lock waits for which buffers, and until when. A sync worker looks first; if a
//! fence is pending, the reactor watches that one buffer, and when it is ready all who wait there are
//! looked at again. A dma-buf has one watch, however many locks wait at it: epoll takes a descriptor
//! once, and descriptors are scarce.
//!
//! Which locks wait is kept under the state mutex. The watch itself is made without it, by the worker
//! that has looked: epoll_ctl(2) on a dma-buf takes its reservation lock, which a driver may hold for a
//! while. So a watch is in the table before it is in the reactor, and whoever makes it looks at the
//! table again afterwards ([`Arbiter::keep_watching`]). If everybody has left meanwhile and others have
//! come, two workers make a watch of one buffer, and the second finds EEXIST. Its waits are looked at
//! again; by then the first one has taken its watch back.
//!
//! Bounds: each group has one wait at most, and each buffer one watch.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use buffersync_engine::{BufferId, BuildIdHasher, Failure, GroupId, JobId, Span, SyncKind, Time};
use nix::errno::Errno;
use nix::poll::PollFlags;

use crate::arbiter::{Arbiter, State, Waiting};
use crate::jobs::{usage, Look, SyncJob};
use crate::reactor::WaitId;

/// See the module.
#[derive(Default)]
pub(crate) struct Waits {
    by_job: HashMap<JobId, Wait, BuildIdHasher>,
    watches: HashMap<BufferId, Watch, BuildIdHasher>,
    last_watch: u64,
}

/// One lock that waits.
struct Wait {
    uid: u32,
    /// Where it is watched; `None` while a worker has it, or is to have it.
    at: Option<BufferId>,
}

/// A dma-buf that is watched, or is about to be.
struct Watch {
    /// Tells it from earlier ones of the same buffer.
    number: u64,
    fd: Arc<OwnedFd>,
    wanted: PollFlags,
    until: Time,
    /// `None` while somebody makes it.
    wait: Option<WaitId>,
    jobs: Vec<SyncJob>,
}

/// What is to be watched, as its maker knows it.
#[derive(Clone)]
struct Order {
    buffer: BufferId,
    number: u64,
    fd: Arc<OwnedFd>,
    wanted: PollFlags,
    until: Time,
}

impl Waits {
    /// A worker has done a job, which may be a wait.
    pub fn ended(&mut self, id: JobId) {
        self.by_job.remove(&id);
    }
}

impl Watch {
    fn order(&self, buffer: BufferId) -> Order {
        let Self { number, ref fd, wanted, until, .. } = *self;
        Order { buffer, number, fd: Arc::clone(fd), wanted, until }
    }

    /// Whether a watch that was made for this order does.
    fn is_served_by(&self, made: &Order) -> bool {
        made.wanted.contains(self.wanted) && made.until <= self.until
    }
}

impl Arbiter {
    /// Has a worker look on behalf of a lock.
    pub(crate) fn begin_wait(
        &self,
        state: &mut State,
        id: JobId,
        group: GroupId,
        ops: Span,
        until: Time,
    ) {
        let uid = state.groups.get(group).map_or(u32::MAX, |group| group.uid);
        state.waits.by_job.insert(id, Wait { uid, at: None });
        let looks = state.looks(ops);
        self.queue.push(SyncJob { id, uid, looks, operations: Vec::new(), until });
    }

    /// A lock waits no more.
    pub(crate) fn drop_wait(&self, state: &mut State, id: JobId) {
        let Some(Wait { uid, at }) = state.waits.by_job.remove(&id) else { return };
        let Some(buffer) = at else { return self.queue.remove(uid, id) };
        let Some(watch) = state.waits.watches.get_mut(&buffer) else { return };
        watch.jobs.retain(|job| job.id != id);
        if watch.jobs.is_empty() {
            self.end_watch(state, buffer);
        }
    }

    fn end_watch(&self, state: &mut State, buffer: BufferId) -> Vec<SyncJob> {
        let Some(watch) = state.waits.watches.remove(&buffer) else { return Vec::new() };
        if let Some(wait) = watch.wait {
            // None: it is being woken, and will find that there is nothing to do.
            drop(self.reactor.forget(wait));
        }
        state.garbage.push(watch.fd);
        watch.jobs
    }

    /// A worker has found a fence pending, at this one of a wait's looks.
    pub(crate) fn wait_goes_on(&self, job: SyncJob, nth: usize) {
        let order = self.with(|state, now| {
            state.syncs.waited += 1;
            // None: the lock waits no more.
            state.waits.by_job.get(&job.id)?;
            if job.until <= now {
                state.wait_failed(job.id, nth, Errno::ETIMEDOUT, now);
                return None;
            }
            self.join_watch(state, job, nth)
        });
        if let Some(order) = order {
            self.keep_watching(order);
        }
    }

    /// Puts a wait to those that are watched with a buffer; what is to be watched, if the caller has to
    /// see to it.
    fn join_watch(&self, state: &mut State, job: SyncJob, nth: usize) -> Option<Order> {
        let Look { buffer, ref fd, wanted } = job.looks[nth];
        let Waits { by_job, watches, last_watch } = &mut state.waits;
        if let Some(wait) = by_job.get_mut(&job.id) {
            wait.at = Some(buffer);
        }
        let mut new = false;
        let watch = watches.entry(buffer).or_insert_with(|| {
            new = true;
            *last_watch += 1;
            let (fd, until) = (Arc::clone(fd), job.until);
            Watch { number: *last_watch, fd, wanted, until, wait: None, jobs: Vec::new() }
        });
        let before = watch.order(buffer);
        watch.wanted |= wanted;
        watch.until = watch.until.min(job.until);
        watch.jobs.push(job);
        if new {
            return Some(watch.order(buffer));
        }
        if watch.is_served_by(&before) {
            return None;
        }
        // None: another thread makes the watch, and looks at the table itself.
        let wait = watch.wait.take()?;
        drop(self.reactor.forget(wait));
        Some(watch.order(buffer))
    }

    /// Has the reactor watch a buffer, until that is what the table says.
    fn keep_watching(&self, mut order: Order) {
        loop {
            let Order { buffer, number, wanted, until, .. } = order;
            let (fd, value) = (Arc::clone(&order.fd), Waiting::Implicit { buffer, number });
            let made = self.reactor.watch(fd, wanted, until, value);
            let again = self.with(|state, now| {
                let watch = state.waits.watches.get_mut(&buffer);
                let watch = watch.filter(|watch| watch.number == number);
                match (made, watch) {
                    (Ok(wait), Some(watch)) if watch.is_served_by(&order) => {
                        watch.wait = Some(wait);
                        None
                    }
                    (Ok(wait), watch) => {
                        drop(self.reactor.forget(wait));
                        watch.map(|watch| watch.order(buffer))
                    }
                    (Err((errno, _)), watch) => {
                        watch?;
                        for job in self.end_watch(state, buffer) {
                            if errno == Errno::EEXIST {
                                self.look_again(state, job);
                            } else {
                                state.watch_failed(&job, buffer, errno, now);
                            }
                        }
                        None
                    }
                }
            });
            match again {
                Some(next) => order = next,
                None => return,
            }
        }
    }

    /// The reactor has found a buffer ready, or has waited long enough.
    pub(crate) fn watch_woke(&self, buffer: BufferId, number: u64) {
        self.with(|state, now| {
            let watches = &state.waits.watches;
            if watches.get(&buffer).is_none_or(|watch| watch.number != number) {
                return;
            }
            for job in self.end_watch(state, buffer) {
                if job.until <= now {
                    state.watch_failed(&job, buffer, Errno::ETIMEDOUT, now);
                } else {
                    self.look_again(state, job);
                }
            }
        });
    }

    /// Has a worker look on behalf of a wait that is not watched any more.
    fn look_again(&self, state: &mut State, job: SyncJob) {
        if let Some(wait) = state.waits.by_job.get_mut(&job.id) {
            wait.at = None;
            self.queue.push(job);
        }
    }
}

impl State {
    /// The implicit fences that the engine asks about.
    pub(crate) fn looks(&self, ops: Span) -> Vec<Look> {
        let ops = self.effects.ops(ops).iter();
        ops.filter(|op| op.kind == SyncKind::Wait)
            .filter_map(|op| {
                let (buffer, wanted) = (op.buffer, usage(op.flags).poll_events());
                Some(Look { buffer, fd: self.fd_of(buffer)?, wanted })
            })
            .collect()
    }

    fn watch_failed(&mut self, job: &SyncJob, buffer: BufferId, errno: Errno, now: Time) {
        let nth = job.looks.iter().position(|look| look.buffer == buffer);
        self.wait_failed(job.id, nth.unwrap_or(0), errno, now);
    }

    /// A lock has waited for an implicit fence in vain.
    pub(crate) fn wait_failed(&mut self, id: JobId, nth: usize, errno: Errno, now: Time) {
        if self.waits.by_job.remove(&id).is_some() {
            self.syncs.timed_out += u64::from(errno == Errno::ETIMEDOUT);
            let failure = Failure { succeeded: nth, reason: errno as i32 };
            self.engine.job_done(now, id, Err(failure), &mut self.effects);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const BUFFER: BufferId = BufferId(1);

    /// A wait for something that is never ready, as a worker has it.
    fn begin(state: &mut State, id: u64, fd: &Arc<OwnedFd>) -> SyncJob {
        let id = JobId(id);
        state.waits.by_job.insert(id, Wait { uid: 1, at: None });
        let until = crate::clock::now().after(std::time::Duration::from_secs(60));
        let looks = vec![Look { buffer: BUFFER, fd: Arc::clone(fd), wanted: PollFlags::POLLIN }];
        SyncJob { id, uid: 1, looks, operations: Vec::new(), until }
    }

    #[test]
    fn a_wait_that_comes_while_a_watch_is_taken_back_does_not_fail() {
        let arbiter = Arbiter::new(Config::default()).unwrap();
        let (read, _write) = nix::unistd::pipe().unwrap();
        let fd = Arc::new(read);
        // A worker has made a watch, and has not entered it yet.
        let order = arbiter.with(|state, _| {
            let job = begin(state, 1, &fd);
            arbiter.join_watch(state, job, 0)
        });
        let order = order.unwrap();
        let value = Waiting::Implicit { buffer: BUFFER, number: order.number };
        let made = arbiter.reactor.watch(order.fd.clone(), order.wanted, order.until, value);
        // Its lock is cancelled, and another one waits for the same buffer.
        arbiter.with(|state, _| arbiter.drop_wait(state, JobId(1)));
        let job = arbiter.with(|state, _| begin(state, 2, &fd));
        arbiter.wait_goes_on(job, 0);
        arbiter.with(|state, _| {
            assert!(state.waits.by_job.contains_key(&JobId(2)), "it has failed");
            assert!(state.waits.watches.is_empty());
        });
        assert_eq!(arbiter.queue.len(), 1, "it is looked at again");
        // The first worker takes its watch back; then there is room for the other's.
        arbiter.reactor.forget(made.unwrap());
        let again = arbiter.with(|state, _| {
            let job = begin(state, 2, &fd);
            arbiter.join_watch(state, job, 0)
        });
        arbiter.keep_watching(again.unwrap());
        arbiter.with(|state, _| {
            assert!(state.waits.watches[&BUFFER].wait.is_some());
            arbiter.drop_wait(state, JobId(2));
        });
        assert!(arbiter.reactor.is_empty());
    }
}

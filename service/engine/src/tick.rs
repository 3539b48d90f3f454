// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Deadlines of grants and release fences, and time-outs of locks.

use crate::index::LockIx;
use crate::lock::Lock;
use crate::release::End;
use crate::{Effect, Effects, Engine, EvictionCause, Time};

impl Engine {
    /// Ends every grant whose deadline has come, and every lock that has timed out.
    ///
    /// Everything that is due in one instant happens in this order, whichever lock came first: all
    /// deadlines of grants and release fences; the locks that can then go on; the time-outs of the locks
    /// that still wait. So a lock that gets its buffers in the moment of its time-out is granted.
    pub fn tick(&mut self, now: Time, fx: &mut Effects) {
        while let Some(time) = self.next_deadline().filter(|time| *time <= now) {
            self.deadlines_at(now, time, fx);
            self.settle(now, fx);
            self.time_outs_at(now, time, fx);
            self.settle(now, fx);
        }
    }

    /// When to call [`Engine::tick`]. It is never late. It may be early, and then the call finds nothing to
    /// do. In the time of one grant that happens at most as often as there were locks at the same time.
    pub fn next_deadline(&self) -> Option<Time> {
        let lock = self.lock_timers.first().map(|(time, _)| time);
        let fence = self.fence_timers.first().map(|(time, _)| time);
        lock.into_iter().chain(fence).min()
    }

    /// Ends all grants and fences whose deadline is at this instant. Puts the locks whose timer was early,
    /// or that have timed out, into `work.due`.
    fn deadlines_at(&mut self, now: Time, time: Time, fx: &mut Effects) {
        while let Some((_, at)) = self.fence_timers.first().filter(|(other, _)| *other == time) {
            fx.push(Effect::DropFence { fence: self.fences[at].id });
            self.end_fence(at, false, fx);
        }
        while let Some((_, at)) = self.lock_timers.first().filter(|(other, _)| *other == time) {
            // A timer that was early is set again in `time_outs_at`.
            self.lock_timers.set(at, None);
            // The lock that set it may be over.
            let Some(lock) = self.locks.get(at) else { continue };
            if lock.grant.is_some_and(|held| held.deadline == time) {
                self.evict(now, at, fx);
            }
            self.work.due.push(at);
        }
    }

    /// Ends all locks that time out at this instant, even if the end of one would let another go on.
    fn time_outs_at(&mut self, now: Time, time: Time, fx: &mut Effects) {
        while let Some(at) = self.work.due.pop() {
            let Some(lock) = self.locks.get(at) else { continue };
            let request = lock.request.as_ref();
            if request.is_some_and(|request| request.expires == Some(time)) {
                self.waited_enough(now, at, fx);
            }
            self.arm(at);
        }
    }

    /// Ends a grant at its deadline.
    pub(crate) fn evict(&mut self, now: Time, at: LockIx, fx: &mut Effects) {
        let Lock { group, token, grant, .. } = self.locks[at];
        if grant.is_some() {
            let cause = EvictionCause::Deadline;
            let by = self.waiter_of(at);
            fx.push(Effect::Evicted { group, token, cause, by });
            self.counters.evictions += 1;
            self.end_lock(now, at, End::Evicted, fx);
        }
    }

    /// Ends a pending lock at its time-out.
    pub(crate) fn waited_enough(&mut self, now: Time, at: LockIx, fx: &mut Effects) {
        let Lock { group, token, ref request, .. } = self.locks[at];
        if request.is_some() {
            let by = self.in_the_way(at);
            fx.push(Effect::TimedOut { group, token, by });
            self.counters.time_outs += 1;
            self.give_up(now, at, fx);
        }
    }

    /// Sets the timer of a lock, unless it runs and is early enough. A lock that is over leaves its timer to
    /// the next one in its place, so a client that locks and unlocks all the time moves no timer; the timer
    /// is set right when it fires.
    #[inline]
    pub(crate) fn arm(&mut self, at: LockIx) {
        let Some(due) = self.locks[at].due() else { return };
        if self.lock_timers.get(at).is_none_or(|armed| due < armed) {
            self.lock_timers.set(at, Some(due));
        }
    }
}

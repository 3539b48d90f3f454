// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Deadlines of grants and release fences, and time-outs of locks.

use crate::index::GroupIx;
use crate::release::End;
use crate::{Effect, Effects, Engine, EvictionCause, Time};

impl Engine {
    /// Ends every grant whose deadline has come, and every lock that has timed out.
    ///
    /// Everything that is due in one instant happens in this order, whichever group was opened first: all
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
    /// do. That happens at most once in the time of a grant for each group that has locked meanwhile.
    pub fn next_deadline(&self) -> Option<Time> {
        let group = self.group_timers.first().map(|(time, _)| time);
        let fence = self.fence_timers.first().map(|(time, _)| time);
        group.into_iter().chain(fence).min()
    }

    /// Ends all grants and fences whose deadline is at this instant. Puts the groups whose timer was early,
    /// or whose lock has timed out, into `work.due`.
    fn deadlines_at(&mut self, now: Time, time: Time, fx: &mut Effects) {
        while let Some((_, at)) = self.fence_timers.first().filter(|(other, _)| *other == time) {
            fx.push(Effect::DropFence { fence: self.fences[at].id });
            self.end_fence(at, false, fx);
        }
        while let Some((_, at)) = self.group_timers.first().filter(|(other, _)| *other == time) {
            // A timer that was early is set again in `time_outs_at`.
            self.group_timers.set(at, None);
            if self.groups[at].grant.is_some_and(|held| held.deadline == time) {
                self.evict(now, at, fx);
            }
            self.work.due.push(at);
        }
    }

    /// Ends all locks that time out at this instant, even if the end of one would let another go on.
    fn time_outs_at(&mut self, now: Time, time: Time, fx: &mut Effects) {
        while let Some(at) = self.work.due.pop() {
            let request = self.groups[at].request.as_ref();
            if request.is_some_and(|request| request.expires == Some(time)) {
                self.waited_enough(now, at, fx);
            }
            self.arm(at);
        }
    }

    /// Ends the grant of a group at its deadline.
    pub(crate) fn evict(&mut self, now: Time, at: GroupIx, fx: &mut Effects) {
        let group = &self.groups[at];
        if group.grant.is_some() {
            let cause = EvictionCause::Deadline;
            fx.push(Effect::Evicted { group: group.id, token: group.token, cause });
            self.counters.evictions += 1;
            self.end_grant(now, at, End::Evicted, fx);
        }
    }

    /// Ends a pending lock at its time-out.
    pub(crate) fn waited_enough(&mut self, now: Time, at: GroupIx, fx: &mut Effects) {
        let group = &self.groups[at];
        if group.request.is_some() {
            fx.push(Effect::TimedOut { group: group.id, token: group.token });
            self.counters.time_outs += 1;
            self.give_up(now, at, fx);
        }
    }
    /// Sets the timer of a group, unless it runs and is early enough. So a group that locks and unlocks all
    /// the time moves no timer; the timer is set right when it fires.
    #[inline]
    pub(crate) fn arm(&mut self, at: GroupIx) {
        let Some(due) = self.groups[at].due() else { return };
        if self.group_timers.get(at).is_none_or(|armed| due < armed) {
            self.group_timers.set(at, Some(due));
        }
    }
}

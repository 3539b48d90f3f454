// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The faults. Each breaks one rule of `docs/engine.md`, and compiles.
//!
//! Faults that could not be seeded, and why:
//! * START|WRITE in place of START|RW: `SyncFlags` has no such value. What it would do, nothing, is
//!   seeded instead; that it is not enough, `tests/coherence` shows (`the_model_can_tell`).
//! * An eviction that leaves the buffer clean: that a holder may have written is booked when it is
//!   granted, so nothing is left to be forgotten at the eviction; that it may go on writing is
//!   booked when it counts as gone, and those two faults are here.
//! * Waking in the order of arrival: who is granted depends on the place in the queue alone, and
//!   that is by ticket; the fault seeded is a queue in the order of arrival.

/// A fault: `from`, which the file has once, becomes `to`.
pub struct Mutant {
    /// What is broken, as a sentence about the engine.
    pub breaks: &'static str,
    pub file: &'static str,
    pub from: &'static str,
    pub to: &'static str,
}

const fn mutant(
    breaks: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
) -> Mutant {
    Mutant { breaks, file, from, to }
}

#[rustfmt::skip]
pub const MUTANTS: &[Mutant] = &[
    // Wound-wait and the ticket.
    mutant("an older waiter wounds nobody",
        "engine.rs", "self.wound_younger(at, fx);", ""),
    mutant("a group may wait while an older one wants what it holds",
        "engine.rs", "self.refuse_deadlock(at)?;", ""),
    mutant("a wound hits older groups too",
        "acquire.rs", "group.is_vulnerable() && group.ticket > ticket", "group.is_vulnerable() && group.ticket != ticket"),
    mutant("a wound hits groups that are not in the way",
        "acquire.rs", "conflicts && group.is_vulnerable()", "(conflicts || true) && group.is_vulnerable()"),
    mutant("a waiting reader is in a growing reader's way",
        "acquire.rs", "queue.bars(group.ticket, access.is_exclusive())", "queue.bars(group.ticket, access.is_exclusive() || true)"),
    mutant("a wounded group may grow at once",
        "engine.rs", "if held.wounded {", "if held.wounded && false {"),
    mutant("a retry gets a new ticket",
        "acquire.rs", "Some((ticket, until)) if now < until => ticket,", "Some((ticket, until)) if now < until && ticket.0 == 0 => ticket,"),
    mutant("a kept ticket never lapses",
        "acquire.rs", "Some((ticket, until)) if now < until => ticket,", "Some((ticket, _)) => ticket,"),
    mutant("a wounded group that unlocks loses its ticket",
        "engine.rs", "if wounded {\n            self.keep", "if wounded && false {\n            self.keep"),
    mutant("a group that unlocks keeps its ticket",
        "engine.rs", "if wounded {\n            self.keep", "if wounded || true {\n            self.keep"),
    mutant("a lock that is given up loses its ticket",
        "release.rs", "if self.groups[at].grant.is_none() {", "if self.groups[at].grant.is_none() && false {"),
    mutant("growth gets a new ticket",
        "acquire.rs", "if group.grant.is_some() {\n            return group.ticket;", "if group.grant.is_some() && false {\n            return group.ticket;"),
    mutant("growth gets a new token",
        "acquire.rs", "if group.grant.is_none() {", "if group.grant.is_none() || true {"),
    mutant("growth gets a new deadline",
        "sync.rs", "group.grant.get_or_insert(Held { deadline, wounded: false })", "group.grant.insert(Held { deadline, wounded: false })"),
    // Order.
    mutant("queues are in the order of arrival",
        "queue.rs", "Some(youngest) if youngest.ticket >= ticket => {", "Some(youngest) if youngest.ticket == ticket => {"),
    mutant("a lock that is free passes older waiters",
        "acquire.rs", "(slot.queue.is_empty() || !slot.queue.bars(ticket, exclusive))", "(slot.queue.is_empty() || !slot.queue.bars(ticket, exclusive) || true)"),
    mutant("readers pass a waiting writer",
        "queue.rs", "before + rest.take_while(", "before + rest.filter("),
    mutant("a reader behind a reader waits",
        "queue.rs", "before + rest.take_while(|waiter| !waiter.exclusive).count()", "before.max(1) + 0 * rest.count()"),
    mutant("an older latecomer does not bar the clear ones",
        "acquire.rs", "demoted.for_each(|nth| self.block(slot, nth));", "drop(demoted);"),
    mutant("a buffer that is taken stays clear for others",
        "acquire.rs", "barred.for_each(|nth| self.block(at, nth));", "drop(barred);"),
    mutant("an upgrade waits for its own hold",
        "holders.rs", "self.shared.len() == usize::from(upgrade)", "self.shared.is_empty()"),
    mutant("an upgrade does not wait for other readers",
        "holders.rs", "self.shared.len() == usize::from(upgrade)", "(upgrade || self.shared.is_empty())"),
    // Wake-ups and counts.
    mutant("the end of a grant wakes nobody",
        "release.rs", "            work.touch(entry.slot, slot);\n        }\n    }\n\n    /// Takes a pending", "        }\n    }\n\n    /// Takes a pending"),
    mutant("leaving a queue wakes nobody",
        "release.rs", "slot.queue.remove(group.ticket);\n                work.touch(entry.slot, slot);\n", "slot.queue.remove(group.ticket);\n"),
    mutant("giving buffers back wakes nobody",
        "release.rs", "entry.granted);\n                work.touch(entry.slot, slot);\n", "entry.granted);\n"),
    mutant("a lock that is given up keeps what it has taken",
        "release.rs", "                self.give_back(at);\n", ""),
    mutant("two time-outs in one instant count twice",
        "release.rs", "if group.grant.take().is_none() {", "if group.grant.is_none() {"),
    mutant("a reader that has ended holds on",
        "holders.rs", "            Some(false) => self.leave(place),", "            Some(false) => {}"),
    mutant("a group that stops growing counts as growing",
        "release.rs", "                slot.growing -= 1;\n", ""),
    mutant("a group that has grown counts as growing",
        "acquire.rs", "                slot.growing -= 1;\n", ""),
    // Time.
    mutant("a growing lock does not time out",
        "group.rs", "(Some(deadline), Some(expires)) => Some(deadline.min(expires)),", "(Some(deadline), Some(_)) => Some(deadline),"),
    mutant("a grant never ends",
        "sync.rs", "        self.arm(at);\n        Grant {", "        Grant {"),
    mutant("a timer that is late is not brought forward",
        "release.rs", "armed| due < armed)", "_| false)"),
    mutant("a group that is found early is not looked at again",
        "engine.rs", "self.group_timers.set(at, due);", "self.group_timers.set(at, None);"),
    mutant("a grant ends one moment late",
        "engine.rs", "let group = self.group_timers.first().filter(|(time, _)| *time <= now);", "let group = self.group_timers.first().filter(|(time, _)| *time < now);"),
    // Eviction.
    mutant("death while holding is told to nobody",
        "engine.rs", "self.counters.deaths += 1;\n                self.end_grant(at, End::Evicted);", "self.counters.deaths += 1;\n                self.end_grant(at, End::InOrder);"),
    mutant("the next holder is not told of an eviction",
        "sync.rs", "evicted: slot.is_tainted() }", "evicted: slot.is_tainted() && false }"),
    mutant("any end in order settles an eviction",
        "slot.rs", "self.evictions.settled = seen;", "self.evictions.settled = self.evictions.count;"),
    mutant("what an evicted CPU writer goes on to write is forgotten",
        "slot.rs", "self.coherence.may_have_written(Access::Write);", ""),
    mutant("what an evicted device goes on to write is forgotten",
        "slot.rs", "self.coherence.may_have_written(Access::DmaWrite);", ""),
    // Fences and operations.
    mutant("a failed fence counts as signalled",
        "release.rs", "            if ok {\n                slot.settle(seen);", "            if ok || true {\n                slot.settle(seen);"),
    mutant("a reader's fence gates nobody",
        "slot.rs", "*exclusive || access.is_exclusive()", "*exclusive && (access.is_exclusive() || true)"),
    mutant("a reader's fence gates readers",
        "slot.rs", "*exclusive || access.is_exclusive()", "*exclusive || access.is_exclusive() || true"),
    mutant("operations in flight gate nobody",
        "slot.rs", "self.job.is_some() || self.is_fenced(access)", "self.is_fenced(access)"),
    mutant("trylock waits for fences",
        "engine.rs", "!self.is_free(at, ticket) || self.is_gated(at)", "!self.is_free(at, ticket)"),
    mutant("an operation that failed is booked as done",
        "sync.rs", "|failure| failure.succeeded)", "|failure| failure.succeeded + 1)"),
    mutant("a buffer is forgotten without its END",
        "sync.rs", "if plan[0].is_some() {", "if plan[0].is_some() && false {"),
    // Coherence and generations.
    mutant("an upgrade has no generation",
        "sync.rs", "generation += u64::from(access.is_exclusive());", "generation += u64::from(access.is_exclusive() && entry.granted.is_none());"),
    mutant("device_dirty is forgotten after a DMA read",
        "coherence.rs", "Access::Read | Access::DmaRead => {}", "Access::Read => {}\n            Access::DmaRead => self.device_dirty = false,"),
    mutant("device_dirty is not set by a DMA write",
        "coherence.rs", "Access::DmaWrite => self.device_dirty = true,", "Access::DmaWrite => {}"),
    mutant("cpu_dirty is forgotten after a CPU read",
        "coherence.rs", "Access::Read | Access::DmaRead => {}", "Access::DmaRead => {}\n            Access::Read => self.cpu_dirty = false,"),
    mutant("START|WRITE before a CPU write, which invalidates nothing",
        "coherence.rs", "(Access::Write, _) => reopened(SyncFlags::ReadWrite),", "(Access::Write, _) => NOTHING,"),
    mutant("START|READ before a CPU write",
        "coherence.rs", "(Access::Write, _) => reopened(SyncFlags::ReadWrite),", "(Access::Write, _) => reopened(SyncFlags::Read),"),
    mutant("END does not say that the CPU wrote",
        "coherence.rs", "self.open = self.open.map(|_| SyncFlags::ReadWrite);", ""),
    mutant("START after START",
        "coherence.rs", "Some(old) => [Some((End, old)), Some((Start, flags))],", "Some(_) => [Some((Start, flags)), None],"),
    mutant("a CPU reader sees what an evicted CPU writer left in the cache",
        "coherence.rs", "(Access::Read, None) if self.cpu_dirty => reopened(SyncFlags::Read),\n", ""),
    mutant("a buffer with dirty lines is forgotten",
        "coherence.rs", "            None if self.cpu_dirty => CLEANED,\n", ""),
    mutant("a failed operation is believed",
        "coherence.rs", "    pub fn failed(&mut self) {\n        self.device_dirty = true;", "    pub fn failed(&mut self) {"),
    mutant("an operation is issued for nothing",
        "coherence.rs", "(Access::Read, _) => NOTHING,", "(Access::Read, _) => reopened(SyncFlags::Read),"),
];

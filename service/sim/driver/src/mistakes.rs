// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Mistakes of the service, not of the engine: each is a piece of source that something else takes the place of. Each
//! compiles, and each is the kind of mistake that a change could make.

/// A mistake: `from`, which the file has once, becomes `to`.
pub struct Mistake {
    /// A sentence about the service that says what is wrong.
    pub breaks: &'static str,
    /// In `service/src`.
    pub file: &'static str,
    pub from: &'static str,
    pub to: &'static str,
}

const fn mistake(
    breaks: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
) -> Mistake {
    Mistake { breaks, file, from, to }
}

#[rustfmt::skip]
pub const MISTAKES: &[Mistake] = &[
    // Calls.
    mistake("unlock leaves the lock in the group",
        "calls.rs", "            state.end_lock(id, token);\n            Ok(())", "            Ok(())"),
    mistake("cancel leaves the lock in the group",
        "calls.rs", "            state.sessions.give_up(id, token);\n            Ok(())", "            Ok(())"),
    mistake("a fence that is no sync_file is taken",
        "fences/release.rs", "if let Some(nth) = given.iter().position(|given| !sync_file::is_sync_file(given.fd)) {", "if let Some(nth) = given.iter().position(|_| false) {"),
    mistake("a fence that failed before the unlock counts as signalled",
        "fences/release.rs", "let failed = have_failed(given)?;", "let failed = false;"),
    mistake("a permit to wait for a driver is never given back",
        "permits.rs", "            inside.swap_remove(nth);", "            let _ = nth;"),
    mistake("everybody may know every group's name",
        "sessions.rs", "group.uid == uid || SYSTEM_UIDS", "true || SYSTEM_UIDS"),
    mistake("the lock that ends first counts beside the lock that follows it",
        "sessions.rs", "for other in group.others(but) {", "for other in group.others(None) {"),
    // Quotas.
    mistake("a lock that is granted counts as waiting for ever",
        "sessions.rs", "            self.quotas.give_back(group.uid, Kind::Queued, 1);", "            let _ = &self.quotas;"),
    mistake("a buffer that is added twice counts twice",
        "state.rs", "            if !has {\n                self.sessions", "            if true || has {\n                self.sessions"),
    mistake("a uid that has more than its share can't wait",
        "quota.rs", "        if amount == 0 {", "        if amount == 0 && kind == Kind::Bytes {"),
    mistake("the unread events of a uid's other groups do not count",
        "sessions.rs", "        self.check_unread(uid)\n", "        let _ = (uid, Self::check_unread);\n        Ok(())\n"),
    mistake("a job of a group that has ended belongs to nobody",
        "state.rs", "of_buffer().map(|buffer| buffer.uid)", "of_buffer().map(|_| NOBODY)"),
    // Tables.
    mistake("a buffer that is forgotten keeps its identity",
        "registry.rs", "            self.by_identity.remove(&identity);\n", "            let _ = identity;\n"),
    mistake("a remembered buffer keeps its descriptor",
        "registry.rs", "        if let Some(identity) = self.close(id) {\n            self.remembered", "        if let Some(identity) = self.buffers.get(&id).map(|buffer| buffer.identity) {\n            self.remembered"),
    mistake("old looks at implicit fences outlive a buffer that was removed",
        "state.rs", "        self.polled.remove(id);\n        for buffer in buffers {", "        for buffer in buffers {"),
    mistake("the number of an evicted lock is not kept",
        "sessions.rs", "        group.evicted.add(token);\n", ""),
    mistake("a grant by event is not noted in the group",
        "state.rs", "        self.begin_hold(id, token, buffers);\n        let Some(implicit)", "        let Some(implicit)"),
    mistake("old buffers are trusted after a restart",
        "state.rs", "now < self.until\n", "now > self.until\n"),
    // Effects and records.
    mistake("a fence that nobody needs stays in the reactor",
        "arbiter.rs", "                state.releases.drop_one(&self.reactor, fence);\n", "                let _ = fence;\n"),
    mistake("a release fence that fails counts as signalled",
        "arbiter.rs", "let ok = sync_file::status(fence.as_fd()) == Status::Signalled;", "let ok = sync_file::status(fence.as_fd()) != Status::Pending;"),
    mistake("the reactor is not told the next deadline",
        "arbiter.rs", "            self.reactor.wake_at(deadline);", "            let _ = deadline;"),
    mistake("the grants of an exchange come after its new lock",
        "calls.rs", "            self.carry_out(state, now);\n", ""),
    mistake("a client whose channel is lost goes on",
        "state.rs", "        self.close(id, Close::Died, now);\n    }\n\n    /// The implicit fences that", "        let _ = now;\n    }\n\n    /// The implicit fences that"),
    mistake("an event says nothing of torn content",
        "outbox.rs", "| flag(granted.torn, event::FLAG_TORN)", "| flag(false && granted.torn, event::FLAG_TORN)"),
    mistake("a channel has room for what is unread, and not for what may come",
        "events.rs", "self.unread + locks + fences * RECORD <= ROOM", "self.unread + (locks + fences) / ROOM <= ROOM"),
    mistake("an unread grant is taken away though nobody waits",
        "state.rs", "is_late && self.engine.is_waited_for(id, token)", "is_late"),
    // Threads.
    mistake("the reactor forgets that its timer is not armed any more",
        "reactor.rs", "            self.armed.store(UNARMED, Ordering::Release);\n", ""),
    mistake("a worker that is done counts as busy",
        "jobs.rs", "            of_uid.running -= 1;\n", ""),
    mistake("a worker does not look again after an interruption",
        "jobs.rs", "if kind == SyncKind::Start && look(&looks, sight)?.is_some() {", "if false && kind == SyncKind::Start && look(&looks, sight)?.is_some() {"),
    mistake("START and END have the flags of a reader",
        "jobs.rs", "    Usage::new(flags == SyncFlags::ReadWrite)", "    Usage::new(flags == SyncFlags::ReadWrite && false)"),
    mistake("a failed operation counts as done",
        "jobs.rs", "            Err(errno) => return Outcome::Failed(job.id, succeeded, errno),\n", "            Err(_) => {}\n"),
    mistake("a writer does not look at readers' implicit fences",
        "state.rs", "Usage::new(access.is_exclusive())))", "Usage::new(false && access.is_exclusive())))"),
    mistake("locks at a signalled implicit fence are not looked at again",
        "fences/implicit.rs", "                wait.at = None;\n                queue.push(Job::Wait(job));", "                wait.at = None;\n                let _ = (queue, job);"),
    mistake("the acquire fence has only the first of several fences",
        "fences/acquire.rs", "    for fence in explicit {", "    for fence in explicit.iter().take(1) {"),
    mistake("descriptors are closed where they are dropped",
        "closer.rs", "            self.closer.push(fd);", "            drop(fd);"),
    mistake("a look that is not needed is closed under the mutex",
        "fences/implicit.rs", "        let fences = found.fences.map(|fences| Arc::new(Descriptor::new(fences, closer)));\n        if !self.by_job", "        let fences = found.fences.filter(|_| self.by_job.contains_key(&job.id)).map(|fences| Arc::new(Descriptor::new(fences, closer)));\n        if !self.by_job"),
];

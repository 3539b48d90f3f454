// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Records in the books: each must be called for by what was told before.

use buffersync_aidl::event::{self, Buffer, Record, RECORD_BYTES};
use buffersync_kernel::sync_file::Status;
use buffersync_kernel::world::{self, Event, FileId};

use crate::books::{conflicts, At, Books, Checked};

impl Books {
    /// Notes what the service has done, in order. `in_reactor`: the reactor's thread did it.
    pub fn follow(&mut self, in_reactor: bool) -> Checked {
        self.note_files();
        let (events, now) = world::with(|world| (std::mem::take(&mut world.events), world.now));
        self.now = now;
        let mut time = false;
        // The reactor takes a fence from the poller also before it asks for its status.
        let asked = |file: &FileId| {
            events.iter().any(|event| matches!(event, Event::Status(of, _) if of == file))
        };
        let dropped: Vec<FileId> = events
            .iter()
            .filter_map(|event| match event {
                Event::Unwatched(file) if in_reactor && !asked(file) => Some(*file),
                _ => None,
            })
            .collect();
        for event in events {
            match event {
                Event::Sent(channel, message) => {
                    let at = self.by_channel(channel).ok_or("a record to a channel of nobody")?;
                    self.message(at, &message)?;
                    self.groups[at].sent += 1;
                }
                Event::Lost(channel, message) => {
                    let at = self.by_channel(channel).ok_or("a record to a channel of nobody")?;
                    if self.groups[at].end.is_some() && !self.faulty {
                        return Err("a channel is lost, and its client has it".into());
                    }
                    // It was decided all the same: a grant that nobody was told has ended with its client.
                    // Others may have been decided before the group is closed.
                    self.message(at, &message)?;
                    if self.verbose {
                        println!("{:>14} that was not sent, so the group dies", "");
                    }
                    self.dying.push(at);
                    self.died = true;
                }
                Event::Status(file, status) if in_reactor => {
                    self.fence_seen(file, status == Status::Signalled);
                }
                Event::Timer => time = true,
                Event::Unwatched(file) if time && dropped.contains(&file) => {
                    self.fence_dropped(file)
                }
                Event::Synced(file, site, ok) => {
                    if self.verbose {
                        println!("{:>12}   {site:?} of file {file}: {ok}", now / 1000);
                    }
                    if let Some(content) = self.memory.get(file) {
                        content.failed = !ok;
                    }
                }
                Event::Status(..) | Event::Failed(..) | Event::Merged(..) | Event::Unwatched(_) => {
                }
            }
        }
        self.bury();
        self.died = false;
        if time {
            self.time_is_up()?;
        }
        if let Some(at) = self.groups.iter().position(|group| group.open && !group.due.is_empty()) {
            return Err(format!("no record says that a fence of group {at} has failed"));
        }
        Ok(())
    }

    /// Groups whose channels are lost are closed.
    fn bury(&mut self) {
        for at in std::mem::take(&mut self.dying) {
            // Its waits may have ended in grants that nobody was told.
            let waits = self.groups[at].locks.iter().filter(|lock| lock.waits.is_some());
            let wants: Vec<_> = waits.flat_map(|lock| lock.wants.clone()).collect();
            for (buffer, access) in wants {
                if let Some(buffer) = self.buffers.get_mut(&buffer) {
                    buffer.untold.push(access);
                }
            }
            let locks = self.groups[at].locks.iter().flat_map(|lock| &lock.wants);
            for (buffer, _) in locks {
                if let Some(buffer) = self.buffers.get_mut(buffer) {
                    buffer.marks.doubtful = true;
                }
            }
            self.close(at, true);
        }
    }

    /// True if a grant was decided after the end of a dying group.
    fn follows_a_death(&self, at: At, token: u64, told: &[Buffer]) -> bool {
        let wants = self.groups[at].lock(token).map(|lock| &lock.wants[..]).unwrap_or_default();
        let dead = self.dying.iter().flat_map(|at| &self.groups[*at].locks);
        let mut theirs = dead.flat_map(|lock| lock.wants.iter().map(move |want| (lock, want)));
        theirs.any(|(lock, (buffer, has))| {
            let Some((_, access)) = wants.iter().find(|(other, _)| other == buffer) else {
                return false;
            };
            let Some(told) = told.iter().find(|told| told.id as u64 == buffer.0) else {
                return false;
            };
            let Some(known) = self.buffers.get(buffer) else { return false };
            let flag = |flag: i32| told.flags & flag != 0;
            let marks = (flag(event::FLAG_EVICTED), flag(event::FLAG_TORN));
            let generation = known.generation + u64::from(access.is_exclusive());
            conflicts(*has, *access) && lock.held.is_some()
                || marks != (known.marks.evicted(), known.marks.torn())
                || !known.fresh && told.generation > generation as i64
        })
    }

    /// Notes the files that the service has made, before what follows from them.
    pub fn note_files(&mut self) {
        world::with(|world| {
            for event in &world.events {
                match event {
                    Event::Merged(from, to) => drop(self.merged.insert(*from, *to)),
                    Event::Failed(file, failed) => drop(self.failed.insert(*file, *failed)),
                    _ => {}
                }
            }
        });
    }

    fn by_channel(&self, channel: FileId) -> Option<At> {
        self.groups.iter().rposition(|group| group.channel == channel)
    }

    /// A message: one record, or a grant with its buffers.
    fn message(&mut self, at: At, message: &[u8]) -> Checked {
        let (chunks, rest) = message.as_chunks::<RECORD_BYTES>();
        let records: Vec<Record> = chunks.iter().map(Record::from_bytes).collect();
        let Some((head, more)) = records.split_first() else {
            return Err("an empty message".into());
        };
        let counted = if head.kind == event::GRANTED { head.value1 as usize } else { 0 };
        let are_its = |more: &Record| more.kind == event::BUFFER && more.token == head.token;
        if !rest.is_empty() || counted != more.len() || !more.iter().all(are_its) {
            return Err(format!(
                "a message is not one record with those that belong to it: {records:?}"
            ));
        }
        let now = self.now;
        if !self.groups[at].open || self.dying.contains(&at) {
            return Err(format!("a record after the end of group {at}: {head:?}"));
        }
        let buffer = |record: &Record| Buffer {
            id: record.value0,
            generation: record.value1,
            flags: record.flags,
        };
        let buffers: Vec<Buffer> = more.iter().map(buffer).collect();
        if self.verbose {
            println!("{:>12}   group {at} is told {head:?} {buffers:?}", now / 1000);
        }
        self.record(at, head, &buffers)
            .map_err(|why| format!("{why}; group {at} was told {head:?} {buffers:?}"))
    }

    pub fn record(&mut self, at: At, head: &Record, buffers: &[Buffer]) -> Checked {
        let token = head.token as u64;
        let now = self.now;
        let is_fence = head.kind == event::EVICTED && head.flags & event::FLAG_FENCE != 0;
        if is_fence {
            return self.fence_failed(at, token);
        }
        let Some(lock) = self.groups[at].lock(token) else {
            if token > self.groups[at].last && head.kind == event::CONTENDED {
                self.early.push((at, *head));
                return Ok(());
            }
            return Err("a record of a lock that does not live".into());
        };
        match head.kind {
            event::GRANTED => {
                if self.follows_a_death(at, token, buffers) {
                    self.bury();
                }
                self.granted(at, token, head.value0 as u64, buffers, true)
            }
            event::EVICTED => {
                let held = lock.held.as_ref().ok_or("EVICTED of a lock that is not granted")?;
                let (deadline, message) = (held.deadline, held.told);
                let is_due = deadline > 0 && deadline <= now;
                let unread = message.is_some_and(|(told, message)| {
                    told + self.read_within <= now && self.groups[at].read <= message
                });
                if !(is_due || unread && self.is_waited_for(at, token)) {
                    return Err(format!("EVICTED at {now}, and the deadline is {deadline}"));
                }
                self.check_other(at, token, head)?;
                self.evict(at, token);
                self.note_evicted(at, token);
                Ok(())
            }
            event::TIMED_OUT => {
                let expires = lock.waits.ok_or("TIMED_OUT of a lock that does not wait")?.expires;
                expires.filter(|at| *at <= now).ok_or("TIMED_OUT before its time")?;
                self.give_up(at, token);
                Ok(())
            }
            event::WOUNDED if !lock.grows() => Err("WOUNDED, and it does not grow".into()),
            event::LOCK_FAILED if lock.waits.is_none() => {
                Err("LOCK_FAILED, and it does not wait".into())
            }
            event::LOCK_FAILED if head.flags & event::FLAG_FENCE == 0 && !self.faulty => {
                Err("LOCK_FAILED, and no operation has failed".into())
            }
            event::LOCK_FAILED
                if !lock.wants.iter().any(|(buffer, _)| buffer.0 as i64 == head.value0) =>
            {
                Err("LOCK_FAILED on a buffer that it did not ask for".into())
            }
            event::WOUNDED | event::LOCK_FAILED => {
                self.give_up(at, token);
                Ok(())
            }
            event::CONTENDED => self.contended(at, token, head.value0 as u64),
            _ => Err("a record of an unknown type".into()),
        }
    }

    fn contended(&mut self, at: At, token: u64, deadline: u64) -> Checked {
        let (waited_for, died) = (self.is_waited_for(at, token), self.died);
        let (now, hold) = (self.now, self.groups[at].hold);
        let Some(lock) = self.lock_mut(at, token) else { return Ok(()) };
        let grows = lock.waits.is_some();
        let held = lock.held.as_mut().ok_or("CONTENDED of a lock that is not granted")?;
        if std::mem::replace(&mut held.contended, true) {
            return Err("CONTENDED twice".into());
        }
        // Who waited may have died in the same moment, without a record.
        if !waited_for && !grows && !died {
            return Err("CONTENDED, and nobody waits".into());
        }
        let expected = if held.deadline == 0 { now + hold } else { held.deadline };
        if deadline != expected {
            return Err(format!("CONTENDED says {deadline}, and the deadline is {expected}"));
        }
        held.deadline = deadline;
        Ok(())
    }

    /// The lock that was waiting for a grant that is taken away.
    fn check_other(&self, at: At, token: u64, head: &Record) -> Checked {
        if head.value0 == 0 {
            return Ok(());
        }
        let serial = head.value0 as u64;
        let other = self.groups.iter().find(|group| group.id.serial() == serial);
        if other.is_some_and(|group| !group.open) {
            // Its channel was lost by a record of the same moment.
            return Ok(());
        }
        let lock = other.and_then(|group| group.lock(head.value1 as u64));
        let lock =
            lock.filter(|lock| lock.waits.is_some()).ok_or("it names a lock that does not wait")?;
        let held = self.groups[at].lock(token).and_then(|lock| lock.held.as_ref());
        let conflict = held.is_some_and(|held| {
            held.parts.iter().any(|part| {
                lock.wants.iter().any(|(buffer, access)| {
                    *buffer == part.buffer && conflicts(*access, part.access)
                })
            })
        });
        conflict.then_some(()).ok_or_else(|| "it names a lock that waits for something else".into())
    }

    /// Records of a new lock that came before its reply was noted.
    pub fn follow_early(&mut self) -> Checked {
        for (at, head) in std::mem::take(&mut self.early) {
            self.record(at, &head, &[])?;
        }
        Ok(())
    }

    /// After a turn of the reactor nothing is overdue.
    pub fn check_times(&self) -> Checked {
        for (at, group) in self.groups.iter().enumerate().filter(|(_, group)| group.open) {
            for lock in &group.locks {
                let expires = lock.waits.and_then(|waits| waits.expires);
                if expires.is_some_and(|at| at <= self.now) {
                    return Err(format!(
                        "lock {} of group {at} waits longer than it may",
                        lock.token
                    ));
                }
                let deadline = lock.held.as_ref().map_or(0, |held| held.deadline);
                if deadline > 0 && deadline <= self.now {
                    return Err(format!(
                        "lock {} of group {at} is held longer than it may",
                        lock.token
                    ));
                }
            }
        }
        if self.fences.is_overdue(self.now) {
            return Err("a release fence is overdue".into());
        }
        Ok(())
    }
}

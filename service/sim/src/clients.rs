// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Clients do more than calls: they read events, use what they were granted, go on after an eviction, and leave.

use buffersync_aidl::event::{FLAG_EVICTED, FLAG_TORN};
use buffersync_engine::{Access, BufferId};
use buffersync_kernel::sync_file::Status;
use buffersync_kernel::world::{self, FileId};
use buffersync_service::calls::Living;

use crate::arguments::told;
use crate::books::{At, Buffer, Checked};
use crate::marks::Marks;
use crate::note;
use crate::refusals::Most;
use crate::simulation::{Inner, Simulation};

impl Inner {
    /// The number of a new lock: greater than all before, or sometimes nonsense.
    pub fn new_number(&mut self, at: At, nonsense: u32) -> u64 {
        let last = self.books.groups[at].last;
        if self.random.one_in(2 * nonsense) {
            return self.random.number() % (last + 2);
        }
        last + 1 + u64::from(self.random.one_in(8)) * 3
    }

    /// The buffers of a grant.
    pub fn held(&self, at: At, token: u64) -> Vec<BufferId> {
        let held = self.books.groups[at].lock(token).and_then(|lock| lock.held.as_ref());
        held.map(|held| held.parts.iter().map(|part| part.buffer).collect()).unwrap_or_default()
    }

    /// Notes the buffers that a group has added.
    pub fn added(
        &mut self,
        at: At,
        found: &[FileId],
        ids: &[BufferId],
        access: Access,
        plain: bool,
    ) -> Checked {
        self.books.now = world::with(|world| world.now);
        if !self.books.groups[at].open {
            return Err("a closed group has added buffers".into());
        }
        if ids.len() != found.len() {
            return Err(format!("add() returns {} ids for {} buffers", ids.len(), found.len()));
        }
        found
            .iter()
            .zip(ids)
            .try_for_each(|(file, id)| self.added_one(at, *file, *id, access, plain))
    }

    fn added_one(
        &mut self,
        at: At,
        file: FileId,
        id: BufferId,
        access: Access,
        plain: bool,
    ) -> Checked {
        let created_ns = world::with(|world| match world.files[file].kind {
            world::Kind::DmaBuf(ref dma_buf) => dma_buf.created_ns,
            world::Kind::Memfd { created_ns, .. } => created_ns,
            _ => 0,
        });
        let known = self.books.by_file.get(&file).copied();
        if known != Some(id) {
            self.new_buffer(file, id, known, plain, created_ns)?;
        }
        let books = &mut self.books;
        let group = &mut books.groups[at];
        match group.members.iter_mut().find(|(member, _)| *member == id) {
            Some((_, has)) => {
                let joined = has.stronger(access);
                *has = joined.ok_or("a buffer is added for CPU and device at once")?;
            }
            None => {
                group.members.push((id, access));
                if let Some(buffer) = books.buffers.get_mut(&id) {
                    buffer.members += 1;
                }
            }
        }
        Ok(())
    }

    /// A buffer has a new id.
    fn new_buffer(
        &mut self,
        file: FileId,
        id: BufferId,
        known: Option<BufferId>,
        plain: bool,
        created_ns: u64,
    ) -> Checked {
        let mut known_before = false;
        let mut generation = self.names_from;
        if let Some(before) = known.and_then(|known| self.books.buffers.get(&known)) {
            generation = generation.max(before.generation);
            known_before = !(before.marks.evicted() || before.marks.torn());
            let marked = before.marks.evicted() || before.marks.torn();
            if before.members > 0 || self.books.fences.concerns(known.unwrap_or(id)) {
                return Err(format!(
                    "a buffer has id {} in one group and {} in another",
                    known.map_or(0, |known| known.0),
                    id.0
                ));
            }
            let forgets = self.max_remembered <= 1;
            if marked && !forgets {
                return Err(format!("the marks of {known:?} are forgotten"));
            }
            // Too few are remembered, and nobody knows what was left in the cache.
            if let Some(content) = self.books.memory.get(file) {
                if marked || forgets && content.failed {
                    content.forget(file);
                }
            }
        }
        if id.0 <= self.names_from || self.books.buffers.contains_key(&id) {
            return Err(format!("id {} is not new", id.0));
        }
        if let Some(known) = known {
            self.books.buffers.remove(&known);
        }
        let mut marks = Marks::default();
        // A buffer that was known was let go without marks. If it was remembered for its cache, and forgotten, nobody
        // knows that any more.
        let settled = known_before && self.max_remembered > 1;
        if self.books.now < self.young_until && created_ns <= self.began_ns && !settled {
            marks.evict(Access::Write);
            if !plain {
                marks.evict(Access::DmaWrite);
            }
            marks.doubtful = known.is_some();
        }
        self.books.by_file.insert(file, id);
        self.books.buffers.insert(
            id,
            Buffer { file, plain, generation, fresh: true, marks, members: 0, untold: Vec::new() },
        );
        Ok(())
    }

    /// Nothing is under way, so the service has descriptors of those buffers only that groups have, or fences.
    pub fn check_descriptors(&self) -> Checked {
        let open: Vec<FileId> = world::with(|world| {
            let own =
                world.descriptors.iter().filter(|open| open.open && open.process == world.service);
            own.map(|open| open.file).collect()
        });
        let needless = open.into_iter().find(|file| {
            let id = self.books.by_file.get(file);
            let buffer = id.and_then(|id| Some((id, self.books.buffers.get(id)?)));
            buffer
                .is_some_and(|(id, buffer)| buffer.members == 0 && !self.books.fences.concerns(*id))
        });
        match needless {
            Some(file) => Err(format!("the service has file {file} open, which no group has")),
            None => Ok(()),
        }
    }

    /// No more than the limits allow.
    pub fn check_counts(&self, at: At, most: &Most) -> Checked {
        let group = &self.books.groups[at];
        let waiting = self
            .books
            .of_uid(group.uid)
            .flat_map(|group| &group.locks)
            .filter(|lock| lock.waits.is_some());
        let buffers: usize = self.books.of_uid(group.uid).map(|group| group.members.len()).sum();
        let counts = [
            ("locks", group.locks.len(), most.locks),
            ("waiting locks", waiting.count(), most.queued),
            ("buffers", group.members.len(), most.buffers),
            ("buffers of a uid", buffers, most.buffers_of_uid),
        ];
        match counts.iter().find(|(_, count, most)| count > most) {
            Some((what, count, most)) => Err(format!("{count} {what}, and {most} are allowed")),
            None => Ok(()),
        }
    }

    /// Compares what getLocks() says with what was told.
    pub fn check_locks(&mut self, at: At, living: &[Living]) -> Checked {
        let books = &mut self.books;
        let tokens: Vec<u64> = living.iter().map(|living| living.token.0).collect();
        let known: Vec<u64> = books.groups[at].locks.iter().map(|lock| lock.token).collect();
        if tokens != known {
            return Err(format!(
                "getLocks() of group {at} says {tokens:?}, and was told {known:?}"
            ));
        }
        for Living { token, waiting, grant } in living {
            let Some(lock) = books.groups[at].lock(token.0) else { continue };
            if *waiting != lock.waits.is_some() || grant.is_empty() != lock.held.is_none() {
                return Err(format!(
                    "getLocks() says of lock {} of group {at}: waiting {waiting}, {grant:?}",
                    token.0
                ));
            }
            let Some(held) = &lock.held else { continue };
            let (deadline, buffers) = told(grant)?;
            if deadline != held.deadline || buffers.len() != held.parts.len() {
                return Err(format!(
                    "getLocks() says of lock {} of group {at}: {grant:?}",
                    token.0
                ));
            }
            for told in buffers {
                let id = BufferId(told.id as u64);
                let has = held.parts.iter().any(|part| part.buffer == id);
                let buffer = books
                    .buffers
                    .get(&id)
                    .filter(|_| has)
                    .ok_or("getLocks() names another buffer")?;
                let marks = (told.flags & FLAG_EVICTED != 0, told.flags & FLAG_TORN != 0);
                let sure = buffer.untold.is_empty() && !buffer.marks.doubtful;
                if sure && marks != (buffer.marks.evicted(), buffer.marks.torn())
                    || !buffer.fresh && told.generation != buffer.generation as i64
                {
                    return Err(format!("getLocks() says of buffer {}: {told:?}", told.id));
                }
            }
        }
        Ok(())
    }
}

impl Simulation {
    /// Some client reads a few of its events.
    pub fn read_some(&self) {
        let mut inner = self.inner();
        if !inner.random.one_in(self.plan.lazy) {
            let groups = inner.open_groups();
            let Some(at) = inner.random.of(&groups).copied() else { return };
            let most = 1 + inner.random.below(6);
            inner.read(at, most);
        }
    }

    pub fn read_all(&self) {
        let mut inner = self.inner();
        inner.open_groups().into_iter().for_each(|at| inner.read(at, usize::MAX));
    }

    /// Some holder uses a buffer of its grant.
    pub fn use_some(&self) -> Checked {
        let mut inner = self.inner();
        let open = inner.books.groups.iter().enumerate().filter(|(_, group)| group.open);
        let grants = open.flat_map(|(at, group)| {
            group
                .locks
                .iter()
                .filter_map(move |lock| Some((at, lock.token, lock.held.as_ref()?.parts.len())))
        });
        let grants: Vec<(At, u64, usize)> = grants.collect();
        let Some((at, token, parts)) = inner.random.of(&grants).copied() else { return Ok(()) };
        let nth = inner.random.below(parts);
        let held = inner.books.groups[at].lock(token).and_then(|lock| lock.held.as_ref());
        let Some(part) = held.and_then(|held| held.parts.get(nth)) else { return Ok(()) };
        let (id, file, access, told) = (part.buffer, part.file, part.access, part.told);
        let may_begin = part.waits.as_ref().is_some_and(|waits| {
            world::with(|world| waits.iter().all(|fence| !world.is_pending(*fence)))
        });
        if !may_begin {
            return Ok(());
        }
        let files = inner.books.fences.files(id, access);
        if files
            .into_iter()
            .any(|file| world::with(|world| world.status_of(file) == Status::Pending))
        {
            return Err(format!(
                "group {at} may use buffer {} by lock {token}, and a release fence is pending",
                id.0
            ));
        }
        drop(inner);
        note!(self, "group {at} uses buffer {} for {access:?}", id.0);
        let done = self.inner().books.memory.access(file, access, told);
        done.map_err(|why| format!("buffer {}, lock {token} of group {at}: {why}", id.0))
    }

    /// An evicted holder writes.
    pub fn trespass(&self) {
        let mut inner = self.inner();
        let files: Vec<FileId> = inner.books.memory.files().collect();
        let Some(file) = inner.random.of(&files).copied() else { return };
        let Some(content) = inner.books.memory.get(file) else { return };
        if let Some((access, _)) = content.trespassers.first().copied() {
            inner.books.memory.trespass(file, access);
        }
    }

    /// A device uses a buffer that no group has.
    pub fn use_unseen(&self) -> Checked {
        let mut inner = self.inner();
        let count = inner.made.len();
        if count == 0 {
            return Ok(());
        }
        let nth = inner.random.below(count);
        let file = inner.made[nth].file;
        let id = inner.books.by_file.get(&file).copied();
        let buffer = id.and_then(|id| inner.books.buffers.get(&id));
        let concerns = id.is_some_and(|id| inner.books.fences.concerns(id));
        let has = world::with(|world| {
            world
                .descriptors
                .iter()
                .any(|open| open.open && open.file == file && open.process == world.service)
        });
        if has || concerns || buffer.is_some_and(|buffer| buffer.members > 0) {
            return Ok(());
        }
        inner.books.memory.use_unseen(file).map_err(|why| format!("file {file}: {why}"))
    }

    /// All grants end, and what waits is left to be granted.
    pub fn unlock_all(&self) -> Checked {
        loop {
            let held = {
                let inner = self.inner();
                let open = inner.books.groups.iter().enumerate().filter(|(_, group)| group.open);
                let mut locks =
                    open.flat_map(|(at, group)| group.locks.iter().map(move |lock| (at, lock)));
                locks
                    .find(|(_, lock)| lock.held.is_some() && lock.waits.is_none())
                    .map(|(at, lock)| (at, lock.token))
            };
            let Some((at, token)) = held else { return Ok(()) };
            self.unlock_one(at, token)?;
        }
    }

    /// All groups leave.
    pub fn close_all(&self) -> Checked {
        loop {
            let (at, died) = {
                let mut inner = self.inner();
                let groups = inner.open_groups();
                let Some(at) = groups.first().copied() else { return Ok(()) };
                (at, inner.random.one_in(2))
            };
            self.close_group(at, died)?;
        }
    }
}

impl Inner {
    fn read(&mut self, at: At, most: usize) {
        let group = &mut self.books.groups[at];
        let Some(end) = &group.end else { return };
        for _ in 0..most {
            if world::with(|world| world.receive(end)).is_none() {
                return;
            }
            group.read += 1;
        }
    }
}

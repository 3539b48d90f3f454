// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Release fences in the books: what still belongs to a holder that has unlocked.

use buffersync_engine::{Access, BufferId};
use buffersync_kernel::world::FileId;

use crate::books::{At, Books, Checked, Part};

/// An access that ends when its fences have signalled.
#[derive(Debug)]
struct Ending {
    buffer: BufferId,
    access: Access,
    seen: u64,
    fences: Vec<u64>,
    failed: bool,
}

/// A fence that the service watches.
#[derive(Debug)]
struct Fence {
    number: u64,
    /// The service's own sync_file.
    file: FileId,
    group: At,
    token: u64,
    deadline: u64,
}

#[derive(Debug, Default)]
pub struct Fences {
    endings: Vec<Ending>,
    watched: Vec<Fence>,
    last: u64,
}

/// A fence of an unlock: the buffer that it is for, the service's file if it is watched, and whether it has failed.
#[derive(Clone, Copy, Debug)]
pub struct Given {
    pub buffer: Option<BufferId>,
    pub file: Option<FileId>,
    pub failed: bool,
}

impl Fences {
    /// `Some` if a fence is pending that concerns an access: true if all such fences are devices'.
    pub fn pending(&self, id: BufferId, access: Access) -> Option<bool> {
        let mut concern = self.endings.iter().filter(|ending| {
            ending.buffer == id && (ending.access.is_exclusive() || access.is_exclusive())
        });
        concern.clone().next()?;
        Some(concern.all(|ending| ending.access.is_dma()))
    }

    /// The service's files that an access has to wait for.
    pub fn files(&self, id: BufferId, access: Access) -> Vec<FileId> {
        let concern = self.endings.iter().filter(|ending| {
            ending.buffer == id && (ending.access.is_exclusive() || access.is_exclusive())
        });
        let numbers: Vec<u64> = concern.flat_map(|ending| ending.fences.iter().copied()).collect();
        let watched = self.watched.iter().filter(|fence| numbers.contains(&fence.number));
        watched.map(|fence| fence.file).collect()
    }

    /// True if a fence is pending on a buffer.
    pub fn concerns(&self, id: BufferId) -> bool {
        self.endings.iter().any(|ending| ending.buffer == id)
    }

    /// True if an access of a buffer has not ended yet.
    pub fn is_pending_on(&self, id: BufferId, access: Access) -> bool {
        self.endings.iter().any(|ending| (ending.buffer, ending.access) == (id, access))
    }

    pub fn len(&self) -> usize {
        self.watched.len()
    }

    pub fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }

    /// The service has died.
    pub fn clear(&mut self) {
        self.endings.clear();
        self.watched.clear();
    }

    /// The fences whose time is up.
    fn overdue(&self, now: u64) -> impl Iterator<Item = &Fence> {
        self.watched.iter().filter(move |fence| fence.deadline <= now)
    }

    pub fn is_overdue(&self, now: u64) -> bool {
        self.overdue(now).next().is_some()
    }
}

impl Books {
    /// Parts of a grant end with fences.
    pub fn end_with_fences(&mut self, at: At, token: u64, parts: Vec<Part>, given: &[Given]) {
        let (now, hold) = (self.now, self.groups[at].hold);
        // A number for each that may fail: a file with a failed fence counts twice if the others are pending.
        let mut named: Vec<(Option<BufferId>, u64, bool)> = Vec::new();
        for Given { buffer, file, failed } in given {
            if *failed {
                self.fences.last += 1;
                named.push((*buffer, self.fences.last, true));
            }
            if let Some(file) = *file {
                self.fences.last += 1;
                let number = self.fences.last;
                named.push((*buffer, number, false));
                if self.verbose {
                    println!("{:>14} fence {number} is file {file} of group {at} for {buffer:?}, until {}", "", now + hold);
                }
                self.fences.watched.push(Fence {
                    number,
                    file,
                    group: at,
                    token,
                    deadline: now + hold,
                });
            }
        }
        for part in parts {
            let own = named
                .iter()
                .any(|(buffer, ..)| *buffer == Some(part.buffer))
                .then_some(part.buffer);
            let fences =
                named.iter().filter(|(buffer, ..)| *buffer == own).map(|(_, number, _)| *number);
            let fences: Vec<u64> = fences.collect();
            let Part { buffer, access, seen, .. } = part;
            if fences.is_empty() {
                self.ended_in_order(buffer, access, seen);
            } else {
                self.fences.endings.push(Ending { buffer, access, seen, fences, failed: false });
            }
        }
        let endings = &self.fences.endings;
        let needed = |number: u64| endings.iter().any(|ending| ending.fences.contains(&number));
        let unneeded: Vec<u64> =
            named.iter().map(|(_, number, _)| *number).filter(|number| !needed(*number)).collect();
        self.fences.watched.retain(|fence| !unneeded.contains(&fence.number));
        for (_, number, _) in
            named.iter().filter(|(_, number, failed)| *failed && !unneeded.contains(number))
        {
            self.groups[at].due.push(token);
            self.fence_ended(*number, false);
        }
    }

    /// A fence is over.
    fn fence_ended(&mut self, number: u64, ok: bool) {
        if self.verbose {
            println!("{:>14} fence {number} is over: {ok}", "");
        }
        self.fences.watched.retain(|fence| fence.number != number);
        let mut nth = 0;
        while nth < self.fences.endings.len() {
            let ending = &mut self.fences.endings[nth];
            if !ending.fences.contains(&number) {
                nth += 1;
                continue;
            }
            ending.fences.retain(|other| *other != number);
            ending.failed |= !ok;
            let (buffer, access, seen) = (ending.buffer, ending.access, ending.seen);
            let (over, failed) = (ending.fences.is_empty(), ending.failed);
            if over {
                self.fences.endings.remove(nth);
            } else {
                nth += 1;
            }
            if !ok {
                self.evict_from(buffer, access);
            } else if over && !failed {
                self.ended_in_order(buffer, access, seen);
            }
        }
    }

    /// The reactor has seen that a sync_file has signalled.
    pub fn fence_seen(&mut self, file: FileId, ok: bool) {
        let Some(fence) = self.fences.watched.iter().find(|fence| fence.file == file) else {
            return;
        };
        let (number, group, token) = (fence.number, fence.group, fence.token);
        if !ok && self.groups[group].open {
            self.groups[group].due.push(token);
        }
        self.fence_ended(number, ok);
    }

    /// EVICTED with FENCE, of a fence that was seen to fail, or whose time was up.
    pub fn fence_failed(&mut self, at: At, token: u64) -> Checked {
        let due = self.groups[at].due.iter().position(|due| *due == token);
        let nth = due.ok_or("EVICTED, and no fence of the lock has failed or is overdue")?;
        self.groups[at].due.remove(nth);
        self.note_evicted(at, token);
        Ok(())
    }

    /// The service has let a fence go whose time was up.
    pub fn fence_dropped(&mut self, file: FileId) {
        let mut overdue = self.fences.overdue(self.now);
        let Some(Fence { number, group, token, .. }) = overdue.find(|fence| fence.file == file)
        else {
            return;
        };
        let (number, group, token) = (*number, *group, *token);
        drop(overdue);
        if self.groups[group].open && !self.dying.contains(&group) {
            self.groups[group].due.push(token);
        }
        self.fence_ended(number, false);
    }

    /// The reactor has looked at the time: nothing is overdue any more.
    pub fn time_is_up(&mut self) -> Checked {
        match self.fences.overdue(self.now).next() {
            None => Ok(()),
            Some(Fence { token, group, .. }) => Err(format!(
                "no record says that a fence of lock {token} of group {group} is overdue"
            )),
        }
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Grants in the books: each must be what the rules of the AIDL make of all that was told before.

use buffersync_aidl::event::{Buffer as Told, FLAG_EVICTED, FLAG_FENCED, FLAG_TORN};
use buffersync_engine::{Access, BufferId, HoldFrom};
use buffersync_kernel::world;

use crate::books::{conflicts, At, Books, Buffer, Checked, Held, Part};

impl Buffer {
    /// A grant tells whether there were untold ones before.
    pub fn adopt(&mut self, told: &Told) {
        for access in std::mem::take(&mut self.untold) {
            let flag = |flag: i32| told.flags & flag != 0;
            let more = !self.fresh && told.generation > self.generation as i64;
            let known = (self.marks.evicted(), self.marks.torn());
            if more && access.is_exclusive() {
                self.generation += 1;
                self.marks.evict(access);
            } else if (flag(FLAG_EVICTED), flag(FLAG_TORN)) != known {
                self.marks.evict(access);
            }
        }
    }
}

impl Books {
    /// A grant, by a reply or a record. `deadline` is 0 for none.
    pub fn granted(
        &mut self,
        at: At,
        token: u64,
        deadline: u64,
        told: &[Told],
        by_record: bool,
    ) -> Checked {
        self.grants += 1;
        let lock = self.groups[at].lock(token).ok_or("a grant of a lock that does not live")?;
        if by_record && lock.waits.is_none() {
            return Err("GRANTED of a lock that does not wait".into());
        }
        let wants = lock.wants.clone();
        if told.len() != wants.len() {
            let (is, should) = (told.len(), wants.len());
            return Err(format!("a grant has {is} buffers, and should have {should}"));
        }
        self.check_deadline(at, token, deadline)?;
        let mut parts = Vec::with_capacity(told.len());
        for told in told {
            let want = wants.iter().find(|(buffer, _)| buffer.0 as i64 == told.id);
            let (id, access) = *want.ok_or("a grant has a buffer that was not asked for")?;
            let part = self.granted_one(at, token, (id, access), told);
            parts.push(part.map_err(|why| format!("buffer {}: {why}", id.0))?);
        }
        let (message, read, now) = (self.groups[at].sent, self.groups[at].read, self.now);
        let Some(lock) = self.lock_mut(at, token) else { return Ok(()) };
        let contended = lock.held.as_ref().is_some_and(|held| held.contended);
        // The service looks at the record of the first grant also when a growth was told later.
        let earlier = lock.held.as_ref().and_then(|held| held.told);
        let told = earlier.filter(|(_, message)| read <= *message);
        let told = told.or(by_record.then_some((now, message)));
        lock.held = Some(Held { deadline, parts, contended, told });
        lock.waits = None;
        Ok(())
    }

    /// The deadline of a grant counts from now, and a growth keeps it. With `HoldFrom::Conflict` there may be none yet.
    fn check_deadline(&self, at: At, token: u64, deadline: u64) -> Checked {
        let group = &self.groups[at];
        let new = self.now + group.hold;
        let expected = match group.lock(token).and_then(|lock| lock.held.as_ref()) {
            Some(Held { deadline: 0, .. }) | None if group.from == HoldFrom::Conflict => [0, new],
            Some(held) => [held.deadline; 2],
            None => [new; 2],
        };
        let fine = expected.contains(&deadline);
        fine.then_some(()).ok_or_else(|| {
            format!("a grant's deadline is {deadline}, and should be one of {expected:?}")
        })
    }

    /// One buffer of a grant.
    fn granted_one(
        &mut self,
        at: At,
        token: u64,
        (id, access): (BufferId, Access),
        told: &Told,
    ) -> Checked<Part> {
        let held = self.groups[at].lock(token).and_then(|lock| lock.held.as_ref());
        let before = held.and_then(|held| held.parts.iter().find(|part| part.buffer == id));
        let had = before.map(|part| part.access);
        let earlier = before.map(|part| (part.access, part.seen, part.told));
        let conflict = self
            .holders(id)
            .find(|(other, lock, has)| (*other, *lock) != (at, token) && conflicts(*has, access));
        if let Some((other, lock, has)) = conflict {
            return Err(format!(
                "granted for {access:?}, and lock {lock} of group {other} has it for {has:?}"
            ));
        }
        let pending = self.fences.pending(id, access);
        self.check_fences(id, access, had, pending)?;
        let fenced = access.is_dma() && (self.groups[at].implicit || pending.is_some());
        let buffer = self.buffers.get_mut(&id).ok_or("a grant of an unknown buffer")?;
        let had_it = had.is_some_and(|had| had.is_exclusive());
        buffer.generation += u64::from(access.is_exclusive() && !had_it);
        buffer.adopt(told);
        if std::mem::take(&mut buffer.fresh) {
            if told.generation < buffer.generation as i64 {
                return Err(format!("generation {} comes again", told.generation));
            }
            buffer.generation = told.generation as u64;
        }
        if told.generation != buffer.generation as i64 {
            let (is, should) = (told.generation, buffer.generation);
            return Err(format!("the generation is {is}, and should be {should}"));
        }
        let flag = |flag: i32| told.flags & flag != 0;
        buffer.marks.check((flag(FLAG_EVICTED), flag(FLAG_TORN)))?;
        if flag(FLAG_FENCED) != fenced {
            let is = flag(FLAG_FENCED);
            return Err(format!("fenced is {is}, and should be {fenced}"));
        }
        let (file, seen) = (buffer.file, buffer.marks.seen());
        let marked = earlier.is_some_and(|(_, _, told)| told);
        // An access that became stronger is granted anew.
        let earlier = earlier.filter(|(had, ..)| *had == access);
        Ok(Part {
            buffer: id,
            file,
            access,
            seen: earlier.map_or(seen, |(_, seen, _)| seen),
            told: flag(FLAG_EVICTED) || marked,
            waits: (!fenced).then(Vec::new),
            number: self.grants,
        })
    }

    /// A CPU comes after all fences that concern it, a device after those of CPUs.
    fn check_fences(
        &self,
        id: BufferId,
        access: Access,
        had: Option<Access>,
        pending: Option<bool>,
    ) -> Checked {
        let file = self.buffers.get(&id).map(|buffer| buffer.file);
        let file = file.ok_or("a grant of an unknown buffer")?;
        let is_new = had.is_none_or(|had| !had.is_exclusive() && access.is_exclusive());
        match pending {
            _ if access.is_dma() && pending != Some(false) => Ok(()),
            Some(_) if had.is_none() && access.is_dma() => {
                Err("granted to a device before a CPU's fence".into())
            }
            Some(_) if had.is_none() => Err("granted to a CPU before a fence".into()),
            _ if !access.is_dma()
                && is_new
                && world::with(|world| world.reserved_before(file, access.is_exclusive())) =>
            {
                Err("granted to a CPU before an implicit fence".into())
            }
            _ => Ok(()),
        }
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Unlocks with fences: in parts, and with the next lock in one call.

use buffersync_engine::{BufferId, Token, Wait, Wants};
use buffersync_kernel::fd::{AsFd, Fd};
use buffersync_kernel::world::{self, FenceId, FileId, Kind};
use buffersync_service::arbiter::simulated::{Error, Given};
use buffersync_service::calls::Request;

use crate::arguments::Arguments;
use crate::books::{At, Checked, Part};
use crate::fences::Given as Noted;
use crate::note;
use crate::refusals::{Call, Done};
use crate::simulation::{Inner, Simulation, Work};

const MS: u64 = 1_000_000;
/// `ReleaseFence.MAX_FENCES`.
const MAX_FENCES: usize = 64;

/// Fences of a call, as the service's process has received them.
pub struct Gift {
    fences: Vec<(Option<BufferId>, Fd)>,
    done: Done,
}

impl Inner {
    /// Fences for a part of a grant, or for all of it.
    fn gift(&mut self, at: At, token: u64, part: &[BufferId], nonsense: u32) -> Gift {
        let held = self.held(at, token);
        let ends: Vec<BufferId> = if part.is_empty() { held } else { part.to_vec() };
        let mut done = Done { token, named: Vec::new(), fences: 0, bad: false, large: false };
        let mut fences = Vec::new();
        let count = [0, 0, 1, 1, 1, 2][self.random.below(6)];
        for _ in 0..count {
            let named = if self.random.one_in(2) { self.random.of(&ends).copied() } else { None };
            let named = if self.random.one_in(nonsense) { Some(BufferId(7)) } else { named };
            let of: Vec<BufferId> = named.map_or(ends.clone(), |named| vec![named]);
            let kind = if self.random.one_in(2 * nonsense) {
                done.bad = true;
                Kind::Other
            } else {
                let mut all = self.driver_fences(at, token, &of);
                if self.random.one_in(4 * nonsense) {
                    let one = world::with(|world| world.fence(None, true));
                    all.resize(MAX_FENCES + 1, one);
                }
                done.large |= all.len() > MAX_FENCES;
                Kind::SyncFile(all)
            };
            let fd = world::with(|world| {
                let service = world.service;
                world.create(service, kind)
            });
            let Ok(fd) = fd else { continue };
            done.named.extend(named);
            fences.push((named, fd));
        }
        done.fences = fences.len();
        Gift { fences, done }
    }

    /// The fences of work on buffers of a grant. Devices begin when what they wait for has signalled.
    fn driver_fences(&mut self, at: At, token: u64, of: &[BufferId]) -> Vec<FenceId> {
        let count = 1 + usize::from(self.random.one_in(4));
        let (mut begin, mut never) = (world::with(|world| world.now), self.random.one_in(16));
        let parts = self.books.groups[at].lock(token).and_then(|lock| lock.held.as_ref());
        let parts = parts.map(|held| held.parts.iter().filter(|part| of.contains(&part.buffer)));
        for part in parts.into_iter().flatten() {
            let mut waits: Vec<FenceId> = part.waits.clone().unwrap_or_default();
            world::with(|world| {
                for file in self.books.fences.files(part.buffer, part.access) {
                    if let Kind::SyncFile(fences) = &world.files[file].kind {
                        waits.extend(fences);
                    }
                }
                waits.extend(world.reserved(part.file, true));
                for fence in waits {
                    match world.fences[fence].at {
                        Some(at) => begin = begin.max(at),
                        None => never = true,
                    }
                }
            });
        }
        let past = self.random.one_in(8);
        (0..count)
            .map(|_| {
                let (span, ok) = (1 + self.random.number() % (40 * MS), !self.random.one_in(10));
                world::with(|world| {
                    let signals = if past && begin <= world.now { world.now } else { begin + span };
                    world.fence((!never).then_some(signals), ok)
                })
            })
            .collect()
    }

    /// Notes the fences that the service has taken, by what it has asked the kernel.
    fn taken(&mut self, gift: &Gift, files: &[FileId]) -> Vec<Noted> {
        // A single fence for everything that has signalled is as good as none: it is not taken.
        let merged = |file: FileId| self.books.merged.get(&file).copied();
        let has_failed = |file: FileId| self.books.failed.get(&file).copied().unwrap_or(false);
        let given = gift.fences.iter().zip(files);
        let noted = given.filter_map(|((buffer, _), file)| {
            let to = merged(*file)?;
            let failed = has_failed(*file);
            let pending = !failed
                || world::with(|world| world.status_of(to))
                    == buffersync_kernel::sync_file::Status::Pending;
            Some(Noted { buffer: *buffer, file: pending.then_some(to), failed })
        });
        noted.collect()
    }

    /// The work that holders have submitted is done when its fence signals.
    fn submit(&mut self, parts: &[Part], noted: &[Noted]) {
        for part in parts {
            let own =
                noted.iter().any(|given| given.buffer == Some(part.buffer)).then_some(part.buffer);
            let mut files =
                noted.iter().filter(|given| given.buffer == own).filter_map(|given| given.file);
            let Some(file) = files.next() else { continue };
            let last = world::with(|world| {
                let Kind::SyncFile(fences) = &world.files[file].kind else { return None };
                let last = fences
                    .iter()
                    .max_by_key(|fence| world.fences[**fence].at.unwrap_or(u64::MAX))?;
                let at = world.fences[*last].at?;
                let all_ok = fences.iter().all(|fence| world.fences[*fence].ok);
                all_ok.then_some((*last, at, world.service))
            });
            let Some((fence, at, service)) = last else { continue };
            let Part { buffer, file, access, told, .. } = *part;
            self.works.push(Work { at, buffer, file, access, told, fence, service });
        }
    }
}

impl Simulation {
    pub fn unlock_part(&self) -> Checked {
        let (at, token, part, gift) = {
            let mut inner = self.inner();
            let lock = inner.some_lock(self.plan.nonsense, |lock| lock.held.is_some());
            let Some((at, token)) = lock else { return Ok(()) };
            let held = inner.held(at, token);
            let part = if inner.random.one_in(2) {
                Vec::new()
            } else {
                inner.some_buffers(&held, self.plan.nonsense)
            };
            let gift = inner.gift(at, token, &part, self.plan.nonsense);
            (at, token, part, gift)
        };
        note!(self, "group {at} unlocks {part:?} of {token} with {:?}", gift.done);
        let given: Vec<Given<'_>> = gift
            .fences
            .iter()
            .map(|(buffer, fd)| Given { buffer: *buffer, fd: fd.as_fd() })
            .collect();
        let files: Vec<FileId> = gift.fences.iter().map(|(_, fd)| fd.as_fd().file()).collect();
        let ended = self.arbiter().unlock_buffers(self.id(at), Token(token), part.clone(), &given);
        drop(given);
        if let Err(error) = ended {
            return self.refused(
                Some(at),
                &Call::UnlockPart { done: gift.done.clone(), part },
                &error,
            );
        }
        let mut inner = self.inner();
        inner.ended(at, token, Some(&part).filter(|part| !part.is_empty()), &gift, &files)?;
        drop(gift);
        inner.books.follow(false)
    }

    pub fn exchange(&self) -> Checked {
        let (at, done, token, gift, mut arguments) = {
            let mut inner = self.inner();
            let lock = inner.some_lock(self.plan.nonsense, |lock| lock.held.is_some());
            let Some((at, done)) = lock else { return Ok(()) };
            let gift = inner.gift(at, done, &[], self.plan.nonsense);
            let mut arguments = inner.arguments(at, self.plan.nonsense);
            if arguments.asked.wait == Wait::Never {
                arguments.asked.wait = Wait::UntilGranted;
            }
            (at, done, inner.new_number(at, self.plan.nonsense), gift, arguments)
        };
        let Arguments { buffers, accesses, asked } = &arguments;
        note!(
            self,
            "group {at} unlocks {:?} and locks {token}: {buffers:?} {accesses:?}",
            gift.done
        );
        let given: Vec<Given<'_>> = gift
            .fences
            .iter()
            .map(|(buffer, fd)| Given { buffer: *buffer, fd: fd.as_fd() })
            .collect();
        let files: Vec<FileId> = gift.fences.iter().map(|(_, fd)| fd.as_fd().file()).collect();
        let wants = Wants { buffers, accesses };
        let request = Request { token: Token(token), wants, wait: asked.wait };
        let locked = self.arbiter().unlock_and_lock(self.id(at), Token(done), &given, request);
        drop(given);
        {
            let mut inner = self.inner();
            arguments.asked.joined = inner.joined(at, &arguments, &[]);
            // Refused with Closed after the grant has ended: its record was lost, and so the group.
            let lost = matches!(locked, Err(Error::Closed)) && inner.books.groups[at].open;
            if locked.is_ok() || lost {
                inner.ended(at, done, None, &gift, &files)?;
            }
        }
        let ended = gift.done.clone();
        drop(gift);
        self.locked(at, token, arguments.asked, locked, Some(ended))
    }
}

impl Inner {
    /// A part of a grant has ended, or all of it.
    fn ended(
        &mut self,
        at: At,
        token: u64,
        part: Option<&Vec<BufferId>>,
        gift: &Gift,
        files: &[FileId],
    ) -> Checked {
        self.books.note_files();
        self.books.now = world::with(|world| world.now);
        let lock = self.books.groups[at].lock(token).filter(|_| self.books.groups[at].open);
        let lock = lock.filter(|lock| lock.held.is_some()).ok_or("a grant ends that is none")?;
        if part.is_some() && lock.waits.is_some() {
            return Err("a part of a grant ends that grows".into());
        }
        let noted = self.taken(gift, files);
        self.books.kept_fences += noted.len();
        let parts = self.books.take_parts(at, token, part.map(|part| &part[..]));
        if part.is_none() {
            self.books.groups[at].locks.retain(|lock| lock.token != token);
        }
        self.submit(&parts, &noted);
        self.books.end_with_fences(at, token, parts, &noted);
        Ok(())
    }
}

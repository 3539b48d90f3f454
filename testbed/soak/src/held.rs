// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A grant and its claims: what is checked when it comes, and in which order the claims go when it ends.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use buffersync_client::{fence, Access, BufferId, Grant};

use crate::actor::Want;
use crate::control::{now, Count};
use crate::devices::Place;
use crate::header::{Claim, Header, Name, SLOTS};
use crate::invariant::{follows, generation_word, judge, Facts, Mine, Theirs};
use crate::worker::World;

/// The buffer that no group keeps but those of the workers: it can begin again with its generations.
pub const LOOSE: usize = 0;
/// How long a device waits for the work of those before it. Some never signal.
const ACQUIRE: Duration = Duration::from_millis(400);

/// Who holds.
#[derive(Clone, Copy)]
pub struct Holder<'a> {
    pub world: &'a World,
    pub actor: usize,
}

/// A buffer of a grant.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    pub buffer: usize,
    pub id: BufferId,
    pub access: Access,
    /// `None`: not touched, since the work of others was not done in time.
    name: Option<Name>,
}

impl Part {
    pub fn writes(&self) -> bool {
        self.access.is_exclusive()
    }

    pub fn is_claimed(&self) -> bool {
        self.name.is_some()
    }
}

/// When a lock was asked for, and which generations had been seen then.
pub struct Asked {
    pub at: u64,
    generations: Vec<u64>,
}

impl Asked {
    pub fn now(world: &World) -> Self {
        let generation = |header: &Header| header.generation().load(SeqCst);
        Self { at: now(), generations: world.headers.iter().map(generation).collect() }
    }
}

/// When a grant is in force, for sure.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Not before the service granted it.
    began: u64,
    /// Not after its deadline.
    pub end: u64,
    /// The life of the service.
    life: u64,
}

/// A grant.
pub struct Held {
    pub grant: Grant,
    pub parts: Vec<Part>,
    pub times: Times,
}

impl<'a> Holder<'a> {
    fn slot(self) -> usize {
        2 * self.actor
    }

    fn device_slot(self) -> usize {
        2 * self.actor + 1
    }

    fn header(self, buffer: usize) -> &'a Header {
        &self.world.headers[buffer]
    }

    fn is_in_force(self, times: Times) -> bool {
        now() < times.end && self.world.control.life().load(SeqCst) == times.life
    }

    /// From here to [`Holder::see`] a lock of these buffers may be granted and end without anybody's knowledge.
    pub fn be_blind(self, buffers: impl Iterator<Item = usize>) {
        buffers.for_each(|at| self.header(at).blind(self.slot()).store(1, SeqCst));
    }

    /// Whatever there was, it has ended now.
    pub fn see(self, buffers: impl Iterator<Item = usize>) {
        for header in buffers.map(|at| self.header(at)) {
            // It may have been exclusive, and ended in order without a whole content.
            header.taint().store(1, SeqCst);
            header.clean().fetch_max(now(), SeqCst);
            header.clean_writer().fetch_max(now(), SeqCst);
            header.blind(self.slot()).store(0, SeqCst);
        }
    }

    /// Ends the blindness of a lock whose claims are there.
    pub fn seen(self, buffers: impl Iterator<Item = usize>) {
        buffers.for_each(|at| self.header(at).blind(self.slot()).store(0, SeqCst));
    }

    /// Claims what was granted, and looks if all is as it must be.
    pub fn hold(
        self,
        grant: Grant,
        wants: &[Want],
        asked: &Asked,
        hold: Duration,
        life: u64,
    ) -> Held {
        self.world.control.add(Count::Locks);
        let began = now();
        // If it has none yet, it can't be before it has been held as long as the limit says.
        let deadline = grant.deadline().map(crate::control::nanos);
        let end = deadline.unwrap_or(asked.at + crate::control::nanos(hold));
        let mut held = Held { grant, parts: Vec::new(), times: Times { began, end, life } };
        self.take(&mut held, wants, asked);
        held
    }

    /// Claims the buffers of a grant that it did not have before.
    pub fn take(self, held: &mut Held, wants: &[Want], asked: &Asked) {
        let control = &self.world.control;
        held.times.began = now();
        for buffer in held.grant.buffers().to_vec() {
            let Some(want) = wants.iter().find(|want| want.id == buffer.id) else { continue };
            let header = self.header(want.buffer);
            let at = held.parts.iter().position(|part| part.buffer == want.buffer);
            let known = at.map(|at| held.parts[at]);
            if known.is_some_and(|part| part.writes() || !want.access.is_exclusive()) {
                continue;
            }
            let writes = want.access.is_exclusive();
            let mut part =
                Part { buffer: want.buffer, id: want.id, access: want.access, name: None };
            let fenced = buffer.fenced && want.access.is_dma();
            if !fenced || self.others_are_done(held, buffer.id) {
                let name = match known.and_then(|part| part.name) {
                    Some(name) => name.with(writes),
                    None => Name::new(self.actor, control.number(), writes),
                };
                let claim = Claim { name, end: held.times.end, life: held.times.life };
                header.claim(self.slot(), claim);
                part.name = Some(name);
                let mine = Mine { claim, evicted: buffer.evicted, torn: buffer.torn };
                self.look_at_others(want.buffer, &mine);
                if buffer.evicted || buffer.torn {
                    control.add(Count::Flagged);
                } else if !fenced {
                    self.look_at_content(want.buffer, held);
                }
            }
            let before = asked.generations[want.buffer];
            if want.buffer != LOOSE && !follows(before, held.times.life, buffer.generation, writes)
            {
                control.violation(&format!(
                    "buffer {}: generation {} after {} (access {:?}, life {})",
                    want.buffer,
                    buffer.generation,
                    before & 0xff_ffff_ffff,
                    want.access,
                    held.times.life
                ));
            }
            let generation = generation_word(held.times.life, buffer.generation);
            header.generation().fetch_max(generation, SeqCst);
            match at {
                Some(at) => held.parts[at] = part,
                None => held.parts.push(part),
            }
        }
    }

    /// Waits for the acquire fence of a buffer, as a device would.
    fn others_are_done(self, held: &Held, id: BufferId) -> bool {
        match held.grant.acquire_fence_of(id) {
            Ok(None) => true,
            Ok(Some(file)) => {
                self.world.control.add(Count::Fenced);
                fence::wait(file, ACQUIRE).is_ok()
            }
            Err(_) => false,
        }
    }

    /// Looks whether somebody else has the buffer.
    fn look_at_others(self, buffer: usize, mine: &Mine) {
        let (header, control) = (self.header(buffer), &self.world.control);
        for slot in (0..SLOTS).filter(|slot| *slot != self.slot()) {
            let Some((claim, at)) = header.look(slot, now) else { continue };
            let other = slot / 2;
            // All that is read from here on is of a later time: it can excuse, and not accuse.
            let killed = control.killed_at(other).load(SeqCst);
            let theirs = Theirs { claim, killed_at: (killed != 0).then_some(killed) };
            let reaped = control.reaped(other).load(SeqCst) != 0;
            let facts = Facts {
                at,
                life: control.life().load(SeqCst),
                life_began: control.life_began().load(SeqCst),
                clean: header.clean().load(SeqCst),
                clean_writer: header.clean_writer().load(SeqCst),
                anybody_blind: header.anybody_blind(),
            };
            control.add(Count::Stale);
            if let Some(wrong) = judge(mine, &theirs, &facts) {
                control.violation(&format!(
                    "buffer {buffer}: {wrong:?}: actor {} has {mine:?}; actor {other} has {theirs:?}{}; {facts:?}",
                    self.actor,
                    if claim.name.is_fenced() { " (with a fence)" } else { "" }
                ));
            }
            let conflict = mine.claim.name.writes() || claim.name.writes();
            if reaped && conflict {
                // It may have been killed while it wrote after its grant had been taken away.
                if claim.name.writes() && (claim.end <= killed || claim.life != facts.life) {
                    header.taint().store(1, SeqCst);
                }
                header.clear_this(slot, claim.name);
            }
        }
    }

    /// Looks whether the content is whole, if it has to be: a writer has filled it since the service has started, it is
    /// not marked, and nobody whose grant is over may have written since.
    pub fn look_at_content(self, buffer: usize, held: &Held) {
        let header = self.header(buffer);
        if header.filled().load(SeqCst) != held.times.life {
            return;
        }
        let torn = header.torn();
        let others_write = (0..SLOTS).filter(|slot| *slot != self.slot()).any(|slot| {
            let name = header.name(slot);
            !name.is_none() && name.writes() && !name.is_fenced()
        });
        let excused = others_write || header.anybody_blind() || header.taint().load(SeqCst) != 0;
        if excused || !self.is_in_force(held.times) {
            return;
        }
        self.world.control.add(Count::Looks);
        if let Some((one, other)) = torn {
            self.world.control.violation(&format!(
                "buffer {buffer}: torn content that is not marked, of {one:x} and {other:x}: actor {}",
                self.actor
            ));
        }
    }

    /// Writes what the grant may write, all of it. `pause` comes between the halves.
    pub fn fill(self, held: &Held, pause: impl Fn()) {
        for part in held.parts.iter().filter(|part| part.writes()) {
            let (Some(name), header) = (part.name, self.header(part.buffer)) else { continue };
            header.taint().store(0, SeqCst);
            header.fill_half(name.tag(), false);
            pause();
            header.fill_half(name.tag(), true);
            if self.is_in_force(held.times) {
                header.filled().store(held.times.life, SeqCst);
            } else {
                header.taint().store(1, SeqCst);
            }
        }
    }

    /// The work on these parts is finished: their claims go. Those that were not touched are not seen any more, until
    /// [`Holder::see`].
    pub fn finish(self, held: &Held, parts: &[Part]) {
        for part in parts {
            let header = self.header(part.buffer);
            match part.name {
                None => self.be_blind([part.buffer].into_iter()),
                Some(_) => {
                    self.note_end(held.times, part);
                    header.clear(self.slot());
                }
            }
        }
    }

    /// A part ends in order, if it is not too late.
    fn note_end(self, times: Times, part: &Part) {
        let header = self.header(part.buffer);
        if part.writes() && !self.is_in_force(times) {
            header.taint().store(1, SeqCst);
        }
        header.clean().fetch_max(times.began, SeqCst);
        if part.writes() {
            header.clean_writer().fetch_max(times.began, SeqCst);
        }
    }

    /// After the call that [`Holder::finish`] came before.
    pub fn finished(self, parts: &[Part]) {
        let untouched = parts.iter().filter(|part| part.name.is_none());
        self.see(untouched.map(|part| part.buffer));
    }

    /// Like [`Holder::finish`], but a device goes on with all parts. `None` if an earlier work of the device is not
    /// finished, or if a part was not touched: then nothing has changed.
    pub fn hand_to_device(self, held: &Held, parts: &[Part]) -> Option<Vec<Place>> {
        let free = |part: &Part| {
            part.is_claimed() && self.header(part.buffer).name(self.device_slot()).is_none()
        };
        if !parts.iter().all(free) {
            return None;
        }
        let places = parts.iter().filter_map(|part| {
            let (header, name) = (self.header(part.buffer), part.name?.fenced());
            self.note_end(held.times, part);
            header.claim(
                self.device_slot(),
                Claim { name, end: held.times.end, life: held.times.life },
            );
            header.clear(self.slot());
            Some((part.buffer, self.device_slot(), name))
        });
        Some(places.collect())
    }

    /// The writes are finished; the grant goes on as a reader's.
    pub fn only_read(self, held: &mut Held) {
        for part in &mut held.parts {
            let Some(name) = part.name.filter(|_| part.access.is_exclusive()) else { continue };
            self.note_end(held.times, part);
            part.access = part.access.shared();
            part.name = Some(name.with(false));
            self.header(part.buffer).rename(self.slot(), name.with(false));
        }
    }
}

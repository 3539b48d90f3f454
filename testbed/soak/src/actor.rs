// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! One thread of a worker: opens groups, locks some of the shared buffers in some way, holds, and ends that in some
//! way, all by chance. [`crate::held`] checks what comes.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use buffersync_client::{Access, BufferId, Error, Fences, Grant, Group, HoldFrom, Options};

use crate::control::{nanos, now, Count};
use crate::held::{Asked, Held, Holder, Part};
use crate::worker::World;
use buffersync_testbed_guest::random::Random;

/// The limit of a call that waits for nobody.
const CALL: Duration = Duration::from_secs(2);
/// The limit of a lock without a time-out: the deadlines of those before it bound it.
const UNBOUNDED: Duration = Duration::from_secs(30);
/// Locks of one group at once.
const LOCKS: usize = 2;

/// A buffer, and what for.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    pub buffer: usize,
    pub id: BufferId,
    pub access: Access,
}

/// A group of the actor.
struct Own {
    group: Group,
    life: u64,
    members: BTreeMap<usize, (BufferId, Access)>,
    /// A reply was lost: the service may have other members.
    unsure: bool,
}

pub struct Actor<'a> {
    world: &'a World,
    me: Holder<'a>,
    nth: usize,
    random: Random,
    own: Option<Own>,
    held: Vec<Held>,
}

impl<'a> Actor<'a> {
    pub fn new(world: &'a World, actor: usize, nth: usize, seed: u64) -> Self {
        let (me, random) = (Holder { world, actor }, Random::new(seed));
        Self { world, me, nth, random, own: None, held: Vec::new() }
    }

    pub fn run(&mut self) {
        while self.world.control.over().load(SeqCst) == 0 {
            self.world.turns[self.nth].fetch_add(1, SeqCst);
            self.turn();
        }
        self.end_all();
        self.world.turns[self.nth].fetch_add(1, SeqCst);
    }

    fn turn(&mut self) {
        if self.own.is_none() {
            self.open();
        }
        match self.random.below(100) {
            0 => self.close(),
            1..=4 => self.change_members(),
            5..=7 => self.read_events(),
            8..=9 => self.look(),
            _ => self.lock(),
        }
        while !self.held.is_empty() && (self.held.len() >= LOCKS || !self.random.percent(10)) {
            let at = usize::try_from(self.random.below(self.held.len() as u64)).unwrap_or(0);
            let held = self.held.swap_remove(at);
            self.use_and_end(held);
        }
    }

    /// A call of the service, which the orchestrator watches.
    fn call<T>(&self, limit: Duration, call: impl FnOnce() -> T) -> T {
        let control = &self.world.control;
        control.call_limit(self.me.actor).store(nanos(limit), SeqCst);
        control.in_call_since(self.me.actor).store(now(), SeqCst);
        let answer = call();
        control.in_call_since(self.me.actor).store(0, SeqCst);
        answer
    }

    fn is_losing(&self) -> bool {
        self.world.losing.load(SeqCst)
    }

    fn pause(&mut self, most_micros: u64) {
        std::thread::sleep(Duration::from_micros(self.random.below(most_micros)));
    }

    /// Counts an error, and does what it asks for.
    fn note(&mut self, what: &str, error: &Error) {
        let control = &self.world.control;
        let life = control.life().load(SeqCst);
        match error {
            Error::Evicted { .. } => control.add(Count::Evictions),
            Error::TimedOut { .. } => control.add(Count::TimeOuts),
            Error::ServiceDied | Error::NoService { .. } | Error::Closed => {
                self.leave();
                self.pause(20_000);
            }
            Error::ReplyLost { .. } => {
                control.add(Count::Lost);
                if let Some(own) = &mut self.own {
                    own.unsure = true;
                }
            }
            Error::WouldBlock(_)
            | Error::AlreadyLocked(_)
            | Error::Deadlock
            | Error::LockFailed { .. }
            | Error::Quota(_)
            | Error::EventsUnread
            | Error::NoResources(_)
            | Error::Busy(_)
            | Error::NotDmaBuf(_)
            | Error::AccessConflict(_) => {}
            Error::UnknownBuffer(_) | Error::EmptyGroup
                if self.own.as_ref().is_none_or(|own| own.unsure) => {}
            Error::BadFd | Error::System(..) | Error::Binder(_) if self.is_losing() => {}
            Error::Binder(_) if self.own.as_ref().is_none_or(|own| own.life != life) => {}
            other => control.violation(&format!("{what}: unexpected: {other:?}")),
        }
    }

    /// The group is gone, and all that it held.
    fn leave(&mut self) {
        for held in std::mem::take(&mut self.held) {
            self.me.finish(&held, &held.parts);
            self.call(CALL, || drop(held.grant));
            self.me.finished(&held.parts);
        }
        if let Some(own) = self.own.take() {
            self.call(CALL, || drop(own));
        }
    }

    fn open(&mut self) {
        let control = &self.world.control;
        let life = control.life().load(SeqCst);
        if life % 2 == 1 {
            std::thread::sleep(Duration::from_millis(10));
            return;
        }
        let limits = [None, Some(40), Some(100), Some(200)];
        let options = Options {
            hold_limit: self.random.one_of(&limits).flatten().map(Duration::from_millis),
            hold_from: if self.random.percent(25) { HoldFrom::Conflict } else { HoldFrom::Grant },
            implicit_fences: self.random.percent(25),
        };
        let name = format!("soak/{}", self.me.actor);
        match self.call(CALL, || self.world.sync.open_group(&name, options)) {
            // Only then it is this life's for sure.
            Ok(group) if control.life().load(SeqCst) == life => {
                let members = BTreeMap::new();
                self.own = Some(Own { group, life, members, unsure: false });
                for buffer in 0..self.world.fds.len() {
                    if self.random.percent(85) {
                        self.add(buffer);
                    }
                }
            }
            Ok(group) => self.call(CALL, || drop(group)),
            Err(error) => self.note("openGroup", &error),
        }
    }

    fn add(&mut self, buffer: usize) {
        let Some(access) = self.random.one_of(&Access::ALL) else { return };
        let Some(group) = self.own.as_ref().map(|own| own.group.clone()) else { return };
        match self.call(CALL, || group.add(&self.world.fds[buffer], access)) {
            Ok(id) => {
                if let Some(own) = &mut self.own {
                    own.members.insert(buffer, (id, access));
                }
            }
            Err(error) => self.note("add", &error),
        }
    }

    fn change_members(&mut self) {
        let buffer = self.random.below(self.world.fds.len() as u64) as usize;
        let Some(own) = &mut self.own else { return };
        let Some((id, _)) = own.members.get(&buffer).copied() else { return self.add(buffer) };
        if self.held.iter().flat_map(|held| &held.parts).any(|part| part.buffer == buffer) {
            return;
        }
        own.members.remove(&buffer);
        let group = own.group.clone();
        if let Err(error) = self.call(CALL, || group.remove(id)) {
            self.note("remove", &error);
        }
    }

    fn close(&mut self) {
        let Some(group) = self.own.as_ref().map(|own| own.group.clone()) else { return };
        // What is still held ends as an eviction. Its claims must go first, as always.
        let held = std::mem::take(&mut self.held);
        held.iter().for_each(|held| self.me.finish(held, &held.parts));
        if let Err(error) = self.call(CALL, || group.close()) {
            self.note("close", &error);
        }
        for held in held {
            self.me.finished(&held.parts);
        }
        self.leave();
    }

    fn read_events(&mut self) {
        let Some(group) = self.own.as_ref().map(|own| own.group.clone()) else { return };
        loop {
            match self.call(CALL, || group.read_event()) {
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(error) => return self.note("read_event", &error),
            }
        }
    }

    fn look(&mut self) {
        let Some(own) = &self.own else { return };
        let (group, unsure) = (own.group.clone(), own.unsure);
        match self.call(CALL, || group.locks()) {
            Ok(locks) if locks.len() > LOCKS && !unsure && !self.is_losing() => {
                let what =
                    format!("getLocks: {} locks, and {} are held", locks.len(), self.held.len());
                self.world.control.violation(&what);
            }
            Ok(_) => {}
            Err(error) => self.note("locks", &error),
        }
    }

    /// Some members that no lock of the group has.
    fn choose(&mut self) -> Vec<Want> {
        let Some(own) = &self.own else { return Vec::new() };
        // Replies with acquire fences are those that get lost.
        let accesses: &[Access] =
            if self.is_losing() { &[Access::DmaRead, Access::DmaWrite] } else { &Access::ALL };
        let held = |at: usize| {
            self.held.iter().any(|held| held.parts.iter().any(|part| part.buffer == at))
        };
        let mut free: Vec<Want> = own
            .members
            .iter()
            .filter(|(buffer, _)| !held(**buffer))
            .map(|(buffer, (id, access))| Want { buffer: *buffer, id: *id, access: *access })
            .collect();
        let mut chosen = Vec::new();
        for _ in 0..self.random.between(1, 3) {
            if free.is_empty() {
                break;
            }
            let mut want = free.swap_remove(self.random.below(free.len() as u64) as usize);
            want.access = self.random.one_of(accesses).unwrap_or(want.access);
            chosen.push(want);
        }
        chosen
    }

    fn lock(&mut self) {
        let wants = self.choose();
        let Some(own) = &self.own else { return };
        if wants.is_empty() {
            return self.pause(2_000);
        }
        let (group, life) = (own.group.clone(), own.life);
        let (all, unsure) = (own.members.clone(), own.unsure);
        let named: Vec<_> = wants.iter().map(|want| (want.id, want.access)).collect();
        let losing = self.is_losing();
        let buffers = || wants.iter().map(|want| want.buffer);
        if losing {
            self.me.be_blind(buffers());
        }
        let asked = Asked::now(self.world);
        let time = Duration::from_millis(self.random.between(1, 400));
        let how = self.random.below(100);
        let locked = match how {
            // Without a time-out.
            0..=39 => self.call(UNBOUNDED, || group.lock_some(&named, None)),
            40..=59 => self.call(time, || group.lock_some(&named, time)),
            60..=69 => self.call(CALL, || group.try_lock_some(&named)),
            70..=94 => match self.call(CALL, || group.start_lock_some(&named, time)) {
                Ok(mut pending) => {
                    let mut granted = self.call(CALL, || pending.is_granted());
                    if matches!(granted, Ok(false)) {
                        self.pause(4_000);
                        granted = self.call(CALL, || pending.is_granted());
                    }
                    match granted {
                        Ok(false) if self.random.percent(50) => {
                            self.world.control.add(Count::Cancels);
                            self.me.be_blind(buffers());
                            self.call(CALL, || drop(pending));
                            return self.me.see(buffers());
                        }
                        Ok(_) => self.call(time, || pending.wait()),
                        Err(error) => Err(error),
                    }
                }
                Err(error) => Err(error),
            },
            // All of the group.
            _ if self.held.is_empty() && !unsure && !losing => {
                let all: Vec<Want> = all
                    .iter()
                    .map(|(buffer, (id, access))| Want {
                        buffer: *buffer,
                        id: *id,
                        access: *access,
                    })
                    .collect();
                let locked = self.call(time, || group.lock(time));
                return self.locked(locked, &all, &asked, life, group.hold_limit(), false);
            }
            _ => return self.me.seen(buffers()),
        };
        self.locked(locked, &wants, &asked, life, group.hold_limit(), losing);
    }

    /// The outcome of a lock. If it was `blind`, it may have been granted without our knowledge.
    fn locked(
        &mut self,
        locked: Result<Grant, Error>,
        wants: &[Want],
        asked: &Asked,
        life: u64,
        hold: Duration,
        blind: bool,
    ) {
        let buffers = || wants.iter().map(|want| want.buffer);
        match locked {
            Ok(grant) => {
                let held = self.me.hold(grant, wants, asked, hold, life);
                if blind {
                    self.me.seen(buffers());
                }
                self.fill(&held);
                self.held.push(held);
            }
            Err(error) => {
                if blind {
                    self.me.see(buffers());
                }
                self.note("lock", &error);
            }
        }
    }

    /// Writes; some stop in the middle.
    fn fill(&mut self, held: &Held) {
        let pause = if self.random.percent(20) { self.random.below(1_000) } else { 0 };
        self.me.fill(held, || match pause {
            0 => {}
            pause => std::thread::sleep(Duration::from_micros(pause)),
        });
    }

    fn use_and_end(&mut self, mut held: Held) {
        for _ in 0..self.random.below(4) {
            match self.random.below(100) {
                0..=29 => self.pause(1_000),
                30..=49 => {
                    for part in held.parts.iter().filter(|part| part.is_claimed() && !part.writes())
                    {
                        // A reader has looked at the marks when it began; what it sees then stays.
                        if !held
                            .grant
                            .buffer(part.id)
                            .is_some_and(|b| b.torn || b.evicted || b.fenced)
                        {
                            self.me.look_at_content(part.buffer, &held);
                        }
                    }
                }
                50..=64 => self.grow(&mut held),
                65..=74 => self.downgrade(&mut held),
                75..=89 => self.end_a_part(&mut held),
                90..=98 => {}
                _ => {
                    // Too long.
                    let left = held.times.end.saturating_sub(now());
                    let late = Duration::from_millis(self.random.between(1, 100));
                    std::thread::sleep(Duration::from_nanos(left.min(1_000_000_000)) + late);
                }
            }
            if self.own.is_none() {
                break;
            }
        }
        self.end(held);
    }

    fn grow(&mut self, held: &mut Held) {
        if self.is_losing() {
            return;
        }
        let mut wants = self.choose();
        wants.retain(|want| !held.parts.iter().any(|part| part.buffer == want.buffer));
        wants.truncate(2);
        // Or write what was read.
        if wants.is_empty() || self.random.percent(30) {
            let reads = held.parts.iter().find(|part| part.is_claimed() && !part.writes());
            wants = reads
                .map(|part| {
                    let access =
                        if part.access.is_dma() { Access::DmaWrite } else { Access::Write };
                    Want { buffer: part.buffer, id: part.id, access }
                })
                .into_iter()
                .collect();
        }
        if wants.is_empty() {
            return;
        }
        let named: Vec<_> = wants.iter().map(|want| (want.id, want.access)).collect();
        let asked = Asked::now(self.world);
        let time = Duration::from_millis(self.random.between(1, 20));
        match self.call(time, || held.grant.grow_some(&named, time)) {
            Ok(()) => {
                self.world.control.add(Count::Growths);
                self.me.take(held, &wants, &asked);
                self.fill(held);
            }
            Err(error) => self.note("grow", &error),
        }
    }

    fn downgrade(&mut self, held: &mut Held) {
        // What was not touched is not whole, and can't be said to be.
        if !held.parts.iter().all(Part::is_claimed) {
            return;
        }
        self.me.only_read(held);
        match self.call(CALL, || held.grant.downgrade(&[])) {
            Ok(()) => self.world.control.add(Count::Downgrades),
            Err(error) => self.note("downgrade", &error),
        }
    }

    fn end_a_part(&mut self, held: &mut Held) {
        if held.parts.len() < 2 {
            return;
        }
        let at = self.random.below(held.parts.len() as u64) as usize;
        let part = held.parts.remove(at);
        let fences = self.fences(held, &[part]);
        let ended = self.call(UNBOUNDED, || held.grant.unlock_buffers(&[part.id], fences));
        self.me.finished(&[part]);
        match ended {
            Ok(()) => self.world.control.add(Count::Parts),
            Err(error) => self.note("unlock_buffers", &error),
        }
    }

    /// Finishes the work on some parts, or leaves it to the device, with a fence.
    fn fences(&mut self, held: &Held, parts: &[Part]) -> Fences {
        if self.random.percent(30) {
            if let Some(promise) = self.world.devices.promise() {
                let fence = promise.fence();
                let (places, used) = match self.me.hand_to_device(held, parts) {
                    Some(places) => (places, true),
                    None => (Vec::new(), false),
                };
                let soon = now() + self.random.below(12_000_000);
                let late = now() + self.random.between(50_000_000, 400_000_000);
                let (due, signals) = match self.random.below(100) {
                    _ if !used => (now(), true),
                    0..=94 => (soon, true),
                    95..=98 => (late, true),
                    _ => (soon, false),
                };
                self.world.devices.end_at(due, places, fence, signals);
                if used {
                    self.world.control.add(Count::Fences);
                    return promise.file.into();
                }
            }
        }
        self.me.finish(held, parts);
        Fences::NONE
    }

    fn end(&mut self, held: Held) {
        let parts = held.parts.clone();
        match self.random.below(100) {
            0..=9 if !self.is_losing() && self.own.is_some() => self.exchange(held),
            10..=14 => {
                self.me.finish(&held, &parts);
                self.call(CALL, || drop(held.grant));
                self.me.finished(&parts);
            }
            _ => {
                let fences = self.fences(&held, &parts);
                // A client that can't give its fences away waits for them.
                let ended = self.call(UNBOUNDED, || held.grant.unlock_with(fences));
                self.me.finished(&parts);
                if let Err(error) = ended {
                    self.note("unlock", &error);
                }
            }
        }
    }

    fn exchange(&mut self, held: Held) {
        let wants = self.choose();
        let Some(own) = &self.own else { return };
        if wants.is_empty() {
            self.held.push(held);
            return;
        }
        let (life, hold) = (own.life, own.group.hold_limit());
        let named: Vec<_> = wants.iter().map(|want| (want.id, want.access)).collect();
        let (parts, asked) = (held.parts.clone(), Asked::now(self.world));
        let time = Duration::from_millis(self.random.between(1, 400));
        self.me.finish(&held, &parts);
        let next =
            self.call(time, || held.grant.unlock_with_and_lock_some(Fences::NONE, &named, time));
        self.me.finished(&parts);
        if next.is_ok() {
            self.world.control.add(Count::Exchanges);
        }
        self.locked(next, &wants, &asked, life, hold, false);
    }

    fn end_all(&mut self) {
        while let Some(held) = self.held.pop() {
            self.use_and_end(held);
        }
        self.leave();
    }
}

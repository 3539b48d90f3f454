// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A random history: clients lock buffers, and CPU and device read and write under their grants. One thread decides
//! everything from the seed, tells the clients, and is the driver of the device.
//!
//! An access is one use of one buffer under a grant. A CPU that reads or writes first compares every byte; so does a
//! device that reads. Writers change words over all pages; a content that may be torn is first written anew as a whole,
//! since only the grant's mark says that.

mod accesses;
mod trouble;
mod work;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use buffersync_client::Access;
use buffersync_testbed_guest::random::Random;
use buffersync_testbed_guest::vgem::{self, Vgem};

use crate::crew::Client;
use crate::edu::Edu;
use crate::memory::PAGE;
use crate::oracle::{Kind, Oracle, Violation};
use crate::protocol::{name, Command, Marks, Reply, Want};
use work::{is_signalled, Work, OLD, WORKS};

const CLIENTS: usize = 5;
/// Buffers of one lock.
const MOST: u64 = 6;
/// Pages that the device uses in one grant. Each takes 400 ms, twice if it is read before it is written.
const PAGES_OF_GRANT: usize = 6;
/// The hold limit of some groups, in milliseconds. Work with a fence takes less.
const LIMIT: u64 = 12_000;
/// A holder with less time than this does not begin: it is too late.
const NEEDED: Duration = Duration::from_secs(5);
/// After its deadline a grant is over for sure.
const LATE: Duration = Duration::from_millis(60);
/// The service has nothing to do for others after such a pause.
const PAUSE: Duration = Duration::from_millis(20);

/// A long history says how far it is after so many accesses.
const SAID: u64 = 50_000;

/// How often each thing has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    Lock,
    Wait,
    Cancel,
    Upgrade,
    Downgrade,
    Part,
    Exchange,
    ReleaseFence,
    AcquireFence,
    Eviction,
    Death,
    Torn,
    NewGroup,
    Registration,
}

/// The result of a history.
#[derive(Default)]
pub struct Outcome {
    pub accesses: u64,
    /// How often a CPU or the device has compared a whole buffer.
    pub compared: u64,
    pub dma: u64,
    pub lost: u64,
    pub stale: u64,
    pub events: BTreeMap<Event, u64>,
    pub violation: Option<Violation>,
}

/// Why a history ends before its time.
enum Stop {
    Wrong(Box<Violation>),
    Broken(io::Error),
}

impl<E: Into<io::Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Broken(error.into())
    }
}

type Step<T = ()> = Result<T, Stop>;

fn broken<T>(why: String) -> Step<T> {
    Err(Stop::Broken(io::Error::other(why)))
}

/// A buffer of a grant.
#[derive(Clone)]
struct Part {
    want: Want,
    torn: bool,
    /// The device waits for it.
    fence: Option<Rc<OwnedFd>>,
    used: bool,
}

enum State {
    Idle,
    Queued(Vec<Want>),
    Held { deadline: u64, parts: Vec<Part> },
}

struct Actor {
    client: Client,
    state: State,
    /// The client is told these together with the next command.
    later: Vec<Command>,
    /// The changes before its last look for its grant.
    looked: Option<u64>,
    limit: u64,
}

struct History<'a> {
    edu: &'a mut Edu,
    oracle: Oracle,
    vgem: Vgem,
    fences: Vec<vgem::Buffer>,
    random: Random,
    actors: Vec<Actor>,
    works: Vec<Work>,
    outcome: Outcome,
    stamp: u64,
    /// Counts what can have let somebody on.
    changes: u64,
}

/// Runs a history of so many accesses, or until a word is wrong.
pub fn run(edu: &mut Edu, accesses: u64, seed: u64) -> io::Result<Outcome> {
    let before = edu.transfers;
    let vgem = Vgem::open()?;
    let fences: io::Result<Vec<_>> = (0..=WORKS).map(|_| vgem.allocate(PAGE)).collect();
    let mut history = History {
        edu,
        oracle: Oracle::new()?,
        vgem,
        fences: fences?,
        random: Random::new(seed),
        actors: Vec::new(),
        works: Vec::new(),
        outcome: Outcome::default(),
        stamp: 0,
        changes: 0,
    };
    let stopped = history.go_on(accesses);
    let mut outcome = history.outcome;
    outcome.dma = history.edu.transfers - before;
    match stopped {
        Ok(()) => Ok(outcome),
        Err(Stop::Broken(error)) => Err(error),
        Err(Stop::Wrong(violation)) => {
            match violation.kind {
                Kind::Lost => outcome.lost += 1,
                Kind::Stale => outcome.stale += 1,
            }
            outcome.violation = Some(*violation);
            Ok(outcome)
        }
    }
}

impl Want {
    fn writes(self) -> bool {
        self.access.is_exclusive()
    }

    fn is_dma(self) -> bool {
        self.access.is_dma()
    }
}

impl History<'_> {
    fn go_on(&mut self, accesses: u64) -> Step {
        for nth in 0..CLIENTS {
            let actor = self.newcomer(nth)?;
            self.actors.push(actor);
        }
        // The service knows nothing of what has been before.
        for buffer in 0..self.oracle.buffers.len() {
            let want = Want { buffer, access: Access::DmaWrite };
            let pieces = self.pieces(&Part { want, torn: false, fence: None, used: false });
            self.oracle.written_by_dma(buffer, &pieces);
            self.write_by_dma(buffer, &pieces)?;
        }
        let mut steps = 0;
        while self.outcome.accesses < accesses {
            steps += 1;
            if steps > 100 * accesses + 10_000 {
                return broken("nobody gets on".into());
            }
            let before = self.outcome.accesses;
            self.step()?;
            let now = self.outcome.accesses;
            if now / SAID > before / SAID {
                println!("{now} accesses, {} transfers", self.edu.transfers);
            }
        }
        self.complete_all()
    }

    fn count(&mut self, event: Event) {
        *self.outcome.events.entry(event).or_default() += 1;
    }

    fn newcomer(&mut self, nth: usize) -> Step<Actor> {
        let client = Client::start(nth, &self.oracle)?;
        let limit = if self.random.percent(30) { LIMIT } else { 0 };
        let mut actor =
            Actor { client, state: State::Idle, later: Vec::new(), looked: None, limit };
        done(&actor.client.ask(&self.opening(limit))?)?;
        actor.later.clear();
        Ok(actor)
    }

    fn opening(&self, limit: u64) -> Vec<Command> {
        let all = (0..self.oracle.buffers.len()).map(Command::Add);
        [Command::Open(limit)].into_iter().chain(all).collect()
    }

    fn step(&mut self) -> Step {
        let old = self.works.first().is_some_and(|work| now() > work.born + OLD);
        if old || !self.works.is_empty() && self.random.percent(15) {
            return self.complete_one().map(|_| ());
        }
        if self.random.percent(1) {
            return self.register_again();
        }
        let waits_in_vain = |actor: &Actor| {
            matches!(actor.state, State::Queued(_)) && actor.looked == Some(self.changes)
        };
        let awake: Vec<usize> =
            (0..CLIENTS).filter(|at| !waits_in_vain(&self.actors[*at])).collect();
        let Some(at) = self.random.one_of(&awake) else {
            // The service may have something to do.
            thread::sleep(PAUSE);
            self.changes += 1;
            return Ok(());
        };
        match &self.actors[at].state {
            State::Idle if self.random.below(300) == 0 => self.open_again(at),
            State::Idle => self.lock(at),
            State::Queued(_) => self.wait(at),
            State::Held { .. } => self.hold(at),
        }
    }

    /// Tells a client what was put off and one command more; the reply to the last.
    fn tell(&mut self, at: usize, command: Command) -> Step<Reply> {
        let actor = &mut self.actors[at];
        let mut all = std::mem::take(&mut actor.later);
        all.push(command);
        let mut replies = actor.client.ask(&all)?;
        let last = replies.pop();
        done(&replies)?;
        match last {
            Some(Reply::Error(why)) => broken(format!("{}: {why}", crate::protocol::line(&all))),
            Some(reply) => Ok(reply),
            None => broken("no reply".into()),
        }
    }

    /// Some buffers and what for. A device has few pages, so that a grant takes no longer than fences may.
    fn wants(&mut self) -> Vec<Want> {
        let busy: Vec<usize> = self.works.iter().flat_map(Work::devices_buffers).collect();
        if let (Some(buffer), true) = (self.random.one_of(&busy), self.random.percent(50)) {
            // So that devices come to each other's fences.
            let access = [Access::DmaRead, Access::DmaWrite];
            let access = self.random.one_of(&access).unwrap_or(Access::DmaRead);
            return vec![Want { buffer, access }];
        }
        let mut free: Vec<usize> = (0..self.oracle.buffers.len()).collect();
        let mut pages = 0;
        let mut wants = Vec::new();
        for _ in 0..self.random.between(1, MOST) {
            let buffer = free.swap_remove(self.random.below(free.len() as u64) as usize);
            let mut access = self.random.one_of(&Access::ALL).unwrap_or(Access::Read);
            let size = self.oracle.buffers[buffer].memory.pages.len();
            if access.is_dma() && pages + size > PAGES_OF_GRANT {
                access = if access.is_exclusive() { Access::Write } else { Access::Read };
            }
            pages += if access.is_dma() { size } else { 0 };
            wants.push(Want { buffer, access });
        }
        wants
    }

    fn lock(&mut self, at: usize) -> Step {
        let wants = self.wants();
        self.count(Event::Lock);
        match self.tell(at, Command::Lock(wants.clone()))? {
            Reply::Granted(deadline, marks) => self.granted(at, &wants, deadline, &marks),
            Reply::Queued => {
                self.count(Event::Wait);
                self.actors[at].state = State::Queued(wants);
                Ok(())
            }
            other => broken(format!("a lock was answered by {other}")),
        }
    }

    fn wait(&mut self, at: usize) -> Step {
        let State::Queued(wants) = &self.actors[at].state else { return Ok(()) };
        let wants = wants.clone();
        self.actors[at].looked = Some(self.changes);
        match self.tell(at, Command::Poll)? {
            Reply::Granted(deadline, marks) => self.granted(at, &wants, deadline, &marks),
            Reply::Evicted => {
                self.gone(at, &wants);
                Ok(())
            }
            // It may have been granted a moment before; a writer's grant would then count as one that ended in order.
            Reply::Queued if !wants.iter().any(|want| want.writes()) && self.random.percent(20) => {
                self.count(Event::Cancel);
                self.changes += 1;
                self.actors[at].state = State::Idle;
                self.tell(at, Command::Cancel).map(|_| ())
            }
            Reply::Queued if self.random.percent(1) => self.kill(at),
            Reply::Queued => Ok(()),
            other => broken(format!("a poll was answered by {other}")),
        }
    }

    /// The lock of a client has ended out of order.
    fn gone(&mut self, at: usize, wants: &[Want]) {
        for want in wants.iter().filter(|want| want.writes()) {
            self.oracle.buffers[want.buffer].doubt = true;
        }
        self.changes += 1;
        self.actors[at].state = State::Idle;
    }

    fn granted(&mut self, at: usize, wants: &[Want], deadline: u64, marks: &[Marks]) -> Step {
        if deadline > 0 && now() > Duration::from_nanos(deadline) {
            // It did not look for its grant in time.
            self.gone(at, wants);
            return match self.tell(at, Command::Unlock(false))? {
                Reply::Evicted => Ok(()),
                other => broken(format!("after its deadline client {at} was answered by {other}")),
            };
        }
        let mut parts = Vec::new();
        for want in wants {
            let Some(mark) = marks.iter().find(|mark| mark.buffer == want.buffer) else {
                return broken(format!("buffer {} was not granted", want.buffer));
            };
            let fence = self.acquire(at, *want, *mark)?;
            if mark.torn {
                self.count(Event::Torn);
            }
            self.oracle.buffers[want.buffer].doubt = mark.torn;
            let torn = if mark.torn { ", torn" } else { "" };
            self.oracle
                .log(want.buffer, format!("client {at} granted {}{torn}", name(want.access)));
            parts.push(Part { want: *want, torn: mark.torn, fence, used: false });
        }
        self.actors[at].state = State::Held { deadline, parts };
        Ok(())
    }

    /// The fence that a device has to wait for.
    fn acquire(&mut self, at: usize, want: Want, mark: Marks) -> Step<Option<Rc<OwnedFd>>> {
        if !mark.fenced || !want.is_dma() {
            return Ok(None);
        }
        match self.tell(at, Command::Acquire(want.buffer))? {
            Reply::Fence(true) => {
                self.count(Event::AcquireFence);
                Ok(Some(Rc::new(self.actors[at].client.receive()?)))
            }
            _ => Ok(None),
        }
    }

    fn parts(&self, at: usize) -> Vec<Part> {
        match &self.actors[at].state {
            State::Held { parts, .. } => parts.clone(),
            _ => Vec::new(),
        }
    }

    fn set_parts(&mut self, at: usize, new: Vec<Part>) {
        if let State::Held { parts, .. } = &mut self.actors[at].state {
            *parts = new;
        }
    }

    fn deadline(&self, at: usize) -> Option<Duration> {
        match self.actors[at].state {
            State::Held { deadline, .. } if deadline > 0 => Some(Duration::from_nanos(deadline)),
            _ => None,
        }
    }

    fn hold(&mut self, at: usize) -> Step {
        let limited = self.actors[at].limit > 0;
        let late = self.deadline(at).is_some_and(|deadline| now() + NEEDED > deadline);
        if limited && (late || self.random.percent(2)) {
            return self.evict(at);
        }
        match self.random.below(1000) {
            0..=4 => self.kill(at),
            5..=249 => Ok(()),
            250..=399 if self.can_go_on(at) => self.end_with_fence(at),
            400..=469 => self.grow(at),
            _ => {
                self.use_parts(at)?;
                self.end(at)
            }
        }
    }

    /// Ends a grant in one of the ways, if all that must be done is done.
    fn end(&mut self, at: usize) -> Step {
        let parts = self.parts(at);
        if parts.iter().any(|part| !part.used) {
            return Ok(());
        }
        match self.random.below(100) {
            0..=9 if parts.len() > 1 => {
                self.count(Event::Part);
                let nth = self.random.below(parts.len() as u64) as usize;
                let reply = self.tell(at, Command::Part(parts[nth].want.buffer))?;
                let mut rest = parts;
                rest.remove(nth);
                self.set_parts(at, rest);
                self.expect(at, &reply)
            }
            10..=17 if parts.iter().any(|part| part.want.writes()) => self.downgrade(at),
            18..=27 => {
                self.count(Event::Exchange);
                self.exchange(at, false)
            }
            _ => {
                let reply = self.tell(at, Command::Unlock(false))?;
                self.actors[at].state = State::Idle;
                self.expect(at, &reply)
            }
        }
    }

    /// A grant that has time must not be over.
    fn expect(&mut self, at: usize, reply: &Reply) -> Step {
        self.changes += 1;
        match reply {
            Reply::Done => Ok(()),
            other => broken(format!("client {at} was answered by {other}")),
        }
    }

    /// A writer goes on as a reader, and looks at what it has written.
    fn downgrade(&mut self, at: usize) -> Step {
        let mut parts = self.parts(at);
        let Some(part) = parts.iter_mut().find(|part| part.want.writes()) else {
            return Ok(());
        };
        self.count(Event::Downgrade);
        part.want.access = part.want.access.shared();
        part.used = false;
        let reply = self.tell(at, Command::Downgrade(part.want.buffer))?;
        self.set_parts(at, parts);
        self.expect(at, &reply)
    }

    /// A reader becomes a writer, if the other readers let it.
    fn grow(&mut self, at: usize) -> Step {
        let mut parts = self.parts(at);
        let Some(part) = parts.iter_mut().find(|part| !part.want.writes()) else {
            return Ok(());
        };
        let access = if part.want.is_dma() { Access::DmaWrite } else { Access::Write };
        let want = Want { access, ..part.want };
        match self.tell(at, Command::Grow(want))? {
            Reply::Granted(_, marks) => {
                self.count(Event::Upgrade);
                let Some(mark) = marks.iter().find(|mark| mark.buffer == want.buffer) else {
                    return broken(format!("buffer {} has gone", want.buffer));
                };
                part.torn = mark.torn;
                part.fence = self.acquire(at, want, *mark)?;
                (part.want, part.used) = (want, false);
                self.oracle.log(want.buffer, format!("client {at} has become {}", name(access)));
                self.set_parts(at, parts);
                Ok(())
            }
            Reply::Refused => Ok(()),
            other => broken(format!("a growth was answered by {other}")),
        }
    }

    fn exchange(&mut self, at: usize, fence: bool) -> Step {
        let wants = self.wants();
        self.changes += 1;
        match self.tell(at, Command::Exchange(fence, wants.clone()))? {
            Reply::Granted(deadline, marks) => self.granted(at, &wants, deadline, &marks)?,
            Reply::Refused => self.actors[at].state = State::Idle,
            other => return broken(format!("an exchange was answered by {other}")),
        }
        Ok(())
    }
}

impl Part {
    fn is_ready(&self) -> bool {
        self.fence.as_ref().is_none_or(|fence| is_signalled(fence))
    }
}

/// All must have been done.
fn done(replies: &[Reply]) -> Step {
    match replies.iter().find(|reply| **reply != Reply::Done) {
        None => Ok(()),
        Some(other) => broken(format!("a client answered {other}")),
    }
}

/// CLOCK_MONOTONIC, of which deadlines are readings.
fn now() -> Duration {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    time.map(Duration::from).unwrap_or_default()
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! One history: the service, its threads and its clients, one step after the other, from a seed.
//!
//! A system call in the middle of a step may let another thread go first (the kernel's hook), so no step keeps the
//! simulation's own state borrowed while it calls the service.

use std::cell::{Cell, RefCell, RefMut};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use buffersync_engine::{Access, BufferId};
use buffersync_kernel::fd::Fd;
use buffersync_kernel::interrupt::Watchdog;
use buffersync_kernel::random::Random;
use buffersync_kernel::site::Faults;
use buffersync_kernel::world::{self, FenceId, FileId, Process};
use buffersync_service::arbiter::Arbiter;

use crate::books::{Books, Checked};
use crate::memory::Memory;
use crate::plan::Plan;

/// The allocator's process, which has a descriptor of each buffer and makes the fences of drivers.
pub const ALLOCATOR: Process = 0;

/// The work of a device, or of a CPU, behind a fence. It is done when the fence signals.
#[derive(Clone, Debug)]
pub struct Work {
    pub at: u64,
    pub buffer: BufferId,
    pub file: FileId,
    pub access: Access,
    pub told: bool,
    /// The fence, and the service's process at that time.
    pub fence: FenceId,
    pub service: Process,
}

/// A buffer that the allocator has made.
pub struct Made {
    pub file: FileId,
    pub fd: Fd,
}

pub struct Client {
    pub uid: u32,
    pub process: Process,
}

pub struct Inner {
    pub books: Books,
    pub random: Random,
    pub clients: Vec<Client>,
    pub made: Vec<Made>,
    pub works: Vec<Work>,
    pub watchdogs: Vec<Watchdog>,
    /// The service's names count from here, and it began at this time of day.
    pub names_from: u64,
    pub began_ns: u64,
    pub young_until: u64,
    pub max_remembered: u32,
    pub calls: u64,
    /// Steps that run inside of another one.
    pub nested: u32,
    pub nested_in_all: u64,
}

pub struct Simulation {
    pub plan: Plan,
    pub inner: RefCell<Inner>,
    arbiter: RefCell<Option<Arc<Arbiter>>>,
    pub verbose: bool,
    /// A violation that no step could return.
    pub failed: Cell<Option<String>>,
    me: Weak<Self>,
}

/// The figures of a history.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub calls: u64,
    pub faults: u64,
    /// System calls that could fail.
    pub sites: u64,
}

/// Prints a step.
#[macro_export]
macro_rules! note {
    ($simulation:expr, $($text:tt)*) => {
        if $simulation.verbose {
            let depth = $simulation.inner.borrow().nested as usize;
            println!("{:>12} {}{}", buffersync_kernel::clock::now_ns() / 1000, "    ".repeat(depth), format!($($text)*));
        }
    };
}

/// The threads of the service, the world, and what clients do.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Call,
    Read,
    Use,
    Reactor,
    Worker,
    Closer,
    Pass,
    Implicit,
    Make,
    Trespass,
    Unseen,
    Settle,
}

const DEEDS: [(Deed, usize); 12] = [
    (Deed::Call, 100),
    (Deed::Read, 10),
    (Deed::Use, 25),
    (Deed::Reactor, 14),
    (Deed::Worker, 22),
    (Deed::Closer, 3),
    (Deed::Pass, 12),
    (Deed::Implicit, 3),
    (Deed::Make, 1),
    (Deed::Trespass, 4),
    (Deed::Unseen, 2),
    (Deed::Settle, 2),
];

impl Simulation {
    /// Makes the world of a seed, and starts the service in it.
    pub fn new(seed: u64, calls: u64, faults: Option<Faults>, verbose: bool) -> Rc<Self> {
        world::begin(seed);
        let mut random = Random::new(!seed);
        let mut plan = Plan::new(&mut random, calls);
        if let Some(faults) = faults {
            plan.faults = faults;
        }
        let books = Books {
            verbose,
            memory: Memory::new(verbose),
            stubborn: plan.stubborn,
            faulty: plan.is_short() || plan.late_fences > 0,
            read_within: u64::from(plan.config.read_grant_ms) * 1_000_000,
            ..Books::default()
        };
        let inner = Inner {
            books,
            random,
            clients: Vec::new(),
            made: Vec::new(),
            works: Vec::new(),
            watchdogs: Vec::new(),
            names_from: 0,
            began_ns: 0,
            young_until: 0,
            max_remembered: plan.config.max_remembered,
            calls: 0,
            nested: 0,
            nested_in_all: 0,
        };
        world::with(|world| {
            world.process(u32::MAX);
            world.has_sync_file_ioctls = !plan.old_kernel;
            world.forgets = plan.config.max_remembered <= 1;
        });
        if verbose {
            println!("{plan:#?}");
        }
        Rc::new_cyclic(|me| Self {
            plan,
            inner: RefCell::new(inner),
            arbiter: RefCell::new(None),
            verbose,
            failed: Cell::new(None),
            me: me.clone(),
        })
    }

    pub fn inner(&self) -> RefMut<'_, Inner> {
        self.inner.borrow_mut()
    }

    pub fn arbiter(&self) -> Arc<Arbiter> {
        match &*self.arbiter.borrow() {
            Some(arbiter) => Arc::clone(arbiter),
            None => unreachable!("the service runs"),
        }
    }

    /// Runs the whole history.
    pub fn run(&self) -> Result<Figures, String> {
        let result = self.history();
        world::attach(None, None);
        let figures = {
            let inner = self.inner.borrow();
            let (faults, sites) = world::with(|world| (world.failed, world.calls));
            Figures { calls: inner.calls, faults, sites }
        };
        // What went wrong inside of another step came first.
        match self.failed.take() {
            Some(why) => Err(why),
            None => result.map(|()| figures),
        }
    }

    fn history(&self) -> Checked {
        self.begin_service()?;
        for nth in 0..self.plan.clients {
            let process = world::with(|world| world.process(24));
            let uid = crate::plan::UIDS[nth % crate::plan::UIDS.len()];
            self.inner().clients.push(Client { uid, process });
        }
        for _ in 0..self.plan.buffers {
            self.make_buffer();
        }
        if !self.plan.young {
            let until = self.inner().young_until;
            self.pass_until(until + 1);
            (0..self.plan.buffers).for_each(|_| self.make_buffer());
        }
        world::with(|world| {
            world.faults = self.plan.faults;
            world.switch = self.plan.switch;
            world.late_fences = self.plan.late_fences;
        });
        while self.inner().calls < self.plan.calls {
            self.step()?;
            if self.plan.restarts > 0 && self.inner().random.one_in(self.plan.restarts) {
                self.end_service()?;
                self.begin_service()?;
            }
        }
        self.finish()
    }

    fn begin_service(&self) -> Checked {
        let (faults, switch) = world::with(|world| {
            world.service = world.process(self.plan.limit);
            (std::mem::take(&mut world.faults), std::mem::take(&mut world.switch))
        });
        let arbiter = Arbiter::new(self.plan.config.clone(), self.plan.resources);
        let arbiter =
            Arc::new(arbiter.map_err(|errno| format!("the service does not start: {errno}"))?);
        // It has measured what a message costs, on channels of its own.
        world::with(|world| world.events.clear());
        let workers = 0..self.plan.config.sync_workers;
        let watchdogs: Result<Vec<Watchdog>, _> = workers.map(|_| Watchdog::new()).collect();
        {
            let mut inner = self.inner();
            inner.watchdogs = watchdogs.map_err(|errno| errno.to_string())?;
            inner.names_from = buffersync_kernel::clock::since_boot_ns() / 1000;
            inner.began_ns = buffersync_kernel::clock::time_of_day_ns();
            inner.young_until = world::with(|world| world.now)
                + u64::from(self.plan.config.max_hold_ms) * 1_000_000;
        }
        let watched = Arc::downgrade(&arbiter);
        let locked = move || watched.upgrade().is_some_and(|arbiter| arbiter.is_locked());
        *self.arbiter.borrow_mut() = Some(arbiter);
        let me = self.me.clone();
        let hook = move || {
            if let Some(me) = me.upgrade() {
                me.step_inside();
            }
        };
        world::attach(Some(Rc::new(hook)), Some(Box::new(locked)));
        world::with(|world| (world.faults, world.switch) = (faults, switch));
        Ok(())
    }

    /// The process of the service dies.
    fn end_service(&self) -> Checked {
        note!(self, "the service dies");
        world::attach(None, None);
        let arbiter = self.arbiter.borrow_mut().take();
        drop(arbiter);
        self.inner().watchdogs.clear();
        let (left, now) = world::with(|world| {
            world.events.clear();
            (world.open_in(world.service), world.now)
        });
        if left > 0 {
            return Err(format!("{left} descriptors are owned by nobody"));
        }
        {
            let mut inner = self.inner();
            let books = &mut inner.books;
            for group in books.groups.iter_mut().filter(|group| group.open) {
                group.open = false;
                group.end = None;
                group.members.clear();
                group.locks.clear();
                group.due.clear();
            }
            books.fences.clear();
            books.buffers.clear();
            books.by_file.clear();
            books.kept_fences = 0;
            books.memory.service_died();
            inner.works.clear();
        }
        self.pass_until(now + 200_000_000);
        Ok(())
    }

    /// A step inside of a system call of another one.
    fn step_inside(&self) {
        if self.inner.try_borrow_mut().is_err() {
            return;
        }
        self.inner().nested += 1;
        self.inner().nested_in_all += 1;
        let context = std::mem::take(&mut self.inner().books.in_reactor);
        let done = self.follow_as(context).and_then(|()| self.step());
        self.inner().books.in_reactor = context;
        self.inner().nested -= 1;
        if let Err(why) = done {
            let earlier = self.failed.take();
            self.failed.set(earlier.or(Some(why)));
        }
    }

    fn follow_as(&self, in_reactor: bool) -> Checked {
        self.inner().books.follow(in_reactor)
    }

    fn step(&self) -> Checked {
        let total: usize = DEEDS.iter().map(|(_, weight)| weight).sum();
        let (deed, check) = {
            let mut inner = self.inner();
            if inner.nested == 0 {
                world::with(|world| world.step += 1);
            }
            let mut nth = inner.random.below(total);
            let found = DEEDS.iter().find(|(_, weight)| {
                let here = nth < *weight;
                nth = nth.saturating_sub(*weight);
                here
            });
            (found.map_or(Deed::Call, |(deed, _)| *deed), inner.random.one_in(16))
        };
        if self.plan.tick > 0 {
            let now = world::with(|world| world.now);
            self.pass_until(now + self.plan.tick);
        }
        let inside = self.inner().nested > 0;
        match deed {
            Deed::Call => self.call()?,
            Deed::Read => self.read_some(),
            Deed::Use => self.use_some()?,
            Deed::Reactor => self.turn_reactor()?,
            Deed::Worker => drop(self.turn_worker()?),
            Deed::Closer => {
                self.arbiter().turn_closer();
                self.follow_as(false)?;
            }
            Deed::Pass => self.pass(),
            Deed::Implicit => self.attach_fence(),
            Deed::Make => self.change_buffers(),
            Deed::Trespass => self.trespass(),
            Deed::Unseen => self.use_unseen()?,
            Deed::Settle if inside => {}
            Deed::Settle => self.settle()?,
        }
        self.check(check && !inside)
    }

    /// The checks after a step.
    fn check(&self, thoroughly: bool) -> Checked {
        if let Some(why) = self.failed.take() {
            return Err(why);
        }
        if let Some(why) = world::with(|world| world.violations.pop()) {
            return Err(why);
        }
        if thoroughly {
            self.arbiter().check().map_err(|why| format!("the engine: {why}"))?;
            self.inner().books.check_conflicts()?;
        }
        Ok(())
    }

    /// Everybody leaves, in order or not. Nobody waits for ever, and nothing is left.
    fn finish(&self) -> Checked {
        note!(self, "the end");
        world::with(|world| {
            world.faults = Faults::None;
            world.switch = 0;
            world.late_fences = 0;
        });
        let span = 2 * u64::from(self.plan.config.max_hold_ms) * 1_000_000;
        for round in 0..64 {
            self.read_all();
            self.settle()?;
            self.unlock_all()?;
            if self.inner().books.groups.iter().all(|group| !group.open || group.locks.is_empty()) {
                break;
            }
            if round == 63 {
                return Err("a lock waits for ever".into());
            }
            let now = world::with(|world| world.now);
            self.pass_until(now + span);
            self.check(false)?;
        }
        self.close_all()?;
        self.check(true)?;
        for _ in 0..4 {
            let now = world::with(|world| world.now);
            self.pass_until(now + span);
            self.settle()?;
        }
        self.check(true)?;
        let left = self.arbiter().left_over();
        if !left.is_empty() {
            return Err(format!("left over: {left:?}"));
        }
        let open = world::with(|world| world.open_in(world.service));
        if open != 2 {
            return Err(format!("{open} descriptors are open, and an empty service has 2"));
        }
        self.end_service()
    }
}

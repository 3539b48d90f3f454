// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The simulated machine: descriptors, files, memory. Each thread has one world.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use nix::errno::Errno;

use crate::fd::{AsFd, Fd};
use crate::line::Line;
use crate::poller::Epoll;
use crate::random::Random;
use crate::site::{Faults, Site};
use crate::sync_file::Status;

/// Names a file, for ever.
pub type FileId = usize;
/// Names a fence, for ever.
pub type FenceId = usize;
/// Names a process, for ever.
pub type Process = usize;

/// A file. It is there while a descriptor is.
#[derive(Debug)]
pub struct File {
    pub kind: Kind,
    /// Descriptors of all processes.
    pub descriptors: u32,
}

#[derive(Debug)]
pub enum Kind {
    DmaBuf(DmaBuf),
    Memfd {
        size: u64,
        created_ns: u64,
    },
    SyncFile(Vec<FenceId>),
    /// The service's end; the client's end.
    Sender(FileId),
    Receiver(Queue),
    /// A file of any other kind. The server of a FUSE file would answer when it likes.
    Other,
}

#[derive(Debug, Default)]
pub struct DmaBuf {
    pub size: u64,
    pub created_ns: u64,
    pub line: Line,
    /// The reservation object.
    pub reserved: Vec<Reserved>,
}

/// A fence in a reservation object.
#[derive(Clone, Copy, Debug)]
pub struct Reserved {
    pub fence: FenceId,
    pub of_writer: bool,
    /// The driver's step in which it came.
    pub step: u64,
}

/// Messages that nobody has read.
#[derive(Debug, Default)]
pub struct Queue {
    pub messages: Vec<Box<[u8]>>,
    /// Of the sender's buffer.
    pub taken: usize,
    pub room: usize,
}

#[derive(Clone, Copy, Debug)]
pub struct Fence {
    /// When it signals; `None` for never.
    pub at: Option<u64>,
    pub ok: bool,
}

#[derive(Debug)]
pub struct Open {
    pub file: FileId,
    pub process: Process,
    pub open: bool,
}

#[derive(Debug, Default)]
pub struct Table {
    pub open: u32,
    pub limit: u32,
}

/// System calls of the service, in order, for the driver's books.
#[derive(Clone, Debug)]
pub enum Event {
    /// A message to a client.
    Sent(FileId, Box<[u8]>),
    /// A message that was not sent.
    Lost(FileId, Box<[u8]>),
    /// The service has asked for the status of a sync_file.
    Status(FileId, Status),
    /// It has asked for each fence in a sync_file: whether one has failed.
    Failed(FileId, bool),
    /// It has made a sync_file of another one.
    Merged(FileId, FileId),
    /// The poller waits for a sync_file no more.
    Unwatched(FileId),
    /// The reactor's timer has fired.
    Timer,
    /// START or END of a dma-buf, and whether it was carried out.
    Synced(FileId, Site, bool),
}

/// Runs another thread for a while.
pub type Hook = Rc<dyn Fn()>;

/// True if the service's mutex is locked.
pub type Locked = Box<dyn Fn() -> bool>;

#[derive(Debug)]
pub struct World {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub now: u64,
    pub random: Random,
    pub files: Vec<File>,
    pub descriptors: Vec<Open>,
    pub tables: Vec<Table>,
    pub fences: Vec<Fence>,
    pub epolls: Vec<Epoll>,
    /// The process of descriptors that the service makes.
    pub service: Process,
    pub has_sync_file_ioctls: bool,
    pub faults: Faults,
    /// System calls that could fail, since the world began.
    pub calls: u64,
    /// Those that have failed, because of [`World::faults`].
    pub failed: u64,
    /// One system call in so many that could wait lets another thread go first; 0: none.
    pub switch: u32,
    /// One START in so many finds a fence that came after the look; 0: none.
    pub late_fences: u32,
    /// An END that has failed may be forgotten: the service remembers too few buffers.
    pub forgets: bool,
    /// Steps of the driver so far.
    pub step: u64,
    /// How often START was interrupted since one was not.
    pub interrupted: u32,
    /// A watchdog guards the call.
    pub guarded: bool,
    pub events: Vec<Event>,
    /// Memfds that were recognised: those whose link could be read.
    pub recognised: Vec<FileId>,
    pub violations: Vec<String>,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::new(0));
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
    static LOCKED: RefCell<Option<Locked>> = const { RefCell::new(None) };
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Runs something on this thread's world.
pub fn with<R>(call: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with(|world| call(&mut world.borrow_mut()))
}

/// A new world. The old one must have no descriptor any more that will be closed.
pub fn begin(seed: u64) {
    HOOK.set(None);
    LOCKED.set(None);
    DEPTH.set(0);
    with(|world| *world = World::new(seed));
}

/// Sets what runs another thread, and what tells whether the service's mutex is locked.
pub fn attach(hook: Option<Hook>, locked: Option<Locked>) {
    HOOK.set(hook);
    LOCKED.set(locked);
}

fn is_locked() -> bool {
    LOCKED.with_borrow(|locked| locked.as_ref().is_some_and(|locked| locked()))
}

/// Notes a call that may last, if it is made under the mutex.
pub fn check_may_last(site: Site) {
    if is_locked() {
        with(|world| world.violations.push(format!("{site:?} under the service's mutex")));
    }
}

/// A system call begins. Another thread may run first. An error is the call's failure.
pub fn enter(site: Site) -> Result<(), Errno> {
    if site.may_last() {
        check_may_last(site);
        let switches = with(|world| world.switch > 0 && world.random.one_in(world.switch));
        if switches && DEPTH.get() < 2 && !is_locked() {
            if let Some(hook) = HOOK.with_borrow(Clone::clone) {
                DEPTH.set(DEPTH.get() + 1);
                hook();
                DEPTH.set(DEPTH.get() - 1);
            }
        }
    }
    with(|world| world.fault(site))
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            now: 1_000_000_000,
            random: Random::new(seed),
            files: Vec::new(),
            descriptors: Vec::new(),
            tables: Vec::new(),
            fences: Vec::new(),
            epolls: Vec::new(),
            service: 0,
            has_sync_file_ioctls: true,
            faults: Faults::None,
            calls: 0,
            failed: 0,
            switch: 0,
            late_fences: 0,
            forgets: false,
            step: 0,
            interrupted: 0,
            guarded: false,
            events: Vec::new(),
            recognised: Vec::new(),
            violations: Vec::new(),
        }
    }

    fn fault(&mut self, site: Site) -> Result<(), Errno> {
        let Some(errno) = self.random.of(site.errors()).copied() else { return Ok(()) };
        self.calls += 1;
        let fails = match self.faults {
            Faults::None => false,
            Faults::OneIn(many) => self.random.one_in(many),
            Faults::Only(nth) => nth == self.calls,
        };
        self.failed += u64::from(fails);
        if fails {
            Err(errno)
        } else {
            Ok(())
        }
    }

    /// A new process.
    pub fn process(&mut self, limit: u32) -> Process {
        self.tables.push(Table { open: 0, limit });
        self.tables.len() - 1
    }

    pub fn file(&mut self, kind: Kind) -> FileId {
        self.files.push(File { kind, descriptors: 0 });
        self.files.len() - 1
    }

    /// A descriptor of a file.
    pub fn open(&mut self, process: Process, file: FileId) -> Result<Fd, Errno> {
        let table = &mut self.tables[process];
        if table.open >= table.limit {
            return Err(Errno::EMFILE);
        }
        table.open += 1;
        self.files[file].descriptors += 1;
        self.descriptors.push(Open { file, process, open: true });
        Ok(Fd::new((self.descriptors.len() - 1) as u32))
    }

    /// A descriptor of a new file.
    pub fn create(&mut self, process: Process, kind: Kind) -> Result<Fd, Errno> {
        let file = self.file(kind);
        self.open(process, file)
    }

    pub fn file_of(&self, number: u32) -> FileId {
        let open = &self.descriptors[number as usize];
        assert!(open.open, "descriptor {number} is used after it was closed");
        open.file
    }

    pub fn kind_of(&self, number: u32) -> &Kind {
        &self.files[self.file_of(number)].kind
    }

    pub(crate) fn duplicate(&mut self, number: u32) -> Result<Fd, Errno> {
        let Open { file, process, .. } = self.descriptors[number as usize];
        self.open(process, file)
    }

    pub(crate) fn close(&mut self, number: u32) {
        let open = &mut self.descriptors[number as usize];
        assert!(open.open, "descriptor {number} is closed twice");
        open.open = false;
        let Open { file, process, .. } = *open;
        self.tables[process].open -= 1;
        self.files[file].descriptors -= 1;
        if self.files[file].descriptors == 0 {
            self.epolls.iter_mut().for_each(|epoll| epoll.forget_file(file));
            if let Kind::Receiver(queue) = &mut self.files[file].kind {
                *queue = Queue::default();
            }
        }
    }

    /// The dma-buf behind a file.
    pub fn dma_buf(&mut self, file: FileId) -> Option<&mut DmaBuf> {
        match &mut self.files[file].kind {
            Kind::DmaBuf(dma_buf) => Some(dma_buf),
            _ => None,
        }
    }

    /// The dma-buf's line, after the cache has done what it likes.
    pub fn line(&mut self, file: FileId) -> Option<&mut Line> {
        let Self { files, random, .. } = self;
        let Kind::DmaBuf(dma_buf) = &mut files[file].kind else { return None };
        dma_buf.line.disturb(random);
        Some(&mut dma_buf.line)
    }

    pub fn fence(&mut self, at: Option<u64>, ok: bool) -> FenceId {
        self.fences.push(Fence { at, ok });
        self.fences.len() - 1
    }

    pub fn is_pending(&self, fence: FenceId) -> bool {
        self.fences[fence].at.is_none_or(|at| at > self.now)
    }

    pub fn status(&self, fence: FenceId) -> Status {
        match self.fences[fence] {
            Fence { at, .. } if at.is_none_or(|at| at > self.now) => Status::Pending,
            Fence { ok: true, .. } => Status::Signalled,
            Fence { .. } => Status::Failed,
        }
    }

    /// The status of a sync_file: pending, as long as one of its fences is.
    pub fn status_of(&self, file: FileId) -> Status {
        let Kind::SyncFile(fences) = &self.files[file].kind else { return Status::Failed };
        let mut status = Status::Signalled;
        for fence in fences {
            match self.status(*fence) {
                Status::Pending => return Status::Pending,
                Status::Failed => status = Status::Failed,
                Status::Signalled => {}
            }
        }
        status
    }

    /// The fences of a dma-buf that a reader or a writer waits for, and that are pending.
    pub fn reserved(&mut self, file: FileId, writes: bool) -> Vec<FenceId> {
        let Self { files, fences, now, .. } = self;
        let Kind::DmaBuf(dma_buf) = &mut files[file].kind else { return Vec::new() };
        dma_buf.reserved.retain(|one| fences[one.fence].at.is_none_or(|at| at > *now));
        let reserved = dma_buf.reserved.iter().filter(|one| writes || one.of_writer);
        reserved.map(|one| one.fence).collect()
    }

    /// True if one of these was there before this step.
    pub fn reserved_before(&mut self, file: FileId, writes: bool) -> bool {
        let step = self.step;
        let pending = self.reserved(file, writes);
        let Some(dma_buf) = self.dma_buf(file) else { return false };
        dma_buf.reserved.iter().any(|one| one.step < step && pending.contains(&one.fence))
    }

    /// A driver puts a fence into a dma-buf.
    pub fn reserve(&mut self, file: FileId, fence: FenceId, of_writer: bool) {
        let step = self.step;
        if let Some(dma_buf) = self.dma_buf(file) {
            dma_buf.reserved.push(Reserved { fence, of_writer, step });
        }
    }

    /// Descriptors that a process has open.
    pub fn open_in(&self, process: Process) -> u32 {
        self.tables[process].open
    }

    /// The next message of a channel; `None` if there is none.
    pub fn receive(&mut self, end: &impl AsFd) -> Option<Box<[u8]>> {
        let file = self.file_of(end.as_fd().number());
        let Kind::Receiver(queue) = &mut self.files[file].kind else { return None };
        if queue.messages.is_empty() {
            return None;
        }
        let message = queue.messages.remove(0);
        queue.taken -= crate::channel::cost(message.len());
        Some(message)
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The memory that the orchestrator shares with all workers: what is going on, who is dead, who waits, and what has
//! been counted. (What the workers hold is in the buffers themselves: [`crate::header`].)

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use nix::sys::memfd::{memfd_create, MemFdCreateFlag};
use nix::sys::mman::{mmap, MapFlags, ProtFlags};

/// Threads that lock, over all processes, and the ids of those that have died and of whom something is still in the
/// buffers.
pub const ACTORS: usize = 48;
/// Worker processes at a time.
pub const WORKERS: usize = 6;
/// Threads of a worker: locks of one process conflict like any others.
pub const THREADS: usize = 2;

const WORDS: usize = 1024;
const FIRST_COUNT: usize = 8;
const FIRST_WORKER: usize = 64;
const FIRST_ACTOR: usize = 128;
const ACTOR_WORDS: usize = 4;

/// The things that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    Locks,
    Evictions,
    Violations,
    /// Grants that were flagged.
    Flagged,
    TimeOuts,
    Growths,
    /// Ends with a release fence.
    Fences,
    /// Grants that came with an acquire fence.
    Fenced,
    Downgrades,
    Exchanges,
    Parts,
    Cancels,
    /// Replies that a client without descriptors lost.
    Lost,
    /// Content that was looked at and had to be whole.
    Looks,
    /// Grants that found an earlier holder who had been evicted or was dead.
    Stale,
}

/// All of them, with the names by which they are told.
pub const COUNTS: [(Count, &str); 15] = [
    (Count::Locks, "locks"),
    (Count::Evictions, "evictions"),
    (Count::Violations, "violations"),
    (Count::Flagged, "flagged"),
    (Count::TimeOuts, "time-outs"),
    (Count::Growths, "growths"),
    (Count::Fences, "release fences"),
    (Count::Fenced, "acquire fences"),
    (Count::Downgrades, "downgrades"),
    (Count::Exchanges, "exchanges"),
    (Count::Parts, "parts"),
    (Count::Cancels, "cancels"),
    (Count::Lost, "lost replies"),
    (Count::Looks, "looks"),
    (Count::Stale, "stale holders"),
];

/// The orchestrator's order to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    None,
    /// Fork a child that sleeps, and die.
    ForkAndDie,
    /// Have no descriptor left for a while.
    LoseDescriptors,
}

/// The memory.
pub struct Control {
    words: NonNull<AtomicU64>,
    fd: OwnedFd,
}

// SAFETY: the memory is only used through atomics, and its descriptor is only read.
unsafe impl Send for Control {}
// SAFETY: as above.
unsafe impl Sync for Control {}

impl Control {
    /// New, all zero.
    pub fn new() -> std::io::Result<Self> {
        let fd = memfd_create(c"soak", MemFdCreateFlag::empty())?;
        nix::unistd::ftruncate(&fd, (WORDS * 8) as i64)?;
        Self::of(fd)
    }

    /// The orchestrator's, by its number in this process.
    pub fn inherited(fd: RawFd) -> std::io::Result<Self> {
        // SAFETY: the orchestrator passed the descriptor, and nothing else uses the number.
        Self::of(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    fn of(fd: OwnedFd) -> std::io::Result<Self> {
        let size =
            std::num::NonZeroUsize::new(WORDS * 8).ok_or(std::io::ErrorKind::InvalidInput)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses touches no other memory.
        let start = unsafe { mmap(None, size, protection, MapFlags::MAP_SHARED, &fd, 0) }?;
        Ok(Self { words: start.cast(), fd })
    }

    /// For children, which inherit it.
    pub fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < WORDS, "word {at} is beyond the end");
        // SAFETY: it is within the mapping, which lasts as long as this struct; zero is a valid value, and all
        // accesses are atomic.
        unsafe { &*self.words.as_ptr().add(at) }
    }

    /// 1 when the workers have to end.
    pub fn over(&self) -> &AtomicU64 {
        self.word(0)
    }

    /// The number of the service's life, twice; odd while there is no service, or one that is coming up.
    pub fn life(&self) -> &AtomicU64 {
        self.word(1)
    }

    /// When the life before this one ended.
    pub fn life_began(&self) -> &AtomicU64 {
        self.word(2)
    }

    /// A number that no claim has had.
    pub fn number(&self) -> u64 {
        self.word(3).fetch_add(1, SeqCst) + 1
    }

    /// One of the counts.
    pub fn count(&self, count: Count) -> &AtomicU64 {
        self.word(FIRST_COUNT + count as usize)
    }

    /// Counts one.
    pub fn add(&self, count: Count) {
        self.count(count).fetch_add(1, SeqCst);
    }

    /// Takes the orchestrator's order to a worker.
    pub fn take_order(&self, worker: usize) -> Order {
        match self.word(FIRST_WORKER + worker).swap(0, SeqCst) {
            1 => Order::ForkAndDie,
            2 => Order::LoseDescriptors,
            _ => Order::None,
        }
    }

    /// Tells a worker what is wanted of it.
    pub fn order(&self, worker: usize, order: Order) {
        self.word(FIRST_WORKER + worker).store(order as u64, SeqCst);
    }

    fn of_actor(&self, actor: usize, word: usize) -> &AtomicU64 {
        assert!(actor < ACTORS, "there is no actor {actor}");
        self.word(FIRST_ACTOR + actor * ACTOR_WORDS + word)
    }

    /// Before this time an actor is not killed; 0: it lives.
    pub fn killed_at(&self, actor: usize) -> &AtomicU64 {
        self.of_actor(actor, 0)
    }

    /// 1: the process has ended. It touches nothing any more.
    pub fn reaped(&self, actor: usize) -> &AtomicU64 {
        self.of_actor(actor, 1)
    }

    /// Since when an actor is in a call; 0: it is in none.
    pub fn in_call_since(&self, actor: usize) -> &AtomicU64 {
        self.of_actor(actor, 2)
    }

    /// How long that call may take by its own time limit, in nanoseconds.
    pub fn call_limit(&self, actor: usize) -> &AtomicU64 {
        self.of_actor(actor, 3)
    }

    /// Says a violation, and counts it.
    pub fn violation(&self, what: &str) {
        self.add(Count::Violations);
        eprintln!("soak: VIOLATION: {what}");
    }
}

/// CLOCK_MONOTONIC, in nanoseconds: the service's deadlines are readings of it.
pub fn now() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    let time = time.map(std::time::Duration::from).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// As nanoseconds.
pub fn nanos(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

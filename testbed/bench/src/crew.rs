// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The other processes of a benchmark. This process starts them, each with a verb, a number and a shared
//! memory.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::{Child, Stdio};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::{fcntl, FcntlArg, FdFlag};
use nix::sys::memfd::{memfd_create, MemFdCreateFlag};
use nix::sys::mman::{mmap, MapFlags, ProtFlags};

use buffersync_testbed_guest::user::User;

/// The number of words in the shared memory.
const WORDS: usize = 1 << 18;

/// Counters that all processes of a run share.
pub struct Shared {
    words: NonNull<AtomicU64>,
    fd: OwnedFd,
}

// SAFETY: the memory is only used through atomics, and its descriptor is only read.
unsafe impl Sync for Shared {}

impl Shared {
    /// Makes a new memory of zeros.
    pub fn new() -> io::Result<Self> {
        let fd = memfd_create(c"bench", MemFdCreateFlag::empty())?;
        nix::unistd::ftruncate(&fd, (WORDS * 8) as i64)?;
        Self::of(fd)
    }

    /// Takes over the parent's memory.
    pub fn inherited(fd: RawFd) -> io::Result<Self> {
        // SAFETY: the parent passed the descriptor, and nothing else uses the number.
        Self::of(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    fn of(fd: OwnedFd) -> io::Result<Self> {
        let size = std::num::NonZeroUsize::new(WORDS * 8).ok_or(io::ErrorKind::InvalidInput)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses touches no other memory.
        let start = unsafe { mmap(None, size, protection, MapFlags::MAP_SHARED, &fd, 0) }?;
        Ok(Self { words: start.cast(), fd })
    }

    /// Returns one word. Panics beyond the end.
    pub fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < WORDS, "the shared memory is too small");
        // SAFETY: it is within the mapping, which lasts as long as the process; zero is a valid value, and
        // all accesses are atomic.
        unsafe { &*self.words.as_ptr().add(at) }
    }
}

/// The word that is 1 when all processes may begin, and 2 when they must end.
pub const PHASE: usize = 0;
/// The word that counts the ready processes.
pub const READY: usize = 1;

/// Reports that this process is ready, and waits for the others.
pub fn begin(shared: &Shared) {
    shared.word(READY).fetch_add(1, Ordering::SeqCst);
    wait_for_begin(shared);
}

/// Waits until all processes may begin.
pub fn wait_for_begin(shared: &Shared) {
    while shared.word(PHASE).load(Ordering::SeqCst) == 0 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Lets all processes begin.
pub fn go(shared: &Shared) {
    shared.word(PHASE).store(1, Ordering::SeqCst);
}

/// Tells if this process must end.
pub fn is_over(shared: &Shared) -> bool {
    shared.word(PHASE).load(Ordering::SeqCst) == 2
}

/// A process of a run: `buffersync-bench VERB NUMBER SHARED FDS...`.
#[derive(Clone, Copy)]
pub struct Member<'a> {
    pub user: User,
    pub verb: &'a str,
    pub number: usize,
}

/// The processes of a run.
pub struct Crew(Vec<Child>);

impl Crew {
    /// Starts `count` processes with this verb and numbers from 0, which inherit the descriptors. Returns when all of
    /// them are ready.
    pub fn start(verb: &str, count: usize, shared: &Shared, fds: &[RawFd]) -> io::Result<Self> {
        let user = User(nix::unistd::geteuid().as_raw());
        let members: Vec<Member<'_>> =
            (0..count).map(|number| Member { user, verb, number }).collect();
        Self::start_all(&members, shared, fds)
    }

    /// Starts processes of several users and verbs.
    pub fn start_all(members: &[Member<'_>], shared: &Shared, fds: &[RawFd]) -> io::Result<Self> {
        let all = [&[shared.fd.as_raw_fd()], fds].concat();
        for fd in &all {
            fcntl(*fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        let words: Vec<String> = all.iter().map(ToString::to_string).collect();
        // A run can have several crews.
        let before = shared.word(READY).load(Ordering::SeqCst);
        let mut children = Vec::new();
        for Member { user, verb, number } in members {
            let mut command = user.command(std::env::current_exe()?);
            command.arg(verb).arg(number.to_string()).args(&words).stdin(Stdio::null());
            children.push(command.spawn()?);
        }
        let ready = before + members.len() as u64;
        while shared.word(READY).load(Ordering::SeqCst) < ready {
            for child in &mut children {
                if let Some(status) = child.try_wait()? {
                    let why = format!("a process of the crew was not ready: {status}");
                    return Err(io::Error::other(why));
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        Ok(Self(children))
    }

    /// Lets them run for a time.
    pub fn run_for(self, shared: &Shared, time: std::time::Duration) -> io::Result<()> {
        go(shared);
        std::thread::sleep(time);
        self.end(shared)
    }

    /// Tells them to end, and waits until they have.
    pub fn end(mut self, shared: &Shared) -> io::Result<()> {
        shared.word(PHASE).store(2, Ordering::SeqCst);
        self.wait()
    }

    /// Waits until all have ended without an error.
    pub fn wait(&mut self) -> io::Result<()> {
        for child in &mut self.0 {
            let status = child.wait()?;
            if !status.success() {
                return Err(io::Error::other(format!("a process of the crew ended with {status}")));
            }
        }
        Ok(())
    }
}

/// Takes over a descriptor that the parent passed by number.
pub fn inherited(number: &str) -> io::Result<OwnedFd> {
    let fd: RawFd = number.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: the parent passed the descriptor, and nothing else uses the number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Like [`inherited`], as a file.
pub fn inherited_file(number: &str) -> io::Result<File> {
    inherited(number).map(File::from)
}

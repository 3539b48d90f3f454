// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Other processes that take part: started by this one, each with a verb, a number and a memory
//! that all of them share.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::{Child, Command, Stdio};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::{fcntl, FcntlArg, FdFlag};
use nix::sys::memfd::{memfd_create, MemFdCreateFlag};
use nix::sys::mman::{mmap, MapFlags, ProtFlags};

/// Words of the shared memory.
const WORDS: usize = 1 << 18;

/// Counters that all processes of a run share.
pub struct Shared {
    words: NonNull<AtomicU64>,
    fd: OwnedFd,
}

impl Shared {
    /// New, and all zero.
    pub fn new() -> io::Result<Self> {
        let fd = memfd_create(c"bench", MemFdCreateFlag::empty())?;
        nix::unistd::ftruncate(&fd, (WORDS * 8) as i64)?;
        Self::of(fd)
    }

    /// That of the parent.
    pub fn inherited(fd: RawFd) -> io::Result<Self> {
        // SAFETY: the parent says which descriptor it is, and nobody else takes it.
        Self::of(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    fn of(fd: OwnedFd) -> io::Result<Self> {
        let size = std::num::NonZeroUsize::new(WORDS * 8).ok_or(io::ErrorKind::InvalidInput)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses touches no other memory.
        let start = unsafe { mmap(None, size, protection, MapFlags::MAP_SHARED, &fd, 0) }?;
        Ok(Self { words: start.cast(), fd })
    }

    /// One of the words. Panics beyond the end.
    pub fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < WORDS, "the shared memory is too small");
        // SAFETY: within the mapping, which lasts as long as the process; zero is a valid value,
        // and everybody's accesses are atomic.
        unsafe { &*self.words.as_ptr().add(at) }
    }
}

/// Word that is 1 when everybody may begin, 2 when everybody is to end.
pub const PHASE: usize = 0;
/// Word that counts those who are ready.
pub const READY: usize = 1;

/// Says that this process is ready, and waits for the others.
pub fn begin(shared: &Shared) {
    shared.word(READY).fetch_add(1, Ordering::SeqCst);
    while shared.word(PHASE).load(Ordering::SeqCst) == 0 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Whether this process is to end.
pub fn is_over(shared: &Shared) -> bool {
    shared.word(PHASE).load(Ordering::SeqCst) == 2
}

/// The processes of a run.
pub struct Crew(Vec<Child>);

impl Crew {
    /// `count` processes `buffersync-bench VERB NUMBER SHARED FDS...`, which inherit the descriptors; returns
    /// when all of them are ready.
    pub fn start(verb: &str, count: usize, shared: &Shared, fds: &[RawFd]) -> io::Result<Self> {
        let all = [&[shared.fd.as_raw_fd()], fds].concat();
        for fd in &all {
            fcntl(*fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        let words: Vec<String> = all.iter().map(ToString::to_string).collect();
        let mut children = Vec::new();
        for number in 0..count {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg(verb).arg(number.to_string()).args(&words).stdin(Stdio::null());
            children.push(command.spawn()?);
        }
        while shared.word(READY).load(Ordering::SeqCst) < count as u64 {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        Ok(Self(children))
    }

    /// Has them begin, and end after a while.
    pub fn run_for(mut self, shared: &Shared, time: std::time::Duration) -> io::Result<()> {
        shared.word(PHASE).store(1, Ordering::SeqCst);
        std::thread::sleep(time);
        shared.word(PHASE).store(2, Ordering::SeqCst);
        self.wait()
    }

    /// Waits until all have ended in order.
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

/// A descriptor that the parent passed by its number.
pub fn inherited(number: &str) -> io::Result<OwnedFd> {
    let fd: RawFd = number.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: the parent says which descriptor it is, and nobody else takes it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The same as a file.
pub fn inherited_file(number: &str) -> io::Result<File> {
    inherited(number).map(File::from)
}

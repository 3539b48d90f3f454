// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `buffersync-soak worker NUMBER ACTOR SEED CONTROL FD...`: a process whose threads lock the shared buffers, until it
//! is told to end, or is killed.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::Arc;
use std::time::{Duration, Instant};

use buffersync_client::BufferSync;
use nix::sys::resource::{getrlimit, setrlimit, Resource};
use nix::unistd::{fork, ForkResult};

use crate::actor::Actor;
use crate::control::{now, Control, Order, THREADS};
use crate::devices::Devices;
use crate::header::Header;

/// How often a worker looks for orders.
const LOOK: Duration = Duration::from_millis(5);
/// How long it has no descriptors.
const WITHOUT: Duration = Duration::from_millis(500);
/// The time for a thread's turn. A lock can take longer: then the descriptors stay this time.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the child of a worker that has died keeps what it inherited.
const CHILD_SLEEPS: u32 = 3;

/// Shared by the threads of a worker.
pub struct World {
    pub control: Control,
    pub headers: Arc<Vec<Header>>,
    pub fds: Vec<OwnedFd>,
    pub sync: BufferSync,
    pub devices: Devices,
    /// Replies may be lost: there are no descriptors.
    pub losing: AtomicBool,
    /// Turns that each thread has begun.
    pub turns: [AtomicU64; THREADS],
}

fn number(args: &[String], at: usize) -> std::io::Result<u64> {
    let word = args.get(at).and_then(|word| word.parse().ok());
    word.ok_or_else(|| std::io::ErrorKind::InvalidInput.into())
}

fn descriptor(number: u64) -> std::io::Result<RawFd> {
    RawFd::try_from(number).map_err(|_| std::io::ErrorKind::InvalidInput.into())
}

pub fn run(args: &[String]) -> std::io::Result<()> {
    // A thread that panics must not leave the others at work.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("soak: VIOLATION: a worker has panicked: {panic}");
        std::process::abort();
    }));
    let (worker, first, seed) = (number(args, 0)?, number(args, 1)?, number(args, 2)?);
    let (worker, first) = (worker as usize, first as usize);
    let control = Control::inherited(descriptor(number(args, 3)?)?)?;
    let mut fds = Vec::new();
    for at in 4..args.len() {
        // SAFETY: the orchestrator passed the descriptor, and nothing else uses the number.
        fds.push(unsafe { OwnedFd::from_raw_fd(descriptor(number(args, at)?)?) });
    }
    let headers: std::io::Result<Vec<Header>> = fds.iter().map(Header::map).collect();
    let headers = Arc::new(headers?);
    let devices = Devices::start(Arc::clone(&headers))?;
    let sync = loop {
        if control.over().load(SeqCst) != 0 {
            return Ok(());
        }
        // The service may be coming up.
        match BufferSync::wait_for_service(Duration::from_millis(200)) {
            Ok(sync) => break sync,
            Err(_) => std::thread::sleep(LOOK),
        }
    };
    let (losing, turns) = (AtomicBool::new(false), Default::default());
    let world = World { control, headers, fds, sync, devices, losing, turns };
    std::thread::scope(|scope| {
        let world = &world;
        let threads: Vec<_> = (0..THREADS)
            .map(|nth| {
                let mut actor = Actor::new(world, first + nth, nth, seed ^ ((nth as u64) << 32));
                scope.spawn(move || actor.run())
            })
            .collect();
        while !threads.iter().all(|thread| thread.is_finished()) {
            match world.control.take_order(worker) {
                Order::None => std::thread::sleep(LOOK),
                Order::ForkAndDie => fork_and_die(world, first),
                Order::LoseDescriptors => lose_descriptors(world),
            }
        }
    });
    world.devices.finish();
    Ok(())
}

/// The child has inherited the binder driver's descriptor and all others, but it does not work on the buffers.
fn fork_and_die(world: &World, first: usize) {
    // SAFETY: the child only sleeps and ends, with calls that are allowed after a fork of several threads.
    match unsafe { fork() } {
        // SAFETY: as above; _exit cleans nothing up.
        Ok(ForkResult::Child) => unsafe {
            libc::sleep(CHILD_SLEEPS);
            libc::_exit(0)
        },
        Ok(ForkResult::Parent { .. }) => {
            for actor in first..first + THREADS {
                world.control.killed_at(actor).store(now(), SeqCst);
            }
            // SAFETY: it ends the process; nothing of it is cleaned up, which is the point.
            unsafe { libc::_exit(0) }
        }
        Err(_) => {}
    }
}

/// Lowers the limit of descriptors to what is open, for a time. The threads know of it before it happens, because a
/// lock whose reply is lost can have been granted without anybody's knowledge.
fn lose_descriptors(world: &World) {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    world.losing.store(true, SeqCst);
    if begin_new_turns(world, PATIENCE) {
        // A duplicate is the lowest that is free.
        if let Ok(free) = std::io::stderr().as_fd().try_clone_to_owned() {
            let lowest = free.as_raw_fd().unsigned_abs().into();
            drop(free);
            if setrlimit(Resource::RLIMIT_NOFILE, lowest, hard).is_ok() {
                std::thread::sleep(WITHOUT);
                let _ = setrlimit(Resource::RLIMIT_NOFILE, soft, hard);
            }
        }
        begin_new_turns(world, 30 * PATIENCE);
    }
    world.losing.store(false, SeqCst);
}

/// Waits until each thread has begun a turn; false if one takes too long.
fn begin_new_turns(world: &World, patience: Duration) -> bool {
    let all = || world.turns.each_ref().map(|turns| turns.load(SeqCst));
    let (before, begin) = (all(), Instant::now());
    while all().iter().zip(before).any(|(turns, before)| *turns == before) {
        if begin.elapsed() > patience || world.control.over().load(SeqCst) != 0 {
            return false;
        }
        std::thread::sleep(LOOK);
    }
    true
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The processes of the floods: `buffersync-bench flood KIND` makes calls of one kind from eight threads, as fast as
//! it can; `buffersync-bench victim` locks and unlocks meanwhile and notes how long that takes.
//!
//! Both speak the interface without the client library, which would not make such calls.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use binder::{Interface, ParcelFileDescriptor, SpIBinder, Strong};
use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::GroupOptions::GroupOptions;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::IBufferSync;
use buffersync_aidl::aidl::vendor::buffersync::ISyncGroup::ISyncGroup;
use buffersync_aidl::aidl::vendor::buffersync::ReleaseFence::ReleaseFence;
use buffersync_aidl::aidl::NativeHandle;
use buffersync_aidl::runtime;
use buffersync_client::BufferSync;
use buffersync_testbed_guest::vgem::Vgem;
use nix::fcntl::{fcntl, FcntlArg, OFlag};

use crate::alone::{buffers, empty_call};
use crate::crew::{self, Shared};
use crate::stats::now;

/// Threads of a flood: more than the service has for calls, and than the guest has processors.
pub const THREADS: usize = 8;
/// The word that counts the flood's calls, and the one that counts those of them that failed.
pub const CALLS: usize = 2;
pub const REFUSED: usize = 3;
/// The word that counts the victim's samples, which are the words after it.
pub const SAMPLES: usize = 15;
pub const MAX_SAMPLES: usize = 200_000;
/// Samples before this time are not counted: the flood is still coming up.
const WARM_UP: Duration = Duration::from_millis(300);

/// One call, or the few that belong together. False if the service has refused it.
type Turn = Box<dyn FnMut() -> bool>;

/// A kind of flood: its name, and what makes a thread's part of it.
pub struct Kind {
    pub name: &'static str,
    pub make: fn() -> Turn,
}

/// The control, with which the floods are compared: the same threads, which call nobody.
pub const CONTROL: Kind = Kind { name: "control: only CPU", make: burn };

/// All kinds.
pub const KINDS: [Kind; 14] = [
    CONTROL,
    Kind { name: "empty call", make: empty },
    Kind { name: "junk code", make: || junk(16, rsbinder::FLAG_CLEAR_BUF) },
    Kind { name: "junk code, 200 KB", make: || junk(200_000, rsbinder::FLAG_CLEAR_BUF) },
    Kind { name: "oneway unlock of a group", make: oneway },
    Kind { name: "oneway junk, 100 KB", make: || junk(100_000, rsbinder::FLAG_ONEWAY) },
    Kind { name: "lock and unlock of 64", make: locks },
    Kind { name: "lock that waits, and cancel", make: cancels },
    Kind { name: "open, add 32, close", make: groups },
    Kind { name: "evictions (holds of 1 ms)", make: evictions },
    Kind { name: "dump", make: dumps },
    Kind { name: "add of 32 files that are no dma-bufs", make: wrong_files },
    Kind { name: "getLocks of 32", make: get_locks },
    Kind { name: "release and acquire fences", make: fences },
];

fn service() -> Strong<dyn IBufferSync> {
    binder::check_interface(buffersync_aidl::DEFAULT_INSTANCE).expect("the service")
}

struct Group {
    object: Strong<dyn ISyncGroup>,
    events: OwnedFd,
    last: i64,
}

impl Group {
    fn open(hold_ms: i32, of: &[impl AsFd]) -> Self {
        let options = GroupOptions { holdLimitMs: hold_ms, ..Default::default() };
        let opened = service().openGroup("bench/flood", &options).expect("openGroup");
        let events = OwnedFd::from(opened.events.expect("events"));
        fcntl(events.as_raw_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("O_NONBLOCK");
        let group = Self { object: opened.group.expect("a group"), events, last: 0 };
        for some in of.chunks(32) {
            group.object.add(&handle(some), Access::DMA_WRITE).expect("add");
        }
        group
    }

    fn lock(&mut self) -> bool {
        self.last += 1;
        self.object.lock(self.last, &[], &[], 0).is_ok()
    }

    fn unlock(&self) -> bool {
        self.object.unlock(self.last).is_ok()
    }

    /// Reads what the service has said, so that it goes on saying it.
    fn drain(&self) {
        let mut bytes = [0; 4096];
        while nix::unistd::read(self.events.as_raw_fd(), &mut bytes).is_ok_and(|read| read > 0) {}
    }
}

pub fn handle(of: &[impl AsFd]) -> NativeHandle {
    let duplicate = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().expect("dup");
    let fds = of.iter().map(|one| ParcelFileDescriptor::new(duplicate(one.as_fd()))).collect();
    NativeHandle { fds, ints: Vec::new() }
}

fn burn() -> Turn {
    let mut x = 1_u64;
    Box::new(move || {
        for _ in 0..10_000 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            std::hint::black_box(x);
        }
        true
    })
}

fn empty() -> Turn {
    let mut call = empty_call();
    Box::new(move || {
        call();
        true
    })
}

/// A transaction of a code that no method has.
fn junk(bytes: usize, flags: rsbinder::TransactionFlags) -> Turn {
    const NO_METHOD: u32 = rsbinder::FIRST_CALL_TRANSACTION + 1000;
    transact(service().as_binder(), NO_METHOD, vec![7_u8; bytes], flags)
}

/// The kernel queues calls of one group without an answer, up to half of the service's buffer for calls.
fn oneway() -> Turn {
    /// The seventh method of ISyncGroup. Its argument is a lock that was never asked for.
    const UNLOCK: u32 = rsbinder::FIRST_CALL_TRANSACTION + 6;
    let group = Group::open(0, &buffers(1));
    let mut turn = transact(group.object.as_binder(), UNLOCK, vec![9_u8; 8], rsbinder::FLAG_ONEWAY);
    Box::new(move || {
        let _kept = &group;
        turn()
    })
}

fn transact(
    object: SpIBinder,
    code: u32,
    data: Vec<u8>,
    flags: rsbinder::TransactionFlags,
) -> Turn {
    Box::new(move || {
        let proxy = object.as_proxy().expect("remote");
        let mut parcel = proxy.prepare_transact(true).expect("a parcel");
        parcel.write(&data).expect("room");
        proxy.submit_transact(code, &parcel, flags).is_ok()
    })
}

fn locks() -> Turn {
    let mut group = Group::open(0, &buffers(64));
    Box::new(move || group.lock() && group.unlock())
}

fn cancels() -> Turn {
    let shared = buffers(32);
    let (mut holder, mut waiter) = (Group::open(0, &shared), Group::open(0, &shared));
    Box::new(move || {
        let held = holder.lock();
        let waits = waiter.lock() && waiter.object.cancel(waiter.last).is_ok();
        holder.drain();
        held && waits && holder.unlock()
    })
}

fn groups() -> Turn {
    let all = buffers(32);
    Box::new(move || {
        let Ok(opened) = service().openGroup("bench/flood", &GroupOptions::default()) else {
            return false;
        };
        let Some(group) = opened.group else { return false };
        group.add(&handle(&all), Access::WRITE).is_ok() && group.close().is_ok()
    })
}

fn evictions() -> Turn {
    let mut group = Group::open(1, &buffers(1));
    Box::new(move || {
        let locked = group.lock();
        std::thread::sleep(Duration::from_micros(1500));
        group.drain();
        locked
    })
}

fn dumps() -> Turn {
    let service = service();
    Box::new(move || {
        let (read, write) = nix::unistd::pipe().expect("pipe");
        let reader = std::thread::spawn(move || {
            std::fs::File::from(read).read_to_end(&mut Vec::new()).is_ok()
        });
        let dumped = runtime::dump(&service, write, &[]).is_ok();
        reader.join().expect("the reader") && dumped
    })
}

fn wrong_files() -> Turn {
    let group = Group::open(0, &buffers(1));
    let files: Vec<_> =
        (0..32).map(|_| std::fs::File::open("/dev/null").expect("/dev/null")).collect();
    Box::new(move || group.object.add(&handle(&files), Access::WRITE).is_ok())
}

fn get_locks() -> Turn {
    let group = Group::open(0, &[] as &[OwnedFd]);
    let all = buffers(64);
    let ids: Vec<i64> = all
        .chunks(32)
        .flat_map(|some| group.object.add(&handle(some), Access::READ).expect("add"))
        .collect();
    let mut number = 0;
    Box::new(move || {
        // They are taken away after some seconds, and asked for again.
        if group.object.getLocks().is_ok_and(|locks| locks.len() < 32) {
            group.drain();
            for pair in ids.chunks(2) {
                number += 1;
                let _ = group.object.lock(number, pair, &[], 0);
            }
        }
        group.object.getLocks().is_ok()
    })
}

/// One unlocks with a fence of vgem, the other one is granted with it and unlocks; then it signals.
fn fences() -> Turn {
    let vgem = Vgem::open().expect("vgem");
    let driver = vgem.allocate(4096).expect("a buffer of vgem");
    let shared = buffers(4);
    let (mut one, mut two) = (Group::open(0, &shared), Group::open(0, &shared));
    Box::new(move || {
        let fence = vgem.attach(&driver, true).expect("a fence");
        let file = driver.dmabuf.sync_file().expect("a sync_file");
        let release = ReleaseFence { bufferId: 0, fence: Some(ParcelFileDescriptor::new(file)) };
        let ended = one.lock() && one.object.unlockBuffers(one.last, &[], &[release]).is_ok();
        let next = two.lock() && two.unlock();
        vgem.signal(fence).expect("signal");
        one.drain();
        two.drain();
        ended && next
    })
}

/// `buffersync-bench flood`: makes the calls of [`KINDS`]`[kind]`.
pub fn flood(kind: usize, shared: &Shared) -> std::io::Result<()> {
    let kind = KINDS.get(kind).ok_or(std::io::ErrorKind::InvalidInput)?;
    let _sync = BufferSync::connect().expect("connect");
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let ready = ready.clone();
            scope.spawn(move || {
                let mut turn = (kind.make)();
                ready.send(()).expect("the first thread");
                crew::wait_for_begin(shared);
                while !crew::is_over(shared) {
                    let accepted = turn();
                    shared.word(CALLS).fetch_add(1, Relaxed);
                    shared.word(REFUSED).fetch_add(u64::from(!accepted), Relaxed);
                }
            });
        }
        (0..THREADS).for_each(|_| is_ready.recv().expect("a thread"));
        crew::begin(shared);
    });
    Ok(())
}

/// `buffersync-bench victim`: a lock and an unlock of one device buffer, again and again.
pub fn victim(shared: &Shared) -> std::io::Result<()> {
    let _sync = BufferSync::connect().expect("connect");
    let mut group = Group::open(0, &buffers(1));
    crew::begin(shared);
    let begin = now();
    let warm = begin + u64::try_from(WARM_UP.as_nanos()).unwrap_or(0);
    let mut samples = 0;
    while !crew::is_over(shared) && samples < MAX_SAMPLES {
        let before = now();
        if !(group.lock() && group.unlock()) {
            return Err(std::io::Error::other("the victim was refused"));
        }
        let after = now();
        if before >= warm {
            samples += 1;
            shared.word(SAMPLES + samples).store(after - before, Relaxed);
            shared.word(SAMPLES).store(samples as u64, SeqCst);
        }
    }
    Ok(())
}

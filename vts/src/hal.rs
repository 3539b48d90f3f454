// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The service under test, as a client sees it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use binder::{ParcelFileDescriptor, Status, Strong};
use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::GroupOptions::GroupOptions;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::IBufferSync;
use buffersync_aidl::aidl::vendor::buffersync::ISyncGroup::ISyncGroup;
use buffersync_aidl::aidl::vendor::buffersync::LockReply::LockReply;
use buffersync_aidl::aidl::vendor::buffersync::ReleaseFence::ReleaseFence;
use buffersync_aidl::aidl::NativeHandle;
use buffersync_aidl::event::{self, Record, RECORD_BYTES};
use buffersync_aidl::reply::Granted;
use buffersync_aidl::{runtime, Failure};
use nix::poll::{PollFd, PollFlags, PollTimeout};

/// Where vendor services are found by vendor clients and apps.
const DEVICE: &str = "/dev/binder";

/// When a test gives up waiting for something that has to come. Emulated machines are slow.
fn long() -> Duration {
    let seconds = std::env::var("BUFFERSYNC_VTS_PATIENCE_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or(20))
}

/// How long something that must not come is waited for.
pub const SHORT: Duration = Duration::from_millis(150);

/// The four accesses.
pub const ACCESSES: [Access; 4] =
    [Access::READ, Access::WRITE, Access::DMA_READ, Access::DMA_WRITE];

/// The interface's name, as the service manager knows it.
const INTERFACE: &str = "vendor.buffersync.IBufferSync";
/// Names the instance for a client process.
pub const INSTANCE: &str = "BUFFERSYNC_VTS_INSTANCE";

/// The instance under test, of those declared.
static CHOSEN: Mutex<Option<String>> = Mutex::new(None);

fn open_driver() -> Result<(), String> {
    static OPEN: OnceLock<Result<(), String>> = OnceLock::new();
    OPEN.get_or_init(|| {
        // As long as it is not there, a look-up would wait for it.
        std::fs::metadata(DEVICE).map_err(|error| format!("{DEVICE}: {error}"))?;
        runtime::open_driver(DEVICE, None)
    })
    .clone()
}

/// The instances that the device's manifest declares; at least one.
pub fn declared_instances() -> Result<Vec<String>, String> {
    open_driver()?;
    let instances = binder::get_declared_instances(INTERFACE)
        .map_err(|status| format!("the service manager does not answer: {status:?}"))?;
    if instances.is_empty() {
        return Err(format!("no instance of {INTERFACE} is declared"));
    }
    Ok(instances)
}

/// From now on the tests are about this instance.
pub fn choose(instance: &str) {
    *CHOSEN.lock().expect("no test panics while it chooses") = Some(instance.to_string());
}

/// The instance under test.
pub fn instance() -> String {
    let chosen = CHOSEN.lock().expect("no test panics while it chooses").clone();
    chosen.or_else(|| std::env::var(INSTANCE).ok()).unwrap_or_else(|| "default".into())
}

/// The service under test.
pub fn service() -> Strong<dyn IBufferSync> {
    open_driver().expect("binder");
    let name = format!("{INTERFACE}/{}", instance());
    binder::check_interface(&name).expect("the service is registered")
}

/// A handle of these descriptors.
pub fn handle(fds: &[BorrowedFd<'_>]) -> NativeHandle {
    let fds = fds
        .iter()
        .map(|fd| ParcelFileDescriptor::new(fd.try_clone_to_owned().expect("dup")))
        .collect();
    NativeHandle { fds, ints: Vec::new() }
}

/// The `ERROR_*` of a refusal; panics if the call was not refused with one.
pub fn error<T>(result: Result<T, Status>) -> i32 {
    match result {
        Ok(_) => panic!("the call was not refused"),
        Err(status) => match runtime::failure(&status) {
            Failure::ServiceSpecific(code) => code,
            other => panic!("not refused with an ERROR_*, but {other:?}"),
        },
    }
}

/// Whether the call was refused as an illegal argument.
pub fn is_illegal_argument<T>(result: Result<T, Status>) -> bool {
    result.is_err_and(|status| matches!(runtime::failure(&status), Failure::IllegalArgument(_)))
}

/// What a lock was granted at once.
pub fn granted_in(reply: &LockReply) -> Option<Granted<'_>> {
    Granted::of(reply).unwrap_or_else(|_| panic!("numbers of no grant: {reply:?}"))
}

/// Whether a lock was granted at once; else its grant follows as an event.
pub fn is_granted(reply: &LockReply) -> bool {
    granted_in(reply).is_some()
}

/// A group and its event pipe.
pub struct Group {
    /// The binder object.
    pub binder: Strong<dyn ISyncGroup>,
    /// Its name in calls of other groups.
    pub key: i64,
    /// What the service made of the hold limit.
    pub hold_ms: i32,
    events: File,
    read: VecDeque<Record>,
}

/// A grant, whether it came at once or by event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its name.
    pub token: i64,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub deadline: i64,
    /// (bufferId, generation, evicted) of each buffer.
    pub buffers: Vec<(i64, i64, bool)>,
    /// Buffers that have an acquire fence.
    pub fenced: Vec<i64>,
    /// Buffers whose content may be half written.
    pub torn: Vec<i64>,
}

impl Grant {
    /// Whether the first buffer is marked EVICTED, and TORN.
    pub fn marks(&self) -> (bool, bool) {
        let (id, _, evicted) = self.buffers[0];
        (evicted, self.torn.contains(&id))
    }
}

/// One release fence for a whole grant.
pub fn whole(sync_file: &OwnedFd) -> ReleaseFence {
    of_buffer(0, sync_file)
}

/// A release fence for one buffer.
pub fn of_buffer(id: i64, sync_file: &OwnedFd) -> ReleaseFence {
    let fence = ParcelFileDescriptor::new(sync_file.try_clone().expect("dup"));
    ReleaseFence { bufferId: id, fence: Some(fence) }
}

impl Group {
    /// Opens a group with the default hold limit.
    pub fn open(name: &str) -> Self {
        Self::with_hold(name, 0)
    }

    /// Opens a group with a hold limit in milliseconds.
    pub fn with_hold(name: &str, hold_ms: i32) -> Self {
        Self::with_options(name, &GroupOptions { holdLimitMs: hold_ms, ..Default::default() })
    }

    /// Opens a group.
    pub fn with_options(name: &str, options: &GroupOptions) -> Self {
        let opened = service().openGroup(name, options).expect("openGroup");
        Self {
            binder: opened.group.expect("a group"),
            key: opened.key,
            hold_ms: opened.holdLimitMs,
            events: File::from(std::os::fd::OwnedFd::from(opened.events.expect("a pipe"))),
            read: VecDeque::new(),
        }
    }

    /// A group of one buffer.
    pub fn of(name: &str, buffer: impl AsFd, access: Access) -> Self {
        let group = Self::open(name);
        group.add(buffer, access);
        group
    }

    /// Adds a buffer.
    pub fn add(&self, buffer: impl AsFd, access: Access) -> i64 {
        let ids = self.binder.add(&handle(&[buffer.as_fd()]), access).expect("add");
        assert_eq!(ids.len(), 1);
        ids[0]
    }

    /// Locks, and waits for the grant.
    pub fn lock(&mut self) -> Grant {
        let reply = self.binder.lock(0).expect("lock");
        self.granted(&reply)
    }

    /// Locks, and makes sure that it has to wait. Returns the token.
    pub fn lock_must_wait(&mut self) -> i64 {
        let reply = self.binder.lock(0).expect("lock");
        assert!(reply.grant.is_empty() && reply.acquireFence.is_none(), "{reply:?}");
        assert!(self.nothing_within(SHORT), "granted against somebody who holds");
        reply.token
    }

    /// The grant that a reply stands for, at once or later.
    pub fn granted(&mut self, reply: &LockReply) -> Grant {
        if let Some(granted) = granted_in(reply) {
            let has = |buffer: &event::Buffer, flag| buffer.flags & flag != 0;
            let all = || granted.buffers();
            let buffers =
                all().map(|b| (b.id, b.generation, has(&b, event::FLAG_EVICTED))).collect();
            let with = |flag| all().filter(move |b| has(b, flag)).map(|b| b.id).collect();
            let (fenced, torn) = (with(event::FLAG_FENCED), with(event::FLAG_TORN));
            let deadline = granted.deadline_ns;
            return Grant { token: reply.token, deadline, buffers, fenced, torn };
        }
        let grant = self.next_grant();
        assert_eq!(grant.token, reply.token);
        grant
    }

    /// The next event, which must be a grant.
    pub fn next_grant(&mut self) -> Grant {
        let head = self.next_event().expect("a grant");
        assert_eq!(head.kind, event::GRANTED, "{head:?}");
        let (mut fenced, mut torn) = (Vec::new(), Vec::new());
        let buffers = (0..head.value1).map(|_| {
            // Written together with the head: there already.
            let record = self.next_within(Duration::ZERO).expect("a BUFFER record");
            assert_eq!((record.kind, record.token), (event::BUFFER, head.token));
            if record.flags & event::FLAG_FENCED != 0 {
                fenced.push(record.value0);
            }
            if record.flags & event::FLAG_TORN != 0 {
                torn.push(record.value0);
            }
            (record.value0, record.value1, record.flags & event::FLAG_EVICTED != 0)
        });
        let buffers = buffers.collect();
        Grant { token: head.token, deadline: head.value0, buffers, fenced, torn }
    }

    /// The next event; `None` at the end of the pipe.
    pub fn next_event(&mut self) -> Option<Record> {
        self.next_within(long())
    }

    /// Whether no event comes within `limit`.
    pub fn nothing_within(&mut self, limit: Duration) -> bool {
        self.read.is_empty() && !self.readable(limit)
    }

    fn next_within(&mut self, limit: Duration) -> Option<Record> {
        if self.read.is_empty() {
            assert!(self.readable(limit), "no event within {limit:?}");
            let mut bytes = [0; 128 * RECORD_BYTES];
            let count = self.events.read(&mut bytes).expect("read");
            assert_eq!(count % RECORD_BYTES, 0, "a torn record");
            for record in bytes[..count].chunks_exact(RECORD_BYTES) {
                self.read.push_back(Record::from_bytes(record.try_into().expect("32 bytes")));
            }
        }
        self.read.pop_front()
    }

    fn readable(&self, limit: Duration) -> bool {
        let millis = u16::try_from(limit.as_millis()).expect("a short limit");
        let mut fds = [PollFd::new(self.events.as_fd(), PollFlags::POLLIN)];
        nix::poll::poll(&mut fds, PollTimeout::from(millis)).expect("poll") > 0
    }

    /// Ends a grant but for a fence.
    pub fn unlock_fenced(&self, grant: &Grant, sync_file: &OwnedFd) {
        self.binder.unlockWithFences(grant.token, &[whole(sync_file)]).expect("unlock");
    }

    /// What a grant has to wait for: of one buffer, or (0) of all.
    pub fn acquire_fence(&self, grant: &Grant, buffer: i64) -> Option<OwnedFd> {
        let fence = self.binder.getAcquireFence(grant.token, buffer).expect("getAcquireFence");
        fence.map(Into::into)
    }

    /// Ends a grant.
    pub fn unlock(&self, grant: &Grant) {
        self.binder.unlock(grant.token).expect("unlock");
    }

    /// Locks and unlocks: nothing is in the way, and nothing is broken.
    pub fn cycle(&mut self) -> Grant {
        let grant = self.lock();
        self.unlock(&grant);
        grant
    }
}

/// Fills a group's event pipe with records that nobody reads, grants that came by event: its next lock
/// is refused. Both groups get `shared`.
pub fn fill_pipe(unread: &Group, holder: &mut Group, shared: impl AsFd) {
    holder.add(shared.as_fd(), Access::DMA_WRITE);
    unread.add(shared.as_fd(), Access::DMA_WRITE);
    loop {
        let theirs = holder.lock();
        let reply = match unread.binder.lock(0) {
            Ok(reply) => reply,
            Err(_) => break holder.unlock(&theirs),
        };
        holder.unlock(&theirs);
        // It is granted now, or was so in the reply.
        eventually("the lock is granted", || unread.binder.unlock(reply.token).is_ok());
    }
}

/// The service's counters, from its dump.
pub fn counter(name: &str) -> u64 {
    let text = dump(&["counters"]);
    let value = text.split_whitespace().find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key == name).then(|| value.parse().expect("a number"))
    });
    value.unwrap_or_else(|| panic!("no counter {name} in {text:?}"))
}

/// The service's dump, as an operator sees it.
pub fn dump(args: &[&str]) -> String {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).expect("pipe");
    let mut read = File::from(read);
    std::thread::scope(|scope| {
        // The call returns when all is written, and a pipe holds 64 KiB.
        let reader = scope.spawn(move || {
            let mut text = String::new();
            read.read_to_string(&mut text).expect("text");
            text
        });
        runtime::dump(&service(), write, args).expect("dump");
        reader.join().expect("the reader")
    })
}

/// The service's process: the one that `BUFFERSYNC_SERVICE_PID` says, or that has its name.
pub fn service_pid() -> String {
    if let Ok(pid) = std::env::var("BUFFERSYNC_SERVICE_PID") {
        return pid;
    }
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let service = processes.map(|process| process.path()).find(|path| {
        // A process may end meanwhile. The kernel cuts a name at 15 bytes.
        std::fs::read_to_string(path.join("comm"))
            .is_ok_and(|name| name.starts_with("vendor.buffersy"))
    });
    let service = service.expect("the service runs");
    service.file_name().expect("its number").to_string_lossy().into_owned()
}

/// How many threads the service has.
pub fn service_threads() -> usize {
    std::fs::read_dir(format!("/proc/{}/task", service_pid())).expect("threads").count()
}

/// Waits until `holds`; panics with `what` if it never does.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < long(), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// CLOCK_MONOTONIC in nanoseconds.
pub fn now_ns() -> i64 {
    use nix::sys::time::TimeValLike;
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("clock").num_nanoseconds()
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The service under test, from the view of a client.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use binder::{ParcelFileDescriptor, Status, Strong};
use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::GroupOptions::GroupOptions;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::IBufferSync;
use buffersync_aidl::aidl::vendor::buffersync::ReleaseFence::ReleaseFence;
use buffersync_aidl::aidl::NativeHandle;
use buffersync_aidl::event::{self, Record, MESSAGE_BYTES, RECORD_BYTES};
use buffersync_aidl::reply::Granted;
use buffersync_aidl::{runtime, Failure};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::calls::{Calls, Reply};
use crate::pace::Limit;

/// The binder device of vendor services, for vendor clients and apps.
const DEVICE: &str = "/dev/binder";

/// After this time a call counts as hung. Emulated machines are slow.
pub fn long() -> Duration {
    let seconds = std::env::var("BUFFERSYNC_VTS_PATIENCE_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or(60))
}

/// The wait for an event that must not come.
pub const SHORT: Duration = Duration::from_millis(150);

pub const ACCESSES: [Access; 4] =
    [Access::READ, Access::WRITE, Access::DMA_READ, Access::DMA_WRITE];

/// The interface's name in the service manager.
const INTERFACE: &str = "vendor.buffersync.IBufferSync";
/// The environment variable that names the instance under test.
pub const INSTANCE: &str = "BUFFERSYNC_VTS_INSTANCE";

pub fn open_driver() -> Result<(), String> {
    static OPEN: OnceLock<Result<(), String>> = OnceLock::new();
    OPEN.get_or_init(|| {
        // Checked here, because a look-up would wait for a device that does not exist.
        std::fs::metadata(DEVICE).map_err(|error| format!("{DEVICE}: {error}"))?;
        runtime::open_driver(DEVICE, None)
    })
    .clone()
}

/// Returns the instances that the device's manifest declares: at least one.
pub fn declared_instances() -> Result<Vec<String>, String> {
    open_driver()?;
    let instances = binder::get_declared_instances(INTERFACE)
        .map_err(|status| format!("the service manager does not answer: {status:?}"))?;
    if instances.is_empty() {
        return Err(format!("no instance of {INTERFACE} is declared"));
    }
    Ok(instances)
}

/// The service under test.
pub fn service() -> Strong<dyn IBufferSync> {
    open_driver().expect("binder");
    let instance = std::env::var(INSTANCE).unwrap_or_else(|_| "default".into());
    let name = format!("{INTERFACE}/{instance}");
    binder::check_interface(&name).expect("the service is registered")
}

/// Makes a handle of these descriptors.
pub fn handle(fds: &[BorrowedFd<'_>]) -> NativeHandle {
    let fds = fds
        .iter()
        .map(|fd| ParcelFileDescriptor::new(fd.try_clone_to_owned().expect("dup")))
        .collect();
    NativeHandle { fds, ints: Vec::new() }
}

/// Returns the `ERROR_*` of a refused call. Panics if the call was not refused.
pub fn error<T>(result: Result<T, Status>) -> i32 {
    match result {
        Ok(_) => panic!("the call was not refused"),
        Err(status) => match runtime::failure(&status) {
            Failure::ServiceSpecific(code, _) => code,
            other => panic!("not refused with an ERROR_*, but {other:?}"),
        },
    }
}

/// Tells if the call was refused as an illegal argument.
pub fn is_illegal_argument<T>(result: Result<T, Status>) -> bool {
    result.is_err_and(|status| matches!(runtime::failure(&status), Failure::IllegalArgument(_)))
}

/// Returns the grant of a lock that was granted at once.
pub fn granted_in(reply: &Reply) -> Option<Granted<'_>> {
    Granted::of(&reply.grant).unwrap_or_else(|_| panic!("numbers of no grant: {reply:?}"))
}

/// Tells if a lock was granted at once. Otherwise its grant follows as an event.
pub fn is_granted(reply: &Reply) -> bool {
    granted_in(reply).is_some()
}

/// A group and its event channel.
pub struct Group {
    pub binder: Calls,
    /// The hold limit that the service returned.
    pub hold_ms: i32,
    pub events: File,
    read: VecDeque<Record>,
    /// Records that somebody waits: they can come at any time in a grant, and most tests ask for other records.
    contended: VecDeque<Record>,
    /// The deadlines of its grants and of their release fences, by token.
    limits: Mutex<BTreeMap<i64, Limit>>,
}

/// The time in which a grant must be read that others wait for (EventType.EVICTED: usually a second), less some.
const READ_WITHIN_NS: i64 = 900_000_000;

/// A grant that came at once or by event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub token: i64,
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub deadline: i64,
    /// (bufferId, generation, evicted) of each buffer.
    pub buffers: Vec<(i64, i64, bool)>,
    /// The buffers with an acquire fence.
    pub fenced: Vec<i64>,
    /// The buffers that are marked TORN.
    pub torn: Vec<i64>,
}

impl Grant {
    /// Tells if the first buffer is marked EVICTED, and if it is marked TORN.
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
            binder: Calls::new(opened.group.expect("a group")),
            hold_ms: opened.holdLimitMs,
            events: File::from(std::os::fd::OwnedFd::from(
                opened.events.expect("an event channel"),
            )),
            read: VecDeque::new(),
            contended: VecDeque::new(),
            limits: Mutex::default(),
        }
    }

    /// Opens a group and adds one buffer.
    pub fn of(name: &str, buffer: impl AsFd, access: Access) -> Self {
        let group = Self::open(name);
        group.add(buffer, access);
        group
    }

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

    /// The last lock grows by all buffers that the group has. Waits for the grant.
    pub fn grow(&mut self) -> Grant {
        let reply = self.binder.grow(0).expect("grow");
        self.granted(&reply)
    }

    /// The last lock grows, which has to wait. Returns the token.
    pub fn grow_must_wait(&mut self) -> i64 {
        let reply = self.binder.grow(0).expect("grow");
        self.must_wait(reply)
    }

    /// Locks, and checks that the lock waits. Returns the token.
    pub fn lock_must_wait(&mut self) -> i64 {
        let reply = self.binder.lock(0).expect("lock");
        self.must_wait(reply)
    }

    fn must_wait(&mut self, reply: Reply) -> i64 {
        assert!(reply.grant.is_empty() && reply.fence.is_none(), "{reply:?}");
        assert!(self.nothing_within(SHORT), "granted against somebody who holds");
        reply.token
    }

    /// Returns the grant of a reply: at once, or by event.
    pub fn granted(&mut self, reply: &Reply) -> Grant {
        if let Some(granted) = granted_in(reply) {
            let has = |buffer: &event::Buffer, flag| buffer.flags & flag != 0;
            let all = || granted.buffers();
            let buffers =
                all().map(|b| (b.id, b.generation, has(&b, event::FLAG_EVICTED))).collect();
            let with = |flag| all().filter(move |b| has(b, flag)).map(|b| b.id).collect();
            let (fenced, torn) = (with(event::FLAG_FENCED), with(event::FLAG_TORN));
            let deadline = granted.deadline_ns;
            self.rely_on(reply.token, deadline);
            return Grant { token: reply.token, deadline, buffers, fenced, torn };
        }
        let grant = self.next_grant();
        assert_eq!(grant.token, reply.token);
        grant
    }

    /// Reads the next event, which must be a grant.
    pub fn next_grant(&mut self) -> Grant {
        let head = self.next_event().expect("a grant");
        assert_eq!(head.kind, event::GRANTED, "{head:?}");
        self.rely_on_reading(head.token, head.value0);
        let (mut fenced, mut torn) = (Vec::new(), Vec::new());
        let buffers = (0..head.value1).map(|_| {
            // Written together with GRANTED, so it is there already.
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

    /// As [`Group::rely_on`], for a grant that was just read. If that was late, the service may have taken the grant
    /// away already, as from a stopped client.
    fn rely_on_reading(&self, token: i64, deadline: i64) {
        let granted = deadline - i64::from(self.hold_ms) * 1_000_000;
        let late = now_ns() - granted > READ_WITHIN_NS;
        self.rely_on(token, if deadline != 0 && late { now_ns() } else { deadline });
    }

    /// Notes a grant's deadline, if it has one: the test relies on the time before it.
    fn rely_on(&self, token: i64, deadline: i64) {
        if deadline != 0 {
            self.limits().insert(token, Limit::at(deadline));
        }
    }

    /// Reads the next event; `None` at the end of the channel.
    pub fn next_event(&mut self) -> Option<Record> {
        self.next_within(long())
    }

    /// Reads what is in the channel.
    pub fn read_all(&mut self) {
        let mut records = 0..MORE_THAN_A_CHANNEL;
        while !self.nothing_within(Duration::ZERO) {
            self.next_event();
            records.next().expect("an end of the records");
        }
    }

    /// Reads the next event, which must be an eviction of this token. Returns its flags.
    pub fn next_eviction(&mut self, token: i64) -> i32 {
        // The eviction must come, so the test no longer relies on the time before it.
        self.limits().remove(&token);
        let record = self.next_event().expect("an eviction");
        assert_eq!((record.kind, record.token), (event::EVICTED, token), "{record:?}");
        record.flags
    }

    /// Tells if no event comes within `limit`.
    pub fn nothing_within(&mut self, limit: Duration) -> bool {
        !self.comes_within(limit)
    }

    /// Returns the record that somebody waits, which must come.
    pub fn next_contended(&mut self) -> Record {
        while self.contended.is_empty() {
            assert!(self.readable(long()), "nobody says that somebody waits");
            assert!(self.read_message(), "the end of the channel");
        }
        self.contended.pop_front().expect("a record")
    }

    /// Tells if no record that somebody waits comes within `limit`.
    /// Waits in vain for a short time. Returns the record.
    pub fn times_out(&mut self) -> Record {
        let reply = self.binder.lock(50_000_000).expect("lock");
        assert!(!is_granted(&reply), "somebody is in the way");
        let record = self.next_event().expect("a time-out");
        assert_eq!((record.kind, record.token), (event::TIMED_OUT, reply.token));
        record
    }

    pub fn is_uncontended_within(&mut self, limit: Duration) -> bool {
        while self.contended.is_empty() && self.readable(limit) && self.read_message() {}
        self.contended.is_empty()
    }

    /// Tells if an event comes within `limit`, or the end of the channel.
    fn comes_within(&mut self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        while self.read.is_empty() {
            if !self.readable(until.saturating_duration_since(Instant::now())) {
                return false;
            }
            if !self.read_message() {
                return true;
            }
        }
        true
    }

    /// Returns false at the end of the channel.
    fn read_message(&mut self) -> bool {
        let mut bytes = [0; MESSAGE_BYTES];
        let count = self.events.read(&mut bytes).expect("read");
        assert_eq!(count % RECORD_BYTES, 0, "a torn record");
        for record in bytes[..count].chunks_exact(RECORD_BYTES) {
            let record = Record::from_bytes(record.try_into().expect("32 bytes"));
            let of_its_kind = match record.kind {
                event::CONTENDED => &mut self.contended,
                _ => &mut self.read,
            };
            of_its_kind.push_back(record);
        }
        count > 0
    }

    fn next_within(&mut self, limit: Duration) -> Option<Record> {
        assert!(self.comes_within(limit), "no event within {limit:?}");
        let record = self.read.pop_front()?;
        if record.kind == event::EVICTED {
            // The test knows now that the grant is over.
            self.limits().remove(&record.token);
        }
        Some(record)
    }

    fn readable(&self, limit: Duration) -> bool {
        is_readable(&self.events, limit)
    }

    fn limits(&self) -> MutexGuard<'_, BTreeMap<i64, Limit>> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unlocks with one release fence.
    pub fn unlock_fenced(&self, grant: &Grant, sync_file: &OwnedFd) {
        self.unlock_with(grant, &[whole(sync_file)]);
    }

    /// Unlocks with release fences, which must signal within the hold limit.
    pub fn unlock_with(&self, grant: &Grant, fences: &[ReleaseFence]) {
        let hold = Duration::from_millis(u64::from(self.hold_ms.unsigned_abs()));
        let limit = Limit::after(hold);
        self.binder.unlock_with(grant.token, fences).expect("unlock");
        self.limits().insert(grant.token, limit);
    }

    /// Returns the acquire fence of one buffer, or of all for 0.
    pub fn acquire_fence(&self, grant: &Grant, buffer: i64) -> Option<OwnedFd> {
        let fence = self.binder.acquire_fence(grant.token, buffer).expect("getAcquireFence");
        fence.map(Into::into)
    }

    /// Ends a grant.
    pub fn unlock(&self, grant: &Grant) {
        self.binder.unlock(grant.token).expect("unlock");
        self.limits().remove(&grant.token);
    }

    /// Locks and unlocks, to check that the group works and nothing holds its buffers.
    pub fn cycle(&mut self) -> Grant {
        let grant = self.lock();
        self.unlock(&grant);
        grant
    }
}

/// More records than an event channel may have room for: a megabyte.
pub const MORE_THAN_A_CHANNEL: usize = 1024 * 1024 / RECORD_BYTES;

/// Fills a group's event channel with grants that nobody reads. Both groups get `shared`. Returns the error
/// with which the next lock is refused.
pub fn fill_channel(unread: &Group, holder: &mut Group, shared: impl AsFd) -> i32 {
    holder.add(shared.as_fd(), Access::DMA_WRITE);
    let shared = [unread.add(shared.as_fd(), Access::DMA_WRITE)];
    for _ in 0..MORE_THAN_A_CHANNEL {
        let theirs = holder.lock();
        holder.read_all();
        let reply = unread.binder.lock_some(&shared, &[], 0);
        holder.unlock(&theirs);
        let Ok(reply) = reply else { return error(reply) };
        // It is granted now, or it was granted in the reply.
        eventually("the lock is granted", || unread.binder.unlock(reply.token).is_ok());
    }
    panic!("the channel took more than {MORE_THAN_A_CHANNEL} records");
}

/// Returns one counter from the service's dump.
pub fn counter(name: &str) -> u64 {
    let [value] = counters([name]);
    value
}

/// Returns some counters from one dump.
fn counters<const N: usize>(names: [&str; N]) -> [u64; N] {
    let text = dump(&["counters"]);
    let pairs: BTreeMap<_, _> =
        text.split_whitespace().filter_map(|pair| pair.split_once('=')).collect();
    names.map(|name| {
        let value = pairs.get(name).and_then(|value| value.parse().ok());
        value.unwrap_or_else(|| panic!("no counter {name} in {text:?}"))
    })
}

/// Returns the service's dump.
pub fn dump(args: &[&str]) -> String {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).expect("pipe");
    let mut read = File::from(read);
    std::thread::scope(|scope| {
        // The call returns when everything is written, and a pipe holds 64 KiB.
        let reader = scope.spawn(move || {
            let mut text = String::new();
            read.read_to_string(&mut text).expect("text");
            text
        });
        runtime::dump(&service(), write, args).expect("dump");
        reader.join().expect("the reader")
    })
}

/// Waits until the service has no group, no buffer and no fence of earlier tests.
pub fn at_rest() {
    let left = || counters(["groups", "buffers", "fences"]);
    eventually("the service is at rest: has it another client?", || left() == [0; 3]);
}

/// Finds the service's process: it made the event channel of a group (SO_PEERCRED, unix(7)). Its name does not
/// help, because binder runtimes rename threads.
pub fn service_pid() -> String {
    let group = Group::open("vts/pid");
    let maker = getsockopt(&group.events, PeerCredentials).expect("SO_PEERCRED");
    maker.pid().to_string()
}

/// Returns the number of the service's threads.
pub fn service_threads() -> usize {
    fs::read_dir(format!("/proc/{}/task", service_pid())).expect("threads").count()
}

/// Tells if the descriptor becomes readable, or reaches its end, within a time.
pub fn is_readable(file: impl AsFd, limit: Duration) -> bool {
    let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
    let limit = PollTimeout::try_from(limit).expect("a time that poll takes");
    nix::poll::poll(&mut fds, limit).expect("poll") > 0
}

/// Waits until `holds`; panics with `what` if it never does.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < long(), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Returns CLOCK_MONOTONIC in nanoseconds.
pub fn now_ns() -> i64 {
    use nix::sys::time::TimeValLike;
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("clock").num_nanoseconds()
}

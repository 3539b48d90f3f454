// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The connection to the service, and the calls on the service itself.
//!
//! A process has one connection to an instance, and all handles share it. The first `connect` makes
//! it. If the service has died, the next call notices that and looks the service up again.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use binder::Strong;
use buffersync_aidl::aidl::vendor::buffersync::GroupOptions::GroupOptions;
use buffersync_aidl::aidl::vendor::buffersync::HoldFrom::HoldFrom as AidlHoldFrom;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::IBufferSync;
use buffersync_aidl::{runtime, Failure, DEFAULT_INSTANCE};
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use once_cell::sync::OnceCell;

use crate::ending;
use crate::error::{Error, Result};
use crate::events::EventChannel;
use crate::fork;
use crate::group::Group;
use crate::types::{millis, Capabilities, HoldFrom};

/// The binder device that [`BufferSync::connect`] opens. The service is there, not on `/dev/vndbinder`.
pub const DEFAULT_DEVICE: &str = "/dev/binder";

/// How often a client that waits for the service looks for it.
const LOOK_UP_AGAIN: Duration = Duration::from_millis(50);

/// Options of a new group (`GroupOptions.aidl`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A grant of the group is taken away after this time; `None` for the service's default. Rounded up to whole
    /// milliseconds; one above [`Capabilities::max_hold`] is shortened to that ([`Group::hold_limit`] has the result).
    pub hold_limit: Option<Duration>,
    /// The moment from which this time counts.
    pub hold_from: HoldFrom,
    /// For the group's DMA accesses, acquire fences include the implicit fences of the dma-bufs, and
    /// release fences are attached to the dma-bufs. Needs [`Capabilities::implicit_fences`].
    pub implicit_fences: bool,
}

impl Options {
    /// The limit as AIDL wants it. 0 would ask for the default, so a short limit is at least 1.
    fn hold_limit_ms(self) -> i32 {
        match self.hold_limit {
            None => 0,
            Some(limit) => {
                let millis = limit.as_nanos().div_ceil(1_000_000).max(1);
                i32::try_from(millis).unwrap_or(i32::MAX)
            }
        }
    }
}

/// Set when this process has opened the binder driver. A failed attempt can be repeated.
static DRIVER: OnceCell<()> = OnceCell::new();

/// The connections of this process, by instance. Only instances that were found are kept, so the
/// device bounds their number.
static CONNECTIONS: Mutex<BTreeMap<String, Arc<Connection>>> = Mutex::new(BTreeMap::new());

/// A handle of the process's connection to the service. It is `Send` and `Sync` and cheap to clone;
/// any thread may call. In a forked child every call returns [`Error::Forked`].
///
/// If the service dies, its groups return [`Error::ServiceDied`] and can't be used any more. This
/// handle finds the service again when it has restarted.
#[derive(Clone)]
pub struct BufferSync {
    connection: Arc<Connection>,
}

impl fmt::Debug for BufferSync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferSync").field("instance", &self.connection.instance).finish()
    }
}

struct Connection {
    instance: String,
    /// The result of the last look-up; `None` after a call found the service dead.
    service: Mutex<Option<Strong<dyn IBufferSync>>>,
}

impl BufferSync {
    /// Connects to the default instance over [`DEFAULT_DEVICE`]. Does not wait for the service to
    /// start.
    ///
    /// # Errors
    /// [`Error::NoBinder`], [`Error::NoService`], [`Error::Forked`].
    pub fn connect() -> Result<Self> {
        Self::connect_with(DEFAULT_DEVICE, DEFAULT_INSTANCE)
    }

    /// Connects like [`BufferSync::connect`], and waits until the service is there (`None`: as long as it takes).
    ///
    /// # Errors
    /// [`Error::NoService`] or [`Error::ServiceDied`] if it is not there in time; [`Error::NoBinder`], [`Error::Forked`]
    /// at once.
    pub fn wait_for_service(timeout: impl Into<Option<Duration>>) -> Result<Self> {
        Self::wait_for_service_with(DEFAULT_DEVICE, DEFAULT_INSTANCE, timeout)
    }

    /// [`BufferSync::wait_for_service`] with the arguments of [`BufferSync::connect_with`].
    ///
    /// # Errors
    /// Those of [`BufferSync::wait_for_service`].
    pub fn wait_for_service_with(
        device: &str,
        instance: &str,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<Self> {
        let until = timeout.into().and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            // A process that was connected keeps the service that it knew, so a call has to show that it lives.
            let found = Self::connect_with(device, instance);
            match found.and_then(|sync| sync.capabilities().map(|_| sync)) {
                Err(error @ (Error::NoService { .. } | Error::ServiceDied)) => {
                    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
                    if left.is_some_and(|left| left.is_zero()) {
                        return Err(error);
                    }
                    // The service manager could call back, but a client has no binder threads.
                    std::thread::sleep(LOOK_UP_AGAIN.min(left.unwrap_or(LOOK_UP_AGAIN)));
                }
                result => return result,
            }
        }
    }

    /// Connects over a binder device to an instance, named as [`DEFAULT_INSTANCE`] is:
    /// `PACKAGE.INTERFACE/NAME`. A process keeps the first binder device that it opens, also if other
    /// code opened it.
    ///
    /// # Errors
    /// [`Error::NoBinder`], [`Error::NoService`], [`Error::Forked`].
    pub fn connect_with(device: &str, instance: &str) -> Result<Self> {
        fork::check()?;
        DRIVER.get_or_try_init(|| {
            // No binder threads: nobody calls a client.
            runtime::open_driver(device, None).map_err(Error::NoBinder)?;
            fork::claim();
            Ok::<(), Error>(())
        })?;
        let known = locked(&CONNECTIONS).get(instance).cloned();
        let connection = known.unwrap_or_else(|| {
            let (instance, service) = (instance.to_string(), Mutex::new(None));
            Arc::new(Connection { instance, service })
        });
        // Remember only an instance that was found.
        connection.service()?;
        locked(&CONNECTIONS).insert(instance.to_string(), Arc::clone(&connection));
        Ok(Self { connection })
    }

    /// Returns the features and the limits of the service.
    pub fn capabilities(&self) -> Result<Capabilities> {
        self.connection.call(|service| Ok(service.getCapabilities()?.into()))
    }

    /// Opens a group that has no buffers yet. `name` is for dumps and logs: 1 to 64 bytes without
    /// control characters.
    ///
    /// # Errors
    /// [`Error::IllegalArgument`] for a bad name, [`Error::Unsupported`], [`Error::Quota`],
    /// [`Error::NoResources`].
    pub fn open_group(&self, name: &str, options: Options) -> Result<Group> {
        let options = GroupOptions {
            holdLimitMs: options.hold_limit_ms(),
            holdFrom: match options.hold_from {
                HoldFrom::Grant => AidlHoldFrom::GRANT,
                HoldFrom::Conflict => AidlHoldFrom::CONFLICT,
            },
            implicitFences: options.implicit_fences,
        };
        let opened = self.connection.call(|service| Ok(service.openGroup(name, &options)?))?;
        let binder = opened.group.ok_or(Error::Protocol("openGroup returned no group"))?;
        let events = opened.events.ok_or(Error::Protocol("openGroup returned no event channel"))?;
        let events = EventChannel::new(events.into())?;
        Ok(Group::new(binder, events, millis(opened.holdLimitMs)))
    }

    /// Returns the service's dump, as `dumpsys` prints it: buffers, holders, waiters, counters. `args`
    /// are passed to the service; `counters` asks for one line of `key=value` pairs.
    pub fn dump(&self, args: &[&str]) -> Result<String> {
        let system = |what| move |error: std::io::Error| Error::io(what, &error);
        let (read, write) =
            pipe2(OFlag::O_CLOEXEC).map_err(|errno| Error::System("pipe", errno))?;
        let mut read = File::from(read);
        // The call returns when the service has written everything, and a pipe holds 64 KiB only. So
        // another thread must read meanwhile.
        let reader = std::thread::Builder::new().spawn(move || {
            let mut text = String::new();
            read.read_to_string(&mut text).map(|_| text)
        });
        let reader = reader.map_err(system("a thread for the dump"))?;
        let written = self.dump_to(write, args);
        let text = match reader.join() {
            Ok(text) => text.map_err(system("read of the dump")),
            Err(_) => Err(Error::Protocol("the reader of the dump panicked")),
        };
        written.and(text)
    }

    /// Like [`BufferSync::dump`], but the service writes to a file, pipe or socket. Blocks while that
    /// accepts no data.
    ///
    /// # Errors
    /// [`Error::ServiceDied`], [`Error::NoService`].
    pub fn dump_to(&self, fd: OwnedFd, args: &[&str]) -> Result<()> {
        self.connection.call(|service| {
            let fd = fd.try_clone().map_err(|error| Error::io("dup", &error))?;
            Ok(runtime::dump(service, fd, args)?)
        })
    }
}

impl Connection {
    /// Calls the service. If the known service has died, looks it up once more and calls the new one.
    fn call<T>(&self, call: impl Fn(&Strong<dyn IBufferSync>) -> Result<T>) -> Result<T> {
        fork::check()?;
        match call(&self.service()?) {
            Err(Error::ServiceDied) => {
                *locked(&self.service) = None;
                call(&self.service()?)
            }
            result => result,
        }
    }

    /// Returns the service, and looks it up if it is not known.
    fn service(&self) -> Result<Strong<dyn IBufferSync>> {
        ending::check()?;
        let mut known = locked(&self.service);
        if let Some(service) = &*known {
            return Ok(service.clone());
        }
        let found = binder::check_interface::<dyn IBufferSync>(&self.instance);
        let service = found.map_err(|status| {
            let reason = match runtime::failure_of_transport(status) {
                Failure::NameNotFound => "not registered, or this uid may not find it".into(),
                Failure::DeadObject => "no service manager answers".into(),
                Failure::Other(reason) => reason,
                other => format!("{other:?}"),
            };
            Error::NoService { instance: self.instance.clone(), reason }
        })?;
        *known = Some(service.clone());
        Ok(service)
    }
}

/// Takes a mutex also after a panic of another thread: its data is valid between any two statements.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_limit_is_never_rounded_to_the_default() {
        let ms = |limit| Options { hold_limit: limit, ..Options::default() }.hold_limit_ms();
        assert_eq!(ms(None), 0);
        assert_eq!(ms(Some(Duration::ZERO)), 1);
        assert_eq!(ms(Some(Duration::from_micros(1))), 1);
        assert_eq!(ms(Some(Duration::from_micros(1001))), 2);
        assert_eq!(ms(Some(Duration::from_millis(500))), 500);
        assert_eq!(ms(Some(Duration::MAX)), i32::MAX);
    }

    #[test]
    fn a_host_without_binder_is_told_so() {
        let error = BufferSync::connect_with("/dev/no-such-binder", "a.b.IC/default").err();
        assert!(matches!(error, Some(Error::NoBinder(_))), "{error:?}");
    }

    #[test]
    fn handles_may_move_to_other_threads() {
        fn is_send<T: Send>() {}
        fn is_sync<T: Sync>() {}
        is_send::<BufferSync>();
        is_sync::<BufferSync>();
        is_send::<Group>();
        is_sync::<Group>();
    }
}

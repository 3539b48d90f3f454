// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Finding the service, and what can be asked of it as a whole.
//!
//! A process has one connection to an instance, which all handles share. It is made when it is first
//! asked for, and made again when the service has died and come back: whoever calls next finds out
//! and looks it up.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use binder::Strong;
use buffersync_aidl::aidl::vendor::buffersync::GroupOptions::GroupOptions;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::IBufferSync;
use buffersync_aidl::{runtime, Failure, DEFAULT_INSTANCE};
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use once_cell::sync::OnceCell;

use crate::ending;
use crate::error::{Error, Result};
use crate::events::EventPipe;
use crate::fork;
use crate::group::Group;
use crate::types::{millis, Capabilities};

/// The binder device of vendor HALs' clients that [`BufferSync::connect`] opens.
pub const DEFAULT_DEVICE: &str = "/dev/binder";

/// Options of a new group (`GroupOptions.aidl`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// How long one grant may last before it is taken away; `None` takes the service's default.
    /// Cut to [`Capabilities::max_hold`]; rounded up to whole milliseconds.
    pub hold_limit: Option<Duration>,
    /// For the group's DMA accesses, acquire fences include the dma-bufs' implicit fences, and release
    /// fences are put there. Needs [`Capabilities::implicit_fences`].
    pub implicit_fences: bool,
}

impl Options {
    /// The limit on the wire, where 0 would ask for the default.
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

/// This process's binder driver: opened once, or tried again if that failed.
static DRIVER: OnceCell<()> = OnceCell::new();

/// This process's connections, by instance. As many as the process has names for.
static CONNECTIONS: Mutex<BTreeMap<String, Arc<Connection>>> = Mutex::new(BTreeMap::new());

/// A handle of the process's connection to the service. `Send` and `Sync`, cheap to clone; calls may
/// be made from any thread. In a child that was forked every call answers [`Error::Forked`].
///
/// If the service dies, groups answer [`Error::ServiceDied`] and are of no more use; this handle finds
/// the service that was started in its place.
#[derive(Clone)]
pub struct BufferSync {
    connection: Arc<Connection>,
}

/// See [`BufferSync`].
struct Connection {
    instance: String,
    /// As it was last looked up; `None` after it was found dead.
    service: Mutex<Option<Strong<dyn IBufferSync>>>,
}

impl BufferSync {
    /// The connection to the default instance over [`DEFAULT_DEVICE`]. Does not wait for the service
    /// to be started.
    ///
    /// # Errors
    /// [`Error::NoBinder`], [`Error::NoService`], [`Error::Forked`].
    pub fn connect() -> Result<Self> {
        Self::connect_with(DEFAULT_DEVICE, DEFAULT_INSTANCE)
    }

    /// The connection to an instance over a binder device. A process has one binder device: the
    /// first to be opened, by whomever, stays.
    ///
    /// # Errors
    /// [`Error::NoBinder`], [`Error::NoService`], [`Error::Forked`].
    pub fn connect_with(device: &str, instance: &str) -> Result<Self> {
        fork::check()?;
        DRIVER.get_or_try_init(|| {
            // No threads: nobody ever calls a client.
            runtime::open_driver(device, None).map_err(Error::NoBinder)?;
            fork::claim();
            Ok::<(), Error>(())
        })?;
        let known = locked(&CONNECTIONS).get(instance).cloned();
        let connection = known.unwrap_or_else(|| {
            let (instance, service) = (instance.to_string(), Mutex::new(None));
            Arc::new(Connection { instance, service })
        });
        // Only what was found once is remembered.
        connection.service()?;
        locked(&CONNECTIONS).insert(instance.to_string(), Arc::clone(&connection));
        Ok(Self { connection })
    }

    /// What the service does and where its bounds are.
    pub fn capabilities(&self) -> Result<Capabilities> {
        self.connection.call(|service| Ok(service.getCapabilities()?.into()))
    }

    /// Opens a group, with no buffers in it. `name` is for dumps and logs: 1 to 64 bytes without
    /// control characters.
    ///
    /// # Errors
    /// [`Error::IllegalArgument`] for a bad name, [`Error::Unsupported`], [`Error::Quota`],
    /// [`Error::NoResources`].
    pub fn open_group(&self, name: &str, options: Options) -> Result<Group> {
        let options = GroupOptions {
            holdLimitMs: options.hold_limit_ms(),
            implicitFences: options.implicit_fences,
        };
        let opened = self.connection.call(|service| Ok(service.openGroup(name, &options)?))?;
        let binder = opened.group.ok_or(Error::Protocol("openGroup returned no group"))?;
        let events = opened.events.ok_or(Error::Protocol("openGroup returned no event pipe"))?;
        let events = EventPipe::new(events.into())?;
        Ok(Group::new(binder, opened.key, events, millis(opened.holdLimitMs)))
    }

    /// The service's dump, as `dumpsys` prints it: buffers, holders, waiters, counters. `args` are
    /// the service's own; `counters` prints one line of `key=value` pairs.
    pub fn dump(&self, args: &[&str]) -> Result<String> {
        let system = |what| move |error: std::io::Error| Error::io(what, &error);
        let (read, write) =
            pipe2(OFlag::O_CLOEXEC).map_err(|errno| Error::System("pipe", errno))?;
        let mut read = File::from(read);
        // The call returns when the service has written everything, and a pipe holds 64 KiB only:
        // so somebody else must read meanwhile.
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

    /// As [`BufferSync::dump`], written to a file, pipe or socket. Blocks while that takes nothing.
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
    /// Calls the service; if it is found dead that was found alive before, the one in its place.
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

    /// The service, looked up if need be.
    fn service(&self) -> Result<Strong<dyn IBufferSync>> {
        ending::check()?;
        let mut known = locked(&self.service);
        if let Some(service) = &*known {
            return Ok(service.clone());
        }
        let found = binder::check_interface::<dyn IBufferSync>(&self.instance);
        let service = found.map_err(|status| {
            let reason = match runtime::failure_of_transport(status) {
                Failure::NameNotFound => "not registered, or not to be found by this uid".into(),
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

/// What these mutexes guard is whole between any two statements: a panic elsewhere spoils nothing.
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
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The connection to the service, whose groups have guards.

use std::os::fd::OwnedFd;
use std::time::Duration;

use buffersync_client_core as core;
use buffersync_client_core::{Capabilities, Options, Result};

use crate::group::Group;

/// A handle of the process's connection to the service. It is `Send` and `Sync` and cheap to clone;
/// any thread may call. In a forked child every call returns [`crate::Error::Forked`].
///
/// If the service dies, its groups return [`crate::Error::ServiceDied`] and can't be used any more. This
/// handle finds the service again when it has restarted.
#[derive(Clone, Debug)]
pub struct BufferSync(core::BufferSync);

impl BufferSync {
    /// Connects to the default instance over [`crate::DEFAULT_DEVICE`]. Does not wait for the service to
    /// start.
    ///
    /// # Errors
    /// [`crate::Error::NoBinder`], [`crate::Error::NoService`], [`crate::Error::Forked`].
    pub fn connect() -> Result<Self> {
        core::BufferSync::connect().map(Self)
    }

    /// Connects over a binder device to an instance, named as [`crate::DEFAULT_INSTANCE`] is:
    /// `PACKAGE.INTERFACE/NAME`. A process keeps the first binder device that it opens, also if other
    /// calls name another one.
    ///
    /// # Errors
    /// Those of [`BufferSync::connect`].
    pub fn connect_with(device: &str, instance: &str) -> Result<Self> {
        core::BufferSync::connect_with(device, instance).map(Self)
    }

    /// Connects like [`BufferSync::connect`], and waits until the service is there (`None`: as long as it takes).
    ///
    /// # Errors
    /// [`crate::Error::NoService`] if it is not there in time; [`crate::Error::NoBinder`] and
    /// [`crate::Error::Forked`] at once.
    pub fn wait_for_service(timeout: impl Into<Option<Duration>>) -> Result<Self> {
        core::BufferSync::wait_for_service(timeout).map(Self)
    }

    /// Returns the features and the limits of the service.
    ///
    /// # Errors
    /// [`crate::Error::ServiceDied`], [`crate::Error::NoService`].
    pub fn capabilities(&self) -> Result<Capabilities> {
        self.0.capabilities()
    }

    /// Opens a group that has no buffers yet. `name` is for dumps and logs: 1 to 64 bytes without
    /// control characters.
    ///
    /// # Errors
    /// [`crate::Error::IllegalArgument`] for a bad name, [`crate::Error::Unsupported`], [`crate::Error::Quota`],
    /// [`crate::Error::NoResources`], [`crate::Error::NoService`].
    pub fn open_group(&self, name: &str, options: Options) -> Result<Group> {
        self.0.open_group(name, options).map(Group::of)
    }

    /// Returns the service's dump, as `dumpsys` prints it: buffers, holders, waiters, counters. `args`
    /// are passed to the service; `counters` asks for one line of `key=value` pairs.
    ///
    /// # Errors
    /// [`crate::Error::ServiceDied`], [`crate::Error::NoService`].
    pub fn dump(&self, args: &[&str]) -> Result<String> {
        self.0.dump(args)
    }

    /// Like [`BufferSync::dump`], but the service writes to a file, pipe or socket. Blocks while that
    /// accepts no data.
    ///
    /// # Errors
    /// Those of [`BufferSync::dump`].
    pub fn dump_to(&self, fd: OwnedFd, args: &[&str]) -> Result<()> {
        self.0.dump_to(fd, args)
    }
}

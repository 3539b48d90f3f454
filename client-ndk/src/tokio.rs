// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Async locks, with the feature `tokio`.
//!
//! The calls to the service stay synchronous: each returns at once, whatever other clients do
//! (`IBufferSync.aidl`). The future awaits the group's event channel in tokio's reactor, so the runtime
//! needs its I/O driver (`enable_io`). With other runtimes, use [`Group::start_lock`] and
//! [`Group::event_fd`].
//!
//! A dropped future cancels the lock that it waited for.

use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::io::Interest;

use crate::error::{Error, Result};
use crate::grant::Grant;
use crate::group::Group;
use crate::types::{timeout_ns, LockId};

impl Group {
    /// Like [`Group::lock`], for async code.
    ///
    /// # Errors
    /// Those of [`Group::lock`].
    ///
    /// # Panics
    /// Outside of a runtime with an I/O driver, like [`AsyncFd::register_with_interest`].
    pub async fn lock_async(&mut self, timeout: impl Into<Option<Duration>>) -> Result<Grant<'_>> {
        self.keep_up()?;
        let (id, granted) = self.request(timeout_ns(timeout.into()))?;
        if !granted {
            Pending { group: self, id }.granted().await?;
        }
        Grant::of(self)
    }
}

impl Grant<'_> {
    /// Like [`Grant::grow`], for async code.
    ///
    /// # Errors
    /// Those of [`Grant::grow`].
    ///
    /// # Panics
    /// Like [`Group::lock_async`].
    pub async fn grow_async(&mut self, timeout: impl Into<Option<Duration>>) -> Result<()> {
        let (id, timeout_ns) = (self.id(), timeout_ns(timeout.into()));
        let group = self.group_mut();
        if !group.request_growth(id, &[], timeout_ns)? {
            Pending { group, id }.granted().await?;
        }
        Ok(())
    }

    /// Completes when the grant is taken away. Await it together with long work.
    ///
    /// # Errors
    /// [`Error::ServiceDied`].
    ///
    /// # Panics
    /// Like [`Group::lock_async`].
    pub async fn evicted(&mut self) -> Result<()> {
        let events = watch(self.group_mut())?;
        while !self.is_evicted()? {
            ready(&events).await?;
        }
        Ok(())
    }
}

/// A lock that waits. If it is dropped before the grant, the lock is cancelled.
struct Pending<'a> {
    group: &'a mut Group,
    id: LockId,
}

impl Pending<'_> {
    async fn granted(self) -> Result<()> {
        let events = watch(self.group)?;
        while !self.group.look(self.id)? {
            ready(&events).await?;
        }
        Ok(())
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.group.abandon(self.id);
    }
}

/// Registers the event channel with the runtime's reactor. It gets its own descriptor, because the group
/// is borrowed mutably meanwhile.
fn watch(group: &Group) -> Result<AsyncFd<OwnedFd>> {
    let events = group.event_fd().try_clone_to_owned();
    let events = events.map_err(|error| Error::io("dup of the event channel", &error))?;
    // SAFETY: an OwnedFd is open for as long as it exists, and never another descriptor.
    let registered = unsafe { AsyncFd::register_with_interest(events, Interest::READABLE) };
    registered.map_err(|error| Error::io("epoll of the event channel", &error.into()))
}

/// Waits until there may be something to read. The caller reads everything before the next call.
async fn ready(events: &AsyncFd<OwnedFd>) -> Result<()> {
    let guard = events.readable().await;
    guard.map_err(|error| Error::io("epoll of the event channel", &error))?.clear_ready();
    Ok(())
}

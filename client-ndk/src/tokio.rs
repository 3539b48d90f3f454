// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Async locks, with the feature `tokio`.
//!
//! The calls to the service stay synchronous: each returns at once, whatever other clients do
//! (`IBufferSync.aidl`). The future awaits the group's event channel in tokio's reactor, so the runtime
//! needs its I/O driver (`enable_io`). With other runtimes, use [`Group::start_lock`] and the group's descriptor.
//!
//! A dropped future cancels the lock that it waited for.
//!
//! Each future registers a descriptor of its own, and tokio's epoll is edge-triggered: every message wakes every
//! future, also if another thread reads the message first. Then the group knows what the message said.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use buffersync_client_core::{Access, BufferId, Error, Result};
use tokio::io::unix::AsyncFd;
use tokio::io::Interest;

use crate::grant::Grant;
use crate::group::Group;
use crate::pending::Pending;

impl Group {
    /// Like [`Group::lock`], for async code.
    ///
    /// # Errors
    /// Those of [`Group::lock`].
    ///
    /// # Panics
    /// Outside of a runtime with an I/O driver, like [`AsyncFd::register_with_interest`].
    pub async fn lock_async(&self, timeout: impl Into<Option<Duration>>) -> Result<Grant> {
        self.start_lock(timeout)?.granted().await
    }

    /// Like [`Group::lock_some`], for async code.
    ///
    /// # Errors
    /// Those of [`Group::lock_some`].
    ///
    /// # Panics
    /// Like [`Group::lock_async`].
    pub async fn lock_some_async(
        &self,
        wants: &[(BufferId, Access)],
        timeout: impl Into<Option<Duration>>,
    ) -> Result<Grant> {
        self.start_lock_some(wants, timeout)?.granted().await
    }
}

impl Pending {
    /// Like [`Pending::wait`], for async code.
    ///
    /// # Errors
    /// Those of [`Pending::wait`].
    ///
    /// # Panics
    /// Like [`Group::lock_async`].
    pub async fn granted(mut self) -> Result<Grant> {
        if !self.is_granted()? {
            let events = watch(self.group())?;
            while !self.is_granted()? {
                ready(&events).await?;
            }
        }
        self.wait()
    }
}

impl Grant {
    /// Like [`Grant::grow_some`], for async code; none named: like [`Grant::grow`].
    ///
    /// # Errors
    /// Those of [`Grant::grow_some`].
    ///
    /// # Panics
    /// Like [`Group::lock_async`].
    pub async fn grow_async(
        &mut self,
        wants: &[(BufferId, Access)],
        timeout: impl Into<Option<Duration>>,
    ) -> Result<()> {
        self.after_growth(Ok(()))?;
        let growth = Growth(self);
        let (group, id) = (growth.0.group(), growth.0.id());
        if !group.core().start_grow(id, wants, timeout)? {
            let events = watch(group)?;
            while !group.core().is_granted(id)? {
                ready(&events).await?;
            }
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
    pub async fn evicted(&self) -> Result<()> {
        let events = watch(self.group())?;
        while !self.is_evicted()? {
            ready(&events).await?;
        }
        Ok(())
    }
}

/// A growth that may wait. If it is dropped before the grant, it is cancelled.
struct Growth<'a>(&'a Grant);

impl Drop for Growth<'_> {
    fn drop(&mut self) {
        self.0.group().core().abandon(self.0.id());
    }
}

/// Registers the event channel with the runtime's reactor, by a descriptor of its own: epoll has one registration for
/// each.
fn watch(group: &Group) -> Result<AsyncFd<OwnedFd>> {
    let system = |error: std::io::Error| Error::io("epoll of the event channel", &error);
    let events = group.as_fd().try_clone_to_owned().map_err(system)?;
    // SAFETY: an OwnedFd is open for as long as it exists, and never another descriptor.
    let registered = unsafe { AsyncFd::register_with_interest(events, Interest::READABLE) };
    registered.map_err(|error| system(error.into()))
}

/// Waits until there may be something to read. The caller reads everything before the next call.
async fn ready(events: &AsyncFd<OwnedFd>) -> Result<()> {
    match events.readable().await {
        Ok(mut guard) => {
            guard.clear_ready();
            Ok(())
        }
        // The runtime is shutting down.
        Err(_) => Err(Error::Cancelled),
    }
}

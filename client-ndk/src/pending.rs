// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A lock that was asked for and not waited for yet.

use buffersync_client_core::{LockId, Result};

use crate::grant::Grant;
use crate::group::Group;

/// A lock of [`Group::start_lock`]: it waits, or is granted already. If it is dropped, the lock is cancelled.
#[must_use = "a lock that is dropped is cancelled"]
#[derive(Debug)]
pub struct Pending {
    group: Group,
    id: LockId,
    /// The guard has it.
    handed_over: bool,
}

impl Pending {
    pub(crate) fn new(group: &Group, id: LockId) -> Self {
        Self { group: group.clone(), id, handed_over: false }
    }

    /// The number of the lock, which events have.
    pub fn id(&self) -> LockId {
        self.id
    }

    /// Tells if the lock is granted. Reads the group's events without blocking.
    ///
    /// # Errors
    /// How it ended: [`crate::Error::TimedOut`], [`crate::Error::LockFailed`], [`crate::Error::Evicted`] if it was
    /// granted and taken away since; also if [`Group::read_event`] has told it before;
    /// [`crate::Error::ServiceDied`].
    pub fn is_granted(&mut self) -> Result<bool> {
        self.group.core().is_granted(self.id)
    }

    /// Waits for the grant. Blocks this thread only.
    ///
    /// # Errors
    /// Those of [`Pending::is_granted`].
    pub fn wait(mut self) -> Result<Grant> {
        self.group.core().wait(self.id)?;
        self.handed_over = true;
        Ok(self.group.granted(self.id))
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn group(&self) -> &Group {
        &self.group
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.handed_over {
            self.group.core().abandon(self.id);
            // If it was granted before.
            self.group.core().drop_lock(self.id);
        }
    }
}

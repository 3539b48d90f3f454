// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The calls of a group. Most tests need one lock of all buffers at a time: these calls number their locks
//! themselves. For locks of parts, and for wrong numbers, there is the binder object itself.

use std::sync::atomic::{AtomicI64, Ordering};

use binder::{ParcelFileDescriptor, Result, Strong};
use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::ISyncGroup::{ISyncGroup, TRY};
use buffersync_aidl::aidl::vendor::buffersync::LockReply::LockReply;
use buffersync_aidl::aidl::vendor::buffersync::ReleaseFence::ReleaseFence;
use buffersync_aidl::aidl::NativeHandle;

/// A group's binder object, and the number of its last lock.
pub struct Calls {
    pub object: Strong<dyn ISyncGroup>,
    last: AtomicI64,
}

/// A `LockReply`, and the number of its lock.
#[derive(Debug)]
pub struct Reply {
    pub token: i64,
    pub grant: Vec<i64>,
    pub fence: Option<ParcelFileDescriptor>,
}

impl Calls {
    pub fn new(object: Strong<dyn ISyncGroup>) -> Self {
        Self { object, last: AtomicI64::new(0) }
    }

    /// The number of the last lock that was asked for.
    pub fn last(&self) -> i64 {
        self.last.load(Ordering::Relaxed)
    }

    /// A number that no lock has had.
    pub fn number(&self) -> i64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A new lock of all buffers.
    pub fn lock(&self, timeout_ns: i64) -> Result<Reply> {
        self.lock_some(&[], &[], timeout_ns)
    }

    /// A new lock of these buffers.
    pub fn lock_some(&self, buffers: &[i64], accesses: &[Access], limit: i64) -> Result<Reply> {
        let token = self.number();
        reply(token, self.object.lock(token, buffers, accesses, limit))
    }

    pub fn try_lock(&self) -> Result<Reply> {
        self.lock(TRY)
    }

    /// Grows the last lock: it gets all buffers of the group that it lacks.
    pub fn grow(&self, timeout_ns: i64) -> Result<Reply> {
        reply(self.last(), self.object.grow(self.last(), &[], &[], timeout_ns))
    }

    /// Takes back the last lock if it waits, or its growth.
    pub fn cancel(&self) -> Result<()> {
        self.object.cancel(self.last())
    }

    /// Ends a lock, and locks all buffers again.
    pub fn unlock_and_lock(
        &self,
        token: i64,
        fences: &[ReleaseFence],
        limit: i64,
    ) -> Result<Reply> {
        let next = self.number();
        reply(next, self.object.unlockAndLock(token, fences, next, &[], &[], limit))
    }

    pub fn unlock(&self, token: i64) -> Result<()> {
        self.object.unlock(token)
    }

    /// Ends a whole grant.
    pub fn unlock_with(&self, token: i64, fences: &[ReleaseFence]) -> Result<()> {
        self.object.unlockBuffers(token, &[], fences)
    }

    pub fn unlock_some(&self, token: i64, buffers: &[i64], fences: &[ReleaseFence]) -> Result<()> {
        self.object.unlockBuffers(token, buffers, fences)
    }

    pub fn downgrade(&self, token: i64, buffers: &[i64]) -> Result<()> {
        self.object.downgrade(token, buffers)
    }

    pub fn acquire_fence(&self, token: i64, buffer: i64) -> Result<Option<ParcelFileDescriptor>> {
        self.object.getAcquireFence(token, buffer)
    }

    pub fn add(&self, handle: &NativeHandle, access: Access) -> Result<Vec<i64>> {
        self.object.add(handle, access)
    }

    pub fn remove(&self, buffer: i64) -> Result<()> {
        self.object.remove(&[buffer])
    }

    pub fn remove_all(&self) -> Result<()> {
        self.object.remove(&[])
    }

    pub fn close(&self) -> Result<()> {
        self.object.close()
    }
}

fn reply(token: i64, answer: Result<LockReply>) -> Result<Reply> {
    let LockReply { grant, acquireFence: fence } = answer?;
    Ok(Reply { token, grant, fence })
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `ISyncGroup`, one binder object per group.
//!
//! Every process that has the object can use the group. When the last reference in another process is
//! gone, also by the death of a client, the kernel tells the binder runtime; the runtime drops the
//! object, and that ends the group. The service takes no binder from a client and calls none.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use binder::{Interface, ParcelFileDescriptor, Strong};
use buffersync_aidl::aidl::vendor::buffersync::Access::Access as AidlAccess;
use buffersync_aidl::aidl::vendor::buffersync::ISyncGroup::{BnSyncGroup, ISyncGroup};
use buffersync_aidl::aidl::vendor::buffersync::LockReply::LockReply;
use buffersync_aidl::aidl::vendor::buffersync::ReleaseFence::ReleaseFence;
use buffersync_aidl::aidl::NativeHandle;
use buffersync_aidl::reply::unfence;
use buffersync_engine::{Access, BufferId, Close, GroupId, Token};

use crate::arbiter::Arbiter;
use crate::calls::{Locked, Wait};
use crate::error::Error;
use crate::fences::release::Given;
use crate::outbox::wire;

/// A client's group.
pub struct SyncGroup {
    arbiter: Arc<Arbiter>,
    id: GroupId,
}

impl SyncGroup {
    /// Makes the binder object that owns group `id`.
    pub fn publish(arbiter: Arc<Arbiter>, id: GroupId) -> Strong<dyn ISyncGroup> {
        buffersync_aidl::new_binder!(BnSyncGroup, Self { arbiter, id })
    }

    fn add_handle(&self, handle: &NativeHandle, access: AidlAccess) -> Result<Vec<i64>, Error> {
        let access = access_of(access)?;
        let bound = self.arbiter.config().max_fds_per_handle as usize;
        if handle.fds.is_empty() || handle.fds.len() > bound {
            return Err(Error::IllegalArgument("handle has no descriptors, or too many"));
        }
        let fds: Vec<BorrowedFd<'_>> = handle.fds.iter().map(|fd| fd.as_ref().as_fd()).collect();
        let ids = self.arbiter.add(self.id, &fds, access)?;
        Ok(ids.into_iter().map(|id| wire(id.0)).collect())
    }

    fn lock_group(&self, wait: Wait) -> Result<LockReply, Error> {
        let locked = self.arbiter.lock(self.id, wait)?;
        Ok(self.answer(self.id, locked))
    }

    /// The reply to a lock, with the fence that the grant waits for. The lock is granted by now, so nothing here can
    /// refuse it: without a descriptor for the fence the client gets the grant, and asks for the fence later.
    fn answer(&self, id: GroupId, locked: Locked) -> LockReply {
        let Locked::Granted { token, mut grant, waits } = locked else {
            return reply(locked, None);
        };
        let mut fence = None;
        if waits {
            match self.arbiter.acquire_fence(id, token, None) {
                Ok(Some(merged)) => fence = Some(merged),
                Ok(None) => unfence(&mut grant),
                // The grant was taken away already, as its EVICTED record says; or there is no descriptor.
                Err(_) => {}
            }
        }
        reply(Locked::Granted { token, grant, waits }, fence)
    }

    fn given<'a>(&self, fences: &'a [ReleaseFence]) -> Result<Vec<Given<'a>>, Error> {
        if fences.len() > self.arbiter.config().max_buffers_per_group as usize + 1 {
            return Err(Error::IllegalArgument("more release fences than buffers"));
        }
        let given = fences.iter().map(|given| {
            let fd = given.fence.as_ref().ok_or(Error::BadFence)?;
            Ok(Given { buffer: buffer_of(given.bufferId)?, fd: fd.as_ref().as_fd() })
        });
        given.collect()
    }

    fn unlock_with_fences(&self, token: Token, fences: &[ReleaseFence]) -> Result<(), Error> {
        self.arbiter.unlock(self.id, token, &self.given(fences)?)
    }

    /// Buffers of a grant that a call names.
    fn part(&self, buffers: &[i64]) -> Result<Vec<BufferId>, Error> {
        if buffers.is_empty()
            || buffers.len() > self.arbiter.config().max_buffers_per_group as usize
        {
            return Err(Error::IllegalArgument("no buffers, or more than a group can have"));
        }
        let id = |id: &i64| u64::try_from(*id).map(BufferId).map_err(|_| Error::UnknownBuffer);
        buffers.iter().map(id).collect()
    }

    fn unlock_part(
        &self,
        token: Token,
        buffers: &[i64],
        fences: &[ReleaseFence],
    ) -> Result<(), Error> {
        self.arbiter.unlock_part(self.id, token, self.part(buffers)?, &self.given(fences)?)
    }

    fn downgrade_part(&self, token: Token, buffers: &[i64]) -> Result<(), Error> {
        self.arbiter.downgrade(self.id, token, self.part(buffers)?)
    }

    fn unlock_and_lock(
        &self,
        token: Token,
        fences: &[ReleaseFence],
        key: i64,
        wait: Wait,
    ) -> Result<LockReply, Error> {
        let given = self.given(fences)?;
        let (next, locked) = self.arbiter.unlock_and_lock(self.id, token, &given, key, wait)?;
        Ok(self.answer(next, locked))
    }
}

impl Drop for SyncGroup {
    fn drop(&mut self) {
        self.arbiter.close_group(self.id, Close::Died);
    }
}

impl Interface for SyncGroup {}

impl ISyncGroup for SyncGroup {
    fn add(&self, handle: &NativeHandle, access: AidlAccess) -> binder::Result<Vec<i64>> {
        Ok(self.add_handle(handle, access)?)
    }

    fn remove(&self, buffer_id: i64) -> binder::Result<()> {
        let id = u64::try_from(buffer_id).map_err(|_| Error::UnknownBuffer)?;
        Ok(self.arbiter.remove(self.id, BufferId(id))?)
    }

    fn removeAll(&self) -> binder::Result<()> {
        Ok(self.arbiter.remove_all(self.id)?)
    }

    fn lock(&self, timeout_ns: i64) -> binder::Result<LockReply> {
        let _slice = self.arbiter.slices.slice("lock");
        let wait = wait_of(timeout_ns)?;
        Ok(self.lock_group(wait)?)
    }

    fn tryLock(&self) -> binder::Result<LockReply> {
        let _slice = self.arbiter.slices.slice("tryLock");
        Ok(self.lock_group(Wait::Never)?)
    }

    fn cancel(&self) -> binder::Result<()> {
        let _slice = self.arbiter.slices.slice("cancel");
        Ok(self.arbiter.cancel(self.id)?)
    }

    fn getAcquireFence(
        &self,
        token: i64,
        buffer_id: i64,
    ) -> binder::Result<Option<ParcelFileDescriptor>> {
        let _slice = self.arbiter.slices.slice("getAcquireFence");
        let buffer = buffer_of(buffer_id)?;
        let fence = self.arbiter.acquire_fence(self.id, token_of(token), buffer)?;
        Ok(fence.map(ParcelFileDescriptor::new))
    }

    fn unlock(&self, token: i64) -> binder::Result<()> {
        let _slice = self.arbiter.slices.slice("unlock");
        Ok(self.arbiter.unlock(self.id, token_of(token), &[])?)
    }

    fn unlockWithFences(&self, token: i64, fences: &[ReleaseFence]) -> binder::Result<()> {
        let _slice = self.arbiter.slices.slice("unlockWithFences");
        Ok(self.unlock_with_fences(token_of(token), fences)?)
    }

    fn unlockAndLock(
        &self,
        token: i64,
        next_key: i64,
        timeout_ns: i64,
    ) -> binder::Result<LockReply> {
        let _slice = self.arbiter.slices.slice("unlockAndLock");
        let wait = wait_of(timeout_ns)?;
        Ok(self.unlock_and_lock(token_of(token), &[], next_key, wait)?)
    }

    fn unlockWithFencesAndLock(
        &self,
        token: i64,
        fences: &[ReleaseFence],
        next_key: i64,
        timeout_ns: i64,
    ) -> binder::Result<LockReply> {
        let _slice = self.arbiter.slices.slice("unlockWithFencesAndLock");
        let wait = wait_of(timeout_ns)?;
        Ok(self.unlock_and_lock(token_of(token), fences, next_key, wait)?)
    }

    fn unlockBuffers(
        &self,
        token: i64,
        buffers: &[i64],
        fences: &[ReleaseFence],
    ) -> binder::Result<()> {
        let _slice = self.arbiter.slices.slice("unlockBuffers");
        Ok(self.unlock_part(token_of(token), buffers, fences)?)
    }

    fn downgrade(&self, token: i64, buffers: &[i64]) -> binder::Result<()> {
        let _slice = self.arbiter.slices.slice("downgrade");
        Ok(self.downgrade_part(token_of(token), buffers)?)
    }

    fn close(&self) -> binder::Result<()> {
        Ok(self.arbiter.close(self.id)?)
    }
}

/// Tokens count from 1, so 0 is no grant's token.
fn token_of(token: i64) -> Token {
    Token(u64::try_from(token).unwrap_or(0))
}

/// Ids count from 1, so 0 means all buffers.
fn buffer_of(id: i64) -> Result<Option<BufferId>, Error> {
    match u64::try_from(id) {
        Ok(0) => Ok(None),
        Ok(id) => Ok(Some(BufferId(id))),
        Err(_) => Err(Error::UnknownBuffer),
    }
}

fn access_of(access: AidlAccess) -> Result<Access, Error> {
    match access {
        AidlAccess::READ => Ok(Access::Read),
        AidlAccess::WRITE => Ok(Access::Write),
        AidlAccess::DMA_READ => Ok(Access::DmaRead),
        AidlAccess::DMA_WRITE => Ok(Access::DmaWrite),
        _ => Err(Error::IllegalArgument("unknown access")),
    }
}

fn wait_of(timeout_ns: i64) -> Result<Wait, Error> {
    match u64::try_from(timeout_ns) {
        Ok(0) => Ok(Wait::UntilGranted),
        Ok(nanos) => Ok(Wait::AtMost(Duration::from_nanos(nanos))),
        Err(_) => Err(Error::IllegalArgument("negative time-out")),
    }
}

fn reply(locked: Locked, fence: Option<OwnedFd>) -> LockReply {
    match locked {
        Locked::Queued(token) => {
            LockReply { token: wire(token.0), grant: Vec::new(), acquireFence: None }
        }
        Locked::Granted { token, grant, waits: _ } => LockReply {
            token: wire(token.0),
            grant,
            acquireFence: fence.map(ParcelFileDescriptor::new),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_four_accesses_are_known() {
        let known: Vec<i32> =
            (-1..=8).filter(|bits| access_of(AidlAccess(*bits)).is_ok()).collect();
        assert_eq!(known, [1, 2, 5, 6]);
    }
}

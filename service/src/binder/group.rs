// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `ISyncGroup`, one binder object per group.
//!
//! Every process that has the object can use the group. When the last reference in another process is
//! gone, also by the death of a client, the kernel tells the binder runtime; the runtime drops the
//! object, and that ends the group. The service takes no binder from a client and calls none.

use std::sync::Arc;
use std::time::Duration;

use binder::{Interface, ParcelFileDescriptor, Strong};
use buffersync_aidl::aidl::vendor::buffersync::Access::Access as AidlAccess;
use buffersync_aidl::aidl::vendor::buffersync::ISyncGroup::{BnSyncGroup, ISyncGroup, TRY};
use buffersync_aidl::aidl::vendor::buffersync::LockReply::LockReply;
use buffersync_aidl::aidl::vendor::buffersync::LockState::LockState;
use buffersync_aidl::aidl::vendor::buffersync::ReleaseFence::ReleaseFence;
use buffersync_aidl::aidl::NativeHandle;
use buffersync_aidl::reply::unfence;
use buffersync_engine::{Access, BufferId, Close, GroupId, Token};
use buffersync_kernel::fd::{AsFd, FdRef};

use crate::arbiter::Arbiter;
use crate::calls::{Living, Locked, Request, Wait, Wants};
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
        let (count, most) = (handle.fds.len(), self.arbiter.config().max_fds_per_handle);
        if count == 0 || count > most as usize {
            let why = format!("the handle has {count} descriptors, and must have 1 to {most}");
            return Err(Error::IllegalArgument(why));
        }
        let fds: Vec<FdRef<'_>> = handle.fds.iter().map(|fd| fd.as_ref().as_fd()).collect();
        let ids = self.arbiter.add(self.id, &fds, access)?;
        Ok(ids.into_iter().map(|id| wire(id.0)).collect())
    }

    /// Calls the arbiter with the arguments of a lock, and makes the reply.
    fn locking(
        &self,
        token: i64,
        buffers: &[i64],
        accesses: &[AidlAccess],
        timeout_ns: i64,
        call: impl FnOnce(Request<'_>) -> Result<Locked, Error>,
    ) -> Result<LockReply, Error> {
        let wait = wait_of(timeout_ns)?;
        let buffers = self.named(buffers)?;
        if !accesses.is_empty() && accesses.len() != buffers.len() {
            let (accesses, buffers) = (accesses.len(), buffers.len());
            let why = format!("{accesses} accesses for {buffers} buffers");
            return Err(Error::IllegalArgument(why));
        }
        let accesses: Vec<Access> =
            accesses.iter().copied().map(access_of).collect::<Result<_, _>>()?;
        let wants = Wants { buffers: &buffers, accesses: &accesses };
        let token = token_of(token);
        let locked = call(Request { token, wants, wait })?;
        Ok(self.answer(token, locked))
    }

    /// The reply to a lock, with the fence that the grant waits for. The lock is granted by now, so nothing here can
    /// refuse it: without a descriptor for the fence the client gets the grant, and asks for the fence later.
    fn answer(&self, token: Token, locked: Locked) -> LockReply {
        let Locked::Granted { mut grant, waits } = locked else {
            return LockReply { grant: Vec::new(), acquireFence: None };
        };
        let mut fence = None;
        if waits {
            match self.arbiter.acquire_fence(self.id, token, None) {
                Ok(Some(merged)) => fence = Some(merged),
                Ok(None) => unfence(&mut grant),
                // The grant was taken away already, as its EVICTED record says; or there is no descriptor.
                Err(_) => {}
            }
        }
        LockReply { grant, acquireFence: fence.map(ParcelFileDescriptor::new) }
    }

    fn given<'a>(&self, fences: &'a [ReleaseFence]) -> Result<Vec<Given<'a>>, Error> {
        let (count, most) =
            (fences.len(), self.arbiter.config().max_buffers_per_group as usize + 1);
        if count > most {
            return Err(Error::IllegalArgument(format!("{count} release fences, {most} at most")));
        }
        let given = fences.iter().enumerate().map(|(nth, given)| {
            let fd = given.fence.as_ref().ok_or(Error::BadFence(nth))?;
            Ok(Given { buffer: buffer_of(given.bufferId)?, fd: fd.as_ref().as_fd() })
        });
        given.collect()
    }

    /// Buffers that a call names.
    fn named(&self, buffers: &[i64]) -> Result<Vec<BufferId>, Error> {
        let (count, most) = (buffers.len(), self.arbiter.config().max_buffers_per_group);
        if count > most as usize {
            return Err(Error::IllegalArgument(format!("{count} buffers, {most} at most")));
        }
        let id = |id: &i64| u64::try_from(*id).map(BufferId).map_err(|_| Error::UnknownBuffer(*id));
        buffers.iter().map(id).collect()
    }

    fn unlock_part(
        &self,
        token: Token,
        buffers: &[i64],
        fences: &[ReleaseFence],
    ) -> Result<(), Error> {
        self.arbiter.unlock_buffers(self.id, token, self.named(buffers)?, &self.given(fences)?)
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

    fn remove(&self, buffers: &[i64]) -> binder::Result<()> {
        Ok(self.arbiter.remove(self.id, self.named(buffers)?)?)
    }

    fn lock(
        &self,
        lock: i64,
        buffers: &[i64],
        accesses: &[AidlAccess],
        timeout_ns: i64,
    ) -> binder::Result<LockReply> {
        let _slice = self.arbiter.slices.slice("lock");
        let call = |request: Request<'_>| self.arbiter.lock(self.id, request);
        Ok(self.locking(lock, buffers, accesses, timeout_ns, call)?)
    }

    fn grow(
        &self,
        lock: i64,
        buffers: &[i64],
        accesses: &[AidlAccess],
        timeout_ns: i64,
    ) -> binder::Result<LockReply> {
        let _slice = self.arbiter.slices.slice("grow");
        let call = |request: Request<'_>| self.arbiter.grow(self.id, request);
        Ok(self.locking(lock, buffers, accesses, timeout_ns, call)?)
    }

    fn cancel(&self, lock: i64) -> binder::Result<()> {
        let _slice = self.arbiter.slices.slice("cancel");
        Ok(self.arbiter.cancel(self.id, token_of(lock))?)
    }

    fn getAcquireFence(
        &self,
        lock: i64,
        buffer: i64,
    ) -> binder::Result<Option<ParcelFileDescriptor>> {
        let _slice = self.arbiter.slices.slice("getAcquireFence");
        let buffer = buffer_of(buffer)?;
        let fence = self.arbiter.acquire_fence(self.id, token_of(lock), buffer)?;
        Ok(fence.map(ParcelFileDescriptor::new))
    }

    fn unlock(&self, lock: i64) -> binder::Result<()> {
        let _slice = self.arbiter.slices.slice("unlock");
        Ok(self.arbiter.unlock(self.id, token_of(lock))?)
    }

    fn unlockBuffers(
        &self,
        lock: i64,
        buffers: &[i64],
        fences: &[ReleaseFence],
    ) -> binder::Result<()> {
        let _slice = self.arbiter.slices.slice("unlockBuffers");
        Ok(self.unlock_part(token_of(lock), buffers, fences)?)
    }

    fn downgrade(&self, lock: i64, buffers: &[i64]) -> binder::Result<()> {
        let _slice = self.arbiter.slices.slice("downgrade");
        Ok(self.arbiter.downgrade(self.id, token_of(lock), self.named(buffers)?)?)
    }

    fn unlockAndLock(
        &self,
        done: i64,
        fences: &[ReleaseFence],
        lock: i64,
        buffers: &[i64],
        accesses: &[AidlAccess],
        timeout_ns: i64,
    ) -> binder::Result<LockReply> {
        let _slice = self.arbiter.slices.slice("unlockAndLock");
        if timeout_ns == TRY {
            // It could be refused when the grant has ended.
            let why = format!("timeoutNs is TRY ({TRY}): unlockAndLock() may have to wait");
            return Err(Error::IllegalArgument(why).into());
        }
        let given = self.given(fences)?;
        let call = |request: Request<'_>| {
            self.arbiter.unlock_and_lock(self.id, token_of(done), &given, request)
        };
        Ok(self.locking(lock, buffers, accesses, timeout_ns, call)?)
    }

    fn getLocks(&self) -> binder::Result<Vec<LockState>> {
        let locks = self.arbiter.locks(self.id)?.into_iter();
        let state =
            |Living { token, waiting, grant }| LockState { lock: wire(token.0), waiting, grant };
        Ok(locks.map(state).collect())
    }

    fn getGroupName(&self, group: i64) -> binder::Result<Option<String>> {
        let serial = u64::try_from(group).unwrap_or(0);
        Ok(self.arbiter.name_of(self.id, serial)?)
    }

    fn close(&self) -> binder::Result<()> {
        Ok(self.arbiter.close(self.id)?)
    }
}

/// A lock's number is positive. 0 is no lock.
fn token_of(token: i64) -> Token {
    Token(u64::try_from(token).unwrap_or(0))
}

/// Ids count from 1, so 0 means all buffers.
fn buffer_of(id: i64) -> Result<Option<BufferId>, Error> {
    match u64::try_from(id) {
        Ok(0) => Ok(None),
        Ok(id) => Ok(Some(BufferId(id))),
        Err(_) => Err(Error::UnknownBuffer(id)),
    }
}

fn access_of(access: AidlAccess) -> Result<Access, Error> {
    match access {
        AidlAccess::READ => Ok(Access::Read),
        AidlAccess::WRITE => Ok(Access::Write),
        AidlAccess::DMA_READ => Ok(Access::DmaRead),
        AidlAccess::DMA_WRITE => Ok(Access::DmaWrite),
        AidlAccess(bits) => Err(Error::IllegalArgument(format!("{bits:#x} is no access"))),
    }
}

fn wait_of(timeout_ns: i64) -> Result<Wait, Error> {
    match u64::try_from(timeout_ns) {
        Ok(0) => Ok(Wait::UntilGranted),
        Ok(nanos) => Ok(Wait::AtMost(Duration::from_nanos(nanos))),
        Err(_) if timeout_ns == TRY => Ok(Wait::Never),
        Err(_) => Err(Error::IllegalArgument(format!("timeoutNs is {timeout_ns}, {TRY} at least"))),
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

    #[test]
    fn of_the_negative_time_outs_only_try_has_a_meaning() {
        assert_eq!(wait_of(TRY), Ok(Wait::Never));
        assert_eq!(wait_of(0), Ok(Wait::UntilGranted));
        assert_eq!(wait_of(1), Ok(Wait::AtMost(Duration::from_nanos(1))));
        assert!(wait_of(TRY - 1).is_err() && wait_of(i64::MIN).is_err());
    }
}

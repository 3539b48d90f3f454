// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `ABufferSyncGroup_*`: locks and grants, each named by its number.

use std::ffi::c_int;
use std::os::fd::{IntoRawFd, OwnedFd};

use buffersync_client_core::{Access, BufferId, Error, GrantInfo, Group, LockId};

use crate::arguments::{buffers, fences, taken, timeout, wants, Out};
use crate::group::find;
use crate::status::{call, Result};
use crate::types::*;

/// Requests a new lock and writes its number.
///
/// # Safety
/// Each pointer is null, or points to what the header says.
unsafe fn request(
    group: *mut ABufferSyncGroup,
    (given, numWants): (*const ABufferSyncWant, usize),
    outLock: *mut ABufferSyncLock,
    request: impl FnOnce(&Group, &[(BufferId, Access)]) -> buffersync_client_core::Result<LockId>,
) -> Result<()> {
    let group = find(group)?;
    // SAFETY: the caller's promise is the same.
    let (out, wants) = unsafe { (Out::new("outLock", outLock)?, wants(given, numWants)?) };
    out.set(request(&group, &wants)?.0);
    Ok(())
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_lock(
    group: *mut ABufferSyncGroup,
    wants: *const ABufferSyncWant,
    numWants: usize,
    timeoutNanos: i64,
    outLock: *mut ABufferSyncLock,
) -> ABufferSyncStatus {
    // SAFETY: the caller's promise is the same.
    call(|| unsafe {
        request(group, (wants, numWants), outLock, |group, wants| {
            group.lock(wants, timeout(timeoutNanos))
        })
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_tryLock(
    group: *mut ABufferSyncGroup,
    wants: *const ABufferSyncWant,
    numWants: usize,
    outLock: *mut ABufferSyncLock,
) -> ABufferSyncStatus {
    // SAFETY: the caller's promise is the same.
    call(|| unsafe {
        request(group, (wants, numWants), outLock, |group, wants| group.try_lock(wants))
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_startLock(
    group: *mut ABufferSyncGroup,
    wants: *const ABufferSyncWant,
    numWants: usize,
    timeoutNanos: i64,
    outLock: *mut ABufferSyncLock,
    outGranted: *mut bool,
) -> ABufferSyncStatus {
    // SAFETY: the caller's promise is the same.
    call(|| unsafe {
        find(group)?;
        let out = Out::new("outGranted", outGranted)?;
        request(group, (wants, numWants), outLock, |group, wants| {
            let (lock, granted) = group.start_lock(wants, timeout(timeoutNanos))?;
            out.set(granted);
            Ok(lock)
        })
    })
}

#[no_mangle]
pub extern "C" fn ABufferSyncGroup_wait(
    group: *mut ABufferSyncGroup,
    lock: ABufferSyncLock,
) -> ABufferSyncStatus {
    call(|| Ok(find(group)?.wait(LockId(lock))?))
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_grow(
    group: *mut ABufferSyncGroup,
    lock: ABufferSyncLock,
    growth: *const ABufferSyncWant,
    numWants: usize,
    timeoutNanos: i64,
) -> ABufferSyncStatus {
    call(|| {
        let group = find(group)?;
        // SAFETY: the caller's promise is the same.
        let growth = unsafe { wants(growth, numWants)? };
        Ok(group.grow(LockId(lock), &growth, timeout(timeoutNanos))?)
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_tryGrow(
    group: *mut ABufferSyncGroup,
    lock: ABufferSyncLock,
    growth: *const ABufferSyncWant,
    numWants: usize,
) -> ABufferSyncStatus {
    call(|| {
        let group = find(group)?;
        // SAFETY: the caller's promise is the same.
        let growth = unsafe { wants(growth, numWants)? };
        Ok(group.try_grow(LockId(lock), &growth)?)
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_startGrow(
    group: *mut ABufferSyncGroup,
    lock: ABufferSyncLock,
    growth: *const ABufferSyncWant,
    numWants: usize,
    timeoutNanos: i64,
    outGranted: *mut bool,
) -> ABufferSyncStatus {
    call(|| {
        let group = find(group)?;
        // SAFETY: the caller's promise is the same.
        let (out, growth) =
            unsafe { (Out::new("outGranted", outGranted)?, wants(growth, numWants)?) };
        out.set(group.start_grow(LockId(lock), &growth, timeout(timeoutNanos))?);
        Ok(())
    })
}

#[no_mangle]
pub extern "C" fn ABufferSyncGroup_cancel(
    group: *mut ABufferSyncGroup,
    lock: ABufferSyncLock,
) -> ABufferSyncStatus {
    call(|| Ok(find(group)?.cancel(LockId(lock))?))
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_getGrant(
    group: *const ABufferSyncGroup,
    lock: ABufferSyncLock,
    outGrant: *mut ABufferSyncGrant,
) -> ABufferSyncStatus {
    call(|| {
        let group = find(group)?;
        // SAFETY: the caller's promise is the same.
        let out = unsafe { Out::new("outGrant", outGrant)? };
        out.set((&group.granted(LockId(lock))?).into());
        Ok(())
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_getBufferState(
    group: *const ABufferSyncGroup,
    lock: ABufferSyncLock,
    buffer: ABufferSyncBufferId,
    outState: *mut ABufferSyncBufferState,
) -> ABufferSyncStatus {
    call(|| {
        let group = find(group)?;
        // SAFETY: the caller's promise is the same.
        let out = unsafe { Out::new("outState", outState)? };
        let grant = group.granted(LockId(lock))?;
        let state = grant.buffers.iter().find(|state| state.id.0 == buffer);
        out.set(state.ok_or_else(|| no_such_buffer(&grant, buffer))?.into());
        Ok(())
    })
}

fn no_such_buffer(grant: &GrantInfo, buffer: ABufferSyncBufferId) -> Error {
    let ids: Vec<String> = grant.buffers.iter().map(|buffer| buffer.id.to_string()).collect();
    let (lock, ids) = (grant.lock, ids.join(", "));
    Error::UnknownBuffer(format!("lock {lock} has no buffer {buffer}: it has {ids}"))
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_getAcquireFence(
    group: *const ABufferSyncGroup,
    lock: ABufferSyncLock,
    buffer: ABufferSyncBufferId,
    outFence: *mut c_int,
) -> ABufferSyncStatus {
    call(|| {
        let group = find(group)?;
        // SAFETY: the caller's promise is the same.
        let out = unsafe { Out::new("outFence", outFence)? };
        let buffer = (buffer != 0).then_some(BufferId(buffer));
        let fence: Option<OwnedFd> = group.acquire_fence(LockId(lock), buffer)?;
        out.set(fence.map_or(-1, IntoRawFd::into_raw_fd));
        Ok(())
    })
}

#[no_mangle]
pub extern "C" fn ABufferSyncGroup_unlock(
    group: *mut ABufferSyncGroup,
    lock: ABufferSyncLock,
    releaseFence: c_int,
) -> ABufferSyncStatus {
    // First of all, because the function takes the descriptor in any case.
    let fence = taken("releaseFence", releaseFence);
    call(|| {
        let group = find(group)?;
        Ok(group.unlock(LockId(lock), fence?)?)
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_unlockBuffers(
    group: *mut ABufferSyncGroup,
    lock: ABufferSyncLock,
    done: *const ABufferSyncBufferId,
    numBuffers: usize,
    releaseFences: *const ABufferSyncFence,
    numFences: usize,
) -> ABufferSyncStatus {
    // First of all, because the function takes the descriptors in any case.
    // SAFETY: the caller's promise is the same.
    let given = unsafe { fences(releaseFences, numFences) };
    call(|| {
        let (group, lock) = (find(group)?, LockId(lock));
        // SAFETY: the caller's promise is the same.
        let (fences, done) = (given?, unsafe { buffers(done, numBuffers)? });
        match done.is_empty() {
            true => group.unlock(lock, fences)?,
            false => group.unlock_buffers(lock, &done, fences)?,
        }
        Ok(())
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_downgrade(
    group: *mut ABufferSyncGroup,
    lock: ABufferSyncLock,
    shared: *const ABufferSyncBufferId,
    numBuffers: usize,
) -> ABufferSyncStatus {
    call(|| {
        let group = find(group)?;
        // SAFETY: the caller's promise is the same.
        let shared = unsafe { buffers(shared, numBuffers)? };
        Ok(group.downgrade(LockId(lock), &shared)?)
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_unlockAndLock(
    group: *mut ABufferSyncGroup,
    done: ABufferSyncLock,
    releaseFences: *const ABufferSyncFence,
    numFences: usize,
    wants: *const ABufferSyncWant,
    numWants: usize,
    timeoutNanos: i64,
    outLock: *mut ABufferSyncLock,
) -> ABufferSyncStatus {
    // First of all, because the function takes the descriptors in any case.
    // SAFETY: the caller's promise is the same.
    let given = unsafe { fences(releaseFences, numFences) };
    // SAFETY: as above.
    call(|| unsafe {
        find(group)?;
        let fences = given?;
        request(group, (wants, numWants), outLock, |group, wants| {
            group.unlock_and_lock(LockId(done), fences, wants, timeout(timeoutNanos))
        })
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_getLocks(
    group: *const ABufferSyncGroup,
    outLocks: *mut ABufferSyncLockStatus,
    maxLocks: usize,
    outNumLocks: *mut usize,
) -> ABufferSyncStatus {
    call(|| {
        let group = find(group)?;
        // SAFETY: the caller's promise is the same.
        let (out, count) = unsafe {
            (Out::optional("outLocks", outLocks)?, Out::new("outNumLocks", outNumLocks)?)
        };
        let locks = group.locks()?;
        if let Some(out) = out {
            for (nth, lock) in locks.iter().take(maxLocks).enumerate() {
                // SAFETY: the caller vouches for the room, and `take` stops there.
                unsafe { out.set_nth(nth, lock.into()) }
            }
        }
        count.set(locks.len());
        Ok(())
    })
}

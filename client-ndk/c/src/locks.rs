// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `ABufferSyncGroup_*`: locks by number, of which a group can have many at once.

use std::ffi::c_int;
use std::os::fd::{IntoRawFd, OwnedFd};

use buffersync_client::{Access, BufferId, Error, GrantInfo, LockId, SharedGroup, Started};

use crate::arguments::{fences, optional_array, timeout, wants, Out};
use crate::group::find;
use crate::status::{call, Result};
use crate::types::*;

/// Requests a new lock and writes its number.
///
/// # Safety
/// Each pointer is null, or points to what the header says.
unsafe fn lock(
    group: *mut ABufferSyncGroup,
    (given, numWants): (*const ABufferSyncWant, usize),
    outLock: *mut ABufferSyncLock,
    request: impl FnOnce(&SharedGroup, &[(BufferId, Access)]) -> Result<LockId>,
) -> Result<()> {
    // SAFETY: the caller's promise is the same.
    let (out, given) = unsafe { (Out::new(outLock)?, optional_array(given, numWants)?) };
    let wants = wants(given)?;
    out.set(request(&*find(group)?, &wants)?.0);
    Ok(())
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_lockBuffers(
    group: *mut ABufferSyncGroup,
    wants: *const ABufferSyncWant,
    numWants: usize,
    timeoutNanos: i64,
    outLock: *mut ABufferSyncLock,
) -> ABufferSyncStatus {
    // SAFETY: the caller's promise is the same.
    call(|| unsafe {
        lock(group, (wants, numWants), outLock, |group, wants| {
            Ok(group.lock_buffers(wants, timeout(timeoutNanos))?)
        })
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_tryLockBuffers(
    group: *mut ABufferSyncGroup,
    wants: *const ABufferSyncWant,
    numWants: usize,
    outLock: *mut ABufferSyncLock,
) -> ABufferSyncStatus {
    // SAFETY: the caller's promise is the same.
    call(|| unsafe {
        lock(group, (wants, numWants), outLock, |group, wants| Ok(group.try_lock_buffers(wants)?))
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_startLockBuffers(
    group: *mut ABufferSyncGroup,
    wants: *const ABufferSyncWant,
    numWants: usize,
    timeoutNanos: i64,
    outLock: *mut ABufferSyncLock,
    outGranted: *mut bool,
) -> ABufferSyncStatus {
    // SAFETY: the caller's promise is the same.
    call(|| unsafe {
        let granted = Out::new(outGranted)?;
        lock(group, (wants, numWants), outLock, |group, wants| {
            let timeout = timeout(timeoutNanos);
            let started = group.with(|group| group.start_lock_buffers(wants, timeout));
            let (lock, started) = started?;
            granted.set(started == Started::Granted);
            Ok(lock)
        })
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_growBuffers(
    group: *mut ABufferSyncGroup,
    lock: ABufferSyncLock,
    growth: *const ABufferSyncWant,
    numWants: usize,
    timeoutNanos: i64,
) -> ABufferSyncStatus {
    call(|| {
        // SAFETY: the caller's promise is the same.
        let growth = wants(unsafe { optional_array(growth, numWants)? })?;
        Ok(find(group)?.grow_buffers(LockId(lock), &growth, timeout(timeoutNanos))?)
    })
}

#[no_mangle]
pub extern "C" fn ABufferSyncGroup_cancelLock(
    group: *mut ABufferSyncGroup,
    lock: ABufferSyncLock,
) -> ABufferSyncStatus {
    call(|| Ok(find(group)?.cancel_lock(LockId(lock))?))
}

fn granted(group: *mut ABufferSyncGroup, lock: ABufferSyncLock) -> Result<GrantInfo> {
    Ok(find(group)?.status(LockId(lock))?.grant.ok_or(Error::Busy)?)
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_getLockGrant(
    group: *mut ABufferSyncGroup,
    lock: ABufferSyncLock,
    outGrant: *mut ABufferSyncGrant,
) -> ABufferSyncStatus {
    call(|| {
        // SAFETY: the caller's promise is the same.
        let out = unsafe { Out::new(outGrant)? };
        out.set((&granted(group, lock)?).into());
        Ok(())
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_getLockBufferState(
    group: *mut ABufferSyncGroup,
    lock: ABufferSyncLock,
    buffer: ABufferSyncBufferId,
    outState: *mut ABufferSyncBufferState,
) -> ABufferSyncStatus {
    call(|| {
        // SAFETY: the caller's promise is the same.
        let out = unsafe { Out::new(outState)? };
        let grant = granted(group, lock)?;
        let state = grant.buffers.iter().find(|state| state.id.0 == buffer);
        out.set(state.ok_or(Error::UnknownBuffer)?.into());
        Ok(())
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_getLockAcquireFence(
    group: *mut ABufferSyncGroup,
    lock: ABufferSyncLock,
    buffer: ABufferSyncBufferId,
    outFence: *mut c_int,
) -> ABufferSyncStatus {
    call(|| {
        // SAFETY: the caller's promise is the same.
        let (out, lock) = (unsafe { Out::new(outFence)? }, LockId(lock));
        let fence: Option<OwnedFd> = find(group)?.with(|group| match buffer {
            0 => group.acquire_fence(lock),
            buffer => group.acquire_fence_of(lock, BufferId(buffer)),
        })?;
        out.set(fence.map_or(-1, IntoRawFd::into_raw_fd));
        Ok(())
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
unsafe fn ids(buffers: *const ABufferSyncBufferId, count: usize) -> Result<Vec<BufferId>> {
    // SAFETY: the caller's promise is the same.
    let buffers = unsafe { optional_array(buffers, count)? };
    Ok(buffers.iter().map(|buffer| BufferId(*buffer)).collect())
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_unlockBuffers(
    group: *mut ABufferSyncGroup,
    lock: ABufferSyncLock,
    buffers: *const ABufferSyncBufferId,
    numBuffers: usize,
    releaseFences: *const ABufferSyncFence,
    numFences: usize,
) -> ABufferSyncStatus {
    // First of all, because the function takes the descriptors in any case.
    // SAFETY: the caller's promise is the same.
    let given = unsafe { optional_array(releaseFences, numFences) }.and_then(fences);
    call(|| {
        let (each, rest) = given?;
        // SAFETY: the caller's promise is the same.
        let buffers = unsafe { ids(buffers, numBuffers)? };
        Ok(find(group)?.unlock_buffers(LockId(lock), &buffers, each, rest)?)
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_downgrade(
    group: *mut ABufferSyncGroup,
    lock: ABufferSyncLock,
    buffers: *const ABufferSyncBufferId,
    numBuffers: usize,
) -> ABufferSyncStatus {
    call(|| {
        // SAFETY: the caller's promise is the same.
        let buffers = unsafe { ids(buffers, numBuffers)? };
        Ok(find(group)?.downgrade(LockId(lock), &buffers)?)
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_unlockAndLockBuffers(
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
    let given = unsafe { optional_array(releaseFences, numFences) }.and_then(fences);
    // SAFETY: as above.
    call(|| unsafe {
        let (each, rest) = given?;
        lock(group, (wants, numWants), outLock, |group, wants| {
            let (done, timeout) = (LockId(done), timeout(timeoutNanos));
            Ok(group.unlock_and_lock_buffers(done, each, rest, wants, timeout)?)
        })
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_getLocks(
    group: *mut ABufferSyncGroup,
    outLocks: *mut ABufferSyncLockStatus,
    maxLocks: usize,
    outNumLocks: *mut usize,
) -> ABufferSyncStatus {
    call(|| {
        // SAFETY: the caller's promise is the same.
        let (out, count) = unsafe { (Out::optional(outLocks)?, Out::new(outNumLocks)?) };
        let locks = find(group)?.with(|group| group.locks())?;
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

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `ABufferSyncGroup_*`: groups, and the main lock with its grant.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use buffersync_client::{BufferId, Error, Grant, Handles, SharedGroup, Started};

use crate::arguments::{array, borrowed, fences, nanos, taken, timeout, Out};
use crate::status::{call, Failure, Result};
use crate::types::*;

static GROUPS: Handles<SharedGroup> = Handles::new(0x5);

/// Makes a handle for a new group.
pub(crate) fn handle(group: SharedGroup) -> *mut ABufferSyncGroup {
    GROUPS.insert(group) as *mut ABufferSyncGroup
}

pub(crate) fn find(group: *mut ABufferSyncGroup) -> Result<Arc<SharedGroup>> {
    GROUPS.get(group as usize).ok_or(Failure::Handle)
}

fn with_grant<T>(
    group: *mut ABufferSyncGroup,
    what: impl FnOnce(&mut Grant<'_>) -> buffersync_client::Result<T>,
) -> Result<T> {
    Ok(find(group)?.with_grant(what)?)
}

#[no_mangle]
pub extern "C" fn ABufferSyncGroup_close(group: *mut ABufferSyncGroup) -> ABufferSyncStatus {
    call(|| {
        let group = GROUPS.remove(group as usize).ok_or(Failure::Handle)?;
        Ok(group.close()?)
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_getHoldLimit(
    group: *mut ABufferSyncGroup,
    outNanos: *mut i64,
) -> ABufferSyncStatus {
    call(|| {
        // SAFETY: the caller's promise is the same.
        let out = unsafe { Out::new(outNanos)? };
        out.set(nanos(find(group)?.with(|group| Ok(group.hold_limit()))?));
        Ok(())
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_addDmaBuf(
    group: *mut ABufferSyncGroup,
    dmaBufFd: c_int,
    access: ABufferSyncAccess,
    outBuffer: *mut ABufferSyncBufferId,
) -> ABufferSyncStatus {
    call(|| {
        // SAFETY: the caller's promise is the same.
        let out = unsafe { Out::optional(outBuffer)? };
        let access = crate::types::access(access).ok_or(Failure::Argument("access"))?;
        let fd = borrowed(dmaBufFd)?;
        let id = find(group)?.with(|group| group.add(fd, access))?;
        out.inspect(|out| out.set(id.0));
        Ok(())
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_addNativeHandle(
    group: *mut ABufferSyncGroup,
    fds: *const c_int,
    numFds: usize,
    access: ABufferSyncAccess,
    outBuffers: *mut ABufferSyncBufferId,
    outNumBuffers: *mut usize,
) -> ABufferSyncStatus {
    call(|| {
        // SAFETY: the caller's promise is the same.
        let (fds, out) =
            unsafe { (array(fds, numFds)?, Ids::new(outBuffers, numFds, outNumBuffers)?) };
        let access = crate::types::access(access).ok_or(Failure::Argument("access"))?;
        let fds = fds.iter().map(|fd| borrowed(*fd)).collect::<Result<Vec<_>>>()?;
        out.set(&find(group)?.with(|group| group.add_handle(&fds, &[], access))?);
        Ok(())
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_addHardwareBuffer(
    group: *mut ABufferSyncGroup,
    buffer: *const AHardwareBuffer,
    access: ABufferSyncAccess,
    outBuffers: *mut ABufferSyncBufferId,
    maxBuffers: usize,
    outNumBuffers: *mut usize,
) -> ABufferSyncStatus {
    call(|| {
        // SAFETY: the caller's promise is the same.
        let out = unsafe { Ids::new(outBuffers, maxBuffers, outNumBuffers)? };
        let access = crate::types::access(access).ok_or(Failure::Argument("access"))?;
        let buffer = NonNull::new(buffer.cast_mut()).ok_or(Failure::Argument("buffer is null"))?;
        // SAFETY: it is not null, so the caller has a reference to it.
        let add = |group: &mut buffersync_client::Group| unsafe {
            group.add_hardware_buffer(buffer, access)
        };
        out.set(&find(group)?.with(add)?);
        Ok(())
    })
}

/// The out-parameters for the ids of buffers and for their number.
struct Ids {
    ids: Option<Out<ABufferSyncBufferId>>,
    room: usize,
    count: Option<Out<usize>>,
}

impl Ids {
    /// # Safety
    /// Each pointer is null, or points to `room` ids and to a number that may be written.
    unsafe fn new(ids: *mut ABufferSyncBufferId, room: usize, count: *mut usize) -> Result<Self> {
        // SAFETY: the caller's promise is the same.
        unsafe { Ok(Self { ids: Out::optional(ids)?, room, count: Out::optional(count)? }) }
    }

    fn set(&self, all: &[BufferId]) {
        if let Some(ids) = &self.ids {
            for (nth, id) in all.iter().take(self.room).enumerate() {
                // SAFETY: the caller of `new` vouches for the room, and `take` stops there.
                unsafe { ids.set_nth(nth, id.0) }
            }
        }
        if let Some(count) = &self.count {
            count.set(all.len());
        }
    }
}

#[no_mangle]
pub extern "C" fn ABufferSyncGroup_remove(
    group: *mut ABufferSyncGroup,
    buffer: ABufferSyncBufferId,
) -> ABufferSyncStatus {
    call(|| Ok(find(group)?.with(|group| group.remove(BufferId(buffer)))?))
}

#[no_mangle]
pub extern "C" fn ABufferSyncGroup_removeAll(group: *mut ABufferSyncGroup) -> ABufferSyncStatus {
    call(|| Ok(find(group)?.with(|group| group.remove_all())?))
}

#[no_mangle]
pub extern "C" fn ABufferSyncGroup_lock(
    group: *mut ABufferSyncGroup,
    timeoutNanos: i64,
) -> ABufferSyncStatus {
    call(|| Ok(find(group)?.lock(timeout(timeoutNanos))?))
}

#[no_mangle]
pub extern "C" fn ABufferSyncGroup_tryLock(group: *mut ABufferSyncGroup) -> ABufferSyncStatus {
    call(|| Ok(find(group)?.try_lock()?))
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_startLock(
    group: *mut ABufferSyncGroup,
    timeoutNanos: i64,
    outGranted: *mut bool,
) -> ABufferSyncStatus {
    call(|| {
        // SAFETY: the caller's promise is the same.
        let out = unsafe { Out::new(outGranted)? };
        out.set(find(group)?.start_lock(timeout(timeoutNanos))? == Started::Granted);
        Ok(())
    })
}

#[no_mangle]
pub extern "C" fn ABufferSyncGroup_cancel(group: *mut ABufferSyncGroup) -> ABufferSyncStatus {
    call(|| Ok(find(group)?.cancel()?))
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_getEventFd(
    group: *mut ABufferSyncGroup,
    outFd: *mut c_int,
) -> ABufferSyncStatus {
    call(|| {
        // SAFETY: the caller's promise is the same.
        let out = unsafe { Out::new(outFd)? };
        out.set(find(group)?.with(|group| Ok(group.event_fd().as_raw_fd()))?);
        Ok(())
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_getEvent(
    group: *mut ABufferSyncGroup,
    outEvent: *mut ABufferSyncEvent,
) -> ABufferSyncStatus {
    call(|| {
        // SAFETY: the caller's promise is the same.
        let out = unsafe { Out::new(outEvent)? };
        let group = find(group)?;
        while let Some(event) = group.read_event()? {
            // The header has no name for other events, so C does not see them.
            if let Some(event) = ABufferSyncEvent::of(&event) {
                out.set(event);
                return Ok(());
            }
        }
        Err(Failure::NoEvent)
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_getGrant(
    group: *mut ABufferSyncGroup,
    outGrant: *mut ABufferSyncGrant,
) -> ABufferSyncStatus {
    call(|| {
        // SAFETY: the caller's promise is the same.
        let out = unsafe { Out::new(outGrant)? };
        out.set(with_grant(group, |grant| {
            if grant.is_evicted()? {
                return Err(Error::Evicted);
            }
            let numBuffers = i64::try_from(grant.buffers().len()).unwrap_or(i64::MAX);
            let deadlineNanos = nanos(grant.deadline());
            Ok(ABufferSyncGrant { id: grant.id().0, deadlineNanos, numBuffers })
        })?);
        Ok(())
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_getBufferState(
    group: *mut ABufferSyncGroup,
    buffer: ABufferSyncBufferId,
    outState: *mut ABufferSyncBufferState,
) -> ABufferSyncStatus {
    call(|| {
        // SAFETY: the caller's promise is the same.
        let out = unsafe { Out::new(outState)? };
        out.set(with_grant(group, |grant| {
            grant.buffer(BufferId(buffer)).map(Into::into).ok_or(Error::UnknownBuffer)
        })?);
        Ok(())
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_getAcquireFence(
    group: *mut ABufferSyncGroup,
    buffer: ABufferSyncBufferId,
    outFence: *mut c_int,
) -> ABufferSyncStatus {
    call(|| {
        // SAFETY: the caller's promise is the same.
        let out = unsafe { Out::new(outFence)? };
        let fence: Option<OwnedFd> = with_grant(group, |grant| match buffer {
            0 => grant.acquire_fence(),
            buffer => grant.acquire_fence_of(BufferId(buffer)),
        })?;
        out.set(fence.map_or(-1, IntoRawFd::into_raw_fd));
        Ok(())
    })
}

#[no_mangle]
pub extern "C" fn ABufferSyncGroup_unlock(
    group: *mut ABufferSyncGroup,
    releaseFence: c_int,
) -> ABufferSyncStatus {
    // First of all, because the function takes the descriptor in any case.
    let fence = taken(releaseFence);
    call(|| Ok(find(group)?.unlock(Vec::new(), fence?)?))
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_unlockWithFences(
    group: *mut ABufferSyncGroup,
    releaseFences: *const ABufferSyncFence,
    numFences: usize,
) -> ABufferSyncStatus {
    // First of all, because the function takes the descriptors in any case.
    // SAFETY: the caller's promise is the same.
    let given = unsafe { array(releaseFences, numFences) }.and_then(fences);
    call(|| {
        let (each, rest) = given?;
        Ok(find(group)?.unlock(each, rest)?)
    })
}

#[no_mangle]
pub extern "C" fn ABufferSyncGroup_unlockAndLock(
    group: *mut ABufferSyncGroup,
    releaseFence: c_int,
    timeoutNanos: i64,
) -> ABufferSyncStatus {
    // First of all, because the function takes the descriptor in any case.
    let fence = taken(releaseFence);
    call(|| Ok(find(group)?.unlock_and_lock(Vec::new(), fence?, timeout(timeoutNanos))?))
}

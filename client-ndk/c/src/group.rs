// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `ABufferSyncGroup_*`: groups, their buffers and events.

use std::ffi::{c_char, c_int};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::Arc;

use buffersync_client_core::{BufferId, Group, Handles};

use crate::arguments::{access, array, borrowed, handle as handle_of, named, nanos, Out};
use crate::status::{call, Failure, Result};
use crate::types::*;

static GROUPS: Handles<Group> = Handles::new(0x5);

/// Makes a handle for a new group.
pub(crate) fn handle(group: Group) -> *mut ABufferSyncGroup {
    GROUPS.insert(group) as *mut ABufferSyncGroup
}

pub(crate) fn find(group: *const ABufferSyncGroup) -> Result<Arc<Group>> {
    if group.is_null() {
        return Err(Failure::Argument("group is null".to_string()));
    }
    let handle = group as usize;
    GROUPS.get(handle).ok_or(Failure::Handle("ABufferSyncGroup", handle))
}

/// An error is ignored: the handle is gone in any case, and in a forked child it belongs to the parent.
#[no_mangle]
pub extern "C" fn ABufferSyncGroup_close(group: *mut ABufferSyncGroup) {
    if buffersync_client_core::is_forked() {
        return;
    }
    if let Some(group) = GROUPS.remove(group as usize) {
        let _ = group.close();
    }
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_getHoldLimit(
    group: *const ABufferSyncGroup,
    outNanos: *mut i64,
) -> ABufferSyncStatus {
    call(|| {
        let group = find(group)?;
        // SAFETY: the caller's promise is the same.
        let out = unsafe { Out::new("outNanos", outNanos)? };
        out.set(nanos(group.hold_limit()));
        Ok(())
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_getGroupName(
    group: *const ABufferSyncGroup,
    number: i64,
    outName: *mut c_char,
    maxBytes: usize,
) -> ABufferSyncStatus {
    call(|| {
        let group = find(group)?;
        // SAFETY: the caller's promise is the same.
        let out = unsafe { Out::new("outName", outName)? };
        if maxBytes < ABUFFERSYNC_MAX_NAME_BYTES as usize {
            let why = format!("maxBytes is {maxBytes}: a name needs {ABUFFERSYNC_MAX_NAME_BYTES}");
            return Err(Failure::Argument(why));
        }
        let name = group.name_of(number)?.unwrap_or_default();
        let bytes = name.bytes().take_while(|byte| *byte != 0).take(maxBytes.saturating_sub(1));
        for (nth, byte) in bytes.chain([0]).enumerate() {
            // SAFETY: the caller vouches for the room, and `take` leaves a place for the NUL.
            unsafe { out.set_nth(nth, byte as c_char) }
        }
        Ok(())
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_addDmaBuf(
    group: *mut ABufferSyncGroup,
    dmaBufFd: c_int,
    usage: ABufferSyncAccess,
    outBuffer: *mut ABufferSyncBufferId,
) -> ABufferSyncStatus {
    call(|| {
        let group = find(group)?;
        // SAFETY: the caller's promise is the same.
        let out = unsafe { Out::optional("outBuffer", outBuffer)? };
        let (usage, fd) = (access("access", usage)?, borrowed("dmaBufFd", dmaBufFd)?);
        let id = group.add(fd, usage).map_err(named("dmaBufFd", dmaBufFd))?;
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
    usage: ABufferSyncAccess,
    outBuffers: *mut ABufferSyncBufferId,
    outNumBuffers: *mut usize,
) -> ABufferSyncStatus {
    call(|| {
        let group = find(group)?;
        // SAFETY: the caller's promise is the same.
        let (fds, out) =
            unsafe { (array("fds", fds, numFds)?, Ids::new(outBuffers, numFds, outNumBuffers)?) };
        let (usage, fds) = (access("access", usage)?, handle_of(fds)?);
        out.set(&group.add_handle(&fds, &[], usage)?);
        Ok(())
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_addHardwareBuffer(
    group: *mut ABufferSyncGroup,
    buffer: *const AHardwareBuffer,
    usage: ABufferSyncAccess,
    outBuffers: *mut ABufferSyncBufferId,
    maxBuffers: usize,
    outNumBuffers: *mut usize,
) -> ABufferSyncStatus {
    call(|| {
        let group = find(group)?;
        // SAFETY: the caller's promise is the same.
        let out = unsafe { Ids::new(outBuffers, maxBuffers, outNumBuffers)? };
        let usage = access("access", usage)?;
        let buffer = NonNull::new(buffer.cast_mut())
            .ok_or_else(|| Failure::Argument("buffer is null".to_string()))?;
        // SAFETY: it is not null, so the caller has a reference to it.
        out.set(&unsafe { group.add_hardware_buffer(buffer, usage) }?);
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
        let (ids, count) =
            unsafe { (Out::optional("outBuffers", ids)?, Out::optional("outNumBuffers", count)?) };
        Ok(Self { ids, room, count })
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
    call(|| Ok(find(group)?.remove(BufferId(buffer))?))
}

#[no_mangle]
pub extern "C" fn ABufferSyncGroup_removeAll(group: *mut ABufferSyncGroup) -> ABufferSyncStatus {
    call(|| Ok(find(group)?.remove_all()?))
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSyncGroup_getEventFd(
    group: *const ABufferSyncGroup,
    outFd: *mut c_int,
) -> ABufferSyncStatus {
    call(|| {
        let group = find(group)?;
        // SAFETY: the caller's promise is the same.
        let out = unsafe { Out::new("outFd", outFd)? };
        out.set(group.as_fd().as_raw_fd());
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
        let group = find(group)?;
        // SAFETY: the caller's promise is the same.
        let out = unsafe { Out::new("outEvent", outEvent)? };
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

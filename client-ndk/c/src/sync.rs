// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `ABufferSync_*`: the connection, and the calls on the service itself.

use std::ffi::{c_char, c_int};
use std::time::Duration;

use buffersync_client::{
    BufferSync, Capabilities, Error, Handles, Options, SharedGroup, DEFAULT_DEVICE,
    DEFAULT_INSTANCE,
};

use crate::arguments::{borrowed, nanos, string, Out};
use crate::group;
use crate::status::{self, call, Failure, Result};
use crate::types::*;

static SYNCS: Handles<BufferSync> = Handles::new(0x3);

fn with<T>(
    sync: *mut ABufferSync,
    what: impl FnOnce(&BufferSync) -> buffersync_client::Result<T>,
) -> Result<T> {
    let sync = SYNCS.get(sync as usize).ok_or(Failure::Handle)?;
    Ok(what(&sync)?)
}

#[no_mangle]
pub extern "C" fn ABufferSyncStatus_toString(status: ABufferSyncStatus) -> *const c_char {
    status::text(status).as_ptr()
}

#[no_mangle]
pub extern "C" fn ABufferSync_getLastErrorMessage() -> *const c_char {
    status::last_message()
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSync_open(outSync: *mut *mut ABufferSync) -> ABufferSyncStatus {
    // SAFETY: the caller's promise is the same.
    unsafe { ABufferSync_openInstance(std::ptr::null(), std::ptr::null(), outSync) }
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSync_openInstance(
    device: *const c_char,
    instance: *const c_char,
    outSync: *mut *mut ABufferSync,
) -> ABufferSyncStatus {
    call(|| {
        // SAFETY: the caller's promise is the same.
        let (out, device, instance) =
            unsafe { (Out::new(outSync)?, string(device)?, string(instance)?) };
        let device = device.unwrap_or(DEFAULT_DEVICE);
        let sync = BufferSync::connect_with(device, instance.unwrap_or(DEFAULT_INSTANCE))?;
        out.set(SYNCS.insert(sync) as *mut ABufferSync);
        Ok(())
    })
}

#[no_mangle]
pub extern "C" fn ABufferSync_close(sync: *mut ABufferSync) -> ABufferSyncStatus {
    call(|| SYNCS.remove(sync as usize).map(drop).ok_or(Failure::Handle))
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSync_getCapability(
    sync: *mut ABufferSync,
    capability: ABufferSyncCapability,
    outValue: *mut i64,
) -> ABufferSyncStatus {
    call(|| {
        // SAFETY: the caller's promise is the same.
        let out = unsafe { Out::new(outValue)? };
        let capabilities = with(sync, BufferSync::capabilities)?;
        out.set(value_of(&capabilities, capability).ok_or(Failure::Argument("capability"))?);
        Ok(())
    })
}

fn value_of(capabilities: &Capabilities, which: ABufferSyncCapability) -> Option<i64> {
    let count = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    Some(match which {
        ABUFFERSYNC_CAPABILITY_RELEASE_FENCES => i64::from(capabilities.release_fence),
        ABUFFERSYNC_CAPABILITY_IMPLICIT_FENCES => i64::from(capabilities.implicit_fences),
        ABUFFERSYNC_CAPABILITY_DEFAULT_HOLD_NANOS => nanos(capabilities.default_hold),
        ABUFFERSYNC_CAPABILITY_MAX_HOLD_NANOS => nanos(capabilities.max_hold),
        ABUFFERSYNC_CAPABILITY_MAX_GROUPS_PER_UID => count(capabilities.max_groups_per_uid),
        ABUFFERSYNC_CAPABILITY_MAX_BUFFERS_PER_GROUP => count(capabilities.max_buffers_per_group),
        ABUFFERSYNC_CAPABILITY_MAX_BUFFERS_PER_UID => count(capabilities.max_buffers_per_uid),
        ABUFFERSYNC_CAPABILITY_MAX_QUEUED_PER_UID => count(capabilities.max_queued_per_uid),
        ABUFFERSYNC_CAPABILITY_MAX_FENCES_PER_UID => count(capabilities.max_fences_per_uid),
        ABUFFERSYNC_CAPABILITY_MAX_FENCES_PER_GROUP => count(capabilities.max_fences_per_group),
        ABUFFERSYNC_CAPABILITY_MAX_FDS_PER_HANDLE => count(capabilities.max_fds_per_handle),
        ABUFFERSYNC_CAPABILITY_MAX_LOCKS_PER_GROUP => count(capabilities.max_locks_per_group),
        _ => return None,
    })
}

#[no_mangle]
pub extern "C" fn ABufferSync_dump(sync: *mut ABufferSync, fd: c_int) -> ABufferSyncStatus {
    call(|| {
        let to = borrowed(fd)?.try_clone_to_owned().map_err(|_| Error::BadFd)?;
        with(sync, |sync| sync.dump_to(to, &[]))
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSync_openGroup(
    sync: *mut ABufferSync,
    name: *const c_char,
    holdLimitNanos: i64,
    flags: u32,
    outGroup: *mut *mut ABufferSyncGroup,
) -> ABufferSyncStatus {
    call(|| {
        // SAFETY: the caller's promise is the same.
        let (out, name) = unsafe { (Out::new(outGroup)?, string(name)?) };
        let name = name.ok_or(Failure::Argument("name is null"))?;
        let options = options(holdLimitNanos, flags)?;
        let group = with(sync, |sync| sync.open_group(name, options))?;
        out.set(group::handle(SharedGroup::new(group)));
        Ok(())
    })
}

fn options(hold_limit_nanos: i64, flags: u32) -> Result<Options> {
    let limit = u64::try_from(hold_limit_nanos)
        .map_err(|_| Failure::Argument("holdLimitNanos is negative"))?;
    if flags & !ABUFFERSYNC_GROUP_IMPLICIT_FENCES != 0 {
        return Err(Failure::Argument("unknown flags"));
    }
    let hold_limit = (limit > 0).then(|| Duration::from_nanos(limit));
    let implicit_fences = flags & ABUFFERSYNC_GROUP_IMPLICIT_FENCES != 0;
    Ok(Options { hold_limit, implicit_fences })
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `ABufferSync_*`: the connection, and the calls on the service itself.

use std::ffi::{c_char, c_int};
use std::sync::Arc;
use std::time::Duration;

use buffersync_client_core::{
    BufferSync, Capabilities, Error, Handles, HoldFrom, Options, DEFAULT_DEVICE, DEFAULT_INSTANCE,
};

use crate::arguments::{borrowed, nanos, string, timeout, Out};
use crate::group;
use crate::status::{self, call, Failure, Result};
use crate::texts;
use crate::types::*;

static SYNCS: Handles<BufferSync> = Handles::new(0x3);

fn find(sync: *const ABufferSync) -> Result<Arc<BufferSync>> {
    if sync.is_null() {
        return Err(Failure::Argument("sync is null".to_string()));
    }
    let handle = sync as usize;
    SYNCS.get(handle).ok_or(Failure::Handle("ABufferSync", handle))
}

#[no_mangle]
pub extern "C" fn ABufferSyncStatus_toString(status: ABufferSyncStatus) -> *const c_char {
    status::text(status).as_ptr()
}

#[no_mangle]
pub extern "C" fn ABufferSync_getLastErrorMessage() -> *const c_char {
    texts::last_message()
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSync_getLastErrorLock(
    outLock: *mut ABufferSyncLockInTheWay,
) -> bool {
    // SAFETY: the caller's promise is the same.
    let out = unsafe { Out::new("outLock", outLock) };
    match (out, texts::last_lock()) {
        (Ok(out), Some(texts::Lock { group, lock, owner })) => {
            out.set(ABufferSyncLockInTheWay { group, lock, owner, reserved: 0 });
            true
        }
        _ => false,
    }
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
        let (out, device, instance) = unsafe {
            (
                Out::new("outSync", outSync)?,
                string("device", device)?,
                string("instance", instance)?,
            )
        };
        let device = device.unwrap_or(DEFAULT_DEVICE);
        let sync = BufferSync::connect_with(device, instance.unwrap_or(DEFAULT_INSTANCE))?;
        out.set(SYNCS.insert(sync) as *mut ABufferSync);
        Ok(())
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSync_waitForService(
    timeoutNanos: i64,
    outSync: *mut *mut ABufferSync,
) -> ABufferSyncStatus {
    call(|| {
        // SAFETY: the caller's promise is the same.
        let out = unsafe { Out::new("outSync", outSync)? };
        let sync = BufferSync::wait_for_service(timeout(timeoutNanos))?;
        out.set(SYNCS.insert(sync) as *mut ABufferSync);
        Ok(())
    })
}

/// In a forked child the handle belongs to the parent.
#[no_mangle]
pub extern "C" fn ABufferSync_close(sync: *mut ABufferSync) {
    if !buffersync_client_core::is_forked() {
        drop(SYNCS.remove(sync as usize));
    }
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSync_getCapability(
    sync: *const ABufferSync,
    capability: ABufferSyncCapability,
    outValue: *mut i64,
) -> ABufferSyncStatus {
    call(|| {
        let sync = find(sync)?;
        // SAFETY: the caller's promise is the same.
        let out = unsafe { Out::new("outValue", outValue)? };
        let value = value_of(&sync.capabilities()?, capability);
        out.set(value.ok_or_else(|| {
            let why = "it must be one of ABUFFERSYNC_CAPABILITY_* (0 to 11)";
            Failure::Argument(format!("capability is {capability}: {why}"))
        })?);
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
pub extern "C" fn ABufferSync_dump(sync: *const ABufferSync, fd: c_int) -> ABufferSyncStatus {
    call(|| {
        let sync = find(sync)?;
        let to = borrowed("fd", fd)?.try_clone_to_owned().map_err(|error| {
            // The program may have no descriptor left, or may have closed this one meanwhile.
            let errno = nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(0));
            Error::System("dup of fd", errno)
        })?;
        Ok(sync.dump_to(to, &[])?)
    })
}

/// # Safety
/// Each pointer is null, or points to what the header says.
#[no_mangle]
pub unsafe extern "C" fn ABufferSync_openGroup(
    sync: *const ABufferSync,
    name: *const c_char,
    holdLimitNanos: i64,
    flags: u32,
    outGroup: *mut *mut ABufferSyncGroup,
) -> ABufferSyncStatus {
    call(|| {
        let sync = find(sync)?;
        // SAFETY: the caller's promise is the same.
        let (out, name) = unsafe { (Out::new("outGroup", outGroup)?, string("name", name)?) };
        let name = name.ok_or_else(|| Failure::Argument("name is null".to_string()))?;
        let group = sync.open_group(name, options(holdLimitNanos, flags)?)?;
        out.set(group::handle(group));
        Ok(())
    })
}

fn options(hold_limit_nanos: i64, flags: u32) -> Result<Options> {
    let limit = u64::try_from(hold_limit_nanos).map_err(|_| {
        let why = "it must be 0 for the default, or positive";
        Failure::Argument(format!("holdLimitNanos is {hold_limit_nanos}: {why}"))
    })?;
    let is_set = |flag| flags & flag != 0;
    let unknown =
        flags & !(ABUFFERSYNC_GROUP_IMPLICIT_FENCES | ABUFFERSYNC_GROUP_HOLD_FROM_CONFLICT);
    if unknown != 0 {
        let why = "this library knows ABUFFERSYNC_GROUP_IMPLICIT_FENCES (0x1) and _HOLD_FROM_CONFLICT (0x2)";
        return Err(Failure::Argument(format!("flags has the unknown bits {unknown:#x}: {why}")));
    }
    let conflict = is_set(ABUFFERSYNC_GROUP_HOLD_FROM_CONFLICT);
    Ok(Options {
        hold_limit: (limit > 0).then(|| Duration::from_nanos(limit)),
        hold_from: if conflict { HoldFrom::Conflict } else { HoldFrom::Grant },
        implicit_fences: is_set(ABUFFERSYNC_GROUP_IMPLICIT_FENCES),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_options_and_unknown_ones_are_named() {
        let plain = options(0, 0).unwrap();
        assert_eq!((plain.hold_limit, plain.hold_from), (None, HoldFrom::Grant));
        assert!(!plain.implicit_fences);
        let all = options(5, 0x3).unwrap();
        assert_eq!(all.hold_limit, Some(Duration::from_nanos(5)));
        assert!(all.hold_from == HoldFrom::Conflict && all.implicit_fences);
        let Err(Failure::Argument(why)) = options(0, 0x14 | 0x1) else { panic!("unknown flags") };
        assert!(why.starts_with("flags has the unknown bits 0x14"), "{why}");
        let Err(Failure::Argument(why)) = options(-5, 0) else { panic!("a negative limit") };
        assert!(why.starts_with("holdLimitNanos is -5"), "{why}");
    }
}

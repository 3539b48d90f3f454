// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The header's types and constants. Enums are integers here, since C may pass any.

use std::ffi::c_int;

use buffersync_client::{Access, Event, GrantedBuffer};

/// A handle: see [`crate::sync`].
#[repr(C)]
#[derive(Debug)]
pub struct ABufferSync {
    opaque: [u8; 0],
}

/// A handle: see [`crate::group`].
#[repr(C)]
#[derive(Debug)]
pub struct ABufferSyncGroup {
    opaque: [u8; 0],
}

pub use buffersync_client::AHardwareBuffer;

/// Names a dma-buf.
pub type ABufferSyncBufferId = i64;
/// `ABUFFERSYNC_OK` or one of `ABUFFERSYNC_ERROR_*`.
pub type ABufferSyncStatus = i32;
/// One of `ABUFFERSYNC_ACCESS_*`.
pub type ABufferSyncAccess = i32;
/// One of `ABUFFERSYNC_CAPABILITY_*`.
pub type ABufferSyncCapability = i32;
/// One of `ABUFFERSYNC_EVENT_*`.
pub type ABufferSyncEventType = i32;

/// See the header.
pub const ABUFFERSYNC_OK: ABufferSyncStatus = 0;
/// See the header.
pub const ABUFFERSYNC_ERROR_INVALID_ARGUMENT: ABufferSyncStatus = -1;
/// See the header.
pub const ABUFFERSYNC_ERROR_INVALID_HANDLE: ABufferSyncStatus = -2;
/// See the header.
pub const ABUFFERSYNC_ERROR_BAD_FD: ABufferSyncStatus = -3;
/// See the header.
pub const ABUFFERSYNC_ERROR_NOT_DMABUF: ABufferSyncStatus = -4;
/// See the header.
pub const ABUFFERSYNC_ERROR_BAD_FENCE: ABufferSyncStatus = -5;
/// See the header.
pub const ABUFFERSYNC_ERROR_UNKNOWN_BUFFER: ABufferSyncStatus = -6;
/// See the header.
pub const ABUFFERSYNC_ERROR_ACCESS_CONFLICT: ABufferSyncStatus = -7;
/// See the header.
pub const ABUFFERSYNC_ERROR_QUOTA: ABufferSyncStatus = -8;
/// See the header.
pub const ABUFFERSYNC_ERROR_NO_RESOURCES: ABufferSyncStatus = -9;
/// See the header.
pub const ABUFFERSYNC_ERROR_EMPTY_GROUP: ABufferSyncStatus = -10;
/// See the header.
pub const ABUFFERSYNC_ERROR_BUSY: ABufferSyncStatus = -11;
/// See the header.
pub const ABUFFERSYNC_ERROR_ALREADY_LOCKED: ABufferSyncStatus = -12;
/// See the header.
pub const ABUFFERSYNC_ERROR_NOT_LOCKED: ABufferSyncStatus = -13;
/// See the header.
pub const ABUFFERSYNC_ERROR_WOULD_BLOCK: ABufferSyncStatus = -14;
/// See the header.
pub const ABUFFERSYNC_ERROR_NOT_QUEUED: ABufferSyncStatus = -15;
/// See the header.
pub const ABUFFERSYNC_ERROR_TIMED_OUT: ABufferSyncStatus = -16;
/// See the header.
pub const ABUFFERSYNC_ERROR_CANCELLED: ABufferSyncStatus = -17;
/// See the header.
pub const ABUFFERSYNC_ERROR_DEADLOCK: ABufferSyncStatus = -18;
/// See the header.
pub const ABUFFERSYNC_ERROR_EVICTED: ABufferSyncStatus = -19;
/// See the header.
pub const ABUFFERSYNC_ERROR_LOCK_FAILED: ABufferSyncStatus = -20;
/// See the header.
pub const ABUFFERSYNC_ERROR_EVENTS_UNREAD: ABufferSyncStatus = -21;
/// See the header.
pub const ABUFFERSYNC_ERROR_UNSUPPORTED: ABufferSyncStatus = -22;
/// See the header.
pub const ABUFFERSYNC_ERROR_NO_BINDER: ABufferSyncStatus = -23;
/// See the header.
pub const ABUFFERSYNC_ERROR_NO_SERVICE: ABufferSyncStatus = -24;
/// See the header.
pub const ABUFFERSYNC_ERROR_SERVICE_DIED: ABufferSyncStatus = -25;
/// See the header.
pub const ABUFFERSYNC_ERROR_FORKED: ABufferSyncStatus = -26;
/// See the header.
pub const ABUFFERSYNC_ERROR_INTERNAL: ABufferSyncStatus = -27;
/// See the header.
pub const ABUFFERSYNC_ACCESS_READ: ABufferSyncAccess = 0x1;
/// See the header.
pub const ABUFFERSYNC_ACCESS_WRITE: ABufferSyncAccess = 0x2;
/// See the header.
pub const ABUFFERSYNC_ACCESS_DMA_READ: ABufferSyncAccess = 0x5;
/// See the header.
pub const ABUFFERSYNC_ACCESS_DMA_WRITE: ABufferSyncAccess = 0x6;
/// See the header.
pub const ABUFFERSYNC_GROUP_DEFAULT: u32 = 0x0;
/// See the header.
pub const ABUFFERSYNC_GROUP_IMPLICIT_FENCES: u32 = 0x1;
/// See the header.
pub const ABUFFERSYNC_CAPABILITY_RELEASE_FENCES: ABufferSyncCapability = 0;
/// See the header.
pub const ABUFFERSYNC_CAPABILITY_IMPLICIT_FENCES: ABufferSyncCapability = 1;
/// See the header.
pub const ABUFFERSYNC_CAPABILITY_DEFAULT_HOLD_NANOS: ABufferSyncCapability = 2;
/// See the header.
pub const ABUFFERSYNC_CAPABILITY_MAX_HOLD_NANOS: ABufferSyncCapability = 3;
/// See the header.
pub const ABUFFERSYNC_CAPABILITY_MAX_GROUPS_PER_UID: ABufferSyncCapability = 4;
/// See the header.
pub const ABUFFERSYNC_CAPABILITY_MAX_BUFFERS_PER_GROUP: ABufferSyncCapability = 5;
/// See the header.
pub const ABUFFERSYNC_CAPABILITY_MAX_BUFFERS_PER_UID: ABufferSyncCapability = 6;
/// See the header.
pub const ABUFFERSYNC_CAPABILITY_MAX_QUEUED_PER_UID: ABufferSyncCapability = 7;
/// See the header.
pub const ABUFFERSYNC_CAPABILITY_MAX_FENCES_PER_UID: ABufferSyncCapability = 8;
/// See the header.
pub const ABUFFERSYNC_CAPABILITY_MAX_FENCES_PER_GROUP: ABufferSyncCapability = 9;
/// See the header.
pub const ABUFFERSYNC_CAPABILITY_MAX_FDS_PER_HANDLE: ABufferSyncCapability = 10;
/// See the header.
pub const ABUFFERSYNC_EVENT_GRANTED: ABufferSyncEventType = 1;
/// See the header.
pub const ABUFFERSYNC_EVENT_LOCK_FAILED: ABufferSyncEventType = 2;
/// See the header.
pub const ABUFFERSYNC_EVENT_WOUNDED: ABufferSyncEventType = 3;
/// See the header.
pub const ABUFFERSYNC_EVENT_TIMED_OUT: ABufferSyncEventType = 4;
/// See the header.
pub const ABUFFERSYNC_EVENT_EVICTED: ABufferSyncEventType = 5;
/// See the header.
pub const ABUFFERSYNC_EVENT_FENCE_EVICTED: ABufferSyncEventType = 6;
/// See the header.
pub const ABUFFERSYNC_BUFFER_EVICTED: u32 = 0x1;
/// See the header.
pub const ABUFFERSYNC_BUFFER_FENCED: u32 = 0x2;
/// See the header.
pub const ABUFFERSYNC_BUFFER_TORN: u32 = 0x8;

/// See the header.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ABufferSyncEvent {
    /// One of `ABUFFERSYNC_EVENT_*`.
    pub r#type: ABufferSyncEventType,
    /// An errno.
    pub error: i32,
    /// Which lock.
    pub grant: i64,
    /// Which buffer.
    pub buffer: ABufferSyncBufferId,
}

/// See the header.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ABufferSyncGrant {
    /// Names it.
    pub id: i64,
    /// CLOCK_MONOTONIC.
    pub deadlineNanos: i64,
    /// How many it has.
    pub numBuffers: i64,
}

/// See the header.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ABufferSyncBufferState {
    /// Which.
    pub buffer: ABufferSyncBufferId,
    /// Exclusive grants so far.
    pub generation: i64,
    /// `ABUFFERSYNC_BUFFER_*`.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
}

/// See the header.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ABufferSyncFence {
    /// Which; 0: the rest.
    pub buffer: ABufferSyncBufferId,
    /// A sync_file.
    pub fd: c_int,
}

pub(crate) fn access(value: ABufferSyncAccess) -> Option<Access> {
    match value {
        ABUFFERSYNC_ACCESS_READ => Some(Access::Read),
        ABUFFERSYNC_ACCESS_WRITE => Some(Access::Write),
        ABUFFERSYNC_ACCESS_DMA_READ => Some(Access::DmaRead),
        ABUFFERSYNC_ACCESS_DMA_WRITE => Some(Access::DmaWrite),
        _ => None,
    }
}

impl ABufferSyncEvent {
    /// `None` for an event that this header does not know.
    pub(crate) fn of(event: &Event) -> Option<Self> {
        let plain = |r#type, grant| Self { r#type, error: 0, grant, buffer: 0 };
        Some(match event {
            Event::Granted(grant) => plain(ABUFFERSYNC_EVENT_GRANTED, grant.token.0),
            Event::LockFailed { token, buffer, errno, .. } => Self {
                error: *errno as i32,
                buffer: buffer.0,
                ..plain(ABUFFERSYNC_EVENT_LOCK_FAILED, token.0)
            },
            Event::Wounded { token } => plain(ABUFFERSYNC_EVENT_WOUNDED, token.0),
            Event::TimedOut { token } => plain(ABUFFERSYNC_EVENT_TIMED_OUT, token.0),
            Event::Evicted { token, by_fence: false } => plain(ABUFFERSYNC_EVENT_EVICTED, token.0),
            Event::Evicted { token, by_fence: true } => {
                plain(ABUFFERSYNC_EVENT_FENCE_EVICTED, token.0)
            }
            _ => return None,
        })
    }
}

impl From<&GrantedBuffer> for ABufferSyncBufferState {
    fn from(buffer: &GrantedBuffer) -> Self {
        let evicted = if buffer.evicted { ABUFFERSYNC_BUFFER_EVICTED } else { 0 };
        let fenced = if buffer.fenced { ABUFFERSYNC_BUFFER_FENCED } else { 0 };
        let torn = if buffer.torn { ABUFFERSYNC_BUFFER_TORN } else { 0 };
        let (flags, generation) = (evicted | fenced | torn, buffer.generation);
        Self { buffer: buffer.id.0, generation, flags, reserved: 0 }
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The types and constants of the header, which documents them. Enums are integers here, because C may
//! pass any value.

use std::ffi::{c_char, c_int};
use std::time::Duration;

use buffersync_client_core::{Access, Event, GrantInfo, GrantedBuffer, InTheWay, LockStatus};

use crate::arguments::nanos;

#[repr(C)]
#[derive(Debug)]
pub struct ABufferSync {
    opaque: [u8; 0],
}

#[repr(C)]
#[derive(Debug)]
pub struct ABufferSyncGroup {
    opaque: [u8; 0],
}

pub use buffersync_client_core::AHardwareBuffer;

pub type ABufferSyncBufferId = i64;
/// The number of a lock.
pub type ABufferSyncLock = i64;
/// `ABUFFERSYNC_OK` or one of `ABUFFERSYNC_ERROR_*`.
pub type ABufferSyncStatus = i32;
/// One of `ABUFFERSYNC_ACCESS_*`.
pub type ABufferSyncAccess = i32;
/// One of `ABUFFERSYNC_CAPABILITY_*`.
pub type ABufferSyncCapability = i32;
/// One of `ABUFFERSYNC_EVENT_*`.
pub type ABufferSyncEventType = i32;

/// Bytes of the longest name of a group, with its NUL.
pub const ABUFFERSYNC_MAX_NAME_BYTES: i32 = 65;
pub const ABUFFERSYNC_OK: ABufferSyncStatus = 0;
pub const ABUFFERSYNC_ERROR_INVALID_ARGUMENT: ABufferSyncStatus = -1;
pub const ABUFFERSYNC_ERROR_INVALID_HANDLE: ABufferSyncStatus = -2;
pub const ABUFFERSYNC_ERROR_BAD_FD: ABufferSyncStatus = -3;
pub const ABUFFERSYNC_ERROR_NOT_DMABUF: ABufferSyncStatus = -4;
pub const ABUFFERSYNC_ERROR_BAD_FENCE: ABufferSyncStatus = -5;
pub const ABUFFERSYNC_ERROR_UNKNOWN_BUFFER: ABufferSyncStatus = -6;
pub const ABUFFERSYNC_ERROR_ACCESS_CONFLICT: ABufferSyncStatus = -7;
pub const ABUFFERSYNC_ERROR_QUOTA: ABufferSyncStatus = -8;
pub const ABUFFERSYNC_ERROR_NO_RESOURCES: ABufferSyncStatus = -9;
pub const ABUFFERSYNC_ERROR_EMPTY_GROUP: ABufferSyncStatus = -10;
pub const ABUFFERSYNC_ERROR_BUSY: ABufferSyncStatus = -11;
pub const ABUFFERSYNC_ERROR_ALREADY_LOCKED: ABufferSyncStatus = -12;
pub const ABUFFERSYNC_ERROR_WOULD_BLOCK: ABufferSyncStatus = -14;
pub const ABUFFERSYNC_ERROR_NOT_QUEUED: ABufferSyncStatus = -15;
pub const ABUFFERSYNC_ERROR_TIMED_OUT: ABufferSyncStatus = -16;
pub const ABUFFERSYNC_ERROR_CANCELLED: ABufferSyncStatus = -17;
pub const ABUFFERSYNC_ERROR_DEADLOCK: ABufferSyncStatus = -18;
pub const ABUFFERSYNC_ERROR_EVICTED: ABufferSyncStatus = -19;
pub const ABUFFERSYNC_ERROR_LOCK_FAILED: ABufferSyncStatus = -20;
pub const ABUFFERSYNC_ERROR_EVENTS_UNREAD: ABufferSyncStatus = -21;
pub const ABUFFERSYNC_ERROR_UNSUPPORTED: ABufferSyncStatus = -22;
pub const ABUFFERSYNC_ERROR_NO_BINDER: ABufferSyncStatus = -23;
pub const ABUFFERSYNC_ERROR_NO_SERVICE: ABufferSyncStatus = -24;
pub const ABUFFERSYNC_ERROR_SERVICE_DIED: ABufferSyncStatus = -25;
pub const ABUFFERSYNC_ERROR_FORKED: ABufferSyncStatus = -26;
pub const ABUFFERSYNC_ERROR_INTERNAL: ABufferSyncStatus = -27;
pub const ABUFFERSYNC_ERROR_BAD_LOCK: ABufferSyncStatus = -28;
pub const ABUFFERSYNC_ERROR_ENDED: ABufferSyncStatus = -29;
pub const ABUFFERSYNC_ACCESS_READ: ABufferSyncAccess = 0x1;
pub const ABUFFERSYNC_ACCESS_WRITE: ABufferSyncAccess = 0x2;
pub const ABUFFERSYNC_ACCESS_DMA_READ: ABufferSyncAccess = 0x5;
pub const ABUFFERSYNC_ACCESS_DMA_WRITE: ABufferSyncAccess = 0x6;
pub const ABUFFERSYNC_GROUP_DEFAULT: u32 = 0x0;
pub const ABUFFERSYNC_GROUP_IMPLICIT_FENCES: u32 = 0x1;
pub const ABUFFERSYNC_GROUP_HOLD_FROM_CONFLICT: u32 = 0x2;
pub const ABUFFERSYNC_CAPABILITY_RELEASE_FENCES: ABufferSyncCapability = 0;
pub const ABUFFERSYNC_CAPABILITY_IMPLICIT_FENCES: ABufferSyncCapability = 1;
pub const ABUFFERSYNC_CAPABILITY_DEFAULT_HOLD_NANOS: ABufferSyncCapability = 2;
pub const ABUFFERSYNC_CAPABILITY_MAX_HOLD_NANOS: ABufferSyncCapability = 3;
pub const ABUFFERSYNC_CAPABILITY_MAX_GROUPS_PER_UID: ABufferSyncCapability = 4;
pub const ABUFFERSYNC_CAPABILITY_MAX_BUFFERS_PER_GROUP: ABufferSyncCapability = 5;
pub const ABUFFERSYNC_CAPABILITY_MAX_BUFFERS_PER_UID: ABufferSyncCapability = 6;
pub const ABUFFERSYNC_CAPABILITY_MAX_QUEUED_PER_UID: ABufferSyncCapability = 7;
pub const ABUFFERSYNC_CAPABILITY_MAX_FENCES_PER_UID: ABufferSyncCapability = 8;
pub const ABUFFERSYNC_CAPABILITY_MAX_FENCES_PER_GROUP: ABufferSyncCapability = 9;
pub const ABUFFERSYNC_CAPABILITY_MAX_FDS_PER_HANDLE: ABufferSyncCapability = 10;
pub const ABUFFERSYNC_CAPABILITY_MAX_LOCKS_PER_GROUP: ABufferSyncCapability = 11;
pub const ABUFFERSYNC_EVENT_GRANTED: ABufferSyncEventType = 1;
pub const ABUFFERSYNC_EVENT_LOCK_FAILED: ABufferSyncEventType = 2;
pub const ABUFFERSYNC_EVENT_WOUNDED: ABufferSyncEventType = 3;
pub const ABUFFERSYNC_EVENT_TIMED_OUT: ABufferSyncEventType = 4;
pub const ABUFFERSYNC_EVENT_EVICTED: ABufferSyncEventType = 5;
pub const ABUFFERSYNC_EVENT_FENCE_EVICTED: ABufferSyncEventType = 6;
pub const ABUFFERSYNC_EVENT_CONTENDED: ABufferSyncEventType = 7;
pub const ABUFFERSYNC_BUFFER_EVICTED: u32 = 0x1;
pub const ABUFFERSYNC_BUFFER_FENCED: u32 = 0x2;
pub const ABUFFERSYNC_BUFFER_TORN: u32 = 0x8;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ABufferSyncEvent {
    pub r#type: ABufferSyncEventType,
    pub error: i32,
    pub lock: ABufferSyncLock,
    pub buffer: ABufferSyncBufferId,
    pub deadlineNanos: i64,
    pub otherGroup: i64,
    pub otherLock: ABufferSyncLock,
    pub reserved: [u64; 2],
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ABufferSyncGrant {
    pub lock: ABufferSyncLock,
    pub deadlineNanos: i64,
    pub numBuffers: u32,
    pub reserved: [u32; 3],
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ABufferSyncBufferState {
    pub buffer: ABufferSyncBufferId,
    pub generation: i64,
    pub flags: u32,
    pub reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ABufferSyncFence {
    pub buffer: ABufferSyncBufferId,
    pub fd: c_int,
    pub reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ABufferSyncWant {
    pub buffer: ABufferSyncBufferId,
    pub access: ABufferSyncAccess,
    pub reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ABufferSyncLockStatus {
    pub lock: ABufferSyncLock,
    pub deadlineNanos: i64,
    pub numBuffers: u32,
    pub waiting: bool,
    pub reserved: [u8; 11],
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ABufferSyncLockInTheWay {
    pub group: i64,
    pub lock: ABufferSyncLock,
    pub owner: *const c_char,
    pub reserved: u64,
}

/// A deadline for C; 0 for none.
fn deadline(deadline: Option<Duration>) -> i64 {
    deadline.map_or(0, nanos)
}

fn count(buffers: usize) -> u32 {
    u32::try_from(buffers).unwrap_or(u32::MAX)
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
    fn new(r#type: ABufferSyncEventType, lock: ABufferSyncLock) -> Self {
        Self {
            r#type,
            error: 0,
            lock,
            buffer: 0,
            deadlineNanos: 0,
            otherGroup: 0,
            otherLock: 0,
            reserved: [0; 2],
        }
    }

    fn by(self, other: Option<&InTheWay>) -> Self {
        let (otherGroup, otherLock) = other.map_or((0, 0), |other| (other.group, other.lock.0));
        Self { otherGroup, otherLock, ..self }
    }

    /// Converts an event. `None` if the header has no such event.
    pub(crate) fn of(event: &Event) -> Option<Self> {
        let plain = |r#type| Self::new(r#type, event.lock().0);
        Some(match event {
            Event::Granted(grant) => {
                Self { deadlineNanos: deadline(grant.deadline), ..plain(ABUFFERSYNC_EVENT_GRANTED) }
            }
            Event::LockFailed { buffer, errno, .. } => Self {
                error: *errno as i32,
                buffer: buffer.0,
                ..plain(ABUFFERSYNC_EVENT_LOCK_FAILED)
            },
            Event::Wounded { .. } => plain(ABUFFERSYNC_EVENT_WOUNDED),
            Event::TimedOut { by, .. } => plain(ABUFFERSYNC_EVENT_TIMED_OUT).by(by.as_ref()),
            Event::Evicted { by_fence: false, by, .. } => {
                plain(ABUFFERSYNC_EVENT_EVICTED).by(by.as_ref())
            }
            Event::Evicted { by_fence: true, .. } => plain(ABUFFERSYNC_EVENT_FENCE_EVICTED),
            Event::Contended { deadline: at, .. } => {
                Self { deadlineNanos: deadline(*at), ..plain(ABUFFERSYNC_EVENT_CONTENDED) }
            }
            _ => return None,
        })
    }
}

impl From<&GrantInfo> for ABufferSyncGrant {
    fn from(grant: &GrantInfo) -> Self {
        let (deadlineNanos, numBuffers) = (deadline(grant.deadline), count(grant.buffers.len()));
        Self { lock: grant.lock.0, deadlineNanos, numBuffers, reserved: [0; 3] }
    }
}

impl From<&LockStatus> for ABufferSyncLockStatus {
    fn from(status: &LockStatus) -> Self {
        let (lock, waiting) = (status.lock.0, status.waiting);
        let grant = status.grant.as_ref().map(ABufferSyncGrant::from);
        let (deadlineNanos, numBuffers) =
            grant.map_or((0, 0), |grant| (grant.deadlineNanos, grant.numBuffers));
        Self { lock, deadlineNanos, numBuffers, waiting, reserved: [0; 11] }
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

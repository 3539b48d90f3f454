// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The native methods of `SyncGroup` and `Grant`, except those of locks by number.

use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;

use buffersync_client::{Access, BufferId, Error, Event, GrantInfo, Handles, SharedGroup, Started};
use jni::objects::{JIntArray, JLongArray, JObject};
use jni::sys::{jint, jlong};
use jni::{JNIEnv, NativeMethod};

use crate::bridge::{
    from_java, int_values, long_values, longs, nanos, native, timeout, to_java, Result,
};
use crate::memory::{borrowed, owned};

static GROUPS: Handles<SharedGroup> = Handles::new(0x9);

pub fn methods() -> Vec<NativeMethod> {
    vec![
        native!(close_group(group: jlong) -> ()),
        native!(hold_limit(group: jlong) -> jlong),
        native!(add(group: jlong, fds: JIntArray, access: jint) -> JLongArray<'static>),
        native!(remove(group: jlong, buffer: jlong) -> ()),
        native!(remove_all(group: jlong) -> ()),
        native!(lock(group: jlong, timeout: jlong) -> ()),
        native!(try_lock(group: jlong) -> ()),
        native!(start_lock(group: jlong, timeout: jlong) -> bool),
        native!(cancel(group: jlong) -> ()),
        native!(event_fd(group: jlong) -> jint),
        native!(event(group: jlong) -> JLongArray<'static>),
        native!(grant(group: jlong) -> JLongArray<'static>),
        native!(evicted(group: jlong) -> bool),
        native!(acquire_fence(group: jlong, buffer: jlong) -> jint),
        native!(unlock(group: jlong, buffers: JLongArray, fences: JIntArray) -> ()),
        native!(unlock_and_lock(group: jlong, fence: jint, timeout: jlong) -> ()),
    ]
}

/// Makes a handle for a new group.
pub fn handle(group: SharedGroup) -> jlong {
    to_java(GROUPS.insert(group))
}

pub fn find(group: jlong) -> Result<Arc<SharedGroup>> {
    Ok(GROUPS.get(from_java(group)).ok_or(Error::Closed)?)
}

/// The numbers are those of `Access.java` and `Access.aidl`.
pub fn access(value: jint) -> Result<Access> {
    let all = [(0x1, Access::Read), (0x2, Access::Write), (0x5, Access::DmaRead)];
    let all = all.into_iter().chain([(0x6, Access::DmaWrite)]);
    let found = all.into_iter().find(|(number, _)| *number == value);
    Ok(found.ok_or_else(|| Error::IllegalArgument("unknown access".into()))?.1)
}

fn close_group(_: &mut JNIEnv<'_>, group: jlong) -> Result<()> {
    let group = GROUPS.remove(from_java(group)).ok_or(Error::Closed)?;
    Ok(group.close()?)
}

fn hold_limit(_: &mut JNIEnv<'_>, group: jlong) -> Result<jlong> {
    Ok(nanos(find(group)?.with(|group| Ok(group.hold_limit()))?))
}

fn add<'local>(
    env: &mut JNIEnv<'local>,
    group: jlong,
    fds: JIntArray<'_>,
    wanted: jint,
) -> Result<JLongArray<'local>> {
    let (fds, access) = (int_values(env, &fds)?, access(wanted)?);
    let fds = fds.iter().map(|fd| borrowed(*fd)).collect::<Result<Vec<_>>>()?;
    let ids = find(group)?.with(|group| group.add_handle(&fds, &[], access))?;
    longs(env, &ids.iter().map(|id| id.0).collect::<Vec<_>>())
}

fn remove(_: &mut JNIEnv<'_>, group: jlong, buffer: jlong) -> Result<()> {
    Ok(find(group)?.with(|group| group.remove(BufferId(buffer)))?)
}

fn remove_all(_: &mut JNIEnv<'_>, group: jlong) -> Result<()> {
    Ok(find(group)?.with(|group| group.remove_all())?)
}

fn lock(_: &mut JNIEnv<'_>, group: jlong, timeout_nanos: jlong) -> Result<()> {
    Ok(find(group)?.lock(timeout(timeout_nanos))?)
}

fn try_lock(_: &mut JNIEnv<'_>, group: jlong) -> Result<()> {
    Ok(find(group)?.try_lock()?)
}

fn start_lock(_: &mut JNIEnv<'_>, group: jlong, timeout_nanos: jlong) -> Result<bool> {
    Ok(find(group)?.start_lock(timeout(timeout_nanos))? == Started::Granted)
}

fn cancel(_: &mut JNIEnv<'_>, group: jlong) -> Result<()> {
    Ok(find(group)?.cancel()?)
}

fn event_fd(_: &mut JNIEnv<'_>, group: jlong) -> Result<jint> {
    Ok(find(group)?.with(|group| Ok(group.event_fd().as_raw_fd()))?)
}

/// Returns type, lock, errno, buffer and deadline; null if there is no event. The type is the ordinal of
/// `Event.Type`.
fn event<'local>(env: &mut JNIEnv<'local>, group: jlong) -> Result<JLongArray<'local>> {
    let group = find(group)?;
    while let Some(event) = group.read_event()? {
        let lock = event.lock().0;
        let values = match event {
            Event::Granted(grant) => [0, lock, 0, 0, nanos(grant.deadline)],
            Event::LockFailed { buffer, errno, .. } => {
                [1, lock, jlong::from(errno as i32), buffer.0, 0]
            }
            Event::Wounded { .. } => [2, lock, 0, 0, 0],
            Event::TimedOut { .. } => [3, lock, 0, 0, 0],
            Event::Evicted { by_fence: false, .. } => [4, lock, 0, 0, 0],
            Event::Evicted { by_fence: true, .. } => [5, lock, 0, 0, 0],
            Event::Contended { deadline, .. } => [6, lock, 0, 0, nanos(deadline)],
            // Java has no name for this event.
            _ => continue,
        };
        return longs(env, &values);
    }
    Ok(JObject::null().into())
}

/// Returns id and deadline; then the buffers (see [`buffers_of`]).
fn grant<'local>(env: &mut JNIEnv<'local>, group: jlong) -> Result<JLongArray<'local>> {
    let grant = find(group)?.granted()?;
    let values: Vec<_> =
        [grant.lock.0, nanos(grant.deadline)].into_iter().chain(buffers_of(&grant)).collect();
    longs(env, &values)
}

/// The id, the generation and the flags (1: evicted, 2: fenced, 8: torn) of each buffer.
pub fn buffers_of(grant: &GrantInfo) -> impl Iterator<Item = jlong> + '_ {
    grant.buffers.iter().flat_map(|buffer| {
        let marks = jlong::from(buffer.evicted) | jlong::from(buffer.torn) << 3;
        let flags = marks | jlong::from(buffer.fenced) << 1;
        [buffer.id.0, buffer.generation, flags]
    })
}

fn evicted(_: &mut JNIEnv<'_>, group: jlong) -> Result<bool> {
    Ok(find(group)?.with_grant(|grant| grant.is_evicted())?)
}

/// Returns a sync_file, or -1. Buffer 0 stands for all buffers.
fn acquire_fence(_: &mut JNIEnv<'_>, group: jlong, buffer: jlong) -> Result<jint> {
    let fence = find(group)?.with_grant(|grant| match buffer {
        0 => grant.acquire_fence(),
        buffer => grant.acquire_fence_of(BufferId(buffer)),
    })?;
    Ok(fence.map_or(-1, IntoRawFd::into_raw_fd))
}

/// Takes the fences. Each is for the buffer at the same index; 0 stands for the rest.
#[allow(clippy::type_complexity)]
pub fn fences(
    env: &mut JNIEnv<'_>,
    buffers: &JLongArray<'_>,
    fences: &JIntArray<'_>,
) -> Result<(Vec<(BufferId, OwnedFd)>, Option<OwnedFd>)> {
    let ids = long_values(env, buffers)?;
    let fds = int_values(env, fences)?;
    // All of them first, because they are taken in any case.
    let fences: Vec<_> = fds.into_iter().map(owned).collect();
    let (mut each, mut rest) = (Vec::new(), None);
    for (id, fence) in ids.into_iter().zip(fences) {
        match id {
            0 => rest = Some(fence?),
            id => each.push((BufferId(id), fence?)),
        }
    }
    Ok((each, rest))
}

fn unlock(
    env: &mut JNIEnv<'_>,
    group: jlong,
    buffers: JLongArray<'_>,
    given: JIntArray<'_>,
) -> Result<()> {
    let (each, rest) = fences(env, &buffers, &given)?;
    Ok(find(group)?.unlock(each, rest)?)
}

/// Takes the fence; -1 for none.
fn unlock_and_lock(
    _: &mut JNIEnv<'_>,
    group: jlong,
    fence: jint,
    timeout_nanos: jlong,
) -> Result<()> {
    let fence = if fence == -1 { None } else { Some(owned(fence)?) };
    Ok(find(group)?.unlock_and_lock(Vec::new(), fence, timeout(timeout_nanos))?)
}

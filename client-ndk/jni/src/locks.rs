// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The native methods of `SyncGroup` for locks by number.

use std::os::fd::IntoRawFd;

use buffersync_client::{Access, BufferId, Error, LockId, LockStatus};
use jni::objects::{JIntArray, JLongArray};
use jni::sys::{jint, jlong};
use jni::{JNIEnv, NativeMethod};

use crate::bridge::{int_values, long_values, longs, nanos, native, timeout, Result};
use crate::group::{access, buffers_of, fences, find};

pub fn methods() -> Vec<NativeMethod> {
    vec![
        native!(lock_buffers(
            group: jlong,
            buffers: JLongArray,
            accesses: JIntArray,
            timeout: jlong
        ) -> jlong),
        native!(try_lock_buffers(group: jlong, buffers: JLongArray, accesses: JIntArray) -> jlong),
        native!(start_lock_buffers(
            group: jlong,
            buffers: JLongArray,
            accesses: JIntArray,
            timeout: jlong
        ) -> jlong),
        native!(grow_buffers(
            group: jlong,
            lock: jlong,
            buffers: JLongArray,
            accesses: JIntArray,
            timeout: jlong
        ) -> ()),
        native!(cancel_lock(group: jlong, lock: jlong) -> ()),
        native!(lock_status(group: jlong, lock: jlong) -> JLongArray<'static>),
        native!(lock_acquire_fence(group: jlong, lock: jlong, buffer: jlong) -> jint),
        native!(unlock_buffers(
            group: jlong,
            lock: jlong,
            buffers: JLongArray,
            fenced: JLongArray,
            fences: JIntArray
        ) -> ()),
        native!(downgrade(group: jlong, lock: jlong, buffers: JLongArray) -> ()),
        native!(unlock_and_lock_buffers(
            group: jlong,
            done: jlong,
            fenced: JLongArray,
            fences: JIntArray,
            buffers: JLongArray,
            accesses: JIntArray,
            timeout: jlong
        ) -> jlong),
        native!(locks(group: jlong) -> JLongArray<'static>),
    ]
}

/// What a lock asks for: the access at the same index for each buffer.
fn wants(
    env: &mut JNIEnv<'_>,
    buffers: &JLongArray<'_>,
    accesses: &JIntArray<'_>,
) -> Result<Vec<(BufferId, Access)>> {
    let (ids, accesses) = (long_values(env, buffers)?, int_values(env, accesses)?);
    if ids.len() != accesses.len() {
        return Err(Error::IllegalArgument("as many accesses as buffers".into()).into());
    }
    let pairs = ids.into_iter().zip(accesses);
    pairs.map(|(id, number)| Ok((BufferId(id), access(number)?))).collect()
}

fn lock_buffers(
    env: &mut JNIEnv<'_>,
    group: jlong,
    buffers: JLongArray<'_>,
    accesses: JIntArray<'_>,
    limit: jlong,
) -> Result<jlong> {
    let wants = wants(env, &buffers, &accesses)?;
    Ok(find(group)?.lock_buffers(&wants, timeout(limit))?.0)
}

fn try_lock_buffers(
    env: &mut JNIEnv<'_>,
    group: jlong,
    buffers: JLongArray<'_>,
    accesses: JIntArray<'_>,
) -> Result<jlong> {
    let wants = wants(env, &buffers, &accesses)?;
    Ok(find(group)?.try_lock_buffers(&wants)?.0)
}

fn start_lock_buffers(
    env: &mut JNIEnv<'_>,
    group: jlong,
    buffers: JLongArray<'_>,
    accesses: JIntArray<'_>,
    limit: jlong,
) -> Result<jlong> {
    let (wants, limit) = (wants(env, &buffers, &accesses)?, timeout(limit));
    Ok(find(group)?.with(|group| group.start_lock_buffers(&wants, limit))?.0 .0)
}

fn grow_buffers(
    env: &mut JNIEnv<'_>,
    group: jlong,
    lock: jlong,
    buffers: JLongArray<'_>,
    accesses: JIntArray<'_>,
    limit: jlong,
) -> Result<()> {
    let wants = wants(env, &buffers, &accesses)?;
    Ok(find(group)?.grow_buffers(LockId(lock), &wants, timeout(limit))?)
}

fn cancel_lock(_: &mut JNIEnv<'_>, group: jlong, lock: jlong) -> Result<()> {
    Ok(find(group)?.cancel_lock(LockId(lock))?)
}

/// The numbers of a lock, for `LockStatus.java`: how many numbers follow, its own number, 1 if it waits, 1
/// if it has a grant, the deadline, and the buffers (see [`buffers_of`]).
fn numbers_of(status: &LockStatus) -> Vec<jlong> {
    let deadline = status.grant.as_ref().map_or(0, |grant| nanos(grant.deadline));
    let mut numbers = vec![
        0,
        status.lock.0,
        jlong::from(status.waiting),
        jlong::from(status.grant.is_some()),
        deadline,
    ];
    numbers.extend(status.grant.iter().flat_map(buffers_of));
    let follow = numbers.len().saturating_sub(1);
    if let Some(first) = numbers.first_mut() {
        *first = jlong::try_from(follow).unwrap_or(0);
    }
    numbers
}

fn lock_status<'local>(
    env: &mut JNIEnv<'local>,
    group: jlong,
    lock: jlong,
) -> Result<JLongArray<'local>> {
    longs(env, &numbers_of(&find(group)?.status(LockId(lock))?))
}

/// Returns a sync_file, or -1. Buffer 0 stands for all buffers.
fn lock_acquire_fence(
    _: &mut JNIEnv<'_>,
    group: jlong,
    lock: jlong,
    buffer: jlong,
) -> Result<jint> {
    let lock = LockId(lock);
    let fence = find(group)?.with(|group| match buffer {
        0 => group.acquire_fence(lock),
        buffer => group.acquire_fence_of(lock, BufferId(buffer)),
    })?;
    Ok(fence.map_or(-1, IntoRawFd::into_raw_fd))
}

fn ids(env: &mut JNIEnv<'_>, buffers: &JLongArray<'_>) -> Result<Vec<BufferId>> {
    Ok(long_values(env, buffers)?.into_iter().map(BufferId).collect())
}

/// Takes the fences (see [`fences`]).
fn unlock_buffers(
    env: &mut JNIEnv<'_>,
    group: jlong,
    lock: jlong,
    buffers: JLongArray<'_>,
    fenced: JLongArray<'_>,
    given: JIntArray<'_>,
) -> Result<()> {
    let (each, rest) = fences(env, &fenced, &given)?;
    let buffers = ids(env, &buffers)?;
    Ok(find(group)?.unlock_buffers(LockId(lock), &buffers, each, rest)?)
}

fn downgrade(
    env: &mut JNIEnv<'_>,
    group: jlong,
    lock: jlong,
    buffers: JLongArray<'_>,
) -> Result<()> {
    let buffers = ids(env, &buffers)?;
    Ok(find(group)?.downgrade(LockId(lock), &buffers)?)
}

/// Takes the fences (see [`fences`]).
#[allow(clippy::too_many_arguments)]
fn unlock_and_lock_buffers(
    env: &mut JNIEnv<'_>,
    group: jlong,
    done: jlong,
    fenced: JLongArray<'_>,
    given: JIntArray<'_>,
    buffers: JLongArray<'_>,
    accesses: JIntArray<'_>,
    limit: jlong,
) -> Result<jlong> {
    let (each, rest) = fences(env, &fenced, &given)?;
    let wants = wants(env, &buffers, &accesses)?;
    let (group, done) = (find(group)?, LockId(done));
    Ok(group.unlock_and_lock_buffers(done, each, rest, &wants, timeout(limit))?.0)
}

/// Returns the numbers of all locks that the service has, one after the other (see [`numbers_of`]).
fn locks<'local>(env: &mut JNIEnv<'local>, group: jlong) -> Result<JLongArray<'local>> {
    let locks = find(group)?.with(|group| group.locks())?;
    longs(env, &locks.iter().flat_map(numbers_of).collect::<Vec<_>>())
}

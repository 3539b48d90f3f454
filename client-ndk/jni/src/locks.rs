// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The native methods of `Grant` and `PendingLock`, and those of `SyncGroup` that lock. A lock is named by its number.
//!
//! A method that may wait for other clients is two here: one that asks, and `await`. Java interrupts the second.

use std::os::fd::{IntoRawFd, OwnedFd};

use buffersync_client_core::{Access, BufferId, Error, Fences, GrantInfo, LockId, LockStatus};
use jni::objects::{JIntArray, JLongArray};
use jni::sys::{jint, jlong};
use jni::{JNIEnv, NativeMethod};

use crate::bridge::{int_values, long_values, longs, moment, nanos, native, timeout, Result};
use crate::group::{access, find};
use crate::memory::owned;

pub fn methods() -> Vec<NativeMethod> {
    vec![
        native!(start_lock(
            group: jlong,
            buffers: JLongArray,
            accesses: JIntArray,
            timeout: jlong
        ) -> JLongArray<'static>),
        native!(try_lock(group: jlong, buffers: JLongArray, accesses: JIntArray) -> jlong),
        native!(await_lock(group: jlong, lock: jlong) -> ()),
        native!(is_granted(group: jlong, lock: jlong) -> bool),
        native!(interrupt(group: jlong, lock: jlong) -> ()),
        native!(cancel(group: jlong, lock: jlong) -> ()),
        native!(abandon(group: jlong, lock: jlong) -> ()),
        native!(drop_lock(group: jlong, lock: jlong) -> ()),
        native!(granted(group: jlong, lock: jlong) -> JLongArray<'static>),
        native!(has_ended(group: jlong, lock: jlong) -> bool),
        native!(time_left(group: jlong, lock: jlong) -> jlong),
        native!(check_held(group: jlong, lock: jlong, buffer: jlong, access: jint) -> ()),
        native!(acquire_fence(group: jlong, lock: jlong, buffer: jlong) -> jint),
        native!(unlock(group: jlong, lock: jlong, fenced: JLongArray, fences: JIntArray) -> ()),
        native!(unlock_buffers(
            group: jlong,
            lock: jlong,
            buffers: JLongArray,
            fenced: JLongArray,
            fences: JIntArray
        ) -> ()),
        native!(start_grow(
            group: jlong,
            lock: jlong,
            buffers: JLongArray,
            accesses: JIntArray,
            timeout: jlong
        ) -> bool),
        native!(try_grow(
            group: jlong,
            lock: jlong,
            buffers: JLongArray,
            accesses: JIntArray
        ) -> ()),
        native!(downgrade(group: jlong, lock: jlong, buffers: JLongArray) -> ()),
        native!(start_unlock_and_lock(
            group: jlong,
            done: jlong,
            fenced: JLongArray,
            fences: JIntArray,
            buffers: JLongArray,
            accesses: JIntArray,
            timeout: jlong
        ) -> JLongArray<'static>),
        native!(locks(group: jlong) -> JLongArray<'static>),
    ]
}

/// What a lock asks for: the access at the same index for each buffer. None: all buffers.
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

/// Takes the fences. Each is for the buffer at the same index; 0 stands for the rest.
fn fences(env: &mut JNIEnv<'_>, buffers: &JLongArray<'_>, given: &JIntArray<'_>) -> Result<Fences> {
    // All of them first, because they are taken in any case.
    let given: Vec<Result<OwnedFd>> = int_values(env, given)?.into_iter().map(owned).collect();
    let mut fences = Fences::NONE;
    for (id, fence) in long_values(env, buffers)?.into_iter().zip(given) {
        match id {
            0 => fences.rest = Some(fence?),
            id => fences.each.push((BufferId(id), fence?)),
        }
    }
    Ok(fences)
}

fn ids(env: &mut JNIEnv<'_>, buffers: &JLongArray<'_>) -> Result<Vec<BufferId>> {
    Ok(long_values(env, buffers)?.into_iter().map(BufferId).collect())
}

/// The number of a lock, and 1 if it is granted.
fn started<'local>(
    env: &mut JNIEnv<'local>,
    (lock, granted): (LockId, bool),
) -> Result<JLongArray<'local>> {
    longs(env, &[lock.0, jlong::from(granted)])
}

fn start_lock<'local>(
    env: &mut JNIEnv<'local>,
    group: jlong,
    buffers: JLongArray<'_>,
    accesses: JIntArray<'_>,
    limit: jlong,
) -> Result<JLongArray<'local>> {
    let wants = wants(env, &buffers, &accesses)?;
    let lock = find(group)?.start_lock(&wants, timeout(limit))?;
    started(env, lock)
}

fn try_lock(
    env: &mut JNIEnv<'_>,
    group: jlong,
    buffers: JLongArray<'_>,
    accesses: JIntArray<'_>,
) -> Result<jlong> {
    let wants = wants(env, &buffers, &accesses)?;
    Ok(find(group)?.try_lock(&wants)?.0)
}

fn await_lock(_: &mut JNIEnv<'_>, group: jlong, lock: jlong) -> Result<()> {
    Ok(find(group)?.wait(LockId(lock))?)
}

fn is_granted(_: &mut JNIEnv<'_>, group: jlong, lock: jlong) -> Result<bool> {
    Ok(find(group)?.is_granted(LockId(lock))?)
}

fn interrupt(_: &mut JNIEnv<'_>, group: jlong, lock: jlong) -> Result<()> {
    find(group)?.interrupt(LockId(lock));
    Ok(())
}

fn cancel(_: &mut JNIEnv<'_>, group: jlong, lock: jlong) -> Result<()> {
    Ok(find(group)?.cancel(LockId(lock))?)
}

fn abandon(_: &mut JNIEnv<'_>, group: jlong, lock: jlong) -> Result<()> {
    find(group)?.abandon(LockId(lock));
    Ok(())
}

fn drop_lock(_: &mut JNIEnv<'_>, group: jlong, lock: jlong) -> Result<()> {
    find(group)?.drop_lock(LockId(lock));
    Ok(())
}

/// Returns the buffers (see [`buffers_of`]).
fn granted<'local>(
    env: &mut JNIEnv<'local>,
    group: jlong,
    lock: jlong,
) -> Result<JLongArray<'local>> {
    let grant = find(group)?.granted(LockId(lock))?;
    longs(env, &buffers_of(&grant).collect::<Vec<_>>())
}

/// The id, the generation and the flags (1: evicted, 2: fenced, 8: torn) of each buffer.
fn buffers_of(grant: &GrantInfo) -> impl Iterator<Item = jlong> + '_ {
    grant.buffers.iter().flat_map(|buffer| {
        let marks = jlong::from(buffer.evicted) | jlong::from(buffer.torn) << 3;
        let flags = marks | jlong::from(buffer.fenced) << 1;
        [buffer.id.0, buffer.generation, flags]
    })
}

/// Tells if nothing is left of a lock that could be unlocked.
fn has_ended(_: &mut JNIEnv<'_>, group: jlong, lock: jlong) -> Result<bool> {
    let Ok(group) = find(group) else { return Ok(true) };
    let left = group.granted(LockId(lock));
    Ok(!matches!(left, Ok(_) | Err(Error::Busy(_) | Error::Evicted { .. })))
}

/// Returns -1 if the grant has no deadline.
fn time_left(_: &mut JNIEnv<'_>, group: jlong, lock: jlong) -> Result<jlong> {
    Ok(find(group)?.time_left(LockId(lock)).map_or(-1, nanos))
}

fn check_held(
    _: &mut JNIEnv<'_>,
    group: jlong,
    lock: jlong,
    buffer: jlong,
    wanted: jint,
) -> Result<()> {
    Ok(find(group)?.check_held(LockId(lock), BufferId(buffer), access(wanted)?)?)
}

/// Returns a sync_file, or -1. Buffer 0 stands for all buffers.
fn acquire_fence(_: &mut JNIEnv<'_>, group: jlong, lock: jlong, buffer: jlong) -> Result<jint> {
    let buffer = (buffer != 0).then_some(BufferId(buffer));
    let fence = find(group)?.acquire_fence(LockId(lock), buffer)?;
    Ok(fence.map_or(-1, IntoRawFd::into_raw_fd))
}

/// Takes the fences (see [`fences`]).
fn unlock(
    env: &mut JNIEnv<'_>,
    group: jlong,
    lock: jlong,
    fenced: JLongArray<'_>,
    given: JIntArray<'_>,
) -> Result<()> {
    let fences = fences(env, &fenced, &given)?;
    Ok(find(group)?.unlock(LockId(lock), fences)?)
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
    let fences = fences(env, &fenced, &given)?;
    let buffers = ids(env, &buffers)?;
    Ok(find(group)?.unlock_buffers(LockId(lock), &buffers, fences)?)
}

fn start_grow(
    env: &mut JNIEnv<'_>,
    group: jlong,
    lock: jlong,
    buffers: JLongArray<'_>,
    accesses: JIntArray<'_>,
    limit: jlong,
) -> Result<bool> {
    let wants = wants(env, &buffers, &accesses)?;
    Ok(find(group)?.start_grow(LockId(lock), &wants, timeout(limit))?)
}

fn try_grow(
    env: &mut JNIEnv<'_>,
    group: jlong,
    lock: jlong,
    buffers: JLongArray<'_>,
    accesses: JIntArray<'_>,
) -> Result<()> {
    let wants = wants(env, &buffers, &accesses)?;
    Ok(find(group)?.try_grow(LockId(lock), &wants)?)
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
fn start_unlock_and_lock<'local>(
    env: &mut JNIEnv<'local>,
    group: jlong,
    done: jlong,
    fenced: JLongArray<'_>,
    given: JIntArray<'_>,
    buffers: JLongArray<'_>,
    accesses: JIntArray<'_>,
    limit: jlong,
) -> Result<JLongArray<'local>> {
    let fences = fences(env, &fenced, &given)?;
    let wants = wants(env, &buffers, &accesses)?;
    let group = find(group)?;
    let lock = group.start_unlock_and_lock(LockId(done), fences, &wants, timeout(limit))?;
    started(env, lock)
}

/// The numbers of a lock, for `LockStatus.java`: how many numbers follow, its own number, 1 if it waits, 1
/// if it has a grant, the deadline, and the buffers (see [`buffers_of`]).
fn numbers_of(status: &LockStatus) -> Vec<jlong> {
    let grant = status.grant.as_ref();
    let mut numbers = vec![
        0,
        status.lock.0,
        jlong::from(status.waiting),
        jlong::from(grant.is_some()),
        moment(grant.and_then(|grant| grant.deadline)),
    ];
    numbers.extend(status.grant.iter().flat_map(buffers_of));
    let follow = numbers.len().saturating_sub(1);
    if let Some(first) = numbers.first_mut() {
        *first = jlong::try_from(follow).unwrap_or(0);
    }
    numbers
}

/// Returns the numbers of all locks that the service has, one after the other (see [`numbers_of`]).
fn locks<'local>(env: &mut JNIEnv<'local>, group: jlong) -> Result<JLongArray<'local>> {
    let locks = find(group)?.locks()?;
    longs(env, &locks.iter().flat_map(numbers_of).collect::<Vec<_>>())
}

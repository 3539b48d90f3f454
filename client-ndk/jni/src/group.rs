// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The native methods of `SyncGroup`: buffers and events.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use buffersync_client_core::{Access, BufferId, Error, Event, Group, Handles, InTheWay};
use jni::objects::{JIntArray, JLongArray, JObject, JString};
use jni::sys::{jint, jlong};
use jni::{JNIEnv, NativeMethod};

use crate::bridge::{
    from_java, int_values, longs, moment, nanos, native, optional_string, to_java, Result,
};
use crate::memory::borrowed;

static GROUPS: Handles<Group> = Handles::new(0x9);

pub fn methods() -> Vec<NativeMethod> {
    vec![
        native!(close_group(group: jlong) -> ()),
        native!(hold_limit(group: jlong) -> jlong),
        native!(evictions(group: jlong) -> jlong),
        native!(name_of(group: jlong, other: jlong) -> JString<'static>),
        native!(add(group: jlong, fds: JIntArray, access: jint) -> JLongArray<'static>),
        native!(remove(group: jlong, buffer: jlong) -> ()),
        native!(remove_all(group: jlong) -> ()),
        native!(event_fd(group: jlong) -> jint),
        native!(event(group: jlong) -> JLongArray<'static>),
    ]
}

/// Makes a handle for a new group.
pub fn handle(group: Group) -> jlong {
    to_java(GROUPS.insert(group))
}

pub fn find(group: jlong) -> Result<Arc<Group>> {
    Ok(GROUPS.get(from_java(group)).ok_or(Error::Closed)?)
}

/// The numbers are those of `Access.java` and `Access.aidl`.
pub fn access(value: jint) -> Result<Access> {
    let all = [(0x1, Access::Read), (0x2, Access::Write), (0x5, Access::DmaRead)];
    let all = all.into_iter().chain([(0x6, Access::DmaWrite)]);
    let found = all.into_iter().find(|(number, _)| *number == value);
    Ok(found.ok_or_else(|| Error::IllegalArgument(format!("there is no access {value}")))?.1)
}

fn close_group(_: &mut JNIEnv<'_>, group: jlong) -> Result<()> {
    let group = GROUPS.remove(from_java(group)).ok_or(Error::Closed)?;
    Ok(group.close()?)
}

fn hold_limit(_: &mut JNIEnv<'_>, group: jlong) -> Result<jlong> {
    Ok(nanos(find(group)?.hold_limit()))
}

fn evictions(_: &mut JNIEnv<'_>, group: jlong) -> Result<jlong> {
    Ok(jlong::try_from(find(group)?.evictions()?).unwrap_or(jlong::MAX))
}

/// Returns null if there is no name, or if it is secret.
fn name_of<'local>(
    env: &mut JNIEnv<'local>,
    group: jlong,
    other: jlong,
) -> Result<JString<'local>> {
    let name = find(group)?.name_of(other)?;
    optional_string(env, name.as_deref())
}

fn add<'local>(
    env: &mut JNIEnv<'local>,
    group: jlong,
    fds: JIntArray<'_>,
    wanted: jint,
) -> Result<JLongArray<'local>> {
    let (fds, access) = (int_values(env, &fds)?, access(wanted)?);
    let fds = fds.iter().map(|fd| borrowed(*fd)).collect::<Result<Vec<_>>>()?;
    let ids = find(group)?.add_handle(&fds, &[], access)?;
    longs(env, &ids.iter().map(|id| id.0).collect::<Vec<_>>())
}

fn remove(_: &mut JNIEnv<'_>, group: jlong, buffer: jlong) -> Result<()> {
    Ok(find(group)?.remove(BufferId(buffer))?)
}

fn remove_all(_: &mut JNIEnv<'_>, group: jlong) -> Result<()> {
    Ok(find(group)?.remove_all()?)
}

fn event_fd(_: &mut JNIEnv<'_>, group: jlong) -> Result<jint> {
    Ok(find(group)?.as_fd().as_raw_fd())
}

/// Returns type, lock, errno, buffer, deadline, and the group and the number of the lock in the way; null if there is
/// no event. The type is the ordinal of `Event.Type`.
fn event<'local>(env: &mut JNIEnv<'local>, group: jlong) -> Result<JLongArray<'local>> {
    let group = find(group)?;
    while let Some(event) = group.read_event()? {
        let lock = event.lock().0;
        let way = |by: &Option<InTheWay>| by.as_ref().map_or([0, 0], |by| [by.group, by.lock.0]);
        let (first, [by_group, by_lock]) = match &event {
            Event::Granted(grant) => ([0, lock, 0, 0, moment(grant.deadline)], [0, 0]),
            Event::LockFailed { buffer, errno, .. } => {
                ([1, lock, jlong::from(*errno as i32), buffer.0, 0], [0, 0])
            }
            Event::Wounded { .. } => ([2, lock, 0, 0, 0], [0, 0]),
            Event::TimedOut { by, .. } => ([3, lock, 0, 0, 0], way(by)),
            Event::Evicted { by_fence: false, by, .. } => ([4, lock, 0, 0, 0], way(by)),
            Event::Evicted { by_fence: true, by, .. } => ([5, lock, 0, 0, 0], way(by)),
            Event::Contended { deadline, .. } => ([6, lock, 0, 0, moment(*deadline)], [0, 0]),
            // Java has no name for this event.
            _ => continue,
        };
        let [kind, lock, errno, buffer, deadline] = first;
        return longs(env, &[kind, lock, errno, buffer, deadline, by_group, by_lock]);
    }
    Ok(JObject::null().into())
}

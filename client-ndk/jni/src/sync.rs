// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The native methods of `BufferSync`: the connection.

use std::time::Duration;

use buffersync_client_core::{BufferSync, Error, Handles, HoldFrom, Options};
use jni::objects::{JLongArray, JString};
use jni::sys::jlong;
use jni::{JNIEnv, NativeMethod};

use crate::bridge::{from_java, longs, nanos, native, string, to_java, Flag, Result};
use crate::group;

static SYNCS: Handles<BufferSync> = Handles::new(0x7);

pub fn methods() -> Vec<NativeMethod> {
    vec![
        native!(connect(device: JString, instance: JString) -> jlong),
        native!(disconnect(sync: jlong) -> ()),
        native!(capabilities(sync: jlong) -> JLongArray<'static>),
        native!(dump(sync: jlong) -> JString<'static>),
        native!(open_group(
            sync: jlong,
            name: JString,
            hold_nanos: jlong,
            from_conflict: Flag,
            implicit: Flag
        ) -> jlong),
    ]
}

fn with<T>(
    sync: jlong,
    what: impl FnOnce(&BufferSync) -> buffersync_client_core::Result<T>,
) -> Result<T> {
    let sync = SYNCS.get(from_java(sync)).ok_or(Error::Closed)?;
    Ok(what(&sync)?)
}

fn connect<'local>(
    env: &mut JNIEnv<'local>,
    device: JString<'_>,
    instance: JString<'_>,
) -> Result<jlong> {
    let (device, instance) = (string(env, &device)?, string(env, &instance)?);
    Ok(to_java(SYNCS.insert(BufferSync::connect_with(&device, &instance)?)))
}

fn disconnect(_: &mut JNIEnv<'_>, sync: jlong) -> Result<()> {
    SYNCS.remove(from_java(sync)).map(drop).ok_or(Error::Closed.into())
}

/// `Capabilities.java` reads the values in this order.
fn capabilities<'local>(env: &mut JNIEnv<'local>, sync: jlong) -> Result<JLongArray<'local>> {
    let caps = with(sync, BufferSync::capabilities)?;
    let count = |value: usize| jlong::try_from(value).unwrap_or(jlong::MAX);
    let values = [
        jlong::from(caps.release_fence),
        jlong::from(caps.implicit_fences),
        nanos(caps.default_hold),
        nanos(caps.max_hold),
        count(caps.max_groups_per_uid),
        count(caps.max_buffers_per_group),
        count(caps.max_locks_per_group),
        count(caps.max_buffers_per_uid),
        count(caps.max_queued_per_uid),
        count(caps.max_fences_per_uid),
        count(caps.max_fences_per_group),
        count(caps.max_fds_per_handle),
    ];
    longs(env, &values)
}

fn dump<'local>(env: &mut JNIEnv<'local>, sync: jlong) -> Result<JString<'local>> {
    let text = with(sync, |sync| sync.dump(&[]))?;
    Ok(env.new_string(text)?)
}

fn open_group<'local>(
    env: &mut JNIEnv<'local>,
    sync: jlong,
    name: JString<'_>,
    hold_nanos: jlong,
    from_conflict: Flag,
    implicit: Flag,
) -> Result<jlong> {
    let name = string(env, &name)?;
    let hold_limit = u64::try_from(hold_nanos).ok().filter(|nanos| *nanos > 0);
    let options = Options {
        hold_limit: hold_limit.map(Duration::from_nanos),
        hold_from: if from_conflict.is_set() { HoldFrom::Conflict } else { HoldFrom::Grant },
        implicit_fences: implicit.is_set(),
    };
    Ok(group::handle(with(sync, |sync| sync.open_group(&name, options))?))
}

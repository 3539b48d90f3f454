// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `BufferSync`: the connection.

use std::time::Duration;

use buffersync_client::{BufferSync, Error, Handles, Options, SharedGroup};
use jni::objects::{JClass, JLongArray, JString};
use jni::sys::{jboolean, jlong};
use jni::{native_method, Env};

use crate::group;
use crate::throw::{Result, Throw};
use crate::Methods;

static SYNCS: Handles<BufferSync> = Handles::new(0x7);

pub const METHODS: Methods = &[
    native_method! { static fn connect(device: JString, instance: JString) -> jlong, error_policy = Throw },
    native_method! { static fn disconnect(sync: jlong), error_policy = Throw },
    native_method! { static fn capabilities(sync: jlong) -> jlong[], error_policy = Throw },
    native_method! { static fn dump(sync: jlong) -> JString, error_policy = Throw },
    native_method! {
        static fn open_group(sync: jlong, name: JString, hold_nanos: jlong, implicit: jboolean) -> jlong,
        error_policy = Throw
    },
];

fn with<T>(
    sync: jlong,
    what: impl FnOnce(&BufferSync) -> buffersync_client::Result<T>,
) -> Result<T> {
    let sync = SYNCS.get(from_java(sync)).ok_or(Error::Closed)?;
    Ok(what(&sync)?)
}

/// A handle as Java keeps it.
pub fn to_java(handle: usize) -> jlong {
    jlong::try_from(handle).unwrap_or(0)
}

/// A handle that Java kept; 0 is none.
pub fn from_java(handle: jlong) -> usize {
    usize::try_from(handle).unwrap_or(0)
}

/// Nanoseconds for Java.
pub fn nanos(duration: Duration) -> jlong {
    jlong::try_from(duration.as_nanos()).unwrap_or(jlong::MAX)
}

fn connect<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    device: JString<'local>,
    instance: JString<'local>,
) -> Result<jlong> {
    let (device, instance) = (device.try_to_string(env)?, instance.try_to_string(env)?);
    Ok(to_java(SYNCS.insert(BufferSync::connect_with(&device, &instance)?)))
}

fn disconnect<'local>(_: &mut Env<'local>, _: JClass<'local>, sync: jlong) -> Result<()> {
    SYNCS.remove(from_java(sync)).map(drop).ok_or(Error::Closed.into())
}

/// In the order in which `Capabilities.java` reads them.
fn capabilities<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    sync: jlong,
) -> Result<JLongArray<'local>> {
    let caps = with(sync, BufferSync::capabilities)?;
    let count = |value: usize| jlong::try_from(value).unwrap_or(jlong::MAX);
    let values = [
        jlong::from(caps.release_fence),
        jlong::from(caps.implicit_fences),
        nanos(caps.default_hold),
        nanos(caps.max_hold),
        count(caps.max_groups_per_uid),
        count(caps.max_buffers_per_group),
        count(caps.max_buffers_per_uid),
        count(caps.max_queued_per_uid),
        count(caps.max_fences_per_uid),
        count(caps.max_fences_per_group),
        count(caps.max_fds_per_handle),
    ];
    longs(env, &values)
}

/// An array for Java.
pub fn longs<'local>(env: &mut Env<'local>, values: &[jlong]) -> Result<JLongArray<'local>> {
    let array = JLongArray::new(env, values.len())?;
    array.set_region(env, 0, values)?;
    Ok(array)
}

fn dump<'local>(env: &mut Env<'local>, _: JClass<'local>, sync: jlong) -> Result<JString<'local>> {
    let text = with(sync, |sync| sync.dump(&[]))?;
    Ok(JString::from_str(env, text)?)
}

fn open_group<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    sync: jlong,
    name: JString<'local>,
    hold_nanos: jlong,
    implicit: jboolean,
) -> Result<jlong> {
    let name = name.try_to_string(env)?;
    let hold_limit = u64::try_from(hold_nanos).ok().filter(|nanos| *nanos > 0);
    let options =
        Options { hold_limit: hold_limit.map(Duration::from_nanos), implicit_fences: implicit };
    let opened = with(sync, |sync| sync.open_group(&name, options))?;
    Ok(group::handle(SharedGroup::new(opened)))
}

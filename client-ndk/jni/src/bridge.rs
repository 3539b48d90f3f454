// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Makes a Rust function a method of `Native`: its signature, its result, its exceptions, and the
//! conversion of values.
//!
//! [`native!`] makes the function that the JVM calls. The JNI descriptor is made from the same types, so
//! the two can't differ. When the methods are registered, the JVM checks that `Native.java` declares the
//! same. A failure becomes a `BufferSyncException`.

use std::ffi::c_void;
use std::time::Duration;

use buffersync_client_core::{Error, InTheWay};
use jni::objects::{JByteBuffer, JIntArray, JLongArray, JObject, JString, JThrowable, JValue};
use jni::sys::{jboolean, jint, jlong, jobject};
use jni::{JNIEnv, NativeMethod};

#[derive(Debug)]
pub enum Failure {
    Client(Error),
    /// A Java exception may be pending already.
    Jni(jni::errors::Error),
}

pub type Result<T> = std::result::Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Client(error)
    }
}

impl From<jni::errors::Error> for Failure {
    fn from(error: jni::errors::Error) -> Self {
        Self::Jni(error)
    }
}

/// A type that Java has too.
pub trait Java {
    /// Its name in descriptors (JNI specification, "Type Signatures").
    const NAME: &'static str;
}

/// The result of a native method.
pub trait Reply: Java {
    /// The type that the JVM expects.
    type Raw;
    fn into_raw(self) -> Self::Raw;
    /// The value that is returned together with an exception.
    fn nothing() -> Self::Raw;
}

macro_rules! plain {
    ($($kind:ty, $raw:ty, $name:literal, $nothing:expr;)*) => {
        $(
            impl Java for $kind {
                const NAME: &'static str = $name;
            }

            impl Reply for $kind {
                type Raw = $raw;

                fn into_raw(self) -> $raw {
                    <$raw>::from(self)
                }

                fn nothing() -> $raw {
                    $nothing
                }
            }
        )*
    };
}

plain! {
    jint, jint, "I", 0;
    jlong, jlong, "J", 0;
    bool, jboolean, "Z", 0;
    (), (), "V", ();
}

macro_rules! object {
    ($($kind:ident, $name:literal;)*) => {
        $(
            impl Java for $kind<'_> {
                const NAME: &'static str = $name;
            }

            impl Reply for $kind<'_> {
                type Raw = jobject;

                fn into_raw(self) -> jobject {
                    JObject::from(self).into_raw()
                }

                fn nothing() -> jobject {
                    std::ptr::null_mut()
                }
            }
        )*
    };
}

object! {
    JByteBuffer, "Ljava/nio/ByteBuffer;";
    JIntArray, "[I";
    JLongArray, "[J";
    JObject, "Ljava/lang/Object;";
    JString, "Ljava/lang/String;";
}

/// An argument that is a `java.io.FileDescriptor`.
#[repr(transparent)]
pub struct Descriptor<'local>(JObject<'local>);

impl Java for Descriptor<'_> {
    const NAME: &'static str = "Ljava/io/FileDescriptor;";
}

impl<'local> Descriptor<'local> {
    pub fn object(&self) -> &JObject<'local> {
        &self.0
    }
}

/// An argument that is `boolean` in Java: the JVM passes 0 or 1.
#[repr(transparent)]
pub struct Flag(jboolean);

impl Java for Flag {
    const NAME: &'static str = "Z";
}

impl Flag {
    pub fn is_set(&self) -> bool {
        self.0 != 0
    }
}

/// `native!(name(argument: Type, ...) -> Type)` makes the static method `name` of `Native`. It calls the
/// function `name(&mut JNIEnv, ...) -> Result<Type>` of the same module. The Java name is in camelCase.
macro_rules! native {
    ($name:ident($($argument:ident: $kind:ty),*) -> $result:ty) => {{
        extern "system" fn method<'local>(
            mut env: jni::JNIEnv<'local>,
            _: jni::objects::JClass<'local>,
            $($argument: $kind),*
        ) -> <$result as $crate::bridge::Reply>::Raw {
            $crate::bridge::run(&mut env, |env| $name(env, $($argument),*))
        }
        $crate::bridge::describe(
            stringify!($name),
            &[$(<$kind as $crate::bridge::Java>::NAME),*],
            <$result as $crate::bridge::Java>::NAME,
            method as *mut std::ffi::c_void,
        )
    }};
}
pub(crate) use native;

/// Describes a method for `RegisterNatives`.
pub fn describe(
    name: &str,
    arguments: &[&str],
    result: &str,
    function: *mut c_void,
) -> NativeMethod {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_string();
    for word in words {
        let (first, rest) = word.split_at(word.len().min(1));
        camel.push_str(&first.to_ascii_uppercase());
        camel.push_str(rest);
    }
    let signature = format!("({}){result}", arguments.concat());
    NativeMethod { name: camel.into(), sig: signature.into(), fn_ptr: function }
}

/// Runs the body of a method. A failure becomes a pending exception, which Java throws on return.
pub fn run<'local, T: Reply>(
    env: &mut JNIEnv<'local>,
    body: impl FnOnce(&mut JNIEnv<'local>) -> Result<T>,
) -> T::Raw {
    let thrown = match body(env) {
        Ok(result) => return result.into_raw(),
        Err(Failure::Client(error)) => {
            throw(env, error.code(), &error.to_string(), error.in_the_way())
        }
        Err(Failure::Jni(error)) => throw(env, internal(), &error.to_string(), None),
    };
    if thrown.is_err() && !env.exception_check().unwrap_or(false) {
        // The exception can't be made either. Java must not take the returned value for a result.
        env.fatal_error("libbuffersync_jni can't throw BufferSyncException");
    }
    T::nothing()
}

fn internal() -> i32 {
    Error::Protocol("").code()
}

/// Throws a `BufferSyncException(int code, String message, long group, long lock, String owner)`.
fn throw(
    env: &mut JNIEnv<'_>,
    code: i32,
    message: &str,
    by: Option<&InTheWay>,
) -> jni::errors::Result<()> {
    if env.exception_check()? {
        return Ok(());
    }
    let message = env.new_string(message)?;
    let owner = match by.and_then(|by| by.owner.as_deref()) {
        Some(owner) => env.new_string(owner)?,
        None => JObject::null().into(),
    };
    let (group, lock) = by.map_or((0, 0), |by| (by.group, by.lock.0));
    let exception = env.new_object(
        "vendor/buffersync/BufferSyncException",
        "(ILjava/lang/String;JJLjava/lang/String;)V",
        &[
            JValue::Int(code),
            JValue::Object(&message),
            JValue::Long(group),
            JValue::Long(lock),
            JValue::Object(&owner),
        ],
    )?;
    env.throw(JThrowable::from(exception))
}

/// A handle for Java.
pub fn to_java(handle: usize) -> jlong {
    jlong::try_from(handle).unwrap_or(0)
}

/// A handle from Java. A value that can't be a handle becomes 0, which no handle has.
pub fn from_java(handle: jlong) -> usize {
    usize::try_from(handle).unwrap_or(0)
}

/// A duration for Java.
pub fn nanos(duration: Duration) -> jlong {
    jlong::try_from(duration.as_nanos()).unwrap_or(jlong::MAX)
}

/// A reading of a clock for Java; 0 for none.
pub fn moment(time: Option<Duration>) -> jlong {
    time.map_or(0, nanos)
}

/// A time-out from Java; `None` if it is negative.
pub fn timeout(nanos: jlong) -> Option<Duration> {
    u64::try_from(nanos).ok().map(Duration::from_nanos)
}

pub fn string(env: &mut JNIEnv<'_>, string: &JString<'_>) -> Result<String> {
    Ok(env.get_string(string)?.into())
}

/// A string for Java; null for none.
pub fn optional_string<'local>(
    env: &mut JNIEnv<'local>,
    string: Option<&str>,
) -> Result<JString<'local>> {
    match string {
        Some(string) => Ok(env.new_string(string)?),
        None => Ok(JObject::null().into()),
    }
}

pub fn longs<'local>(env: &mut JNIEnv<'local>, values: &[jlong]) -> Result<JLongArray<'local>> {
    let array = env.new_long_array(length(values.len())?)?;
    env.set_long_array_region(&array, 0, values)?;
    Ok(array)
}

pub fn ints<'local>(env: &mut JNIEnv<'local>, values: &[jint]) -> Result<JIntArray<'local>> {
    let array = env.new_int_array(length(values.len())?)?;
    env.set_int_array_region(&array, 0, values)?;
    Ok(array)
}

fn length(length: usize) -> Result<jint> {
    Ok(jint::try_from(length).map_err(|_| Error::IllegalArgument("too many".into()))?)
}

/// The values of a Java array.
pub fn long_values(env: &mut JNIEnv<'_>, array: &JLongArray<'_>) -> Result<Vec<jlong>> {
    let mut values = vec![0; usize::try_from(env.get_array_length(array)?).unwrap_or(0)];
    env.get_long_array_region(array, 0, &mut values)?;
    Ok(values)
}

/// The values of a Java array.
pub fn int_values(env: &mut JNIEnv<'_>, array: &JIntArray<'_>) -> Result<Vec<jint>> {
    let mut values = vec![0; usize::try_from(env.get_array_length(array)?).unwrap_or(0)];
    env.get_int_array_region(array, 0, &mut values)?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_made_from_the_types() {
        fn example(_: &mut JNIEnv<'_>, _: jlong, _: JIntArray<'_>, _: Flag) -> Result<bool> {
            Ok(true)
        }
        let method = native!(example(group: jlong, fds: JIntArray, all: Flag) -> bool);
        assert_eq!(String::from(method.sig), "(J[IZ)Z");
        assert_eq!(String::from(method.name), "example");
        let method = describe("wait_fence_fd", &[], <()>::NAME, std::ptr::null_mut());
        assert_eq!(String::from(method.name), "waitFenceFd");
        assert_eq!(String::from(method.sig), "()V");
    }
}

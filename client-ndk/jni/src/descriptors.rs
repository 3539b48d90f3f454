// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The native methods that read the descriptors of Java's and Android's own objects.
//!
//! `java.io.FileDescriptor` keeps its number in a private field. On Android, libnativehelper has functions for it
//! (`android/file_descriptor_jni.h`, API 31), since the field is not for apps. A JVM has no such function, so its field
//! `fd` is used, as code of the JDK does.

use std::ffi::{c_void, CStr};
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::OnceLock;

use buffersync_client_core::{descriptors_of, AHardwareBuffer, Error};
use jni::objects::{JIntArray, JObject};
use jni::sys::{jint, jobject};
use jni::{JNIEnv, NativeMethod};

use crate::bridge::{ints, native, Descriptor, Result};

/// The field of OpenJDK's class.
const FIELD: &str = "fd";

pub fn methods() -> Vec<NativeMethod> {
    vec![
        native!(get_fd(descriptor: Descriptor) -> jint),
        native!(set_fd(descriptor: Descriptor, fd: jint) -> ()),
        native!(hardware_buffer_fds(buffer: JObject) -> JIntArray<'static>),
    ]
}

type GetFd = unsafe extern "C" fn(*mut jni::sys::JNIEnv, jobject) -> jint;
type SetFd = unsafe extern "C" fn(*mut jni::sys::JNIEnv, jobject, jint);

fn there<'a, 'local>(descriptor: &'a Descriptor<'local>) -> Result<&'a JObject<'local>> {
    match descriptor.object().is_null() {
        true => Err(Error::IllegalArgument("descriptor is null".into()).into()),
        false => Ok(descriptor.object()),
    }
}

/// Returns -1 for one that is closed.
fn get_fd(env: &mut JNIEnv<'_>, descriptor: Descriptor<'_>) -> Result<jint> {
    static FOUND: Function = Function::new(c"libnativehelper.so", c"AFileDescriptor_getFd");
    let object = there(&descriptor)?;
    match FOUND.get() {
        // SAFETY: this is its type in the NDK; a function pointer has the size of any. The environment is this thread's,
        // and the object is a FileDescriptor by the method's signature.
        Some(symbol) => Ok(unsafe {
            std::mem::transmute::<*mut c_void, GetFd>(symbol)(env.get_raw(), object.as_raw())
        }),
        None => Ok(env.get_field(object, FIELD, "I")?.i()?),
    }
}

fn set_fd(env: &mut JNIEnv<'_>, descriptor: Descriptor<'_>, fd: jint) -> Result<()> {
    static FOUND: Function = Function::new(c"libnativehelper.so", c"AFileDescriptor_setFd");
    let object = there(&descriptor)?;
    match FOUND.get() {
        // SAFETY: as in `get_fd`.
        Some(symbol) => unsafe {
            std::mem::transmute::<*mut c_void, SetFd>(symbol)(env.get_raw(), object.as_raw(), fd);
        },
        None => env.set_field(object, FIELD, "I", fd.into())?,
    }
    Ok(())
}

type FromHardwareBuffer =
    unsafe extern "C" fn(*mut jni::sys::JNIEnv, jobject) -> *mut AHardwareBuffer;

/// Returns the descriptors of an `android.hardware.HardwareBuffer`, which keeps them.
fn hardware_buffer_fds<'local>(
    env: &mut JNIEnv<'local>,
    buffer: JObject<'_>,
) -> Result<JIntArray<'local>> {
    static FOUND: Function = Function::new(c"libandroid.so", c"AHardwareBuffer_fromHardwareBuffer");
    let symbol = FOUND.get().ok_or_else(|| {
        Error::Unsupported("there is no HardwareBuffer here: add the dma-buf descriptors".into())
    })?;
    if buffer.is_null() {
        return Err(Error::IllegalArgument("buffer is null".into()).into());
    }
    // SAFETY: this is its type in the NDK (API 26); a function pointer has the size of any. The environment is this
    // thread's, and the Java classes pass only a HardwareBuffer.
    let native = unsafe {
        std::mem::transmute::<*mut c_void, FromHardwareBuffer>(symbol)(
            env.get_raw(),
            buffer.as_raw(),
        )
    };
    let native = NonNull::new(native)
        .ok_or_else(|| Error::NotDmaBuf("the HardwareBuffer has no native buffer".into()))?;
    // SAFETY: the Java object has a reference to it, and lives until this returns.
    let fds = unsafe { descriptors_of(native) }?;
    let fds: Vec<jint> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    ints(env, &fds)
}

/// A function of the platform, looked up once.
struct Function {
    library: &'static CStr,
    name: &'static CStr,
    /// Its address; 0 if the platform lacks it.
    found: OnceLock<usize>,
}

impl Function {
    const fn new(library: &'static CStr, name: &'static CStr) -> Self {
        Self { library, name, found: OnceLock::new() }
    }

    fn get(&self) -> Option<*mut c_void> {
        let address = *self.found.get_or_init(|| {
            // SAFETY: the name is NUL-terminated. On Android every process has loaded these libraries already.
            let library =
                unsafe { libc::dlopen(self.library.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
            if library.is_null() {
                return 0;
            }
            // SAFETY: the library is loaded, and the name is NUL-terminated.
            unsafe { libc::dlsym(library, self.name.as_ptr()) as usize }
        });
        (address != 0).then_some(address as *mut c_void)
    }
}

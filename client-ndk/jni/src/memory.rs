// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The native methods for file descriptors, which a plain JVM does not have: map a dma-buf, wait for a
//! fence, close it; and on Android, get the descriptors of a `HardwareBuffer`.

use std::ffi::{c_void, CStr};
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::OnceLock;

use buffersync_client::{descriptors_of, fence, AHardwareBuffer, Error, Mapping};
use jni::objects::{JByteBuffer, JIntArray, JLongArray, JObject};
use jni::sys::{jint, jlong};
use jni::{JNIEnv, NativeMethod};

use crate::bridge::{ints, longs, native, timeout, Flag, Result};

pub fn methods() -> Vec<NativeMethod> {
    vec![
        native!(map(fd: jint, writable: Flag) -> JLongArray<'static>),
        native!(view(address: jlong, size: jlong) -> JByteBuffer<'static>),
        native!(unmap(address: jlong, size: jlong) -> ()),
        native!(wait_fence(fd: jint, timeout: jlong) -> ()),
        native!(duplicate(fd: jint) -> jint),
        native!(close_fd(fd: jint) -> ()),
        native!(hardware_buffer_fds(buffer: JObject) -> JIntArray<'static>),
    ]
}

/// A descriptor that Java keeps.
pub fn borrowed<'a>(fd: jint) -> Result<BorrowedFd<'a>> {
    if fd < 0 {
        return Err(Error::BadFd.into());
    }
    // SAFETY: it is not -1. If it is closed meanwhile, the kernel refuses it.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// A descriptor that Java gives away.
pub fn owned(fd: jint) -> Result<OwnedFd> {
    // A descriptor that is not open must not be owned: the close would hit a later one of that number.
    // SAFETY: F_GETFD only tells if the descriptor is open.
    if fd < 0 || unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return Err(Error::BadFd.into());
    }
    // SAFETY: it is open, and the Java classes give it away.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Returns address and size.
fn map<'local>(env: &mut JNIEnv<'local>, fd: jint, writable: Flag) -> Result<JLongArray<'local>> {
    let mapping = Mapping::new(borrowed(fd)?, writable.is_set())?;
    let size = jlong::try_from(mapping.len());
    let size = size.map_err(|_| Error::IllegalArgument("larger than memory".into()))?;
    let values = [mapping.start() as usize as jlong, size];
    let array = longs(env, &values)?;
    // Java has the address now, and calls `unmap` when no byte buffer of it is left.
    let _ = mapping.into_raw();
    Ok(array)
}

fn parts(address: jlong, size: jlong) -> Result<(NonNull<u8>, NonZeroUsize)> {
    let pointer = address as usize as *mut u8;
    let size = usize::try_from(size).ok().and_then(NonZeroUsize::new);
    let parts = NonNull::new(pointer).zip(size);
    Ok(parts.ok_or_else(|| Error::IllegalArgument("no mapping".into()))?)
}

fn view<'local>(
    env: &mut JNIEnv<'local>,
    address: jlong,
    size: jlong,
) -> Result<JByteBuffer<'local>> {
    let (start, size) = parts(address, size)?;
    // SAFETY: `map` returned these, and `MappedBuffer` unmaps them only when the byte buffer is gone.
    Ok(unsafe { env.new_direct_byte_buffer(start.as_ptr(), size.get())? })
}

fn unmap(_: &mut JNIEnv<'_>, address: jlong, size: jlong) -> Result<()> {
    let (start, size) = parts(address, size)?;
    // SAFETY: `map` returned these, and the Cleaner of `MappedBuffer` calls this once.
    drop(unsafe { Mapping::from_raw(start, size) });
    Ok(())
}

fn wait_fence(_: &mut JNIEnv<'_>, fd: jint, timeout_nanos: jlong) -> Result<()> {
    Ok(fence::wait(borrowed(fd)?, timeout(timeout_nanos))?)
}

fn duplicate(_: &mut JNIEnv<'_>, fd: jint) -> Result<jint> {
    let copy = borrowed(fd)?.try_clone_to_owned().map_err(|_| Error::BadFd)?;
    Ok(copy.into_raw_fd())
}

fn close_fd(_: &mut JNIEnv<'_>, fd: jint) -> Result<()> {
    owned(fd).map(drop)
}

type FromHardwareBuffer =
    unsafe extern "C" fn(*mut jni::sys::JNIEnv, jni::sys::jobject) -> *mut AHardwareBuffer;

/// Returns the descriptors of an `android.hardware.HardwareBuffer`, which keeps them.
fn hardware_buffer_fds<'local>(
    env: &mut JNIEnv<'local>,
    buffer: JObject<'_>,
) -> Result<JIntArray<'local>> {
    let from = from_hardware_buffer().ok_or(Error::Unsupported)?;
    if buffer.is_null() {
        return Err(Error::IllegalArgument("buffer is null".into()).into());
    }
    // SAFETY: the function has this type, the environment is this thread's, and the Java classes pass
    // only a HardwareBuffer.
    let native = unsafe { from(env.get_raw(), buffer.as_raw()) };
    let native = NonNull::new(native).ok_or(Error::NotDmaBuf)?;
    // SAFETY: the Java object has a reference to it, and lives until this returns.
    let fds = unsafe { descriptors_of(native) }?;
    let fds: Vec<jint> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    ints(env, &fds)
}

/// Looks up `AHardwareBuffer_fromHardwareBuffer` of android/hardware_buffer_jni.h (libandroid, API 26),
/// once.
fn from_hardware_buffer() -> Option<FromHardwareBuffer> {
    const LIBRARY: &CStr = c"libandroid.so";
    const FUNCTION: &CStr = c"AHardwareBuffer_fromHardwareBuffer";
    static FOUND: OnceLock<Option<FromHardwareBuffer>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        // SAFETY: the name is NUL-terminated, and every Android process has this library loaded already.
        let library = unsafe { libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        let library = NonNull::new(library)?;
        // SAFETY: the library is loaded, and the name is NUL-terminated.
        let symbol = unsafe { libc::dlsym(library.as_ptr(), FUNCTION.as_ptr()) };
        let symbol: NonNull<c_void> = NonNull::new(symbol)?;
        // SAFETY: this is its type in the NDK; a function pointer has the size of any.
        Some(unsafe { std::mem::transmute::<*mut c_void, FromHardwareBuffer>(symbol.as_ptr()) })
    })
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The native methods for mapped buffers and fences.

use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::ptr::NonNull;
use std::time::Instant;

use buffersync_client_core::{Error, Mapping};
use jni::objects::{JByteBuffer, JIntArray, JLongArray};
use jni::sys::{jint, jlong};
use jni::{JNIEnv, NativeMethod};

use crate::bridge::{int_values, longs, native, timeout, Result};
use crate::group::{access, find};

pub fn methods() -> Vec<NativeMethod> {
    vec![
        native!(map(group: jlong, fds: JIntArray, access: jint) -> JLongArray<'static>),
        native!(view(address: jlong, size: jlong) -> JByteBuffer<'static>),
        native!(unmap(address: jlong, size: jlong) -> ()),
        native!(wait_fence(fd: jint, waker: jint, timeout: jlong) -> bool),
        native!(open_waker() -> jint),
        native!(wake(waker: jint) -> ()),
        native!(duplicate(fd: jint) -> jint),
        native!(close_fd(fd: jint) -> ()),
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

/// Adds the buffers of a handle and maps them. Returns id, address and size of each.
fn map<'local>(
    env: &mut JNIEnv<'local>,
    group: jlong,
    fds: JIntArray<'_>,
    wanted: jint,
) -> Result<JLongArray<'local>> {
    let (fds, access) = (int_values(env, &fds)?, access(wanted)?);
    let fds = fds.iter().map(|fd| borrowed(*fd)).collect::<Result<Vec<_>>>()?;
    let mapped = find(group)?.map_handle(&fds, access)?;
    let mut values = Vec::new();
    for (id, mapping) in &mapped {
        // A ByteBuffer counts its bytes with an int.
        let size = jint::try_from(mapping.len()).map_err(|_| {
            let why =
                format!("buffer {id} has {} bytes, a ByteBuffer at most 2^31 - 1", mapping.len());
            Error::IllegalArgument(why)
        })?;
        values.extend([id.0, mapping.start() as usize as jlong, jlong::from(size)]);
    }
    let array = longs(env, &values)?;
    // Java has the addresses now, and calls `unmap` when no byte buffer of a mapping is left.
    mapped.into_iter().for_each(|(_, mapping)| {
        let _ = mapping.into_raw();
    });
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

/// Waits until a fence has signalled. Returns false if another thread has called [`wake`] before.
fn wait_fence(_: &mut JNIEnv<'_>, fence: jint, waker: jint, limit: jlong) -> Result<bool> {
    borrowed(fence)?;
    let until = timeout(limit).and_then(|limit| Instant::now().checked_add(limit));
    let polled = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut both = [polled(fence), polled(waker)];
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        // Rounded up, so that the last round is not repeated. One that is too long for poll is cut, and repeated.
        let millis = left.map_or(-1, |left| {
            i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
        });
        // SAFETY: poll writes to two entries, which live until it returns.
        let count = unsafe { libc::poll(both.as_mut_ptr(), 2, millis) };
        let error = std::io::Error::last_os_error().raw_os_error();
        let [fence, waker] = &both;
        if count < 0 && error != Some(libc::EINTR) {
            return Err(Error::NoResources(format!("poll on a fence: errno {error:?}")).into());
        } else if count > 0 && fence.revents & libc::POLLNVAL != 0 {
            return Err(Error::BadFd.into());
        } else if count > 0 && fence.revents != 0 {
            return Ok(true);
        } else if count > 0 && waker.revents != 0 {
            return Ok(false);
        } else if left.is_some_and(|left| left.is_zero()) {
            return Err(Error::TimedOut { by: None, silent: false }.into());
        }
    }
}

/// A descriptor that ends [`wait_fence`].
fn open_waker(_: &mut JNIEnv<'_>) -> Result<jint> {
    // SAFETY: a new descriptor touches nothing else.
    let waker = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if waker < 0 {
        return Err(Error::NoResources("there is no free descriptor for a wait".into()).into());
    }
    Ok(waker)
}

fn wake(_: &mut JNIEnv<'_>, waker: jint) -> Result<()> {
    let one = 1_u64.to_ne_bytes();
    // SAFETY: write reads eight bytes. An error is ignored: a full counter wakes in any case.
    let _ = unsafe { libc::write(waker, one.as_ptr().cast(), one.len()) };
    Ok(())
}

fn duplicate(_: &mut JNIEnv<'_>, fd: jint) -> Result<jint> {
    let copy = borrowed(fd)?.try_clone_to_owned().map_err(|error| match error.raw_os_error() {
        Some(libc::EBADF) => Error::BadFd,
        _ => Error::NoResources(format!("a copy of descriptor {}: {error}", fd.as_raw_fd())),
    })?;
    Ok(copy.into_raw_fd())
}

fn close_fd(_: &mut JNIEnv<'_>, fd: jint) -> Result<()> {
    owned(fd).map(drop)
}

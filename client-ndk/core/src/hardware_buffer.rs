// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The dma-bufs of an `AHardwareBuffer`.
//!
//! `AHardwareBuffer_getNativeHandle` is for vendors (llndk): libnativewindow has it, but the NDK's
//! headers and stubs do not. So it is looked up at run time. Without it the calls return
//! [`Error::Unsupported`], and the library still loads. This module knows the layout of
//! `native_handle_t` (cutils/native_handle.h) and nothing of gralloc.

use std::ffi::{c_int, c_void, CStr};
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::OnceLock;

use crate::error::{Error, Result};
use crate::group::Group;
use crate::types::{Access, BufferId};

/// The library that has the function on Android.
const LIBRARY: &CStr = c"libnativewindow.so";
const FUNCTION: &CStr = c"AHardwareBuffer_getNativeHandle";
/// `NATIVE_HANDLE_MAX_FDS` of cutils/native_handle.h.
const MAX_FDS: c_int = 1024;

/// `AHardwareBuffer` of android/hardware_buffer.h.
#[repr(C)]
pub struct AHardwareBuffer {
    opaque: [u8; 0],
}

/// The first fields of `native_handle_t`; the descriptors follow.
#[repr(C)]
struct NativeHandle {
    version: c_int,
    num_fds: c_int,
    num_ints: c_int,
    data: [c_int; 0],
}

type GetNativeHandle = unsafe extern "C" fn(*const AHardwareBuffer) -> *const NativeHandle;

impl Group {
    /// Adds the dma-bufs of an `AHardwareBuffer`. The buffer may be released after the call.
    ///
    /// # Safety
    /// `buffer` is an `AHardwareBuffer` to which the caller has a reference.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where libnativewindow does not have the function, as on Linux. Those of
    /// [`Group::add_handle`].
    pub unsafe fn add_hardware_buffer(
        &self,
        buffer: NonNull<AHardwareBuffer>,
        access: Access,
    ) -> Result<Vec<BufferId>> {
        // SAFETY: the caller's promise covers the call.
        let fds = unsafe { descriptors_of(buffer) }?;
        self.add_handle(&fds, &[], access)
    }
}

/// Returns the descriptors of an `AHardwareBuffer`'s native handle.
///
/// # Safety
/// `buffer` is an `AHardwareBuffer` to which the caller has a reference, for as long as it uses the
/// result.
///
/// # Errors
/// [`Error::Unsupported`] as in [`Group::add_hardware_buffer`]; [`Error::NotDmaBuf`] for a handle
/// without descriptors.
pub unsafe fn descriptors_of<'a>(buffer: NonNull<AHardwareBuffer>) -> Result<Vec<BorrowedFd<'a>>> {
    let get = get_native_handle().ok_or_else(|| {
        let why =
            "libnativewindow has no AHardwareBuffer_getNativeHandle: add the dma-buf descriptors";
        Error::Unsupported(why.to_string())
    })?;
    // SAFETY: the function has this type; the caller vouches for the buffer, which owns the returned
    // handle.
    let handle = unsafe { get(buffer.as_ptr()) };
    // SAFETY: the function returns null or a handle that lives as long as the buffer.
    unsafe { descriptors(handle) }
}

/// Returns the descriptors of a handle.
///
/// # Safety
/// The handle is null, or a `native_handle_t` that outlives the result.
unsafe fn descriptors<'a>(handle: *const NativeHandle) -> Result<Vec<BorrowedFd<'a>>> {
    // SAFETY: the caller vouches for the handle.
    let header = unsafe { handle.as_ref() }.ok_or_else(no_handle)?;
    let size = std::mem::size_of::<NativeHandle>();
    let whole = usize::try_from(header.version) == Ok(size);
    if !whole || !(1..=MAX_FDS).contains(&header.num_fds) {
        return Err(no_handle());
    }
    let first = handle.cast::<u8>().wrapping_add(size).cast::<c_int>();
    // SAFETY: a handle of this version has this number of descriptors after its header.
    let fds = unsafe { std::slice::from_raw_parts(first, header.num_fds.unsigned_abs() as usize) };
    // Some allocators leave a place empty, with -1.
    let set = fds.iter().copied().filter(|fd| *fd != -1);
    if set.clone().any(|fd| fd < 0) {
        return Err(Error::BadFd);
    }
    // SAFETY: none is -1, and the handle keeps them open.
    let fds: Vec<_> = set.map(|fd| unsafe { BorrowedFd::borrow_raw(fd) }).collect();
    if fds.is_empty() {
        return Err(no_handle());
    }
    Ok(fds)
}

/// Looks up the function, once.
fn get_native_handle() -> Option<GetNativeHandle> {
    static FOUND: OnceLock<Option<GetNativeHandle>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        // SAFETY: the name is NUL-terminated, and libnativewindow has no constructor with side effects.
        // It is not unloaded, so the function stays.
        let library = unsafe { libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        let library = NonNull::new(library)?;
        // SAFETY: the library is loaded, and the name is NUL-terminated.
        let symbol = unsafe { libc::dlsym(library.as_ptr(), FUNCTION.as_ptr()) };
        let symbol: NonNull<c_void> = NonNull::new(symbol)?;
        // SAFETY: this is its type in vndk/hardware_buffer.h; a function pointer has the size of any.
        Some(unsafe { std::mem::transmute::<*mut c_void, GetNativeHandle>(symbol.as_ptr()) })
    })
}

fn no_handle() -> Error {
    Error::NotDmaBuf("the AHardwareBuffer has no native handle with descriptors".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `native_handle_t` with room for two descriptors.
    #[repr(C)]
    struct Two {
        header: NativeHandle,
        fds: [c_int; 2],
    }

    fn parse(version: c_int, num_fds: c_int, fds: [c_int; 2]) -> Result<usize> {
        let header = NativeHandle { version, num_fds, num_ints: 0, data: [] };
        let two = Two { header, fds };
        // SAFETY: a handle of two descriptors, which lives until the end of this function.
        unsafe { descriptors(std::ptr::from_ref(&two).cast()) }.map(|fds| fds.len())
    }

    #[test]
    fn a_handle_has_the_number_of_descriptors_that_it_says() {
        assert_eq!(parse(12, 2, [0, 1]), Ok(2));
        assert_eq!(parse(12, 1, [0, -1]), Ok(1));
        assert_eq!(parse(12, 2, [-1, 0]), Ok(1), "an empty place is skipped");
    }

    #[test]
    fn a_malformed_handle_is_refused() {
        assert_eq!(parse(11, 2, [0, 1]), Err(no_handle()));
        assert_eq!(parse(12, 0, [0, 1]), Err(no_handle()));
        assert_eq!(parse(12, -1, [0, 1]), Err(no_handle()));
        assert_eq!(parse(12, 1025, [0, 1]), Err(no_handle()));
        assert_eq!(parse(12, 2, [0, -2]), Err(Error::BadFd));
        assert_eq!(parse(12, 2, [-1, -1]), Err(no_handle()));
        // SAFETY: null is allowed.
        assert_eq!(unsafe { descriptors(std::ptr::null()) }.err(), Some(no_handle()));
    }
}

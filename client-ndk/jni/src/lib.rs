// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The native half of `vendor.buffersync` in Java: the methods of its class `Native`.
//!
//! Only the Java classes call this layer, and they document the API. Groups and connections are handles
//! ([`buffersync_client_core::Handles`]), so no mistake in Java, and no order of finalisation, makes a stale
//! reference. A value with several fields is an array of `long`.
//!
//! | module | content |
//! |---|---|
//! | `sync` | the connection |
//! | `group` | a group's buffers and events |
//! | `locks` | its locks |
//! | `memory` | mapped buffers and fences |
//! | `descriptors` | the descriptors in Java's and Android's objects |
//! | `bridge` | makes a Rust function a native method: types, conversions, exceptions |

// This code runs in the process of an app or a HAL, and Soong builds with panic=abort: a panic ends
// the whole process. So no argument, no reply and no lack of resources may cause a panic.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

mod bridge;
mod descriptors;
mod group;
mod locks;
mod memory;
mod sync;

use std::ffi::c_void;

use jni::sys::{jint, JNI_ERR, JNI_VERSION_1_6};
use jni::{JNIEnv, JavaVM};

/// The class that declares the native methods.
const CLASS: &str = "vendor/buffersync/Native";

/// The JVM calls this when it loads the library. It is the library's only export.
///
/// # Safety
/// `vm` is a JVM, as the JNI specification requires of the caller.
#[no_mangle]
pub unsafe extern "system" fn JNI_OnLoad(vm: *mut jni::sys::JavaVM, _: *mut c_void) -> jint {
    // SAFETY: the caller's promise is the same.
    let vm = unsafe { JavaVM::from_raw(vm) };
    // The thread that loads a library is attached to the JVM.
    match vm.and_then(|vm| register(&mut vm.get_env()?)) {
        Ok(()) => JNI_VERSION_1_6,
        Err(_) => JNI_ERR,
    }
}

fn register(env: &mut JNIEnv<'_>) -> jni::errors::Result<()> {
    let class = env.find_class(CLASS)?;
    let all = [
        sync::methods(),
        group::methods(),
        locks::methods(),
        memory::methods(),
        descriptors::methods(),
    ];
    for methods in all {
        env.register_native_methods(&class, &methods)?;
    }
    Ok(())
}

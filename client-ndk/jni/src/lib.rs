// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The native half of `vendor.buffersync` in Java: the methods of its class `Native`.
//!
//! The Java classes are the manual; this is a thin layer below them, which nobody else calls. Groups
//! and connections are handles ([`buffersync_client::Handles`]), so that no mistake in Java, and no order of
//! finalisation, makes a stale reference. Arrays of `long` carry what has several fields.
//!
//! | module | what it is |
//! |---|---|
//! | `sync` | the connection |
//! | `group` | groups, locks, grants |
//! | `memory` | mapped buffers, descriptors, fences |
//! | `throw` | errors as `BufferSyncException` |

mod group;
mod memory;
mod sync;
mod throw;

use std::ffi::c_void;

use jni::objects::JClass;
use jni::strings::JNIStr;
use jni::sys::{jint, JNI_ERR};
use jni::{jni_str, Env, JavaVM, NativeMethod};

/// The class whose methods these are.
const CLASS: &JNIStr = jni_str!("vendor/buffersync/Native");

/// Called by the JVM when it loads the library; the library's only export.
///
/// # Safety
/// `vm` is a JVM's, as the JNI specification says of whoever calls this.
#[no_mangle]
pub unsafe extern "system" fn JNI_OnLoad(vm: *mut jni::sys::JavaVM, _: *mut c_void) -> jint {
    // SAFETY: the caller's promise is the same.
    let vm = unsafe { JavaVM::from_raw(vm) };
    match vm.attach_current_thread(register) {
        Ok(()) => jni::JNIVersion::V1_6.into(),
        Err(_) => JNI_ERR,
    }
}

fn register(env: &mut Env<'_>) -> jni::errors::Result<()> {
    let class: JClass<'_> = env.find_class(CLASS)?;
    for methods in [sync::METHODS, group::METHODS, memory::METHODS] {
        // SAFETY: every one is made by `native_method!`, which checks its signature, and says
        // `static`, as `Native` does of all its methods.
        unsafe { env.register_native_methods(&class, methods)? };
    }
    Ok(())
}

/// What a method may use: names and types of all that are in a list.
type Methods = &'static [NativeMethod<'static>];

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
//! | `bridge` | from a Rust function to a method of Java's: types, exceptions |

// An app or a HAL has this code in its process, and Soong builds with panic=abort: a panic ends the whole
// process. So no argument, no reply and no lack of resources may lead to one.
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
mod group;
mod memory;
mod sync;

use std::ffi::c_void;

use jni::sys::{jint, JNI_ERR, JNI_VERSION_1_6};
use jni::{JNIEnv, JavaVM};

/// The class whose methods these are.
const CLASS: &str = "vendor/buffersync/Native";

/// Called by the JVM when it loads the library; the library's only export.
///
/// # Safety
/// `vm` is a JVM's, as the JNI specification says of whoever calls this.
#[no_mangle]
pub unsafe extern "system" fn JNI_OnLoad(vm: *mut jni::sys::JavaVM, _: *mut c_void) -> jint {
    // SAFETY: the caller's promise is the same.
    let vm = unsafe { JavaVM::from_raw(vm) };
    // The thread that loads a library is one of the JVM's.
    match vm.and_then(|vm| register(&mut vm.get_env()?)) {
        Ok(()) => JNI_VERSION_1_6,
        Err(_) => JNI_ERR,
    }
}

fn register(env: &mut JNIEnv<'_>) -> jni::errors::Result<()> {
    let class = env.find_class(CLASS)?;
    for methods in [sync::methods(), group::methods(), memory::methods()] {
        env.register_native_methods(&class, &methods)?;
    }
    Ok(())
}

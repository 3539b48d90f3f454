// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Rust bindings of the `vendor.buffersync` AIDL interface, and the code that service and client share.
//!
//! The AIDL files (`vendor/buffersync/*.aidl`) document the methods, their errors and the event records.
//! Under Cargo the bindings and the binder runtime are rsbinder's. Under Soong they are those of
//! `aidl_interface` and libbinder_rs. [`runtime`] hides the differences; everything else is the same
//! source. This crate knows nothing of the service or of the client library.

// The client brings this code into the process of an app or a HAL, and Soong builds with panic=abort: a
// panic ends the whole process. So no reply may cause a panic.
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

/// The binder runtime, where rsbinder and libbinder_rs differ.
#[cfg_attr(libbinder_rs, path = "runtime/libbinder_rs.rs")]
#[cfg_attr(not(libbinder_rs), path = "runtime/rsbinder.rs")]
pub mod runtime;

/// The AIDL package `vendor.buffersync`, under the paths that libbinder_rs code uses.
pub mod aidl {
    pub use crate::runtime::{vendor, NativeHandle};
}

pub mod event;
pub mod failure;
pub mod reply;
pub mod told;

pub use failure::Failure;

/// The instance that the service registers and clients look up.
pub const DEFAULT_INSTANCE: &str = "vendor.buffersync.IBufferSync/default";

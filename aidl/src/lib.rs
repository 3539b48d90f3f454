// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Rust bindings of the `vendor.buffersync` AIDL interface, and the names that its users need.
//!
//! The AIDL files beside this crate (`vendor/buffersync/*.aidl`) are the manual: what each method
//! does, which errors it has, how an event record is laid out. Under Soong the same module paths
//! come from `aidl_interface`; this crate stands in for them under Cargo. It knows nothing of the
//! service or of the client library.

/// The binder runtime: [`binder`] under Cargo, libbinder_rs under Soong.
pub use binder;

mod generated {
    // Written by rsbinder-aidl at build time; the AIDL holds its documentation.
    #![allow(missing_docs, clippy::all, clippy::undocumented_unsafe_blocks)]
    include!(concat!(env!("OUT_DIR"), "/buffersync.rs"));
}

/// The AIDL package `vendor.buffersync`, under the paths that libbinder_rs code uses.
pub mod aidl {
    pub use super::generated::vendor;
    pub use binder::NativeHandle;
}

/// How events come: the layout of an `EventRecord` on a group's pipe.
pub mod event;

/// The instance that the service registers and clients look up.
pub const DEFAULT_INSTANCE: &str = "vendor.buffersync.IBufferSync/default";

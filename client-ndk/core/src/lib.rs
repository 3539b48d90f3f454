// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What the clients of `vendor.buffersync` in all languages share. Rust programs use `buffersync-client`, which has
//! guards; the C library and the native half of the Java classes use this crate.
//!
//! A [`Group`] has dma-bufs and locks. A lock is named by its number, and any thread may call.
//!
//! The AIDL files define what each call means. This crate adds blocking, types, and what to do when a reply is
//! lost. It knows nothing of the service's code.

#![warn(missing_docs)]
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

mod connection;
mod ending;
mod error;
mod events;
pub mod fence;
mod fences;
mod fork;
mod group;
mod handles;
mod hardware_buffer;
mod locks;
mod lost;
mod mapping;
#[cfg(test)]
mod scripted;
mod session;
mod types;
mod unlock;
mod writable;

pub use connection::{BufferSync, Options, DEFAULT_DEVICE};
pub use error::{Error, Result};
pub use events::Event;
pub use fences::Fences;
pub use group::Group;
pub use handles::Handles;
pub use hardware_buffer::{descriptors_of, AHardwareBuffer};
pub use mapping::Mapping;
pub use types::{
    Access, BufferId, Capabilities, GrantInfo, GrantedBuffer, HoldFrom, InTheWay, LockId,
    LockStatus,
};

/// Tells if this process is a forked child of the process that connected. Then every call returns
/// [`Error::Forked`]. Takes no lock.
pub fn is_forked() -> bool {
    fork::check().is_err()
}

/// Tells if this thread is ending and its thread-locals are destroyed. Then every call that needs the
/// service is refused, and a value that is stored for the thread would be lost.
pub fn is_thread_ending() -> bool {
    ending::is_ending()
}

/// The name that [`BufferSync::connect`] looks up.
pub use buffersync_aidl::DEFAULT_INSTANCE;

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Rust client of the `vendor.buffersync` HAL: lock shared dma-bufs, work on them, unlock.
//!
//! A [`Group`] is a set of dma-bufs, each with a declared [`Access`], that are locked and unlocked
//! together. [`Group::lock`] blocks in `poll()` on the group's own event pipe, so no thread of the
//! service or of a binder pool is held while a client waits; a client needs no binder threads.
//! A program with a poll loop of its own takes the pieces instead: [`Group::start_lock`],
//! [`Group::event_fd`], [`Group::read_event`] and [`Group::grant`].
//!
//! ```no_run
//! use std::time::Duration;
//! use buffersync_client::{Access, BufferSync, Error, Options};
//!
//! # fn consume(dmabuf: std::os::fd::OwnedFd) -> Result<(), Error> {
//! let service = BufferSync::connect()?;
//! let mut group = service.open_group("codec/input", Options::default())?;
//! group.add(&dmabuf, Access::DmaRead)?;
//!
//! let grant = group.lock(Duration::from_secs(1))?;
//! // ... the buffer is coherent and nobody writes to it ...
//! match grant.unlock() {
//!     Err(Error::Evicted) => println!("held too long: what was read may be torn"),
//!     other => other?,
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # When things end
//!
//! A grant ends by [`Grant::unlock`], by dropping the [`Grant`], or by its deadline: then the
//! holder is *evicted*, [`Grant::is_evicted`] says so and `unlock` answers [`Error::Evicted`].
//! If the service dies, its end of the pipe closes and every call, a blocked [`Group::lock`]
//! included, answers [`Error::ServiceDied`] at once.
//!
//! # Which way to the bytes
//!
//! | you have | you take |
//! |---|---|
//! | the CPU touches the buffer, in Rust | [`Group::map`] and [`Mapped`]: no bytes without a grant, checked by the compiler |
//! | a device does | [`Group::attach`], or [`Group::add`], and [`Grant::acquire_fence`] |
//! | a mapping of your own (gralloc's, a driver's) | [`Group::add`], and discipline |
//! | tokio | the feature `tokio`: `Group::lock_async` |
//! | another language | the C ABI (`include/android/buffer_sync.h`), `vendor.buffersync` in Java; both over [`SharedGroup`] |
//!
//! # Threads and processes
//!
//! [`BufferSync`] and [`Group`] are `Send`. Everything that changes a group takes `&mut self`,
//! since a group has one lock at a time: threads that lock independently open a group each.
//! [`SharedGroup`] is for those who can't tell beforehand which thread calls.
//!
//! A process has one connection, made at the first [`BufferSync::connect`] and again when the service
//! has come back. A forked child can't use it: every call answers [`Error::Forked`] and nothing
//! that it drops is let go, so the parent is not disturbed; after exec it connects anew.
//!
//! The AIDL files are the manual of what each call means; this crate adds blocking, guards and
//! types. It knows nothing of the service's insides.

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

mod connection;
mod ending;
mod error;
mod events;
pub mod fence;
mod fork;
mod grant;
mod group;
mod handles;
mod hardware_buffer;
mod lock;
mod mapped;
mod members;
mod shared;
#[cfg(feature = "tokio")]
mod tokio;
mod types;

pub use connection::{BufferSync, Options, DEFAULT_DEVICE};
pub use error::{Error, Result};
pub use events::Event;
pub use grant::Grant;
pub use group::{Group, Started};
pub use handles::Handles;
pub use hardware_buffer::{descriptors_of, AHardwareBuffer};
pub use mapped::{
    AccessType, CpuAccess, Device, DmaAccess, DmaRead, DmaWrite, Mapped, Mapping, Read, Write,
};
pub use shared::SharedGroup;
pub use types::{Access, BufferId, Capabilities, GrantInfo, GrantedBuffer, Token};

/// Whether this process is a forked child of the one that connected: then every call is refused with
/// [`Error::Forked`]. Takes no lock.
pub fn is_forked() -> bool {
    fork::check().is_err()
}

/// Whether this thread is at its end, after its thread-locals: then every call that needs the service is
/// refused, and what is kept for the thread would be lost.
pub fn is_thread_ending() -> bool {
    ending::is_ending()
}

/// The instance that [`BufferSync::connect`] looks up.
pub use buffersync_aidl::DEFAULT_INSTANCE;

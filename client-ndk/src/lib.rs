// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Rust client of the `vendor.buffersync` HAL: lock shared dma-bufs, work on them, unlock.
//!
//! A [`Group`] has dma-bufs, each with a declared [`Access`], and locks them for one use after the other.
//! [`Group::lock`] locks all of them together, and blocks in `poll()` on the group's own event channel. So a
//! waiting client occupies no thread of the service or of a binder pool, and it needs no binder threads
//! itself. A program with its own poll loop uses [`Group::start_lock`], [`Group::event_fd`],
//! [`Group::read_event`] and [`Group::grant`] instead.
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
//! A grant ends when it is unlocked ([`Grant::unlock`]), when the [`Grant`] is dropped, or at its
//! deadline. At the deadline the holder is *evicted*: [`Grant::is_evicted`] returns true and `unlock`
//! returns [`Error::Evicted`]. If the service dies, its end of the channel closes and every call, a
//! blocked [`Group::lock`] included, returns [`Error::ServiceDied`] at once.
//!
//! # How to reach the bytes
//!
//! | case | use |
//! |---|---|
//! | the CPU uses the buffer, in Rust | [`Group::map`] and [`Mapped`]: the compiler allows no access without a grant |
//! | a device uses the buffer | [`Group::attach`], or [`Group::add`], and [`Grant::acquire_fence`] |
//! | you have your own mapping (from gralloc, from a driver) | [`Group::add`]; nothing checks that you use it under a grant only |
//! | you use tokio | the feature `tokio`: `Group::lock_async` |
//! | another language | the C ABI (`include/android/buffer_sync.h`), `vendor.buffersync` in Java; both over [`SharedGroup`] |
//!
//! # Threads and processes
//!
//! [`BufferSync`] and [`Group`] are `Send`. Every call that changes a group takes `&mut self`. Threads
//! that lock independently open a group each, or share a [`SharedGroup`], where any thread may call.
//!
//! A process has one connection. The first [`BufferSync::connect`] makes it, and a later call makes it
//! again when the service has died and come back. A forked child can't use the connection: every call
//! returns [`Error::Forked`], and objects that the child drops are not released, so the parent is not
//! disturbed. The child can connect after exec.
//!
//! # Several locks at once
//!
//! [`Group::lock`] is the group's main lock: all its buffers, one at a time, with a guard that borrows the
//! group. For more locks at once, of some buffers each, [`Group::lock_buffers`] returns a [`LockId`]. It has
//! no guard: end it with [`Group::unlock_buffers`]. [`Mapped`] needs the guard, so such locks are for devices
//! and for mappings of your own.
//!
//! # Lost replies
//!
//! If the kernel can't deliver a reply, mostly because this process has no free descriptor for an acquire
//! fence, the call returns [`Error::ReplyLost`], and its documentation says what has become of the lock:
//! the client does not guess. Close descriptors and try again.
//!
//! The AIDL files define what each call means. This crate adds blocking, guards and types. It knows
//! nothing of the service's code.

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
mod fork;
mod grant;
mod group;
mod handles;
mod hardware_buffer;
mod lock;
mod lock_buffers;
mod locks;
mod lost;
mod mapped;
mod members;
#[cfg(test)]
mod scripted;
mod shared;
#[cfg(feature = "tokio")]
mod tokio;
mod types;
mod unlock;

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
pub use types::{Access, BufferId, Capabilities, GrantInfo, GrantedBuffer, LockId, LockStatus};

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

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Rust client of the `vendor.buffersync` HAL: lock shared dma-bufs, work on them, unlock.
//!
//! A [`Group`] has dma-bufs, each with a declared [`Access`]. [`Group::lock`] locks all of them, and
//! [`Group::lock_some`] some, as often at once as you like. A lock that is granted is a [`Grant`]; it unlocks when it
//! is dropped. A lock that waits blocks in `poll()` on the group's own event channel. So a waiting client occupies no
//! thread of the service or of a binder pool, and it needs no binder threads itself.
//!
//! ```no_run
//! use std::time::Duration;
//! use buffersync_client::{Access, BufferSync, Error, Options};
//!
//! # fn consume(dmabuf: std::os::fd::OwnedFd) -> Result<(), Error> {
//! let group = BufferSync::connect()?.open_group("codec/input", Options::default())?;
//! group.add(&dmabuf, Access::DmaRead)?;
//!
//! let grant = group.lock(Duration::from_secs(1))?;
//! // ... the buffer is coherent and nobody writes to it ...
//! match grant.unlock() {
//!     Err(Error::Evicted { .. }) => println!("held too long: what was read may be torn"),
//!     other => other?,
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Locks are advisory, like `fcntl` locks: they protect a buffer from those who lock it too. The service keeps the
//! memory of the buffers that a group has, until they are removed or the group ends.
//!
//! # When things end
//!
//! A grant ends when it is unlocked ([`Grant::unlock`]), when the [`Grant`] is dropped, or at its
//! deadline. At the deadline the holder is *evicted*: [`Grant::is_evicted`] returns true and `unlock`
//! returns [`Error::Evicted`]. If the service dies, its end of the channel closes and every call of a group, a
//! blocked [`Group::lock`] included, returns [`Error::ServiceDied`] at once. A group ends with its last handle and its
//! last grant.
//!
//! # How to reach the bytes
//!
//! | case | use |
//! |---|---|
//! | the CPU uses the buffer, in Rust | [`Group::map`] and [`Mapped`]: no byte without a grant |
//! | a device uses the buffer | [`Group::attach`], or [`Group::add`], and [`Grant::acquire_fence`] |
//! | you have your own mapping (from gralloc, from a driver) | [`Group::add`]; nothing checks that you use it under a grant only |
//! | you use tokio | the feature `tokio`: `Group::lock_async` |
//! | you have a poll loop of your own | [`Group::start_lock`], and poll the group's descriptor |
//! | another language | the C ABI (`include/android/buffer_sync.h`), C++ over it (`buffer_sync.hpp`), `vendor.buffersync` in Java and Kotlin |
//!
//! # Threads and processes
//!
//! [`BufferSync`], [`Group`] and [`Grant`] are `Send` and `Sync`. A [`Group`] is a handle that is cheap to clone, and a
//! [`Grant`] has a handle of its own, so it can go to another thread or into a struct. A call that waits for a lock
//! does not keep other threads from the group. (But a thread in a call that a
//! stopped service does not answer does: then other calls of the group wait, too.)
//!
//! A call of the service itself returns at once, whatever other clients do. If the service is stopped, a call waits
//! like every binder call; a lock that waits for its grant keeps its time-out all the same
//! ([`Error::TimedOut`] with `silent`, up to one second late).
//!
//! A process has one connection. The first [`BufferSync::connect`] makes it, and a later call makes it
//! again when the service has died and come back. A forked child can't use the connection: every call
//! returns [`Error::Forked`], and objects that the child drops are not released, so the parent is not
//! disturbed. The child can connect after exec.
//!
//! # Lost replies
//!
//! If the kernel can't deliver a reply, mostly because this process has no free descriptor for an acquire
//! fence, the call returns [`Error::ReplyLost`], and its documentation says what has become of the lock:
//! the client does not guess. Close descriptors and try again.
//!
//! The AIDL files define what each call means.

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
mod grant;
mod group;
mod mapped;
mod pending;
#[cfg(feature = "tokio")]
mod tokio;

pub use buffersync_client_core::{
    fence, AHardwareBuffer, Access, BufferId, Capabilities, Error, Event, Fences, GrantedBuffer,
    HoldFrom, InTheWay, LockId, LockStatus, Options, Result, DEFAULT_DEVICE, DEFAULT_INSTANCE,
};
pub use connection::BufferSync;
pub use grant::Grant;
pub use group::Group;
pub use mapped::{
    AccessType, CpuAccess, Device, DmaAccess, DmaRead, DmaWrite, Mapped, Read, Write,
};
pub use pending::Pending;

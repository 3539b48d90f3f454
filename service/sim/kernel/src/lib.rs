// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A simulated kernel with the interface of `service/kernel`: the service's own sources are compiled against it.
//!
//! Each thread has a [`world`] of its own: clock, processes with their descriptors, dma-bufs with a cache line each,
//! fences, event channels. Nothing blocks. Each function of the interface is a system call, and
//! [`world::enter`] decides before it whether it fails, and whether another thread of the service gets its turn first.
//!
//! | module | simulates |
//! |---|---|
//! | [`world`] | what there is, and what the driver of the simulation does with it |
//! | [`site`] | which call fails, with which errors; which may not be made under the service's mutex |
//! | [`line`] | the memory behind a dma-buf, and the CPU's cache, which is not coherent |
//! | `fd`, `identity`, `dmabuf`, `memfd`, `sync_file`, `channel`, `poller`, `interrupt`, `clock`, `quirks` | the modules of the same names in `service/kernel` |

pub mod channel;
pub mod clock;
pub mod dmabuf;
pub mod fd;
pub mod identity;
pub mod interrupt;
pub mod line;
pub mod memfd;
pub mod poller;
pub mod quirks;
pub mod random;
pub mod site;
pub mod sync_file;
pub mod world;

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The buffersync HAL: `vendor.buffersync.IBufferSync` over binder.
//!
//! | module | contents | does not know |
//! |---|---|---|
//! | [`binder`] | the binder objects: check and translate arguments, replies | the engine's tables, what a descriptor is |
//! | [`calls`] | the clients' calls | Binder |
//! | [`arbiter`] | the mutex, the threads' entries, carrying out the engine's effects | Binder |
//! | `state` | what the mutex protects | threads, Binder |
//! | `registry`; `sessions`, `evicted`, `unread` | tables of buffers; of groups with their locks, of grants that were taken away, of groups that don't read | each other, the lock table |
//! | `outbox` | effects as event records and replies | everything but the engine's types |
//! | `fences` | release, acquire and implicit fences as descriptors | the lock table, Binder |
//! | `jobs`, `closer` | queues and threads for `DMA_BUF_IOCTL_SYNC`; for close(2) | the lock table |
//! | `reactor` | the thread that waits for fences and deadlines | groups |
//! | `events` | the service's end of a group's event channel | the engine |
//! | `quota`, `permits`, `oneways` | limits of a uid and of all; of threads that clients keep waiting; floods of oneway calls | what is counted |
//! | `tables`, `clock`, `poison` | maps by the engine's ids; the time; mutexes that end the process after a panic | who uses them |
//! | [`config`], [`platform`], `serve`, `registration`, `error`, [`dump`], `notes`, `logging`, `trace` | settings, start, refusals, reports | |
//!
//! The kernel's interface and exporters' quirks are in the crate [`buffersync_kernel`]; the decisions in
//! [`buffersync_engine`], which does no I/O.
//!
//! Threads: Binder's pool, the reactor, the sync workers, the closer, the log's. A pool thread waits for no client,
//! fence or device, except with a permit. Under the arbiter's mutex it works in memory, and sends only what waits for
//! nobody: records to event channels and, while somebody traces, to the kernel's trace.

// The simulation leaves out what starts the service.
#![cfg_attr(simulated, allow(dead_code))]

pub mod arbiter;
#[cfg(not(simulated))]
pub mod binder;
pub mod calls;
mod clock;
mod closer;
pub mod config;
pub mod dump;
mod error;
mod events;
mod evicted;
mod fences;
mod jobs;
mod logging;
mod notes;
mod oneways;
mod outbox;
mod permits;
/// Android, other Linux, or a simulation: the source of settings, and the destination of log and traces.
#[cfg_attr(
    all(any(target_os = "android", libbinder_rs), not(simulated)),
    path = "platform/android.rs"
)]
#[cfg_attr(not(any(target_os = "android", libbinder_rs, simulated)), path = "platform/linux.rs")]
#[cfg_attr(simulated, path = "platform/simulated.rs")]
pub mod platform;
mod poison;
pub mod quota;
mod reactor;
#[cfg(not(simulated))]
mod registration;
mod registry;
#[cfg(not(simulated))]
mod serve;
mod sessions;
mod state;
mod tables;
mod trace;
mod unread;

#[cfg(not(simulated))]
pub use serve::{run, serve, start, ServeError};

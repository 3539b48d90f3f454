// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The buffersync HAL: `vendor.buffersync.IBufferSync` over binder.
//!
//! | module | what it is | may not know |
//! |---|---|---|
//! | [`binder`] | the binder objects: arguments in, replies out | engine's inside, fds |
//! | [`arbiter`] | the engine behind its mutex, and who carries out its effects | binder |
//! | [`fences`] | release and acquire fences as descriptors | binder |
//! | [`reactor`] | one thread that waits for fences, dma-bufs and deadlines | groups |
//! | [`jobs`], `watchdog` | the queue and threads for `DMA_BUF_IOCTL_SYNC`; what ends one that blocks | the lock table |
//! | [`events`] | the service's end of a group's pipe | the engine |
//! | [`by_group`] | a table by the engine's ids | what is in it |
//! | [`quota`], [`permits`], [`config`], [`error`], [`dump`], `logging`, [`trace`] | bounds, settings, refusals, reports | |
//!
//! Threads: binder's pool, the reactor, the sync workers. A pool thread takes the arbiter's mutex,
//! does work in memory and writes at most to non-blocking pipes and, while somebody traces, to the
//! kernel's trace; it waits for no client, fence or device. The decisions themselves are made in
//! `buffersync_engine`, which does no I/O at all.

pub mod arbiter;
pub mod binder;
pub mod calls;
pub mod clock;
pub mod config;
pub mod dump;
pub mod error;
pub mod events;
mod evicted;
pub mod fences;
pub mod jobs;
mod logging;
mod outbox;
pub mod permits;
/// What Android has differently from other Linux: where settings come from, where log and traces go.
#[cfg_attr(any(target_os = "android", libbinder_rs), path = "platform/android.rs")]
#[cfg_attr(not(any(target_os = "android", libbinder_rs)), path = "platform/linux.rs")]
pub mod platform;
pub mod poison;
pub mod quota;
pub mod reactor;
mod registry;
mod sessions;
mod state;
mod tables;
pub mod trace;
mod watchdog;

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use ::binder::ProcessState;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::BnBufferSync;
use buffersync_aidl::runtime;

use arbiter::Arbiter;
use config::Config;

/// Why the service could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The binder driver could not be opened.
    #[error("binder: {0}")]
    Binder(String),
    /// The service manager refused the registration, or is not there.
    #[error("{name} is not registered, uid {uid}: {why}; {}", platform::REGISTRATION)]
    Registration {
        /// What was to be registered.
        name: String,
        /// As whom.
        uid: u32,
        /// The service manager's answer.
        why: String,
    },
    /// A thread or a descriptor could not be made.
    #[error("{what}: {why}")]
    Resources {
        /// What for.
        what: &'static str,
        /// The system's answer.
        why: String,
    },
    /// The thread pool ended: the driver is gone.
    #[error("the binder thread pool ended")]
    PoolEnded,
}

/// The program: starts the log, reads the settings, serves. 2 if the settings are wrong.
pub fn run() -> ExitCode {
    platform::start_logging();
    match platform::settings() {
        Ok(Some(config)) => match serve(config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                log::error!("{error}");
                ExitCode::FAILURE
            }
        },
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Registers the service and serves until the driver goes away.
pub fn serve(config: Config) -> Result<(), ServeError> {
    platform::raise_descriptor_limit();
    let name = format!("vendor.buffersync.IBufferSync/{}", config.instance);
    runtime::open_driver(&config.device, Some(config.threads)).map_err(ServeError::Binder)?;
    let arbiter = start(config)?;
    let service = buffersync_aidl::new_binder!(BnBufferSync, binder::hal::BufferSync::new(arbiter));
    ProcessState::start_thread_pool();
    runtime::add_service(&name, service.as_binder()).map_err(|why| {
        let uid = nix::unistd::getuid().as_raw();
        ServeError::Registration { name: name.clone(), uid, why }
    })?;
    log::info!("{name} is registered");
    ProcessState::join_thread_pool();
    Err(ServeError::PoolEnded)
}

/// A thread that the service can't live without: nobody is evicted or granted any more. So its end is the
/// process's, however it ends, and clients see that at once.
struct Vital(&'static str);

impl Drop for Vital {
    fn drop(&mut self) {
        log::error!("thread {} ended", self.0);
        std::process::abort();
    }
}

/// An arbiter with its threads running. It lives as long as the process.
pub fn start(config: Config) -> Result<Arc<Arbiter>, ServeError> {
    let workers = config.sync_workers;
    let arbiter = Arbiter::new(config)
        .map_err(|errno| ServeError::Resources { what: "reactor", why: errno.to_string() })?;
    let arbiter = Arc::new(arbiter);
    let reactor = Arc::clone(&arbiter);
    spawn("reactor", move || reactor.run_reactor())?;
    for _ in 0..workers {
        let worker = Arc::clone(&arbiter);
        spawn("sync", move || worker.run_worker())?;
    }
    Ok(arbiter)
}

/// Starts a thread that the service can't live without.
fn spawn(
    name: &'static str,
    body: impl FnOnce() -> nix::errno::Errno + Send + 'static,
) -> Result<(), ServeError> {
    let vital = move || {
        let _end = Vital(name);
        // Not within the line: whoever logs nothing would not run it.
        let why = body();
        log::error!("thread {name}: {why}");
    };
    thread::Builder::new()
        .name(name.into())
        .spawn(vital)
        .map(|_| ())
        .map_err(|error| ServeError::Resources { what: name, why: error.to_string() })
}

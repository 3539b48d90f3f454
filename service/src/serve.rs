// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The service as a program: settings, descriptors, registration, threads.

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use ::binder::ProcessState;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::BnBufferSync;
use buffersync_aidl::runtime;
use nix::unistd::{sysconf, SysconfVar};

use crate::arbiter::Arbiter;
use crate::config::Config;
use crate::quota::{self, Resources};
use crate::{binder, clock, logging, platform, registration};

/// Why the service could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The binder driver could not be opened.
    #[error("binder: {0}")]
    Binder(String),
    /// The service manager refused the registration, or does not run.
    #[error("{name} is not registered, uid {uid}: {why}; {}", platform::REGISTRATION)]
    Registration {
        /// The service's name.
        name: String,
        /// The service's own uid.
        uid: u32,
        /// The service manager's answer.
        why: String,
    },
    /// Another instance is alive.
    #[error("{name} is served by another process: two instances would grant one buffer twice")]
    Served {
        /// The service's name.
        name: String,
    },
    /// The limit of descriptors is too low.
    #[error("RLIMIT_NOFILE is {limit}, and must be {least} at least: raise it (rlimit nofile of init, LimitNOFILE of systemd), or lower --max-buffers-per-group or --threads")]
    TooFewDescriptors {
        /// The limit.
        limit: u64,
        /// The least useful one.
        least: u64,
    },
    /// The system refused a thread or a descriptor.
    #[error("{what}: {why}")]
    Resources {
        /// Its purpose.
        what: &'static str,
        /// The system's answer.
        why: String,
    },
    /// The thread pool ended because the driver is gone.
    #[error("the binder thread pool ended")]
    PoolEnded,
}

/// Runs the program: starts the log, reads the settings, serves. The exit status is 2 if a setting is
/// wrong.
pub fn run() -> ExitCode {
    platform::start_logging();
    // The log's own way, because nobody may read standard error. What the thread has half done must not go on.
    std::panic::set_hook(Box::new(|panic| {
        logging::last_words(panic);
        std::process::abort()
    }));
    match platform::settings() {
        Ok(Some(config)) => match serve(config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                logging::last_words(error);
                ExitCode::FAILURE
            }
        },
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => {
            logging::last_words(error);
            ExitCode::from(2)
        }
    }
}

/// Registers the service and serves until the driver goes away.
pub fn serve(config: Config) -> Result<(), ServeError> {
    platform::raise_descriptor_limit();
    let resources = resources(&config)?;
    let name = format!("vendor.buffersync.IBufferSync/{}", config.instance);
    runtime::open_driver(&config.device, Some(config.threads)).map_err(ServeError::Binder)?;
    let arbiter = start(config, resources)?;
    let (gate, young) = (Arc::clone(&arbiter), Arc::clone(&arbiter));
    runtime::set_oneway_gate(move |uid| gate.oneways.is_flood(uid, clock::now()))
        .map_err(|error| ServeError::Resources { what: "oneway", why: error.to_string() })?;
    let service = buffersync_aidl::new_binder!(BnBufferSync, binder::hal::BufferSync::new(arbiter));
    ProcessState::start_thread_pool();
    let watch = registration::register(&name, &service.as_binder(), || young.begin_youth())?;
    log::info!("{name} is registered");
    registration::start_keeping(name, service.as_binder(), watch)?;
    ProcessState::join_thread_pool();
    Err(ServeError::PoolEnded)
}

/// The limits of the process and of the machine. Refuses a limit of descriptors with which the service is of no use.
fn resources(config: &Config) -> Result<Resources, ServeError> {
    let descriptors = platform::descriptor_limit()
        .map_err(|errno| ServeError::Resources { what: "RLIMIT_NOFILE", why: errno.to_string() })?;
    let least = Resources::least(config);
    if descriptors < least {
        return Err(ServeError::TooFewDescriptors { limit: descriptors, least });
    }
    let machine = || {
        let ask = |name| sysconf(name).ok().flatten().and_then(|value| u64::try_from(value).ok());
        let (pages, size) = (ask(SysconfVar::_PHYS_PAGES)?, ask(SysconfVar::PAGE_SIZE)?);
        pages.checked_mul(size)
    };
    let bytes = match config.max_memory_mib {
        0 => machine().unwrap_or(u64::MAX),
        mib => u64::from(mib) << 20,
    };
    Ok(Resources { descriptors, bytes, unread: quota::UNREAD })
}

/// A thread without which nobody is granted or evicted any more. Its end, for any reason, ends the
/// process, and clients see that at once.
struct Vital(&'static str);

impl Drop for Vital {
    fn drop(&mut self) {
        logging::last_words(format_args!("thread {} ended", self.0));
        std::process::abort();
    }
}

/// Makes an arbiter and starts its threads. It lives as long as the process.
pub fn start(config: Config, resources: Resources) -> Result<Arc<Arbiter>, ServeError> {
    let workers = config.sync_workers;
    let arbiter = Arbiter::new(config, resources)
        .map_err(|errno| ServeError::Resources { what: "reactor", why: errno.to_string() })?;
    let arbiter = Arc::new(arbiter);
    let reactor = Arc::clone(&arbiter);
    spawn("reactor", move || reactor.run_reactor())?;
    let closer = Arc::clone(&arbiter);
    spawn("closer", move || closer.run_closer())?;
    for _ in 0..workers {
        let worker = Arc::clone(&arbiter);
        spawn("sync", move || worker.run_worker())?;
    }
    Ok(arbiter)
}

fn spawn(
    name: &'static str,
    body: impl FnOnce() -> nix::errno::Errno + Send + 'static,
) -> Result<(), ServeError> {
    let vital = move || {
        let _end = Vital(name);
        // Not inside log::error!, which evaluates nothing while logging is off.
        let why = body();
        log::error!("thread {name}: {why}");
    };
    thread::Builder::new()
        .name(name.into())
        .spawn(vital)
        .map(|_| ())
        .map_err(|error| ServeError::Resources { what: name, why: error.to_string() })
}

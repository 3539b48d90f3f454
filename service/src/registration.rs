// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Registers the service, and registers it again when the service manager has restarted.
//!
//! The service can start before the service manager: it waits. It does not start beside another instance, because
//! two of them would grant one buffer twice. The service manager would take a second registration and forget the
//! first, so this asks before; whoever may register the name is trusted in between.
//!
//! On Android the binder library waits for the service manager, and init restarts the HALs with it.

use std::thread;
use std::time::Duration;

use binder::SpIBinder;
use buffersync_aidl::runtime::{self, Manager, Watch};
use buffersync_aidl::told::Told;

use crate::logging;
use crate::serve::ServeError;

/// The time between two looks for the service manager: it seldom restarts, and clients wait for it as well.
const PAUSE: Duration = Duration::from_millis(200);

/// Registers the service once, and waits for the service manager. Calls `before` before each attempt. Returns what tells
/// of its end, where that is told.
pub fn register(
    name: &str,
    service: &SpIBinder,
    before: impl Fn(),
) -> Result<Option<Watch>, ServeError> {
    let mut said = false;
    loop {
        // First, so that no registration after this one is missed.
        let watch = Manager::watch(name);
        if watch.is_some() || !Manager::IS_WATCHED {
            before();
            match try_to(name, service) {
                Ok(()) => return Ok(watch),
                Err(error) if Manager::answers() => return Err(error),
                Err(_) => {}
            }
        }
        // It does not run yet, or has just gone. Nothing tells when it comes.
        drop(watch);
        if !std::mem::replace(&mut said, true) {
            log::info!("{name} waits for the service manager");
        }
        thread::sleep(PAUSE);
    }
}

fn try_to(name: &str, service: &SpIBinder) -> Result<(), ServeError> {
    refuse_another(name, service)?;
    runtime::add_service(name, service.clone()).map_err(|why| ServeError::Registration {
        name: name.to_string(),
        uid: nix::unistd::getuid().as_raw(),
        why,
    })
}

fn refuse_another(name: &str, service: &SpIBinder) -> Result<(), ServeError> {
    match Manager::serves(name, service) {
        Ok(true) => Err(ServeError::Served { name: name.to_string() }),
        Ok(false) => Ok(()),
        // The service manager's rules may let the service register its name, and not look it up.
        Err(why) => {
            log::debug!("{name} is not looked up: {why}");
            Ok(())
        }
    }
}

/// Registers the service again whenever the service manager has restarted. Returns if it is refused, or if another
/// instance has registered: of several that started in one moment, the last one stays.
fn keep(name: &str, service: &SpIBinder, mut watch: Option<Watch>) -> Result<(), ServeError> {
    while let Some(told) = watch.as_ref().map(Watch::wait) {
        match told {
            Told::Registered => refuse_another(name, service)?,
            Told::Ended => {
                // The dead one's proxy goes with it.
                drop(watch.take());
                watch = register(name, service, || {})?;
                log::info!("{name} is registered again");
            }
        }
    }
    Ok(())
}

/// Starts a thread for the rest. A refusal ends the process.
pub fn start_keeping(
    name: String,
    service: SpIBinder,
    watch: Option<Watch>,
) -> Result<(), ServeError> {
    if watch.is_none() {
        return Ok(());
    }
    let keep = move || {
        if let Err(error) = keep(&name, &service, watch) {
            logging::last_words(error);
            std::process::exit(1);
        }
    };
    let thread = thread::Builder::new().name("registration".into()).spawn(keep);
    thread
        .map(|_| ())
        .map_err(|error| ServeError::Resources { what: "registration", why: error.to_string() })
}

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
use buffersync_aidl::runtime::{self, Manager};

use crate::ServeError;

/// The time between two looks for the service manager: it seldom restarts, and clients wait for it as well.
const PAUSE: Duration = Duration::from_millis(200);

/// Registers the service once. Waits for the service manager.
pub fn register(name: &str, service: &SpIBinder) -> Result<(), ServeError> {
    let mut said = false;
    loop {
        match try_to(name, service) {
            Ok(()) => return Ok(()),
            Err(_) if !Manager::answers() => {
                if !std::mem::replace(&mut said, true) {
                    log::info!("{name} waits for the service manager");
                }
                thread::sleep(PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
}

fn try_to(name: &str, service: &SpIBinder) -> Result<(), ServeError> {
    match Manager::serves(name, service) {
        Ok(true) => return Err(ServeError::Served { name: name.to_string() }),
        Ok(false) => {}
        // The service manager's rules may let the service register its name, and not look it up.
        Err(why) => log::debug!("{name} is not looked up: {why}"),
    }
    runtime::add_service(name, service.clone()).map_err(|why| ServeError::Registration {
        name: name.to_string(),
        uid: nix::unistd::getuid().as_raw(),
        why,
    })
}

/// Registers the service again whenever the service manager has restarted. Returns only if it is refused.
pub fn keep(name: &str, service: &SpIBinder) -> ServeError {
    loop {
        Manager::wait_for_end();
        if let Err(error) = register(name, service) {
            return error;
        }
        log::info!("{name} is registered again");
    }
}

/// Starts [`keep`] where the runtime reports the end of the service manager. A refusal ends the process: another
/// instance may have its place.
pub fn start_keeping(name: String, service: SpIBinder) -> Result<(), ServeError> {
    if !Manager::REPORTS_ITS_END {
        return Ok(());
    }
    let keep = move || {
        log::error!("{}", keep(&name, &service));
        log::logger().flush();
        std::process::exit(1);
    };
    let thread = thread::Builder::new().name("registration".into()).spawn(keep);
    thread
        .map(|_| ())
        .map_err(|error| ServeError::Resources { what: "registration", why: error.to_string() })
}

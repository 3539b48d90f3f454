// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What happens when a thread panicked while it held one of the service's mutexes.
//!
//! The state behind it may be half changed, and this state says who owns which buffer. Going on
//! could grant a buffer twice; so the process ends, its clients see it at once (binder death,
//! POLLHUP), and init starts it anew with nothing held.

use std::sync::{Mutex, MutexGuard};

/// Locks `mutex`; ends the process if it is poisoned.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    match mutex.lock() {
        Ok(guard) => guard,
        Err(_) => end(),
    }
}

/// Ends the process because of a poisoned mutex.
pub fn end() -> ! {
    log::error!("a thread panicked while it held the service's state; restarting is safer");
    std::process::abort()
}

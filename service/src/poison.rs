// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Mutexes whose poisoning ends the process.
//!
//! If a thread panics while it holds a mutex, the state behind it may be half changed, and a buffer
//! could be granted twice. So the process ends. Its clients see that at once (binder death, POLLHUP), and
//! init starts it again with nothing held.

use std::sync::{Mutex, MutexGuard};

use crate::logging;

/// Locks `mutex`; ends the process if it is poisoned.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    match mutex.lock() {
        Ok(guard) => guard,
        Err(_) => end(),
    }
}

/// Ends the process.
pub fn end() -> ! {
    logging::last_words("a thread panicked while it held the service's state; restarting is safer");
    std::process::abort()
}

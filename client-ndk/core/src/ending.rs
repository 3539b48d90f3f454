// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Refuses binder calls of a thread that is ending.
//!
//! Destructors of C++'s `thread_local` objects and of pthread keys, and `atexit` handlers, may call this
//! library. At that time the thread-locals of Rust are destroyed, and rsbinder panics when a transaction
//! needs its own. So [`check`] comes before every transaction: `fork::Remote` calls it for every remote
//! object.

use std::cell::Cell;

use buffersync_aidl::runtime;
use nix::errno::Errno;

use crate::error::{Error, Result};

/// A type with a destructor: a thread-local of it reports when destructors have run.
struct Alive;

impl Drop for Alive {
    fn drop(&mut self) {}
}

thread_local! {
    /// Has no destructor, so it can always be read.
    static PREPARED: Cell<bool> = const { Cell::new(false) };
    static ALIVE: Alive = const { Alive };
}

/// Tells if the thread-locals of this thread are destroyed.
pub(crate) fn is_ending() -> bool {
    PREPARED.get() && ALIVE.try_with(|_| ()).is_err()
}

/// Refuses a thread whose thread-locals are destroyed.
pub(crate) fn check() -> Result<()> {
    if !PREPARED.get() {
        // Destructors run in the reverse order of the first uses. The runtime uses its thread-local
        // first, so that it is destroyed after ours.
        runtime::prepare_thread();
        PREPARED.set(true);
    }
    let gone = |_| Error::System("a call from a thread that is ending", Errno::ECANCELED);
    ALIVE.try_with(|_| ()).map_err(gone)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::mpsc::{channel, Sender};

    use super::*;

    /// Calls `check` when it is destroyed.
    struct Asks(Sender<bool>);

    impl Drop for Asks {
        fn drop(&mut self) {
            let _ = self.0.send(check().is_ok());
        }
    }

    thread_local! {
        static ASKS: RefCell<Option<Asks>> = const { RefCell::new(None) };
    }

    #[test]
    fn destructors_that_run_later_are_refused() {
        let (sender, receiver) = channel();
        let thread = std::thread::spawn(move || {
            // Used first, so destroyed last.
            ASKS.with(|asks| asks.replace(Some(Asks(sender))));
            check().is_ok()
        });
        assert!(thread.join().unwrap());
        assert_eq!(receiver.recv(), Ok(false));
    }
}

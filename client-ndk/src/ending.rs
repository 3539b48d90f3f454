// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A thread that is ending makes no transaction.
//!
//! Destructors of C++'s `thread_local` objects and of pthread keys, and `atexit` handlers, may call this library.
//! By then the thread-locals of Rust are gone, and rsbinder panics when a transaction needs its own. So each
//! transaction asks here first. `fork` does, for every reference to a remote object.

use std::cell::Cell;

use buffersync_aidl::runtime;
use nix::errno::Errno;

use crate::error::{Error, Result};

/// Its destructor does nothing, but that there is one tells when it has run.
struct Alive;

impl Drop for Alive {
    fn drop(&mut self) {}
}

thread_local! {
    /// Without a destructor: it can always be asked.
    static PREPARED: Cell<bool> = const { Cell::new(false) };
    static ALIVE: Alive = const { Alive };
}

/// Whether the thread-locals of this thread are gone.
pub(crate) fn is_ending() -> bool {
    PREPARED.get() && ALIVE.try_with(|_| ()).is_err()
}

/// Refuses a thread whose thread-locals are gone.
pub(crate) fn check() -> Result<()> {
    if !PREPARED.get() {
        // Destructors run in the reverse order of the first uses. The runtime's comes first, so that this one
        // is gone before it is.
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

    /// Asks when it is destroyed.
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

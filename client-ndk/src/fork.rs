// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What a fork leaves behind is refused.
//!
//! A child that was forked and not yet exec'd has the parent's binder descriptor, but none of its
//! mapping (the driver's memory is `VM_DONTCOPY`): a reply would be read from an address that is not
//! there, and a reference that the child lets go is the parent's. So whatever the parent opened
//! answers [`Error::Forked`] in the child, and is neither called nor let go there. The check takes no
//! lock, since one that another thread of the parent held is held in the child for ever.

use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU32, Ordering};

use binder::{FromIBinder, Strong};

use crate::error::{Error, Result};

/// The process that opened the binder driver; 0 while none has.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// The driver is open, by this process.
pub(crate) fn claim() {
    // The first claim stays: the driver is opened once.
    let _ = OWNER.compare_exchange(0, std::process::id(), Ordering::Relaxed, Ordering::Relaxed);
}

/// Refuses a forked child.
pub(crate) fn check() -> Result<()> {
    match OWNER.load(Ordering::Relaxed) {
        0 => Ok(()),
        owner if owner == std::process::id() => Ok(()),
        _ => Err(Error::Forked),
    }
}

/// A reference to a remote object, for the process that got it.
pub(crate) struct Remote<T: FromIBinder + ?Sized>(ManuallyDrop<Strong<T>>);

impl<T: FromIBinder + ?Sized> Remote<T> {
    pub fn new(object: Strong<T>) -> Self {
        Self(ManuallyDrop::new(object))
    }

    /// The object, to be called.
    pub fn get(&self) -> Result<&T> {
        check().map(|()| &**self.0)
    }
}

impl<T: FromIBinder + ?Sized> Drop for Remote<T> {
    fn drop(&mut self) {
        if check().is_ok() {
            // SAFETY: this is the only drop, and nothing uses the reference afterwards.
            unsafe { ManuallyDrop::drop(&mut self.0) }
        }
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A reference to a binder object of no known interface.

use std::os::fd::AsRawFd;

use crate::binder::{FromIBinder, IBinder, IBinderInternal, Strong};
use crate::error::StatusCode;

type Result<T> = std::result::Result<T, StatusCode>;

/// Such a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpIBinder(());

impl SpIBinder {
    /// Whether the object is in another process.
    pub fn is_remote(&self) -> bool {
        unimplemented!()
    }

    /// The reference as one to an interface.
    pub fn into_interface<I: FromIBinder + ?Sized>(self) -> Result<Strong<I>> {
        unimplemented!()
    }
}

impl IBinder for SpIBinder {
    fn link_to_death(&mut self, _: &mut DeathRecipient) -> Result<()> {
        unimplemented!()
    }

    fn unlink_to_death(&mut self, _: &mut DeathRecipient) -> Result<()> {
        unimplemented!()
    }

    fn ping_binder(&mut self) -> Result<()> {
        unimplemented!()
    }
}

impl IBinderInternal for SpIBinder {
    fn is_binder_alive(&self) -> bool {
        unimplemented!()
    }

    fn dump<F: AsRawFd>(&mut self, _: &F, _: &[&str]) -> Result<()> {
        unimplemented!()
    }

    fn get_extension(&mut self) -> Result<Option<SpIBinder>> {
        unimplemented!()
    }
}

/// Is told of a death.
pub struct DeathRecipient(());

impl DeathRecipient {
    /// Calls `callback` then.
    pub fn new<F: Fn() + Send + Sync + 'static>(_callback: F) -> DeathRecipient {
        unimplemented!()
    }
}

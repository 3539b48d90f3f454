// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! References to binder objects, of any interface.

use std::os::fd::AsRawFd;

use crate::binder::{
    FromIBinder, IBinder, IBinderInternal, Interface, InterfaceClass, Strong, TransactionCode,
    TransactionFlags,
};
use crate::error::StatusCode;
use crate::parcel::Parcel;

type Result<T> = std::result::Result<T, StatusCode>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpIBinder(());

impl SpIBinder {
    pub fn is_remote(&self) -> bool {
        unimplemented!()
    }

    pub fn into_interface<I: FromIBinder + Interface + ?Sized>(self) -> Result<Strong<I>> {
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

    fn prepare_transact(&self) -> Result<Parcel> {
        unimplemented!()
    }

    fn submit_transact(
        &self,
        _: TransactionCode,
        _: Parcel,
        _: TransactionFlags,
    ) -> Result<Parcel> {
        unimplemented!()
    }
}

pub trait AssociateClass {
    fn associate_class(&mut self, class: InterfaceClass) -> bool;
}

impl AssociateClass for SpIBinder {
    fn associate_class(&mut self, _: InterfaceClass) -> bool {
        unimplemented!()
    }
}

pub trait Proxy: Sized + Interface {
    fn get_descriptor() -> &'static str;
    fn from_binder(binder: SpIBinder) -> Result<Self>;
}

pub struct DeathRecipient(());

impl DeathRecipient {
    pub fn new<F: Fn() + Send + Sync + 'static>(_callback: F) -> DeathRecipient {
        unimplemented!()
    }
}

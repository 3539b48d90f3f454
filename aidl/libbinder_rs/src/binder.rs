// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Binder objects and references to them.

use std::any::Any;
use std::ffi::CStr;
use std::io::Write;
use std::ops::Deref;
use std::os::fd::AsRawFd;

use crate::error::StatusCode;
use crate::proxy::{DeathRecipient, SpIBinder};

type Result<T> = std::result::Result<T, StatusCode>;

/// Which method is called.
pub type TransactionCode = u32;
/// `FLAG_*`.
pub type TransactionFlags = u32;

/// What every AIDL interface is. (libbinder_rs says `DowncastSync`, which has these bounds.)
pub trait Interface: Send + Sync + Any {
    /// The object itself.
    fn as_binder(&self) -> SpIBinder {
        unimplemented!()
    }

    /// Prints the object's state.
    fn dump(&self, _writer: &mut dyn Write, _args: &[&CStr]) -> Result<()> {
        unimplemented!()
    }
}

/// An interface that a binder can be taken for.
pub trait FromIBinder: Interface {
    /// The binder as this interface, if it is of it.
    fn try_from(ibinder: SpIBinder) -> Result<Strong<Self>>;
}

/// What can be asked of any binder.
pub trait IBinder {
    /// Has the recipient told when the object dies.
    fn link_to_death(&mut self, recipient: &mut DeathRecipient) -> Result<()>;
    /// Takes that back.
    fn unlink_to_death(&mut self, recipient: &mut DeathRecipient) -> Result<()>;
    /// Whether the object answers.
    fn ping_binder(&mut self) -> Result<()>;
}

/// What can be asked of any binder, by those who know what it is.
pub trait IBinderInternal: IBinder {
    /// Whether its process lives, as far as is known.
    fn is_binder_alive(&self) -> bool;
    /// Has it print its state.
    fn dump<F: AsRawFd>(&mut self, fp: &F, args: &[&str]) -> Result<()>;
    /// What else it serves.
    fn get_extension(&mut self) -> Result<Option<SpIBinder>>;
}

/// A reference that keeps the object.
pub struct Strong<I: FromIBinder + ?Sized>(Box<I>);

impl<I: FromIBinder + ?Sized> Strong<I> {
    /// A reference to an object.
    pub fn new(binder: Box<I>) -> Self {
        Self(binder)
    }
}

impl<I: FromIBinder + ?Sized> Clone for Strong<I> {
    fn clone(&self) -> Self {
        unimplemented!()
    }
}

impl<I: FromIBinder + ?Sized> Deref for Strong<I> {
    type Target = I;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<I: FromIBinder + std::fmt::Debug + ?Sized> std::fmt::Debug for Strong<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<I: FromIBinder + ?Sized> PartialEq for Strong<I> {
    fn eq(&self, _: &Self) -> bool {
        unimplemented!()
    }
}

impl<I: FromIBinder + ?Sized> Eq for Strong<I> {}

/// How a new object is to behave.
#[derive(Default)]
pub struct BinderFeatures {
    /// It wants to know its callers' SELinux contexts. (libbinder_rs has this for the platform's
    /// variant only; a vendor's has no field at all.)
    _non_exhaustive: (),
}

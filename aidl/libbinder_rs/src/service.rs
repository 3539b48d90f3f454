// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The service manager.

use crate::binder::{FromIBinder, Strong};
use crate::error::StatusCode;
use crate::proxy::SpIBinder;

type Result<T> = std::result::Result<T, StatusCode>;

/// Registers an object.
pub fn add_service(_identifier: &str, _binder: SpIBinder) -> Result<()> {
    unimplemented!()
}

/// Whether this thread handles a call.
pub fn is_handling_transaction() -> bool {
    unimplemented!()
}

/// What is registered, without waiting for it.
pub fn check_service(_name: &str) -> Option<SpIBinder> {
    unimplemented!()
}

/// What is registered, waiting for it.
pub fn wait_for_service(_name: &str) -> Option<SpIBinder> {
    unimplemented!()
}

/// What is registered, without waiting for it.
pub fn check_interface<T: FromIBinder + ?Sized>(_name: &str) -> Result<Strong<T>> {
    unimplemented!()
}

/// What is registered, waiting for it.
pub fn wait_for_interface<T: FromIBinder + ?Sized>(_name: &str) -> Result<Strong<T>> {
    unimplemented!()
}

/// Whether the manifest declares it.
pub fn is_declared(_interface: &str) -> Result<bool> {
    unimplemented!()
}

/// The instances that the manifest declares.
pub fn get_declared_instances(_interface: &str) -> Result<Vec<String>> {
    unimplemented!()
}

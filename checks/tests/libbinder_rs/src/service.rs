// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The service manager.

use crate::binder::{FromIBinder, Strong};
use crate::error::StatusCode;
use crate::proxy::SpIBinder;

type Result<T> = std::result::Result<T, StatusCode>;

pub fn add_service(_identifier: &str, _binder: SpIBinder) -> Result<()> {
    unimplemented!()
}

pub fn is_handling_transaction() -> bool {
    unimplemented!()
}

pub fn check_service(_name: &str) -> Option<SpIBinder> {
    unimplemented!()
}

pub fn wait_for_service(_name: &str) -> Option<SpIBinder> {
    unimplemented!()
}

pub fn check_interface<T: FromIBinder + ?Sized>(_name: &str) -> Result<Strong<T>> {
    unimplemented!()
}

pub fn wait_for_interface<T: FromIBinder + ?Sized>(_name: &str) -> Result<Strong<T>> {
    unimplemented!()
}

pub fn is_declared(_interface: &str) -> Result<bool> {
    unimplemented!()
}

pub fn get_declared_instances(_interface: &str) -> Result<Vec<String>> {
    unimplemented!()
}

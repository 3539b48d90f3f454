// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The failures of a binder call, as far as callers must tell them apart.

/// A status in a form that both binder runtimes share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The service refused the call with this `ERROR_*`, and its message.
    ServiceSpecific(i32, String),
    /// `EX_ILLEGAL_ARGUMENT`, with the service's message.
    IllegalArgument(String),
    /// No service is registered under the name.
    NameNotFound,
    /// The process that served the object is gone.
    DeadObject,
    /// A descriptor of the caller is not open.
    BadFd,
    /// Any other failure, as text.
    Other(String),
}

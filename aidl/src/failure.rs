// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Why a binder call did not succeed, told apart as far as its callers need it.

/// A status, without the spelling of either binder runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The service refused the call with this `ERROR_*`.
    ServiceSpecific(i32),
    /// `EX_ILLEGAL_ARGUMENT`, with the service's message.
    IllegalArgument(String),
    /// Nobody is registered under that name.
    NameNotFound,
    /// The process that served the object is gone.
    DeadObject,
    /// A descriptor of the caller is not open.
    BadFd,
    /// Anything else, in words.
    Other(String),
}

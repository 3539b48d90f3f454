// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The events of a watch over the service manager, the same with both binder runtimes.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The service manager has died.
    Ended,
    /// Somebody has registered the name that is watched.
    Registered,
}

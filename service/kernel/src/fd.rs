// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The descriptors of this crate's functions. The service names them by these aliases only, so that a simulated
//! kernel (service/sim) can give them another meaning.

pub use std::os::fd::{AsFd, BorrowedFd as FdRef, OwnedFd as Fd};

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Fences as descriptors. The engine knows fences by number, and decides which grant waits for which.
//!
//! | module | fences |
//! |---|---|
//! | [`release`] | fences that clients give with an unlock, watched until they signal |
//! | [`acquire`] | the same fences on their way to the next holder, merged |
//! | [`implicit`] | fences that drivers have put into a dma-buf, and the locks that wait for them |
//!
//! No call here waits for a fence: the reactor does. Knows neither the lock table nor Binder.

use std::sync::Arc;

use buffersync_engine::{BufferId, FenceId};
use buffersync_kernel::fd::{AsFd, FdRef};

use crate::closer::Descriptor;
use crate::quota::Charge;

pub(crate) mod acquire;
pub(crate) mod implicit;
pub mod release;

/// A release fence. The grants that wait for it keep it until it has signalled without an error, so that their
/// holders can see an error; the giver's uid is charged until the last of them lets go.
#[derive(Debug)]
pub struct Fence {
    file: Descriptor,
    _charge: Charge,
}

impl AsFd for Fence {
    fn as_fd(&self) -> FdRef<'_> {
        self.file.as_fd()
    }
}

/// A wait of the reactor.
#[derive(Debug)]
pub enum Waiting {
    Release {
        id: FenceId,
        fence: Arc<Fence>,
    },
    /// Implicit fences of a buffer.
    Implicit {
        buffer: BufferId,
        /// Distinguishes this watch from others of the same buffer.
        number: u64,
    },
}

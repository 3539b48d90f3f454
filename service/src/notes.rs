// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Events under the arbiter's mutex that belong into the log.
//!
//! Lines are made and written after the mutex: [`crate::arbiter`] collects notes, and writes them when it has
//! unlocked.

use std::sync::Arc;

use buffersync_engine::{BufferId, EvictionCause, FailureCause};

use crate::events::Lost;
use crate::logging;

#[derive(Debug)]
pub(crate) enum Note {
    /// A grant was taken away.
    Evicted { uid: u32, group: u64, name: Arc<str>, cause: EvictionCause },
    /// A lock has failed, with this errno.
    LockFailed { uid: u32, buffer: BufferId, errno: i32, cause: FailureCause },
    /// A group was closed because its channel is lost.
    Lost { uid: u32, group: u64, name: Arc<str>, lost: Lost },
}

impl Note {
    /// Writes the line. Lines are limited for each uid.
    pub fn write(self) {
        match self {
            Self::Evicted { uid, group, name, cause } => logging::of_uid(uid, || {
                log::warn!("group {group} {name:?} of uid {uid} evicted: {cause:?}");
            }),
            Self::LockFailed { uid, buffer, errno, cause } => {
                let what = match cause {
                    FailureCause::Operation => "cache maintenance failed",
                    FailureCause::ImplicitFence => "an implicit fence did not signal in time",
                };
                logging::of_uid(uid, || {
                    log::warn!("buffer {}: {what}: errno {errno}, for uid {uid}", buffer.0);
                });
            }
            Self::Lost { uid, group, name, lost } => logging::of_uid(uid, || {
                log::warn!("group {group} {name:?} of uid {uid} closed: {lost}");
            }),
        }
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The release fences that a grant ends with.

use std::os::fd::OwnedFd;

use binder::ParcelFileDescriptor;
use buffersync_aidl::aidl::vendor::buffersync::ReleaseFence::ReleaseFence;

use crate::types::BufferId;

/// Release fences: sync_files, each for one buffer, and one for the rest. The work on a buffer ends when its fence has
/// signalled; without a fence it is finished.
///
/// A device that is next is granted the buffers at once, with the fence; the CPU when the fence has signalled. A fence
/// that fails, or has not signalled when the group's hold limit has passed from now, counts as an eviction
/// ([`crate::Event::Evicted`]).
#[derive(Debug, Default)]
pub struct Fences {
    /// Fences of single buffers.
    pub each: Vec<(BufferId, OwnedFd)>,
    /// The fence of the other buffers.
    pub rest: Option<OwnedFd>,
}

impl Fences {
    /// All work is finished.
    pub const NONE: Self = Self { each: Vec::new(), rest: None };

    pub(crate) fn into_aidl(self) -> Vec<ReleaseFence> {
        let rest = self.rest.map(|fence| (BufferId(0), fence));
        let all = self.each.into_iter().chain(rest);
        all.map(|(buffer, fence)| ReleaseFence {
            bufferId: buffer.0,
            fence: Some(ParcelFileDescriptor::new(fence)),
        })
        .collect()
    }
}

/// One fence for all buffers.
impl From<OwnedFd> for Fences {
    fn from(fence: OwnedFd) -> Self {
        Self { rest: Some(fence), ..Self::NONE }
    }
}

/// One fence for all buffers, or none.
impl From<Option<OwnedFd>> for Fences {
    fn from(fence: Option<OwnedFd>) -> Self {
        Self { rest: fence, ..Self::NONE }
    }
}

/// A fence for each of these buffers; the work on the others is finished.
impl From<Vec<(BufferId, OwnedFd)>> for Fences {
    fn from(each: Vec<(BufferId, OwnedFd)>) -> Self {
        Self { each, rest: None }
    }
}

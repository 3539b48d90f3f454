// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! When the fences of a sync_file signalled.

use std::io;
use std::os::fd::AsFd;

use buffersync_kernel::sync_file;

/// More fences than any test or demo merges into one file.
const MOST_FENCES: usize = 64;

/// When the last of the fences signalled, in nanoseconds of CLOCK_MONOTONIC.
pub fn signalled_at(file: impl AsFd) -> io::Result<u64> {
    let fences = sync_file::fences(file.as_fd(), MOST_FENCES)?;
    Ok(fences.iter().map(|fence| fence.timestamp_ns).max().unwrap_or(0))
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The kernel's version.

/// True if it has EXPORT_SYNC_FILE and IMPORT_SYNC_FILE.
pub fn has_sync_file_ioctls() -> bool {
    crate::world::with(|world| world.has_sync_file_ioctls)
}

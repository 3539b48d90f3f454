// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `IBufferSync`, the object that clients look up: checks arguments, opens groups, dumps.

use std::sync::Arc;
use std::time::Duration;

use binder::{Interface, ParcelFileDescriptor, ThreadState};
use buffersync_aidl::aidl::vendor::buffersync::Capabilities::{
    Capabilities, FEATURE_IMPLICIT_FENCES, FEATURE_RELEASE_FENCE,
};
use buffersync_aidl::aidl::vendor::buffersync::GroupOptions::GroupOptions;
use buffersync_aidl::aidl::vendor::buffersync::HoldFrom::HoldFrom as AidlHoldFrom;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::{IBufferSync, MAX_NAME_BYTES};
use buffersync_aidl::aidl::vendor::buffersync::OpenedGroup::OpenedGroup;
use buffersync_aidl::runtime::{self, DumpArgument};
use buffersync_engine::HoldFrom;

use crate::arbiter::Arbiter;
use crate::binder::group::SyncGroup;
use crate::calls::Opened;
use crate::dump;
use crate::error::Error;
use crate::events::MAX_FENCES_PER_GROUP;

/// The service's root object.
pub struct BufferSync {
    arbiter: Arc<Arbiter>,
}

impl BufferSync {
    /// Makes the object.
    pub fn new(arbiter: Arc<Arbiter>) -> Self {
        Self { arbiter }
    }

    fn open(&self, name: &str, options: &GroupOptions) -> Result<OpenedGroup, Error> {
        check_name(name)?;
        let hold = match u64::try_from(options.holdLimitMs) {
            Ok(0) => None,
            Ok(millis) => Some(Duration::from_millis(millis)),
            Err(_) => {
                let why = format!("holdLimitMs is {}", options.holdLimitMs);
                return Err(Error::IllegalArgument(why));
            }
        };
        let uid = ThreadState::get_calling_uid();
        let implicit = options.implicitFences;
        let from = match options.holdFrom {
            AidlHoldFrom::GRANT => HoldFrom::Grant,
            AidlHoldFrom::CONFLICT => HoldFrom::Conflict,
            AidlHoldFrom(from) => {
                return Err(Error::IllegalArgument(format!("holdFrom is {from}, which is unknown")))
            }
        };
        let opened = self.arbiter.open_group(uid, name, (hold, from), implicit)?;
        let Opened { id, hold, events } = opened;
        Ok(OpenedGroup {
            // The binder object owns the group from here on: if the reply does not arrive, the object
            // is dropped, which closes the group.
            group: Some(SyncGroup::publish(Arc::clone(&self.arbiter), id)),
            events: Some(ParcelFileDescriptor::new(events)),
            holdLimitMs: i32::try_from(hold.as_millis()).unwrap_or(i32::MAX),
        })
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    let length = name.len();
    if length == 0 || length > MAX_NAME_BYTES as usize {
        let why = format!("the name has {length} bytes, and must have 1 to {MAX_NAME_BYTES}");
        return Err(Error::IllegalArgument(why));
    }
    // Dumps and logs print names.
    if name.chars().any(char::is_control) {
        return Err(Error::IllegalArgument("the name has control characters".into()));
    }
    Ok(())
}

impl Interface for BufferSync {
    fn dump(
        &self,
        writer: &mut dyn std::io::Write,
        args: &[DumpArgument<'_>],
    ) -> Result<(), binder::StatusCode> {
        // The write waits for the caller as long as the caller likes.
        let uid = ThreadState::get_calling_uid();
        let is_trusted = dump::is_trusted(uid);
        let (all, trusted) = (&self.arbiter.dump_permits, &self.arbiter.trusted_permits);
        let permit = if is_trusted { trusted.enter(uid) } else { all.enter(uid) };
        let Some(_permit) = permit else {
            return Err(runtime::WOULD_BLOCK);
        };
        // The text is complete before the write, so that the write holds no mutex.
        let args: Vec<String> = args.iter().map(runtime::dump_argument).collect();
        let text = dump::render(&self.arbiter, &args, (!is_trusted).then_some(uid));
        writer.write_all(text.as_bytes()).map_err(|_| runtime::FAILED_TRANSACTION)
    }
}

impl IBufferSync for BufferSync {
    fn getCapabilities(&self) -> binder::Result<Capabilities> {
        let config = self.arbiter.config();
        // The ranges of all settings fit.
        let int = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        let implicit = self.arbiter.has_implicit_fences();
        Ok(Capabilities {
            features: FEATURE_RELEASE_FENCE | if implicit { FEATURE_IMPLICIT_FENCES } else { 0 },
            defaultHoldMs: int(config.default_hold_ms),
            maxHoldMs: int(config.max_hold_ms),
            maxGroupsPerUid: int(config.max_groups_per_uid),
            maxBuffersPerGroup: int(config.max_buffers_per_group),
            maxLocksPerGroup: int(config.max_locks_per_group),
            maxBuffersPerUid: int(config.max_buffers_per_uid),
            maxQueuedPerUid: int(config.max_queued_per_uid),
            maxFencesPerUid: int(config.max_fences_per_uid),
            maxFencesPerGroup: int(MAX_FENCES_PER_GROUP as u32),
            maxFdsPerHandle: int(config.max_fds_per_handle),
        })
    }

    fn openGroup(&self, name: &str, options: &GroupOptions) -> binder::Result<OpenedGroup> {
        Ok(self.open(name, options)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_printable() {
        assert!(check_name("camera0/preview").is_ok());
        assert!(check_name(&"x".repeat(64)).is_ok());
        assert!(check_name("").is_err());
        assert!(check_name(&"x".repeat(65)).is_err());
        assert!(check_name("a\nb").is_err());
        assert!(check_name("\u{1b}[31m").is_err());
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Two other clients, each with its own uid, that share a buffer: one holds it, the other waits. Inputs
//! have a descriptor of that buffer too. No input may change who holds and who waits.

use std::io::Read;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::ERROR_ALREADY_LOCKED;
use buffersync_aidl::aidl::vendor::buffersync::ISyncGroup::ISyncGroup;
use buffersync_aidl::aidl::vendor::buffersync::LockReply::LockReply;
use buffersync_aidl::aidl::NativeHandle;
use buffersync_aidl::event::{Record, CONTENDED, GRANTED, RECORD_BYTES};
use buffersync_service::arbiter::Arbiter;
use buffersync_service::binder::group::SyncGroup;
use buffersync_service::calls::{HoldFrom, Opened};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use rsbinder::{ParcelFileDescriptor, Strong};

use crate::descriptors::Descriptors;

/// How long the service may take to grant a free buffer.
const PATIENCE_MS: u16 = 10_000;
/// The hold limit: longer than the inputs between two turns take.
const LONG: Duration = Duration::from_secs(3600);
const NO_TIME_OUT: i64 = 0;

/// The two clients.
pub struct Victims {
    holder: Victim,
    waiter: Victim,
}

struct Victim {
    group: Strong<dyn ISyncGroup>,
    events: std::fs::File,
    /// The number of its last lock.
    lock: i64,
    buffer: i64,
}

impl Victims {
    /// Makes both; one holds, the other waits.
    pub fn new(arbiter: &Arc<Arbiter>, descriptors: &Descriptors) -> Self {
        let mut victims = Self {
            holder: Victim::new(arbiter, descriptors, 10_001, Access::WRITE),
            waiter: Victim::new(arbiter, descriptors, 10_002, Access::DMA_WRITE),
        };
        victims.lock();
        victims
    }

    /// The number of the holder's grant.
    pub fn lock_held(&self) -> i64 {
        self.holder.lock
    }

    /// The service's id of the shared buffer.
    pub fn buffer(&self) -> i64 {
        self.holder.buffer
    }

    /// Panics unless the holder still has its grant, and neither has got an event.
    pub fn check(&self) {
        let Victim { group, lock, .. } = &self.holder;
        let fence = group.getAcquireFence(*lock, 0);
        assert!(matches!(fence, Ok(None)), "the victim's grant {lock} is gone: {fence:?}");
        for victim in [&self.holder, &self.waiter] {
            assert!(!victim.is_told(0), "a victim has been told {:?}", victim.read());
        }
    }

    /// Panics unless one holds and the other waits.
    pub fn check_thoroughly(&self) {
        for victim in [&self.holder, &self.waiter] {
            let locked = victim.group.lock(victim.lock + 1, &[], &[], NO_TIME_OUT);
            let locked = locked.map_err(|status| status.service_specific_error());
            assert_eq!(locked.err(), Some(ERROR_ALREADY_LOCKED), "a victim can lock again");
        }
    }

    /// The holder unlocks, the waiter is granted and unlocks, and both lock again.
    pub fn take_turns(&mut self) {
        self.holder.group.unlock(self.holder.lock).expect("the victim can't unlock");
        self.waiter.wait_for_grant();
        self.waiter.group.unlock(self.waiter.lock).expect("the second victim can't unlock");
        self.lock();
    }

    fn lock(&mut self) {
        if self.holder.lock().grant.is_empty() {
            self.holder.wait_for_grant();
        }
        assert!(self.waiter.lock().grant.is_empty(), "two hold one buffer");
        let [contended, _] = self.holder.read();
        assert_eq!((contended.kind, contended.token), (CONTENDED, self.holder.lock));
    }
}

impl Victim {
    fn new(arbiter: &Arc<Arbiter>, descriptors: &Descriptors, uid: u32, access: Access) -> Self {
        let opened = arbiter.open_group(uid, "victim", (Some(LONG), HoldFrom::Grant), false);
        let Opened { id, events, .. } = opened.expect("no group for a victim");
        let group = SyncGroup::publish(Arc::clone(arbiter), id);
        let buffer = descriptors.victims().expect("the victims' buffer");
        let handle = NativeHandle { fds: vec![ParcelFileDescriptor::new(buffer)], ints: vec![] };
        let buffers = group.add(&handle, access).expect("a victim can't add its buffer");
        Self { group, events: events.into(), lock: 0, buffer: buffers[0] }
    }

    fn lock(&mut self) -> LockReply {
        self.lock += 1;
        self.group.lock(self.lock, &[], &[], NO_TIME_OUT).expect("a victim can't lock")
    }

    fn wait_for_grant(&self) {
        assert!(self.is_told(PATIENCE_MS), "a victim is not granted what is free");
        let [granted, _buffer] = self.read();
        assert_eq!((granted.kind, granted.token), (GRANTED, self.lock), "{granted:?}");
    }

    fn is_told(&self, within_ms: u16) -> bool {
        let mut fds = [PollFd::new(self.events.as_fd(), PollFlags::POLLIN)];
        loop {
            match nix::poll::poll(&mut fds, PollTimeout::from(within_ms)) {
                // libFuzzer's own alarm, every half minute.
                Err(Errno::EINTR) => {}
                told => return told != Ok(0),
            }
        }
    }

    /// The next two records; zeros if there are none.
    fn read(&self) -> [Record; 2] {
        let mut bytes = [0; 2 * RECORD_BYTES];
        let _ = (&self.events).read(&mut bytes);
        let (first, second) = bytes.split_at(RECORD_BYTES);
        [first, second].map(|half| {
            let mut record = [0; RECORD_BYTES];
            record.copy_from_slice(half);
            Record::from_bytes(&record)
        })
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The simulation (service/sim) needs this beside the clients' calls: one turn of each thread, and a look at what is
//! left.

use buffersync_kernel::interrupt::Watchdog;
use nix::errno::Errno;

use super::Arbiter;
use crate::clock;
pub use crate::error::Error;
pub use crate::fences::release::Given;
use crate::jobs;

impl Arbiter {
    /// One turn of the reactor thread.
    pub fn turn_reactor(&self) -> Result<(), Errno> {
        self.reactor.turn(&clock::now, &mut |wake| self.woken(wake))
    }

    /// One job of a sync worker. Returns the uid to which it belonged; `None` if there is none that may be done now.
    pub fn turn_worker(&self, watchdog: &mut Watchdog) -> Option<u32> {
        let job = self.queue.try_take()?;
        let uid = job.uid();
        let mut report = |outcome| self.reported(outcome);
        jobs::do_job(&self.queue, job, self.sight, &self.slices, watchdog, &mut report);
        Some(uid)
    }

    /// One turn of the thread that closes descriptors.
    pub fn turn_closer(&self) {
        self.closer.turn();
    }

    /// True if some thread has the mutex.
    pub fn is_locked(&self) -> bool {
        self.state.try_lock().is_err()
    }

    /// The engine's invariants.
    pub fn check(&self) -> Result<(), String> {
        self.state().engine.check_invariants()
    }

    /// True if no worker has anything to do.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Names each table that is not empty.
    pub fn left_over(&self) -> Vec<&'static str> {
        let state = self.state();
        let tables = [
            ("engine", state.engine.is_empty()),
            ("effects", state.effects.is_empty()),
            ("registry", state.registry.len() == 0 && state.registry.bytes() == 0),
            ("sessions", state.sessions.len() == 0),
            ("quotas", state.sessions.quotas.is_empty()),
            ("releases", state.releases.is_empty()),
            ("acquires", state.acquires.is_empty()),
            ("waits", state.waits.is_empty()),
            ("looks", state.polled.len() == 0),
            ("notes", state.notes.is_empty()),
            ("queue", self.queue.is_empty()),
            ("reactor", self.reactor.len() == 0),
            ("closer", self.closer.len() == 0),
            ("permits", self.permits.is_empty() && self.trusted_permits.is_empty()),
        ];
        tables.into_iter().filter(|(_, is_empty)| !is_empty).map(|(name, _)| name).collect()
    }
}

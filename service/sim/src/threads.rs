// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The turns of the service's threads.

use buffersync_kernel::world;

use crate::books::Checked;
use crate::note;
use crate::plan::UIDS;
use crate::simulation::Simulation;

impl Simulation {
    pub fn turn_reactor(&self) -> Checked {
        let before = {
            let mut inner = self.inner();
            inner.books.in_reactor = true;
            (world::with(|world| (world.now, world.failed)), inner.nested_in_all)
        };
        let turned = self.arbiter().turn_reactor();
        let mut inner = self.inner();
        inner.books.follow(true)?;
        inner.books.in_reactor = false;
        turned.map_err(|errno| format!("the reactor ends: {errno}"))?;
        let after = (world::with(|world| (world.now, world.failed)), inner.nested_in_all);
        if before == after && inner.nested == 0 {
            inner.books.check_times()?;
        }
        Ok(())
    }

    /// Returns whether there was a job.
    pub fn turn_worker(&self) -> Result<bool, String> {
        let Some(mut watchdog) = self.inner().watchdogs.pop() else { return Ok(false) };
        let worked = self.arbiter().turn_worker(&mut watchdog);
        let mut inner = self.inner();
        inner.watchdogs.push(watchdog);
        inner.books.follow(false)?;
        drop(inner);
        let Some(uid) = worked else { return Ok(false) };
        note!(self, "a worker has done a job");
        UIDS.contains(&uid).then_some(true).ok_or_else(|| format!("a job belongs to uid {uid}"))
    }

    /// All threads take turns until they have nothing to do.
    pub fn settle(&self) -> Checked {
        for _ in 0..4 {
            self.turn_reactor()?;
            let mut jobs = 0;
            while self.turn_worker()? {
                jobs += 1;
                if jobs > 10_000 {
                    return Err("the workers are never done".into());
                }
            }
            self.arbiter().turn_closer();
        }
        self.turn_reactor()?;
        let inner = self.inner();
        if self.arbiter().is_idle() {
            inner.check_descriptors()?;
        }
        let quiet = world::with(|world| {
            let mut files = inner.books.by_file.keys();
            !files.any(|file| !world.reserved(*file, true).is_empty())
        });
        // Without sight of the fences, workers look again after a pause.
        let quiet = quiet && !self.plan.old_kernel && self.plan.config.implicit_fences != 0;
        if quiet
            && inner.books.fences.is_empty()
            && self.arbiter().is_idle()
            && !self.plan.is_short()
            && self.plan.late_fences == 0
            && self.plan.switch == 0
        {
            inner.books.check_somebody_is_in_the_way()?;
        }
        Ok(())
    }
}

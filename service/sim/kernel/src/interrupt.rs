// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The simulated watchdog: a call that would block under it is interrupted.

use nix::errno::Errno;

use crate::site::Site;
use crate::world;

pub struct Watchdog(());

impl Watchdog {
    pub fn new() -> Result<Self, Errno> {
        world::enter(Site::TimerThread)?;
        Ok(Self(()))
    }

    pub fn guard<R>(&mut self, call: impl FnOnce() -> R) -> Result<R, Errno> {
        let before = world::with(|world| std::mem::replace(&mut world.guarded, true));
        let result = call();
        world::with(|world| world.guarded = before);
        Ok(result)
    }
}

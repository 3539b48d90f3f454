// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The binder objects. They check and translate arguments, call the arbiter ([`crate::calls`]), and
//! translate its answers. Besides them only `error` knows Binder.

use binder::ThreadState;

use crate::arbiter::Arbiter;
use crate::clock;
use crate::error::Error;

pub mod group;
pub mod hal;

/// Every method calls this first. Refuses a flood of oneway calls.
fn admit(arbiter: &Arbiter) -> Result<(), Error> {
    // The driver tells no pid of a caller that does not wait.
    if ThreadState::get_calling_pid() == 0 {
        return arbiter.oneways.admit(ThreadState::get_calling_uid(), clock::now());
    }
    Ok(())
}

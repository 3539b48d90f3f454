// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! VtsHalBufferSyncTargetTest: the requirements for every implementation of IBufferSync.
//!
//! It uses a service through AIDL and its descriptors only. It runs every test against every declared
//! instance, with libtest's output. `vts/README.md` tells how to run it on a device.
//! `vts/REQUIREMENTS.md` lists the tests for each sentence of the interface.

#[path = "vts/coherence.rs"]
mod coherence;
#[path = "vts/contention.rs"]
mod contention;
#[path = "vts/devices.rs"]
mod devices;
#[path = "vts/errors.rs"]
mod errors;
#[path = "vts/eviction.rs"]
mod eviction;
#[path = "vts/fences.rs"]
mod fences;
#[path = "vts/growth.rs"]
mod growth;
#[path = "vts/handover.rs"]
mod handover;
#[path = "vts/implicit.rs"]
mod implicit;
#[path = "vts/interface.rs"]
mod interface;
#[path = "vts/locking.rs"]
mod locking;
#[path = "vts/locks.rs"]
mod locks;
#[path = "vts/parts.rs"]
mod parts;
#[path = "vts/quotas.rs"]
mod quotas;
#[path = "vts/stress.rs"]
mod stress;

use std::process::ExitCode;

use buffersync_vts::suite::{Module, Need};

const SUITE: &[Module] = &[
    Module { name: "interface", tests: interface::TESTS, needs: &[] },
    Module { name: "errors", tests: errors::TESTS, needs: &[] },
    Module { name: "locking", tests: locking::TESTS, needs: &[Need::Root] },
    Module { name: "locks", tests: locks::TESTS, needs: &[Need::Root, Need::Vgem] },
    Module { name: "growth", tests: growth::TESTS, needs: &[] },
    Module { name: "contention", tests: contention::TESTS, needs: &[] },
    Module { name: "parts", tests: parts::TESTS, needs: &[Need::Vgem] },
    Module { name: "eviction", tests: eviction::TESTS, needs: &[Need::Root] },
    Module { name: "coherence", tests: coherence::TESTS, needs: &[Need::Root, Need::Kprobes] },
    Module { name: "fences", tests: fences::TESTS, needs: &[Need::Vgem] },
    Module { name: "handover", tests: handover::TESTS, needs: &[Need::Vgem] },
    Module { name: "devices", tests: devices::TESTS, needs: &[Need::Devices] },
    Module {
        name: "devices",
        tests: devices::TESTS_WITH_VGEM,
        needs: &[Need::Devices, Need::Vgem],
    },
    Module { name: "implicit", tests: implicit::TESTS, needs: &[Need::Vgem] },
    Module { name: "quotas", tests: quotas::TESTS, needs: &[Need::Root, Need::Vgem] },
    Module { name: "stress", tests: stress::TESTS, needs: &[Need::Asked] },
];

fn main() -> ExitCode {
    buffersync_vts::suite::run(SUITE)
}

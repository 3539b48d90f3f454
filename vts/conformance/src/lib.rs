// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The conformance suite's own checks: which sentence of the interface each test is about, and whether the
//! tests notice a service that is wrong.
//!
//! `cargo xtask vts` and `cargo xtask test` call this. They build the suite, [`prepare`] the wrong services,
//! run the shell lines of [`script`] in the testbed, and give each line of output to the [`Report`].
//!
//! | module | contents |
//! |---|---|
//! | `requirements` | `vts/REQUIREMENTS.md`, held against the AIDL, the documents and the suite |
//! | `faults` | the wrong services: what is wrong with each, and which tests have to notice |
//! | [`coherence`] | wrong services that lose data, which `cargo xtask coherence` has to notice |
//! | `wrong` | builds them, all in one program |
//! | [`script`] | the shell lines that run the suite |
//! | `report` | results by requirement: table, JSON, JUnit |

pub mod coherence;
mod faults;
mod report;
mod requirements;
pub mod script;
mod wrong;

use std::collections::BTreeSet;
use std::process::Command;

use buffersync_testbed::checkout::cache;
use buffersync_testbed::programs::Program;
use buffersync_testbed::Failure;

use faults::FAULTS;
pub use faults::{Fault, A_DROPPED_FENCE_IS_KEPT};
pub use report::Report;
pub use wrong::sources;

pub use buffersync_testbed::programs::SUITE;

/// Builds the wrong services, and puts them on the stage.
pub fn stage_wrong() -> Result<(), Failure> {
    wrong::stage(&cache().join("stage/wrong"))
}

/// Checks the list of requirements, and puts the wrong services on the stage.
pub fn prepare(programs: &[Program]) -> Result<Report, Failure> {
    let suite = programs.iter().find(|program| program.name == SUITE);
    let suite = suite.ok_or_else(|| Failure(format!("cargo made no {SUITE}")))?;
    let tests = names(&suite.path)?;
    for fault in FAULTS {
        if let Some(gone) = fault.noticed_by.iter().find(|test| !tests.contains(**test)) {
            return Err(Failure(format!("{}: there is no test {gone}", fault.name)));
        }
    }
    let named = LOOK_AT_THE_PROCESS.iter().chain([&OUTPACED]);
    if let Some(gone) = named.copied().find(|test| !tests.contains(*test)) {
        return Err(Failure(format!("there is no test {gone}")));
    }
    let requirements = requirements::checked(&tests).map_err(Failure)?;
    stage_wrong()?;
    Ok(Report::new(requirements, FAULTS.iter().map(|fault| fault.name)))
}

/// Tests of the suite that need to know which process the service is.
const LOOK_AT_THE_PROCESS: [&str; 3] = [
    "eviction::a_marked_buffer_keeps_its_id_and_its_generation_when_nobody_has_it",
    "quotas::a_thousand_pending_fences_cost_no_thread",
    "quotas::descriptors_do_not_leak",
];

/// A test that holds for longer than 100 ms, the hold limit of `script::outpaced`.
const OUTPACED: &str = "locking::queued_locks_are_granted_in_ticket_order";

/// The suite's own list of its tests, without instances.
fn names(suite: &std::path::Path) -> Result<BTreeSet<String>, Failure> {
    let output = Command::new(suite).arg("--list").output();
    let output = output.map_err(|error| Failure(format!("{SUITE}: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter_map(|line| line.strip_suffix(": test"));
    let names = lines.filter_map(|line| Some(line.split_once('/')?.1.to_string()));
    Ok(names.collect())
}

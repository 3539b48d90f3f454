// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask coherence [--accesses N] [--seed S] [WORD...]`: random accesses of CPUs and of a device to memory that
//! is not coherent, each byte checked; on the service, and on services that are wrong on purpose (with words: those
//! that have one in their name). Also a step of `cargo xtask test`, in a boot of its own beside the others.

use std::time::Duration;

use buffersync_conformance::{coherence, stage_wrong};
use buffersync_testbed::checkout::{cache, out};
use buffersync_testbed::{programs, Accel, Failure, Run, Testbed, Where};

use crate::Options;

/// The name of the step.
pub const STEP: &str = "coherence";
/// What every run has at least, by the project's own promise.
const ACCESSES: u64 = 10_000;
/// A slow machine needs 30 ms for an access, and some minutes for the wrong services.
const LIMIT_OF_ONE: Duration = Duration::from_millis(30);
const AROUND: Duration = Duration::from_secs(600);

/// Runs it; 0 if nothing was lost or stale, and all wrong services were caught.
pub fn run(options: &Options) -> Result<i32, Failure> {
    let names = coherence::names();
    let is_known = |word: &&String| names.iter().any(|name| name.contains(word.as_str()));
    if let Some(word) = options.words.iter().find(|word| !is_known(word)) {
        return Err(Failure(format!("no wrong service has {word:?} in its name: {names:?}")));
    }
    programs::stage(&programs::bins(&["buffersync-coherence", programs::SERVICE])?)?;
    stage_wrong()?;
    let accesses = options.accesses.unwrap_or(ACCESSES);
    let limit = options.limit.unwrap_or(limit(accesses));
    let arguments = arguments(accesses, options.seed.unwrap_or(1), &options.words);
    prove(&arguments, limit, &mut |line| println!("{line}"))
}

/// The step of `cargo xtask test`. What it needs is on the stage.
pub fn step() -> Result<String, String> {
    let mut lines = Vec::new();
    let mut keep = |line: &str| lines.push(line.to_string());
    let status = prove(&arguments(ACCESSES, 1, &[]), limit(ACCESSES), &mut keep);
    let text = lines.join("\n");
    match status {
        Ok(0) => Ok(text),
        Ok(status) => Err(format!("exit status {status}\n{text}")),
        Err(failure) => Err(format!("{failure}\n{text}")),
    }
}

fn limit(accesses: u64) -> Duration {
    AROUND + LIMIT_OF_ONE.saturating_mul(u32::try_from(accesses).unwrap_or(u32::MAX))
}

fn arguments(accesses: u64, seed: u64, words: &[String]) -> String {
    let wanted =
        |name: &&str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let names: Vec<&str> = coherence::names().into_iter().filter(wanted).collect();
    format!("--accesses {accesses} --seed {seed} {}", names.join(" "))
}

/// Boots a machine whose memory is not coherent. Its clock counts instructions: the device takes 100 ms for each
/// transfer, in which nothing else happens, and such a clock passes over them. It also passes over the time in which
/// the guest waits for a file of the host's, be it an hour; so everything is copied first.
fn prove(arguments: &str, limit: Duration, line: &mut dyn FnMut(&str)) -> Result<i32, Failure> {
    let testbed = match Testbed::prepare(Where::Guest(Accel::Counted), &cache())? {
        Testbed::Guest(machine) => Testbed::Guest(machine.without_coherence()),
        Testbed::Native => Testbed::Native,
    };
    let command = format!(
        "set -e; mkdir -p /tmp/bin /tmp/wrong; cd $BUFFERSYNC_STAGE/bin\n\
         cp buffersync-coherence vendor.buffersync-service rsb_hub rsb_service /tmp/bin\n\
         cp ../wrong/* /tmp/wrong; cd /tmp/bin; export BUFFERSYNC_OUT=/tmp\n\
         ./buffersync-coherence exporters; exec ./buffersync-coherence prove {arguments}"
    );
    let (stage, out) = (cache().join("stage"), out().join(STEP));
    testbed.run(&Run { command: &command, stage: &stage, out: &out, limit }, line)
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Does the testbed notice when a guest goes wrong? A testbed that takes a crash for a success
//! makes every test in it worthless.

use std::fs;
use std::time::Duration;

use crate::checkout::cache;
use crate::{vm::Machine, Failure, Run};

/// Boots guests that fail in all ways, and checks what is reported.
pub fn run(machine: &Machine) -> Result<(), String> {
    let long = Duration::from_secs(120);
    let boot = |command: &str, limit| boot(machine, command, limit);

    // The status comes through, and output to its last byte.
    let mut count = 0;
    let status = boot_with(machine, "seq 1 20000; exit 7", long, &mut |_| count += 1);
    expect(matches!(status, Ok(7)), "exit status 7", &status)?;
    expect(count == 20_000, "20000 lines of output", &count)?;

    let panic = boot("echo c >/proc/sysrq-trigger; sleep 60", long);
    let shown = matches!(&panic, Err(Failure(text)) if text.contains("sysrq"));
    expect(shown, "a panic that shows the console's end", &panic)?;

    let lost = boot("poweroff -f", long);
    let noticed = matches!(&lost, Err(Failure(text)) if text.contains("without an exit status"));
    expect(noticed, "a lost status is a failure", &lost)?;

    let hang = boot("sleep 1000", Duration::from_secs(8));
    let noticed = matches!(&hang, Err(Failure(text)) if text.contains("did not end within"));
    expect(noticed, "a hang is a failure", &hang)
}

fn boot(machine: &Machine, command: &str, limit: Duration) -> Result<i32, Failure> {
    boot_with(machine, command, limit, &mut |_| ())
}

fn boot_with(
    machine: &Machine,
    command: &str,
    limit: Duration,
    line: &mut dyn FnMut(&str),
) -> Result<i32, Failure> {
    let (stage, out) = (cache().join("selftest/stage"), cache().join("selftest/out"));
    for folder in [&stage, &out] {
        fs::create_dir_all(folder)
            .map_err(|error| Failure(format!("{}: {error}", folder.display())))?;
    }
    machine.run(&Run { command, stage: &stage, out: &out, limit }, line)
}

fn expect(holds: bool, what: &str, got: &dyn std::fmt::Debug) -> Result<(), String> {
    holds.then_some(()).ok_or_else(|| format!("expected {what}, got {got:?}"))
}

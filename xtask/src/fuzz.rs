// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask fuzz`: libFuzzer on the lock table.
//!
//! The program is `service/engine/fuzz`, the same that Soong builds as `buffersync_engine_fuzz`. The
//! compiler's coverage instrumentation needs no nightly; a sanitizer would, and has nothing to find in
//! code that forbids `unsafe`.

use std::path::PathBuf;
use std::process::Command;

use buffersync_testbed::Failure;

use crate::{build, root, target};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What libFuzzer needs to see which branches an input takes.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares \
                     -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks";

/// Of the tests: seconds, and the same inputs each time.
pub const BRIEFLY: [&str; 4] = ["-runs=10000", "-seed=1", "-max_len=2048", "-len_control=0"];

/// Fuzzes, with libFuzzer's own options; returns the fuzzer's exit status. What it finds worth keeping goes
/// to target/fuzz/corpus.
pub fn run(options: &[String]) -> Result<i32, Failure> {
    let mut fuzzer = Command::new(build()?);
    let corpus = target().join("fuzz/corpus");
    let failed = |error| Failure(format!("the fuzzer: {error}"));
    std::fs::create_dir_all(&corpus).map_err(failed)?;
    let status = fuzzer.current_dir(target().join("fuzz")).args(options).arg(corpus).status();
    Ok(status.map_err(failed)?.code().unwrap_or(1))
}

/// A run for the tests; says what it did.
pub fn briefly() -> Result<String, String> {
    let program = build().map_err(|failure| failure.0)?;
    let mut fuzzer = Command::new(program);
    let output = fuzzer.current_dir(target().join("fuzz")).args(BRIEFLY).output();
    let output = output.map_err(|error| format!("the fuzzer: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let last = |what: &str| said.lines().rev().find(|line| line.contains(what));
    match (output.status.success(), last("Done "), last(" cov: ")) {
        // A fuzzer that sees no branches would not be looking.
        (true, Some(done), Some(covered)) => Ok(format!("{done}: {covered}")),
        _ => Err(format!("the fuzzer found something:\n{said}")),
    }
}

fn build() -> Result<PathBuf, Failure> {
    let target = target().join("fuzz");
    let mut cargo =
        build::cargo(&["build", "--quiet", "--locked", "--release", "--target", TARGET]);
    cargo.current_dir(root().join("service/engine/fuzz"));
    let status = cargo.env("RUSTFLAGS", FLAGS).env("CARGO_TARGET_DIR", &target).status();
    let status = status.map_err(|error| Failure(format!("cargo: {error}")))?;
    if !status.success() {
        return Err(Failure(format!("the fuzzer does not build ({status})")));
    }
    Ok(target.join(TARGET).join("release/buffersync_engine_fuzz"))
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `buffersync-in-domain DOMAIN PROGRAM [ARG]...`: goes into an SELinux domain and becomes the program.
//!
//! By a dynamic transition, since the guest's files have no labels that could be entered by. A program
//! that has one is entered by its own rule of the policy.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(domain), Some(program)) = (args.next(), args.next()) else {
        eprintln!("usage: buffersync-in-domain DOMAIN PROGRAM [ARG]...");
        return ExitCode::from(2);
    };
    let context = format!("u:r:{domain}:s0");
    if let Err(error) = std::fs::write("/proc/self/attr/current", &context) {
        eprintln!("buffersync-in-domain: {context}: {error}");
        return ExitCode::from(126);
    }
    let error = Command::new(&program).args(args).exec();
    eprintln!("buffersync-in-domain: {program} as {context}: {error}");
    ExitCode::from(127)
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `buffersync-confined UNIT PROGRAM [ARG]...`: runs the program with only the system calls of the unit's
//! `SystemCallFilter=`.
//!
//! It works like systemd: it sets no_new_privs, then the filter, then executes the program, whose start is
//! filtered too. A call that is not listed kills the process. A listed call that only other architectures
//! have is ignored: aarch64 has no poll.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use seccompiler::{compile_from_json, BpfProgram, TargetArch};

/// Returns the calls that the unit lists. Groups (`@...`) and exceptions (`~...`) are refused.
fn listed(unit: &str) -> Result<Vec<&str>, String> {
    let lines = unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter="));
    let calls: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    match calls.iter().find(|call| !call.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')) {
        Some(other) => Err(format!("{other} is no system call")),
        None if calls.is_empty() => Err("the unit lists no system call".into()),
        None => Ok(calls),
    }
}

/// The architectures for which the unit is written.
const ARCHITECTURES: [TargetArch; 2] = [TargetArch::x86_64, TargetArch::aarch64];

/// Makes a filter that allows these calls and kills for any other. Fails if the architecture lacks one.
fn filter(calls: &[&str], arch: TargetArch) -> Result<BpfProgram, String> {
    let calls = calls.iter().map(|call| format!("{{\"syscall\":\"{call}\"}}"));
    let json = format!(
        "{{\"main\":{{\"mismatch_action\":\"kill_process\",\"match_action\":\"allow\",\"filter\":[{}]}}}}",
        calls.collect::<Vec<_>>().join(",")
    );
    let filters = compile_from_json(json.as_bytes(), arch).map_err(|error| error.to_string())?;
    filters.into_values().next().ok_or_else(|| "no filter came of the list".into())
}

/// Returns the listed calls that an architecture has. A name that no architecture has is an error.
fn existing<'a>(calls: &[&'a str], arch: TargetArch) -> Result<Vec<&'a str>, String> {
    let exists = |call: &str, arch| filter(&[call], arch).is_ok();
    match calls.iter().find(|call| !ARCHITECTURES.iter().any(|arch| exists(call, *arch))) {
        Some(unknown) => Err(format!("{unknown} is no system call of any architecture")),
        None => Ok(calls.iter().copied().filter(|call| exists(call, arch)).collect()),
    }
}

fn confine(unit: &str) -> Result<(), String> {
    let text = std::fs::read_to_string(unit).map_err(|error| format!("{unit}: {error}"))?;
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| error.to_string())?;
    let filter = filter(&existing(&listed(&text)?, arch)?, arch)?;
    // This sets no_new_privs first.
    seccompiler::apply_filter(&filter).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(unit), Some(program)) = (args.next(), args.next()) else {
        eprintln!("usage: buffersync-confined UNIT PROGRAM [ARG]...");
        return ExitCode::from(2);
    };
    let mut command = Command::new(&program);
    command.args(args);
    if let Err(why) = confine(&unit) {
        eprintln!("buffersync-confined: {why}");
        return ExitCode::from(126);
    }
    let error = command.exec();
    eprintln!("buffersync-confined: {program}: {error}");
    ExitCode::from(127)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_the_calls_of_all_lines() {
        let unit = "SystemCallFilter=read write\nX=y\nSystemCallFilter=close\n";
        assert_eq!(listed(unit).unwrap(), ["read", "write", "close"]);
        assert!(listed("SystemCallFilter=@system-service").is_err());
        assert!(listed("SystemCallFilter=~mount").is_err());
        assert!(listed("[Service]").is_err());
    }

    #[test]
    fn a_call_that_only_another_architecture_has_is_ignored() {
        let calls = ["read", "poll", "ppoll"];
        assert_eq!(existing(&calls, TargetArch::x86_64).unwrap(), calls);
        assert_eq!(existing(&calls, TargetArch::aarch64).unwrap(), ["read", "ppoll"]);
        assert!(existing(&["read", "raed"], TargetArch::aarch64).is_err());
    }

    /// The unit is installed on both architectures, and each name of its list exists on one of them.
    #[test]
    fn the_units_own_list_makes_a_filter_on_each_architecture() {
        let unit = include_str!("../../../init/linux/vendor.buffersync.service");
        let calls = listed(unit).unwrap();
        for arch in ARCHITECTURES {
            let existing = existing(&calls, arch).unwrap();
            for needed in ["clone", "clone3", "epoll_pwait", "faccessat", "ppoll", "readlinkat"] {
                assert!(existing.contains(&needed), "{needed}");
            }
            assert!(!filter(&existing, arch).unwrap().is_empty());
        }
    }
}

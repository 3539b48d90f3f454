// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `buffersync-confined UNIT PROGRAM [ARG]...`: becomes the program, with no system calls but those of the
//! unit's `SystemCallFilter=`.
//!
//! As systemd does it: no new privileges, then the filter, then the program, whose start is filtered too.
//! What is not listed kills the process.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use seccompiler::{compile_from_json, TargetArch};

/// The calls that the unit lists. Groups (`@...`) and exceptions (`~...`) are no lists.
fn listed(unit: &str) -> Result<Vec<&str>, String> {
    let lines = unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter="));
    let calls: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    match calls.iter().find(|call| !call.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')) {
        Some(other) => Err(format!("{other} is no system call")),
        None if calls.is_empty() => Err("the unit lists no system call".into()),
        None => Ok(calls),
    }
}

fn confine(unit: &str) -> Result<(), String> {
    let text = std::fs::read_to_string(unit).map_err(|error| format!("{unit}: {error}"))?;
    let calls = listed(&text)?.into_iter().map(|call| format!("{{\"syscall\":\"{call}\"}}"));
    let json = format!(
        "{{\"main\":{{\"mismatch_action\":\"kill_process\",\"match_action\":\"allow\",\"filter\":[{}]}}}}",
        calls.collect::<Vec<_>>().join(",")
    );
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| error.to_string())?;
    let filters = compile_from_json(json.as_bytes(), arch).map_err(|error| error.to_string())?;
    let filter = filters.get("main").ok_or("no filter came of the list")?;
    // Sets no_new_privs first.
    seccompiler::apply_filter(filter).map_err(|error| error.to_string())
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
    fn the_list_is_that_of_all_lines() {
        let unit = "SystemCallFilter=read write\nX=y\nSystemCallFilter=close\n";
        assert_eq!(listed(unit).unwrap(), ["read", "write", "close"]);
        assert!(listed("SystemCallFilter=@system-service").is_err());
        assert!(listed("SystemCallFilter=~mount").is_err());
        assert!(listed("[Service]").is_err());
    }
}

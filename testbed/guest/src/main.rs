// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `buffersync-stack [--service PROGRAM] [--service-arg ARG]... -- COMMAND [ARG]...`
//!
//! Brings up the service manager and the service, runs a command, takes them down again. Exits as
//! the command did; a service that has ended by itself or has panicked meanwhile is a failure.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use buffersync_testbed_guest::stack::Stack;

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("buffersync-stack: {error}");
            ExitCode::from(125)
        }
    }
}

fn run() -> Result<u8, Box<dyn std::error::Error>> {
    let (mut service_args, mut program) = (Vec::new(), None);
    let mut args = std::env::args().skip(1);
    let mut command = loop {
        match args.next().as_deref() {
            Some("--service-arg") => {
                service_args.push(args.next().ok_or("--service-arg needs a value")?);
            }
            Some("--service") => {
                program = Some(PathBuf::from(args.next().ok_or("--service needs a program")?));
            }
            Some("--") => break args,
            _ => return Err(
                "usage: buffersync-stack [--service PROGRAM] [--service-arg ARG]... -- COMMAND \
                            [ARG]..."
                    .into(),
            ),
        }
    };
    let client = command.next().ok_or("no command")?;
    let own = std::env::current_exe()?;
    let bin = own.parent().ok_or("no folder of programs")?;
    let out =
        std::env::var_os("BUFFERSYNC_OUT").map_or_else(|| PathBuf::from("/out"), PathBuf::from);
    let program = program.unwrap_or_else(|| bin.join("vendor.buffersync-service"));
    let mut stack = Stack::start_with(bin, &program, &out.join("log"), &service_args)?;

    let status = Command::new(&client)
        .args(command)
        .env("BUFFERSYNC_SERVICE_PID", stack.service_pid().to_string())
        .status()
        .map_err(|error| format!("{client}: {error}"))?;

    if !stack.service_is_alive() {
        return Err(format!("the service has ended:\n{}", stack.service_log()).into());
    }
    if stack.service_log().contains("panicked at") {
        return Err(format!("the service has panicked:\n{}", stack.service_log()).into());
    }
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Ok(u8::try_from(code).unwrap_or(1))
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Runs commands on this machine, if its kernel has what the guest's has.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{channel, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use crate::{during, Failure, Run};

/// Fails if this machine has no binder or no DMA-BUF heap.
pub fn check() -> Result<(), Failure> {
    let binder = ["/dev/binder", "/dev/binderfs/binder"];
    let mut missing = Vec::new();
    if !binder.iter().any(|node| Path::new(node).exists()) {
        missing.push("binder (/dev/binder or /dev/binderfs/binder)");
    }
    if !Path::new("/dev/dma_heap/system").exists() {
        missing.push("system DMA-BUF heap (/dev/dma_heap/system)");
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure(format!("--native: this kernel has no {}", missing.join(" and no "))))
}

/// Runs a command on this machine, as [`crate::Testbed::run`] says.
pub fn run(run: &Run<'_>, line: &mut dyn FnMut(&str)) -> Result<i32, Failure> {
    let begin = Instant::now();
    let mut child = during(
        "sh",
        Command::new("sh")
            .args(["-c", &format!("exec 2>&1\n{}", run.command)])
            .env("BUFFERSYNC_STAGE", run.stage)
            .env("BUFFERSYNC_OUT", run.out)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn(),
    )?;
    let output = child.stdout.take().ok_or_else(|| Failure("sh has no output".into()))?;
    let (sender, lines) = channel();
    thread::spawn(move || {
        for text in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(text).is_err() {
                break;
            }
        }
    });
    loop {
        let left = run.limit.saturating_sub(begin.elapsed());
        match lines.recv_timeout(left) {
            Ok(text) => line(&text),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                let _ = child.wait();
                let seconds = run.limit.as_secs();
                return Err(Failure(format!("the command did not end within {seconds} s")));
            }
        }
    }
    let status = during("sh", child.wait())?;
    status.code().ok_or_else(|| Failure(format!("the command was killed: {status}")))
}

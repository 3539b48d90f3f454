// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `buffersync-stranger give|take`, with a Unix socket as standard input: opens a pipe and sends its
//! reading end, or receives a descriptor and reads a byte from it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use buffersync_testbed_guest::fdpass;

fn give(socket: &UnixStream) -> io::Result<()> {
    let (read, mut write) = io::pipe()?;
    write.write_all(b"x")?;
    fdpass::send(socket, &[read.as_fd()])
}

fn take(socket: &UnixStream) -> io::Result<()> {
    let fd = fdpass::receive(socket)?.pop().ok_or(io::ErrorKind::UnexpectedEof)?;
    File::from(fd).read_exact(&mut [0])
}

fn main() -> ExitCode {
    let socket = io::stdin().as_fd().try_clone_to_owned().map(|fd: OwnedFd| UnixStream::from(fd));
    let done = match (std::env::args().nth(1).as_deref(), socket) {
        (_, Err(error)) => Err(error),
        (Some("give"), Ok(socket)) => give(&socket),
        (Some("take"), Ok(socket)) => take(&socket),
        _ => {
            eprintln!("usage: buffersync-stranger give|take");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("buffersync-stranger: {error}");
            ExitCode::FAILURE
        }
    }
}

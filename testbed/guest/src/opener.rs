// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `buffersync-opener buffer|fence|pipe|use`, with a Unix socket as standard input: opens something in whatever
//! SELinux domain it runs in, and sends the descriptor.
//!
//! `buffer`: a dma-buf of the system heap. `fence`: a pending sync_file of vgem. Both end when the socket says
//! a byte or ends; the fence signals then. `pipe`: the reading end of a pipe with a byte in it. `use`:
//! the other side, receives such a pipe and reads the byte.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use buffersync_testbed_guest::vgem::Vgem;
use buffersync_testbed_guest::{fdpass, heap};

fn run(verb: &str, socket: UnixStream) -> io::Result<()> {
    match verb {
        "buffer" => {
            let buffer = heap::allocate(4096)?;
            fdpass::send(&socket, &[buffer.as_fd()])?;
            wait(socket)
        }
        "fence" => {
            let vgem = Vgem::open()?;
            let buffer = vgem.allocate(4096)?;
            let fence = vgem.attach(&buffer, true)?;
            fdpass::send(&socket, &[buffer.dmabuf.sync_file()?.as_fd()])?;
            wait(socket)?;
            vgem.signal(fence)
        }
        "pipe" => {
            let (read, write) = nix::unistd::pipe()?;
            File::from(write).write_all(b"x")?;
            fdpass::send(&socket, &[read.as_fd()])
        }
        "use" => {
            let fd = fdpass::receive(&socket)?.pop().ok_or(io::ErrorKind::UnexpectedEof)?;
            File::from(fd).read_exact(&mut [0])
        }
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// For a byte, or the socket's end.
fn wait(mut socket: UnixStream) -> io::Result<()> {
    socket.read(&mut [0]).map(|_| ())
}

fn main() -> ExitCode {
    let Some(verb) = std::env::args().nth(1) else {
        eprintln!("usage: buffersync-opener buffer|fence|pipe|use");
        return ExitCode::from(2);
    };
    let socket = io::stdin().as_fd().try_clone_to_owned().map(|fd: OwnedFd| UnixStream::from(fd));
    match socket.and_then(|socket| run(&verb, socket)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("buffersync-opener {verb}: {error}");
            ExitCode::FAILURE
        }
    }
}

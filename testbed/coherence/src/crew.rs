// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The client processes: starts and kills them, and passes on what they are told and answer.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use buffersync_testbed_guest::fdpass;
use buffersync_testbed_guest::user::User;
use nix::fcntl::{fcntl, FcntlArg, FdFlag};

use crate::oracle::Oracle;
use crate::protocol::{line, Command, Reply};

/// One client process.
pub struct Client {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    socket: UnixStream,
}

impl Client {
    /// Starts it, under a uid of its own.
    pub fn start(nth: usize, oracle: &Oracle) -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let user = User::of_crowd(nth as u32);
        let mut command = user.command(std::env::current_exe()?);
        command.arg("client").arg(theirs.as_raw_fd().to_string());
        command.args(oracle.buffers.iter().map(|of| of.memory.dmabuf.size().to_string()));
        fcntl(theirs.as_raw_fd(), FcntlArg::F_SETFD(FdFlag::empty()))?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(commands), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        for buffer in &oracle.buffers {
            let fds = [buffer.memory.dmabuf.as_fd(), buffer.shared.as_fd()];
            fdpass::send(&socket, &fds)?;
        }
        Ok(Self { child, commands, answers: BufReader::new(answers), socket })
    }

    /// Tells it several things at once, and returns what it answers to each.
    pub fn ask(&mut self, commands: &[Command]) -> io::Result<Vec<Reply>> {
        writeln!(self.commands, "{}", line(commands))?;
        let mut text = String::new();
        self.answers.read_line(&mut text)?;
        let replies: Option<Vec<Reply>> = text.split(';').map(Reply::parse).collect();
        match replies {
            Some(replies) if replies.len() == commands.len() => Ok(replies),
            _ => Err(io::Error::other(format!("{:?} was answered by {text:?}", line(commands)))),
        }
    }

    /// Sends a fence, for the command that comes next.
    pub fn send(&self, fence: BorrowedFd<'_>) -> io::Result<()> {
        fdpass::send(&self.socket, &[fence])
    }

    /// The fence that it has sent.
    pub fn receive(&self) -> io::Result<OwnedFd> {
        fdpass::receive(&self.socket)?.pop().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// As a crash would.
impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

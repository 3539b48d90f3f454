// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Client processes. `client.rs` is their program.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Stdio};

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_testbed_guest::fdpass;
use buffersync_testbed_guest::user::User;

use crate::client;
use crate::hal::{is_readable, long};
use crate::pace::Limit;

/// A client process that locks one buffer. It ends when this process ends, for any reason.
pub struct Client {
    child: Child,
    output: BufReader<ChildStdout>,
    /// Its standard input. The client ends when this is closed.
    socket: UnixStream,
    limit: Option<Limit>,
}

impl Client {
    /// Starts a client under `user`, and passes it the buffer. `client.rs` lists the verbs.
    pub fn start(user: User, verb: &str, buffer: BorrowedFd<'_>, access: Access) -> Self {
        let program = std::env::current_exe().expect("own path");
        let (here, there) = UnixStream::pair().expect("socketpair");
        let mut child = user
            .command(program)
            .args([client::VERB, verb, &access.0.to_string()])
            .stdin(Stdio::from(OwnedFd::from(there)))
            .stdout(Stdio::piped())
            .spawn()
            .expect("client");
        fdpass::send(&here, &[buffer.as_fd()]).expect("pass the buffer");
        let output = BufReader::new(child.stdout.take().expect("stdout"));
        Self { child, output, socket: here, limit: None }
    }

    /// Waits until a `hold` client holds. Returns its grant's deadline, before which the test must be done with
    /// it.
    pub fn granted(&mut self) -> i64 {
        let line = self.line();
        let deadline = line.strip_prefix("granted ").and_then(|deadline| deadline.parse().ok());
        let deadline = deadline.unwrap_or_else(|| panic!("the client said {line:?}"));
        self.limit = Some(Limit::at(deadline));
        deadline
    }

    /// Lets a client continue that has printed "ready".
    pub fn go(&mut self) {
        self.socket.write_all(&[0]).expect("the client reads");
    }

    /// Reads the next line that it prints; empty if it has died.
    pub fn line(&mut self) -> String {
        let there = !self.output.buffer().is_empty();
        assert!(there || is_readable(self.output.get_ref(), long()), "the client says nothing");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("client's output");
        line.trim_end().to_string()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
        self.limit = None;
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Clients in processes of their own (`client.rs` is their program).

use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Stdio};

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_testbed_guest::fdpass;
use buffersync_testbed_guest::user::User;

use crate::client;
use crate::hal::{instance, INSTANCE};

/// A client process that locks one buffer.
pub struct Client {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Client {
    /// Starts a client under `user`, passes it the buffer, and lets it do what `verb` says: see
    /// `client.rs`.
    pub fn start(user: User, verb: &str, buffer: BorrowedFd<'_>, access: Access) -> Self {
        let program = std::env::current_exe().expect("own path");
        let (here, there) = UnixStream::pair().expect("socketpair");
        let mut child = user
            .command(program)
            .args([client::VERB, verb, &access.0.to_string()])
            .env(INSTANCE, instance())
            .stdin(Stdio::from(OwnedFd::from(there)))
            .stdout(Stdio::piped())
            .spawn()
            .expect("client");
        fdpass::send(&here, &[buffer.as_fd()]).expect("pass the buffer");
        let output = BufReader::new(child.stdout.take().expect("stdout"));
        Self { child, output }
    }

    /// The next line that it prints. Blocks; a client that dies ends it.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("client's output");
        line.trim_end().to_string()
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

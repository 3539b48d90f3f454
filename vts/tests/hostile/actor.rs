// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Processes of other uids: attackers, victims, helpers. An actor is this program, started as `actor VERB [ARG]...`
//! with a Unix socket as its standard input. So a test can kill and stop it.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Stdio};
use std::str::FromStr;

use buffersync_testbed_guest::fdpass;
use buffersync_testbed_guest::user::User;
use buffersync_vts::hal::{is_readable, long};
use nix::sys::signal::{kill, Signal};
use nix::sys::wait::{waitid, Id, WaitPidFlag};
use nix::unistd::Pid;

/// With this first argument the program is an actor.
pub const VERB: &str = "actor";

/// The function that an actor runs. It ends with this function.
pub type Verb = (&'static str, fn(Stage));

/// An actor, from the view of its test. It ends with the test's process.
pub struct Actor {
    child: Child,
    output: BufReader<ChildStdout>,
    socket: UnixStream,
}

impl Actor {
    /// Starts an actor. `verb` is `MODULE::FUNCTION` of [`super::VERBS`].
    pub fn start(user: User, verb: &str, args: &[&str]) -> Self {
        let (here, there) = UnixStream::pair().expect("socketpair");
        let mut child = user
            .command(std::env::current_exe().expect("own path"))
            .args([VERB, verb])
            .args(args)
            .stdin(Stdio::from(OwnedFd::from(there)))
            .stdout(Stdio::piped())
            .spawn()
            .expect("an actor");
        let output = BufReader::new(child.stdout.take().expect("stdout"));
        Self { child, output, socket: here }
    }

    /// Passes descriptors to [`Stage::receive`].
    pub fn send(&self, fds: &[BorrowedFd<'_>]) {
        fdpass::send(&self.socket, fds).expect("the actor receives");
    }

    /// Receives what one [`Stage::send`] has sent.
    pub fn receive(&self) -> Vec<OwnedFd> {
        fdpass::receive(&self.socket).expect("descriptors")
    }

    /// Lets it go on after [`Stage::wait`].
    pub fn go(&mut self) {
        self.socket.write_all(&[0]).expect("the actor reads");
    }

    /// The next line that it says; empty if it has died.
    #[track_caller]
    pub fn line(&mut self) -> String {
        assert!(self.has_said(long()), "the actor says nothing");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the actor's output");
        line.trim_end().to_string()
    }

    /// Checks the next line that it says.
    #[track_caller]
    pub fn says(&mut self, expected: &str) {
        assert_eq!(self.line(), expected);
    }

    /// Tells if it says something, or dies, within a time.
    pub fn has_said(&self, limit: std::time::Duration) -> bool {
        !self.output.buffer().is_empty() || is_readable(self.output.get_ref(), limit)
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"))
    }

    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it with SIGKILL, and waits for its end.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// Stops it with SIGSTOP, and waits until it has stopped.
    pub fn stop(&self) {
        kill(self.pid(), Signal::SIGSTOP).expect("kill");
        waitid(Id::Pid(self.pid()), WaitPidFlag::WSTOPPED).expect("waitid");
    }

    /// Lets it go on after [`Actor::stop`].
    pub fn go_on(&self) {
        kill(self.pid(), Signal::SIGCONT).expect("kill");
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An actor, from its own view.
pub struct Stage {
    args: Vec<String>,
    socket: UnixStream,
}

impl Stage {
    /// An argument.
    pub fn arg<T: FromStr>(&self, nth: usize) -> T {
        self.args.get(nth).and_then(|arg| arg.parse().ok()).expect("an argument")
    }

    /// Receives what one [`Actor::send`] has sent.
    pub fn receive(&self) -> Vec<OwnedFd> {
        fdpass::receive(&self.socket).expect("descriptors")
    }

    /// Passes descriptors to [`Actor::receive`].
    pub fn send(&self, fds: &[BorrowedFd<'_>]) {
        fdpass::send(&self.socket, fds).expect("the test receives");
    }

    /// Tells the test something.
    pub fn say(&self, what: impl Display) {
        println!("{what}");
    }

    /// Waits for [`Actor::go`]. The process ends if the test has ended.
    pub fn wait(&mut self) {
        if self.socket.read_exact(&mut [0]).is_err() {
            std::process::exit(0);
        }
    }

    /// Keeps what it has until it is killed, or its test ends.
    pub fn rest(mut self) -> ! {
        loop {
            self.wait();
        }
    }
}

/// Runs the verb of these arguments.
pub fn run(verbs: &[Verb], mut args: impl Iterator<Item = String>) -> ! {
    let wanted = args.next().expect("a verb");
    let (_, verb) = verbs.iter().find(|(name, _)| *name == wanted).expect("a known verb");
    let socket = std::io::stdin().as_fd().try_clone_to_owned().expect("dup");
    verb(Stage { args: args.collect(), socket: UnixStream::from(socket) });
    std::process::exit(0)
}

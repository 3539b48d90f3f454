// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Runs each test in a process of its own, one after the other.
//!
//! A process opens the binder driver once, so it can't see a second stack. And whatever a test leaves behind, its
//! service and its actors are in its process group and end with it.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, ColorSetting, Failed, Trial};
use nix::errno::Errno;
use nix::sys::memfd::{memfd_create, MemFdCreateFlag};
use nix::sys::signal::{killpg, Signal};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::actor::{self, Verb};

/// A test, and its name.
pub type Test = (&'static str, fn());

/// With this first argument the program runs a single test.
const TEST: &str = "test";
/// The exit status if a test failed, like libtest's.
const FAILED: u8 = 101;
/// After this time a test counts as hung: several times [`buffersync_vts::hal::long`], after which a test gives up
/// by itself.
const HUNG: Duration = Duration::from_secs(400);

/// Runs the program: as an actor, as a single test, or all tests.
pub fn run(tests: &'static [Test], verbs: &[Verb]) -> ExitCode {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some(actor::VERB) => actor::run(verbs, args),
        Some(TEST) => {
            let wanted = args.next().unwrap_or_default();
            let (_, test) = tests.iter().find(|(name, _)| *name == wanted).expect("a test");
            test();
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    arguments.color.get_or_insert(ColorSetting::Never);
    // A service and actors whose parent has died become children of this process, which waits for them.
    nix::sys::prctl::set_child_subreaper(true).expect("prctl");
    let trial = |(name, _): &'static Test| Trial::test(*name, || decide(name));
    let conclusion = libtest_mimic::run(&arguments, tests.iter().map(trial).collect());
    if conclusion.has_failed() {
        return ExitCode::from(FAILED);
    }
    ExitCode::SUCCESS
}

/// The name of the test that this process runs.
pub fn name() -> String {
    std::env::args().nth(2).unwrap_or_default()
}

fn decide(name: &str) -> Result<(), Failed> {
    // A file and not a pipe, so that nobody must read while the test runs.
    let output = memfd_create(c"output", MemFdCreateFlag::MFD_CLOEXEC)?;
    let mut child = Command::new(std::env::current_exe()?)
        .args([TEST, name])
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output.try_clone()?)
        .spawn()?;
    let end = wait(&mut child)?;
    reap(Pid::from_raw(i32::try_from(child.id())?))?;
    if end.as_deref() == Some("") {
        return Ok(());
    }
    let (mut output, mut said) = (File::from(output), Vec::new());
    output.rewind()?;
    output.read_to_end(&mut said)?;
    let said = String::from_utf8_lossy(&said).into_owned();
    Err(format!("{said}({})", end.unwrap_or_else(|| "it hangs".into())).into())
}

/// Waits for a test's process. Returns why it failed; nothing if it hangs.
fn wait(child: &mut Child) -> std::io::Result<Option<String>> {
    let begin = Instant::now();
    while begin.elapsed() < HUNG {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(if status.success() { String::new() } else { status.to_string() }));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(None)
}

/// Kills what is left of a test.
fn reap(group: Pid) -> nix::Result<()> {
    match killpg(group, Signal::SIGKILL) {
        Err(Errno::ESRCH) => return Ok(()),
        sent => sent?,
    }
    loop {
        match waitpid(Pid::from_raw(-group.as_raw()), None) {
            Err(Errno::ECHILD) => return Ok(()),
            Err(Errno::EINTR) | Ok(_) => {}
            Err(errno) => return Err(errno),
        }
    }
}

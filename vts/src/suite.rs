// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Runs every test against every declared instance.
//!
//! libtest knows its tests at compile time, but the declared instances are known only on the device. So
//! the tests are lists of functions, and libtest-mimic runs `INSTANCE/MODULE::TEST` for each. It has
//! libtest's options and output. The tests run one after the other, because some read counters of the
//! whole service.
//!
//! Each test is a process. So a test that hangs can be killed, its groups and buffers end with it, and a
//! panic need not unwind. A test that was too slow for a verdict (see [`crate::pace`]) runs again.
//!
//! If this machine lacks something that a test needs, the test is reported as ignored, never as passed.
//! If no instance is declared, the suite fails.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use buffersync_testbed_guest::kms::Display;
use buffersync_testbed_guest::v4l2::Camera;
use libtest_mimic::{Arguments, ColorSetting, Conclusion, Failed, Trial};
use nix::sys::memfd::{memfd_create, MemFdCreateFlag};

use crate::{client, hal, pace};

/// With this first argument the suite's program runs a single test.
const TEST: &str = "test";
/// The exit status of a test that failed, like libtest's.
const FAILED: u8 = 101;
/// The exit status of a test during which a time limit of the service passed. EX_TEMPFAIL of sysexits.h.
const UNDECIDED: u8 = 75;
/// The output of the undecided attempts.
static UNDECIDED_ATTEMPTS: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// After this number of tries the machine counts as too slow.
const ATTEMPTS: u32 = 5;
/// After this time a test counts as hung: many times the longest test on an emulated machine.
const HUNG: Duration = Duration::from_secs(300);

/// Test functions with their names, made by [`crate::tests!`].
pub type Tests = &'static [(&'static str, fn())];

/// Lists test functions by their names.
#[macro_export]
macro_rules! tests {
    ($($test:ident),* $(,)?) => { &[$((stringify!($test), $test as fn())),*] };
}

/// The needs of a module's tests, in addition to a DMA-BUF heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// For processes of several users, and for the trace.
    Root,
    /// For fences that a test can signal.
    Vgem,
    /// A camera and a display that nobody else looks at: drivers vivid and cirrus.
    Devices,
    /// The kernel's trace of ioctls.
    Kprobes,
    /// `BUFFERSYNC_VTS_STRESS_SECONDS`: too long for every run.
    Asked,
}

impl Need {
    fn is_met(self) -> bool {
        match self {
            Self::Root => nix::unistd::geteuid().is_root(),
            Self::Vgem => buffersync_testbed_guest::vgem::Vgem::open().is_ok(),
            Self::Devices => Camera::is_there() && Display::is_there(),
            Self::Kprobes => {
                let file = Path::new(crate::trace::TRACING).join("kprobe_events");
                File::options().append(true).open(file).is_ok()
            }
            Self::Asked => std::env::var_os("BUFFERSYNC_VTS_STRESS_SECONDS").is_some(),
        }
    }
}

/// A module of tests.
pub struct Module {
    /// The module's name in the names of its tests.
    pub name: &'static str,
    pub tests: Tests,
    pub needs: &'static [Need],
}

/// Runs the program: as a client process, as a single test, or as the suite.
pub fn run(suite: &'static [Module]) -> ExitCode {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some(client::VERB) => client::run(args),
        Some(TEST) => single(suite, &args.next().unwrap_or_default()),
        _ => {}
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    // Tradefed and xtask parse the output.
    arguments.color.get_or_insert(ColorSetting::Never);
    let instances = match hal::declared_instances() {
        Ok(instances) => instances,
        // A list of the tests needs no device.
        Err(_) if arguments.list => vec!["default".to_string()],
        Err(error) => return without_instances(&arguments, &error),
    };
    let trials = suite.iter().flat_map(|module| {
        let ignored = !arguments.list && !module.needs.iter().all(|need| need.is_met());
        let instances = &instances;
        module.tests.iter().flat_map(move |(name, _)| {
            instances.iter().map(move |instance| {
                let instance = instance.clone();
                let test = format!("{}::{name}", module.name);
                let full = format!("{instance}/{test}");
                Trial::test(full, move || decide(&instance, &test)).with_ignored_flag(ignored)
            })
        })
    });
    let trials = trials.collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Only now, because a test's name and its result are on one line.
    for undecided in UNDECIDED_ATTEMPTS.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        println!("{undecided}");
    }
    finish(&conclusion)
}

/// Runs a test in a process, until it has a verdict.
fn decide(instance: &str, test: &str) -> Result<(), Failed> {
    let mut last = String::new();
    for attempt in 1..=ATTEMPTS {
        let (status, said) = run_alone(instance, test)?;
        match status.and_then(|status| status.code()) {
            Some(0) => return Ok(()),
            Some(code) if code == i32::from(UNDECIDED) => {
                let line = format!("attempt {attempt} of {test}: a time limit was faster\n{said}");
                UNDECIDED_ATTEMPTS.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                last = said;
            }
            _ => {
                let end = status.map_or("it hangs".to_string(), |status| status.to_string());
                return Err(format!("{said}({end})").into());
            }
        }
    }
    let why = "the machine is too slow, or the service: a time limit was faster, each time";
    Err(format!("{why}\n{last}").into())
}

/// Returns the exit status of a test's process, `None` if it hung, and its output.
fn run_alone(instance: &str, test: &str) -> Result<(Option<ExitStatus>, String), Failed> {
    // A file and not a pipe, so that nobody must read while the test runs.
    let output = memfd_create(c"output", MemFdCreateFlag::MFD_CLOEXEC)?;
    let mut child = Command::new(std::env::current_exe()?)
        .args([TEST, test])
        .env(hal::INSTANCE, instance)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output.try_clone()?)
        .spawn()?;
    let status = wait(&mut child, HUNG + asked())?;
    let (mut output, mut said) = (File::from(output), Vec::new());
    output.rewind()?;
    output.read_to_end(&mut said)?;
    Ok((status, String::from_utf8_lossy(&said).into_owned()))
}

/// The requested duration of `stress`.
fn asked() -> Duration {
    let seconds = std::env::var("BUFFERSYNC_VTS_STRESS_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or(0))
}

/// Waits for a process, and kills it if that takes too long.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let begin = Instant::now();
    while begin.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// Runs one test in this process. The exit status tells its result.
fn single(suite: &[Module], wanted: &str) -> ! {
    let tests = suite.iter().flat_map(|module| {
        module.tests.iter().map(|(name, test)| (format!("{}::{name}", module.name), test))
    });
    let (_, test) = tests.into_iter().find(|(name, _)| name == wanted).expect("a test");
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        let status = if pace::has_run_out() { UNDECIDED } else { FAILED };
        // Ends the process from any thread, and without unwinding, because not every build unwinds.
        std::process::exit(status.into());
    }));
    hal::at_rest();
    test();
    std::process::exit(0)
}

/// A test that fails, because a suite without tests would pass.
fn without_instances(arguments: &Arguments, error: &str) -> ExitCode {
    let error = error.to_string();
    let unfiltered = Arguments { filter: None, skip: Vec::new(), ..arguments.clone() };
    let trial = Trial::test("an_instance_is_declared", move || Err(error.into()));
    finish(&libtest_mimic::run(&unfiltered, vec![trial]))
}

fn finish(conclusion: &Conclusion) -> ExitCode {
    if conclusion.has_failed() {
        return ExitCode::from(FAILED);
    }
    ExitCode::SUCCESS
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Every test, against every declared instance.
//!
//! libtest knows its tests when it is compiled; which instances a device declares is known when it
//! runs. So the tests are lists of functions, and libtest-mimic, which takes libtest's options and
//! prints what it prints, runs `INSTANCE/MODULE::TEST` for each. One after the other: some tests look
//! at counters of the whole service.
//!
//! Each test is a process of its own: a test that hangs is ended, whatever it leaves behind goes with it, and
//! nothing depends on whether a panic unwinds. A test that was too slow to decide anything (see
//! [`crate::pace`]) is run again.
//!
//! A test that needs what this machine does not have is reported as ignored, never as passed. No
//! declared instance is a failure.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, ColorSetting, Conclusion, Failed, Trial};
use nix::sys::memfd::{memfd_create, MemFdCreateFlag};

use crate::{client, hal, pace};

/// The first argument that makes the suite's program a single test.
const TEST: &str = "test";
/// Exit status of a test that has failed, as libtest has it.
const FAILED: u8 = 101;
/// Exit status of a test that was overtaken by a time limit of the service. EX_TEMPFAIL of sysexits.h.
const UNDECIDED: u8 = 75;
/// What they have said.
static UNDECIDED_ATTEMPTS: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// How often a test is begun before the machine counts as too slow.
const ATTEMPTS: u32 = 5;
/// When a test hangs: many times what the longest one takes on an emulated machine.
const HUNG: Duration = Duration::from_secs(300);

/// The tests of one module: made by [`crate::tests!`].
pub type Tests = &'static [(&'static str, fn())];

/// Lists test functions by their names.
#[macro_export]
macro_rules! tests {
    ($($test:ident),* $(,)?) => { &[$((stringify!($test), $test as fn())),*] };
}

/// What the tests of a module need, beside a DMA-BUF heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Processes of several users; the trace.
    Root,
    /// Fences that signal when a test says so.
    Vgem,
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
    /// As in the tests' names.
    pub name: &'static str,
    /// Its tests.
    pub tests: Tests,
    /// What all of them need.
    pub needs: &'static [Need],
}

/// The program: a client process of the tests, or the suite.
pub fn run(suite: &'static [Module]) -> ExitCode {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some(client::VERB) => client::run(args),
        Some(TEST) => single(suite, &args.next().unwrap_or_default()),
        _ => {}
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    // Tradefed and xtask read the lines.
    arguments.color.get_or_insert(ColorSetting::Never);
    let instances = match hal::declared_instances() {
        Ok(instances) => instances,
        // To see the names of the tests takes no device.
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
    // Not before: a test's name and its result are one line.
    for undecided in UNDECIDED_ATTEMPTS.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        println!("{undecided}");
    }
    finish(&conclusion)
}

/// Runs a test in a process of its own, until it says something of the service.
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

/// How a test's process has ended, `None` if it was hung; and what it has said.
fn run_alone(instance: &str, test: &str) -> Result<(Option<ExitStatus>, String), Failed> {
    // Not a pipe: nobody has to read while it runs.
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

/// How long `stress` is asked to go on.
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

/// This process is one test. Its exit status says how it came out.
fn single(suite: &[Module], wanted: &str) -> ! {
    let tests = suite.iter().flat_map(|module| {
        module.tests.iter().map(|(name, test)| (format!("{}::{name}", module.name), test))
    });
    let (_, test) = tests.into_iter().find(|(name, _)| name == wanted).expect("a test");
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        let status = if pace::has_run_out() { UNDECIDED } else { FAILED };
        // Whichever thread it is, and without unwinding, which not every build does.
        std::process::exit(status.into());
    }));
    hal::at_rest();
    test();
    std::process::exit(0)
}

/// One test that fails: a suite without tests would pass.
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

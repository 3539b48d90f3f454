// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Every test, against every declared instance.
//!
//! libtest knows its tests when it is compiled; which instances a device declares is known when it
//! runs. So the tests are lists of functions, and libtest-mimic, which takes libtest's options and
//! prints what it prints, runs `INSTANCE/MODULE::TEST` for each. One after the other: some tests look
//! at counters of the whole service.
//!
//! A test that needs what this machine does not have is reported as ignored, never as passed. No
//! declared instance is a failure.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, ColorSetting, Conclusion, Trial};

use crate::{client, hal};

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
    if args.next().as_deref() == Some(client::VERB) {
        client::run(args);
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
        module.tests.iter().flat_map(move |(name, test)| {
            instances.iter().map(move |instance| {
                let instance = instance.clone();
                let full = format!("{instance}/{}::{name}", module.name);
                let run = move || {
                    hal::choose(&instance);
                    test();
                    Ok(())
                };
                Trial::test(full, run).with_ignored_flag(ignored)
            })
        })
    });
    let trials = trials.collect();
    finish(&libtest_mimic::run(&arguments, trials))
}

/// One test that fails: a suite without tests would pass.
fn without_instances(arguments: &Arguments, error: &str) -> ExitCode {
    let error = error.to_string();
    let unfiltered = Arguments { filter: None, skip: Vec::new(), ..arguments.clone() };
    let trial = Trial::test("an_instance_is_declared", move || Err(error.into()));
    finish(&libtest_mimic::run(&unfiltered, vec![trial]))
}

fn finish(conclusion: &Conclusion) -> ExitCode {
    // As libtest has it.
    if conclusion.has_failed() {
        return ExitCode::from(101);
    }
    ExitCode::SUCCESS
}

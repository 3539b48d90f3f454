// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A real kernel for buffersync's demo and tests.
//!
//! An ordinary machine or container has no binder, DMA-BUF heap or vgem in its kernel and may load
//! no modules. [`Testbed`] gets Debian's 6.12 kernel, boots it in QEMU with all of them, runs one
//! command in it and brings back the output and the exit status; or, where the host's own kernel
//! has what is needed, runs the command there ([`Where::Native`]).
//!
//! | module | contents |
//! |---|---|
//! | [`provision`], [`modules`], [`cpio`], [`initramfs`] | get the parts, and make the guest's root of them |
//! | [`vm`], [`native`], [`selftest`] | run a command in the guest, or here; know nothing of what is run |
//! | [`screen`] | pictures of the guest's display |
//! | [`programs`] | builds the project's programs for it |
//! | [`checkout`], [`command`] | folders and commands of the host, for all commands of `cargo xtask` |

pub mod checkout;
pub mod command;
pub mod cpio;
pub mod initramfs;
pub mod lanes;
pub mod modules;
pub mod native;
pub mod programs;
pub mod provision;
pub mod screen;
pub mod selftest;
pub mod vm;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where commands run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// In QEMU, on Debian's kernel.
    Guest(Accel),
    /// On this machine.
    Native,
}

/// Who executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// QEMU's translator: slow, works everywhere.
    Tcg,
    /// The processor. On nested virtual machines it may hang.
    Kvm,
    /// KVM if a probe with a time limit shows that it works.
    Auto,
    /// QEMU's translator with a clock that counts instructions: the guest's times depend on what runs in it, and
    /// on nothing that the host does beside it. For measurements that compare.
    Counted,
}

/// A command to run.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    /// A shell command line. `$BUFFERSYNC_STAGE` and `$BUFFERSYNC_OUT` are set for it.
    pub command: &'a str,
    /// A folder that the command sees read-only: `/stage` in the guest.
    pub stage: &'a Path,
    /// A folder that gets what the command writes: `/out` in the guest.
    pub out: &'a Path,
    /// When a run counts as hung.
    pub limit: Duration,
}

/// An error, in words for the person who typed the command.
#[derive(Debug)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

/// Adds what was being done to an error.
pub(crate) fn during<T, E: fmt::Display>(
    what: impl fmt::Display,
    result: Result<T, E>,
) -> Result<T, Failure> {
    result.map_err(|error| Failure(format!("{what}: {error}")))
}

/// A place to run commands.
pub enum Testbed {
    /// A virtual machine, ready to boot.
    Guest(vm::Machine),
    /// This machine.
    Native,
}

impl Testbed {
    /// Gets everything that is needed. `cache` is the folder for downloads and images.
    pub fn prepare(place: Where, cache: &Path) -> Result<Self, Failure> {
        match place {
            Where::Native => native::check().map(|()| Self::Native),
            Where::Guest(accel) => {
                let parts = provision::provide(cache)?;
                let initramfs = initramfs::make(&parts, cache)?;
                vm::Machine::new(parts, initramfs, accel, cache).map(Self::Guest)
            }
        }
    }

    /// The same guest with a camera (vivid) and a display (cirrus); it boots a second longer. On the machine's own
    /// kernel this changes nothing.
    pub fn with_devices(self) -> Self {
        match self {
            Self::Guest(machine) => Self::Guest(machine.with_devices()),
            Self::Native => Self::Native,
        }
    }

    /// Runs a command; `line` gets each line that it prints, as it is printed. Returns its exit
    /// status. An error means that the testbed failed, not the command.
    pub fn run(&self, run: &Run<'_>, line: &mut dyn FnMut(&str)) -> Result<i32, Failure> {
        during("making the out folder", std::fs::create_dir_all(run.out))?;
        match self {
            Self::Guest(machine) => machine.run(run, line),
            Self::Native => native::run(run, line),
        }
    }
}

/// Says what is being done, on standard error.
pub fn progress(text: impl fmt::Display) {
    eprintln!("testbed: {text}");
}

/// The environment variable's path, if it is set and not empty.
pub(crate) fn path_from_env(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Builds the project's programs and gathers those that the testbed needs.
//!
//! Everything is built once, statically linked, by one set of flags: the host's unit tests are the
//! same build, so the guest costs no second one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use buffersync_testbed::Failure;

use crate::{cache, root, target};

/// The platform is named so that the flags do not apply to build scripts and macros.
const TARGET: &str = "x86_64-unknown-linux-gnu";
const FLAGS: &str = "-C target-feature=+crt-static";
/// Service manager and tools for binder on Linux.
const RSBINDER_TOOLS: &str = "0.12.0";

/// Package and program of the service, as cargo has them.
pub const SERVICE: &str = "buffersync-service";

/// A program that cargo has made.
#[derive(Clone, Debug)]
pub struct Program {
    /// Of the target: a binary's or a test's.
    pub name: String,
    /// Of the package.
    pub package: String,
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is a test program.
    pub test: bool,
}

impl Program {
    /// Whether it needs the testbed's kernel.
    pub fn is_for_guest(&self) -> bool {
        self.name.starts_with("Vts") || self.name.starts_with("guest_")
    }

    /// Whether it may run on somebody's own machine: one replaces the kernel's SELinux policy.
    pub fn is_harmless(&self) -> bool {
        self.name != "guest_selinux"
    }
}

/// Cargo in the project's root, with the flags of the testbed's programs.
pub fn cargo(args: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).args(args).stdin(Stdio::null());
    cargo
}

/// As [`cargo`], for programs that run in the testbed.
pub fn cargo_static(args: &[&str]) -> Command {
    let mut cargo = cargo(args);
    cargo.args(["--target", TARGET]).env("RUSTFLAGS", FLAGS);
    cargo
}

/// Builds all programs and all tests, and says where they are.
pub fn programs(tests: bool) -> Result<Vec<Program>, Failure> {
    let format = "--message-format=json-render-diagnostics";
    let mut programs = collect(cargo_static(&["build", "--workspace", "--bins", format]))?;
    if tests {
        programs.extend(collect(cargo_static(&["test", "--workspace", "--no-run", format]))?);
    }
    Ok(programs)
}

/// The programs that are measured, as they are used: with the release profile. More flags for the
/// compiler need a folder of their own below Cargo's, or everything else would be built again.
pub fn release_programs(flags: &str, folder: &str) -> Result<Vec<Program>, Failure> {
    let mut cargo = cargo_static(&["build", "--release", "--bins"]);
    cargo.env("RUSTFLAGS", format!("{FLAGS} {flags}"));
    cargo.arg("--target-dir").arg(target().join(folder));
    let measured = ["service", "demo", "testbed-bench", "testbed-guest"];
    for package in measured.map(|name| format!("buffersync-{name}")) {
        cargo.args(["--package", &package]);
    }
    cargo.arg("--message-format=json-render-diagnostics");
    collect(cargo)
}

fn collect(mut cargo: Command) -> Result<Vec<Program>, Failure> {
    let output = cargo.stdout(Stdio::piped()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| Failure(format!("cargo: {error}")))?;
    if !output.status.success() {
        return Err(Failure(format!("cargo failed ({})", output.status)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(program).collect())
}

/// The program that a line of cargo's JSON output reports.
fn program(line: &str) -> Option<Program> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    if message["reason"] != "compiler-artifact" {
        return None;
    }
    let manifest = Path::new(message["manifest_path"].as_str()?);
    Some(Program {
        name: message["target"]["name"].as_str()?.to_string(),
        package: manifest.parent()?.strip_prefix(root()).ok()?.to_str()?.to_string(),
        path: PathBuf::from(message["executable"].as_str()?),
        test: message["profile"]["test"] == true,
    })
}

/// Fills the stage, the folder that the testbed's commands see, with all programs.
pub fn stage() -> Result<PathBuf, Failure> {
    stage_programs(&programs(true)?)
}

/// As [`stage`], with programs that are built already.
pub fn stage_programs(programs: &[Program]) -> Result<PathBuf, Failure> {
    let stage = cache().join("stage");
    let bin = stage.join("bin");
    let io = |error| Failure(format!("{}: {error}", bin.display()));
    fs::create_dir_all(&bin).map_err(io)?;
    let mut wanted: BTreeMap<String, PathBuf> = tools()?;
    for program in programs {
        let name = match program.name.as_str() {
            // Cargo allows no dot in a program's name.
            SERVICE => "vendor.buffersync-service",
            name => name,
        };
        let unit_test = program.test && !program.is_for_guest();
        if !unit_test && name != "xtask" {
            wanted.insert(name.to_string(), program.path.clone());
        }
    }
    // What was staged for an earlier state must not be run by mistake.
    for entry in fs::read_dir(&bin).map_err(io)?.flatten() {
        fs::remove_file(entry.path()).map_err(io)?;
    }
    for (name, path) in wanted {
        let staged = bin.join(name);
        if fs::hard_link(&path, &staged).is_err() {
            fs::copy(&path, &staged).map_err(io)?;
        }
    }
    Ok(stage)
}

/// The service manager and its tools, built from their published crate.
fn tools() -> Result<BTreeMap<String, PathBuf>, Failure> {
    let folder = cache().join(format!("rsbinder-tools-{RSBINDER_TOOLS}"));
    let names = ["rsb_hub", "rsb_service"];
    let tools: BTreeMap<String, PathBuf> =
        names.iter().map(|name| (name.to_string(), folder.join("bin").join(name))).collect();
    if tools.values().all(|path| path.exists()) {
        return Ok(tools);
    }
    eprintln!("xtask: building rsbinder-tools {RSBINDER_TOOLS}");
    let version = format!("={RSBINDER_TOOLS}");
    let mut install =
        cargo_static(&["install", "--quiet", "--locked", "rsbinder-tools", "--version", &version]);
    install.arg("--no-track").arg("--root").arg(&folder);
    install.arg("--target-dir").arg(target().join("tools"));
    // Not installed for anybody to call: the advice to extend PATH is not wanted.
    let status = install.status().map_err(|error| Failure(format!("cargo install: {error}")))?;
    if !status.success() {
        return Err(Failure(format!("cargo install failed ({status})")));
    }
    Ok(tools)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_cargos_messages() {
        let manifest = root().join("demo/Cargo.toml");
        let line = format!(
            r#"{{"reason":"compiler-artifact","manifest_path":"{}","target":{{"name":"x"}},
               "profile":{{"test":true}},"executable":"/t/x-1"}}"#,
            manifest.display()
        );
        let program = program(&line).unwrap();
        assert_eq!((program.name.as_str(), program.package.as_str()), ("x", "demo"));
        assert!(program.test);
        assert!(super::program(r#"{"reason":"build-finished"}"#).is_none());
    }
}

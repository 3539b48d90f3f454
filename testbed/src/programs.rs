// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Builds the project's programs, and gathers on the stage those that the testbed runs.
//!
//! Host and guest share one build: everything is linked statically, with one set of flags.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::checkout::{cache, root, target};
use crate::command::made;
use crate::Failure;

/// The platform is named so that the flags do not apply to build scripts and macros.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";
const FLAGS: &str = "-C target-feature=+crt-static";
/// Service manager and tools for binder on Linux.
const RSBINDER_TOOLS: &str = "0.12.0";

/// Package and program of the service, as cargo has them.
pub const SERVICE: &str = "buffersync-service";
/// Its name on a device and on the stage. Cargo allows no dot in a program's name.
const STAGED_SERVICE: &str = "vendor.buffersync-service";

/// The conformance suite. Other tests run it as a client.
pub const SUITE: &str = "VtsHalBufferSyncTargetTest";

/// The stack with the demo's pipeline; a folder for its pictures follows. A slow machine may keep a frame on the screen
/// for longer than the service's ordinary hold limit, so that is a minute. The stuck process asks for half a second.
pub const DEMO: &str = "$BUFFERSYNC_STAGE/bin/buffersync-stack \
     --service-arg --default-hold-ms --service-arg 60000 --service-arg --max-hold-ms --service-arg 60000 \
     --service-arg --read-grant-ms --service-arg 60000 -- $BUFFERSYNC_STAGE/bin/buffersync-demo run --out";

/// A program that cargo has made.
#[derive(Clone, Debug)]
pub struct Program {
    /// The name of the binary or the test.
    pub name: String,
    /// The package's folder below the root.
    pub package: String,
    pub path: PathBuf,
    pub test: bool,
}

impl Program {
    /// True if it needs the testbed's kernel.
    pub fn is_for_guest(&self) -> bool {
        is_for_guest(&self.name)
    }
}

/// False for the test that replaces the kernel's SELinux policy: it may not run on somebody's own machine.
pub fn is_harmless(test: &str) -> bool {
    test != "guest_selinux"
}

/// Cargo in the project's root.
pub fn cargo(args: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).args(args).stdin(Stdio::null());
    cargo
}

/// Cargo with the flags of programs that run in the testbed.
pub fn cargo_static(args: &[&str]) -> Command {
    let mut cargo = cargo(args);
    cargo.args(["--target", TARGET]).env("RUSTFLAGS", FLAGS);
    cargo
}

/// True if a test of this name needs the testbed's kernel.
pub fn is_for_guest(test: &str) -> bool {
    test.starts_with("Vts") || test.starts_with("guest_")
}

const FORMAT: &str = "--message-format=json-render-diagnostics";

/// Builds the binaries of these names, or all.
pub fn bins(names: &[&str]) -> Result<Vec<Program>, Failure> {
    let mut cargo = cargo_static(&["build", "--workspace", FORMAT]);
    choose(&mut cargo, names, "--bin", "--bins");
    collect(cargo)
}

/// Builds the test programs of these names, or all, unit tests included.
pub fn tests(names: &[&str]) -> Result<Vec<Program>, Failure> {
    let mut cargo = cargo_static(&["test", "--workspace", "--no-run", FORMAT]);
    choose(&mut cargo, names, "--test", "--all-targets");
    cargo.args(if names.is_empty() { &["--exclude", "buffersync-engine-bench"][..] } else { &[] });
    collect(cargo)
}

fn choose(cargo: &mut Command, names: &[&str], one: &str, all: &str) {
    if names.is_empty() {
        cargo.arg(all);
    }
    for name in names {
        cargo.args([one, name]);
    }
}

/// The names of all binaries (`bin`) or integration tests (`test`) of the workspace.
pub fn names(kind: &str) -> Result<BTreeSet<String>, Failure> {
    let mut metadata = cargo(&["metadata", "--no-deps", "--offline", "--format-version=1"]);
    let output = made(metadata.output(), "cargo metadata")?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| Failure(format!("cargo metadata: {error}")))?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let targets = packages.filter_map(|package| package["targets"].as_array()).flatten();
    let wanted = targets.filter(|target| target["kind"][0] == kind);
    Ok(wanted.filter_map(|target| Some(target["name"].as_str()?.to_string())).collect())
}

/// Builds what a command in the testbed names, and fills the stage with it. A test or the stack runs
/// with all binaries. A command that names no program needs no build.
pub fn stage_for(command: &str) -> Result<PathBuf, Failure> {
    let word = |name: &String| {
        let parts = command.split(|c: char| !c.is_alphanumeric() && !"-_.".contains(c));
        let name = if name == SERVICE { STAGED_SERVICE } else { name };
        parts.into_iter().any(|part| part == name)
    };
    let tests_named: Vec<String> = names("test")?.into_iter().filter(word).collect();
    let named: Vec<String> = names("bin")?.into_iter().filter(word).collect();
    let mut programs = Vec::new();
    if !tests_named.is_empty() {
        programs.extend(tests(&[as_strs(&tests_named), vec![SUITE]].concat())?);
    }
    if !tests_named.is_empty() || named.iter().any(|name| name == "buffersync-stack") {
        programs.extend(bins(&[])?);
    } else if !named.is_empty() {
        programs.extend(bins(&as_strs(&named))?);
    }
    stage(&programs)
}

fn as_strs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

/// Builds the programs that are measured, with the release profile that users get.
pub fn release_programs() -> Result<Vec<Program>, Failure> {
    release(&["service", "demo", "testbed-bench", "testbed-guest"])
}

/// Builds the programs of these packages, without `buffersync-` in their names, with the release profile.
pub fn release(packages: &[&str]) -> Result<Vec<Program>, Failure> {
    let mut cargo = cargo_static(&["build", "--release", "--bins"]);
    for package in packages {
        cargo.args(["--package", &format!("buffersync-{package}")]);
    }
    cargo.arg(FORMAT);
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

/// Fills the stage, the folder that commands in the testbed see, with these programs and the service
/// manager's. Unit tests are left out: they run on the host.
pub fn stage(programs: &[Program]) -> Result<PathBuf, Failure> {
    let stage = cache().join("stage");
    let bin = stage.join("bin");
    let io = |error| Failure(format!("{}: {error}", bin.display()));
    fs::create_dir_all(&bin).map_err(io)?;
    let mut wanted: BTreeMap<String, PathBuf> =
        if programs.is_empty() { BTreeMap::new() } else { tools()? };
    for program in programs {
        let name = match program.name.as_str() {
            SERVICE => STAGED_SERVICE,
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
    crate::progress(format_args!("building rsbinder-tools {RSBINDER_TOOLS}"));
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
        let manifest = root().join("testbed/demo/Cargo.toml");
        let line = format!(
            r#"{{"reason":"compiler-artifact","manifest_path":"{}","target":{{"name":"x"}},
               "profile":{{"test":true}},"executable":"/t/x-1"}}"#,
            manifest.display()
        );
        let program = program(&line).unwrap();
        assert_eq!((program.name.as_str(), program.package.as_str()), ("x", "testbed/demo"));
        assert!(program.test);
        assert!(super::program(r#"{"reason":"build-finished"}"#).is_none());
    }
}

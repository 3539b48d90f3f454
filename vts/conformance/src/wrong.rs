// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Builds the wrong services: a copy of the sources with every fault in it, each asleep until
//! `BUFFERSYNC_FAULT` names it. The project's own files are never touched, and know nothing of it.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use buffersync_testbed::checkout::{root, target};
use buffersync_testbed::command::{call, made};
use buffersync_testbed::{programs, Failure};

use super::coherence;
use super::faults::{Fault, DISGUISE, FAULTS};

/// The folders that are copied: the service and the crates that it and its tests are built of.
const PARTS: [&str; 5] = ["aidl", "rustfmt.toml", "service", "testbed/guest", "Cargo.lock"];

/// Not the service's name: nothing of the suite may go by that.
pub const PROGRAM: &str = "arbiter";

/// A function for the copies of the engine, which the service can reach, and of the kernel's interface.
const QUESTION: &str = "
/// True if the environment asks for this fault.
pub fn fault(name: &str) -> bool {
    static ASKED: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    ASKED.get_or_init(|| std::env::var(\"BUFFERSYNC_FAULT\").unwrap_or_default()) == name
}
";

/// Builds them, and puts the program into a folder, as [`PROGRAM`].
pub fn stage(folder: &Path) -> Result<(), Failure> {
    let copy = target().join("wrong");
    sources(&copy, FAULTS.iter().chain(coherence::FAULTS).chain([&DISGUISE]))?;
    let mut cargo = programs::cargo_static(&["build", "--quiet", "--package", programs::SERVICE]);
    cargo.current_dir(&copy).env("CARGO_TARGET_DIR", copy.join("target"));
    call(&mut cargo)?;
    made(fs::create_dir_all(folder), "stage/wrong")?;
    let built = copy.join("target/x86_64-unknown-linux-gnu/debug/buffersync-service");
    made(fs::copy(built, folder.join(PROGRAM)), "the wrong service").map(|_| ())
}

/// Makes the copy of the sources, with these faults in it.
pub fn sources<'a>(
    copy: &Path,
    faults: impl IntoIterator<Item = &'a Fault>,
) -> Result<(), Failure> {
    for part in PARTS {
        replace(&root().join(part), &copy.join(part))?;
    }
    made(fs::write(copy.join("Cargo.toml"), manifest()?), "wrong/Cargo.toml")?;
    for part in ["service/engine/src/lib.rs", "service/kernel/src/lib.rs"] {
        let path = copy.join(part);
        let text = made(fs::read_to_string(&path), part)?;
        made(fs::write(&path, text + QUESTION), part)?;
    }
    faults.into_iter().try_for_each(|fault| put(copy, fault))
}

fn put(copy: &Path, fault: &Fault) -> Result<(), Failure> {
    let path = copy.join("service").join(fault.file);
    let text = made(fs::read_to_string(&path), fault.file)?;
    made(fs::write(&path, broken(&text, fault)?), fault.file)
}

/// A file with one fault more.
fn broken(text: &str, fault: &Fault) -> Result<String, Failure> {
    let Fault { name, file, from, to, .. } = fault;
    if text.matches(from).count() != 1 {
        return Err(Failure(format!("{name}: {file} does not have this once: {from}")));
    }
    let asked = if file.starts_with("engine") || file.starts_with("kernel") {
        format!("crate::fault(\"{name}\")")
    } else {
        format!("buffersync_engine::fault(\"{name}\")")
    };
    Ok(text.replacen(from, &to.replace("FAULT", &asked), 1))
}

/// The workspace's, with the copied members only.
fn manifest() -> Result<String, Failure> {
    let text = made(fs::read_to_string(root().join("Cargo.toml")), "Cargo.toml")?;
    let (before, rest) = text.split_once("members = [").unwrap_or((&text, "]"));
    let (_, after) = rest.split_once(']').unwrap_or(("", rest));
    let members = [
        "aidl",
        "aidl/access",
        "aidl/binder",
        "service",
        "service/engine",
        "service/kernel",
        "testbed/guest",
    ];
    Ok(format!("{before}members = {members:?}{after}"))
}

/// Makes a copy what a file or folder is, and touches only what differs: Cargo does not build the rest again.
/// Faults of an earlier run are differences, too.
fn replace(from: &Path, to: &Path) -> Result<(), Failure> {
    let name = from.display().to_string();
    if from.is_dir() {
        made(fs::create_dir_all(to), &name)?;
        // Other workspaces' leftovers, and parts that the service is not built of.
        let skipped =
            |name: &OsStr| ["target", "bench", "tests", "driver"].iter().any(|s| name == *s);
        for entry in made(fs::read_dir(to), &name)?.flatten() {
            if !skipped(&entry.file_name()) && !from.join(entry.file_name()).exists() {
                remove(&entry.path())?;
            }
        }
        for entry in made(fs::read_dir(from), &name)?.flatten() {
            if !skipped(&entry.file_name()) {
                replace(&entry.path(), &to.join(entry.file_name()))?;
            }
        }
        return Ok(());
    }
    let text = made(fs::read(from), &name)?;
    if fs::read(to).ok().as_ref() != Some(&text) {
        made(fs::write(to, text), &name)?;
    }
    Ok(())
}

/// Removes a file or folder that the sources no longer have: a module would be there twice.
fn remove(path: &Path) -> Result<(), Failure> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    made(removed, &path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_about_one_place_and_has_a_name_and_a_test() {
        // As in the copy, where each file has the faults before.
        let mut files = std::collections::BTreeMap::new();
        for fault in FAULTS.iter().chain(coherence::FAULTS).chain([&DISGUISE]) {
            let path = root().join("service").join(fault.file);
            let text = files.entry(fault.file).or_insert_with(|| fs::read_to_string(path).unwrap());
            *text = broken(text, fault).unwrap();
            assert!(fault.to.contains("FAULT"), "{}", fault.name);
        }
        for fault in FAULTS {
            assert!(!fault.noticed_by.is_empty(), "{}", fault.name);
            assert_eq!(FAULTS.iter().filter(|other| other.name == fault.name).count(), 1);
        }
        for name in coherence::names() {
            let known = FAULTS.iter().chain(coherence::FAULTS).any(|fault| fault.name == name);
            assert!(known, "{name}");
        }
        let readme = fs::read_to_string(root().join("README.md")).unwrap();
        let said = format!("{} wrong services that it notices", FAULTS.len());
        assert!(readme.contains(&said), "README.md does not say: {said}");
    }
}

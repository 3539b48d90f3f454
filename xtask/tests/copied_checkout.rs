// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A checkout that was copied with its `target` folder has programs that were compiled elsewhere. They have to
//! work on the copy, not on the checkout that they were compiled in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use buffersync_testbed::checkout;
use buffersync_testbed::command::{copy, copy_folder};

/// Copies what is in the checkout, but for what Cargo and git keep in it.
fn copied() -> PathBuf {
    let to = checkout::target().join("copied-checkout");
    let _ = fs::remove_dir_all(&to);
    for entry in fs::read_dir(checkout::root()).unwrap().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_name().to_str() {
            Some("target" | ".git") => {}
            _ if from.is_dir() => drop(copy_folder(&from, &to).unwrap()),
            _ => copy(&from, &to).unwrap(),
        }
    }
    to
}

/// The program that is compiled already, started as `cargo xtask test fmt` would start it in a checkout.
fn test_formatting(checkout: &Path) -> Output {
    let own = std::env::current_exe().unwrap();
    let program = own.parent().and_then(Path::parent).unwrap().join("xtask");
    let mut xtask = Command::new(program);
    xtask.args(["test", "fmt"]).current_dir(checkout);
    xtask.env("CARGO_MANIFEST_DIR", checkout.join("xtask")).env_remove("CARGO_TARGET_DIR");
    xtask.output().unwrap()
}

#[test]
fn a_copied_checkout_works_on_itself() {
    let copy = copied();
    let right = test_formatting(&copy);
    assert!(right.status.success(), "{right:?}");

    let file = copy.join("xtask/src/demo.rs");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text + "fn  badly( ) {}\n").unwrap();
    let wrong = test_formatting(&copy);
    assert!(!wrong.status.success(), "{wrong:?}");
    let said = String::from_utf8_lossy(&wrong.stdout);
    assert!(said.contains(&file.display().to_string()), "{said}");
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Does the Rust version that `Cargo.toml` and the README name build the project? Each package that
//! `Cargo.lock` has says which version it needs.

use std::fs;

use buffersync_testbed::checkout::root;
use buffersync_testbed::programs;
use serde_json::Value;

/// Major and minor.
fn version(text: &str) -> Vec<u32> {
    text.split('.').take(2).filter_map(|number| number.parse().ok()).collect()
}

#[test]
fn the_rust_version_is_the_newest_that_a_locked_package_needs() {
    let mut cargo = programs::cargo(&["metadata", "--locked", "--format-version=1"]);
    let output = cargo.output().unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (mut ours, mut needed) = (Vec::new(), Vec::new());
    for package in metadata["packages"].as_array().unwrap() {
        let version = version(package["rust_version"].as_str().unwrap_or("1"));
        if package["name"] == "xtask" {
            ours = version;
        } else if !package["source"].is_null() {
            needed = needed.max(version);
        }
    }
    assert_eq!(ours, needed, "rust-version in Cargo.toml, and what Cargo.lock needs");

    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let said = format!("Rust {}.{}", ours[0], ours[1]);
    assert!(readme.contains(&said), "README.md does not say {said}");
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The engine does no I/O, and depends on one crate, which does none either.

use std::fs;
use std::path::Path;

#[test]
fn no_clock_no_threads_no_descriptors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let (_, rest) = manifest.split_once("\n[dependencies]\n").unwrap();
    let dependencies = rest.split("\n[").next().unwrap_or_default();
    assert_eq!(dependencies.trim(), "buffersync-access.workspace = true");
    assert!(!manifest.contains("[target."));
    let access = root.join("../../aidl/access");
    let manifest = fs::read_to_string(access.join("Cargo.toml")).unwrap();
    assert!(!manifest.contains("dependencies]"));

    let forbidden = [
        "Instant",
        "SystemTime",
        "std::thread",
        "std::sync",
        "std::fs",
        "std::net",
        "std::io",
        "std::os",
        "std::process",
        "std::env",
        "extern crate",
        "nix::",
        "libc::",
        "binder::",
        "unsafe ",
    ];
    let mut files = 0;
    let mut left = vec![root.join("src"), access.join("src")];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        files += 1;
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            for word in forbidden {
                assert!(!line.contains(word), "{}: {line}", path.display());
            }
        }
    }
    assert!(files >= 8, "the sources were not found");
}

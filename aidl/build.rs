// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Generates the Rust bindings of `vendor/buffersync/*.aidl`.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

const FOLDER: &str = "vendor/buffersync";
/// The version and the hash that AOSP's build gives an interface that is not frozen.
const VERSION: i32 = 1;
const HASH: &str = "notfrozen";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={FOLDER}");
    let entries = fs::read_dir(FOLDER)?.map(|entry| entry.map(|entry| entry.path()));
    let mut files = entries.collect::<Result<Vec<PathBuf>, _>>()?;
    files.sort();
    let mut builder = rsbinder_aidl::Builder::new().include_dir(".").output("buffersync.rs");
    for file in files {
        builder = builder.source(&file).version(VERSION).hash(HASH);
    }
    builder.generate()?;
    Ok(())
}

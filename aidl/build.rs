// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Generates the Rust bindings of `vendor/buffersync/*.aidl`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    rsbinder_aidl::Builder::new()
        .source("vendor/buffersync")
        .include_dir(".")
        .output("buffersync.rs")
        .generate()?;
    Ok(())
}

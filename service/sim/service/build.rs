// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Tells the service's sources that they run over the simulated kernel.

fn main() {
    println!("cargo::rustc-cfg=simulated");
    println!("cargo::rerun-if-changed=build.rs");
}

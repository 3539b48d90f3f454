// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The checkout that a command works on, and the folders that it may write to.
//!
//! Nothing here is decided when the program is compiled: a checkout that was copied or moved, with its
//! `target` folder, works on itself.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The project's root folder: the one above the package that Cargo runs, or else above the current folder.
///
/// # Panics
///
/// If neither is inside a checkout: then there is nothing to work on.
pub fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        // Cargo sets it for `cargo run` and `cargo test` each time that it starts the program.
        let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let starts = [package, env::current_dir().ok()];
        let found = starts.iter().flatten().find_map(|start| above(start));
        found.expect("run this through cargo, or inside a checkout of buffersync")
    })
}

fn above(start: &Path) -> Option<PathBuf> {
    let is_root = |folder: &&Path| folder.join("xtask/Cargo.toml").is_file();
    start.ancestors().find(is_root).map(Path::to_path_buf)
}

/// Cargo's target folder: everything that the project's commands write is below it.
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// The testbed's downloads and images.
pub fn cache() -> PathBuf {
    target().join("testbed")
}

/// The folder that the guest sees as `/out`.
pub fn out() -> PathBuf {
    cache().join("out")
}

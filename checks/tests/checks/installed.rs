// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! One installation by `cargo xtask install`, for all checks that look at it.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use buffersync_testbed::checkout::target;
use buffersync_testbed::command::call;
use buffersync_testbed::programs;

/// The prefix of an installation without optimisation, made once in a process.
pub fn prefix() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let prefix = target().join("checks/prefix");
        let mut install = programs::cargo(&["xtask", "install", "--debug", "--prefix"]);
        // `cargo xtask test` builds the tests with flags (static linking) that the libraries must not get.
        call(install.arg(&prefix).env_remove("RUSTFLAGS")).unwrap();
        prefix
    })
}

mod tests {
    use std::process::Command;

    /// The unit starts a program that is there, by systemd's own check.
    #[test]
    fn systemd_can_start_the_service() {
        let unit = super::prefix().join("lib/systemd/system/vendor.buffersync.service");
        match Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(unit).output() {
            Ok(output) => assert!(output.status.success(), "{output:?}"),
            Err(_) => println!("skipped: there is no systemd-analyze here"),
        }
    }
}

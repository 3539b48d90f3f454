// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `buffersync.mk`, read by make as a product would read it.
//!
//! A stand-in for the product includes it, once for each way to set it, and prints what came of each
//! variable: every file has to be there, every package has to be a module of Android.bp.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::process::{Command, Stdio};

use buffersync_testbed::checkout::root;
use buffersync_testbed::provision;

type Result<T> = std::result::Result<T, String>;

/// The variables of a product that this project adds to.
const VARIABLES: [&str; 5] = [
    "BOARD_VENDOR_SEPOLICY_DIRS",
    "DEVICE_FRAMEWORK_COMPATIBILITY_MATRIX_FILE",
    "PRODUCT_COPY_FILES",
    "PRODUCT_PACKAGES",
    "TARGET_FS_CONFIG_GEN",
];

/// Each way to set it: what the product says before, and packages that it then has and has not.
const WAYS: [(&str, &str, &str); 2] = [
    ("", "vendor.buffersync-service", "com.vendor.buffersync"),
    ("BUFFERSYNC_APEX := true\n", "com.vendor.buffersync", "vendor.buffersync-service"),
];

/// Fails if the makefile names a file or a module that does not exist. `modules` are the names in Android.bp.
pub fn check(modules: &BTreeSet<String>) -> Result<()> {
    provision::need(&[("make", "make")]).map_err(|failure| failure.0)?;
    let fragment = fs::read_to_string(root().join("buffersync.mk"));
    check_text(&fragment.map_err(|error| format!("buffersync.mk: {error}"))?, modules)
}

fn check_text(fragment: &str, modules: &BTreeSet<String>) -> Result<()> {
    for (before, there, absent) in WAYS {
        let variables = expand(before, fragment)?;
        let packages = &variables["PRODUCT_PACKAGES"];
        if let Some(unknown) = packages.iter().find(|package| !modules.contains(*package)) {
            return Err(format!("Android.bp has no {unknown}"));
        }
        let has = |package: &str| packages.iter().any(|name| name == package);
        if !has(there) || has(absent) || !has("libbuffersync") || !has("libbuffersync_jni") {
            return Err(format!("with {before:?} a product has {packages:?}"));
        }
        check_files(&variables)?;
    }
    let without = expand("BUFFERSYNC_PUBLIC_LIBRARIES := false\n", fragment)?;
    if without["PRODUCT_COPY_FILES"].is_empty() {
        Ok(())
    } else {
        Err("public.libraries.txt is copied although the product has one".into())
    }
}

fn check_files(variables: &BTreeMap<&str, Vec<String>>) -> Result<()> {
    let expected = [
        ("BOARD_VENDOR_SEPOLICY_DIRS", "sepolicy"),
        (
            "DEVICE_FRAMEWORK_COMPATIBILITY_MATRIX_FILE",
            "init/device_framework_compatibility_matrix.xml",
        ),
        ("PRODUCT_COPY_FILES", "client-ndk/public.libraries.txt"),
        ("TARGET_FS_CONFIG_GEN", "init/config.fs"),
    ];
    for (variable, path) in expected {
        let said: Vec<&str> = variables[variable].iter().map(String::as_str).collect();
        let file = format!("vendor/buffersync/{path}");
        let copied = format!("{file}:out-vendor/etc/public.libraries.txt");
        let right = if variable == "PRODUCT_COPY_FILES" { [copied] } else { [file] };
        if said != right {
            return Err(format!("{variable} is {said:?}, not {right:?}"));
        }
        if !root().join(path).exists() {
            return Err(format!("{variable}: {path} is not there"));
        }
    }
    Ok(())
}

/// The variables' values in a product that has the lines `before` and then inherits the makefile.
fn expand(before: &str, fragment: &str) -> Result<BTreeMap<&'static str, Vec<String>>> {
    let mut text = format!("TARGET_COPY_OUT_VENDOR := out-vendor\n{before}{fragment}\nall:\n");
    for variable in VARIABLES {
        text.push_str(&format!("\t@echo '{variable}={}'\n", format_args!("$({variable})")));
    }
    let failed = |error: io::Error| format!("make: {error}");
    // make then warns of a variable that nobody has set, and does not take it for empty.
    let mut make = Command::new("make");
    make.args(["--warn-undefined-variables", "-f", "-"]);
    make.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut make = make.spawn().map_err(failed)?;
    // make reads all of it before it prints anything.
    make.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(text.as_bytes())).map_err(failed)?;
    let output = make.wait_with_output().map_err(failed)?;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    let serious = complaint.lines().find(|line| !VARIABLES.iter().any(|name| line.contains(name)));
    if let (false, _) | (_, Some(_)) = (output.status.success(), serious) {
        return Err(format!("make: {}", complaint.trim()));
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let value = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_default().split_whitespace().map(str::to_string).collect()
    };
    Ok(VARIABLES.into_iter().map(|name| (name, value(name))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules() -> BTreeSet<String> {
        crate::soong::modules().unwrap()
    }

    #[test]
    fn the_projects_fragment_says_what_is_there() {
        check(&modules()).unwrap();
    }

    #[test]
    fn a_fragment_that_says_something_else_is_noticed() {
        let right = fs::read_to_string(root().join("buffersync.mk")).unwrap();
        let changes = [
            ("+= vendor.buffersync-service", "+= vendor.buffersync"),
            ("($(BUFFERSYNC_APEX),true)", "($(BUFFERSYNC_APEX),yes)"),
            ("    libbuffersync \\\n", ""),
            ("init/config.fs", "init/config"),
            ("BUFFERSYNC_DIR ?=", "BUFFERSYNC ?="),
            ("BOARD_VENDOR_SEPOLICY_DIRS", "BOARD_SEPOLICY_DIRS"),
            ("($(BUFFERSYNC_PUBLIC_LIBRARIES),true)", "(true,true)"),
            ("/etc/public.libraries.txt", "/public.libraries.txt"),
            ("endif\n\n# The service's user", "\n# The service's user"),
        ];
        for (from, to) in changes {
            assert!(right.contains(from), "{from:?} is not there to be changed");
            let wrong = right.replacen(from, to, 1);
            assert!(check_text(&wrong, &modules()).is_err(), "{from:?} -> {to:?} was not noticed");
        }
    }
}

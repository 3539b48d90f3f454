// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The examples and tests of the C and Java API, built as their users would: against what
//! [`mod@crate::install`] has installed, found with pkg-config.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use buffersync_testbed::checkout::{root, target};
use buffersync_testbed::command::{call, files, made};
use buffersync_testbed::{provision, Failure};

use crate::install::{javac, Install};

/// The C programs notice leaks, stray accesses and undefined behaviour with these.
const SANITIZERS: &str = "-fsanitize=address,undefined";

/// The programs in C and C++, in `client-ndk/examples`. A program has the name of its file.
const PROGRAMS: [&str; 15] = [
    "c/camera.c",
    "cpp/codec.cc",
    "cpp/aosp_hals.cc",
    "cpp/camera_hal.cc",
    "tests/c/misuse.c",
    "tests/c/anything.c",
    "tests/c/reply_without_descriptor.c",
    "tests/c/service_without_descriptor.c",
    "tests/c/lock_of_own_group.c",
    "tests/c/media_sessions.c",
    "tests/c/encoder.c",
    "tests/c/memory_until_removed.c",
    "tests/c/read_only_descriptor.c",
    "tests/c/planes.c",
    "tests/c/stopped_service.c",
];

/// Installs in `prefix/` of the stage, as for users, but not optimised.
pub fn install(stage: &Path, java: bool) -> Result<PathBuf, Failure> {
    let prefix = stage.join("prefix");
    Install { prefix: &prefix, destdir: None, release: false, java, service: true }.run()?;
    Ok(prefix)
}

/// Builds everything into the stage: `prefix/` and `clients/`.
pub fn stage(stage: &Path) -> Result<(), Failure> {
    let tools = [("cc", "gcc"), ("c++", "g++"), ("pkg-config", "pkg-config")];
    provision::need(&tools)?;
    let prefix = install(stage, true)?;
    let clients = stage.join("clients");
    let _ = fs::remove_dir_all(&clients);
    made(fs::create_dir_all(clients.join("java")), "clients")?;
    made(fs::create_dir_all(clients.join("nativewindow")), "clients")?;
    let flags = pkg_config(&prefix)?;
    for program in &PROGRAMS {
        compile(program, &flags, &clients)?;
    }
    let examples = root().join("client-ndk/examples");
    let library = clients.join("nativewindow/libnativewindow.so");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]);
    call(cc.arg(examples.join("tests/c/nativewindow.c")).arg("-o").arg(library))?;
    java(&clients.join("java"), &prefix.join("share/java/buffersync.jar"))
}

/// The Java examples and tests, Android's part of the API over stand-ins for the platform's classes,
/// and the documentation of both.
fn java(to: &Path, jar: &Path) -> Result<(), Failure> {
    let client = root().join("client-ndk");
    let android = client.join("java-android");
    let mut sources = Vec::new();
    for folder in ["stubs/android/hardware", "stubs/android/os", "vendor/buffersync"] {
        sources.extend(files(&android.join(folder), "java")?);
    }
    for folder in ["java", "tests/java"] {
        sources.extend(files(&client.join("examples").join(folder), "java")?);
    }
    javac(to, &[jar], &sources)?;
    let documented = [client.join("java/vendor/buffersync"), android.join("vendor/buffersync")];
    let mut javadoc = Command::new("javadoc");
    javadoc.args(["-quiet", "-Xdoclint:all", "-Werror", "-d"]).arg(target().join("java/doc"));
    javadoc.arg("-classpath").arg(to);
    for folder in documented {
        javadoc.args(files(&folder, "java")?);
    }
    call(&mut javadoc)
}

fn pkg_config(prefix: &Path) -> Result<Vec<String>, Failure> {
    let mut command = Command::new("pkg-config");
    command.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"));
    let output = made(command.args(["--cflags", "--libs", "buffersync"]).output(), "pkg-config")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure(format!("pkg-config does not find buffersync: {}", said.trim())));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_whitespace().map(str::to_string).collect())
}

fn compile(program: &str, flags: &[String], to: &Path) -> Result<(), Failure> {
    let examples = root().join("client-ndk/examples");
    let source = examples.join(program);
    let name = source.file_stem().unwrap_or_default();
    let (compiler, standard) = match program.ends_with(".cc") {
        true => ("c++", "-std=c++17"),
        false => ("cc", "-std=gnu11"),
    };
    let mut call_of = Command::new(compiler);
    call_of.args([standard, "-g", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
    call_of.args([SANITIZERS, "-fno-sanitize-recover=all", "-pthread"]);
    call_of.arg("-I").arg(examples.join("c"));
    call_of.arg(&source).arg("-o").arg(to.join(name));
    call(call_of.args(flags).arg("-Wl,-rpath,$ORIGIN/../prefix/lib"))
}

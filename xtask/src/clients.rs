// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The examples and tests of the C, Java and Kotlin API, built as their users would: against what
//! [`mod@crate::install`] has installed, found with pkg-config.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use buffersync_testbed::checkout::{cache, root, target};
use buffersync_testbed::command::{call, copy, files, made};
use buffersync_testbed::{provision, Failure};

use crate::install::{annotations, javac, javadoc, Install};

/// The C programs notice leaks, stray accesses and undefined behaviour with these.
const SANITIZERS: &str = "-fsanitize=address,undefined";

/// The programs in C and C++, in `client-ndk/examples`. A program has the name of its file.
const PROGRAMS: [&str; 16] = [
    "c/camera.c",
    "cpp/codec.cc",
    "cpp/aosp_hals.cc",
    "cpp/camera_hal.cc",
    "tests/cpp/objects.cc",
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
    let jar = prefix.join("share/java/buffersync.jar");
    java(&clients.join("java"), &jar)?;
    kotlin(&clients.join("kotlin"), &jar)
}

/// The Java examples and tests, Android's part of the API over stand-ins for the platform's classes,
/// and the documentation of that part.
fn java(to: &Path, jar: &Path) -> Result<(), Failure> {
    let module = output(Command::new("jar").arg("--describe-module").arg("--file").arg(jar))?;
    if !module.contains("vendor.buffersync automatic") {
        return Err(Failure(format!("{} names no module:\n{module}", jar.display())));
    }
    let client = root().join("client-ndk");
    let android = client.join("java-android");
    let mut sources = Vec::new();
    for folder in ["stubs/android/hardware", "stubs/android/os", "vendor/buffersync"] {
        sources.extend(files(&android.join(folder), "java")?);
    }
    for folder in ["java", "tests/java"] {
        sources.extend(files(&client.join("examples").join(folder), "java")?);
    }
    // Without JSpecify, as programs are compiled that do not know it.
    javac(to, &[jar], &sources)?;
    let documented = files(&android.join("vendor/buffersync"), "java")?;
    javadoc(&target().join("java/doc-android"), &[to, jar, &annotations()?], &documented)
}

/// The Kotlin examples, and the libraries that they need. Kotlin has to know what may be null, so it also has to refuse
/// each line of `Nullness.kt` that ends in WRONG, and no other.
fn kotlin(to: &Path, jar: &Path) -> Result<(), Failure> {
    let kotlin = provision::kotlin(&cache())?;
    let examples = root().join("client-ndk/examples");
    let sources = files(&examples.join("kotlin"), "kt")?;
    call(kotlin.compiler(to, &[jar])?.args(&sources))?;
    for library in kotlin.libraries() {
        copy(&library, &to.join("lib").join(library.file_name().unwrap_or_default()))?;
    }
    let wrong = examples.join("tests/kotlin/Nullness.kt");
    let text = made(fs::read_to_string(&wrong), "Nullness.kt")?;
    let mut compiler = kotlin.compiler(&target().join("java/wrong"), &[jar])?;
    let said = made(compiler.arg(&wrong).output(), "java")?.stderr;
    same_lines(&text, &String::from_utf8_lossy(&said)).map_err(Failure)
}

/// Compares the lines that end in WRONG with those that a compiler has refused.
fn same_lines(source: &str, said: &str) -> Result<(), String> {
    let wrong = |(at, line): (usize, &str)| line.ends_with("// WRONG").then_some(at + 1);
    let expected: BTreeSet<usize> = source.lines().enumerate().filter_map(wrong).collect();
    let refused = |line: &str| line.split_once(".kt:")?.1.split(':').next()?.parse().ok();
    let errors = said.lines().filter(|line| line.contains(": error: "));
    let found: BTreeSet<usize> = errors.filter_map(refused).collect();
    match !expected.is_empty() && expected == found {
        true => Ok(()),
        false => {
            Err(format!("Kotlin should refuse the lines {expected:?}, not {found:?}:\n{said}"))
        }
    }
}

/// The standard output of a command that has to succeed.
fn output(command: &mut Command) -> Result<String, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = made(command.output(), &name)?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(Failure(format!("{name} failed ({})", output.status))),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_kotlin_does_not_refuse_is_noticed() {
        let source = "val a = 1\nval b: Int = null // WRONG\n";
        let refused = |line| format!("/x/Nullness.kt:{line}:8: error: null cannot be a value\n");
        same_lines(source, &refused(2)).unwrap();
        for said in [String::new(), refused(1), refused(2) + &refused(1)] {
            assert!(same_lines(source, &said).is_err(), "{said}");
        }
        assert!(same_lines("val a = 1\n", "").is_err(), "nothing is checked");
    }
}

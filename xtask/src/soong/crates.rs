// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The Rust modules of Android.bp as a Cargo workspace, and its compilation.
//!
//! One package for each module, made from the module alone: its source, crate name, edition, `cfgs`,
//! `rustlibs`. Cargo then does what Soong would; what a module does not say, it does not have.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::blueprint::Module;
use super::{bindings, Result, Tree};
use crate::aidl::compiler::NATIVE_HANDLE;
use crate::aidl::syntax::{self, File};
use crate::{aidl, build, root, target};

/// A crate of AOSP's external/rust/android-crates-io: module, crate, version, features as its Android.bp has
/// them (main, end of 2025).
struct External {
    module: &'static str,
    name: &'static str,
    version: &'static str,
    features: &'static [&'static str],
}

const EXTERNAL: [External; 9] = [
    External {
        module: "libandroid_logger",
        name: "android_logger",
        version: "0.15.1",
        features: &["default", "regex"],
    },
    External { module: "libjni", name: "jni", version: "0.21.1", features: &["default"] },
    External {
        module: "liblibc",
        name: "libc",
        version: "0.2.177",
        features: &["default", "extra_traits", "std"],
    },
    External { module: "liblibtest_mimic", name: "libtest-mimic", version: "0.6.1", features: &[] },
    External { module: "liblog_rust", name: "log", version: "0.4.28", features: &["std"] },
    External {
        module: "libnix",
        name: "nix",
        version: "0.29.0",
        features: &[
            "event",
            "feature",
            "fs",
            "inotify",
            "ioctl",
            "memoffset",
            "mman",
            "mount",
            "net",
            "poll",
            "process",
            "sched",
            "signal",
            "socket",
            "term",
            "time",
            "uio",
            "user",
        ],
    },
    External {
        module: "libonce_cell",
        name: "once_cell",
        version: "1.21.3",
        features: &["alloc", "default", "race", "std"],
    },
    External {
        module: "libthiserror",
        name: "thiserror",
        version: "2.0.16",
        features: &["default", "std"],
    },
    External {
        module: "libtokio",
        name: "tokio",
        version: "1.47.2",
        features: &["net", "rt", "sync", "macros"],
    },
];

/// Generated bindings, by the module that `aidl_interface` makes.
const BINDINGS: [(&str, &str); 2] = [
    ("android.hardware.common-V2-rust", "android_hardware_common"),
    ("vendor.buffersync-V1-rust", "vendor_buffersync"),
];

/// What of a module can be compiled: `rust_fuzz` needs the fuzzer's runtime and has a step of its own.
const KINDS: [&str; 5] =
    ["rust_library", "rust_ffi_static", "rust_ffi_shared", "rust_binary", "rust_test"];

/// Whether AOSP has, or an `aidl_interface` makes, this module.
pub fn is_known(name: &str) -> bool {
    name == "libbinder_rs"
        || EXTERNAL.iter().any(|external| external.module == name)
        || BINDINGS.iter().any(|(module, _)| *module == name)
}

/// The module that a Cargo dependency is under Soong.
pub fn module_of(dependency: &str) -> String {
    let external = EXTERNAL.iter().find(|external| external.name == dependency);
    external
        .map_or_else(|| format!("lib{}", dependency.replace('-', "_")), |e| e.module.to_string())
}

/// Compiles all of them; returns how many.
pub fn compile(tree: &Tree) -> Result<usize> {
    let work = target().join("soong");
    let modules: Vec<&Module> =
        tree.modules.iter().filter(|module| KINDS.contains(&module.kind.as_str())).collect();
    let mut members = Vec::new();
    for module in &modules {
        let folder = work.join(package(module.name()));
        put(&folder.join("Cargo.toml"), &manifest(module)?)?;
        put(&folder.join("build.rs"), &cfgs(module))?;
        members.push(package(module.name()));
    }
    for (module, files, others) in generated()? {
        let folder = work.join(package(module));
        let name =
            BINDINGS.iter().find(|(known, _)| *known == module).map_or("", |(_, name)| *name);
        let mut text = head(module, name, &folder.join("lib.rs"), "lib", "2021");
        let _ = write!(
            text,
            "[dependencies]\nbinder = {{ package = \"libbinder_rs\", path = {:?} }}\n",
            stand_in()
        );
        for (other, name) in
            BINDINGS.iter().filter(|(_, name)| others.values().any(|path| path.starts_with(name)))
        {
            let _ = writeln!(
                text,
                "{name} = {{ package = {:?}, path = \"../{}\" }}",
                package(other),
                package(other)
            );
        }
        put(&folder.join("Cargo.toml"), &text)?;
        put(&folder.join("lib.rs"), &bindings::print(&files, &others)?)?;
        members.push(package(module));
    }
    put(
        &work.join("Cargo.toml"),
        &format!("[workspace]\nresolver = \"2\"\nmembers = {members:?}\n"),
    )?;
    // The versions of what AOSP's crates depend on are those of the project's own lock.
    if !work.join("Cargo.lock").exists() {
        let copied = fs::copy(root().join("Cargo.lock"), work.join("Cargo.lock"));
        copied.map_err(|error| format!("Cargo.lock: {error}"))?;
    }
    let mut cargo = build::cargo(&["check", "--quiet", "--workspace"]);
    cargo.current_dir(&work).env("CARGO_TARGET_DIR", work.join("target"));
    cargo.env_remove("RUSTFLAGS").stdin(Stdio::null());
    let status = cargo.status().map_err(|error| format!("cargo check: {error}"))?;
    status
        .success()
        .then_some(modules.len())
        .ok_or_else(|| format!("a module does not compile ({status})"))
}

/// The package of a module.
fn package(module: &str) -> String {
    module.replace(|c: char| !c.is_ascii_alphanumeric() && c != '_', "-")
}

fn stand_in() -> PathBuf {
    root().join("aidl/libbinder_rs")
}

fn head(module: &str, name: &str, source: &Path, kind: &str, edition: &str) -> String {
    let section = if kind == "lib" { "[lib]" } else { "[[bin]]" };
    format!(
        "[package]\nname = {:?}\nversion = \"0.0.0\"\nedition = {edition:?}\n\n{section}\nname = {name:?}\n\
         path = {source:?}\n\n",
        package(module)
    )
}

fn manifest(module: &Module) -> Result<String> {
    let say = |what: &str| format!("{} has no {what}", module.name());
    let source = *module.list("srcs").first().ok_or_else(|| say("srcs"))?;
    let name = module.text("crate_name").ok_or_else(|| say("crate_name"))?;
    let edition = module.text("edition").ok_or_else(|| say("edition"))?;
    if module.kind == "rust_test" && !module.properties.contains_key("test_harness") {
        return Err(format!(
            "{}: only tests with a harness of their own are compiled here",
            module.name()
        ));
    }
    let kind =
        if ["rust_binary", "rust_test"].contains(&module.kind.as_str()) { "bin" } else { "lib" };
    let source = root().join(&module.folder).join(source);
    let mut text = head(module.name(), name, &source, kind, edition);
    text.push_str("[dependencies]\n");
    for dependency in module.list("rustlibs") {
        let line = if dependency == "libbinder_rs" {
            format!("binder = {{ package = \"libbinder_rs\", path = {:?} }}", stand_in())
        } else if let Some(external) =
            EXTERNAL.iter().find(|external| external.module == dependency)
        {
            format!(
                "{} = {{ version = \"={}\", default-features = false, features = {:?} }}",
                external.name, external.version, external.features
            )
        } else {
            format!("{} = {{ path = \"../{}\" }}", package(dependency), package(dependency))
        };
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

/// A build script that sets the module's `cfgs`, and for no other package.
fn cfgs(module: &Module) -> String {
    let mut text =
        String::from("fn main() {\n    println!(\"cargo::rustc-check-cfg=cfg(libbinder_rs, feature, values(any()))\");\n");
    for cfg in module.list("cfgs") {
        let _ = writeln!(text, "    println!(\"cargo::rustc-cfg={cfg}\");");
    }
    text.push_str("}\n");
    text
}

/// What the bindings' crates are made of: AIDL files, and where types of other crates are.
#[allow(clippy::type_complexity, reason = "three columns of a table")]
fn generated() -> Result<Vec<(&'static str, Vec<File>, BTreeMap<&'static str, &'static str>)>> {
    let own = aidl::Tree::of_project().files().map_err(|failure| failure.0)?;
    let handle =
        "android_hardware_common::aidl::android::hardware::common::NativeHandle::NativeHandle";
    let others = BTreeMap::from([("android.hardware.common.NativeHandle", handle)]);
    Ok(vec![
        (BINDINGS[0].0, vec![syntax::parse(NATIVE_HANDLE)?], BTreeMap::new()),
        (BINDINGS[1].0, own, others),
    ])
}

/// Writes a file if its text is another one: what did not change is not compiled again.
fn put(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let made =
        path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, text));
    made.map_err(|error| format!("{}: {error}", path.display()))
}

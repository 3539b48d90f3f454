// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The Rust modules of Android.bp as a Cargo workspace, and its compilation.
//!
//! One package for each module, made from the module alone: its source, crate name, edition, `cfgs`,
//! `rustlibs`. Cargo then does what Soong would; what a module does not say, it does not have.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use buffersync_testbed::checkout::{root, target};
use buffersync_testbed::command::files;
use buffersync_testbed::programs;
use buffersync_testbed::provision::Compiler;

use super::blueprint::Module;
use super::{Result, Tree};
use buffersync_checks::aidl;

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

/// A module that `aidl_interface` makes of AIDL files.
struct Bindings {
    module: &'static str,
    name: &'static str,
    /// The folder below `aidl/` that imports are relative to.
    above: &'static str,
    /// The files' folder below that one.
    package: &'static str,
    imports: &'static [&'static str],
}

const BINDINGS: [Bindings; 2] = [
    Bindings {
        module: "android.hardware.common-V2-rust",
        name: "android_hardware_common",
        above: aidl::IMPORTS,
        package: "android/hardware/common",
        imports: &[],
    },
    Bindings {
        module: "vendor.buffersync-V1-rust",
        name: "vendor_buffersync",
        above: "",
        package: aidl::PACKAGE,
        imports: &["android_hardware_common"],
    },
];

/// Rust of AOSP's main (Android 16): what is newer does not compile there.
const RUST_OF_AOSP: &str = "1.83";

/// The targets of Android's devices. In 32 bits Soong builds only the client's libraries and the suite; the other
/// modules compile for it, too.
const TARGETS: [&str; 3] =
    ["aarch64-linux-android", "x86_64-linux-android", "armv7-linux-androideabi"];

/// The kinds of modules that are compiled. `rust_fuzz` needs the fuzzer's runtime: `cargo xtask test fuzz` builds it.
const KINDS: [&str; 5] =
    ["rust_library", "rust_ffi_static", "rust_ffi_shared", "rust_binary", "rust_test"];

/// True for a module that AOSP has or an `aidl_interface` makes.
pub fn is_known(name: &str) -> bool {
    name == "libbinder_rs"
        || EXTERNAL.iter().any(|external| external.module == name)
        || BINDINGS.iter().any(|bindings| bindings.module == name)
}

/// The module that a Cargo dependency is under Soong.
pub fn module_of(dependency: &str) -> String {
    let external = EXTERNAL.iter().find(|external| external.name == dependency);
    external
        .map_or_else(|| format!("lib{}", dependency.replace('-', "_")), |e| e.module.to_string())
}

/// Compiles all of them for Android's targets; says how many, and for which.
pub fn compile(tree: &Tree, compiler: &Compiler) -> Result<String> {
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
    for bindings in &BINDINGS {
        let folder = work.join(package(bindings.module));
        put(&folder.join("Cargo.toml"), &bindings.manifest(&folder))?;
        put(&folder.join("lib.rs"), &bindings.generate(compiler, &work.join("aidl"))?)?;
        members.push(package(bindings.module));
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
    let count = modules.len();
    if let Err(why) = add_targets() {
        check(&work, None)?;
        return Ok(format!("{count} Rust modules compile, but for this machine only: {why}"));
    }
    for target in TARGETS {
        check(&work, Some(target))?;
    }
    let targets = TARGETS.join(", ");
    Ok(format!("{count} Rust modules compile for {targets}, with no std newer than {RUST_OF_AOSP}"))
}

/// Has rustup get the standard library of each target. Checking needs no linker, so no NDK.
fn add_targets() -> Result<()> {
    let mut rustup = Command::new("rustup");
    rustup.current_dir(root()).args(["target", "add"]).args(TARGETS).stdin(Stdio::null());
    let output = rustup.output().map_err(|error| format!("rustup: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or_default();
    output.status.success().then_some(()).ok_or_else(|| format!("rustup target add: {last}"))
}

/// Compiles the workspace without linking. Warnings are errors, and so is what AOSP's Rust does not have, by
/// clippy's list and `rust-version` in the manifests.
fn check(work: &Path, target: Option<&str>) -> Result<()> {
    let mut cargo = programs::cargo(&["clippy", "--quiet", "--workspace", "--no-deps"]);
    if let Some(target) = target {
        cargo.args(["--target", target]);
    }
    cargo.args(["--", "-D", "warnings", "-A", "clippy::all", "-D", "clippy::incompatible_msrv"]);
    cargo.current_dir(work).env("CARGO_TARGET_DIR", work.join("target"));
    cargo.env_remove("RUSTFLAGS").stdin(Stdio::null());
    let status = cargo.status().map_err(|error| format!("cargo clippy: {error}"))?;
    let here = target.unwrap_or("this machine");
    status.success().then_some(()).ok_or_else(|| format!("a module does not compile for {here}"))
}

/// The package of a module.
fn package(module: &str) -> String {
    module.replace(|c: char| !c.is_ascii_alphanumeric() && c != '_', "-")
}

fn stand_in() -> PathBuf {
    root().join("checks/tests/libbinder_rs")
}

fn head(module: &str, name: &str, source: &Path, kind: &str, edition: &str) -> String {
    let section = if kind == "lib" { "[lib]" } else { "[[bin]]" };
    format!(
        "[package]\nname = {:?}\nversion = \"0.0.0\"\nedition = {edition:?}\n\
         rust-version = {RUST_OF_AOSP:?}\n\n{section}\nname = {name:?}\n\
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
        String::from("fn main() {\n    println!(\"cargo::rustc-check-cfg=cfg(libbinder_rs, simulated, feature, values(any()))\");\n");
    for cfg in module.list("cfgs") {
        let _ = writeln!(text, "    println!(\"cargo::rustc-cfg={cfg}\");");
    }
    for feature in module.list("features") {
        let _ = writeln!(text, "    println!(\"cargo::rustc-cfg=feature=\\\"{feature}\\\"\");");
    }
    text.push_str("}\n");
    text
}

impl Bindings {
    fn manifest(&self, folder: &Path) -> String {
        let mut text = head(self.module, self.name, &folder.join("lib.rs"), "lib", "2021");
        let _ = write!(
            text,
            "[dependencies]\nasync-trait = \"0.1\"\nbinder = {{ package = \"libbinder_rs\", path = {:?} }}\n",
            stand_in()
        );
        for import in BINDINGS.iter().filter(|other| self.imports.contains(&other.name)) {
            let other = package(import.module);
            let _ = writeln!(
                text,
                "{} = {{ package = {other:?}, path = \"../{other}\" }}",
                import.name
            );
        }
        text
    }

    /// The crate's source: what AOSP's compiler writes for each file, in modules as Soong nests
    /// them. The compiler is Android 14's. Later ones name the lifetime of each reference, and give
    /// each trait a method more, `try_as_async_server`, which has a body. What is written for one
    /// compiles with the other.
    fn generate(&self, compiler: &Compiler, work: &Path) -> Result<String> {
        let above = root().join("aidl").join(self.above);
        let version = match self.package {
            aidl::PACKAGE => aidl::Tree::of_project().version_arguments(compiler).map(Vec::from),
            _ => Ok(vec![]),
        };
        let _ = fs::remove_dir_all(work);
        version
            .and_then(|v| aidl::generate(compiler, "rust", (&above, self.package), work, &v))
            .map_err(|failure| failure.0)?;
        // What the compiler writes is not ours to mend.
        let mut text = String::from("#![allow(warnings)]\npub mod aidl {\n");
        let mut mangled = String::new();
        let names: Vec<&str> = self.package.split('/').collect();
        for name in &names {
            let _ = writeln!(text, "pub mod {name} {{");
        }
        for file in files(&work.join(self.package), "rs").map_err(|failure| failure.0)? {
            let module = file.file_stem().unwrap_or_default().to_string_lossy();
            let source = fs::read_to_string(&file);
            let source = source.map_err(|error| format!("{}: {error}", file.display()))?;
            let _ = writeln!(text, "pub mod {module} {{\n{source}}}");
            let path = names.join("::");
            let _ = writeln!(mangled, "pub use super::aidl::{path}::{module}::mangled::*;");
        }
        for import in self.imports {
            let _ = writeln!(mangled, "pub(crate) use {import}::mangled::*;");
        }
        let _ = writeln!(text, "{}}}\npub mod mangled {{\n{mangled}}}", "}\n".repeat(names.len()));
        Ok(text)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_aosps_rust_does_not_have_is_refused() {
        let work = target().join("soong-test");
        let source = work.join("lib.rs");
        let manifest = head("newer", "newer", &source, "lib", "2021") + "[workspace]\n";
        put(&work.join("Cargo.toml"), &manifest).unwrap();
        put(&source, "pub fn f() -> bool { 4_u32.is_power_of_two() }\n").unwrap();
        check(&work, None).unwrap();
        // Since Rust 1.87.
        put(&source, "pub fn f() -> bool { std::io::pipe().is_ok() }\n").unwrap();
        assert!(check(&work, None).is_err());
    }
}

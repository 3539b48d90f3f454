// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Checks of `Android.bp` without Android's tree.
//!
//! Soong itself can't be had here, so this does with the files what Soong would, as far as it goes: parses
//! them, looks every file and every module up that they name, and compiles each Rust module from what
//! its own properties say, against the versions and features that AOSP has of other crates, the
//! signatures of libbinder_rs, and the bindings that AOSP's compiler writes. A dependency that is
//! missing, a feature that AOSP has not, a call that only rsbinder knows: each ends in an error here. And
//! the files say no more than Cargo's: the same sources, crate names, editions and dependencies.
//!
//! | part | what it is |
//! |---|---|
//! | [`blueprint`] | the grammar |
//! | [`crates`] | a Cargo workspace of the Rust modules |

mod blueprint;
mod crates;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use buffersync_testbed::checkout::root;
use buffersync_testbed::{programs, provision};
use serde_json::Value as Json;

use blueprint::Module;
use buffersync_checks::aidl;

/// The error says what is wrong.
type Result<T> = std::result::Result<T, String>;

/// Modules of AOSP that ours name, and that are no crates of crates.io.
const OF_AOSP: [&str; 6] = [
    "android.hardware.common-V2",
    "com.android.hardware.key",
    "libbinder_ndk",
    "com.android.hardware.certificate",
    "libcutils",
    "liblog",
];

/// Defaults of AOSP that ours build on: `libbinder_rs` and `libbinder_random_parcel_rs`.
const DEFAULTS_OF_AOSP: [&str; 1] = ["service_fuzzer_defaults_rs"];

/// Cargo's packages that no device needs: why.
const NOT_ON_A_DEVICE: [(&str, &str); 21] = [
    ("aidl/binder", "libbinder_rs is there"),
    ("checks/tests/libbinder_rs", "libbinder_rs is there"),
    ("client-ndk/examples", "documentation, run by the project's own tests"),
    ("checks", "holds Android's files against the tree"),
    ("service/engine/bench", "needs peers that AOSP has not"),
    ("service/engine/tests/mutants", "calls cargo"),
    ("service/fuzz/driver", "calls cargo"),
    ("service/sim", "runs over a simulated kernel, on the developer's machine"),
    ("service/sim/driver", "calls cargo"),
    ("service/sim/kernel", "runs over a simulated kernel, on the developer's machine"),
    ("service/sim/service", "runs over a simulated kernel, on the developer's machine"),
    ("testbed", "brings a kernel up on a developer's machine"),
    ("vts/conformance", "calls cargo"),
    ("xtask", "calls cargo"),
    ("service/engine/fuzz", "the fuzzer's module is service/engine's"),
    ("testbed/bench", "measures beside peers that AOSP has not"),
    ("testbed/bench/report", "calls cargo"),
    ("testbed/coherence", "brings its own service manager and virtual machine"),
    ("testbed/demo", "brings its own service manager and virtual machine"),
    ("testbed/soak", "brings its own service manager and virtual machine"),
    ("testbed/platform", "stands for what a device has"),
];

/// Dependencies that Cargo has on Linux alone, or under another name.
const CARGO_ALONE: [&str; 4] = ["binder", "env_logger", "rsbinder", "tokio"];

/// The names of all modules.
pub fn modules() -> Result<BTreeSet<String>> {
    let tree = Tree::of_project()?;
    Ok(tree.modules.iter().map(|module| module.name().to_string()).collect())
}

/// All modules, with their defaults.
#[derive(Clone)]
struct Tree {
    modules: Vec<Module>,
}

impl Tree {
    fn of_project() -> Result<Self> {
        Self::read(&texts()?)
    }

    /// Reads files: pairs of a folder below the root and a text.
    fn read(texts: &[(PathBuf, String)]) -> Result<Self> {
        let mut modules = Vec::new();
        for (folder, text) in texts {
            let read = blueprint::parse(text, folder);
            modules.extend(read.map_err(|why| format!("{}: {why}", folder.display()))?);
        }
        Ok(Self { modules: with_defaults(modules)? })
    }

    /// Fails if a file or module that is named does not exist, or a name exists twice.
    fn check(&self) -> Result<()> {
        let mut names = BTreeSet::new();
        for module in self.modules.iter().filter(|module| module.kind != "package") {
            if module.name().is_empty() || !names.insert(module.name()) {
                return Err(format!("{} has no name of its own", module.name()));
            }
        }
        for module in &self.modules {
            self.check_files(module)?;
            self.check_dependencies(module, &names)?;
            self.check_linking(module)?;
        }
        self.check_cargo(&metadata()?)
    }

    fn check_files(&self, module: &Module) -> Result<()> {
        const OF_FILES: [&str; 14] = [
            "certificate",
            "export_include_dirs",
            "file_contexts",
            "init_rc",
            "license_text",
            "manifest",
            "src",
            "srcs",
            "symbol_file",
            "test_config",
            "version_script",
            "vintf_fragments",
            "wrapper_src",
            "vendor_public_library",
        ];
        for (property, value) in &module.properties {
            if !OF_FILES.contains(&property.as_str()) {
                continue;
            }
            let value = match value {
                blueprint::Value::Map(map) => match map.get("symbol_file") {
                    Some(file) => file,
                    None => continue,
                },
                value => value,
            };
            for path in value.texts() {
                let there = match path.strip_prefix(':') {
                    Some(name) => OF_AOSP.contains(&name) || self.module(name).is_some(),
                    None => matches(&root().join(&module.folder).join(path)),
                };
                if !there {
                    return Err(format!("{}: {property}: {path} is not there", module.name()));
                }
            }
        }
        Ok(())
    }

    fn check_dependencies(&self, module: &Module, names: &BTreeSet<&str>) -> Result<()> {
        const OF_MODULES: [&str; 12] = [
            "binaries",
            "default_applicable_licenses",
            "export_header_lib_headers",
            "header_libs",
            "imports",
            "key",
            "libs",
            "prebuilts",
            "rustlibs",
            "shared_libs",
            "static_libs",
            "whole_static_libs",
        ];
        for (property, value) in &module.properties {
            if !OF_MODULES.contains(&property.as_str()) {
                continue;
            }
            let mut sorted = value.texts();
            sorted.sort_unstable();
            sorted.dedup();
            if sorted.len() != value.texts().len() {
                return Err(format!("{}: {property} names something twice", module.name()));
            }
            for name in sorted {
                if !names.contains(name) && !OF_AOSP.contains(&name) && !crates::is_known(name) {
                    return Err(format!(
                        "{}: {property}: there is no module {name}",
                        module.name()
                    ));
                }
            }
        }
        Ok(())
    }

    /// Fails if a module would not find its libraries on a device.
    fn check_linking(&self, module: &Module) -> Result<()> {
        // A shared std and crates beside it are on the vendor partition, where an app's linker does not look.
        let alone = ["rust_ffi_shared", "rust_binary"].contains(&module.kind.as_str());
        let prefers = module.properties.get("prefer_rlib");
        if alone && !prefers.is_some_and(|value| *value == blueprint::Value::Bool(true)) {
            return Err(format!("{}: prefer_rlib is not true", module.name()));
        }
        let has_rust_inside = module
            .list("whole_static_libs")
            .into_iter()
            .any(|name| self.module(name).is_some_and(|inside| inside.kind == "rust_ffi_static"));
        let needed: &[&str] = match module.name() {
            // Its code calls functions that no crate of its rustlibs brings.
            "libbuffersync_service" => &["libcutils"],
            // A cc module does not learn what the Rust libraries inside of it need: libbinder_rs's libraries.
            _ if has_rust_inside => &["libbinder_ndk", "liblog"],
            _ => &[],
        };
        for library in needed {
            if !module.list("shared_libs").contains(library) {
                return Err(format!("{}: shared_libs: {library} is missing", module.name()));
            }
        }
        Ok(())
    }

    /// Fails if Cargo has other crates, or other dependencies.
    fn check_cargo(&self, metadata: &Json) -> Result<()> {
        let mut covered = BTreeSet::new();
        for package in packages(metadata) {
            let folder = folder(package)?;
            for target in package["targets"].as_array().into_iter().flatten() {
                let source = target["src_path"].as_str().map(PathBuf::from).unwrap_or_default();
                for module in self.modules.iter().filter(|module| module.kind.starts_with("rust_"))
                {
                    let Some(first) = module.list("srcs").first().copied() else { continue };
                    if root().join(&module.folder).join(first) != source {
                        continue;
                    }
                    covered.insert(folder.clone());
                    same(module, package, target)?;
                }
            }
        }
        for package in packages(metadata) {
            let folder = folder(package)?;
            let excused = NOT_ON_A_DEVICE.iter().any(|(path, _)| Path::new(path) == folder);
            if covered.contains(&folder) == excused {
                return Err(format!("{}: either a module or a reason for none", folder.display()));
            }
        }
        Ok(())
    }

    fn module(&self, name: &str) -> Option<&Module> {
        self.modules.iter().find(|module| module.name() == name)
    }
}

/// Fails if a module and a target of Cargo differ.
fn same(module: &Module, package: &Json, target: &Json) -> Result<()> {
    let name = module.name();
    if module.text("edition") != target["edition"].as_str() {
        return Err(format!("{name}: Cargo has another edition"));
    }
    let is_library = target["kind"].as_array().is_some_and(|kinds| {
        kinds.iter().any(|kind| {
            ["lib", "rlib", "cdylib", "staticlib"].contains(&kind.as_str().unwrap_or_default())
        })
    });
    if !is_library {
        return Ok(());
    }
    if module.text("crate_name")
        != target["name"].as_str().map(|name| name.replace('-', "_")).as_deref()
    {
        return Err(format!("{name}: Cargo's crate is {}", target["name"]));
    }
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    let of_cargo: BTreeSet<String> = dependencies
        .filter(|dependency| dependency["kind"].is_null())
        .filter_map(|dependency| dependency["name"].as_str())
        .filter(|name| !CARGO_ALONE.contains(name))
        .map(crates::module_of)
        .collect();
    let of_soong: BTreeSet<String> = module
        .list("rustlibs")
        .into_iter()
        .filter(|name| !name.ends_with("-rust") && *name != "libbinder_rs")
        .map(str::to_string)
        .collect();
    if of_cargo != of_soong {
        let differ: Vec<_> = of_cargo.symmetric_difference(&of_soong).collect();
        return Err(format!("{name}: {differ:?}: only Soong, or only Cargo, depends on it"));
    }
    Ok(())
}

/// Fails if bpfmt would format the files in another way; `Ok(false)` if there is no bpfmt.
fn check_formatted() -> Result<bool> {
    if provision::need(&[("bpfmt", "blueprint-tools")]).is_err() {
        return Ok(false);
    }
    let mut bpfmt = Command::new("bpfmt");
    bpfmt.args(["-l", "-s"]).args(files()?);
    let output = bpfmt.output().map_err(|error| format!("bpfmt: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    if output.status.success() && said.trim().is_empty() && failed.trim().is_empty() {
        return Ok(true);
    }
    Err(format!("bpfmt would change {}{}", said.trim(), failed.trim()))
}

/// Every Android.bp that git has, or could have.
fn files() -> Result<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.current_dir(root()).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "-z",
        "*Android.bp",
    ]);
    let output = git.output().map_err(|error| format!("git: {error}"))?;
    let listed = String::from_utf8_lossy(&output.stdout);
    let files: Vec<PathBuf> =
        listed.split('\0').filter(|path| !path.is_empty()).map(|path| root().join(path)).collect();
    if files.is_empty() {
        return Err("git lists no Android.bp".into());
    }
    Ok(files)
}

/// The texts of all `Android.bp` files, each with its folder below the root.
fn texts() -> Result<Vec<(PathBuf, String)>> {
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file);
        let folder = file.parent().and_then(|folder| folder.strip_prefix(root()).ok());
        let folder = folder.unwrap_or(Path::new("")).to_path_buf();
        Ok((folder, text.map_err(|error| format!("{}: {error}", file.display()))?))
    };
    files()?.into_iter().map(read).collect()
}

/// Modules with what their defaults say. Defaults may have defaults.
fn with_defaults(modules: Vec<Module>) -> Result<Vec<Module>> {
    let defaults: BTreeMap<String, Module> = modules
        .iter()
        .filter(|module| module.kind.ends_with("_defaults"))
        .map(|module| (module.name().to_string(), module.clone()))
        .collect();
    let complete = |mut module: Module| {
        let mut wanted: Vec<String> =
            module.list("defaults").into_iter().map(str::to_string).collect();
        while let Some(name) = wanted.pop() {
            if DEFAULTS_OF_AOSP.contains(&name.as_str()) {
                continue;
            }
            let found =
                defaults.get(&name).ok_or_else(|| format!("there are no defaults {name}"))?;
            wanted.extend(found.list("defaults").into_iter().map(str::to_string));
            module = module.with(&found.properties);
        }
        Ok(module)
    };
    modules.into_iter().map(complete).collect()
}

/// True if a file has this path. The last part may have one `*`.
fn matches(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some((before, after)) = name.split_once('*') else { return path.exists() };
    let entries = path.parent().and_then(|folder| fs::read_dir(folder).ok());
    entries.into_iter().flatten().flatten().any(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.len() >= before.len() + after.len()
            && name.starts_with(before)
            && name.ends_with(after)
    })
}

fn metadata() -> Result<Json> {
    let mut cargo = programs::cargo(&["metadata", "--no-deps", "--offline", "--format-version=1"]);
    let output = cargo.output().map_err(|error| format!("cargo metadata: {error}"))?;
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

fn packages(metadata: &Json) -> impl Iterator<Item = &Json> {
    metadata["packages"].as_array().into_iter().flatten()
}

/// The folder of a package, below the root.
fn folder(package: &Json) -> Result<PathBuf> {
    let manifest = package["manifest_path"].as_str().map(Path::new);
    let folder =
        manifest.and_then(Path::parent).and_then(|folder| folder.strip_prefix(root()).ok());
    folder.map(Path::to_path_buf).ok_or_else(|| "a package is not in the project".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_projects_modules_name_what_is_there() {
        Tree::of_project().unwrap().check().unwrap();
    }

    #[test]
    fn the_files_are_formatted_by_bpfmt() {
        if !check_formatted().unwrap() {
            println!("skipped: there is no bpfmt here");
        }
    }

    #[test]
    fn every_rust_module_compiles_for_androids_targets() {
        match aidl::compiler() {
            Ok(compiler) => {
                println!("{}", crates::compile(&Tree::of_project().unwrap(), compiler).unwrap());
            }
            Err(why) => println!("skipped: no Rust module is compiled: {why}"),
        }
    }

    /// The rc file that the genrule makes, the program that the APEX brings, and its label.
    #[test]
    fn the_apex_starts_what_it_brings() {
        let tree = Tree::of_project().unwrap();
        let rc = fs::read_to_string(root().join("init/vendor.buffersync-service.rc")).unwrap();
        let work = buffersync_testbed::checkout::target().join("soong");
        fs::create_dir_all(&work).unwrap();
        let made = work.join("apex.rc");
        let genrule = tree.module("com.vendor.buffersync.rc.gen").unwrap();
        assert_eq!(genrule.list("srcs"), [":vendor.buffersync-service.rc"]);
        let command = genrule.text("cmd").unwrap();
        let command = command.replace("$(in)", "init/vendor.buffersync-service.rc");
        let command = command.replace("$(out)", &made.display().to_string());
        let status =
            Command::new("sh").current_dir(root()).args(["-c", &command]).status().unwrap();
        assert!(status.success());

        let apex = tree.module("com.vendor.buffersync").unwrap();
        let program = tree.module(apex.list("binaries")[0]).unwrap();
        let install = program.text("relative_install_path").unwrap();
        let path = format!("/bin/{install}/{}", program.text("stem").unwrap());
        let expected =
            rc.replace(&format!("/vendor{path}"), &format!("/apex/{}{path}", apex.name()));
        assert_ne!(expected, rc);
        assert_eq!(fs::read_to_string(made).unwrap(), expected);

        let labels = fs::read_to_string(root().join("init/apex/file_contexts")).unwrap();
        let label = labels.lines().find(|line| line.starts_with(&path.replace('.', "\\.")));
        assert!(label.unwrap().ends_with("u:object_r:hal_buffersync_default_exec:s0"));
    }

    /// Each of these would stop a build in Android's tree, or build something else than Cargo does.
    #[test]
    fn what_soong_would_refuse_is_noticed() {
        let changes = [
            ("", "license_text: [\"LICENSE\"]", "license_text: [\"NOTICE\"]"),
            ("", "name: \"buffersync_rust_defaults\"", "name: \"other_defaults\""),
            ("", "edition: \"2021\"", "edition: \"2018\""),
            ("aidl", "vendor/buffersync/*.aidl", "vendor/buffersync/*.hal"),
            ("aidl", "android.hardware.common-V2\"", "android.hardware.common-V9\""),
            ("aidl", "\"vendor.buffersync-V1-rust\"", "\"vendor.buffersync-V2-rust\""),
            ("aidl", "crate_name: \"buffersync_aidl\"", "crate_name: \"aidl\""),
            ("service", "        \"liblog_rust\",\n", ""),
            ("service", "\"libnix\"", "\"libnix\",\n\"liblibc\""),
            ("service", "\"libnix\"", "\"libnix\",\n\"libnix\""),
            ("service", "\"libnix\"", "\"librustix\""),
            ("service", "src/main.rs", "src/service.rs"),
            ("service", "    prefer_rlib: true,\n", ""),
            ("service", "shared_libs: [\"libcutils\"]", "shared_libs: []"),
            ("client-ndk/jni", "    prefer_rlib: true,\n", ""),
            ("client-ndk/c", "        \"liblog\",\n", ""),
            ("service", ":vendor.buffersync-service.rc", ":vendor.buffersync.rc"),
            ("service", "\"vendor.buffersync-service.apex\"", "\"vendor.buffersync-service\""),
            ("service/engine", "rust_library {", "rust_library"),
            ("client-ndk/c", "version_script: \"lib", "version_script: \""),
            ("client-ndk/c", "symbol_file: \"lib", "symbol_file: \""),
            ("client-ndk/c", "whole_static_libs: [\"lib", "whole_static_libs: [\""),
            ("client-ndk", "export_include_dirs: [\"include\"]", "export_include_dirs: [\"inc\"]"),
            ("client-ndk/jni", "src/lib.rs", "../c/src/lib.rs"),
            ("init/apex", "apex_manifest.json", "manifest.json"),
            (
                "init/apex",
                "        \"com.vendor.buffersync.rc\"",
                "        \"com.vendor.buffersync.init\"",
            ),
            ("vts", "AndroidTest.xml", "Test.xml"),
        ];
        let right = texts().unwrap();
        for (folder, from, to) in changes {
            let mut wrong = right.clone();
            let (_, text) = wrong.iter_mut().find(|(f, _)| f == Path::new(folder)).unwrap();
            assert!(text.contains(from), "{folder}: {from:?} is not there to be changed");
            *text = text.replacen(from, to, 1);
            let checked = Tree::read(&wrong).and_then(|tree| tree.check());
            assert!(checked.is_err(), "{folder}: {from:?} -> {to:?} was not noticed");
        }
    }
}

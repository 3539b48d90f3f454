// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The interface, read by AOSP's own compiler.
//!
//! Debian's package `aidl` is that of Android 10: structured parcelables it knows, but no enums, no constants
//! in parcelables and no VINTF. So it gets the interface as an older one would have been written: an
//! enum is an int, the constants of parcelables are left out. What it checks then are the names, types,
//! directions and annotations of every method and field, for Java and C++. The rest, rsbinder's compiler
//! has read already, and Soong's will.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::syntax::File;

/// The parcelable of another package that the interface uses.
pub const NATIVE_HANDLE: &str = "package android.hardware.common;
parcelable NativeHandle {
  ParcelFileDescriptor[] fds;
  int[] ints;
}
";

/// Whether the compiler takes the files. `work` is a folder for what goes in and comes out.
pub fn check(files: &[File], work: &Path) -> Result<(), String> {
    let _ = fs::remove_dir_all(work);
    let source = work.join("source");
    put(&source.join("android/hardware/common/NativeHandle.aidl"), NATIVE_HANDLE)?;
    let mut paths = Vec::new();
    for file in files.iter().filter(|file| file.kind != "enum") {
        let path = format!("{}/{}.aidl", file.package.replace('.', "/"), file.name);
        put(&source.join(&path), &lowered(file, files))?;
        paths.push(path);
    }
    for language in ["java", "cpp"] {
        for path in &paths {
            let mut aidl = Command::new("aidl");
            aidl.current_dir(&source).args(["--structured", "-I", "."]);
            aidl.arg(format!("--lang={language}")).arg("-o").arg(work.join(language));
            if language == "cpp" {
                aidl.arg("-h").arg(work.join("include"));
            }
            let output = aidl.arg(path).output().map_err(|error| format!("aidl: {error}"))?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                return Err(format!("aidl --lang={language} {path}: {}", said.trim()));
            }
        }
    }
    Ok(())
}

fn put(path: &Path, text: &str) -> Result<(), String> {
    let folder = path.parent().unwrap_or(path);
    let made = fs::create_dir_all(folder).and_then(|()| fs::write(path, text));
    made.map_err(|error| format!("{}: {error}", path.display()))
}

/// A file as Android 10 knows it.
fn lowered(file: &File, all: &[File]) -> String {
    let enums = all.iter().filter(|file| file.kind == "enum");
    let enums: BTreeMap<String, &File> =
        enums.map(|file| (format!("{}.{}", file.package, file.name), file)).collect();
    let mut items: Vec<String> = file.items.clone();
    if file.kind == "parcelable" {
        items.retain(|item| !item.starts_with("const "));
    }
    for item in &mut items {
        for (name, declared) in &enums {
            // Values first: their names begin with the type's.
            for (enumerator, value) in declared.items.iter().filter_map(|e| e.split_once(" = ")) {
                *item = item.replace(&format!("{name}.{enumerator}"), value);
            }
            *item = item.replace(name.as_str(), "int");
        }
    }
    let types = all.iter().map(|file| format!("{}.{}", file.package, file.name));
    let types = types.chain(["android.hardware.common.NativeHandle".to_string()]);
    let imports = types.filter(|name| {
        !enums.contains_key(name) && items.iter().any(|item| item.contains(name.as_str()))
    });
    let imports: String = imports.map(|name| format!("import {name};\n")).collect();
    let body: String = items.iter().map(|item| format!("  {item};\n")).collect();
    format!("package {};\n{imports}{} {} {{\n{body}}}\n", file.package, file.kind, file.name)
}

#[cfg(test)]
mod tests {
    use super::super::syntax::parse;
    use super::*;

    #[test]
    fn enums_become_ints_and_constants_of_parcelables_go() {
        let mode = parse("package a; enum Mode { ON = 1, OFF = 2 }").unwrap();
        let text = "package a; import a.Mode; @VintfStability parcelable P { const int X = 1; \
                    Mode m = Mode.OFF; Mode[] all; }";
        let file = parse(text).unwrap();
        let lowered = lowered(&file, &[mode, file.clone()]);
        assert_eq!(lowered, "package a;\nparcelable P {\n  int m = 2;\n  int[] all;\n}\n");
    }

    #[test]
    fn interfaces_keep_their_constants_and_import_what_they_use() {
        let file =
            parse("package a; import a.b.C; interface I { const int X = 1; void f(in C c); }");
        let other = parse("package a.b; parcelable C { int x; }").unwrap();
        let file = file.unwrap();
        let expected = "package a;\nimport a.b.C;\ninterface I {\n  const int X = 1;\n  \
                        void f(in a.b.C c);\n}\n";
        assert_eq!(lowered(&file, &[file.clone(), other]), expected);
    }
}

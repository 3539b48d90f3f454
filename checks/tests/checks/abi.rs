// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Is the header what the library is?
//!
//! `buffer_sync.h` is written by hand, for its readers. What it declares is held against the Rust
//! source, of which cbindgen makes a header of its own, by the C compiler: functions by declaring
//! both, structs and constants by static assertions. And what it declares is exactly what the shared
//! library exports. The check itself is checked: headers that are wrong in one place must fail it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use buffersync_testbed::checkout::{root, target};
use buffersync_testbed::provision;

/// The error says what is wrong.
type Result<T> = std::result::Result<T, String>;

/// Prefix of cbindgen's types, so that both can be declared at once.
const GENERATED: &str = "Generated";

/// Changes of the header that have to be noticed: right, wrong.
const WRONG: [(&str, &str); 11] = [
    ("int64_t timeoutNanos)", "int32_t timeoutNanos)"),
    ("int releaseFence)", "int64_t releaseFence)"),
    ("ABufferSync_dump(const ABufferSync*", "ABufferSync_dump(ABufferSync*"),
    ("void ABufferSyncGroup_close(", "ABufferSyncStatus ABufferSyncGroup_close("),
    ("    uint32_t reserved[3];\n", "    uint32_t reserved[4];\n"),
    ("    uint8_t reserved[11];\n", "    uint8_t reserved[10];\n"),
    ("ABufferSyncStatus ABufferSyncGroup_cancel(", "void ABufferSyncGroup_cancel("),
    ("ABUFFERSYNC_ERROR_EVICTED = -19", "ABUFFERSYNC_ERROR_EVICTED = -29"),
    ("    int64_t deadlineNanos;\n", "    int32_t deadlineNanos;\n    int32_t padding;\n"),
    ("    int32_t error;\n", ""),
    ("ABufferSyncStatus ABufferSyncGroup_tryLock(", "ABufferSyncStatus ABufferSyncGroup_tryLook("),
];

/// Runs all checks. `library` is the installed `libbuffersync.so`, `jni` its neighbour.
pub fn run(library: &Path, jni: &Path) -> Result<()> {
    provision::need(&[("cc", "gcc"), ("c++", "g++"), ("nm", "binutils")]).map_err(|f| f.0)?;
    let header = root().join("client-ndk/include/android/buffer_sync.h");
    let text = fs::read_to_string(&header).map_err(|error| error.to_string())?;
    let generated = Generated::from_source(&root().join("client-ndk/c"))?;
    let exports = exports(library)?;
    check(&text, &generated, &exports)?;
    check_versions(library)?;
    if check_versions(jni).is_ok() {
        return Err(format!("{} without this version was not noticed", jni.display()));
    }
    for (right, wrong) in WRONG {
        let wrong = text.replacen(right, wrong, 1);
        if wrong == text {
            return Err(format!("the header has no {right:?} to be made wrong"));
        }
        if check(&wrong, &generated, &exports).is_ok() {
            return Err(format!("a header without {right:?} was not noticed"));
        }
    }
    let expected = BTreeSet::from(["JNI_OnLoad".to_string()]);
    same("libbuffersync_jni.so exports", &crate::abi::exports(jni)?, "it should", &expected)
}

fn check(header: &str, generated: &Generated, exports: &BTreeSet<String>) -> Result<()> {
    let folder = target().join("abi");
    let write = |name: &str, text: &str| -> Result<PathBuf> {
        let path = folder.join(name);
        let made = fs::create_dir_all(folder.join("android")).and_then(|()| fs::write(&path, text));
        made.map_err(|error| format!("{}: {error}", path.display())).map(|()| path)
    };
    write("android/buffer_sync.h", header)?;
    let plain = "#include <android/buffer_sync.h>\n#include <android/buffer_sync.h>\n";
    compile("cc", "-std=c11", &write("plain.c", plain)?)?;
    compile("c++", "-std=c++17", &write("plain.cc", plain)?)?;
    // Only clang sees `_Nonnull` and `_Nullable`: for other compilers the header defines them as nothing.
    if provision::on_path("clang").is_some() {
        compile("clang", "-std=c11", &folder.join("plain.c"))?;
        compile("clang", "-std=c++17", &folder.join("plain.cc"))?;
    }
    // As with a C library that has no <sys/cdefs.h>, such as musl.
    let without =
        header.replace("#include <sys/cdefs.h>", "#undef __BEGIN_DECLS\n#undef __END_DECLS");
    let without = without.replace("<android/", "<other/");
    if without == header {
        return Err("the header does not include <sys/cdefs.h>".into());
    }
    compile("cc", "-std=c11", &write("without.h.c", &without)?)?;
    compile("c++", "-std=c++17", &write("without.h.cc", &without)?)?;
    compile("cc", "-std=c11", &write("functions.c", &format!("{plain}{}", generated.functions))?)?;
    compile("cc", "-std=c11", &write("types.c", &format!("{plain}{}", generated.types))?)?;
    let declared = declared(header);
    same("the header declares", &declared, "the Rust source", &names(&generated.functions))?;
    same("the header declares", &declared, "libbuffersync.so exports", exports)
}

fn compile(compiler: &str, standard: &str, source: &Path) -> Result<()> {
    let include = source.parent().unwrap_or(Path::new("."));
    let output = Command::new(compiler)
        .args([standard, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-I"])
        .arg(include)
        .arg(source)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{compiler}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    output.status.success().then_some(()).ok_or_else(|| format!("{compiler} {standard}: {said}"))
}

/// cbindgen's header of the Rust source.
struct Generated {
    /// Prototypes, of the header's types.
    functions: String,
    /// Structs of other names, and assertions that they and the constants are the header's.
    types: String,
}

impl Generated {
    fn from_source(package: &Path) -> Result<Self> {
        use cbindgen::ItemType;
        let functions = bindings(package, vec![ItemType::Functions], "")?;
        let structs = bindings(package, vec![ItemType::Structs], GENERATED)?;
        let constants = bindings(package, vec![ItemType::Constants], "")?;
        let mut types = String::new();
        for constant in constants.lines().filter_map(|line| line.strip_prefix("#define ")) {
            if let Some((name, value)) = constant.split_once(' ') {
                let _ = writeln!(types, "_Static_assert({name} == {value}, \"{name}\");");
            }
        }
        types.push_str(&structs);
        let assertions = struct_assertions(&structs);
        if types.len() == structs.len() || assertions.is_empty() || names(&functions).is_empty() {
            return Err("cbindgen found nothing".into());
        }
        types.push_str(&assertions);
        Ok(Self { functions, types })
    }
}

fn bindings(package: &Path, items: Vec<cbindgen::ItemType>, prefix: &str) -> Result<String> {
    let mut config = cbindgen::Config {
        language: cbindgen::Language::C,
        style: cbindgen::Style::Type,
        no_includes: true,
        documentation: false,
        usize_is_size_t: true,
        ..Default::default()
    };
    config.export.item_types = items;
    config.export.prefix = (!prefix.is_empty()).then(|| prefix.to_string());
    // The header does not say what is in these.
    let opaque = ["ABufferSync", "ABufferSyncGroup", "AHardwareBuffer"];
    config.export.exclude = opaque.map(str::to_string).to_vec();
    let structs = ["Event", "Grant", "BufferState", "Fence", "Want", "LockStatus", "LockInTheWay"];
    config.export.include = structs.map(|name| format!("ABufferSync{name}")).to_vec();
    let made = cbindgen::Builder::new().with_config(config).with_crate(package).generate();
    let made = made.map_err(|error| format!("cbindgen: {error}"))?;
    let mut text = Vec::new();
    made.write(&mut text);
    let text = String::from_utf8(text).map_err(|error| error.to_string())?;
    // A field's type is the header's: only the struct itself has another name.
    let fields = text.replace(&format!("\n  {prefix}"), "\n  ");
    Ok(fields)
}

/// That each struct of cbindgen's is the header's of the same name: as large, and field by field of
/// the same type and at the same place.
fn struct_assertions(structs: &str) -> String {
    let mut text = String::from("\n#define SAME(a, b) __builtin_types_compatible_p(a, b)\n");
    let mut fields = Vec::new();
    let mut count = 0;
    for line in structs.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("} ").and_then(|rest| rest.strip_suffix(';')) {
            let own = name.strip_prefix(GENERATED).unwrap_or(name);
            let _ = writeln!(text, "_Static_assert(sizeof({name}) == sizeof({own}), \"{own}\");");
            for field in fields.drain(..) {
                let _ = writeln!(
                    text,
                    "_Static_assert(offsetof({name}, {field}) == offsetof({own}, {field}) && \
                     SAME(__typeof__((({name}*)0)->{field}), __typeof__((({own}*)0)->{field})), \
                     \"{own}.{field}\");"
                );
                count += 1;
            }
        } else if let Some((_, field)) =
            line.strip_suffix(';').and_then(|line| line.rsplit_once(' '))
        {
            // The name alone, of an array or a pointer too.
            let name = field.split('[').next().unwrap_or(field).trim_start_matches('*');
            fields.push(name.to_string());
        }
    }
    if count == 0 {
        String::new()
    } else {
        text
    }
}

/// The functions that the header declares.
fn declared(header: &str) -> BTreeSet<String> {
    let mut code = String::new();
    let mut rest = header;
    // Comments name functions too.
    while let Some((before, comment)) = rest.split_once("/*") {
        code.push_str(before);
        rest = comment.split_once("*/").map_or("", |(_, after)| after);
    }
    code.push_str(rest);
    names(&code)
}

/// The functions that a piece of C without comments names.
fn names(code: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    code.split('(')
        .filter_map(|before| before.rsplit(|c| !is_word(c)).next())
        .filter(|name| name.starts_with("ABufferSync"))
        .map(str::to_string)
        .collect()
}

/// The version of the library's symbols: programs that are linked to it ask for this one.
const VERSION: &str = "LIBBUFFERSYNC_1";

/// The functions and objects that a shared library exports, without their versions.
fn exports(library: &Path) -> Result<BTreeSet<String>> {
    let symbols = versioned_exports(library)?;
    Ok(symbols.iter().map(|name| name.split('@').next().unwrap_or(name).to_string()).collect())
}

/// That each symbol of the library has the version.
fn check_versions(library: &Path) -> Result<()> {
    let symbols = versioned_exports(library)?;
    let other = symbols.iter().find(|name| name.split_once("@@").map(|(_, v)| v) != Some(VERSION));
    other.map_or(Ok(()), |name| Err(format!("{name} does not have the version {VERSION}")))
}

fn versioned_exports(library: &Path) -> Result<BTreeSet<String>> {
    let mut nm = Command::new("nm");
    nm.args(["--dynamic", "--defined-only", "--format=posix"]).arg(library);
    let output = nm.output().map_err(|error| format!("nm: {error}"))?;
    if !output.status.success() {
        return Err(format!("nm {}: {}", library.display(), output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let symbols = text.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (name, kind) = (fields.next()?, fields.next()?);
        // A: the version's own name.
        (kind != "A").then(|| name.to_string())
    });
    Ok(symbols.collect())
}

fn same(what: &str, one: &BTreeSet<String>, other: &str, others: &BTreeSet<String>) -> Result<()> {
    let differ: Vec<&String> = one.symmetric_difference(others).collect();
    differ.is_empty().then_some(()).ok_or_else(|| format!("{what} and {other} differ: {differ:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_what_the_library_is() {
        let lib = crate::installed::prefix().join("lib");
        run(&lib.join("libbuffersync.so"), &lib.join("libbuffersync_jni.so")).unwrap();
    }

    #[test]
    fn the_header_for_cpp_compiles_in_every_mode() {
        let client = root().join("client-ndk");
        let installed = crate::installed::prefix().join("include/android/buffer_sync.hpp");
        assert!(installed.is_file(), "{} is not installed", installed.display());
        let source = client.join("examples/tests/cpp/every_member.cc");
        for compiler in ["c++", "clang++"] {
            if provision::on_path(compiler).is_none() {
                println!("{compiler} is not installed: the header is not checked with it");
                continue;
            }
            for standard in ["-std=c++17", "-std=c++20"] {
                for modes in [&[][..], &["-fno-exceptions", "-fno-rtti"]] {
                    let mut call = Command::new(compiler);
                    call.args([standard, "-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
                    call.args(modes)
                        .arg("-fsyntax-only")
                        .arg("-I")
                        .arg(client.join("include"))
                        .arg(&source);
                    let output = call.output().unwrap();
                    let said = String::from_utf8_lossy(&output.stderr);
                    assert!(output.status.success(), "{compiler} {standard} {modes:?}: {said}");
                    // An ignored result is an error.
                    let output = call.arg("-DIGNORES_A_RESULT").output().unwrap();
                    assert!(!output.status.success(), "{compiler} allows to ignore a Status");
                }
            }
        }
    }

    #[test]
    fn functions_are_found_in_code_and_not_in_comments() {
        let header =
            "/** ABufferSync_no() */\nint ABufferSync_a(int x);\n// f\nvoid* ABufferSync_b(\n";
        let expected = ["ABufferSync_a", "ABufferSync_b"].map(str::to_string);
        assert_eq!(declared(header), BTreeSet::from(expected));
    }

    #[test]
    fn structs_are_compared_field_by_field() {
        let text = struct_assertions("typedef struct {\n  int32_t x;\n} GeneratedA;\n");
        assert!(text.contains("sizeof(GeneratedA) == sizeof(A)"));
        assert!(text.contains("offsetof(GeneratedA, x) == offsetof(A, x)"));
        let text = struct_assertions("typedef struct {\n  char *a;\n  int b[3];\n} GeneratedB;\n");
        assert!(text.contains("offsetof(B, a)") && text.contains("offsetof(B, b)"), "{text}");
        assert!(struct_assertions("nothing").is_empty());
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask install`: the service and the client libraries, as Linux expects them.
//!
//! | file below the prefix | what it is |
//! |---|---|
//! | `include/android/buffer_sync.h` | the C ABI |
//! | `include/android/buffer_sync.hpp` | the same for C++, header only |
//! | `lib/libbuffersync.so.1`, `.so` | what it declares |
//! | `lib/pkgconfig/buffersync.pc` | for `pkg-config --cflags --libs buffersync` |
//! | `lib/libbuffersync_jni.so` | the native half of the Java classes |
//! | `share/java/buffersync.jar` | the Java classes |
//! | `share/java/buffersync-sources.jar`, `buffersync-javadoc.jar` | what an IDE shows of them |
//! | `bin/vendor.buffersync-service` | the service |
//! | `lib/systemd/system/vendor.buffersync.service` | starts it, confined |
//! | `lib/sysusers.d/buffersync.conf` | its user |
//! | `share/buffersync/10-buffersync.toml` | rules for rsb_hub, to be given the numbers of users and put into its folder |
//!
//! The libraries are linked from Cargo's static ones by the system's C compiler, since only so a
//! version script of our own says what they export.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use buffersync_testbed::checkout::{root, target};
use buffersync_testbed::command::{call, copy, files, made};
use buffersync_testbed::programs::{self, SERVICE as CARGO_NAME};
use buffersync_testbed::{provision, Failure};

/// The ABI's version: what programs are linked to.
const SONAME: &str = "libbuffersync.so.1";
const SERVICE: &str = "vendor.buffersync-service";
const UNIT: &str = "vendor.buffersync.service";
const JNI_LIBRARY: &str = "libbuffersync_jni.so";

/// An installation.
pub struct Install<'a> {
    /// The prefix that installed programs will see.
    pub prefix: &'a Path,
    /// Where the files go meanwhile, for packagers.
    pub destdir: Option<&'a Path>,
    /// Optimised for use; else as the tests are built.
    pub release: bool,
    /// The Java classes and their native half, too.
    pub java: bool,
    /// The service, too.
    pub service: bool,
}

impl Install<'_> {
    /// Builds and copies everything.
    pub fn run(&self) -> Result<(), Failure> {
        provision::need(&[("cc", "gcc")])?;
        let folder = |name: &str| self.destination().join(name);
        for name in ["include/android", "lib/pkgconfig", "share/java"] {
            made(fs::create_dir_all(folder(name)), name)?;
        }
        for header in ["android/buffer_sync.h", "android/buffer_sync.hpp"] {
            copy(&root().join("client-ndk/include").join(header), &folder("include").join(header))?;
        }
        let lib = folder("lib");
        self.library("c", "libbuffersync", SONAME, &lib.join(SONAME))?;
        let link = lib.join("libbuffersync.so");
        let _ = fs::remove_file(&link);
        made(symlink(SONAME, &link), "libbuffersync.so")?;
        made(fs::write(lib.join("pkgconfig/buffersync.pc"), self.pkg_config()), "buffersync.pc")?;
        if self.java {
            provision::need(&[("javac", "default-jdk-headless")])?;
            self.library("jni", "libbuffersync_jni", JNI_LIBRARY, &lib.join(JNI_LIBRARY))?;
            java(&folder("share/java"))?;
        }
        if self.service {
            self.service()?;
        }
        Ok(())
    }

    /// The service, its unit, its user and its rules.
    fn service(&self) -> Result<(), Failure> {
        let from = root().join("init/linux");
        let files = [
            (self.program()?, format!("bin/{SERVICE}")),
            (from.join("buffersync.sysusers"), "lib/sysusers.d/buffersync.conf".into()),
            (from.join("10-buffersync.toml"), "share/buffersync/10-buffersync.toml".into()),
            (from.join(UNIT), format!("lib/systemd/system/{UNIT}")),
        ];
        for (from, to) in files {
            copy(&from, &self.destination().join(to))?;
        }
        let unit = self.destination().join("lib/systemd/system").join(UNIT);
        let text = made(fs::read_to_string(&unit), UNIT)?;
        made(fs::write(&unit, unit_for(&text, self.prefix)?), UNIT)
    }

    /// Has cargo build something, and says in which folder it is.
    fn cargo(&self, args: &[&str]) -> Result<PathBuf, Failure> {
        let mut cargo = programs::cargo(args);
        if self.release {
            cargo.arg("--release");
        }
        call(&mut cargo)?;
        Ok(target().join(if self.release { "release" } else { "debug" }))
    }

    /// The service's program.
    fn program(&self) -> Result<PathBuf, Failure> {
        let args = ["build", "--quiet", "--bin", CARGO_NAME, "--package", CARGO_NAME];
        Ok(self.cargo(&args)?.join(CARGO_NAME))
    }

    fn destination(&self) -> PathBuf {
        match self.destdir {
            // Joining an absolute path would forget the folder.
            Some(folder) => folder.join(self.prefix.strip_prefix("/").unwrap_or(self.prefix)),
            None => self.prefix.to_path_buf(),
        }
    }

    fn pkg_config(&self) -> String {
        format!(
            "prefix={}\nlibdir=${{prefix}}/lib\nincludedir=${{prefix}}/include\n\n\
             Name: buffersync\nDescription: Locks on dma-bufs that processes share\n\
             Version: {}\nLibs: -L${{libdir}} -lbuffersync\nCflags: -I${{includedir}}\n",
            self.prefix.display(),
            env!("CARGO_PKG_VERSION")
        )
    }

    /// Makes a shared library of the package in `client-ndk/FOLDER`.
    fn library(&self, folder: &str, name: &str, soname: &str, to: &Path) -> Result<(), Failure> {
        let package = format!("buffersync-{folder}");
        let library = ["--quiet", "--lib", "--crate-type", "staticlib", "--package", &package];
        let built = self.cargo(&[&["rustc"], &library[..]].concat())?;
        let archive = built.join(format!("{name}.a"));
        let exports = root().join("client-ndk").join(folder).join(format!("{name}.map.txt"));
        let mut link = Command::new("cc");
        link.args(["-shared", "-Wl,--gc-sections", "-Wl,-z,defs", "-Wl,-z,relro,-z,now"]);
        if self.release {
            link.arg("-Wl,--strip-debug");
        }
        link.arg(format!("-Wl,-soname,{soname}"));
        link.arg(format!("-Wl,--version-script={}", exports.display()));
        link.arg("-Wl,--whole-archive").arg(&archive).arg("-Wl,--no-whole-archive");
        call(link.args(["-lgcc_s", "-ldl", "-lc", "-o"]).arg(to))
    }
}

/// The unit, with the program where this prefix has it.
fn unit_for(unit: &str, prefix: &Path) -> Result<String, Failure> {
    let (before, after) =
        ("ExecStart=/usr/local/bin/", format!("ExecStart={}/bin/", prefix.display()));
    if unit.matches(before).count() != 1 {
        return Err(Failure(format!("{UNIT} does not start the program in /usr/local")));
    }
    Ok(unit.replace(before, &after))
}

/// The folder of the Java API's sources.
fn java_sources() -> PathBuf {
    root().join("client-ndk/java")
}

/// Makes the Java API's jars: classes, sources and documentation. Warnings are errors.
fn java(to: &Path) -> Result<(), Failure> {
    let (classes, doc) = (target().join("java/classes"), target().join("java/doc"));
    for folder in [&classes, &doc] {
        let _ = fs::remove_dir_all(folder);
        made(fs::create_dir_all(folder), "java")?;
    }
    let annotations = annotations()?;
    let sources = files(&java_sources().join(PACKAGE), "java")?;
    javac(&classes, &[&annotations], &sources)?;
    // A program with modules names this one so.
    let manifest = target().join("java/manifest");
    made(fs::write(&manifest, format!("Automatic-Module-Name: {MODULE}\n")), "manifest")?;
    let mut all = Command::new("jar");
    all.arg("--create").arg("--file").arg(to.join("buffersync.jar"));
    call(all.arg("--manifest").arg(&manifest).arg("-C").arg(&classes).arg("."))?;
    jar(&to.join("buffersync-sources.jar"), &java_sources(), PACKAGE)?;
    javadoc(&doc, &[&annotations], &sources)?;
    jar(&to.join("buffersync-javadoc.jar"), &doc, ".")
}

/// The folder of the package below its sources.
const PACKAGE: &str = "vendor/buffersync";
const MODULE: &str = "vendor.buffersync";

/// Makes a jar of a folder, or of what it has in another.
fn jar(to: &Path, folder: &Path, content: &str) -> Result<(), Failure> {
    let mut jar = Command::new("jar");
    call(jar.arg("--create").arg("--file").arg(to).arg("-C").arg(folder).arg(content))
}

/// Compiles the stand-ins for JSpecify's annotations. The jar does not get them.
pub fn annotations() -> Result<PathBuf, Failure> {
    let to = target().join("java/jspecify");
    made(fs::create_dir_all(&to), "java/jspecify")?;
    let from = java_sources().join("stubs/org/jspecify/annotations");
    javac(&to, &[], &files(&from, "java")?)?;
    Ok(to)
}

/// Makes the documentation of Java classes. Its warnings are errors, a missing comment too.
pub fn javadoc(to: &Path, class_path: &[&Path], sources: &[PathBuf]) -> Result<(), Failure> {
    let mut javadoc = Command::new("javadoc");
    javadoc.args(["-quiet", "-Xdoclint:all", "-Werror", "-notimestamp", "-d"]).arg(to);
    let class_path = std::env::join_paths(class_path);
    javadoc.arg("-classpath").arg(class_path.map_err(|error| Failure(error.to_string()))?);
    call(javadoc.args(sources))
}

/// Compiles Java, with all warnings, as errors.
pub fn javac(to: &Path, class_path: &[&Path], sources: &[PathBuf]) -> Result<(), Failure> {
    let mut javac = Command::new("javac");
    javac.args(["--release", "11", "-Xlint:all,-options", "-Werror", "-d"]).arg(to);
    if !class_path.is_empty() {
        let class_path = std::env::join_paths(class_path);
        javac.arg("-cp").arg(class_path.map_err(|error| Failure(error.to_string()))?);
    }
    call(javac.args(sources))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destdir_is_put_before_the_prefix_and_stays_out_of_the_files() {
        let install = Install {
            prefix: Path::new("/usr"),
            destdir: Some(Path::new("/tmp/package")),
            release: true,
            java: false,
            service: false,
        };
        assert_eq!(install.destination(), Path::new("/tmp/package/usr"));
        assert!(install.pkg_config().starts_with("prefix=/usr\n"));
    }

    #[test]
    fn the_unit_starts_what_is_installed() {
        let unit = fs::read_to_string(root().join("init/linux").join(UNIT)).unwrap();
        let made = unit_for(&unit, Path::new("/opt/b")).unwrap();
        assert!(made.contains(&format!("\nExecStart=/opt/b/bin/{SERVICE} --device /dev/binder\n")));
        assert!(unit_for("[Service]\n", Path::new("/opt/b")).is_err());
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Gets the Kotlin compiler, without touching the machine's set-up.
//!
//! JetBrains publishes its distribution as the npm package `kotlin-compiler`: the compiler, which needs a JVM and
//! nothing else, the standard library, and the coroutines of the same release. npm downloads it from the registry that
//! it is configured for. The downloaded program is run, so its checksum is part of this file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{call, need};
use crate::{during, path_from_env, progress, Failure};

/// Variable that names the folder `lib` of a Kotlin distribution.
pub const KOTLIN: &str = "BUFFERSYNC_KOTLIN";

const PACKAGE: &str = "kotlin-compiler@2.4.20";
/// Of the package's archive.
const SHA256: &str = "c23dab400d7ce5ea8b6c909947c0ca5454189e4bb1108695b5f464500e5e950f";
const COMPILER: &str = "kotlin-compiler.jar";
/// The jars that programs need.
const LIBRARIES: [&str; 2] = ["kotlin-stdlib.jar", "kotlinx-coroutines-core-jvm.jar"];
/// The jars that the compiler's manifest names beside them.
const COMPILER_NEEDS: [&str; 3] =
    ["annotations-13.0.jar", "kotlin-reflect.jar", "kotlin-script-runtime.jar"];

/// A Kotlin distribution.
#[derive(Clone, Debug)]
pub struct Kotlin {
    lib: PathBuf,
}

impl Kotlin {
    /// A call of the compiler, with all warnings as errors. It targets Java 11, as the Java classes do.
    pub fn compiler(&self, to: &Path, class_path: &[&Path]) -> Result<Command, Failure> {
        let class_path = class_path.iter().map(|path| path.to_path_buf()).chain(self.libraries());
        let class_path = std::env::join_paths(class_path);
        let mut command = Command::new("java");
        // It runs for seconds: the best code would come too late.
        command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-jar"]);
        command.arg(self.lib.join(COMPILER));
        command.args(["-no-stdlib", "-no-reflect", "-jvm-target", "11", "-Werror", "-Wextra"]);
        command.arg("-cp").arg(class_path.map_err(|error| Failure(error.to_string()))?);
        command.arg("-d").arg(to);
        Ok(command)
    }

    /// The libraries of every program.
    pub fn libraries(&self) -> [PathBuf; 2] {
        LIBRARIES.map(|name| self.lib.join(name))
    }
}

/// Finds the distribution, or gets it. `cache` holds what is unpacked.
pub fn kotlin(cache: &Path) -> Result<Kotlin, Failure> {
    let lib = match path_from_env(KOTLIN) {
        Some(lib) => lib,
        None => {
            // A later version gets a folder of its own.
            let lib = cache.join(PACKAGE);
            if !lib.exists() {
                get(cache, &lib)?;
            }
            lib
        }
    };
    for name in LIBRARIES.iter().chain(&COMPILER_NEEDS).chain([&COMPILER]) {
        if !lib.join(name).exists() {
            return Err(Failure(format!("{} has no {name} ({KOTLIN})", lib.display())));
        }
    }
    Ok(Kotlin { lib })
}

/// Downloads the package and unpacks its jars to `lib`, all or none.
fn get(cache: &Path, lib: &Path) -> Result<(), Failure> {
    need(&[("npm", "npm"), ("tar", "tar"), ("sha256sum", "coreutils")]).map_err(advice)?;
    let work = cache.join(format!(".unpacking-kotlin-{}", std::process::id()));
    let got = download(&work).and_then(|archive| {
        check(&archive, SHA256)?;
        unpack(&archive, &work, lib)
    });
    let _ = fs::remove_dir_all(&work);
    got.map_err(advice)
}

fn advice(failure: Failure) -> Failure {
    let Failure(why) = failure;
    Failure(format!("{why}\n  or set {KOTLIN} to the folder lib of a Kotlin distribution"))
}

fn download(work: &Path) -> Result<PathBuf, Failure> {
    let _ = fs::remove_dir_all(work);
    during("making the cache", fs::create_dir_all(work))?;
    progress(format_args!("downloading {PACKAGE} with npm"));
    let mut npm = Command::new("npm");
    npm.args(["pack", "--silent", "--ignore-scripts", "--pack-destination"]).arg(work);
    // npm's own cache would keep a second copy of 90 MB.
    call(npm.arg("--cache").arg(work.join("cache")).arg(PACKAGE))?;
    let entries = during("reading the cache", fs::read_dir(work))?.flatten();
    entries
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "tgz"))
        .ok_or_else(|| Failure(format!("npm downloaded no {PACKAGE}")))
}

fn check(archive: &Path, expected: &str) -> Result<(), Failure> {
    let mut sum = Command::new("sha256sum");
    let output = during("sha256sum", sum.arg(archive).stdin(Stdio::null()).output())?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.split(' ').next() {
        Some(found) if found == expected => Ok(()),
        found => {
            let found = found.unwrap_or_default();
            Err(Failure(format!("{PACKAGE} has the checksum {found:?}, not {expected}")))
        }
    }
}

fn unpack(archive: &Path, work: &Path, lib: &Path) -> Result<(), Failure> {
    let names = LIBRARIES.iter().chain(&COMPILER_NEEDS).chain([&COMPILER]);
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(archive).arg("-C").arg(work);
    call(tar.args(names.map(|name| format!("package/lib/{name}"))))?;
    during("filling the cache", fs::rename(work.join("package/lib"), lib))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_archive_is_refused() {
        let name = format!("buffersync-kotlin-{}", std::process::id());
        let archive = std::env::temp_dir().join(name);
        fs::write(&archive, "abc").unwrap();
        let of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let (right, wrong) = (check(&archive, of_abc), check(&archive, SHA256));
        let _ = fs::remove_file(&archive);
        right.unwrap();
        assert!(wrong.unwrap_err().0.contains(of_abc));
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Gets AOSP's AIDL compiler, without touching the machine's set-up.
//!
//! Debian's releases have the compiler of Android 10, which knows no enums and no VINTF. Debian's
//! unstable suite has that of Android 14, so it comes from there, with the libraries that it was
//! built for. apt resolves and downloads them with a configuration of our own: its lists, its cache
//! and its record of what is installed are below the testbed's cache. The machine's apt gives the
//! address of the mirror only. Nothing is installed: `dpkg -x` unpacks, and the compiler is started
//! by the loader that came with it. No step needs root.
//!
//! The downloaded program is run, so its signature is checked. Debian signs unstable with the archive keys
//! of its releases, which are in the package `debian-archive-keyring`. Our configuration
//! names that keyring, and apt refuses every list that these keys did not sign. So it does no harm
//! to ask each of the machine's mirrors for an unstable suite: only one of Debian's can have it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{call, on_path};
use crate::{during, path_from_env, progress, Failure};

/// Variable that names a compiler of Android 14 or newer.
pub const AIDL: &str = "BUFFERSYNC_AIDL";

const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/debian-archive-keyring.gpg",
];

/// The compiler, and the loader that starts it with the libraries of its own Debian release.
#[derive(Clone, Debug)]
pub struct Compiler {
    program: PathBuf,
    /// The folder that it was unpacked to, unless it is the user's own.
    root: Option<PathBuf>,
}

impl Compiler {
    /// A call of it, without arguments.
    pub fn command(&self) -> Command {
        let Some(root) = &self.root else { return Command::new(&self.program) };
        let folders: Vec<_> =
            libraries(root).into_iter().flat_map(|lib| [lib.join("android"), lib]).collect();
        let mut command = Command::new(loader(root).unwrap_or_default());
        command.arg("--library-path").arg(std::env::join_paths(folders).unwrap_or_default());
        command.arg(&self.program);
        command
    }

    /// Fails if it does not run here, or is too old.
    fn check(self) -> Result<Self, Failure> {
        let output = during("aidl", self.command().arg("--help").output())?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        if said.contains("rust") && said.contains("--previous_api_dir") {
            return Ok(self);
        }
        let first = said.lines().next().unwrap_or("it says nothing");
        Err(Failure(format!(
            "{} is no AIDL compiler of Android 14: {first}",
            self.program.display()
        )))
    }
}

/// Finds the compiler, or gets it. `cache` holds what is unpacked.
pub fn aidl(cache: &Path) -> Result<Compiler, Failure> {
    if let Some(program) = path_from_env(AIDL) {
        return Compiler { program, root: None }.check();
    }
    let root = cache.join("aidl");
    if !root.exists() {
        get(cache, &root)?;
    }
    Compiler { program: root.join("usr/bin/aidl"), root: Some(root) }.check()
}

/// Downloads the compiler and unpacks it to `root`, whole or not at all.
fn get(cache: &Path, root: &Path) -> Result<(), Failure> {
    for tool in ["apt-get", "dpkg"] {
        if on_path(tool).is_none() {
            return Err(Failure(format!("there is no {tool} here ({AIDL} names a compiler)")));
        }
    }
    let keyring = KEYRINGS.iter().find(|path| Path::new(path).exists());
    let keyring = keyring.ok_or_else(|| Failure("there is no debian-archive-keyring".into()))?;
    let work = cache.join(format!(".unpacking-aidl-{}", std::process::id()));
    let got = download(&work, &mirrors()?, keyring).and_then(|()| unpack(&work, root));
    let _ = fs::remove_dir_all(&work);
    got
}

/// Where the machine gets its packages from, as its own apt says.
fn mirrors() -> Result<Vec<String>, Failure> {
    let format = "$(COMPONENT) $(REPO_URI)";
    let mut apt = Command::new("apt-get");
    apt.args(["indextargets", "--format", format, "Created-By: Packages"]);
    let output = during("apt-get indextargets", apt.output())?;
    let mut mirrors: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.strip_prefix("main "))
        .map(str::to_string)
        .collect();
    mirrors.dedup();
    Ok(mirrors)
}

/// Downloads the packages to `work`, from the first of the mirrors that has them.
fn download(work: &Path, mirrors: &[String], keyring: &str) -> Result<(), Failure> {
    let _ = fs::remove_dir_all(work);
    for folder in ["archives/partial", "lists/partial", "root"] {
        during("making the cache", fs::create_dir_all(work.join(folder)))?;
    }
    let mut failure = None;
    for mirror in mirrors {
        let source = format!("deb [signed-by={keyring}] {mirror} unstable main\n");
        during("apt's sources", fs::write(work.join("sources.list"), source))?;
        during("apt's configuration", fs::write(work.join("apt.conf"), configuration(work)))?;
        let apt = |arguments: &[&str]| {
            let mut apt = Command::new("apt-get");
            apt.env("LC_ALL", "C").arg("-qq").arg("-c").arg(work.join("apt.conf")).args(arguments);
            call(&mut apt)
        };
        progress("downloading aidl from Debian's unstable suite");
        let got =
            apt(&["update"]).and_then(|()| apt(&["install", "--yes", "--download-only", "aidl"]));
        match got {
            Ok(()) => return Ok(()),
            Err(why) => failure = failure.or(Some(why)),
        }
    }
    Err(failure.unwrap_or_else(|| Failure("apt has no sources here".into())))
}

/// apt's configuration. Nothing counts as installed, so that every library is downloaded. apt's own sandbox user
/// may not be able to enter the folder, so apt downloads as whoever calls it. Hooks and preferences
/// of the machine's configuration are for the machine's lists. dpkg's lock is not needed, because
/// nothing is installed.
fn configuration(work: &Path) -> String {
    let work = work.display();
    format!(
        "Dir::Etc::SourceList \"{work}/sources.list\";\n\
         Dir::Etc::SourceParts \"/dev/null\";\n\
         Dir::Etc::Preferences \"/dev/null\";\n\
         Dir::Etc::PreferencesParts \"/dev/null\";\n\
         Dir::State \"{work}\";\n\
         Dir::State::Lists \"{work}/lists\";\n\
         Dir::State::Status \"/dev/null\";\n\
         Dir::Cache \"{work}\";\n\
         Dir::Cache::Archives \"{work}/archives\";\n\
         Debug::NoLocking \"true\";\n\
         APT::Sandbox::User \"root\";\n\
         APT::Default-Release \"\";\n\
         APT::Install-Recommends \"false\";\n\
         APT::Keep-Downloaded-Packages \"true\";\n\
         APT::Update::Error-Mode \"any\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
         Acquire::Retries \"0\";\n\
         Acquire::http::Timeout \"20\";\n\
         Acquire::https::Timeout \"20\";\n\
         #clear APT::Update::Pre-Invoke;\n\
         #clear APT::Update::Post-Invoke;\n\
         #clear APT::Update::Post-Invoke-Success;\n\
         #clear DPkg::Pre-Invoke;\n\
         #clear DPkg::Post-Invoke;\n\
         #clear DPkg::Pre-Install-Pkgs;\n"
    )
}

/// Unpacks what was downloaded, and moves it to `root` if it is complete.
fn unpack(work: &Path, root: &Path) -> Result<(), Failure> {
    let unpacked = work.join("root");
    let archives = during("reading the cache", fs::read_dir(work.join("archives")))?.flatten();
    for deb in archives.map(|entry| entry.path()).filter(|path| path.is_file()) {
        call(Command::new("dpkg").arg("-x").arg(deb).arg(&unpacked))?;
    }
    Compiler { program: unpacked.join("usr/bin/aidl"), root: Some(unpacked.clone()) }.check()?;
    let _ = fs::remove_dir_all(root);
    during("filling the cache", fs::rename(unpacked, root))
}

/// `usr/lib` and what is in it for one architecture.
fn libraries(root: &Path) -> Vec<PathBuf> {
    let lib = root.join("usr/lib");
    let entries = fs::read_dir(&lib).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).chain([lib.clone()]).collect()
}

/// The program that loads shared libraries.
fn loader(root: &Path) -> Option<PathBuf> {
    let is_loader = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ld-linux"))
    };
    let entries = libraries(root).into_iter().filter_map(|folder| fs::read_dir(folder).ok());
    entries.flatten().flatten().map(|entry| entry.path()).find(is_loader)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that goes away again.
    struct Cache(PathBuf);

    impl Drop for Cache {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn cache(name: &str) -> Cache {
        let folder = format!("buffersync-provision-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        fs::create_dir_all(&folder).unwrap();
        Cache(folder)
    }

    #[test]
    fn another_program_is_no_compiler() {
        let own = |program: &str| Compiler { program: program.into(), root: None }.check();
        assert!(own("/bin/echo").unwrap_err().0.contains("/bin/echo is no AIDL compiler"));
        assert!(own("/nonexistent").is_err());
    }

    #[test]
    fn a_mirror_that_debian_did_not_sign_is_refused() {
        if on_path("apt-get").is_none() {
            println!("skipped: there is no apt-get here");
            return;
        }
        let cache = cache("unsigned");
        let suite = cache.0.join("mirror/dists/unstable");
        fs::create_dir_all(&suite).unwrap();
        fs::write(suite.join("Release"), "Origin: Debian\nSuite: unstable\nComponents: main\n")
            .unwrap();
        let mirror = format!("file:{}", cache.0.join("mirror").display());
        let why = download(&cache.0.join("work"), &[mirror], KEYRINGS[1]).unwrap_err();
        assert!(why.0.contains("is not signed"), "{why}");
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask aidl check | update | freeze`: the interface as it was promised.
//!
//! `aidl/aidl_api/vendor.buffersync/current` is a snapshot of the interface without its comments. Whoever
//! changes the interface changes the snapshot with it (`update`), so that a change shows in review as
//! what it is. A version that is frozen has a snapshot for ever, and a hash; what comes after it may
//! only add: see [`compatible`]. In AOSP's tree `m vendor.buffersync-update-api` does the same with the
//! real compiler; the folders and the hash are the same as its.
//!
//! | part | what it is |
//! |---|---|
//! | [`syntax`] | AIDL without comments, item by item |
//! | [`compatible`] | what may change after a freeze |
//! | [`compiler`] | the interface, read by AOSP's own compiler |

mod compatible;
pub mod compiler;
pub mod syntax;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use buffersync_testbed::{provision, Failure};

use crate::install::{files, made};
use crate::{root, target};

const NAME: &str = "vendor.buffersync";
const PACKAGE: &str = "vendor/buffersync";

/// File name to text.
type Dump = BTreeMap<String, String>;

/// What the command line asks for.
pub fn run(command: &[String]) -> Result<i32, Failure> {
    let tree = Tree { aidl: root().join("aidl") };
    match command {
        [verb] if verb == "check" => {
            tree.check()?;
            if !tree.compile()? {
                println!("there is no aidl compiler to be had here: not compiled");
            }
        }
        [verb] if verb == "update" => tree.update()?,
        [verb] if verb == "freeze" => {
            let version = tree.freeze()?;
            println!("version {version} is frozen; now raise the version in aidl/build.rs");
        }
        _ => return Err(Failure("aidl takes check, update or freeze".into())),
    }
    println!("aidl: ok");
    Ok(0)
}

/// The folder that has the interface and its snapshots.
pub struct Tree {
    aidl: PathBuf,
}

impl Tree {
    /// Of the project.
    pub fn of_project() -> Self {
        Self { aidl: root().join("aidl") }
    }

    fn snapshots(&self) -> PathBuf {
        self.aidl.join("aidl_api").join(NAME)
    }

    /// Whether the interface is its snapshot, and goes on from the last frozen version.
    pub fn check(&self) -> Result<(), Failure> {
        let now = dump(&self.aidl.join(PACKAGE))?;
        let current = read(&self.snapshots().join("current").join(PACKAGE))?;
        if now != current {
            let differ: Vec<&String> = now
                .keys()
                .chain(current.keys())
                .filter(|file| now.get(*file) != current.get(*file))
                .collect();
            return Err(Failure(format!(
                "{differ:?} changed: if that is meant, run `cargo xtask aidl update`"
            )));
        }
        for version in self.frozen()? {
            let folder = self.snapshots().join(version.to_string());
            let hash = made(fs::read_to_string(folder.join(".hash")), ".hash")?;
            if hash.trim() != hash_of(&folder)? {
                return Err(Failure(format!("version {version} is frozen and was changed")));
            }
        }
        match self.frozen()?.last() {
            Some(last) => {
                let frozen = read(&self.snapshots().join(last.to_string()).join(PACKAGE))?;
                compatible::check(&frozen, &now).map_err(Failure)
            }
            None => Ok(()),
        }
    }

    /// Whether AOSP's compiler, where it is to be had, takes the interface; false if it is not.
    pub fn compile(&self) -> Result<bool, Failure> {
        if provision::need(&[("aidl", "aidl")]).is_err() {
            return Ok(false);
        }
        compiler::check(&self.files()?, &target().join("aidl")).map_err(Failure)?;
        Ok(true)
    }

    /// The interface.
    pub fn files(&self) -> Result<Vec<syntax::File>, Failure> {
        let texts = read(&self.aidl.join(PACKAGE))?;
        let files: Result<Vec<_>, String> =
            texts.values().map(|text| syntax::parse(text)).collect();
        files.map_err(Failure)
    }

    /// Makes the snapshot what the interface is. What a frozen version forbids stays forbidden.
    pub fn update(&self) -> Result<(), Failure> {
        let folder = self.snapshots().join("current").join(PACKAGE);
        let _ = fs::remove_dir_all(&folder);
        write(&folder, &dump(&self.aidl.join(PACKAGE))?)?;
        self.check()
    }

    /// Makes the snapshot a version. Returns which.
    fn freeze(&self) -> Result<u32, Failure> {
        self.check()?;
        let version = self.frozen()?.last().map_or(1, |last| last + 1);
        let folder = self.snapshots().join(version.to_string());
        write(&folder.join(PACKAGE), &dump(&self.aidl.join(PACKAGE))?)?;
        let hash = hash_of(&folder)?;
        made(fs::write(folder.join(".hash"), hash + "\n"), ".hash")?;
        Ok(version)
    }

    /// The frozen versions, in their order.
    fn frozen(&self) -> Result<Vec<u32>, Failure> {
        let entries = made(fs::read_dir(self.snapshots()), "aidl_api")?.flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut versions: Vec<u32> = names.filter_map(|name| name.parse().ok()).collect();
        versions.sort_unstable();
        Ok(versions)
    }
}

fn dump(folder: &Path) -> Result<Dump, Failure> {
    let read = read(folder)?;
    let dumped = read.into_iter().map(|(name, text)| {
        let file = syntax::parse(&text).map_err(|why| Failure(format!("{name}: {why}")))?;
        Ok((name, file.to_string()))
    });
    dumped.collect()
}

fn read(folder: &Path) -> Result<Dump, Failure> {
    let mut dump = Dump::new();
    for path in files(folder, "aidl")? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        dump.insert(name.clone(), made(fs::read_to_string(&path), &name)?);
    }
    if dump.is_empty() {
        return Err(Failure(format!("{} has no AIDL", folder.display())));
    }
    Ok(dump)
}

fn write(folder: &Path, dump: &Dump) -> Result<(), Failure> {
    made(fs::create_dir_all(folder), &folder.display().to_string())?;
    for (name, text) in dump {
        made(fs::write(folder.join(name), text), name)?;
    }
    Ok(())
}

/// As AOSP's build makes it, from names and contents of all files of a version.
fn hash_of(folder: &Path) -> Result<String, Failure> {
    const RECIPE: &str =
        "(find ./ -name '*.aidl' -print0 | LC_ALL=C sort -z | xargs -0 sha1sum && \
                          echo latest-version) | sha1sum | cut -d' ' -f1";
    let output = Command::new("sh").args(["-c", RECIPE]).current_dir(folder).output();
    let output = made(output, "sha1sum")?;
    let hash = String::from_utf8_lossy(&output.stdout).trim().to_string();
    if hash.len() == 40 {
        Ok(hash)
    } else {
        Err(Failure("sha1sum is needed (coreutils)".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn tree(name: &str) -> (Folder, Tree) {
        let folder = format!("buffersync-aidl-{name}-{}", std::process::id());
        let aidl = std::env::temp_dir().join(folder);
        fs::create_dir_all(aidl.join(PACKAGE)).unwrap();
        (Folder(aidl.clone()), Tree { aidl })
    }

    fn put(tree: &Tree, text: &str) {
        fs::write(tree.aidl.join(PACKAGE).join("IX.aidl"), text).unwrap();
    }

    #[test]
    fn a_change_has_to_be_taken_over_and_after_a_freeze_may_only_add() {
        let (_folder, tree) = tree("life");
        put(&tree, "package a; /** Says. */ interface IX { void f(); }");
        tree.update().unwrap();
        tree.check().unwrap();
        put(&tree, "package a; /** Other words. */ interface IX { void f(); }");
        tree.check().unwrap();
        put(&tree, "package a; interface IX { void g(); }");
        assert!(tree.check().is_err(), "a change that nobody took over");
        tree.update().unwrap();
        assert_eq!(tree.freeze().unwrap(), 1);
        put(&tree, "package a; interface IX { void g(); int h(int x); }");
        tree.update().unwrap();
        assert_eq!(tree.freeze().unwrap(), 2);
        put(&tree, "package a; interface IX { int h(int x); void g(); }");
        assert!(tree.update().is_err(), "methods have numbers");

        put(&tree, "package a; interface IX { void g(); int h(int x); }");
        tree.update().unwrap();
        let frozen = tree.snapshots().join("1").join(PACKAGE).join("IX.aidl");
        fs::write(frozen, "package a; interface IX { }").unwrap();
        let why = tree.check().unwrap_err().0;
        assert!(why.contains("version 1 is frozen"), "{why}");
    }

    #[test]
    fn the_project_is_its_snapshot_and_nothing_is_frozen_yet() {
        let tree = Tree::of_project();
        tree.check().unwrap();
        assert!(tree.frozen().unwrap().is_empty());
    }
}

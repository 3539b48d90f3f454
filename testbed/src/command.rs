// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Commands and files of the host, with errors that say what could not be done.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{during, Failure};

/// Runs a command that has to succeed.
pub fn call(command: &mut Command) -> Result<(), Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = made(command.status(), &name)?;
    status.success().then_some(()).ok_or_else(|| Failure(format!("{name} failed ({status})")))
}

/// Adds to an error what was being made.
pub fn made<T>(result: io::Result<T>, what: &str) -> Result<T, Failure> {
    during(what, result)
}

/// Copies a file, and makes the folder that it goes to.
pub fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let folder = to.parent().map_or(Ok(()), fs::create_dir_all);
    let name = format!("{} -> {}", from.display(), to.display());
    made(folder.and_then(|()| fs::copy(from, to)), &name).map(|_| ())
}

/// Makes one folder a copy of another. Returns how many files that are.
pub fn copy_folder(from: &Path, to: &Path) -> Result<usize, Failure> {
    let _ = fs::remove_dir_all(to);
    made(fs::create_dir_all(to), &to.display().to_string())?;
    let mut count = 0;
    for entry in made(fs::read_dir(from), &from.display().to_string())?.flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            count += copy_folder(&entry.path(), &target)?;
        } else {
            copy(&entry.path(), &target)?;
            count += 1;
        }
    }
    Ok(count)
}

/// The files of a folder with this ending, in the order of their names.
pub fn files(folder: &Path, ending: &str) -> Result<Vec<PathBuf>, Failure> {
    let entries = made(fs::read_dir(folder), &folder.display().to_string())?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|found| found == ending));
    files.sort();
    Ok(files)
}

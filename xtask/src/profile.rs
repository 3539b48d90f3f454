// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Profile-guided optimisation (rustc's `-C profile-generate` and `-C profile-use`).
//!
//! A call through binder is short and comes after a context switch, when neither code nor branch targets
//! are in any cache. What it costs is how many places it touches. The compiler puts the functions of a
//! lock and an unlock together, and into one another, if it is told which these are: the binding's, the
//! C library's and our own.
//!
//! A profile is made of the sources as they are, by the compiler that will use it, and not kept in the
//! project: that of other sources or another compiler would fit nothing, and nobody would notice.
//! Soong has the same as AFDO, with profiles sampled on devices.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use buffersync_testbed::{Failure, Run, Testbed};

use crate::build::{self, Program, SERVICE};
use crate::install::{call, files, made};
use crate::{out_folder, target};

/// The service, but that it writes its profile when it ends.
const TRAINING_SERVICE: &str = "buffersync-training-service";
/// Below the testbed's folder for results.
const RAW: &str = "profile";
/// What is trained: locks and unlocks of every kind, beside other locks; and what the service does in the
/// demo, with queues, fences and evictions. Not the demo itself: it looks at every pixel, beside which no
/// lock would count as often used. The service has a user of its own, so the folder is for all.
const TRAINING: &str = "set -e; bin=$BUFFERSYNC_STAGE/bin; \
    into=$(mktemp -d); chmod 1777 $into; export LLVM_PROFILE_FILE=$into/%p.profraw; cd $into; \
    $bin/buffersync-stack -- $bin/buffersync-bench alone > /dev/null; \
    $bin/buffersync-stack -- env LLVM_PROFILE_FILE=/dev/null $bin/buffersync-demo run --out demo; \
    mkdir -p $BUFFERSYNC_OUT/profile; cp *.profraw $BUFFERSYNC_OUT/profile/; cd /; rm -r $into";
const LIMIT: Duration = Duration::from_secs(300);

/// Trains the programs, and builds them with the profile. They are the same packages as in training, chosen
/// together: features depend on what is chosen, and functions of a crate with other features are not known by
/// the same names. The linker keeps what is used often together.
pub fn guided(testbed: &Testbed) -> Result<Vec<Program>, Failure> {
    let profile = train(testbed)?;
    let together = "-C link-arg=-Wl,-z,keep-text-section-prefix";
    let flags = format!("-C profile-use={} {together}", profile.display());
    build::release_programs(&flags, "guided")
}

/// Builds the programs anew with counters, has them work in the testbed, and says where the profile is.
fn train(testbed: &Testbed) -> Result<PathBuf, Failure> {
    println!("profile: building the programs with counters");
    let llvm_profdata = llvm_profdata()?;
    let trained = build::release_programs("-C profile-generate=/tmp", "training")?;
    let stage = build::stage_programs(&in_training(trained))?;
    let raw = out_folder().join(RAW);
    let _ = fs::remove_dir_all(&raw);
    println!("profile: training");
    let run = Run { command: TRAINING, stage: &stage, out: &out_folder(), limit: LIMIT };
    let mut said = String::new();
    let status = testbed.run(&run, &mut |line| said.push_str(&format!("{line}\n")))?;
    if status != 0 {
        return Err(Failure(format!("the training ended with {status}\n{said}")));
    }
    let profile = target().join("training/buffersync.profdata");
    let mut merge = Command::new(llvm_profdata);
    merge.args(["merge", "--sparse", "-o"]).arg(&profile).args(files(&raw, "profraw")?);
    call(&mut merge)?;
    println!("profile: {}", profile.display());
    Ok(profile)
}

/// The programs, the service being the one that writes a profile.
fn in_training(programs: Vec<Program>) -> Vec<Program> {
    let others = programs.into_iter().filter(|program| program.name != SERVICE);
    let renamed = others.map(|program| match program.name.as_str() {
        TRAINING_SERVICE => Program { name: SERVICE.into(), ..program },
        _ => program,
    });
    renamed.collect()
}

/// The tool of this very compiler: profiles have its version. rustup has it as a component.
fn llvm_profdata() -> Result<PathBuf, Failure> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let asked = Command::new(rustc).args(["--print", "target-libdir"]).output();
    let asked = made(asked, "rustc")?;
    let libraries = PathBuf::from(String::from_utf8_lossy(&asked.stdout).trim());
    let tool = libraries.with_file_name("bin").join("llvm-profdata");
    if !tool.exists() {
        call(Command::new("rustup").args(["component", "add", "llvm-tools"]))?;
    }
    if !tool.exists() {
        return Err(Failure(format!("{}: not there (rustup's llvm-tools)", tool.display())));
    }
    Ok(tool)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &str, path: &str) -> Program {
        Program { name: name.into(), package: String::new(), path: path.into(), test: false }
    }

    #[test]
    fn the_service_in_training_takes_the_services_place() {
        let programs = [SERVICE, "buffersync-bench", TRAINING_SERVICE].map(|n| program(n, n));
        let staged: Vec<(String, PathBuf)> =
            in_training(programs.into()).into_iter().map(|p| (p.name, p.path)).collect();
        let expected = [
            ("buffersync-bench".to_string(), PathBuf::from("buffersync-bench")),
            (SERVICE.to_string(), PathBuf::from(TRAINING_SERVICE)),
        ];
        assert_eq!(staged, expected);
    }
}

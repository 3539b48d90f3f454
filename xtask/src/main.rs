// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask`: the commands of the README.
//!
//! | module | what it is |
//! |---|---|
//! | [`abi`] | is the C header what the library is |
//! | [`aidl`] | `cargo xtask aidl` |
//! | [`mod@bench`] | `cargo xtask bench` |
//! | [`build`] | calls cargo, collects the programs for the guest |
//! | [`clients`] | builds the examples in C and Java |
//! | [`demo`] | `cargo xtask demo` |
//! | [`device`] | do the files that a device reads agree |
//! | [`fuzz`] | `cargo xtask fuzz` |
//! | [`mod@install`] | `cargo xtask install` |
//! | [`mod@test`] | `cargo xtask test` |
//! | [`mutants`] | `cargo xtask mutants` |
//! | [`product`] | what a product would make of buffersync.mk |
//! | [`profile`] | what the compiler is told about the paths that matter |
//! | [`sepolicy`] | compiles the SELinux policy |
//! | [`selftest`] | does the testbed itself notice what goes wrong |
//! | [`soong`] | what Soong would say to Android.bp |
//! | [`vts`] | `cargo xtask vts` |

mod abi;
mod aidl;
mod bench;
mod build;
mod clients;
mod demo;
mod device;
mod fuzz;
mod install;
mod mutants;
mod product;
mod profile;
mod selftest;
mod sepolicy;
mod soong;
mod test;
mod vts;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use buffersync_testbed::{Accel, Failure, Run, Testbed, Where};

const HELP: &str = "\
cargo xtask demo [OPTIONS]              camera -> codec -> preview on a real kernel
cargo xtask test [OPTIONS]              formatting, clippy, docs, unit and integration tests
cargo xtask vts [OPTIONS]               the conformance suite: requirement by requirement
cargo xtask install [OPTIONS]           the service, C and Java libraries, header
cargo xtask testbed [OPTIONS] -- CMD    runs a shell command in the testbed
cargo xtask bench [OPTIONS] [-- engine|cost|service]  both beside their peers, as ratios
cargo xtask aidl -- check|update|freeze the interface and its snapshots, by AOSP's compiler
cargo xtask soong                       Android.bp against the tree, Cargo and AOSP's signatures
cargo xtask fuzz [OPTIONS] [-- engine|service OPTION...|record|wrong]  libFuzzer, with its options
cargo xtask mutants [-- WORD...]        breaks the engine on purpose; its tests have to notice

OPTIONS
  --native              on this machine's own kernel instead of a virtual machine
  --accel tcg|kvm|auto  who executes the virtual machine (tcg; auto probes KVM)
  --limit SECONDS       when a run in the testbed counts as hung (testbed: 600)
  --check               bench: whether the service's ratios are within their bounds
  --prefix DIR          install: where (/usr/local)
  --destdir DIR         install: a folder that stands for / meanwhile, for packagers
  --guided              install: the service is optimised by a profile, made in the testbed first
  --without-java        install: no Java classes, which need a JDK to be built
  --without-service     install: for clients of a service that is there already

In the testbed $BUFFERSYNC_STAGE/bin has the project's programs, and what a command writes to
$BUFFERSYNC_OUT is found in target/testbed/out afterwards.
";

/// What was asked for.
struct Options {
    place: Where,
    limit: Option<Duration>,
    prefix: PathBuf,
    destdir: Option<PathBuf>,
    check: bool,
    guided: bool,
    java: bool,
    service: bool,
    command: Vec<String>,
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let verb = args.next().unwrap_or_default();
    let options = match parse(args) {
        Ok(options) => options,
        Err(error) => return usage(&error),
    };
    let done = match verb.as_str() {
        "demo" if options.command.is_empty() => demo::run(&options),
        "test" if options.command.is_empty() => test::run(&options),
        "install" if options.command.is_empty() => install(&options),
        "bench" => bench::run(&options),
        "vts" if options.command.is_empty() => vts::run(&options),
        "fuzz" => fuzz::run(&options),
        "aidl" => aidl::run(&options.command),
        "soong" if options.command.is_empty() => soong::run(),
        "mutants" => mutants::run(&options.command),
        "testbed" if !options.command.is_empty() => run_in_testbed(&options),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(0)
        }
        "" => return usage("no command"),
        "demo" | "install" | "soong" | "test" | "vts" => {
            return usage(&format!("{verb} takes no command"))
        }
        "testbed" => return usage("testbed needs a command after --"),
        other => return usage(&format!("unknown command {other}")),
    };
    match done {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(1)),
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn usage(error: &str) -> ExitCode {
    eprint!("xtask: {error}\n\n{HELP}");
    ExitCode::from(2)
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        place: Where::Guest(Accel::Tcg),
        limit: None,
        prefix: "/usr/local".into(),
        destdir: None,
        check: false,
        guided: false,
        java: true,
        service: true,
        command: Vec::new(),
    };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--native" => options.place = Where::Native,
            "--accel" => {
                options.place = Where::Guest(match args.next().as_deref() {
                    Some("tcg") => Accel::Tcg,
                    Some("kvm") => Accel::Kvm,
                    Some("auto") => Accel::Auto,
                    _ => return Err("--accel takes tcg, kvm or auto".into()),
                });
            }
            "--limit" => {
                let seconds = args.next().and_then(|value| value.parse().ok());
                let seconds = seconds.filter(|seconds| *seconds > 0);
                options.limit =
                    Some(Duration::from_secs(seconds.ok_or("--limit takes whole seconds")?));
            }
            "--prefix" => options.prefix = folder(args.next(), "--prefix")?,
            "--destdir" => options.destdir = Some(folder(args.next(), "--destdir")?),
            "--check" => options.check = true,
            "--guided" => options.guided = true,
            "--without-java" => options.java = false,
            "--without-service" => options.service = false,
            "--" => options.command = args.by_ref().collect(),
            other => return Err(format!("unknown option {other}")),
        }
    }
    Ok(options)
}

/// A folder, absolute: what is written into files must hold wherever they are read.
fn folder(argument: Option<String>, option: &str) -> Result<PathBuf, String> {
    let folder = argument.filter(|folder| !folder.is_empty());
    let folder = folder.ok_or_else(|| format!("{option} takes a folder"))?;
    std::path::absolute(folder).map_err(|error| format!("{option}: {error}"))
}

fn install(options: &Options) -> Result<i32, Failure> {
    let Options { prefix, destdir, java, service, .. } = options;
    let install = install::Install {
        prefix,
        destdir: destdir.as_deref(),
        release: true,
        guided: options.guided.then_some(options.place),
        java: *java,
        service: *service,
    };
    install.run()?;
    println!("installed in {}", prefix.display());
    Ok(0)
}

fn run_in_testbed(options: &Options) -> Result<i32, Failure> {
    let stage = build::stage()?;
    let testbed = Testbed::prepare(options.place, &cache())?;
    let limit = options.limit.unwrap_or(Duration::from_secs(600));
    let out = out_folder();
    let run = Run { command: &options.command.join(" "), stage: &stage, out: &out, limit };
    testbed.run(&run, &mut |line| println!("{line}"))
}

/// The project's root folder.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Cargo's target folder.
fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// Where the testbed keeps what it has downloaded and made.
fn cache() -> PathBuf {
    target().join("testbed")
}

/// Where the guest's /out is.
fn out_folder() -> PathBuf {
    cache().join("out")
}

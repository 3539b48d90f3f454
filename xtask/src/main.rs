// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask`: the commands of the README. Most are here only as far as they read the command line and
//! start what does the work.
//!
//! | command | where the work is done |
//! |---|---|
//! | `demo` | [`demo`]; the pipeline is `testbed/demo` |
//! | `test` | [`mod@test`]; what is tested is in each folder, and in `checks` |
//! | `vts` | [`vts`]; `vts/conformance` |
//! | `soak` | [`soak`]; `testbed/soak` |
//! | `coherence` | [`coherence`]; `testbed/coherence`, `vts/conformance` |
//! | `install` | [`mod@install`] |
//! | `testbed` | `testbed` |
//! | `bench` | `testbed/bench/report`, `service/engine/bench` |
//! | `aidl` | `checks/src/aidl.rs` |
//! | `fuzz` | `service/fuzz/driver` |
//! | `mutants` | `service/engine/tests/mutants` |
//! | `simulate` | `service/sim`, `service/sim/driver` |

mod clients;
mod coherence;
mod demo;
mod install;
mod soak;
mod test;
mod vts;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use buffersync_testbed::checkout::{cache, out};
use buffersync_testbed::{programs, Accel, Failure, Run, Testbed, Where};

const HELP: &str = "\
cargo xtask demo [OPTIONS]              a video pipeline over real drivers on a real kernel
cargo xtask test [OPTIONS] [STEP...]    every check, or these steps; `test --list` names them
cargo xtask vts [OPTIONS]               the conformance suite: requirement by requirement
cargo xtask soak [OPTIONS] [WORD...]    everything at once, for long; nothing may be granted twice or leak
cargo xtask coherence [OPTIONS] [WORD...]  CPU and DMA on memory that is not coherent; every byte is checked
cargo xtask install [OPTIONS]           the service, C and Java libraries, header
cargo xtask testbed [OPTIONS] -- CMD    runs a shell command in the testbed
cargo xtask bench [OPTIONS] [-- engine|cost|service|floods]  beside their peers, as ratios
cargo xtask aidl -- check|update|freeze the interface and its snapshots, by AOSP's compiler
cargo xtask fuzz [OPTIONS] [-- engine|service OPTION...|record|wrong]  libFuzzer, with its options
cargo xtask mutants [-- WORD...]        breaks the engine on purpose; its tests have to notice
cargo xtask simulate [--seconds N] [--seed S]  the whole service over a simulated kernel, from a seed
cargo xtask simulate --mistakes [WORD...]      breaks the service on purpose; the simulation has to notice

OPTIONS
  --native              on this machine's own kernel instead of a virtual machine
  --accel tcg|kvm|auto  who executes the virtual machine (tcg; auto probes KVM)
  --limit SECONDS       when a run in the testbed counts as hung (testbed: 600)
  --list                test: the names of the steps
  --no-build            testbed: with the programs that were built for the last run
  --devices             testbed: with a camera and a display (vivid, cirrus)
  --check               bench: whether the service's ratios are within their bounds
  --minutes N           soak: how long (30)
  --accesses N          coherence: of a CPU or a device, in sum (10000)
  --seed S              soak, coherence: what happens by chance (1)
  --wrong               soak: on services that are wrong on purpose, which have to be noticed
  --prefix DIR          install: where (/usr/local)
  --destdir DIR         install: a folder that stands for / meanwhile, for packagers
  --debug               install: built as the tests are, not optimised for use
  --without-java        install: no Java classes, which need a JDK to be built
  --without-service     install: for clients of a service that is there already

In the testbed $BUFFERSYNC_STAGE/bin has the programs that CMD names (all, if it names a test or
buffersync-stack), and what a command writes to $BUFFERSYNC_OUT is found in target/testbed/out afterwards.
";

/// The command line, without the command.
struct Options {
    place: Where,
    limit: Option<Duration>,
    prefix: PathBuf,
    destdir: Option<PathBuf>,
    build: bool,
    devices: bool,
    check: bool,
    list: bool,
    minutes: Option<u64>,
    accesses: Option<u64>,
    seed: Option<u64>,
    wrong: bool,
    release: bool,
    java: bool,
    service: bool,
    /// Words that are no options, and all that follow `--`.
    words: Vec<String>,
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let verb = args.next().unwrap_or_default();
    if verb == "simulate" {
        // Its options are those of the program, which has a help of its own.
        let words: Vec<String> = args.filter(|word| word != "--").collect();
        return status_of(buffersync_simulation_driver::run(&words));
    }
    let options = match parse(args) {
        Ok(options) => options,
        Err(error) => return usage(&error),
    };
    let Options { place, limit, check, words, .. } = &options;
    let done = match verb.as_str() {
        "demo" | "install" | "vts" if !words.is_empty() => {
            return usage(&format!("{verb} takes no words, not {words:?}"))
        }
        "soak" if !words.is_empty() && !options.wrong => {
            return usage(&format!("soak takes words with --wrong only, not {words:?}"))
        }
        "demo" => demo::run(&options),
        "soak" => soak::run(&options),
        "coherence" => coherence::run(&options),
        "test" => test::run(&options),
        "install" => install(&options),
        "vts" => vts::run(&options),
        "bench" => buffersync_bench_report::run(*place, *limit, *check, words),
        "fuzz" => buffersync_fuzz_driver::run(*place, *limit, words),
        "aidl" => buffersync_checks::aidl::run(words),
        "mutants" => buffersync_engine_mutants::run(words),
        "testbed" if words.is_empty() => return usage("testbed needs a command after --"),
        "testbed" => run_in_testbed(&options),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(0)
        }
        "" => return usage("no command"),
        other => return usage(&format!("unknown command {other}")),
    };
    status_of(done)
}

fn status_of(done: Result<i32, Failure>) -> ExitCode {
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
        build: true,
        devices: false,
        check: false,
        list: false,
        minutes: None,
        accesses: None,
        seed: None,
        wrong: false,
        release: true,
        java: true,
        service: true,
        words: Vec::new(),
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
            "--minutes" => options.minutes = Some(number(args.next(), "--minutes")?),
            "--accesses" => options.accesses = Some(number(args.next(), "--accesses")?),
            "--seed" => options.seed = Some(number(args.next(), "--seed")?),
            "--wrong" => options.wrong = true,
            "--prefix" => options.prefix = folder(args.next(), "--prefix")?,
            "--destdir" => options.destdir = Some(folder(args.next(), "--destdir")?),
            "--no-build" => options.build = false,
            "--devices" => options.devices = true,
            "--check" => options.check = true,
            "--list" => options.list = true,
            "--debug" => options.release = false,
            "--without-java" => options.java = false,
            "--without-service" => options.service = false,
            "--help" | "-h" => {
                print!("{HELP}");
                std::process::exit(0);
            }
            "--" => options.words.extend(args.by_ref()),
            option if option.starts_with('-') => return Err(format!("unknown option {option}")),
            word => options.words.push(word.to_string()),
        }
    }
    Ok(options)
}

fn number(argument: Option<String>, option: &str) -> Result<u64, String> {
    let number = argument.and_then(|argument| argument.parse().ok());
    number.ok_or_else(|| format!("{option} takes a whole number"))
}

/// A folder, absolute: what is written into files must hold wherever they are read.
fn folder(argument: Option<String>, option: &str) -> Result<PathBuf, String> {
    let folder = argument.filter(|folder| !folder.is_empty());
    let folder = folder.ok_or_else(|| format!("{option} takes a folder"))?;
    std::path::absolute(folder).map_err(|error| format!("{option}: {error}"))
}

fn install(options: &Options) -> Result<i32, Failure> {
    let Options { prefix, destdir, release, java, service, .. } = options;
    let install = install::Install {
        prefix,
        destdir: destdir.as_deref(),
        release: *release,
        java: *java,
        service: *service,
    };
    install.run()?;
    println!("installed in {}", prefix.display());
    Ok(0)
}

fn run_in_testbed(options: &Options) -> Result<i32, Failure> {
    let command = options.words.join(" ");
    let stage = if options.build { programs::stage_for(&command)? } else { cache().join("stage") };
    let mut testbed = Testbed::prepare(options.place, &cache())?;
    if options.devices {
        testbed = testbed.with_devices();
    }
    let limit = options.limit.unwrap_or(Duration::from_secs(600));
    let out = out();
    let run = Run { command: &command, stage: &stage, out: &out, limit };
    testbed.run(&run, &mut |line| println!("{line}"))
}

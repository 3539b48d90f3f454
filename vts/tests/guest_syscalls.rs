// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The system calls of the service: its unit lists them, and the service needs each.
//!
//! The program is the one that `cargo xtask install` installs, because the calls of its loader and C library
//! count too. strace records its calls while clients use every feature. The conformance suite shows that it needs
//! no other call: it runs against the service under a filter of the list (`SystemCallFilter=`).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use buffersync_testbed_guest::stack::Stack;
use buffersync_testbed_guest::user::User;

const SERVICE: &str = "vendor.buffersync-service";
/// A folder for strace's output, writable by the service's user.
const PLACE: &str = "/tmp/syscalls";

/// The parts of the suite that use every feature of the service.
const ASKED: [&str; 5] =
    ["interface::", "fences::", "implicit::", "eviction::", "locks::a_memfd_is_locked"];

/// Calls that are listed but not seen in each run, with the reason for the list.
const NOT_SEEN: [(&str, &str); 18] = [
    ("clock_gettime", "where the kernel has no vDSO"),
    ("clock_nanosleep", "a wait for the service manager, or after a flood of oneway calls"),
    ("clone", "a new thread, where glibc is older than 2.37 (aarch64) or 2.34"),
    ("fstat", "newfstatat, where glibc is 2.39 or newer"),
    ("gettimeofday", "where the kernel has no vDSO"),
    ("epoll_pwait", "aarch64 has no epoll_wait"),
    ("faccessat", "aarch64 has no access"),
    ("ppoll", "aarch64 has no poll"),
    ("readlinkat", "aarch64 has no readlink"),
    ("exit", "a thread's end, which strace does not count"),
    ("exit_group", "the end, which strace does not count"),
    ("madvise", "the allocator, when it gives memory back"),
    ("mremap", "the allocator, when a table grows"),
    ("restart_syscall", "the kernel's own, after a stop"),
    ("rt_sigreturn", "after the watchdog's signal"),
    ("sched_yield", "a lock that is contended"),
    ("tgkill", "abort, when a vital thread ends"),
    ("timer_delete", "the watchdog's timer, at the end"),
];

/// Listed calls that only x86-64 makes: other architectures lack them, or glibc does not use them there.
const X86_ONLY: [&str; 6] = ["access", "arch_prctl", "clone3", "epoll_wait", "poll", "readlink"];

fn stage(name: &str) -> PathBuf {
    std::env::var_os("BUFFERSYNC_STAGE").map_or_else(|| "/stage".into(), PathBuf::from).join(name)
}

fn program() -> PathBuf {
    stage("prefix/bin").join(SERVICE)
}

fn unit() -> PathBuf {
    stage("prefix/lib/systemd/system/vendor.buffersync.service")
}

fn out(name: &str) -> PathBuf {
    let out = std::env::var_os("BUFFERSYNC_OUT").map_or_else(|| "/out".into(), PathBuf::from);
    out.join(name)
}

/// Makes a folder of programs for the stack, in which `wrapper` starts the service.
fn bin(name: &str, wrapper: &str) -> PathBuf {
    let folder = Path::new(PLACE).join(name);
    fs::create_dir_all(&folder).expect("folder");
    for folder in [Path::new(PLACE), &folder] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).expect("chmod");
    }
    for tool in ["rsb_hub", "rsb_service"] {
        let _ = symlink(stage("bin").join(tool), folder.join(tool));
    }
    let script = folder.join(SERVICE);
    let text = format!("#!/bin/sh\nexec {wrapper} {} \"$@\"\n", program().display());
    fs::write(&script, text).expect("script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("chmod");
    folder
}

/// Runs a part of the conformance suite. strace slows the service down, maybe too much for verdicts, which do not
/// matter here.
fn ask(part: &str) {
    let mut suite = Command::new(stage("bin/VtsHalBufferSyncTargetTest"));
    suite.arg(part).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    suite.status().expect("the suite");
}

/// Returns the calls that the unit lists.
fn listed() -> BTreeSet<String> {
    let unit = fs::read_to_string(unit()).expect("the unit");
    let lines = unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter="));
    lines.flat_map(str::split_whitespace).map(str::to_string).collect()
}

#[test]
fn the_unit_lists_what_the_service_calls() {
    let summary = Path::new(PLACE).join("summary");
    let strace = format!("strace -f -qq -c -U name -S name -o {}", summary.display());
    let bin = bin("traced", &strace);
    let stack = Stack::start(&bin, &out("log-traced"), &[]).expect("stack");
    // strace waits for the service, and no signal ends strace before.
    let children = format!("/proc/{0}/task/{0}/children", stack.service_pid());
    let service = fs::read_to_string(children).expect("children");
    let service = service.trim();
    ASKED.into_iter().for_each(ask);
    let killed = Command::new("/bin/busybox").args(["kill", "-TERM", service]).status();
    assert!(killed.expect("kill").success(), "the service has ended");
    drop(stack);

    let text = fs::read_to_string(summary).expect("summary");
    let rows = text.lines().skip_while(|line| !line.starts_with("---")).skip(1);
    let seen: BTreeSet<String> =
        rows.take_while(|line| !line.starts_with("---")).map(str::to_string).collect();
    assert!(seen.len() > 30, "{text}");
    let listed = listed();
    let missing: Vec<_> = seen.difference(&listed).collect();
    assert!(missing.is_empty(), "not listed: {missing:?}");
    let mut excused: BTreeSet<&str> = NOT_SEEN.iter().map(|(call, _)| *call).collect();
    if !cfg!(target_arch = "x86_64") {
        excused.extend(X86_ONLY);
    }
    let idle: Vec<_> =
        listed.difference(&seen).filter(|call| !excused.contains(call.as_str())).collect();
    assert!(idle.is_empty(), "listed, and not called: {idle:?}");
    println!("{} system calls seen, {} listed", seen.len(), listed.len());
}

#[test]
fn the_unit_confines_the_service() {
    let confined = format!("{} {}", stage("bin/buffersync-confined").display(), unit().display());
    let bin = bin("confined", &confined);
    let mut stack = Stack::start(&bin, &out("log-confined"), &[]).expect("stack");
    let status = fs::read_to_string(format!("/proc/{}/status", stack.service_pid()));
    let status = status.expect("status");
    for line in ["Seccomp:\t2", "NoNewPrivs:\t1", "CapEff:\t0000000000000000"] {
        assert!(status.contains(line), "{line:?} is not in {status}");
    }
    assert!(stack.service_is_alive());
}

/// Checks the filter itself: a call that is not in the list kills.
#[test]
fn what_is_not_listed_kills() {
    use std::os::unix::process::ExitStatusExt;
    let mut confined = User::SERVICE.command(stage("bin/buffersync-confined"));
    confined.arg(unit()).arg("/bin/busybox").args(["nc", "127.0.0.1", "1"]);
    let status = confined.stdin(Stdio::null()).stderr(Stdio::null()).status().expect("spawn");
    assert_eq!(status.signal(), Some(31), "SIGSYS: {status}");
}

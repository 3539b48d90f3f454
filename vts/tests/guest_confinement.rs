// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The credentials of the working service: its own uid, no other group, no capability, and only the
//! descriptors that its work needs. init, systemd and SELinux allow the same list.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use buffersync_client::{Access, BufferSync, Options};
use buffersync_testbed_guest::heap;
use buffersync_testbed_guest::stack::{patient, Stack};
use buffersync_testbed_guest::user::User;
use buffersync_vts::hal::eventually;

/// The allowed descriptors of the service, with their names in `/proc/PID/fd`.
const ALLOWED: [&str; 7] = [
    "/dev/binder",
    "/dev/null",
    "/dmabuf:",
    "anon_inode:[eventpoll]",
    "anon_inode:[eventfd]",
    "anon_inode:[timerfd]",
    "socket:",
];

/// The folder for logs.
fn logs() -> PathBuf {
    let out = std::env::var_os("BUFFERSYNC_OUT").map_or_else(|| "/out".into(), PathBuf::from);
    out.join("log-confinement")
}

fn start() -> Stack {
    let own = std::env::current_exe().expect("own path");
    Stack::start(own.parent().expect("a folder"), &logs(), &patient()).expect("stack")
}

/// The value of a key in `/proc/PID/status`.
fn status(pid: u32, key: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key}:")));
    line.expect("the key").split_whitespace().map(str::to_string).collect()
}

fn descriptors(pid: u32) -> BTreeSet<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("fd").flatten();
    // A descriptor may be closed meanwhile.
    let targets = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    targets.map(|target| target.to_string_lossy().into_owned()).collect()
}

#[test]
fn the_service_has_what_it_needs_and_nothing_else() {
    let stack = start();
    let pid = stack.service_pid();
    let buffer = heap::allocate(16 * 1024).expect("heap");
    let sync = BufferSync::connect().expect("connect");
    let group = sync.open_group("confinement", Options::default()).expect("open_group");
    group.add(&buffer, Access::DmaWrite).expect("add");
    let grant = group.lock(None).expect("lock");

    let own = User::SERVICE.0.to_string();
    for key in ["Uid", "Gid"] {
        assert_eq!(status(pid, key), [own.as_str(); 4], "{key}: real, effective, saved, fs");
    }
    assert!(status(pid, "Groups").is_empty(), "supplementary groups");
    for key in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status(pid, key), ["0000000000000000"], "{key}");
    }

    let open = descriptors(pid);
    for target in &open {
        let allowed = ALLOWED.iter().any(|allowed| target.starts_with(allowed));
        // Standard error goes to a log.
        let is_log = Path::new(target).starts_with(logs());
        assert!(allowed || is_log, "the service has {target} open");
    }
    // The test must see something: the buffer, the binder driver, a group's channel.
    for needed in ["/dmabuf:", "/dev/binder", "socket:"] {
        assert!(open.iter().any(|target| target.starts_with(needed)), "no {needed} in {open:?}");
    }
    // The sockets are event channels: pairs without a name, to which nobody can connect. 03 is SS_CONNECTED.
    let sockets = fs::read_to_string(format!("/proc/{pid}/net/unix")).expect("sockets");
    for inode in open.iter().filter_map(|target| target.strip_prefix("socket:[")) {
        let inode = inode.trim_end_matches(']');
        let socket = sockets.lines().find(|line| line.split_whitespace().nth(6) == Some(inode));
        let socket =
            socket.unwrap_or_else(|| panic!("socket {inode} is of no Unix kind: {sockets}"));
        let words: Vec<&str> = socket.split_whitespace().collect();
        assert_eq!((words[4], words[5], words.len()), ("0005", "03", 7), "{socket}");
    }
    grant.unlock().expect("unlock");

    a_refused_registration_says_why();

    // Descriptors from a client are closed with the client's group.
    drop(group);
    let kept = || descriptors(pid).iter().any(|target| target.starts_with("/dmabuf:"));
    eventually("the dma-buf is let go", || !kept());
}

/// The service manager does not let another user register a service. (One of a name that is served does not try.)
fn a_refused_registration_says_why() {
    let own = std::env::current_exe().expect("own path");
    let service = own.with_file_name("vendor.buffersync-service");
    let output = User::CAMERA.command(service).args(["--instance", "other"]).output();
    let output = output.expect("spawn");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    let name = "vendor.buffersync.IBufferSync/other is not registered";
    for words in [name, &format!("uid {}", User::CAMERA.0), "Security", "10-buffersync.toml"] {
        assert!(said.contains(words), "{words:?} is not in {said:?}");
    }
}

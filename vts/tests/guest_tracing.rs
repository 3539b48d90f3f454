// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The service's slices in the kernel's trace, for Perfetto: waits, holds, cache operations and evictions, each
//! with a beginning and an end. A service without tracing writes none.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use buffersync_client::{Access, BufferSync, Error, Options};
use buffersync_testbed_guest::heap;
use buffersync_testbed_guest::stack::{patient, Stack};
use buffersync_vts::trace::TRACING;

fn start(args: &[&str]) -> Stack {
    let own = std::env::current_exe().expect("own path");
    let out = std::env::var_os("BUFFERSYNC_OUT").map_or_else(|| "/out".into(), PathBuf::from);
    let mut service_args = patient();
    service_args.extend(args.iter().map(ToString::to_string));
    Stack::start(own.parent().expect("a folder"), &out.join("log-tracing"), &service_args)
        .expect("stack")
}

fn put(file: &str, text: &str) {
    fs::write(format!("{TRACING}/{file}"), text).unwrap_or_else(|error| panic!("{file}: {error}"));
}

/// A line of the trace: the thread that wrote it, and the text without the process id.
fn lines(pid: u32) -> Vec<(String, String)> {
    let text = fs::read_to_string(format!("{TRACING}/trace")).expect("trace");
    let of = format!("|{pid}");
    let is_its = |told: &str| {
        told.get(1..).is_some_and(|rest| rest == of || rest.starts_with(&format!("{of}|")))
    };
    let written = text.lines().filter_map(|line| {
        let (head, told) = line.split_once("tracing_mark_write: ")?;
        // `NAME-TID [CPU] ...`
        let thread = head.split('[').next()?.trim().rsplit('-').next()?;
        is_its(told).then(|| (thread.to_string(), told.replacen(&of, "", 1)))
    });
    written.collect()
}

/// Makes waits, holds, cache operations and an eviction.
fn work() {
    let sync = BufferSync::connect().expect("connect");
    let buffer = heap::allocate(16 * 1024).expect("heap");
    let brief = Options { hold_limit: Some(Duration::from_millis(50)), ..Options::default() };
    let holder = sync.open_group("trace|holder", brief).expect("open_group");
    holder.add(&buffer, Access::Write).expect("add");
    let waiter = sync.open_group("trace/waiter", Options::default()).expect("open_group");
    waiter.add(&buffer, Access::DmaWrite).expect("add");
    let held = holder.lock(None).expect("lock");
    // The waiter is granted when the holder is evicted.
    waiter.lock(None).expect("lock").unlock().expect("unlock");
    assert!(matches!(held.unlock(), Err(Error::Evicted { .. })));
}

/// Tells if every slice that has begun has ended. Panics if a slice ends that has not begun.
fn balanced(lines: &[(String, String)]) -> Result<(), String> {
    let (mut open, mut tracks) = (BTreeMap::<&str, u32>::new(), BTreeMap::<&str, bool>::new());
    for (thread, line) in lines {
        match line.split_once('|').unwrap_or((line, "")) {
            ("B", _) => *open.entry(thread).or_default() += 1,
            ("E", _) => {
                let depth = open.get_mut(thread.as_str()).expect("a slice that has begun");
                *depth = depth.checked_sub(1).expect("a slice that has begun");
            }
            ("S", track) => assert_ne!(tracks.insert(track, true), Some(true), "{track} is open"),
            ("F", track) => assert_eq!(tracks.insert(track, false), Some(true), "{track}"),
            ("I", _) => {}
            other => panic!("{other:?} is no line of ATrace's"),
        }
    }
    let ended = open.values().all(|depth| *depth == 0) && tracks.values().all(|open| !open);
    ended.then_some(()).ok_or_else(|| format!("{open:?} {tracks:?}"))
}

/// Restores the trace's settings.
struct Off;

impl Drop for Off {
    fn drop(&mut self) {
        let _ = fs::write(format!("{TRACING}/trace"), "");
        for (path, mode) in [("", 0o700), ("/trace_marker", 0o220)] {
            let mode = fs::Permissions::from_mode(mode);
            let _ = fs::set_permissions(format!("{TRACING}{path}"), mode);
        }
    }
}

/// One test, because there is one trace.
#[test]
fn what_the_service_does_is_in_the_kernels_trace() {
    for path in [TRACING.to_string(), format!("{TRACING}/trace_marker")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("chmod");
    }
    let _off = Off;
    put("tracing_on", "1");
    put("options/record-cmd", "0");
    put("trace", "");

    let quiet = start(&[]);
    work();
    assert_eq!(lines(quiet.service_pid()), [], "it was not told to trace");
    drop(quiet);

    let stack = start(&["--trace", "1"]);
    let pid = stack.service_pid();
    work();
    // The service may still work on the end of the groups.
    let patience = Instant::now() + Duration::from_secs(20);
    while let Err(open) = balanced(&lines(pid)) {
        assert!(Instant::now() < patience, "slices without an end: {open}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let lines = lines(pid);
    let has = |kind: &str, name: &str| {
        let begins = format!("{kind}|{name}");
        assert!(lines.iter().any(|(_, line)| line.starts_with(&begins)), "{begins} in {lines:#?}");
    };
    has("B", "lock");
    has("B", "unlock");
    has("B", "START RW ");
    has("B", "END RW ");
    has("S", "hold trace/holder ");
    has("S", "wait trace/waiter ");
    has("S", "hold trace/waiter ");
    has("I", "evicted trace/holder ");
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The service's use of processor, memory, descriptors and wake-ups.

use std::fs;
use std::time::Duration;

use buffersync_client::{Access, BufferSync, Group, Options};
use buffersync_testbed_guest::heap;
use serde_json::{json, Value};

use crate::alone::{buffers, empty_call, group};

const GROUPS: usize = 200;
const BUFFERS: usize = 10;
const CYCLES: u64 = 2_000;

/// The service's process.
struct Service(String);

impl Service {
    fn of_stack() -> Self {
        Self(std::env::var("BUFFERSYNC_SERVICE_PID").expect("run under buffersync-stack"))
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.0)).unwrap_or_default()
    }

    fn threads(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0)).expect("threads");
        tasks.flatten().map(|task| task.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Reads a number of `status`, of the process or of a thread.
    fn status(&self, file: &str, key: &str) -> u64 {
        let text = self.read(file);
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        let word = line.and_then(|line| line.split_whitespace().next());
        word.and_then(|word| word.parse().ok()).unwrap_or(0)
    }

    /// Anonymous memory, in bytes.
    fn memory(&self) -> u64 {
        self.status("status", "RssAnon:") * 1024
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.0)).expect("fd").count()
    }

    /// The number of times that its threads have slept.
    fn sleeps(&self) -> u64 {
        let of = |thread: String| {
            self.status(&format!("task/{thread}/status"), "voluntary_ctxt_switches:")
        };
        self.threads().into_iter().map(of).sum()
    }

    /// Processor time, in nanoseconds.
    fn time(&self) -> u64 {
        let of = |thread: String| -> u64 {
            let text = self.read(&format!("task/{thread}/schedstat"));
            text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
        };
        self.threads().into_iter().map(of).sum()
    }
}

fn wakes_when_idle(service: &Service) -> u64 {
    // After a hold limit all timers of the busy time have fired.
    std::thread::sleep(Duration::from_secs(6));
    let before = service.sleeps();
    std::thread::sleep(Duration::from_secs(4));
    service.sleeps() - before
}

fn time_per_cycle(service: &Service, sync: &BufferSync) -> Value {
    let group = group(sync, "bench/cost", &buffers(4), Access::DmaWrite);
    let mut locks = || group.lock(None).expect("lock").unlock().expect("unlock");
    let mut call = empty_call();
    let mut calls = || {
        call();
        call();
    };
    let of = |turn: &mut dyn FnMut()| {
        (0..100).for_each(|_| turn());
        let before = service.time();
        (0..CYCLES).for_each(|_| turn());
        (service.time() - before) / CYCLES
    };
    json!({ "lock_and_unlock": of(&mut locks), "two_calls": of(&mut calls) })
}

pub fn measure(sync: &BufferSync) -> Value {
    let service = Service::of_stack();
    let time = time_per_cycle(&service, sync);

    let empty = (service.memory(), service.descriptors());
    let open = |name: &str| sync.open_group(name, Options::default()).expect("openGroup");
    let groups: Vec<Group> = (0..GROUPS).map(|_| open("bench/groups")).collect();
    let with_groups = (service.memory(), service.descriptors());
    for group in &groups {
        for _ in 0..BUFFERS {
            // The service has its own descriptor then.
            group.add(heap::allocate(4096).expect("heap"), Access::DmaWrite).expect("add");
        }
    }
    let with_buffers = (service.memory(), service.descriptors());
    drop(groups);
    let per = |more: u64, less: u64, count: usize| more.saturating_sub(less) / count as u64;
    json!({
        "time": time,
        "bytes_per_group": per(with_groups.0, empty.0, GROUPS),
        "bytes_per_buffer": per(with_buffers.0, with_groups.0, GROUPS * BUFFERS),
        "descriptors_per_group": (with_groups.1 - empty.1) as f64 / GROUPS as f64,
        "descriptors_per_buffer": (with_buffers.1 - with_groups.1) as f64 / (GROUPS * BUFFERS) as f64,
        "threads": service.threads().len(),
        "memory": empty.0,
        "idle_wakes": wakes_when_idle(&service),
    })
}

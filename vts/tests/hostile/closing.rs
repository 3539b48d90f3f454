// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The service may have the last descriptor of a buffer. To close it frees the memory, which takes long for a big one,
//! so no thread that serves or keeps deadlines does that. The kernel's trace tells which one does; the time that it
//! takes is not looked at.

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_testbed_guest::heap;
use buffersync_testbed_guest::user::User;
use buffersync_vts::hal::{eventually, now_ns, Group};
use buffersync_vts::trace::TRACING;

use super::actor::{Actor, Stage};
use super::scene::Scene;

/// Names of the threads that serve: of the pool, the main thread, the reactor, the sync workers.
const SERVING: [&str; 4] = ["binder:", "vendor.buffersy", "reactor", "sync"];

/// A probe where the system heap frees a buffer: records the thread's name and the buffer's size.
struct Frees {
    name: String,
}

impl Frees {
    fn start() -> Self {
        // Names of processes in the trace's own columns are not needed: see `buffersync_vts::trace`.
        put(&format!("{TRACING}/options/record-cmd"), "0");
        let frees = Self { name: format!("bs_free_{}_{}", std::process::id(), now_ns()) };
        // The function's argument is a struct dma_buf, whose first member is the size.
        let probe =
            format!("p:{} system_heap_dma_buf_release size=+0($arg1):u64 thread=$comm", frees.name);
        append(&format!("{TRACING}/kprobe_events"), &probe);
        fs::create_dir(frees.path("")).expect("a ring buffer");
        put(&frees.path(&format!("events/kprobes/{}/enable", frees.name)), "1");
        frees
    }

    fn path(&self, file: &str) -> String {
        format!("{TRACING}/instances/{}/{file}", self.name)
    }

    /// Waits until a buffer of this size is freed. Returns the thread's name.
    fn of(&self, size: usize) -> String {
        let mut thread = None;
        eventually("the buffer is freed", || {
            let text = fs::read_to_string(self.path("trace")).expect("trace");
            let line = text.lines().find(|line| line.contains(&format!(" size={size} ")));
            let name = line.and_then(|line| line.split_once("thread=\""));
            thread = name.map(|(_, name)| name.trim_end().trim_end_matches('"').to_string());
            thread.is_some()
        });
        thread.expect("a thread")
    }
}

impl Drop for Frees {
    fn drop(&mut self) {
        // The ring buffer goes first: a probe that somebody records can't be removed.
        let _ = fs::remove_dir(self.path(""));
        append(&format!("{TRACING}/kprobe_events"), &format!("-:{}", self.name));
    }
}

fn put(file: &str, text: &str) {
    fs::write(file, text).unwrap_or_else(|error| panic!("{file}: {error}"));
}

fn append(file: &str, text: &str) {
    let opened = fs::OpenOptions::new().append(true).open(file);
    let written = opened.and_then(|mut file| writeln!(file, "{text}"));
    written.unwrap_or_else(|error| panic!("{file}: {error}"));
}

pub fn no_thread_that_serves_frees_a_buffer() {
    let mut scene = Scene::start(&[]);
    let frees = Frees::start();
    for (nth, how) in ["killed", "dropped", "closed", "removed", "removed-all"].iter().enumerate() {
        // A size that no other buffer has, in this lane or another one.
        let size = 4096 * (1000 + 16 * (std::process::id() as usize % 500) + nth);
        let mut holder = Actor::start(User::CODEC, "closing::holder", &[how, &size.to_string()]);
        holder.says("holds");
        if *how == "killed" {
            holder.kill();
        } else {
            holder.go();
        }
        let thread = frees.of(size);
        let serves = SERVING.iter().any(|name| thread.starts_with(name));
        assert!(!serves, "{how}: thread {thread:?} has freed the memory");
        scene.is_served();
    }
}

/// Locks a buffer of which the service alone has a descriptor, and lets it go in some way.
pub fn holder(mut stage: Stage) {
    let how: String = stage.arg(0);
    let buffer = heap::allocate(stage.arg(1)).expect("heap");
    let mut group = Group::open("closing/holder");
    let id = group.add(buffer.as_fd(), Access::DMA_WRITE);
    drop(buffer);
    let held = group.lock();
    stage.say("holds");
    stage.wait();
    match how.as_str() {
        "dropped" => drop(group),
        "closed" => group.binder.close().expect("close"),
        _ => {
            group.unlock(&held);
            match how.as_str() {
                "removed" => group.binder.remove(id).expect("remove"),
                _ => group.binder.remove_all().expect("remove"),
            }
        }
    }
    stage.rest()
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Records cache operations in the kernel: a kprobe on the function that handles every ioctl of a dma-buf,
//! with its arguments. This does not depend on the service's reports.
//!
//! Other processes of a device use dma-bufs too, and their operations must not count. All descriptors of a
//! dma-buf refer to one `struct file`, in whatever process they are, so a recording knows its buffer by the
//! file's address. The address comes from the trace itself: an ioctl that no dma-buf knows marks the buffer.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::process;

use nix::errno::Errno;

use crate::hal::now_ns;

/// The mount point of tracefs.
pub const TRACING: &str = "/sys/kernel/tracing";

/// A `DMA_BUF_IOCTL_SYNC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    StartRead,
    StartReadWrite,
    EndRead,
    EndReadWrite,
    /// Any other flags, which the service never issues.
    Other,
}

/// `DMA_BUF_IOCTL_SYNC`, as the trace has it.
const SYNC: &str = "0x40086200";
/// A command with `DMA_BUF_BASE` that no kernel has. It points to a number, as SYNC points to its flags.
const MARK: u8 = 0x7f;
nix::ioctl_write_ptr!(mark, b'b', MARK, u64);
const MARK_IN_THE_TRACE: &str = "0x4008627f";

/// Records until it is dropped. It has a ring buffer of its own, so there can be several at a time.
pub struct Trace {
    /// Of the probe and of the ring buffer.
    name: String,
    /// The address of the buffer's `struct file`.
    file: String,
}

impl Trace {
    /// Starts a recording. Needs root and tracefs.
    pub fn start() -> Self {
        // The names of processes are not needed. To record them the kernel patches its scheduler, and QEMU's
        // translator has failed on that. A new ring buffer inherits the setting.
        put(&format!("{TRACING}/options/record-cmd"), "0");
        // Processes in different namespaces may have the same number.
        let name = format!("bs_{}_{}", process::id(), now_ns());
        // dma_buf_ioctl(file, cmd, arg). The kernel knows in which registers the architecture passes its
        // arguments. arg points to a struct dma_buf_sync in the caller's memory, whose only member is the
        // flags.
        let arguments = "file=$arg1:x64 cmd=$arg2:x32 flags=+u0($arg3):u64";
        append(&format!("{TRACING}/kprobe_events"), &format!("p:{name} dma_buf_ioctl {arguments}"));
        let trace = Self { name, file: String::new() };
        fs::create_dir(trace.path("")).unwrap_or_else(|e| panic!("{}: {e}", trace.path("")));
        trace.put(&format!("events/kprobes/{}/enable", trace.name), "1");
        trace
    }

    /// Records this dma-buf from now on, and no other.
    pub fn watch(&mut self, buffer: impl AsFd) {
        let number = now_ns().unsigned_abs();
        // SAFETY: the descriptor is open, and the kernel does not read the number: it refuses the command.
        let refused = unsafe { mark(buffer.as_fd().as_raw_fd(), &number) };
        assert_eq!(refused, Err(Errno::ENOTTY), "a dma-buf knows this command");
        let end = format!("cmd={MARK_IN_THE_TRACE} flags={number}");
        let text = self.text();
        let marked = text.lines().find(|line| line.ends_with(&end));
        let file = marked.and_then(|line| line.split_whitespace().find(|w| w.starts_with("file=")));
        self.file = file.unwrap_or_else(|| panic!("no {end} in the trace:\n{text}")).to_string();
        self.put("trace", "");
    }

    /// Returns the operations on the dma-buf since the last call, or since it is watched.
    pub fn take(&self) -> Vec<Op> {
        let text = self.text();
        self.put("trace", "");
        text.lines().filter_map(|line| parse(line, &self.file)).collect()
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path("trace")).expect("trace")
    }

    fn path(&self, file: &str) -> String {
        format!("{TRACING}/instances/{}/{file}", self.name)
    }

    fn put(&self, file: &str, text: &str) {
        put(&self.path(file), text);
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // The ring buffer goes first: a probe that somebody records can't be removed.
        let removed = fs::remove_dir(self.path(""));
        append(&format!("{TRACING}/kprobe_events"), &format!("-:{}", self.name));
        removed.expect("the ring buffer");
    }
}

fn put(file: &str, text: &str) {
    fs::write(file, text).unwrap_or_else(|e| panic!("{file}: {e}"));
}

fn append(file: &str, text: &str) {
    use std::io::Write;
    let opened = fs::OpenOptions::new().append(true).open(file);
    opened.and_then(|mut file| writeln!(file, "{text}")).unwrap_or_else(|e| panic!("{file}: {e}"));
}

/// `sync-123 [000] ..... 1.2: bs_1_2: (dma_buf_ioctl+0x0/0x2c0) file=0xff11 cmd=0x40086200 flags=1`
fn parse(line: &str, file: &str) -> Option<Op> {
    let (_, flags) = line.split_once(&format!(" {file} cmd={SYNC} flags="))?;
    Some(match flags.trim() {
        "1" => Op::StartRead,
        "3" => Op::StartReadWrite,
        "5" => Op::EndRead,
        "7" => Op::EndReadWrite,
        _ => Op::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_trace_are_read() {
        let line = "  sync-93 [001] ..... 9.5: bs_1_2: (dma_buf_ioctl+0x0/0x2c0) file=0xff11 \
                    cmd=0x40086200 flags=1";
        let parse = |line: &str| parse(line, "file=0xff11");
        assert_eq!(parse(line), Some(Op::StartRead));
        assert_eq!(parse(&line.replace("flags=1", "flags=7")), Some(Op::EndReadWrite));
        assert_eq!(parse(&line.replace("flags=1", "flags=2")), Some(Op::Other));
        assert_eq!(parse(&line.replace(SYNC, MARK_IN_THE_TRACE)), None);
        assert_eq!(parse(&line.replace("0xff11", "0xff12")), None, "somebody else's dma-buf");
        assert_eq!(parse("# tracer: nop"), None);
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Records cache operations in the kernel: a kprobe on the function that handles every ioctl of a dma-buf,
//! with its argument. This does not depend on the service's reports.

use std::fs;

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

/// Records until it is dropped.
pub struct Trace(());

impl Trace {
    /// Starts a recording. Needs root and tracefs. There can be only one at a time.
    pub fn start() -> Self {
        put("events/enable", "0");
        // The names of processes are not needed. To record them the kernel patches its scheduler, and QEMU's
        // translator has failed on that.
        put("options/record-cmd", "0");
        put("kprobe_events", "");
        // dma_buf_ioctl(file, cmd, arg). The kernel knows in which registers the architecture passes its
        // arguments. arg points to a struct dma_buf_sync in the caller's memory, whose only member is the
        // flags.
        append("kprobe_events", "p:bs_ioctl dma_buf_ioctl cmd=$arg2:x32 flags=+u0($arg3):u64");
        put("events/kprobes/enable", "1");
        put("trace", "");
        Self(())
    }

    /// Returns the operations since the last call.
    pub fn take(&self) -> Vec<Op> {
        let text = fs::read_to_string(format!("{TRACING}/trace")).expect("trace");
        put("trace", "");
        text.lines().filter_map(parse).collect()
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = fs::write(format!("{TRACING}/events/kprobes/enable"), "0");
        let _ = fs::write(format!("{TRACING}/kprobe_events"), "");
    }
}

fn put(file: &str, text: &str) {
    fs::write(format!("{TRACING}/{file}"), text).unwrap_or_else(|e| panic!("{file}: {e}"));
}

fn append(file: &str, text: &str) {
    use std::io::Write;
    let opened = fs::OpenOptions::new().append(true).open(format!("{TRACING}/{file}"));
    opened.and_then(|mut file| writeln!(file, "{text}")).unwrap_or_else(|e| panic!("{file}: {e}"));
}

/// `sync-123 [000] ..... 1.2: bs_ioctl: (dma_buf_ioctl+0x0/0x2c0) cmd=0x40086200 flags=1`
fn parse(line: &str) -> Option<Op> {
    let (_, arguments) = line.split_once(" cmd=0x40086200 flags=")?;
    Some(match arguments.trim() {
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
        let line = "  sync-93 [001] ..... 9.5: bs_ioctl: (dma_buf_ioctl+0x0/0x2c0) cmd=0x40086200 \
                    flags=1";
        assert_eq!(parse(line), Some(Op::StartRead));
        assert_eq!(parse(&line.replace("flags=1", "flags=7")), Some(Op::EndReadWrite));
        assert_eq!(parse(&line.replace("flags=1", "flags=2")), Some(Op::Other));
        assert_eq!(parse(&line.replace("0x40086200", "0xc0086202")), None);
        assert_eq!(parse("# tracer: nop"), None);
    }
}

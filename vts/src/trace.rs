// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Cache operations as the kernel saw them: a kprobe on the function that every ioctl of a dma-buf
//! goes through, with its argument. Independent of what the service reports.

use std::fs;

/// Where tracefs is.
pub const TRACING: &str = "/sys/kernel/tracing";

/// A `DMA_BUF_IOCTL_SYNC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// START|READ.
    StartRead,
    /// START|RW.
    StartReadWrite,
    /// END|READ.
    EndRead,
    /// END|RW.
    EndReadWrite,
    /// Any other flags; the service issues none.
    Other,
}

/// Records while it lives.
pub struct Trace(());

impl Trace {
    /// Begins to record. Needs root and tracefs; one at a time.
    pub fn start() -> Self {
        put("events/enable", "0");
        // Names of processes are not needed, and to record them the kernel patches its scheduler, which
        // QEMU's translator has been seen to trip over.
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

    /// What happened since the last call.
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

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Linux: settings from the command line, the log on standard error, traces in tracefs, the limit of
//! descriptors.

use std::fs::File;
use std::io::Write;

use nix::errno::Errno;
use nix::sys::resource::{getrlimit, setrlimit, Resource};

use crate::config::{Config, ConfigError};
use crate::logging::Limited;
use crate::trace::Trace;

/// A hint for a refused registration.
pub const REGISTRATION: &str =
    "rsb_hub registers a name for the uids that a file in /etc/rsbinder/hub.d lets add it \
     (10-buffersync.toml)";

/// The settings; `None` if the flags asked for help, which is printed.
pub fn settings() -> Result<Option<Config>, ConfigError> {
    let config = Config::from_args(std::env::args().skip(1))?;
    if config.is_none() {
        print!("{}", Config::help());
    }
    Ok(config)
}

/// Opens the log; `RUST_LOG` sets its level.
pub fn start_logging() {
    let level = env_logger::Env::default().default_filter_or("info");
    let log = env_logger::Builder::from_env(level).build();
    let level = log.filter();
    Limited::install(log, level);
}

/// RLIMIT_NOFILE.
pub fn descriptor_limit() -> Result<u64, Errno> {
    getrlimit(Resource::RLIMIT_NOFILE).map(|(soft, _)| soft)
}

/// Raises the limit to its maximum: each buffer, event channel and fence takes a descriptor.
pub fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(errno) = raised {
        log::warn!("the limit of descriptors cannot be raised: {errno}");
    }
}

/// Writes ATrace's lines, which Perfetto and trace-cmd read, to the kernel's trace.
#[derive(Debug)]
pub struct Tracer {
    /// `None` if nobody traces.
    marker: Option<File>,
    pid: u32,
}

/// In tracefs. A write never blocks.
///
/// # References
///  - [Kernel: "ftrace"](https://docs.kernel.org/trace/ftrace.html)
const MARKER: &str = "/sys/kernel/tracing/trace_marker";

impl Tracer {
    /// Opens the trace if the settings say so.
    pub fn new(config: &Config) -> Self {
        let open = || File::options().write(true).open(MARKER);
        let marker = (config.trace == 1).then(open).transpose();
        if let Err(error) = &marker {
            log::warn!("the trace stays off: {MARKER}: {error}");
        }
        Self { marker: marker.unwrap_or_default(), pid: std::process::id() }
    }

    fn write(&self, line: std::fmt::Arguments<'_>) {
        if let Some(mut marker) = self.marker.as_ref() {
            // One write is one line. The kernel refuses it while its trace is off, when nobody reads it.
            let _ = marker.write(line.to_string().as_bytes());
        }
    }
}

impl Trace for Tracer {
    fn is_on(&self) -> bool {
        self.marker.is_some()
    }

    fn begin(&self, name: &str) {
        self.write(format_args!("B|{}|{name}", self.pid));
    }

    fn end(&self) {
        self.write(format_args!("E|{}", self.pid));
    }

    fn begin_async(&self, name: &str, cookie: i32) {
        self.write(format_args!("S|{}|{name}|{cookie}", self.pid));
    }

    fn end_async(&self, name: &str, cookie: i32) {
        self.write(format_args!("F|{}|{name}|{cookie}", self.pid));
    }

    fn instant(&self, name: &str) {
        self.write(format_args!("I|{}|{name}", self.pid));
    }
}

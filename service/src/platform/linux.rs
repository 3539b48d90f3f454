// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Linux: settings from the command line, the log on standard error, the limit of descriptors.

use nix::sys::resource::{getrlimit, setrlimit, Resource};

use crate::config::{Config, ConfigError};
use crate::logging::Limited;

/// What a refused registration may be about.
pub const REGISTRATION: &str =
    "rsb_hub registers a name for the uids that a file in /etc/rsbinder/hub.d lets add it \
     (10-buffersync.toml)";

/// The settings; `None` if only help was asked for, which is printed.
pub fn settings() -> Result<Option<Config>, ConfigError> {
    let config = Config::from_args(std::env::args().skip(1))?;
    if config.is_none() {
        print!("{}", Config::help());
    }
    Ok(config)
}

/// Where the log goes; `RUST_LOG` says how much of it.
pub fn start_logging() {
    let level = env_logger::Env::default().default_filter_or("info");
    let log = env_logger::Builder::from_env(level).build();
    let level = log.filter();
    Limited::install(log, level);
}

/// A buffer, a pipe and a fence take a descriptor each: takes as many as are to be had.
pub fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(errno) = raised {
        log::warn!("the limit of descriptors stays what it is: {errno}");
    }
}

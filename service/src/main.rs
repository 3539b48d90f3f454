// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `vendor.buffersync-service`: reads the settings, sets up logging, serves.

use std::process::ExitCode;

use buffersync_service::config::{Config, ConfigError};

fn main() -> ExitCode {
    start_logging();
    match settings() {
        Ok(Some(config)) => match buffersync_service::serve(config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                log::error!("{error}");
                ExitCode::FAILURE
            }
        },
        Ok(None) => {
            print!("{}", Config::help());
            ExitCode::SUCCESS
        }
        Err(error) => {
            log::error!("{error}");
            ExitCode::from(2)
        }
    }
}

#[cfg(not(target_os = "android"))]
fn settings() -> Result<Option<Config>, ConfigError> {
    Config::from_args(std::env::args().skip(1))
}

#[cfg(not(target_os = "android"))]
fn start_logging() {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
}

#[cfg(target_os = "android")]
fn settings() -> Result<Option<Config>, ConfigError> {
    Config::from_properties(android::property).map(Some)
}

#[cfg(target_os = "android")]
fn start_logging() {
    android_logger::init_once(
        android_logger::Config::default()
            .with_tag("buffersync")
            .with_max_level(log::LevelFilter::Info),
    );
}

#[cfg(target_os = "android")]
mod android {
    //! The system properties of bionic (`sys/system_properties.h`).

    use std::ffi::{CStr, CString};

    /// `PROP_VALUE_MAX`.
    const VALUE_MAX: usize = 92;

    /// The value of a property, `None` if it is not set.
    pub fn property(name: &str) -> Option<String> {
        let name = CString::new(name).ok()?;
        let mut value = [0; VALUE_MAX];
        // SAFETY: the name ends with NUL, and the value has room for PROP_VALUE_MAX bytes, which is
        // what the call writes at most, the NUL included.
        let length = unsafe { libc::__system_property_get(name.as_ptr(), value.as_mut_ptr()) };
        if length <= 0 {
            return None;
        }
        // SAFETY: the call ended the value with NUL within its bounds.
        let value = unsafe { CStr::from_ptr(value.as_ptr()) };
        value.to_str().ok().map(str::to_string)
    }
}

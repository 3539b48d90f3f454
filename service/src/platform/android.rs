// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Android: settings from system properties, the log in logcat, traces with ATrace. init sets the limit
//! of descriptors.

use std::ffi::{c_char, c_int, CStr, CString};

use nix::errno::Errno;
use nix::libc::{getrlimit, rlimit, RLIMIT_NOFILE};

use crate::config::{Config, ConfigError};
use crate::logging::Limited;
use crate::trace::Trace;

/// A hint for a refused registration.
pub const REGISTRATION: &str =
    "the service manager's log says why; it needs an entry in service_contexts, `add` for \
     the service's domain (sepolicy/), and the instance in the device's VINTF manifest";

/// `PROP_VALUE_MAX` of bionic's `sys/system_properties.h`.
const VALUE_MAX: usize = 92;

extern "C" {
    /// In bionic: writes the property's value and a NUL, and returns the value's length, or 0 if it is
    /// not set. Declared here because the `libc` crate has it for Android's targets only.
    fn __system_property_get(name: *const c_char, value: *mut c_char) -> c_int;
}

/// The settings. Properties cannot ask for help, so it is never `None`.
pub fn settings() -> Result<Option<Config>, ConfigError> {
    Config::from_properties(property).map(Some)
}

/// Opens the log.
pub fn start_logging() {
    let level = log::LevelFilter::Info;
    let config = android_logger::Config::default().with_tag("buffersync").with_max_level(level);
    Limited::install(android_logger::AndroidLogger::new(config), level);
}

/// RLIMIT_NOFILE. AOSP builds nix without its module for it.
pub fn descriptor_limit() -> Result<u64, Errno> {
    let mut limit = rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit(2) writes one struct, which outlives the call.
    Errno::result(unsafe { getrlimit(RLIMIT_NOFILE, &mut limit) })?;
    Ok(u64::from(limit.rlim_cur))
}

/// Does nothing: the rc file sets both limits.
pub fn raise_descriptor_limit() {}

/// ATrace, through the functions that libcutils exports for vendors (cutils/trace.h). libatrace_rust
/// wraps the same, but panics on a name with NUL.
#[derive(Debug)]
pub struct Tracer(());

/// `ATRACE_TAG_HAL` of cutils/trace.h.
const TAG_HAL: u64 = 1 << 11;

// libcutils is among the shared_libs of Android.bp.
extern "C" {
    fn atrace_get_enabled_tags() -> u64;
    fn atrace_begin_body(name: *const c_char);
    fn atrace_end_body();
    fn atrace_async_begin_body(name: *const c_char, cookie: i32);
    fn atrace_async_end_body(name: *const c_char, cookie: i32);
    fn atrace_instant_body(name: *const c_char);
}

impl Tracer {
    /// libcutils opens the trace at its first call. It is made here, so that it is not made under a mutex.
    pub fn new(_config: &Config) -> Self {
        let tracer = Self(());
        tracer.is_on();
        tracer
    }
}

/// `binder::hal` refuses group names with NUL.
fn c_name(name: &str) -> CString {
    CString::new(name).unwrap_or_default()
}

impl Trace for Tracer {
    fn is_on(&self) -> bool {
        // SAFETY: the call takes nothing and returns a number.
        unsafe { atrace_get_enabled_tags() & TAG_HAL != 0 }
    }

    fn begin(&self, name: &str) {
        // SAFETY: the name ends with NUL and outlives the call.
        unsafe { atrace_begin_body(c_name(name).as_ptr()) }
    }

    fn end(&self) {
        // SAFETY: the call takes nothing.
        unsafe { atrace_end_body() }
    }

    fn begin_async(&self, name: &str, cookie: i32) {
        // SAFETY: as in `begin`.
        unsafe { atrace_async_begin_body(c_name(name).as_ptr(), cookie) }
    }

    fn end_async(&self, name: &str, cookie: i32) {
        // SAFETY: as in `begin`.
        unsafe { atrace_async_end_body(c_name(name).as_ptr(), cookie) }
    }

    fn instant(&self, name: &str) {
        // SAFETY: as in `begin`.
        unsafe { atrace_instant_body(c_name(name).as_ptr()) }
    }
}

/// The value of a property, `None` if it is not set.
fn property(name: &str) -> Option<String> {
    let name = CString::new(name).ok()?;
    let mut value: [c_char; VALUE_MAX] = [0; VALUE_MAX];
    // SAFETY: the name ends with NUL, and the call writes at most PROP_VALUE_MAX bytes, for which the
    // value has room.
    let length = unsafe { __system_property_get(name.as_ptr(), value.as_mut_ptr()) };
    if length <= 0 {
        return None;
    }
    // SAFETY: the call has ended the value with NUL, within its bounds.
    let value = unsafe { CStr::from_ptr(value.as_ptr()) };
    value.to_str().ok().map(str::to_string)
}

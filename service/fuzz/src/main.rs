// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! libFuzzer on the service: its bytes become transactions, with descriptors and binders in them, to the
//! service's real objects.
//!
//! Under Soong AOSP's `fuzz_service` makes the parcels, as for every AIDL service. Under Cargo
//! `buffersync_service_fuzz` does, and checks more.

#![no_main]

#[cfg(libbinder_rs)]
#[path = "libbinder_rs.rs"]
mod service;

#[cfg(not(libbinder_rs))]
mod service {
    pub use buffersync_service_fuzz::run;
}

use nix::sys::signal::{signal, SigHandler, Signal};

libfuzzer_sys::fuzz_target!(
    init: {
        // Rust's own main does it, libFuzzer's does not; a client may close its end of a pipe.
        // SAFETY: no handler is installed.
        unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) }.expect("SIGPIPE can be ignored");
    },
    |bytes: &[u8]| service::run(bytes)
);

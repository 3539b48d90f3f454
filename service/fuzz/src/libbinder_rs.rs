// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The service under AOSP's own fuzzer of AIDL services.

use std::sync::{Arc, OnceLock};

use binder_random_parcel_rs::fuzz_service;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::BnBufferSync;
use buffersync_service::arbiter::Arbiter;
use buffersync_service::binder::hal::BufferSync;
use buffersync_service::config::Config;
use buffersync_service::quota::Resources;

/// Makes random transactions of these bytes.
pub fn run(bytes: &[u8]) {
    // The arbiter's threads never end, so all inputs share one.
    static ARBITER: OnceLock<Arc<Arbiter>> = OnceLock::new();
    let arbiter = ARBITER.get_or_init(|| {
        buffersync_service::start(Config::default(), Resources::AMPLE)
            .expect("the arbiter does not start")
    });
    let service = BufferSync::new(Arc::clone(arbiter));
    let service = buffersync_aidl::new_binder!(BnBufferSync, service);
    fuzz_service(&mut service.as_binder(), bytes);
}

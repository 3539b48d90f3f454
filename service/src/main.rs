// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `vendor.buffersync-service`.

use std::process::ExitCode;

fn main() -> ExitCode {
    buffersync_service::run()
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `vendor.buffersync-service`: reads the settings, sets up logging, serves.

use std::process::ExitCode;

use buffersync_service::platform;

fn main() -> ExitCode {
    platform::start_logging();
    match platform::settings() {
        Ok(Some(config)) => match buffersync_service::serve(config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                log::error!("{error}");
                ExitCode::FAILURE
            }
        },
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::from(2)
        }
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The simulation (service/sim): nobody traces.

use crate::config::Config;
use crate::trace::Trace;

#[derive(Debug)]
pub struct Tracer;

impl Tracer {
    pub fn new(_config: &Config) -> Self {
        Self
    }
}

impl Trace for Tracer {
    fn is_on(&self) -> bool {
        false
    }

    fn begin(&self, _name: &str) {}

    fn end(&self) {}

    fn begin_async(&self, _name: &str, _cookie: i32) {}

    fn end_async(&self, _name: &str, _cookie: i32) {}

    fn instant(&self, _name: &str) {}
}

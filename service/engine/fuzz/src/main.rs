// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! libFuzzer on the lock table: its bytes are the choices of a few clients. The invariants hold after each
//! call, and nothing is left in the end.

#![no_main]

#[path = "../../tests/common/mod.rs"]
mod common;

use std::cell::Cell;
use std::rc::Rc;

use common::crowd::Crowd;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let left = Rc::new(Cell::new(bytes.len()));
    let mut bytes = bytes.to_vec().into_iter();
    let counted = Rc::clone(&left);
    let choose = move |bound| {
        counted.set(bytes.len().saturating_sub(1));
        u64::from(bytes.next().unwrap_or(0)) % bound
    };
    let mut crowd = Crowd::new(6, 4, Box::new(choose));
    crowd.world.hold_jobs = true;
    while left.get() > 0 {
        crowd.step();
        crowd.world.forget_events();
    }
    crowd.end();
});

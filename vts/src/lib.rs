// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The library of the conformance tests. It uses the service through its AIDL only.
//!
//! | module | content |
//! |---|---|
//! | [`suite`] | runs all tests against all declared instances |
//! | [`hal`], [`calls`] | the service, groups, their calls and their event channels |
//! | [`fence`] | fences that a test can signal |
//! | [`process`], [`client`] | client processes with their own users |
//! | [`trace`] | the kernel's trace of cache operations |
//! | [`pace`] | the time limits on which a test relies |
//!
//! No verdict depends on speed. A wait ends with its event, or after a time so long that something hangs.
//! A check that an event does not come too early is exact. If a time limit of the service passes during a
//! test, the test runs again.

pub mod calls;
pub mod client;
pub mod fence;
pub mod hal;
pub mod pace;
pub mod process;
pub mod suite;
pub mod trace;

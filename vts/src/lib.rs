// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What the conformance tests are written with: the service through its AIDL, and nothing else of
//! it.
//!
//! | module | what it is |
//! |---|---|
//! | [`suite`] | runs all tests against all declared instances |
//! | [`hal`] | the service, groups and their event pipes |
//! | [`fence`] | fences that a test signals when it likes |
//! | [`process`], [`client`] | clients in processes and under users of their own |
//! | [`trace`] | the kernel's own account of cache operations |
//! | [`pace`] | the time limits that a test relies on |
//!
//! No verdict depends on speed. A wait ends by what it waits for, and after a time so long that something
//! hangs; what must not happen too early is checked exactly; a test that was overtaken by a time limit of
//! the service is run again.

pub mod client;
pub mod fence;
pub mod hal;
pub mod pace;
pub mod process;
pub mod suite;
pub mod trace;

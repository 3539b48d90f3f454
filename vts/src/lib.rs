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
//!
//! Every wait has a limit that is generous, for emulated machines are slow; what must not happen
//! too early is checked exactly.

pub mod client;
pub mod fence;
pub mod hal;
pub mod process;
pub mod suite;
pub mod trace;

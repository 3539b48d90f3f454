// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What the checks of `tests/checks` share with `cargo xtask`.
//!
//! | module | used by |
//! |---|---|
//! | [`aidl`] | `cargo xtask aidl`, which updates and freezes the interface's snapshots; the checks of Soong |
//! | [`sepolicy`] | the testbed, which loads the policy that it compiles |

pub mod aidl;
pub mod sepolicy;

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Checks that `cargo xtask` and other checks call, too. All others are in `tests/checks`.
//!
//! | module | used by |
//! |---|---|
//! | [`aidl`] | `cargo xtask aidl`, which updates and freezes the interface's snapshots; the checks of Soong |
//! | [`sepolicy`] | the testbed, which loads the policy that it compiles |

pub mod aidl;
pub mod sepolicy;

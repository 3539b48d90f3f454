// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The binder objects. They check and translate arguments, call the [`crate::arbiter`], and translate
//! its answers; nothing else in the service knows Binder.

pub mod group;
pub mod hal;

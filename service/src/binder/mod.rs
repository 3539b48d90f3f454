// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The binder objects. They check and translate arguments, call the arbiter ([`crate::calls`]), and
//! translate its answers. Besides them only `error` knows Binder.

pub mod group;
pub mod hal;

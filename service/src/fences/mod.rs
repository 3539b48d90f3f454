// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Fences as descriptors.

pub(crate) mod implicit;
pub mod release;

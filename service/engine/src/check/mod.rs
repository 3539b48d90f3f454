// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! For tests, model checkers and fuzzers.

mod canonical;
mod invariants;

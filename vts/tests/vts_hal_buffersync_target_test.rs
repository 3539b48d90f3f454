// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! VtsHalBufferSyncTargetTest: what every implementation of IBufferSync has to do.
//!
//! Run with `--test-threads=1`: some tests look at the service's counters.

#[path = "vts/coherence.rs"]
mod coherence;
#[path = "vts/errors.rs"]
mod errors;
#[path = "vts/eviction.rs"]
mod eviction;
#[path = "vts/fences.rs"]
mod fences;
#[path = "vts/growth.rs"]
mod growth;
#[path = "vts/implicit.rs"]
mod implicit;
#[path = "vts/locking.rs"]
mod locking;
#[path = "vts/quotas.rs"]
mod quotas;

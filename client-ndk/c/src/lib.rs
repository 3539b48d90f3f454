// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The C ABI: what `include/android/buffer_sync.h` declares, which is also its manual.
//!
//! | module | what it is |
//! |---|---|
//! | [`sync`] | `ABufferSync_*` |
//! | [`group`] | `ABufferSyncGroup_*` |
//! | [`types`] | the structs and constants of the header |
//! | `status` | errors as numbers and words; the end of every call |
//! | `arguments` | pointers, strings and descriptors from C, checked |
//!
//! Nothing is decided here: every function checks its arguments, calls [`buffersync_client`] and
//! tells what came of it. A caller may be wrong in any way but one: pointers that are not null
//! must be to what the header says.

// Names as C has them.
// An app or a HAL has this code in its process, and Soong builds with panic=abort: a panic ends the whole
// process. So no argument, no reply and no lack of resources may lead to one.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]
#![allow(non_snake_case)]

mod arguments;
pub mod group;
mod status;
pub mod sync;
pub mod types;

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The C ABI that `include/android/buffer_sync.h` declares and documents.
//!
//! | module | content |
//! |---|---|
//! | [`sync`] | `ABufferSync_*` |
//! | [`group`] | `ABufferSyncGroup_*`: groups, their buffers and events |
//! | [`locks`] | `ABufferSyncGroup_*`: locks and grants |
//! | [`types`] | the structs and constants of the header |
//! | `status` | errors as numbers and messages; the end of every call |
//! | `texts` | what a thread remembers of its last failed calls |
//! | `arguments` | checks and converts pointers, strings and descriptors from C |
//!
//! Every function checks its arguments, calls [`buffersync_client_core`] and returns the result. Any mistake
//! of a caller is an error, with one exception: a pointer that is not null must point to what the
//! header says.

// This code runs in the process of an app or a HAL, and Soong builds with panic=abort: a panic ends
// the whole process. So no argument, no reply and no lack of resources may cause a panic.
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
// The names are those of the header.
#![allow(non_snake_case)]

mod arguments;
pub mod group;
pub mod locks;
mod status;
pub mod sync;
mod texts;
pub mod types;

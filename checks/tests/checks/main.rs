// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The files that Android's build and a device read, held against the tree and against each other.
//!
//! Nothing here builds Android: each check does with the files what Soong, libvintf, init, make or systemd
//! would do, as far as it goes on a developer's machine. A check whose tool can't be had says so and is
//! skipped. The checks of the AIDL snapshots and of the SELinux policy stand beside what they check, in `src`.
//!
//! `cargo test -p buffersync-checks` runs all of them, and a module's name after it those of one.
//!
//! | module | files |
//! |---|---|
//! | [`abi`] | `buffer_sync.h`, its Rust source, and what the libraries export; `buffer_sync.hpp` |
//! | [`device`] | VINTF manifest and matrix, init rc, systemd unit, `_contexts` files |
//! | [`installed`] | what `cargo xtask install` puts into place |
//! | [`product`] | `buffersync.mk` |
//! | [`rust_version`] | `Cargo.toml`, `Cargo.lock` and the README: the oldest Rust that builds this |
//! | [`soong`] | `Android.bp` |

mod abi;
mod device;
mod installed;
mod product;
mod rust_version;
mod soong;

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The files that Android's build and a device read, held against the tree and against each other.
//!
//! Nothing here builds Android: each check does with the files what Soong, AOSP's AIDL compiler, libvintf,
//! init, make or checkpolicy would do, as far as it goes on a developer's machine. The checks are tests:
//! `cargo test -p buffersync-checks`, or one of them by its module's name. A check whose tool can't be had
//! says so and is skipped.
//!
//! | module | files |
//! |---|---|
//! | [`aidl`] | the interface and its snapshots; `cargo xtask aidl` updates and freezes them |
//! | `abi` | `buffer_sync.h`, its Rust source, and what the libraries export |
//! | `device` | VINTF manifest and matrix, init rc, systemd unit, `_contexts` files |
//! | `product` | `buffersync.mk` |
//! | `rust_version` | `Cargo.toml`, `Cargo.lock` and the README: the oldest Rust that builds this |
//! | [`sepolicy`] | the SELinux policy; the testbed loads it |
//! | `soong` | `Android.bp` |

pub mod aidl;
pub mod sepolicy;

#[cfg(test)]
mod abi;
#[cfg(test)]
mod device;
#[cfg(test)]
mod installed;
#[cfg(test)]
mod product;
#[cfg(test)]
mod rust_version;
#[cfg(test)]
mod soong;

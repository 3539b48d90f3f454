// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The kernel's interface for dma-bufs and sync_files. The service and the testbed use it; it knows
//! neither of them.
//!
//! | module | contents |
//! |---|---|
//! | [`dmabuf`] | recognise a dma-buf, poll and bracket it, export and import its implicit fences |
//! | [`sync_file`] | recognise a sync_file, read the state of its fences, merge two |
//! | [`quirks`] | differences between exporters and kernel versions, and how the service copes |
//! | `uapi` | structs and ioctl numbers of linux/dma-buf.h and linux/sync_file.h |

pub mod dmabuf;
pub mod quirks;
pub mod sync_file;
mod uapi;

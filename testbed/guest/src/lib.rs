// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! For tests and the demo, inside the testbed or on a machine that has binder itself.
//!
//! | module | what it is |
//! |---|---|
//! | [`stack`] | the service manager and the service, each in its own process and under its own uid |
//! | [`user`] | who the processes run as |
//! | [`dmabuf`] | a dma-buf and its mapping; fences as sync_files |
//! | [`heap`], [`udmabuf`], [`vgem`] | three exporters of real dma-bufs |
//! | [`v4l2`], [`kms`] | devices that use them: a camera and a display |
//! | [`picture`] | the camera's picture, and how a reader sees that it is whole |
//! | [`drm`] | DRM cards, for vgem and the display |
//! | [`sync_file`] | when a fence signalled |
//! | [`selinux`] | policies, labels, denials |
//! | [`random`] | decisions from a seed |
//! | [`fdpass`] | dma-bufs between processes, over Unix sockets |
//!
//! Knows neither the service's code nor its interface.

pub mod dmabuf;
pub mod drm;
pub mod fdpass;
pub mod heap;
pub mod kms;
pub mod picture;
pub mod random;
pub mod selinux;
pub mod stack;
pub mod sync_file;
pub mod udmabuf;
pub mod user;
pub mod v4l2;
pub mod vgem;

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Structs and ioctl numbers of drm/drm.h and drm/drm_mode.h.

/// `struct drm_set_client_cap`.
#[repr(C)]
pub struct ClientCap {
    pub capability: u64,
    pub value: u64,
}

/// `struct drm_mode_card_res`.
#[repr(C)]
#[derive(Default)]
pub struct CardRes {
    pub fb_id_ptr: u64,
    pub crtc_id_ptr: u64,
    pub connector_id_ptr: u64,
    pub encoder_id_ptr: u64,
    pub count_fbs: u32,
    pub count_crtcs: u32,
    pub count_connectors: u32,
    pub count_encoders: u32,
    pub min_width: u32,
    pub max_width: u32,
    pub min_height: u32,
    pub max_height: u32,
}

/// `struct drm_mode_modeinfo`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct ModeInfo {
    pub clock: u32,
    pub hdisplay: u16,
    pub hsync_start: u16,
    pub hsync_end: u16,
    pub htotal: u16,
    pub hskew: u16,
    pub vdisplay: u16,
    pub vsync_start: u16,
    pub vsync_end: u16,
    pub vtotal: u16,
    pub vscan: u16,
    pub vrefresh: u32,
    pub flags: u32,
    pub kind: u32,
    pub name: [u8; 32],
}

/// `struct drm_mode_get_connector`.
#[repr(C)]
#[derive(Default)]
pub struct GetConnector {
    pub encoders_ptr: u64,
    pub modes_ptr: u64,
    pub props_ptr: u64,
    pub prop_values_ptr: u64,
    pub count_modes: u32,
    pub count_props: u32,
    pub count_encoders: u32,
    pub encoder_id: u32,
    pub connector_id: u32,
    pub connector_type: u32,
    pub connector_type_id: u32,
    pub connection: u32,
    pub mm_width: u32,
    pub mm_height: u32,
    pub subpixel: u32,
    pub pad: u32,
}

/// `struct drm_mode_get_plane_res`.
#[repr(C)]
#[derive(Default)]
pub struct PlaneRes {
    pub plane_id_ptr: u64,
    pub count_planes: u32,
}

/// `struct drm_mode_obj_get_properties`.
#[repr(C)]
#[derive(Default)]
pub struct ObjectProperties {
    pub props_ptr: u64,
    pub prop_values_ptr: u64,
    pub count_props: u32,
    pub obj_id: u32,
    pub obj_type: u32,
}

/// `struct drm_mode_get_property`.
#[repr(C)]
#[derive(Default)]
pub struct GetProperty {
    pub values_ptr: u64,
    pub enum_blob_ptr: u64,
    pub prop_id: u32,
    pub flags: u32,
    pub name: [u8; 32],
    pub count_values: u32,
    pub count_enum_blobs: u32,
}

/// `struct drm_mode_create_blob`.
#[repr(C)]
pub struct CreateBlob {
    pub data: u64,
    pub length: u32,
    pub blob_id: u32,
}

/// `struct drm_mode_fb_cmd2`.
#[repr(C)]
#[derive(Default)]
pub struct AddFb2 {
    pub fb_id: u32,
    pub width: u32,
    pub height: u32,
    pub pixel_format: u32,
    pub flags: u32,
    pub handles: [u32; 4],
    pub pitches: [u32; 4],
    pub offsets: [u32; 4],
    pub modifier: [u64; 4],
}

/// `struct drm_mode_atomic`.
#[repr(C)]
#[derive(Default)]
pub struct Atomic {
    pub flags: u32,
    pub count_objs: u32,
    pub objs_ptr: u64,
    pub count_props_ptr: u64,
    pub props_ptr: u64,
    pub prop_values_ptr: u64,
    pub reserved: u64,
    pub user_data: u64,
}

/// `DRM_CLIENT_CAP_ATOMIC`: properties and commits of all that changes. It brings all planes with it.
pub const CAP_ATOMIC: u64 = 3;
/// `DRM_MODE_OBJECT_*`.
pub const CRTC: u32 = 0xcccc_cccc;
pub const CONNECTOR: u32 = 0xc0c0_c0c0;
pub const PLANE: u32 = 0xeeee_eeee;
/// `DRM_MODE_ATOMIC_NONBLOCK`: the commit goes on after the call.
pub const NONBLOCK: u32 = 0x200;
/// `DRM_MODE_ATOMIC_ALLOW_MODESET`.
pub const ALLOW_MODESET: u32 = 0x400;
/// `DRM_FORMAT_XRGB8888`.
pub const XRGB8888: u32 = u32::from_le_bytes(*b"XR24");

const _: () = assert!(size_of::<ClientCap>() == 16);
const _: () = assert!(size_of::<CardRes>() == 64);
const _: () = assert!(size_of::<ModeInfo>() == 68);
const _: () = assert!(size_of::<GetConnector>() == 80);
const _: () = assert!(size_of::<PlaneRes>() == 16);
const _: () = assert!(size_of::<ObjectProperties>() == 32);
const _: () = assert!(size_of::<GetProperty>() == 64);
const _: () = assert!(size_of::<CreateBlob>() == 16);
const _: () = assert!(size_of::<AddFb2>() == 104);
const _: () = assert!(size_of::<Atomic>() == 56);

nix::ioctl_write_ptr!(
    /// `DRM_IOCTL_SET_CLIENT_CAP`.
    set_client_cap, b'd', 0x0d, ClientCap
);
nix::ioctl_readwrite!(
    /// `DRM_IOCTL_MODE_GETRESOURCES`.
    get_resources, b'd', 0xa0, CardRes
);
nix::ioctl_readwrite!(
    /// `DRM_IOCTL_MODE_GETCONNECTOR`.
    get_connector, b'd', 0xa7, GetConnector
);
nix::ioctl_readwrite!(
    /// `DRM_IOCTL_MODE_GETPROPERTY`.
    get_property, b'd', 0xaa, GetProperty
);
nix::ioctl_readwrite!(
    /// `DRM_IOCTL_MODE_GETPLANERESOURCES`.
    get_planes, b'd', 0xb5, PlaneRes
);
nix::ioctl_readwrite!(
    /// `DRM_IOCTL_MODE_ADDFB2`.
    add_fb, b'd', 0xb8, AddFb2
);
nix::ioctl_readwrite!(
    /// `DRM_IOCTL_MODE_OBJ_GETPROPERTIES`.
    get_properties, b'd', 0xb9, ObjectProperties
);
nix::ioctl_readwrite!(
    /// `DRM_IOCTL_MODE_ATOMIC`.
    atomic, b'd', 0xbc, Atomic
);
nix::ioctl_readwrite!(
    /// `DRM_IOCTL_MODE_CREATEPROPBLOB`.
    create_blob, b'd', 0xbd, CreateBlob
);

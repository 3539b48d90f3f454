// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Structs and ioctl numbers of linux/videodev2.h, for video capture.

/// `struct v4l2_capability`.
#[repr(C)]
#[derive(Default)]
pub struct Capability {
    pub driver: [u8; 16],
    pub card: [u8; 32],
    pub bus_info: [u8; 32],
    pub version: u32,
    pub capabilities: u32,
    pub device_caps: u32,
    pub reserved: [u32; 3],
}

/// `struct v4l2_pix_format`.
#[repr(C)]
#[derive(Default)]
pub struct PixFormat {
    pub width: u32,
    pub height: u32,
    pub pixelformat: u32,
    pub field: u32,
    pub bytesperline: u32,
    pub sizeimage: u32,
    pub rest: [u32; 6],
}

/// `struct v4l2_format`: a union of 200 bytes, which has pointers in other members.
#[repr(C)]
pub struct Format {
    pub kind: u32,
    #[cfg(target_pointer_width = "64")]
    pub pad: u32,
    pub pix: PixFormat,
    pub rest: [u32; 38],
}

/// `struct v4l2_streamparm`, with a `struct v4l2_captureparm` in its union of 200 bytes.
#[repr(C)]
pub struct StreamParm {
    pub kind: u32,
    pub capability: u32,
    pub capturemode: u32,
    /// Seconds for one frame.
    pub numerator: u32,
    pub denominator: u32,
    pub rest: [u32; 46],
}

/// `struct v4l2_control`.
#[repr(C)]
pub struct Control {
    pub id: u32,
    pub value: i32,
}

/// `struct v4l2_requestbuffers`.
#[repr(C)]
#[derive(Default)]
pub struct RequestBuffers {
    pub count: u32,
    pub kind: u32,
    pub memory: u32,
    pub capabilities: u32,
    pub flags: u8,
    pub reserved: [u8; 3],
}

/// `struct v4l2_buffer`.
#[repr(C)]
pub struct Buffer {
    pub index: u32,
    pub kind: u32,
    pub bytesused: u32,
    pub flags: u32,
    pub field: u32,
    pub timestamp: libc::timeval,
    pub timecode: [u32; 4],
    pub sequence: u32,
    pub memory: u32,
    /// A union: the descriptor of a dma-buf is in its first four bytes.
    pub fd: i32,
    #[cfg(target_pointer_width = "64")]
    pub rest_of_union: u32,
    pub length: u32,
    pub reserved2: u32,
    pub request_fd: i32,
}

/// `V4L2_BUF_TYPE_VIDEO_CAPTURE`.
pub const BUF_TYPE_VIDEO_CAPTURE: u32 = 1;
/// `V4L2_CAP_VIDEO_CAPTURE`.
pub const CAP_VIDEO_CAPTURE: u32 = 1;
/// `V4L2_MEMORY_DMABUF`.
pub const MEMORY_DMABUF: u32 = 4;
/// `V4L2_FIELD_NONE`: whole frames.
pub const FIELD_NONE: u32 = 1;
/// `V4L2_PIX_FMT_XBGR32`: blue, green, red, nothing. DRM has the same letters for it.
pub const XBGR32: u32 = u32::from_le_bytes(*b"XR24");
/// `V4L2_BUF_FLAG_ERROR`: the content of a buffer is wrong.
pub const BUF_FLAG_ERROR: u32 = 0x40;

const _: () = assert!(size_of::<Capability>() == 104);
const _: () = assert!(size_of::<StreamParm>() == 204);
const _: () = assert!(size_of::<RequestBuffers>() == 20);
const _: () = assert!(size_of::<Control>() == 8);
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Format>() == 208 && size_of::<Buffer>() == 88);

nix::ioctl_read!(
    /// `VIDIOC_QUERYCAP`.
    querycap, b'V', 0, Capability
);
nix::ioctl_readwrite!(
    /// `VIDIOC_S_FMT`.
    s_fmt, b'V', 5, Format
);
nix::ioctl_readwrite!(
    /// `VIDIOC_REQBUFS`.
    reqbufs, b'V', 8, RequestBuffers
);
nix::ioctl_readwrite!(
    /// `VIDIOC_QBUF`.
    qbuf, b'V', 15, Buffer
);
nix::ioctl_readwrite!(
    /// `VIDIOC_DQBUF`.
    dqbuf, b'V', 17, Buffer
);
nix::ioctl_write_ptr!(
    /// `VIDIOC_STREAMON`.
    streamon, b'V', 18, libc::c_int
);
nix::ioctl_write_ptr!(
    /// `VIDIOC_STREAMOFF`.
    streamoff, b'V', 19, libc::c_int
);
nix::ioctl_readwrite!(
    /// `VIDIOC_S_PARM`.
    s_parm, b'V', 22, StreamParm
);
nix::ioctl_readwrite!(
    /// `VIDIOC_S_CTRL`.
    s_ctrl, b'V', 28, Control
);

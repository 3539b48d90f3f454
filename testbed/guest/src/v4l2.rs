// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A camera: V4L2 capture into the dma-bufs of somebody else (V4L2_MEMORY_DMABUF), with vivid, the kernel's virtual
//! driver. Its picture is in [`crate::picture`].
//!
//! V4L2 knows no fences. From QBUF to DQBUF a buffer is the device's, and nothing but the two calls says so.
//!
//! The ioctls are written down here: of the two crates for V4L2, `v4l2r` and `v4l` make theirs with bindgen, which
//! needs libclang wherever this is built.

pub(crate) mod uapi;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::dmabuf::DmaBuf;
use crate::picture;

/// The driver whose camera is used.
pub const DRIVER: &str = "vivid";

/// Controls of vivid, and their values.
const CONTROLS: [(u32, i32); 2] = [
    // "OSD Text Mode": the frame's time and number only. All text would cover half of the picture.
    (VIVID_BASE + 1, 1),
    // "Horizontal Movement": right, fast. So each frame is another than the one before.
    (VIVID_BASE + 2, 6),
];
/// `VIVID_CID_VIVID_BASE`.
const VIVID_BASE: u32 = 0x00f0_f000;

/// Frames in a second, at most. A slow machine has fewer: vivid counts those that it leaves out.
const RATE: u32 = 30;

/// The camera, which this process has for itself until the value is dropped.
#[derive(Debug)]
pub struct Camera(Flock<File>);

/// A buffer that the camera has given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured {
    /// The buffer's index.
    pub index: usize,
    /// The camera's own number of the frame.
    pub sequence: u32,
}

impl Camera {
    /// Tells if there is such a camera.
    pub fn is_there() -> bool {
        find().is_ok()
    }

    /// Opens the camera for frames as [`crate::picture`] describes them, and waits while somebody else has it.
    pub fn open() -> io::Result<Self> {
        let file = open(&find()?)?;
        let camera = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        let camera = Self(camera);
        camera.set_format()?;
        for (id, value) in CONTROLS {
            let mut control = uapi::Control { id, value };
            // SAFETY: the descriptor is a V4L2 device's, and the ioctl reads and writes this struct.
            unsafe { uapi::s_ctrl(camera.0.as_raw_fd(), &mut control) }?;
        }
        Ok(camera)
    }

    fn set_format(&self) -> io::Result<()> {
        let pix = uapi::PixFormat {
            width: picture::WIDTH as u32,
            height: picture::HEIGHT as u32,
            pixelformat: uapi::XBGR32,
            field: uapi::FIELD_NONE,
            ..uapi::PixFormat::default()
        };
        let mut format = uapi::Format {
            kind: uapi::BUF_TYPE_VIDEO_CAPTURE,
            #[cfg(target_pointer_width = "64")]
            pad: 0,
            pix,
            rest: [0; 38],
        };
        // SAFETY: as in `open`.
        unsafe { uapi::s_fmt(self.0.as_raw_fd(), &mut format) }?;
        let uapi::PixFormat { width, height, pixelformat, sizeimage, .. } = format.pix;
        let is_as_asked = (width as usize, height as usize) == (picture::WIDTH, picture::HEIGHT)
            && pixelformat == uapi::XBGR32
            && sizeimage as usize == picture::BYTES;
        if !is_as_asked {
            let why = format!("the camera has another format: {width}x{height}, {sizeimage} bytes");
            return Err(io::Error::other(why));
        }
        let mut rate = uapi::StreamParm {
            kind: uapi::BUF_TYPE_VIDEO_CAPTURE,
            capability: 0,
            capturemode: 0,
            numerator: 1,
            denominator: RATE,
            rest: [0; 46],
        };
        // SAFETY: as in `open`.
        unsafe { uapi::s_parm(self.0.as_raw_fd(), &mut rate) }?;
        Ok(())
    }

    /// Says how many buffers there will be (REQBUFS).
    pub fn request_buffers(&self, count: usize) -> io::Result<()> {
        let wanted = u32::try_from(count).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut request = uapi::RequestBuffers {
            count: wanted,
            kind: uapi::BUF_TYPE_VIDEO_CAPTURE,
            memory: uapi::MEMORY_DMABUF,
            ..uapi::RequestBuffers::default()
        };
        // SAFETY: as in `open`.
        unsafe { uapi::reqbufs(self.0.as_raw_fd(), &mut request) }?;
        if request.count != wanted {
            return Err(io::Error::other(format!("the camera wants {} buffers", request.count)));
        }
        Ok(())
    }

    /// Gives a buffer to the camera (QBUF): it may write the buffer from now on.
    pub fn queue(&self, index: usize, buffer: &DmaBuf) -> io::Result<()> {
        let mut queued = of_index(index)?;
        queued.fd = buffer.as_fd().as_raw_fd();
        queued.length = u32::try_from(buffer.size()).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: as in `open`.
        unsafe { uapi::qbuf(self.0.as_raw_fd(), &mut queued) }?;
        Ok(())
    }

    /// Takes back a buffer that has a frame (DQBUF); `None` if there is none yet. Poll the camera for POLLIN.
    pub fn dequeue(&self) -> io::Result<Option<Captured>> {
        let mut taken = of_index(0)?;
        // SAFETY: as in `open`.
        match unsafe { uapi::dqbuf(self.0.as_raw_fd(), &mut taken) } {
            Err(Errno::EAGAIN) => return Ok(None),
            other => other?,
        };
        if taken.flags & uapi::BUF_FLAG_ERROR != 0 {
            return Err(io::Error::other(format!(
                "the camera failed with frame {}",
                taken.sequence
            )));
        }
        Ok(Some(Captured { index: taken.index as usize, sequence: taken.sequence }))
    }

    /// Begins to capture into the buffers that are queued, in their order (STREAMON).
    pub fn stream_on(&self) -> io::Result<()> {
        // SAFETY: the ioctl reads an int.
        unsafe {
            uapi::streamon(self.0.as_raw_fd(), &(uapi::BUF_TYPE_VIDEO_CAPTURE as libc::c_int))
        }?;
        Ok(())
    }

    /// Ends it (STREAMOFF). When this returns, the camera writes no buffer any more.
    pub fn stream_off(&self) -> io::Result<()> {
        // SAFETY: the ioctl reads an int.
        unsafe {
            uapi::streamoff(self.0.as_raw_fd(), &(uapi::BUF_TYPE_VIDEO_CAPTURE as libc::c_int))
        }?;
        Ok(())
    }
}

impl AsFd for Camera {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn of_index(index: usize) -> io::Result<uapi::Buffer> {
    Ok(uapi::Buffer {
        index: u32::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?,
        kind: uapi::BUF_TYPE_VIDEO_CAPTURE,
        bytesused: 0,
        flags: 0,
        field: uapi::FIELD_NONE,
        timestamp: libc::timeval { tv_sec: 0, tv_usec: 0 },
        timecode: [0; 4],
        sequence: 0,
        memory: uapi::MEMORY_DMABUF,
        fd: -1,
        #[cfg(target_pointer_width = "64")]
        rest_of_union: 0,
        length: 0,
        reserved2: 0,
        request_fd: 0,
    })
}

/// Opens a camera so that no call waits for a frame.
fn open(node: &PathBuf) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(node)
}

/// The first camera of the driver.
fn find() -> io::Result<PathBuf> {
    for number in 0..64 {
        let node = PathBuf::from(format!("/dev/video{number}"));
        // Other cameras may be closed to this user.
        if open(&node).is_ok_and(|camera| is_ours(&camera)) {
            return Ok(node);
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("no {DRIVER} camera in /dev")))
}

/// Tells if this device is of the driver, and captures.
fn is_ours(device: &File) -> bool {
    let mut capability = uapi::Capability::default();
    // SAFETY: the ioctl writes this struct.
    let asked = unsafe { uapi::querycap(device.as_raw_fd(), &mut capability) };
    let name = capability.driver.split(|byte| *byte == 0).next().unwrap_or_default();
    let captures = capability.device_caps & uapi::CAP_VIDEO_CAPTURE != 0;
    asked.is_ok() && name == DRIVER.as_bytes() && captures
}

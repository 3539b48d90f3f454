// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! DRM cards: which driver a card has, and PRIME, which makes dma-bufs and handles of each other (drm/drm.h).
//! [`crate::vgem`] and [`crate::kms`] find their cards with it, because the numbers in /dev/dri depend on the order
//! in which the drivers are loaded.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// `struct drm_version`.
#[repr(C)]
pub struct Version {
    major: i32,
    minor: i32,
    patch: i32,
    name_len: usize,
    name: *mut u8,
    date_len: usize,
    date: *mut u8,
    desc_len: usize,
    desc: *mut u8,
}

/// `struct drm_prime_handle`.
#[repr(C)]
pub struct PrimeHandle {
    handle: u32,
    flags: u32,
    fd: i32,
}

nix::ioctl_readwrite!(
    /// `DRM_IOCTL_VERSION`.
    drm_version, b'd', 0x00, Version
);
nix::ioctl_readwrite!(
    /// `DRM_IOCTL_PRIME_HANDLE_TO_FD`.
    drm_prime_handle_to_fd, b'd', 0x2d, PrimeHandle
);
nix::ioctl_readwrite!(
    /// `DRM_IOCTL_PRIME_FD_TO_HANDLE`.
    drm_prime_fd_to_handle, b'd', 0x2e, PrimeHandle
);

/// The first card of this driver.
pub fn find(driver: &str) -> io::Result<PathBuf> {
    for number in 0..16 {
        let node = PathBuf::from(format!("/dev/dri/card{number}"));
        // Other cards may be closed to this user.
        if node.exists() && driver_of(&node).is_ok_and(|found| found == driver) {
            return Ok(node);
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("no {driver} card in /dev/dri")))
}

/// Opens a card. If nobody else has it, the opener becomes its master, who may show something.
pub fn open(card: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(card)
}

/// The name of a card's driver. A card of hardware is not opened for that: the opener would be its master for a moment,
/// and somebody else would not become it.
fn driver_of(card: &Path) -> io::Result<String> {
    let name = card.file_name().unwrap_or_default().to_string_lossy();
    if let Ok(driver) = std::fs::read_link(format!("/sys/class/drm/{name}/device/driver")) {
        return Ok(driver.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }
    let card = open(card)?;
    let mut name = [0; 32];
    let mut version = Version {
        major: 0,
        minor: 0,
        patch: 0,
        name_len: name.len(),
        name: name.as_mut_ptr(),
        date_len: 0,
        date: std::ptr::null_mut(),
        desc_len: 0,
        desc: std::ptr::null_mut(),
    };
    // SAFETY: the ioctl writes at most `name_len` bytes to `name`, and nothing where a length is 0.
    unsafe { drm_version(card.as_raw_fd(), &mut version) }?;
    let length = version.name_len.min(name.len());
    Ok(String::from_utf8_lossy(&name[..length]).into_owned())
}

/// Makes a handle of the card for a dma-buf of any exporter. The driver maps it for that.
pub fn import(card: &File, dmabuf: BorrowedFd<'_>) -> io::Result<u32> {
    let mut prime = PrimeHandle { handle: 0, flags: 0, fd: dmabuf.as_raw_fd() };
    // SAFETY: the descriptor is a DRM device's, and the ioctl reads and writes this struct.
    unsafe { drm_prime_fd_to_handle(card.as_raw_fd(), &mut prime) }?;
    Ok(prime.handle)
}

/// Makes a dma-buf of a handle.
pub fn export(card: &File, handle: u32) -> io::Result<OwnedFd> {
    let flags = nix::fcntl::OFlag::O_RDWR | nix::fcntl::OFlag::O_CLOEXEC;
    let mut prime = PrimeHandle { handle, flags: flags.bits().unsigned_abs(), fd: -1 };
    // SAFETY: as above.
    unsafe { drm_prime_handle_to_fd(card.as_raw_fd(), &mut prime) }?;
    // SAFETY: the ioctl has made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(prime.fd) })
}

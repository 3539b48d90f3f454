// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Differences between exporters of dma-bufs and between kernel versions. A new one gets a row here. Its
//! code is here too, or in the function of [`crate::dmabuf`] or [`crate::sync_file`] that it changes.
//!
//! | difference | what the service does |
//! |---|---|
//! | A descriptor's driver may give any meaning to an ioctl number. | [`dmabuf::identify`], [`memfd::identify`] and [`sync_file::is_sync_file`] issue no ioctl |
//! | The server of a FUSE file answers fstat(2) and fstatfs(2) when it likes. | [`dmabuf::identify`] reads /proc/self/fdinfo, which asks no file system |
//! | The kernel counts inode numbers of dma-bufs up in 32 bits, so a number comes back after 2^32 dma-bufs at the earliest. | an [`Identity`] is unique only while a descriptor is open; a buffer remembered without one could pass its marks to the dma-buf that gets its number |
//! | Only kernels from 6.0 on, and some older kernels of vendors, have EXPORT_SYNC_FILE and IMPORT_SYNC_FILE. | [`has_sync_file_ioctls`] asks the version; the setting `implicit_fences` overrules it; without them only workers look for implicit fences, by poll(2), again and again |
//! | START waits for implicit fences, END does not. | [`dmabuf::first_pending`] or [`dmabuf::export_sync_file`] before START |
//! | A fence can come between poll(2) and START. | the service interrupts a START that blocks |
//! | poll(2), epoll_ctl(2) and IMPORT_SYNC_FILE take the reservation lock; how long a driver holds it is unknown, and a client can keep it busy. EXPORT_SYNC_FILE does not take it. | the service looks by EXPORT_SYNC_FILE, and calls the others without a mutex on a bounded number of threads |
//! | Heaps and udmabuf put no fences on a dma-buf, GPU drivers and vgem do; a client can, on any of them. | the service looks for fences on every dma-buf |
//! | START and END do nothing while no device has the buffer mapped (system heap), or ever (vgem's own buffers), and return 0 all the same. | issues them in any case: a device may map the buffer at any time; the counters of a dump count calls |
//! | udmabuf maps the buffer itself at the first START, and refuses an END before it. | no END without its START |
//! | To map a buffer for a device cleans the CPU's cache, and the end of the mapping invalidates it. | nothing: it does not know of mappings, and an operation that such a mapping has made needless does no harm |
//! | V4L2's EXPBUF makes a new dma-buf at each call, and so does udmabuf for one memfd. | they are different buffers: it can't know that the memory is one; clients are told to export once |
//! | vgem signals a forgotten fence by itself after 10 s, without an error. | nothing: with the default limits its holder is evicted before (after 5 s) |
//!
//! docs/design.md, "Exporters", has what was measured, and what it means for clients.
//!
//! [`dmabuf::identify`]: crate::dmabuf::identify
//! [`dmabuf::export_sync_file`]: crate::dmabuf::export_sync_file
//! [`Identity`]: crate::identity::Identity
//! [`dmabuf::first_pending`]: crate::dmabuf::first_pending
//! [`memfd::identify`]: crate::memfd::identify
//! [`sync_file::is_sync_file`]: crate::sync_file::is_sync_file

/// The first Linux with both ioctls for sync_files.
const SYNC_FILE_IOCTLS: (u32, u32) = (6, 0);

/// Whether the kernel has `DMA_BUF_IOCTL_EXPORT_SYNC_FILE` and `DMA_BUF_IOCTL_IMPORT_SYNC_FILE`, by
/// its version.
///
/// # References
///  - [uname(2)](https://man7.org/linux/man-pages/man2/uname.2.html)
pub fn has_sync_file_ioctls() -> bool {
    let Ok(name) = nix::sys::utsname::uname() else { return false };
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= SYNC_FILE_IOCTLS,
        _ => false,
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Structs and ioctl numbers of linux/dma-buf.h and linux/sync_file.h.

pub const DMA_BUF_SYNC_READ: u32 = 1;
pub const DMA_BUF_SYNC_RW: u32 = 3;
pub const DMA_BUF_SYNC_START: u32 = 0;
pub const DMA_BUF_SYNC_END: u32 = 4;

/// `struct dma_buf_sync`.
#[repr(C)]
pub struct DmaBufSync {
    pub flags: u64,
}

/// `struct dma_buf_export_sync_file` and `struct dma_buf_import_sync_file`.
#[repr(C)]
pub struct DmaBufSyncFile {
    pub flags: u32,
    pub fd: i32,
}

/// `struct sync_merge_data`.
#[repr(C)]
pub struct SyncMergeData {
    pub name: [u8; 32],
    pub fd2: i32,
    pub fence: i32,
    pub flags: u32,
    pub pad: u32,
}

/// `struct sync_fence_info`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SyncFenceInfo {
    pub obj_name: [u8; 32],
    pub driver_name: [u8; 32],
    pub status: i32,
    pub flags: u32,
    pub timestamp_ns: u64,
}

/// `struct sync_file_info`.
#[repr(C)]
pub struct SyncFileInfo {
    pub name: [u8; 32],
    pub status: i32,
    pub flags: u32,
    pub num_fences: u32,
    pub pad: u32,
    pub sync_fence_info: u64,
}

nix::ioctl_write_ptr!(dma_buf_ioctl_sync, b'b', 0, DmaBufSync);
nix::ioctl_readwrite!(dma_buf_ioctl_export_sync_file, b'b', 2, DmaBufSyncFile);
nix::ioctl_write_ptr!(dma_buf_ioctl_import_sync_file, b'b', 3, DmaBufSyncFile);
nix::ioctl_readwrite!(sync_ioc_merge, b'>', 3, SyncMergeData);
nix::ioctl_readwrite!(sync_ioc_file_info, b'>', 4, SyncFileInfo);

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn layout_is_that_of_the_uapi() {
        assert_eq!((size_of::<SyncFileInfo>(), size_of::<SyncMergeData>()), (56, 48));
        assert_eq!(size_of::<SyncFenceInfo>(), 80);
        assert_eq!(offset_of!(SyncFileInfo, sync_fence_info), 48);
        // _IOW('b', 0, struct dma_buf_sync): direction 1, size 8, type 0x62, number 0.
        assert_eq!(nix::request_code_write!(b'b', 0, size_of::<DmaBufSync>()), 0x4008_6200);
        let size = size_of::<DmaBufSyncFile>();
        assert_eq!(nix::request_code_readwrite!(b'b', 2, size), 0xc008_6202);
        assert_eq!(nix::request_code_write!(b'b', 3, size), 0x4008_6203);
    }
}

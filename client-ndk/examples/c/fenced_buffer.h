/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/*
 * Dma-bufs of the vgem driver, whose fences a program signals itself (drm/drm.h, drm/drm_mode.h,
 * drm/vgem_drm.h, which few systems install). They stand for the buffers of a device. For C and C++.
 */

#ifndef FENCED_BUFFER_H
#define FENCED_BUFFER_H

#include <fcntl.h>
#include <linux/dma-buf.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct drm_mode_create_dumb {
    uint32_t height, width, bpp, flags, handle, pitch;
    uint64_t size;
};

struct drm_prime_handle {
    uint32_t handle, flags;
    int32_t fd;
};

struct drm_vgem_fence_attach {
    uint32_t handle, flags, out_fence, pad;
};

struct drm_vgem_fence_signal {
    uint32_t fence, flags;
};

#define DRM_IOCTL_MODE_CREATE_DUMB _IOWR('d', 0xb2, struct drm_mode_create_dumb)
#define DRM_IOCTL_PRIME_HANDLE_TO_FD _IOWR('d', 0x2d, struct drm_prime_handle)
#define DRM_IOCTL_VGEM_FENCE_ATTACH _IOWR('d', 0x41, struct drm_vgem_fence_attach)
#define DRM_IOCTL_VGEM_FENCE_SIGNAL _IOW('d', 0x42, struct drm_vgem_fence_signal)
#define VGEM_FENCE_WRITE 0x1

/* The size of a buffer. */
#define FENCED_BUFFER_BYTES 16384

struct fenced_buffer {
    int card;
    uint32_t handle;
    /* The dma-buf. */
    int fd;
    /* The last fence. */
    uint32_t fence;
};

static inline void must(bool condition, const char* what) {
    if (!condition) {
        perror(what);
        exit(1);
    }
}

static inline struct fenced_buffer allocate_buffer(void) {
    struct fenced_buffer buffer = {open("/dev/dri/card0", O_RDWR | O_CLOEXEC), 0, -1, 0};
    must(buffer.card >= 0, "/dev/dri/card0");
    struct drm_mode_create_dumb dumb = {4, FENCED_BUFFER_BYTES / 16, 32, 0, 0, 0, 0};
    must(ioctl(buffer.card, DRM_IOCTL_MODE_CREATE_DUMB, &dumb) == 0, "MODE_CREATE_DUMB");
    buffer.handle = dumb.handle;
    struct drm_prime_handle prime = {dumb.handle, O_RDWR | O_CLOEXEC, -1};
    must(ioctl(buffer.card, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime) == 0, "PRIME_HANDLE_TO_FD");
    buffer.fd = prime.fd;
    return buffer;
}

static inline void free_buffer(struct fenced_buffer* buffer) {
    close(buffer->fd);
    close(buffer->card);
}

/* Starts the work of a device. Returns a sync_file that signals at finish_work(), or by itself after 10 s. */
static inline int start_work(struct fenced_buffer* buffer) {
    struct drm_vgem_fence_attach attach = {buffer->handle, VGEM_FENCE_WRITE, 0, 0};
    must(ioctl(buffer->card, DRM_IOCTL_VGEM_FENCE_ATTACH, &attach) == 0, "VGEM_FENCE_ATTACH");
    buffer->fence = attach.out_fence;
    struct dma_buf_export_sync_file exported = {DMA_BUF_SYNC_RW, -1};
    must(ioctl(buffer->fd, DMA_BUF_IOCTL_EXPORT_SYNC_FILE, &exported) == 0, "EXPORT_SYNC_FILE");
    return exported.fd;
}

/* Signals the fence. Returns false if it had signalled by itself before. */
static inline bool finish_work(struct fenced_buffer* buffer) {
    struct drm_vgem_fence_signal signal = {buffer->fence, 0};
    return ioctl(buffer->card, DRM_IOCTL_VGEM_FENCE_SIGNAL, &signal) == 0;
}

#endif

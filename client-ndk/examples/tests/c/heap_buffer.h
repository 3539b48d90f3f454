/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/* Dma-bufs of the system heap, for programs that run as root. */

#ifndef HEAP_BUFFER_H
#define HEAP_BUFFER_H

#include <fcntl.h>
#include <linux/dma-heap.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* `mode` is O_RDWR or O_RDONLY. */
static inline int allocate_from_heap(size_t size, int mode) {
    struct dma_heap_allocation_data data = {.len = size, .fd_flags = (uint32_t)(mode | O_CLOEXEC)};
    int heap = open("/dev/dma_heap/system", O_RDONLY | O_CLOEXEC);
    if (heap < 0 || ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &data) != 0) {
        perror("/dev/dma_heap/system");
        exit(1);
    }
    close(heap);
    return (int)data.fd;
}

#endif

/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/*
 * A descriptor that is open for reading only can't be mapped for writing. The CPU can't write with it, so to add it
 * for that is a mistake, which is found at once. It can be added for everything else, and what is no buffer is not
 * looked at.
 *
 * Needs root, to allocate.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "expect.h"
#include "heap_buffer.h"

#define BYTES 65536

static ABufferSync* sync_;

/* Adds a handle to a new group. Returns the number of its buffers; 0 if it was refused. */
static size_t add(const int* fds, size_t count, ABufferSyncAccess access) {
    ABufferSyncGroup* group = NULL;
    ABufferSyncLock lock = 0;
    size_t buffers = 0;
    OK(ABufferSync_openGroup(sync_, "read only/group", 0, ABUFFERSYNC_GROUP_DEFAULT, &group));
    ABufferSyncStatus status =
            ABufferSyncGroup_addNativeHandle(group, fds, count, access, NULL, &buffers);
    if (status == ABUFFERSYNC_OK) {
        OK(ABufferSyncGroup_lock(group, NULL, 0, HUNG, &lock));
        unlock(group, lock);
    } else {
        EXPECT(status, ABUFFERSYNC_ERROR_INVALID_ARGUMENT);
        EXPECT(strstr(ABufferSync_getLastErrorMessage(), "open for reading only") != NULL, 1);
        EXPECT(strstr(ABufferSync_getLastErrorMessage(), "O_RDWR") != NULL, 1);
    }
    ABufferSyncGroup_close(group);
    return buffers;
}

int main(void) {
    char path[32];
    OK(ABufferSync_open(&sync_));
    int reads = allocate_from_heap(BYTES, O_RDONLY), writes = allocate_from_heap(BYTES, O_RDWR);
    int memory = memfd_create("metadata", MFD_CLOEXEC);
    EXPECT(ftruncate(memory, 4096), 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", memory);
    int metadata = open(path, O_RDONLY | O_CLOEXEC);
    EXPECT(metadata >= 0, 1);

    /* Why it is a mistake. */
    EXPECT(mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, reads, 0) == MAP_FAILED, 1);
    EXPECT(errno, EACCES);
    EXPECT(add(&reads, 1, ABUFFERSYNC_ACCESS_WRITE), 0);
    EXPECT(add((int[]){writes, reads}, 2, ABUFFERSYNC_ACCESS_WRITE), 0);
    EXPECT(add(&metadata, 1, ABUFFERSYNC_ACCESS_WRITE), 0);

    EXPECT(add(&reads, 1, ABUFFERSYNC_ACCESS_READ), 1);
    EXPECT(add(&reads, 1, ABUFFERSYNC_ACCESS_DMA_READ), 1);
    EXPECT(add(&reads, 1, ABUFFERSYNC_ACCESS_DMA_WRITE), 1);
    EXPECT(add(&metadata, 1, ABUFFERSYNC_ACCESS_READ), 1);
    EXPECT(add(&memory, 1, ABUFFERSYNC_ACCESS_WRITE), 1);
    /* As in a handle of gralloc. */
    EXPECT(add((int[]){writes, metadata, STDIN_FILENO}, 3, ABUFFERSYNC_ACCESS_WRITE), 1);
    ABufferSync_close(sync_);
    return failures == 0 ? 0 : 1;
}

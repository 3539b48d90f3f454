/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/*
 * Frames of several planes, as toolkits describe them: one descriptor for all planes, the same one for each, one for
 * each, places that are not used, metadata beside.
 *
 *   planes DMABUF_FD DMABUF_FD
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "expect.h"

static ABufferSync* sync_;

/* Adds a handle to a new group. Returns the number of its buffers. */
static size_t add(const int* fds, size_t count, ABufferSyncStatus expected) {
    ABufferSyncGroup* group = NULL;
    ABufferSyncBufferId ids[8] = {0};
    ABufferSyncLock lock = 0;
    ABufferSyncGrant grant = {0};
    size_t buffers = 0;
    OK(ABufferSync_openGroup(sync_, "planes/group", 0, ABUFFERSYNC_GROUP_DEFAULT, &group));
    EXPECT(ABufferSyncGroup_addNativeHandle(group, fds, count, ABUFFERSYNC_ACCESS_READ, ids,
                                            &buffers),
           expected);
    if (expected == ABUFFERSYNC_OK) {
        OK(ABufferSyncGroup_lock(group, NULL, 0, HUNG, &lock));
        OK(ABufferSyncGroup_getGrant(group, lock, &grant));
        EXPECT(grant.numBuffers, buffers);
        EXPECT(ids[buffers - 1] > 0 && ids[buffers] == 0, 1);
        unlock(group, lock);
    }
    ABufferSyncGroup_close(group);
    return buffers;
}

int main(int argc, char** argv) {
    if (argc != 3) {
        return 2;
    }
    int y = atoi(argv[1]), uv = atoi(argv[2]), again = dup(y);
    int metadata = memfd_create("metadata", MFD_CLOEXEC);
    EXPECT(ftruncate(metadata, 4096), 0);
    OK(ABufferSync_open(&sync_));
    EXPECT(add((int[]){y}, 1, ABUFFERSYNC_OK), 1);
    EXPECT(add((int[]){y, y}, 2, ABUFFERSYNC_OK), 1);
    EXPECT(add((int[]){y, again}, 2, ABUFFERSYNC_OK), 1);
    EXPECT(add((int[]){y, uv}, 2, ABUFFERSYNC_OK), 2);
    EXPECT(add((int[]){y, uv, -1, -1}, 4, ABUFFERSYNC_OK), 2);
    EXPECT(add((int[]){-1, y}, 2, ABUFFERSYNC_OK), 1);
    EXPECT(add((int[]){y, metadata}, 2, ABUFFERSYNC_OK), 1);
    EXPECT(add((int[]){metadata, -1}, 2, ABUFFERSYNC_OK), 1);

    EXPECT(add((int[]){-1, -1}, 2, ABUFFERSYNC_ERROR_INVALID_ARGUMENT), 0);
    EXPECT(strstr(ABufferSync_getLastErrorMessage(), "-1") != NULL, 1);
    EXPECT(add((int[]){y, -2}, 2, ABUFFERSYNC_ERROR_BAD_FD), 0);
    EXPECT(strstr(ABufferSync_getLastErrorMessage(), "fds[1] is -2") != NULL, 1);
    EXPECT(add((int[]){y, 9999}, 2, ABUFFERSYNC_ERROR_BAD_FD), 0);
    EXPECT(strstr(ABufferSync_getLastErrorMessage(), "fds[1] is 9999") != NULL, 1);
    ABufferSync_close(sync_);
    return failures == 0 ? 0 : 1;
}

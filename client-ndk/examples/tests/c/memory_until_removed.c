/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/*
 * The service has a descriptor of each buffer of a group. So the memory of a stream's old buffers stays when all
 * processes have closed them, and comes back when they are removed, or when the group is closed.
 *
 * Needs root, to allocate.
 */

#include <string.h>

#include "expect.h"
#include "heap_buffer.h"

#define BUFFERS 16
#define BYTES (4 << 20)
#define ALL_KB (BUFFERS * (BYTES >> 10))

/* Without caches, which the kernel fills and empties at any time. */
static long available_kb(void) {
    char line[128];
    long kb = -1;
    FILE* file = fopen("/proc/meminfo", "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, "MemAvailable:", 13) == 0) {
            kb = strtol(line + 13, NULL, 10);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    EXPECT(kb > 0, 1);
    return kb;
}

static void add_all(ABufferSyncGroup* group) {
    for (int nth = 0; nth < BUFFERS; nth++) {
        int fd = allocate_from_heap(BYTES, O_RDWR);
        OK(ABufferSyncGroup_addDmaBuf(group, fd, ABUFFERSYNC_ACCESS_READ, NULL));
        close(fd);
    }
}

/* The kernel frees memory a little later. */
static void expect_back(long before) {
    for (int times = 0; times < 6000 && before - available_kb() > ALL_KB / 2; times++) {
        sleep_millis(10);
    }
    EXPECT(before - available_kb() <= ALL_KB / 2, 1);
}

int main(void) {
    ABufferSync* sync = NULL;
    ABufferSyncGroup* group = NULL;
    OK(ABufferSync_open(&sync));
    OK(ABufferSync_openGroup(sync, "memory/player", 0, ABUFFERSYNC_GROUP_DEFAULT, &group));
    long before = available_kb();
    add_all(group);
    sleep_millis(100);
    EXPECT(before - available_kb() > ALL_KB / 2, 1);
    OK(ABufferSyncGroup_removeAll(group));
    expect_back(before);

    add_all(group);
    sleep_millis(100);
    EXPECT(before - available_kb() > ALL_KB / 2, 1);
    ABufferSyncGroup_close(group);
    expect_back(before);
    ABufferSync_close(sync);
    return failures == 0 ? 0 : 1;
}

/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/*
 * A consumer of a camera's frames. For each index on standard input it asks for that buffer, prints the index, waits
 * for the grant, unlocks, and prints the index again. It makes two calls of the service for a frame.
 *
 *   encoder DMABUF_FD...
 */

#include <stdlib.h>

#include "expect.h"

#define MAX_FRAMES 64

int main(int argc, char** argv) {
    ABufferSyncBufferId frames[MAX_FRAMES];
    ABufferSync* sync = NULL;
    ABufferSyncGroup* group = NULL;
    int count = argc - 1;
    if (count < 1 || count > MAX_FRAMES) {
        return 2;
    }
    OK(ABufferSync_open(&sync));
    OK(ABufferSync_openGroup(sync, "requests/encoder", 0, ABUFFERSYNC_GROUP_DEFAULT, &group));
    for (int nth = 0; nth < count; nth++) {
        OK(ABufferSyncGroup_addDmaBuf(group, atoi(argv[1 + nth]), ABUFFERSYNC_ACCESS_DMA_READ,
                                      &frames[nth]));
    }
    /* It is ready. */
    printf("0\n");
    fflush(stdout);
    unsigned index;
    while (failures == 0 && scanf("%u", &index) == 1 && index < (unsigned)count) {
        ABufferSyncWant want = {frames[index], ABUFFERSYNC_ACCESS_DMA_READ, 0};
        ABufferSyncLock lock = 0;
        bool granted = false;
        OK(ABufferSyncGroup_startLock(group, &want, 1, -1, &lock, &granted));
        printf("%u\n", index);
        fflush(stdout);
        if (!granted) {
            wait_for_event(group, ABUFFERSYNC_EVENT_GRANTED);
        }
        unlock(group, lock);
        printf("%u\n", index);
        fflush(stdout);
    }
    ABufferSyncGroup_close(group);
    ABufferSync_close(sync);
    return failures == 0 ? 0 : 1;
}

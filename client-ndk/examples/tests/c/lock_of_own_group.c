/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/*
 * A lock never waits for a lock of its own group: a conflict is an error at once. The time-outs here are so long
 * that a lock that waits fails the test.
 *
 * Two groups of one process wait for each other like those of two processes: the service can't know that one thread
 * uses both. So a program that locks one buffer in several places uses one group.
 *
 *   lock_of_own_group DMABUF_FD DMABUF_FD
 */

#include <pthread.h>
#include <stdlib.h>

#include "expect.h"

static ABufferSyncGroup* group;
static ABufferSyncWant writing;

/* Another thread of the program is no other client. */
static void* lock_in_thread(void* status) {
    ABufferSyncLock lock;
    *(ABufferSyncStatus*)status = ABufferSyncGroup_lock(group, &writing, 1, HUNG, &lock);
    return NULL;
}

static void what_is_held(ABufferSyncBufferId frame, ABufferSyncBufferId other) {
    ABufferSyncWant reading = {frame, ABUFFERSYNC_ACCESS_READ, 0};
    ABufferSyncWant both[2] = {{other, ABUFFERSYNC_ACCESS_READ, 0},
                               {frame, ABUFFERSYNC_ACCESS_WRITE, 0}};
    ABufferSyncLock preview = 0, thumbnail = 0, filter = 0;
    ABufferSyncStatus in_thread = ABUFFERSYNC_OK;
    pthread_t thread;
    size_t count = 0;
    OK(ABufferSyncGroup_lock(group, &reading, 1, HUNG, &preview));
    FAILS(ABufferSyncGroup_lock(group, &writing, 1, -1, &filter), ALREADY_LOCKED);
    FAILS(ABufferSyncGroup_lock(group, both, 2, -1, &filter), ALREADY_LOCKED);
    FAILS(ABufferSyncGroup_lock(group, NULL, 0, -1, &filter), ALREADY_LOCKED);
    EXPECT(pthread_create(&thread, NULL, lock_in_thread, &in_thread), 0);
    EXPECT(pthread_join(thread, NULL), 0);
    EXPECT(in_thread, ABUFFERSYNC_ERROR_ALREADY_LOCKED);

    /* Two readers share, and none can become a writer. */
    OK(ABufferSyncGroup_lock(group, &reading, 1, HUNG, &thumbnail));
    FAILS(ABufferSyncGroup_grow(group, thumbnail, &writing, 1, -1), ALREADY_LOCKED);
    OK(ABufferSyncGroup_getLocks(group, NULL, 0, &count));
    EXPECT(count, 2);
    unlock(group, preview);
    OK(ABufferSyncGroup_grow(group, thumbnail, &writing, 1, HUNG));
    unlock(group, thumbnail);
    OK(ABufferSyncGroup_lock(group, &writing, 1, HUNG, &filter));
    unlock(group, filter);
}

static void what_waits(ABufferSyncGroup* holder) {
    ABufferSyncLock held = lock_all(holder), waiting = 0, second = 0;
    bool granted = true;
    OK(ABufferSyncGroup_startLock(group, &writing, 1, -1, &waiting, &granted));
    EXPECT(granted, 0);
    FAILS(ABufferSyncGroup_lock(group, &writing, 1, -1, &second), ALREADY_LOCKED);
    unlock(holder, held);
    wait_for_event(group, ABUFFERSYNC_EVENT_GRANTED);
    unlock(group, waiting);
}

int main(int argc, char** argv) {
    if (argc != 3) {
        return 2;
    }
    int fds[2] = {atoi(argv[1]), atoi(argv[2])};
    ABufferSyncBufferId ids[2] = {0, 0};
    ABufferSync* sync = NULL;
    ABufferSyncGroup* other = NULL;
    OK(ABufferSync_open(&sync));
    OK(ABufferSync_openGroup(sync, "own group/app", 0, ABUFFERSYNC_GROUP_DEFAULT, &group));
    OK(ABufferSync_openGroup(sync, "own group/other", 0, ABUFFERSYNC_GROUP_DEFAULT, &other));
    OK(ABufferSyncGroup_addNativeHandle(group, fds, 2, ABUFFERSYNC_ACCESS_WRITE, ids, NULL));
    OK(ABufferSyncGroup_addDmaBuf(other, fds[0], ABUFFERSYNC_ACCESS_WRITE, NULL));
    writing = (ABufferSyncWant){ids[0], ABUFFERSYNC_ACCESS_WRITE, 0};
    what_is_held(ids[0], ids[1]);
    what_waits(other);
    ABufferSyncGroup_close(group);
    ABufferSyncGroup_close(other);
    ABufferSync_close(sync);
    return failures == 0 ? 0 : 1;
}

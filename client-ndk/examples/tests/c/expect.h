/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/* Assertions of the test programs: a program goes on after a failure, and ends with `failures != 0`. */

#ifndef EXPECT_H
#define EXPECT_H

#include <android/buffer_sync.h>
#include <poll.h>
#include <stdio.h>
#include <time.h>

#define MILLIS INT64_C(1000000)
#define SECONDS (1000 * MILLIS)
/* After this time a call counts as hung. */
#define HUNG (60 * SECONDS)

static int failures;

static inline void expect_at(const char* file, int line, const char* what, int64_t found,
                             int64_t expected) {
    if (found != expected) {
        fprintf(stderr, "%s:%d: %s is %lld, not %lld (%s)\n", file, line, what, (long long)found,
                (long long)expected, ABufferSync_getLastErrorMessage());
        failures++;
    }
}

#define EXPECT(what, expected) \
    expect_at(__FILE__, __LINE__, #what, (int64_t)(what), (int64_t)(expected))
#define OK(what) EXPECT(what, ABUFFERSYNC_OK)
#define FAILS(what, error) EXPECT(what, ABUFFERSYNC_ERROR_##error)

static inline void sleep_millis(long millis) {
    struct timespec time = {millis / 1000, millis % 1000 * 1000000};
    while (nanosleep(&time, &time) != 0) {
    }
}

/* Locks all buffers of a group. */
static inline ABufferSyncLock lock_all(ABufferSyncGroup* group) {
    ABufferSyncLock lock = 0;
    OK(ABufferSyncGroup_lock(group, NULL, 0, HUNG, &lock));
    return lock;
}

/* The same at once. */
static inline ABufferSyncLock try_lock_all(ABufferSyncGroup* group) {
    ABufferSyncLock lock = 0;
    OK(ABufferSyncGroup_tryLock(group, NULL, 0, &lock));
    return lock;
}

/* Asks for all buffers of a group, which others have. */
static inline ABufferSyncLock queue_all(ABufferSyncGroup* group) {
    ABufferSyncLock lock = 0;
    bool granted = true;
    OK(ABufferSyncGroup_startLock(group, NULL, 0, -1, &lock, &granted));
    EXPECT(granted, 0);
    return lock;
}

/* The work is finished. */
static inline void unlock(ABufferSyncGroup* group, ABufferSyncLock lock) {
    OK(ABufferSyncGroup_unlock(group, lock, -1));
}

/* Waits for the next event. Others that wait may have made CONTENDED before. */
static inline ABufferSyncEvent next_event(ABufferSyncGroup* group) {
    ABufferSyncEvent event = {0};
    struct pollfd ready = {.fd = -1, .events = POLLIN};
    OK(ABufferSyncGroup_getEventFd(group, &ready.fd));
    while (failures == 0) {
        ABufferSyncStatus status = ABufferSyncGroup_getEvent(group, &event);
        if (status == ABUFFERSYNC_OK && event.type != ABUFFERSYNC_EVENT_CONTENDED) {
            break;
        }
        if (status != ABUFFERSYNC_OK) {
            EXPECT(status, ABUFFERSYNC_ERROR_WOULD_BLOCK);
            EXPECT(poll(&ready, 1, (int)(HUNG / MILLIS)), 1);
        }
    }
    return event;
}

static inline void wait_for_event(ABufferSyncGroup* group, ABufferSyncEventType type) {
    EXPECT(next_event(group).type, type);
}

#endif

/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/*
 * Calls every function with random arguments, in random order: no argument and no state may end the
 * process. (A panic of the library would, and so would AddressSanitizer.) Some arguments are left out,
 * because no library can check them: pointers to unmapped memory, and descriptors that other code closes.
 *
 *   anything DMABUF_FD DMABUF_FD CALLS SEED
 */

#include <android/buffer_sync.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define PICK(...) pick((const int64_t[]){__VA_ARGS__}, COUNT(((const int64_t[]){__VA_ARGS__})))

enum { SYNCS = 2, GROUPS = 6 };

static uint64_t state;
/* So that texts are read. */
static volatile size_t checksum;
static int dmabufs[2];
/* Open handles, closed handles, and numbers that never were one. */
static ABufferSync* syncs[SYNCS + 3];
static ABufferSyncGroup* groups[GROUPS + 3];

/* xorshift64: the same calls for the same seed. */
static uint64_t any(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static bool seldom(void) {
    return any() % 40 == 0;
}

static int64_t pick(const int64_t* from, size_t count) {
    return from[any() % count];
}

static ABufferSync* any_sync(void) {
    return seldom() ? syncs[any() % COUNT(syncs)] : syncs[0];
}

static ABufferSyncGroup* any_group(void) {
    return seldom() ? groups[any() % COUNT(groups)] : groups[any() % GROUPS];
}

/* Memory for results: valid, null, or not aligned. */
static void* any_out(void) {
    static _Alignas(16) char memory[4096];
    return seldom() ? NULL : memory + (seldom() ? 1 : 0);
}

/* A descriptor that this program keeps. */
static int any_fd(void) {
    return (int)PICK(dmabufs[0], dmabufs[0], dmabufs[1], dmabufs[1], 0, 2, -1, -2, 1 << 20, INT_MIN, INT_MAX);
}

/* A descriptor that the library takes. */
static int any_taken(void) {
    int fd = (int)PICK(-1, -1, -1, -2, 1 << 20, INT_MIN, INT_MAX, 0, 0);
    return fd == 0 ? fcntl(seldom() ? 2 : dmabufs[0], F_DUPFD_CLOEXEC, 3) : fd;
}

static const char* any_text(void) {
    static char long_text[5000];
    memset(long_text, 'x', sizeof(long_text) - 1);
    const char* const texts[] = {"a", "group", NULL, "", "\x1b[31m", "\xff\xfe", "\n", long_text};
    return texts[seldom() ? any() % COUNT(texts) : any() % 2];
}

/* Few locks wait long: a grant of these groups lasts some milliseconds. */
static int64_t any_timeout(void) {
    return seldom() ? PICK(-1, INT64_MIN, INT64_MAX) : PICK(0, 1, 1000, 1000000);
}

static int64_t any_hold(void) {
    return seldom() ? PICK(INT64_MAX, -1, INT64_MIN, 0) : PICK(1, 1000000, 20000000);
}

static ABufferSyncAccess any_access(void) {
    return (ABufferSyncAccess)PICK(ABUFFERSYNC_ACCESS_READ, ABUFFERSYNC_ACCESS_WRITE, ABUFFERSYNC_ACCESS_DMA_READ,
                                   ABUFFERSYNC_ACCESS_DMA_WRITE, 0, -1, 3, INT_MAX, INT_MIN);
}

/* Mostly one of the few buffers that exist. */
static ABufferSyncBufferId any_buffer(void) {
    return PICK(0, 1, 2, 3, 4, 5, -1, INT64_MAX, INT64_MIN);
}

/* Mostly a lock that lives, or has ended. */
static ABufferSyncLock any_lock(void) {
    return seldom() ? PICK(0, -1, INT64_MAX, INT64_MIN) : (ABufferSyncLock)(any() % 40);
}

static void open_any_group(size_t at) {
    /* The old group is closed, and its handle stays among the stale ones. */
    ABufferSyncGroup_close(groups[at]);
    groups[GROUPS] = groups[at];
    if (ABufferSync_openGroup(any_sync(), any_text(), any_hold(), (uint32_t)PICK(0, 0, 1, 2, 3, 4, -1), &groups[at]) !=
        ABUFFERSYNC_OK) {
        ABufferSync_openGroup(syncs[0], "anything", 1000000, 0, &groups[at]);
    }
}

static void add_handle(void) {
    int fds[20];
    ABufferSyncBufferId ids[20];
    size_t count;
    for (size_t i = 0; i < COUNT(fds); i++) {
        fds[i] = any_fd();
    }
    /* The library can't check a count beyond the array, but it checks one beyond memory. */
    size_t given = seldom() ? SIZE_MAX / (size_t)PICK(1, 2, 4, 8) : any() % (COUNT(fds) + 1);
    ABufferSyncGroup_addNativeHandle(any_group(), seldom() ? NULL : fds, given, any_access(), seldom() ? NULL : ids,
                                     seldom() ? NULL : &count);
}

/* Fences, most of them -1. Their descriptors are for a function that takes them. */
static size_t any_fences(ABufferSyncFence* fences, size_t room) {
    size_t given = any() % (room + 1);
    for (size_t i = 0; i < given; i++) {
        fences[i] = (ABufferSyncFence){any_buffer(), any_taken(), seldom() ? 1 : 0};
    }
    return given;
}

/* The calls of locks. */
static void any_call_of_locks(void) {
    ABufferSyncGroup* group = any_group();
    ABufferSyncWant wants[4];
    ABufferSyncBufferId ids[4];
    ABufferSyncFence fences[20];
    for (size_t i = 0; i < COUNT(wants); i++) {
        wants[i] = (ABufferSyncWant){any_buffer(), any_access(), seldom() ? 1 : 0};
        ids[i] = any_buffer();
    }
    size_t count = seldom() ? SIZE_MAX / 4 : any() % (COUNT(wants) + 1);
    /* Null, mostly with the right number. */
    bool all = any() % 3 == 0;
    count = all && !seldom() ? 0 : count;
    const ABufferSyncWant* some = all ? NULL : wants;
    const ABufferSyncBufferId* buffers = all ? NULL : ids;
    switch (any() % 20) {
    case 0:
    case 1: ABufferSyncGroup_lock(group, some, count, any_timeout(), any_out()); break;
    case 2: ABufferSyncGroup_tryLock(group, some, count, any_out()); break;
    case 3:
    case 4: ABufferSyncGroup_startLock(group, some, count, any_timeout(), any_out(), any_out()); break;
    case 5: {
        /* A lock without a time-out could wait for a lock that this thread has. Some groups' grants end soon. */
        ABufferSyncLock lock = 0;
        bool granted = false;
        if (ABufferSyncGroup_startLock(group, some, count, 1000000, &lock, &granted) == ABUFFERSYNC_OK) {
            ABufferSyncGroup_wait(group, seldom() ? any_lock() : lock);
        }
        break;
    }
    case 6: ABufferSyncGroup_grow(group, any_lock(), some, count, any_timeout()); break;
    case 7: ABufferSyncGroup_tryGrow(group, any_lock(), some, count); break;
    case 8: ABufferSyncGroup_startGrow(group, any_lock(), some, count, any_timeout(), any_out()); break;
    case 9: ABufferSyncGroup_cancel(group, any_lock()); break;
    case 10: ABufferSyncGroup_getGrant(group, any_lock(), any_out()); break;
    case 11: ABufferSyncGroup_getBufferState(group, any_lock(), any_buffer(), any_out()); break;
    case 12: {
        int received = -1;
        if (ABufferSyncGroup_getAcquireFence(group, any_lock(), any_buffer(), seldom() ? NULL : &received) ==
                    ABUFFERSYNC_OK &&
            received >= 0) {
            close(received);
        }
        break;
    }
    case 13:
    case 14: ABufferSyncGroup_unlock(group, any_lock(), any_taken()); break;
    case 15:
    case 16: {
        size_t given = any_fences(fences, COUNT(fences));
        ABufferSyncGroup_unlockBuffers(group, any_lock(), buffers, count, fences, given);
        /* Numbers that can't be: no descriptor is taken. */
        if (seldom()) {
            ABufferSyncGroup_unlockBuffers(group, any_lock(), buffers, count, NULL, 1);
            ABufferSyncGroup_unlockBuffers(group, any_lock(), buffers, count, fences, SIZE_MAX / 2);
        }
        break;
    }
    case 17: ABufferSyncGroup_downgrade(group, any_lock(), buffers, count); break;
    case 18: {
        size_t given = any_fences(fences, COUNT(fences));
        ABufferSyncGroup_unlockAndLock(group, any_lock(), fences, given, some, count, any_timeout(), any_out());
        break;
    }
    case 19: ABufferSyncGroup_getLocks(group, any_out(), any() % 8, any_out()); break;
    }
}

static void any_call(int null) {
    switch (any() % 36) {
    case 0: ABufferSyncStatus_toString((ABufferSyncStatus)PICK(0, 1, -1, -13, -29, INT_MIN, INT_MAX)); break;
    case 1: {
        ABufferSyncLockInTheWay by;
        checksum += strlen(ABufferSync_getLastErrorMessage());
        if (ABufferSync_getLastErrorLock(seldom() ? NULL : &by) && by.owner != NULL) {
            checksum += strlen(by.owner);
        }
        break;
    }
    case 2: seldom() ? ABufferSync_open(NULL) : ABufferSync_getCapability(syncs[0], 0, any_out()); break;
    case 3: {
        ABufferSync* sync = NULL;
        if (seldom() && ABufferSync_openInstance(seldom() ? any_text() : NULL, any_text(), &sync) == ABUFFERSYNC_OK) {
            ABufferSync_close(sync);
        }
        if (seldom() && ABufferSync_waitForService(any_timeout(), &sync) == ABUFFERSYNC_OK) {
            ABufferSync_close(sync);
        }
        break;
    }
    case 4: ABufferSync_close(syncs[1 + any() % (COUNT(syncs) - 1)]); break;
    case 5: ABufferSync_getCapability(any_sync(), (ABufferSyncCapability)PICK(0, 1, 5, 11, 99, -1, INT_MIN), any_out()); break;
    case 6: ABufferSync_dump(any_sync(), (int)PICK(null, null, -1, 1 << 20)); break;
    case 7: open_any_group(any() % GROUPS); break;
    case 8: ABufferSyncGroup_getHoldLimit(any_group(), any_out()); break;
    case 9:
    case 10: ABufferSyncGroup_addDmaBuf(any_group(), any_fd(), any_access(), any_out()); break;
    case 11: add_handle(); break;
    case 12: ABufferSyncGroup_addHardwareBuffer(any_group(), NULL, any_access(), any_out(), any() % 8, any_out()); break;
    case 13: ABufferSyncGroup_remove(any_group(), any_buffer()); break;
    case 14: ABufferSyncGroup_removeAll(any_group()); break;
    case 15: ABufferSyncGroup_getEventFd(any_group(), any_out()); break;
    case 16: ABufferSyncGroup_getEvent(any_group(), any_out()); break;
    case 17: ABufferSyncGroup_getGroupName(any_group(), any_buffer(), any_out(), (size_t)PICK(0, 64, 65, 1000)); break;
    default: any_call_of_locks(); break;
    }
}

/* Counts the open descriptors, and with a stream lists them. */
static int open_fds(FILE* told) {
    int count = 0;
    for (int fd = 0; fd < 1024; fd++) {
        char name[32], target[128] = "";
        snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
        if (readlink(name, target, sizeof(target) - 1) < 0) {
            continue;
        }
        count++;
        if (told != NULL) {
            fprintf(told, "  %d: %s\n", fd, target);
        }
    }
    return count;
}

int main(int argc, char** argv) {
    if (argc != 5) {
        return 2;
    }
    dmabufs[0] = atoi(argv[1]);
    dmabufs[1] = atoi(argv[2]);
    long calls = atol(argv[3]);
    state = strtoull(argv[4], NULL, 10) | 1;
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    for (size_t i = 0; i < SYNCS; i++) {
        if (ABufferSync_open(&syncs[i]) != ABUFFERSYNC_OK) {
            fprintf(stderr, "anything: %s\n", ABufferSync_getLastErrorMessage());
            return 1;
        }
    }
    syncs[SYNCS + 1] = (ABufferSync*)groups;
    syncs[SYNCS + 2] = (ABufferSync*)UINTPTR_MAX;
    groups[GROUPS + 1] = (ABufferSyncGroup*)syncs;
    groups[GROUPS + 2] = (ABufferSyncGroup*)UINTPTR_MAX;
    for (size_t i = 0; i < GROUPS; i++) {
        open_any_group(i);
    }
    int before = open_fds(NULL);
    for (long i = 0; i < calls; i++) {
        any_call(null);
    }
    /* The library still works, and leaves nothing open. */
    for (size_t i = 0; i < GROUPS; i++) {
        ABufferSyncGroup_close(groups[i]);
        if (ABufferSync_openGroup(syncs[0], "anything", 0, 0, &groups[i]) != ABUFFERSYNC_OK) {
            fprintf(stderr, "anything: %s\n", ABufferSync_getLastErrorMessage());
            return 1;
        }
    }
    if (open_fds(NULL) != before) {
        fprintf(stderr, "anything: there were %d descriptors, and now:\n", before);
        open_fds(stderr);
        return 1;
    }
    for (size_t i = 0; i < GROUPS; i++) {
        ABufferSyncGroup_close(groups[i]);
    }
    for (size_t i = 0; i < SYNCS; i++) {
        ABufferSync_close(syncs[i]);
    }
    return 0;
}

/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/*
 * Every mistake that C allows gets the error that the header promises. Built with AddressSanitizer, so
 * a crash or a leak is noticed too.
 *
 *   misuse DMABUF_FD DMABUF_FD
 */

#include <android/buffer_sync.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "expect.h"

static int one_fd, other_fd;

static bool is_open(int fd) {
    return fcntl(fd, F_GETFD) >= 0;
}

static int null_device(void) {
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static ABufferSyncGroup* open_group(ABufferSync* sync, int64_t hold, int fd) {
    ABufferSyncGroup* group = NULL;
    OK(ABufferSync_openGroup(sync, "misuse/group", hold, 0, &group));
    if (fd >= 0) {
        OK(ABufferSyncGroup_addDmaBuf(group, fd, ABUFFERSYNC_ACCESS_WRITE, NULL));
    }
    return group;
}

/* Null and values out of range are refused before the call does anything. */
static void bad_arguments(ABufferSync* sync) {
    ABufferSyncGroup* group = open_group(sync, 0, -1);
    ABufferSyncGroup* none = NULL;
    ABufferSyncBufferId id = 7;
    int64_t value = 7;
    ABufferSyncLock lock = 7;
    size_t count = 7;
    char long_name[66];
    memset(long_name, 'x', 65);
    long_name[65] = 0;

    FAILS(ABufferSync_open(NULL), INVALID_ARGUMENT);
    FAILS(ABufferSync_waitForService(0, NULL), INVALID_ARGUMENT);
    FAILS(ABufferSync_getCapability(sync, ABUFFERSYNC_CAPABILITY_MAX_HOLD_NANOS, NULL),
          INVALID_ARGUMENT);
    FAILS(ABufferSync_getCapability(sync, (ABufferSyncCapability)99, &value), INVALID_ARGUMENT);
    FAILS(ABufferSync_dump(sync, -1), BAD_FD);
    FAILS(ABufferSync_openGroup(sync, NULL, 0, 0, &none), INVALID_ARGUMENT);
    FAILS(ABufferSync_openGroup(sync, "x", 0, 0, NULL), INVALID_ARGUMENT);
    FAILS(ABufferSync_openGroup(sync, "", 0, 0, &none), INVALID_ARGUMENT);
    FAILS(ABufferSync_openGroup(sync, "\n", 0, 0, &none), INVALID_ARGUMENT);
    FAILS(ABufferSync_openGroup(sync, "\xff", 0, 0, &none), INVALID_ARGUMENT);
    FAILS(ABufferSync_openGroup(sync, long_name, 0, 0, &none), INVALID_ARGUMENT);
    FAILS(ABufferSync_openGroup(sync, "x", -1, 0, &none), INVALID_ARGUMENT);
    FAILS(ABufferSync_openGroup(sync, "x", 0, 0x80, &none), INVALID_ARGUMENT);
    EXPECT(none == NULL, 1);

    FAILS(ABufferSyncGroup_addDmaBuf(group, -1, ABUFFERSYNC_ACCESS_READ, &id), BAD_FD);
    FAILS(ABufferSyncGroup_addDmaBuf(group, 9999, ABUFFERSYNC_ACCESS_READ, &id), BAD_FD);
    FAILS(ABufferSyncGroup_addDmaBuf(group, STDIN_FILENO, ABUFFERSYNC_ACCESS_READ, &id),
          NOT_DMABUF);
    FAILS(ABufferSyncGroup_addDmaBuf(group, one_fd, (ABufferSyncAccess)0x3, &id),
          INVALID_ARGUMENT);
    FAILS(ABufferSyncGroup_addNativeHandle(group, NULL, 1, ABUFFERSYNC_ACCESS_READ, &id, &count),
          INVALID_ARGUMENT);
    FAILS(ABufferSyncGroup_addNativeHandle(group, &one_fd, 0, ABUFFERSYNC_ACCESS_READ, &id, &count),
          INVALID_ARGUMENT);
    FAILS(ABufferSyncGroup_addNativeHandle(group, &one_fd, SIZE_MAX / 2, ABUFFERSYNC_ACCESS_READ,
                                           NULL, NULL),
          INVALID_ARGUMENT);
    FAILS(ABufferSyncGroup_addHardwareBuffer(group, NULL, ABUFFERSYNC_ACCESS_READ, &id, 1, &count),
          INVALID_ARGUMENT);
    FAILS(ABufferSyncGroup_remove(group, 12345), UNKNOWN_BUFFER);
    FAILS(ABufferSyncGroup_getHoldLimit(group, NULL), INVALID_ARGUMENT);
    FAILS(ABufferSyncGroup_getEventFd(group, NULL), INVALID_ARGUMENT);
    FAILS(ABufferSyncGroup_getEvent(group, NULL), INVALID_ARGUMENT);
    FAILS(ABufferSyncGroup_getGrant(group, 1, NULL), INVALID_ARGUMENT);
    FAILS(ABufferSyncGroup_getBufferState(group, 1, 1, NULL), INVALID_ARGUMENT);
    FAILS(ABufferSyncGroup_getAcquireFence(group, 1, 0, NULL), INVALID_ARGUMENT);
    FAILS(ABufferSyncGroup_getGroupName(group, 1, NULL, sizeof(long_name)), INVALID_ARGUMENT);
    FAILS(ABufferSyncGroup_getGroupName(group, 1, long_name, 64), INVALID_ARGUMENT);
    FAILS(ABufferSyncGroup_startLock(group, NULL, 0, -1, &lock, NULL), INVALID_ARGUMENT);
    FAILS(ABufferSyncGroup_unlockBuffers(group, 1, NULL, 0, NULL, 1), INVALID_ARGUMENT);
    FAILS(ABufferSyncGroup_lock(group, NULL, 0, 0, &lock), EMPTY_GROUP);
    FAILS(ABufferSyncGroup_tryLock(group, NULL, 0, &lock), EMPTY_GROUP);
    EXPECT(lock, 7);
    EXPECT(id, 7);
    EXPECT(value, 7);
    EXPECT(count, 7);
    EXPECT(strcmp(ABufferSyncStatus_toString((ABufferSyncStatus)1), "unknown status"), 0);

    /* Some descriptors are skipped, and several are of one buffer. */
    int handle[3] = {STDIN_FILENO, other_fd, one_fd};
    ABufferSyncBufferId ids[3] = {0, 0, 0};
    OK(ABufferSyncGroup_addNativeHandle(group, handle, 3, ABUFFERSYNC_ACCESS_READ, ids, &count));
    EXPECT(count, 2);
    EXPECT(ids[0] > 0 && ids[1] > 0 && ids[0] != ids[1] && ids[2] == 0, 1);
    FAILS(ABufferSyncGroup_addDmaBuf(group, one_fd, ABUFFERSYNC_ACCESS_DMA_READ, NULL),
          ACCESS_CONFLICT);
    OK(ABufferSyncGroup_remove(group, ids[0]));
    OK(ABufferSyncGroup_removeAll(group));
    ABufferSyncGroup_close(group);
}

static void every_call(ABufferSyncGroup* group, ABufferSyncStatus expected) {
    int64_t nanos;
    ABufferSyncBufferId id = 1;
    ABufferSyncEvent event;
    ABufferSyncGrant grant;
    ABufferSyncBufferState state;
    ABufferSyncLock lock;
    ABufferSyncWant want = {1, ABUFFERSYNC_ACCESS_READ, 0};
    char name[ABUFFERSYNC_MAX_NAME_BYTES];
    bool granted;
    size_t count;
    int fd;
    EXPECT(ABufferSyncGroup_getHoldLimit(group, &nanos), expected);
    EXPECT(ABufferSyncGroup_getGroupName(group, 1, name, sizeof(name)), expected);
    EXPECT(ABufferSyncGroup_addDmaBuf(group, one_fd, ABUFFERSYNC_ACCESS_READ, &id), expected);
    EXPECT(ABufferSyncGroup_addNativeHandle(group, &one_fd, 1, ABUFFERSYNC_ACCESS_READ, &id, NULL),
           expected);
    EXPECT(ABufferSyncGroup_addHardwareBuffer(group, NULL, ABUFFERSYNC_ACCESS_READ, &id, 1, NULL),
           expected);
    EXPECT(ABufferSyncGroup_remove(group, 1), expected);
    EXPECT(ABufferSyncGroup_removeAll(group), expected);
    EXPECT(ABufferSyncGroup_lock(group, &want, 1, 0, &lock), expected);
    EXPECT(ABufferSyncGroup_tryLock(group, &want, 1, &lock), expected);
    EXPECT(ABufferSyncGroup_startLock(group, &want, 1, 0, &lock, &granted), expected);
    EXPECT(ABufferSyncGroup_wait(group, 1), expected);
    EXPECT(ABufferSyncGroup_grow(group, 1, &want, 1, 0), expected);
    EXPECT(ABufferSyncGroup_tryGrow(group, 1, &want, 1), expected);
    EXPECT(ABufferSyncGroup_startGrow(group, 1, &want, 1, 0, &granted), expected);
    EXPECT(ABufferSyncGroup_cancel(group, 1), expected);
    EXPECT(ABufferSyncGroup_getEventFd(group, &fd), expected);
    EXPECT(ABufferSyncGroup_getEvent(group, &event), expected);
    EXPECT(ABufferSyncGroup_getGrant(group, 1, &grant), expected);
    EXPECT(ABufferSyncGroup_getBufferState(group, 1, 1, &state), expected);
    EXPECT(ABufferSyncGroup_getAcquireFence(group, 1, 0, &fd), expected);
    EXPECT(ABufferSyncGroup_unlock(group, 1, -1), expected);
    /* The descriptors are taken all the same. */
    int fence = null_device();
    EXPECT(ABufferSyncGroup_unlock(group, 1, fence), expected);
    EXPECT(is_open(fence), 0);
    ABufferSyncFence fences[2] = {{1, null_device(), 0}, {0, null_device(), 0}};
    EXPECT(ABufferSyncGroup_unlockBuffers(group, 1, &id, 1, fences, 2), expected);
    EXPECT(is_open(fences[0].fd) || is_open(fences[1].fd), 0);
    fences[0].fd = null_device();
    EXPECT(ABufferSyncGroup_unlockAndLock(group, 1, fences, 1, &want, 1, 0, &lock), expected);
    EXPECT(is_open(fences[0].fd), 0);
    EXPECT(ABufferSyncGroup_downgrade(group, 1, NULL, 0), expected);
    EXPECT(ABufferSyncGroup_getLocks(group, NULL, 0, &count), expected);
    ABufferSyncGroup_close(group);
}

/* Handles that were closed, never opened, or of another kind. */
static void bad_handles(ABufferSync* sync) {
    int64_t value;
    int on_stack = 0;
    ABufferSyncGroup* group = open_group(sync, 0, one_fd);
    lock_all(group);
    ABufferSyncGroup_close(group);
    every_call(group, ABUFFERSYNC_ERROR_INVALID_HANDLE);
    every_call((ABufferSyncGroup*)&on_stack, ABUFFERSYNC_ERROR_INVALID_HANDLE);
    every_call((ABufferSyncGroup*)sync, ABUFFERSYNC_ERROR_INVALID_HANDLE);
    every_call((ABufferSyncGroup*)UINTPTR_MAX, ABUFFERSYNC_ERROR_INVALID_HANDLE);
    every_call(NULL, ABUFFERSYNC_ERROR_INVALID_ARGUMENT);

    ABufferSync* second = NULL;
    OK(ABufferSync_open(&second));
    group = open_group(second, 0, -1);
    ABufferSync_close(second);
    ABufferSync_close(second);
    ABufferSync_close(NULL);
    /* A handle of another kind stays open. */
    ABufferSync_close((ABufferSync*)group);
    FAILS(ABufferSync_getCapability(second, ABUFFERSYNC_CAPABILITY_MAX_HOLD_NANOS, &value),
          INVALID_HANDLE);
    FAILS(ABufferSync_getCapability(NULL, ABUFFERSYNC_CAPABILITY_MAX_HOLD_NANOS, &value),
          INVALID_ARGUMENT);
    FAILS(ABufferSync_openGroup(second, "x", 0, 0, &group), INVALID_HANDLE);
    FAILS(ABufferSync_openGroup(NULL, "x", 0, 0, &group), INVALID_ARGUMENT);
    FAILS(ABufferSync_dump(second, STDERR_FILENO), INVALID_HANDLE);
    FAILS(ABufferSync_dump(NULL, STDERR_FILENO), INVALID_ARGUMENT);
    /* The group has outlived the handle that opened it. */
    OK(ABufferSyncGroup_getHoldLimit(group, &value));
    ABufferSyncGroup_close(group);
}

/* The last error's text has these words. */
static bool says(const char* one, const char* other) {
    const char* message = ABufferSync_getLastErrorMessage();
    return strstr(message, one) != NULL && strstr(message, other) != NULL;
}

/* Each text names what is wrong, its value and what is allowed, and stays until eight more calls have failed. */
static void messages(ABufferSync* sync) {
    ABufferSyncGroup* group = open_group(sync, 0, -1);
    ABufferSyncGroup* none = NULL;
    ABufferSyncLockInTheWay by;
    ABufferSyncBufferId id;
    ABufferSyncLock lock;
    ABufferSyncWant wants[2] = {{1, ABUFFERSYNC_ACCESS_READ, 0}, {1, ABUFFERSYNC_ACCESS_READ, 0}};
    FAILS(ABufferSync_openGroup(sync, "x", -3, 0, &none), INVALID_ARGUMENT);
    const char* negative = ABufferSync_getLastErrorMessage();
    EXPECT(says("holdLimitNanos is -3", "0 for the default"), 1);
    FAILS(ABufferSync_openGroup(sync, "x", 0, 0x80, &none), INVALID_ARGUMENT);
    EXPECT(says("0x80", "ABUFFERSYNC_GROUP_IMPLICIT_FENCES"), 1);
    FAILS(ABufferSyncGroup_addDmaBuf(group, -1, ABUFFERSYNC_ACCESS_READ, &id), BAD_FD);
    EXPECT(says("dmaBufFd is -1", "open descriptor"), 1);
    FAILS(ABufferSyncGroup_addDmaBuf(group, one_fd, (ABufferSyncAccess)3, &id), INVALID_ARGUMENT);
    EXPECT(says("access is 0x3", "_DMA_WRITE (0x6)"), 1);
    wants[1].access = (ABufferSyncAccess)9;
    FAILS(ABufferSyncGroup_lock(group, wants, 2, 0, &lock), INVALID_ARGUMENT);
    EXPECT(says("wants[1].access is 0x9", "must be"), 1);
    wants[1] = (ABufferSyncWant){1, ABUFFERSYNC_ACCESS_READ, 5};
    FAILS(ABufferSyncGroup_lock(group, wants, 2, 0, &lock), INVALID_ARGUMENT);
    EXPECT(says("wants[1].reserved is 5", "must be 0"), 1);
    FAILS(ABufferSyncGroup_lock(group, wants, 0, 0, &lock), INVALID_ARGUMENT);
    EXPECT(says("wants is not null", "pass null and 0"), 1);
    FAILS(ABufferSyncGroup_lock(NULL, wants, 1, 0, &lock), INVALID_ARGUMENT);
    EXPECT(says("group is null", ""), 1);
    EXPECT(strstr(negative, "holdLimitNanos is -3") != NULL, 1);
    FAILS(ABufferSyncGroup_lock((ABufferSyncGroup*)sync, wants, 1, 0, &lock), INVALID_HANDLE);
    EXPECT(says("no open ABufferSyncGroup", "closed"), 1);
    /* The ninth failure has used its place again. */
    EXPECT(strcmp(negative, ABufferSync_getLastErrorMessage()), 0);
    EXPECT(ABufferSync_getLastErrorLock(&by), 0);
    EXPECT(ABufferSync_getLastErrorLock(NULL), 0);
    ABufferSyncGroup_close(group);
}

/* A time-out names the lock that is in the way. */
static void in_the_way(ABufferSync* sync) {
    ABufferSyncGroup* holder = open_group(sync, 0, one_fd);
    ABufferSyncGroup* next = open_group(sync, 0, one_fd);
    ABufferSyncLock held = lock_all(holder), lock = 7;
    ABufferSyncLockInTheWay by = {0};
    ABufferSyncEvent event;
    bool granted = true;
    FAILS(ABufferSyncGroup_lock(next, NULL, 0, 20 * MILLIS, &lock), TIMED_OUT);
    EXPECT(ABufferSync_getLastErrorLock(&by), 1);
    EXPECT(by.group > 0, 1);
    EXPECT(by.lock, held);
    EXPECT(by.owner != NULL && strcmp(by.owner, "misuse/group") == 0, 1);
    EXPECT(says("misuse/group", "in the way"), 1);

    OK(ABufferSyncGroup_startLock(next, NULL, 0, 20 * MILLIS, &lock, &granted));
    EXPECT(granted, 0);
    event = next_event(next);
    EXPECT(event.type, ABUFFERSYNC_EVENT_TIMED_OUT);
    EXPECT(event.lock, lock);
    EXPECT(event.otherGroup, by.group);
    EXPECT(event.otherLock, held);
    char name[ABUFFERSYNC_MAX_NAME_BYTES] = "?";
    OK(ABufferSyncGroup_getGroupName(next, event.otherGroup, name, sizeof(name)));
    EXPECT(strcmp(name, "misuse/group"), 0);
    OK(ABufferSyncGroup_getGroupName(next, INT64_MAX, name, sizeof(name)));
    EXPECT(strcmp(name, ""), 0);
    unlock(holder, held);
    ABufferSyncGroup_close(holder);
    ABufferSyncGroup_close(next);
}

/* With this flag a grant has no deadline until somebody waits. */
static void hold_from_conflict(ABufferSync* sync) {
    ABufferSyncGroup* display = NULL;
    ABufferSyncGroup* next = open_group(sync, 0, one_fd);
    ABufferSyncGrant grant;
    ABufferSyncEvent event;
    OK(ABufferSync_openGroup(sync, "misuse/display", 500 * MILLIS,
                             ABUFFERSYNC_GROUP_HOLD_FROM_CONFLICT, &display));
    OK(ABufferSyncGroup_addDmaBuf(display, one_fd, ABUFFERSYNC_ACCESS_READ, NULL));
    ABufferSyncLock shown = lock_all(display);
    OK(ABufferSyncGroup_getGrant(display, shown, &grant));
    EXPECT(grant.deadlineNanos, 0);
    ABufferSyncLock lock = queue_all(next);
    struct pollfd ready = {.fd = -1, .events = POLLIN};
    OK(ABufferSyncGroup_getEventFd(display, &ready.fd));
    EXPECT(poll(&ready, 1, (int)(HUNG / MILLIS)), 1);
    OK(ABufferSyncGroup_getEvent(display, &event));
    EXPECT(event.type, ABUFFERSYNC_EVENT_CONTENDED);
    EXPECT(event.deadlineNanos > 0, 1);
    OK(ABufferSyncGroup_wait(next, lock));
    unlock(next, lock);
    FAILS(ABufferSyncGroup_unlock(display, shown, -1), EVICTED);
    ABufferSyncGroup_close(display);
    ABufferSyncGroup_close(next);
}

/* From one lock to the next in one call. */
static void exchange(ABufferSync* sync) {
    ABufferSyncGroup* group = open_group(sync, 0, one_fd);
    ABufferSyncGroup* rival = open_group(sync, 0, one_fd);
    ABufferSyncGrant grant;
    ABufferSyncLock next = 7;
    int ends[2];

    FAILS(ABufferSyncGroup_unlockAndLock(group, 1, NULL, 0, NULL, 0, HUNG, &next), ENDED);
    ABufferSyncLock lock = lock_all(group);
    EXPECT(pipe(ends), 0);
    ABufferSyncFence no_fence = {0, ends[0], 0};
    FAILS(ABufferSyncGroup_unlockAndLock(group, lock, &no_fence, 1, NULL, 0, HUNG, &next),
          BAD_FENCE);
    EXPECT(close(ends[1]), 0);
    /* The grant went on, and the descriptor was taken. */
    OK(ABufferSyncGroup_getGrant(group, lock, &grant));
    EXPECT(close(ends[0]), -1);
    EXPECT(next, 7);
    OK(ABufferSyncGroup_unlockAndLock(group, lock, NULL, 0, NULL, 0, HUNG, &next));
    OK(ABufferSyncGroup_getGrant(group, next, &grant));
    EXPECT(next > lock, 1);
    FAILS(ABufferSyncGroup_getGrant(group, lock, &grant), ENDED);

    /* Who waits comes first, so the new lock has to wait: the old one has ended. */
    queue_all(rival);
    FAILS(ABufferSyncGroup_unlockAndLock(group, next, NULL, 0, NULL, 0, 20 * MILLIS, &lock),
          TIMED_OUT);
    FAILS(ABufferSyncGroup_unlock(group, next, -1), ENDED);
    ABufferSyncGroup_close(rival);
    lock = lock_all(group);
    OK(ABufferSyncGroup_unlockAndLock(group, lock, NULL, 0, NULL, 0, -1, &next));
    unlock(group, next);
    ABufferSyncGroup_close(group);
}

struct lock_waiter {
    ABufferSyncGroup* group;
    ABufferSyncWant want;
    ABufferSyncLock lock;
    ABufferSyncStatus status;
};

static void* wait_for_buffer(void* argument) {
    struct lock_waiter* waiter = argument;
    waiter->status =
            ABufferSyncGroup_lock(waiter->group, &waiter->want, 1, HUNG, &waiter->lock);
    return NULL;
}

/* Two threads wait for a lock each in one group. */
static void two_waiters(ABufferSyncGroup* holder, ABufferSyncLock held, struct lock_waiter* one,
                        struct lock_waiter* other, ABufferSyncBufferId first) {
    pthread_t threads[2];
    ABufferSyncLockStatus locks[4];
    ABufferSyncEvent event;
    size_t count = 0;
    EXPECT(pthread_create(&threads[0], NULL, wait_for_buffer, one), 0);
    EXPECT(pthread_create(&threads[1], NULL, wait_for_buffer, other), 0);
    for (int times = 0; count < 2 && times < 6000; times++) {
        OK(ABufferSyncGroup_getLocks(one->group, locks, 4, &count));
        sleep_millis(10);
    }
    EXPECT(count, 2);
    EXPECT(locks[0].lock < locks[1].lock && locks[0].waiting && locks[1].waiting, 1);
    EXPECT(locks[0].numBuffers, 0);
    FAILS(ABufferSyncGroup_getEvent(one->group, &event), WOULD_BLOCK);
    FAILS(ABufferSyncGroup_unlock(one->group, locks[0].lock, -1), BUSY);
    FAILS(ABufferSyncGroup_wait(one->group, locks[0].lock), BUSY);
    FAILS(ABufferSyncGroup_getGrant(one->group, locks[1].lock, &(ABufferSyncGrant){0}), BUSY);
    /* One after the other, so that each thread gets its own. */
    OK(ABufferSyncGroup_unlockBuffers(holder, held, &first, 1, NULL, 0));
    pthread_join(threads[0], NULL);
    OK(one->status);
    OK(ABufferSyncGroup_cancel(one->group,
                                   locks[0].lock == one->lock ? locks[1].lock : locks[0].lock));
    pthread_join(threads[1], NULL);
    EXPECT(other->status, ABUFFERSYNC_ERROR_CANCELLED);
    FAILS(ABufferSyncGroup_cancel(one->group, one->lock), NOT_QUEUED);
    unlock(one->group, one->lock);
}

/* Many locks in one group, each named by its number. */
static void many_locks(ABufferSync* sync) {
    ABufferSyncGroup* group = open_group(sync, 0, -1);
    ABufferSyncGroup* other = open_group(sync, 0, -1);
    ABufferSyncBufferId ids[2] = {0, 0};
    ABufferSyncLock first = 7, second = 7, third = 7;
    ABufferSyncGrant grant;
    ABufferSyncBufferState state;
    ABufferSyncEvent event;
    bool granted = false;
    int fence = 7;
    size_t count = 7;
    int fds[2] = {one_fd, other_fd};
    OK(ABufferSyncGroup_addNativeHandle(group, fds, 2, ABUFFERSYNC_ACCESS_WRITE, ids, NULL));
    OK(ABufferSyncGroup_addNativeHandle(other, fds, 2, ABUFFERSYNC_ACCESS_WRITE, NULL, NULL));
    ABufferSyncWant wants[3] = {{ids[0], ABUFFERSYNC_ACCESS_WRITE, 0},
                                {ids[1], ABUFFERSYNC_ACCESS_READ, 0},
                                {ids[0], ABUFFERSYNC_ACCESS_DMA_READ, 0}};

    FAILS(ABufferSyncGroup_lock(group, NULL, 1, HUNG, &first), INVALID_ARGUMENT);
    FAILS(ABufferSyncGroup_lock(group, wants, 1, HUNG, NULL), INVALID_ARGUMENT);
    FAILS(ABufferSyncGroup_lock(group, wants, SIZE_MAX / 2, HUNG, &first), INVALID_ARGUMENT);
    FAILS(ABufferSyncGroup_lock(group, wants, 3, HUNG, &first), ACCESS_CONFLICT);
    ABufferSyncWant bad = {ids[0], (ABufferSyncAccess)3, 0};
    FAILS(ABufferSyncGroup_lock(group, &bad, 1, HUNG, &first), INVALID_ARGUMENT);
    bad = (ABufferSyncWant){ids[1] + 1000, ABUFFERSYNC_ACCESS_READ, 0};
    FAILS(ABufferSyncGroup_tryLock(group, &bad, 1, &first), UNKNOWN_BUFFER);
    FAILS(ABufferSyncGroup_startLock(group, wants, 1, HUNG, &first, NULL), INVALID_ARGUMENT);
    FAILS(ABufferSyncGroup_unlock(group, 1, -1), ENDED);
    FAILS(ABufferSyncGroup_getLocks(group, NULL, 0, NULL), INVALID_ARGUMENT);
    EXPECT(first, 7);

    /* Two locks at once; what conflicts is refused, and never waits for its own group. */
    OK(ABufferSyncGroup_lock(group, wants, 1, HUNG, &first));
    OK(ABufferSyncGroup_tryLock(group, wants + 1, 1, &second));
    EXPECT(second > first, 1);
    FAILS(ABufferSyncGroup_lock(group, wants, 2, HUNG, &third), ALREADY_LOCKED);
    FAILS(ABufferSyncGroup_lock(group, NULL, 0, HUNG, &third), ALREADY_LOCKED);
    OK(ABufferSyncGroup_startLock(group, wants + 1, 1, HUNG, &third, &granted));
    EXPECT(granted && third > second, 1);
    OK(ABufferSyncGroup_getLocks(group, NULL, 0, &count));
    EXPECT(count, 3);
    FAILS(ABufferSyncGroup_removeAll(group), BUSY);
    OK(ABufferSyncGroup_getGrant(group, first, &grant));
    EXPECT(grant.lock, first);
    EXPECT(grant.numBuffers, 1);
    OK(ABufferSyncGroup_getBufferState(group, first, ids[0], &state));
    FAILS(ABufferSyncGroup_getBufferState(group, first, ids[1], &state), UNKNOWN_BUFFER);
    OK(ABufferSyncGroup_getAcquireFence(group, first, 0, &fence));
    EXPECT(fence, -1);
    FAILS(ABufferSyncGroup_getAcquireFence(group, first, ids[1], &fence), UNKNOWN_BUFFER);

    /* Somebody waits: the holder is told, once. */
    FAILS(ABufferSyncGroup_lock(other, wants, 1, 20 * MILLIS, &third), TIMED_OUT);
    OK(ABufferSyncGroup_getEvent(group, &event));
    EXPECT(event.type, ABUFFERSYNC_EVENT_CONTENDED);
    EXPECT(event.lock, first);
    EXPECT(event.deadlineNanos, grant.deadlineNanos);
    FAILS(ABufferSyncGroup_getEvent(group, &event), WOULD_BLOCK);

    /* Shared again: a reader of another group is granted beside it. */
    OK(ABufferSyncGroup_downgrade(group, first, ids, 1));
    FAILS(ABufferSyncGroup_downgrade(group, first, ids, 2), UNKNOWN_BUFFER);
    wants[0].access = ABUFFERSYNC_ACCESS_READ;
    OK(ABufferSyncGroup_tryLock(other, wants, 1, &third));
    FAILS(ABufferSyncGroup_grow(group, first, wants, 1, HUNG), ALREADY_LOCKED);
    OK(ABufferSyncGroup_tryGrow(group, first, wants + 1, 1));
    FAILS(ABufferSyncGroup_wait(group, 1000), ENDED);
    OK(ABufferSyncGroup_wait(group, first));
    OK(ABufferSyncGroup_getGrant(group, first, &grant));
    EXPECT(grant.numBuffers, 2);
    unlock(other, third);
    FAILS(ABufferSyncGroup_unlock(other, third, -1), ENDED);

    /* A part, and then the rest, which ends the lock. */
    ABufferSyncFence bad_fence = {0, null_device(), 0};
    FAILS(ABufferSyncGroup_unlockBuffers(group, first, ids, 1, &bad_fence, 1), BAD_FENCE);
    EXPECT(is_open(bad_fence.fd), 0);
    OK(ABufferSyncGroup_unlockBuffers(group, first, ids, 1, NULL, 0));
    FAILS(ABufferSyncGroup_unlockBuffers(group, first, ids, 1, NULL, 0), UNKNOWN_BUFFER);
    OK(ABufferSyncGroup_unlockBuffers(group, first, ids + 1, 1, NULL, 0));
    FAILS(ABufferSyncGroup_getGrant(group, first, &grant), ENDED);

    /* From one lock to another. */
    wants[0].access = ABUFFERSYNC_ACCESS_WRITE;
    OK(ABufferSyncGroup_unlockAndLock(group, second, NULL, 0, wants, 1, HUNG, &first));
    FAILS(ABufferSyncGroup_unlockAndLock(group, second, NULL, 0, wants, 1, HUNG, &second), ENDED);
    ABufferSyncGroup_close(other);
    /* The group still has two locks: its number 3, of the second buffer, and the new one. */
    OK(ABufferSyncGroup_getLocks(group, NULL, 0, &count));
    EXPECT(count, 2);
    ABufferSyncLockStatus locks[2];
    OK(ABufferSyncGroup_getLocks(group, locks, 2, &count));
    EXPECT(locks[1].lock, first);
    EXPECT(locks[1].waiting, 0);
    EXPECT(locks[1].numBuffers, 1);
    for (size_t nth = 0; nth < 2; nth++) {
        unlock(group, locks[nth].lock);
    }

    ABufferSyncGroup* waiting = open_group(sync, 0, -1);
    OK(ABufferSyncGroup_addNativeHandle(waiting, fds, 2, ABUFFERSYNC_ACCESS_WRITE, NULL, NULL));
    OK(ABufferSyncGroup_lock(group, NULL, 0, HUNG, &first));
    struct lock_waiter one = {waiting, {ids[0], ABUFFERSYNC_ACCESS_WRITE, 0}, 0, 1};
    struct lock_waiter two = {waiting, {ids[1], ABUFFERSYNC_ACCESS_WRITE, 0}, 0, 1};
    two_waiters(group, first, &one, &two, ids[0]);
    ABufferSyncGroup_close(waiting);
    unlock(group, first);
    ABufferSyncGroup_close(group);
}

/* Locks and unlocks in the wrong order. */
static void wrong_order(ABufferSync* sync) {
    ABufferSyncGroup* group = open_group(sync, 0, one_fd);
    ABufferSyncGroup* other = open_group(sync, 0, one_fd);
    ABufferSyncGrant grant;
    ABufferSyncEvent event;
    ABufferSyncBufferId id = 0;
    ABufferSyncLock lock = 0;
    bool granted;

    FAILS(ABufferSyncGroup_unlock(group, 1, -1), ENDED);
    FAILS(ABufferSyncGroup_getGrant(group, 1, &grant), ENDED);
    FAILS(ABufferSyncGroup_cancel(group, 1), NOT_QUEUED);
    FAILS(ABufferSyncGroup_getEvent(group, &event), WOULD_BLOCK);
    ABufferSyncLock held = lock_all(group);
    OK(ABufferSyncGroup_getGrant(group, held, &grant));
    EXPECT(grant.numBuffers, 1);
    FAILS(ABufferSyncGroup_lock(group, NULL, 0, HUNG, &lock), ALREADY_LOCKED);
    FAILS(ABufferSyncGroup_grow(group, held, NULL, 0, HUNG), ALREADY_LOCKED);
    FAILS(ABufferSyncGroup_removeAll(group), BUSY);
    OK(ABufferSyncGroup_getGrant(group, held, &grant));

    FAILS(ABufferSyncGroup_tryLock(other, NULL, 0, &lock), WOULD_BLOCK);
    FAILS(ABufferSyncGroup_lock(other, NULL, 0, 20 * MILLIS, &lock), TIMED_OUT);
    ABufferSyncLock waiting = queue_all(other);
    FAILS(ABufferSyncGroup_getGrant(other, waiting, &grant), BUSY);
    FAILS(ABufferSyncGroup_grow(other, waiting, NULL, 0, HUNG), BUSY);
    FAILS(ABufferSyncGroup_downgrade(other, waiting, NULL, 0), BUSY);
    FAILS(ABufferSyncGroup_startLock(other, NULL, 0, -1, &lock, &granted), ALREADY_LOCKED);
    /* What is added meanwhile does not change the lock that waits. */
    OK(ABufferSyncGroup_addDmaBuf(other, other_fd, ABUFFERSYNC_ACCESS_WRITE, &id));
    OK(ABufferSyncGroup_remove(other, id));
    OK(ABufferSyncGroup_cancel(other, waiting));
    FAILS(ABufferSyncGroup_cancel(other, waiting), NOT_QUEUED);
    /* An unlock ends what waits, too. */
    waiting = queue_all(other);
    unlock(other, waiting);
    FAILS(ABufferSyncGroup_wait(other, waiting), ENDED);

    unlock(group, held);
    FAILS(ABufferSyncGroup_unlock(group, held, -1), ENDED);
    ABufferSyncGroup_close(group);
    ABufferSyncGroup_close(other);
}

/* A descriptor that is not a fence leaves the grant as it is, and is closed all the same. */
static void bad_fences(ABufferSync* sync) {
    ABufferSyncGroup* group = open_group(sync, 0, -1);
    ABufferSyncGrant grant;
    ABufferSyncBufferId id = 0;
    int fence = 7;
    OK(ABufferSyncGroup_addDmaBuf(group, one_fd, ABUFFERSYNC_ACCESS_DMA_WRITE, &id));
    ABufferSyncLock lock = lock_all(group);
    OK(ABufferSyncGroup_getAcquireFence(group, lock, 0, &fence));
    EXPECT(fence, -1);
    FAILS(ABufferSyncGroup_getAcquireFence(group, lock, id + 1000, &fence), UNKNOWN_BUFFER);

    fence = null_device();
    FAILS(ABufferSyncGroup_unlock(group, lock, fence), BAD_FENCE);
    EXPECT(is_open(fence), 0);
    FAILS(ABufferSyncGroup_unlock(group, lock, -2), BAD_FD);
    FAILS(ABufferSyncGroup_unlock(group, lock, 9999), BAD_FD);
    ABufferSyncFence fences[2] = {{id, null_device(), 0}, {id + 1000, null_device(), 0}};
    EXPECT(ABufferSyncGroup_unlockBuffers(group, lock, NULL, 0, fences, 2) < 0, 1);
    EXPECT(is_open(fences[0].fd) || is_open(fences[1].fd), 0);
    int twice = null_device();
    fences[0].fd = fences[1].fd = twice;
    FAILS(ABufferSyncGroup_unlockBuffers(group, lock, NULL, 0, fences, 2), INVALID_ARGUMENT);
    EXPECT(is_open(twice), 0);
    fences[0] = (ABufferSyncFence){id, null_device(), 1};
    FAILS(ABufferSyncGroup_unlockBuffers(group, lock, NULL, 0, fences, 1), INVALID_ARGUMENT);
    EXPECT(is_open(fences[0].fd), 0);
    /* No buffer is not all buffers. */
    FAILS(ABufferSyncGroup_unlockBuffers(group, lock, &id, 0, NULL, 0), INVALID_ARGUMENT);
    FAILS(ABufferSyncGroup_downgrade(group, lock, &id, 0), INVALID_ARGUMENT);
    OK(ABufferSyncGroup_getGrant(group, lock, &grant));
    /* -1 is no fence. */
    fences[0] = (ABufferSyncFence){id, -1, 0};
    OK(ABufferSyncGroup_unlockBuffers(group, lock, NULL, 0, fences, 1));
    FAILS(ABufferSyncGroup_unlock(group, lock, -1), ENDED);
    ABufferSyncGroup_close(group);
}

/* A holder that takes too long gets EVICTED from each call. */
static void evicted(ABufferSync* sync) {
    ABufferSyncGroup* first = open_group(sync, 0, one_fd);
    ABufferSyncGroup* group = open_group(sync, 100 * MILLIS, one_fd);
    ABufferSyncGroup* next = open_group(sync, 0, -1);
    ABufferSyncGrant grant;
    ABufferSyncEvent event;
    ABufferSyncBufferState state;
    ABufferSyncBufferId id = 0;
    ABufferSyncLockInTheWay by = {0};
    OK(ABufferSyncGroup_addDmaBuf(next, one_fd, ABUFFERSYNC_ACCESS_READ, &id));
    /* When the group is granted, the next one waits already. */
    ABufferSyncLock held = lock_all(first);
    ABufferSyncLock lock = queue_all(group);
    ABufferSyncLock waiting = queue_all(next);
    unlock(first, held);
    ABufferSyncGroup_close(first);
    wait_for_event(group, ABUFFERSYNC_EVENT_GRANTED);
    event = next_event(group);
    EXPECT(event.type, ABUFFERSYNC_EVENT_EVICTED);
    EXPECT(event.lock, lock);
    EXPECT(event.otherGroup > 0, 1);
    EXPECT(event.otherLock, waiting);
    FAILS(ABufferSyncGroup_getGrant(group, lock, &grant), EVICTED);
    EXPECT(ABufferSync_getLastErrorLock(&by), 1);
    EXPECT(by.lock, waiting);
    EXPECT(by.group, event.otherGroup);
    EXPECT(by.owner != NULL && strcmp(by.owner, "misuse/group") == 0, 1);
    OK(ABufferSyncGroup_wait(next, waiting));
    OK(ABufferSyncGroup_getBufferState(next, waiting, id, &state));
    EXPECT(state.flags, ABUFFERSYNC_BUFFER_EVICTED | ABUFFERSYNC_BUFFER_TORN);
    FAILS(ABufferSyncGroup_getBufferState(next, waiting, id + 1000, &state), UNKNOWN_BUFFER);
    unlock(next, waiting);
    /* A reader has ended in order, but that does not clear the torn mark. */
    waiting = lock_all(next);
    OK(ABufferSyncGroup_getBufferState(next, waiting, id, &state));
    EXPECT(state.flags, ABUFFERSYNC_BUFFER_TORN);
    unlock(next, waiting);
    FAILS(ABufferSyncGroup_unlock(group, lock, -1), EVICTED);
    FAILS(ABufferSyncGroup_unlock(group, lock, -1), ENDED);
    /* One try must be faster than the hold limit. */
    ABufferSyncStatus ended = ABUFFERSYNC_ERROR_EVICTED;
    for (int times = 0; times < 50 && ended == ABUFFERSYNC_ERROR_EVICTED; times++) {
        ended = ABufferSyncGroup_unlock(group, lock_all(group), -1);
    }
    OK(ended);
    waiting = lock_all(next);
    OK(ABufferSyncGroup_getBufferState(next, waiting, id, &state));
    EXPECT(state.flags, 0);
    unlock(next, waiting);
    ABufferSyncGroup_close(group);
    ABufferSyncGroup_close(next);
}

/* Growth, and a younger group that is wounded by an older one. */
static void growth(ABufferSync* sync) {
    ABufferSyncGroup* old = open_group(sync, 0, one_fd);
    ABufferSyncGroup* young = open_group(sync, 0, other_fd);
    ABufferSyncLock old_lock = lock_all(old), young_lock = lock_all(young);
    ABufferSyncGrant grant;
    bool granted = true;
    OK(ABufferSyncGroup_addDmaBuf(old, other_fd, ABUFFERSYNC_ACCESS_WRITE, NULL));
    OK(ABufferSyncGroup_addDmaBuf(young, one_fd, ABUFFERSYNC_ACCESS_WRITE, NULL));
    FAILS(ABufferSyncGroup_tryGrow(young, young_lock, NULL, 0), WOULD_BLOCK);
    FAILS(ABufferSyncGroup_startGrow(young, young_lock, NULL, 0, -1, NULL), INVALID_ARGUMENT);
    OK(ABufferSyncGroup_startGrow(young, young_lock, NULL, 0, -1, &granted));
    EXPECT(granted, 0);
    granted = true;
    OK(ABufferSyncGroup_startGrow(old, old_lock, NULL, 0, -1, &granted));
    EXPECT(granted, 0);
    wait_for_event(young, ABUFFERSYNC_EVENT_WOUNDED);
    FAILS(ABufferSyncGroup_grow(young, young_lock, NULL, 0, HUNG), DEADLOCK);
    unlock(young, young_lock);
    /* Granted with the unlock, or after cache maintenance. */
    OK(ABufferSyncGroup_wait(old, old_lock));
    OK(ABufferSyncGroup_getGrant(old, old_lock, &grant));
    EXPECT(grant.numBuffers, 2);
    unlock(old, old_lock);
    unlock(young, lock_all(young));
    ABufferSyncGroup_close(old);
    ABufferSyncGroup_close(young);
}

/* While one thread waits, others may call anything, and the waiter learns of it. */
static void wrong_thread(ABufferSync* sync) {
    for (int way = 0; way < 3; way++) {
        ABufferSyncGroup* holder = open_group(sync, 0, one_fd);
        ABufferSyncGroup* group = open_group(sync, 0, -1);
        ABufferSyncLock held = lock_all(holder), lock;
        ABufferSyncBufferId id = 0;
        OK(ABufferSyncGroup_addDmaBuf(group, one_fd, ABUFFERSYNC_ACCESS_WRITE, &id));
        struct lock_waiter waiter = {group, {id, ABUFFERSYNC_ACCESS_WRITE, 0}, 0, 1};
        ABufferSyncLockStatus status = {0};
        ABufferSyncEvent event;
        pthread_t thread;
        size_t count = 0;
        EXPECT(pthread_create(&thread, NULL, wait_for_buffer, &waiter), 0);
        for (int times = 0; times < 6000 && count == 0; times++) {
            OK(ABufferSyncGroup_getLocks(group, &status, 1, &count));
            sleep_millis(10);
        }
        EXPECT(status.waiting, 1);
        FAILS(ABufferSyncGroup_lock(group, NULL, 0, HUNG, &lock), ALREADY_LOCKED);
        FAILS(ABufferSyncGroup_unlock(group, status.lock, -1), BUSY);
        FAILS(ABufferSyncGroup_getEvent(group, &event), WOULD_BLOCK);
        FAILS(ABufferSyncGroup_removeAll(group), BUSY);
        if (way == 0) {
            OK(ABufferSyncGroup_cancel(group, status.lock));
        } else if (way == 1) {
            ABufferSyncGroup_close(group);
        } else {
            unlock(holder, held);
        }
        pthread_join(thread, NULL);
        if (way == 0) {
            EXPECT(waiter.status, ABUFFERSYNC_ERROR_CANCELLED);
        } else if (way == 1) {
            EXPECT(waiter.status, ABUFFERSYNC_ERROR_INVALID_HANDLE);
        } else {
            EXPECT(waiter.status, ABUFFERSYNC_OK);
            /* Another thread locked it: the grant belongs to the group. */
            EXPECT(waiter.lock, status.lock);
            unlock(group, waiter.lock);
        }
        ABufferSyncGroup_close(group);
        ABufferSyncGroup_close(holder);
    }
}

/* In a forked child every call is refused, and the parent is not disturbed. */
static void forked(ABufferSync* sync) {
    ABufferSyncGroup* group = open_group(sync, 0, one_fd);
    ABufferSyncLock lock = lock_all(group);
    ABufferSyncGrant grant;
    pid_t child = fork();
    if (child == 0) {
        ABufferSync* again = NULL;
        int64_t value;
        failures = 0;
        every_call(group, ABUFFERSYNC_ERROR_FORKED);
        /* It closed nothing: the next calls would say so. */
        FAILS(ABufferSyncGroup_getHoldLimit(group, &value), FORKED);
        FAILS(ABufferSync_open(&again), FORKED);
        FAILS(ABufferSync_waitForService(-1, &again), FORKED);
        FAILS(ABufferSync_getCapability(sync, ABUFFERSYNC_CAPABILITY_MAX_HOLD_NANOS, &value),
              FORKED);
        ABufferSync_close(sync);
        EXPECT(again == NULL, 1);
        /* A normal exit, so that exit handlers run. */
        exit(failures != 0);
    }
    int status = -1;
    EXPECT(waitpid(child, &status, 0), child);
    EXPECT(status, 0);
    OK(ABufferSyncGroup_getGrant(group, lock, &grant));
    unlock(group, lock);
    unlock(group, lock_all(group));
    ABufferSyncGroup_close(group);
}

static void* stress(void* argument) {
    ABufferSyncGroup* group = argument;
    ABufferSyncLock lock = 1;
    for (int round = 0; round < 50; round++) {
        if (ABufferSyncGroup_lock(group, NULL, 0, 20 * MILLIS, &lock) == ABUFFERSYNC_OK) {
            (void)ABufferSyncGroup_unlock(group, lock, -1);
        }
        (void)ABufferSyncGroup_cancel(group, lock + 1);
    }
    return NULL;
}

/* Many threads use one group while another one closes it. */
static void all_at_once(ABufferSync* sync) {
    ABufferSyncGroup* group = open_group(sync, 0, one_fd);
    pthread_t threads[4];
    for (int nth = 0; nth < 4; nth++) {
        EXPECT(pthread_create(&threads[nth], NULL, stress, group), 0);
    }
    sleep_millis(50);
    ABufferSyncGroup_close(group);
    for (int nth = 0; nth < 4; nth++) {
        pthread_join(threads[nth], NULL);
    }
}

/* The native handle of an AHardwareBuffer, with or without a libnativewindow. */
static void hardware_buffer(ABufferSync* sync) {
    ABufferSyncGroup* group = open_group(sync, 0, -1);
    ABufferSyncBufferId ids[2] = {0, 0};
    size_t count = 0;
    /* The layout of tests/c/nativewindow.c. */
    int buffer[2] = {one_fd, other_fd};
    ABufferSyncStatus status =
            ABufferSyncGroup_addHardwareBuffer(group, (const AHardwareBuffer*)buffer,
                                               ABUFFERSYNC_ACCESS_READ, ids, 1, &count);
    if (getenv("WITH_NATIVEWINDOW") == NULL) {
        EXPECT(status, ABUFFERSYNC_ERROR_UNSUPPORTED);
    } else {
        EXPECT(status, ABUFFERSYNC_OK);
        EXPECT(count, 2);
        EXPECT(ids[0] > 0 && ids[1] == 0, 1);
        unlock(group, lock_all(group));
    }
    ABufferSyncGroup_close(group);
}

static pthread_key_t at_end;

static void close_at_end(void* group) {
    ABufferSyncGroup_close(group);
    FAILS(ABufferSyncGroup_removeAll(group), INVALID_HANDLE);
}

static void* ending_thread(void* group) {
    lock_all(group);
    pthread_setspecific(at_end, group);
    return NULL;
}

/* Destructors of a thread, like those of C++'s thread_local objects. */
static void ends_of_threads(ABufferSync* sync) {
    pthread_t thread;
    ABufferSyncGroup* group = open_group(sync, 0, one_fd);
    ABufferSyncGroup* next = open_group(sync, 0, one_fd);
    OK(pthread_key_create(&at_end, close_at_end));
    OK(pthread_create(&thread, NULL, ending_thread, group));
    OK(pthread_join(thread, NULL));
    /* The buffers that the thread held are free. */
    ABufferSyncLock lock = 0;
    OK(ABufferSyncGroup_lock(next, NULL, 0, 4 * SECONDS, &lock));
    ABufferSyncGroup_close(next);
    OK(pthread_key_delete(at_end));
}

static ABufferSync* sync_at_exit;

static void at_exit(void) {
    int64_t value;
    int before = failures;
    ABufferSync_getCapability(sync_at_exit, ABUFFERSYNC_CAPABILITY_MAX_HOLD_NANOS, &value);
    ABufferSync_close(sync_at_exit);
    /* Earlier failures are in the exit status already; the sanitizer's status overrides it. */
    if (failures != before) {
        _exit(1);
    }
}

int main(int argc, char** argv) {
    if (argc != 3) {
        fprintf(stderr, "misuse DMABUF_FD DMABUF_FD\n");
        return 2;
    }
    one_fd = atoi(argv[1]);
    other_fd = atoi(argv[2]);
    ABufferSync* sync = NULL;
    if (getenv("WITH_LEAK") != NULL) {
        /* A leak on purpose: the test checks that it is noticed. */
        volatile char* lost = malloc(16);
        lost[0] = 1;
        lost = NULL;
    }
    FAILS(ABufferSync_openInstance(NULL, "no.such.IService/default", &sync), NO_SERVICE);
    OK(ABufferSync_waitForService(-1, &sync));
    bad_arguments(sync);
    bad_handles(sync);
    messages(sync);
    in_the_way(sync);
    hold_from_conflict(sync);
    wrong_order(sync);
    exchange(sync);
    many_locks(sync);
    bad_fences(sync);
    evicted(sync);
    growth(sync);
    wrong_thread(sync);
    forked(sync);
    all_at_once(sync);
    hardware_buffer(sync);
    ends_of_threads(sync);
    ABufferSync_close(sync);
    OK(ABufferSync_open(&sync_at_exit));
    atexit(at_exit);
    return failures != 0;
}
